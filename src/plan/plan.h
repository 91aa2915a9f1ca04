/* plan.h: where everything lies, decided before anything is allocated: model + items + device facts + options -> placement.
 *
 * Pure. A plan is a list of buffers (each becomes one device allocation of exactly that size) and, for every item, expert window, cache
 * window and working buffer, a place {buffer, offset, bytes} in it. The engine plans its weights, each runner its own memory; a loader
 * executes a plan to the byte or fails before the first allocation.
 *
 * This first form knows one device. Weights go to device-local memory in slabs of at most `slab_limit` bytes; what the host writes or
 * reads goes to host-visible memory, cached where it is read back. */
#ifndef SMT_PLAN_H
#define SMT_PLAN_H

#include "graph/graph.h"

typedef enum smt_plan_tier { SMT_TIER_DEVICE, SMT_TIER_UPLOAD, SMT_TIER_READBACK, SMT_TIER_COUNT } smt_plan_tier;

typedef struct smt_plan_buffer {
    uint32_t memory_type;
    smt_plan_tier tier;
    uint64_t bytes;
} smt_plan_buffer;

typedef struct smt_plan_place {
    uint32_t buffer;
    uint64_t offset, bytes;
} smt_plan_place;

typedef struct smt_plan {
    smt_plan_buffer *buffers; /* owned */
    size_t n_buffers, capacity;
    uint64_t slab_limit, align;
    uint32_t memory_type[SMT_TIER_COUNT];
} smt_plan;

/* Weights: items (experts inside their layer's windows), expert tables, and the codebooks where a type reads them. */
typedef struct smt_plan_weights {
    smt_plan plan;
    smt_plan_place *items;    /* owned, [n_items]; for an expert: inside its window */
    smt_plan_place *windows;  /* owned, [n_layers * SMT_MAX_WINDOWS] */
    smt_plan_place *tables;   /* owned, [n_layers]; bytes 0 for dense layers */
    smt_plan_place codebooks; /* bytes 0: not needed */
} smt_plan_weights;
#define SMT_MAX_WINDOWS 16

/* A runner: cache windows of every layer, rotary and block tables, scratch, step buffer, logits, capture. */
typedef struct smt_plan_runner_sizes {
    uint32_t n_layers, n_cache_windows;
    uint64_t cache_window_bytes, cache_last_bytes; /* all windows of a layer but the last; the last */
    uint64_t rope, blocks, counter, scratch, step, logits, capture;
} smt_plan_runner_sizes;

typedef struct smt_plan_runner {
    smt_plan plan;
    smt_plan_place *cache; /* owned, [n_layers * n_cache_windows] */
    smt_plan_place rope, blocks, counter, scratch, step, logits, capture;
} smt_plan_runner;

/* SMT_DEVICE_MEMORY when a heap's budget is exceeded, with the heap and both numbers; SMT_UNSUPPORTED when one piece exceeds the
 * device's largest allocation. */
smt_status smt_plan_weights_create(const smt_model *model, const smt_items *items, const smt_caps *caps, smt_plan_weights *out,
                                   smt_error *err);
void smt_plan_weights_free(smt_plan_weights *plan);
/* `used`: bytes per heap that are already taken (the weights), or NULL. */
smt_status smt_plan_runner_create(const smt_plan_runner_sizes *sizes, const smt_caps *caps, const uint64_t *used,
                                  smt_plan_runner *out, smt_error *err);
void smt_plan_runner_free(smt_plan_runner *plan);
/* Adds the plan's bytes to used[heap]. */
void smt_plan_count(const smt_plan *plan, const smt_caps *caps, uint64_t *used);

#endif
