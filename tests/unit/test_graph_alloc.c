/* test_graph_alloc.c: scratch offsets by lifetime: what lives at once never shares a byte, what does not live at once does share.
 */
#include "support.h"

#include "graph/graph_internal.h"

#define NO_LIMIT UINT64_MAX

static void check_disjoint(const smt_graph *graph, uint32_t align) {
    for (size_t i = 0; i < graph->n_values; i++) {
        const smt_value *a = &graph->values[i];
        if (a->kind != SMT_VALUE_SCRATCH || a->first_node == UINT32_MAX) continue;
        assert_int_equal(a->offset % align, 0);
        assert_true(a->offset + a->bytes <= graph->parts[0].scratch_bytes);
        for (size_t j = 0; j < i; j++) {
            const smt_value *b = &graph->values[j];
            if (b->kind != SMT_VALUE_SCRATCH || b->first_node > a->last_node || a->first_node > b->last_node) continue;
            assert_true(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
}

static smt_value scratch(uint64_t bytes, uint32_t first, uint32_t last) {
    return (smt_value){.kind = SMT_VALUE_SCRATCH, .bytes = bytes, .first_node = first, .last_node = last};
}

static void test_shares(void **state) {
    (void)state;
    smt_error err;
    smt_value values[] = {scratch(1024, 0, 1), scratch(512, 1, 2), scratch(1024, 2, 3), scratch(256, 3, 3)};
    smt_graph graph = {.values = values, .n_values = SMT_COUNT(values)};
    SMT_ASSERT_OK(smt_graph_alloc(&graph, 0, 256, NO_LIMIT, &err), &err);
    check_disjoint(&graph, 256);
    assert_int_equal(graph.parts[0].scratch_bytes, 1536); /* the peak: values 0 and 1, or 1 and 2 */
    assert_int_equal(values[2].offset, 0);
}

/* Other kinds and values that no node touches take no scratch. */
static void test_ignores(void **state) {
    (void)state;
    smt_error err;
    smt_value values[] = {
        {.kind = SMT_VALUE_LOGITS, .bytes = 1 << 20, .last_node = 9}, scratch(1 << 20, UINT32_MAX, 0), scratch(64, 0, 9)};
    smt_graph graph = {.values = values, .n_values = SMT_COUNT(values)};
    SMT_ASSERT_OK(smt_graph_alloc(&graph, 0, 64, NO_LIMIT, &err), &err);
    assert_int_equal(graph.parts[0].scratch_bytes, 64);
}

static void test_limit(void **state) {
    (void)state;
    smt_error err;
    smt_value values[] = {scratch(4096, 0, 1), scratch(4097, 1, 2)};
    smt_graph graph = {.shape.rows = 512, .values = values, .n_values = SMT_COUNT(values)};
    values[1].layer = 7;
    SMT_ASSERT_OK(smt_graph_alloc(&graph, 0, 64, 4097, &err), &err);
    graph.parts[0].scratch_bytes = 0;
    assert_int_equal(smt_graph_alloc(&graph, 0, 64, 4096, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "512 rows"));
    assert_non_null(strstr(err.message, "4097"));
    assert_non_null(strstr(err.message, "layer 7"));
    smt_mem_fail_after(1);
    assert_int_equal(smt_graph_alloc(&graph, 0, 64, NO_LIMIT, &err), SMT_MEMORY);
    smt_mem_fail_after(0);
}

static uint64_t peak(const smt_graph *graph, uint32_t n_nodes) {
    uint64_t most = 0;
    for (uint32_t node = 0; node < n_nodes; node++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < graph->n_values; i++)
            if (graph->values[i].first_node <= node && node <= graph->values[i].last_node) sum += graph->values[i].bytes;
        if (sum > most) most = sum;
    }
    return most;
}

static void test_random(void **state) {
    (void)state;
    enum { VALUES = 120, NODES = 100, GRAPHS = 50 };
    smt_test_random random = {3};
    smt_error err;
    for (int round = 0; round < GRAPHS; round++) {
        smt_value values[VALUES], again[VALUES];
        for (uint32_t i = 0; i < VALUES; i++) {
            uint32_t first = i * NODES / VALUES, last = first + (uint32_t)(smt_test_next(&random) % 8);
            values[i] = scratch(16 * (1 + smt_test_next(&random) % 512), first, last);
        }
        memcpy(again, values, sizeof values);
        smt_graph graph = {.values = values, .n_values = VALUES}, twin = {.values = again, .n_values = VALUES};
        SMT_ASSERT_OK(smt_graph_alloc(&graph, 0, 256, NO_LIMIT, &err), &err);
        SMT_ASSERT_OK(smt_graph_alloc(&twin, 0, 256, NO_LIMIT, &err), &err);
        check_disjoint(&graph, 256);
        for (uint32_t i = 0; i < VALUES; i++) assert_int_equal(values[i].offset, again[i].offset);
        assert_true(graph.parts[0].scratch_bytes < 2 * peak(&graph, NODES + 8) + VALUES * 256); /* near the peak, not the sum */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_ignores),
                                       cmocka_unit_test(test_limit), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
