/* trace_cache.c: hit rates of caches of every size at once.
 *
 * Least recently used: the experts stand in the order of their last use; the place where an access finds its expert is the least size of a
 * cache that would have held it (Mattson's stack distance). A token's experts of a layer are looked for all at once, and then put in front one
 * after another, as the engine's own slots are kept (run_resident.c). A fixed set of the c most frequent: the same with an order that never changes.
 * An expert that was never used before is found at place n_experts, which no cache reaches. */
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>

smt_status smt_trace_cache_create(uint32_t n_experts, smt_trace_cache *out, smt_error *err) {
    *out = (smt_trace_cache){.n_experts = n_experts,
                             .recent = smt_alloc(n_experts, sizeof *out->recent),
                             .found_at = smt_alloc((size_t)n_experts + 1, sizeof *out->found_at),
                             .order = smt_alloc(n_experts, sizeof *out->order),
                             .rank = smt_alloc(n_experts, sizeof *out->rank),
                             .ranked_at = smt_alloc(n_experts, sizeof *out->ranked_at)};
    if (out->recent && out->found_at && out->order && out->rank && out->ranked_at) return SMT_OK;
    smt_trace_cache_free(out);
    return SMT_FAIL(err, SMT_MEMORY, "out of memory for the hit rates of %u experts", n_experts);
}

void smt_trace_cache_free(smt_trace_cache *cache) {
    smt_free(cache->recent);
    smt_free(cache->found_at);
    smt_free(cache->order);
    smt_free(cache->rank);
    smt_free(cache->ranked_at);
    *cache = (smt_trace_cache){0};
}

/* Where an expert stands in the order; n_recent: nowhere. */
static uint32_t place_of(const smt_trace_cache *c, uint32_t expert) {
    uint32_t at = 0;
    while (at < c->n_recent && c->recent[at] != expert) at++;
    return at;
}

void smt_trace_cache_access(smt_trace_cache *c, const uint16_t *experts, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = place_of(c, experts[i]);
        c->found_at[at < c->n_recent ? at : c->n_experts]++;
        if (c->held) c->ranked_at[c->rank[experts[i]]]++;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = place_of(c, experts[i]);
        c->n_recent += at == c->n_recent;
        memmove(c->recent + 1, c->recent, at * sizeof *c->recent);
        c->recent[0] = experts[i];
    }
}

static int most_frequent_first(const void *a, const void *b) {
    const smt_trace_rank *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->expert < y->expert ? -1 : 1;
}

static void sort(smt_trace_cache *c, const uint64_t *counts) {
    for (uint32_t e = 0; e < c->n_experts; e++) c->order[e] = (smt_trace_rank){counts[e], e};
    qsort(c->order, c->n_experts, sizeof *c->order, most_frequent_first);
}

void smt_trace_cache_hold(smt_trace_cache *c, const uint64_t *counts) {
    sort(c, counts);
    for (uint32_t i = 0; i < c->n_experts; i++) c->rank[c->order[i].expert] = (uint16_t)i;
    memset(c->found_at, 0, ((size_t)c->n_experts + 1) * sizeof *c->found_at);
    memset(c->ranked_at, 0, c->n_experts * sizeof *c->ranked_at);
    c->held = true;
}

void smt_trace_cache_rates(smt_trace_cache *c, const uint64_t *counts, float *lru, float *fixed) {
    uint64_t total = 0, recent_hits = 0, fixed_hits = 0;
    if (!c->held) sort(c, counts);
    for (uint32_t i = 0; i <= c->n_experts; i++) total += c->found_at[i];
    double share = total ? 1.0 / (double)total : 0;
    for (uint32_t size = 0; size <= c->n_experts; size++) {
        lru[size] = (float)((double)recent_hits * share);
        fixed[size] = (float)((double)fixed_hits * share);
        if (size == c->n_experts) break;
        recent_hits += c->found_at[size];
        fixed_hits += c->held ? c->ranked_at[size] : c->order[size].count;
    }
}
