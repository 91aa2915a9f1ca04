/* test_types.c: every tensor type from file to logits: small models of both families, in one type and mixed as real quantisers mix them,
 * against the plain-C forward pass of src/ref over the same file. The routing must agree. */
#include "engine_support.h"
#include "model_support.h"

#include "ref/ref.h"

#include <math.h>
#include <unistd.h>

#define N 5 /* tokens: a few columns, more than one position */

/* Logits [N, n_vocab] and the experts of the last token by the reference. */
static void by_reference(const char *path, const int32_t *tokens, float *logits, int32_t *ids) {
    smt_error err;
    smt_ref *ref;
    smt_test_model opened = smt_test_model_open(path);
    SMT_ASSERT_OK(smt_ref_create(opened.model, N, &ref, &err), &err);
    for (int32_t i = 0; i < N; i++)
        SMT_ASSERT_OK(smt_ref_step(ref, tokens[i], i, logits + (size_t)i * opened.model->n_vocab, NULL, ids, NULL, &err), &err);
    smt_ref_free(ref);
    smt_test_model_close(&opened);
}

/* Ids of one token and layer as a set. */
static bool same_experts(const int32_t *a, const int32_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        bool found = false;
        for (uint32_t j = 0; j < n; j++) found |= a[i] == b[j];
        if (!found) return false;
    }
    return true;
}

/* `bound`: of the greatest difference, in standard deviations of the logits. */
static void compare(const char *path, const char *name, double bound) {
    smt_engine *engine = smt_test_engine(path);
    smt_runner *runner = smt_test_runner(engine, 64, 64, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_test_outputs got;
    smt_test_outputs_create(engine, N, &got);
    int32_t *tokens = smt_test_tokens(N, got.n_vocab, 5), ids[64] = {0};
    float *want = smt_alloc((size_t)N * got.n_vocab, sizeof *want);
    assert_true(want && got.n_moe * got.n_used <= SMT_COUNT(ids));
    smt_error err;
    SMT_ASSERT_OK(smt_session_eval(session,
                                   &(smt_eval){.struct_size = sizeof(smt_eval),
                                               .tokens = tokens,
                                               .n_tokens = N,
                                               .all_logits = true,
                                               .logits = got.logits,
                                               .expert_ids = got.n_moe ? got.ids : NULL},
                                   &err),
                  &err);
    by_reference(path, tokens, want, ids);
    for (uint32_t l = 0; l < got.n_moe; l++)
        if (!same_experts(got.ids + ((size_t)l * N + N - 1) * got.n_used, ids + (size_t)l * got.n_used, got.n_used))
            fail_msg("%s: MoE layer %u chose other experts than the reference", name, l);
    double sum = 0, worst = 0;
    for (size_t i = 0; i < (size_t)N * got.n_vocab; i++) {
        double d = fabs((double)got.logits[i] - (double)want[i]);
        worst = d > worst || d != d ? d : worst;
        sum += (double)want[i] * (double)want[i];
    }
    double deviation = sqrt(sum / ((double)N * got.n_vocab));
    if (!(worst <= bound * deviation)) fail_msg("%s: logits off by %g, their deviation is %g", name, worst, deviation);
    smt_free(want);
    free(tokens);
    smt_test_outputs_free(&got);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
}

static void check_file(const char *name, bool llama, const smt_tiny_options *options) {
    char path[1024];
    smt_error err;
    snprintf(path, sizeof path, "%s/test_types-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(llama ? smt_tiny_llama(path, options, &err) : smt_tiny_deepseek2(path, options, &err), &err);
    /* keys derived from a quantised attn_kv_b are rounded to F16 on the device, and not in the reference */
    compare(path, name, options->old_layout && !llama ? 1e-3 : 1e-4);
    remove(path);
}

static bool listed(smt_dtype type, const smt_dtype *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i] == type) return true;
    return false;
}

/* Files of one type, in the old and new forms of latent attention by turns. In the quick tier one type of each way to read a block. The other
 * family has the same kernels without experts: a third of the types. */
static void test_single(void **state) {
    (void)state;
    static const smt_dtype quick[] = {SMT_DTYPE_F32,  SMT_DTYPE_F16,  SMT_DTYPE_Q8_0,  SMT_DTYPE_Q5_1,
                                      SMT_DTYPE_Q4_K, SMT_DTYPE_Q6_K, SMT_DTYPE_MXFP4, SMT_DTYPE_IQ2_S};
    uint32_t turn = 0;
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (!info || !info->runs) continue;
        turn++;
        if (!smt_test_full() && !listed((smt_dtype)id, quick, SMT_COUNT(quick))) continue;
        smt_tiny_options options = {
            .type = (smt_dtype)id, .n_layers = 2, .old_layout = turn % 2 == 1, .gqa = true, .wide = info->elems == 256};
        check_file(info->name, false, &options);
        if (id == SMT_DTYPE_Q4_K || (smt_test_full() && turn % 3 == 0)) check_file(info->name, true, &options);
    }
}

/* Files as quantisers make them: several types in one, and others where rows are too short for a block. */
static void test_mixes(void **state) {
    (void)state;
    static const smt_dtype bases[] = {SMT_DTYPE_Q2_K, SMT_DTYPE_Q3_K, SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_K, SMT_DTYPE_IQ4_XS};
    for (size_t i = 0; i < SMT_COUNT(bases); i++) {
        if (!smt_test_full() && i > 0) continue;
        char name[32];
        snprintf(name, sizeof name, "mix of %s", smt_dtype_get((uint32_t)bases[i])->name);
        smt_tiny_options options = {.type = bases[i], .mix = true, .n_layers = 3, .old_layout = i % 2 == 1, .gqa = true};
        check_file(name, false, &options);
        if (smt_test_full() && i % 2 == 0) check_file(name, true, &options);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_single), cmocka_unit_test(test_mixes)};
    return cmocka_run_group_tests(tests, smt_engine_test_setup, smt_engine_test_teardown);
}
