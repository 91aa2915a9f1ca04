/* test_session.c: sessions that are forked, saved and restored go on with the very bits of one that was never touched; what comes from
 * outside is refused by name, whatever is wrong with it; several threads do all of it at once, each with its own runner.
 *
 * The sequence crosses the border between two cache blocks (SMT_BLOCK = 256), the forks lie on either side of it and upon it. */
#include "engine_support.h"
#include "os/os.h"
#include "tiny_model.h"

#define XXH_INLINE_ALL
#include <unistd.h>
#include <xxhash.h>

enum { N_TOKENS = 266, PROMPT = 250, CONTEXT = 512, HEAD = 40, TAIL = 8 };

static struct {
    char path[1024];
    smt_engine *engine;
    uint32_t n_vocab;
    int32_t *tokens, *others;
    float *want, *want_other; /* [N_TOKENS - PROMPT, n_vocab] of tokens; of tokens up to PROMPT and others from there */
} shared;

static smt_eval eval_of(const int32_t *tokens, uint32_t from, uint32_t to, float *logits) {
    return (smt_eval){
        .struct_size = sizeof(smt_eval), .tokens = tokens + from, .n_tokens = to - from, .all_logits = true, .logits = logits};
}

static void append(smt_session *session, const int32_t *tokens, uint32_t to, float *logits) {
    smt_error err;
    smt_eval eval = eval_of(tokens, smt_session_length(session), to, logits);
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
}

/* The session goes on to the end and gives what it ought to. */
static void check_rest(smt_session *session, const int32_t *tokens, const float *want) {
    uint32_t from = smt_session_length(session), n = N_TOKENS - from;
    float *got = malloc((size_t)n * shared.n_vocab * sizeof *got);
    assert_non_null(got);
    append(session, tokens, N_TOKENS, got);
    assert_memory_equal(got, want + (size_t)(from - PROMPT) * shared.n_vocab, (size_t)n * shared.n_vocab * sizeof *got);
    assert_memory_equal(smt_session_tokens(session) + from, tokens + from, n * sizeof *tokens);
    free(got);
}

static float *measure(const int32_t *tokens) {
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 256, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    float *want = malloc((size_t)(N_TOKENS - PROMPT) * shared.n_vocab * sizeof *want);
    assert_non_null(want);
    smt_eval prompt = {.struct_size = sizeof prompt, .tokens = shared.tokens, .n_tokens = PROMPT};
    SMT_ASSERT_OK(smt_session_eval(session, &prompt, NULL), &(smt_error){0});
    append(session, tokens, N_TOKENS, want);
    smt_session_free(session);
    smt_runner_free(runner);
    return want;
}

static int setup(void **state) {
    smt_error err;
    smt_model_info info;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_session-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2, .small = true}, &err),
                  &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &info);
    shared.n_vocab = info.n_vocab;
    shared.tokens = smt_test_tokens(N_TOKENS, info.n_vocab, 31);
    shared.others = smt_test_tokens(N_TOKENS, info.n_vocab, 32);
    shared.want = measure(shared.tokens);
    shared.want_other = measure(shared.others);
    return 0;
}

static int teardown(void **state) {
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.tokens);
    free(shared.others);
    free(shared.want);
    free(shared.want_other);
    return smt_engine_test_teardown(state);
}

static void mentions(const smt_error *err, const char *word) {
    if (!strstr(err->message, word)) fail_msg("\"%s\" does not say \"%s\"", err->message, word);
}

static smt_session *fork_at(const smt_session *session, uint32_t length) {
    smt_error err;
    smt_session *fork;
    SMT_ASSERT_OK(smt_session_fork(session, length, &fork, &err), &err);
    assert_int_equal(smt_session_length(fork), length);
    assert_memory_equal(smt_session_tokens(fork), smt_session_tokens(session), length * sizeof(int32_t));
    return fork;
}

/* ---- forks ---- */

