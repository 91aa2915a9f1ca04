/* test_run_pace.c: how much work a submission may hold, learned from how long submissions take: on invented devices of any speed a wrong
 * guess mends itself within a few submissions, one disturbance changes nothing, and a device that does well is left alone. */
#include "support.h"

#include "run/run.h"

static smt_run_pace begin(uint32_t cap_ms) {
    smt_run_pace pace;
    smt_run_pace_begin(&pace, &(smt_caps){.kind = SMT_KIND_CPU}, cap_ms);
    return pace;
}

/* n full submissions of a device that does so much work a second. */
static void submit(smt_run_pace *pace, bool many, double speed, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const smt_run_flight flight = {.work = pace->most[many], .many = many};
        smt_run_pace_learn(pace, &flight, flight.work / speed);
    }
}

static void test_finds_the_speed(void **state) {
    (void)state;
    for (double speed = 1e8; speed < 1e13; speed *= 7)
        for (uint32_t cap_ms = 10; cap_ms <= 1000; cap_ms *= 10) {
            smt_run_pace pace = begin(cap_ms);
            double other = pace.most[0];
            submit(&pace, true, speed, 40);
            double taken = pace.most[1] / speed / pace.cap_s;
            if (taken > 0.9 || taken < 0.1) fail_msg("speed %g, cap %u ms: %g of it is used", speed, cap_ms, taken);
            assert_true(pace.most[0] == other); /* steps of one row are learned apart */
            double settled = pace.most[1];
            submit(&pace, true, speed, 100);
            assert_true(pace.most[1] == settled);
        }
}

/* One late submission may be somebody else's load; a second one soon after is not. */
static void test_disturbances(void **state) {
    (void)state;
    smt_run_pace pace = begin(100);
    submit(&pace, false, 1e10, 40);
    double settled = pace.most[0];
    const smt_run_flight flight = {.work = settled};
    smt_run_pace_learn(&pace, &flight, 5);
    assert_true(pace.most[0] == settled);
    submit(&pace, false, 1e10, 40); /* forgotten */
    smt_run_pace_learn(&pace, &flight, 5);
    assert_true(pace.most[0] == settled);
    smt_run_pace_learn(&pace, &flight, 5);
    assert_true(pace.most[0] == settled / 4); /* not all at once */
}

/* The end of a step is short because little is left, not because the device is fast. */
static void test_short_ones(void **state) {
    (void)state;
    smt_run_pace pace = begin(100);
    double guess = pace.most[0];
    const smt_run_flight flight = {.work = guess / 3};
    for (int i = 0; i < 100; i++) smt_run_pace_learn(&pace, &flight, 1e-4);
    assert_true(pace.most[0] == guess);
}

/* Segments are cut anew when they are too long, or needlessly short. */
static void test_stale(void **state) {
    (void)state;
    smt_run_pace pace = begin(100);
    double most = pace.most[1];
    assert_false(smt_run_pace_stale(&pace, most, 4, true));
    pace.most[1] *= 2;
    assert_true(smt_run_pace_stale(&pace, most, 4, true));
    assert_false(smt_run_pace_stale(&pace, most, 1, true));
    pace.most[1] /= 4;
    assert_true(smt_run_pace_stale(&pace, most, 1, true));
    assert_false(smt_run_pace_stale(&pace, most, 1, false));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finds_the_speed), cmocka_unit_test(test_disturbances),
                                       cmocka_unit_test(test_short_ones), cmocka_unit_test(test_stale)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
