/* test_load.c: the way of weights through the staging ring, which devices without mapped memory take, forced here on drivers
 * whose memory is all mapped: the same bytes, repacked by the device or by the host, and the same logits; and either way the same little
 * host memory. Below the public interface, because nobody outside may choose the way. */
#include "big_model.h"
#include "load/load_upload.h"
#include "run/run.h"
#include "tiny_model.h"
#include "vk_support.h"

#include <unistd.h>

enum { N_TOKENS = 5, N_VOCAB = 512 };

static void run_tokens(const smt_vk_fixture *fixture, const smt_model *model, bool force_staging, float *logits) {
    static const int32_t tokens[N_TOKENS] = {3, 1, 4, 1, 5};
    const smt_run_options options = {.n_ctx = 32, .n_batch = 8};
    const smt_run_model_options model_options = {.force_staging = force_staging, .expected = &options};
    smt_run_model *loaded;
    smt_run *run;
    uint32_t slot;
    smt_error err;
    SMT_ASSERT_OK(smt_run_model_create(fixture->device, model, &model_options, &loaded, &err), &err);
    SMT_ASSERT_OK(smt_run_create(loaded, &options, &run, &err), &err);
    SMT_ASSERT_OK(smt_kv_take_slot(&run->kv, &slot, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&run->kv, slot, N_TOKENS, &err), &err);
    smt_run_row rows[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++)
        rows[i] = (smt_run_row){.token = tokens[i],
                                .position = (int32_t)i,
                                .slot = slot,
                                .index = i,
                                .out = true,
                                .logits = logits + (size_t)i * model->n_vocab};
    SMT_ASSERT_OK(smt_run_step(run, rows, N_TOKENS, &err), &err);
    smt_run_free(run);
    smt_run_model_free(loaded);
}

static void test_same_logits(void **state) {
    static float direct[N_TOKENS * N_VOCAB], staged[N_TOKENS * N_VOCAB];
    char path[1024];
    smt_error err;
    smt_gguf *file;
    smt_model *model;
    snprintf(path, sizeof path, "%s/test_load-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .n_layers = 2, .old_layout = true}, &err),
                  &err);
    SMT_ASSERT_OK(smt_gguf_open(path, &file, &err), &err);
    remove(path);
    SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
    assert_in_range(model->n_vocab, 1, N_VOCAB);
    run_tokens(*state, model, false, direct);
    run_tokens(*state, model, true, staged);
    assert_true(direct[0] != 0 && direct[0] != direct[1]);
    assert_memory_equal(direct, staged, N_TOKENS * model->n_vocab * sizeof(float));
    smt_model_free(model);
    smt_gguf_free(file);
}

/* ---- the same bytes ---- */

static const uint8_t *map_of(const smt_run_model *loaded, const smt_plan_place *place) {
    return (const uint8_t *)smt_vk_buffer_map(loaded->devices[0].weights.buffers[place->buffer]) + place->offset;
}

/* Rows of one plane, here and there. */
static uint64_t compare_rows(const smt_matrix *m, const uint8_t *a, const uint8_t *b, uint32_t rows) {
    uint64_t bytes = rows * smt_quant_device_row_bytes(smt_matrix_dtype(m), m->k);
    if (memcmp(a, b, bytes) != 0) fail_msg("%s differs", m->tensor->name);
    return bytes;
}

/* All that kernels read; returns its bytes. */
static uint64_t compare_models(const smt_run_model *a, const smt_run_model *b) {
    const smt_run_device *left = &a->devices[0], *right = &b->devices[0];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < left->items.n_items; i++) {
        const smt_item *item = &left->items.items[i];
        const uint8_t *x = map_of(a, &left->plan.items[i]), *y = map_of(b, &right->plan.items[i]);
        if (item->matrix) {
            bytes += compare_rows(item->matrix, x, y, item->rows);
            continue;
        }
        const smt_model_layer *layer = &a->model->layers[item->layer];
        const smt_expert_layout *layout = &left->items.layers[item->layer];
        bytes += compare_rows(&layer->gate_exps, x + layout->gate, y + layout->gate, layer->gate_exps.rows);
        bytes += compare_rows(&layer->up_exps, x + layout->up, y + layout->up, layer->up_exps.rows);
        bytes += compare_rows(&layer->down_exps, x + layout->down, y + layout->down, layer->down_exps.rows);
    }
    return bytes;
}

