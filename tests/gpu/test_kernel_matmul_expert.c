/* test_kernel_matmul_expert.c: the matrix kernel fed from a work list: experts found through the table in one of several windows,
 * entries of one expert side by side in a tile; and moe_down, which sums a single row's. Equal to the bit to the plain-C dot product, as
 * the dense form.
 *
 * Every expert has three matrices of its own, so that a wrong window, expert, table word or offset gives other numbers. */
#include "kernel_support.h"

#include "ref/ref.h"

typedef struct grouped {
    smt_dtype type;
    uint32_t k, rows, columns, windows; /* of the variant */
    uint32_t n_experts, n_used, n_rows;
    uint32_t table_word; /* EXPERT_GATE, _UP or _DOWN */
    bool gated;
} grouped;

#define MAX_EXPERTS 20

typedef struct expert_set {
    smt_lab_matrix parts[MAX_EXPERTS][3]; /* gate, up, down */
} expert_set;

/* Experts lie in windows as the planner puts them: consecutive ones together, gate, up and down of one expert behind one another,
 * 256-byte aligned. Fills the table. */
static void place_experts(smt_lab *lab, const grouped *g, const expert_set *set, uint32_t *table) {
    const smt_lab_matrix *m = &set->parts[0][0];
    uint32_t part = (uint32_t)smt_align_up((uint64_t)m->rows * m->row_bytes + 4, 256), lead = 256;
    uint32_t per_window = smt_div_up(g->n_experts, g->windows);
    for (uint32_t e = 0; e < g->n_experts;) {
        uint8_t *bytes = smt_lab_window(lab, lead + 3 * (size_t)part * per_window);
        for (uint32_t i = 0; i < per_window && e < g->n_experts; i++, e++) {
            table[e * EXPERT_WORDS + EXPERT_WINDOW] = lab->job.n_windows - 1;
            for (uint32_t j = 0; j < 3; j++) {
                uint32_t at = lead + (3 * i + j) * part;
                smt_lab_matrix_put(lab, &set->parts[e][j], 0, m->rows, bytes + at);
                table[e * EXPERT_WORDS + EXPERT_GATE + j] = at / 16;
            }
        }
    }
}

static float expected_value(const smt_lab *lab, const grouped *g, const smt_lab_matrix parts[3], uint32_t row, const float *x) {
    float y = smt_lab_row_dot(lab, &parts[g->table_word - EXPERT_GATE], row, x);
    return g->gated ? smt_ref_silu(y) * smt_lab_row_dot(lab, &parts[1], row, x) : y;
}

typedef enum arithmetic { EXACT, FAST, COOP, COOP_PLAIN } arithmetic; /* the last: spelled out, smt_kernel_key.coop 2 */

