/* test_convert_fault.c: every allocation of a conversion fails once: an error each time, no leak (under the sanitizer), nothing left
 * behind. Cancelling is the same with another cause. */
#include "hf_models.h"
#include "os/os.h"

typedef struct fixture {
    smt_hf_folder folder;
    smt_convert_options options;
    char path[700];
} fixture;

/* A small byte-level model, whose conversion takes a moment. */
static void begin(fixture *f) {
    smt_gguf *original;
    json_t *config = smt_hf_tiny_v3(&f->folder, "convert_fault", &original);
    smt_gguf_free(original);
    smt_hf_json(&f->folder, "config.json", config);
    smt_hf_json(&f->folder, "generation_config.json", json_pack("{s:i}", "eos_token_id", 3));
    smt_hf_file(&f->folder, "chat_template.jinja", "{{ x }}", 7);
    smt_hf_write(&f->folder, 2);
    snprintf(f->path, sizeof f->path, "%s.gguf", f->folder.path);
    f->options = (smt_convert_options){.struct_size = sizeof f->options, .folder = f->folder.path, .path = f->path};
}

static void test_allocations(void **state) {
    (void)state;
    static fixture f;
    smt_error err = {0};
    uint64_t n_failed = 0;
    begin(&f);
    for (;; n_failed++) {
        smt_mem_fail_after(n_failed + 1);
        smt_status status = smt_convert(&f.options, &err);
        smt_mem_fail_after(0);
        if (status == SMT_OK) break;
        if (status != SMT_MEMORY) fail_msg("allocation %u: %s: %s", (unsigned)n_failed, smt_status_name(status), err.message);
        assert_false(smt_os_same_file(f.path, f.path)); /* there is no such file */
    }
    assert_in_range(n_failed, 40, 2000);
    assert_int_equal(remove(f.path), 0);
    smt_hf_end(&f.folder);
}

typedef struct watch {
    uint64_t limit, last, total;
    char tensor[64];
    uint32_t n_tensors;
} watch;

static bool on_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    watch *w = user;
    assert_int_equal(stage, SMT_STAGE_WRITE);
    assert_true(done > w->last && done <= total);
    w->last = done;
    w->total = total;
    return done < w->limit;
}

static void on_tensor(void *user, const smt_tensor_info *tensor) {
    watch *w = user;
    snprintf(w->tensor, sizeof w->tensor, "%s", tensor->name);
    w->n_tensors++;
}

static void test_progress(void **state) {
    (void)state;
    static fixture f;
    smt_error err = {0};
    smt_convert_summary summary;
    watch w = {.limit = 400000};
    begin(&f);
    f.options.callbacks = (smt_callbacks){.user = &w, .progress = on_progress};
    f.options.report = on_tensor;
    f.options.summary = &summary;
    assert_int_equal(smt_convert(&f.options, &err), SMT_CANCELLED);
    assert_non_null(strstr(err.message, w.tensor));
    assert_true(w.last >= 400000 && w.last < w.total);
    assert_false(smt_os_same_file(f.path, f.path));
    w = (watch){.limit = UINT64_MAX};
    SMT_ASSERT_OK(smt_convert(&f.options, &err), &err);
    assert_int_equal(w.last, w.total);
    assert_int_equal(w.n_tensors, summary.n_tensors);
    assert_string_equal(summary.architecture, "deepseek2");
    assert_string_equal(summary.pretokenizer, "deepseek-llm");
    assert_string_equal(summary.type, "F32");
    assert_int_equal(remove(f.path), 0);
    smt_hf_end(&f.folder);
}

static void test_arguments(void **state) {
    (void)state;
    smt_error err = {0};
    smt_convert_options options = {0};
    assert_int_equal(smt_convert(&options, &err), SMT_INVALID); /* no struct_size */
    assert_int_equal(smt_convert(NULL, &err), SMT_INVALID);
    options.struct_size = sizeof options;
    assert_int_equal(smt_convert(&options, &err), SMT_INVALID);
    options.folder = "x";
    assert_int_equal(smt_convert(&options, &err), SMT_INVALID);
    options.path = "y";
    options.folder = smt_test_work("no-such-folder");
    assert_int_equal(smt_convert(&options, &err), SMT_IO);
    assert_non_null(strstr(err.message, "no-such-folder/config.json"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations), cmocka_unit_test(test_progress),
                                       cmocka_unit_test(test_arguments)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
