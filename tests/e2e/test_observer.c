/* test_observer.c: who looks on sees what the evals computed, changes no bit of it, and never holds them up: full rings drop tokens and
 * count them, and tokens that are polled on another thread while the runner works arrive whole and in order. */
#include "engine_support.h"
#include "os/os.h"
#include "tiny_model.h"

#include <stdatomic.h>
#include <unistd.h>

enum { N_TOKENS = 20, CONTEXT = 64, BATCH = 16 };

static struct {
    char path[1024];
    smt_engine *engine;
    smt_model_info info;
    int32_t *tokens;
} shared;

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_observer-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .sigmoid = true}, &err), &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &shared.info);
    shared.tokens = smt_test_tokens(512, shared.info.n_vocab, 5);
    return 0;
}

static int teardown(void **state) {
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.tokens);
    return smt_engine_test_teardown(state);
}

static smt_observer *observe(smt_runner *runner, uint32_t capacity, const smt_tokenizer *tokenizer) {
    const smt_observer_options options = {.struct_size = sizeof options, .capacity = capacity, .tokenizer = tokenizer};
    smt_error err;
    smt_observer *observer;
    SMT_ASSERT_OK(smt_observer_create(runner, &options, &observer, &err), &err);
    return observer;
}

static void eval(smt_session *session, uint32_t n, smt_test_outputs *out) {
    smt_error err;
    smt_eval e = {.struct_size = sizeof e, .tokens = shared.tokens, .n_tokens = n};
    if (out) {
        e.logits = out->logits;
        e.hidden = out->hidden;
        e.expert_ids = out->ids;
        e.expert_weights = out->weights;
    }
    SMT_ASSERT_OK(smt_session_eval(session, &e, &err), &err);
}

/* The observed token has token t's routing in the outputs. */
static void same_routing(const smt_trace_token *token, const smt_test_outputs *want, uint32_t t) {
    for (uint32_t l = 0; l < want->n_moe; l++)
        for (uint32_t k = 0; k < want->n_used; k++) {
            size_t at = ((size_t)l * want->n_tokens + t) * want->n_used + k;
            assert_int_equal(token->experts[l * want->n_used + k], want->ids[at]);
            assert_memory_equal(&token->weights[l * want->n_used + k], &want->weights[at], sizeof(float));
        }
}

static void test_what_is_seen(void **state) {
    (void)state;
    smt_error err;
    smt_tokenizer *tokenizer;
    smt_test_outputs want, unseen, seen;
    SMT_ASSERT_OK(smt_tokenizer_create(smt_engine_file(shared.engine), &tokenizer, &err), &err);
    smt_test_outputs_create(shared.engine, N_TOKENS, &want);
    smt_test_outputs_create(shared.engine, N_TOKENS, &unseen);
    smt_test_outputs_create(shared.engine, N_TOKENS, &seen);
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, BATCH, 2, SMT_CACHE_F32);
    smt_session *first = smt_test_session(runner), *session = smt_test_session(runner);
    smt_eval plain = {.struct_size = sizeof plain, .tokens = shared.tokens, .n_tokens = N_TOKENS};
    plain.logits = unseen.logits;
    SMT_ASSERT_OK(smt_session_eval(session, &plain, &err), &err);
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
    eval(session, N_TOKENS, &want);
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);

    smt_observer *observer = observe(runner, 0, tokenizer);
    assert_null(smt_observer_next(observer));
    plain.logits = seen.logits;
    SMT_ASSERT_OK(smt_session_eval(session, &plain, &err), &err);
    assert_memory_equal(seen.logits, unseen.logits, shared.info.n_vocab * sizeof(float));
    double before = 0;
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        const smt_trace_token *token = smt_observer_next(observer);
        assert_non_null(token);
        assert_true(token->number == t && token->id == shared.tokens[t] && token->session == 1);
        assert_true(token->index == t && token->position == (int32_t)t);
        assert_int_equal(token->step, t / BATCH);
        assert_int_equal(token->step_tokens, t < BATCH ? BATCH : N_TOKENS - BATCH);
        assert_true(token->end_s >= before && token->phase_s[SMT_PHASE_DEVICE] > 0 && token->phase_s[SMT_PHASE_PREPARE] > 0);
        assert_true(token->device_s[0] > 0 && token->device_s[0] <= token->phase_s[SMT_PHASE_DEVICE]);
        assert_int_equal(token->phase_s[SMT_PHASE_BETWEEN] > 0, t >= BATCH);
        char *text;
        size_t bytes;
        SMT_ASSERT_OK(smt_token_text(tokenizer, token->id, &text, &bytes, &err), &err);
        assert_int_equal(token->text_bytes, bytes);
        assert_memory_equal(token->text, text, bytes + 1);
        smt_free(text);
        same_routing(token, &want, t);
        before = token->end_s;
    }
    assert_null(smt_observer_next(observer));

    /* What the caller captures beside the observer is the same. */
    eval(first, N_TOKENS, &seen);
    assert_memory_equal(seen.ids, want.ids, sizeof(int32_t) * want.n_moe * N_TOKENS * want.n_used);
    assert_memory_equal(seen.hidden, want.hidden, sizeof(float) * want.n_slots * N_TOKENS * want.hidden_row);
    const smt_trace_token *token = smt_observer_next(observer);
    assert_true(token->number == N_TOKENS && token->session == 0 && token->index == 0);
    same_routing(token, &want, 0);
    assert_true(smt_observer_dropped(observer) == 0);
    smt_observer_free(observer);
    smt_session_free(session);
    smt_session_free(first);
    smt_runner_free(runner);
    smt_test_outputs_free(&want);
    smt_test_outputs_free(&unseen);
    smt_test_outputs_free(&seen);
    smt_tokenizer_free(tokenizer);
}