static void check_precise(smt_lab *lab, smt_lab_mode mode, const grouped *g, arithmetic how) {
    static const char *const names[] = {"", " fast", " coop", " coop plain"};
    char label[200];
    snprintf(label, sizeof label, "%s k %u rows %u x%u w%u experts %u used %u rows %u word %u%s%s%s",
             smt_dtype_get((uint32_t)g->type)->name, g->k, g->rows, g->columns, g->windows, g->n_experts, g->n_used, g->n_rows,
             g->table_word, names[how], g->gated ? " gated" : "", smt_lab_mode_names[mode]);
    const smt_kernel_key key = {.kernel = SMT_KERNEL_MATMUL,
                                .windows = g->windows,
                                .type = (uint32_t)g->type,
                                .columns = g->columns,
                                .gated = g->gated,
                                .expert = 1,
                                .fast = how == FAST,
                                .coop = how >= COOP ? how - FAST : 0};
    smt_test_random random = {.state = g->k * 100 + g->columns};
    static expert_set set;
    for (uint32_t e = 0; e < g->n_experts; e++)
        for (uint32_t j = 0; j < 3; j++) set.parts[e][j] = smt_lab_matrix_make(&random, g->type, g->rows, g->k);
    bool down = g->table_word == EXPERT_DOWN;
    uint32_t entries = g->n_rows * g->n_used, x_rows = down ? entries : g->n_rows;
    const struct group_params list = {
        .end_expert = g->n_experts, .columns = g->columns, .entries_word = WORK_HEAD + WORK_TILE_WORDS * entries + 3};
    const struct matmul_params p = {.row_bytes = set.parts[0][0].row_bytes,
                                    .k = g->k,
                                    .rows = g->rows,
                                    .x_stride = (uint32_t)smt_align_up(g->k, 4) + 4,
                                    .y_stride = g->rows + 3,
                                    .table_word = g->table_word,
                                    .entries_word = list.entries_word,
                                    .x_div = down ? 1 : g->n_used};
    uint32_t ids[512];
    assert_true(entries <= SMT_COUNT(ids) && g->n_experts <= MAX_EXPERTS);
    smt_lab_experts(ids, g->n_rows, g->n_used, g->n_experts);

    smt_lab_begin(lab, mode, &key);
    size_t y_words = (size_t)p.y_stride * (entries + 1);
    float *x = smt_lab_buffer(lab, 1, 4ull * p.x_stride * x_rows), *y = smt_lab_output(lab, 2, y_words),
          *expected = smt_lab_image(y_words);
    smt_lab_fill(&random, x, x_rows, p.x_stride, g->k);
    place_experts(lab, g, &set, smt_lab_buffer(lab, 5, 4ull * EXPERT_WORDS * g->n_experts));
    uint32_t tiles = smt_lab_work(ids, entries, &list, smt_lab_buffer(lab, 6, 4ull * (list.entries_word + entries)));
    smt_lab_run(lab, &p,
                smt_div_up(g->rows, smt_kernel_matmul_rows(smt_vk_device_caps(lab->devices[mode]), g->columns, g->gated)), tiles,
                1);

    for (uint32_t i = 0; i < entries; i++)
        for (uint32_t row = 0; row < g->rows; row++)
            expected[i * p.y_stride + row] = expected_value(lab, g, set.parts[ids[i]], row, x + i / p.x_div * p.x_stride);
    if (how < COOP)
        smt_lab_same(label, y, expected, y_words);
    else
        smt_lab_close(label, y, expected, y_words, g->gated ? SMT_LAB_COOP_GATED_BOUND : SMT_LAB_COOP_BOUND);
    smt_free(expected);
    for (uint32_t e = 0; e < g->n_experts; e++)
        for (uint32_t j = 0; j < 3; j++) smt_lab_matrix_free(&set.parts[e][j]);
}

static void check_grouped(smt_lab *lab, smt_lab_mode mode, const grouped *g) { check_precise(lab, mode, g, EXACT); }

/* The same entries of one row in moe_down: slots in ascending id, as src/ref sums them, shared expert and residual. */
static float expected_sum(const smt_lab *lab, const grouped *g, const expert_set *set, const struct matmul_params *p,
                          const uint32_t *ids, const float *weights, const float *x, uint32_t row) {
    float total = 0, part = 0;
    for (uint32_t e = 0; e < g->n_experts; e++) {
        if (e > 0 && e % p->range_size == 0) total += part, part = 0;
        for (uint32_t s = 0; s < g->n_used; s++) {
            if (ids[s] != e) continue;
            float y = smt_lab_row_dot(lab, &set->parts[e][2], row, x + s * p->x_stride);
            part = smt_lab_fma(lab, weights[s], y, part);
        }
    }
    return total + part;
}

