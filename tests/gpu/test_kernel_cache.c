/* test_kernel_cache.c: what the cache kernels write: the cached row (norm and rotation; or keys and values) at the place that the
 * block table names, and the rotated queries. Rotations come from two-part tables, the reference's from cos and sin in double. */
#include "kernel_support.h"

#include "ref/ref.h"

#include <math.h>

enum { N_ROWS = 4, MAX_ROWS = 6, SLOTS = 2, PER_SLOT = 3, BLOCKS = SLOTS * PER_SLOT };

/* Row, slot and index: the first and the last of a block, both slots. The rotary position is another number. */
static const uint32_t slots[MAX_ROWS] = {1, 0, 1, 0, 0, 1}, indices[MAX_ROWS] = {0, 255, 256, 700, 3, 5};
static const uint32_t positions[MAX_ROWS] = {0, 255, 1023, 517, 3, 5};
static const uint32_t blocks[BLOCKS] = {4, 1, 5, 3, 0, 2};

typedef struct cache_case {
    struct cache_params p;
    uint32_t windows;
    bool f16;
} cache_case;

typedef struct rotation {
    double freq[64];
    float *table; /* owned; as run_memory.c makes it */
    uint32_t n_words, coarse_words;
} rotation;

static rotation make_rotation(uint32_t pairs) {
    enum { COARSE = 4 };
    rotation r = {.coarse_words = COARSE * pairs * 2, .n_words = (COARSE + SMT_BLOCK) * pairs * 2};
    r.table = smt_alloc(r.n_words, sizeof *r.table);
    assert_true(r.table && pairs <= SMT_COUNT(r.freq));
    for (uint32_t j = 0; j < pairs; j++) r.freq[j] = pow(10000, -(double)j / pairs);
    for (uint32_t i = 0; i < COARSE + SMT_BLOCK; i++)
        for (uint32_t j = 0; j < pairs; j++) {
            double angle = (i < COARSE ? (double)i * SMT_BLOCK : (double)(i - COARSE)) * r.freq[j];
            r.table[2 * (i * pairs + j)] = (float)cos(angle), r.table[2 * (i * pairs + j) + 1] = (float)sin(angle);
        }
    return r;
}

static void store(void *words, size_t at, float value, bool f16) {
    if (f16)
        ((uint16_t *)words)[at] = smt_float_to_half(value);
    else
        ((float *)words)[at] = value;
}

/* Cached rows are compared as floats; an untouched word stays a NaN (of which both halves are NaN or not at once). */
static void compare_windows(const char *label, const cache_case *c, uint32_t n_windows, void *const *got, void *const *expected,
                            size_t words) {
    for (uint32_t w = 0; w < n_windows; w++) {
        if (!c->f16) {
            smt_lab_close(label, got[w], expected[w], words, 1e-6);
            continue;
        }
        const uint32_t *g = got[w], *e = expected[w];
        for (size_t i = 0; i < words; i++) {
            if (g[i] == e[i]) continue;
            if (e[i] == SMT_LAB_UNTOUCHED) fail_msg("%s: word %zu of window %u was written", label, i, w);
            for (uint32_t half = 0; half < 32; half += 16) {
                float a = smt_half_to_float((uint16_t)(g[i] >> half)), b = smt_half_to_float((uint16_t)(e[i] >> half));
                if (!(fabsf(a - b) <= fabsf(b) * 0x1p-10f + 1e-6f))
                    fail_msg("%s: word %zu of window %u: %g, expected %g", label, i, w, (double)a, (double)b);
            }
        }
    }
}

typedef struct cache_io {
    float *kv, *q, *norm, *v, *turned, *expected_turned;
    void *windows[4], *expected[4];
    size_t window_words, turned_words;
    uint32_t n_windows;
} cache_io;

