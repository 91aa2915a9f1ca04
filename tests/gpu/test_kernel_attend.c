/* test_kernel_attend.c: attention over a paged cache against src/ref, and its two forms against each other: one workgroup over
 * all chunks, and one per chunk with a merge. The forms are equal to the bit, also where one of them runs with all features of the
 * device (its own size of a subgroup) and the other with none; the reference adds up the weights of a chunk in another order. */
#include "kernel_support.h"

#include "ref/ref.h"

typedef struct attention {
    uint32_t n_heads, n_kv_heads, heads, rows; /* heads, rows: of one workgroup */
    uint32_t key_dim, value_dim;
    bool latent; /* values are the first value_dim numbers of the key */
    bool f16;
    uint32_t windows;
    bool tile; /* the family for GPUs */
} attention;

/* Rows of the step: index in the timeline, one less than the positions seen; the last two are idle. Rows of one slot follow one another or
 * not, begin and end on both sides of a chunk's border. */
enum { N_ROWS = 9, MAX_ROWS = 11, SLOTS = 2, PER_SLOT = 3, BLOCKS = SLOTS * PER_SLOT };
static const uint32_t indices[MAX_ROWS] = {0, 254, 255, 256, 699, 511, 512, 3, 600, 1, 700},
                      slots[MAX_ROWS] = {0, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1};
static const uint32_t blocks[BLOCKS] = {4, 1, 5, 3, 0, 2};

typedef struct cache {
    float *rows; /* owned, [SLOTS][PER_SLOT * SMT_BLOCK][values] as the kernel sees them */
    uint32_t values, row_words, per_window;
} cache;

static cache make_cache(const attention *a, smt_test_random *random) {
    cache c = {.values = a->latent ? a->key_dim : a->n_kv_heads * (a->key_dim + a->value_dim),
               .per_window = a->windows == 1 ? BLOCKS : 2};
    c.row_words = (uint32_t)smt_align_up(c.values * (a->f16 ? 2u : 4u), 16) / 4 + 4;
    size_t n = (size_t)SLOTS * PER_SLOT * SMT_BLOCK * c.values;
    c.rows = smt_alloc(n, sizeof *c.rows);
    assert_non_null(c.rows);
    for (size_t i = 0; i < n; i++) {
        c.rows[i] = smt_test_uniform(random, -2, 2);
        if (a->f16) c.rows[i] = smt_half_to_float(smt_float_to_half(c.rows[i]));
    }
    return c;
}

static void put_cache(smt_lab *lab, const attention *a, const cache *c) {
    size_t block_words = (size_t)SMT_BLOCK * c->row_words;
    for (uint32_t first = 0; first < BLOCKS; first += c->per_window) {
        uint32_t *words = smt_lab_window(lab, 4 * c->per_window * block_words);
        for (size_t i = 0; i < c->per_window * block_words; i++) words[i] = SMT_LAB_UNTOUCHED;
        for (uint32_t entry = 0; entry < BLOCKS; entry++) {
            if (blocks[entry] < first || blocks[entry] >= first + c->per_window) continue;
            for (uint32_t t = 0; t < SMT_BLOCK; t++) {
                uint32_t *row = words + (blocks[entry] - first) * block_words + (size_t)t * c->row_words;
                const float *from = c->rows + ((size_t)entry * SMT_BLOCK + t) * c->values;
                for (uint32_t i = 0; a->f16 && i < c->values; i++) ((uint16_t *)row)[i] = smt_float_to_half(from[i]);
                if (!a->f16) memcpy(row, from, 4ull * c->values);
            }
        }
    }
}

static struct attend_params make_params(const attention *a, const cache *c) {
    uint32_t q_dim = a->latent ? a->value_dim : a->key_dim;
    return (struct attend_params){.n_heads = a->n_heads,
                                  .heads_per_kv = a->n_heads / a->n_kv_heads,
                                  .q_dim = q_dim,
                                  .q_stride = a->n_heads * q_dim + 4,
                                  .turned_stride = a->n_heads * (a->key_dim - q_dim) + 12,
                                  .o_stride = a->n_heads * a->value_dim + 8,
                                  .value_off = a->latent ? 0 : a->n_kv_heads * a->key_dim,
                                  .key_step = a->latent ? 0 : a->key_dim,
                                  .value_step = a->latent ? 0 : a->value_dim,
                                  .row_words = c->row_words,
                                  .blocks_per_window = c->per_window,
                                  .table_stride = PER_SLOT,
                                  .max_chunks = PER_SLOT,
                                  .scale = 0.11f};
}

