/* plan_split.c: which devices compute, and which layers each of them holds.
 *
 * Layers run one after another, so a token takes the sum of the times of all devices, and each border costs a hop. Hence:
 *   all in device memory   the fewest devices that hold everything; among as many, those with the least predicted time, filled from the
 *                          fastest on
 *   not all of it          any number of devices: what does not fit is read over a link, and the least predicted time decides
 * Software devices are looked at only where there is nothing else, GPUs that share the host's memory only where there are no others.
 * Devices that the user names are all used, in that order, by the user's shares, or else as many layers as each reads in equal time. Layers
 * that the user keeps in host memory are the first device's, and no part of what is shared: as -ngl and -ts go together in llama.cpp.
 *
 * Fewest first is a rule of its own: a slow device that grows until it holds everything replaces two fast ones. */
#include "plan_internal.h"

#include <stdlib.h>

#define MOST_CANDIDATES 12 /* all their subsets are looked at */

/* What must lie in device memory. */
typedef enum keep_level { KEEP_ALL, KEEP_DENSE, KEEP_CACHE } keep_level;

typedef struct splitter {
    const smt_model *model;
    const smt_plan_request *request;
    const smt_plan_costs *costs;
    uint32_t candidates[MOST_CANDIDATES], n_candidates; /* the fastest first */
    double best_s;
    smt_plan_split best; /* n 0: none yet */
} splitter;

/* ---- predicted time ---- */

/* Seconds that a token spends reading the layers of one device, when its pools hold what is read most. */
static double device_seconds(const splitter *s, const smt_plan_split *split, uint32_t i) {
    const smt_plan_costs *c = &s->costs[split->facts[i]];
    double dense = 0, experts = 0, host = 0, kept = 0,
           use = (double)s->model->n_used / (s->model->n_experts + !s->model->n_experts);
    for (uint32_t l = split->first[i]; l < split->first[i + 1]; l++) {
        dense += (double)c->dense[l];
        experts += (double)c->experts[l];
        host += (double)c->in_host[l] * (s->model->layers[l].moe ? use : 1);
        kept += (double)c->cache;
    }
    if (i + 1 == split->n) dense += (double)c->head;
    double room = (double)c->capacity - (double)c->work - kept, over = dense + experts - room;
    double far_experts = over > 0 ? (over < experts ? over : experts) : 0, far_dense = over > experts ? over - experts : 0;
    return (dense - far_dense + (experts - far_experts) * use + kept / 2) / c->speeds.read_s +
           (far_dense + far_experts * use + host) / c->speeds.link_s;
}

static double seconds(const splitter *s, const smt_plan_split *split) {
    double sum = 0;
    for (uint32_t i = 0; i < split->n; i++) {
        sum += device_seconds(s, split, i);
        if (split->n > 1) sum += s->costs[split->facts[i]].speeds.hop_s;
    }
    return sum;
}

static void consider(splitter *s, const smt_plan_split *split) {
    double time = seconds(s, split);
    if (s->best.n && time >= s->best_s) return;
    s->best = *split;
    s->best_s = time;
}

/* ---- filling ---- */

static uint64_t layer_bytes(const smt_plan_costs *c, uint32_t layer, keep_level keep) {
    return c->cache + (keep <= KEEP_DENSE ? c->dense[layer] : 0) + (keep == KEEP_ALL ? c->experts[layer] : 0);
}

/* A device that the user names n times has an n-th of its memory each time. */
static uint64_t capacity(const splitter *s, const uint32_t *facts, uint32_t n, uint32_t i) {
    uint32_t times = 0;
    for (uint32_t j = 0; j < n; j++) times += facts[j] == facts[i];
    return s->costs[facts[i]].capacity / times;
}

/* Device after device takes layers while they fit, each at most most[i] of them (NULL: any number). False: not all layers are taken. */
static bool fill(const splitter *s, const uint32_t *facts, uint32_t n, const uint32_t *most, keep_level keep,
                 smt_plan_split *out) {
    uint32_t at = 0, n_layers = s->model->n_layers;
    *out = (smt_plan_split){0};
    for (uint32_t i = 0; i < n && at < n_layers; i++) {
        const smt_plan_costs *c = &s->costs[facts[i]];
        uint64_t room = capacity(s, facts, n, i), used = c->work + (i == 0 && keep == KEEP_ALL ? c->embedding : 0);
        uint32_t first = at;
        while (at < n_layers && (!most || at - first < most[i])) {
            uint64_t bytes = layer_bytes(c, at, keep) + (at + 1 == n_layers && keep <= KEEP_DENSE ? c->head : 0);
            if (used + bytes > room) break;
            used += bytes;
            at++;
        }
        if (at == first) continue;
        out->facts[out->n] = facts[i];
        out->first[out->n++] = first;
    }
    out->first[out->n] = at;
    return at == n_layers;
}

