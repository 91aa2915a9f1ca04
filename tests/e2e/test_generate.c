/* test_generate.c: answers drawn on the device against the same loop written out with smt_session_eval and smt_sampler_draw: equal tokens
 * whatever the number of steps under way, across a border of cache blocks and up to the end of the context; and sessions that are as good
 * after a stop, a cancelled or a full answer as before it. An observer is told the same of both. */
#include "engine_support.h"
#include "tiny_model.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

/* HELD: of the prompt, by sessions that have seen it. The last token of an answer is drawn, but has no place any more. */
enum { CONTEXT = 267, N_PROMPT = 248, HELD = N_PROMPT - 3, N_ANSWER = CONTEXT - N_PROMPT + 1 };

static const smt_sampler_options
    greedy = {.struct_size = sizeof greedy},
    sampled = {.struct_size = sizeof sampled, .temperature = 0.9f, .top_k = 40, .top_p = 0.97f, .min_p = 0.01f, .seed = 7},
    penalised = {.struct_size = sizeof penalised, .temperature = 1, .top_k = 30, .repeat_penalty = 1.5f, .seed = 8};

static struct {
    char path[1024];
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    smt_model_info info;
    int32_t *prompt;
    int32_t greedy[N_ANSWER], sampled[N_ANSWER], penalised[N_ANSWER]; /* what the written-out loop gives */
} shared;

/* On a driver that takes its time only the essential cases. */
static bool brief(void) { return smt_test_slow_driver() && !smt_test_full(); }

static smt_sampler *make_sampler(const smt_sampler_options *options) {
    smt_sampler *sampler;
    smt_error err;
    SMT_ASSERT_OK(smt_sampler_create(options, &sampler, &err), &err);
    return sampler;
}

/* The definition: every token by an eval and a draw of its own. */
static void write_out(const smt_sampler_options *options, int32_t *answer) {
    smt_error err;
    smt_sampler *sampler = make_sampler(options);
    float *logits = calloc(shared.info.n_vocab, sizeof *logits);
    int32_t text[N_PROMPT + N_ANSWER];
    memcpy(text, shared.prompt, N_PROMPT * sizeof *text);
    uint32_t held = smt_session_length(shared.session) > HELD ? HELD : 0;
    SMT_ASSERT_OK(smt_session_rewind(shared.session, held, &err), &err);
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        uint32_t n = N_PROMPT + i;
        smt_eval eval = {.struct_size = sizeof eval, .tokens = text + held, .n_tokens = n - held, .logits = logits};
        SMT_ASSERT_OK(smt_session_eval(shared.session, &eval, &err), &err);
        held = n;
        smt_draw draw = {.struct_size = sizeof draw,
                         .logits = logits,
                         .n_vocab = shared.info.n_vocab,
                         .history = text,
                         .n_history = n,
                         .position = n};
        SMT_ASSERT_OK(smt_sampler_draw(sampler, &draw, &text[n], &err), &err);
        answer[i] = text[n];
    }
    smt_sampler_free(sampler);
    free(logits);
}

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_generate-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(
        smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .small = true, .n_layers = 2}, &err), &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &shared.info);
    shared.prompt = smt_test_tokens(N_PROMPT, shared.info.n_vocab, 11);
    shared.runner = smt_test_runner(shared.engine, CONTEXT, 64, 2, SMT_CACHE_F16);
    shared.session = smt_test_session(shared.runner);
    write_out(&sampled, shared.sampled);
    if (brief()) return 0;
    write_out(&greedy, shared.greedy);
    write_out(&penalised, shared.penalised);
    return 0;
}

static int teardown(void **state) {
    smt_session_free(shared.session);
    smt_runner_free(shared.runner);
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.prompt);
    return smt_engine_test_teardown(state);
}

/* ---- an answer ---- */

typedef struct listener {
    int32_t tokens[N_ANSWER];
    uint32_t n, stop_at, cancel_at; /* 0: never */
} listener;

