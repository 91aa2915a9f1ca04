/* test_submissions.c: a step cut into many submissions, products and attention in parts of their grids: the same bits as in one, counted,
 * and cancelled in between. The bound is set below the public interface, since what it comes to depends on the machine. */
#include "engine_support.h"
#include "tiny_model.h"

#include "api/api_engine.h"

#include <unistd.h>

enum { CONTEXT = 320, N_PROMPT = 300 }; /* two chunks of positions: the split attention of one token has two */

static struct {
    char path[1024];
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    uint32_t n_vocab;
    int32_t *tokens;
    float *logits[2][2]; /* prompt and one token; in one and cut */
} shared;

static int setup(void **state) {
    smt_error err;
    smt_model_info info;
    smt_engine_test_setup(state);
    snprintf(shared.path, sizeof shared.path, "%s/test_submissions-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(
        smt_tiny_deepseek2(shared.path, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .small = true, .n_layers = 2}, &err), &err);
    shared.engine = smt_test_engine(shared.path);
    smt_engine_model(shared.engine, &info);
    shared.n_vocab = info.n_vocab;
    shared.tokens = smt_test_tokens(N_PROMPT + 1, info.n_vocab, 5);
    shared.runner = smt_test_runner(shared.engine, CONTEXT, CONTEXT, 1, SMT_CACHE_F16);
    shared.session = smt_test_session(shared.runner);
    for (int i = 0; i < 4; i++) assert_non_null(shared.logits[i / 2][i % 2] = calloc(info.n_vocab, sizeof(float)));
    return 0;
}

static int teardown(void **state) {
    for (int i = 0; i < 4; i++) free(shared.logits[i / 2][i % 2]);
    smt_session_free(shared.session);
    smt_runner_free(shared.runner);
    smt_engine_free(shared.engine);
    remove(shared.path);
    free(shared.tokens);
    return smt_engine_test_teardown(state);
}

static smt_runner_stats stats(void) {
    smt_runner_stats now;
    smt_runner_get_stats(shared.runner, &now);
    assert_int_equal(now.struct_size, sizeof now);
    return now;
}

/* Evaluates with at most so much work in a submission; returns how many there were. */
static uint64_t eval(uint32_t from, uint32_t n, double most, float *logits) {
    smt_error err;
    smt_runner_stats before = stats();
    smt_run *run = shared.runner->run;
    run->parts[0].pace.most[0] = run->parts[0].pace.most[1] = most;
    smt_eval request = {.struct_size = sizeof request, .tokens = shared.tokens + from, .n_tokens = n, .logits = logits};
    SMT_ASSERT_OK(smt_session_rewind(shared.session, from, &err), &err);
    SMT_ASSERT_OK(smt_session_eval(shared.session, &request, &err), &err);
    smt_runner_stats after = stats();
    assert_int_equal(after.n_steps, before.n_steps + 1);
    assert_true(after.n_dispatches >= before.n_dispatches + 20);
    assert_true(after.longest_submission_s > 0);
    return after.n_submissions - before.n_submissions;
}

static void test_cut(void **state) {
    (void)state;
    uint32_t n_prompt = smt_test_slow_driver() && !smt_test_full() ? 0 : N_PROMPT;
    for (int cut = 0; cut < 2; cut++) {
        if (n_prompt) assert_in_range(eval(0, n_prompt, cut ? 1e6 : 1e12, shared.logits[0][cut]), cut ? 50 : 1, cut ? 2000 : 1);
        assert_in_range(eval(n_prompt, 1, cut ? 1e4 : 1e12, shared.logits[1][cut]), cut ? 20 : 1, cut ? 2000 : 1);
    }
    const smt_run *run = shared.runner->run;
    const smt_graph *graph = run->shapes[run->n_shapes - 1]->graph; /* of the single token */
    bool attention_divided = false;
    for (size_t i = 0; i < graph->n_segments; i++) {
        const smt_segment *s = &graph->segments[i];
        attention_divided |= s->to && graph->nodes[s->first].key.kernel == SMT_KERNEL_ATTEND;
    }
    assert_true(attention_divided);
    for (int i = n_prompt ? 0 : 1; i < 2; i++) {
        assert_true(shared.logits[i][0][0] != shared.logits[i][0][1]);
        assert_memory_equal(shared.logits[i][0], shared.logits[i][1], shared.n_vocab * sizeof(float));
    }
}

static void test_cap_option(void **state) {
    (void)state;
    smt_error err;
    for (uint32_t given = 0; given < 8; given += 7) {
        smt_runner_options options = {.struct_size = sizeof options, .n_ctx = 8, .submission_ms = given}, got;
        smt_runner *runner;
        SMT_ASSERT_OK(smt_runner_create(shared.engine, &options, &runner, &err), &err);
        smt_runner_get_options(runner, &got);
        assert_int_equal(got.submission_ms, given ? given : 100);
        assert_true(runner->run->parts[0].pace.cap_s == got.submission_ms * 1e-3);
        smt_runner_free(runner);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut), cmocka_unit_test(test_cap_option)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
