/* test_sample_draw.c: one token from made-up logits: the borders of each cut, the shape of the distribution, and that the same
 * input always gives the same token. */
#include "support.h"

#include "sample/sample.h"

#include <math.h>

enum { N = 8, MOST = 1000 };
static float scratch_logits[MOST];
static smt_token_logprob scratch_best[MOST];
static const smt_sample_scratch scratch = {scratch_logits, scratch_best};

static smt_status draw_after(const smt_sampler_options *options, const float *logits, const int32_t *history, size_t n_history,
                             int32_t *token, smt_error *err) {
    const smt_draw d = {.logits = logits, .n_vocab = N, .history = history, .n_history = n_history};
    return smt_sample_draw(options, &d, &scratch, token, err);
}

static int32_t draw(const smt_sampler_options *options, const float *logits, uint32_t n, uint64_t position) {
    smt_error err;
    int32_t token = -1;
    const smt_draw d = {.logits = logits, .n_vocab = n, .position = position};
    SMT_ASSERT_OK(smt_sample_draw(options, &d, &scratch, &token, &err), &err);
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

/* 20,000 draws against the shares wanted, which need not sum to 1. */
static void check_distribution(const smt_sampler_options *options, const float *logits, const int32_t *history, size_t n_history,
                               const double *want) {
    enum { DRAWS = 20000 };
    double count[N] = {0}, total = 0, chi = 0;
    smt_error err;
    int32_t token;
    for (int i = 0; i < N; i++) total += want[i];
    for (uint64_t i = 0; i < DRAWS; i++) {
        const smt_draw d = {.logits = logits, .n_vocab = N, .history = history, .n_history = n_history, .position = i};
        SMT_ASSERT_OK(smt_sample_draw(options, &d, &scratch, &token, &err), &err);
        count[token]++;
    }
    for (int i = 0; i < N; i++) {
        double expected = want[i] / total * (double)DRAWS;
        if (expected == 0)
            assert_true(count[i] == 0);
        else
            chi += (count[i] - expected) * (count[i] - expected) / expected;
    }
    if (chi > 24.3) fail_msg("seed %llu: chi-square %g", (unsigned long long)options->seed, chi); /* 7 degrees, one in 1000 */
}

static void test_distribution(void **state) {
    (void)state;
    const smt_sampler_options rows[] = {{.temperature = 1, .seed = 1},
                                        {.temperature = 1, .seed = 2, .top_k = N},
                                        {.temperature = 1, .seed = 3, .top_p = 0.9999f},
                                        {.temperature = 2, .seed = 4},
                                        {.temperature = 0.5f, .seed = 5, .min_p = 1e-6f}};
    float logits[N];
    from_shares(shares, logits);
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        double want[N];
        for (int i = 0; i < N; i++) want[i] = pow(shares[i], 1 / (double)rows[r].temperature);
        check_distribution(&rows[r], logits, NULL, 0, want);
    }
}

/* A mask leaves what it allows, in the proportions it had; biases do not bring a token back, and log-probabilities do not see it. */
static void test_mask(void **state) {
    (void)state;
    float logits[N], logprob;
    smt_error err;
    int32_t token;
    const uint32_t mask = 1u << 1 | 1u << 5 | 1u << 6;
    from_shares(shares, logits);
    const smt_logit_bias bias = {3, 10};
    const smt_sampler_options rows[] = {
        {.seed = 1}, {.temperature = 1, .seed = 2, .n_biases = 1, .biases = &bias}, {.temperature = 1, .top_k = 2}};
    const uint32_t want[] = {1u << 1, 1u << 1 | 1u << 5 | 1u << 6, 1u << 1 | 1u << 5};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        uint32_t drawn = 0;
        for (uint64_t i = 0; i < 500; i++) {
            const smt_draw d = {.logits = logits, .n_vocab = N, .position = i, .mask = &mask, .logprob = &logprob};
            SMT_ASSERT_OK(smt_sample_draw(&rows[r], &d, &scratch, &token, &err), &err);
            drawn |= 1u << token;
            assert_float_equal(logprob, log(shares[token]), 1e-5);
        }
        assert_int_equal(drawn, want[r]);
    }
    const smt_draw none = {.logits = logits, .n_vocab = N, .mask = &(uint32_t){0}};
    assert_int_equal(smt_sample_draw(&rows[0], &none, &scratch, &token, &err), SMT_INTERNAL);
    assert_non_null(strstr(err.message, "allowed by the mask"));
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
    SMT_ASSERT_OK(draw_after(&options, logits, history, 4, &token, &err), &err);
    assert_int_equal(token, 1);
    options.repeat_penalty = 2; /* 1.5 and 1.25 against 2 */
    SMT_ASSERT_OK(draw_after(&options, logits, history, 4, &token, &err), &err);
    assert_int_equal(token, 0);
    options.repeat_last = 3; /* the 1 is outside the window */
    SMT_ASSERT_OK(draw_after(&options, logits, history, 4, &token, &err), &err);
    assert_int_equal(token, 1);
    options = (smt_sampler_options){.repeat_penalty = 1.2f}; /* 2.5 / 1.2 is still above 2, 2.5 / 1.2^3 would not be */
    const float close[N] = {2, 0, 0, 2.5f, 0, 0, 0, 0};
    SMT_ASSERT_OK(draw_after(&options, close, history, 4, &token, &err), &err);
    assert_int_equal(token, 3);
    options.repeat_penalty = 1; /* off */
    SMT_ASSERT_OK(draw_after(&options, logits, history, 4, &token, &err), &err);
    assert_int_equal(token, 1);
    const float negative[N] = {-1, -1.5f, -9, -9, -9, -9, -9, -9}; /* a negative logit is multiplied */
    const int32_t zero = 0;
    options = (smt_sampler_options){.repeat_penalty = 2};
    SMT_ASSERT_OK(draw_after(&options, negative, &zero, 1, &token, &err), &err);
    assert_int_equal(token, 1);
    const int32_t outside = N;
    assert_int_equal(draw_after(&options, logits, &outside, 1, &token, &err), SMT_INVALID);
}