static bool listen(void *user, const smt_generated *generated) {
    listener *l = user;
    assert_in_range(l->n, 0, N_ANSWER - 1);
    assert_int_equal(generated->n_evaluated == 1, l->n > 0); /* at first what the request gave */
    l->tokens[l->n++] = generated->token;
    if (l->n == l->cancel_at) smt_runner_cancel(shared.runner);
    return l->n != l->stop_at;
}

static smt_generate make_request(listener *l) {
    return (smt_generate){.struct_size = sizeof(smt_generate),
                          .tokens = shared.prompt + HELD,
                          .n_tokens = N_PROMPT - HELD,
                          .on_token = listen,
                          .user = l,
                          .history = shared.prompt,
                          .n_history = HELD};
}

static smt_status generate(smt_session *session, const smt_sampler_options *options, const smt_generate *request, smt_end *end,
                           smt_error *err) {
    smt_sampler *sampler = make_sampler(options);
    smt_status status = smt_session_generate(session, sampler, request, end, err);
    smt_sampler_free(sampler);
    return status;
}

static void expect(const listener *l, const int32_t *tokens, uint32_t n) {
    assert_int_equal(l->n, n);
    for (uint32_t i = 0; i < n; i++)
        if (l->tokens[i] != tokens[i]) fail_msg("token %u is %d, expected %d", i, l->tokens[i], tokens[i]);
}

static void rewind_to(smt_session *session, uint32_t length) {
    smt_error err;
    SMT_ASSERT_OK(smt_session_rewind(session, length, &err), &err);
}

/* As many tokens as the context has room for, with most of the prompt in the session already. */
static void check_full(const smt_sampler_options *options, uint32_t ahead, bool host, const int32_t *tokens) {
    listener l = {0};
    smt_generate request = make_request(&l);
    request.steps_ahead = ahead;
    request.draw_on_host = host;
    smt_end end;
    smt_error err;
    rewind_to(shared.session, HELD);
    SMT_ASSERT_OK(generate(shared.session, options, &request, &end, &err), &err);
    assert_int_equal(end, SMT_END_FULL);
    expect(&l, tokens, N_ANSWER);
    assert_int_equal(smt_session_length(shared.session), CONTEXT);
}

static void test_same_tokens(void **state) {
    (void)state;
    check_full(&sampled, 2, false, shared.sampled);
    if (brief()) return;
    check_full(&greedy, 4, false, shared.greedy);
    check_full(&greedy, 1, false, shared.greedy);
    check_full(&sampled, 1, false, shared.sampled);
    check_full(&sampled, 8, false, shared.sampled);
    check_full(&sampled, 0, true, shared.sampled);
    check_full(&penalised, 0, false, shared.penalised);
}

/* ---- ends ---- */

/* Stops after n tokens, with steps under way that must leave no trace, and goes on from there. */
static void stop_and_go_on(uint32_t n, bool host) {
    smt_error err;
    smt_end end;
    listener first = {.stop_at = n}, rest = {0};
    smt_generate request = make_request(&first);
    request.steps_ahead = 8;
    request.draw_on_host = host;
    rewind_to(shared.session, HELD);
    SMT_ASSERT_OK(generate(shared.session, &sampled, &request, &end, &err), &err);
    assert_int_equal(end, SMT_END_CALLBACK);
    expect(&first, shared.sampled, n);
    assert_int_equal(smt_session_length(shared.session), N_PROMPT + n - 1);
    assert_memory_equal(smt_session_tokens(shared.session), shared.prompt, N_PROMPT * sizeof(int32_t));
    assert_memory_equal(smt_session_tokens(shared.session) + N_PROMPT, shared.sampled, (n - 1) * sizeof(int32_t));
    const int32_t two[] = {n > 1 ? first.tokens[n - 2] : shared.prompt[N_PROMPT - 1], first.tokens[n - 1]};
    rewind_to(shared.session, N_PROMPT + n - 2);
    request.user = &rest;
    request.tokens = two;
    request.n_tokens = 2;
    request.max_tokens = 9;
    SMT_ASSERT_OK(generate(shared.session, &sampled, &request, &end, &err), &err);
    assert_int_equal(end, SMT_END_LENGTH);
    expect(&rest, shared.sampled + n, 9);
    assert_int_equal(smt_session_length(shared.session), N_PROMPT + n + 8);
}

