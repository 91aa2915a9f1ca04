/* test_sample_draw.c: one token from made-up logits: the borders of each cut, the shape of the distribution, and that the same
 * input always gives the same token. */
#include "support.h"

#include "sample/sample.h"

#include <math.h>

enum { N = 8 };
static smt_sample_entry scratch[1000];

static int32_t draw(const smt_sampler_options *options, const float *logits, uint32_t n, uint64_t position) {
    smt_error err;
    int32_t token = -1;
    SMT_ASSERT_OK(smt_sample_draw(options, logits, n, NULL, 0, position, scratch, &token, &err), &err);
    assert_in_range(token, 0, n - 1);
    return token;
}

/* Logits with the given shares of the probability. */
static void from_shares(const double *shares, float *logits) {
    for (int i = 0; i < N; i++) logits[i] = (float)log(shares[i]);
}
static const double shares[N] = {.02, .25, .05, .40, .03, .15, .06, .04};

/* Bit i: token i came up in `draws` draws. */
static uint32_t seen(const smt_sampler_options *options, const float *logits, int draws) {
    uint32_t mask = 0;
    for (int i = 0; i < draws; i++) mask |= 1u << draw(options, logits, N, (uint64_t)i);
    return mask;
}

static void test_argmax(void **state) {
    (void)state;
    const smt_sampler_options options = {.top_k = 1, .seed = 5};
    const float logits[N] = {1, 3, -2, 3, 3, 0, 2.9f, NAN};
    assert_int_equal(draw(&options, logits, N, 0), 1); /* the lowest of three */
    const float one[N] = {-INFINITY, NAN, -INFINITY, -1e30f, INFINITY, NAN, NAN, NAN};
    assert_int_equal(draw(&options, one, N, 0), 3);
}

static void test_distribution(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const smt_sampler_options rows[] = {{.temperature = 1, .seed = 1},
                                        {.temperature = 1, .seed = 2, .top_k = N},
                                        {.temperature = 1, .seed = 3, .top_p = 0.9999f},
                                        {.temperature = 2, .seed = 4},
                                        {.temperature = 0.5f, .seed = 5, .min_p = 1e-6f}};
    float logits[N];
    from_shares(shares, logits);
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        double count[N] = {0}, want[N], total = 0, chi = 0;
        for (int i = 0; i < N; i++) total += want[i] = pow(shares[i], 1 / (double)rows[r].temperature);
        for (uint64_t i = 0; i < DRAWS; i++) count[draw(&rows[r], logits, N, i)]++;
        for (int i = 0; i < N; i++) {
            double expected = want[i] / total * (double)DRAWS;
            chi += (count[i] - expected) * (count[i] - expected) / expected;
        }
        if (chi > 24.3) fail_msg("row %zu: chi-square %g", r, chi); /* 7 degrees of freedom, one in a thousand */
    }
}

static void test_top_k(void **state) {
    (void)state;
    float logits[N];
    from_shares(shares, logits);
    smt_sampler_options options = {.temperature = 1, .top_k = 1};
    assert_int_equal(seen(&options, logits, 200), 1 << 3);
    options.top_k = 3;
    assert_int_equal(seen(&options, logits, 2000), 1 << 3 | 1 << 1 | 1 << 5);
    options.top_k = 1000; /* more than there are */
    assert_int_equal(seen(&options, logits, 2000), 255);
    const float equal[N] = {0}; /* the lower ids among equals */
    options.top_k = 3;
    assert_int_equal(seen(&options, equal, 500), 7);
}

static void test_top_p(void **state) {
    (void)state;
    const float logits[N] = {-INFINITY, 1, 1, -INFINITY, 1, 1, -INFINITY, -INFINITY}; /* four quarters, exactly */
    smt_sampler_options options = {.temperature = 1};
    const struct {
        float top_p;
        uint32_t mask;
    } rows[] = {{1e-6f, 1 << 1},
                {0.25f, 1 << 1},
                {0.2501f, 1 << 1 | 1 << 2},
                {0.5f, 1 << 1 | 1 << 2},
                {0.75f, 1 << 1 | 1 << 2 | 1 << 4},
                {0.7501f, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5},
                {1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5},
                {0, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5}};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        options.top_p = rows[r].top_p;
        assert_int_equal(seen(&options, logits, 500), rows[r].mask);
    }
    options.top_k = 2; /* shares are of what top-k leaves: halves */
    options.top_p = 0.5f;
    assert_int_equal(seen(&options, logits, 500), 1 << 1);
    options.top_p = 0.51f;
    assert_int_equal(seen(&options, logits, 500), 1 << 1 | 1 << 2);
}

static void test_min_p(void **state) {
    (void)state;
    float logits[N];
    from_shares(shares, logits);
    smt_sampler_options options = {.temperature = 1, .min_p = 0.62f}; /* .25 is .625 of .40 */
    assert_int_equal(seen(&options, logits, 500), 1 << 3 | 1 << 1);
    options.min_p = 0.63f;
    assert_int_equal(seen(&options, logits, 500), 1 << 3);
    options.min_p = 1;
    assert_int_equal(seen(&options, logits, 500), 1 << 3);
    options.min_p = 5; /* the best always stays */
    assert_int_equal(seen(&options, logits, 500), 1 << 3);
    const float equal[N] = {0};
    options.min_p = 1;
    assert_int_equal(seen(&options, equal, 500), 255);
}

