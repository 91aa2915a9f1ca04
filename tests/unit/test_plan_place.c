/* test_plan_place.c: placement on devices that nobody here owns, for models too big to have here: nothing overlaps or straddles,
 * every byte of every tensor has exactly one place, and what does not fit says so with numbers. */
#include "invented.h"
#include "model_support.h"
#include "plan/plan.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

typedef struct fixture {
    smt_gguf *file;
    smt_model *model;
    smt_caps caps;
    smt_items items;
    smt_plan_weights plan;
} fixture;

static bool open_big(fixture *f, const smt_big_shape *shape) {
    smt_test_model opened;
    if (!smt_test_model_big(shape, &opened)) return false;
    *f = (fixture){.file = opened.file, .model = opened.model};
    return true;
}

static void open_tiny(fixture *f, const smt_tiny_options *options) {
    smt_test_model opened = smt_test_model_tiny(smt_tiny_deepseek2, options);
    *f = (fixture){.file = opened.file, .model = opened.model};
}

static void close_model(fixture *f) {
    smt_model_free(f->model);
    smt_gguf_free(f->file);
}

static void make_plan(fixture *f, const smt_invented *device) {
    smt_error err;
    f->caps = smt_invented_device(device);
    SMT_ASSERT_OK(smt_items_create(f->model, &f->caps, &f->items, &err), &err);
    SMT_ASSERT_OK(smt_plan_weights_create(f->model, &f->items, &f->caps, NULL, &f->plan, &err), &err);
}

static void free_plan(fixture *f) {
    smt_plan_weights_free(&f->plan);
    smt_items_free(&f->items);
}

/* ---- places ---- */

static int by_place(const void *a, const void *b) {
    const smt_plan_place *x = a, *y = b;
    if (x->buffer != y->buffer) return x->buffer < y->buffer ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The places fill their buffers without a gap, an overlap or a remainder. */
static void check_tiling(const smt_plan *plan, const smt_caps *caps, smt_plan_place *places, size_t n) {
    qsort(places, n, sizeof *places, by_place);
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0 || places[i].buffer != places[i - 1].buffer;
        if (first && i > 0) assert_int_equal(end, plan->buffers[places[i - 1].buffer].bytes);
        if (first) assert_int_equal(places[i].buffer, i == 0 ? 0 : places[i - 1].buffer + 1);
        assert_int_equal(places[i].offset, first ? 0 : end);
        assert_int_equal(places[i].offset % caps->storage_align, 0);
        assert_int_equal(places[i].offset % 256, 0);
        end = places[i].offset + places[i].bytes;
    }
    assert_int_equal(end, plan->buffers[plan->n_buffers - 1].bytes);
    for (size_t i = 0; i < plan->n_buffers; i++) assert_in_range(plan->buffers[i].bytes, 1, caps->max_allocation);
}

static void check_experts(const fixture *f, uint32_t layer) {
    const smt_expert_layout *l = &f->items.layers[layer];
    assert_in_range(l->n_windows, 1, SMT_MAX_WINDOWS);
    assert_true(l->gate < l->up && l->up < l->down && l->down < l->stride);
    for (uint32_t e = 0; e < f->model->n_experts; e++) {
        const smt_plan_place *window = &f->plan.windows[layer * SMT_MAX_WINDOWS + e / l->per_window];
        const smt_plan_place *item = &f->plan.items[l->first_item + e];
        assert_int_equal(f->items.items[l->first_item + e].expert, e);
        assert_int_equal(f->items.items[l->first_item + e].layer, layer);
        assert_int_equal(item->buffer, window->buffer);
        assert_int_equal(item->offset, window->offset + e % l->per_window * l->stride); /* what the device's table says */
        assert_true(item->offset + item->bytes <= window->offset + window->bytes);
    }
}