static void test_stop(void **state) {
    (void)state;
    static const uint32_t ends[] = {1, 5, 9}; /* steps behind the second fill the next block of the cache */
    for (size_t i = brief() ? 1 : 0; i < SMT_COUNT(ends); i++)
        for (int host = 0; host < (brief() ? 1 : 2); host++) stop_and_go_on(ends[i], host);
}

static void test_steps_counted(void **state) {
    (void)state;
    smt_error err;
    smt_end end;
    smt_runner_stats before, after;
    listener l = {.stop_at = 5};
    smt_generate request = make_request(&l);
    request.steps_ahead = 4;
    rewind_to(shared.session, HELD);
    smt_runner_get_stats(shared.runner, &before);
    SMT_ASSERT_OK(generate(shared.session, &sampled, &request, &end, &err), &err);
    smt_runner_get_stats(shared.runner, &after);
    assert_int_equal(after.n_steps - before.n_steps,
                     5 + 3); /* four under way when the fifth token is taken, itself one of them */
    assert_int_equal(after.n_dropped - before.n_dropped, 3);
    assert_true(after.n_submissions - before.n_submissions >= 8);
    assert_true(after.n_dispatches - before.n_dispatches > 8 * 20);
    assert_true(after.longest_submission_s > 0);
}

static void test_cancel(void **state) {
    (void)state;
    smt_error err;
    smt_end end;
    for (int host = 0; host < (brief() ? 1 : 2); host++) {
        listener l = {.cancel_at = 6};
        smt_generate request = make_request(&l);
        request.draw_on_host = host;
        rewind_to(shared.session, HELD);
        assert_int_equal(generate(shared.session, &sampled, &request, &end, &err), SMT_CANCELLED);
        assert_int_equal(err.code, SMT_CANCELLED);
        assert_in_range(l.n, 6, 8); /* steps under way may still be told of */
        expect(&l, shared.sampled, l.n);
        assert_int_equal(smt_session_length(shared.session), N_PROMPT + l.n - 1);
    }
    if (!brief()) check_full(&sampled, 2, false, shared.sampled);
}

/* ---- somebody looks on ---- */

/* What an observer was told of an answer. */
typedef struct sight {
    smt_trace_token tokens[CONTEXT]; /* their arrays are those below */
    uint16_t *experts;
    float *weights; /* [n, picks] both */
    size_t picks;   /* of a token, over all layers */
    uint32_t n;
    uint64_t dropped, steps_dropped;
} sight;

enum { ANSWERED_FROM = N_PROMPT - 68, SLEEPS_AT = 7, SLEEP_MS = 300 }; /* more tokens than a step takes */

static bool listen_slowly(void *user, const smt_generated *generated) {
    bool on = listen(user, generated);
    if (((listener *)user)->n == SLEEPS_AT) nanosleep(&(struct timespec){.tv_nsec = SLEEP_MS * 1000000}, NULL);
    return on;
}

