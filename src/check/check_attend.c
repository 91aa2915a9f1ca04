/* check_attend.c: what the cache kernels write, and attention over it: latent and plain, whole and in chunks.
 *
 * The cache of a case has two blocks, in the other order than the positions; where the kernel knows several windows each block lies in one of
 * its own. */
#include "check/check_internal.h"

#include "ref/ref.h"

#include <math.h>
#include <string.h>

#define BOUND_F16 2e-3 /* half floats round to 1/2048 */
#define BOUND     1e-4

enum { BLOCKS = 2 }; /* of the one slot: position t lies in block 1 - t / SMT_BLOCK */

static void store(void *row, uint32_t i, float value, bool f16) {
    if (f16)
        ((uint16_t *)row)[i] = smt_float_to_half(value);
    else
        ((float *)row)[i] = value;
}

/* The cached row of a position, where windows hold a block each, or one both. `memory` is that of the part of the first window. */
static void *cached_row(void *const *memory, uint32_t n_windows, uint32_t position, uint32_t row_words) {
    uint32_t block = 1 - position / SMT_BLOCK, row = position % SMT_BLOCK;
    uint8_t *window = memory[n_windows > 1 ? block : 0];
    return window + 4 * ((n_windows > 1 ? 0 : block) * SMT_BLOCK + row) * (size_t)row_words;
}

static uint32_t window_count(const smt_check *c) { return c->key->windows > 1 ? BLOCKS : 1; }

/* ---- cache ---- */

enum { N_ROWS = 3, PAIRS = 8, ROPE = 2 * PAIRS, COARSE = 4, HEADS = 3, NOPE = 20 };
static const uint32_t indices[N_ROWS] = {0, 255, 300}, positions[N_ROWS] = {0, 255, 1000};

enum { PART_KV, PART_Q, PART_TURNED, PART_FOURTH, PART_STEP, PART_ROPE, PART_BLOCKS, PART_WINDOW };

/* Coarse and fine angles (run/run_memory.c), and the frequencies that they are of. */
static void fill_rotation(float *table, double *freq) {
    for (uint32_t j = 0; j < PAIRS; j++) freq[j] = pow(10000, -(double)j / PAIRS);
    for (uint32_t i = 0; i < COARSE + SMT_BLOCK; i++)
        for (uint32_t j = 0; j < PAIRS; j++) {
            double angle = (i < COARSE ? (double)i * SMT_BLOCK : (double)(i - COARSE)) * freq[j];
            table[2 * (i * PAIRS + j)] = (float)cos(angle);
            table[2 * (i * PAIRS + j) + 1] = (float)sin(angle);
        }
}

/* Memory and inputs of either kernel. `fourth`: words of the fourth binding. */
static smt_status begin_cache(smt_check *c, const struct cache_params *p, uint32_t fourth, double *freq, smt_error *err) {
    smt_check_kind kind = c->key->cache_f16 ? SMT_CHECK_HALVES : SMT_CHECK_FLOATS;
    uint32_t n = window_count(c);
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, N_ROWS, p->kv_stride},
                                    {2, SMT_CHECK_INPUT, N_ROWS, p->q_stride},
                                    {3, SMT_CHECK_FLOATS, N_ROWS + 1, p->turned_stride},
                                    {4, SMT_CHECK_INPUT, 1, fourth},
                                    {5, SMT_CHECK_INPUT, 1, smt_check_step_words(N_ROWS + 1)},
                                    {6, SMT_CHECK_INPUT, COARSE + SMT_BLOCK, ROPE},
                                    {7, SMT_CHECK_INPUT, 1, BLOCKS},
                                    {0, kind, SMT_BLOCK * BLOCKS / n, p->row_words},
                                    {0, kind, SMT_BLOCK, p->row_words}};
    SMT_TRY(smt_check_begin(c, parts, PART_WINDOW + n, err));
    for (uint32_t part = PART_KV; part <= PART_FOURTH; part++)
        if (part != PART_TURNED) smt_check_fill(c, c->memory[part], parts[part].rows * parts[part].stride);
    smt_check_step(c->memory[PART_STEP], N_ROWS, 0, N_ROWS + 1);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        smt_check_step_set(c->memory[PART_STEP], STEP_ARRAY_INDEX, r, indices[r]);
        smt_check_step_set(c->memory[PART_STEP], STEP_ARRAY_POSITION, r, positions[r]);
    }
    fill_rotation(c->memory[PART_ROPE], freq);
    for (uint32_t b = 0; b < BLOCKS; b++) ((uint32_t *)c->memory[PART_BLOCKS])[b] = 1 - b;
    return SMT_OK;
}