static void open_job(smt_lab *lab, smt_lab_mode mode, uint32_t kernel, const cache_case *c, const rotation *r, cache_io *io) {
    const struct cache_params *p = &c->p;
    smt_test_random random = {.state = p->row_words};
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = kernel, .windows = c->windows, .cache_f16 = c->f16});
    io->n_windows = smt_div_up(BLOCKS, p->blocks_per_window);
    io->window_words = (size_t)p->blocks_per_window * SMT_BLOCK * p->row_words;
    for (uint32_t w = 0; w < io->n_windows; w++) {
        uint32_t *words = smt_lab_window(lab, io->window_words * 4);
        for (size_t i = 0; i < io->window_words; i++) words[i] = SMT_LAB_UNTOUCHED;
        io->windows[w] = words;
        io->expected[w] = smt_lab_image(io->window_words);
    }
    io->turned_words = (size_t)p->turned_stride * MAX_ROWS;
    io->kv = smt_lab_buffer(lab, 1, 4ull * p->kv_stride * N_ROWS);
    io->q = smt_lab_buffer(lab, 2, 4ull * p->q_stride * N_ROWS);
    io->turned = smt_lab_output(lab, 3, io->turned_words);
    io->expected_turned = smt_lab_image(io->turned_words);
    smt_lab_fill(&random, io->kv, N_ROWS, p->kv_stride, p->kv_stride);
    smt_lab_fill(&random, io->q, N_ROWS, p->q_stride, p->q_stride);
    uint32_t fourth = kernel == SMT_KERNEL_MLA_CACHE ? p->kv_rank : p->v_stride * N_ROWS;
    io->norm = io->v = smt_lab_buffer(lab, 4, 4ull * fourth);
    smt_lab_fill(&random, io->v, 1, fourth, fourth);
    uint32_t *step = smt_lab_step(lab, 5, N_ROWS, 0, MAX_ROWS);
    for (uint32_t row = 0; row < MAX_ROWS; row++) {
        smt_lab_step_set(step, STEP_ARRAY_SLOT, row, slots[row]);
        smt_lab_step_set(step, STEP_ARRAY_INDEX, row, indices[row]);
        smt_lab_step_set(step, STEP_ARRAY_POSITION, row, positions[row]);
    }
    memcpy(smt_lab_buffer(lab, 6, 4ull * r->n_words), r->table, 4ull * r->n_words);
    memcpy(smt_lab_buffer(lab, 7, sizeof blocks), blocks, sizeof blocks);
}

static void finish_job(const char *name, const cache_case *c, const cache_io *io) {
    char label[100];
    snprintf(label, sizeof label, "%s %s w%u", name, c->f16 ? "f16" : "f32", c->windows);
    compare_windows(label, c, io->n_windows, io->windows, io->expected, io->window_words);
    smt_lab_close(label, io->turned, io->expected_turned, io->turned_words, 1e-6);
    for (uint32_t w = 0; w < io->n_windows; w++) smt_free(io->expected[w]);
    smt_free(io->expected_turned);
}

/* Where row `row` of the step lies: its window's image, and its first value. */
static void *place(const cache_case *c, const cache_io *io, uint32_t row, size_t *at) {
    uint32_t block = blocks[slots[row] * PER_SLOT + indices[row] / SMT_BLOCK];
    *at = ((size_t)(block % c->p.blocks_per_window) * SMT_BLOCK + indices[row] % SMT_BLOCK) * c->p.row_words * (c->f16 ? 2 : 1);
    return io->expected[block / c->p.blocks_per_window];
}

static void turn(const rotation *r, const cache_case *c, uint32_t row, float *x) {
    smt_ref_rope(r->freq, c->p.magnitude, (int32_t)positions[row], x, c->p.rope);
}

