/* api_file.c: smt_file_*: what a GGUF file says, as plain structs and text.
 *
 * Everything is decided when the file is opened (see api_internal.h); the calls after that only read. Keys and tensors are
 * hostile text: whatever leaves through smt_file_key_text is valid UTF-8. */
#include "api_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

smt_status smt_file_open(const char *path, smt_file **out_file, smt_error *err) {
    *out_file = NULL;
    if (!path || !*path) return SMT_FAIL(err, SMT_INVALID, "no file name given");
    smt_file *file = smt_alloc(1, sizeof *file);
    if (!file) return SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    smt_status status = smt_gguf_open(path, &file->gguf, err);
    if (status == SMT_OK) {
        smt_vocab_assumed(file->gguf, file->assumed_split, sizeof file->assumed_split);
        file->model_status = smt_model_create(file->gguf, &file->model, &file->model_error);
        if (file->model_status == SMT_MEMORY) {
            status = SMT_MEMORY;
            if (err) *err = file->model_error;
        }
    }
    if (status != SMT_OK) {
        smt_file_free(file);
        return status;
    }
    *out_file = file;
    return SMT_OK;
}

void smt_file_free(smt_file *file) {
    if (!file) return;
    smt_model_free(file->model);
    smt_gguf_free(file->gguf);
    smt_free(file);
}

uint32_t smt_file_part_count(const smt_file *file) { return smt_gguf_part_count(file->gguf); }

smt_status smt_file_part(const smt_file *file, uint32_t part, const char **out_path, uint64_t *out_bytes) {
    *out_path = smt_gguf_part_path(file->gguf, part);
    *out_bytes = smt_gguf_part_bytes(file->gguf, part);
    return *out_path ? SMT_OK : SMT_INVALID;
}

/* ---- keys ---- */

static const char *array_name(smt_gguf_kind element) {
    static const char *const names[] = {
        [SMT_GGUF_U8] = "array of u8",   [SMT_GGUF_I8] = "array of i8",     [SMT_GGUF_U16] = "array of u16",
        [SMT_GGUF_I16] = "array of i16", [SMT_GGUF_U32] = "array of u32",   [SMT_GGUF_I32] = "array of i32",
        [SMT_GGUF_F32] = "array of f32", [SMT_GGUF_BOOL] = "array of bool", [SMT_GGUF_STRING] = "array of string",
        [SMT_GGUF_U64] = "array of u64", [SMT_GGUF_I64] = "array of i64",   [SMT_GGUF_F64] = "array of f64",
    };
    return (unsigned)element < SMT_COUNT(names) ? names[element] : "array";
}

uint64_t smt_file_key_count(const smt_file *file) { return smt_gguf_key_count(file->gguf); }

smt_status smt_file_key(const smt_file *file, uint64_t index, smt_key_info *out_info) {
    *out_info = (smt_key_info){0};
    if (index >= smt_gguf_key_count(file->gguf)) return SMT_INVALID;
    const smt_gguf_key *key = smt_gguf_key_at(file->gguf, index);
    out_info->name = key->name;
    out_info->type = key->kind == SMT_GGUF_ARRAY ? array_name(key->element_kind) : smt_gguf_kind_name(key->kind);
    out_info->count = key->count;
    return SMT_OK;
}

/* Text being written into the caller's buffer: `bytes` counts everything, what does not fit whole is left out. */
typedef struct sink {
    char *text;
    size_t capacity, bytes, used;
} sink;

/* `unit` is one character or a run that may be cut nowhere. */
static void put(sink *out, const void *unit, size_t bytes) {
    if (out->bytes == out->used && out->used + bytes < out->capacity) {
        memcpy(out->text + out->used, unit, bytes);
        out->used += bytes;
    }
    out->bytes += bytes;
}

static void put_utf8(sink *out, const char *text, size_t bytes) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (bytes) {
        utf8proc_int32_t point;
        utf8proc_ssize_t length = utf8proc_iterate(at, bytes < 4 ? (utf8proc_ssize_t)bytes : 4, &point);
        if (length > 0)
            put(out, at, (size_t)length);
        else
            put(out, "\xEF\xBF\xBD", 3);
        size_t step = length > 0 ? (size_t)length : 1;
        at += step;
        bytes -= step;
    }
}