/* Rows of experts are 96 long, so that no row of the first three types has whole vectors of scales; a mix holds several types. */
static void test_same_bytes(void **state) {
    static const smt_tiny_options models[] = {{.type = SMT_DTYPE_Q8_0, .old_layout = true},
                                              {.type = SMT_DTYPE_Q5_0, .fused = true},
                                              {.type = SMT_DTYPE_MXFP4},
                                              {.type = SMT_DTYPE_Q6_K, .wide = true},
                                              {.type = SMT_DTYPE_BF16}};
    const smt_vk_fixture *fixture = *state;
    char path[1024];
    smt_error err;
    snprintf(path, sizeof path, "%s/test_load-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        smt_gguf *file;
        smt_model *model;
        smt_run_model *loaded[2];
        SMT_ASSERT_OK(smt_tiny_deepseek2(path, &models[i], &err), &err);
        SMT_ASSERT_OK(smt_gguf_open(path, &file, &err), &err);
        remove(path);
        SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
        for (int staged = 0; staged < 2; staged++)
            SMT_ASSERT_OK(smt_run_model_create(fixture->device, model, &(smt_run_model_options){.force_staging = staged},
                                               &loaded[staged], &err),
                          &err);
        assert_true(compare_models(loaded[0], loaded[1]) > 100000);
        for (int staged = 0; staged < 2; staged++) smt_run_model_free(loaded[staged]);
        smt_model_free(model);
        smt_gguf_free(file);
    }
}

/* A number of /proc/self/status in bytes; 0 where there is none. */
static uint64_t status_bytes(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ": %llu", &kib);
    if (file) fclose(file);
    return kib << 10;
}

/* Starts the count of the process's peak memory anew. */
static bool reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return false;
    bool good = fputs("5", file) >= 0;
    return fclose(file) == 0 && good;
}

/* A software device's memory is the process's own, so loading takes the model once. Another copy, or a mapped file whose pages stay,
 * would take it twice. */
static void test_peak_memory(void **state) {
    const smt_vk_fixture *fixture = *state;
    static const smt_big_shape shape = {.name = "peak",
                                        .latent = true,
                                        .n_ctx = 4096,
                                        .n_embd = 1024,
                                        .n_layers = 2,
                                        .n_heads = 8,
                                        .n_ff = 2048,
                                        .n_dense = 1,
                                        .n_experts = 64,
                                        .n_used = 4,
                                        .n_shared = 1,
                                        .n_ff_expert = 1024,
                                        .n_vocab = 32000,
                                        .type = SMT_DTYPE_Q4_K};
    smt_error err;
    smt_gguf *file;
    smt_model *model;
    uint64_t bytes = 0;
    if (!smt_big_open(&shape, &file)) skip();
    SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(file); i++) bytes += smt_gguf_tensor_at(file, i)->bytes;
    assert_in_range(bytes, 8 * SMT_UPLOAD_CHUNK, 20 * SMT_UPLOAD_CHUNK); /* well above the window */
    for (int staged = 0; staged < 2; staged++) {
        smt_run_model *loaded;
        uint64_t before = status_bytes("VmRSS");
        if (!reset_peak() || before == 0) break;
        SMT_ASSERT_OK(
            smt_run_model_create(fixture->device, model, &(smt_run_model_options){.force_staging = staged}, &loaded, &err), &err);
        uint64_t grown = status_bytes("VmHWM") - before;
        if (grown > bytes + bytes / 4 + 4 * SMT_UPLOAD_CHUNK)
            fail_msg("%s: %llu bytes of tensors took %llu", staged ? "staged" : "direct", (unsigned long long)bytes,
                     (unsigned long long)grown);
        assert_true(grown > bytes / 2); /* the count counts */
        smt_run_model_free(loaded);
    }
    smt_model_free(model);
    smt_gguf_free(file);
}