static void check_mla(smt_lab *lab, smt_lab_mode mode, bool f16, uint32_t windows, uint32_t heads) {
    cache_case c = {.windows = windows, .f16 = f16};
    c.p = (struct cache_params){.n_heads = heads,
                                .n_kv_heads = 1,
                                .kv_rank = 72,
                                .nope = 20,
                                .rope = 16,
                                .value = 24,
                                .q_stride = heads * 36 + 4,
                                .kv_stride = 88 + 4,
                                .turned_stride = heads * 16 + 4,
                                .row_words = f16 ? 48 : 92,
                                .table_stride = PER_SLOT,
                                .blocks_per_window = windows == 1 ? BLOCKS : 2,
                                .eps = 1e-2f,
                                .magnitude = 1.25f};
    const struct cache_params *p = &c.p;
    rotation r = make_rotation(p->rope / 2);
    c.p.coarse_words = r.coarse_words;
    cache_io io;
    open_job(lab, mode, SMT_KERNEL_MLA_CACHE, &c, &r, &io);
    smt_lab_run(lab, p, MAX_ROWS, 1 + smt_div_up(heads * p->rope / 2, SMT_TURN_PAIRS), 1);
    for (uint32_t row = 0; row < N_ROWS; row++) {
        float values[88], rope[16];
        smt_ref_rmsnorm(io.kv + row * p->kv_stride, io.norm, p->eps, values, p->kv_rank);
        memcpy(values + p->kv_rank, io.kv + row * p->kv_stride + p->kv_rank, sizeof rope);
        turn(&r, &c, row, values + p->kv_rank);
        size_t at;
        void *window = place(&c, &io, row, &at);
        for (uint32_t i = 0; i < p->kv_rank + p->rope; i++) store(window, at + i, values[i], f16);
        for (uint32_t h = 0; h < p->n_heads; h++) {
            memcpy(rope, io.q + row * p->q_stride + h * 36 + p->nope, sizeof rope);
            turn(&r, &c, row, rope);
            memcpy(io.expected_turned + row * p->turned_stride + h * 16, rope, sizeof rope);
        }
    }
    finish_job("mla_cache", &c, &io);
    smt_free(r.table);
}

static void check_gqa(smt_lab *lab, smt_lab_mode mode, bool f16, uint32_t windows) {
    enum { HEAD = 24, HEADS = 6, KV_HEADS = 3 };
    cache_case c = {.windows = windows, .f16 = f16};
    c.p = (struct cache_params){.n_heads = HEADS,
                                .n_kv_heads = KV_HEADS,
                                .nope = 8,
                                .rope = 16,
                                .value = HEAD,
                                .q_stride = HEADS * HEAD + 4,
                                .kv_stride = KV_HEADS * HEAD + 4,
                                .v_stride = KV_HEADS * HEAD + 8,
                                .turned_stride = HEADS * HEAD + 12,
                                .row_words = f16 ? KV_HEADS * HEAD + 4 : 2 * KV_HEADS * HEAD + 4,
                                .table_stride = PER_SLOT,
                                .blocks_per_window = windows == 1 ? BLOCKS : 2,
                                .magnitude = 1};
    const struct cache_params *p = &c.p;
    rotation r = make_rotation(p->rope / 2);
    c.p.coarse_words = r.coarse_words;
    cache_io io;
    open_job(lab, mode, SMT_KERNEL_GQA_CACHE, &c, &r, &io);
    smt_lab_run(lab, p, MAX_ROWS, 2, 1);
    for (uint32_t row = 0; row < N_ROWS; row++) {
        float values[2 * KV_HEADS * HEAD];
        memcpy(values, io.kv + row * p->kv_stride, KV_HEADS * HEAD * sizeof(float));
        memcpy(values + KV_HEADS * HEAD, io.v + row * p->v_stride, KV_HEADS * HEAD * sizeof(float));
        for (uint32_t h = 0; h < KV_HEADS; h++) turn(&r, &c, row, values + h * HEAD);
        size_t at;
        void *window = place(&c, &io, row, &at);
        for (uint32_t i = 0; i < SMT_COUNT(values); i++) store(window, at + i, values[i], f16);
        float *turned = io.expected_turned + row * p->turned_stride;
        memcpy(turned, io.q + row * p->q_stride, HEADS * HEAD * sizeof(float));
        for (uint32_t h = 0; h < HEADS; h++) turn(&r, &c, row, turned + h * HEAD);
    }
    finish_job("gqa_cache", &c, &io);
    smt_free(r.table);
}

static void test_mla(void **state) {
    check_mla(*state, SMT_LAB_FULL, false, 1, 3);
    check_mla(*state, SMT_LAB_FULL, true, 4, 67); /* 536 pairs: more than a workgroup takes */
    check_mla(*state, SMT_LAB_MINIMUM, true, 1, 3);
}

static void test_gqa(void **state) {
    check_gqa(*state, SMT_LAB_FULL, true, 1);
    check_gqa(*state, SMT_LAB_FULL, false, 4);
    check_gqa(*state, SMT_LAB_MINIMUM, true, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mla), cmocka_unit_test(test_gqa)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
