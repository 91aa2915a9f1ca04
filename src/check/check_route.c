/* check_route.c: which experts a row goes to, the lists of their work, and the sum of what they give. */
#include "check/check_internal.h"

#include "ref/ref.h"

#define BOUND 1e-4

/* Logits far enough apart that no rounding changes the choice, in another order for every row. */
static void fill_logits(float *logits, uint32_t n, uint32_t row) {
    for (uint32_t e = 0; e < n; e++) logits[e] = 6 * (float)((e * 37 + row * 11) % n) / (float)n - 3;
}

smt_status smt_check_route(smt_check *c, smt_error *err) {
    enum { USED = 6 };
    const smt_kernel_key *key = c->key;
    uint32_t n_rows = key->list ? 1 : 3, n = key->experts;
    const smt_model model = {.n_experts = n,
                             .n_used = USED,
                             .n_groups = key->top2 ? 8 : 1,
                             .n_groups_used = key->top2 ? 4 : 1,
                             .gate = key->sigmoid ? SMT_GATE_SIGMOID : SMT_GATE_SOFTMAX,
                             .group_rule = key->top2 ? SMT_GROUP_TOP2 : SMT_GROUP_BEST,
                             .norm_weights = true,
                             .weight_scale = 2.5f};
    const struct route_params p = {.n_experts = n,
                                   .n_used = USED,
                                   .n_groups = model.n_groups,
                                   .n_groups_used = model.n_groups_used,
                                   .norm_weights = 1,
                                   .has_bias = key->sigmoid,
                                   .logit_stride = n,
                                   .weight_scale = model.weight_scale,
                                   .entries_word = WORK_HEAD + WORK_TILE_WORDS * USED};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, n_rows, n},
                                    {2, SMT_CHECK_WORDS, n_rows + 1, USED},
                                    {3, SMT_CHECK_FLOATS, n_rows + 1, USED},
                                    {4, SMT_CHECK_INPUT, 1, smt_check_step_words(n_rows + 1)},
                                    {0, SMT_CHECK_INPUT, 1, n},
                                    {5, SMT_CHECK_WORDS, 1, p.entries_word + USED}};
    SMT_TRY(smt_check_begin(c, parts, key->list ? 6 : 5, err));
    float *logits = c->memory[0], *bias = c->memory[4], *weights = c->expected[2];
    int32_t *ids = c->expected[1];
    smt_check_step(c->memory[3], n_rows, 0, n_rows + 1);
    for (uint32_t e = 0; e < n; e++) bias[e] = (float)(e * 7 % 16) / 64;
    for (uint32_t r = 0; r < n_rows; r++) {
        fill_logits(logits + r * n, n, r);
        smt_ref_route(&model, key->sigmoid ? bias : NULL, logits + r * n, ids + r * USED, weights + r * USED);
    }
    if (key->list) { /* that of the single row; its grids are known beforehand and stay unwritten */
        const struct group_params list = {.end_expert = n, .columns = 1, .entries_word = p.entries_word};
        uint32_t *work = c->expected[5];
        smt_check_work((const uint32_t *)ids, USED, &list, work);
        for (uint32_t i = 0; i < WORK_HEAD; i++)
            if (i != WORK_TILES) work[i] = SMT_CHECK_UNTOUCHED;
    }
    return smt_check_run(c, &p, (const uint32_t[]){key->list ? 1 : n_rows + 1, 1, 1}, BOUND, err);
}

smt_status smt_check_group(smt_check *c, smt_error *err) {
    enum { ROWS = 20, USED = 4, ENTRIES = (ROWS + 1) * USED, WORDS = WORK_HEAD + (WORK_TILE_WORDS + 1) * ENTRIES };
    const struct group_params p = {.first_expert = 1, /* another device has expert 0 */
                                   .end_expert = c->key->experts,
                                   .n_used = USED,
                                   .columns = 8,
                                   .up_blocks = 22,
                                   .down_blocks = 33,
                                   .entries_word = WORK_HEAD + WORK_TILE_WORDS * ENTRIES,
                                   .max_entries = ENTRIES};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, 1, ENTRIES},
                                    {2, SMT_CHECK_WORDS, 1, WORDS},
                                    {3, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    uint32_t *ids = c->memory[0], *work = c->expected[1];
    smt_check_step(c->memory[2], ROWS, 0, ROWS + 1);
    for (uint32_t i = 0; i < ENTRIES; i++) /* all rows go to the last expert, the last one is idle */
        ids[i] = i % USED ? (i / USED * 3 + i % USED * 5) % (p.end_expert - 1) : p.end_expert - 1;
    smt_check_work(ids, ROWS * USED, &p, work);
    return smt_check_run(c, &p, (const uint32_t[]){1, 1, 1}, 0, err);
}

/* ---- the sum of what experts give, on one device or on several ---- */

enum { ROWS = 2, EMBD = 100, USED = 3, EXPERTS = 20, RANGES = 8, RANGE_SIZE = 3 };

/* Experts of a row, distinct. */
static void fill_ids(uint32_t *ids) {
    for (uint32_t i = 0; i < ROWS * USED; i++) ids[i] = (i / USED * 3 + i % USED * 7 + 1) % EXPERTS;
}

