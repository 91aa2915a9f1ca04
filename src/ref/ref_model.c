/* ref_model.c: the forward pass of a whole model, one token at a time, from the operations of ref.h.
 *
 * Weights come row by row from the file; where the whole model fits a limit as float32 it is decoded once instead, which
 * changes the speed and no bit. The cache holds float32 rows, one block a layer:
 *
 *   latent attention   [ c: kv_rank | k: rope_dim ]          c after its norm, k after its rotation, shared by all heads
 *   plain attention    [ K: n_kv_heads * head | V: n_kv_heads * value ]        K after its rotation
 *
 * A smt_ref borrows its model, which must outlive it. All of its memory is one arena, except the decoded weights.
 * A step that fails leaves the length as it was: the row it half wrote is written again by the next. */
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_MAX ((uint64_t)256 << 20) /* bytes */

typedef struct {
    const smt_matrix *matrix; /* the key: entries are sorted by address */
    float *values;            /* owned, [n_planes, rows, k] */
} decoded;

struct smt_ref {
    const smt_model *model; /* borrowed */
    smt_arena arena;        /* every pointer below but decoded[i].values */
    uint32_t n_ctx, length;
    size_t cache_row; /* values */
    float **cache;    /* [n_layers][n_ctx, cache_row] */
    decoded *decoded; /* [n_decoded]; 0 when the model is too large */
    size_t n_decoded;

    /* One token's vectors. */
    float *x, *normed, *branch;     /* [n_embd]: residual stream, its norm, what a block adds to it */
    float *row;                     /* [row_max]: weights of a norm, raw values before one */
    float *q_low, *q, *heads;       /* [q_rank], [n_heads, head], [n_heads, value] */
    float *absorbed, *latent;       /* [kv_rank + rope], [kv_rank] */
    float *gate, *up;               /* [ff_max] */
    float *router, *expert, *range; /* [n_experts], [n_embd], [n_embd] */
};

/* ---- weights ------------------------------------------------------------------------------------------------------ */

/* Calls `visit` for every matrix of the model but the embedding table, of which a step reads one row. */
static smt_status each_matrix(smt_ref *ref, smt_status (*visit)(smt_ref *, const smt_matrix *, void *, smt_error *), void *user,
                              smt_error *err) {
    const smt_model *model = ref->model;
    SMT_TRY(visit(ref, &model->output_norm, user, err));
    SMT_TRY(visit(ref, &model->output, user, err));
    for (uint32_t l = 0; l < model->n_layers; l++) {
        const smt_matrix *matrices[SMT_MODEL_LAYER_MATRICES];
        bool single[SMT_MODEL_LAYER_MATRICES];
        uint32_t n = smt_model_layer_matrices(&model->layers[l], matrices, single);
        for (uint32_t i = 0; i < n; i++) SMT_TRY(visit(ref, matrices[i], user, err));
    }
    return SMT_OK;
}

static uint64_t value_count(const smt_matrix *matrix) { return (uint64_t)matrix->n_planes * matrix->rows * matrix->k; }

static smt_status add_size(smt_ref *ref, const smt_matrix *matrix, void *user, smt_error *err) {
    (void)err;
    *(uint64_t *)user += value_count(matrix);
    ref->n_decoded++;
    return SMT_OK;
}

static smt_status read_row(const smt_matrix *matrix, uint32_t plane, uint32_t row, float *out, smt_error *err) {
    if (smt_matrix_row(matrix, plane, row, out)) return SMT_OK;
    return SMT_FAIL(err, SMT_UNSUPPORTED, "%s: row %u of plane %u cannot be read or decoded", matrix->tensor->name, row, plane);
}

static smt_status decode_matrix(smt_ref *ref, const smt_matrix *matrix, void *user, smt_error *err) {
    decoded *entry = &ref->decoded[(*(size_t *)user)++];
    entry->matrix = matrix;
    float *row = entry->values = smt_alloc(value_count(matrix), sizeof *row);
    if (!row)
        return SMT_FAIL(err, SMT_MEMORY, "%s: no memory for %llu values", matrix->tensor->name,
                        (unsigned long long)value_count(matrix));
    for (uint32_t p = 0; p < matrix->n_planes; p++)
        for (uint32_t r = 0; r < matrix->rows; r++, row += matrix->k) SMT_TRY(read_row(matrix, p, r, row, err));
    return SMT_OK;
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t)((const decoded *)a)->matrix, y = (uintptr_t)((const decoded *)b)->matrix;
    return (x > y) - (x < y);
}

