/* test_compile.c: kernels that compile while the weights load: the right ones, with progress on the caller's thread alone, to the same
 * results; what happens when that is cancelled or the compiled kernels cannot be kept; and who compiles on which kind of driver, for which
 * the linker puts __wrap_smt_vk_kernel_warm in the place of a kernel's first dispatch (tests/CMakeLists.txt). */
#include "engine_support.h"
#include "tiny_model.h"
#include "vk/vk_objects.h"
#include "vk_support.h"

#include <pthread.h>
#include <unistd.h>

enum { N_TOKENS = 12, N_BATCH = 16, CONTEXT = 64, N_VOCAB = 262 };

static struct {
    char path[1024];
    int32_t *tokens;
} shared;

typedef struct watch {
    pthread_t caller;
    uint64_t compiled, total, calls, cancel_at; /* cancel_at: kernels after which to cancel; 0: never */
    uint32_t strangers, complaints, fell;       /* calls on another thread; log lines about the cache; counts that fell back */
    uint32_t tested;                            /* log lines about self-tests */
} watch;

static bool on_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    watch *w = user;
    w->strangers += !pthread_equal(w->caller, pthread_self());
    if (stage != SMT_STAGE_COMPILE) return true;
    assert_true(done <= total);
    w->fell += done < w->compiled;
    w->compiled = done;
    w->total = total;
    w->calls++;
    return !w->cancel_at || done < w->cancel_at;
}

static void on_log(void *user, smt_log_level level, const char *text) {
    watch *w = user;
    if (level == SMT_LOG_VALIDATION) fail_msg("%s", text);
    w->strangers += !pthread_equal(w->caller, pthread_self());
    w->complaints += strstr(text, "not kept") != NULL;
    w->tested += strstr(text, "self-test: ") != NULL;
}

static smt_engine_options watched(watch *w, const smt_runner_options *runner) {
    smt_engine_options options = smt_test_engine_options(shared.path);
    w->caller = pthread_self();
    options.device.callbacks = (smt_callbacks){.user = w, .log = on_log, .progress = on_progress};
    options.compile_for = runner;
    return options;
}

