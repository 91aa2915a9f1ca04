/* test_gguf_output.c: the writer's files read back equal; what it refuses; what a failure leaves on the disk. */
#include "gguf/gguf_output.h"
#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define FOLDER "test_gguf_output"

static const char *path_of(const char *name) {
    char text[64];
    snprintf(text, sizeof text, FOLDER "/%s", name);
    return smt_test_work(text);
}

/* Files in the test's folder. */
static int count_files(void) {
    DIR *folder = opendir(smt_test_work(FOLDER));
    int n = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) n += entry->d_name[0] != '.';
    if (folder) closedir(folder);
    return n;
}

static smt_gguf_output *begin(void) {
    smt_gguf_output *output;
    smt_error err = {0};
    SMT_ASSERT_OK(smt_gguf_output_create(&output, &err), &err);
    return output;
}

/* One key of every kind, a string and an array of each; then tensors whose sizes leave padding. */
static smt_status add_everything(smt_gguf_output *o, uint32_t alignment, smt_error *err) {
    static const uint64_t raw[3] = {0x0100000001000001, 0x7ff0123456789abc, 1};
    const smt_gguf_string texts[] = {{"one", 3}, {"", 0}, {"zero \0 byte", 11}};
    char name[32];
    SMT_TRY(smt_gguf_output_text(o, "general.architecture", "none", err));
    if (alignment) SMT_TRY(smt_gguf_output_u32(o, "general.alignment", alignment, err));
    for (int kind = SMT_GGUF_U8; kind <= SMT_GGUF_F64; kind++) {
        if (kind == SMT_GGUF_STRING || kind == SMT_GGUF_ARRAY) continue;
        snprintf(name, sizeof name, "scalar.%d", kind);
        SMT_TRY(smt_gguf_output_scalar(o, name, (smt_gguf_kind)kind, raw, err));
        snprintf(name, sizeof name, "array.%d", kind);
        SMT_TRY(smt_gguf_output_array(o, name, (smt_gguf_kind)kind, kind == SMT_GGUF_BOOL ? 0 : 3, raw, err));
    }
    SMT_TRY(smt_gguf_output_f32(o, "f32", 1.5f, err));
    SMT_TRY(smt_gguf_output_bool(o, "bool", true, err));
    SMT_TRY(smt_gguf_output_texts(o, "texts", 3, texts, err));
    SMT_TRY(smt_gguf_output_tensor(o, "a", SMT_DTYPE_F32, 1, (uint64_t[]){3}, err));
    SMT_TRY(smt_gguf_output_tensor(o, "b", SMT_DTYPE_Q4_0, 3, (uint64_t[]){32, 3, 2}, err));
    return smt_gguf_output_tensor(o, "c", SMT_DTYPE_I8, 0, NULL, err);
}

enum { A_BYTES = 12, B_BYTES = 6 * 18, C_BYTES = 1, DATA_BYTES = A_BYTES + B_BYTES + C_BYTES };

static void fill(uint8_t data[DATA_BYTES]) {
    for (int i = 0; i < DATA_BYTES; i++) data[i] = (uint8_t)(i * 7 + 1);
}

/* `step`: bytes handed over at a time. */
static smt_status write_everything(const char *path, uint32_t alignment, size_t step, smt_error *err) {
    uint8_t data[DATA_BYTES];
    fill(data);
    smt_gguf_output *o;
    SMT_TRY(smt_gguf_output_create(&o, err));
    smt_status status = add_everything(o, alignment, err);
    if (status == SMT_OK) status = smt_gguf_output_begin(o, path, err);
    for (size_t at = 0; at < DATA_BYTES && status == SMT_OK; at += step)
        status = smt_gguf_output_data(o, data + at, smt_min_u64(step, DATA_BYTES - at), err);
    if (status == SMT_OK) status = smt_gguf_output_finish(o, err);
    smt_gguf_output_free(o);
    return status;
}

static void check_everything(const char *path, uint64_t alignment) {
    smt_error err = {0};
    smt_gguf *gguf;
    uint8_t data[DATA_BYTES];
    fill(data);
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    assert_int_equal(smt_gguf_tensor_count(gguf), 3);
    const uint8_t *expected = data;
    uint64_t end = 0;
    for (uint64_t i = 0; i < 3; i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(gguf, i);
        assert_int_equal(tensor->bytes, ((uint64_t[]){A_BYTES, B_BYTES, C_BYTES})[i]);
        assert_int_equal(tensor->offset % alignment, 0);
        uint8_t found[DATA_BYTES];
        SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, found, tensor->bytes, &err), &err);
        assert_memory_equal(found, expected, tensor->bytes);
        expected += tensor->bytes;
        end = smt_align_up(tensor->offset + tensor->bytes, alignment);
    }
    assert_int_equal(smt_gguf_part_bytes(gguf, 0), end);
    const smt_gguf_tensor *b = smt_gguf_find_tensor(gguf, "b");
    assert_int_equal(b->type, SMT_DTYPE_Q4_0);
    assert_int_equal(b->n_dims, 3);
    assert_int_equal(b->ne[1], 3);
    const smt_gguf_key *key = smt_gguf_find(gguf, "texts");
    assert_int_equal(key->count, 3);
    assert_int_equal(key->strings[2].bytes, 11);
    assert_memory_equal(key->strings[2].text, "zero \0 byte", 11);
    bool flag = false;
    SMT_ASSERT_OK(smt_gguf_bool(gguf, "bool", &flag, NULL, &err), &err);
    assert_true(flag);
    const smt_gguf_key *scalar = smt_gguf_find(gguf, "scalar.12"), *array = smt_gguf_find(gguf, "array.2");
    assert_memory_equal(scalar->data, "\1\0\0\1\0\0\0\1", 8);
    assert_int_equal(array->count, 3);
    assert_int_equal(smt_gguf_array_int(array, 1), 0x0100);
    smt_gguf_free(gguf);
}

