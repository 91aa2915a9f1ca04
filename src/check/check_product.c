/* check_product.c: products of weights and activations, in every form that a key can ask for; the embedding; and the way of rows to the
 * device.
 *
 * A case has more rows than a workgroup and one column more than a tile. All matrices of a case (planes, gate and up, experts) are rows of one
 * pool, each from another row on: they differ, and only one pool is made. */
#include "check/check_internal.h"

#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* Activations that are joined of chunks are no multiples of 1/64 any more, so that fast precision rounds them; cooperative matrices round weights
 * to half floats (ref/ref.h). */
#define BOUND_ROUNDED 0.05
#define BOUND         1e-4  /* relative to the root mean square: sums of hundreds of products, in another order */
#define EPS           1e-2f /* of norms: enough to be seen */
#define N_USED        2     /* experts of a row */
#define CHUNKS        2     /* of a split attention that are merged, and that there is room for */
#define ROOM          3
#define MOST_EXPERTS  16

/* Where the parts of a product stand; some are not there. */
enum { PART_X, PART_Y, PART_RESIDUAL, PART_STEP, PARTS_ALWAYS };

static double bound_of(const smt_kernel_key *key) { return key->coop || (key->fast && key->merge) ? BOUND_ROUNDED : BOUND; }

typedef struct product {
    smt_check *check;
    smt_check_weights pool;
    uint32_t rows, columns, group;  /* columns: of activations; group: rows of a workgroup */
    uint32_t norm, codebooks, sums; /* indices of parts */
    smt_check_part parts[SMT_CHECK_PARTS];
    uint32_t n_parts;
} product;

static uint32_t add_part(product *p, uint32_t binding, smt_check_kind kind, uint32_t rows, uint32_t stride) {
    p->parts[p->n_parts] = (smt_check_part){binding, kind, rows, stride};
    return p->n_parts++;
}

static uint32_t matrix_bytes(const product *p) { return (uint32_t)smt_align_up((uint64_t)p->rows * p->pool.row_bytes, 16); }

/* A matrix is `rows` rows of the pool. */
static void put_matrix(const product *p, uint32_t first, uint8_t *to) {
    smt_check_weights_put(p->check, &p->pool, first, p->rows, to);
}
static const float *pool_row(const product *p, uint32_t row) { return p->pool.values + (size_t)row * p->pool.k; }

/* `n_pool`: rows of the pool beyond those of a matrix. */
static smt_status begin(product *p, uint32_t k, uint32_t n_pool, smt_error *err) {
    const smt_kernel_key *key = p->check->key;
    p->group = smt_kernel_matmul_rows(p->check->caps, key->columns, key->gated);
    p->rows = p->group + 5;
    return smt_check_weights_make(p->check, (smt_dtype)key->type, p->rows + n_pool, k, &p->pool, err);
}

/* Codebooks, and the norm of the result, where the kernel wants them. */
static void add_common_parts(product *p) {
    uint32_t wide = (uint32_t)smt_align_up(p->rows, 4);
    p->codebooks = smt_quant_has_codebook((smt_dtype)p->check->key->type)
                       ? add_part(p, CODEBOOK_BINDING, SMT_CHECK_INPUT, 1, CODEBOOK_WORDS)
                       : UINT32_MAX;
    p->norm = UINT32_MAX;
    if (!p->check->key->norm) return;
    p->norm = add_part(p, 9, SMT_CHECK_INPUT, 1, wide);
    add_part(p, 10, SMT_CHECK_FLOATS, 1, wide);
    add_part(p, 11, SMT_CHECK_WORDS, 1, 1);
}

static void fill_common_parts(product *p, struct matmul_params *push) {
    smt_check *c = p->check;
    if (p->codebooks != UINT32_MAX) memcpy(c->memory[p->codebooks], smt_quant_codebooks, sizeof smt_quant_codebooks);
    if (p->norm == UINT32_MAX) return;
    smt_check_fill(c, c->memory[p->norm], p->rows);
    *(uint32_t *)c->memory[p->norm + 2] = *(uint32_t *)c->expected[p->norm + 2] = 0; /* the counter ends as it began */
    push->norm_k = p->rows;
    push->norm_groups = smt_div_up(p->rows, p->group);
    push->eps = EPS;
}