static smt_status decode_weights(smt_ref *ref, uint64_t decoded_max, smt_error *err) {
    uint64_t values = 0;
    size_t next = 0;
    SMT_TRY(each_matrix(ref, add_size, &values, err));
    if (values > decoded_max / sizeof(float)) {
        ref->n_decoded = 0;
        return SMT_OK;
    }
    ref->decoded = smt_arena_alloc(&ref->arena, ref->n_decoded, sizeof *ref->decoded);
    if (!ref->decoded) {
        ref->n_decoded = 0;
        return SMT_FAIL(err, SMT_MEMORY, "no memory for the list of weights");
    }
    SMT_TRY(each_matrix(ref, decode_matrix, &next, err));
    qsort(ref->decoded, ref->n_decoded, sizeof *ref->decoded, by_address);
    return SMT_OK;
}

/* NULL when the model was not decoded. */
static const float *decoded_values(const smt_ref *ref, const smt_matrix *matrix) {
    if (!ref->n_decoded) return NULL;
    decoded key = {.matrix = matrix};
    const decoded *found = bsearch(&key, ref->decoded, ref->n_decoded, sizeof key, by_address);
    return found ? found->values : NULL;
}

/* y[rows] = W[plane] x[k] */
static smt_status apply(const smt_ref *ref, const smt_matrix *w, uint32_t plane, const float *x, float *y, smt_error *err) {
    const float *values = decoded_values(ref, w);
    if (!values) return smt_ref_matvec(w, plane, x, y, err);
    values += (size_t)plane * w->rows * w->k;
    for (uint32_t r = 0; r < w->rows; r++) y[r] = smt_ref_dot(values + (size_t)r * w->k, x, w->k);
    return SMT_OK;
}

/* *out: the values of a one-row matrix (a norm's weights, a bias), valid until the next call. */
static smt_status vector(smt_ref *ref, const smt_matrix *w, const float **out, smt_error *err) {
    *out = decoded_values(ref, w);
    if (*out) return SMT_OK;
    *out = ref->row;
    return read_row(w, 0, 0, ref->row, err);
}

/* y[rows] = W x + bias, where the model has one */
static smt_status apply_biased(smt_ref *ref, const smt_matrix *w, const smt_matrix *bias, const float *x, float *y,
                               smt_error *err) {
    const float *values;
    SMT_TRY(apply(ref, w, 0, x, y, err));
    if (!bias->tensor) return SMT_OK;
    SMT_TRY(vector(ref, bias, &values, err));
    for (uint32_t i = 0; i < w->rows; i++) y[i] += values[i];
    return SMT_OK;
}

static smt_status norm(smt_ref *ref, const smt_matrix *w, const float *x, float *y, smt_error *err) {
    const float *weight;
    SMT_TRY(vector(ref, w, &weight, err));
    smt_ref_rmsnorm(x, weight, ref->model->norm_eps, y, w->k);
    return SMT_OK;
}

/* ---- attention ---------------------------------------------------------------------------------------------------- */

static void rope(const smt_ref *ref, int32_t position, float *x) {
    smt_ref_rope(ref->model->rope_freq, ref->model->rope_magnitude, position, x, ref->model->rope_dim);
}

