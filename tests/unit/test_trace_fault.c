/* test_trace_fault.c: the Nth allocation of writing, reading and counting a trace fails, for every N: SMT_MEMORY each time, nothing left
 * behind (the sanitizer build sees leaks), and success at the first N beyond the last allocation. */
#include "fake_trace.h"

#define N_TOKENS 300u
static const smt_fake_trace_options shape = {.n_dense = 1, .n_moe = 2, .n_experts = 6, .n_used = 2, .n_devices = 2, .seed = 9};

static smt_status write_trace(smt_fake_trace *fake, const char *path, smt_error *err) {
    smt_trace_writer *writer;
    smt_status status = smt_trace_writer_create(path, &fake->model, &writer, err);
    for (uint32_t i = 0; i < N_TOKENS && status == SMT_OK; i++)
        status = smt_trace_writer_add(writer, smt_fake_trace_next(fake), err);
    if (status == SMT_OK) status = smt_trace_writer_commit(writer, 0, err);
    smt_trace_writer_free(writer);
    return status;
}

static smt_status count_trace(smt_trace *trace, smt_error *err) {
    smt_routing_stats *stats;
    smt_status status = smt_routing_stats_create(smt_trace_get_model(trace), true, &stats, err);
    for (uint64_t i = 0; i < N_TOKENS && status == SMT_OK; i++) {
        const smt_trace_token *token;
        status = smt_trace_get(trace, i, &token, err);
        if (status == SMT_OK) status = smt_routing_stats_add(stats, token, err);
    }
    smt_routing_stats_free(stats);
    return status;
}

static smt_status read_trace(const char *path, smt_error *err) {
    smt_trace *trace;
    SMT_TRY(smt_trace_open(path, &trace, err));
    smt_status status = count_trace(trace, err);
    smt_trace_free(trace);
    return status;
}

/* True when the call came through with the nth allocation failing, because it makes fewer. */
static bool passes(bool reading, uint64_t n) {
    const char *path = smt_test_work("fault.trace");
    smt_error err = {0};
    smt_fake_trace fake;
    smt_fake_trace_begin(&shape, &fake);
    smt_mem_fail_after(n);
    smt_status status = reading ? read_trace(path, &err) : write_trace(&fake, path, &err);
    smt_mem_fail_after(0);
    smt_fake_trace_end(&fake);
    if (status == SMT_OK) return true;
    assert_int_equal(status, SMT_MEMORY);
    assert_true(err.code == SMT_MEMORY && err.message[0]);
    return false;
}

static void test_every_allocation(void **state) {
    (void)state;
    for (int reading = 0; reading < 2; reading++) {
        uint64_t n = 1;
        while (!passes(reading, n)) assert_true(++n < 1000);
        assert_true(n > 10); /* several allocations did fail before */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