static void put_step(smt_lab *lab, uint32_t binding) {
    uint32_t *step = smt_lab_step(lab, binding, N_ROWS, 0, MAX_ROWS);
    for (uint32_t r = 0; r < MAX_ROWS; r++) {
        smt_lab_step_set(step, STEP_ARRAY_INDEX, r, indices[r]);
        smt_lab_step_set(step, STEP_ARRAY_SLOT, r, slots[r]);
    }
}

/* Queries q [N_ROWS][n_heads][key_dim], each head's in two parts. */
static void put_queries(smt_lab *lab, const attention *a, const struct attend_params *p, const float *q) {
    uint32_t rest = a->key_dim - p->q_dim;
    float *first = smt_lab_buffer(lab, 1, 4ull * p->q_stride * N_ROWS),
          *turned = smt_lab_buffer(lab, 6, 4ull * p->turned_stride * N_ROWS);
    for (uint32_t i = 0; i < N_ROWS * a->n_heads; i++) {
        uint32_t row = i / a->n_heads, head = i % a->n_heads;
        memcpy(first + row * p->q_stride + head * p->q_dim, q + i * a->key_dim, 4ull * p->q_dim);
        memcpy(turned + row * p->turned_stride + head * rest, q + i * a->key_dim + p->q_dim, 4ull * rest);
    }
}

/* One dispatch of attend.comp. Returns its output, [out_words], and the sums, [sum_words], when split. */
static float *attend(smt_lab *lab, smt_lab_mode mode, const attention *a, const cache *c, const struct attend_params *p,
                     const float *q, bool split, size_t out_words, size_t sum_words, float **sums) {
    smt_lab_begin(lab, mode,
                  &(smt_kernel_key){.kernel = SMT_KERNEL_ATTEND,
                                    .windows = a->windows,
                                    .cache_f16 = a->f16,
                                    .heads = a->heads,
                                    .rows = a->rows,
                                    .tile = a->tile,
                                    .key4 = a->key_dim / 4,
                                    .query4 = p->q_dim / 4,
                                    .value4 = a->value_dim / 4});
    put_cache(lab, a, c);
    put_queries(lab, a, p, q);
    float *out = smt_lab_output(lab, 2, out_words);
    *sums = smt_lab_output(lab, 3, sum_words);
    put_step(lab, 4);
    memcpy(smt_lab_buffer(lab, 5, sizeof blocks), blocks, sizeof blocks);
    struct attend_params push = *p;
    push.split = split;
    smt_lab_run(lab, &push, a->n_heads / a->heads, smt_div_up(MAX_ROWS, a->rows), split ? PER_SLOT : 1);
    return out;
}

/* The split form into `out`, an image of out_words. */
static void attend_split(smt_lab *lab, smt_lab_mode mode, const attention *a, const cache *c, const struct attend_params *p,
                         const float *q, float *out, size_t out_words) {
    size_t sum_words = 2ull * MAX_ROWS * a->n_heads * PER_SLOT, partial_words = sum_words / 2 * a->value_dim;
    float *sums, *partial = attend(lab, mode, a, c, p, q, true, partial_words, sum_words, &sums);
    float *kept = smt_lab_image(partial_words), *kept_sums = smt_lab_image(sum_words);
    memcpy(kept, partial, partial_words * 4);
    memcpy(kept_sums, sums, sum_words * 4);
    smt_lab_begin(lab, mode,
                  &(smt_kernel_key){.kernel = SMT_KERNEL_ATTEND_MERGE, .windows = 1, .value4 = a->value_dim / 4});
    memcpy(smt_lab_buffer(lab, 1, partial_words * 4), kept, partial_words * 4);
    memcpy(smt_lab_buffer(lab, 2, sum_words * 4), kept_sums, sum_words * 4);
    float *merged = smt_lab_output(lab, 3, out_words);
    put_step(lab, 4);
    smt_lab_run(lab, p, a->n_heads, MAX_ROWS, 1);
    memcpy(out, merged, out_words * 4);
    smt_free(kept);
    smt_free(kept_sums);
}