smt_status smt_check_combine(smt_check *c, smt_error *err) {
    const struct combine_params p = {.n_embd = EMBD,
                                     .n_used = USED,
                                     .n_experts = EXPERTS,
                                     .n_ranges = RANGES,
                                     .y_stride = EMBD,
                                     .shared_stride = EMBD,
                                     .res_stride = EMBD,
                                     .out_stride = EMBD + 4,
                                     .has_shared = 1};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, ROWS * USED, EMBD},
                                    {2, SMT_CHECK_INPUT, ROWS, EMBD},
                                    {3, SMT_CHECK_INPUT, ROWS, EMBD},
                                    {4, SMT_CHECK_FLOATS, ROWS + 1, EMBD + 4},
                                    {5, SMT_CHECK_INPUT, ROWS, USED},
                                    {6, SMT_CHECK_INPUT, ROWS, USED},
                                    {7, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *y = c->memory[0], *shared = c->memory[1], *residual = c->memory[2], *weights = c->memory[5],
          *expected = c->expected[3];
    smt_check_fill(c, y, ROWS * USED * EMBD);
    smt_check_fill(c, shared, ROWS * EMBD);
    smt_check_fill(c, residual, ROWS * EMBD);
    smt_check_fill(c, weights, ROWS * USED);
    fill_ids(c->memory[4]);
    smt_check_step(c->memory[6], ROWS, 0, ROWS + 1);
    for (uint32_t i = 0; i < ROWS * EMBD; i++) {
        uint32_t r = i / EMBD, d = i % EMBD;
        double sum = (double)shared[i] + (double)residual[i];
        for (uint32_t s = r * USED; s < (r + 1) * USED; s++) sum += (double)weights[s] * (double)y[s * EMBD + d];
        expected[r * p.out_stride + d] = (float)sum;
    }
    return smt_check_run(c, &p, (const uint32_t[]){smt_div_up(EMBD, 64), ROWS + 1, 1}, BOUND, err);
}

static const struct parts_params sums = {.n_embd = EMBD,
                                         .n_used = USED,
                                         .n_ranges = RANGES,
                                         .range_size = RANGE_SIZE,
                                         .y_stride = EMBD,
                                         .part_rows = ROWS + 1,
                                         .part_stride = EMBD,
                                         .shared_stride = EMBD,
                                         .res_stride = EMBD,
                                         .out_stride = EMBD + 4,
                                         .has_shared = 1};

/* The ranges of a device that has all but the first. */
smt_status smt_check_parts(smt_check *c, smt_error *err) {
    struct parts_params p = sums;
    p.first_range = 1;
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, ROWS * USED, EMBD},
                                    {2, SMT_CHECK_FLOATS, (RANGES - 1) * (ROWS + 1), EMBD},
                                    {3, SMT_CHECK_INPUT, ROWS, USED},
                                    {4, SMT_CHECK_INPUT, ROWS, USED},
                                    {5, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *y = c->memory[0], *weights = c->memory[3], *expected = c->expected[1];
    const uint32_t *ids = c->memory[2];
    smt_check_fill(c, y, ROWS * USED * EMBD);
    smt_check_fill(c, weights, ROWS * USED);
    fill_ids(c->memory[2]);
    smt_check_step(c->memory[4], ROWS, 0, ROWS + 1);
    for (uint32_t i = 0; i < (RANGES - 1) * ROWS * EMBD; i++) {
        uint32_t range = i / EMBD / ROWS, r = i / EMBD % ROWS, d = i % EMBD;
        double sum = 0;
        for (uint32_t s = r * USED; s < (r + 1) * USED; s++)
            if (ids[s] / RANGE_SIZE == range + p.first_range) sum += (double)weights[s] * (double)y[s * EMBD + d];
        expected[(range * (ROWS + 1) + r) * EMBD + d] = (float)sum;
    }
    return smt_check_run(c, &p, (const uint32_t[]){smt_div_up(EMBD, 64), ROWS + 1, RANGES - 1}, BOUND, err);
}

smt_status smt_check_join(smt_check *c, smt_error *err) {
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, RANGES * (ROWS + 1), EMBD},
                                    {2, SMT_CHECK_INPUT, ROWS, EMBD},
                                    {3, SMT_CHECK_INPUT, ROWS, EMBD},
                                    {4, SMT_CHECK_FLOATS, ROWS + 1, EMBD + 4},
                                    {5, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *all = c->memory[0], *shared = c->memory[1], *residual = c->memory[2], *expected = c->expected[3];
    smt_check_fill(c, all, RANGES * (ROWS + 1) * EMBD);
    smt_check_fill(c, shared, ROWS * EMBD);
    smt_check_fill(c, residual, ROWS * EMBD);
    smt_check_step(c->memory[4], ROWS, 0, ROWS + 1);
    for (uint32_t i = 0; i < ROWS * EMBD; i++) {
        double sum = (double)shared[i] + (double)residual[i];
        for (uint32_t range = 0; range < RANGES; range++) sum += (double)all[range * (ROWS + 1) * EMBD + i];
        expected[i / EMBD * sums.out_stride + i % EMBD] = (float)sum;
    }
    return smt_check_run(c, &sums, (const uint32_t[]){smt_div_up(EMBD, 64), ROWS + 1, 1}, BOUND, err);
}
