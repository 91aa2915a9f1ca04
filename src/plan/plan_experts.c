/* plan_experts.c: the experts of each layer spread over several devices. The first device has all else: dense matrices, cache, head.
 *
 * Devices work on a layer at the same time and the layer is done with the slowest, so experts go by reading speed, in whole ranges of ids
 * (graph.h), the same in every layer: a sum changes no bit then, and a token's groups stay together. A range lies on a device with room for it
 * while there is one; what fits nowhere is read over a link, and goes where that is soonest done. The user's shares come before all this. */
#include "plan_internal.h"

typedef struct spreader {
    const smt_model *model;
    const smt_plan_costs *costs;
    smt_plan_split *split;                     /* facts and n are given */
    double range_bytes[SMT_PLAN_MOST_DEVICES]; /* of one range over all layers */
    double room[SMT_PLAN_MOST_DEVICES];        /* for ranges */
    uint32_t n_ranges[SMT_PLAN_MOST_DEVICES];  /* what each device has */
} spreader;

static void weigh(spreader *s, uint32_t i) {
    const smt_plan_costs *c = &s->costs[s->split->facts[i]];
    double dense = 0, experts = 0;
    uint32_t times = 0;
    for (uint32_t j = 0; j < s->split->n; j++) times += s->split->facts[j] == s->split->facts[i];
    for (uint32_t l = 0; l < s->model->n_layers; l++) {
        dense += (double)c->dense[l] + (double)c->cache;
        experts += (double)c->experts[l];
    }
    s->range_bytes[i] = experts / smt_graph_ranges(s->model);
    s->room[i] = (double)c->capacity / times - (double)c->work;
    if (i == 0) s->room[i] -= dense + (double)c->embedding + (double)c->head;
}

/* Seconds that a device reads when it has one range more. */
static double seconds_with_one_more(const spreader *s, uint32_t i) {
    const smt_plan_speeds *speeds = &s->costs[s->split->facts[i]].speeds;
    double bytes = (s->n_ranges[i] + 1) * s->range_bytes[i], over = bytes > s->room[i] ? bytes - s->room[i] : 0;
    if (over > bytes) over = bytes;
    return (bytes - over) / speeds->read_s + over / speeds->link_s;
}

static bool has_room(const spreader *s, uint32_t i) { return (s->n_ranges[i] + 1) * s->range_bytes[i] <= s->room[i]; }

static void spread_by_speed(spreader *s) {
    for (uint32_t range = 0; range < smt_graph_ranges(s->model); range++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < s->split->n; i++) {
            bool fits = has_room(s, i), best_fits = has_room(s, best);
            if (fits != best_fits ? fits : seconds_with_one_more(s, i) < seconds_with_one_more(s, best)) best = i;
        }
        s->n_ranges[best]++;
    }
}

/* Devices but the first that got nothing are not used. */
static void drop_idle(spreader *s) {
    uint32_t n = 0, range = 0;
    for (uint32_t i = 0; i < s->split->n; i++) {
        if (i > 0 && s->n_ranges[i] == 0) continue;
        s->split->facts[n] = s->split->facts[i];
        s->split->first[n] = 0;
        s->split->first_range[n++] = range;
        range += s->n_ranges[i];
    }
    s->split->n = n;
    s->split->first[n] = s->model->n_layers;
    s->split->first_range[n] = range;
}

static bool all_have_room(const spreader *s) {
    for (uint32_t i = 0; i < s->split->n; i++)
        if (s->n_ranges[i] * s->range_bytes[i] > s->room[i]) return false;
    return true;
}

static void spread(spreader *s, const smt_plan_request *request, const uint32_t *facts, uint32_t n) {
    s->split->n = n;
    for (uint32_t i = 0; i < n; i++) {
        s->split->facts[i] = facts[i];
        s->n_ranges[i] = 0;
    }
    for (uint32_t i = 0; i < n; i++) weigh(s, i);
    if (request->n_shares)
        smt_plan_apportion(smt_graph_ranges(s->model), request->shares, n, s->n_ranges);
    else
        spread_by_speed(s);
}

smt_status smt_plan_split_experts(const smt_model *model, const smt_plan_request *request, const smt_plan_costs *costs,
                                  smt_plan_split *split, smt_error *err) {
    spreader s = {.model = model, .costs = costs, .split = split};
    if (smt_model_moe_layers(model) == 0)
        return SMT_FAIL(err, SMT_INVALID, "%s has no experts that devices could share", model->name);
    split->by_experts = true;
    if (request->n_order)
        spread(&s, request, request->order, request->n_order);
    else /* whole ranges may need more devices than layers do */
        for (uint32_t n = split->n; n <= split->n_candidates; n++) {
            spread(&s, request, split->candidates, n);
            if (all_have_room(&s)) break;
        }
    drop_idle(&s);
    return SMT_OK;
}
