/* test_contract.c: the numeric contract: what a token gets depends on the tokens before it and on nothing else, to the last bit:
 * not on the batch, on how a prompt is cut, on the slot, on who else is in a step, on what was rewound, on what is captured along the
 * way, or on optional device features.
 *
 * The measure is one eval of the whole sequence in one step. Sequences of more than SMT_BLOCK = 256 tokens have two chunks of
 * attention; one token at a time takes the split attention and the one-column products, larger steps the others. The many ways
 * are walked with short sequences; long ones concern the border between the chunks. */
#include "engine_support.h"
#include "tiny_model.h"

#include <unistd.h>

enum { LONG = 259, BORDER = 254, SHORT = 13, CONTEXT = 512 };

typedef struct fixture {
    smt_engine *engine;
    smt_cache_type cache_type;
    uint32_t n;
    int32_t *tokens, *others;
    smt_test_outputs want, got;
} fixture;

/* ---- evals ---- */

/* Evaluates tokens [at, at + n) of the sequence; `keep`: hidden states and routing as well. */
static void eval_part(fixture *f, smt_session *session, uint32_t at, uint32_t n, bool keep) {
    smt_error err;
    smt_test_outputs part = {0};
    assert_int_equal(smt_session_length(session), at);
    if (keep) smt_test_outputs_create(f->engine, n, &part);
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = f->tokens + at,
                     .n_tokens = n,
                     .all_logits = true,
                     .logits = f->got.logits + (size_t)at * f->got.n_vocab,
                     .hidden = part.hidden,
                     .expert_ids = f->got.n_moe ? part.ids : NULL,
                     .expert_weights = f->got.n_moe ? part.weights : NULL};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    for (uint32_t s = 0; keep && s < part.n_slots; s++)
        memcpy(f->got.hidden + ((size_t)s * f->n + at) * part.hidden_row, part.hidden + (size_t)s * n * part.hidden_row,
               n * part.hidden_row * sizeof(float));
    for (uint32_t l = 0; keep && l < part.n_moe; l++) {
        size_t to = ((size_t)l * f->n + at) * part.n_used, from = (size_t)l * n * part.n_used;
        memcpy(f->got.ids + to, part.ids + from, n * part.n_used * sizeof(int32_t));
        memcpy(f->got.weights + to, part.weights + from, n * part.n_used * sizeof(float));
    }
    smt_test_outputs_free(&part);
}

static void same_bits(const char *what, const char *part, const void *got, const void *want, size_t words, size_t row) {
    const uint32_t *a = got, *b = want;
    for (size_t i = 0; i < words; i++)
        if (a[i] != b[i])
            fail_msg("%s: %s differ in row %zu at %zu: bits %08x, expected %08x", what, part, i / row, i % row, a[i], b[i]);
}

/* Compares tokens [from, n) of what was got, and forgets them. */
static void check(fixture *f, const char *what, uint32_t from, bool keep) {
    const smt_test_outputs *g = &f->got, *w = &f->want;
    size_t row = g->n_vocab, routed = (size_t)g->n_moe * f->n * g->n_used;
    same_bits(what, "logits", g->logits + from * row, w->logits + from * row, (f->n - from) * row, row);
    if (keep) {
        same_bits(what, "hidden states", g->hidden, w->hidden, g->n_slots * f->n * g->hidden_row, g->hidden_row);
        same_bits(what, "expert ids", g->ids, w->ids, routed, g->n_used);
        same_bits(what, "expert weights", g->weights, w->weights, routed, g->n_used);
    }
    memset(g->logits, 0x55, f->n * row * sizeof(float));
    memset(g->hidden, 0x55, g->n_slots * f->n * g->hidden_row * sizeof(float));
}

static void open_model(fixture *f, const char *path, bool minimum, uint32_t n) {
    smt_error err;
    smt_model_info info;
    smt_engine_options options = smt_test_engine_options(path);
    options.device.minimum = minimum;
    *f = (fixture){.n = n};
    SMT_ASSERT_OK(smt_engine_create(&options, &f->engine, &err), &err);
    smt_engine_model(f->engine, &info);
    f->tokens = smt_test_tokens(n, info.n_vocab, 21);
    f->others = smt_test_tokens(n, info.n_vocab, 22);
    smt_test_outputs_create(f->engine, n, &f->want);
    smt_test_outputs_create(f->engine, n, &f->got);
}

