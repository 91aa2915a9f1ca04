/* test_gguf_set.c: models in several files: any part opens the set, the set equals the file that it was made of, and every way in
 * which parts do not belong together has its message. */
#include "gguf_write.h"
#include "split_model.h"
#include "os/os.h"
#include "support.h"

#include <sys/resource.h>
#include <unistd.h>

#define BASE "g-v2.f16.gguf"

typedef struct fixture {
    smt_gguf *whole;
    char prefix[900];
} fixture;

static int setup(void **state) {
    static fixture f;
    smt_error err = {0};
    snprintf(f.prefix, sizeof f.prefix, "%s/test_gguf_set-%ld", SMT_TEST_WORK, (long)getpid());
    *state = &f;
    return smt_gguf_open(smt_test_data(BASE), &f.whole, &err) != SMT_OK;
}

static int teardown(void **state) {
    smt_gguf_free(((fixture *)*state)->whole);
    return 0;
}

static void split(const fixture *f, uint32_t n_parts, bool bare_first) {
    smt_error err = {0};
    SMT_ASSERT_OK(smt_split_model(f->whole, f->prefix, n_parts, bare_first, &err), &err);
}

static void expect_same_tensor(const smt_gguf_tensor *a, const smt_gguf_tensor *b) {
    smt_error err = {0};
    uint8_t *left = malloc(a->bytes), *right = malloc(a->bytes);
    assert_true(left && right);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->type, b->type);
    assert_memory_equal(a->ne, b->ne, sizeof a->ne);
    assert_int_equal(a->bytes, b->bytes);
    SMT_ASSERT_OK(smt_gguf_tensor_read(a, 0, left, a->bytes, &err), &err);
    SMT_ASSERT_OK(smt_gguf_tensor_read(b, 0, right, a->bytes, &err), &err);
    assert_memory_equal(left, right, a->bytes);
    free(left);
    free(right);
}

/* Opens the set by part `number` and compares it with the whole. */
static void expect_whole(const fixture *f, uint32_t number, uint32_t n_parts, bool bare_first) {
    smt_error err = {0};
    smt_gguf *set;
    char path[1024];
    SMT_ASSERT_OK(smt_gguf_open(smt_split_path(f->prefix, number, n_parts, path), &set, &err), &err);
    assert_int_equal(smt_gguf_part_count(set), n_parts);
    assert_null(smt_gguf_part_path(set, n_parts));
    for (uint32_t i = 0; i < n_parts; i++)
        assert_string_equal(smt_gguf_part_path(set, i), smt_split_path(f->prefix, i + 1, n_parts, path));
    assert_int_equal(smt_gguf_key_count(set), smt_gguf_key_count(f->whole) + 3);
    assert_int_equal(smt_gguf_find(set, "tokenizer.ggml.tokens")->count, 512);
    uint64_t n = smt_gguf_tensor_count(f->whole);
    assert_int_equal(smt_gguf_tensor_count(set), n);
    for (uint64_t i = 0; i < n; i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(set, i);
        expect_same_tensor(tensor, smt_gguf_tensor_at(f->whole, i));
        assert_ptr_equal(smt_gguf_find_tensor(set, tensor->name), tensor);
        assert_true(tensor->offset + tensor->bytes <= smt_gguf_part_bytes(set, tensor->part));
        assert_true(!bare_first || tensor->part > 0);
    }
    assert_int_equal(smt_gguf_tensor_at(set, n - 1)->part, n_parts - 1);
    smt_gguf_free(set);
}

static void test_any_part(void **state) {
    const fixture *f = *state;
    static const uint32_t counts[] = {1, 2, 5};
    for (size_t i = 0; i < SMT_COUNT(counts); i++)
        for (int bare_first = 0; bare_first < 2 && (counts[i] > 1 || !bare_first); bare_first++) {
            split(f, counts[i], bare_first);
            for (uint32_t number = 1; number <= counts[i]; number++) expect_whole(f, number, counts[i], bare_first);
            smt_split_remove(f->prefix, counts[i]);
        }
}

