/* test_model_rope.c: rotary frequencies and score scales against published check values, in double precision. */
#include "model/model_internal.h"
#include "support.h"

#include <math.h>

static void assert_near(double value, double wanted, double relative) {
    if (!(fabs(value - wanted) <= relative * fabs(wanted))) fail_msg("%.12g, wanted %.12g", value, wanted);
}

static void test_plain(void **state) {
    (void)state;
    double w[64];
    smt_rope_spec spec = {.dim = 128, .base = 500000, .factor = 1};
    smt_rope_frequencies(&spec, w);
    assert_true(w[0] == 1);
    for (int i = 0; i < 64; i++) assert_near(w[i], exp(-2.0 * i / 128 * log(500000)), 1e-12);
}

static void test_linear(void **state) {
    (void)state;
    double w[64], plain[64];
    smt_rope_spec spec = {.dim = 128, .base = 100000, .factor = 1};
    smt_rope_frequencies(&spec, plain);
    spec.factor = 4;
    smt_rope_frequencies(&spec, w);
    for (int i = 0; i < 64; i++) assert_near(w[i], plain[i] / 4, 1e-15);
}

static void test_divisors(void **state) {
    (void)state;
    const float divisors[] = {1, 2, 8, 0.5f};
    double w[4], plain[4];
    smt_rope_spec spec = {.dim = 8, .base = 10000, .factor = 1};
    smt_rope_frequencies(&spec, plain);
    spec.divisors = divisors;
    smt_rope_frequencies(&spec, w);
    for (int i = 0; i < 4; i++) assert_near(w[i], plain[i] / (double)divisors[i], 1e-15);
}

/* The numbers of DeepSeek V2, V2-Lite and V3: pairs 10 to 24. */
static void test_yarn(void **state) {
    (void)state;
    static const double wanted[] = {0.0562341325,   0.0390069266,   0.0268793601,   0.0183781462,   0.0124479559,
                                    0.00833450895,  0.0055,         0.00356199749,  0.0022493653,   0.00137051364,
                                    0.000790569415, 0.000414990398, 0.000177827941, 3.33380358e-05, 2.5e-05};
    double w[32];
    smt_rope_spec spec = {.dim = 64,
                          .base = 10000,
                          .factor = 40,
                          .yarn = true,
                          .original_ctx = 4096,
                          .beta_fast = 32,
                          .beta_slow = 1,
                          .ext_factor = 1};
    smt_rope_frequencies(&spec, w);
    for (size_t i = 0; i < SMT_COUNT(wanted); i++)
        assert_near(w[10 + i], wanted[i], 5e-9); /* half a unit of the check values' last digit */
    for (int i = 0; i < 10; i++) assert_near(w[i], pow(10000, -2.0 * i / 64), 1e-15);
    for (int i = 24; i < 32; i++) assert_near(w[i], pow(10000, -2.0 * i / 64) / 40, 1e-14);
}

/* Half of YaRN and half of linear scaling; none of YaRN is linear scaling. */
static void test_yarn_share(void **state) {
    (void)state;
    double whole[32], half[32], none[32];
    smt_rope_spec spec = {.dim = 64,
                          .base = 10000,
                          .factor = 40,
                          .yarn = true,
                          .original_ctx = 4096,
                          .beta_fast = 32,
                          .beta_slow = 1,
                          .ext_factor = 1};
    smt_rope_frequencies(&spec, whole);
    spec.ext_factor = 0.5;
    smt_rope_frequencies(&spec, half);
    spec.ext_factor = 0;
    smt_rope_frequencies(&spec, none);
    for (int i = 0; i < 32; i++) {
        assert_near(none[i], pow(10000, -2.0 * i / 64) / 40, 1e-14);
        assert_near(half[i], (whole[i] + none[i]) / 2, 1e-14);
    }
}

/* A ramp without width must not divide by zero. */
static void test_yarn_step(void **state) {
    (void)state;
    double w[8];
    smt_rope_spec spec = {.dim = 16,
                          .base = 10000,
                          .factor = 8,
                          .yarn = true,
                          .original_ctx = 2,
                          .beta_fast = 32,
                          .beta_slow = 32,
                          .ext_factor = 1};
    smt_rope_frequencies(&spec, w);
    for (int i = 0; i < 8; i++) assert_near(w[i], pow(10000, -2.0 * i / 16) / (i ? 8 : 1), 1e-12);
}

static void test_scale(void **state) {
    (void)state;
    assert_near(smt_rope_latent_scale(0.0707, 1, 40, 192), 0.1147213868, 1e-9);
    assert_near(smt_rope_latent_scale(0.1, 1, 40, 192), 0.1352337789, 1e-9);
    assert_near(smt_rope_latent_scale(0, 1, 40, 192), 0.0721687836, 1e-9);
    assert_near(smt_rope_latent_scale(0.1, 1, 1, 192), 0.0721687836, 1e-9);
    assert_near(smt_rope_latent_scale(0.1, 1, 0.5, 192), 0.0721687836, 1e-9);
    assert_near(smt_rope_latent_scale(0.1, 2, 40, 192), 4 * 0.1352337789, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain), cmocka_unit_test(test_linear),    cmocka_unit_test(test_divisors),
        cmocka_unit_test(test_yarn),  cmocka_unit_test(test_yarn_step), cmocka_unit_test(test_yarn_share),
        cmocka_unit_test(test_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
