/* test_split.c: one model on several devices: what is split over equal devices gives the very bits of one device, on unlike ones what the
 * goldens allow and the same tokens.
 *
 * Equal devices are one that is named several times: each name makes a logical device, with memory, queue and kernels of its own. What goes
 * from one to another lies in memory of both, where the driver lets it, or passes through the host. The measure is one step of
 * one device. Unlike devices need two drivers in one process (VK_ICD_FILENAMES with both); elsewhere that case is skipped. */
#include "engine_support.h"
#include "golden.h"

#include "api/api_engine.h"

#include <math.h>

enum { N = 64, SINGLE = 6, CONTEXT = 300, ANSWER = 24 };

typedef struct split {
    const char *devices;
    double shares[3];
    uint32_t n_shares;
    bool experts; /* of each layer, and not the layers */
    bool by_host; /* no memory in common */
} split;
static const split splits[] = {{.devices = "vk0,vk0"},
                               {.devices = "vk0,vk0", .shares = {1, 5}, .n_shares = 2, .by_host = true},
                               {.devices = "vk0,vk0,vk0"},
                               {.devices = "vk0,vk0", .experts = true},
                               {.devices = "vk0,vk0", .shares = {0, 1}, .n_shares = 2, .experts = true, .by_host = true},
                               {.devices = "vk0,vk0,vk0", .shares = {1, 5, 2}, .n_shares = 3, .experts = true}};

static smt_engine *open_split(const char *model, const split *how) {
    smt_engine_options options = smt_test_engine_options(smt_test_data(model));
    smt_engine *engine;
    smt_error err;
    const smt_placement_options where = {.struct_size = sizeof where, .split = how->experts ? SMT_SPLIT_EXPERT : SMT_SPLIT_LAYER};
    options.placement = &where;
    options.device.devices = how->devices;
    options.device.no_external_memory = how->by_host;
    options.device.shares = how->n_shares ? how->shares : NULL;
    options.device.n_shares = how->n_shares;
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    return engine;
}

static uint32_t n_named(const split *how) {
    uint32_t n = 1;
    for (const char *at = how->devices; *at; at++) n += *at == ',';
    return n;
}

/* ---- everything that an eval gives ---- */

static void eval_all(smt_session *session, const int32_t *tokens, uint32_t n, smt_test_outputs *out) {
    smt_error err;
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = tokens,
                     .n_tokens = n,
                     .all_logits = true,
                     .logits = out->logits,
                     .hidden = out->hidden,
                     .expert_ids = out->n_moe ? out->ids : NULL,
                     .expert_weights = out->n_moe ? out->weights : NULL};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
}

/* Logits alone, `step` tokens at a time. */
static void eval_steps(smt_session *session, const int32_t *tokens, uint32_t from, uint32_t n, uint32_t step, float *logits,
                       uint32_t n_vocab) {
    smt_error err;
    for (uint32_t at = from; at < n; at += step) {
        smt_eval eval = {.struct_size = sizeof eval,
                         .tokens = tokens + at,
                         .n_tokens = n - at < step ? n - at : step,
                         .all_logits = true,
                         .logits = logits + (size_t)at * n_vocab};
        SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    }
}

static void same_rows(const char *what, const split *how, const float *got, const float *want, uint32_t from, uint32_t to,
                      uint32_t n_vocab) {
    for (uint32_t i = from; i < to; i++)
        if (memcmp(got + (size_t)i * n_vocab, want + (size_t)i * n_vocab, n_vocab * sizeof *got) != 0)
            fail_msg("%s on %s%s: token %u has other logits than on one device", what, how->devices,
                     how->experts ? ", which share experts" : "", i);
}

/* ---- equal devices ---- */

typedef struct fixture {
    const char *model;
    smt_engine *one;
    smt_test_outputs want, got;
    int32_t *tokens, answer[ANSWER];
    void *saved; /* the session on one device after N / 2 tokens */
    size_t saved_bytes;
    uint32_t n_answer;
} fixture;

static bool note_token(void *user, const smt_generated *generated) {
    fixture *f = user;
    f->answer[f->n_answer++] = generated->token;
    return true;
}