static smt_status run_cache(smt_check *c, const struct cache_params *p, smt_error *err) {
    return smt_check_run(c, p, (const uint32_t[]){N_ROWS + 1, 2, 1}, c->key->cache_f16 ? BOUND_F16 : BOUND, err);
}

static void *expected_row(const smt_check *c, uint32_t r, uint32_t row_words) {
    return cached_row(&c->expected[PART_WINDOW], window_count(c), indices[r], row_words);
}

smt_status smt_check_mla_cache(smt_check *c, smt_error *err) {
    enum { RANK = 72, HEAD = NOPE + ROPE };
    bool f16 = c->key->cache_f16;
    double freq[PAIRS];
    const struct cache_params p = {.n_heads = HEADS,
                                   .n_kv_heads = 1,
                                   .kv_rank = RANK,
                                   .nope = NOPE,
                                   .rope = ROPE,
                                   .value = 24,
                                   .q_stride = HEADS * HEAD,
                                   .kv_stride = RANK + ROPE,
                                   .turned_stride = HEADS * ROPE + 4,
                                   .row_words = f16 ? 48 : 92,
                                   .table_stride = BLOCKS,
                                   .blocks_per_window = BLOCKS / window_count(c),
                                   .coarse_words = COARSE * ROPE,
                                   .eps = 1e-2f,
                                   .magnitude = 1.25f};
    SMT_TRY(begin_cache(c, &p, RANK, freq, err));
    for (uint32_t r = 0; r < N_ROWS; r++) {
        float values[RANK + ROPE], *turned = (float *)c->expected[PART_TURNED] + r * p.turned_stride;
        const float *kv = (const float *)c->memory[PART_KV] + r * p.kv_stride,
                    *q = (const float *)c->memory[PART_Q] + r * p.q_stride;
        smt_ref_rmsnorm(kv, c->memory[PART_FOURTH], p.eps, values, RANK);
        memcpy(values + RANK, kv + RANK, ROPE * sizeof *values);
        smt_ref_rope(freq, (double)p.magnitude, (int32_t)positions[r], values + RANK, ROPE);
        for (uint32_t i = 0; i < RANK + ROPE; i++) store(expected_row(c, r, p.row_words), i, values[i], f16);
        for (uint32_t h = 0; h < HEADS; h++) {
            memcpy(turned + h * ROPE, q + h * HEAD + NOPE, ROPE * sizeof *turned);
            smt_ref_rope(freq, (double)p.magnitude, (int32_t)positions[r], turned + h * ROPE, ROPE);
        }
    }
    return run_cache(c, &p, err);
}

