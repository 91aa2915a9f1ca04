/* test_quant_layout.c: device rows: their size, their padding, and that nothing else is written. */
#include "support.h"

#include "quant/quant.h"

static void test_row_bytes(void **state) {
    (void)state;
    assert_int_equal(smt_quant_layout(SMT_DTYPE_F32), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_F16), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_BF16), SMT_LAYOUT_PAD32);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_Q4_0), SMT_LAYOUT_PLANES);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_Q6_K), SMT_LAYOUT_PLANES);
    assert_int_equal(smt_quant_layout(SMT_DTYPE_IQ2_XS), SMT_LAYOUT_ROWS);
    assert_true(smt_quant_vectors(SMT_DTYPE_Q4_K) && smt_quant_vectors(SMT_DTYPE_F16) && !smt_quant_vectors(SMT_DTYPE_IQ1_S));

    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F32, 1), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F16, 48), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_F16, 64), 128);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_BF16, 65), 192);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q5_0, 1408), 44 * 16 + 96 + 176); /* 44 scales: 88 bytes */
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q8_0, 2048), 2176);               /* the file's bytes */
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q6_K, 512), 2 * 208 + 16);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q3_K, 512), 2 * 96 + 2 * 16);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_MXFP4, 32), 32);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_Q4_K, 512), 288);
    assert_int_equal(smt_quant_device_row_bytes(SMT_DTYPE_IQ2_XS, 512), 148);
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
    smt_quant_to_device(SMT_DTYPE_F16, src, dst, ROWS, K, false);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < PADDED; i++) assert_int_equal(dst[r * PADDED + i], i < K ? src[r * K + i] : 0);
    assert_int_equal(dst[ROWS * PADDED], 0xeeee);
}

/* Byte i of block b of the file must stand at to + b * stride of its row. */
typedef struct move {
    uint32_t from, bytes, to, stride;
} move;

static void check_planes(smt_dtype type, uint32_t k, const move *moves, size_t n_moves) {
    enum { ROWS = 3 };
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    uint32_t blocks = k / info->elems, file = blocks * info->bytes, device = (uint32_t)smt_quant_device_row_bytes(type, k), n = 0;
    uint8_t *src = smt_alloc(ROWS, file), *dst = smt_alloc(ROWS * device + 1, 1), *expected = smt_alloc(device, 1);
    assert_true(src && dst && expected);
    for (uint32_t i = 0; i < ROWS * file; i++) src[i] = (uint8_t)(i * 31 + i / 256 * 7 + 1);
    memset(dst, 0xee, ROWS * device + 1);
    smt_quant_to_device(type, src, dst, ROWS, k, false);
    for (uint32_t r = 0; r < ROWS; r++) {
        memset(expected, 0, device);
        for (size_t m = 0; m < n_moves; m++)
            for (uint32_t b = 0; b < blocks; b++)
                for (uint32_t i = 0; i < moves[m].bytes; i++)
                    expected[moves[m].to + b * moves[m].stride + i] = src[r * file + b * info->bytes + moves[m].from + i];
        assert_memory_equal(dst + r * device, expected, device);
    }
    assert_int_equal(dst[ROWS * device], 0xee);
    for (size_t m = 0; m < n_moves; m++) n += moves[m].bytes;
    assert_int_equal(n, info->bytes); /* no byte of a block is lost */
    smt_free(src);
    smt_free(dst);
    smt_free(expected);
}

