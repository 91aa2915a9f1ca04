/* model_check.c: holds the tensors of a file against the numbers of its metadata.
 *
 * Invariants
 *   1. A bound smt_matrix has exactly the wanted elements: whoever reads it later need not look at the file's shape again.
 *   2. A 3-D tensor may also be written as 2-D with the planes one below the other: the bytes are the same.
 *   3. Tensors that would change the result but have no place in smt_model are refused by name, never passed over. */
#include "model_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every matrix of a layer: where it stands in the struct, and whether kernels read it as F32 only. */
static const struct {
    size_t offset;
    bool f32;
} layer_matrices[] = {
#define ROW(field, f32) \
    { offsetof(smt_model_layer, field), f32 }
    ROW(attn_norm, true),  ROW(ffn_norm, true),    ROW(q, false),          ROW(q_a, false),        ROW(q_a_norm, true),
    ROW(q_b, false),       ROW(kv_a, false),       ROW(kv_a_norm, true),   ROW(k_b, false),        ROW(v_b, false),
    ROW(k, false),         ROW(v, false),          ROW(output, false),     ROW(gate, false),       ROW(up, false),
    ROW(down, false),      ROW(router, true),      ROW(router_bias, true), ROW(gate_exps, false),  ROW(up_exps, false),
    ROW(down_exps, false), ROW(gate_shexp, false), ROW(up_shexp, false),   ROW(down_shexp, false), ROW(q_bias, true),
    ROW(k_bias, true),     ROW(v_bias, true),      ROW(output_bias, true), ROW(gate_bias, true),   ROW(up_bias, true),
    ROW(down_bias, true),
#undef ROW
};
_Static_assert(SMT_COUNT(layer_matrices) == SMT_MODEL_LAYER_MATRICES, "one row for each matrix of smt_model_layer");

uint32_t smt_model_layer_matrices(const smt_model_layer *layer, const smt_matrix *out[SMT_MODEL_LAYER_MATRICES],
                                  bool f32[SMT_MODEL_LAYER_MATRICES]) {
    uint32_t n = 0;
    for (size_t i = 0; i < SMT_COUNT(layer_matrices); i++) {
        const smt_matrix *matrix = (const smt_matrix *)((const char *)layer + layer_matrices[i].offset);
        if (!matrix->tensor) continue;
        out[n] = matrix;
        f32[n++] = layer_matrices[i].f32;
    }
    return n;
}

bool smt_model_is_routed(const smt_model_layer *layer, const smt_matrix *matrix) {
    return matrix == &layer->gate_exps || matrix == &layer->up_exps || matrix == &layer->down_exps;
}

/* ---- shapes ---- */

static const char *tensor_name(const smt_model_want *want, char text[64]) {
    if (want->layer == SMT_MODEL_WHOLE)
        snprintf(text, 64, "%s", want->name);
    else
        snprintf(text, 64, "blk.%u.%s", want->layer, want->name);
    return text;
}

static smt_status wrong_shape(smt_model_reader *r, const smt_model_want *want, const smt_gguf_tensor *tensor) {
    const uint64_t *ne = tensor->ne;
    char planes[32] = "";
    if (want->n_planes > 1) snprintf(planes, sizeof planes, ", %u", want->n_planes);
    return SMT_FAIL(r->err, SMT_FORMAT,
                    "tensor %s has the shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "], the metadata ask for [%" PRIu64
                    ", %" PRIu64 "%s]",
                    tensor->name, ne[0], ne[1], ne[2], ne[3], want->k, want->rows, planes);
}

smt_status smt_model_bind(smt_model_reader *r, smt_model_want want, smt_matrix *out) {
    char name[64];
    *out = (smt_matrix){0};
    const smt_gguf_tensor *tensor = smt_gguf_find_tensor(r->file, tensor_name(&want, name));
    if (!tensor) return want.optional ? SMT_OK : SMT_FAIL(r->err, SMT_FORMAT, "tensor %s is missing", name);
    const uint64_t *ne = tensor->ne;
    uint64_t all_rows;
    bool fits = smt_mul_u64(want.rows, want.n_planes, &all_rows) && all_rows <= INT32_MAX && want.k <= INT32_MAX;
    bool planes = ne[1] == want.rows && ne[2] == want.n_planes, stacked = ne[1] == all_rows && ne[2] == 1;
    if (!fits || ne[0] != want.k || ne[3] != 1 || !(planes || stacked)) return wrong_shape(r, &want, tensor);
    *out = (smt_matrix){.tensor = tensor,
                        .k = (uint32_t)want.k,
                        .rows = (uint32_t)want.rows,
                        .n_planes = want.n_planes,
                        .plane_rows = (uint32_t)want.rows};
    return SMT_OK;
}

/* The vocabulary has as many rows as the tokenizer has tokens, where the file brings one. */
static smt_status check_vocabulary(smt_model_reader *r, uint64_t rows) {
    const smt_gguf_key *tokens = smt_gguf_find(r->file, "tokenizer.ggml.tokens");
    if (rows >= SMT_MODEL_MAX_DIM)
        return SMT_FAIL(r->err, SMT_FORMAT, "tensor token_embd.weight has %" PRIu64 " rows, at most %u are allowed", rows,
                        SMT_MODEL_MAX_DIM - 1);
    if (tokens && tokens->kind == SMT_GGUF_ARRAY && tokens->count != rows)
        return SMT_FAIL(r->err, SMT_FORMAT,
                        "tensor token_embd.weight has %" PRIu64 " rows, tokenizer.ggml.tokens has %" PRIu64 " entries", rows,
                        tokens->count);
    r->model->n_vocab = (uint32_t)rows;
    return SMT_OK;
}

