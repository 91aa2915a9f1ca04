/* sample_rule.c: sampler options as whole numbers, and the draw from few candidates by the arithmetic of shaders/shared/draw.h.
 *
 * Everything that could come out differently on a device (a division, a share as a decimal fraction) is computed here, once, and
 * handed over; what is left are products and sums with one result. */
#include "sample.h"

#include <params.h>

#define DRAW_LIST      const uint32_t *weights,
#define DRAW_WEIGHT(i) weights[i]
#include <draw.h>

#include <math.h>

#define INVERSE_MOST 1e30f /* of a temperature next to 0: 0 times it is still 0 */

/* Of a number in [0, 1], rounded up; at least one unit where it is above 0. */
static uint32_t in_units(float share, double units) {
    double whole = ceil((double)share * units);
    return whole < units ? (uint32_t)whole : (uint32_t)(units < UINT32_MAX ? units : UINT32_MAX);
}

bool smt_sample_make_rule(const smt_sampler_options *options, smt_sample_rule *out) {
    *out = (smt_sample_rule){.top_k = 1, .inverse = 1};
    if (options->temperature == 0) return true;
    if (options->top_k == 0 || options->top_k > DRAW_MOST) return false;
    bool cuts_share = options->top_p > 0 && options->top_p < 1;
    *out = (smt_sample_rule){.top_k = options->top_k,
                             .inverse = fminf(1 / options->temperature, INVERSE_MOST),
                             .top_p = cuts_share ? in_units(options->top_p, 0x1p32) : 0,
                             .min_p = in_units(options->min_p, DRAW_UNIT),
                             .seed_low = (uint32_t)options->seed,
                             .seed_high = (uint32_t)(options->seed >> 32)};
    return true;
}

bool smt_sample_only_rule(const smt_sampler_options *options, smt_sample_rule *out) {
    bool repeat = options->repeat_penalty != 0 && options->repeat_penalty != 1;
    bool penalties = repeat || options->presence_penalty != 0 || options->frequency_penalty != 0;
    return smt_sample_make_rule(options, out) && !penalties && options->n_biases == 0;
}

int32_t smt_sample_by_rule(const smt_sample_rule *rule, const smt_sample_best *best, uint64_t position) {
    uint32_t weights[DRAW_MOST], n = smt_min_u32(best->n, rule->top_k);
    if (n <= 1) return best->entries[0].token;
    for (uint32_t i = 0; i < n; i++)
        weights[i] = smt_draw_weight(best->entries[i].logprob, best->entries[0].logprob, rule->inverse);
    uint32_t chance = smt_draw_chance(rule->seed_low, rule->seed_high, (uint32_t)position);
    return best->entries[smt_draw_pick(weights, n, rule->top_p, rule->min_p, chance)].token;
}

double smt_sample_uniform(uint64_t seed, uint64_t position) {
    return smt_draw_chance((uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)position) * 0x1p-32;
}