smt_status smt_check_gqa_cache(smt_check *c, smt_error *err) {
    enum { HEAD = 24, ALL = HEADS * HEAD };
    bool f16 = c->key->cache_f16;
    double freq[PAIRS];
    const struct cache_params p = {.n_heads = HEADS,
                                   .n_kv_heads = HEADS,
                                   .nope = HEAD - ROPE,
                                   .rope = ROPE,
                                   .value = HEAD,
                                   .q_stride = ALL,
                                   .kv_stride = ALL,
                                   .v_stride = ALL,
                                   .turned_stride = ALL + 4,
                                   .row_words = f16 ? ALL + 4 : 2 * ALL + 4,
                                   .table_stride = BLOCKS,
                                   .blocks_per_window = BLOCKS / window_count(c),
                                   .coarse_words = COARSE * ROPE,
                                   .magnitude = 1};
    SMT_TRY(begin_cache(c, &p, N_ROWS * ALL, freq, err));
    for (uint32_t r = 0; r < N_ROWS; r++) {
        float values[2 * ALL], *turned = (float *)c->expected[PART_TURNED] + r * p.turned_stride;
        memcpy(values, (const float *)c->memory[PART_KV] + r * ALL, ALL * sizeof *values);
        memcpy(values + ALL, (const float *)c->memory[PART_FOURTH] + r * ALL, ALL * sizeof *values);
        memcpy(turned, (const float *)c->memory[PART_Q] + r * ALL, ALL * sizeof *turned);
        for (uint32_t h = 0; h < HEADS; h++) {
            smt_ref_rope(freq, 1, (int32_t)positions[r], values + h * HEAD, ROPE);
            smt_ref_rope(freq, 1, (int32_t)positions[r], turned + h * HEAD, ROPE);
        }
        for (uint32_t i = 0; i < 2 * ALL; i++) store(expected_row(c, r, p.row_words), i, values[i], f16);
    }
    return run_cache(c, &p, err);
}

/* ---- attention ---- */

enum { PART_QUERY, PART_OUT, PART_SUMS, PART_ASTEP, PART_ABLOCKS, PART_REST, PART_CACHE };
#define SCALE 0.11f

typedef struct attention {
    smt_check *check;
    uint32_t n_heads, n_rows, key_dim, value_dim, query_dim; /* query_dim: of what lies in the first buffer */
    uint32_t row_values, value_off;
    float *cache; /* [BLOCKS * SMT_BLOCK][row_values] as the kernel sees it, in the order of positions */
} attention;

/* The first row ends in the second chunk, others in the first. */
static uint32_t last_position(uint32_t row) { return row == 0 ? SMT_BLOCK + 5 : 3 + row; }

static smt_status fill_cache(attention *a, const struct attend_params *p, smt_error *err) {
    smt_check *c = a->check;
    void *cache;
    SMT_TRY(smt_check_alloc(c, (size_t)BLOCKS * SMT_BLOCK * a->row_values, sizeof *a->cache, &cache, err));
    a->cache = cache;
    for (uint32_t t = 0; t <= last_position(0); t++) {
        void *row = cached_row(&c->memory[PART_CACHE], window_count(c), t, p->row_words);
        smt_check_fill(c, a->cache + t * a->row_values, a->row_values); /* exact as half floats, too */
        for (uint32_t i = 0; i < a->row_values; i++) store(row, i, a->cache[t * a->row_values + i], c->key->cache_f16);
    }
    return SMT_OK;
}

/* Positions [first, end) for one query: greatest score, sum of weights, weighted values. */
static void attend_chunk(const attention *a, const float *query, uint32_t first, uint32_t end, double *out, double *max,
                         double *sum) {
    double scores[SMT_BLOCK];
    *max = -INFINITY;
    *sum = 0;
    for (uint32_t i = 0; i < a->value_dim; i++) out[i] = 0;
    for (uint32_t t = first; t < end; t++) {
        scores[t - first] = (double)SCALE * smt_check_dot(query, a->cache + t * a->row_values, a->key_dim);
        *max = fmax(*max, scores[t - first]);
    }
    for (uint32_t t = first; t < end; t++) {
        const float *values = a->cache + t * a->row_values + a->value_off;
        double weight = exp(scores[t - first] - *max);
        *sum += weight;
        for (uint32_t i = 0; i < a->value_dim; i++) out[i] += weight * (double)values[i];
    }
}

