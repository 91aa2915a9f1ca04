/* model_keys.c: reads the numbers of a model from metadata, each with the range that makes sense for it.
 *
 * Every failure names the full key and the numbers. A default that matters for the result is recorded with
 * smt_model_assume, so that `inspect` can show what the file did not say. */
#include "model_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define KEY_CAPACITY 160

static const char *full_key(const smt_model_reader *r, const char *key, char text[KEY_CAPACITY]) {
    snprintf(text, KEY_CAPACITY, "%s.%s", r->model->architecture, key);
    return text;
}

bool smt_model_has_key(const smt_model_reader *r, const char *key) {
    char name[KEY_CAPACITY];
    return smt_gguf_find(r->file, full_key(r, key, name)) != NULL;
}

/* One value per layer, in files whose converter foresaw layers of different widths: accepted while they do not differ. */
static smt_status read_equal_array(smt_model_reader *r, const smt_gguf_key *key, uint32_t *out) {
    bool integers =
        key->element_kind != SMT_GGUF_STRING && key->element_kind != SMT_GGUF_F32 && key->element_kind != SMT_GGUF_F64;
    if (!integers || key->count == 0)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s is an array of %" PRIu64 " %s values, integers are wanted", key->name,
                        key->count, smt_gguf_kind_name(key->element_kind));
    int64_t first = smt_gguf_array_int(key, 0);
    for (uint64_t i = 1; i < key->count; i++)
        if (smt_gguf_array_int(key, i) != first)
            return SMT_FAIL(r->err, SMT_UNSUPPORTED,
                            "key %s differs between layers (%" PRId64 " in layer 0, %" PRId64 " in layer %" PRIu64
                            "), which is not supported",
                            key->name, first, smt_gguf_array_int(key, i), i);
    if (first < 0 || first > UINT32_MAX)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s holds %" PRId64 ", 0 to 4294967295 is allowed", key->name, first);
    *out = (uint32_t)first;
    return SMT_OK;
}

smt_status smt_model_get_u32(smt_model_reader *r, const char *key, uint32_t low, uint32_t high, uint32_t *out, bool *found) {
    char name[KEY_CAPACITY];
    const smt_gguf_key *entry = smt_gguf_find(r->file, full_key(r, key, name));
    if (found) *found = entry != NULL;
    if (!entry) return SMT_OK;
    uint32_t value = 0;
    if (entry->kind == SMT_GGUF_ARRAY)
        SMT_TRY(read_equal_array(r, entry, &value));
    else
        SMT_TRY(smt_gguf_u32(r->file, name, &value, NULL, r->err));
    if (value < low || value > high)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s is %u, %u to %u is allowed", name, value, low, high);
    *out = value;
    return SMT_OK;
}

smt_status smt_model_need_u32(smt_model_reader *r, const char *key, uint32_t low, uint32_t high, uint32_t *out) {
    char name[KEY_CAPACITY];
    bool found;
    SMT_TRY(smt_model_get_u32(r, key, low, high, out, &found));
    return found ? SMT_OK : SMT_FAIL(r->err, SMT_FORMAT, "key %s is missing", full_key(r, key, name));
}

smt_status smt_model_get_f32(smt_model_reader *r, const char *key, double low, double high, double *out, bool *found) {
    char name[KEY_CAPACITY];
    bool present;
    float value = 0;
    SMT_TRY(smt_gguf_f32(r->file, full_key(r, key, name), &value, &present, r->err));
    if (found) *found = present;
    if (!present) return SMT_OK;
    if (!(value >= low && value <= high)) /* written so that NaN fails */
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s is %g, %g to %g is allowed", name, (double)value, low, high);
    *out = value;
    return SMT_OK;
}

smt_status smt_model_assume(smt_model_reader *r, const char *format, ...) {
    smt_model *model = r->model;
    char text[200];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t length = bytes < 0 ? 0 : (size_t)bytes < sizeof text ? (size_t)bytes : sizeof text - 1;
    const char **grown = smt_arena_alloc(&model->arena, model->n_assumed + 1, sizeof *grown);
    char *line = smt_arena_strndup(&model->arena, text, length);
    if (!grown || !line) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory noting \"%s\"", text);
    for (uint32_t i = 0; i < model->n_assumed; i++) grown[i] = model->assumed[i];
    grown[model->n_assumed++] = line;
    model->assumed = grown;
    return SMT_OK;
}

/* The first layer with tensors that predict tokens further ahead; UINT32_MAX: none. */
static uint32_t first_prediction_layer(const smt_model_reader *r) {
    uint32_t first = UINT32_MAX;
    for (uint64_t i = 0; i < smt_gguf_tensor_count(r->file); i++) {
        unsigned layer;
        int used = 0;
        const char *name = smt_gguf_tensor_at(r->file, i)->name;
        if (sscanf(name, "blk.%4u.nextn.%n", &layer, &used) == 1 && used) first = smt_min_u32(first, layer);
    }
    return first;
}

/* Layers that predict tokens further ahead stand behind the model's own, and generation does not run them. Some converters count
 * them in block_count and write how many there are, others leave the count alone: their tensors tell, or else the key. */
static smt_status read_layer_count(smt_model_reader *r) {
    smt_model *model = r->model;
    uint32_t n_ahead = 0, first = first_prediction_layer(r);
    SMT_TRY(smt_model_need_u32(r, "block_count", 1, SMT_MODEL_MAX_LAYERS, &model->n_layers));
    SMT_TRY(smt_model_get_u32(r, "nextn_predict_layers", 0, model->n_layers - 1, &n_ahead, NULL));
    if (first == 0)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED, "layer 0 has blk.0.nextn tensors: a file of prediction layers alone");
    if (first == UINT32_MAX)
        model->n_layers -= n_ahead;
    else
        model->n_layers = smt_min_u32(model->n_layers, first);
    return SMT_OK;
}

smt_status smt_model_read_common(smt_model_reader *r) {
    smt_model *model = r->model;
    double eps = 0;
    bool found;
    SMT_TRY(read_layer_count(r));
    SMT_TRY(smt_model_need_u32(r, "embedding_length", 1, SMT_MODEL_MAX_DIM - 1, &model->n_embd));
    SMT_TRY(smt_model_need_u32(r, "context_length", 1, INT32_MAX, &model->n_ctx_train));
    SMT_TRY(smt_model_need_u32(r, "attention.head_count", 1, SMT_MODEL_MAX_DIM - 1, &model->n_heads));
    SMT_TRY(smt_model_get_f32(r, "attention.layer_norm_rms_epsilon", 0, 1, &eps, &found));
    if (!found) return SMT_FAIL(r->err, SMT_FORMAT, "key %s.attention.layer_norm_rms_epsilon is missing", model->architecture);
    model->norm_eps = (float)eps;
    return SMT_OK;
}