/* More parts than a process may have descriptors; most parts hold no tensor at all. */
static void test_many_parts(void **state) {
    enum { MANY = 300 };
    const fixture *f = *state;
    struct rlimit old, few = {.rlim_cur = 100};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few.rlim_max = old.rlim_max;
    split(f, MANY, false);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    expect_whole(f, MANY / 2, MANY, false);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);

    smt_error err = {0};
    smt_gguf *set;
    char path[1024], byte;
    SMT_ASSERT_OK(smt_gguf_open(smt_split_path(f->prefix, 1, MANY, path), &set, &err), &err);
    const smt_gguf_tensor *last = smt_gguf_tensor_at(set, smt_gguf_tensor_count(set) - 1);
    SMT_ASSERT_OK(smt_gguf_tensor_read(last, 0, &byte, 1, &err), &err);
    assert_int_equal(truncate(smt_split_path(f->prefix, MANY, MANY, path), 100), 0);
    assert_int_equal(smt_gguf_tensor_read(last, 0, &byte, 1, &err), SMT_IO);
    assert_non_null(strstr(err.message, "-00300-of-00300.gguf has changed"));
    smt_gguf_free(set);
    smt_split_remove(f->prefix, MANY);
}

static void expect_refused(const char *path, smt_status code, const char *words) {
    smt_error err = {0};
    smt_gguf *set = (smt_gguf *)1;
    smt_status status = smt_gguf_open(path, &set, &err);
    assert_null(set);
    if (status != code || !strstr(err.message, words))
        fail_msg("wanted %s with \"%s\", got %s: %s", smt_status_name(code), words, smt_status_name(status), err.message);
}

static void test_missing_part(void **state) {
    const fixture *f = *state;
    char first[1024], path[1024], moved[1024];
    split(f, 3, false);
    smt_split_path(f->prefix, 1, 3, first);
    for (uint32_t number = 1; number <= 3; number++) {
        char words[64];
        smt_split_path(f->prefix, number, 3, path);
        snprintf(moved, sizeof moved, "%s.away", f->prefix);
        assert_int_equal(rename(path, moved), 0);
        snprintf(words, sizeof words, "-%05u-of-00003.gguf", number);
        for (uint32_t given = 1; given <= 3; given++)
            if (given != number) {
                char other[1024];
                expect_refused(smt_split_path(f->prefix, given, 3, other), SMT_IO, words);
                expect_refused(other, SMT_IO, "of the 3 of this model is missing");
            }
        assert_int_equal(rename(moved, path), 0);
    }
    snprintf(moved, sizeof moved, "%s.gguf", f->prefix);
    assert_int_equal(rename(first, moved), 0);
    expect_refused(moved, SMT_FORMAT, "one of 3 parts, but it is not named PREFIX-00001-of-00003.gguf");
    remove(moved);
    smt_split_remove(f->prefix, 3);
}

/* ---- parts that do not belong together ---- */

typedef struct part_keys { /* negative: no such key */
    int number, count, tensors;
} part_keys;

static smt_gguf *make_part(part_keys keys, const char *tensor, uint8_t **bytes) {
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    size_t n;
    if (keys.number >= 0) smt_gguf_write_u32(&w, "split.no", (uint32_t)keys.number);
    if (keys.count >= 0) smt_gguf_write_u32(&w, "split.count", (uint32_t)keys.count);
    if (keys.tensors >= 0) smt_gguf_write_u32(&w, "split.tensors.count", (uint32_t)keys.tensors);
    if (tensor) smt_gguf_write_tensor(&w, tensor, SMT_DTYPE_F32, (uint64_t[]){4, 1, 1, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, bytes, &n, &err), &err);
    SMT_ASSERT_OK(smt_gguf_parse(*bytes, n, "part", &gguf, &err), &err);
    smt_gguf_write_free(&w);
    return gguf;
}

static void test_strangers(void **state) {
    (void)state;
    static const struct {
        part_keys a, b;
        const char *name_a, *name_b, *words; /* NULL words: accepted */
    } cases[] = {
        {{0, 2, 2}, {1, 2, 2}, "x", "y", NULL},
        {{0, 2, 1}, {1, 2, -1}, NULL, "y", NULL}, /* the count is asked of the first part only */
        {{0, 2, 2}, {1, 2, 2}, "x", "x", "tensor \"x\" occurs twice, in part 1 and in part 2"},
        {{1, 2, 2}, {0, 2, 2}, "x", "y", "split.no is 1 where part 1 of the set has 0"},
        {{0, 2, 2}, {2, 2, 2}, "x", "y", "split.no is 2 where part 2 of the set has 1"},
        {{0, 2, 2}, {1, 3, 2}, "x", "y", "split.count is 3, the set has 2 parts"},
        {{0, 2, 3}, {1, 2, 3}, "x", "y", "split.tensors.count is 3, the 2 parts hold 2 tensors"},
        {{-1, 2, 2}, {1, 2, 2}, "x", "y", "key split.no is missing"},
        {{0, 2, 2}, {1, -1, 2}, "x", "y", "key split.count is missing"},
        {{0, 2, -1}, {1, 2, 2}, "x", "y", "key split.tensors.count is missing"},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_error err = {0};
        uint8_t *bytes[2];
        smt_gguf *set,
            *parts[2] = {make_part(cases[i].a, cases[i].name_a, &bytes[0]), make_part(cases[i].b, cases[i].name_b, &bytes[1])};
        smt_status status = smt_gguf_join(parts, 2, &set, &err);
        assert_int_equal(status, cases[i].words ? SMT_FORMAT : SMT_OK);
        assert_true((set != NULL) == (status == SMT_OK));
        if (cases[i].words && !strstr(err.message, cases[i].words)) fail_msg("case %zu: %s", i, err.message);
        smt_gguf_free(set);
        smt_free(bytes[0]);
        smt_free(bytes[1]);
    }
}