/* What is expected of one head of a row: its chunks, if split, else their join. `out` is a scratch of two chunks. */
static void expect_head(const attention *a, const struct attend_params *p, uint32_t row, uint32_t head, const float *query,
                        double *out) {
    float *expected = a->check->expected[PART_OUT], *sums = a->check->expected[PART_SUMS];
    double max[BLOCKS], sum[BLOCKS], total = 0, top = -INFINITY;
    uint32_t n = last_position(row) + 1, chunks = smt_div_up(n, SMT_BLOCK), at = (row * a->n_heads + head) * BLOCKS;
    for (uint32_t b = 0; b < chunks; b++) {
        attend_chunk(a, query, b * SMT_BLOCK, smt_min_u32(n, (b + 1) * SMT_BLOCK), out + b * a->value_dim, &max[b], &sum[b]);
        top = fmax(top, max[b]);
    }
    for (uint32_t b = 0; b < chunks && p->split; b++) {
        for (uint32_t i = 0; i < a->value_dim; i++) expected[(at + b) * a->value_dim + i] = (float)out[b * a->value_dim + i];
        sums[2 * (at + b)] = (float)max[b];
        sums[2 * (at + b) + 1] = (float)sum[b];
    }
    if (p->split) return;
    float *joined = expected + row * p->o_stride + head * a->value_dim;
    for (uint32_t b = 0; b < chunks; b++) total += sum[b] * exp(max[b] - top);
    for (uint32_t i = 0; i < a->value_dim; i++) {
        double value = 0;
        for (uint32_t b = 0; b < chunks; b++) value += out[b * a->value_dim + i] * exp(max[b] - top);
        joined[i] = (float)(value / total);
    }
}

/* Queries lie in two parts where the kernel wants them so. */
static smt_status fill_queries(attention *a, const struct attend_params *p, smt_error *err) {
    smt_check *c = a->check;
    uint32_t rest = a->key_dim - a->query_dim;
    void *query, *out;
    SMT_TRY(smt_check_alloc(c, a->key_dim, sizeof(float), &query, err));
    SMT_TRY(smt_check_alloc(c, (size_t)BLOCKS * a->value_dim, sizeof(double), &out, err));
    for (uint32_t r = 0; r < a->n_rows; r++)
        for (uint32_t h = 0; h < a->n_heads; h++) {
            smt_check_fill(c, query, a->key_dim);
            for (uint32_t i = 0; i < a->key_dim; i++) ((float *)query)[i] /= 8; /* several positions count */
            memcpy((float *)c->memory[PART_QUERY] + r * p->q_stride + h * a->query_dim, query, a->query_dim * sizeof(float));
            memcpy((float *)c->memory[PART_REST] + r * p->turned_stride + h * rest, (float *)query + a->query_dim,
                   rest * sizeof(float));
            expect_head(a, p, r, h, query, out);
        }
    return SMT_OK;
}

