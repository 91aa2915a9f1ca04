/* run_observe.c: the routing of every step, handed to somebody on another thread without waiting for him.
 *
 *   step (runner's thread) --copies--> ring of tokens --reads in place--> next (polling thread)
 *
 * Invariants
 *   1. One thread puts, one takes. `head` counts tokens put, `tail` tokens given back; each is written by one side alone. A token is
 *      complete before head moves over it, and is not overwritten before tail has.
 *   2. Whoever puts never waits: where the ring is full, the token is counted as dropped, and its number is missing from then on.
 *   3. The token given out last stays in the ring until the next is asked for, so that nothing is copied for the reader. */
#include "run/run.h"

#include <string.h>

#define DEFAULT_TOKENS 1024
#define RING_MOST      ((uint64_t)64 << 20) /* bytes of a ring whose size nobody has said */

struct smt_run_observer {
    smt_run *run; /* borrowed */
    smt_arena arena;
    smt_trace_model model; /* in the arena */
    uint8_t *ring;         /* owned */
    size_t slot_bytes;
    uint64_t capacity; /* a power of two */
    atomic_uint_fast64_t head, tail, dropped;
    bool given; /* the slot at tail is in the reader's hands */
    /* The runner's side. */
    double began, last_end;
    uint64_t number;
    uint32_t step;
};

void smt_run_observer_free(smt_run_observer *observer) {
    if (!observer) return;
    if (observer->run->observer == observer) observer->run->observer = NULL;
    smt_free(observer->ring);
    smt_arena_free(&observer->arena);
    smt_free(observer);
}

static smt_status make_ring(smt_run_observer *o, uint32_t capacity, smt_error *err) {
    const smt_trace_model *m = &o->model;
    o->slot_bytes = (size_t)smt_align_up(sizeof(smt_trace_token) + (2 * sizeof(float) + sizeof(uint32_t)) * m->n_devices +
                                             (sizeof(float) + sizeof(uint16_t)) * smt_trace_picks(m),
                                         16);
    uint64_t wanted = capacity;
    if (!wanted) wanted = smt_min_u64(DEFAULT_TOKENS, RING_MOST / o->slot_bytes);
    for (o->capacity = 1; o->capacity < wanted;) o->capacity *= 2;
    o->ring = smt_alloc(o->capacity, o->slot_bytes);
    if (o->ring) return SMT_OK;
    return SMT_FAIL(err, SMT_MEMORY, "out of memory for a ring of %llu tokens of %zu bytes", (unsigned long long)o->capacity,
                    o->slot_bytes);
}

smt_status smt_run_observer_create(smt_run *run, uint32_t capacity, smt_run_observer **out, smt_error *err) {
    *out = NULL;
    if (run->observer) return SMT_FAIL(err, SMT_INVALID, "this runner has an observer already");
    smt_run_observer *o = smt_alloc(1, sizeof *o);
    if (!o) return SMT_FAIL(err, SMT_MEMORY, "out of memory for an observer");
    o->run = run;
    smt_status status = smt_run_facts(run, &o->arena, &o->model, err);
    if (status == SMT_OK) status = make_ring(o, capacity, err);
    if (status != SMT_OK) {
        smt_run_observer_free(o);
        return status;
    }
    o->began = smt_os_seconds();
    *out = run->observer = o;
    return SMT_OK;
}

const smt_trace_model *smt_run_observer_model(const smt_run_observer *observer) { return &observer->model; }

uint64_t smt_run_observer_dropped(const smt_run_observer *observer) {
    return atomic_load_explicit(&observer->dropped, memory_order_relaxed);
}

/* A slot is a token, and behind it the arrays that it points to. */
static smt_trace_token *slot_at(const smt_run_observer *o, uint64_t count) {
    return (smt_trace_token *)(void *)(o->ring + (count & (o->capacity - 1)) * o->slot_bytes);
}

/* ---- the reader ---- */