static void test_repeat_penalty(void **state) {
    (void)state;
    smt_error err;
    int32_t token;
    const float logits[N] = {2, 3, -1, 2.5f, -4, -4, -4, -4};
    const int32_t history[] = {1, 3, 3, 3};
    smt_sampler_options options = {.repeat_penalty = 1.3f};
    /* 3 / 1.3 = 2.31 and 2.5 / 1.3 = 1.92, once each however often they occur */
    SMT_ASSERT_OK(smt_sample_draw(&options, logits, N, history, 4, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 1);
    options.repeat_penalty = 2; /* 1.5 and 1.25 against 2 */
    SMT_ASSERT_OK(smt_sample_draw(&options, logits, N, history, 4, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 0);
    options.repeat_last = 3; /* the 1 is outside the window */
    SMT_ASSERT_OK(smt_sample_draw(&options, logits, N, history, 4, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 1);
    options = (smt_sampler_options){.repeat_penalty = 1.2f}; /* 2.5 / 1.2 is still above 2, 2.5 / 1.2^3 would not be */
    const float close[N] = {2, 0, 0, 2.5f, 0, 0, 0, 0};
    SMT_ASSERT_OK(smt_sample_draw(&options, close, N, history, 4, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 3);
    options.repeat_penalty = 1; /* off */
    SMT_ASSERT_OK(smt_sample_draw(&options, logits, N, history, 4, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 1);
    const float negative[N] = {-1, -1.5f, -9, -9, -9, -9, -9, -9}; /* a negative logit is multiplied */
    const int32_t zero = 0;
    options = (smt_sampler_options){.repeat_penalty = 2};
    SMT_ASSERT_OK(smt_sample_draw(&options, negative, N, &zero, 1, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 1);
    const int32_t outside = N;
    assert_int_equal(smt_sample_draw(&options, logits, N, &outside, 1, 0, scratch, &token, &err), SMT_INVALID);
}

static void test_determinism(void **state) {
    (void)state;
    enum { MANY = 1000 };
    float logits[MANY];
    smt_test_random random = {.state = 9};
    for (int i = 0; i < MANY; i++) logits[i] = smt_test_normal(&random);
    smt_sampler_options options = {.temperature = 1, .top_k = 200, .top_p = 0.95f, .min_p = 0.001f, .seed = 77};
    int differ_position = 0, differ_seed = 0;
    for (uint64_t p = 0; p < 100; p++) {
        options.seed = 77;
        int32_t token = draw(&options, logits, MANY, p);
        assert_int_equal(draw(&options, logits, MANY, p), token);
        differ_position += draw(&options, logits, MANY, p + 1) != token;
        options.seed = 78;
        differ_seed += draw(&options, logits, MANY, p) != token;
    }
    assert_true(differ_position > 80);
    assert_true(differ_seed > 80);
}

static void test_uniform(void **state) {
    (void)state;
    double sum = 0, squares = 0, product = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        double u = smt_sample_uniform(i / 300, i % 300), v = smt_sample_uniform(i / 300, i % 300 + 1);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        product += u * v;
    }
    assert_true(fabs(sum / 1e5 - 0.5) < 0.004);
    assert_true(fabs(squares / 1e5 - 1 / 3.0) < 0.004);
    assert_true(fabs(product / 1e5 - 0.25) < 0.004); /* neighbours do not know each other */
    assert_true(smt_sample_uniform(1, 2) != smt_sample_uniform(2, 1));
    /* Seeds go with saved conversations: the numbers must not change between versions. */
    assert_true(fabs(smt_sample_uniform(1234, 56) - 0.3121616019052009) < 1e-12);
}

static void test_extremes(void **state) {
    (void)state;
    const float logits[N] = {3e38f, -3e38f, 0, 3e38f, 1, 2, 3, 4};
    smt_sampler_options options = {.temperature = 1e-30f, .seed = 3};
    assert_int_equal(seen(&options, logits, 200), 1 | 1 << 3);
    options.temperature = 3e38f;
    options.top_p = 0.9f;
    seen(&options, logits, 200);
    options = (smt_sampler_options){.temperature = 1, .repeat_penalty = 1e30f};
    smt_error err;
    int32_t token;
    const int32_t history[] = {1, 0};
    SMT_ASSERT_OK(smt_sample_draw(&options, logits, N, history, 2, 0, scratch, &token, &err), &err);
    assert_int_equal(token, 3);
}

static void test_errors(void **state) {
    (void)state;
    smt_error err;
    int32_t token = 9;
    smt_sampler_options options = {.temperature = 1};
    const float none[N] = {NAN, -INFINITY, INFINITY, NAN, -INFINITY, NAN, NAN, -INFINITY};
    assert_int_equal(smt_sample_draw(&options, none, N, NULL, 0, 0, scratch, &token, &err), SMT_INTERNAL);
    assert_int_equal(token, 0);
    options.temperature = 0;
    assert_int_equal(smt_sample_draw(&options, none, N, NULL, 0, 0, scratch, &token, &err), SMT_INTERNAL);
    assert_int_equal(smt_sample_draw(&options, none, 0, NULL, 0, 0, scratch, &token, NULL), SMT_INTERNAL);
    const float fine[N] = {0};
    const smt_sampler_options bad[] = {{.temperature = -1},    {.temperature = NAN},   {.temperature = INFINITY},
                                       {.top_p = -0.5f},       {.top_p = NAN},         {.min_p = -1},
                                       {.repeat_penalty = -1}, {.repeat_penalty = NAN}};
    for (size_t i = 0; i < SMT_COUNT(bad); i++)
        assert_int_equal(smt_sample_draw(&bad[i], fine, N, NULL, 0, 0, scratch, &token, &err), SMT_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),  cmocka_unit_test(test_distribution), cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),   cmocka_unit_test(test_min_p),        cmocka_unit_test(test_repeat_penalty),
        cmocka_unit_test(test_uniform), cmocka_unit_test(test_determinism),  cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
