/* test_trace_stats.c: counts, entropy and spread against known distributions; hit rates against caches that are simulated one by one. */
#include "fake_trace.h"

#include <math.h>

static smt_routing_stats *begin(const smt_trace_model *model, bool caches) {
    smt_error err = {0};
    smt_routing_stats *stats;
    SMT_ASSERT_OK(smt_routing_stats_create(model, caches, &stats, &err), &err);
    return stats;
}

static smt_routing_stats *count(const smt_fake_trace_options *options, uint32_t n, bool caches) {
    smt_error err = {0};
    smt_fake_trace fake;
    smt_fake_trace_begin(options, &fake);
    smt_routing_stats *stats = begin(&fake.model, caches);
    for (uint32_t i = 0; i < n; i++) SMT_ASSERT_OK(smt_routing_stats_add(stats, smt_fake_trace_next(&fake), &err), &err);
    smt_fake_trace_end(&fake);
    return stats;
}

/* Three tokens by hand: expert 0 three times, 1 twice, 2 once, 3 never. */
static void test_known_counts(void **state) {
    (void)state;
    static const uint16_t chosen[3][2] = {{0, 1}, {1, 0}, {0, 2}};
    static const float weights[2] = {0.75f, 0.25f};
    const smt_fake_trace_options options = {.n_dense = 2, .n_moe = 1, .n_experts = 4, .n_used = 2, .seed = 1};
    smt_error err = {0};
    smt_fake_trace fake;
    smt_fake_trace_begin(&options, &fake);
    smt_routing_stats *stats = begin(&fake.model, true);
    const smt_routing_layer *layer = smt_routing_stats_layer(stats, 0);
    assert_true(layer->n_unused == 4 && layer->entropy == 0 && layer->spread == 0 && layer->hits_lru[4] == 0);
    for (int i = 0; i < 3; i++) {
        const smt_trace_token token = {.struct_size = sizeof token, .experts = chosen[i], .weights = weights};
        SMT_ASSERT_OK(smt_routing_stats_add(stats, &token, &err), &err);
    }
    layer = smt_routing_stats_layer(stats, 0);
    assert_int_equal(layer->layer, 2);
    const uint64_t counts[] = {3, 2, 1, 0};
    assert_memory_equal(layer->counts, counts, sizeof counts);
    assert_true(layer->weights[0] == 1.75 && layer->weights[1] == 1 && layer->weights[2] == 0.25 && layer->weights[3] == 0);
    assert_true(fabs(layer->entropy - (0.5 + log2(3) / 3 + log2(6) / 6)) < 1e-12);
    assert_true(fabs(layer->busiest - 2) < 1e-12 && layer->n_unused == 1);
    /* Variance of the counts 1.25, by chance 0.75, mean 1.5. */
    assert_true(fabs(layer->spread - sqrt(0.5) / 1.5) < 1e-12);
    /* Accesses 0 1 1 0 0 2: found at never, never, 0, 1, 0, never. */
    const float lru[] = {0, 2 / 6.0f, 3 / 6.0f, 3 / 6.0f, 3 / 6.0f}, fixed[] = {0, 3 / 6.0f, 5 / 6.0f, 1, 1};
    for (int c = 0; c <= 4; c++) {
        assert_true(fabsf(layer->hits_lru[c] - lru[c]) < 1e-6f);
        assert_true(fabsf(layer->hits_static[c] - fixed[c]) < 1e-6f);
    }
    assert_null(smt_routing_stats_layer(stats, 1));
    const uint16_t beyond[] = {0, 4};
    const smt_trace_token wrong = {.struct_size = sizeof wrong, .experts = beyond, .weights = weights};
    assert_int_equal(smt_routing_stats_add(stats, &wrong, &err), SMT_INVALID);
    assert_true(smt_routing_stats_tokens(stats) == 3);
    smt_routing_stats_free(stats);
    smt_fake_trace_end(&fake);
}

/* All experts equal: no spread beyond chance, whether few tokens or many. */
static void test_no_skew(void **state) {
    (void)state;
    const smt_fake_trace_options options = {.n_moe = 8, .n_experts = 64, .n_used = 6, .seed = 11};
    const uint32_t counts[] = {20, 200, 4000};
    for (size_t i = 0; i < SMT_COUNT(counts); i++) {
        smt_routing_stats *stats = count(&options, counts[i], false);
        for (uint32_t l = 0; l < 8; l++) {
            const smt_routing_layer *layer = smt_routing_stats_layer(stats, l);
            assert_true(layer->spread < layer->chance);
            assert_null(layer->hits_lru);
        }
        if (counts[i] == 4000) assert_true(smt_routing_stats_layer(stats, 0)->entropy > 5.99);
        smt_routing_stats_free(stats);
    }
}

