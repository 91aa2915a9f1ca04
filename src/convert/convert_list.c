/* convert_list.c: the list of tensors of the result, each tied to the matrices of the checkpoint that it is made of.
 *
 * Every matrix is looked up by name and its shape held against what config.json demands, before anything is written. What is
 * left of the checkpoint afterwards must be known to be of no use: buffers that old code stored beside the weights, a head that
 * equals the embedding, layers that predict further tokens. Anything else is refused by name, since a model that lacks a
 * weight computes nonsense. */
#include "convert_internal.h"
#include "quant/quant.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 256 /* of what we look up; the longest is below 80 */

/* ---- sources ---- */

static const char *shape_words(const smt_st_tensor *tensor, char text[96]) {
    size_t used = (size_t)snprintf(text, 96, "[");
    for (uint32_t i = 0; i < tensor->n_dims && used < 90; i++)
        used += (size_t)snprintf(text + used, 96 - used, i ? ", %llu" : "%llu", (unsigned long long)tensor->dims[i]);
    if (used < 95) snprintf(text + used, 96 - used, "]");
    return text;
}

/* rows 0: a vector [k]. */
static smt_status check_shape(const smt_st_tensor *tensor, uint64_t rows, uint64_t k, smt_error *err) {
    uint32_t n_dims = rows ? 2 : 1;
    if (tensor->n_dims == n_dims && tensor->dims[n_dims - 1] == k && (rows == 0 || tensor->dims[0] == rows)) return SMT_OK;
    char found[96], wanted[64];
    if (rows)
        snprintf(wanted, sizeof wanted, "[%llu, %llu]", (unsigned long long)rows, (unsigned long long)k);
    else
        snprintf(wanted, sizeof wanted, "[%llu]", (unsigned long long)k);
    return SMT_FAIL(err, SMT_FORMAT, "tensor %.200s has the shape %s, config.json asks for %s", tensor->name,
                    shape_words(tensor, found), wanted);
}

static smt_status find_tensor(smt_convert_list *list, const char *name, uint64_t rows, uint64_t k, const smt_st_tensor **out) {
    smt_st_tensor *tensor = smt_st_find(list->st, name);
    if (!tensor) return SMT_FAIL(list->err, SMT_FORMAT, "tensor %s is missing: config.json asks for it, no file holds it", name);
    SMT_TRY(check_shape(tensor, rows, k, list->err));
    tensor->used = true;
    *out = tensor;
    return SMT_OK;
}

/* The scales of F8 blocks: [rows / block, k / block], rounded up, named after the matrix. */
static smt_status find_scale(smt_convert_list *list, const char *name, uint64_t rows, uint64_t k, const smt_st_tensor **out) {
    const smt_hf_config *c = list->config;
    char scale_name[MAX_NAME + 16];
    if (c->block_rows == 0 || rows == 0)
        return SMT_FAIL(list->err, SMT_UNSUPPORTED, "tensor %s is of type F8_E4M3, but config.json declares no block scales",
                        name);
    snprintf(scale_name, sizeof scale_name, "%s_scale_inv", name);
    SMT_TRY(find_tensor(list, scale_name, (rows + c->block_rows - 1) / c->block_rows,
                        (k + c->block_columns - 1) / c->block_columns, out));
    if ((*out)->kind == SMT_ST_F32) return SMT_OK;
    return SMT_FAIL(list->err, SMT_UNSUPPORTED, "tensor %s is of type %s, F32 is supported for scales", scale_name,
                    smt_st_kind_name(*out));
}

static smt_status add_source(smt_convert_list *list, const char *name, uint64_t rows, uint64_t k) {
    smt_convert_source source = {0};
    SMT_TRY(find_tensor(list, name, rows, k, &source.matrix));
    if (source.matrix->kind == SMT_ST_INTEGER || source.matrix->kind == SMT_ST_OTHER)
        return SMT_FAIL(list->err, SMT_UNSUPPORTED, "tensor %s is of type %s; F32, F16, BF16 and F8_E4M3 can be read", name,
                        smt_st_kind_name(source.matrix));
    if (source.matrix->kind == SMT_ST_F8_E4M3) SMT_TRY(find_scale(list, name, rows, k, &source.scale));
    SMT_TRY(smt_grow((void **)&list->sources, &list->source_capacity, list->n_sources + 1, sizeof *list->sources, list->err));
    list->sources[list->n_sources++] = source;
    return SMT_OK;
}

static const char *source_name(uint32_t layer, const char *from, char text[MAX_NAME]) {
    if (layer == SMT_CONVERT_MODEL)
        snprintf(text, MAX_NAME, "%s", from);
    else
        snprintf(text, MAX_NAME, "model.layers.%u.%s", layer, from);
    return text;
}

