/* test_kernel_route.c: the choice of experts against src/ref: the ids exactly, the weights within 1e-6. */
#include "kernel_support.h"

#include "ref/ref.h"

typedef struct route_case {
    uint32_t n_experts, n_used, n_groups, n_groups_used;
    bool sigmoid, top2, bias, norm;
    float scale;
    bool ties; /* logits are small integers, so that many are equal */
} route_case;

static void fill_logits(smt_test_random *random, const route_case *c, float *logits, uint32_t rows, uint32_t stride) {
    smt_lab_fill(random, logits, rows, stride, c->n_experts);
    for (uint32_t r = 0; c->ties && r < rows; r++)
        for (uint32_t e = 0; e < c->n_experts; e++) logits[r * stride + e] = r == 0 ? 0 : (float)(smt_test_next(random) % 3);
}

static void check_route(smt_lab *lab, smt_lab_mode mode, const route_case *c) {
    enum { N_ROWS = 6 };
    char label[120];
    snprintf(label, sizeof label, "route %u of %u, groups %u of %u%s%s%s%s%s", c->n_used, c->n_experts, c->n_groups_used,
             c->n_groups, c->sigmoid ? " sigmoid" : "", c->top2 ? " top2" : "", c->bias ? " bias" : "", c->norm ? " norm" : "",
             c->ties ? " ties" : "");
    smt_test_random random = {.state = c->n_experts + c->n_used};
    uint32_t stride = (uint32_t)smt_align_up(c->n_experts, 4) + 4, words = (N_ROWS + 1) * c->n_used, experts = 64;
    while (experts < c->n_experts) experts *= 2;
    const smt_kernel_key key = {
        .kernel = SMT_KERNEL_ROUTE, .windows = 1, .sigmoid = c->sigmoid, .top2 = c->top2, .experts = experts};
    const struct route_params p = {.n_experts = c->n_experts,
                                   .n_used = c->n_used,
                                   .n_groups = c->n_groups,
                                   .n_groups_used = c->n_groups_used,
                                   .norm_weights = c->norm,
                                   .has_bias = c->bias,
                                   .bias_off16 = 2,
                                   .logit_stride = stride,
                                   .weight_scale = c->scale};
    smt_lab_begin(lab, mode, &key);
    float *bias = (float *)smt_lab_window(lab, 32 + 4ull * c->n_experts) + 8,
          *logits = smt_lab_buffer(lab, 1, 4ull * stride * N_ROWS);
    int32_t *ids = smt_lab_output(lab, 2, words), *expected_ids = smt_lab_image(words);
    float *weights = smt_lab_output(lab, 3, words), *expected = smt_lab_image(words);
    smt_lab_step(lab, 4, N_ROWS, 0, N_ROWS + 1);
    fill_logits(&random, c, logits, N_ROWS, stride);
    for (uint32_t e = 0; e < c->n_experts; e++) bias[e] = smt_test_uniform(&random, -0.3f, 0.3f);
    smt_lab_run(lab, &p, N_ROWS + 1, 1, 1);
    const smt_model model = {.n_experts = c->n_experts,
                             .n_used = c->n_used,
                             .n_groups = c->n_groups,
                             .n_groups_used = c->n_groups_used,
                             .gate = c->sigmoid ? SMT_GATE_SIGMOID : SMT_GATE_SOFTMAX,
                             .group_rule = c->top2 ? SMT_GROUP_TOP2 : SMT_GROUP_BEST,
                             .norm_weights = c->norm,
                             .weight_scale = c->scale};
    for (uint32_t r = 0; r < N_ROWS; r++)
        smt_ref_route(&model, c->bias ? bias : NULL, logits + r * stride, expected_ids + r * c->n_used, expected + r * c->n_used);
    smt_lab_same(label, ids, expected_ids, words);
    smt_lab_close(label, weights, expected, words, 1e-6);
    smt_free(expected_ids);
    smt_free(expected);
}