/* Once the expected results of the single row stand. */
static void expect_norm(product *p, const float *result) {
    if (p->norm != UINT32_MAX) smt_ref_rmsnorm(result, p->check->memory[p->norm], EPS, p->check->expected[p->norm + 1], p->rows);
}

static float result_of(const product *p, uint32_t first, uint32_t second, const float *x) {
    double y = smt_check_dot(pool_row(p, first), x, p->pool.k);
    if (!p->check->key->gated) return (float)y;
    return (float)((double)smt_ref_silu((float)y) * smt_check_dot(pool_row(p, second), x, p->pool.k));
}

/* ---- dense ---- */

/* The chunks of a split attention, and what they merge into: columns[plane][k]. */
static void fill_chunks(product *p, uint32_t planes, float *columns) {
    uint32_t k = p->pool.k;
    float *partial = p->check->memory[PART_X], *sums = p->check->memory[p->sums];
    for (uint32_t h = 0; h < planes; h++) {
        double total = 0;
        for (uint32_t c = 0; c < CHUNKS; c++) {
            float *chunk = partial + (size_t)(h * ROOM + c) * k, *sum = sums + 2 * (h * ROOM + c);
            smt_check_fill(p->check, chunk, k);
            sum[0] = c ? 1.5f : 0.25f;
            sum[1] = c ? 3 : 7;
            double scale = exp((double)sum[0] - 1.5);
            total += scale * (double)sum[1];
            for (uint32_t i = 0; i < k; i++) columns[h * k + i] += (float)(scale * (double)chunk[i]);
        }
        for (uint32_t i = 0; i < k; i++) columns[h * k + i] = (float)((double)columns[h * k + i] / total);
    }
    smt_check_step_set(p->check->memory[PART_STEP], STEP_ARRAY_INDEX, 0, CHUNKS * SMT_BLOCK - 1);
}

/* Parts 0 to 3 as always, then windows: `planes` matrices, the second of a pair, or the bias. */
static void describe_dense(product *p, const struct matmul_params *push, uint32_t planes) {
    const smt_kernel_key *key = p->check->key;
    add_part(p, 1, SMT_CHECK_INPUT, key->merge ? planes * ROOM : p->columns, key->merge ? p->pool.k : push->x_stride);
    add_part(p, 2, SMT_CHECK_FLOATS, p->columns + 1, push->y_stride);
    add_part(p, 3, SMT_CHECK_INPUT, p->columns, push->res_stride);
    add_part(p, 4, SMT_CHECK_INPUT, 1, smt_check_step_words(p->columns + 1));
    add_part(p, 0, SMT_CHECK_INPUT, planes, matrix_bytes(p) / 4);
    if (key->windows > 1) add_part(p, 0, SMT_CHECK_INPUT, 1, key->gated ? matrix_bytes(p) / 4 : p->rows);
    if (key->merge) p->sums = add_part(p, 5, SMT_CHECK_INPUT, planes, 2 * ROOM);
    add_common_parts(p);
}

static void expect_dense(product *p, const struct matmul_params *push, uint32_t planes, const float *columns) {
    smt_check *c = p->check;
    const float *x = c->memory[PART_X], *residual = c->memory[PART_RESIDUAL], *bias = c->memory[PARTS_ALWAYS + 1];
    float *expected = c->expected[PART_Y];
    for (uint32_t col = 0; col < p->columns; col++)
        for (uint32_t i = 0; i < planes; i++)
            for (uint32_t row = 0; row < p->rows; row++) {
                const float *from = columns ? columns + i * p->pool.k : x + col * push->x_stride + i * push->x_batch;
                float value = result_of(p, i + row, i + 1 + row, from);
                if (push->bias) value += bias[row];
                if (push->residual) value += residual[col * push->res_stride + row];
                expected[col * push->y_stride + i * push->y_batch + row] = value;
            }
    expect_norm(p, expected);
}

