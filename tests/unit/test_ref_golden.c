/* test_ref_golden.c: the reference forward pass against numbers that the published implementations computed (float32, no
 * cache), for one model of each attention and routing kind, and against tests/tools/golden.py (float64) for the families of which
 * there are no such numbers.
 *
 * Positions in the thousands have wider limits, because the golden itself formed its angles in float32 there. Experts are
 * compared as sets, where the golden's margin exceeds rounding. */
#include "golden.h"

#include "ref/ref.h"

#include <math.h>

typedef struct {
    float logits, hidden, weights; /* weights: relative */
} tolerance;
static const tolerance near_limits = {5e-4f, 1e-3f, 1e-4f}, far_limits = {3e-3f, 3e-3f, 1e-3f};

typedef struct {
    smt_golden *golden;
    smt_gguf *file;
    smt_model *model;
    smt_ref *ref;
    const char *name; /* of the sequence */
    tolerance limits; /* of the sequence */
    /* outputs of one step */
    float *logits, *hidden, *weights;
    int32_t *ids;
} run;

static void open_model(run *r, const char *gguf_path, const char *golden_path) {
    smt_error err;
    *r = (run){.golden = smt_golden_open(golden_path)};
    SMT_ASSERT_OK(smt_gguf_open(gguf_path, &r->file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(r->file, &r->model, &err), &err);
    const smt_model *model = r->model;
    size_t routed = (size_t)smt_model_moe_layers(model) * model->n_used;
    r->logits = smt_alloc(model->n_vocab, sizeof(float));
    r->hidden = smt_alloc((size_t)(model->n_layers + 2) * model->n_embd, sizeof(float));
    r->ids = smt_alloc(routed, sizeof(int32_t));
    r->weights = smt_alloc(routed, sizeof(float));
}

static void close_model(run *r) {
    smt_free(r->logits);
    smt_free(r->hidden);
    smt_free(r->ids);
    smt_free(r->weights);
    smt_model_free(r->model);
    smt_gguf_free(r->file);
    smt_golden_free(r->golden);
}

/* Row of `token` in a list of stored indices, or -1. */
static long stored_at(const smt_golden_array *at, size_t token) {
    for (size_t i = 0; i < at->dims[0]; i++)
        if (at->i32[i] == (int32_t)token) return (long)i;
    return -1;
}

static void near(const run *r, const char *what, size_t token, const float *got, const float *want, size_t n, float limit) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= limit))
            fail_msg("%s token %zu: %s %zu is %g, golden %g", r->name, token, what, i, (double)got[i], (double)want[i]);
}

/* One layer's choice: the same set, each with its weight. */
static void same_choice(const run *r, size_t token, uint32_t moe, const int32_t *ids, const float *weights) {
    uint32_t k = r->model->n_used;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = 0;
        while (j < k && r->ids[moe * k + j] != ids[i]) j++;
        if (j == k) fail_msg("%s token %zu router %u: expert %d was not chosen", r->name, token, moe, ids[i]);
        float got = r->weights[moe * k + j];
        if (!(fabsf(got - weights[i]) <= r->limits.weights * fabsf(weights[i])))
            fail_msg("%s token %zu router %u expert %d: weight %g, golden %g", r->name, token, moe, ids[i], (double)got,
                     (double)weights[i]);
    }
}

static size_t check_routing(const run *r, size_t token) {
    smt_golden_array at, ids, weights, margin;
    if (!smt_golden_find(r->golden, r->name, "route_at", &at)) return 0;
    long row = stored_at(&at, token);
    if (row < 0) return 0;
    ids = smt_golden_i32(r->golden, r->name, "route_ids");
    weights = smt_golden_f32(r->golden, r->name, "route_weights");
    margin = smt_golden_f32(r->golden, r->name, "route_margin");
    assert_int_equal(ids.dims[0], smt_model_moe_layers(r->model));
    assert_int_equal(ids.dims[2], r->model->n_used);
    size_t checked = 0;
    for (uint32_t m = 0; m < ids.dims[0]; m++) {
        size_t place = m * ids.dims[1] + (size_t)row;
        if (margin.f32[place] < 1e-4f) continue;
        same_choice(r, token, m, ids.i32 + place * ids.dims[2], weights.f32 + place * ids.dims[2]);
        checked++;
    }
    return checked;
}

