/* test_trace_file.c: what is written into a trace comes back: in order, by jumps, for shapes at the edges of the format; and what cannot be
 * written is refused. */
#include "fake_trace.h"

#include <unistd.h>

static const smt_fake_trace_options small = {.n_dense = 1,
                                             .n_moe = 3,
                                             .n_experts = 16,
                                             .n_used = 4,
                                             .n_groups = 4,
                                             .n_groups_used = 3,
                                             .n_devices = 2,
                                             .n_prompt = 5,
                                             .seed = 7};

static smt_trace *open_trace(const char *path) {
    smt_error err = {0};
    smt_trace *trace;
    SMT_ASSERT_OK(smt_trace_open(path, &trace, &err), &err);
    return trace;
}

static void same_model(const smt_trace_model *a, const smt_trace_model *b) {
    const uint32_t left[] = {a->n_layers,      a->n_experts, a->n_used,    a->n_shared, a->n_groups,
                             a->n_groups_used, a->n_ctx,     a->n_devices, a->n_places, a->n_moe},
                   right[] = {b->n_layers,      b->n_experts, b->n_used,    b->n_shared, b->n_groups,
                              b->n_groups_used, b->n_ctx,     b->n_devices, b->n_places, b->n_moe};
    assert_memory_equal(left, right, sizeof left);
    assert_true(a->cache_bytes == b->cache_bytes);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->architecture, b->architecture);
    for (uint32_t i = 0; i < a->n_devices; i++) assert_string_equal(a->devices[i], b->devices[i]);
    for (uint32_t i = 0; i < a->n_places; i++) {
        assert_int_equal(a->places[i].device, b->places[i].device);
        assert_string_equal(a->places[i].tier, b->places[i].tier);
    }
    for (uint32_t i = 0; i < a->n_moe; i++) {
        assert_int_equal(a->layers[i].layer, b->layers[i].layer);
        assert_true(a->layers[i].expert_bytes == b->layers[i].expert_bytes &&
                    a->layers[i].shared_bytes == b->layers[i].shared_bytes);
        assert_memory_equal(a->layers[i].places, b->layers[i].places, a->n_experts * sizeof(uint16_t));
    }
}

static void same_token(const smt_trace_model *m, const smt_trace_token *a, const smt_trace_token *b) {
    const int64_t left[] = {(int64_t)a->number, a->id, a->session, a->index, a->position, a->step, a->step_tokens},
                  right[] = {(int64_t)b->number, b->id, b->session, b->index, b->position, b->step, b->step_tokens};
    assert_memory_equal(left, right, sizeof left);
    assert_true(a->end_s == b->end_s);
    assert_memory_equal(a->phase_s, b->phase_s, sizeof a->phase_s);
    assert_memory_equal(a->device_s, b->device_s, m->n_devices * sizeof(float));
    assert_memory_equal(a->hop_s, b->hop_s, m->n_devices * sizeof(float));
    assert_memory_equal(a->hop_bytes, b->hop_bytes, m->n_devices * sizeof(uint32_t));
    assert_int_equal(a->text_bytes, b->text_bytes);
    assert_int_equal(a->text != NULL, b->text != NULL);
    if (a->text) assert_memory_equal(a->text, b->text, a->text_bytes + 1);
    for (size_t i = 0; i < (size_t)m->n_moe * m->n_used; i++) {
        assert_int_equal(a->experts[i], b->experts[i]);
        assert_true(a->weights[i] == smt_half_to_float(smt_float_to_half(b->weights[i])));
    }
}

