/* test_files.c: models as people have them on disk, through the public interface: in several files, and in files that change while they
 * are in use. Neither may change a bit of the result or end the process. */
#include "engine_support.h"
#include "split_model.h"
#include "tiny_model.h"

#include <unistd.h>

enum { N_TOKENS = 6, N_PARTS = 3 };

static struct { char path[900], prefix[900]; } shared;

static int setup(void **state) {
    smt_error err = {0};
    smt_engine_test_setup(state);
    snprintf(shared.prefix, sizeof shared.prefix, "%s/test_files-%ld", SMT_TEST_WORK, (long)getpid());
    snprintf(shared.path, sizeof shared.path, "%.890s.gguf", shared.prefix);
    smt_tiny_options options = {.type = SMT_DTYPE_Q8_0, .n_layers = 2, .old_layout = true};
    return smt_tiny_deepseek2(shared.path, &options, &err) != SMT_OK;
}

static int teardown(void **state) {
    remove(shared.path);
    return smt_engine_test_teardown(state);
}

/* Logits of the last of N_TOKENS tokens; the caller frees them. */
static float *last_logits(const char *path, uint32_t *n_vocab) {
    smt_error err;
    smt_engine *engine = smt_test_engine(path);
    smt_runner *runner = smt_test_runner(engine, 32, 8, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_model_info info;
    smt_engine_model(engine, &info);
    float *logits = calloc(info.n_vocab, sizeof *logits);
    int32_t *tokens = smt_test_tokens(N_TOKENS, info.n_vocab, 3);
    assert_non_null(logits);
    smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = N_TOKENS, .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    *n_vocab = info.n_vocab;
    free(tokens);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
    return logits;
}

static void write_set(void) {
    smt_error err = {0};
    smt_gguf *whole;
    SMT_ASSERT_OK(smt_gguf_open(shared.path, &whole, &err), &err);
    SMT_ASSERT_OK(smt_split_model(whole, shared.prefix, N_PARTS, true, &err), &err);
    smt_gguf_free(whole);
}

/* The set gives the logits of the whole, whichever part is named. */
static void test_set(void **state) {
    (void)state;
    uint32_t n_vocab, n_again;
    char path[1024];
    write_set();
    float *want = last_logits(shared.path, &n_vocab);
    float *got = last_logits(smt_split_path(shared.prefix, 2, N_PARTS, path), &n_again);
    assert_int_equal(n_again, n_vocab);
    assert_true(want[0] != want[1]);
    assert_memory_equal(got, want, n_vocab * sizeof *got);
    free(want);
    free(got);
    smt_split_remove(shared.prefix, N_PARTS);
}

/* Which file holds what, as a host program is told. */
static void test_parts(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file;
    smt_tensor_info info;
    const char *name;
    uint64_t bytes;
    char path[1024];
    write_set();
    SMT_ASSERT_OK(smt_file_open(smt_split_path(shared.prefix, 3, N_PARTS, path), &file, &err), &err);
    assert_int_equal(smt_file_part_count(file), N_PARTS);
    for (uint32_t i = 0; i < N_PARTS; i++) {
        assert_int_equal(smt_file_part(file, i, &name, &bytes), SMT_OK);
        assert_string_equal(name, smt_split_path(shared.prefix, i + 1, N_PARTS, path));
        assert_true(bytes > 0);
    }
    assert_int_equal(smt_file_part(file, N_PARTS, &name, &bytes), SMT_INVALID);
    assert_null(name);
    uint64_t n = smt_file_tensor_count(file);
    assert_int_equal(smt_file_tensor(file, 0, &info), SMT_OK);
    assert_int_equal(info.part, 1); /* the first part is bare */
    assert_int_equal(smt_file_tensor(file, n - 1, &info), SMT_OK);
    assert_int_equal(info.part, 2);
    smt_file_free(file);
    SMT_ASSERT_OK(smt_file_open(shared.path, &file, &err), &err);
    assert_int_equal(smt_file_part_count(file), 1);
    smt_file_free(file);
    smt_split_remove(shared.prefix, N_PARTS);
}

/* What was read at opening time stays readable when the file is gone: keys, names, the tokenizer. */
static void test_emptied_file(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file;
    smt_tokenizer *tokenizer;
    smt_key_info info;
    char text[32];
    write_set();
    char path[1024];
    SMT_ASSERT_OK(smt_file_open(smt_split_path(shared.prefix, 1, N_PARTS, path), &file, &err), &err);
    assert_int_equal(truncate(path, 0), 0);
    for (uint64_t i = 0; i < smt_file_key_count(file); i++) {
        assert_int_equal(smt_file_key(file, i, &info), SMT_OK);
        if (info.count) assert_true(smt_file_key_text(file, i, info.count - 1, text, sizeof text) < 1000);
    }
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    smt_tokenizer_free(tokenizer);
    smt_file_free(file);
    smt_split_remove(shared.prefix, N_PARTS);
}

typedef struct cutter {
    const char *path;
    unsigned calls;
} cutter;

/* Cuts the file once loading has begun. */
static bool cut(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    cutter *c = user;
    (void)done;
    (void)total;
    if (stage == SMT_STAGE_LOAD && c->calls++ == 0) assert_int_equal(truncate(c->path, 100000), 0);
    return true;
}

static void test_cut_while_loading(void **state) {
    (void)state;
    smt_error err = {0};
    smt_engine *engine;
    char path[1024];
    write_set();
    cutter c = {.path = smt_split_path(shared.prefix, 3, N_PARTS, path)};
    smt_engine_options options = smt_test_engine_options(path);
    options.device.callbacks.user = &c;
    options.device.callbacks.progress = cut;
    assert_int_equal(smt_engine_create(&options, &engine, &err), SMT_IO);
    assert_null(engine);
    if (!strstr(err.message, "-00003-of-00003.gguf") || !strstr(err.message, "cut short")) fail_msg("%s", err.message);
    assert_in_range(c.calls, 1, 1000);
    smt_split_remove(shared.prefix, N_PARTS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_emptied_file),
        cmocka_unit_test(test_cut_while_loading),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