static void check_places(const fixture *f) {
    size_t n = 0, most = f->items.n_items + (size_t)f->model->n_layers * (SMT_MAX_WINDOWS + 1) + 1;
    smt_plan_place *places = smt_alloc(most, sizeof *places);
    for (uint32_t i = 0; i < f->items.n_items; i++) {
        assert_true(f->plan.items[i].bytes >= f->items.items[i].bytes);
        if (f->items.items[i].expert == UINT32_MAX) places[n++] = f->plan.items[i];
    }
    for (uint32_t layer = 0; layer < f->model->n_layers; layer++) {
        uint32_t n_windows = f->items.layers[layer].n_windows;
        assert_int_equal(n_windows > 0, f->model->layers[layer].moe);
        if (!n_windows) continue;
        check_experts(f, layer);
        for (uint32_t w = 0; w < n_windows; w++) places[n++] = f->plan.windows[layer * SMT_MAX_WINDOWS + w];
        assert_true(f->plan.tables[layer].bytes >= 4ull * EXPERT_WORDS * f->model->n_experts);
        places[n++] = f->plan.tables[layer];
    }
    bool codebooks = false; /* there when some type reads them, and only then */
    for (uint32_t i = 0; i < f->items.n_items; i++)
        codebooks |= f->items.items[i].matrix && smt_quant_has_codebook(smt_matrix_dtype(f->items.items[i].matrix));
    assert_int_equal(f->plan.codebooks.bytes, codebooks ? smt_align_up(sizeof smt_quant_codebooks, f->plan.plan.align) : 0);
    if (codebooks) places[n++] = f->plan.codebooks;
    for (size_t i = 0; i < n; i++) { /* one descriptor reaches all of it */
        assert_true(places[i].bytes <= f->caps.max_storage_range);
        assert_true(places[i].bytes <= (uint64_t)1 << 31); /* byte addresses are 32-bit sums */
    }
    check_tiling(&f->plan.plan, &f->caps, places, n);
    smt_free(places);
}

/* ---- every byte of every tensor once ---- */

typedef struct piece { /* rows of a file tensor that some item holds */
    const smt_gguf_tensor *tensor;
    uint64_t row, rows;
} piece;

static int by_row(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static size_t add_planes(piece *pieces, size_t n, const smt_matrix *m, uint32_t first, uint32_t last, uint64_t row0,
                         uint64_t rows) {
    for (uint32_t plane = first; plane < last; plane++)
        pieces[n++] = (piece){m->tensor, (uint64_t)plane * m->plane_rows + m->row + row0, rows};
    return n;
}

static size_t add_item(const fixture *f, const smt_item *item, piece *pieces, size_t n) {
    const smt_matrix *m = item->matrix;
    if (m && m->n_planes == 1) return add_planes(pieces, n, m, 0, 1, item->row0, m->transposed ? m->k : item->rows);
    if (m) {
        assert_int_equal(item->rows, m->rows * m->n_planes);
        return add_planes(pieces, n, m, 0, m->n_planes, 0, m->transposed ? m->k : m->rows);
    }
    const smt_model_layer *layer = &f->model->layers[item->layer];
    const smt_matrix *experts[] = {&layer->gate_exps, &layer->up_exps, &layer->down_exps};
    for (size_t i = 0; i < SMT_COUNT(experts); i++)
        n = add_planes(pieces, n, experts[i], item->expert, item->expert + 1, 0, experts[i]->rows);
    return n;
}

static void check_coverage(const fixture *f) {
    size_t n = 0, n_tensors = 0;
    piece *pieces = smt_alloc(f->items.n_items * 3 + (size_t)f->model->n_layers * 2 * f->model->n_heads, sizeof *pieces);
    for (uint32_t i = 0; i < f->items.n_items; i++) n = add_item(f, &f->items.items[i], pieces, n);
    qsort(pieces, n, sizeof *pieces, by_row);
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0 || pieces[i].tensor != pieces[i - 1].tensor;
        bool last = i + 1 == n || pieces[i].tensor != pieces[i + 1].tensor;
        uint64_t start = first ? 0 : pieces[i - 1].row + pieces[i - 1].rows;
        const uint64_t *ne = pieces[i].tensor->ne;
        if (pieces[i].row != start) fail_msg("tensor %s: row %llu", pieces[i].tensor->name, (unsigned long long)start);
        if (last) assert_int_equal(pieces[i].row + pieces[i].rows, ne[1] * ne[2] * ne[3]);
        n_tensors += first;
    }
    assert_int_equal(n_tensors, smt_gguf_tensor_count(f->file));
    smt_free(pieces);
}

static void check_deterministic(fixture *f) {
    smt_error err;
    smt_plan_weights twin;
    SMT_ASSERT_OK(smt_plan_weights_create(f->model, &f->items, &f->caps, NULL, &twin, &err), &err);
    assert_int_equal(twin.plan.n_buffers, f->plan.plan.n_buffers);
    assert_memory_equal(twin.plan.buffers, f->plan.plan.buffers, twin.plan.n_buffers * sizeof *twin.plan.buffers);
    assert_memory_equal(twin.items, f->plan.items, f->items.n_items * sizeof *twin.items);
    assert_memory_equal(twin.windows, f->plan.windows, (size_t)f->model->n_layers * SMT_MAX_WINDOWS * sizeof *twin.windows);
    smt_plan_weights_free(&twin);
}

static void check_device(fixture *f, const smt_invented *device) {
    make_plan(f, device);
    check_places(f);
    check_coverage(f);
    check_deterministic(f);
    free_plan(f);
}

/* ---- cases ---- */