/* Tokens after the first few: the likeliest, or drawn from some. */
static void generate(fixture *f, smt_session *session, bool draw, bool on_host) {
    const smt_sampler_options greedy = {.struct_size = sizeof greedy},
                              some = {.struct_size = sizeof some, .temperature = 1, .top_k = 20, .top_p = 0.95f, .seed = 7};
    const smt_generate request = {.struct_size = sizeof request,
                                  .tokens = f->tokens,
                                  .n_tokens = 5,
                                  .max_tokens = ANSWER,
                                  .on_token = note_token,
                                  .user = f,
                                  .draw_on_host = on_host};
    smt_sampler *sampler;
    smt_end end;
    smt_error err;
    f->n_answer = 0;
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
    SMT_ASSERT_OK(smt_sampler_create(draw ? &some : &greedy, &sampler, &err), &err);
    SMT_ASSERT_OK(smt_session_generate(session, sampler, &request, &end, &err), &err);
    assert_int_equal(f->n_answer, ANSWER);
    smt_sampler_free(sampler);
}

static void open_fixture(fixture *f, const char *model, smt_cache_type cache_type) {
    static const split alone = {.devices = "vk0"};
    smt_model_info info;
    smt_error err;
    *f = (fixture){.model = model, .one = open_split(model, &alone)};
    smt_engine_model(f->one, &info);
    f->tokens = smt_test_tokens(N, info.n_vocab, 5);
    smt_test_outputs_create(f->one, N, &f->want);
    smt_test_outputs_create(f->one, N, &f->got);
    smt_runner *runner = smt_test_runner(f->one, CONTEXT, N, 1, cache_type);
    smt_session *session = smt_test_session(runner);
    eval_all(session, f->tokens, N, &f->want);
    SMT_ASSERT_OK(smt_session_rewind(session, N / 2, &err), &err);
    SMT_ASSERT_OK(smt_session_save(session, &f->saved, &f->saved_bytes, &err), &err);
    generate(f, session, cache_type == SMT_CACHE_F16, true);
    smt_session_free(session);
    smt_runner_free(runner);
}

static void close_fixture(fixture *f) {
    smt_test_outputs_free(&f->want);
    smt_test_outputs_free(&f->got);
    smt_free(f->saved);
    free(f->tokens);
    smt_engine_free(f->one);
}

/* The whole sequence in one step, with what is captured on each device; in steps of 8; single tokens, after a rewind. */
static void check_batches(fixture *f, const split *how, smt_session *session) {
    uint32_t n_vocab = f->want.n_vocab;
    smt_error err;
    eval_all(session, f->tokens, N, &f->got);
    same_rows("one step", how, f->got.logits, f->want.logits, 0, N, n_vocab);
    assert_memory_equal(f->got.hidden, f->want.hidden, (size_t)f->want.n_slots * N * f->want.hidden_row * sizeof(float));
    size_t routed = (size_t)f->want.n_moe * N * f->want.n_used;
    assert_memory_equal(f->got.ids, f->want.ids, routed * sizeof(int32_t));
    assert_memory_equal(f->got.weights, f->want.weights, routed * sizeof(float));
    memset(f->got.logits, 0x55, (size_t)N * n_vocab * sizeof(float));
    SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
    eval_steps(session, f->tokens, 0, N, 8, f->got.logits, n_vocab);
    same_rows("steps of 8", how, f->got.logits, f->want.logits, 0, N, n_vocab);
    SMT_ASSERT_OK(smt_session_rewind(session, N - SINGLE, &err), &err);
    eval_steps(session, f->tokens, N - SINGLE, N, 1, f->got.logits, n_vocab);
    same_rows("single tokens after a rewind", how, f->got.logits, f->want.logits, N - SINGLE, N, n_vocab);
}