static void check_down(smt_lab *lab, smt_lab_mode mode, const grouped *g, uint32_t range_size, bool shared) {
    char label[200];
    snprintf(label, sizeof label, "moe_down %s k %u rows %u w%u %u of %u in ranges of %u%s%s",
             smt_dtype_get((uint32_t)g->type)->name, g->k, g->rows, g->windows, g->n_used, g->n_experts, range_size,
             shared ? " shared" : "", smt_lab_mode_names[mode]);
    uint32_t blocks = smt_div_up(g->rows, smt_kernel_matmul_rows(smt_vk_device_caps(lab->devices[mode]), 1, false));
    const smt_kernel_key key = {
        .kernel = SMT_KERNEL_MOE_DOWN, .windows = g->windows, .type = (uint32_t)g->type, .columns = 1, .expert = 1, .norm = 1};
    smt_test_random random = {.state = g->k * 100 + g->n_used};
    static expert_set set;
    for (uint32_t e = 0; e < g->n_experts; e++)
        for (uint32_t j = 0; j < 3; j++) set.parts[e][j] = smt_lab_matrix_make(&random, g->type, g->rows, g->k);
    const struct group_params list = {
        .end_expert = g->n_experts, .columns = 1, .entries_word = WORK_HEAD + WORK_TILE_WORDS * g->n_used + 3};
    const struct matmul_params p = {.row_bytes = set.parts[0][0].row_bytes,
                                    .k = g->k,
                                    .rows = g->rows,
                                    .x_stride = (uint32_t)smt_align_up(g->k, 4) + 4,
                                    .table_word = EXPERT_DOWN,
                                    .entries_word = list.entries_word,
                                    .x_div = 1,
                                    .range_size = range_size,
                                    .has_shared = shared,
                                    .norm_k = g->rows,
                                    .norm_groups = blocks,
                                    .eps = 1e-2f};
    uint32_t ids[MAX_EXPERTS], words = g->rows + 3;
    for (uint32_t s = 0; s < g->n_used; s++) ids[s] = (s * 7 + 3) % g->n_experts; /* distinct: 7 is prime to n */

    smt_lab_begin(lab, mode, &key);
    float *x = smt_lab_buffer(lab, 1, 4ull * p.x_stride * g->n_used), *y = smt_lab_output(lab, 2, words),
          *residual = smt_lab_buffer(lab, 3, 4ull * g->rows), *weights = smt_lab_buffer(lab, 4, 4ull * g->n_used),
          *shared_y = smt_lab_buffer(lab, 8, 4ull * g->rows), *expected = smt_lab_image(words);
    smt_lab_fill(&random, x, g->n_used, p.x_stride, g->k);
    smt_lab_fill(&random, residual, 1, g->rows, g->rows);
    smt_lab_fill(&random, weights, 1, g->n_used, g->n_used);
    smt_lab_fill(&random, shared_y, 1, g->rows, shared ? g->rows : 0);
    place_experts(lab, g, &set, smt_lab_buffer(lab, 5, 4ull * EXPERT_WORDS * g->n_experts));
    uint32_t *work = smt_lab_buffer(lab, 6, 4ull * (list.entries_word + g->n_used));
    smt_lab_work(ids, g->n_used, &list, work);
    float *norm_weight = smt_lab_buffer(lab, 9, 4ull * g->rows), *normed = smt_lab_output(lab, 10, words),
          *expected_norm = smt_lab_image(words);
    uint32_t *counter = smt_lab_buffer(lab, 11, 4);
    smt_lab_fill(&random, norm_weight, 1, g->rows, g->rows);
    smt_lab_run(lab, &p, blocks, 1, 1);
    for (uint32_t row = 0; row < g->rows; row++) {
        expected[row] = expected_sum(lab, g, &set, &p, ids, weights, x, row);
        if (shared) expected[row] += shared_y[row];
        expected[row] += residual[row];
    }
    smt_lab_same(label, y, expected, words);
    smt_ref_rmsnorm(expected, norm_weight, p.eps, expected_norm, g->rows);
    smt_lab_close(label, normed, expected_norm, words, 1e-6);
    assert_int_equal(*counter, 0);
    work[WORK_TILES] = 0; /* a step without rows writes nothing */
    for (uint32_t i = 0; i < words; i++) y[i] = expected[i] = -7;
    smt_lab_run(lab, &p, blocks, 1, 1);
    smt_lab_same(label, y, expected, words);
    smt_free(expected);
    smt_free(expected_norm);
    for (uint32_t e = 0; e < g->n_experts; e++)
        for (uint32_t j = 0; j < 3; j++) smt_lab_matrix_free(&set.parts[e][j]);
}