static void test_facts(void **state) {
    (void)state;
    smt_error err = {0};
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, BATCH, 1, SMT_CACHE_F32);
    smt_observer *observer = observe(runner, 0, NULL), *second;
    const smt_observer_options options = {.struct_size = sizeof options};
    assert_int_equal(smt_observer_create(runner, &options, &second, &err), SMT_INVALID);
    assert_null(second);
    const smt_trace_model *m = smt_observer_model(observer);
    assert_int_equal(m->n_layers, shared.info.n_layers);
    assert_int_equal(m->n_experts, shared.info.n_experts);
    assert_int_equal(m->n_used, shared.info.n_experts_used);
    assert_int_equal(m->n_groups, shared.info.n_groups);
    assert_int_equal(m->n_shared, shared.info.n_experts_shared);
    assert_int_equal(m->n_ctx, CONTEXT);
    assert_int_equal(m->n_moe, shared.info.n_layers - shared.info.n_dense_layers);
    assert_string_equal(m->devices[0], smt_engine_device_name(shared.engine, 0));
    for (uint32_t l = 0; l < m->n_moe; l++) {
        assert_int_equal(m->layers[l].layer, shared.info.n_dense_layers + l);
        /* Three matrices of 96 x n_embd in F16, each with some slack. */
        uint64_t bytes = 3ull * 96 * shared.info.n_embd * 2;
        assert_true(m->layers[l].expert_bytes >= bytes && m->layers[l].expert_bytes < bytes + 4096);
        assert_true(m->layers[l].shared_bytes >= bytes);
        for (uint32_t e = 0; e < m->n_experts; e++)
            assert_true(!strncmp(m->places[m->layers[l].places[e]].tier, "device", 6)); /* "device" or "device+host" */
    }
    smt_observer_free(observer);
    smt_observer_free(observe(runner, 0, NULL)); /* the place is free again */
    smt_runner_free(runner);
}

static void test_full_ring(void **state) {
    (void)state;
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, BATCH, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_observer *observer = observe(runner, 3, NULL); /* becomes 4 */
    eval(session, 10, NULL);
    assert_true(smt_observer_dropped(observer) == 6);
    for (uint32_t t = 0; t < 2; t++) assert_true(smt_observer_next(observer)->number == t);
    assert_null(smt_observer_next(observer)->text);
    eval(session, 5, NULL); /* two places: the token in our hands keeps its own */
    static const uint64_t numbers[] = {3, 10, 11};
    for (size_t i = 0; i < SMT_COUNT(numbers); i++) assert_true(smt_observer_next(observer)->number == numbers[i]);
    assert_null(smt_observer_next(observer));
    assert_true(smt_observer_dropped(observer) == 9);
    smt_observer_free(observer);
    smt_session_free(session);
    smt_runner_free(runner);
}

typedef struct watcher {
    smt_observer *observer;
    const smt_test_outputs *want;
    atomic_bool stop;
    uint64_t taken;
    bool sound;
} watcher;

static void watch(void *argument) {
    watcher *w = argument;
    uint64_t least = 0;
    w->sound = true;
    for (bool last = false;;) {
        const smt_trace_token *token = smt_observer_next(w->observer);
        if (!token && last) return;
        if (!token) last = atomic_load(&w->stop);
        if (!token) continue;
        w->taken++;
        w->sound = w->sound && token->number >= least && token->index < 8 && token->id == shared.tokens[token->index];
        for (uint32_t l = 0; l < w->want->n_moe && w->sound; l++)
            w->sound =
                token->experts[l * w->want->n_used] == w->want->ids[(l * w->want->n_tokens + token->index) * w->want->n_used];
        least = token->number + 1;
    }
}

static void test_other_thread(void **state) {
    (void)state;
    smt_error err;
    smt_os_thread *thread;
    smt_test_outputs want;
    uint32_t rounds = smt_test_slow_driver() ? 10 : 60;
    smt_test_outputs_create(shared.engine, 8, &want);
    smt_runner *runner = smt_test_runner(shared.engine, CONTEXT, BATCH, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    eval(session, 8, &want);
    watcher w = {.observer = observe(runner, 4, NULL), .want = &want};
    SMT_ASSERT_OK(smt_os_thread_start(watch, &w, &thread, &err), &err);
    for (uint32_t i = 0; i < rounds; i++) {
        SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
        eval(session, 1 + i % 8, NULL);
    }
    atomic_store(&w.stop, true);
    smt_os_thread_join(thread);
    uint64_t all = 0;
    for (uint32_t i = 0; i < rounds; i++) all += 1 + i % 8;
    assert_true(w.sound && w.taken > 0);
    assert_true(w.taken + smt_observer_dropped(w.observer) == all);
    smt_observer_free(w.observer);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_test_outputs_free(&want);
}

/* A model without experts has tokens and times. */
static void test_dense_model(void **state) {
    (void)state;
    if (smt_test_slow_driver()) skip();
    smt_engine *engine = smt_test_engine(smt_test_data("t-llama3.f16.gguf"));
    smt_runner *runner = smt_test_runner(engine, CONTEXT, BATCH, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_observer *observer = observe(runner, 0, NULL);
    const int32_t one = 1;
    smt_error err;
    SMT_ASSERT_OK(smt_session_eval(session, &(smt_eval){.struct_size = sizeof(smt_eval), .tokens = &one, .n_tokens = 1}, &err),
                  &err);
    assert_int_equal(smt_observer_model(observer)->n_moe, 0);
    assert_true(smt_observer_next(observer)->id == 1);
    smt_observer_free(observer);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_seen), cmocka_unit_test(test_facts),
                                       cmocka_unit_test(test_full_ring), cmocka_unit_test(test_other_thread),
                                       cmocka_unit_test(test_dense_model)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
