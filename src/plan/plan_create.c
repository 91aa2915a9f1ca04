/* plan_create.c: the whole plan: split, then device by device working memory, pools and places; what exceeds a limit is noted and placed. */
#include "plan_internal.h"

#include <stdio.h>
#include <string.h>

typedef struct planner {
    const smt_model *model;
    const smt_plan_request *request;
    smt_plan_costs *costs; /* owned, [n_facts] */
    smt_plan_split split;
    smt_placement *out;
    bool host_short; /* what does not fit is in host memory */
    smt_error *err;
} planner;

/* A plan that exceeds the limits fails nothing; the first one is told, but that of host memory only when its bytes are known for all devices
 * together. */
static void check(planner *p, const smt_placed_device *d, const smt_plan *plan, const char *what) {
    smt_error err;
    smt_plan_bytes own = d->limits;
    if (smt_plan_check(plan, &d->caps, &d->limits, &d->used, what, &err) == SMT_OK) return;
    own.host = UINT64_MAX;
    for (uint32_t heap = 0; heap < d->caps.n_heaps; heap++)
        if (!d->caps.heaps[heap].device_local) own.heap[heap] = UINT64_MAX;
    bool host = smt_plan_check(plan, &d->caps, &own, &d->used, what, NULL) == SMT_OK;
    if (p->out->fits || (p->host_short && !host)) snprintf(p->out->why, sizeof p->out->why, "%s", err.message);
    p->host_short = host && (p->out->fits || p->host_short);
    p->out->fits = false;
}

/* A device that the user names several times has a part of its memory each time. */
static smt_plan_bytes device_limits(const planner *p, uint32_t fact) {
    smt_plan_bytes limits = smt_plan_device_limits(p->request, fact);
    uint32_t times = 0;
    for (uint32_t i = 0; i < p->split.n; i++) times += p->split.facts[i] == fact;
    for (uint32_t heap = 0; heap < SMT_CAPS_MAX_HEAPS; heap++) limits.heap[heap] /= times;
    limits.shared /= times;
    return limits;
}

/* "vk0", "vk0#2": the report must tell them apart. */
static void name_twin(const planner *p, smt_placed_device *d, uint32_t index) {
    uint32_t before = 0;
    for (uint32_t i = 0; i < index; i++) before += p->split.facts[i] == d->fact;
    if (before) snprintf(d->caps.id, sizeof d->caps.id, "%.10s#%u", p->request->facts[d->fact].caps.id, before + 1);
}

static smt_status place_runner(planner *p, smt_placed_device *d) {
    if (!p->request->demand) return SMT_OK;
    SMT_TRY(smt_plan_runner_create(&d->sizes, &d->caps, &d->runner, p->err));
    check(p, d, &d->runner.plan, "cache and working memory");
    smt_plan_count(&d->runner.plan, &d->caps, &d->used);
    return SMT_OK;
}

/* Of host memory, for weights of this device: what devices before it leave, and working memory and rings of itself and those behind it. */
static uint64_t host_left(const planner *p, const smt_placed_device *d) {
    uint64_t limit = smt_min_u64(d->limits.host, p->out->host_limit), used = p->out->host_used;
    for (const smt_placed_device *each = d; each < p->out->devices + p->out->n_devices; each++)
        used += each->used.host + SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK;
    return limit > used ? limit - used : 0;
}

/* Experts in the file need slots for one row's at least. */
static void check_slots(planner *p, const smt_placed_device *d) {
    uint32_t l = d->first_layer;
    if (!p->out->fits || smt_plan_step_rows(p->model, &d->items, &d->weights) > 0) return;
    uint64_t one_each = 0;
    for (uint32_t i = l; i < d->last_layer; i++)
        if (d->items.layers[i].n_windows) one_each += d->items.layers[i].stride;
    while (!d->items.layers[l].n_windows) l++;
    snprintf(p->out->why, sizeof p->out->why,
             "%s: experts stay in the file, and a token uses %u of a layer; an expert cache of %.1f MiB holds %u of each layer, "
             "%.1f MiB are needed",
             d->caps.id, p->model->n_used, (double)p->request->expert_cache / 1048576, smt_plan_slots(&d->weights, l),
             (double)one_each * p->model->n_used / 1048576);
    p->out->fits = false;
}

static bool uses_file(const smt_placed_device *d) {
    for (uint32_t l = d->first_layer; l < d->last_layer; l++)
        if (d->items.layers[l].from_file) return true;
    return false;
}

