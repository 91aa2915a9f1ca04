/* test_kernel_sample.c: tokens drawn on the device against those that src/sample draws of the same logits: the same ids for every seed,
 * position and cut, whatever the size of the vocabulary, ties, and numbers that are none. And the step buffer that is left for the next step. */
#include "kernel_support.h"

#include "sample/sample.h"

#include <draw.h>
#include <math.h>

typedef enum fill { SPREAD, EQUAL, STEPS, HOLES, CLUSTER, NOTHING } fill;

typedef struct sample_case {
    uint32_t n_vocab, per_group;
    fill fill;
    smt_sampler_options options;
    int draws;
} sample_case;

static void fill_logits(float *logits, const sample_case *c) {
    smt_test_random random = {.state = c->n_vocab + c->options.top_k};
    for (uint32_t i = 0; i < c->n_vocab; i++) {
        float value = 3 * smt_test_normal(&random);
        switch (c->fill) {
        case SPREAD:
            break;
        case EQUAL:
            value = -1.5f;
            break;
        case STEPS: /* a few values, each of both zeros too, many times */
            value = (float)(smt_test_next(&random) % 3) - 2;
            if (value == 0 && i % 2) value = -0.0f;
            break;
        case HOLES: /* few tokens are possible */
            if (i % 97) value = i % 2 ? NAN : i % 3 ? INFINITY : -INFINITY;
            break;
        case CLUSTER: /* all that counts is in few groups: every 64th */
            value += i % SAMPLE_TILE == 5 ? 40 : 0;
            break;
        case NOTHING:
            value = NAN;
            break;
        }
        logits[i] = value;
    }
}

static struct sample_params make_params(const sample_case *c) {
    uint32_t tiles = smt_div_up(c->n_vocab, SAMPLE_TILE * c->per_group);
    return (struct sample_params){.n_vocab = c->n_vocab, .per_group = c->per_group, .n_groups = tiles * SAMPLE_TILE};
}

/* Room for {key, id} of every group; smt_free. */
static uint32_t *run_top(smt_lab *lab, smt_lab_mode mode, const sample_case *c, const float *logits) {
    const struct sample_params p = make_params(c);
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_SAMPLE_TOP, .windows = 1});
    memcpy(smt_lab_buffer(lab, 1, 4ull * c->n_vocab), logits, 4ull * c->n_vocab);
    uint32_t words = 2 * p.n_groups + 2, *best = smt_lab_output(lab, 2, words), *copy = smt_alloc(words, 4);
    assert_non_null(copy);
    smt_lab_run(lab, &p, p.n_groups / SAMPLE_TILE + 1, 1, 1);
    memcpy(copy, best, 4ull * words);
    return copy;
}

static int32_t expected_token(const sample_case *c, const float *logits, uint64_t position) {
    static float scratch_logits[1 << 18];
    static smt_token_logprob scratch_best[1 << 18];
    const smt_sample_scratch scratch = {scratch_logits, scratch_best};
    const smt_draw draw = {.logits = logits, .n_vocab = c->n_vocab, .position = position};
    int32_t token;
    smt_status status = smt_sample_draw(&c->options, &draw, &scratch, &token, NULL);
    assert_int_equal(status, c->fill == NOTHING ? SMT_INTERNAL : SMT_OK);
    return status == SMT_OK ? token : -1;
}

static void write_rule(uint32_t *step, const smt_sampler_options *options) {
    smt_sample_rule rule;
    assert_true(smt_sample_only_rule(options, &rule));
    step[STEP_TOP_K] = rule.top_k;
    memcpy(&step[STEP_INVERSE], &rule.inverse, 4);
    step[STEP_TOP_P] = rule.top_p;
    step[STEP_MIN_P] = rule.min_p;
    step[STEP_SEED] = rule.seed_low;
    step[STEP_SEED + 1] = rule.seed_high;
}

