/* test_stats.c: a step taken apart computes what the step does, its counts and times hang together, and what is refused leaves the
 * session as it was. */
#include "engine_support.h"
#include "tiny_model.h"

#include "api/api_engine.h"

#include <unistd.h>

enum { N_TOKENS = 12, N_BATCH = 16, CONTEXT = 64 };

static struct {
    char path[1024];
    smt_engine *engine;
    smt_model_info info;
    int32_t *tokens;
    smt_runner *runner;
    smt_session *session;
} shared;

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_stats-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 3}, &err), &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &shared.info);
    shared.tokens = smt_test_tokens(CONTEXT, shared.info.n_vocab, 7);
    shared.runner = smt_test_runner(shared.engine, CONTEXT, N_BATCH, 1, SMT_CACHE_F16);
    shared.session = smt_test_session(shared.runner);
    return 0;
}

static int teardown(void **state) {
    smt_session_free(shared.session);
    smt_runner_free(shared.runner);
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.tokens);
    return smt_engine_test_teardown(state);
}

static void evaluate(uint32_t n, float *logits) {
    smt_error err;
    uint32_t at = smt_session_length(shared.session);
    smt_eval eval = {.struct_size = sizeof eval, .tokens = shared.tokens + at, .n_tokens = n, .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(shared.session, &eval, &err), &err);
}

static void measure(uint32_t n, smt_profile *profile) {
    smt_error err;
    uint32_t at = smt_session_length(shared.session);
    profile->struct_size = sizeof *profile;
    SMT_ASSERT_OK(smt_session_profile(shared.session, shared.tokens + at, n, profile, &err), &err);
    assert_int_equal(smt_session_length(shared.session), at + n);
}

static void rewind_to(uint32_t length) {
    smt_error err;
    SMT_ASSERT_OK(smt_session_rewind(shared.session, length, &err), &err);
}

/* What follows a measured step is, to the bit, what follows the step evaluated. */
static void test_computes(void **state) {
    (void)state;
    size_t bytes = shared.info.n_vocab * sizeof(float);
    float *want = malloc(bytes), *got = malloc(bytes);
    const uint32_t counts[] = {1, 5};
    for (size_t i = 0; i < SMT_COUNT(counts); i++) {
        smt_profile profile = {0};
        rewind_to(0);
        evaluate(N_TOKENS, NULL);
        evaluate(counts[i], NULL);
        evaluate(1, want);
        rewind_to(N_TOKENS);
        memset(got, 0, bytes);
        measure(counts[i], &profile);
        evaluate(1, got);
        assert_memory_equal(got, want, bytes);
    }
    free(want);
    free(got);
}

static void check_times(const smt_profile *p, double wall) {
    double sum = p->embed_s + p->head_s;
    for (uint32_t i = 0; i < shared.info.n_layers; i++) {
        assert_true(p->layer_s[i] > 0);
        sum += p->layer_s[i];
    }
    assert_true(p->embed_s > 0 && p->head_s > 0);
    assert_true(sum <= wall);
    assert_true(p->longest_submission_s <= sum * 1.000001 && p->longest_submission_s >= sum / p->n_submissions * 0.999999);
}

static void test_numbers(void **state) {
    (void)state;
    double layer_s[3];
    smt_profile one = {.layer_s = layer_s}, five = {.layer_s = layer_s};
    rewind_to(0);
    evaluate(N_TOKENS, NULL);
    double start = smt_os_seconds();
    measure(1, &one);
    check_times(&one, smt_os_seconds() - start);
    assert_int_equal(one.rows, 1);
    assert_true(one.n_submissions >= 1 && one.layer_stages >= 3);
    assert_true(one.layer_stages <= one.layer_dispatches && one.n_stages <= one.n_dispatches);
    assert_true(one.n_dispatches > one.layer_dispatches && one.n_dispatches <= 3 * one.layer_dispatches + 8);
    assert_true(one.weight_bytes > 2.0 * (double)shared.info.n_params_active);
    double row = (double)shared.info.cache_values_per_token * 2;
    assert_true(one.cache_bytes >= row * (N_TOKENS + 1) &&
                one.cache_bytes < row * (N_TOKENS + 2)); /* rows are padded to 16 bytes */
    start = smt_os_seconds();
    measure(5, &five);
    check_times(&five, smt_os_seconds() - start);
    assert_int_equal(five.rows, 8);
    assert_true(five.weight_bytes > one.weight_bytes && five.weight_bytes < 5 * one.weight_bytes);
}

/* The device's own clock, where there is one, whatever kind of device it is. */
static void test_device_clock(void **state) {
    (void)state;
    smt_run *run = shared.runner->run;
    double layer_s[3], sum = 0;
    smt_error err;
    smt_run_row rows[4];
    for (uint32_t i = 0; i < 4; i++)
        rows[i] = (smt_run_row){.token = shared.tokens[i], .position = (int32_t)i, .index = i, .out = i == 3};
    smt_run_profile profile = {.layer_s = layer_s};
    rewind_to(0);
    evaluate(4, NULL); /* the rows have their place in the cache */
    smt_status status = smt_run_profile_step(run, rows, 4, true, &profile, &err);
    if (smt_vk_device_caps(run->parts[0].on->vk)->timestamp_ns <= 0) {
        assert_int_equal(status, SMT_UNSUPPORTED);
        return;
    }
    SMT_ASSERT_OK(status, &err);
    for (int i = 0; i < 3; i++) {
        assert_true(layer_s[i] >= 0 && layer_s[i] < 60);
        sum += layer_s[i];
    }
    assert_true(sum > 0);
}

static void refuse(const int32_t *tokens, uint32_t n, size_t struct_size, smt_status code, const char *words) {
    smt_error err = {0};
    smt_profile profile = {.struct_size = struct_size};
    uint32_t before = smt_session_length(shared.session);
    assert_int_equal(smt_session_profile(shared.session, tokens, n, &profile, &err), code);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not mention %s", err.message, words);
    assert_int_equal(smt_session_length(shared.session), before);
}

static void test_refusals(void **state) {
    (void)state;
    const int32_t wrong[] = {1, 2, -7};
    rewind_to(0);
    evaluate(N_TOKENS, NULL);
    refuse(shared.tokens, 1, 0, SMT_INVALID, "smt_profile");
    refuse(shared.tokens, 0, sizeof(smt_profile), SMT_INVALID, "no tokens");
    refuse(wrong, 3, sizeof(smt_profile), SMT_INVALID, "token -7");
    refuse(shared.tokens, N_BATCH + 1, sizeof(smt_profile), SMT_INVALID, "17");
    refuse(shared.tokens, CONTEXT, sizeof(smt_profile), SMT_FULL, "context of 64");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_computes), cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_device_clock), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
