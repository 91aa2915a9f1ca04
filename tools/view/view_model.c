/* view_model.c: tokens in growing arrays, and counts over them; see view_model.h. */
#include "view_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool view_model_init(view_model *model, const smt_trace_model *shape) {
    *model = (view_model){.shape = shape};
    model->moe_of_layer = malloc((shape->n_layers + 1) * sizeof *model->moe_of_layer);
    if (!model->moe_of_layer) return false;
    for (uint32_t i = 0; i < shape->n_layers; i++) model->moe_of_layer[i] = -1;
    for (uint32_t i = 0; i < shape->n_moe; i++)
        if (shape->layers[i].layer < shape->n_layers) model->moe_of_layer[shape->layers[i].layer] = (int32_t)i;
    return true;
}

void view_model_free(view_model *model) {
    free(model->moe_of_layer);
    free(model->tokens);
    free(model->experts);
    free(model->weights);
    free(model->device_s);
    free(model->hop_s);
    free(model->hop_bytes);
    free(model->text);
    *model = (view_model){0};
}

static bool grow(void **array, size_t count, size_t size) {
    void *grown = realloc(*array, count * size + 1);
    if (grown) *array = grown;
    return grown != NULL;
}

static bool reserve(view_model *m, size_t text_bytes) {
    if (m->n_tokens == m->capacity) {
        size_t wanted = m->capacity ? (size_t)m->capacity * 2 : 256;
        if (wanted > UINT32_MAX / 2 || !grow((void **)&m->tokens, wanted, sizeof *m->tokens) ||
            !grow((void **)&m->experts, wanted * view_picks(m), sizeof *m->experts) ||
            !grow((void **)&m->weights, wanted * view_picks(m), sizeof *m->weights) ||
            !grow((void **)&m->device_s, wanted * m->shape->n_devices, sizeof *m->device_s) ||
            !grow((void **)&m->hop_s, wanted * m->shape->n_devices, sizeof *m->hop_s) ||
            !grow((void **)&m->hop_bytes, wanted * m->shape->n_devices, sizeof *m->hop_bytes))
            return false;
        m->capacity = (uint32_t)wanted;
    }
    if (m->text_bytes + text_bytes <= m->text_capacity) return true;
    size_t wanted = (m->text_bytes + text_bytes) * 2 + 4096;
    if (!grow((void **)&m->text, wanted, 1)) return false;
    m->text_capacity = wanted;
    return true;
}

/* What every device has of a step; NULL: zeros. */
static void copy_or_zero(void *to, const void *from, size_t bytes) {
    if (from)
        memcpy(to, from, bytes);
    else
        memset(to, 0, bytes);
}

bool view_model_add(view_model *m, const smt_trace_token *token) {
    if (!reserve(m, token->text_bytes)) return false;
    uint32_t at = m->n_tokens++, n_devices = m->shape->n_devices;
    m->tokens[at] = (view_token){.id = token->id,
                                 .session = token->session,
                                 .index = token->index,
                                 .step = token->step,
                                 .step_tokens = token->step_tokens,
                                 .number = token->number,
                                 .end_s = token->end_s,
                                 .text_at = m->text_bytes,
                                 .text_bytes = (uint32_t)token->text_bytes};
    memcpy(m->tokens[at].phase_s, token->phase_s, sizeof token->phase_s);
    if (view_picks(m)) {
        memcpy(m->experts + at * view_picks(m), token->experts, view_picks(m) * sizeof *m->experts);
        memcpy(m->weights + at * view_picks(m), token->weights, view_picks(m) * sizeof *m->weights);
    }
    size_t first = view_device_at(m, at, 0);
    copy_or_zero(m->device_s + first, token->device_s, n_devices * sizeof *m->device_s);
    copy_or_zero(m->hop_s + first, token->hop_s, n_devices * sizeof *m->hop_s);
    copy_or_zero(m->hop_bytes + first, token->hop_bytes, n_devices * sizeof *m->hop_bytes);
    if (token->text_bytes) memcpy(m->text + m->text_bytes, token->text, token->text_bytes);
    m->text_bytes += token->text_bytes;
    return true;
}

double view_step_seconds(const view_token *token) {
    double sum = 0;
    for (int i = 0; i < SMT_PHASE_COUNT; i++) sum += (double)token->phase_s[i];
    return sum;
}

bool view_hop_is_slow(const view_model *m, uint32_t token, uint32_t device) {
    return (double)m->hop_s[view_device_at(m, token, device)] > view_step_seconds(&m->tokens[token]) / 10;
}

double view_token_bytes(const view_model *m, uint32_t token, uint32_t device) {
    double bytes = 0;
    for (uint32_t l = 0; l < m->shape->n_moe; l++) {
        const smt_trace_layer *layer = &m->shape->layers[l];
        const uint16_t *experts = view_experts_of(m, token, l);
        for (uint32_t k = 0; k < m->shape->n_used; k++)
            if (m->shape->places[layer->places[experts[k]]].device == device) bytes += (double)layer->expert_bytes;
        if (m->shape->places[layer->places[0]].device == device) bytes += (double)layer->shared_bytes;
    }
    return bytes;
}

