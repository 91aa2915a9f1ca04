/* test_kv_blocks.c: the bookkeeping of cache blocks: no block has two owners, none is lost, failures change nothing. */
#include "support.h"

#include "kv/kv.h"

#include <params.h>

/* Every block is either free once or in one slot's row once; rows are zero beyond what is held. */
static void check_partition(const smt_kv *kv) {
    uint32_t seen[256] = {0};
    assert_in_range(kv->n_blocks, 0, SMT_COUNT(seen));
    for (uint32_t i = 0; i < kv->n_free; i++) {
        assert_in_range(kv->free_list[i], 0, kv->n_blocks - 1);
        seen[kv->free_list[i]]++;
    }
    for (uint32_t slot = 0; slot < kv->n_slots; slot++)
        for (uint32_t i = 0; i < kv->per_slot; i++) {
            uint32_t block = kv->table[slot * kv->per_slot + i];
            if (i < kv->held[slot])
                seen[block]++;
            else
                assert_int_equal(block, 0);
        }
    for (uint32_t i = 0; i < kv->n_blocks; i++) assert_int_equal(seen[i], 1);
}

static void test_grow_and_shrink(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    SMT_ASSERT_OK(smt_kv_init(&kv, 2, 4, 8, &err), &err);
    const struct {
        uint32_t length, blocks;
    } steps[] = {{0, 0}, {1, 1}, {SMT_BLOCK, 1}, {SMT_BLOCK + 1, 2}, {4 * SMT_BLOCK, 4}, {3 * SMT_BLOCK, 3}, {1, 1}, {0, 0}};
    for (size_t i = 0; i < SMT_COUNT(steps); i++) {
        SMT_ASSERT_OK(smt_kv_resize(&kv, 1, steps[i].length, &err), &err);
        assert_int_equal(kv.held[1], steps[i].blocks);
        assert_int_equal(kv.held[0], 0);
        check_partition(&kv);
    }
    smt_kv_free(&kv);
    smt_kv_free(&kv); /* freeing twice is harmless */
}

/* What a session holds stays where it is while it grows: the device has already written there. */
static void test_blocks_stay(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    uint32_t before[3];
    SMT_ASSERT_OK(smt_kv_init(&kv, 2, 6, 12, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 3 * SMT_BLOCK, &err), &err);
    memcpy(before, kv.table, sizeof before);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 1, 2 * SMT_BLOCK, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 6 * SMT_BLOCK, &err), &err);
    assert_memory_equal(before, kv.table, sizeof before);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 2 * SMT_BLOCK + 1, &err), &err);
    assert_memory_equal(before, kv.table, sizeof before);
    check_partition(&kv);
    smt_kv_free(&kv);
}

static void test_limits(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    SMT_ASSERT_OK(smt_kv_init(&kv, 2, 4, 5, &err), &err); /* fewer blocks than both slots may hold */
    assert_int_equal(smt_kv_resize(&kv, 0, 4 * SMT_BLOCK + 1, &err), SMT_FULL);
    assert_non_null(strstr(err.message, "1024"));
    assert_int_equal(kv.held[0], 0);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 4 * SMT_BLOCK, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 1, 1, &err), &err);
    uint32_t kept = kv.table[4];
    assert_int_equal(smt_kv_resize(&kv, 1, 2 * SMT_BLOCK, &err), SMT_FULL); /* the pool is empty: nothing changes */
    assert_int_equal(kv.held[1], 1);
    assert_int_equal(kv.table[4], kept);
    check_partition(&kv);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, SMT_BLOCK, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 1, 4 * SMT_BLOCK, &err), &err);
    check_partition(&kv);
    smt_kv_free(&kv);
}

static void test_slots(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    uint32_t a, b, c;
    SMT_ASSERT_OK(smt_kv_init(&kv, 2, 2, 4, &err), &err);
    SMT_ASSERT_OK(smt_kv_take_slot(&kv, &a, &err), &err);
    SMT_ASSERT_OK(smt_kv_take_slot(&kv, &b, &err), &err);
    assert_int_not_equal(a, b);
    assert_int_equal(smt_kv_take_slot(&kv, &c, &err), SMT_FULL);
    assert_non_null(strstr(err.message, "2 sessions"));
    SMT_ASSERT_OK(smt_kv_resize(&kv, a, 2 * SMT_BLOCK, &err), &err);
    smt_kv_release_slot(&kv, a);
    assert_int_equal(kv.n_free, 4);
    SMT_ASSERT_OK(smt_kv_take_slot(&kv, &c, &err), &err);
    assert_int_equal(c, a);
    assert_int_equal(kv.held[c], 0);
    check_partition(&kv);
    smt_kv_free(&kv);
}

/* A long random life of four sessions over a pool that is too small for all of them. */
static void test_random_life(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    smt_test_random random = {7};
    uint32_t full = 0;
    SMT_ASSERT_OK(smt_kv_init(&kv, 4, 16, 40, &err), &err);
    for (int i = 0; i < 2000; i++) {
        uint32_t slot = (uint32_t)(smt_test_next(&random) % 4),
                 length = (uint32_t)(smt_test_next(&random) % (16 * SMT_BLOCK + 1));
        uint32_t before = kv.held[slot];
        smt_status status = smt_kv_resize(&kv, slot, length, &err);
        assert_true(status == SMT_OK || status == SMT_FULL);
        assert_int_equal(kv.held[slot], status == SMT_OK ? smt_div_up(length, SMT_BLOCK) : before);
        full += status == SMT_FULL;
        check_partition(&kv);
    }
    assert_in_range(full, 1, 1999);
    smt_kv_free(&kv);
}

static void test_no_memory(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    for (uint64_t n = 1; n <= 4; n++) {
        smt_mem_fail_after(n);
        assert_int_equal(smt_kv_init(&kv, 2, 4, 8, &err), SMT_MEMORY);
        smt_mem_fail_after(0);
        assert_null(kv.table);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grow_and_shrink), cmocka_unit_test(test_blocks_stay),
                                       cmocka_unit_test(test_limits),          cmocka_unit_test(test_slots),
                                       cmocka_unit_test(test_random_life),     cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
