/* model_support.c: see model_support.h. */
#include "model_support.h"

#include <unistd.h>

smt_test_model smt_test_model_open(const char *path) {
    smt_test_model opened;
    smt_error err;
    SMT_ASSERT_OK(smt_gguf_open(path, &opened.file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(opened.file, &opened.model, &err), &err);
    return opened;
}

smt_test_model smt_test_model_tiny(smt_tiny_maker make_file, const smt_tiny_options *options) {
    char path[1024];
    smt_error err;
    smt_tiny_options blank = options ? *options : (smt_tiny_options){0};
    blank.blank = true;
    snprintf(path, sizeof path, "%s/tiny-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(make_file(path, &blank, &err), &err);
    smt_test_model opened = smt_test_model_open(path);
    remove(path);
    return opened;
}

bool smt_test_model_big(const smt_big_shape *shape, smt_test_model *out) {
    smt_error err;
    if (!smt_big_open(shape, &out->file)) return false;
    SMT_ASSERT_OK(smt_model_create(out->file, &out->model, &err), &err);
    return true;
}

void smt_test_model_close(smt_test_model *opened) {
    smt_model_free(opened->model);
    smt_gguf_free(opened->file);
    *opened = (smt_test_model){0};
}