static void test_wrong_names(void **state) {
    const fixture *f = *state;
    char path[1024], other[1024];
    split(f, 3, false);
    smt_split_path(f->prefix, 2, 3, path);
    smt_split_path(f->prefix, 2, 4, other);
    assert_int_equal(rename(path, other), 0);
    expect_refused(other, SMT_FORMAT, "split.count is 3, the name says 4");
    assert_int_equal(rename(other, path), 0);
    smt_split_path(f->prefix, 3, 3, other); /* the third one is there twice, also under the second's name */
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(link(path, other), 0);
    expect_refused(other, SMT_FORMAT, "split.no is 2 where part 2 of the set has 1");
    smt_split_remove(f->prefix, 3);
}

/* ---- files cut by bytes ---- */

/* The first `n` bytes of the whole file from `offset` on, under a name. */
static void write_piece(const char *name, uint64_t offset, uint64_t n) {
    smt_error err = {0};
    char *bytes;
    size_t n_bytes;
    SMT_ASSERT_OK(smt_os_read_file(smt_test_data(BASE), &bytes, &n_bytes, &err), &err);
    assert_true(offset + n <= n_bytes);
    SMT_ASSERT_OK(smt_os_write_atomic(name, bytes + offset, (size_t)n, &err), &err);
    smt_free(bytes);
}

static void test_byte_pieces(void **state) {
    const fixture *f = *state;
    static const char *const names[] = {".gguf.part1of2", ".gguf.part-aa", ".gguf-split-a", ".gguf.001", "-00001-of-00002.gguf"};
    char path[1024];
    for (size_t i = 0; i < SMT_COUNT(names); i++)
        for (int later = 0; later < 2; later++) {
            snprintf(path, sizeof path, "%s%s", f->prefix, names[i]);
            write_piece(path, later ? 1000000 : 0, 1000000);
            expect_refused(path, SMT_FORMAT, "seems to be a piece of a file that was cut by bytes");
            remove(path);
        }
    /* A download that has not finished is nothing of the kind. */
    static const char *const others[] = {".gguf", ".gguf.download", ".dir.gguf.parts/x"};
    for (size_t i = 0; i < SMT_COUNT(others); i++) {
        snprintf(path, sizeof path, "%s%s", f->prefix, others[i]);
        write_piece(path, 0, 1000000);
        expect_refused(path, SMT_FORMAT, "is the file cut short?");
        smt_gguf *gguf;
        smt_error err = {0};
        assert_int_equal(smt_gguf_open(path, &gguf, &err), SMT_FORMAT);
        assert_null(strstr(err.message, "piece"));
        remove(path);
    }
    snprintf(path, sizeof path, "%s.dir.gguf.parts", f->prefix);
    rmdir(path);
    /* A part of a set that was cut short keeps its own message. */
    split(f, 2, false);
    assert_int_equal(truncate(smt_split_path(f->prefix, 2, 2, path), 500000), 0);
    expect_refused(path, SMT_FORMAT, "is the file cut short?");
    smt_split_remove(f->prefix, 2);
}

/* Every allocation of opening a set fails once. */
static void test_memory(void **state) {
    const fixture *f = *state;
    char path[1024];
    split(f, 3, true);
    smt_split_path(f->prefix, 2, 3, path);
    for (uint64_t n = 1;; n++) {
        smt_error err = {0};
        smt_gguf *set;
        smt_mem_fail_after(n);
        smt_status status = smt_gguf_open(path, &set, &err);
        smt_mem_fail_after(0);
        smt_gguf_free(set);
        assert_true((status == SMT_OK) == (set != NULL));
        if (status == SMT_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, SMT_MEMORY);
        assert_true(err.message[0] != 0);
    }
    smt_split_remove(f->prefix, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_part),  cmocka_unit_test(test_many_parts),  cmocka_unit_test(test_missing_part),
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_wrong_names), cmocka_unit_test(test_byte_pieces),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
