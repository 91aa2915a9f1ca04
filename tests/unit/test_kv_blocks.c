/* test_kv_blocks.c: the bookkeeping of cache blocks: no block belongs to anybody by mistake, none is lost, failures
 * change nothing. */
#include "support.h"

#include "kv/kv.h"

#include <params.h>

/* Every block is either free once or in as many slots' rows as it has owners; rows are zero beyond what is held. */
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
    for (uint32_t i = 0; i < kv->n_free; i++) {
        assert_int_equal(kv->owners[kv->free_list[i]], 0);
        assert_int_equal(seen[kv->free_list[i]], 1);
        seen[kv->free_list[i]] = 0;
    }
    for (uint32_t i = 0; i < kv->n_blocks; i++) assert_int_equal(seen[i], kv->owners[i]);
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

/* Three sessions with a common beginning of two and a half blocks. */
static void test_sharing(void **state) {
    (void)state;
    enum { LENGTH = 2 * SMT_BLOCK + 100 };
    smt_error err;
    smt_kv kv;
    bool shared;
    uint32_t from, to;
    SMT_ASSERT_OK(smt_kv_init(&kv, 3, 4, 5, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, LENGTH, &err), &err);
    smt_kv_share(&kv, 1, 0, LENGTH);
    smt_kv_share(&kv, 2, 1, 2 * SMT_BLOCK);
    check_partition(&kv);
    assert_int_equal(kv.n_free, 2);
    assert_memory_equal(kv.table, kv.table + 4, 4 * sizeof *kv.table);
    SMT_ASSERT_OK(smt_kv_shared_tail(&kv, 2, 2 * SMT_BLOCK, &shared, &from, &to, &err), &err);
    assert_false(shared); /* its next position opens a block of its own */
    SMT_ASSERT_OK(smt_kv_shared_tail(&kv, 1, LENGTH, &shared, &from, &to, &err), &err);
    assert_true(shared);
    assert_int_equal(from, kv.table[2]);
    assert_int_equal(kv.owners[to], 0);
    smt_kv_replace_tail(&kv, 1, LENGTH);
    check_partition(&kv);
    assert_int_equal(kv.table[4 + 2], to);
    assert_int_equal(kv.table[2], from);
    SMT_ASSERT_OK(smt_kv_shared_tail(&kv, 0, LENGTH, &shared, &from, &to, &err), &err);
    assert_false(shared); /* the other has gone */
    SMT_ASSERT_OK(smt_kv_resize(&kv, 2, 3 * SMT_BLOCK, &err), &err);
    assert_int_equal(kv.n_free, 0);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 100, &err), &err); /* back into a block of three */
    assert_int_equal(kv.n_free, 1);
    smt_kv_release_slot(&kv, 0);
    smt_kv_release_slot(&kv, 1);
    assert_int_equal(kv.n_free, 2);
    check_partition(&kv);
    smt_kv_release_slot(&kv, 2);
    assert_int_equal(kv.n_free, 5);
    smt_kv_free(&kv);
}

/* A tail that is shared when no block is free: nothing changes. */
static void test_no_block_for_a_tail(void **state) {
    (void)state;
    smt_error err;
    smt_kv kv;
    bool shared;
    uint32_t from, to;
    SMT_ASSERT_OK(smt_kv_init(&kv, 2, 2, 1, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&kv, 0, 5, &err), &err);
    smt_kv_share(&kv, 1, 0, 5);
    assert_int_equal(smt_kv_shared_tail(&kv, 1, 5, &shared, &from, &to, &err), SMT_FULL);
    assert_false(shared);
    check_partition(&kv);
    smt_kv_free(&kv);
}

/* A long random life of four sessions over a pool that is too small for all of them; now and then one becomes a fork of another. */
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
        uint32_t before = kv.held[slot], other = (uint32_t)(smt_test_next(&random) % 16);
        if (other < 4 && other != slot) {
            smt_kv_release_slot(&kv, slot);
            smt_kv_share(&kv, slot, other, kv.held[other] * SMT_BLOCK);
            before = kv.held[slot];
            check_partition(&kv);
        }
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
    for (uint64_t n = 1; n <= 5; n++) {
        smt_mem_fail_after(n);
        assert_int_equal(smt_kv_init(&kv, 2, 4, 8, &err), SMT_MEMORY);
        smt_mem_fail_after(0);
        assert_null(kv.table);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grow_and_shrink), cmocka_unit_test(test_blocks_stay),
                                       cmocka_unit_test(test_limits),          cmocka_unit_test(test_slots),
                                       cmocka_unit_test(test_sharing),         cmocka_unit_test(test_no_block_for_a_tail),
                                       cmocka_unit_test(test_random_life),     cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