static void evaluate(smt_session *session, uint32_t n, float *logits) {
    smt_error err;
    smt_eval eval = {
        .struct_size = sizeof eval, .tokens = shared.tokens + smt_session_length(session), .n_tokens = n, .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
}

/* Logits after a prompt and a token more, of a new engine. */
static void run_engine(const smt_engine_options *options, float *logits) {
    smt_engine *engine;
    smt_error err;
    SMT_ASSERT_OK(smt_engine_create(options, &engine, &err), &err);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, N_BATCH, 1, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    watch *w = options->device.callbacks.user;
    uint64_t before = w->calls;
    evaluate(session, N_TOKENS, logits);
    evaluate(session, 1, logits);
    if (options->compile_for && w->calls != before)
        fail_msg("%llu kernels of %llu were not expected", (unsigned long long)w->compiled, (unsigned long long)w->total);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

static const smt_runner_options expected = {
    .struct_size = sizeof expected, .n_ctx = CONTEXT, .n_batch = N_BATCH, .n_sessions = 1, .cache_type = SMT_CACHE_F16};

static void test_expected(void **state) {
    (void)state;
    float want[N_VOCAB] = {0}, got[N_VOCAB] = {0};
    watch lazy = {0}, early = {0};
    smt_engine_options options = watched(&lazy, NULL);
    run_engine(&options, want);
    options = watched(&early, &expected);
    run_engine(&options, got);
    assert_memory_equal(got, want, sizeof got);
    assert_true(early.total > 10 && early.compiled == early.total);
    assert_int_equal(early.fell, 0);
    assert_true(lazy.calls > 0);
    assert_int_equal(early.strangers + lazy.strangers, 0);
}

static void test_cancelled(void **state) {
    (void)state;
    for (uint64_t at = 1; at <= 7; at += 3) {
        watch w = {.cancel_at = at};
        smt_engine_options options = watched(&w, &expected);
        smt_engine *engine;
        smt_error err;
        assert_int_equal(smt_engine_create(&options, &engine, &err), SMT_CANCELLED);
        assert_null(engine);
        assert_non_null(strstr(err.message, "cancelled"));
        assert_int_equal(w.strangers, 0);
    }
}

static bool stop_loading(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return stage != SMT_STAGE_LOAD;
}

/* Threads at work are called back when the loading ends early. */
static void test_loading_fails(void **state) {
    (void)state;
    watch w = {0};
    smt_engine_options options = watched(&w, &expected);
    options.device.callbacks.progress = stop_loading;
    smt_engine *engine;
    smt_error err;
    assert_int_equal(smt_engine_create(&options, &engine, &err), SMT_CANCELLED);
    assert_non_null(strstr(err.message, "loading"));
}

static void test_wrong_options(void **state) {
    (void)state;
    watch w = {0};
    smt_runner_options runner = expected;
    runner.cache_type = (smt_cache_type)7;
    smt_engine_options options = watched(&w, &runner);
    smt_engine *engine;
    smt_error err;
    assert_int_equal(smt_engine_create(&options, &engine, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "cache_type 7"));
}

/* A cache folder that is a file: everything works, and the log says so once. */
static void test_not_kept(void **state) {
    (void)state;
    float logits[N_VOCAB];
    watch w = {0};
    smt_engine_options options = watched(&w, &expected);
    options.device.cache_dir = shared.path;
    run_engine(&options, logits);
    assert_int_equal(w.complaints, 1);
    assert_int_equal(w.strangers, 0);
}

/* An engine that opens, or not, with or without the self-test; how many log lines spoke of one. */
static smt_status open_tested(smt_self_test self_test, const char *cache, const char *shaders, uint32_t *tested, smt_error *err) {
    watch w = {0};
    smt_engine_options options = watched(&w, &expected);
    options.device.cache_dir = cache;
    options.device.shader_dir = shaders;
    options.device.self_test = self_test;
    smt_engine *engine;
    smt_status status = smt_engine_create(&options, &engine, err);
    smt_engine_free(engine);
    assert_int_equal(w.strangers, 0);
    *tested = w.tested;
    return status;
}

/* A kernel that was wrong once is not there the next time either: no step runs with it. */
static void test_refused_each_time(void **state) {
    (void)state;
    smt_error err;
    char shaders[256];
    smt_vk_test_folder(shaders, sizeof shaders);
    smt_vk_test_write(shaders, "embed.comp",
                      "#include \"lib/prelude.glsl\"\n"
                      "layout(push_constant) uniform Push { embed_params p; };\n"
                      "layout(std430, binding = 1) writeonly buffer Y { float y[]; };\n"
                      "void main() { y[gl_GlobalInvocationID.x] = 1.0; }\n");
    float logits[N_VOCAB];
    smt_engine_options options = smt_test_engine_options(shared.path);
    options.device.shader_dir = shaders;
    options.device.self_test = SMT_SELF_TEST_ALWAYS;
    smt_engine *engine;
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    const smt_eval eval = {.struct_size = sizeof eval, .tokens = shared.tokens, .n_tokens = 1, .logits = logits};
    for (int i = 0; i < 2; i++) assert_int_equal(smt_session_eval(session, &eval, &err), SMT_WRONG_RESULT);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
    smt_vk_test_remove(shaders);
}

/* Kernels are tested once for a cache folder, or always, or never; a wrong one keeps the engine from opening. */
static void test_self_test(void **state) {
    (void)state;
    uint32_t tested;
    smt_error err;
    char folder[256];
    smt_vk_test_folder(folder, sizeof folder);
    SMT_ASSERT_OK(open_tested(SMT_SELF_TEST_AUTO, folder, NULL, &tested, &err), &err);
    assert_int_equal(tested, 1);
    SMT_ASSERT_OK(open_tested(SMT_SELF_TEST_AUTO, folder, NULL, &tested, &err), &err);
    assert_int_equal(tested, 0);
    SMT_ASSERT_OK(open_tested(SMT_SELF_TEST_ALWAYS, folder, NULL, &tested, &err), &err);
    assert_int_equal(tested, 1);
    /* as if the driver took every row for idle */
    smt_vk_test_write(
        folder, "lib/step.glsl",
        "layout(std430, binding = STEP_BINDING) readonly buffer Step { uint step_words[]; };\n"
        "uint step_rows() { return 0u; }\n"
        "uint step_get(uint array, uint row) { return step_words[STEP_HEAD + array * step_words[STEP_MAX_ROWS] + row]; }\n");
    assert_int_equal(open_tested(SMT_SELF_TEST_AUTO, folder, folder, &tested, &err), SMT_WRONG_RESULT);
    assert_non_null(strstr(err.message, " computes nonsense: kernel "));
    SMT_ASSERT_OK(open_tested(SMT_SELF_TEST_NEVER, folder, folder, &tested, &err), &err);
    assert_int_equal(tested, 0);
    smt_vk_test_remove(folder);
}

/* ---- drivers that translate kernels at their first dispatch ---- */

enum { TRANSLATE_US = 45000, MOST_KERNELS = 64 };

/* A habit: TRUE is the driver's own; QUICK takes no time; KEEPS takes some, once for all logical devices; FORGETS once for each. */
static struct {
    enum habit { TRUE, QUICK, KEEPS, FORGETS } habit;
    pthread_mutex_t lock;
    char known[MOST_KERNELS][96];                /* labels, translated by anyone */
    uint32_t n_known, on_device, on_twins, late; /* first dispatches; late: known ones on the device */
} driver = {.lock = PTHREAD_MUTEX_INITIALIZER};

smt_status __real_smt_vk_kernel_warm(smt_vk_device *device, const smt_vk_kernel *kernel, smt_vk_buffer *any, uint64_t timeout_ns,
                                     smt_error *err);
smt_status __wrap_smt_vk_kernel_warm(smt_vk_device *device, const smt_vk_kernel *kernel, smt_vk_buffer *any, uint64_t timeout_ns,
                                     smt_error *err);
smt_status __wrap_smt_vk_kernel_warm(smt_vk_device *device, const smt_vk_kernel *kernel, smt_vk_buffer *any, uint64_t timeout_ns,
                                     smt_error *err) {
    if (driver.habit == TRUE) return __real_smt_vk_kernel_warm(device, kernel, any, timeout_ns, err);
    pthread_mutex_lock(&driver.lock);
    bool known = false;
    for (uint32_t i = 0; i < driver.n_known; i++) known |= strcmp(driver.known[i], kernel->label) == 0;
    *(device->twin ? &driver.on_twins : &driver.on_device) += 1;
    driver.late += known && !device->twin;
    if (!known && driver.n_known < MOST_KERNELS)
        snprintf(driver.known[driver.n_known++], sizeof driver.known[0], "%s", kernel->label);
    bool early = driver.habit == FORGETS && device->twin && driver.on_twins > 1;
    for (int i = 0; early && !driver.late && i < 200; i++) { /* the device gets to know what the first twin's is worth */
        pthread_mutex_unlock(&driver.lock);
        usleep(10000);
        pthread_mutex_lock(&driver.lock);
    }
    pthread_mutex_unlock(&driver.lock);
    if (early) usleep(TRANSLATE_US);
    if (driver.habit == FORGETS || (driver.habit == KEEPS && !known)) usleep(TRANSLATE_US);
    return SMT_OK;
}

/* 0: the device is none that kernels are warmed on. */
static uint64_t compile_with(enum habit habit, float *logits) {
    watch w = {0};
    smt_engine_options options = watched(&w, &expected);
    driver.habit = habit;
    driver.n_known = driver.on_device = driver.on_twins = driver.late = 0;
    run_engine(&options, logits);
    driver.habit = TRUE;
    if (!driver.on_device) return 0;
    assert_int_equal(w.compiled, w.total);
    assert_int_equal(driver.on_device, w.total); /* each kernel once, whoever translated it */
    assert_int_equal(driver.n_known, w.total);
    assert_int_equal(driver.late, driver.on_twins);
    return w.total;
}

/* Twins of a device take a share where that shortens the wait, and nowhere else. */
static void test_twins(void **state) {
    (void)state;
    float want[N_VOCAB] = {0}, got[N_VOCAB] = {0};
    uint64_t n = 1;
    bool as_is = false; /* a machine that is busy with something else makes any driver look otherwise */
    for (int i = 0; i < 3 && n && !as_is; i++) {
        n = smt_test_slow_driver() ? 0 : compile_with(QUICK, want);
        as_is = driver.on_twins == 0;
    }
    if (!n) skip();
    assert_true(as_is);
    as_is = false;
    for (int i = 0; i < 3 && !as_is; i++) as_is = compile_with(KEEPS, got) == n && driver.on_twins >= n / 4;
    assert_true(as_is);
    assert_memory_equal(got, want, sizeof got);
    compile_with(FORGETS, got);
    assert_in_range(driver.on_twins, 1, smt_os_cores() + 2);
    assert_memory_equal(got, want, sizeof got);
}

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_compile-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2}, &err), &err);
    shared.tokens = smt_test_tokens(CONTEXT, 200, 11);
    return 0;
}

static int teardown(void **state) {
    remove(shared.path);
    free(shared.tokens);
    return smt_engine_test_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_expected),          cmocka_unit_test(test_cancelled),
                                       cmocka_unit_test(test_loading_fails),     cmocka_unit_test(test_wrong_options),
                                       cmocka_unit_test(test_not_kept),          cmocka_unit_test(test_self_test),
                                       cmocka_unit_test(test_refused_each_time), cmocka_unit_test(test_twins)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
