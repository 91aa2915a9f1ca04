/* api_place.c: which devices an engine computes on, and what each of them holds: the user's words and the snapshots become a request, and the
 * planner's placement is what the engine executes.
 *
 * The snapshots are taken as the devices will be made: with the family of kernels and the reductions that were asked for. How fast devices
 * read is measured where that decides something: where several may share the layers. Processors, which would take seconds, are not measured
 * but taken for alike. */
#include "api/api_engine.h"

/* Everything the request points to. */
typedef struct call {
    const smt_device_options *device;
    smt_plan_facts *facts; /* owned, [n_facts] */
    const smt_caps **caps; /* owned, the same devices */
    uint32_t *index;       /* owned: the same in vk */
    smt_api_request words; /* its budgets are owned */
    uint32_t n_facts, order[SMT_GRAPH_DEVICES], n_order;
} call;

/* All devices, or, for an automatic choice, those that can run the engine. */
static smt_status read_facts(call *c, const smt_vk *vk, bool automatic, smt_error *err) {
    const smt_device_options *o = c->device;
    uint32_t n = smt_vk_count(vk);
    char why[256];
    if (n == 0) return SMT_FAIL(err, SMT_NOT_FOUND, "Vulkan is there, but it offers no device");
    c->facts = smt_alloc(n, sizeof *c->facts);
    c->caps = smt_alloc(n, sizeof *c->caps);
    c->index = smt_alloc(n, sizeof *c->index);
    if (!c->facts || !c->caps || !c->index) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u devices", n);
    for (uint32_t i = 0; i < n; i++) {
        smt_caps *caps = &c->facts[c->n_facts].caps;
        *caps = *smt_vk_caps(vk, i);
        if (automatic && smt_caps_lacks(caps, why, sizeof why)) continue;
        if (o->minimum) smt_caps_reduce(caps);
        if (o->no_external_memory) caps->external_memory_fd = false;
        if (!smt_caps_family(caps->kind, o->kernels, &caps->family))
            return SMT_FAIL(err, SMT_INVALID, "kernels \"%s\": rows and wave are the families there are", o->kernels);
        c->index[c->n_facts] = i;
        c->caps[c->n_facts++] = caps;
    }
    if (c->n_facts) return SMT_OK;
    smt_caps_lacks(smt_vk_caps(vk, 0), why, sizeof why);
    return SMT_FAIL(err, SMT_UNSUPPORTED, "%s cannot run the engine: %s", smt_vk_caps(vk, 0)->name, why);
}

/* The devices that the user has named. */
static smt_status read_order(call *c, smt_error *err) {
    char why[256];
    SMT_TRY(smt_api_choose_devices(c->caps, c->n_facts, c->device->devices, c->order, SMT_COUNT(c->order), &c->n_order, err));
    for (uint32_t i = 0; i < c->n_order; i++)
        if (smt_caps_lacks(c->caps[c->order[i]], why, sizeof why))
            return SMT_FAIL(err, SMT_UNSUPPORTED, "%s cannot run the engine: %s", c->caps[c->order[i]]->name, why);
    return SMT_OK;
}

/* Whether the speed of a device counts: it is one of several that were named without shares, or that there are to choose from. */
static bool competes(const call *c, uint32_t fact) {
    uint32_t others = 0;
    bool named = c->n_order == 0;
    for (uint32_t i = 0; i < c->n_order; i++) named |= c->order[i] == fact;
    for (uint32_t i = 0; i < (c->n_order ? c->n_order : c->n_facts); i++) {
        uint32_t other = c->n_order ? c->order[i] : i;
        others += other != fact && c->caps[other]->kind != SMT_KIND_CPU;
    }
    return named && others && c->caps[fact]->kind != SMT_KIND_CPU && c->device->n_shares == 0;
}

static void measure_speeds(call *c, smt_vk *vk) {
    for (uint32_t i = 0; i < c->n_facts; i++)
        if (competes(c, i)) /* what cannot be measured is assumed */
            smt_api_bandwidth(vk, c->index[i], c->device, &c->facts[i].read_s, NULL);
}

static smt_status plan(call *c, smt_vk *vk, const smt_model *model, const smt_engine_options *options, smt_api_place *out,
                       smt_error *err) {
    smt_plan_request *request = &c->words.request;
    bool automatic = !c->device->devices || !*c->device->devices;
    SMT_TRY(read_facts(c, vk, automatic, err));
    if (!automatic) SMT_TRY(read_order(c, err));
    measure_speeds(c, vk);
    SMT_TRY(smt_api_placement_request(options->placement, model, c->caps, c->n_facts, &c->words, err));
    SMT_TRY(smt_api_request_runner(options->compile_for, &c->words, err));
    request->facts = c->facts;
    request->n_facts = c->n_facts;
    request->order = c->order;
    request->n_order = c->n_order;
    request->shares = c->device->shares;
    request->n_shares = c->device->n_shares;
    SMT_TRY(smt_plan_create(model, request, &out->placement, err));
    for (uint32_t i = 0; i < out->placement->n_devices; i++) {
        out->index[i] = c->index[out->placement->devices[i].fact];
        smt_api_tell_software(c->device, smt_vk_caps(vk, out->index[i]));
    }
    return SMT_OK;
}

smt_status smt_api_place_model(smt_vk *vk, const smt_model *model, const smt_device_options *device,
                               const smt_engine_options *options, smt_api_place *out, smt_error *err) {
    call c = {.device = device};
    *out = (smt_api_place){0};
    smt_status status = plan(&c, vk, model, options, out, err);
    smt_free(c.facts);
    smt_free(c.caps);
    smt_free(c.index);
    smt_free(c.words.budgets);
    return status;
}