static void close_model(fixture *f) {
    smt_test_outputs_free(&f->want);
    smt_test_outputs_free(&f->got);
    free(f->tokens);
    free(f->others);
    smt_engine_free(f->engine);
}

/* ---- the ways to the same numbers ---- */

/* Everything at once in one step, with captures: what the others are held against. */
static void measure(fixture *f) {
    smt_runner *runner = smt_test_runner(f->engine, CONTEXT, 512, 1, f->cache_type);
    smt_session *session = smt_test_session(runner);
    eval_part(f, session, 0, f->n, true);
    smt_test_outputs swap = f->want;
    f->want = f->got;
    f->got = swap;
    smt_session_free(session);
    smt_runner_free(runner);
}

static void batches(fixture *f) {
    static const struct {
        uint32_t n_batch;
        bool keep;
    } rows[] = {{64, false}, {8, false}, {8, true}, {1, true}};
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        char what[64];
        snprintf(what, sizeof what, "n_batch %u%s", rows[i].n_batch, rows[i].keep ? " with captures" : "");
        smt_runner *runner = smt_test_runner(f->engine, CONTEXT, rows[i].n_batch, 1, f->cache_type);
        smt_session *session = smt_test_session(runner);
        eval_part(f, session, 0, f->n, rows[i].keep);
        check(f, what, 0, rows[i].keep);
        smt_session_free(session);
        smt_runner_free(runner);
    }
}

/* Uneven pieces, one token evals among them; then the end again after a rewind, in other pieces. */
static void chunks(fixture *f, smt_session *session) {
    static const uint32_t pieces[] = {1, 7, 2, 1};
    uint32_t at = 0;
    for (size_t i = 0; at < f->n; i++) {
        uint32_t n = i < SMT_COUNT(pieces) ? pieces[i] : f->n - at;
        if (n > f->n - at) n = f->n - at;
        eval_part(f, session, at, n, false);
        at += n;
    }
    check(f, "uneven pieces", 0, false);
}

static void rewinds(fixture *f, smt_session *session) {
    smt_error err;
    const uint32_t back[] = {f->n - 1, f->n / 2, 0};
    for (size_t i = 0; i < SMT_COUNT(back); i++) {
        /* other tokens overwrite what is to be forgotten */
        SMT_ASSERT_OK(smt_session_rewind(session, back[i], &err), &err);
        smt_eval junk = {.struct_size = sizeof junk, .tokens = f->others, .n_tokens = f->n - back[i]};
        SMT_ASSERT_OK(smt_session_eval(session, &junk, &err), &err);
        SMT_ASSERT_OK(smt_session_rewind(session, back[i], &err), &err);
        eval_part(f, session, back[i], f->n - back[i], false);
        check(f, "after a rewind", back[i], false);
    }
}

/* Two sessions of one runner, in turns, each with its own tokens; and the last token's logits alone. */
static void slots(fixture *f, smt_runner *runner, smt_session *first) {
    smt_error err;
    smt_session *second = smt_test_session(runner);
    SMT_ASSERT_OK(smt_session_rewind(first, 0, &err), &err);
    uint32_t half = f->n / 2;
    for (uint32_t at = 0; at < f->n; at += half) {
        uint32_t n = f->n - at < half ? f->n - at : half;
        smt_eval other = {.struct_size = sizeof other, .tokens = f->others + at, .n_tokens = n};
        SMT_ASSERT_OK(smt_session_eval(first, &other, &err), &err);
        eval_part(f, second, at, n, false);
    }
    check(f, "second slot", 0, false);
    SMT_ASSERT_OK(smt_session_rewind(second, f->n - 3, &err), &err);
    float *last = f->got.logits + (size_t)(f->n - 1) * f->got.n_vocab;
    smt_eval eval = {.struct_size = sizeof eval, .tokens = f->tokens + f->n - 3, .n_tokens = 3, .logits = last};
    SMT_ASSERT_OK(smt_session_eval(second, &eval, &err), &err);
    check(f, "last token alone", f->n - 1, false);
    smt_session_free(second);
}

static void sessions(fixture *f) {
    smt_runner *runner = smt_test_runner(f->engine, CONTEXT, 64, 2, f->cache_type);
    smt_session *session = smt_test_session(runner);
    chunks(f, session);
    rewinds(f, session);
    slots(f, runner, session);
    smt_session_free(session);
    smt_runner_free(runner);
}