static smt_status check_dense(smt_check *c, smt_error *err) {
    const smt_kernel_key *key = c->key;
    product p = {.check = c, .columns = key->columns > 1 ? key->columns + 1 : 1};
    uint32_t k = key->merge ? key->merge * 4 : smt_check_length((smt_dtype)key->type);
    uint32_t planes = key->windows == 1 && !key->norm ? 2 : 1; /* as the heads of k_b and v_b */
    SMT_TRY(begin(&p, k, 2, err));
    struct matmul_params push = {.row_bytes = p.pool.row_bytes,
                                 .k = k,
                                 .rows = p.rows,
                                 .w_batch_off16 = matrix_bytes(&p) / 16,
                                 .x_stride = planes * k,
                                 .x_batch = k,
                                 .y_stride = planes * p.rows + 3,
                                 .y_batch = p.rows,
                                 .bias = key->windows > 1 && !key->gated,
                                 .residual = planes == 1 && !key->gated,
                                 .res_stride = p.rows + 1,
                                 .count_word = STEP_N_ROWS,
                                 .x_div = 1,
                                 .max_chunks = ROOM};
    describe_dense(&p, &push, planes);
    SMT_TRY(smt_check_begin(c, p.parts, p.n_parts, err));
    smt_check_step(c->memory[PART_STEP], p.columns, 0, p.columns + 1);
    fill_common_parts(&p, &push);
    void *columns = NULL;
    if (key->merge) SMT_TRY(smt_check_alloc(c, (size_t)planes * k, sizeof(float), &columns, err));
    if (key->merge) fill_chunks(&p, planes, columns);
    for (uint32_t i = 0; i < p.columns * planes && !key->merge; i++) smt_check_fill(c, (float *)c->memory[PART_X] + i * k, k);
    smt_check_fill(c, c->memory[PART_RESIDUAL], p.columns * push.res_stride);
    for (uint32_t i = 0; i < planes; i++) put_matrix(&p, i, (uint8_t *)c->memory[PARTS_ALWAYS] + i * matrix_bytes(&p));
    if (key->gated) put_matrix(&p, 1, c->memory[PARTS_ALWAYS + 1]);
    if (push.bias) smt_check_fill(c, c->memory[PARTS_ALWAYS + 1], p.rows);
    expect_dense(&p, &push, planes, columns);
    const uint32_t groups[] = {smt_div_up(p.rows, p.group), smt_div_up(p.columns + (key->columns > 1), key->columns), planes};
    return smt_check_run(c, &push, groups, bound_of(key), err);
}

/* ---- of experts ---- */

/* The first window, table and list: behind the four parts of every product. */
enum { PART_TABLE = PARTS_ALWAYS, PART_WORK, PART_WINDOW };

static uint32_t expert_count(const smt_check *c) {
    return c->key->windows == 1 ? 4 : smt_min_u32(c->key->windows * 2, MOST_EXPERTS);
}

/* Several blocks; shorter than those of dense products, since there are more of them. */
static uint32_t expert_length(smt_dtype type) {
    return smt_dtype_get((uint32_t)type)->elems == 256 ? 512 : smt_dtype_get((uint32_t)type)->elems == 1 ? 284 : 288;
}

/* Of every row the last expert, and another. */
static void choose(uint32_t *ids, uint32_t n_rows, uint32_t n_experts) {
    for (uint32_t r = 0; r < n_rows; r++) {
        ids[r * N_USED] = n_experts - 1;
        ids[r * N_USED + 1] = (r * 5 + 1) % (n_experts - 1);
    }
}

/* Expert e has two matrices, from rows 2 e and 2 e + 1 of the pool on; consecutive experts share a window. */
static void put_experts(product *p, uint32_t n_experts, uint32_t word) {
    uint32_t *table = p->check->memory[PART_TABLE], each = matrix_bytes(p), per_window = n_experts / p->check->key->windows;
    for (uint32_t e = 0; e < n_experts; e++) {
        uint32_t window = e / per_window, at = e % per_window * 2 * each, *row = table + e * EXPERT_WORDS;
        uint8_t *bytes = (uint8_t *)p->check->memory[PART_WINDOW + window] + at;
        put_matrix(p, 2 * e, bytes);
        put_matrix(p, 2 * e + 1, bytes + each);
        row[EXPERT_WINDOW] = window;
        row[EXPERT_UP] = (at + each) / 16;
        row[word] = at / 16;
    }
}

static void add_expert_parts(product *p, uint32_t n_experts, uint32_t work_words) {
    uint32_t windows = p->check->key->windows;
    add_part(p, 5, SMT_CHECK_INPUT, n_experts, EXPERT_WORDS);
    add_part(p, 6, SMT_CHECK_INPUT, 1, work_words);
    for (uint32_t w = 0; w < windows; w++) add_part(p, 0, SMT_CHECK_INPUT, n_experts / windows * 2, matrix_bytes(p) / 4);
    add_common_parts(p);
}