static smt_status place_weights(planner *p, smt_placed_device *d) {
    smt_plan_choice choice;
    SMT_TRY(smt_plan_init(&d->weights.plan, &d->caps, p->err));
    SMT_TRY(smt_plan_choose(p->model, p->request, d, host_left(p, d), &choice, p->err));
    smt_status status = smt_plan_weights_create(p->model, &d->items, &d->caps, &choice, &d->weights, p->err);
    smt_plan_choice_free(&choice);
    SMT_TRY(status);
    check_slots(p, d);
    check(p, d, &d->weights.plan, "the model's weights");
    smt_plan_count(&d->weights.plan, &d->caps, &d->used);
    if (uses_file(d)) d->staging = SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK; /* for as long as the model is there */
    for (size_t i = 0; i < d->weights.plan.n_buffers; i++)
        if (!d->caps.types[d->weights.plan.buffers[i].memory_type].host_visible)
            d->staging = SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK;
    return SMT_OK;
}

/* What a runner needs on each device. One that has all layers was measured before the layers were split. */
static smt_status measure_runner(planner *p) {
    smt_placed_device *devices = p->out->devices;
    smt_graph_device parts[SMT_PLAN_MOST_DEVICES];
    smt_plan_runner_sizes sizes[SMT_PLAN_MOST_DEVICES];
    uint32_t n = p->out->n_devices;
    if (!p->request->demand) return SMT_OK;
    if (n == 1) {
        devices->sizes = p->costs[devices->fact].sizes;
        return SMT_OK;
    }
    for (uint32_t i = 0; i < n; i++) parts[i] = (smt_graph_device){&devices[i].items, &devices[i].caps};
    SMT_TRY(smt_plan_measure(p->model, parts, n, p->request->demand, sizes, p->err));
    for (uint32_t i = 0; i < n; i++) devices[i].sizes = sizes[i];
    return SMT_OK;
}

static smt_items_range range_of(const planner *p, uint32_t i) {
    const smt_plan_split *split = &p->split;
    uint32_t size = smt_graph_range_size(p->model);
    if (!split->by_experts || split->n == 1)
        return (smt_items_range){
            .first = split->first[i], .last = split->first[i + 1], .embedding = i == 0, .head = i + 1 == split->n};
    return (smt_items_range){.last = i == 0 ? p->model->n_layers : 0,
                             .embedding = i == 0,
                             .head = i == 0,
                             .shares_experts = true,
                             .experts_only = i > 0,
                             .first_expert = smt_min_u32(split->first_range[i] * size, p->model->n_experts),
                             .end_expert = smt_min_u32(split->first_range[i + 1] * size, p->model->n_experts)};
}

static smt_status open_device(planner *p, uint32_t i) {
    smt_placed_device *d = &p->out->devices[i];
    d->fact = p->split.facts[i];
    d->caps = p->request->facts[d->fact].caps;
    name_twin(p, d, i);
    d->speeds = p->costs[d->fact].speeds;
    d->limits = device_limits(p, d->fact);
    const smt_items_range range = range_of(p, i);
    d->first_layer = range.first;
    d->last_layer = range.experts_only ? p->model->n_layers : range.last;
    while (range.experts_only && !p->model->layers[d->first_layer].moe) d->first_layer++;
    d->first = range.embedding;
    d->last = range.head;
    return smt_items_create_range(p->model, &d->caps, &range, &d->items, p->err);
}

static smt_status place_devices(planner *p) {
    smt_placement *out = p->out;
    for (uint32_t i = 0; i < out->n_devices; i++) SMT_TRY(place_runner(p, &out->devices[i]));
    for (uint32_t i = 0; i < out->n_devices; i++) {
        SMT_TRY(place_weights(p, &out->devices[i]));
        out->host_used += out->devices[i].used.host + out->devices[i].staging;
    }
    return SMT_OK;
}

static uint64_t weights_in_host(const smt_placement *out) {
    smt_plan_bytes bytes = {0};
    for (uint32_t i = 0; i < out->n_devices; i++) smt_plan_count(&out->devices[i].weights.plan, &out->devices[i].caps, &bytes);
    return bytes.host;
}

static void check_host(planner *p) {
    smt_placement *out = p->out;
    if (out->host_used <= out->host_limit || (!out->fits && !p->host_short)) return;
    bool only_staging = true;
    for (uint32_t i = 0; i < out->n_devices; i++) only_staging = only_staging && out->devices[i].used.host == 0;
    if (only_staging) return; /* a machine file without host memory: the ring is small, and soon gone */
    out->fits = false;
    char needed[SMT_PLAN_SIZE_WORDS], weights[SMT_PLAN_SIZE_WORDS], limit[SMT_PLAN_SIZE_WORDS];
    smt_plan_size_words((double)out->host_used, needed);
    smt_plan_size_words((double)weights_in_host(out), weights);
    smt_plan_size_words((double)out->host_limit, limit);
    snprintf(out->why, sizeof out->why,
             "%s of host memory are needed, %s for weights that devices have no room for; %s may be used", needed, weights,
             limit);
}