static void test_down(void **state) {
    static const struct {
        grouped g;
        uint32_t range_size;
        bool shared;
    } cases[] = {
        {{.type = SMT_DTYPE_F32, .k = 30, .rows = 33, .windows = 1, .n_experts = 8, .n_used = 1}, 1, false},
        {{.type = SMT_DTYPE_Q8_0, .k = 96, .rows = 65, .windows = 4, .n_experts = 20, .n_used = 6}, 3, true},
        {{.type = SMT_DTYPE_Q4_K, .k = 512, .rows = 7, .windows = 16, .n_experts = 16, .n_used = 16}, 2, true},
        {{.type = SMT_DTYPE_Q5_0, .k = 160, .rows = 40, .windows = 1, .n_experts = 12, .n_used = 5}, 12, true},
        {{.type = SMT_DTYPE_IQ3_S, .k = 256, .rows = 34, .windows = 4, .n_experts = 6, .n_used = 4}, 2, false},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++)
        check_down(*state, SMT_LAB_FULL, &cases[i].g, cases[i].range_size, cases[i].shared);
    check_down(*state, SMT_LAB_MINIMUM, &cases[1].g, 3, true);
    check_down(*state, SMT_LAB_OTHER, &cases[1].g, 3, true);
}

static void test_windows(void **state) {
    const grouped cases[] = {
        {SMT_DTYPE_F16, 30, 33, 1, 1, 7, 3, 5, EXPERT_DOWN, false},
        {SMT_DTYPE_Q8_0, 96, 7, 2, 4, 13, 3, 9, EXPERT_UP, false},
        {SMT_DTYPE_Q5_0, 96, 40, 2, 16, 20, 4, 9, EXPERT_DOWN, false},
        {SMT_DTYPE_F32, 3, 65, 1, 16, 16, 2, 4, EXPERT_GATE, false},
        {SMT_DTYPE_MXFP4, 96, 33, 1, 4, 7, 2, 3, EXPERT_DOWN, false},
        {SMT_DTYPE_Q3_K, 256, 34, 1, 1, 6, 2, 3, EXPERT_DOWN, false},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_grouped(*state, SMT_LAB_FULL, &cases[i]);
}

/* Eight columns take an expert's many entries in full tiles and one that is not. */
static void test_columns(void **state) {
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_Q4_0, 160, 33, 8, 4, 9, 3, 21, EXPERT_DOWN, false});
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_Q4_K, 256, 9, 4, 4, 6, 2, 11, EXPERT_GATE, false});
}

static void test_gated(void **state) {
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_Q4_K, 512, 33, 1, 4, 6, 2, 1, EXPERT_GATE, true});
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_BF16, 172, 7, 2, 16, 20, 3, 9, EXPERT_GATE, true});
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_Q6_K, 256, 33, 2, 1, 5, 2, 5, EXPERT_GATE, true});
    check_grouped(*state, SMT_LAB_FULL, &(grouped){SMT_DTYPE_IQ2_XXS, 512, 33, 2, 4, 7, 2, 5, EXPERT_GATE, true});
}

static void test_minimum(void **state) {
    check_grouped(*state, SMT_LAB_MINIMUM, &(grouped){SMT_DTYPE_Q8_0, 96, 33, 2, 4, 9, 3, 9, EXPERT_GATE, true});
    check_grouped(*state, SMT_LAB_MINIMUM, &(grouped){SMT_DTYPE_F16, 30, 7, 1, 16, 17, 2, 3, EXPERT_DOWN, false});
    check_grouped(*state, SMT_LAB_MINIMUM, &(grouped){SMT_DTYPE_IQ1_S, 256, 33, 1, 4, 6, 2, 3, EXPERT_GATE, false});
}