static void take_all(smt_observer *observer, sight *out) {
    out->picks = (size_t)smt_observer_model(observer)->n_moe * shared.info.n_experts_used;
    out->experts = calloc(CONTEXT * out->picks, sizeof *out->experts);
    out->weights = calloc(CONTEXT * out->picks, sizeof *out->weights);
    for (const smt_trace_token *token; (token = smt_observer_next(observer)); out->n++) {
        memcpy(out->experts + out->n * out->picks, token->experts, out->picks * sizeof *out->experts);
        memcpy(out->weights + out->n * out->picks, token->weights, out->picks * sizeof *out->weights);
        assert_true(token->device_s[0] > 0 && token->device_s[0] <= token->phase_s[SMT_PHASE_DEVICE]);
        assert_true(token->hop_s[0] == 0 && token->hop_bytes[0] == 0);
        out->tokens[out->n] = *token;
    }
    out->dropped = smt_observer_dropped(observer);
}

static void look_on(bool host, uint32_t capacity, uint32_t stop_at, sight *out) {
    smt_error err;
    smt_end end;
    smt_runner_stats before, after;
    smt_observer *observer;
    listener l = {.stop_at = stop_at};
    smt_generate request = make_request(&l);
    request.tokens = shared.prompt + ANSWERED_FROM;
    request.n_tokens = N_PROMPT - ANSWERED_FROM;
    request.n_history = ANSWERED_FROM;
    request.steps_ahead = 8;
    request.draw_on_host = host;
    if (!stop_at) request.on_token = listen_slowly;
    *out = (sight){0};
    rewind_to(shared.session, ANSWERED_FROM);
    const smt_observer_options options = {.struct_size = sizeof options, .capacity = capacity};
    SMT_ASSERT_OK(smt_observer_create(shared.runner, &options, &observer, &err), &err);
    smt_runner_get_stats(shared.runner, &before);
    SMT_ASSERT_OK(generate(shared.session, &sampled, &request, &end, &err), &err);
    smt_runner_get_stats(shared.runner, &after);
    out->steps_dropped = after.n_dropped - before.n_dropped;
    expect(&l, shared.sampled, stop_at ? stop_at : N_ANSWER);
    take_all(observer, out);
    smt_observer_free(observer);
}

static void same_sight(const sight *a, const sight *b) {
    assert_int_equal(a->n, b->n);
    assert_true(a->dropped == b->dropped);
    for (uint32_t i = 0; i < a->n; i++) {
        const smt_trace_token *x = &a->tokens[i], *y = &b->tokens[i];
        assert_true(x->number == y->number && x->id == y->id && x->session == y->session && x->index == y->index);
        assert_true(x->position == y->position && x->step == y->step && x->step_tokens == y->step_tokens);
    }
    assert_memory_equal(a->experts, b->experts, a->n * a->picks * sizeof *a->experts);
    assert_memory_equal(a->weights, b->weights, a->n * a->picks * sizeof *a->weights);
}

/* The parts of each step make up the time since the step before. */
static void check_times(const sight *s) {
    for (uint32_t i = 1; i < s->n; i++) {
        const smt_trace_token *token = &s->tokens[i], *before = &s->tokens[i - 1];
        double sum = 0, passed = token->end_s - before->end_s;
        if (token->step == before->step) continue;
        for (int p = 0; p < SMT_PHASE_COUNT; p++) {
            assert_true(token->phase_s[p] >= 0);
            sum += (double)token->phase_s[p];
        }
        if (fabs(sum - passed) > 1e-4 + 1e-3 * passed) fail_msg("token %u: parts of %g s, %g s passed", i, sum, passed);
    }
    const smt_trace_token *late = &s->tokens[s->n - N_ANSWER + SLEEPS_AT]; /* while the callback slept the device was done */
    assert_true(late->phase_s[SMT_PHASE_BETWEEN] > 1e-3f);
    assert_true((double)(late->phase_s[SMT_PHASE_BETWEEN] + late->phase_s[SMT_PHASE_DEVICE]) > 0.9 * SLEEP_MS / 1000);
}

static void free_sight(sight *s) {
    free(s->experts);
    free(s->weights);
}

