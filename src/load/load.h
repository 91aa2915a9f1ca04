/* load.h: executes a weight plan: allocates its buffers, then streams file rows into device layout. Where the device's memory is mapped,
 * several threads read and repack straight to its place; else file rows pass through a ring of staging halves, the host filling one while
 * the device copies or repacks the other.
 *
 *   load.c         buffers, expert tables, codebooks        load_list.c    the plan as jobs of at most a chunk
 *   load_work.c    threads and progress                     load_rows.c    one job        load_upload.c  the ring
 *   load_fetch.c   one expert, later on
 *
 * Host memory in use, whatever the size of the model: the ring, a list of jobs, and a piece for each thread. */
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
    bool force_staging;          /* tests: use the ring even where memory is mapped */
    const smt_vk_kernel *repack; /* the catalogue's REPACK; NULL: smt_load_repacks is false */
    smt_callbacks callbacks;
} smt_load_args;

/* Whether some rows that pass through the ring change their layout, for which the load needs a kernel. */
bool smt_load_repacks(const smt_load_args *args);
/* On failure nothing stays allocated. SMT_CANCELLED when the progress callback says so. */
smt_status smt_load_weights(const smt_load_args *args, smt_weights *out, smt_error *err);
void smt_weights_free(smt_vk_device *device, smt_weights *weights);

/* Single experts of a loaded model out of the file: into slots, through a ring of their own. One thread at a time. */
typedef struct smt_load_fetch smt_load_fetch;
/* Copies args; what they point to and the weights outlive the result. */
smt_status smt_load_fetch_create(const smt_load_args *args, const smt_weights *weights, smt_load_fetch **out, smt_error *err);
/* The last submission of kernels that reads what lay at `to` is `after`. Those that come after smt_load_fetch_copied find the expert there. */
smt_status smt_load_fetch_expert(smt_load_fetch *fetch, uint32_t layer, uint32_t expert, const smt_plan_place *to, uint64_t after,
                                 smt_error *err);
uint64_t smt_load_fetch_copied(const smt_load_fetch *fetch); /* for smt_vk_submit_after */
void smt_load_fetch_free(smt_load_fetch *fetch);             /* NULL is legal */

/* The buffers of any plan: [plan->n_buffers], owned by the caller. */
smt_status smt_load_buffers(smt_vk_device *device, const smt_plan *plan, const char *name, smt_vk_buffer ***out, smt_error *err);
void smt_load_buffers_free(smt_vk_device *device, smt_vk_buffer **buffers, size_t n);
/* Writes bytes to a place, by map or through a temporary staging buffer. */
smt_status smt_load_bytes(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, const void *bytes, uint64_t n,
                          smt_error *err);

#endif