/* Writes n tokens of a shape and reads them again, first all in order, then some by jumps. */
static void round_trip(const smt_fake_trace_options *options, uint32_t n) {
    const char *path = smt_test_work("round.trace");
    smt_error err = {0};
    const smt_trace_token *token;
    SMT_ASSERT_OK(smt_fake_trace_write(options, path, n, &err), &err);
    smt_trace *trace = open_trace(path);
    assert_true(smt_trace_count(trace) == n);
    assert_null(smt_trace_damage(trace));
    smt_fake_trace fake;
    smt_fake_trace_begin(options, &fake);
    same_model(smt_trace_get_model(trace), &fake.model);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    for (uint32_t i = 0; i < n; i++) {
        const smt_trace_token *wanted = smt_fake_trace_next(&fake);
        SMT_ASSERT_OK(smt_trace_get(trace, i, &token, &err), &err);
        same_token(&fake.model, token, wanted);
        ids[i] = wanted->id;
    }
    for (uint32_t i = 0, at = 0; i < 50 && n; i++, at = (at + 7919) % n) {
        SMT_ASSERT_OK(smt_trace_get(trace, at, &token, &err), &err);
        assert_true(token->number == at && token->id == ids[at]);
    }
    assert_int_equal(smt_trace_get(trace, n, &token, &err), SMT_INVALID);
    assert_null(token);
    free(ids);
    smt_fake_trace_end(&fake);
    smt_trace_free(trace);
}

static void test_round_trip(void **state) {
    (void)state;
    const uint32_t counts[] = {0, 1, 255, 256, 257, 1000}; /* around the size of a chunk */
    for (size_t i = 0; i < SMT_COUNT(counts); i++) round_trip(&small, counts[i]);
}

static void test_shapes(void **state) {
    (void)state;
    smt_fake_trace_options o = small;
    o.n_experts = 256; /* the most that fit a byte */
    round_trip(&o, 300);
    o.n_experts = 260;
    round_trip(&o, 300);
    o.no_text = true;
    o.n_devices = 1;
    round_trip(&o, 20);
    o = (smt_fake_trace_options){.n_dense = 4, .seed = 3}; /* a dense model */
    round_trip(&o, 300);
    o = (smt_fake_trace_options){.n_moe = 1, .n_experts = 1, .n_used = 1, .seed = 3};
    round_trip(&o, 3);
    o = smt_fake_deepseek_v3(); /* chunks end by their bytes */
    round_trip(&o, 400);
}

/* Numbers that a half cannot hold, and texts that are no UTF-8. */
static void test_odd_values(void **state) {
    (void)state;
    const char *path = smt_test_work("odd.trace");
    smt_error err = {0};
    smt_fake_trace fake;
    smt_trace_writer *writer;
    smt_fake_trace_begin(&small, &fake);
    SMT_ASSERT_OK(smt_trace_writer_create(path, &fake.model, &writer, &err), &err);
    smt_fake_trace_next(&fake);
    fake.weights[0] = 1e9f;
    fake.weights[1] = -0.1f;
    fake.token.text = "\xff\0a";
    fake.token.text_bytes = 3;
    fake.token.number = UINT64_MAX - 1;
    fake.token.device_s = fake.token.hop_s = NULL;
    fake.token.hop_bytes = NULL;
    SMT_ASSERT_OK(smt_trace_writer_add(writer, &fake.token, &err), &err);
    SMT_ASSERT_OK(smt_trace_writer_commit(writer, 11, &err), &err);
    smt_trace_writer_free(writer);
    smt_trace *trace = open_trace(path);
    const smt_trace_token *token;
    SMT_ASSERT_OK(smt_trace_get(trace, 0, &token, &err), &err);
    assert_true(token->number == UINT64_MAX - 1 && token->device_s[0] == 0 && token->device_s[1] == 0);
    assert_true(token->hop_s[1] == 0 && token->hop_bytes[1] == 0);
    assert_int_equal(token->text_bytes, 3);
    assert_memory_equal(token->text, "\xff\0a", 4);
    assert_true(token->weights[0] > 65504 && token->weights[1] > -0.1001f && token->weights[1] < -0.0999f);
    assert_true(smt_trace_dropped(trace) == 11);
    smt_trace_free(trace);
    smt_fake_trace_end(&fake);
}

/* A file of version 1: 40 tokens on one device, without hops. */
static void test_version_1(void **state) {
    (void)state;
    const smt_trace_token *token;
    smt_error err = {0};
    smt_trace *trace = open_trace(smt_test_data("small.trace"));
    assert_null(smt_trace_damage(trace));
    assert_true(smt_trace_count(trace) == 40);
    for (uint32_t i = 0; i < 40; i++) {
        SMT_ASSERT_OK(smt_trace_get(trace, i, &token, &err), &err);
        assert_true(token->number == i && token->device_s[0] > 0 && token->hop_s[0] == 0 && token->hop_bytes[0] == 0);
        assert_true(token->text && token->weights[0] > 0);
    }
    smt_trace_free(trace);
}