static void test_other_family(void **state) {
    if (((smt_lab *)*state)->repeats) skip();
    check_grouped(*state, SMT_LAB_OTHER, &(grouped){SMT_DTYPE_Q8_0, 96, 33, 1, 4, 13, 3, 9, EXPERT_UP, false});
    check_grouped(*state, SMT_LAB_OTHER, &(grouped){SMT_DTYPE_Q5_0, 1408, 40, 8, 16, 20, 4, 21, EXPERT_DOWN, false});
    check_grouped(*state, SMT_LAB_OTHER, &(grouped){SMT_DTYPE_Q4_K, 512, 33, 2, 4, 6, 2, 11, EXPERT_GATE, true});
    check_grouped(*state, SMT_LAB_OTHER, &(grouped){SMT_DTYPE_F16, 172, 7, 4, 1, 6, 2, 11, EXPERT_GATE, true});
    smt_lab *lab = *state; /* tiles, of the device or of the other family: some full, some with few entries */
    smt_lab_mode wave = smt_lab_wave(lab, false);
    check_grouped(lab, wave, &(grouped){SMT_DTYPE_Q4_K, 768, 70, 32, 4, 6, 2, 70, EXPERT_GATE, true});
    check_grouped(lab, wave, &(grouped){SMT_DTYPE_Q5_0, 1408, 33, 64, 1, 6, 2, 66, EXPERT_DOWN, false});
}

static void test_fast(void **state) {
    smt_lab *lab = *state;
    if (lab->repeats) skip();
    smt_lab_mode wave = smt_lab_wave(lab, false);
    check_precise(lab, wave, &(grouped){SMT_DTYPE_Q8_0, 96, 33, 1, 4, 13, 3, 9, EXPERT_UP, false}, FAST);
    check_precise(lab, wave, &(grouped){SMT_DTYPE_Q4_K, 512, 33, 2, 4, 6, 2, 11, EXPERT_GATE, true}, FAST);
    check_precise(lab, wave, &(grouped){SMT_DTYPE_Q5_0, 1408, 33, 64, 1, 6, 2, 66, EXPERT_DOWN, false}, FAST);
}

static void test_coop(void **state) {
    static const grouped cases[] = {{SMT_DTYPE_Q8_0, 96, 33, 64, 4, 13, 3, 9, EXPERT_UP, false},
                                    {SMT_DTYPE_Q4_K, 512, 70, 64, 4, 6, 2, 70, EXPERT_GATE, true},
                                    {SMT_DTYPE_Q5_0, 160, 65, 64, 4, 6, 2, 66, EXPERT_DOWN, false}};
    smt_lab *lab = *state;
    if (lab->repeats) skip();
    bool own = smt_vk_device_caps(lab->devices[SMT_LAB_COOP])->coop.m > 0;
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        if (own) check_precise(lab, SMT_LAB_COOP, &cases[i], COOP);
        if (i == 1 || lab->thorough) check_precise(lab, smt_lab_wave(lab, false), &cases[i], COOP_PLAIN);
    }
}

/* For the full tier: every type in every column count (smt_lab_sweep). */
static void test_sweep(void **state) {
    static const uint32_t windows[] = {1, 4, 16};
    smt_lab *lab = *state;
    if (!lab->thorough) skip();
    smt_lab_variant v;
    for (uint32_t i = 0; smt_lab_sweep(lab, i, &v); i++) {
        uint32_t block = smt_dtype_get((uint32_t)v.type)->elems, n = windows[v.turn % 3];
        check_grouped(lab, v.mode,
                      &(grouped){v.type, block == 1 ? 30 : 2 * block, 33, v.columns, n, smt_max_u32(n, 6), 2, 2 * v.columns + 1,
                                 v.gated ? EXPERT_GATE : EXPERT_DOWN, v.gated});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down),  cmocka_unit_test(test_windows), cmocka_unit_test(test_columns),
        cmocka_unit_test(test_gated), cmocka_unit_test(test_minimum), cmocka_unit_test(test_other_family),
        cmocka_unit_test(test_fast),  cmocka_unit_test(test_coop),    cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