/* The shortest text that reads back as the same number: 1e-06, not 9.99999997e-07. */
static int print_f32(float value, char *text, size_t capacity) {
    int length = 0;
    for (int digits = 6; digits <= 9; digits++) {
        length = snprintf(text, capacity, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return length;
}

/* One number of a key as text; 8-byte types are copied out because nothing in the mapping is aligned. */
static int print_number(const smt_gguf_key *key, smt_gguf_kind kind, uint64_t element, char *text, size_t capacity) {
    uint64_t u64;
    double f64;
    switch (kind) {
    case SMT_GGUF_F32:
        return print_f32(smt_gguf_array_f32(key, element), text, capacity);
    case SMT_GGUF_F64:
        memcpy(&f64, key->data + element * 8, 8);
        return snprintf(text, capacity, "%.17g", f64);
    case SMT_GGUF_U64:
        memcpy(&u64, key->data + element * 8, 8);
        return snprintf(text, capacity, "%" PRIu64, u64);
    case SMT_GGUF_BOOL:
        return snprintf(text, capacity, "%s", smt_gguf_array_int(key, element) ? "true" : "false");
    default:
        return snprintf(text, capacity, "%" PRId64, smt_gguf_array_int(key, element));
    }
}

size_t smt_file_key_text(const smt_file *file, uint64_t index, uint64_t element, char *text, size_t capacity) {
    if (capacity) text[0] = 0;
    if (index >= smt_gguf_key_count(file->gguf)) return 0;
    const smt_gguf_key *key = smt_gguf_key_at(file->gguf, index);
    if (element >= key->count) return 0;
    sink out = {text, capacity, 0, 0};
    smt_gguf_kind kind = key->kind == SMT_GGUF_ARRAY ? key->element_kind : key->kind;
    if (kind == SMT_GGUF_STRING) {
        put_utf8(&out, key->strings[element].text, key->strings[element].bytes);
    } else {
        char number[40];
        int length = print_number(key, kind, element, number, sizeof number);
        put(&out, number, (size_t)length);
    }
    if (capacity) text[out.used] = 0;
    return out.bytes;
}

/* ---- tensors and model ---- */

uint64_t smt_file_tensor_count(const smt_file *file) { return smt_gguf_tensor_count(file->gguf); }

smt_status smt_file_tensor(const smt_file *file, uint64_t index, smt_tensor_info *out_info) {
    *out_info = (smt_tensor_info){0};
    if (index >= smt_gguf_tensor_count(file->gguf)) return SMT_INVALID;
    const smt_gguf_tensor *tensor = smt_gguf_tensor_at(file->gguf, index);
    out_info->name = tensor->name;
    out_info->type = smt_dtype_get((uint32_t)tensor->type)->name; /* the reader accepts no type that the table lacks */
    out_info->n_dims = tensor->n_dims;
    memcpy(out_info->ne, tensor->ne, sizeof out_info->ne);
    out_info->part = tensor->part;
    out_info->offset = tensor->offset;
    out_info->bytes = tensor->bytes;
    return SMT_OK;
}

static bool is_biased(const smt_model *model) {
    for (uint32_t i = 0; i < model->n_layers; i++) {
        const smt_model_layer *layer = &model->layers[i];
        const smt_matrix *biases[] = {&layer->q_bias,    &layer->k_bias,  &layer->v_bias,   &layer->output_bias,
                                      &layer->gate_bias, &layer->up_bias, &layer->down_bias};
        for (size_t j = 0; j < SMT_COUNT(biases); j++)
            if (biases[j]->tensor) return true;
    }
    return false;
}

/* What decides rotation and routing, in words. */
static void describe_rules(const smt_model *model, smt_model_info *out) {
    static const char *const scalings[] = {[SMT_ROPE_PLAIN] = "none", [SMT_ROPE_LINEAR] = "linear", [SMT_ROPE_YARN] = "yarn"};
    out->rope_scaling = scalings[model->rope_scaling];
    out->rope_base = model->rope_base;
    out->rope_factor = model->rope_factor;
    out->rope_divided = model->rope_divided;
    out->gate = out->group_rule = "";
    if (model->n_experts) {
        out->gate = model->gate == SMT_GATE_SIGMOID ? "sigmoid" : "softmax";
        if (model->n_groups > 1) out->group_rule = model->group_rule == SMT_GROUP_TOP2 ? "top2" : "best";
    }
    for (uint32_t i = 0; i < model->n_layers; i++) out->selection_bias |= model->layers[i].router_bias.tensor != NULL;
    out->weights_normalized = model->norm_weights;
    out->weights_scale = (double)model->weight_scale;
    out->tied = model->output.tensor == model->token_embd.tensor;
    out->biased = is_biased(model);
    out->n_layers_skipped = model->n_layers_skipped;
    out->n_tensors_skipped = model->n_tensors_skipped;
}

smt_status smt_file_model(const smt_file *file, smt_model_info *out_info, smt_error *err) {
    *out_info = (smt_model_info){0};
    if (file->model_status != SMT_OK) {
        if (err) *err = file->model_error;
        return file->model_status;
    }
    const smt_model *model = file->model;
    *out_info = (smt_model_info){
        .architecture = model->architecture,
        .name = model->name,
        .n_layers = model->n_layers,
        .n_embd = model->n_embd,
        .n_vocab = model->n_vocab,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .n_ctx_train = model->n_ctx_train,
        .n_dense_layers = model->n_dense_layers,
        .n_experts = model->n_experts,
        .n_experts_used = model->n_used,
        .n_experts_shared = model->n_shared,
        .n_groups = model->n_groups,
        .n_groups_used = model->n_groups_used,
        .q_lora_rank = model->q_rank,
        .kv_lora_rank = model->kv_rank,
        .nope_dim = model->nope_dim,
        .rope_dim = model->rope_dim,
        .value_dim = model->value_dim,
        .n_params = model->n_params,
        .n_params_active = model->n_params_active,
        .cache_values_per_token = model->cache_values_per_token,
        .n_assumed = model->n_assumed + (file->assumed_split[0] != 0),
    };
    describe_rules(model, out_info);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(file->gguf); i++)
        out_info->tensor_bytes +=
            smt_gguf_tensor_at(file->gguf, i)->bytes; /* each lies within the file: no overflow in practice */
    return SMT_OK;
}

const char *smt_file_assumed(const smt_file *file, uint32_t index) {
    uint32_t n_model = file->model ? file->model->n_assumed : 0;
    if (index < n_model) return file->model->assumed[index];
    return index == n_model && file->assumed_split[0] ? file->assumed_split : NULL;
}