/* ---- extras ---- */

/* Which layer the name "blk.N.REST" speaks of, and REST; false: none. */
static bool split_name(const char *name, unsigned long *layer, const char **rest) {
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return false;
    char *end;
    *layer = strtoul(name + 4, &end, 10);
    *rest = end + 1;
    return *end == '.';
}

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool listed(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0) return true;
    return false;
}

/* Would we pass over this tensor of a layer that we run, and compute something else than the model? */
static bool is_extra(const smt_model *model, unsigned long layer, const char *part) {
    static const char *const refused[] = {"attn_qkv.weight",    "ffn_gate_up.weight",    "attn_q_norm.weight",
                                          "attn_k_norm.weight", "attn_post_norm.weight", "ffn_post_norm.weight"};
    static const char *const attention[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"};
    static const char *const dense[] = {"ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"};
    bool routed = layer >= model->n_dense_layers;
    if (strcmp(part, "ffn_gate_up_exps.weight") == 0 || strcmp(part, "exp_probs_b.bias") == 0) return !routed;
    if (listed(part, attention, SMT_COUNT(attention))) return model->mla;
    if (listed(part, dense, SMT_COUNT(dense))) return routed;
    return ends_with(part, ".bias") || ends_with(part, ".scale") || listed(part, refused, SMT_COUNT(refused));
}

/* Refuses what invariant 3 is about, and counts the tensors of layers behind the model's own. */
static smt_status check_extras(smt_model_reader *r) {
    smt_model *model = r->model;
    for (uint64_t i = 0; i < smt_gguf_tensor_count(r->file); i++) {
        const char *name = smt_gguf_tensor_at(r->file, i)->name, *part = name;
        unsigned long layer = 0;
        bool in_layer = split_name(name, &layer, &part);
        if (in_layer && layer >= model->n_layers) {
            model->n_tensors_skipped++;
            if (layer < SMT_MODEL_MAX_LAYERS * 2)
                model->n_layers_skipped = smt_max_u32(model->n_layers_skipped, (uint32_t)layer + 1 - model->n_layers);
            continue;
        }
        if (in_layer ? is_extra(model, layer, part) : ends_with(name, ".bias") || ends_with(name, ".scale"))
            return SMT_FAIL(r->err, SMT_UNSUPPORTED, "tensor %s: a %s model with such a tensor is not supported", name,
                            model->architecture);
    }
    return SMT_OK;
}

/* ---- ends ---- */

static smt_status bind_vocabulary(smt_model_reader *r) {
    smt_model *model = r->model;
    const smt_gguf_tensor *embedding = smt_gguf_find_tensor(r->file, "token_embd.weight");
    if (embedding) SMT_TRY(check_vocabulary(r, embedding->ne[1]));
    smt_model_want want = {SMT_MODEL_WHOLE, "token_embd.weight", model->n_vocab, model->n_embd, 1, false};
    SMT_TRY(smt_model_bind(r, want, &model->token_embd));
    want.name = "output.weight";
    want.optional = true;
    SMT_TRY(smt_model_bind(r, want, &model->output));
    if (model->output.tensor) return SMT_OK;
    model->output = model->token_embd;
    return smt_model_assume(r, "output.weight: the embedding table (tied)");
}

smt_status smt_model_bind_ends(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(check_extras(r));
    SMT_TRY(bind_vocabulary(r));
    SMT_TRY(smt_model_bind(r, (smt_model_want){SMT_MODEL_WHOLE, "output_norm.weight", 1, model->n_embd, 1, false},
                           &model->output_norm));
    model->layers = smt_arena_alloc(&model->arena, model->n_layers, sizeof *model->layers);
    return model->layers ? SMT_OK : SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %u layers", model->n_layers);
}

/* ---- types ---- */

static smt_status check_type(const smt_matrix *matrix, bool f32, smt_error *err) {
    const smt_gguf_tensor *tensor = matrix->tensor;
    const smt_dtype_info *info = smt_dtype_get((uint32_t)tensor->type);
    if (f32 && tensor->type != SMT_DTYPE_F32)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "tensor %s is of type %s, only F32 is supported for it", tensor->name, info->name);
    if (!info->runs)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "tensor %s is of type %s, which is not supported yet", tensor->name, info->name);
    return SMT_OK;
}

smt_status smt_model_check_types(const smt_model *model, smt_error *err) {
    const smt_matrix *matrices[SMT_MODEL_LAYER_MATRICES];
    bool f32[SMT_MODEL_LAYER_MATRICES];
    SMT_TRY(check_type(&model->token_embd, false, err));
    SMT_TRY(check_type(&model->output_norm, true, err));
    SMT_TRY(check_type(&model->output, false, err));
    for (uint32_t i = 0; i < model->n_layers; i++) {
        uint32_t n = smt_model_layer_matrices(&model->layers[i], matrices, f32);
        for (uint32_t j = 0; j < n; j++) SMT_TRY(check_type(matrices[j], f32[j], err));
    }
    return SMT_OK;
}