/* Eight steps of which only the last gives logits: devices work on different steps at a time. */
static void check_overlap(fixture *f, const split *how, smt_engine *engine) {
    smt_runner *runner = smt_test_runner(engine, CONTEXT, N / 8, 1, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    uint32_t n_vocab = f->want.n_vocab;
    smt_error err;
    for (uint32_t round = 0; round < 3; round++) {
        float *last = f->got.logits + (size_t)(N - 1) * n_vocab;
        const smt_eval eval = {.struct_size = sizeof eval, .tokens = f->tokens, .n_tokens = N, .logits = last};
        memset(last, 0x55, n_vocab * sizeof *last);
        SMT_ASSERT_OK(smt_session_rewind(session, 0, &err), &err);
        SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
        same_rows("steps at a time", how, f->got.logits, f->want.logits, N - 1, N, n_vocab);
    }
    smt_session_free(session);
    smt_runner_free(runner);
}

/* A fork shares its past, a restored session comes from one device, and what is saved here is what was saved there. */
static void check_sessions(fixture *f, const split *how, smt_runner *runner, smt_session *session) {
    uint32_t n_vocab = f->want.n_vocab;
    smt_session *other;
    smt_error err;
    void *bytes;
    size_t count;
    SMT_ASSERT_OK(smt_session_fork(session, N / 2, &other, &err), &err);
    SMT_ASSERT_OK(smt_session_save(other, &bytes, &count, &err), &err);
    assert_int_equal(count, f->saved_bytes);
    assert_memory_equal(bytes, f->saved, count);
    eval_steps(other, f->tokens, N / 2, N, 8, f->got.logits, n_vocab);
    same_rows("a fork", how, f->got.logits, f->want.logits, N / 2, N, n_vocab);
    smt_session_free(other);
    smt_free(bytes);
    memset(f->got.logits, 0x55, (size_t)N * n_vocab * sizeof(float));
    SMT_ASSERT_OK(smt_session_restore(runner, f->saved, f->saved_bytes, &other, &err), &err);
    eval_steps(other, f->tokens, N / 2, N, 1, f->got.logits, n_vocab);
    same_rows("a restored session", how, f->got.logits, f->want.logits, N / 2, N, n_vocab);
    smt_session_free(other);
}

/* The device with the head draws what the host of one device did: in two dispatches a token, of those that the stats count. */
static void check_answer(fixture *f, smt_runner *runner, smt_session *session) {
    int32_t answer[ANSWER];
    smt_runner_stats stats[3];
    memcpy(answer, f->answer, sizeof answer);
    for (int i = 0; i < 3; i++) {
        if (i) generate(f, session, true, i == 2);
        assert_memory_equal(f->answer, answer, sizeof answer);
        smt_runner_get_stats(runner, &stats[i]);
    }
    uint64_t on_device = stats[1].n_dispatches - stats[0].n_dispatches, on_host = stats[2].n_dispatches - stats[1].n_dispatches;
    assert_int_equal(on_device - on_host, 2 * ANSWER);
}

/* What devices of one driver send each other lies in memory that both have, unless they were told otherwise. */
static void check_ways(const split *how, const smt_run *run) {
    bool able = smt_vk_device_caps(run->parts[0].on->vk)->external_memory_fd;
    uint32_t n_brought = 0, n_peers = 0;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        n_brought += run->parts[i].plan.hop_in.bytes > 0;
        for (uint32_t j = 0; j < run->n_parts; j++) n_peers += run->parts[i].peers[j] != NULL;
    }
    assert_true(able || how->by_host || !getenv("SMT_TEST_DRIVER")); /* the drivers that tests know can do it */
    assert_false(able && how->by_host);
    assert_int_equal(n_brought == 0, able);
    assert_int_equal(n_peers > 0, able);
}