/* Presence and frequency in numbers: what is taken from each logit, seen through the distribution. */
static void test_counting_penalties(void **state) {
    (void)state;
    const int32_t history[] = {7, 7, 7, 7, 3, 1, 3, 3, 5};
    const double counts[N] = {0, 1, 0, 3, 0, 1, 0, 4};
    float logits[N];
    from_shares(shares, logits);
    const struct {
        smt_sampler_options options;
        double presence, frequency;
    } rows[] = {{{.temperature = 1, .seed = 21, .presence_penalty = 0.7f}, 0.7, 0},
                {{.temperature = 1, .seed = 22, .frequency_penalty = 0.4f}, 0, 0.4},
                {{.temperature = 1, .seed = 23, .presence_penalty = 0.5f, .frequency_penalty = 0.3f, .top_k = N}, 0.5, 0.3},
                {{.temperature = 1, .seed = 24, .presence_penalty = -0.6f, .frequency_penalty = -0.2f}, -0.6, -0.2}};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        double want[N];
        for (int i = 0; i < N; i++)
            want[i] = shares[i] * exp(-(counts[i] > 0 ? rows[r].presence : 0) - counts[i] * rows[r].frequency);
        check_distribution(&rows[r].options, logits, history, SMT_COUNT(history), want);
    }
    smt_sampler_options windowed = {.temperature = 1, .seed = 25, .presence_penalty = 1, .repeat_last = 4};
    double want[N];
    for (int i = 0; i < N; i++) want[i] = shares[i] * (i == 1 || i == 3 || i == 5 ? exp(-1) : 1); /* 1 3 3 5: no 7 */
    check_distribution(&windowed, logits, history, SMT_COUNT(history), want);
}

/* The three penalties together: first the factor, then what is taken away. */
static void test_penalties_together(void **state) {
    (void)state;
    const int32_t history[] = {3, 3};
    const float logits[N] = {0, 1, -1, 4, -2, 0.5f, 0.25f, -0.5f};
    const smt_sampler_options options = {
        .temperature = 1, .seed = 31, .repeat_penalty = 2, .presence_penalty = 0.5f, .frequency_penalty = 0.25f};
    double want[N];
    for (int i = 0; i < N; i++) want[i] = exp((double)logits[i]);
    want[3] = exp(4 / 2.0 - 0.5 - 2 * 0.25);
    check_distribution(&options, logits, history, 2, want);
}

static void test_default_window(void **state) {
    (void)state;
    smt_error err;
    int32_t token, history[65];
    const float logits[N] = {2, 1.9f};
    for (int i = 0; i < 65; i++) history[i] = i ? 5 : 0;
    smt_sampler_options options = {.presence_penalty = 1};
    SMT_ASSERT_OK(draw_after(&options, logits, history, 65, &token, &err), &err);
    assert_int_equal(token, 0); /* 65 tokens ago */
    SMT_ASSERT_OK(draw_after(&options, logits, history, 64, &token, &err), &err);
    assert_int_equal(token, 1);
    options.repeat_last = UINT32_MAX;
    SMT_ASSERT_OK(draw_after(&options, logits, history, 65, &token, &err), &err);
    assert_int_equal(token, 1);
}

