/* test_api.c: the public interface when callers err, cancel, or share: every refusal has its code and names the thing and the
 * numbers, and whatever was refused or cancelled, the handles stay usable and give the same numbers as before. */
#include "engine_support.h"
#include "os/os.h"
#include "tiny_model.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { N_TOKENS = 12, CONTEXT = 64 };

static struct {
    char path[1024];
    smt_engine *engine;
    smt_model_info info;
    int32_t *tokens;
    float *want, *got; /* logits after N_TOKENS tokens */
} shared;

static void eval_last(smt_session *session, float *logits) {
    smt_error err;
    smt_eval eval = {.struct_size = sizeof eval, .tokens = shared.tokens, .n_tokens = N_TOKENS, .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    assert_int_equal(smt_session_length(session), N_TOKENS);
}

/* The session, emptied, gives what the first one of the program gave. */
static void check_usable(smt_session *session) {
    smt_error err;
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
    memset(shared.got, 0, shared.info.n_vocab * sizeof(float));
    eval_last(session, shared.got);
    assert_memory_equal(shared.got, shared.want, shared.info.n_vocab * sizeof(float));
}

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_api-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2}, &err), &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &shared.info);
    shared.tokens = smt_test_tokens(4096, shared.info.n_vocab, 5);
    shared.want = calloc(shared.info.n_vocab, sizeof(float));
    shared.got = calloc(shared.info.n_vocab, sizeof(float));
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    eval_last(session, shared.want);
    smt_session_free(session);
    smt_runner_free(runner);
    return 0;
}

static int teardown(void **state) {
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.tokens);
    free(shared.want);
    free(shared.got);
    return smt_engine_test_teardown(state);
}

static void mentions(const smt_error *err, const char *word) {
    if (!strstr(err->message, word)) fail_msg("\"%s\" does not say \"%s\"", err->message, word);
}

/* ---- engines ---- */

static void refuse_engine(const smt_engine_options *options, smt_status status, const char *word) {
    smt_error err = {0};
    smt_engine *engine = (smt_engine *)&err;
    assert_int_equal(smt_engine_create(options, &engine, &err), status);
    assert_null(engine);
    assert_int_equal(err.code, status);
    mentions(&err, word);
    assert_int_equal(smt_engine_create(options, &engine, NULL), status); /* nobody need ask why */
}

static void test_engine_options(void **state) {
    (void)state;
    smt_engine_options options = smt_test_engine_options(shared.path), o = options;
    o.struct_size = 0;
    refuse_engine(&o, SMT_INVALID, "struct_size");
    o = options;
    o.device.struct_size = 3;
    refuse_engine(&o, SMT_INVALID, "smt_device_options");
    struct {
        smt_engine_options known;
        uint64_t unknown;
    } newer = {options, 1};
    newer.known.struct_size = sizeof newer;
    refuse_engine(&newer.known, SMT_INVALID, "smt_engine_options");
    o = options;
    o.model_path = NULL;
    refuse_engine(&o, SMT_INVALID, "model_path");
    o = options;
    o.device.devices = "no such device";
    refuse_engine(&o, SMT_NOT_FOUND, "no such device");
    const double shares[] = {1, 2, 3};
    o.device.devices = "vk0,vk0";
    o.device.shares = shares;
    o.device.n_shares = SMT_COUNT(shares);
    refuse_engine(&o, SMT_INVALID, "3 shares of layers for 2 devices");
}

static void test_files(void **state) {
    (void)state;
    smt_engine_options options = smt_test_engine_options("/no/such/model.gguf");
    refuse_engine(&options, SMT_IO, "/no/such/model.gguf");
    options.model_path = SMT_TEST_DATA;
    refuse_engine(&options, SMT_IO, SMT_TEST_DATA);
    options.model_path = smt_test_data("tokens-bpe.json");
    refuse_engine(&options, SMT_FORMAT, "tokens-bpe.json");
}

