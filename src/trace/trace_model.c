/* trace_model.c: what a trace knows of its model: checked, as bytes, and back. */
#include "trace/trace.h"

#include <string.h>

/* ---- checks: of a caller's struct and of what a file says alike ---- */

static smt_status check_counts(const smt_trace_model *m, smt_error *err) {
    const struct {
        const char *name;
        uint32_t value, least, most;
    } limits[] = {{"layers", m->n_layers, 1, SMT_TRACE_MAX_LAYERS},
                  {"layers with experts", m->n_moe, 0, m->n_layers},
                  {"experts", m->n_experts, m->n_moe ? 1 : 0, SMT_TRACE_MAX_EXPERTS},
                  {"experts used", m->n_used, m->n_moe ? 1 : 0, m->n_experts},
                  {"groups", m->n_groups, 1, m->n_experts ? m->n_experts : 1},
                  {"groups used", m->n_groups_used, 1, m->n_groups},
                  {"devices", m->n_devices, 1, SMT_TRACE_MAX_DEVICES},
                  {"places", m->n_places, m->n_moe ? 1 : 0, SMT_TRACE_MAX_PLACES}};
    for (size_t i = 0; i < SMT_COUNT(limits); i++)
        if (limits[i].value < limits[i].least || limits[i].value > limits[i].most)
            return SMT_FAIL(err, SMT_INVALID, "a trace of a model with %u %s: %u to %u are possible", limits[i].value,
                            limits[i].name, limits[i].least, limits[i].most);
    if (m->n_experts % m->n_groups)
        return SMT_FAIL(err, SMT_INVALID, "a trace of %u experts in %u groups: the groups are not equal", m->n_experts,
                        m->n_groups);
    if ((uint64_t)m->n_moe * m->n_used > SMT_TRACE_MAX_PICKS)
        return SMT_FAIL(err, SMT_INVALID, "a trace of %u experts in each of %u layers: a token has %u at most", m->n_used,
                        m->n_moe, SMT_TRACE_MAX_PICKS);
    return SMT_OK;
}

static smt_status check_text(const char *text, const char *what, smt_error *err) {
    if (!text) return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: %s is NULL", what);
    if (strlen(text) > SMT_TRACE_MAX_TEXT)
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: %s has %zu bytes, at most %u are possible", what, strlen(text),
                        SMT_TRACE_MAX_TEXT);
    return SMT_OK;
}

static smt_status check_layer(const smt_trace_model *m, uint32_t i, smt_error *err) {
    const smt_trace_layer *layer = &m->layers[i];
    if (layer->layer >= m->n_layers || (i > 0 && layer->layer <= m->layers[i - 1].layer))
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: layer %u stands at index %u of %u layers", layer->layer, i,
                        m->n_layers);
    if (!layer->places) return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: the places of layer %u are NULL", layer->layer);
    for (uint32_t e = 0; e < m->n_experts; e++)
        if (layer->places[e] >= m->n_places)
            return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: layer %u, expert %u is at place %u of %u", layer->layer, e,
                            layer->places[e], m->n_places);
    return SMT_OK;
}

smt_status smt_trace_model_check(const smt_trace_model *model, smt_error *err) {
    SMT_TRY(check_counts(model, err));
    if (!model->devices || (model->n_places && !model->places) || (model->n_moe && !model->layers))
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: devices, places or layers are NULL");
    SMT_TRY(check_text(model->name, "the name", err));
    SMT_TRY(check_text(model->architecture, "the architecture", err));
    for (uint32_t i = 0; i < model->n_devices; i++) SMT_TRY(check_text(model->devices[i], "the name of a device", err));
    for (uint32_t i = 0; i < model->n_places; i++) {
        SMT_TRY(check_text(model->places[i].tier, "a tier", err));
        if (model->places[i].device >= model->n_devices)
            return SMT_FAIL(err, SMT_INVALID, "smt_trace_model: place %u is on device %u of %u", i, model->places[i].device,
                            model->n_devices);
    }
    for (uint32_t i = 0; i < model->n_moe; i++) SMT_TRY(check_layer(model, i, err));
    return SMT_OK;
}

/* ---- to bytes ---- */

static smt_status append_text(smt_str *out, const char *text, smt_error *err) {
    SMT_TRY(smt_trace_append(out, strlen(text), 4, err));
    return smt_str_append(out, text, strlen(text), err);
}

smt_status smt_trace_model_write(const smt_trace_model *m, smt_str *out, smt_error *err) {
    const uint32_t counts[] = {m->n_layers,      m->n_experts, m->n_used,    m->n_shared, m->n_groups,
                               m->n_groups_used, m->n_ctx,     m->n_devices, m->n_places, m->n_moe};
    for (size_t i = 0; i < SMT_COUNT(counts); i++) SMT_TRY(smt_trace_append(out, counts[i], 4, err));
    SMT_TRY(smt_trace_append(out, m->cache_bytes, 8, err));
    SMT_TRY(append_text(out, m->name, err));
    SMT_TRY(append_text(out, m->architecture, err));
    for (uint32_t i = 0; i < m->n_devices; i++) SMT_TRY(append_text(out, m->devices[i], err));
    for (uint32_t i = 0; i < m->n_places; i++) {
        SMT_TRY(smt_trace_append(out, m->places[i].device, 4, err));
        SMT_TRY(append_text(out, m->places[i].tier, err));
    }
    for (uint32_t i = 0; i < m->n_moe; i++) {
        SMT_TRY(smt_trace_append(out, m->layers[i].layer, 4, err));
        SMT_TRY(smt_trace_append(out, m->layers[i].expert_bytes, 8, err));
        SMT_TRY(smt_trace_append(out, m->layers[i].shared_bytes, 8, err));
        for (uint32_t e = 0; e < m->n_experts; e++) SMT_TRY(smt_trace_append(out, m->layers[i].places[e], 2, err));
    }
    return SMT_OK;
}