static void test_tiny(void **state) {
    (void)state;
    const smt_tiny_options models[] = {{.type = SMT_DTYPE_F32},
                                       {.type = SMT_DTYPE_Q4_K, .q_lora = true, .sigmoid = true},
                                       {.type = SMT_DTYPE_Q8_0, .old_layout = true},
                                       {.type = SMT_DTYPE_F16, .tied = true},
                                       {.type = SMT_DTYPE_IQ3_S}};
    const smt_invented devices[] = {{0}, {.range = 128 * MIB, .unified = true}, {.storage_align = 4096}};
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        fixture f;
        open_tiny(&f, &models[i]);
        for (size_t j = 0; j < SMT_COUNT(devices); j++) check_device(&f, &devices[j]);
        close_model(&f);
    }
}

static void test_v2_lite(void **state) {
    (void)state;
    fixture f;
    smt_big_shape shape = smt_big_v2_lite;
    for (int wide = 0; wide < 2; wide++) { /* F16: heads and windows in many parts */
        shape.type = wide ? SMT_DTYPE_F16 : SMT_DTYPE_Q4_K;
        if (!open_big(&f, &shape)) skip();
        check_device(&f, &(smt_invented){.device_bytes = 40 * GIB});
        check_device(&f, &(smt_invented){.device_bytes = 40 * GIB, .range = 128 * MIB, .unified = true});
        check_device(&f, &(smt_invented){.device_bytes = 40 * GIB, .allocation = GIB, .storage_align = 4096});
        close_model(&f);
    }
}

static void test_v2(void **state) {
    (void)state;
    fixture f;
    if (!open_big(&f, &smt_big_v2)) skip();
    check_device(&f, &(smt_invented){.device_bytes = 512 * GIB});
    check_device(&f, &(smt_invented){.device_bytes = 512 * GIB, .range = 128 * MIB});
    check_device(&f, &(smt_invented){.device_bytes = 512 * GIB, .allocation = GIB});
    close_model(&f);
}

static void test_v3(void **state) {
    (void)state;
    fixture f;
    smt_error err;
    if (!open_big(&f, &smt_big_v3)) skip();
    check_device(&f, &(smt_invented){.device_bytes = 1024 * GIB});
    f.caps = smt_invented_device(&(smt_invented){.device_bytes = 1024 * GIB, .range = 128 * MIB});
    assert_int_equal(smt_items_create(f.model, &f.caps, &f.items, &err),
                     SMT_UNSUPPORTED); /* five experts to a window: 52 windows */
    assert_non_null(strstr(err.message, "layer 3"));
    assert_non_null(strstr(err.message, "256 experts"));
    assert_non_null(strstr(err.message, "134217728"));
    close_model(&f);
}

/* The budgets of a device, as a request without words of the user's has them. */
static smt_plan_bytes budgets(const smt_caps *caps) {
    const smt_plan_facts facts = {.caps = *caps};
    const smt_plan_request request = {.facts = &facts, .n_facts = 1, .reserve = 1}; /* a byte: nothing that counts */
    return smt_plan_device_limits(&request, 0);
}

static smt_status weights_within(fixture *f, smt_error *err) {
    smt_plan_bytes limits = budgets(&f->caps);
    return smt_plan_check(&f->plan.plan, &f->caps, &limits, NULL, "the weights", err);
}

/* The message names the heap, what is needed and what is there. */
static void test_too_small(void **state) {
    (void)state;
    fixture f;
    smt_error err;
    if (!open_big(&f, &smt_big_v2_lite)) skip();
    make_plan(&f, &(smt_invented){.device_bytes = 8 * GIB});
    assert_int_equal(weights_within(&f, &err), SMT_DEVICE_MEMORY);
    assert_non_null(strstr(err.message, "Invented Discrete"));
    assert_non_null(strstr(err.message, "heap 0"));
    assert_non_null(strstr(err.message, "8192.0 MiB"));
    f.caps.heaps[0].bytes = 24 * GIB; /* others use the rest */
    assert_int_equal(weights_within(&f, &err), SMT_DEVICE_MEMORY);
    assert_non_null(strstr(err.message, "8192.0 MiB"));
    f.caps.heaps[0].budget = 16 * GIB;
    SMT_ASSERT_OK(weights_within(&f, &err), &err);
    free_plan(&f);
    close_model(&f);
}

static const smt_plan_runner_sizes runner_sizes = {.n_layers = 5,
                                                   .n_cache_windows = 3,
                                                   .cache_window_bytes = 100 * MIB,
                                                   .cache_last_bytes = 7 * MIB,
                                                   .rope = 12345,
                                                   .counter = 16,
                                                   .blocks = 64,
                                                   .scratch = 300 * MIB,
                                                   .step = 1000,
                                                   .logits = 5 * MIB + 4,
                                                   .capture = 999,
                                                   .ring = 256};

