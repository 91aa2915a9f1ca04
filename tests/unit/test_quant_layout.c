/* test_quant_layout.c: device rows: their size, their padding, and that nothing else is written. */
#include "support.h"

#include "quant/quant.h"

static void test_row_bytes(void **state) {
    (void)state;
    assert_int_equal(smt_quant_layout(SMT_DTYPE_F32), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_F16), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_BF16), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_Q4_0), SMT_LAYOUT_ROWS);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_Q6_K), SMT_LAYOUT_ROWS);

    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F32, 1), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F16, 48), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F16, 64), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_BF16, 65), 192);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q5_0, 1408), 1408 / 32 * 22);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q6_K, 512), 420);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q6_K, 1408), 0); /* 256 does not divide it */
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F32, UINT64_MAX - 3), 0);
}

static void test_padding(void **state) {
    (void)state;
    enum { ROWS = 3, K = 37, PADDED = 64 };
    uint16_t src[ROWS * K], dst[ROWS * PADDED + 1];
    for (int i = 0; i < ROWS * K; i++) src[i] = (uint16_t)(i + 1);
    memset(dst, 0xee, sizeof dst);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F16, K), PADDED * sizeof *dst);
    smt_quant_to_device(SMT_DTYPE_F16, src, dst, ROWS, K);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < PADDED; i++) assert_int_equal(dst[r * PADDED + i], i < K ? src[r * K + i] : 0);
    assert_int_equal(dst[ROWS * PADDED], 0xeeee);
}

static void test_unchanged(void **state) {
    (void)state;
    enum { ROWS = 5, BYTES = ROWS * 2 * 210 };
    uint8_t src[BYTES], dst[BYTES + 1];
    for (int i = 0; i < BYTES; i++) src[i] = (uint8_t)(i * 31 + 7);
    memset(dst, 0xee, sizeof dst);
    smt_quant_to_device(SMT_DTYPE_Q6_K, src, dst, ROWS, 512);
    assert_memory_equal(src, dst, BYTES);
    assert_int_equal(dst[BYTES], 0xee);
    memset(dst, 0xee, sizeof dst);
    smt_quant_to_device(SMT_DTYPE_F32, src, dst, ROWS, 96); /* 96 is whole chunks: the file's bytes */
    assert_memory_equal(src, dst, ROWS * 96 * 4);
    assert_int_equal(dst[ROWS * 96 * 4], 0xee);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_bytes),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