/* Draws after a step of three rows of which the second is wanted; after that the step buffer is the next step's, again and again. */
static void check_sample(smt_lab *lab, smt_lab_mode mode, const sample_case *c) {
    enum { ROWS = 3, INDEX = 255, POSITION = 1000, DRAWN = 62 };
    const struct sample_params p = make_params(c);
    float *logits = smt_alloc(c->n_vocab, 4);
    assert_non_null(logits);
    fill_logits(logits, c);
    uint32_t *best = run_top(lab, mode, c, logits);
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_SAMPLE_DRAW, .windows = 1});
    memcpy(smt_lab_buffer(lab, 1, 4ull * c->n_vocab), logits, 4ull * c->n_vocab);
    void *groups = smt_lab_buffer(lab, 2, 8ull * smt_max_u32(p.n_groups, DRAW_MOST * p.per_group));
    uint32_t *step = smt_lab_step(lab, 3, ROWS, 1, ROWS), *ring = smt_lab_output(lab, 4, SAMPLE_RING);
    smt_lab_step_set(step, STEP_ARRAY_OUT, 0, 1);
    smt_lab_step_set(step, STEP_ARRAY_SLOT, 1, 4);
    smt_lab_step_set(step, STEP_ARRAY_INDEX, 1, INDEX);
    smt_lab_step_set(step, STEP_ARRAY_POSITION, 1, POSITION);
    write_rule(step, &c->options);
    step[STEP_ATTEND] = 7;
    step[STEP_DRAWN] = DRAWN;
    for (uint32_t i = 1; i <= (uint32_t)c->draws; i++) {
        memcpy(groups, best, 8ull * p.n_groups);
        smt_lab_run(lab, &p, 1, 1, 1);
        int32_t expected = expected_token(c, logits, INDEX + i), got = (int32_t)ring[(DRAWN + i - 1) % SAMPLE_RING];
        if (got != expected)
            fail_msg("%u logits in groups of %u, kind %d, top-k %u, draw %u: token %d, expected %d", c->n_vocab, c->per_group,
                     (int)c->fill, c->options.top_k, i, got, expected);
        const uint32_t head[] = {1, 1, 1, 0, 7, 1, (INDEX + i) / SMT_BLOCK + 1},
                       row[] = {(uint32_t)expected, POSITION + i, INDEX + i, 4, 0};
        smt_lab_same("head of the step", step, head, SMT_COUNT(head));
        smt_lab_same("row of the step", step + STEP_HEAD, row, SMT_COUNT(row));
        assert_int_equal(step[STEP_DRAWN], DRAWN + i);
    }
    smt_free(best);
    smt_free(logits);
}

static const sample_case cases[] = {
    {129280, 64, SPREAD, {0}, 1},
    {129280, 64, SPREAD, {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .seed = 1}, 12},
    {129280, 64, SPREAD, {.temperature = 3, .top_k = 256, .seed = UINT64_MAX - 5}, 12},
    {129280, 64, EQUAL, {.temperature = 1, .top_k = 100, .seed = 3}, 4},
    {129280, 64, CLUSTER, {.temperature = 5, .top_k = 256, .seed = 4}, 6},
    {4096, 8, SPREAD, {.temperature = 1, .top_k = 2, .seed = 5}, 12},
    {4096, 8, STEPS, {.temperature = 2, .top_k = 200, .top_p = 0.7f, .seed = 6}, 12},
    {4096, 8, HOLES, {.temperature = 50, .top_k = 50, .min_p = 0.9f, .seed = 7}, 12},
    {4096, 8, HOLES, {0}, 1},
    {1001, 3, HOLES, {.temperature = 1e-30f, .top_k = 20, .seed = 1ull << 40}, 3}, /* fewer are possible than wanted */
    {1001, 3, NOTHING, {.temperature = 1, .top_k = 20}, 2},
    {1001, 3, STEPS, {0}, 1},
    {65, 1, SPREAD, {.temperature = 1, .top_k = 256, .seed = 9}, 12},
    {1, 1, SPREAD, {.temperature = 1, .top_k = 5}, 2},
};

static void test_draws(void **state) {
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_sample(*state, SMT_LAB_FULL, &cases[i]);
    check_sample(*state, SMT_LAB_MINIMUM, &cases[6]);
}

/* Every weight and every border of a share, over many seeds: one wrong rounding shows. */
static void test_many(void **state) {
    for (uint64_t seed = 0; seed < 6; seed++) {
        const smt_sampler_options options = {
            .temperature = 0.3f + 0.7f * (float)seed, .top_k = 64, .top_p = 0.5f + 0.08f * (float)seed, .seed = seed << 30};
        check_sample(*state, SMT_LAB_FULL, &(sample_case){512, 4, SPREAD, options, 25});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