static void check_runner_places(const smt_plan_runner *plan, const smt_caps *caps) {
    const smt_plan_runner_sizes *s = &runner_sizes;
    smt_plan_place places[8 + 15] = {plan->rope, plan->counter, plan->blocks,  plan->scratch,
                                     plan->step, plan->logits,  plan->capture, plan->ring};
    const uint64_t least[] = {s->rope, s->counter, s->blocks, s->scratch, s->step, s->logits, s->capture, s->ring};
    for (size_t i = 0; i < SMT_COUNT(least); i++) assert_true(places[i].bytes >= least[i]);
    for (uint32_t i = 0; i < 15; i++) {
        assert_true(plan->cache[i].bytes >= (i % 3 == 2 ? s->cache_last_bytes : s->cache_window_bytes));
        places[SMT_COUNT(least) + i] = plan->cache[i];
    }
    check_tiling(&plan->plan, caps, places, SMT_COUNT(places));
}

static void test_runner(void **state) {
    (void)state;
    smt_error err;
    smt_plan_runner plan;
    smt_caps caps = smt_invented_device(&(smt_invented){0});
    SMT_ASSERT_OK(smt_plan_runner_create(&runner_sizes, &caps, &plan, &err), &err);
    check_runner_places(&plan, &caps);
    /* the host writes steps and reads logits: never to memory it cannot map */
    assert_true(caps.types[plan.plan.buffers[plan.step.buffer].memory_type].host_visible);
    assert_true(caps.types[plan.plan.buffers[plan.blocks.buffer].memory_type].host_visible);
    assert_true(caps.types[plan.plan.buffers[plan.logits.buffer].memory_type].host_cached);
    assert_true(caps.types[plan.plan.buffers[plan.capture.buffer].memory_type].host_cached);
    assert_true(caps.types[plan.plan.buffers[plan.scratch.buffer].memory_type].device_local);
    smt_plan_bytes used = {0};
    smt_plan_count(&plan.plan, &caps, &used);
    assert_true(used.heap[0] >= 5 * 207 * MIB + 300 * MIB && used.heap[0] < 5 * 207 * MIB + 301 * MIB);
    assert_true(used.heap[1] >= 5 * MIB && used.heap[1] < 6 * MIB);
    assert_int_equal(used.host, used.heap[1]);
    smt_plan_runner_free(&plan);
    caps = smt_invented_device(&(smt_invented){.unified = true});
    SMT_ASSERT_OK(smt_plan_runner_create(&runner_sizes, &caps, &plan, &err), &err);
    check_runner_places(&plan, &caps);
    smt_plan_runner_free(&plan);
}

static void test_runner_limits(void **state) {
    (void)state;
    smt_error err;
    smt_plan_runner plan;
    smt_caps caps = smt_invented_device(&(smt_invented){.device_bytes = 2 * GIB});
    const smt_plan_bytes limits = budgets(&caps), used = {.heap = {GIB}};
    SMT_ASSERT_OK(smt_plan_runner_create(&runner_sizes, &caps, &plan, &err), &err);
    SMT_ASSERT_OK(smt_plan_check(&plan.plan, &caps, &limits, NULL, "a runner", &err), &err);
    assert_int_equal(smt_plan_check(&plan.plan, &caps, &limits, &used, "a runner", &err),
                     SMT_DEVICE_MEMORY); /* beside the weights */
    smt_plan_runner_free(&plan);
    assert_non_null(strstr(err.message, "1024.0 MiB"));
    assert_non_null(strstr(err.message, "2048.0 MiB"));
    caps = smt_invented_device(&(smt_invented){.allocation = 256 * MIB});
    assert_int_equal(smt_plan_runner_create(&runner_sizes, &caps, &plan, &err), SMT_UNSUPPORTED); /* scratch is one piece */
    assert_non_null(strstr(err.message, "scratch"));
    assert_non_null(strstr(err.message, "268435456"));
    caps.n_types = 1; /* nothing the host can map */
    assert_int_equal(smt_plan_runner_create(&runner_sizes, &caps, &plan, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "host-visible"));
    for (uint64_t n = 1; n < 20; n++) {
        caps = smt_invented_device(&(smt_invented){0});
        smt_mem_fail_after(n);
        smt_status status = smt_plan_runner_create(&runner_sizes, &caps, &plan, &err);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        assert_true(n > 1 || status == SMT_MEMORY);
        smt_plan_runner_free(&plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_v2_lite),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v3),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_runner),
        cmocka_unit_test(test_runner_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