static smt_status check_experts(smt_check *c, smt_error *err) {
    const smt_kernel_key *key = c->key;
    uint32_t n_rows = key->columns + 1, entries = n_rows * N_USED, n_experts = expert_count(c);
    uint32_t ids[(SMT_KERNEL_MAX_COLUMNS + 1) * N_USED];
    product p = {.check = c};
    uint32_t k = expert_length((smt_dtype)key->type);
    SMT_TRY(begin(&p, k, 2 * n_experts, err));
    const struct group_params list = {
        .end_expert = n_experts, .columns = key->columns, .entries_word = WORK_HEAD + WORK_TILE_WORDS * entries};
    struct matmul_params push = {.row_bytes = p.pool.row_bytes,
                                 .k = k,
                                 .rows = p.rows,
                                 .x_stride = k,
                                 .y_stride = p.rows + 3,
                                 .table_word = key->gated ? EXPERT_GATE : EXPERT_DOWN,
                                 .entries_word = list.entries_word,
                                 .x_div = key->gated ? N_USED : 1};
    add_part(&p, 1, SMT_CHECK_INPUT, entries / push.x_div, k);
    add_part(&p, 2, SMT_CHECK_FLOATS, entries + 1, push.y_stride);
    add_part(&p, 3, SMT_CHECK_INPUT, 1, 4);
    add_part(&p, 4, SMT_CHECK_INPUT, 1, smt_check_step_words(1));
    add_expert_parts(&p, n_experts, list.entries_word + entries);
    SMT_TRY(smt_check_begin(c, p.parts, p.n_parts, err));
    fill_common_parts(&p, &push);
    put_experts(&p, n_experts, push.table_word);
    choose(ids, n_rows, n_experts);
    uint32_t tiles = smt_check_work(ids, entries, &list, c->memory[PART_WORK]);
    float *x = c->memory[PART_X], *expected = c->expected[PART_Y];
    for (uint32_t r = 0; r < entries / push.x_div; r++) smt_check_fill(c, x + r * k, k);
    for (uint32_t i = 0; i < entries; i++)
        for (uint32_t row = 0; row < p.rows; row++)
            expected[i * push.y_stride + row] =
                result_of(&p, 2 * ids[i] + row, 2 * ids[i] + 1 + row, x + i / push.x_div * push.x_stride);
    return smt_check_run(c, &push, (const uint32_t[]){smt_div_up(p.rows, p.group), tiles, 1}, bound_of(key), err);
}

smt_status smt_check_matmul(smt_check *check, smt_error *err) {
    return check->key->expert ? check_experts(check, err) : check_dense(check, err);
}

/* The experts of a single row, summed, with a shared one and the residual. */
smt_status smt_check_moe_down(smt_check *c, smt_error *err) {
    uint32_t n_experts = expert_count(c), ids[N_USED];
    product p = {.check = c};
    uint32_t k = expert_length((smt_dtype)c->key->type);
    SMT_TRY(begin(&p, k, 2 * n_experts, err));
    const struct group_params list = {
        .end_expert = n_experts, .columns = 1, .entries_word = WORK_HEAD + WORK_TILE_WORDS * N_USED};
    struct matmul_params push = {.row_bytes = p.pool.row_bytes,
                                 .k = k,
                                 .rows = p.rows,
                                 .x_stride = k,
                                 .table_word = EXPERT_DOWN,
                                 .entries_word = list.entries_word,
                                 .x_div = 1,
                                 .range_size = n_experts / 4,
                                 .has_shared = 1};
    add_part(&p, 1, SMT_CHECK_INPUT, N_USED, k);
    add_part(&p, 2, SMT_CHECK_FLOATS, 1, (uint32_t)smt_align_up(p.rows, 4));
    add_part(&p, 3, SMT_CHECK_INPUT, 1, p.rows);
    add_part(&p, 4, SMT_CHECK_INPUT, 1, N_USED);
    add_expert_parts(&p, n_experts, list.entries_word + N_USED);
    uint32_t shared = add_part(&p, 8, SMT_CHECK_INPUT, 1, p.rows);
    SMT_TRY(smt_check_begin(c, p.parts, p.n_parts, err));
    fill_common_parts(&p, &push);
    put_experts(&p, n_experts, EXPERT_DOWN);
    choose(ids, 1, n_experts);
    smt_check_work(ids, N_USED, &list, c->memory[PART_WORK]);
    float *x = c->memory[PART_X], *expected = c->expected[PART_Y], *weights = c->memory[PART_STEP];
    for (uint32_t i = 0; i < N_USED; i++) smt_check_fill(c, x + i * k, k);
    smt_check_fill(c, weights, N_USED);
    smt_check_fill(c, c->memory[PART_RESIDUAL], p.rows);
    smt_check_fill(c, c->memory[shared], p.rows);
    for (uint32_t row = 0; row < p.rows; row++) {
        double sum = (double)((float *)c->memory[PART_RESIDUAL])[row] + (double)((float *)c->memory[shared])[row];
        for (uint32_t i = 0; i < N_USED; i++) sum += (double)weights[i] * (double)result_of(&p, 2 * ids[i] + row, 0, x + i * k);
        expected[row] = (float)sum;
    }
    expect_norm(&p, expected);
    return smt_check_run(c, &push, (const uint32_t[]){smt_div_up(p.rows, p.group), 1, 1}, BOUND, err);
}