/* Whoever goes on first, in one step or in two, neither sees the other. */
static void test_fork(void **state) {
    (void)state;
    smt_error err;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 256, 3, SMT_CACHE_F32);
    smt_session *first = smt_test_session(runner);
    append(first, shared.tokens, PROMPT, NULL);
    smt_session *second = fork_at(first, PROMPT), *third = fork_at(second, PROMPT), *none = first;
    assert_int_equal(smt_session_fork(first, 1, &none, &err), SMT_FULL);
    assert_null(none);
    assert_int_equal(smt_session_fork(first, PROMPT + 1, &none, &err), SMT_INVALID);
    mentions(&err, "250");
    check_rest(second, shared.others, shared.want_other);
    check_rest(first, shared.tokens, shared.want);
    smt_session_free(first); /* the third holds the shared blocks on */
    check_rest(third, shared.tokens, shared.want);
    static const uint32_t borders[] = {255, 256, 257};
    for (size_t i = 0; i < SMT_COUNT(borders); i++) {
        smt_session *fork = fork_at(third, borders[i]);
        SMT_ASSERT_OK(smt_session_rewind(second, PROMPT, &err), &err); /* takes and gives back blocks in between */
        check_rest(second, shared.others, shared.want_other);
        check_rest(fork, shared.tokens, shared.want);
        smt_session_free(fork);
    }
    smt_session_free(second);
    smt_session_free(third);
    smt_runner_free(runner);
}

/* A rewind into what is shared, then other tokens: the fork keeps what was there. And both in one step. */
static void test_fork_and_rewind(void **state) {
    (void)state;
    smt_error err;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 256, 2, SMT_CACHE_F32);
    smt_session *first = smt_test_session(runner);
    append(first, shared.tokens, 260, NULL);
    smt_session *second = fork_at(first, 258);
    SMT_ASSERT_OK(smt_session_rewind(first, PROMPT, &err), &err);
    size_t row = shared.n_vocab;
    float *got = malloc((N_TOKENS - PROMPT) * row * sizeof *got), *other = malloc((N_TOKENS - PROMPT) * row * sizeof *got);
    assert_true(got && other);
    smt_eval evals[] = {eval_of(shared.others, PROMPT, N_TOKENS, other), eval_of(shared.tokens, 258, N_TOKENS, got)};
    SMT_ASSERT_OK(smt_runner_eval(runner, (smt_batch_entry[]){{first, &evals[0]}, {second, &evals[1]}}, 2, &err), &err);
    assert_memory_equal(other, shared.want_other, (N_TOKENS - PROMPT) * row * sizeof *got);
    assert_memory_equal(got, shared.want + (258 - PROMPT) * row, (N_TOKENS - 258) * row * sizeof *got);
    free(got);
    free(other);
    smt_session_free(first);
    smt_session_free(second);
    smt_runner_free(runner);
}

/* ---- embeddings ---- */

/* What enters the first layer, given back in place of the tokens it was made of: the same bits, beside a session with tokens, in steps
 * that hold parts of both, and with captures in the memory that embeddings come through. */
static void test_embeddings(void **state) {
    (void)state;
    enum { N = 11 };
    smt_error err;
    smt_test_outputs want, got;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 8, 2, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner), *other = smt_test_session(runner);
    smt_test_outputs_create(shared.engine, N, &want);
    smt_test_outputs_create(shared.engine, N, &got);
    smt_eval eval = eval_of(shared.tokens, 0, N, want.logits), beside = eval_of(shared.others, 0, 5, NULL);
    eval.hidden = want.hidden;
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    eval.embeddings = want.hidden; /* [n_layers + 2, N, n_embd]: the first N rows */
    eval.logits = got.logits;
    eval.hidden = got.hidden;
    assert_int_equal(smt_session_eval(session, &eval, &err), SMT_INVALID);
    mentions(&err, "both tokens and embeddings");
    eval.tokens = NULL;
    for (int round = 0; round < 2; round++) {
        SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
        SMT_ASSERT_OK(smt_session_rewind(other, 0, &err), &err);
        SMT_ASSERT_OK(smt_runner_eval(runner, (smt_batch_entry[]){{other, &beside}, {session, &eval}}, 2, &err), &err);
        assert_memory_equal(got.logits, want.logits, N * (size_t)shared.n_vocab * sizeof(float));
        if (round == 0) assert_memory_equal(got.hidden, want.hidden, got.n_slots * N * got.hidden_row * sizeof(float));
        memset(got.logits, 0, N * (size_t)shared.n_vocab * sizeof(float));
        eval.hidden = NULL;
    }
    for (uint32_t i = 0; i < N; i++) assert_int_equal(smt_session_tokens(session)[i], -1);
    eval = (smt_eval){.struct_size = sizeof eval, .embeddings = want.hidden, .n_tokens = 1, .logits = got.logits};
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err); /* a step of one row */
    assert_memory_equal(got.logits, want.logits, shared.n_vocab * sizeof(float));
    size_t n;
    void *bytes;
    SMT_ASSERT_OK(smt_session_save(session, &bytes, &n, &err), &err);
    smt_session_free(other);
    SMT_ASSERT_OK(smt_session_restore(runner, bytes, n, &other, &err), &err);
    assert_int_equal(smt_session_tokens(other)[0], -1);
    smt_free(bytes);
    smt_session_free(session);
    smt_session_free(other);
    smt_runner_free(runner);
    smt_test_outputs_free(&want);
    smt_test_outputs_free(&got);
}

