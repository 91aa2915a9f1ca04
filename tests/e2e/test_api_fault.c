/* test_api_fault.c: host memory that runs out in the middle of engine, runner and eval, on one device and on two: an error or success, never
 * a crash, and afterwards everything still works and gives the same numbers. Leaks are seen by the sanitizer build.
 *
 * The Nth allocation fails for a spread of N, within a bound of time: the small N one by one, then with growing steps. */
#include "engine_support.h"
#include "os/os.h"
#include "tiny_model.h"

#include <unistd.h>

enum { N_TOKENS = 9, CONTEXT = 32, N_VOCAB = 512 };
#define PHASE_SECONDS 6.0

static char path[1024];
static int32_t *tokens;
static float want[N_VOCAB], got[N_VOCAB];
static uint32_t n_vocab;

static smt_status eval(smt_session *session, float *logits, smt_error *err) {
    smt_eval e = {.struct_size = sizeof e, .tokens = tokens, .n_tokens = N_TOKENS, .logits = logits};
    return smt_session_eval(session, &e, err);
}

/* Everything from an engine on, without failures. */
static void check_engine(smt_engine *engine) {
    smt_error err;
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    SMT_ASSERT_OK(eval(session, got, &err), &err);
    assert_memory_equal(got, want, n_vocab * sizeof(float));
    smt_session_free(session);
    smt_runner_free(runner);
}

static int setup(void **state) {
    smt_error err;
    smt_model_info info;
    smt_engine_test_setup(state);
    snprintf(path, sizeof path, "%s/test_api_fault-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2, .old_layout = true}, &err),
                  &err);
    smt_engine *engine = smt_test_engine(path);
    smt_engine_model(engine, &info);
    n_vocab = info.n_vocab;
    assert_in_range(n_vocab, 1, N_VOCAB);
    tokens = smt_test_tokens(N_TOKENS, n_vocab, 9);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    SMT_ASSERT_OK(eval(session, want, &err), &err);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
    return 0;
}

static int teardown(void **state) {
    free(tokens);
    remove(path);
    return smt_engine_test_teardown(state);
}

/* The next N to fail, or 0 when there were enough. */
static uint64_t next(uint64_t n, double until) {
    if (n >= 400 || smt_os_seconds() > until) return 0;
    return n + (n < 16 ? 1 : 7);
}

/* True when the call got through, for which no more than the failing allocation may be to blame when it did not. */
static bool outcome(smt_status status, const void *made, const smt_error *err, uint64_t n) {
    smt_mem_fail_after(0);
    assert_true((status == SMT_OK) == (made != NULL));
    if (status == SMT_OK) return true;
    if (status != SMT_MEMORY) fail_msg("allocation %llu: %s: %s", (unsigned long long)n, smt_status_name(status), err->message);
    assert_int_equal(err->code, status);
    return false;
}

/* With the devices named, or the driver's own. */
static smt_status create(const char *devices, smt_engine **out, smt_error *err) {
    smt_engine_options options = smt_test_engine_options(path);
    options.device.devices = devices;
    return smt_engine_create(&options, out, err);
}

static void check_engines(const char *devices) {
    smt_error err;
    uint64_t failed = 0;
    double until = smt_os_seconds() + PHASE_SECONDS;
    for (uint64_t n = 1; n; n = next(n, until)) {
        smt_engine *engine;
        smt_mem_fail_after(n);
        smt_status status = create(devices, &engine, &err);
        failed += !outcome(status, engine, &err, n);
        smt_engine_free(engine);
    }
    assert_true(failed > 10);
    smt_engine *engine;
    SMT_ASSERT_OK(create(devices, &engine, &err), &err);
    check_engine(engine);
    smt_engine_free(engine);
}

static void check_runners(const char *devices) {
    smt_error err;
    uint64_t failed = 0;
    double until = smt_os_seconds() + PHASE_SECONDS;
    smt_engine *engine;
    SMT_ASSERT_OK(create(devices, &engine, &err), &err);
    for (uint64_t n = 1; n; n = next(n, until)) {
        smt_runner_options options = {.struct_size = sizeof options, .n_ctx = CONTEXT, .n_batch = 8};
        smt_runner *runner;
        smt_mem_fail_after(n);
        smt_status status = smt_runner_create(engine, &options, &runner, &err);
        bool ok = outcome(status, runner, &err, n);
        smt_runner_free(runner);
        failed += !ok;
        if (ok) break; /* fewer allocations than n */
    }
    assert_true(failed > 10);
    check_engine(engine);
    smt_engine_free(engine);
}

static void test_engine(void **state) {
    (void)state;
    check_engines(NULL);
}

static void test_runner(void **state) {
    (void)state;
    check_runners(NULL);
}

/* What one of two devices has already is freed when the other one cannot have its own. */
static void test_two_devices(void **state) {
    (void)state;
    check_engines("vk0,vk0");
    check_runners("vk0,vk0");
}

/* One engine, so that what was compiled stays; each eval gets further than the one before. */
static void test_eval(void **state) {
    (void)state;
    smt_error err;
    uint64_t failed = 0;
    double until = smt_os_seconds() + PHASE_SECONDS;
    smt_engine *engine = smt_test_engine(path);
    for (uint64_t n = 1; n; n = next(n, until)) {
        smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F32);
        smt_session *session = NULL;
        smt_mem_fail_after(n);
        smt_status status = smt_session_create(runner, &session, &err);
        if (status == SMT_OK) status = eval(session, got, &err);
        smt_mem_fail_after(0);
        if (status != SMT_OK) {
            failed++;
            if (status != SMT_MEMORY)
                fail_msg("allocation %llu: %s: %s", (unsigned long long)n, smt_status_name(status), err.message);
            if (!session) session = smt_test_session(runner); /* the slot is not lost */
            assert_int_equal(smt_session_length(session), 0);
            if (n % 5 == 0) { /* the same runner goes on */
                SMT_ASSERT_OK(eval(session, got, &err), &err);
                assert_memory_equal(got, want, n_vocab * sizeof(float));
            }
        } else {
            assert_memory_equal(got, want, n_vocab * sizeof(float));
        }
        smt_session_free(session);
        smt_runner_free(runner);
    }
    assert_true(failed > 0); /* where every pipeline takes a second, few fit the time */
    check_engine(engine);
    smt_engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_engine), cmocka_unit_test(test_runner),
                                       cmocka_unit_test(test_two_devices), cmocka_unit_test(test_eval)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