void smt_plan_apportion(uint32_t n_units, const double *shares, uint32_t n, uint32_t *out) {
    double sum = 0, before = 0;
    for (uint32_t i = 0; i < n; i++) sum += shares[i];
    for (uint32_t i = 0; i < n; i++) {
        double end = before + shares[i] / sum;
        uint32_t last = i + 1 == n ? n_units : (uint32_t)(end * n_units + 0.5);
        out[i] = last - (uint32_t)(before * n_units + 0.5);
        before = end;
    }
}

/* Layers of each device by shares, one of which at least is not 0. */
static void apportion_layers(const splitter *s, const double *shares, uint32_t n, uint32_t *out) {
    uint32_t in_host = smt_min_u32(s->request->host_layers, s->model->n_layers), first = 0;
    while (shares[first] == 0) first++;
    smt_plan_apportion(s->model->n_layers - in_host, shares, n, out);
    out[first] += in_host;
}

/* By shares as far as devices have room: what some cannot take goes to the others in proportion, as little as need be. */
static bool fill_by_shares(const splitter *s, const uint32_t *facts, uint32_t n, const double *shares, keep_level keep,
                           smt_plan_split *out) {
    uint32_t most[SMT_PLAN_MOST_DEVICES];
    double sum = 0, low = 1, high = s->model->n_layers * 64.0;
    smt_plan_split tried;
    apportion_layers(s, shares, n, most);
    if (fill(s, facts, n, most, keep, out)) return true;
    if (!fill(s, facts, n, NULL, keep, out)) return false;
    for (uint32_t i = 0; i < n; i++) sum += shares[i];
    for (int round = 0; round < 40; round++) {
        double factor = (low + high) / 2;
        for (uint32_t i = 0; i < n; i++) most[i] = (uint32_t)(factor * shares[i] / sum * s->model->n_layers);
        bool all = fill(s, facts, n, most, keep, &tried);
        if (all) *out = tried;
        *(all ? &high : &low) = factor;
    }
    return true;
}

/* ---- splits of one set of devices ---- */

/* Fills each device beyond the brim, so that only the last layer of each spills; the last device takes what is left. */
static bool fill_over(const splitter *s, const uint32_t *facts, uint32_t n, keep_level keep, smt_plan_split *out) {
    uint32_t most[SMT_PLAN_MOST_DEVICES], at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const smt_plan_costs *c = &s->costs[facts[i]];
        uint64_t used = c->work;
        uint32_t first = at;
        while (at < s->model->n_layers && (used < capacity(s, facts, n, i) || i + 1 == n)) used += layer_bytes(c, at++, KEEP_ALL);
        most[i] = at - first;
    }
    return fill(s, facts, n, most, keep, out);
}

static void consider_spilling(splitter *s, const uint32_t *facts, uint32_t n, keep_level keep) {
    double shares[SMT_PLAN_MOST_DEVICES] = {0};
    smt_plan_split split;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t room = capacity(s, facts, n, i), work = s->costs[facts[i]].work;
        shares[i] = room > work ? (double)(room - work) : 1;
    }
    if (fill_by_shares(s, facts, n, shares, keep, &split)) consider(s, &split);
    if (fill_over(s, facts, n, keep, &split)) consider(s, &split);
}

static int by_bit_count(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int more = __builtin_popcount(x) - __builtin_popcount(y);
    return more ? more : x < y ? -1 : x > y;
}

static uint32_t members(const splitter *s, uint32_t set, uint32_t *facts) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_candidates; i++)
        if (set & 1u << i) facts[n++] = s->candidates[i];
    return n;
}

static smt_status choose_sets(splitter *s, smt_error *err) {
    uint32_t n_sets = (1u << s->n_candidates) - 1, facts[MOST_CANDIDATES], found = UINT32_MAX;
    uint32_t *sets = smt_alloc(n_sets, sizeof *sets);
    smt_plan_split split;
    if (!sets) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u sets of devices", n_sets);
    for (uint32_t i = 0; i < n_sets; i++) sets[i] = i + 1;
    qsort(sets, n_sets, sizeof *sets, by_bit_count);
    for (uint32_t i = 0; i < n_sets; i++) {
        uint32_t n = members(s, sets[i], facts);
        if (n > found) break;
        if (!fill(s, facts, n, NULL, KEEP_ALL, &split) || split.n < n) continue;
        consider(s, &split);
        found = n;
    }
    for (keep_level keep = KEEP_DENSE; s->best.n == 0 && keep <= KEEP_CACHE; keep++)
        for (uint32_t i = 0; i < n_sets; i++) consider_spilling(s, facts, members(s, sets[i], facts), keep);
    smt_free(sets);
    return SMT_OK;
}

