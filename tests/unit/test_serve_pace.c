/* How many tokens of prompts a round of the server takes, on devices of all speeds: simulated, a round takes what its tokens take and
 * something for itself. */
#include "serve_internal.h"
#include "support.h"

typedef struct device {
    double round_s, token_s; /* a prompt's token; an answer's costs as much */
} device;

/* The share after a while of rounds with so many answers beside a prompt that does not end; answers alone at first. */
static uint32_t settle(const device *d, serve_pace *pace, uint32_t n_answers, uint32_t n_batch) {
    for (int i = 0; i < 4 && n_answers; i++) serve_pace_learn(pace, n_answers, 0, d->round_s + n_answers * d->token_s);
    uint32_t share = 0;
    for (int i = 0; i < 40; i++) {
        share = serve_pace_share(pace, n_answers, n_batch);
        assert_in_range(share, 1, n_batch);
        serve_pace_learn(pace, n_answers, share, d->round_s + (n_answers + share) * d->token_s);
    }
    return share;
}

static double seconds(const device *d, uint32_t n) { return n * d->token_s; }

static void test_fast_devices_take_whole_batches(void **state) {
    (void)state;
    const device gpu = {0.008, 0.00008};
    serve_pace pace = {0};
    assert_int_equal(settle(&gpu, &pace, 4, 512), 508); /* all of them in one step */
    assert_int_equal(settle(&gpu, &pace, 0, 512), 512);
}

static void test_answers_keep_half_of_their_speed(void **state) {
    (void)state;
    static const device devices[] = {{0.002, 0.0007}, {0.05, 0.001}, {0.1, 0.04}, {1, 0.04}};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        const device *d = &devices[i];
        serve_pace pace = {0};
        double alone = d->round_s + 2 * d->token_s, most = alone > 0.1 ? alone : 0.1;
        uint32_t share = settle(d, &pace, 2, 512);
        double part = seconds(d, share);
        assert_true(share == 16 || part <= 1.1 * most);
        assert_true(share == 510 || part >= 0.4 * most);
    }
}

static void test_newcomers_wait_a_second(void **state) {
    (void)state;
    const device slow = {0.1, 0.004}, slower = {0.1, 0.2};
    serve_pace pace = {0};
    assert_in_range(settle(&slow, &pace, 0, 512), 180, 250);
    pace = (serve_pace){0};
    assert_int_equal(settle(&slower, &pace, 0, 512), 64);
    assert_int_equal(settle(&slower, &pace, 0, 32), 32);
}

static void test_nothing_is_known_at_first(void **state) {
    (void)state;
    serve_pace pace = {0};
    assert_int_equal(serve_pace_share(&pace, 3, 512), 64);
    assert_int_equal(serve_pace_share(&pace, 0, 512), 512);
    assert_int_equal(serve_pace_share(&pace, 3, 4), 1);
    assert_int_equal(serve_pace_share(&pace, 9, 4), 1);
}

/* One round in which kernels were compiled. */
static void test_a_slow_round_is_forgotten(void **state) {
    (void)state;
    const device d = {0.002, 0.0007};
    serve_pace pace = {0};
    uint32_t before = settle(&d, &pace, 2, 512);
    serve_pace_learn(&pace, 2, before, 3);
    assert_true(serve_pace_share(&pace, 2, 512) < before);
    for (int i = 0; i < 8; i++) serve_pace_learn(&pace, 2, 8, d.round_s + 10 * d.token_s);
    assert_true(serve_pace_share(&pace, 2, 512) > before / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast_devices_take_whole_batches), cmocka_unit_test(test_answers_keep_half_of_their_speed),
        cmocka_unit_test(test_newcomers_wait_a_second),         cmocka_unit_test(test_nothing_is_known_at_first),
        cmocka_unit_test(test_a_slow_round_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