static smt_status copy_machine(planner *p) {
    smt_placement *out = p->out;
    const smt_plan_request *r = p->request;
    out->facts = smt_alloc(r->n_facts, sizeof *out->facts);
    out->limits = smt_alloc(r->n_facts, sizeof *out->limits);
    if (!out->facts || !out->limits) return SMT_FAIL(p->err, SMT_MEMORY, "out of memory for %u devices", r->n_facts);
    memcpy(out->facts, r->facts, r->n_facts * sizeof *out->facts);
    out->n_facts = r->n_facts;
    for (uint32_t i = 0; i < r->n_facts; i++) out->limits[i] = smt_plan_device_limits(r, i);
    out->host_limit = smt_plan_host_limit(r);
    out->model = p->model;
    if (r->demand) out->demand = *r->demand;
    return SMT_OK;
}

static smt_status place_all(planner *p) {
    smt_error why = {0};
    SMT_TRY(copy_machine(p));
    SMT_TRY(smt_plan_costs_create(p->model, p->request, &p->costs, p->err));
    smt_status status = smt_plan_split_layers(p->model, p->request, p->costs, &p->split, &why);
    if (status == SMT_UNSUPPORTED) { /* no device can have this model at all */
        snprintf(p->out->why, sizeof p->out->why, "%s", why.message);
        return SMT_OK;
    }
    if (status != SMT_OK) {
        if (p->err) *p->err = why;
        return status;
    }
    p->out->devices = smt_alloc(p->split.n, sizeof *p->out->devices);
    if (!p->out->devices) return SMT_FAIL(p->err, SMT_MEMORY, "out of memory for %u devices", p->split.n);
    p->out->n_devices = p->split.n;
    p->out->by_experts = p->split.by_experts && p->split.n > 1;
    p->out->fits = true;
    for (uint32_t i = 0; i < p->split.n; i++) SMT_TRY(open_device(p, i));
    SMT_TRY(measure_runner(p));
    SMT_TRY(place_devices(p));
    check_host(p);
    smt_plan_predict(p->request, p->out);
    return SMT_OK;
}

static smt_status check_request(const smt_plan_request *r, smt_error *err) {
    double sum = 0;
    if (r->n_facts == 0) return SMT_FAIL(err, SMT_NOT_FOUND, "there is no device to plan for");
    if (r->n_order > SMT_PLAN_MOST_DEVICES)
        return SMT_FAIL(err, SMT_INVALID, "%u devices are named, a plan uses %d at most", r->n_order, SMT_PLAN_MOST_DEVICES);
    for (uint32_t i = 0; i < r->n_shares; i++) {
        if (!(r->shares[i] >= 0 && r->shares[i] < 1e9)) return SMT_FAIL(err, SMT_INVALID, "share %u is %g", i + 1, r->shares[i]);
        sum += r->shares[i];
    }
    if (r->n_shares && (r->n_shares != r->n_order || !(sum > 0)))
        return SMT_FAIL(err, SMT_INVALID, "%u shares of %s for %u devices named, together %g", r->n_shares,
                        r->by_experts ? "experts" : "layers", r->n_order, sum);
    return SMT_OK;
}

smt_status smt_plan_attempt(const smt_model *model, const smt_plan_request *request, smt_placement **out, smt_error *err) {
    *out = NULL;
    SMT_TRY(check_request(request, err));
    smt_plan_request resolved = *request;
    smt_plan_demand demand = request->demand ? *request->demand : (smt_plan_demand){0};
    if (request->demand) {
        smt_plan_resolve(model, &demand);
        resolved.demand = &demand;
    }
    smt_placement *placement = smt_alloc(1, sizeof *placement);
    if (!placement) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a plan");
    planner p = {.model = model, .request = &resolved, .out = placement, .err = err};
    smt_status status = place_all(&p);
    smt_plan_costs_free(p.costs, request->n_facts);
    if (status != SMT_OK)
        smt_plan_free(placement);
    else
        *out = placement;
    return status;
}

smt_status smt_plan_create(const smt_model *model, const smt_plan_request *request, smt_placement **out, smt_error *err) {
    SMT_TRY(smt_plan_attempt(model, request, out, err));
    if (!(*out)->fits) smt_plan_advise(request, *out);
    return SMT_OK;
}

void smt_plan_free(smt_placement *placement) {
    if (!placement) return;
    for (uint32_t i = 0; i < placement->n_devices; i++) {
        smt_plan_runner_free(&placement->devices[i].runner);
        smt_plan_weights_free(&placement->devices[i].weights);
        smt_items_free(&placement->devices[i].items);
    }
    smt_plan_replay_free(placement);
    smt_free(placement->devices);
    smt_free(placement->facts);
    smt_free(placement->limits);
    smt_free(placement->entries);
    smt_free(placement);
}
