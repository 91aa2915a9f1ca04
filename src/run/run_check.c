/* run_check.c: a kernel's self-test, between its compilation and its first use (check/check.h).
 *
 * It runs on the thread that compiled the kernel, beside the loading of the weights, so that it hardly shows in the time an engine takes to
 * open. Results are kept by the device in the cache folder of the host program; without one, each process tests anew. */
#include "run/run.h"

#include <stdio.h>

smt_status smt_run_self_test(const smt_run_model *model, smt_run_device *on, const smt_run_kernel *kernel, smt_error *err) {
    if (model->self_test == SMT_SELF_TEST_NEVER) return SMT_OK;
    if (model->self_test == SMT_SELF_TEST_AUTO && smt_vk_kernel_trusted(on->vk, kernel->kernel)) return SMT_OK;
    smt_status status = smt_check_kernel(on->vk, &kernel->key, kernel->kernel, SMT_RUN_WAIT_NS, err);
    if (status == SMT_OK || status == SMT_WRONG_RESULT) smt_vk_kernel_judge(on->vk, kernel->kernel, status == SMT_OK);
    if (status == SMT_OK) atomic_fetch_add(&on->n_tested, 1);
    return status;
}

void smt_run_tell_tested(smt_run_model *model) {
    const smt_callbacks *c = &model->callbacks;
    for (uint32_t i = 0; i < model->n_devices; i++) {
        uint32_t n = atomic_exchange(&model->devices[i].n_tested, 0);
        char text[400];
        if (n == 0 || !c->log) continue;
        snprintf(text, sizeof text, "self-test: kernels that gave right results on %s: %u",
                 smt_vk_device_caps(model->devices[i].vk)->name, n);
        c->log(c->user, SMT_LOG_INFO, text);
    }
}