/* Likelihoods e^(s x), x normal, have a spread of sqrt(e^(s^2) - 1): 0.533 for s = 0.5. Choosing 4 of 128 without repetition takes a little
 * off, and 128 experts are a small sample: the mean over the layers has to come near. */
static void test_skew(void **state) {
    (void)state;
    const smt_fake_trace_options options = {.n_moe = 16, .n_experts = 128, .n_used = 4, .skew = 0.5, .seed = 12};
    smt_routing_stats *stats = count(&options, 3000, false);
    double sum = 0;
    for (uint32_t l = 0; l < 16; l++) {
        const smt_routing_layer *layer = smt_routing_stats_layer(stats, l);
        assert_true(layer->spread > 3 * layer->chance && layer->busiest > 2);
        sum += layer->spread;
    }
    assert_true(fabs(sum / 16 - 0.533) < 0.06);
    smt_routing_stats_free(stats);
}

#define E      12u
#define USED   3u
#define TOKENS 300u

/* One cache of c experts, as one would write it down: ages, and the oldest makes room; a token looks for all of its experts first. */
static uint32_t simulate_lru(const uint16_t *picks, uint32_t from, uint32_t c) {
    uint32_t last_use[E] = {0}, hits = 0;
    bool in[E] = {false};
    for (uint32_t i = 0; i < TOKENS * USED && c; i++) {
        uint32_t oldest = UINT32_MAX, n_in = 0, e = picks[i];
        for (uint32_t k = i; i % USED == 0 && k < i + USED; k++) hits += in[picks[k]] && k >= from;
        for (uint32_t k = 0; k < E; k++) n_in += in[k];
        for (uint32_t k = 0; k < E; k++)
            if (in[k] && (oldest == UINT32_MAX || last_use[k] < last_use[oldest])) oldest = k;
        if (!in[e] && n_in == c) in[oldest] = false;
        in[e] = true;
        last_use[e] = i + 1;
    }
    return hits;
}

/* The c experts most frequent before `from` (lower ids first), and who meets one of them after it. */
static uint32_t simulate_static(const uint16_t *picks, uint32_t from, uint32_t c) {
    uint32_t counts[E] = {0}, hits = 0;
    bool in[E] = {false};
    for (uint32_t i = 0; i < from; i++) counts[picks[i]]++;
    for (uint32_t n = 0; n < c; n++) {
        uint32_t best = E;
        for (uint32_t e = 0; e < E; e++)
            if (!in[e] && (best == E || counts[e] > counts[best])) best = e;
        in[best] = true;
    }
    for (uint32_t i = from; i < TOKENS * USED; i++) hits += in[picks[i]];
    return hits;
}

static void test_hit_rates(void **state) {
    (void)state;
    const smt_fake_trace_options options = {.n_moe = 1, .n_experts = E, .n_used = USED, .skew = 0.8, .repeat = 0.4, .seed = 13};
    static uint16_t picks[TOKENS * USED];
    smt_error err = {0};
    smt_fake_trace fake;
    smt_fake_trace_begin(&options, &fake);
    smt_routing_stats *stats = begin(&fake.model, true);
    for (uint32_t t = 0; t < TOKENS; t++) {
        if (t == TOKENS / 2) smt_routing_stats_hold(stats);
        const smt_trace_token *token = smt_fake_trace_next(&fake);
        memcpy(picks + t * USED, token->experts, USED * sizeof *picks);
        SMT_ASSERT_OK(smt_routing_stats_add(stats, token, &err), &err);
    }
    const smt_routing_layer *layer = smt_routing_stats_layer(stats, 0);
    uint32_t from = TOKENS / 2 * USED;
    float all = (float)(TOKENS * USED - from);
    for (uint32_t c = 0; c <= E; c++) {
        assert_true(fabsf(layer->hits_lru[c] - (float)simulate_lru(picks, from, c) / all) < 1e-6f);
        assert_true(fabsf(layer->hits_static[c] - (float)simulate_static(picks, from, c) / all) < 1e-6f);
    }
    assert_true(layer->hits_static[E / 2] > 0.6f && layer->hits_lru[E / 2] > 0.6f);
    smt_routing_stats_free(stats);
    smt_fake_trace_end(&fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_counts), cmocka_unit_test(test_no_skew),
                                       cmocka_unit_test(test_skew), cmocka_unit_test(test_hit_rates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