/* ---- saved and restored ---- */

static void *save(const smt_session *session, size_t *out_bytes) {
    smt_error err;
    void *bytes;
    SMT_ASSERT_OK(smt_session_save(session, &bytes, out_bytes, &err), &err);
    assert_non_null(bytes);
    return bytes;
}

/* The prompt as bytes, and a runner with a slot for one session. */
typedef struct saved {
    smt_runner *runner;
    uint8_t *bytes;
    size_t n;
} saved;

static saved save_prompt(void) {
    saved s = {.runner = smt_test_runner(shared.engine, 300, 64, 1, SMT_CACHE_F32)};
    smt_session *session = smt_test_session(s.runner);
    append(session, shared.tokens, PROMPT, NULL);
    s.bytes = save(session, &s.n);
    smt_session_free(session);
    return s;
}

static void free_saved(saved *s) {
    smt_free(s->bytes);
    smt_runner_free(s->runner);
}

static void refuse(smt_runner *runner, const void *bytes, size_t n, smt_status status, const char *word) {
    smt_error err = {0};
    smt_session *session = (smt_session *)&err;
    assert_int_equal(smt_session_restore(runner, bytes, n, &session, &err), status);
    assert_null(session);
    mentions(&err, word);
}

static void test_restore(void **state) {
    (void)state;
    smt_error err;
    saved s = save_prompt();
    smt_runner *other = smt_test_runner(shared.engine, CONTEXT, 16, 2, SMT_CACHE_F32);
    smt_runner *runners[] = {s.runner, other};
    char path[1100];
    snprintf(path, sizeof path, "%s.session", shared.path);
    for (size_t i = 0; i < 2; i++) {
        smt_session *session;
        SMT_ASSERT_OK(smt_session_restore(runners[i], s.bytes, s.n, &session, &err), &err);
        size_t n;
        void *again = save(session, &n);
        assert_int_equal(n, s.n);
        assert_memory_equal(again, s.bytes, n);
        smt_free(again);
        SMT_ASSERT_OK(smt_session_save_file(session, path, &err), &err);
        check_rest(session, shared.tokens, shared.want);
        smt_session_free(session);
        SMT_ASSERT_OK(smt_session_restore_file(runners[i], path, &session, &err), &err);
        check_rest(session, shared.others, shared.want_other);
        smt_session_free(session);
        remove(path);
        assert_int_equal(smt_session_restore_file(runners[i], path, &session, &err), SMT_IO);
        mentions(&err, path);
    }
    smt_runner_free(other);
    free_saved(&s);
}

/* Empty sessions are sessions. */
static void test_restore_nothing(void **state) {
    (void)state;
    smt_error err;
    size_t n;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, 256, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    void *bytes = save(session, &n);
    assert_int_equal(n, HEAD + TAIL);
    smt_session_free(session);
    SMT_ASSERT_OK(smt_session_restore(runner, bytes, n, &session, &err), &err);
    assert_int_equal(smt_session_length(session), 0);
    smt_free(bytes);
    smt_session_free(session);
    smt_runner_free(runner);
}

