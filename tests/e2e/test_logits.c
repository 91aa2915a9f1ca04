/* test_logits.c: the engine on a device against numbers that the published implementations computed (t-*: tests/tools/golden.py):
 * logits, hidden states and routing of one model of each attention and routing kind. The limits are those of the goldens' own README.
 *
 * Positions in the thousands have wider limits, because the golden itself formed its angles in float32 there. Experts are
 * compared as sets, where the golden's margin exceeds rounding. With a float16 cache a choice may flip, and with it that token's
 * logits: those tokens are counted instead, and may be few. The full tier runs the longest sequence, and what the quick tier
 * leaves out on slow drivers. */
#include "engine_support.h"
#include "golden.h"

#include <math.h>

typedef struct tolerance {
    float logits, hidden, weights; /* weights: relative */
} tolerance;
static const tolerance near_limits = {5e-4f, 1e-3f, 1e-3f}, far_limits = {3e-3f, 3e-3f, 2e-3f}, f16_limits = {5e-2f, 1, 1};

typedef struct fixture {
    smt_golden *golden;
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    const char *name; /* of the sequence */
    tolerance limits;
    bool exact; /* no choice may flip */
    smt_test_outputs out;
} fixture;

static void open_model(fixture *f, const char *gguf_path, const char *golden_path, uint32_t n_ctx, smt_cache_type cache_type) {
    *f = (fixture){.golden = smt_golden_open(golden_path), .exact = cache_type == SMT_CACHE_F32};
    f->engine = smt_test_engine(gguf_path);
    f->runner = smt_test_runner(f->engine, n_ctx, 512, 1, cache_type);
    f->session = smt_test_session(f->runner);
}

static void close_model(fixture *f) {
    smt_session_free(f->session);
    smt_runner_free(f->runner);
    smt_engine_free(f->engine);
    smt_golden_free(f->golden);
}

static void near(const fixture *f, const char *what, size_t token, const float *got, const float *want, size_t n, float limit) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= limit))
            fail_msg("%s token %zu: %s %zu is %g, golden %g", f->name, token, what, i, (double)got[i], (double)want[i]);
}

/* One layer's choice for one token: the same set, each with its weight. False: another set. */
static bool same_choice(const fixture *f, size_t token, uint32_t moe, const int32_t *want_ids, const float *want_weights) {
    uint32_t k = f->out.n_used;
    size_t at = ((size_t)moe * f->out.n_tokens + token) * k;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = 0;
        while (j < k && f->out.ids[at + j] != want_ids[i]) j++;
        if (j == k) return false;
        float got = f->out.weights[at + j];
        if (!(fabsf(got - want_weights[i]) <= f->limits.weights * fabsf(want_weights[i])))
            fail_msg("%s token %zu router %u expert %d: weight %g, golden %g", f->name, token, moe, want_ids[i], (double)got,
                     (double)want_weights[i]);
    }
    return true;
}

/* Fills flipped[n_tokens]; returns how many choices were compared. */
static size_t check_routing(const fixture *f, bool *flipped) {
    smt_golden_array at;
    if (!smt_golden_find(f->golden, f->name, "route_at", &at)) return 0;
    smt_golden_array ids = smt_golden_i32(f->golden, f->name, "route_ids");
    smt_golden_array weights = smt_golden_f32(f->golden, f->name, "route_weights");
    smt_golden_array margin = smt_golden_f32(f->golden, f->name, "route_margin");
    assert_int_equal(ids.dims[0], f->out.n_moe);
    assert_int_equal(ids.dims[2], f->out.n_used);
    size_t checked = 0;
    for (uint32_t m = 0; m < ids.dims[0]; m++)
        for (size_t r = 0; r < ids.dims[1]; r++) {
            size_t place = m * ids.dims[1] + r, token = (size_t)at.i32[r];
            bool sure = margin.f32[place] > 1e-3f;
            bool same = same_choice(f, token, m, ids.i32 + place * ids.dims[2], weights.f32 + place * ids.dims[2]);
            if (f->exact && sure && !same) fail_msg("%s token %zu router %u: another choice", f->name, token, m);
            flipped[token] |= !same;
            checked += sure;
        }
    return checked;
}