const smt_trace_token *smt_run_observer_next(smt_run_observer *o) {
    uint64_t tail = atomic_load_explicit(&o->tail, memory_order_relaxed);
    if (o->given) atomic_store_explicit(&o->tail, ++tail, memory_order_release);
    o->given = atomic_load_explicit(&o->head, memory_order_acquire) != tail;
    return o->given ? slot_at(o, tail) : NULL;
}

/* ---- the runner ---- */

/* Row `row` of a step: a capture is [layer][row][expert], a token [layer][expert]. */
static void fill(const smt_run_observer *o, const smt_run_row *row, uint32_t at, uint32_t bucket, const uint8_t *const *captures,
                 const smt_run_times *times, smt_trace_token *to) {
    const smt_model *m = o->run->model->model;
    uint32_t used = m->n_used;
    uint32_t n_devices = o->model.n_devices, *hop_bytes = (uint32_t *)(to + 1);
    float *device_s = (float *)(hop_bytes + n_devices), *hop_s = device_s + n_devices, *weights = hop_s + n_devices;
    uint16_t *experts = (uint16_t *)(weights + smt_trace_picks(&o->model));
    for (uint32_t l = 0; l < o->model.n_moe; l++) {
        const uint8_t *capture = captures[smt_run_part_of(o->run, o->model.layers[l].layer)];
        const int32_t *ids = (const int32_t *)(const void *)(capture + smt_graph_capture_ids(m, bucket, l)) + (size_t)at * used;
        const uint8_t *from = capture + smt_graph_capture_weights(m, bucket, l) + sizeof(float) * at * used;
        for (uint32_t k = 0; k < used; k++) /* where scores are NaN, ids may be anything */
            experts[l * used + k] = (uint16_t)((uint32_t)ids[k] < m->n_experts ? ids[k] : 0);
        memcpy(weights + (size_t)l * used, from, sizeof(float) * used);
    }
    to->id = row->token;
    to->session = row->slot;
    to->index = row->index;
    to->position = row->position;
    to->experts = experts;
    to->weights = weights;
    to->device_s = device_s;
    to->hop_s = hop_s;
    to->hop_bytes = hop_bytes;
    for (uint32_t i = 0; i < n_devices; i++) {
        device_s[i] = (float)times->spent[i].busy_s;
        hop_s[i] = (float)times->spent[i].hop_s;
        hop_bytes[i] = (uint32_t)times->spent[i].hop_bytes;
    }
}

void smt_run_observe(smt_run_observer *o, const smt_run_row *rows, uint32_t n, const smt_run_times *times,
                     const uint8_t *const *captures) {
    double end = smt_os_seconds();
    uint64_t head = atomic_load_explicit(&o->head, memory_order_relaxed),
             tail = atomic_load_explicit(&o->tail, memory_order_acquire);
    const smt_trace_token step = {.struct_size = sizeof step,
                                  .step = o->step++,
                                  .step_tokens = n,
                                  .end_s = end - o->began,
                                  .phase_s = {[SMT_PHASE_BETWEEN] = o->last_end > 0 ? (float)(times->begin - o->last_end) : 0,
                                              [SMT_PHASE_PREPARE] = (float)(times->submit - times->begin),
                                              [SMT_PHASE_DEVICE] = (float)(times->done - times->submit),
                                              [SMT_PHASE_READ] = (float)(end - times->done)}};
    o->last_end = end;
    for (uint32_t r = 0; r < n; r++) {
        uint64_t number = o->number++;
        if (head - tail == o->capacity) {
            atomic_fetch_add_explicit(&o->dropped, 1, memory_order_relaxed);
            continue;
        }
        smt_trace_token *to = slot_at(o, head++);
        *to = step;
        to->number = number;
        fill(o, &rows[r], r, smt_plan_bucket(n), captures, times, to);
    }
    atomic_store_explicit(&o->head, head, memory_order_release);
}