/* Keys are absorbed into the query (k_b), values come out of the weighted latents (v_b). Heads are [nope | rope]. */
static smt_status attend_latent(smt_ref *ref, const smt_model_layer *layer, float *cache, int32_t position, smt_error *err) {
    const smt_model *model = ref->model;
    uint32_t head = model->nope_dim + model->rope_dim, rank = model->kv_rank, row = rank + model->rope_dim;
    float *own = cache + ref->length * ref->cache_row;
    if (model->q_rank) {
        SMT_TRY(apply(ref, &layer->q_a, 0, ref->normed, ref->q_low, err));
        SMT_TRY(norm(ref, &layer->q_a_norm, ref->q_low, ref->q_low, err));
        SMT_TRY(apply(ref, &layer->q_b, 0, ref->q_low, ref->q, err));
    } else {
        SMT_TRY(apply(ref, &layer->q, 0, ref->normed, ref->q, err));
    }
    SMT_TRY(apply(ref, &layer->kv_a, 0, ref->normed, own, err));
    SMT_TRY(norm(ref, &layer->kv_a_norm, own, own, err)); /* the latent only; the rotary key has no norm */
    rope(ref, position, own + rank);
    for (uint32_t h = 0; h < model->n_heads; h++) {
        const float *q = ref->q + (size_t)h * head;
        SMT_TRY(apply(ref, &layer->k_b, h, q, ref->absorbed, err));
        memcpy(ref->absorbed + rank, q + model->nope_dim, model->rope_dim * sizeof *q);
        rope(ref, position, ref->absorbed + rank);
        SMT_TRY(smt_ref_attend(ref->absorbed, cache, cache, ref->cache_row, ref->length + 1, row, rank, model->attn_scale,
                               ref->latent, err));
        SMT_TRY(apply(ref, &layer->v_b, h, ref->latent, ref->heads + (size_t)h * model->value_dim, err));
    }
    return SMT_OK;
}

/* Several heads of q share one of k and v. The first rope_dim values of a head rotate. */
static smt_status attend_plain(smt_ref *ref, const smt_model_layer *layer, float *cache, int32_t position, smt_error *err) {
    const smt_model *model = ref->model;
    uint32_t head = model->nope_dim + model->rope_dim, shared = model->n_heads / model->n_kv_heads;
    size_t value_at = (size_t)model->n_kv_heads * head;
    float *own = cache + ref->length * ref->cache_row;
    SMT_TRY(apply_biased(ref, &layer->q, &layer->q_bias, ref->normed, ref->q, err));
    SMT_TRY(apply_biased(ref, &layer->k, &layer->k_bias, ref->normed, own, err));
    SMT_TRY(apply_biased(ref, &layer->v, &layer->v_bias, ref->normed, own + value_at, err));
    for (uint32_t h = 0; h < model->n_kv_heads; h++) rope(ref, position, own + (size_t)h * head);
    for (uint32_t h = 0; h < model->n_heads; h++) {
        float *q = ref->q + (size_t)h * head;
        uint32_t kv = h / shared;
        rope(ref, position, q);
        SMT_TRY(smt_ref_attend(q, cache + (size_t)kv * head, cache + value_at + (size_t)kv * model->value_dim, ref->cache_row,
                               ref->length + 1, head, model->value_dim, model->attn_scale,
                               ref->heads + (size_t)h * model->value_dim, err));
    }
    return SMT_OK;
}

/* ---- feed-forward ------------------------------------------------------------------------------------------------- */

static smt_status swiglu(smt_ref *ref, const smt_matrix *gate, const smt_matrix *up, const smt_matrix *down, uint32_t plane,
                         float *out, smt_error *err) {
    SMT_TRY(apply(ref, gate, plane, ref->normed, ref->gate, err));
    SMT_TRY(apply(ref, up, plane, ref->normed, ref->up, err));
    for (uint32_t i = 0; i < gate->rows; i++) ref->gate[i] = smt_ref_silu(ref->gate[i]) * ref->up[i];
    return apply(ref, down, plane, ref->gate, out, err);
}

static smt_status dense(smt_ref *ref, const smt_model_layer *layer, smt_error *err) {
    SMT_TRY(apply_biased(ref, &layer->gate, &layer->gate_bias, ref->normed, ref->gate, err));
    SMT_TRY(apply_biased(ref, &layer->up, &layer->up_bias, ref->normed, ref->up, err));
    for (uint32_t i = 0; i < layer->gate.rows; i++) ref->gate[i] = smt_ref_silu(ref->gate[i]) * ref->up[i];
    return apply_biased(ref, &layer->down, &layer->down_bias, ref->gate, ref->branch, err);
}