/* ---- tensors ---- */

/* What the mix says of this name and these rows; the layout of the file that the rules look at is not there yet. */
static smt_dtype choose_type(const smt_convert_list *list, const smt_convert_tensor *tensor) {
    smt_gguf_tensor probe = {.name = tensor->name, .n_dims = tensor->n_dims, .type = SMT_DTYPE_F32};
    memcpy(probe.ne, tensor->ne, sizeof probe.ne);
    if (tensor->type == SMT_DTYPE_F32 || smt_mix_keeps(&probe)) return SMT_DTYPE_F32;
    return smt_mix_fit(smt_mix_choose(list->mix, &list->facts, &probe), tensor->ne[0]);
}

/* `shape`: all but name, n_dims and type, which is SMT_DTYPE_F32 or anything else: then the mix decides. ne: row length, rows
 * (0: a vector), planes (0: one matrix). */
static smt_status add_tensor(smt_convert_list *list, uint32_t layer, const char *to, const smt_convert_tensor *shape) {
    SMT_TRY(smt_grow((void **)&list->tensors, &list->tensor_capacity, list->n_tensors + 1, sizeof *list->tensors, list->err));
    smt_convert_tensor *tensor = &list->tensors[list->n_tensors];
    *tensor = *shape;
    if (layer == SMT_CONVERT_MODEL)
        snprintf(tensor->name, sizeof tensor->name, "%s", to);
    else
        snprintf(tensor->name, sizeof tensor->name, "blk.%u.%s", layer, to);
    tensor->n_dims = tensor->ne[2] ? 3 : tensor->ne[1] ? 2 : 1;
    uint64_t n = tensor->ne[0], bytes = 0;
    bool fits = true;
    for (uint32_t d = 1; d < 4; d++) {
        if (tensor->ne[d] == 0) tensor->ne[d] = 1;
        fits = fits && smt_mul_u64(n, tensor->ne[d], &n);
    }
    tensor->type = choose_type(list, tensor);
    fits = fits && smt_mul_u64(n / tensor->ne[0], smt_dtype_row_bytes(tensor->type, tensor->ne[0]), &bytes);
    float none;
    if (!smt_quant_encode(tensor->type, &none, &none, 0))
        return SMT_FAIL(list->err, SMT_UNSUPPORTED, "tensor %s: there is no encoder for type %s", tensor->name,
                        smt_dtype_get((uint32_t)tensor->type)->name);
    if (!fits || n > INT64_MAX - list->n_params || bytes > INT64_MAX - list->n_bytes)
        return SMT_FAIL(list->err, SMT_FORMAT, "tensor %s: sizes beyond 2^63", tensor->name);
    list->n_params += n;
    list->n_bytes += bytes;
    list->n_tensors++;
    return SMT_OK;
}

static smt_status put(smt_convert_list *list, smt_dtype type, uint32_t layer, const char *to, const char *from, uint64_t rows,
                      uint64_t k) {
    char name[MAX_NAME];
    smt_convert_tensor tensor = {.type = type,
                                 .ne = {k, rows},
                                 .first_source = list->n_sources,
                                 .n_sources = 1,
                                 .n_slices = 1,
                                 .slice_rows = rows ? rows : 1};
    SMT_TRY(add_source(list, source_name(layer, from, name), rows, k));
    return add_tensor(list, layer, to, &tensor);
}

smt_status smt_convert_put(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows, uint64_t k) {
    return put(list, list->mix->base, layer, to, from, rows, k);
}

smt_status smt_convert_put_f32(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows,
                               uint64_t k) {
    return put(list, SMT_DTYPE_F32, layer, to, from, rows, k);
}

smt_status smt_convert_put_pairs(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint32_t heads,
                                 uint32_t head, uint64_t k) {
    char name[MAX_NAME];
    uint64_t rows = (uint64_t)heads * head;
    smt_convert_tensor tensor = {.type = list->mix->base,
                                 .ne = {k, rows},
                                 .order = SMT_CONVERT_PAIRS,
                                 .first_source = list->n_sources,
                                 .n_sources = 1,
                                 .n_slices = heads,
                                 .slice_rows = head,
                                 .slice_step = head};
    SMT_TRY(add_source(list, source_name(layer, from, name), rows, k));
    return add_tensor(list, layer, to, &tensor);
}

