/* plan_costs.c: what a model costs on each device of a machine, layer by layer: the numbers that the split is decided with. They are those of
 * the plan itself: items in the device's layout, working memory of the whole model. */
#include "plan_internal.h"

#include <string.h>

/* Equal for devices whose items and graphs are equal. */
static bool same_shapes(const smt_caps *a, const smt_caps *b) {
    return a->kind == b->kind && a->family == b->family && a->max_allocation == b->max_allocation &&
           a->max_storage_range == b->max_storage_range && a->storage_align == b->storage_align &&
           smt_caps_texels(a) == smt_caps_texels(b) && a->max_texels == b->max_texels &&
           a->max_shared_bytes == b->max_shared_bytes && a->max_invocations == b->max_invocations &&
           a->subgroup_ballot == b->subgroup_ballot && a->subgroup_size == b->subgroup_size && a->subgroup_min == b->subgroup_min;
}

static void count_items(const smt_model *model, const smt_plan_request *request, const smt_items *items, smt_plan_costs *out) {
    for (uint32_t i = 0; i < items->n_items; i++) {
        const smt_item *item = &items->items[i];
        if (item->layer == UINT32_MAX)
            *(item->matrix == &model->token_embd ? &out->embedding : &out->head) += item->bytes;
        else if (smt_plan_kept_in_host(request, item))
            out->in_host[item->layer] += item->bytes;
        else
            (item->expert == UINT32_MAX ? out->dense : out->experts)[item->layer] += item->bytes;
    }
    for (uint32_t l = 0; l < model->n_layers; l++)
        if (items->layers[l].n_windows) out->dense[l] += 4ull * EXPERT_WORDS * model->n_experts;
    out->head += items->codebooks ? sizeof smt_quant_codebooks : 0;
}

/* Working memory that counts against the device's own heaps, and the cache of one layer. */
static smt_status count_runner(const smt_caps *caps, smt_plan_costs *out, smt_error *err) {
    smt_plan_runner runner;
    smt_plan_runner_sizes one_layer = out->sizes;
    smt_plan_bytes bytes = {0};
    one_layer.n_layers = 1;
    SMT_TRY(smt_plan_runner_create(&one_layer, caps, &runner, err));
    for (uint32_t w = 0; w < one_layer.n_cache_windows; w++) out->cache += runner.cache[w].bytes;
    smt_plan_count(&runner.plan, caps, &bytes);
    for (uint32_t heap = 0; heap < caps->n_heaps; heap++)
        if (caps->heaps[heap].device_local) out->work += bytes.heap[heap];
    out->work -= out->cache;
    smt_plan_runner_free(&runner);
    return SMT_OK;
}

static smt_status count_capacity(const smt_plan_request *request, uint32_t device, smt_plan_costs *out, smt_error *err) {
    const smt_caps *caps = &request->facts[device].caps;
    smt_plan_bytes limits = smt_plan_device_limits(request, device);
    smt_plan pools;
    SMT_TRY(smt_plan_init(&pools, caps, err));
    out->capacity = limits.heap[caps->types[pools.memory_type[SMT_POOL_DEVICE]].heap];
    if (pools.memory_type[SMT_POOL_MAPPED] != UINT32_MAX)
        out->capacity += limits.heap[caps->types[pools.memory_type[SMT_POOL_MAPPED]].heap];
    return SMT_OK;
}

static smt_status measure(const smt_model *model, const smt_plan_request *request, const smt_caps *caps, smt_plan_costs *out,
                          smt_error *err) {
    smt_items items;
    SMT_TRY(smt_items_create(model, caps, &items, err));
    count_items(model, request, &items, out);
    smt_status status = SMT_OK;
    if (request->demand)
        status = smt_plan_measure(model, &(smt_graph_device){&items, caps}, 1, request->demand, &out->sizes, err);
    if (status == SMT_OK && request->demand) status = count_runner(caps, out, err);
    smt_items_free(&items);
    return status;
}

static smt_status make(const smt_model *model, const smt_plan_request *request, uint32_t device, smt_plan_costs *costs,
                       smt_error *err) {
    smt_plan_costs *out = &costs[device];
    const smt_caps *caps = &request->facts[device].caps;
    uint64_t *bytes = smt_alloc((size_t)model->n_layers * 3, sizeof *bytes);
    if (!bytes) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the bytes of %u layers", model->n_layers);
    for (uint32_t i = 0; i < device && out->status == SMT_OK; i++)
        if (same_shapes(caps, &request->facts[i].caps)) {
            *out = costs[i];
            memcpy(bytes, costs[i].dense, 3 * sizeof *bytes * model->n_layers);
            break;
        }
    bool known = out->dense != NULL;
    out->dense = bytes;
    out->experts = bytes + model->n_layers;
    out->in_host = bytes + 2 * (size_t)model->n_layers;
    if (!known) out->status = measure(model, request, caps, out, &out->err);
    if (out->status == SMT_OK) out->status = count_capacity(request, device, out, &out->err);
    out->speeds = smt_plan_device_speeds(&request->facts[device]);
    return out->status == SMT_MEMORY ? SMT_FAIL(err, SMT_MEMORY, "out of memory for the bytes of a model") : SMT_OK;
}

smt_status smt_plan_costs_create(const smt_model *model, const smt_plan_request *request, smt_plan_costs **out, smt_error *err) {
    *out = smt_alloc(request->n_facts, sizeof **out);
    if (!*out) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u devices", request->n_facts);
    for (uint32_t i = 0; i < request->n_facts; i++) {
        smt_status status = make(model, request, i, *out, err);
        if (status == SMT_OK) continue;
        smt_plan_costs_free(*out, i + 1);
        *out = NULL;
        return status;
    }
    return SMT_OK;
}

void smt_plan_costs_free(smt_plan_costs *costs, uint32_t n) {
    for (uint32_t i = 0; costs && i < n; i++) smt_free(costs[i].dense); /* one block with what follows */
    smt_free(costs);
}
