/* test_run_bucket.c: the row counts that steps are recorded for. */
#include "support.h"

#include "run/run.h"

/* Buckets: few, never below the rows asked for, powers of two. */
static void test_buckets(void **state) {
    (void)state;
    assert_int_equal(smt_plan_bucket(0), 1);
    assert_int_equal(smt_plan_bucket(1), 1);
    for (uint32_t n = 2; n <= 5000; n++) {
        uint32_t bucket = smt_plan_bucket(n);
        assert_true(bucket >= n && bucket >= 8 && (bucket & (bucket - 1)) == 0 && (bucket == 8 || bucket / 2 < n));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_buckets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