/* A type that the engine has no kernels for: refused by name, before any device memory is asked for. */
static void test_unsupported_type(void **state) {
    (void)state;
    static const char name[] = "blk.1.attn_q.weight";
    const size_t type_at = sizeof name - 1 + 4 + 2 * 8; /* after the name: number of dimensions, two of them, type */
    smt_error err;
    char *bytes, path[1100];
    size_t n, at = 0;
    SMT_ASSERT_OK(smt_os_read_file(shared.path, &bytes, &n, &err), &err);
    while (at + sizeof name < n && memcmp(bytes + at, name, sizeof name - 1) != 0) at++;
    assert_true(at + sizeof name < n);
    assert_int_equal(bytes[at + type_at], SMT_DTYPE_F16);
    bytes[at + type_at] = SMT_DTYPE_TQ2_0;
    snprintf(path, sizeof path, "%s.tq2_0", shared.path);
    SMT_ASSERT_OK(smt_os_write_atomic(path, bytes, n, &err), &err);
    smt_free(bytes);
    smt_engine_options options = smt_test_engine_options(path);
    refuse_engine(&options, SMT_UNSUPPORTED, name);
    refuse_engine(&options, SMT_UNSUPPORTED, "TQ2_0");
    remove(path);
}

/* ---- progress ---- */

typedef struct progress {
    smt_stage cancel_stage;
    uint64_t cancel_at; /* calls of that stage; 0: never */
    uint64_t calls[SMT_STAGE_EVAL + 1], done, total;
} progress;

static bool on_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    progress *p = user;
    if (stage == SMT_STAGE_LOAD && p->calls[stage]) assert_true(done >= p->done && total == p->total);
    assert_in_range(done, stage == SMT_STAGE_LOAD ? 0 : 1, total);
    p->done = done;
    p->total = total;
    p->calls[stage]++;
    return !(p->cancel_at && stage == p->cancel_stage && p->calls[stage] >= p->cancel_at);
}

