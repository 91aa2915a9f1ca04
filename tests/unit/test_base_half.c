/* test_base_half.c: binary16 and bfloat16 against the definition: every code there and back, and rounding to nearest even
 * checked by the neighbours of the result. */
#include "support.h"

#include <math.h>

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void test_half_codes(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 65536; code++) {
        float value = smt_half_to_float((uint16_t)code);
        int exponent = (int)(code >> 10 & 31), mantissa = (int)(code & 1023);
        if (exponent == 31) {
            assert_true(mantissa ? isnan(value) : isinf(value));
            if (mantissa)
                assert_true(isnan(smt_half_to_float(smt_float_to_half(value))));
            else
                assert_int_equal(smt_float_to_half(value), code);
            continue;
        }
        double wanted = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        assert_true((double)value == (code & 0x8000 ? -wanted : wanted));
        assert_int_equal(smt_float_to_half(value), code); /* -0 included */
    }
}

/* |value - result| is least among the neighbours, and a tie goes to the even code. */
static void check_half(float value) {
    uint16_t code = smt_float_to_half(value);
    if (fabsf(value) >= 65520) { /* half a step beyond the greatest */
        assert_int_equal(code & 0x7fff, 0x7c00);
        return;
    }
    double error = fabs((double)value - (double)smt_half_to_float(code));
    for (int step = -1; step <= 1; step += 2) {
        int magnitude = (code & 0x7fff) + step;
        if (magnitude < 0 || magnitude >= 0x7c00) continue;
        double other = fabs((double)value - (double)smt_half_to_float((uint16_t)((code & 0x8000) | magnitude)));
        if (other < error || (other == error && (code & 1))) fail_msg("%a becomes half 0x%04x", (double)value, code);
    }
    assert_int_equal(code >> 15, signbit(value) != 0);
}

static void test_half_rounding(void **state) {
    (void)state;
    smt_test_random random = {1};
    const float edges[] = {65504,           65519.996f, 65520,        65536,        1e30f,    0x1p-24f,       0x1p-25f,
                           0x1.000002p-25f, 0x1.8p-24f, 0x1.ffep-15f, 0x1.fffp-15f, 0x1p-14f, 1.00048828125f, 1.00146484375f,
                           1e-30f,          0};
    for (size_t i = 0; i < SMT_COUNT(edges); i++) {
        check_half(edges[i]);
        check_half(-edges[i]);
    }
    for (int i = 0; i < 300000; i++) {
        uint32_t exponent = 95 + (uint32_t)(smt_test_next(&random) % 50); /* 2^-32 to 2^17 */
        check_half(from_bits((uint32_t)(smt_test_next(&random) & 0x807fffff) | exponent << 23));
    }
}

static void test_bf16(void **state) {
    (void)state;
    smt_test_random random = {2};
    for (uint32_t code = 0; code < 65536; code++) {
        float value = smt_bf16_to_float((uint16_t)code);
        if (isnan(value))
            assert_true(isnan(smt_bf16_to_float(smt_float_to_bf16(value))));
        else
            assert_int_equal(smt_float_to_bf16(value), code);
    }
    for (int i = 0; i < 100000; i++) {
        uint32_t bits = (uint32_t)smt_test_next(&random);
        float value = from_bits(bits);
        if (isnan(value)) continue;
        uint32_t low = bits >> 16, rest = bits & 0xffff;
        uint32_t wanted = low + (rest > 0x8000 || (rest == 0x8000 && (low & 1)));
        assert_int_equal(smt_float_to_bf16(value), wanted);
    }
    assert_true(isnan(smt_bf16_to_float(smt_float_to_bf16(from_bits(0x7f800001))))); /* only low bits say NaN */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_codes),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