static void test_biases(void **state) {
    (void)state;
    float logits[N];
    from_shares(shares, logits);
    const smt_logit_bias biases[] = {{3, -INFINITY}, {0, 1.5f}, {5, -1}, {0, 1}};
    smt_sampler_options options = {.temperature = 1, .seed = 41, .n_biases = 4, .biases = biases};
    double want[N];
    memcpy(want, shares, sizeof want);
    want[3] = 0;
    want[0] *= exp(2.5);
    want[5] *= exp(-1);
    check_distribution(&options, logits, NULL, 0, want);
    options.top_p = 0.9999f;
    check_distribution(&options, logits, NULL, 0, want);
    options = (smt_sampler_options){.n_biases = 1, .biases = biases}; /* argmax without the ban would be 3 */
    assert_int_equal(draw(&options, logits, N, 0), 1);
    const smt_logit_bias outside[] = {{0, 1}, {N, 1}}, below = {-1, 1};
    smt_error err;
    int32_t token;
    options = (smt_sampler_options){.n_biases = 2, .biases = outside};
    assert_int_equal(draw_after(&options, logits, NULL, 0, &token, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "token 8 of the biases"));
    options = (smt_sampler_options){.n_biases = 1, .biases = &below};
    assert_int_equal(draw_after(&options, logits, NULL, 0, &token, &err), SMT_INVALID);
}

static int by_value(const void *a, const void *b) {
    const smt_token_logprob *x = a, *y = b;
    return x->logprob > y->logprob ? -1 : x->logprob < y->logprob ? 1 : (x->token > y->token) - (x->token < y->token);
}

/* Values with many ties, so that the order of ids matters. */
static void random_logits(float *logits, int n, uint64_t seed) {
    smt_test_random random = {.state = seed};
    for (int i = 0; i < n; i++) logits[i] = roundf(smt_test_normal(&random) * 20) / 8;
}

static void test_best(void **state) {
    (void)state;
    float values[MOST];
    smt_token_logprob sorted[MOST], kept[MOST];
    random_logits(values, MOST, 3);
    for (int i = 0; i < MOST; i++) sorted[i] = (smt_token_logprob){i, values[i]};
    qsort(sorted, MOST, sizeof *sorted, by_value);
    static const uint32_t capacities[] = {0, 1, 2, 3, 20, 255, MOST};
    for (size_t c = 0; c < SMT_COUNT(capacities); c++)
        for (int down = 0; down < 2; down++) {
            smt_sample_best best = {.entries = kept, .capacity = capacities[c]};
            for (int i = 0; i < MOST; i++) {
                int id = down ? MOST - 1 - i : i;
                smt_sample_offer(&best, id, values[id]);
            }
            assert_int_equal(best.n, capacities[c]);
            smt_sample_sort(&best);
            for (uint32_t i = 0; i < best.n; i++) assert_int_equal(kept[i].token, sorted[i].token);
        }
}

/* The model's own probabilities, whatever the sampler does with them. */
static void test_logprobs(void **state) {
    (void)state;
    enum { TOP = 21 };
    float logits[MOST], logprob;
    smt_token_logprob sorted[MOST], top[TOP];
    double total = 0;
    random_logits(logits, MOST, 5);
    for (int i = 0; i < MOST; i++) total += exp((double)logits[i]);
    for (int i = 0; i < MOST; i++) sorted[i] = (smt_token_logprob){i, logits[i]};
    qsort(sorted, MOST, sizeof *sorted, by_value);
    const smt_logit_bias ban = {sorted[0].token, -INFINITY};
    const int32_t history[] = {sorted[1].token, sorted[2].token};
    const smt_sampler_options rows[] = {{0},
                                        {.temperature = 0.3f, .top_k = 5},
                                        {.temperature = 2},
                                        {.temperature = 1, .top_p = 0.5f, .min_p = 0.01f},
                                        {.n_biases = 1, .biases = &ban, .repeat_penalty = 4, .presence_penalty = 1}};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        smt_error err;
        int32_t token;
        const smt_draw d = {.logits = logits,
                            .n_vocab = MOST,
                            .history = history,
                            .n_history = 2,
                            .position = r,
                            .logprob = &logprob,
                            .n_top = TOP,
                            .top = top};
        SMT_ASSERT_OK(smt_sample_draw(&rows[r], &d, &scratch, &token, &err), &err);
        assert_true(fabs((double)logprob - (logits[token] - log(total))) < 1e-6);
        for (int i = 0; i < TOP; i++) {
            assert_int_equal(top[i].token, sorted[i].token);
            assert_true(fabs((double)top[i].logprob - (sorted[i].logprob - log(total))) < 1e-6);
        }
    }
}