static void check_hidden(const fixture *f, const bool *flipped) {
    smt_golden_array at = smt_golden_i32(f->golden, f->name, "hidden_at"), hidden = smt_golden_f32(f->golden, f->name, "hidden");
    assert_int_equal(hidden.dims[1], f->out.n_slots);
    assert_int_equal(hidden.dims[2], f->out.hidden_row);
    for (size_t q = 0; q < at.dims[0]; q++) {
        size_t token = (size_t)at.i32[q];
        for (uint32_t s = 0; !flipped[token] && s < f->out.n_slots; s++)
            near(f, "hidden value", token, f->out.hidden + ((size_t)s * f->out.n_tokens + token) * f->out.hidden_row,
                 hidden.f32 + (q * f->out.n_slots + s) * f->out.hidden_row, f->out.hidden_row, f->limits.hidden);
    }
}

static void check_logits(const fixture *f, const bool *flipped) {
    smt_golden_array at = smt_golden_i32(f->golden, f->name, "logits_at"), logits = smt_golden_f32(f->golden, f->name, "logits");
    assert_int_equal(logits.dims[1], f->out.n_vocab);
    size_t skipped = 0;
    for (size_t p = 0; p < at.dims[0]; p++) {
        size_t token = (size_t)at.i32[p];
        skipped += flipped[token];
        if (!flipped[token])
            near(f, "logit", token, f->out.logits + token * f->out.n_vocab, logits.f32 + p * f->out.n_vocab, f->out.n_vocab,
                 f->limits.logits);
    }
    if (f->exact) assert_int_equal(skipped, 0);
    assert_true(skipped * 100 <= at.dims[0] * 3); /* 97 % of the choices hold */
    assert_true(skipped < at.dims[0]);
}

static void run_sequence(fixture *f, const char *name, tolerance limits) {
    smt_error err;
    f->name = name;
    f->limits = limits;
    smt_golden_array tokens = smt_golden_i32(f->golden, name, "tokens"), positions = smt_golden_i32(f->golden, name, "positions");
    uint32_t n = (uint32_t)tokens.dims[0];
    smt_test_outputs_create(f->engine, n, &f->out);
    bool *flipped = calloc(n, 1);
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = tokens.i32,
                     .n_tokens = n,
                     .positions = positions.i32,
                     .all_logits = true,
                     .logits = f->out.logits,
                     .hidden = f->out.hidden,
                     .expert_ids = f->out.n_moe ? f->out.ids : NULL,
                     .expert_weights = f->out.n_moe ? f->out.weights : NULL};
    SMT_ASSERT_OK(smt_session_rewind(f->session, 0, &err), &err);
    SMT_ASSERT_OK(smt_session_eval(f->session, &eval, &err), &err);
    assert_int_equal(smt_session_length(f->session), n);
    size_t checked = check_routing(f, flipped);
    assert_true(checked > 0 || f->out.n_moe == 0);
    check_hidden(f, flipped);
    check_logits(f, flipped);
    free(flipped);
    smt_test_outputs_free(&f->out);
}

static void run_near(fixture *f, const tolerance *other) { /* other: instead of the usual limits */
    static const char *const names[] = {"one", "s37", "long"};
    for (size_t i = 0; i < SMT_COUNT(names); i++) run_sequence(f, names[i], other ? *other : near_limits);
}

static void run_far(fixture *f) {
    run_sequence(f, "off5000", far_limits);
    run_sequence(f, "gap", far_limits);
}

enum { NEAR_CONTEXT = 300, FAR_CONTEXT = 5024 };

static void test_v2(void **state) {
    (void)state;
    fixture f;
    open_model(&f, smt_test_data("g-v2.f16.gguf"), smt_test_data("g-v2.golden.json"), FAR_CONTEXT, SMT_CACHE_F32);
    run_near(&f, NULL);
    run_far(&f);
    close_model(&f);
}

static void test_v2_f16_cache(void **state) {
    (void)state;
    fixture f;
    open_model(&f, smt_test_data("g-v2.f16.gguf"), smt_test_data("g-v2.golden.json"), FAR_CONTEXT, SMT_CACHE_F16);
    run_sequence(&f, "s37", f16_limits);
    run_sequence(&f, "long", f16_limits);
    run_sequence(&f, "gap", f16_limits);
    close_model(&f);
}