/* Sessions that share steps: two walk the sequence in pieces of their own, one of them with captures, a third has other tokens; who is
 * in a step, and in which order, changes all the time, and some steps hold more than a batch. */
static void together(fixture *f) {
    static const uint32_t pieces[3][4] = {{1, 4, 1, 2}, {3, 1, 9, 1}, {5, 1, 1, 1}};
    smt_runner *runner = smt_test_runner(f->engine, CONTEXT, 8, 3, f->cache_type);
    smt_session *sessions[3];
    smt_test_outputs outputs[3];
    uint32_t at[3] = {0}, done = 0;
    for (int i = 0; i < 3; i++) sessions[i] = smt_test_session(runner);
    for (int i = 0; i < 3; i++) smt_test_outputs_create(f->engine, f->n, &outputs[i]);
    for (uint32_t step = 0; done < 3; step++) {
        smt_batch_entry entries[3];
        smt_eval evals[3];
        smt_test_outputs part = {0};
        smt_error err;
        uint32_t n = 0, captured = 0;
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t i = (k + step) % 3, left = f->n - at[i], want = pieces[i][step % 4];
            if (left == 0 || (step == 1 && i == 0)) continue; /* 0 sits a step out */
            evals[n] = (smt_eval){.struct_size = sizeof evals[n],
                                  .tokens = (i == 1 ? f->others : f->tokens) + at[i],
                                  .n_tokens = left < want ? left : want,
                                  .all_logits = true,
                                  .logits = outputs[i].logits + (size_t)at[i] * outputs[i].n_vocab};
            if (i == 2) {
                captured = evals[n].n_tokens;
                smt_test_outputs_create(f->engine, captured, &part);
                evals[n].hidden = part.hidden;
            }
            entries[n] = (smt_batch_entry){sessions[i], &evals[n]};
            at[i] += evals[n++].n_tokens;
        }
        SMT_ASSERT_OK(smt_runner_eval(runner, entries, n, &err), &err);
        for (uint32_t s = 0; captured && s < part.n_slots; s++)
            memcpy(outputs[2].hidden + ((size_t)s * f->n + at[2] - captured) * part.hidden_row,
                   part.hidden + (size_t)s * captured * part.hidden_row, captured * part.hidden_row * sizeof(float));
        smt_test_outputs_free(&part);
        done = 0;
        for (int i = 0; i < 3; i++) done += smt_session_length(sessions[i]) == f->n;
    }
    for (int i = 0; i < 3; i += 2) {
        memcpy(f->got.logits, outputs[i].logits, (size_t)f->n * f->got.n_vocab * sizeof(float));
        check(f, i == 0 ? "first of three sessions" : "third of three sessions", 0, false);
    }
    same_bits("third of three sessions", "hidden states", outputs[2].hidden, f->want.hidden,
              f->want.n_slots * f->n * f->want.hidden_row, f->want.hidden_row);
    for (int i = 0; i < 3; i++) {
        smt_test_outputs_free(&outputs[i]);
        smt_session_free(sessions[i]);
    }
    smt_runner_free(runner);
}

/* Across the border between two chunks of attention: after a prompt in steps of 64, the last tokens singly, in small pieces, at
 * once. */
static void border(fixture *f) {
    static const uint32_t pieces[] = {1, LONG - BORDER};
    smt_error err;
    smt_runner *runner = smt_test_runner(f->engine, CONTEXT, 64, 1, f->cache_type);
    smt_session *session = smt_test_session(runner);
    eval_part(f, session, 0, BORDER, false);
    for (size_t i = 0; i < SMT_COUNT(pieces); i++) {
        char what[64];
        snprintf(what, sizeof what, "pieces of %u after %u", pieces[i], BORDER);
        SMT_ASSERT_OK(smt_session_rewind(session, BORDER, &err), &err);
        for (uint32_t at = BORDER; at < LONG; at += pieces[i]) eval_part(f, session, at, pieces[i], false);
        check(f, what, i == 0 ? 0 : BORDER, false);
    }
    smt_session_free(session);
    smt_runner_free(runner);
}

/* The whole contract for one file. */
static void run_model(const char *path, uint32_t n) {
    fixture f;
    open_model(&f, path, false, n);
    size_t bytes = (size_t)n * f.want.n_vocab * sizeof(float);
    float *f32 = malloc(bytes);
    assert_non_null(f32);
    for (int f16 = 0; f16 < 2; f16++) {
        f.cache_type = f16 ? SMT_CACHE_F16 : SMT_CACHE_F32;
        measure(&f);
        if (!f16) memcpy(f32, f.want.logits, bytes);
        if (f16) assert_memory_not_equal(f32, f.want.logits, bytes); /* the option does something */
        if (n == LONG) {
            border(&f);
            continue;
        }
        batches(&f);
        if (!f16) sessions(&f);
        if (!f16) together(&f);
    }
    free(f32);
    close_model(&f);
}