static void test_read_back(void **state) {
    (void)state;
    smt_error err = {0};
    const char *path = path_of("all.gguf");
    static const uint32_t alignments[] = {0, 1, 64, 4096};
    for (size_t a = 0; a < SMT_COUNT(alignments); a++)
        for (size_t step = 1; step <= DATA_BYTES; step = step * 3 + 1) {
            SMT_ASSERT_OK(write_everything(path, alignments[a], step, &err), &err);
            check_everything(path, alignments[a] ? alignments[a] : 32);
        }
    assert_int_equal(count_files(), 1);
    remove(path);
}

static uint8_t *tensor_data(const smt_gguf_tensor *tensor) {
    smt_error err = {0};
    uint8_t *data = malloc(tensor->bytes);
    assert_non_null(data);
    SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, data, tensor->bytes, &err), &err);
    return data;
}

/* Every key of a real file goes over unchanged, and copies of copies are the same bytes. */
static smt_status copy(const char *from, const char *to, smt_error *err) {
    smt_gguf *gguf;
    smt_gguf_output *o;
    SMT_TRY(smt_gguf_open(from, &gguf, err));
    SMT_TRY(smt_gguf_output_create(&o, err));
    for (uint64_t i = 0; i < smt_gguf_key_count(gguf); i++) SMT_TRY(smt_gguf_output_copy_key(o, smt_gguf_key_at(gguf, i), err));
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        const smt_gguf_tensor *t = smt_gguf_tensor_at(gguf, i);
        SMT_TRY(smt_gguf_output_tensor(o, t->name, t->type, t->n_dims, t->ne, err));
    }
    uint64_t announced = smt_gguf_output_bytes(o);
    SMT_TRY(smt_gguf_output_begin(o, to, err));
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        uint8_t *data = tensor_data(smt_gguf_tensor_at(gguf, i));
        SMT_TRY(smt_gguf_output_data(o, data, smt_gguf_tensor_at(gguf, i)->bytes, err));
        free(data);
    }
    SMT_TRY(smt_gguf_output_finish(o, err));
    smt_gguf_output_free(o);
    smt_gguf_free(gguf);
    SMT_TRY(smt_gguf_open(to, &gguf, err));
    assert_int_equal(announced, smt_gguf_part_bytes(gguf, 0));
    smt_gguf_free(gguf);
    return SMT_OK;
}

static void test_copy(void **state) {
    (void)state;
    static const char *const files[] = {"g-v2.f16.gguf", "g-llama2.f16.gguf"};
    smt_error err = {0};
    for (size_t f = 0; f < SMT_COUNT(files); f++) {
        smt_gguf *a, *b;
        SMT_ASSERT_OK(copy(smt_test_data(files[f]), path_of("copy.gguf"), &err), &err);
        SMT_ASSERT_OK(smt_gguf_open(smt_test_data(files[f]), &a, &err), &err);
        SMT_ASSERT_OK(smt_gguf_open(path_of("copy.gguf"), &b, &err), &err);
        assert_int_equal(smt_gguf_key_count(a), smt_gguf_key_count(b));
        for (uint64_t i = 0; i < smt_gguf_key_count(a); i++) {
            const smt_gguf_key *x = smt_gguf_key_at(a, i), *y = smt_gguf_key_at(b, i);
            assert_string_equal(x->name, y->name);
            assert_int_equal(x->kind, y->kind);
            assert_int_equal(x->count, y->count);
            for (uint64_t e = 0; e < x->count; e++)
                if (x->strings)
                    assert_true(x->strings[e].bytes == y->strings[e].bytes &&
                                !memcmp(x->strings[e].text, y->strings[e].text, x->strings[e].bytes));
                else
                    assert_int_equal(smt_gguf_array_int(x, e), smt_gguf_array_int(y, e));
        }
        for (uint64_t i = 0; i < smt_gguf_tensor_count(a); i++) {
            const smt_gguf_tensor *x = smt_gguf_tensor_at(a, i), *y = smt_gguf_tensor_at(b, i);
            assert_string_equal(x->name, y->name);
            assert_int_equal(x->bytes, y->bytes);
            uint8_t *left = tensor_data(x), *right = tensor_data(y);
            assert_memory_equal(left, right, x->bytes);
            free(left);
            free(right);
        }
        smt_gguf_free(a);
        smt_gguf_free(b);
    }
    remove(path_of("copy.gguf"));
}