static void test_restore_elsewhere(void **state) {
    (void)state;
    smt_error err;
    saved s = save_prompt();
    smt_runner *half = smt_test_runner(shared.engine, CONTEXT, 16, 1, SMT_CACHE_F16),
               *small = smt_test_runner(shared.engine, PROMPT - 1, 16, 1, SMT_CACHE_F32);
    refuse(half, s.bytes, s.n, SMT_INVALID, "cache of F32");
    refuse(small, s.bytes, s.n, SMT_FULL, "250 tokens exceeds the context of 249");
    smt_session *taken = smt_test_session(s.runner);
    refuse(s.runner, s.bytes, s.n, SMT_FULL, "1 sessions");
    smt_session_free(taken);
    smt_runner_free(half);
    smt_runner_free(small);
    char path[1100];
    snprintf(path, sizeof path, "%s.other", shared.path); /* the same shapes, other weights */
    SMT_ASSERT_OK(
        smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2, .small = true, .seed = 9}, &err),
        &err);
    smt_engine *engine = smt_test_engine(path);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 16, 1, SMT_CACHE_F32);
    refuse(runner, s.bytes, s.n, SMT_INVALID, "another model");
    smt_runner_free(runner);
    smt_engine_free(engine);
    remove(path);
    free_saved(&s);
}

static void seal(saved *s) {
    uint64_t sum = XXH3_64bits(s->bytes, s->n - TAIL);
    memcpy(s->bytes + s->n - TAIL, &sum, sizeof sum);
}

/* Damage anywhere is noticed; forgery with a right checksum gets no further than the model's vocabulary, or to wrong numbers. */
static void test_restore_hostile(void **state) {
    (void)state;
    smt_error err;
    saved s = save_prompt();
    smt_test_random random = {17};
    smt_session *session;
    for (size_t at = 0; at < s.n; at += at < HEAD ? 1 : s.n / 16 + smt_test_next(&random) % 64) {
        s.bytes[at] ^= 0x41;
        assert_int_not_equal(smt_session_restore(s.runner, s.bytes, s.n, &session, &err), SMT_OK);
        assert_null(session);
        s.bytes[at] ^= 0x41;
    }
    for (size_t n = 0; n < s.n; n += n < HEAD + TAIL ? 1 : s.n / 8) refuse(s.runner, s.bytes, n, SMT_FORMAT, "");
    refuse(s.runner, NULL, s.n, SMT_FORMAT, "no saved session");
    const int32_t tokens[] = {(int32_t)shared.n_vocab, -7}, kept = shared.tokens[0];
    for (size_t i = 0; i < SMT_COUNT(tokens); i++) {
        memcpy(s.bytes + HEAD, &tokens[i], sizeof tokens[i]);
        seal(&s);
        refuse(s.runner, s.bytes, s.n, SMT_FORMAT, "outside the vocabulary");
    }
    memcpy(s.bytes + HEAD, &kept, sizeof kept);
    memset(s.bytes + HEAD + PROMPT * sizeof kept, 0xff, s.n - TAIL - HEAD - PROMPT * sizeof kept); /* nothing but NaNs */
    seal(&s);
    SMT_ASSERT_OK(smt_session_restore(s.runner, s.bytes, s.n, &session, &err), &err);
    append(session, shared.tokens, PROMPT + 2, NULL);
    append(session, shared.tokens, PROMPT + 3, NULL);
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err); /* and nothing of them stays */
    append(session, shared.tokens, PROMPT, NULL);
    check_rest(session, shared.tokens, shared.want);
    smt_session_free(session);
    free_saved(&s);
}