/* Slots in ascending expert id: the order of the sums. */
static void order_by_id(const int32_t *ids, uint32_t n, uint32_t *slots) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i;
        for (; j > 0 && ids[slots[j - 1]] > ids[i]; j--) slots[j] = slots[j - 1];
        slots[j] = i;
    }
}

/* branch = the chosen experts, range by range, then the shared one. */
static smt_status mixture(smt_ref *ref, const smt_model_layer *layer, int32_t *ids, float *weights, smt_error *err) {
    const smt_model *model = ref->model;
    uint32_t n = model->n_embd, size = smt_ref_range_size(model), slots[SMT_MODEL_MAX_USED], next = 0;
    const float *bias = NULL;
    SMT_TRY(apply(ref, &layer->router, 0, ref->normed, ref->router, err));
    if (layer->router_bias.tensor) SMT_TRY(vector(ref, &layer->router_bias, &bias, err));
    smt_ref_route(model, bias, ref->router, ids, weights);
    order_by_id(ids, model->n_used, slots);
    memset(ref->branch, 0, n * sizeof *ref->branch);
    for (uint32_t end = size; next < model->n_used; end += size) {
        memset(ref->range, 0, n * sizeof *ref->range);
        for (; next < model->n_used && (uint32_t)ids[slots[next]] < end; next++) {
            uint32_t e = (uint32_t)ids[slots[next]];
            SMT_TRY(swiglu(ref, &layer->gate_exps, &layer->up_exps, &layer->down_exps, e, ref->expert, err));
            for (uint32_t i = 0; i < n; i++) ref->range[i] = fmaf(weights[slots[next]], ref->expert[i], ref->range[i]);
        }
        for (uint32_t i = 0; i < n; i++) ref->branch[i] += ref->range[i];
    }
    if (layer->gate_shexp.tensor) {
        SMT_TRY(swiglu(ref, &layer->gate_shexp, &layer->up_shexp, &layer->down_shexp, 0, ref->expert, err));
        for (uint32_t i = 0; i < n; i++) ref->branch[i] += ref->expert[i];
    }
    return SMT_OK;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

static smt_status allocate(smt_ref *ref, smt_error *err) {
    const smt_model *model = ref->model;
    size_t head = (size_t)model->nope_dim + model->rope_dim;
    size_t ff = smt_max_u32(model->n_ff, smt_max_u32(model->n_ff_expert, model->n_ff_shared));
    size_t row = smt_max_u32(smt_max_u32(model->n_embd, model->n_experts), smt_max_u32(model->q_rank, model->kv_rank));
    if (model->n_heads * head > row) row = model->n_heads * head; /* biases */
    if (ff > row) row = ff;
    const struct {
        float **vector;
        size_t n;
    } vectors[] = {
        {&ref->x, model->n_embd},
        {&ref->normed, model->n_embd},
        {&ref->branch, model->n_embd},
        {&ref->row, row},
        {&ref->q_low, model->q_rank},
        {&ref->q, model->n_heads * head},
        {&ref->heads, (size_t)model->n_heads * model->value_dim},
        {&ref->absorbed, (size_t)model->kv_rank + model->rope_dim},
        {&ref->latent, model->kv_rank},
        {&ref->gate, ff},
        {&ref->up, ff},
        {&ref->router, model->n_experts},
        {&ref->expert, model->n_embd},
        {&ref->range, model->n_embd},
    };
    for (size_t i = 0; i < SMT_COUNT(vectors); i++)
        if (!(*vectors[i].vector = smt_arena_alloc(&ref->arena, vectors[i].n, sizeof(float))))
            return SMT_FAIL(err, SMT_MEMORY, "no memory for a vector of %zu values", vectors[i].n);
    ref->cache_row = smt_model_cache_row(model);
    ref->cache = smt_arena_alloc(&ref->arena, model->n_layers, sizeof *ref->cache);
    for (uint32_t l = 0; ref->cache && l < model->n_layers; l++) {
        ref->cache[l] = smt_arena_alloc(&ref->arena, ref->n_ctx, ref->cache_row * sizeof(float));
        if (!ref->cache[l]) ref->cache = NULL;
    }
    if (!ref->cache) return SMT_FAIL(err, SMT_MEMORY, "no memory for a cache of %u positions", ref->n_ctx);
    return SMT_OK;
}

smt_status smt_ref_create(const smt_model *model, uint32_t n_ctx, smt_ref **out, smt_error *err) {
    return smt_ref_create_within(model, n_ctx, DECODED_MAX, out, err);
}

smt_status smt_ref_create_within(const smt_model *model, uint32_t n_ctx, uint64_t decoded_max, smt_ref **out, smt_error *err) {
    *out = NULL;
    smt_ref *ref = smt_alloc(1, sizeof *ref);
    if (!ref) return SMT_FAIL(err, SMT_MEMORY, "no memory for the reference");
    ref->model = model;
    ref->n_ctx = n_ctx;
    smt_status status = allocate(ref, err);
    if (!status) status = decode_weights(ref, decoded_max, err);
    if (status) {
        smt_ref_free(ref);
        return status;
    }
    *out = ref;
    return SMT_OK;
}

void smt_ref_free(smt_ref *ref) {
    if (!ref) return;
    for (size_t i = 0; i < ref->n_decoded; i++) smt_free(ref->decoded[i].values);
    smt_arena_free(&ref->arena);
    smt_free(ref);
}

/* ---- step --------------------------------------------------------------------------------------------------------- */

static void add_branch(smt_ref *ref) {
    for (uint32_t i = 0; i < ref->model->n_embd; i++) ref->x[i] += ref->branch[i];
}

static smt_status run_layer(smt_ref *ref, uint32_t l, int32_t position, int32_t *ids, float *weights, smt_error *err) {
    const smt_model_layer *layer = &ref->model->layers[l];
    SMT_TRY(norm(ref, &layer->attn_norm, ref->x, ref->normed, err));
    SMT_TRY((ref->model->mla ? attend_latent : attend_plain)(ref, layer, ref->cache[l], position, err));
    SMT_TRY(apply_biased(ref, &layer->output, &layer->output_bias, ref->heads, ref->branch, err));
    add_branch(ref);
    SMT_TRY(norm(ref, &layer->ffn_norm, ref->x, ref->normed, err));
    if (layer->moe)
        SMT_TRY(mixture(ref, layer, ids, weights, err));
    else
        SMT_TRY(dense(ref, layer, err));
    add_branch(ref);
    return SMT_OK;
}

smt_status smt_ref_step(smt_ref *ref, int32_t token, int32_t position, float *logits, float *hidden, int32_t *ids, float *weights,
                        smt_error *err) {
    const smt_model *model = ref->model;
    size_t n = model->n_embd, moe = 0;
    if (token < 0 || (uint32_t)token >= model->n_vocab)
        return SMT_FAIL(err, SMT_INVALID, "token %d: the vocabulary has %u", token, model->n_vocab);
    if (ref->length == ref->n_ctx) return SMT_FAIL(err, SMT_FULL, "all %u positions are taken", ref->n_ctx);
    SMT_TRY(read_row(&model->token_embd, 0, (uint32_t)token, ref->x, err));
    if (hidden) memcpy(hidden, ref->x, n * sizeof *hidden);
    for (uint32_t l = 0; l < model->n_layers; l++) {
        int32_t chosen[SMT_MODEL_MAX_USED];
        float factors[SMT_MODEL_MAX_USED];
        SMT_TRY(run_layer(ref, l, position, chosen, factors, err));
        if (hidden) memcpy(hidden + (l + 1) * n, ref->x, n * sizeof *hidden);
        if (!model->layers[l].moe) continue;
        if (ids) memcpy(ids + moe * model->n_used, chosen, model->n_used * sizeof *ids);
        if (weights) memcpy(weights + moe * model->n_used, factors, model->n_used * sizeof *weights);
        moe++;
    }
    SMT_TRY(norm(ref, &model->output_norm, ref->x, ref->normed, err));
    if (hidden) memcpy(hidden + ((size_t)model->n_layers + 1) * n, ref->normed, n * sizeof *hidden);
    if (logits) SMT_TRY(apply(ref, &model->output, 0, ref->normed, logits, err));
    ref->length++;
    return SMT_OK;
}