static void run_sequence(run *r, const char *name, tolerance limits) {
    smt_error err;
    r->name = name;
    r->limits = limits;
    smt_golden_array tokens = smt_golden_i32(r->golden, name, "tokens");
    smt_golden_array positions = smt_golden_i32(r->golden, name, "positions");
    smt_golden_array logits_at = smt_golden_i32(r->golden, name, "logits_at"), logits = smt_golden_f32(r->golden, name, "logits");
    smt_golden_array hidden_at = smt_golden_i32(r->golden, name, "hidden_at"), hidden = smt_golden_f32(r->golden, name, "hidden");
    size_t n = tokens.dims[0], n_hidden = hidden.dims[1] * hidden.dims[2], routed = 0, checked = 0;
    assert_int_equal(logits.dims[1], r->model->n_vocab);
    assert_int_equal(hidden.dims[1], r->model->n_layers + 2);
    assert_int_equal(hidden.dims[2], r->model->n_embd);
    SMT_ASSERT_OK(smt_ref_create(r->model, (uint32_t)n, &r->ref, &err), &err);
    for (size_t t = 0; t < n; t++) {
        SMT_ASSERT_OK(smt_ref_step(r->ref, tokens.i32[t], positions.i32[t], r->logits, r->hidden, r->ids, r->weights, &err),
                      &err);
        long row = stored_at(&hidden_at, t);
        if (row >= 0) near(r, "hidden value", t, r->hidden, hidden.f32 + (size_t)row * n_hidden, n_hidden, limits.hidden);
        routed += check_routing(r, t);
        row = stored_at(&logits_at, t);
        if (row < 0) continue;
        near(r, "logit", t, r->logits, logits.f32 + (size_t)row * r->model->n_vocab, r->model->n_vocab, limits.logits);
        checked++;
    }
    assert_int_equal(checked, logits_at.dims[0]);
    assert_true(routed > 0 || !r->model->n_experts);
    assert_int_equal(smt_ref_step(r->ref, tokens.i32[0], 0, NULL, NULL, NULL, NULL, &err), SMT_FULL);
    smt_ref_free(r->ref);
}

static void run_near(run *r) {
    run_sequence(r, "one", near_limits);
    run_sequence(r, "s37", near_limits);
    run_sequence(r, "long", near_limits);
}

static void run_far(run *r) {
    run_sequence(r, "off5000", far_limits);
    run_sequence(r, "gap", far_limits);
}

static void test_v2(void **state) {
    (void)state;
    run r;
    open_model(&r, smt_test_data("g-v2.f16.gguf"), smt_test_data("g-v2.golden.json"));
    run_near(&r);
    run_far(&r);
    close_model(&r);
}

static void test_llama(void **state) {
    (void)state;
    run r;
    open_model(&r, smt_test_data("g-llama2.f16.gguf"), smt_test_data("g-llama2.golden.json"));
    run_near(&r);
    close_model(&r);
}

/* No query compression, no expert groups, no scale; float32 weights. */
static void test_v2lite(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2lite.f32.gguf"), *golden = smt_test_shared("golden/g-v2lite.golden.json");
    if (!path || !golden) skip();
    run r;
    open_model(&r, path, golden);
    run_near(&r);
    run_far(&r);
    close_model(&r);
}

/* The layout of 2024 files: one attn_kv_b, from which k_b and v_b are derived. */
static void test_v2_kvb(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2.f16-kvb.gguf");
    if (!path) skip();
    run r;
    open_model(&r, path, smt_test_data("g-v2.golden.json"));
    run_sequence(&r, "s37", near_limits);
    run_sequence(&r, "gap", far_limits);
    close_model(&r);
}

/* V3's routing with fused experts and a layer to skip; plain attention with experts; grouped queries, rotary divisors, linear
 * scaling and biases. */
static void test_families(void **state) {
    (void)state;
    static const char *const models[] = {"t-v3", "t-moe", "t-llama3"}, *const sequences[] = {"one", "s24", "long", "far"};
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        char gguf[1024], golden[1024], name[64];
        run r;
        snprintf(name, sizeof name, "%s.f16.gguf", models[i]);
        snprintf(gguf, sizeof gguf, "%s", smt_test_data(name));
        snprintf(name, sizeof name, "%s.golden.json", models[i]);
        snprintf(golden, sizeof golden, "%s", smt_test_data(name));
        open_model(&r, gguf, golden);
        for (size_t j = 0; j < SMT_COUNT(sequences); j++) run_sequence(&r, sequences[j], near_limits);
        close_model(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v2),     cmocka_unit_test(test_llama),    cmocka_unit_test(test_v2lite),
        cmocka_unit_test(test_v2_kvb), cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
