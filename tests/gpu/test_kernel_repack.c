/* test_kernel_repack.c: file rows become device rows on their way out of the staging ring: the bytes that smt_quant_to_device makes, wherever
 * they land, and not a byte beside them. */
#include "load/load_upload.h"
#include "run/run.h"
#include "vk_support.h"

#define MARK 0xee

typedef struct repack_lab {
    const smt_vk_fixture *fixture;
    smt_upload upload;
    smt_vk_buffer *target;
    uint64_t used; /* bytes of the target */
} repack_lab;

static void random_bytes(smt_test_random *random, uint8_t *bytes, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) bytes[i] = (uint8_t)smt_test_next(random);
}

/* `at`: bytes behind an aligned place, as matrices of an expert and planes of a matrix have them. */
static void check_form(repack_lab *lab, smt_dtype type, uint32_t rows, uint32_t n, uint32_t at, bool woven) {
    smt_error err;
    uint64_t file_bytes = rows * smt_dtype_row_bytes(type, n), bytes = rows * smt_quant_device_row_bytes(type, n);
    smt_test_random random = {.state = n + rows};
    uint8_t *file = smt_alloc(file_bytes, 1), *expected = smt_alloc(bytes, 1), *to;
    assert_true(file && expected && at + bytes + 64 <= lab->used);
    uint8_t *map = smt_vk_buffer_map(lab->target);
    memset(map, MARK, lab->used);
    random_bytes(&random, file, file_bytes);
    smt_quant_to_device(type, file, expected, rows, n, woven);
    SMT_ASSERT_OK(smt_upload_begin(&lab->upload, lab->target, at, bytes, &to, &err), &err);
    memset(to, MARK, bytes); /* what the ring holds behind the file's rows is nobody's */
    memcpy(to, file, file_bytes);
    const struct repack_params push = smt_quant_repack(type, rows, n, woven);
    SMT_ASSERT_OK(smt_upload_commit_rows(&lab->upload, lab->target, at, &push, &err), &err);
    SMT_ASSERT_OK(smt_upload_finish(&lab->upload, &err), &err);
    if (memcmp(map + at, expected, bytes) != 0)
        fail_msg("%s: %u rows of %u at %u differ%s", smt_dtype_get((uint32_t)type)->name, rows, n, at, woven ? ", woven" : "");
    for (uint32_t i = 0; i < at; i++) assert_int_equal(map[i], MARK);
    for (uint32_t i = 0; i < 64; i++) assert_int_equal(map[at + bytes + i], MARK);
    smt_free(file);
    smt_free(expected);
}

static void check(repack_lab *lab, smt_dtype type, uint32_t rows, uint32_t n, uint32_t at) {
    if (!smt_quant_same_bytes(type, n)) check_form(lab, type, rows, n, at, false);
    check_form(lab, type, rows, n, at, true);
}

/* Every type that the kernel moves, woven as well, over numbers of blocks and rows that fill vectors and words and that do not. */
static void test_types(void **state) {
    static const uint32_t blocks[] = {1, 3, 8, 45}, rows[] = {1, 3, 67}, places[] = {0, 16, 272};
    repack_lab *lab = *state;
    uint32_t repacked = 0;
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (!info || !info->runs || smt_quant_layout((smt_dtype)id) == SMT_LAYOUT_ROWS) continue;
        for (size_t i = 0; i < SMT_COUNT(blocks); i++) {
            uint32_t n = blocks[i] * info->elems; /* rows of floats: 1, 3, 8, 45 of them */
            for (size_t r = 0; r < SMT_COUNT(rows); r++) check(lab, (smt_dtype)id, rows[r], n, places[(i + r) % 3]);
            repacked += !smt_quant_same_bytes((smt_dtype)id, n);
        }
    }
    assert_true(repacked >= 3 * SMT_COUNT(blocks) + 11 * SMT_COUNT(blocks));
}

/* A whole chunk, to its last byte: nothing is read behind the ring. */
static void test_chunk(void **state) {
    const uint32_t n = 2048; /* 64 blocks of 34 bytes: a row has the file's bytes */
    uint32_t rows = (uint32_t)(SMT_UPLOAD_CHUNK / smt_quant_device_row_bytes(SMT_DTYPE_Q8_0, n));
    check(*state, SMT_DTYPE_Q8_0, rows, n, 0);
    check(*state, SMT_DTYPE_Q8_0, rows, n, 512); /* the other half of the ring */
}

static int setup(void **state) {
    static repack_lab lab;
    smt_error err;
    smt_kernel_spec spec;
    smt_vk_kernel *kernel;
    if (smt_vk_test_setup(state) != 0) return -1;
    lab.fixture = *state;
    lab.used = SMT_UPLOAD_CHUNK + 4096;
    lab.target = smt_vk_test_buffer(lab.fixture, lab.used, "target");
    smt_kernel_describe(lab.fixture->caps, &(smt_kernel_key){.kernel = SMT_KERNEL_REPACK, .windows = 1}, &spec);
    SMT_ASSERT_OK(smt_run_kernel_compile(lab.fixture->device, &spec, false, &kernel, &err), &err);
    lab.upload = (smt_upload){.device = lab.fixture->device, .force_staging = true, .repack = kernel};
    *state = &lab;
    return 0;
}

static int teardown(void **state) {
    repack_lab *lab = *state;
    smt_vk_kernel_destroy(lab->fixture->device, (smt_vk_kernel *)lab->upload.repack);
    smt_vk_buffer_destroy(lab->fixture->device, lab->target);
    *state = (void *)lab->fixture;
    return smt_vk_test_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_chunk)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