static void test_progress(void **state) {
    (void)state;
    smt_error err;
    smt_engine *engine;
    progress p = {.cancel_stage = SMT_STAGE_LOAD, .cancel_at = 1}; /* several threads load: how many calls come is up to them */
    smt_engine_options options = smt_test_engine_options(shared.path);
    options.device.callbacks = (smt_callbacks){.user = &p, .progress = on_progress};
    assert_int_equal(smt_engine_create(&options, &engine, &err), SMT_CANCELLED);
    assert_null(engine);
    assert_int_equal(p.calls[SMT_STAGE_LOAD], 1);
    p = (progress){0};
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    assert_in_range(p.calls[SMT_STAGE_LOAD], 2, 100000); /* at the beginning and at the end */
    assert_int_equal(p.done, p.total);
    /* while kernels compile: the session is empty, and the next call goes on from there */
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_eval eval = {.struct_size = sizeof eval, .tokens = shared.tokens, .n_tokens = N_TOKENS, .logits = shared.got};
    p = (progress){.cancel_stage = SMT_STAGE_COMPILE, .cancel_at = 2};
    assert_int_equal(smt_session_eval(session, &eval, &err), SMT_CANCELLED);
    assert_int_equal(smt_session_length(session), 0);
    /* between two steps of one eval */
    p = (progress){.cancel_stage = SMT_STAGE_EVAL, .cancel_at = 1};
    assert_int_equal(smt_session_eval(session, &eval, &err), SMT_CANCELLED);
    mentions(&err, "8 of 12");
    assert_int_equal(smt_session_length(session), 0);
    p = (progress){0};
    check_usable(session);
    assert_int_equal(p.calls[SMT_STAGE_EVAL], 2);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

/* ---- runners and sessions ---- */

static void refuse_runner(smt_runner_options options, smt_status status, const char *word) {
    smt_error err = {0};
    smt_runner *runner = (smt_runner *)&err;
    smt_status got = smt_runner_create(shared.engine, &options, &runner, &err);
    assert_null(runner);
    if (status != SMT_OK) assert_int_equal(got, status);
    assert_int_not_equal(got, SMT_OK);
    assert_int_equal(err.code, got);
    mentions(&err, word);
}

static void test_runner_options(void **state) {
    (void)state;
    const smt_runner_options good = {.struct_size = sizeof good};
    smt_runner_options o = good, got;
    o.struct_size = 0;
    refuse_runner(o, SMT_INVALID, "struct_size");
    o = good;
    o.cache_type = (smt_cache_type)9;
    refuse_runner(o, SMT_INVALID, "cache_type 9");
    o = good;
    o.precision = (smt_precision)9;
    refuse_runner(o, SMT_INVALID, "precision 9");
    o.precision = SMT_PRECISION_FAST; /* not with the kernels that a processor has by itself */
    refuse_runner(o, SMT_UNSUPPORTED, "wave");
    /* more than any machine has: which limit is met first depends on the device */
    o = (smt_runner_options){.struct_size = sizeof o, .n_ctx = UINT32_MAX, .n_batch = 1};
    refuse_runner(o, SMT_OK, "");
    o = (smt_runner_options){.struct_size = sizeof o, .n_ctx = 256, .n_sessions = UINT32_MAX};
    refuse_runner(o, SMT_UNSUPPORTED, "4294967295 sessions");
    o = (smt_runner_options){.struct_size = sizeof o, .n_ctx = 1u << 24, .n_sessions = 1u << 16};
    refuse_runner(o, SMT_UNSUPPORTED, "4294967296 cache blocks");
    smt_runner *runner = smt_test_runner(shared.engine, 0, 0, 0, SMT_CACHE_F16);
    smt_runner_get_options(runner, &got);
    assert_int_equal(got.n_ctx, 4096);
    assert_int_equal(got.n_batch, 512);
    assert_int_equal(got.n_sessions, 1);
    assert_int_equal(got.cache_type, SMT_CACHE_F16);
    assert_int_equal(got.precision, SMT_PRECISION_EXACT);
    assert_true(got.no_coop_matrix); /* exact: there are none */
    smt_runner_free(runner);
    smt_runner_free(NULL);
    smt_session_free(NULL);
    smt_engine_free(NULL);
}

static void refuse_eval(smt_session *session, smt_eval eval, smt_status status, const char *word) {
    smt_error err = {0};
    uint32_t before = smt_session_length(session);
    assert_int_equal(smt_session_eval(session, &eval, &err), status);
    assert_int_equal(err.code, status);
    assert_int_equal(smt_session_length(session), before);
    mentions(&err, word);
}

static void test_eval_arguments(void **state) {
    (void)state;
    smt_error err;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    check_usable(session);
    const smt_eval good = {.struct_size = sizeof good, .tokens = shared.tokens, .n_tokens = 1};
    int32_t tokens[3] = {1, 2, (int32_t)shared.info.n_vocab}, positions[3] = {0, 1, CONTEXT};
    smt_eval e = good;
    e.struct_size = 0;
    refuse_eval(session, e, SMT_INVALID, "smt_eval");
    e = good;
    e.n_tokens = 0;
    refuse_eval(session, e, SMT_INVALID, "no tokens");
    e = good;
    e.tokens = NULL;
    refuse_eval(session, e, SMT_INVALID, "no tokens");
    e = (smt_eval){.struct_size = sizeof e, .tokens = tokens, .n_tokens = 3};
    refuse_eval(session, e, SMT_INVALID, "index 2");
    tokens[2] = -1;
    refuse_eval(session, e, SMT_INVALID, "token -1");
    tokens[2] = 3;
    e.positions = positions;
    refuse_eval(session, e, SMT_INVALID, "position 64");
    positions[2] = -5;
    refuse_eval(session, e, SMT_INVALID, "position -5");
    assert_int_equal(smt_session_rewind(session, N_TOKENS + 1, &err), SMT_INVALID);
    mentions(&err, "13");
    assert_int_equal(smt_session_length(session), N_TOKENS);
    check_usable(session);
    smt_session_free(session);
    smt_runner_free(runner);
}

static void test_full(void **state) {
    (void)state;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    check_usable(session);
    smt_eval e = {.struct_size = sizeof e, .tokens = shared.tokens, .n_tokens = CONTEXT - N_TOKENS + 1, .logits = shared.got};
    refuse_eval(session, e, SMT_FULL, "context of 64");
    e.n_tokens = UINT32_MAX;
    refuse_eval(session, e, SMT_FULL, "4294967295");
    e.n_tokens = CONTEXT - N_TOKENS; /* exactly full */
    SMT_ASSERT_OK(smt_session_eval(session, &e, NULL), &(smt_error){0});
    assert_int_equal(smt_session_length(session), CONTEXT);
    e.n_tokens = 1;
    refuse_eval(session, e, SMT_FULL, "1 tokens after 64");
    check_usable(session);
    smt_session_free(session);
    smt_runner_free(runner);
}

static void test_slots(void **state) {
    (void)state;
    smt_error err;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 16, 2, SMT_CACHE_F32);
    smt_session *a = smt_test_session(runner), *b = smt_test_session(runner), *c = a;
    assert_int_equal(smt_session_create(runner, &c, &err), SMT_FULL);
    assert_null(c);
    mentions(&err, "2 sessions");
    check_usable(a);
    check_usable(b);
    smt_session_free(a);
    c = smt_test_session(runner); /* the slot comes back empty */
    assert_int_equal(smt_session_length(c), 0);
    check_usable(c);
    check_usable(b);
    smt_session_free(b);
    smt_session_free(c);
    smt_runner_free(runner);
}

