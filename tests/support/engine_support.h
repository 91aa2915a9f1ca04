/* engine_support.h: what the end-to-end tests share: engines of the driver under test, made and used through the public interface
 * only.
 *
 * Validation is on in every engine; each of its messages is printed and counted, and smt_engine_test_teardown fails the program
 * when there was one. smt_engine_test_setup leaves the program with status 77, "skipped", where there is no Vulkan device.
 * Compiled kernels are kept in a folder of the build, since every program compiles about the same ones. */
#ifndef SMT_ENGINE_SUPPORT_H
#define SMT_ENGINE_SUPPORT_H

#include "support.h"

/* Group fixtures. */
int smt_engine_test_setup(void **state);
int smt_engine_test_teardown(void **state);

/* The full tier (SMT_TEST_FULL=1), and a driver (SMT_TEST_DRIVER) that takes half a second for each kernel, or a family of matrix
 * kernels by name (SMT_TEST_KERNELS=wave), so that the quick tier runs only the essential cases on it. */
bool smt_test_full(void);
/* Of every runner: fast with SMT_TEST_PRECISION=fast, else exact. */
smt_precision smt_test_precision(void);
bool smt_test_slow_driver(void);

/* Options with validation, log and the kernel folder filled in. */
smt_engine_options smt_test_engine_options(const char *model_path);
/* An engine of the file, or the test fails. */
smt_engine *smt_test_engine(const char *model_path);
smt_runner *smt_test_runner(smt_engine *engine, uint32_t n_ctx, uint32_t n_batch, uint32_t n_sessions, smt_cache_type cache_type);
smt_session *smt_test_session(smt_runner *runner);

/* What an eval can give, for n_tokens tokens; arrays are owned. */
typedef struct smt_test_outputs {
    uint32_t n_tokens, n_vocab, n_moe, n_used;
    size_t hidden_row; /* floats of one slot of one token */
    uint32_t n_slots;  /* n_layers + 2 */
    float *logits, *hidden, *weights;
    int32_t *ids;
} smt_test_outputs;
void smt_test_outputs_create(const smt_engine *engine, uint32_t n_tokens, smt_test_outputs *out);
void smt_test_outputs_free(smt_test_outputs *outputs);

/* The same arbitrary tokens on every machine, ids below `limit`. */
int32_t *smt_test_tokens(uint32_t n, uint32_t limit, uint64_t seed);

#endif