static void test_route(void **state) {
    const route_case cases[] = {
        {16, 4, 1, 1, false, false, false, false, 1, false},    {64, 6, 1, 1, false, false, false, false, 1, false}, /* V2-Lite */
        {64, 6, 1, 1, false, false, false, true, 16, true},     {160, 6, 8, 3, false, false, false, false, 16, false}, /* V2 */
        {160, 6, 8, 3, false, false, false, false, 16, true},   {100, 32, 1, 1, false, false, true, true, 1, false},
        {256, 8, 8, 4, true, true, true, true, 2.5f, false}, /* V3 */
        {256, 8, 8, 4, true, true, false, true, 2.5f, true},    {16, 16, 8, 8, true, true, true, false, 1, false},
        {16, 2, 16, 3, true, true, true, true, 1, false}, /* groups of one */
        {64, 3, 4, 1, false, true, true, true, 1, false},       {72, 6, 1, 1, true, true, true, true, 2, false}, /* VL2 */
        {384, 8, 1, 1, true, true, true, true, 2.827f, false}, /* more than 256 */
        {384, 16, 12, 5, false, false, false, false, 1, false}, {385, 11, 7, 3, true, true, true, true, 1, false},
        {512, 32, 16, 4, false, false, true, true, 1, true},    {45, 9, 9, 2, false, false, false, false, 16, false},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_route(*state, SMT_LAB_FULL, &cases[i]);
    check_route(*state, SMT_LAB_MINIMUM, &cases[6]);
    check_route(*state, SMT_LAB_MINIMUM, &cases[14]);
}

/* The work list of a single row, next to the same choice. */
static void check_list(smt_lab *lab, smt_lab_mode mode, uint32_t n_experts, uint32_t n_used) {
    uint32_t experts = 64;
    while (experts < n_experts) experts *= 2;
    const struct route_params p = {.n_experts = n_experts,
                                   .n_used = n_used,
                                   .n_groups = 1,
                                   .n_groups_used = 1,
                                   .logit_stride = n_experts,
                                   .weight_scale = 1,
                                   .entries_word = WORK_HEAD + WORK_TILE_WORDS * n_used + 2};
    const struct group_params list = {.end_expert = n_experts, .columns = 1, .entries_word = p.entries_word};
    smt_test_random random = {.state = n_experts};
    uint32_t words = p.entries_word + n_used + 1;
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_ROUTE, .windows = 1, .list = 1, .experts = experts});
    smt_lab_window(lab, 16);
    float *logits = smt_lab_buffer(lab, 1, 4ull * n_experts);
    uint32_t *ids = smt_lab_output(lab, 2, n_used), *expected = smt_lab_image(words), *work = smt_lab_output(lab, 5, words);
    smt_lab_output(lab, 3, n_used);
    uint32_t *step = smt_lab_step(lab, 4, 1, 0, 1);
    smt_lab_fill(&random, logits, 1, n_experts, n_experts);
    smt_lab_run(lab, &p, 1, 1, 1);
    smt_lab_work(ids, n_used, &list, expected);
    for (uint32_t i = 0; i < WORK_HEAD; i++) /* no grids */
        if (i != WORK_TILES) expected[i] = SMT_LAB_UNTOUCHED;
    smt_lab_same("list of a single row", work, expected, words);
    step[STEP_N_ROWS] = 0; /* a step without rows has no tiles */
    smt_lab_run(lab, &p, 1, 1, 1);
    expected[WORK_TILES] = 0;
    smt_lab_same("list of no row", work, expected, words);
    smt_free(expected);
}

static void test_list(void **state) {
    check_list(*state, SMT_LAB_FULL, 64, 6);
    check_list(*state, SMT_LAB_FULL, 8, 1);
    check_list(*state, SMT_LAB_FULL, 300, 32);
    check_list(*state, SMT_LAB_MINIMUM, 160, 6);
}

/* Every number of experts per token up to 16, by both gates. */
static void test_used(void **state) {
    for (uint32_t used = 1; used <= 16; used++) {
        check_route(*state, SMT_LAB_FULL, &(route_case){160, used, 8, 3, false, false, false, false, 16, false});
        check_route(*state, SMT_LAB_FULL, &(route_case){256, used, 8, 4, true, true, true, true, 2.5f, false});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_route), cmocka_unit_test(test_used), cmocka_unit_test(test_list)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