/* ---- embedding ---- */

smt_status smt_check_embed(smt_check *c, smt_error *err) {
    static const uint32_t tokens[] = {4, 0, 3, 4};
    enum { N = SMT_COUNT(tokens), VOCABULARY = 5 };
    smt_dtype type = (smt_dtype)c->key->type;
    uint32_t k = smt_check_length(type), stride = (uint32_t)smt_align_up(k, 4) + 4;
    smt_check_weights w;
    SMT_TRY(smt_check_weights_make(c, type, VOCABULARY, k, &w, err));
    const smt_check_part parts[] = {{1, SMT_CHECK_FLOATS, N + 1, stride},
                                    {2, SMT_CHECK_INPUT, 1, smt_check_step_words(N + 1)},
                                    {0, SMT_CHECK_INPUT, 1, smt_div_up(VOCABULARY * w.row_bytes, 4)},
                                    {CODEBOOK_BINDING, SMT_CHECK_INPUT, 1, CODEBOOK_WORDS}};
    SMT_TRY(smt_check_begin(c, parts, smt_quant_has_codebook(type) ? SMT_COUNT(parts) : SMT_COUNT(parts) - 1, err));
    float *expected = c->expected[0];
    smt_check_step(c->memory[1], N, 0, N + 1);
    smt_check_weights_put(c, &w, 0, VOCABULARY, c->memory[2]);
    if (smt_quant_has_codebook(type)) memcpy(c->memory[3], smt_quant_codebooks, sizeof smt_quant_codebooks);
    for (uint32_t r = 0; r < N; r++) {
        smt_check_step_set(c->memory[1], STEP_ARRAY_TOKEN, r, tokens[r]);
        memcpy(expected + r * stride, w.values + (size_t)tokens[r] * k, k * sizeof *expected);
    }
    const struct embed_params push = {.row_bytes = w.row_bytes, .rows = VOCABULARY, .k = k, .y_stride = stride};
    return smt_check_run(c, &push, (const uint32_t[]){N + 1, 1, 1}, 1e-6, err);
}

/* ---- file rows to device rows ---- */

/* Any bytes will do: they move and nothing is computed. */
static smt_status check_layout(smt_check *c, smt_dtype type, uint32_t n, bool woven, smt_error *err) {
    enum { FILE_ROWS = SMT_WEAVE + 3 };
    const struct repack_params p = smt_quant_repack(type, FILE_ROWS, n, woven);
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, 1, p.src_words}, {2, SMT_CHECK_WORDS, FILE_ROWS, 4 * p.row_vectors}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    uint8_t *file = c->memory[0];
    for (uint32_t i = 0; i < FILE_ROWS * p.file_row_bytes; i++) file[i] = (uint8_t)smt_check_random(c, 256);
    smt_quant_to_device(type, file, c->expected[1], FILE_ROWS, n, woven);
    return smt_check_run(c, &p, (const uint32_t[]){smt_div_up(p.n_vectors, c->spec.group), 1, 1}, 0, err);
}

smt_status smt_check_repack(smt_check *c, smt_error *err) {
    SMT_TRY(check_layout(c, SMT_DTYPE_F16, 37, false, err)); /* padding alone */
    SMT_TRY(check_layout(c, SMT_DTYPE_Q8_0, 5 * 32, false, err));
    return check_layout(c, SMT_DTYPE_Q6_K, 3 * 256, true, err);
}