static void check_attention(smt_lab *lab, smt_lab_mode mode, const attention *a) {
    char label[120];
    snprintf(label, sizeof label, "attend %ux%u heads %u of %u, rows %u, kv %u %s w%u%s%s", a->key_dim, a->value_dim, a->heads,
             a->n_heads, a->rows, a->n_kv_heads, a->f16 ? "f16" : "f32", a->windows, a->tile ? " tile" : "",
             mode == SMT_LAB_MINIMUM ? " minimum" : "");
    smt_test_random random = {.state = a->key_dim};
    cache c = make_cache(a, &random);
    struct attend_params p = make_params(a, &c);
    size_t out_words = (size_t)p.o_stride * MAX_ROWS;
    uint32_t q_row = a->n_heads * a->key_dim;
    float *q = smt_alloc((size_t)q_row * N_ROWS, 4), *expected = smt_lab_image(out_words), *split = smt_lab_image(out_words),
          *unused;
    smt_lab_fill(&random, q, N_ROWS, q_row, q_row);
    for (uint32_t r = 0; r < N_ROWS; r++)
        for (uint32_t h = 0; h < a->n_heads; h++) {
            const float *keys = c.rows + (size_t)slots[r] * PER_SLOT * SMT_BLOCK * c.values;
            uint32_t kv = h / p.heads_per_kv;
            smt_error err;
            SMT_ASSERT_OK(smt_ref_attend(q + r * q_row + h * a->key_dim, keys + kv * p.key_step,
                                         keys + p.value_off + kv * p.value_step, c.values, indices[r] + 1, a->key_dim,
                                         a->value_dim, p.scale, expected + r * p.o_stride + h * a->value_dim, &err),
                          &err);
        }
    attend_split(lab, SMT_LAB_FULL, a, &c, &p, q, split, out_words);
    float *whole = attend(lab, mode, a, &c, &p, q, false, out_words, 4, &unused);
    smt_lab_same(label, split, whole, out_words);
    if (mode != SMT_LAB_FULL) {
        attend_split(lab, mode, a, &c, &p, q, split, out_words);
        whole = attend(lab, mode, a, &c, &p, q, false, out_words, 4, &unused);
        smt_lab_same(label, split, whole, out_words);
    }
    smt_lab_close(label, whole, expected, out_words, lab->fused ? 1e-6 : 1e-5);
    smt_free(c.rows);
    smt_free(q);
    smt_free(expected);
    smt_free(split);
}

static void test_latent(void **state) {
    check_attention(*state, SMT_LAB_FULL, &(attention){8, 1, 4, 2, 80, 64, true, true, 4, false});
}

static void test_plain(void **state) {
    check_attention(*state, SMT_LAB_FULL, &(attention){2, 2, 1, 4, 8, 8, false, false, 1, false});
    check_attention(*state, SMT_LAB_FULL, &(attention){4, 1, 1, 2, 12, 20, false, true, 1, false});
}

static void test_tile(void **state) {
    check_attention(*state, SMT_LAB_FULL, &(attention){6, 3, 2, 8, 40, 32, false, true, 4, true});
    check_attention(*state, SMT_LAB_FULL, &(attention){2, 1, 1, 1, 12, 20, false, true, 1, true});
}

static void test_minimum(void **state) {
    check_attention(*state, SMT_LAB_MINIMUM, &(attention){2, 1, 2, 1, 16, 8, true, true, 1, false});
}

/* Each pipeline takes lavapipe seconds to compile. */
static void test_more(void **state) {
    const attention cases[] = {
        {3, 1, 1, 8, 80, 64, true, false, 4, false},    {4, 1, 4, 2, 576, 512, true, false, 1, false},
        {8, 1, 8, 1, 576, 512, true, true, 4, false},   {16, 1, 16, 1, 576, 512, true, true, 1, true},
        {8, 1, 8, 2, 80, 64, true, true, 1, true},      {4, 1, 4, 4, 576, 512, true, false, 1, true},
        {4, 1, 4, 2, 8, 8, false, true, 1, false},      {8, 2, 4, 4, 128, 128, false, true, 16, true},
        {4, 1, 1, 1, 128, 128, false, false, 4, false}, {2, 2, 1, 16, 32, 32, false, false, 4, true},
    };
    if (!((smt_lab *)*state)->thorough) skip();
    for (size_t i = 0; i < 2 * SMT_COUNT(cases); i++)
        check_attention(*state, i % 2 ? SMT_LAB_MINIMUM : SMT_LAB_FULL, &cases[i / 2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_latent), cmocka_unit_test(test_plain), cmocka_unit_test(test_tile),
                                       cmocka_unit_test(test_minimum), cmocka_unit_test(test_more)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