static void refused(smt_trace_model *model, const char *words) {
    smt_error err = {0};
    smt_trace_writer *writer;
    assert_int_equal(smt_trace_writer_create(smt_test_work("refused.trace"), model, &writer, &err), SMT_INVALID);
    assert_null(writer);
    assert_non_null(strstr(err.message, words));
}

static void test_refused_models(void **state) {
    (void)state;
    smt_fake_trace fake;
    smt_fake_trace_begin(&small, &fake);
    smt_trace_model m = fake.model;
    m.struct_size = 0;
    refused(&m, "struct_size");
    m = fake.model, m.name = NULL;
    refused(&m, "name");
    m = fake.model, m.n_used = 17;
    refused(&m, "17 experts used");
    m = fake.model, m.n_groups = 3;
    refused(&m, "groups");
    m = fake.model, m.n_devices = 0;
    refused(&m, "0 devices");
    m = fake.model, m.n_places = 1;
    refused(&m, "place");
    m = fake.model, m.n_layers = 3;
    refused(&m, "layer 3");
    m = fake.model, m.layers = NULL;
    refused(&m, "NULL");
    smt_fake_trace_end(&fake);
}

static void test_refused_tokens(void **state) {
    (void)state;
    const char *path = smt_test_work("refused.trace");
    smt_error err = {0};
    smt_fake_trace fake;
    smt_trace_writer *writer;
    unlink(path);
    smt_fake_trace_begin(&small, &fake);
    SMT_ASSERT_OK(smt_trace_writer_create(path, &fake.model, &writer, &err), &err);
    smt_trace_token t = *smt_fake_trace_next(&fake);
    SMT_ASSERT_OK(smt_trace_writer_add(writer, &t, &err), &err);
    assert_int_equal(smt_trace_writer_add(writer, &t, &err), SMT_INVALID); /* the same number */
    t.number++;
    fake.chosen[5] = 16;
    assert_int_equal(smt_trace_writer_add(writer, &t, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "expert 16 of 16"));
    fake.chosen[5] = 15;
    t.end_s = -1;
    assert_int_equal(smt_trace_writer_add(writer, &t, &err), SMT_INVALID);
    t.end_s = 1;
    t.experts = NULL;
    assert_int_equal(smt_trace_writer_add(writer, &t, &err), SMT_INVALID);
    t.experts = fake.chosen;
    SMT_ASSERT_OK(smt_trace_writer_add(writer, &t, &err), &err); /* a refused token leaves the writer as it was */
    SMT_ASSERT_OK(smt_trace_writer_commit(writer, 0, &err), &err);
    assert_int_equal(smt_trace_writer_add(writer, &t, &err), SMT_INVALID);
    assert_int_equal(smt_trace_writer_commit(writer, 0, &err), SMT_INVALID);
    smt_trace_writer_free(writer);
    smt_trace *trace = open_trace(path);
    assert_true(smt_trace_count(trace) == 2);
    smt_trace_free(trace);
    smt_fake_trace_end(&fake);
}

static void test_without_commit(void **state) {
    (void)state;
    const char *path = smt_test_work("unfinished.trace");
    smt_error err = {0};
    smt_fake_trace fake;
    smt_trace_writer *writer;
    unlink(path);
    smt_fake_trace_begin(&small, &fake);
    SMT_ASSERT_OK(smt_trace_writer_create(path, &fake.model, &writer, &err), &err);
    SMT_ASSERT_OK(smt_trace_writer_add(writer, smt_fake_trace_next(&fake), &err), &err);
    smt_trace_writer_free(writer);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(smt_trace_writer_create("/proc/no/such/folder/x.trace", &fake.model, &writer, &err), SMT_IO);
    smt_fake_trace_end(&fake);
    smt_trace *trace;
    assert_int_equal(smt_trace_open(path, &trace, &err), SMT_IO);
    assert_int_equal(smt_trace_open(smt_test_data("g-v2.f16.gguf"), &trace, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "not a routing trace"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_shapes),         cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_refused_models), cmocka_unit_test(test_refused_tokens), cmocka_unit_test(test_without_commit),
        cmocka_unit_test(test_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