/* More chunks than the ring has halves, of uneven sizes, to shuffled places: each half is reused only after its copy is done. */
static void test_ring(void **state) {
    enum { CHUNKS = 7 };
    const smt_vk_fixture *fixture = *state;
    const uint64_t stride = SMT_UPLOAD_CHUNK;
    smt_upload upload = {.device = fixture->device, .force_staging = true};
    smt_error err;
    smt_vk_buffer *buffer = smt_vk_test_buffer(fixture, CHUNKS * stride, "target");
    uint8_t *bytes;
    for (uint64_t i = 0; i < CHUNKS; i++) {
        uint64_t n = stride - 256 * i, to = i * 3 % CHUNKS * stride;
        SMT_ASSERT_OK(smt_upload_begin(&upload, buffer, to, n, &bytes, &err), &err);
        memset(bytes, (int)(i + 1), n);
        SMT_ASSERT_OK(smt_upload_commit(&upload, buffer, to, n, &err), &err);
    }
    assert_int_equal(smt_upload_begin(&upload, buffer, 0, SMT_UPLOAD_CHUNK + 1, &bytes, &err), SMT_INTERNAL);
    SMT_ASSERT_OK(smt_upload_finish(&upload, &err), &err);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(fixture->device, buffer, 0, CHUNKS * stride, &err), &err);
    const uint8_t *map = smt_vk_buffer_map(buffer);
    for (uint64_t i = 0; i < CHUNKS; i++) {
        const uint8_t *chunk = map + i * 3 % CHUNKS * stride;
        uint64_t n = stride - 256 * i;
        for (uint64_t at = 0; at < stride; at += 64) assert_int_equal(chunk[at], at < n ? i + 1 : 0);
        assert_int_equal(chunk[n - 1], i + 1);
    }
    smt_vk_buffer_destroy(fixture->device, buffer);
}

/* Bytes of any length, to any 4-byte place. */
static void test_bytes(void **state) {
    const smt_vk_fixture *fixture = *state;
    smt_error err;
    const uint64_t n = 2 * SMT_UPLOAD_CHUNK + 12, at = 512;
    smt_vk_buffer *buffer = smt_vk_test_buffer(fixture, n + 1024, "target");
    uint32_t *source = malloc(n);
    assert_non_null(source);
    for (uint64_t i = 0; i < n / 4; i++) source[i] = (uint32_t)i * 2654435761u;
    SMT_ASSERT_OK(smt_load_bytes(fixture->device, buffer, at, source, n, &err), &err);
    const uint8_t *map = smt_vk_buffer_map(buffer);
    assert_true(memcmp(map + at, source, n) == 0);
    assert_int_equal(map[at - 1], 0);
    assert_int_equal(map[at + n], 0);
    free(source);
    smt_vk_buffer_destroy(fixture->device, buffer);
}

/* What cannot be allocated leaves nothing behind. */
static void test_no_memory(void **state) {
    const smt_vk_fixture *fixture = *state;
    smt_error err;
    smt_plan_buffer places[3];
    for (size_t i = 0; i < SMT_COUNT(places); i++)
        places[i] = (smt_plan_buffer){.memory_type = fixture->host_type, .pool = SMT_POOL_UPLOAD, .bytes = 4096};
    smt_plan plan = {.buffers = places, .n_buffers = SMT_COUNT(places)};
    smt_vk_buffer **buffers;
    for (uint64_t n = 1; n < 4; n++) {
        smt_mem_fail_after(n);
        assert_int_equal(smt_load_buffers(fixture->device, &plan, "test", &buffers, &err), SMT_MEMORY);
        smt_mem_fail_after(0);
        assert_null(buffers);
    }
    SMT_ASSERT_OK(smt_load_buffers(fixture->device, &plan, "test", &buffers, &err), &err);
    smt_load_buffers_free(fixture->device, buffers, plan.n_buffers);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes),  cmocka_unit_test(test_same_logits),
                                       cmocka_unit_test(test_peak_memory), cmocka_unit_test(test_ring),
                                       cmocka_unit_test(test_bytes),       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