static void test_observed(void **state) {
    (void)state;
    static sight host, device;
    look_on(true, CONTEXT, 0, &host);
    look_on(false, CONTEXT, 0, &device);
    assert_int_equal(device.n, CONTEXT - ANSWERED_FROM);
    same_sight(&host, &device);
    check_times(&host);
    check_times(&device);
    free_sight(&host);
    free_sight(&device);
    /* An answer that stops, with a ring that holds part of it: what ran ahead is not told of, and no more did than may. */
    look_on(true, 16, 5, &host);
    look_on(false, 16, 5, &device);
    assert_int_equal(device.dropped, N_PROMPT - ANSWERED_FROM + 4 - 16);
    same_sight(&host, &device);
    assert_true(host.steps_dropped == 0 && device.steps_dropped == 1);
    free_sight(&host);
    free_sight(&device);
}

/* ---- several sessions, and mistakes ---- */

static void test_two_sessions(void **state) {
    (void)state;
    smt_error err;
    smt_end end;
    if (brief()) skip();
    smt_session *both[2] = {shared.session, smt_test_session(shared.runner)};
    listener heard[2] = {0};
    rewind_to(shared.session, HELD);
    for (uint32_t turn = 0; turn < 3; turn++)
        for (int s = 0; s < 2; s++) { /* five tokens each, in turns; the second begins with the whole prompt */
            int32_t text[N_PROMPT + N_ANSWER];
            listener l = {0};
            uint32_t held = smt_session_length(both[s]), n = N_PROMPT + heard[s].n;
            memcpy(text, shared.prompt, N_PROMPT * sizeof *text);
            memcpy(text + N_PROMPT, heard[s].tokens, heard[s].n * sizeof *text);
            if (turn) rewind_to(both[s], held = n - 2);
            smt_generate request = make_request(&l);
            request.tokens = text + held;
            request.n_tokens = n - held;
            request.max_tokens = 5;
            SMT_ASSERT_OK(generate(both[s], s ? &greedy : &sampled, &request, &end, &err), &err);
            memcpy(heard[s].tokens + heard[s].n, l.tokens, l.n * sizeof *text);
            heard[s].n += l.n;
        }
    expect(&heard[0], shared.sampled, 15);
    expect(&heard[1], shared.greedy, 15);
    smt_session_free(both[1]);
}

static void refuse(smt_generate request, smt_status expected, const char *word) {
    smt_error err = {0};
    smt_end end;
    uint32_t length = smt_session_length(shared.session);
    assert_int_equal(generate(shared.session, &greedy, &request, &end, &err), expected);
    if (!strstr(err.message, word)) fail_msg("\"%s\" does not say \"%s\"", err.message, word);
    assert_int_equal(smt_session_length(shared.session), length);
}

static void test_refuses(void **state) {
    (void)state;
    listener l = {0};
    const smt_generate good = make_request(&l);
    const int32_t wrong = -3;
    rewind_to(shared.session, HELD);
    smt_generate r = good;
    r.struct_size = 0;
    refuse(r, SMT_INVALID, "struct_size");
    r = good;
    r.on_token = NULL;
    refuse(r, SMT_INVALID, "on_token");
    r = good;
    r.n_tokens = 0;
    refuse(r, SMT_INVALID, "no tokens");
    r = good;
    r.tokens = &wrong;
    r.n_tokens = 1;
    refuse(r, SMT_INVALID, "token -3");
    r = good;
    r.steps_ahead = 9;
    refuse(r, SMT_INVALID, "steps_ahead is 9");
    r = good;
    r.history = NULL;
    refuse(r, SMT_INVALID, "n_history 245");
    r = good;
    r.n_tokens = CONTEXT + 1;
    refuse(r, SMT_FULL, "context of 267");
    assert_int_equal(l.n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_tokens), cmocka_unit_test(test_stop),     cmocka_unit_test(test_steps_counted),
        cmocka_unit_test(test_cancel),      cmocka_unit_test(test_observed), cmocka_unit_test(test_two_sessions),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