/* ---- the user's devices ---- */

static void by_given_shares(splitter *s) {
    const smt_plan_request *r = s->request;
    uint32_t most[SMT_PLAN_MOST_DEVICES], at = 0;
    apportion_layers(s, r->shares, r->n_order, most);
    s->best = (smt_plan_split){0};
    for (uint32_t i = 0; i < r->n_order; i++) {
        if (most[i] == 0) continue;
        s->best.facts[s->best.n] = r->order[i];
        s->best.first[s->best.n++] = at;
        at += most[i];
    }
    s->best.first[s->best.n] = at;
}

static void by_order(splitter *s) {
    const smt_plan_request *r = s->request;
    double shares[SMT_PLAN_MOST_DEVICES];
    smt_plan_split split;
    for (uint32_t i = 0; i < r->n_order; i++) shares[i] = s->costs[r->order[i]].speeds.read_s;
    if (fill_by_shares(s, r->order, r->n_order, shares, KEEP_ALL, &split))
        consider(s, &split);
    else
        for (keep_level keep = KEEP_DENSE; s->best.n == 0 && keep <= KEEP_CACHE; keep++)
            consider_spilling(s, r->order, r->n_order, keep);
}

/* ---- all ---- */

static int rank_of(smt_device_kind kind) { return kind == SMT_KIND_CPU ? 2 : kind == SMT_KIND_INTEGRATED ? 1 : 0; }

/* Whether device a is looked at before b. */
static bool before(const splitter *s, uint32_t a, uint32_t b) {
    const smt_plan_costs *x = &s->costs[a], *y = &s->costs[b];
    if (x->speeds.read_s != y->speeds.read_s) return x->speeds.read_s > y->speeds.read_s;
    if (x->capacity != y->capacity) return x->capacity > y->capacity;
    return a < b;
}

static void find_candidates(splitter *s) {
    const smt_plan_request *r = s->request;
    int rank = 3;
    for (uint32_t i = 0; i < r->n_facts; i++)
        if (s->costs[i].status == SMT_OK && rank_of(r->facts[i].caps.kind) < rank) rank = rank_of(r->facts[i].caps.kind);
    for (uint32_t i = 0; i < r->n_facts; i++) {
        if (s->costs[i].status != SMT_OK || rank_of(r->facts[i].caps.kind) != rank) continue;
        uint32_t at = s->n_candidates < MOST_CANDIDATES ? s->n_candidates++ : MOST_CANDIDATES;
        while (at > 0 && before(s, i, s->candidates[at - 1])) {
            if (at < MOST_CANDIDATES) s->candidates[at] = s->candidates[at - 1];
            at--;
        }
        if (at < MOST_CANDIDATES) s->candidates[at] = i;
    }
}

/* Where nothing fits anywhere: all on one device, for the report. */
static void give_up(splitter *s) {
    uint32_t largest = s->request->n_order ? s->request->order[0] : s->candidates[0];
    for (uint32_t i = 0; i < s->n_candidates && !s->request->n_order; i++)
        if (s->costs[s->candidates[i]].capacity > s->costs[largest].capacity) largest = s->candidates[i];
    s->best = (smt_plan_split){.n = 1, .facts = {largest}, .first = {0, s->model->n_layers}};
}

smt_status smt_plan_split_layers(const smt_model *model, const smt_plan_request *request, const smt_plan_costs *costs,
                                 smt_plan_split *out, smt_error *err) {
    splitter s = {.model = model, .request = request, .costs = costs};
    *out = (smt_plan_split){0};
    for (uint32_t i = 0; i < (request->n_order ? request->n_order : request->n_facts); i++) {
        const smt_plan_costs *c = &costs[request->n_order ? request->order[i] : i];
        if (c->status == SMT_OK) continue;
        if (err) *err = c->err;
        if (request->n_order) return c->status;
    }
    find_candidates(&s);
    if (s.n_candidates == 0 && !request->n_order) return SMT_UNSUPPORTED; /* err is the last device's own */
    if (request->n_shares)
        by_given_shares(&s);
    else if (request->n_order)
        by_order(&s);
    else
        SMT_TRY(choose_sets(&s, err));
    if (s.best.n == 0) give_up(&s);
    *out = s.best;
    for (; out->n_candidates < s.n_candidates; out->n_candidates++)
        out->candidates[out->n_candidates] = s.candidates[out->n_candidates];
    return request->by_experts ? smt_plan_split_experts(model, request, costs, out, err) : SMT_OK;
}