/* Host memory that runs out on the way: an error, and the slot comes back. */
static void test_no_memory(void **state) {
    (void)state;
    smt_error err;
    saved s = save_prompt();
    uint32_t failed = 0;
    smt_status status = SMT_MEMORY;
    for (uint64_t n = 1; status != SMT_OK && n < 100; n++) {
        smt_session *session;
        void *bytes = NULL;
        size_t count;
        smt_mem_fail_after(n);
        status = smt_session_restore(s.runner, s.bytes, s.n, &session, &err);
        if (status == SMT_OK) status = smt_session_save(session, &bytes, &count, &err);
        smt_mem_fail_after(0);
        failed += status != SMT_OK;
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        if (status == SMT_OK) assert_memory_equal(bytes, s.bytes, s.n);
        smt_free(bytes);
        smt_session_free(session);
    }
    assert_int_equal(status, SMT_OK);
    assert_in_range(failed, 4, 98);
    free_saved(&s);
}

/* ---- threads ---- */

typedef struct worker {
    smt_os_thread *thread;
    const int32_t *tokens; /* after the prompt */
    float *logits;
    smt_status status;
    smt_error err;
} worker;

/* Everything a session can do, in a runner of this thread. No assertions here: they belong to the main thread. */
static smt_status live(worker *w, smt_runner *runner, smt_session **sessions) {
    smt_eval prompt = eval_of(shared.tokens, 0, PROMPT, NULL), one = eval_of(w->tokens, PROMPT, PROMPT + 1, w->logits),
             rest = eval_of(w->tokens, PROMPT + 1, N_TOKENS, w->logits + shared.n_vocab),
             junk = eval_of(shared.tokens, 0, 3, NULL);
    void *bytes;
    size_t n;
    SMT_TRY(smt_session_create(runner, &sessions[0], &w->err));
    SMT_TRY(smt_session_eval(sessions[0], &prompt, &w->err));
    SMT_TRY(smt_session_save(sessions[0], &bytes, &n, &w->err));
    SMT_TRY(smt_session_eval(sessions[0], &junk, &w->err));
    smt_status status = smt_session_restore(runner, bytes, n, &sessions[1], &w->err);
    smt_free(bytes);
    SMT_TRY(status);
    SMT_TRY(smt_session_eval(sessions[1], &one, &w->err));
    SMT_TRY(smt_session_fork(sessions[1], PROMPT + 1, &sessions[2], &w->err));
    return smt_runner_eval(runner, (smt_batch_entry[]){{sessions[0], &junk}, {sessions[2], &rest}, {sessions[1], &junk}}, 3,
                           &w->err);
}

static void work(void *argument) {
    worker *w = argument;
    smt_runner_options options = {
        .struct_size = sizeof options, .n_ctx = CONTEXT, .n_batch = 256, .n_sessions = 3, .cache_type = SMT_CACHE_F32};
    smt_runner *runner = NULL;
    smt_session *sessions[3] = {0};
    w->status = smt_runner_create(shared.engine, &options, &runner, &w->err);
    if (w->status == SMT_OK) w->status = live(w, runner, sessions);
    for (int i = 0; i < 3; i++) smt_session_free(sessions[i]);
    smt_runner_free(runner);
}

static void test_threads(void **state) {
    (void)state;
    enum { N = 3 };
    worker workers[N] = {0};
    smt_error err;
    size_t bytes = (N_TOKENS - PROMPT) * (size_t)shared.n_vocab * sizeof(float);
    for (int i = 0; i < N; i++) {
        workers[i].tokens = i % 2 ? shared.others : shared.tokens;
        workers[i].logits = malloc(bytes);
        assert_non_null(workers[i].logits);
        SMT_ASSERT_OK(smt_os_thread_start(work, &workers[i], &workers[i].thread, &err), &err);
    }
    for (int i = 0; i < N; i++) smt_os_thread_join(workers[i].thread);
    for (int i = 0; i < N; i++) {
        SMT_ASSERT_OK(workers[i].status, &workers[i].err);
        assert_memory_equal(workers[i].logits, i % 2 ? shared.want_other : shared.want, bytes);
        free(workers[i].logits);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embeddings),      cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fork_and_rewind), cmocka_unit_test(test_restore),
        cmocka_unit_test(test_restore_nothing), cmocka_unit_test(test_restore_elsewhere),
        cmocka_unit_test(test_restore_hostile), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
