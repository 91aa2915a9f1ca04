/* plan_facts.c: what a device offers: speeds, and how many bytes of each heap may be used.
 *
 * Only the read bandwidth is ever measured (`seamount devices` writes it). What nobody measured is assumed by kind of device, from the lower
 * end of what such devices do: a plan for the wrong card is still in the right order of magnitude, and orders devices rightly. GPUs that
 * read faster are taken to compute faster as well: five to eight multiply-adds for each byte, where their makers promise 17 and more. */
#include "plan/plan.h"

#define MIB    ((uint64_t)1 << 20)
#define FILE_S 1.5e9 /* an NVMe drive, in pieces of an expert's matrices, read and repacked before the device goes on */

/* By smt_device_kind. Links: PCI express 3.0 x16 in practice; none where memory is shared. Multiply-adds and stages are those of this
 * engine's fp32 kernels: on lavapipe measured, on GPUs a guess that errs low. */
static const smt_plan_speeds assumed[] = {
    [SMT_KIND_DISCRETE] = {.read_s = 400e9, .link_s = 12e9, .hop_s = 30e-6, .macs_s = 2e12, .stage_s = 6e-6},
    [SMT_KIND_INTEGRATED] = {.read_s = 50e9, .hop_s = 30e-6, .macs_s = 4e11, .stage_s = 8e-6},
    [SMT_KIND_VIRTUAL] = {.read_s = 200e9, .link_s = 6e9, .hop_s = 60e-6, .macs_s = 1e12, .stage_s = 10e-6},
    [SMT_KIND_CPU] = {.read_s = 10e9, .hop_s = 80e-6, .macs_s = 2e10, .stage_s = 20e-6},
    [SMT_KIND_OTHER] = {.read_s = 100e9, .link_s = 6e9, .hop_s = 60e-6, .macs_s = 5e11, .stage_s = 10e-6},
};

smt_plan_speeds smt_plan_device_speeds(const smt_plan_facts *facts) {
    smt_plan_speeds speeds = assumed[(unsigned)facts->caps.kind < SMT_COUNT(assumed) ? facts->caps.kind : SMT_KIND_OTHER];
    speeds.file_s = FILE_S;
    speeds.measured = facts->read_s > 0;
    if (speeds.measured && facts->caps.kind != SMT_KIND_CPU) speeds.macs_s *= facts->read_s / speeds.read_s;
    if (speeds.measured) speeds.read_s = facts->read_s;
    if (facts->link_s > 0) speeds.link_s = facts->link_s;
    if (facts->hop_s > 0) speeds.hop_s = facts->hop_s;
    /* shared memory: host memory is read like the device's own; a link never carries more than that */
    if (speeds.link_s == 0 || speeds.link_s > speeds.read_s) speeds.link_s = speeds.read_s;
    return speeds;
}

/* ---- memory ---- */

static const smt_plan_budget *find_budget(const smt_plan_request *request, uint32_t device, uint32_t heap) {
    const smt_plan_budget *found = NULL;
    for (size_t i = 0; i < request->n_budgets; i++)
        if (request->budgets[i].device == device && request->budgets[i].heap == heap) found = &request->budgets[i];
    return found;
}

static bool is_mapped_window(const smt_caps *caps, uint32_t heap) {
    smt_plan pools;
    return smt_plan_init(&pools, caps, NULL) == SMT_OK && pools.memory_type[SMT_POOL_MAPPED] != UINT32_MAX &&
           caps->types[pools.memory_type[SMT_POOL_MAPPED]].heap == heap;
}

/* Left to the driver, the desktop and what grows later. A window that the host sees serves drivers for every command they write. */
static uint64_t reserve(const smt_plan_request *request, const smt_caps *caps, uint32_t heap, uint64_t free) {
    if (is_mapped_window(caps, heap)) return free / 4;
    if (request->reserve && caps->heaps[heap].device_local) return request->reserve;
    return caps->kind == SMT_KIND_CPU ? 0 : smt_min_u64(free / 32, 256 * MIB);
}

/* Without the user's budget. */
static uint64_t heap_limit(const smt_plan_request *request, const smt_caps *caps, uint32_t heap) {
    uint64_t free = smt_min_u64(caps->heaps[heap].budget, caps->heaps[heap].bytes), left = reserve(request, caps, heap, free);
    return free > left ? free - left : 0;
}

smt_plan_bytes smt_plan_device_limits(const smt_plan_request *request, uint32_t device) {
    const smt_caps *caps = &request->facts[device].caps;
    smt_plan_bytes limits = {0};
    uint64_t shared = 0;
    for (uint32_t heap = 0; heap < caps->n_heaps; heap++) {
        const smt_plan_budget *budget = find_budget(request, device, heap);
        uint64_t limit = heap_limit(request, caps, heap);
        limits.heap[heap] = budget ? smt_min_u64(budget->bytes, caps->heaps[heap].bytes) : limit;
        if (!caps->heaps[heap].device_local)
            limits.host = limits.heap[heap] > limits.host ? limits.heap[heap] : limits.host;
        else
            shared += limit;
    }
    if (limits.host == 0) limits.host = limits.shared = shared; /* unified memory */
    const smt_plan_budget *host = find_budget(request, SMT_PLAN_HOST, 0);
    if (host) limits.host = smt_min_u64(limits.host, host->bytes);
    return limits;
}

uint64_t smt_plan_host_limit(const smt_plan_request *request) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < request->n_facts; i++) {
        uint64_t host = smt_plan_device_limits(request, i).host;
        if (host > most) most = host;
    }
    return most;
}
