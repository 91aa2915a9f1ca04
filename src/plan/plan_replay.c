/* plan_replay.c: which experts of a recorded routing a run with this placement would find in slots. The answer is exact, not an estimate: slots
 * hold what was wanted last (run_resident.c), whatever the time that anything takes, and smt_trace_cache keeps the same order.
 *
 * A run counts every expert of a layer once in a step, by what the slots hold before it; afterwards those wanted by later rows were wanted
 * last. So the rows of a step are one access of their different experts, each where it stands for the last time. */
#include "plan_internal.h"

static uint32_t n_caches(const smt_placement *p) { return p->n_devices * p->model->n_layers; }

void smt_plan_replay_free(smt_placement *p) {
    for (uint32_t i = 0; p->replay.caches && i < n_caches(p); i++) smt_trace_cache_free(&p->replay.caches[i]);
    smt_free(p->replay.caches);
    p->replay.caches = NULL;
}

static smt_status open_caches(smt_placement *p, smt_error *err) {
    if (p->replay.caches) return SMT_OK;
    p->replay.caches = smt_alloc(n_caches(p), sizeof *p->replay.caches);
    if (!p->replay.caches) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the slots of %u layers", p->model->n_layers);
    smt_status status = SMT_OK;
    for (uint32_t i = 0; i < n_caches(p) && status == SMT_OK; i++)
        status = smt_trace_cache_create(p->model->n_experts, &p->replay.caches[i], err);
    if (status != SMT_OK) smt_plan_replay_free(p);
    return status;
}

static uint64_t found(const smt_trace_cache *cache, uint32_t n_slots) {
    uint64_t n = 0;
    for (uint32_t place = 0; place < n_slots; place++) n += cache->found_at[place];
    return n;
}

/* Whether an expert is the device's and lies elsewhere. */
static bool is_elsewhere(const smt_placed_device *d, uint32_t layer, uint32_t expert) {
    const smt_items *items = &d->items;
    if (expert - items->range.first_expert >= items->n_experts) return false;
    return !smt_plan_is_resident(&d->weights, &d->weights.items[smt_items_expert(items, layer, expert)]);
}

/* Of n rows that stand `stride` apart, the experts that lie elsewhere. */
static uint32_t list_wanted(const smt_placed_device *d, uint32_t layer, const uint16_t *experts, uint32_t n, uint32_t n_used,
                            size_t stride, uint16_t *out) {
    bool seen[SMT_MODEL_MAX_EXPERTS] = {false};
    uint16_t backwards[SMT_MODEL_MAX_EXPERTS];
    uint32_t n_out = 0;
    for (uint32_t row = n; row-- > 0;)
        for (uint32_t i = n_used; i-- > 0;) {
            uint16_t e = experts[row * stride + i];
            if (seen[e] || !is_elsewhere(d, layer, e)) continue;
            seen[e] = true;
            backwards[n_out++] = e;
        }
    for (uint32_t i = 0; i < n_out; i++) out[i] = backwards[n_out - 1 - i];
    return n_out;
}

static void replay_layer(smt_placement *p, const smt_placed_device *d, uint32_t layer, const uint16_t *experts, uint32_t n_rows,
                         size_t stride) {
    uint16_t wanted[SMT_MODEL_MAX_EXPERTS];
    smt_trace_cache *cache = &p->replay.caches[(uint32_t)(d - p->devices) * p->model->n_layers + layer];
    uint32_t n_slots = smt_plan_slots(&d->weights, layer);
    uint32_t n = list_wanted(d, layer, experts, n_rows, p->model->n_used, stride, wanted);
    uint64_t before = found(cache, n_slots);
    smt_trace_cache_access(cache, wanted, n);
    uint64_t hits = found(cache, n_slots) - before;
    p->replay.hits += hits;
    p->replay.misses += n - hits;
    p->replay.miss_bytes += (n - hits) * d->items.layers[layer].stride;
}

smt_status smt_plan_replay_step(smt_placement *p, const uint16_t *experts, size_t n, smt_error *err) {
    const smt_model *m = p->model;
    size_t stride = (size_t)smt_model_moe_layers(m) * m->n_used;
    if (stride == 0 || n % stride) return SMT_FAIL(err, SMT_INVALID, "%zu chosen experts, a token has %zu", n, stride);
    for (size_t i = 0; i < n; i++)
        if (experts[i] >= m->n_experts) return SMT_FAIL(err, SMT_INVALID, "expert %u of %u", experts[i], m->n_experts);
    SMT_TRY(open_caches(p, err));
    p->replay.n_tokens += n / stride;
    for (uint32_t i = 0; i < p->n_devices; i++) {
        const smt_placed_device *d = &p->devices[i];
        uint32_t at = 0;
        if (d->weights.first_slot[m->n_layers] == 0) continue;
        for (uint32_t l = 0; l < d->last_layer; l++) {
            if (!m->layers[l].moe) continue;
            if (l >= d->first_layer) replay_layer(p, d, l, experts + at, (uint32_t)(n / stride), stride);
            at += m->n_used;
        }
    }
    return SMT_OK;
}