static void test_planes(void **state) {
    (void)state;
    check_planes(SMT_DTYPE_Q8_0, 288, (move[]){{2, 32, 0, 32}, {0, 2, 288, 2}}, 2);
    check_planes(SMT_DTYPE_Q4_0, 288, (move[]){{2, 16, 0, 16}, {0, 2, 144, 2}}, 2);
    check_planes(SMT_DTYPE_Q4_1, 96, (move[]){{4, 16, 0, 16}, {0, 4, 48, 4}}, 2);
    check_planes(SMT_DTYPE_Q5_0, 288, (move[]){{6, 16, 0, 16}, {0, 2, 144, 2}, {2, 4, 176, 4}}, 3);
    check_planes(SMT_DTYPE_Q5_1, 160, (move[]){{8, 16, 0, 16}, {0, 4, 80, 4}, {4, 4, 112, 4}}, 3);
    check_planes(SMT_DTYPE_Q2_K, 768, (move[]){{0, 80, 0, 80}, {80, 4, 240, 4}}, 2);
    check_planes(SMT_DTYPE_Q3_K, 512, (move[]){{0, 96, 0, 96}, {96, 14, 192, 16}}, 2);
    check_planes(SMT_DTYPE_Q4_K, 512, (move[]){{0, 144, 0, 144}}, 1);
    check_planes(SMT_DTYPE_Q5_K, 512, (move[]){{0, 176, 0, 176}}, 1);
    check_planes(SMT_DTYPE_Q6_K, 768, (move[]){{0, 208, 0, 208}, {208, 2, 624, 2}}, 2);
    check_planes(SMT_DTYPE_IQ4_NL, 64, (move[]){{2, 16, 0, 16}, {0, 2, 32, 2}}, 2);
    check_planes(SMT_DTYPE_IQ4_XS, 768, (move[]){{8, 128, 0, 128}, {0, 8, 384, 8}}, 2);
    check_planes(SMT_DTYPE_MXFP4, 544, (move[]){{1, 16, 0, 16}, {0, 1, 272, 1}}, 2);
}

static void test_unchanged(void **state) {
    (void)state;
    enum { ROWS = 5, BYTES = ROWS * 96 * 4 };
    uint8_t src[BYTES], dst[BYTES + 1];
    for (int i = 0; i < BYTES; i++) src[i] = (uint8_t)(i * 31 + 7);
    memset(dst, 0xee, sizeof dst);
    smt_quant_to_device(SMT_DTYPE_IQ2_XS, src, dst, ROWS, 256, false);
    assert_memory_equal(src, dst, ROWS * 74);
    assert_int_equal(dst[ROWS * 74], 0xee);
    smt_quant_to_device(SMT_DTYPE_F32, src, dst, ROWS, 96, false); /* 96 is whole chunks: the file's bytes */
    assert_memory_equal(src, dst, BYTES);
    assert_int_equal(dst[BYTES], 0xee);
    assert_true(smt_quant_same_bytes(SMT_DTYPE_Q4_K, 512) && !smt_quant_same_bytes(SMT_DTYPE_Q8_0, 2048));
}

/* Woven rows are the plain ones with their vectors in turns; what is left of a group stays as it is. */
static void check_woven(smt_dtype type, uint32_t k, uint32_t rows) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    uint32_t file = k / info->elems * info->bytes, device = (uint32_t)smt_quant_device_row_bytes(type, k), vectors = device / 16;
    uint8_t *src = smt_alloc(rows, file), *plain = smt_alloc(rows, device), *dst = smt_alloc(rows * device + 1, 1);
    assert_true(src && plain && dst);
    for (uint32_t i = 0; i < rows * file; i++) src[i] = (uint8_t)(i * 31 + i / 256 * 7 + 1);
    memset(dst, 0xee, rows * device + 1);
    smt_quant_to_device(type, src, plain, rows, k, false);
    smt_quant_to_device(type, src, dst, rows, k, true);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t v = 0; v < vectors; v++) {
            uint32_t group = r / 8 * 8, at = group + 8 <= rows ? group * vectors + 8 * v + r % 8 : r * vectors + v;
            assert_memory_equal(dst + 16 * at, plain + r * device + 16 * v, 16);
        }
    assert_int_equal(dst[rows * device], 0xee);
    smt_free(src);
    smt_free(plain);
    smt_free(dst);
}

static void test_woven(void **state) {
    (void)state;
    static const uint32_t rows[] = {3, 8, 21};
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (!info || !smt_quant_vectors((smt_dtype)id)) continue;
        for (size_t i = 0; i < SMT_COUNT(rows); i++) check_woven((smt_dtype)id, 3 * info->elems, rows[i]);
        if (info->elems == 1) check_woven((smt_dtype)id, 45, 9);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_bytes), cmocka_unit_test(test_padding),   cmocka_unit_test(test_planes),
        cmocka_unit_test(test_woven),     cmocka_unit_test(test_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
