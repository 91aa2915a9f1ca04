/* view_model.h: what is shown: a model's shape and every token that went through it, held in memory so that one can go anywhere.
 *
 * Both sources fill it, the live run (view_live.c) and the trace file (view_replay.c); everything that draws reads it and never asks
 * where it came from. Only the thread of the window touches it. Tokens are numbered by their place here.
 *
 * On top of it are the two things that the picture is made of: view_counts, what the experts got from the beginning to a token, and
 * view_fire, how they glow at a moment. */
#ifndef VIEW_MODEL_H
#define VIEW_MODEL_H

#include "seamount.h"

typedef struct view_token {
    int32_t id;
    uint32_t session, index, step, step_tokens;
    uint64_t number;
    double end_s;
    float phase_s[SMT_PHASE_COUNT];
    size_t text_at;
    uint32_t text_bytes;
} view_token;

typedef struct view_model {
    const smt_trace_model *shape; /* borrowed from the source, which outlives this */
    int32_t *moe_of_layer;        /* [n_layers], owned: index among the layers with routed experts, -1: dense */
    uint32_t n_tokens, capacity;
    view_token *tokens; /* [n_tokens], owned, as the rest */
    uint16_t *experts;  /* [n_tokens, n_moe, n_used] */
    float *weights;     /* the same */
    float *device_s;    /* [n_tokens, n_devices], as the next two */
    float *hop_s;       /* what the host took to bring each device what others had computed for it */
    uint32_t *hop_bytes;
    char *text; /* of all tokens, one after the other */
    size_t text_bytes, text_capacity;
    uint64_t dropped;   /* tokens that the observer lost */
    const char *damage; /* what is wrong with the file, or NULL */
} view_model;

/* False without memory, here and below. */
bool view_model_init(view_model *model, const smt_trace_model *shape);
bool view_model_add(view_model *model, const smt_trace_token *token);
void view_model_free(view_model *model);

static inline size_t view_picks(const view_model *model) { return (size_t)model->shape->n_moe * model->shape->n_used; }
/* Of a token in a layer: n_used entries, largest selection score first. */
static inline const uint16_t *view_experts_of(const view_model *model, uint32_t token, uint32_t moe) {
    return model->experts + token * view_picks(model) + (size_t)moe * model->shape->n_used;
}
static inline const float *view_weights_of(const view_model *model, uint32_t token, uint32_t moe) {
    return model->weights + token * view_picks(model) + (size_t)moe * model->shape->n_used;
}
static inline uint32_t view_group_size(const view_model *model) {
    return model->shape->n_groups > 1 ? model->shape->n_experts / model->shape->n_groups : model->shape->n_experts;
}
/* Of the token's step. */
double view_step_seconds(const view_token *token);
static inline size_t view_device_at(const view_model *model, uint32_t token, uint32_t device) {
    return (size_t)token * model->shape->n_devices + device;
}
/* A hop that takes more than a tenth of its step is shown as slow. */
bool view_hop_is_slow(const view_model *model, uint32_t token, uint32_t device);
/* Bytes of weights that a device reads for the experts of a token, shared ones included (those lie with the first expert). */
double view_token_bytes(const view_model *model, uint32_t token, uint32_t device);
/* A token's text as one line, NUL-terminated: blanks and line ends visible, control characters as dots. Cut to the capacity. */
void view_token_words(const view_model *model, uint32_t token, char *words, size_t capacity);

/* ---- counts: choices from the first token up to a given one ---- */

typedef struct view_counts {
    const view_model *model;  /* borrowed */
    smt_routing_stats *stats; /* owned, over the first `n` tokens */
    uint32_t n;
} view_counts;

/* Goes on from where it stands; backwards means counting anew. False without memory. */
bool view_counts_seek(view_counts *counts, const view_model *model, uint32_t n_tokens);
void view_counts_free(view_counts *counts);
const smt_routing_layer *view_counts_layer(const view_counts *counts, uint32_t moe);
/* An expert's part of its layer's choices in units of the mean: 1 where all are equal, 0 where it was never chosen. */
double view_counts_load(const view_counts *counts, const smt_routing_layer *layer, uint32_t expert);

/* ---- fire: brightness of every expert at a moment ---- */

typedef struct view_fire {
    uint8_t
        *levels; /* [n_moe, n_experts], owned: 0 idle; VIEW_FIRE_LEAST and more: chosen for the token itself; below: afterglow */
    uint8_t *groups; /* [n_moe, n_groups], owned: 1 where the token uses experts of the group */
    size_t n_levels, n_groups;
} view_fire;

#define VIEW_FIRE_LEAST 150 /* level of a choice with no weight at all; 255: twice the mean weight, and more */
#define VIEW_GLOW_MOST  96  /* the first moment of the afterglow */

bool view_fire_init(view_fire *fire, const smt_trace_model *shape);
void view_fire_free(view_fire *fire);
/* The state at `token` plus a part (0 to 1) of the way to the next one. Each token dims the afterglow of those before it by the factor
 * `decay`, which is between 0 and 1. `alone`: without any afterglow. */
void view_fire_at(view_fire *fire, const view_model *model, uint32_t token, double part, double decay, bool alone);

#endif