smt_status smt_convert_put_planes(smt_convert_list *list, uint32_t layer, const smt_convert_planes *planes) {
    char name[MAX_NAME];
    uint64_t k = planes->source_k;
    smt_convert_tensor tensor = {
        .type = list->mix->base,
        .ne = {planes->transposed ? planes->count : k, planes->transposed ? k : planes->count, planes->heads},
        .order = planes->transposed ? SMT_CONVERT_TRANSPOSE : SMT_CONVERT_AS_IS,
        .first_source = list->n_sources,
        .n_sources = 1,
        .n_slices = planes->heads,
        .slice_first = planes->first,
        .slice_rows = planes->count,
        .slice_step = planes->step};
    SMT_TRY(add_source(list, source_name(layer, planes->from, name), (uint64_t)planes->heads * planes->step, k));
    return add_tensor(list, layer, planes->to, &tensor);
}

smt_status smt_convert_put_experts(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows,
                                   uint64_t k) {
    uint32_t n = list->config->n_experts;
    smt_convert_tensor tensor = {.type = list->mix->base,
                                 .ne = {k, rows, n},
                                 .first_source = list->n_sources,
                                 .n_sources = n,
                                 .n_slices = 1,
                                 .slice_rows = rows};
    for (uint32_t i = 0; i < n; i++) {
        char name[MAX_NAME];
        snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s", layer, i, from);
        SMT_TRY(add_source(list, name, rows, k));
    }
    return add_tensor(list, layer, to, &tensor);
}

smt_status smt_convert_put_values(smt_convert_list *list, const char *to, float *values, uint64_t n) {
    smt_convert_tensor tensor = {.type = SMT_DTYPE_F32, .ne = {n}, .values = values};
    return add_tensor(list, SMT_CONVERT_MODEL, to, &tensor);
}

/* ---- what is left over ---- */

static bool ends_with(const char *text, const char *end) {
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

static bool is_relic(const smt_convert_list *list, const smt_st_tensor *tensor) {
    return tensor->kind == SMT_ST_INTEGER || ends_with(tensor->name, ".rotary_emb.inv_freq") ||
           (list->config->tied && strcmp(tensor->name, "lm_head.weight") == 0);
}

static bool is_further_layer(const smt_convert_list *list, const smt_st_tensor *tensor) {
    static const char prefix[] = "model.layers.";
    if (strncmp(tensor->name, prefix, sizeof prefix - 1) != 0) return false;
    char *end;
    unsigned long layer = strtoul(tensor->name + sizeof prefix - 1, &end, 10);
    const smt_hf_config *c = list->config;
    return *end == '.' && layer >= c->n_layers && layer < (unsigned long)c->n_layers + c->n_nextn;
}

SMT_PRINTF(2, 3)
static void tell(const smt_convert_list *list, const char *format, ...) {
    const smt_callbacks *callbacks = list->callbacks;
    char text[512];
    if (!callbacks->log) return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    callbacks->log(callbacks->user, SMT_LOG_WARN, text);
}

static smt_status check_rest(smt_convert_list *list) {
    const smt_st_tensor *relic = NULL, *unknown = NULL;
    size_t n_relics = 0, n_further = 0, n_unknown = 0;
    for (size_t i = 0; i < list->st->n_tensors; i++) {
        const smt_st_tensor *tensor = &list->st->tensors[i];
        if (tensor->used) continue;
        if (is_further_layer(list, tensor)) {
            n_further++;
        } else if (is_relic(list, tensor)) {
            n_relics++;
            relic = relic ? relic : tensor;
        } else {
            n_unknown++;
            unknown = unknown ? unknown : tensor;
        }
    }
    if (n_unknown)
        return SMT_FAIL(list->err, SMT_UNSUPPORTED, "tensor %.200s has no place in a %s model (unknown tensors: %zu)",
                        unknown->name, list->config->architecture, n_unknown);
    if (n_further)
        tell(list, "%zu tensors of %u layers that predict further tokens are left out", n_further, list->config->n_nextn);
    if (n_relics) tell(list, "%zu tensors without use are left out, the first is %.200s", n_relics, relic->name);
    list->n_left_out = n_further + n_relics;
    return SMT_OK;
}

smt_status smt_convert_list_build(smt_convert_list *list) {
    const smt_hf_config *c = list->config;
    list->facts = (smt_mix_facts){.n_layers = c->n_layers,
                                  .heads_per_kv = c->family == SMT_HF_DEEPSEEK2 ? c->n_heads : c->n_heads / c->n_kv_heads,
                                  .has_output = !c->tied,
                                  .llama = c->family == SMT_HF_LLAMA};
    SMT_TRY(smt_convert_family_tensors(list));
    return check_rest(list);
}

void smt_convert_list_free(smt_convert_list *list) {
    smt_free(list->tensors);
    smt_free(list->sources);
    smt_arena_free(&list->arena);
    list->tensors = NULL;
    list->sources = NULL;
}