static smt_status attend(attention *a, bool split, smt_error *err) {
    smt_check *c = a->check;
    uint32_t n = window_count(c), results = a->n_rows * a->n_heads * BLOCKS;
    const struct attend_params p = {.n_heads = a->n_heads,
                                    .heads_per_kv = a->n_heads,
                                    .q_dim = a->query_dim,
                                    .q_stride = a->n_heads * a->query_dim,
                                    .turned_stride = a->n_heads * (a->key_dim - a->query_dim) + 4,
                                    .o_stride = a->n_heads * a->value_dim + 4,
                                    .value_off = a->value_off,
                                    .row_words = (uint32_t)smt_align_up(a->row_values * (c->key->cache_f16 ? 2u : 4u), 16) / 4,
                                    .blocks_per_window = BLOCKS / n,
                                    .table_stride = BLOCKS,
                                    .max_chunks = BLOCKS,
                                    .split = split,
                                    .scale = SCALE};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, a->n_rows, p.q_stride},
                                    {2, SMT_CHECK_FLOATS, split ? results : a->n_rows + 1, split ? a->value_dim : p.o_stride},
                                    {3, SMT_CHECK_FLOATS, split ? results : 1, 2},
                                    {4, SMT_CHECK_INPUT, 1, smt_check_step_words(a->n_rows + 1)},
                                    {5, SMT_CHECK_INPUT, 1, BLOCKS},
                                    {6, SMT_CHECK_INPUT, a->n_rows, p.turned_stride},
                                    {0, SMT_CHECK_INPUT, SMT_BLOCK * BLOCKS / n, p.row_words},
                                    {0, SMT_CHECK_INPUT, SMT_BLOCK, p.row_words}};
    SMT_TRY(smt_check_begin(c, parts, PART_CACHE + n, err));
    smt_check_step(c->memory[PART_ASTEP], a->n_rows, 0, a->n_rows + 1);
    for (uint32_t r = 0; r < a->n_rows; r++) smt_check_step_set(c->memory[PART_ASTEP], STEP_ARRAY_INDEX, r, last_position(r));
    for (uint32_t b = 0; b < BLOCKS; b++) ((uint32_t *)c->memory[PART_ABLOCKS])[b] = 1 - b;
    SMT_TRY(fill_cache(a, &p, err));
    SMT_TRY(fill_queries(a, &p, err));
    const uint32_t groups[] = {a->n_heads / c->key->heads, smt_div_up(a->n_rows + 1, c->key->rows), split ? BLOCKS : 1};
    return smt_check_run(c, &p, groups, BOUND, err);
}

smt_status smt_check_attend(smt_check *c, smt_error *err) {
    const smt_kernel_key *key = c->key;
    bool latent = key->query4 < key->key4; /* values are the front of the keys */
    attention a = {.check = c,
                   .n_heads = key->heads,
                   .n_rows = smt_max_u32(key->rows, 2),
                   .key_dim = key->key4 * 4,
                   .value_dim = key->value4 * 4,
                   .query_dim = key->query4 * 4,
                   .row_values = 4 * (latent ? key->key4 : key->key4 + key->value4),
                   .value_off = latent ? 0 : key->key4 * 4};
    SMT_TRY(attend(&a, false, err));
    return key->rows == 1 ? attend(&a, true, err) : SMT_OK; /* only steps of one row are split */
}

smt_status smt_check_attend_merge(smt_check *c, smt_error *err) {
    enum { MERGED_HEADS = 2 };
    uint32_t dim = c->key->value4 * 4;
    const struct attend_params p = {.n_heads = MERGED_HEADS, .o_stride = MERGED_HEADS * dim + 4, .max_chunks = BLOCKS};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, MERGED_HEADS * BLOCKS, dim},
                                    {2, SMT_CHECK_INPUT, MERGED_HEADS * BLOCKS, 2},
                                    {3, SMT_CHECK_FLOATS, 2, p.o_stride},
                                    {4, SMT_CHECK_INPUT, 1, smt_check_step_words(2)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *partial = c->memory[0], *sums = c->memory[1], *expected = c->expected[2];
    smt_check_step(c->memory[3], 1, 0, 2);
    smt_check_step_set(c->memory[3], STEP_ARRAY_INDEX, 0, last_position(0));
    smt_check_fill(c, partial, MERGED_HEADS * BLOCKS * dim);
    for (uint32_t h = 0; h < MERGED_HEADS; h++, sums += 2 * BLOCKS) {
        sums[0] = 0.5f, sums[1] = 90, sums[2] = 1.75f, sums[3] = 4;
        double scale = exp(0.5 - 1.75), total = scale * 90 + 4;
        for (uint32_t i = 0; i < dim; i++)
            expected[h * dim + i] =
                (float)((scale * (double)partial[2 * h * dim + i] + (double)partial[(2 * h + 1) * dim + i]) / total);
    }
    return smt_check_run(c, &p, (const uint32_t[]){MERGED_HEADS, 2, 1}, BOUND, err);
}
