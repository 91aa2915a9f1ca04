/* load.h: executes a weight plan: allocates its buffers, then streams file rows into device layout, straight into mapped memory where the
 * device's memory is host-visible, else through a staging ring. Host memory in use: at most one chunk beside the ring. */
#ifndef SMT_LOAD_H
#define SMT_LOAD_H

#include "plan/plan.h"
#include "vk/vk.h"

typedef struct smt_weights { /* device memory of a loaded model */
    smt_vk_buffer **buffers; /* owned, [n_buffers] of the plan */
    size_t n_buffers;
} smt_weights;

typedef struct smt_load_args {
    smt_vk_device *device;
    const smt_model *model;
    const smt_items *items;
    const smt_plan_weights *plan;
    bool force_staging; /* tests: use the ring even where memory is mapped */
    smt_callbacks callbacks;
} smt_load_args;

/* On failure nothing stays allocated. SMT_CANCELLED when the progress callback says so. */
smt_status smt_load_weights(const smt_load_args *args, smt_weights *out, smt_error *err);
void smt_weights_free(smt_vk_device *device, smt_weights *weights);

/* The buffers of any plan: [plan->n_buffers], owned by the caller. */
smt_status smt_load_buffers(smt_vk_device *device, const smt_plan *plan, const char *name, smt_vk_buffer ***out, smt_error *err);
void smt_load_buffers_free(smt_vk_device *device, smt_vk_buffer **buffers, size_t n);
/* Writes bytes to a place, by map or through a temporary staging buffer. */
smt_status smt_load_bytes(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, const void *bytes, uint64_t n,
                          smt_error *err);

#endif