static void check_split(fixture *f, const split *how) {
    smt_engine *engine = open_split(f->model, how);
    assert_int_equal(smt_engine_device_count(engine), n_named(how));
    for (uint32_t i = 0; i < n_named(how); i++)
        assert_string_equal(smt_engine_device_name(engine, i), smt_engine_device_name(f->one, 0));
    smt_runner *runner = smt_test_runner(engine, CONTEXT, N, 2, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    check_batches(f, how, session);
    check_sessions(f, how, runner, session);
    check_overlap(f, how, engine);
    check_answer(f, runner, session);
    check_ways(how, runner->run);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

static void test_equal(void **state) {
    (void)state;
    static const char *const models[] = {"g-v2.f16.gguf", "g-llama2.f16.gguf"};
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        fixture f;
        open_fixture(&f, models[i], SMT_CACHE_F16);
        for (size_t j = 0; j < SMT_COUNT(splits); j++)
            if (f.want.n_moe || !splits[j].experts) check_split(&f, &splits[j]);
        close_fixture(&f);
    }
}

/* ---- who looks on ---- */

static void check_token(const smt_trace_model *m, const smt_trace_token *token, const smt_test_outputs *out, uint32_t row,
                        uint32_t n_embd) {
    assert_non_null(token);
    assert_true(token->device_s[0] > 0 && token->device_s[1] > 0);
    assert_true(token->device_s[0] + token->device_s[1] + token->hop_s[1] <= token->phase_s[SMT_PHASE_DEVICE] * 1.001f);
    assert_true(token->hop_s[0] == 0 && token->hop_s[1] > 0);
    assert_true(token->hop_bytes[0] == 0 && token->hop_bytes[1] == out->n_tokens * n_embd * sizeof(float));
    for (uint32_t l = 0; l < m->n_moe; l++) /* the routing of each layer comes from the device that has it */
        for (uint32_t k = 0; k < m->n_used; k++)
            assert_int_equal(token->experts[l * m->n_used + k], out->ids[((size_t)l * out->n_tokens + row) * m->n_used + k]);
}

/* Where experts lie, how long each device worked, and what the host carried between them. */
static void test_observed(void **state) {
    (void)state;
    enum { ROWS = 8 };
    smt_engine *engine = open_split("g-v2.f16.gguf", &splits[0]);
    smt_runner *runner = smt_test_runner(engine, CONTEXT, ROWS, 1, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    const smt_observer_options options = {.struct_size = sizeof options};
    smt_observer *observer;
    smt_model_info info;
    smt_test_outputs out;
    smt_error err;
    smt_engine_model(engine, &info);
    SMT_ASSERT_OK(smt_observer_create(runner, &options, &observer, &err), &err);
    const smt_trace_model *m = smt_observer_model(observer);
    assert_int_equal(m->n_devices, 2);
    assert_int_equal(m->places[m->layers[m->n_moe - 1].places[0]].device, 1);
    int32_t *tokens = smt_test_tokens(ROWS, info.n_vocab, 5);
    smt_test_outputs_create(engine, ROWS, &out);
    eval_all(session, tokens, ROWS, &out);
    for (uint32_t i = 0; i < ROWS; i++) check_token(m, smt_observer_next(observer), &out, i, info.n_embd);
    smt_test_outputs_free(&out);
    free(tokens);
    smt_observer_free(observer);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

/* ---- unlike devices ---- */

static uint32_t n_devices(void) {
    const smt_device_options options = {.struct_size = sizeof options};
    smt_device_list *list;
    smt_error err;
    SMT_ASSERT_OK(smt_device_list_create(&options, &list, &err), &err);
    uint32_t n = smt_device_list_count(list);
    smt_device_list_free(list);
    return n;
}

/* Of the goldens' sequence of 37 tokens. */
static void check_golden(smt_session *session, const char *path) {
    smt_golden *golden = smt_golden_open(smt_test_data(path));
    smt_golden_array tokens = smt_golden_i32(golden, "s37", "tokens"), positions = smt_golden_i32(golden, "s37", "positions"),
                     at = smt_golden_i32(golden, "s37", "logits_at"), want = smt_golden_f32(golden, "s37", "logits");
    uint32_t n = (uint32_t)tokens.dims[0], n_vocab = (uint32_t)want.dims[1];
    float *logits = calloc((size_t)n * n_vocab, sizeof *logits);
    smt_error err;
    assert_non_null(logits);
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = tokens.i32,
                     .n_tokens = n,
                     .positions = positions.i32,
                     .all_logits = true,
                     .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    for (size_t p = 0; p < at.dims[0]; p++)
        for (uint32_t v = 0; v < n_vocab; v++) {
            float got = logits[(size_t)at.i32[p] * n_vocab + v], wanted = want.f32[p * n_vocab + v];
            if (!(fabsf(got - wanted) <= 5e-4f))
                fail_msg("token %d: logit %u is %g, golden %g", at.i32[p], v, (double)got, (double)wanted);
        }
    free(logits);
    smt_golden_free(golden);
}

static void test_unlike(void **state) {
    (void)state;
    static const struct {
        const char *model, *golden;
    } models[] = {{"g-v2.f16.gguf", "g-v2.golden.json"},
                  {"g-llama2.f16.gguf", "g-llama2.golden.json"},
                  {"g-v2.f16.gguf", "g-v2.golden.json"}};
    static const split orders[] = {{.devices = "vk0,vk1"}, {.devices = "vk1,vk0"}, {.devices = "vk1,vk0", .experts = true}};
    if (n_devices() < 2) skip();
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        fixture f;
        int32_t answer[ANSWER];
        open_fixture(&f, models[i].model, SMT_CACHE_F32);
        memcpy(answer, f.answer, sizeof answer);
        smt_engine *engine = open_split(models[i].model, &orders[i]);
        assert_string_not_equal(smt_engine_device_name(engine, 0), smt_engine_device_name(engine, 1));
        smt_runner *runner = smt_test_runner(engine, CONTEXT, N, 1, SMT_CACHE_F32);
        smt_session *session = smt_test_session(runner);
        check_golden(session, models[i].golden);
        generate(&f, session, false, false);
        assert_memory_equal(f.answer, answer, sizeof answer);
        smt_session_free(session);
        smt_runner_free(runner);
        smt_engine_free(engine);
        close_fixture(&f);
    }
}

/* ---- what is refused, and cancelling ---- */

static bool cancel_late(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    smt_runner *const *runner = user;
    (void)total;
    if (stage == SMT_STAGE_EVAL && done == 8) smt_runner_cancel(*runner);
    return true;
}

static void test_cancel(void **state) {
    (void)state;
    smt_runner *runner = NULL;
    smt_engine_options options = smt_test_engine_options(smt_test_data("g-v2.f16.gguf"));
    options.device.devices = "vk0,vk0";
    options.device.callbacks.user = &runner;
    options.device.callbacks.progress = cancel_late;
    smt_engine *engine;
    smt_error err;
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F16);
    smt_session *session = smt_test_session(runner);
    int32_t *tokens = smt_test_tokens(N, 64, 7);
    const smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = N};
    assert_int_equal(smt_session_eval(session, &eval, &err), SMT_CANCELLED);
    assert_int_equal(smt_session_length(session), 0);
    const smt_eval again = {.struct_size = sizeof again, .tokens = tokens, .n_tokens = 7};
    SMT_ASSERT_OK(smt_session_eval(session, &again, &err), &err); /* nothing of it is left on either device */
    assert_int_equal(smt_session_length(session), 7);
    free(tokens);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

static void refused(const split *how, smt_status status, const char *words) {
    smt_engine_options options = smt_test_engine_options(smt_test_data("g-v2.f16.gguf"));
    smt_engine *engine;
    smt_error err;
    options.device.devices = how->devices;
    options.device.shares = how->shares;
    options.device.n_shares = how->n_shares;
    const smt_placement_options where = {.struct_size = sizeof where, .split = how->experts ? SMT_SPLIT_EXPERT : SMT_SPLIT_LAYER};
    options.placement = &where;
    assert_int_equal(smt_engine_create(&options, &engine, &err), status);
    assert_null(engine);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void test_refused(void **state) {
    (void)state;
    refused(&(split){.devices = "vk0,vk0", .shares = {1, 2, 3}, .n_shares = 3}, SMT_INVALID, "3 shares of layers for 2 devices");
    refused(&(split){.devices = "vk0,vk0", .shares = {0, 0}, .n_shares = 2}, SMT_INVALID, "together 0");
    refused(&(split){.devices = NULL, .shares = {1}, .n_shares = 1}, SMT_INVALID, "1 shares of layers for 0 devices");
    refused(&(split){.devices = "vk0,nobody's"}, SMT_NOT_FOUND, "nobody's");
    refused(&(split){.devices = "vk0,"}, SMT_INVALID, "an empty word");
    refused(&(split){.devices = "vk0,vk0", .shares = {1}, .n_shares = 1, .experts = true}, SMT_INVALID, "1 shares of experts");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal), cmocka_unit_test(test_observed),
                                       cmocka_unit_test(test_cancel), cmocka_unit_test(test_refused)};
    const struct CMUnitTest unlike[] = {cmocka_unit_test(test_unlike)};
    bool both = getenv("SMT_TEST_BOTH") != NULL;
    return both ? cmocka_run_group_tests(unlike, smt_engine_test_setup, smt_engine_test_teardown)
                : cmocka_run_group_tests(tests, smt_engine_test_setup, smt_engine_test_teardown);
}
