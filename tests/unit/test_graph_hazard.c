/* test_graph_hazard.c: where barriers stand: exactly where two accesses of which one writes meet since the last barrier. */
#include "support.h"

#include "graph/graph.h"

static bool step(smt_graph_hazards *hazards, const smt_graph_access *accesses, size_t n) {
    smt_error err;
    bool barrier;
    SMT_ASSERT_OK(smt_graph_hazard_step(hazards, accesses, n, &barrier, &err), &err);
    return barrier;
}

static smt_graph_access reads(uint32_t space, uint64_t offset, uint64_t bytes) {
    return (smt_graph_access){space, offset, bytes, false};
}
static smt_graph_access writes(uint32_t space, uint64_t offset, uint64_t bytes) {
    return (smt_graph_access){space, offset, bytes, true};
}

static void test_kinds(void **state) {
    (void)state;
    const struct {
        smt_graph_access first, second;
        bool barrier;
    } rows[] = {
        {writes(0, 0, 64), reads(0, 0, 64), true},   /* read after write */
        {reads(0, 0, 64), writes(0, 0, 64), true},   /* write after read */
        {writes(0, 0, 64), writes(0, 0, 64), true},  /* write after write */
        {reads(0, 0, 64), reads(0, 0, 64), false},   /* readers never meet */
        {writes(0, 0, 64), reads(1, 0, 64), false},  /* another space */
        {writes(0, 0, 64), reads(0, 64, 64), false}, /* side by side */
        {writes(0, 64, 64), reads(0, 0, 64), false},
        {writes(0, 0, 64), reads(0, 63, 1), true}, /* one byte in common */
        {writes(0, 63, 1), reads(0, 0, 64), true},
        {writes(0, 16, 16), reads(0, 0, 64), true}, /* one inside the other */
        {writes(UINT32_MAX, 0, 1), reads(UINT32_MAX, 0, 1), true},
    };
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        smt_graph_hazards hazards = {0};
        assert_false(step(&hazards, &rows[i].first, 1));
        if (step(&hazards, &rows[i].second, 1) != rows[i].barrier) fail_msg("row %zu", i);
        smt_graph_hazards_free(&hazards);
    }
}

/* Accesses of one node do not meet each other; a barrier forgets what was before it, but not what comes with it. */
static void test_sequence(void **state) {
    (void)state;
    smt_graph_hazards hazards = {0};
    const smt_graph_access both[] = {reads(0, 0, 64), writes(0, 0, 64)};
    assert_false(step(&hazards, both, 2));
    assert_true(step(&hazards, both, 2));
    smt_graph_access read = reads(0, 0, 8), other = reads(1, 0, 8), write = writes(1, 0, 8);
    assert_true(step(&hazards, &read, 1));  /* the second `both` wrote there */
    assert_false(step(&hazards, &read, 1)); /* the barrier before has ordered it */
    assert_false(step(&hazards, &other, 1));
    assert_true(step(&hazards, &write, 1)); /* after `other`, which came after the last barrier */
    assert_false(step(&hazards, &read, 1));
    smt_graph_hazards_free(&hazards);
}

/* Against the definition, on random sequences: a barrier stands exactly where an access conflicts with one since the last
 * barrier. */
static void test_random(void **state) {
    (void)state;
    enum { STEPS = 300 };
    smt_test_random random = {11};
    smt_graph_hazards hazards = {0};
    smt_graph_access seen[STEPS];
    size_t n_seen = 0, n_barriers = 0;
    for (int i = 0; i < STEPS; i++) {
        smt_graph_access a = {.space = (uint32_t)(smt_test_next(&random) % 3),
                              .offset = smt_test_next(&random) % 64,
                              .bytes = 1 + smt_test_next(&random) % 16,
                              .write = smt_test_next(&random) % 3 == 0};
        bool due = false;
        for (size_t j = 0; j < n_seen; j++)
            for (uint64_t byte = a.offset; byte < a.offset + a.bytes; byte++)
                due |= seen[j].space == a.space && (seen[j].write || a.write) && byte >= seen[j].offset &&
                       byte < seen[j].offset + seen[j].bytes;
        assert_int_equal(step(&hazards, &a, 1), due);
        if (due) n_seen = 0;
        n_barriers += due;
        seen[n_seen++] = a;
    }
    assert_in_range(n_barriers, 10, STEPS - 10);
    smt_graph_hazards_free(&hazards);
}

static void test_no_memory(void **state) {
    (void)state;
    smt_graph_hazards hazards = {0};
    smt_graph_access a = writes(0, 0, 1);
    smt_error err;
    bool barrier;
    smt_mem_fail_after(1);
    assert_int_equal(smt_graph_hazard_step(&hazards, &a, 1, &barrier, &err), SMT_MEMORY);
    smt_mem_fail_after(0);
    smt_graph_hazards_free(&hazards);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_sequence),
                                       cmocka_unit_test(test_random), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