static void test_logprobs_of_few(void **state) {
    (void)state;
    smt_error err;
    int32_t token;
    float logprob;
    smt_token_logprob top[5];
    const float logits[N] = {-INFINITY, NAN, 3e38f, -INFINITY, NAN, -3e38f, 3e38f, NAN}; /* sums that exp alone cannot hold */
    const smt_sampler_options options = {0};
    const smt_draw d = {.logits = logits, .n_vocab = N, .logprob = &logprob, .n_top = 5, .top = top};
    SMT_ASSERT_OK(smt_sample_draw(&options, &d, &scratch, &token, &err), &err);
    assert_int_equal(token, 2);
    assert_true(logprob <= 0 && logprob > -1);
    static const int32_t want[5] = {2, 6, 5, -1, -1};
    for (int i = 0; i < 5; i++) assert_int_equal(top[i].token, want[i]);
    assert_true(top[3].logprob == -INFINITY);
}

/* More survive top-p than the first look takes: as exact as a full sort. */
static void test_flat(void **state) {
    (void)state;
    float logits[MOST];
    bool came[MOST] = {false};
    for (int i = 0; i < MOST; i++) logits[i] = (float)((i * 7) % MOST < 600 ? 1 : 0); /* 600 of weight e, 400 of weight 1 */
    const smt_sampler_options options = {.temperature = 1, .top_p = 0.5f, .seed = 51};
    int limit = (int)ceil(0.5 * (600 * exp(1) + 400) / exp(1)), n = 0; /* 374: the lowest ids among equals */
    for (uint64_t i = 0; i < 5000; i++) came[draw(&options, logits, MOST, i)] = true;
    for (int i = 0; i < MOST; i++) {
        if (logits[i] == 0) assert_false(came[i]);
        if (logits[i] == 1) assert_int_equal(came[i], n++ < limit);
    }
}

static void test_determinism(void **state) {
    (void)state;
    float logits[MOST];
    smt_test_random random = {.state = 9};
    for (int i = 0; i < MOST; i++) logits[i] = smt_test_normal(&random);
    smt_sampler_options options = {.temperature = 1, .top_k = 200, .top_p = 0.95f, .min_p = 0.001f, .seed = 77};
    int differ_position = 0, differ_seed = 0;
    for (uint64_t p = 0; p < 100; p++) {
        options.seed = 77;
        int32_t token = draw(&options, logits, MOST, p);
        assert_int_equal(draw(&options, logits, MOST, p), token);
        differ_position += draw(&options, logits, MOST, p + 1) != token;
        options.seed = 78;
        differ_seed += draw(&options, logits, MOST, p) != token;
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
    assert_true(fabs(smt_sample_uniform(1234, 56) - 0xf12be953 / 4294967296.0) < 1e-12);
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
    SMT_ASSERT_OK(draw_after(&options, logits, history, 2, &token, &err), &err);
    assert_int_equal(token, 3);
}

static void test_errors(void **state) {
    (void)state;
    smt_error err;
    int32_t token = 9;
    smt_sampler_options options = {.temperature = 1};
    const float none[N] = {NAN, -INFINITY, INFINITY, NAN, -INFINITY, NAN, NAN, -INFINITY};
    assert_int_equal(draw_after(&options, none, NULL, 0, &token, &err), SMT_INTERNAL);
    assert_int_equal(token, 0);
    options.top_p = 0.5f;
    assert_int_equal(draw_after(&options, none, NULL, 0, &token, NULL), SMT_INTERNAL);
    options = (smt_sampler_options){0};
    assert_int_equal(draw_after(&options, none, NULL, 0, &token, &err), SMT_INTERNAL);
    const smt_logit_bias not_a_number = {1, NAN}, always = {1, INFINITY}, never = {1, -INFINITY};
    const smt_sampler_options bad[] = {{.temperature = -1},
                                       {.temperature = NAN},
                                       {.temperature = INFINITY},
                                       {.top_p = -0.5f},
                                       {.top_p = 1.5f},
                                       {.top_p = NAN},
                                       {.min_p = -1},
                                       {.min_p = 1.5f},
                                       {.repeat_penalty = -1},
                                       {.repeat_penalty = NAN},
                                       {.presence_penalty = NAN},
                                       {.presence_penalty = INFINITY},
                                       {.frequency_penalty = NAN},
                                       {.frequency_penalty = -INFINITY},
                                       {.n_biases = 1},
                                       {.n_biases = 1, .biases = &not_a_number},
                                       {.n_biases = 1, .biases = &always}};
    for (size_t i = 0; i < SMT_COUNT(bad); i++) assert_int_equal(smt_sample_check(&bad[i], &err), SMT_INVALID);
    options = (smt_sampler_options){.temperature = 1, .top_p = 1, .presence_penalty = -2, .n_biases = 1, .biases = &never};
    SMT_ASSERT_OK(smt_sample_check(&options, &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_repeat_penalty),
        cmocka_unit_test(test_counting_penalties),
        cmocka_unit_test(test_penalties_together),
        cmocka_unit_test(test_default_window),
        cmocka_unit_test(test_biases),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_logprobs_of_few),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_determinism),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