/* A device without any optional feature gives the same bits as the same device with all of them. */
static void run_minimum(const char *path, uint32_t n) {
    fixture f, least;
    open_model(&f, path, false, n);
    open_model(&least, path, true, n);
    for (int f16 = 0; f16 < 2; f16++) {
        f.cache_type = least.cache_type = f16 ? SMT_CACHE_F16 : SMT_CACHE_F32;
        measure(&f);
        smt_runner *runner = smt_test_runner(least.engine, CONTEXT, 64, 1, least.cache_type);
        smt_session *session = smt_test_session(runner);
        eval_part(&least, session, 0, n - 4, true);
        for (uint32_t at = n - 4; at < n; at++) eval_part(&least, session, at, 1, true);
        memcpy(f.got.logits, least.got.logits, (size_t)n * f.got.n_vocab * sizeof(float));
        check(&f, "minimum device", 0, false);
        same_bits("minimum device", "hidden states", least.got.hidden, f.want.hidden, f.want.n_slots * n * f.want.hidden_row,
                  f.want.hidden_row);
        smt_session_free(session);
        smt_runner_free(runner);
    }
    close_model(&f);
    close_model(&least);
}

/* ---- models ---- */

static void with_model(bool llama, const smt_tiny_options *options, void (*run)(const char *path, uint32_t n), uint32_t n) {
    char path[1024];
    smt_error err;
    snprintf(path, sizeof path, "%s/test_contract-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(llama ? smt_tiny_llama(path, options, &err) : smt_tiny_deepseek2(path, options, &err), &err);
    run(path, n);
    remove(path);
}

/* Q4_K with Q5_0 where rows are too short; sigmoid gate, bias, groups, q in two steps. */
static void test_deepseek2_q4_k(void **state) {
    (void)state;
    with_model(false, &(smt_tiny_options){.type = SMT_DTYPE_Q4_K, .n_layers = 2, .sigmoid = true, .q_lora = true}, run_model,
               SHORT);
}

static void test_deepseek2_q8_0(void **state) {
    (void)state;
    with_model(false, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .n_layers = 2, .n_experts = 24}, run_model, SHORT);
}

static void test_deepseek2_f32(void **state) {
    (void)state;
    with_model(false, &(smt_tiny_options){.type = SMT_DTYPE_F32, .n_layers = 2, .old_layout = true}, run_model, SHORT);
}

static void test_deepseek2_long(void **state) {
    (void)state;
    with_model(false, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2, .n_experts = 4}, run_model, LONG);
}

static void test_llama_q4_k(void **state) {
    (void)state;
    with_model(true, &(smt_tiny_options){.type = SMT_DTYPE_Q4_K, .n_layers = 2, .gqa = true}, run_model, SHORT);
}

static void test_llama_long(void **state) {
    (void)state;
    with_model(true, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2}, run_model, LONG);
}

static void test_minimum_deepseek2(void **state) {
    (void)state;
    with_model(false, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .n_layers = 2, .q_lora = true}, run_minimum, SHORT);
}

static void test_minimum_llama(void **state) {
    (void)state;
    with_model(true, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2}, run_minimum, SHORT);
}

int main(void) {
    const struct CMUnitTest first[] = {cmocka_unit_test(test_deepseek2_q4_k)};
    const struct CMUnitTest others[] = {
        cmocka_unit_test(test_deepseek2_q8_0), cmocka_unit_test(test_deepseek2_f32), cmocka_unit_test(test_deepseek2_long),
        cmocka_unit_test(test_llama_q4_k),     cmocka_unit_test(test_llama_long),    cmocka_unit_test(test_minimum_deepseek2),
        cmocka_unit_test(test_minimum_llama),
    };
    bool full = smt_test_full();
    int failed = full ? 0 : cmocka_run_group_tests(first, smt_engine_test_setup, smt_engine_test_teardown);
    if (full == smt_test_slow_driver()) failed += cmocka_run_group_tests(others, smt_engine_test_setup, smt_engine_test_teardown);
    return failed;
}
