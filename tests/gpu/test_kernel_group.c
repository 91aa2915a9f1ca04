/* test_kernel_group.c: the expert work list against the same list made in plain C, word for word: experts without entries, tiles
 * that are full, one short of full and one over; rows of the bucket that are idle; a device that has some of the experts, or none. */
#include "kernel_support.h"

/* Of experts [first, end). */
static void check_share(smt_lab *lab, uint32_t n_rows, uint32_t n_used, uint32_t n_experts, uint32_t columns, uint32_t first,
                        uint32_t end) {
    char label[100];
    snprintf(label, sizeof label, "group %u rows, %u of %u, x%u, from %u to %u", n_rows, n_used, n_experts, columns, first, end);
    uint32_t max_rows = n_rows + 3, max_entries = max_rows * n_used, ids[2048], experts = 64;
    while (experts < n_experts) experts *= 2;
    const struct group_params p = {.first_expert = first,
                                   .end_expert = end,
                                   .n_used = n_used,
                                   .columns = columns,
                                   .up_blocks = 22,
                                   .down_blocks = 33,
                                   .entries_word = WORK_HEAD + WORK_TILE_WORDS * max_entries,
                                   .max_entries = max_entries};
    assert_true(max_entries <= SMT_COUNT(ids));
    smt_lab_experts(ids, max_rows, n_used, n_experts); /* idle rows hold the choices of an earlier step */
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_GROUP, .windows = 1, .experts = experts});
    memcpy(smt_lab_buffer(lab, 1, 4ull * max_entries), ids, 4ull * max_entries);
    uint32_t words = p.entries_word + max_entries + 1;
    uint32_t *work = smt_lab_output(lab, 2, words), *expected = smt_lab_image(words);
    smt_lab_step(lab, 3, n_rows, 0, max_rows);
    smt_lab_run(lab, &p, 1, 1, 1);
    smt_lab_work(ids, n_rows * n_used, &p, expected);
    smt_lab_same(label, work, expected, words);
    smt_free(expected);
}

static void check_group(smt_lab *lab, uint32_t n_rows, uint32_t n_used, uint32_t n_experts, uint32_t columns) {
    check_share(lab, n_rows, n_used, n_experts, columns, 0, n_experts);
}

static void test_group(void **state) {
    check_group(*state, 1, 2, 8, 1);
    check_group(*state, 1, 6, 64, 2);
    check_group(*state, 40, 6, 64, 2);
    check_group(*state, 40, 6, 64, 8);
    check_group(*state, 7, 6, 160, 8);
    check_group(*state, 8, 8, 256, 8);
    check_group(*state, 9, 4, 256, 8);
    check_group(*state, 300, 4, 32, 8); /* more choices than are staged at a time */
}

static void test_shares(void **state) {
    check_share(*state, 40, 6, 64, 8, 0, 24);
    check_share(*state, 40, 6, 64, 8, 24, 64);
    check_share(*state, 300, 4, 32, 2, 31, 32);
    check_share(*state, 7, 6, 160, 8, 80, 80); /* no expert at all */
    check_share(*state, 1, 2, 8, 1, 0, 2);     /* none of a single row's but one */
    check_share(*state, 1, 2, 8, 1, 1, 2);     /* none of those chosen: no tile */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_group), cmocka_unit_test(test_shares)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
