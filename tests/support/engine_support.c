/* engine_support.c: see engine_support.h. */
#include "engine_support.h"

#include <stdatomic.h>

#define SKIPPED 77

static atomic_uint n_messages; /* validation messages; they come from any thread */

static void show_message(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (level != SMT_LOG_VALIDATION) return;
    atomic_fetch_add(&n_messages, 1);
    fprintf(stderr, "validation: %s\n", text);
}

int smt_engine_test_setup(void **state) {
    (void)state;
    smt_device_options options = {.struct_size = sizeof options};
    smt_device_list *list;
    smt_error err;
    smt_status status = smt_device_list_create(&options, &list, &err);
    uint32_t n = status == SMT_OK ? smt_device_list_count(list) : 0;
    smt_device_list_free(list);
    if (n > 0) return 0;
    fprintf(stderr, "skipped: %s\n", status == SMT_OK ? "no Vulkan device" : err.message);
    exit(status == SMT_OK || status == SMT_NO_VULKAN ? SKIPPED : 1);
}

int smt_engine_test_teardown(void **state) {
    (void)state;
    if (n_messages == 0) return 0;
    fprintf(stderr, "%u validation messages\n", n_messages);
    exit(1); /* cmocka does not count a failing group teardown as a failure */
}

static bool variable_is(const char *name, const char *value) {
    const char *text = getenv(name);
    return text && strcmp(text, value) == 0;
}

bool smt_test_full(void) { return variable_is("SMT_TEST_FULL", "1"); }
bool smt_test_slow_driver(void) { return variable_is("SMT_TEST_DRIVER", "swiftshader") || getenv("SMT_TEST_KERNELS"); }

smt_precision smt_test_precision(void) {
    return variable_is("SMT_TEST_PRECISION", "fast") ? SMT_PRECISION_FAST : SMT_PRECISION_EXACT;
}

smt_engine_options smt_test_engine_options(const char *model_path) {
    smt_engine_options options = {.struct_size = sizeof options, .model_path = model_path};
    options.device = (smt_device_options){.struct_size = sizeof options.device,
                                          .cache_dir = SMT_TEST_WORK "/tests/kernel-cache",
                                          .validation = true,
                                          .kernels = getenv("SMT_TEST_KERNELS"),
                                          .callbacks = {.log = show_message}};
    return options;
}

smt_engine *smt_test_engine(const char *model_path) {
    smt_engine_options options = smt_test_engine_options(model_path);
    smt_engine *engine;
    smt_error err;
    SMT_ASSERT_OK(smt_engine_create(&options, &engine, &err), &err);
    return engine;
}

smt_runner *smt_test_runner(smt_engine *engine, uint32_t n_ctx, uint32_t n_batch, uint32_t n_sessions,
                            smt_cache_type cache_type) {
    smt_runner_options options = {.struct_size = sizeof options,
                                  .n_ctx = n_ctx,
                                  .n_batch = n_batch,
                                  .n_sessions = n_sessions,
                                  .cache_type = cache_type,
                                  .precision = smt_test_precision(),
                                  .no_coop_matrix = true}; /* bits would depend on the number of rows */
    smt_runner *runner;
    smt_error err;
    SMT_ASSERT_OK(smt_runner_create(engine, &options, &runner, &err), &err);
    return runner;
}

smt_session *smt_test_session(smt_runner *runner) {
    smt_session *session;
    smt_error err;
    SMT_ASSERT_OK(smt_session_create(runner, &session, &err), &err);
    return session;
}

void smt_test_outputs_create(const smt_engine *engine, uint32_t n_tokens, smt_test_outputs *out) {
    smt_model_info info;
    smt_engine_model(engine, &info);
    *out = (smt_test_outputs){.n_tokens = n_tokens,
                              .n_vocab = info.n_vocab,
                              .n_moe = info.n_experts ? info.n_layers - info.n_dense_layers : 0,
                              .n_used = info.n_experts_used,
                              .hidden_row = info.n_embd,
                              .n_slots = info.n_layers + 2};
    size_t routed = (size_t)out->n_moe * n_tokens * out->n_used;
    out->logits = calloc((size_t)n_tokens * info.n_vocab, sizeof(float));
    out->hidden = calloc((size_t)out->n_slots * n_tokens * info.n_embd, sizeof(float));
    out->weights = calloc(routed + 1, sizeof(float));
    out->ids = calloc(routed + 1, sizeof(int32_t));
    assert_true(out->logits && out->hidden && out->weights && out->ids);
}

void smt_test_outputs_free(smt_test_outputs *outputs) {
    free(outputs->logits);
    free(outputs->hidden);
    free(outputs->weights);
    free(outputs->ids);
    *outputs = (smt_test_outputs){0};
}

int32_t *smt_test_tokens(uint32_t n, uint32_t limit, uint64_t seed) {
    smt_test_random random = {seed};
    int32_t *tokens = calloc(n, sizeof *tokens);
    assert_non_null(tokens);
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(smt_test_next(&random) % limit);
    return tokens;
}