/* ---- from bytes ---- */

typedef struct cursor {
    const uint8_t *at;
    size_t left;
    smt_arena *arena;
} cursor;

static smt_status cut(smt_error *err) { return SMT_FAIL(err, SMT_FORMAT, "the model of a trace ends too soon"); }
static smt_status no_memory(smt_error *err) { return SMT_FAIL(err, SMT_MEMORY, "out of memory for the model of a trace"); }

static smt_status take(cursor *c, size_t bytes, uint64_t *out, smt_error *err) {
    if (c->left < bytes) return cut(err);
    *out = smt_trace_get_number(c->at, bytes);
    c->at += bytes;
    c->left -= bytes;
    return SMT_OK;
}

static smt_status take_u32(cursor *c, uint32_t *out, smt_error *err) {
    uint64_t value = 0;
    smt_status status = take(c, 4, &value, err);
    *out = (uint32_t)value;
    return status;
}

static smt_status take_text(cursor *c, const char **out, smt_error *err) {
    uint32_t bytes;
    SMT_TRY(take_u32(c, &bytes, err));
    if (c->left < bytes) return cut(err);
    if (memchr(c->at, 0, bytes)) return SMT_FAIL(err, SMT_FORMAT, "the model of a trace has a name with a zero byte");
    *out = smt_arena_strndup(c->arena, (const char *)c->at, bytes);
    c->at += bytes;
    c->left -= bytes;
    return *out ? SMT_OK : no_memory(err);
}

static smt_status take_layer(cursor *c, uint32_t n_experts, smt_trace_layer *out, smt_error *err) {
    SMT_TRY(take_u32(c, &out->layer, err));
    SMT_TRY(take(c, 8, &out->expert_bytes, err));
    SMT_TRY(take(c, 8, &out->shared_bytes, err));
    if (c->left < 2 * (size_t)n_experts) return cut(err);
    uint16_t *places = smt_arena_alloc(c->arena, n_experts, sizeof *places);
    if (!places) return no_memory(err);
    for (uint32_t e = 0; e < n_experts; e++) places[e] = (uint16_t)smt_trace_get_number(c->at + 2 * e, 2);
    c->at += 2 * (size_t)n_experts;
    c->left -= 2 * (size_t)n_experts;
    out->places = places;
    return SMT_OK;
}

/* Devices, places and layers, once their counts are within the limits. */
static smt_status take_lists(cursor *c, smt_trace_model *m, smt_error *err) {
    const char **devices = smt_arena_alloc(c->arena, m->n_devices, sizeof *devices);
    smt_trace_place *places = smt_arena_alloc(c->arena, m->n_places, sizeof *places);
    smt_trace_layer *layers = smt_arena_alloc(c->arena, m->n_moe, sizeof *layers);
    if (!devices || !places || !layers) return no_memory(err);
    for (uint32_t i = 0; i < m->n_devices; i++) SMT_TRY(take_text(c, &devices[i], err));
    for (uint32_t i = 0; i < m->n_places; i++) {
        SMT_TRY(take_u32(c, &places[i].device, err));
        SMT_TRY(take_text(c, &places[i].tier, err));
    }
    for (uint32_t i = 0; i < m->n_moe; i++) SMT_TRY(take_layer(c, m->n_experts, &layers[i], err));
    m->devices = devices;
    m->places = places;
    m->layers = layers;
    return SMT_OK;
}

static smt_status take_model(cursor *c, smt_trace_model *m, smt_error *err) {
    uint32_t *const counts[] = {&m->n_layers,      &m->n_experts, &m->n_used,    &m->n_shared, &m->n_groups,
                                &m->n_groups_used, &m->n_ctx,     &m->n_devices, &m->n_places, &m->n_moe};
    for (size_t i = 0; i < SMT_COUNT(counts); i++) SMT_TRY(take_u32(c, counts[i], err));
    SMT_TRY(take(c, 8, &m->cache_bytes, err));
    SMT_TRY(take_text(c, &m->name, err));
    SMT_TRY(take_text(c, &m->architecture, err));
    SMT_TRY(check_counts(m, err));
    SMT_TRY(take_lists(c, m, err));
    SMT_TRY(smt_trace_model_check(m, err));
    return c->left ? SMT_FAIL(err, SMT_FORMAT, "%zu bytes behind the model of a trace", c->left) : SMT_OK;
}

smt_status smt_trace_model_read(const uint8_t *bytes, size_t n_bytes, smt_arena *arena, smt_trace_model *out, smt_error *err) {
    cursor c = {.at = bytes, .left = n_bytes, .arena = arena};
    *out = (smt_trace_model){.struct_size = sizeof *out};
    smt_status status = take_model(&c, out, err);
    if (status == SMT_INVALID) status = SMT_FORMAT; /* the check's words fit, but the fault is the file's */
    if (err && status == SMT_FORMAT) err->code = status;
    return status;
}
