/* check_token.c: the norm, the gate of a feed-forward layer, and the draw of a token. */
#include "check/check_internal.h"

#include "ref/ref.h"
#include "sample/sample.h"

#include <draw.h>
#include <string.h>

#define BOUND 1e-4

smt_status smt_check_norm(smt_check *c, smt_error *err) {
    enum { ROWS = 3, K = 172 };
    const struct norm_params p = {.k = K, .x_stride = K, .y_stride = K + 4, .count_word = STEP_N_ROWS, .eps = 1e-2f};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, ROWS, K},
                                    {2, SMT_CHECK_FLOATS, ROWS + 1, K + 4},
                                    {3, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)},
                                    {0, SMT_CHECK_INPUT, 1, K}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *x = c->memory[0], *weight = c->memory[3], *expected = c->expected[1];
    smt_check_fill(c, x, ROWS * K);
    smt_check_fill(c, weight, K);
    smt_check_step(c->memory[2], ROWS, 0, ROWS + 1);
    for (uint32_t r = 0; r < ROWS; r++) smt_ref_rmsnorm(x + r * K, weight, p.eps, expected + r * p.y_stride, K);
    return smt_check_run(c, &p, (const uint32_t[]){ROWS + 1, 1, 1}, BOUND, err);
}

smt_status smt_check_swiglu(smt_check *c, smt_error *err) {
    enum { ROWS = 3, N = 100, STRIDE = N + 4 };
    const struct swiglu_params p = {.n = N, .stride = STRIDE, .per_entry = 1};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, ROWS + 1, STRIDE},
                                    {2, SMT_CHECK_INPUT, ROWS + 1, STRIDE},
                                    {3, SMT_CHECK_FLOATS, ROWS + 1, STRIDE},
                                    {4, SMT_CHECK_INPUT, 1, smt_check_step_words(ROWS + 1)}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    float *gate = c->memory[0], *up = c->memory[1], *expected = c->expected[2];
    smt_check_fill(c, gate, ROWS * STRIDE);
    smt_check_fill(c, up, ROWS * STRIDE);
    smt_check_step(c->memory[3], ROWS, 0, ROWS + 1);
    for (uint32_t i = 0; i < ROWS * STRIDE; i++)
        if (i % STRIDE < N) expected[i] = smt_ref_silu(gate[i]) * up[i];
    return smt_check_run(c, &p, (const uint32_t[]){smt_div_up(N, 64), ROWS + 1, 1}, BOUND, err);
}

/* ---- the draw of a token ---- */

enum { VOCABULARY = 300, PER_GROUP = 2, GROUPS = 3 * SAMPLE_TILE }; /* 2.3 tiles of 128 logits */
static const struct sample_params sizes = {.n_vocab = VOCABULARY, .per_group = PER_GROUP, .n_groups = GROUPS};

/* Logits as whole numbers of the same order, as lib/sample_funcs.glsl has them. */
static uint32_t order_of(float logit) {
    uint32_t bits;
    memcpy(&bits, &logit, sizeof bits);
    uint32_t size = bits & 0x7fffffffu;
    return bits >> 31 && size ? ~bits : size | 0x80000000u;
}

/* The best of each group: {order, id}. */
static void best_of_groups(const float *logits, uint32_t *best) {
    for (uint32_t g = 0; g < GROUPS; g++) {
        uint32_t first = g / SAMPLE_TILE * PER_GROUP * SAMPLE_TILE + g % SAMPLE_TILE;
        best[2 * g] = 0;
        best[2 * g + 1] = first;
        for (uint32_t id = first; id < first + PER_GROUP * SAMPLE_TILE && id < VOCABULARY; id += SAMPLE_TILE)
            if (order_of(logits[id]) > best[2 * g]) best[2 * g] = order_of(logits[id]), best[2 * g + 1] = id;
    }
}

smt_status smt_check_sample_top(smt_check *c, smt_error *err) {
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, 1, VOCABULARY}, {2, SMT_CHECK_WORDS, GROUPS, 2}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    smt_check_fill(c, c->memory[0], VOCABULARY);
    best_of_groups(c->memory[0], c->expected[1]);
    return smt_check_run(c, &sizes, (const uint32_t[]){GROUPS / SAMPLE_TILE, 1, 1}, 0, err);
}

/* The token that the host draws of the logits, as the rule has it. */
static smt_status draw(smt_check *c, const smt_sample_rule *rule, const float *logits, uint64_t position, uint32_t *out_token,
                       smt_error *err) {
    void *entries;
    SMT_TRY(smt_check_alloc(c, rule->top_k, sizeof(smt_token_logprob), &entries, err));
    smt_sample_best best = {.entries = entries, .capacity = rule->top_k};
    for (uint32_t i = 0; i < VOCABULARY; i++) smt_sample_offer(&best, (int32_t)i, logits[i]);
    smt_sample_sort(&best);
    *out_token = (uint32_t)smt_sample_by_rule(rule, &best, position);
    return SMT_OK;
}

/* A token drawn after a step of one row; the step buffer is the next step's then. */
smt_status smt_check_sample_draw(smt_check *c, smt_error *err) {
    enum { INDEX = 255, POSITION = 1000, DRAWN = 62, SLOT = 4 };
    const smt_sample_rule rule = {.top_k = 20, .inverse = 0.5f, .top_p = 0xe0000000u, .seed_low = 7, .seed_high = 1};
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, 1, VOCABULARY},
                                    {2, SMT_CHECK_INPUT, 2, DRAW_MOST * PER_GROUP},
                                    {3, SMT_CHECK_WORDS, 1, smt_check_step_words(1)},
                                    {4, SMT_CHECK_WORDS, 1, SAMPLE_RING}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    uint32_t *step = c->memory[2], *next = c->expected[2], token;
    smt_check_fill(c, c->memory[0], VOCABULARY);
    best_of_groups(c->memory[0], c->memory[1]);
    SMT_TRY(draw(c, &rule, c->memory[0], INDEX + 1, &token, err));
    memset(step, 0, 4 * smt_check_step_words(1));
    smt_check_step(step, 1, 1, 1);
    step[STEP_ATTEND] = 7;
    step[STEP_TOP_K] = rule.top_k;
    memcpy(&step[STEP_INVERSE], &rule.inverse, sizeof rule.inverse);
    step[STEP_TOP_P] = rule.top_p;
    step[STEP_MIN_P] = rule.min_p;
    step[STEP_SEED] = rule.seed_low;
    step[STEP_SEED + 1] = rule.seed_high;
    step[STEP_DRAWN] = DRAWN;
    smt_check_step_set(step, STEP_ARRAY_SLOT, 0, SLOT);
    smt_check_step_set(step, STEP_ARRAY_INDEX, 0, INDEX);
    smt_check_step_set(step, STEP_ARRAY_POSITION, 0, POSITION);
    memcpy(next, step, 4 * smt_check_step_words(1));
    next[STEP_ATTEND + 1] = 1;
    next[STEP_ATTEND + 2] = (INDEX + 1) / SMT_BLOCK + 1;
    next[STEP_DRAWN] = DRAWN + 1;
    smt_check_step_set(next, STEP_ARRAY_TOKEN, 0, token);
    smt_check_step_set(next, STEP_ARRAY_INDEX, 0, INDEX + 1);
    smt_check_step_set(next, STEP_ARRAY_POSITION, 0, POSITION + 1);
    ((uint32_t *)c->expected[3])[DRAWN] = token;
    return smt_check_run(c, &sizes, (const uint32_t[]){1, 1, 1}, 0, err);
}
