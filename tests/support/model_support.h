/* model_support.h: a file and the model in it, opened together. Failures fail the running test; smt_test_model_close frees both. */
#ifndef SMT_MODEL_SUPPORT_H
#define SMT_MODEL_SUPPORT_H

#include "big_model.h"
#include "model/model.h"
#include "support.h"
#include "tiny_model.h"

typedef struct smt_test_model {
    smt_gguf *file;
    smt_model *model;
} smt_test_model;

smt_test_model smt_test_model_open(const char *path);
/* Of a small model without numbers (blank), written for this by smt_tiny_deepseek2 or one of its kind and removed. options may be NULL. */
typedef smt_status (*smt_tiny_maker)(const char *path, const smt_tiny_options *options, smt_error *err);
smt_test_model smt_test_model_tiny(smt_tiny_maker make_file, const smt_tiny_options *options);
/* Of a released model in full size, without its numbers. False as smt_big_open. */
bool smt_test_model_big(const smt_big_shape *shape, smt_test_model *out);
void smt_test_model_close(smt_test_model *opened);

#endif