void view_token_words(const view_model *m, uint32_t token, char *words, size_t capacity) {
    const view_token *t = &m->tokens[token];
    const char *text = m->text + t->text_at;
    size_t used = 0;
    if (t->text_bytes == 0) snprintf(words, capacity, "#%d", t->id);
    for (uint32_t i = 0; i < t->text_bytes; i++) {
        const char *shown = text[i] == ' ' ? "\u00b7" : text[i] == '\n' ? "\u21b5" : text[i] == '\t' ? "\u21e5" : NULL;
        char same[2] = {(unsigned char)text[i] < ' ' ? '.' : text[i], 0};
        if (!shown) shown = same;
        if (used + strlen(shown) + 1 > capacity) break;
        used += (size_t)snprintf(words + used, capacity - used, "%s", shown);
    }
}

/* ---- counts ---- */

static bool count_one(view_counts *counts, uint32_t token) {
    smt_trace_token one = {.struct_size = sizeof one,
                           .number = token,
                           .experts = view_experts_of(counts->model, token, 0),
                           .weights = view_weights_of(counts->model, token, 0)};
    return smt_routing_stats_add(counts->stats, &one, NULL) == SMT_OK;
}

bool view_counts_seek(view_counts *counts, const view_model *model, uint32_t n_tokens) {
    if (counts->stats && (n_tokens < counts->n || counts->model != model)) view_counts_free(counts);
    counts->model = model;
    if (!counts->stats && smt_routing_stats_create(model->shape, false, &counts->stats, NULL) != SMT_OK) return false;
    for (; counts->n < n_tokens; counts->n++)
        if (!count_one(counts, counts->n)) return false;
    return true;
}

void view_counts_free(view_counts *counts) {
    smt_routing_stats_free(counts->stats);
    *counts = (view_counts){0};
}

const smt_routing_layer *view_counts_layer(const view_counts *counts, uint32_t moe) {
    return smt_routing_stats_layer(counts->stats, moe);
}

double view_counts_load(const view_counts *counts, const smt_routing_layer *layer, uint32_t expert) {
    double mean = (double)counts->n * counts->model->shape->n_used / counts->model->shape->n_experts;
    return mean > 0 ? (double)layer->counts[expert] / mean : 0;
}

/* ---- fire ---- */

bool view_fire_init(view_fire *fire, const smt_trace_model *shape) {
    fire->n_levels = (size_t)shape->n_moe * shape->n_experts;
    fire->n_groups = (size_t)shape->n_moe * (shape->n_groups > 1 ? shape->n_groups : 1);
    fire->levels = calloc(fire->n_levels + 1, 1);
    fire->groups = calloc(fire->n_groups + 1, 1);
    return fire->levels && fire->groups;
}

void view_fire_free(view_fire *fire) {
    free(fire->levels);
    free(fire->groups);
    *fire = (view_fire){0};
}

/* An expert's part of what the token's experts have together, twice the mean being the most that is shown. */
static uint8_t level_of(const float *weights, uint32_t n_used, uint32_t k) {
    float sum = 0;
    for (uint32_t i = 0; i < n_used; i++) sum += weights[i];
    float relative = sum > 0 ? weights[k] / sum * (float)n_used / 2 : 0.5f;
    relative = relative < 0 ? 0 : relative > 1 ? 1 : relative;
    return (uint8_t)(VIEW_FIRE_LEAST + (255 - VIEW_FIRE_LEAST) * relative);
}

static void mark_glow(view_fire *fire, const view_model *m, uint32_t token, uint8_t level) {
    for (uint32_t l = 0; l < m->shape->n_moe; l++) {
        const uint16_t *experts = view_experts_of(m, token, l);
        uint8_t *row = fire->levels + (size_t)l * m->shape->n_experts;
        for (uint32_t k = 0; k < m->shape->n_used; k++)
            if (row[experts[k]] < level) row[experts[k]] = level;
    }
}

static void mark_token(view_fire *fire, const view_model *m, uint32_t token) {
    uint32_t n_groups = m->shape->n_groups > 1 ? m->shape->n_groups : 1, size = view_group_size(m);
    for (uint32_t l = 0; l < m->shape->n_moe; l++) {
        const uint16_t *experts = view_experts_of(m, token, l);
        for (uint32_t k = 0; k < m->shape->n_used; k++) {
            fire->levels[(size_t)l * m->shape->n_experts + experts[k]] =
                level_of(view_weights_of(m, token, l), m->shape->n_used, k);
            fire->groups[(size_t)l * n_groups + experts[k] / size] = 1;
        }
    }
}

void view_fire_at(view_fire *fire, const view_model *m, uint32_t token, double part, double decay, bool alone) {
    memset(fire->levels, 0, fire->n_levels);
    memset(fire->groups, 0, fire->n_groups);
    if (token >= m->n_tokens) return;
    double level = VIEW_GLOW_MOST * (1 - part * (1 - decay));
    for (uint32_t t = token; t-- > 0 && level >= 4 && !alone; level *= decay) mark_glow(fire, m, t, (uint8_t)level);
    mark_token(fire, m, token);
}