static void test_llama(void **state) {
    (void)state;
    fixture f;
    for (int f16 = 0; f16 < 2; f16++) {
        open_model(&f, smt_test_data("g-llama2.f16.gguf"), smt_test_data("g-llama2.golden.json"), NEAR_CONTEXT,
                   f16 ? SMT_CACHE_F16 : SMT_CACHE_F32);
        run_near(&f, f16 ? &f16_limits : NULL);
        close_model(&f);
    }
}

/* No query compression, no expert groups, no scale; float32 weights. */
static void test_v2lite(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2lite.f32.gguf"), *golden = smt_test_shared("golden/g-v2lite.golden.json");
    if (!path || !golden) skip();
    fixture f;
    open_model(&f, path, golden, FAR_CONTEXT, SMT_CACHE_F32);
    run_near(&f, NULL);
    run_far(&f);
    close_model(&f);
}

/* V3's routing with fused experts and a layer to skip; plain attention with experts; grouped queries, rotary divisors, linear
 * scaling and biases. */
static void test_families(void **state) {
    (void)state;
    static const char *const models[] = {"t-v3", "t-moe", "t-llama3"}, *const sequences[] = {"one", "s24", "long", "far"};
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        char gguf[1024], golden[1024], name[64];
        fixture f;
        snprintf(name, sizeof name, "%s.f16.gguf", models[i]);
        snprintf(gguf, sizeof gguf, "%s", smt_test_data(name));
        snprintf(name, sizeof name, "%s.golden.json", models[i]);
        snprintf(golden, sizeof golden, "%s", smt_test_data(name));
        open_model(&f, gguf, golden, FAR_CONTEXT, SMT_CACHE_F32);
        for (size_t j = 0; j < SMT_COUNT(sequences); j++) run_sequence(&f, sequences[j], near_limits);
        close_model(&f);
    }
}

/* 4160 tokens: seventeen blocks of the cache, more chunks of attention than any other test has. */
static void test_v2lite_long(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2lite.f32.gguf"), *golden = smt_test_shared("golden/g-v2lite.golden.json");
    if (!path || !golden) skip();
    fixture f;
    open_model(&f, path, golden, 4160, SMT_CACHE_F32);
    run_sequence(&f, "ctx4160", far_limits);
    close_model(&f);
}

/* The layout of 2024 files: one attn_kv_b, from which k_b and v_b are derived. */
static void test_v2_kvb(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2.f16-kvb.gguf");
    if (!path) skip();
    fixture f;
    open_model(&f, path, smt_test_data("g-v2.golden.json"), FAR_CONTEXT, SMT_CACHE_F32);
    run_sequence(&f, "s37", near_limits);
    run_sequence(&f, "gap", far_limits);
    close_model(&f);
}

/* The same numbers in float32 files. */
static void test_f32(void **state) {
    (void)state;
    const char *v2 = smt_test_shared("golden/g-v2.f32.gguf"), *llama = smt_test_shared("golden/g-llama2.f32.gguf");
    if (!v2 || !llama) skip();
    fixture f;
    open_model(&f, v2, smt_test_data("g-v2.golden.json"), NEAR_CONTEXT, SMT_CACHE_F32);
    run_sequence(&f, "s37", near_limits);
    close_model(&f);
    open_model(&f, llama, smt_test_data("g-llama2.golden.json"), NEAR_CONTEXT, SMT_CACHE_F32);
    run_sequence(&f, "s37", near_limits);
    close_model(&f);
}

int main(void) {
    const struct CMUnitTest first[] = {cmocka_unit_test(test_v2), cmocka_unit_test(test_families)};
    const struct CMUnitTest others[] = {cmocka_unit_test(test_v2_f16_cache), cmocka_unit_test(test_llama),
                                        cmocka_unit_test(test_v2lite), cmocka_unit_test(test_v2_kvb), cmocka_unit_test(test_f32)};
    const struct CMUnitTest longest[] = {cmocka_unit_test(test_v2lite_long)};
    bool full = smt_test_full();
    int failed = full ? cmocka_run_group_tests(longest, smt_engine_test_setup, smt_engine_test_teardown)
                      : cmocka_run_group_tests(first, smt_engine_test_setup, smt_engine_test_teardown);
    if (full == smt_test_slow_driver()) failed += cmocka_run_group_tests(others, smt_engine_test_setup, smt_engine_test_teardown);
    return failed;
}