/* ---- several sessions in a step ---- */

static void refuse_batch(smt_runner *runner, const smt_batch_entry *entries, uint32_t n, smt_status status, const char *word) {
    smt_error err = {0};
    assert_int_equal(smt_runner_eval(runner, entries, n, &err), status);
    assert_int_equal(err.code, status);
    mentions(&err, word);
    for (uint32_t i = 0; i < n; i++)
        if (entries && entries[i].session) assert_int_equal(smt_session_length(entries[i].session), i);
}

/* What is wrong with one entry keeps all others where they were. */
static void test_batch_arguments(void **state) {
    (void)state;
    smt_error err;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 16, 3, SMT_CACHE_F32),
               *other = smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    smt_session *a = smt_test_session(runner), *b = smt_test_session(runner), *foreign = smt_test_session(other);
    smt_eval good = {.struct_size = sizeof good, .tokens = shared.tokens, .n_tokens = 1}, bad = good, full = good;
    const int32_t outside[] = {(int32_t)shared.info.n_vocab};
    bad.tokens = outside;
    full.n_tokens = CONTEXT;
    SMT_ASSERT_OK(smt_session_eval(b, &good, &err), &err); /* entry i holds i tokens */
    refuse_batch(runner, NULL, 1, SMT_INVALID, "without entries");
    refuse_batch(runner, (smt_batch_entry[]){{a, &good}}, 0, SMT_INVALID, "without entries");
    refuse_batch(runner, (smt_batch_entry[]){{a, &good}, {NULL, &good}}, 2, SMT_INVALID, "entry 1 of 2: it has no session");
    refuse_batch(runner, (smt_batch_entry[]){{a, &good}, {b, NULL}}, 2, SMT_INVALID, "entry 1 of 2: it has no smt_eval");
    refuse_batch(runner, (smt_batch_entry[]){{foreign, &good}}, 1, SMT_INVALID, "another runner");
    refuse_batch(runner, (smt_batch_entry[]){{a, &good}, {b, &bad}}, 2, SMT_INVALID, "entry 1 of 2: token");
    refuse_batch(runner, (smt_batch_entry[]){{a, &good}, {b, &full}}, 2, SMT_FULL, "entry 1 of 2: 64 tokens after 1");
    SMT_ASSERT_OK(smt_session_rewind(b, 0, &err), &err);
    assert_int_equal(smt_runner_eval(runner, (smt_batch_entry[]){{b, &good}, {a, &good}, {b, &good}}, 3, &err), SMT_INVALID);
    mentions(&err, "entry 2 of 3: entry 0 has the same session");
    assert_int_equal(smt_session_length(a) + smt_session_length(b), 0);
    check_usable(a);
    smt_session_free(a);
    smt_session_free(b);
    smt_session_free(foreign);
    smt_runner_free(runner);
    smt_runner_free(other);
}

/* Steps that are cancelled when some entries are through already: no session has moved. */
static void test_batch_cancelled(void **state) {
    (void)state;
    smt_error err;
    progress p = {.cancel_stage = SMT_STAGE_EVAL, .cancel_at = 2};
    smt_engine *engine;
    smt_engine_options options = smt_test_engine_options(shared.path);
    options.device.callbacks = (smt_callbacks){.user = &p, .progress = on_progress};
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 2, SMT_CACHE_F32);
    smt_session *a = smt_test_session(runner), *b = smt_test_session(runner);
    smt_eval evals[] = {{.struct_size = sizeof *evals, .tokens = shared.tokens, .n_tokens = 5},
                        {.struct_size = sizeof *evals, .tokens = shared.tokens, .n_tokens = N_TOKENS}};
    p = (progress){.cancel_stage = SMT_STAGE_EVAL, .cancel_at = 2};
    assert_int_equal(smt_runner_eval(runner, (smt_batch_entry[]){{a, &evals[0]}, {b, &evals[1]}}, 2, &err), SMT_CANCELLED);
    mentions(&err, "16 of 17");
    assert_int_equal(smt_session_length(a) + smt_session_length(b), 0);
    p = (progress){0};
    check_usable(b);
    check_usable(a);
    smt_session_free(a);
    smt_session_free(b);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

