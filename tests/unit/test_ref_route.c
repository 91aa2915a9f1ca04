/* test_ref_route.c: the published routing rules on small made-up routers, where the answer can be seen by eye. Logits are
 * chosen by their scores: the logarithm of a share for softmax, the logit of a probability for sigmoid. */
#include "support.h"

#include "ref/ref.h"

#include <math.h>

enum { E = 8 };

static smt_model router(smt_gate gate, uint32_t n_used, uint32_t n_groups, uint32_t n_groups_used, smt_group_rule rule) {
    return (smt_model){.n_experts = E,
                       .n_used = n_used,
                       .n_groups = n_groups,
                       .n_groups_used = n_groups_used,
                       .gate = gate,
                       .group_rule = rule,
                       .weight_scale = 1};
}

static void expect(const smt_model *model, const float *bias, const float *logits, const int32_t *want_ids,
                   const double *want_weights) {
    int32_t ids[E];
    float weights[E];
    smt_ref_route(model, bias, logits, ids, weights);
    for (uint32_t i = 0; i < model->n_used; i++) {
        if (ids[i] != want_ids[i]) fail_msg("choice %u is %d, expected %d", i, ids[i], want_ids[i]);
        if (!(fabs(weights[i] - want_weights[i]) <= 1e-6 * want_weights[i]))
            fail_msg("weight %u is %g, expected %g", i, (double)weights[i], want_weights[i]);
    }
}

static void from_shares(const double *shares, float *logits) {
    for (int e = 0; e < E; e++) logits[e] = (float)log(shares[e]);
}

static void from_sigmoids(const double *values, float *logits) {
    for (int e = 0; e < E; e++) logits[e] = (float)log(values[e] / (1 - values[e]));
}

/* The softmax runs over all experts, not over the chosen; weights are not normalised unless the model says so. */
static void test_greedy(void **state) {
    (void)state;
    float logits[E];
    from_shares((const double[E]){.05, .30, .02, .20, .25, .03, .05, .10}, logits);
    smt_model model = router(SMT_GATE_SOFTMAX, 3, 1, 1, SMT_GROUP_BEST);
    expect(&model, NULL, logits, (const int32_t[]){1, 4, 3}, (const double[]){.30, .25, .20});
    model.weight_scale = 16;
    expect(&model, NULL, logits, (const int32_t[]){1, 4, 3}, (const double[]){4.8, 4, 3.2});
    model.norm_weights = true;
    expect(&model, NULL, logits, (const int32_t[]){1, 4, 3}, (const double[]){16 * .30 / .75, 16 * .25 / .75, 16 * .20 / .75});
}

static void test_ties(void **state) {
    (void)state;
    const float logits[E] = {0};
    smt_model model = router(SMT_GATE_SOFTMAX, 3, 1, 1, SMT_GROUP_BEST);
    expect(&model, NULL, logits, (const int32_t[]){0, 1, 2}, (const double[]){.125, .125, .125});
    model = router(SMT_GATE_SOFTMAX, 3, 4, 2, SMT_GROUP_TOP2);
    expect(&model, NULL, logits, (const int32_t[]){0, 1, 2}, (const double[]){.125, .125, .125});
}

/* Groups {0 1} {2 3} {4 5} {6 7}. By the best, groups 0 and 2 win; by the sum of two, 1 and 3. */
static void test_group_rules(void **state) {
    (void)state;
    float logits[E];
    from_shares((const double[E]){.22, .01, .16, .15, .23, .01, .12, .10}, logits);
    smt_model model = router(SMT_GATE_SOFTMAX, 3, 4, 2, SMT_GROUP_BEST);
    expect(&model, NULL, logits, (const int32_t[]){4, 0, 1}, (const double[]){.23, .22, .01});
    from_shares((const double[E]){.18, .01, .16, .15, .19, .01, .15, .15}, logits);
    model.group_rule = SMT_GROUP_TOP2;
    expect(&model, NULL, logits, (const int32_t[]){2, 3, 6}, (const double[]){.16, .15, .15});
}

/* A made case of V2's router, 160 experts in 8 groups of which 3 are kept: the published code scores a group by its best expert, and
 * ours follows it. Another program scores V2's groups as V3's (the sum of two); it would keep other groups and take other experts. */
static void test_rule_of_v2(void **state) {
    (void)state;
    smt_model v2 = {.n_experts = 160,
                    .n_used = 6,
                    .n_groups = 8,
                    .n_groups_used = 3,
                    .gate = SMT_GATE_SOFTMAX,
                    .group_rule = SMT_GROUP_BEST,
                    .weight_scale = 16};
    float logits[160], weights[6];
    for (int e = 0; e < 160; e++) logits[e] = -4;
    for (int g = 0; g < 3; g++) { /* groups 0 to 2: one excellent expert, and others that are good */
        logits[g * 20 + 3] = 3 - 0.1f * (float)g;
        logits[g * 20 + 4] = -1 - 0.1f * (float)g;
    }
    for (int g = 3; g < 6; g++) logits[g * 20 + 7] = logits[g * 20 + 9] = 2.6f + 0.01f * (float)g; /* two, each a little less */
    int32_t ids[6];
    smt_ref_route(&v2, NULL, logits, ids, weights);
    const int32_t published[] = {3, 23, 43, 4, 24, 44}, other[] = {107, 109, 87, 89, 67, 69};
    for (int i = 0; i < 6; i++) assert_int_equal(ids[i], published[i]);
    v2.group_rule = SMT_GROUP_TOP2;
    smt_ref_route(&v2, NULL, logits, ids, weights);
    for (int i = 0; i < 6; i++) assert_int_equal(ids[i], other[i]);
}