static void test_refusals(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_output *o = begin();
    char name[80];
    memset(name, 'x', sizeof name);
    name[64] = 0;
    const uint64_t row[] = {32, 2}, odd[] = {33}, zero[] = {32, 0}, huge[] = {1ull << 40, 1ull << 30};
    assert_int_equal(smt_gguf_output_tensor(o, name, SMT_DTYPE_F32, 1, row, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "64 bytes long; 1 to 63"));
    assert_int_equal(smt_gguf_output_tensor(o, "", SMT_DTYPE_F32, 1, row, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_tensor(o, "caf\xe9", SMT_DTYPE_F32, 1, row, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_tensor(o, "t", SMT_DTYPE_Q4_0, 1, odd, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "rows of 33 elements"));
    assert_int_equal(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 2, zero, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 2, huge, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 5, row, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_tensor(o, "t", (smt_dtype)5, 1, row, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_u32(o, "general.alignment", 24, &err), SMT_INVALID);
    assert_int_equal(smt_gguf_output_text(o, "general.alignment", "32", &err), SMT_INVALID);
    smt_gguf_output_free(o);

    o = begin();
    SMT_ASSERT_OK(smt_gguf_output_u32(o, "twice", 1, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_u32(o, "twice", 2, &err), &err);
    assert_int_equal(smt_gguf_output_begin(o, path_of("no.gguf"), &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "key \"twice\""));
    smt_gguf_output_free(o);

    o = begin();
    SMT_ASSERT_OK(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 1, row, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 1, row, &err), &err);
    assert_int_equal(smt_gguf_output_begin(o, path_of("no.gguf"), &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "tensor \"t\""));
    smt_gguf_output_free(o);
    assert_int_equal(count_files(), 0);
}

/* Too little and too much data, and calls out of order. */
static void test_order(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_output *o = begin();
    const uint64_t row[] = {32};
    uint8_t bytes[200] = {0};
    SMT_ASSERT_OK(smt_gguf_output_tensor(o, "t", SMT_DTYPE_F32, 1, row, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_begin(o, path_of("order.gguf"), &err), &err);
    assert_int_equal(smt_gguf_output_u32(o, "late", 1, &err), SMT_INVALID);
    SMT_ASSERT_OK(smt_gguf_output_data(o, bytes, 100, &err), &err);
    assert_int_equal(smt_gguf_output_finish(o, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "tensor t has 100 of 128 bytes"));
    assert_int_equal(smt_gguf_output_data(o, bytes, 29, &err), SMT_INVALID);
    assert_int_equal(count_files(), 1); /* the unfinished file */
    smt_gguf_output_free(o);
    assert_int_equal(count_files(), 0);
}

/* What cannot be written leaves the old file as it was and nothing beside it. */
static void test_failed_write(void **state) {
    (void)state;
    smt_error err = {0};
    const char *path = path_of("kept.gguf");
    SMT_ASSERT_OK(write_everything(path, 0, 1000, &err), &err);
    struct rlimit old, tight = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    tight.rlim_cur = 4100;
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    smt_status status = write_everything(path, 4096, 1000, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, SMT_IO);
    assert_non_null(strstr(err.message, "kept.gguf"));
    assert_non_null(strstr(err.message, "byte 4096")); /* all that was written before */
    check_everything(path, 32);
    assert_int_equal(count_files(), 1);
    remove(path);

    smt_gguf_output *o = begin();
    assert_int_equal(smt_gguf_output_begin(o, "/dev/null", &err), SMT_IO); /* not a file to be replaced */
    assert_non_null(strstr(err.message, "/dev/null"));
    smt_gguf_output_free(o);
    o = begin();
    assert_int_equal(smt_gguf_output_begin(o, smt_test_work(FOLDER), &err), SMT_IO); /* a folder */
    smt_gguf_output_free(o);
}

static void test_allocation_failures(void **state) {
    (void)state;
    char path[1024]; /* what path_of gives lives for a few calls */
    snprintf(path, sizeof path, "%s", path_of("fault.gguf"));
    for (uint64_t n = 1;; n++) {
        smt_error err = {0};
        assert_true(n < 1000);
        smt_mem_fail_after(n);
        smt_status status = write_everything(path, 64, 50, &err);
        smt_mem_fail_after(0);
        if (status == SMT_OK && n > 20) break; /* (one failure only costs the folder's sync) */
        assert_int_equal(status, SMT_MEMORY);
        assert_int_equal(err.code, SMT_MEMORY);
        assert_int_equal(count_files(), 0);
    }
    check_everything(path, 64);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_back), cmocka_unit_test(test_copy),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_order),     cmocka_unit_test(test_failed_write), cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