/* ---- threads ---- */

typedef struct canceller {
    smt_runner *runner;
    atomic_bool stop;
} canceller;

static void cancel_soon(void *argument) {
    canceller *c = argument;
    const struct timespec pause = {.tv_nsec = 20000000};
    nanosleep(&pause, NULL);
    while (!atomic_load(&c->stop)) { /* again and again: the first may come before the eval began */
        smt_runner_cancel(c->runner);
        nanosleep(&pause, NULL);
    }
}

static void test_cancel(void **state) {
    (void)state;
    smt_error err;
    smt_os_thread *thread;
    smt_runner *runner = smt_test_runner(shared.engine, 4096, 16, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    check_usable(session);
    canceller c = {.runner = runner};
    smt_eval e = {.struct_size = sizeof e, .tokens = shared.tokens, .n_tokens = 4000}; /* minutes on a software driver */
    SMT_ASSERT_OK(smt_os_thread_start(cancel_soon, &c, &thread, &err), &err);
    smt_status status = smt_session_eval(session, &e, &err);
    atomic_store(&c.stop, true);
    smt_os_thread_join(thread);
    assert_int_equal(status, SMT_CANCELLED);
    mentions(&err, "cancelled");
    assert_int_equal(smt_session_length(session), N_TOKENS);
    check_usable(session);
    smt_session_free(session);
    smt_runner_free(runner);
}

/* A runner made, used and freed on a thread of its own: other steps than the main thread's, so that both compile and record. */
typedef struct worker {
    smt_engine *engine;
    smt_status status;
    smt_error err;
    float *logits;
} worker;

static void work(void *argument) {
    worker *w = argument;
    smt_runner_options options = {.struct_size = sizeof options, .n_ctx = CONTEXT, .n_batch = 4, .cache_type = SMT_CACHE_F32};
    smt_runner *runner = NULL;
    smt_session *session = NULL;
    w->status = smt_runner_create(w->engine, &options, &runner, &w->err);
    if (w->status == SMT_OK) w->status = smt_session_create(runner, &session, &w->err);
    for (uint32_t i = 0; i < N_TOKENS && w->status == SMT_OK; i++) {
        smt_eval eval = {.struct_size = sizeof eval, .tokens = shared.tokens + i, .n_tokens = 1, .logits = w->logits};
        w->status = smt_session_eval(session, &eval, &w->err);
    }
    smt_session_free(session);
    smt_runner_free(runner);
}

static void test_two_threads(void **state) {
    (void)state;
    smt_error err;
    smt_os_thread *thread;
    smt_engine *engine = smt_test_engine(shared.path); /* no kernel is compiled yet */
    worker w = {.engine = engine, .logits = calloc(shared.info.n_vocab, sizeof(float))};
    SMT_ASSERT_OK(smt_os_thread_start(work, &w, &thread, &err), &err);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    check_usable(session);
    check_usable(session);
    smt_os_thread_join(thread);
    SMT_ASSERT_OK(w.status, &w.err);
    assert_memory_equal(w.logits, shared.want, shared.info.n_vocab * sizeof(float));
    free(w.logits);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

/* Two engines on one device and two runners on one of them, in turns. */
static void test_side_by_side(void **state) {
    (void)state;
    smt_engine *other = smt_test_engine(shared.path);
    smt_runner *runners[] = {smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F32),
                             smt_test_runner(shared.engine, 2 * CONTEXT, 8, 1, SMT_CACHE_F32),
                             smt_test_runner(other, CONTEXT, 16, 1, SMT_CACHE_F32)};
    smt_session *sessions[SMT_COUNT(runners)];
    for (size_t i = 0; i < SMT_COUNT(runners); i++) sessions[i] = smt_test_session(runners[i]);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < SMT_COUNT(runners); i++) check_usable(sessions[i]);
    assert_string_equal(smt_engine_device_name(shared.engine, 0), smt_engine_device_name(other, 0));
    assert_null(smt_engine_device_name(other, smt_engine_device_count(other)));
    for (size_t i = 0; i < SMT_COUNT(runners); i++) {
        smt_session_free(sessions[i]);
        smt_runner_free(runners[i]);
    }
    smt_engine_free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine_options),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_unsupported_type),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_runner_options),
        cmocka_unit_test(test_eval_arguments),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_batch_arguments),
        cmocka_unit_test(test_batch_cancelled),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