/* More experts than 64 or 256, in groups of odd sizes, 1 to 16 of them used: distinct, within the kept groups, and the best there. */
static void test_many_experts(void **state) {
    (void)state;
    static const uint32_t sizes[][3] = {{160, 8, 3}, {256, 8, 4}, {384, 12, 5}, {385, 7, 3}, {72, 1, 1}, {512, 1, 1}};
    smt_test_random random = {.state = 9};
    for (size_t s = 0; s < SMT_COUNT(sizes); s++)
        for (uint32_t used = 1; used <= 16; used++) {
            uint32_t n = sizes[s][0], size = n / sizes[s][1];
            smt_model model = {.n_experts = n,
                               .n_used = used,
                               .n_groups = sizes[s][1],
                               .n_groups_used = sizes[s][2],
                               .gate = used % 2 ? SMT_GATE_SIGMOID : SMT_GATE_SOFTMAX,
                               .group_rule = used % 2 ? SMT_GROUP_TOP2 : SMT_GROUP_BEST,
                               .weight_scale = 1};
            float logits[SMT_MODEL_MAX_EXPERTS], weights[SMT_MODEL_MAX_USED];
            int32_t ids[SMT_MODEL_MAX_USED];
            bool kept[SMT_MODEL_MAX_EXPERTS] = {0}, chosen[SMT_MODEL_MAX_EXPERTS] = {0};
            uint32_t n_kept = 0;
            for (uint32_t e = 0; e < n; e++) logits[e] = smt_test_uniform(&random, -3, 3);
            smt_ref_route(&model, NULL, logits, ids, weights);
            for (uint32_t i = 0; i < used; i++) {
                uint32_t group = (uint32_t)ids[i] / size;
                assert_in_range(ids[i], 0, n - 1);
                assert_false(chosen[ids[i]]);
                n_kept += !kept[group];
                chosen[ids[i]] = kept[group] = true;
                if (i > 0) assert_true(logits[ids[i]] <= logits[ids[i - 1]]);
            }
            assert_true(n_kept <= model.n_groups_used);
            for (uint32_t e = 0; e < n; e++)
                if (kept[e / size] && !chosen[e]) assert_true(logits[e] <= logits[ids[used - 1]]);
        }
}

/* The bias moves the choice of groups and experts, never the weight; -infinity and not zero masks the others. */
static void test_bias(void **state) {
    (void)state;
    float logits[E];
    from_sigmoids((const double[E]){.9, .8, .3, .2, .6, .5, .7, .1}, logits);
    smt_model model = router(SMT_GATE_SIGMOID, 2, 4, 1, SMT_GROUP_TOP2);
    expect(&model, NULL, logits, (const int32_t[]){0, 1}, (const double[]){.9, .8});
    const float to_group_1[E] = {[3] = 2};
    expect(&model, to_group_1, logits, (const int32_t[]){3, 2}, (const double[]){.2, .3});
    const float below_zero[E] = {-5, -5, -3, -3, -5, -5, -5, -5};
    expect(&model, below_zero, logits, (const int32_t[]){2, 3}, (const double[]){.3, .2});
    model.norm_weights = true;
    model.weight_scale = 2.5f;
    expect(&model, to_group_1, logits, (const int32_t[]){3, 2}, (const double[]){1, 1.5});
}

/* Whatever the logits, ids are distinct and in range: the caller indexes with them. */
static void test_odd_logits(void **state) {
    (void)state;
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
    const smt_model models[] = {router(SMT_GATE_SOFTMAX, 4, 1, 1, SMT_GROUP_BEST),
                                router(SMT_GATE_SOFTMAX, 4, 4, 2, SMT_GROUP_BEST),
                                router(SMT_GATE_SIGMOID, 4, 4, 2, SMT_GROUP_TOP2)};
    smt_test_random random = {.state = 1};
    for (int round = 0; round < 500; round++) {
        float logits[E], weights[E];
        int32_t ids[E];
        for (int e = 0; e < E; e++) logits[e] = odd[smt_test_next(&random) % SMT_COUNT(odd)];
        const smt_model *model = &models[round % (int)SMT_COUNT(models)];
        smt_ref_route(model, NULL, logits, ids, weights);
        uint32_t seen = 0;
        for (uint32_t i = 0; i < model->n_used; i++) {
            assert_in_range(ids[i], 0, E - 1);
            assert_false(seen >> ids[i] & 1);
            seen |= 1u << ids[i];
        }
    }
}

static void test_range_size(void **state) {
    (void)state;
    smt_model model = {.n_groups = 1};
    const uint32_t cases[][3] = {{64, 1, 8}, {160, 8, 20}, {256, 8, 32}, {16, 4, 4},
                                 {16, 1, 2}, {10, 1, 2},   {5, 1, 1},    {66, 1, 9}};
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        model.n_experts = cases[i][0];
        model.n_groups = cases[i][1];
        assert_int_equal(smt_ref_range_size(&model), cases[i][2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),     cmocka_unit_test(test_ties),         cmocka_unit_test(test_group_rules),
        cmocka_unit_test(test_bias),       cmocka_unit_test(test_odd_logits),   cmocka_unit_test(test_range_size),
        cmocka_unit_test(test_rule_of_v2), cmocka_unit_test(test_many_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
