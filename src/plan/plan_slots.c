/* plan_slots.c: slots: device memory of a layer for experts that lie elsewhere, which come and go as the routing wants them.
 *
 * Every layer with such experts has the same number of slots, and none more than it has of them: what the hit rate of a layer will be is not
 * known, and a trace says little of how it differs (`trace report`). A layer has no more slots than its windows have room for. */
#include "plan_internal.h"

static uint32_t count_elsewhere(const smt_items *items, const uint8_t *pools, uint32_t layer) {
    uint32_t n = 0;
    for (uint32_t e = 0; e < items->n_experts; e++) n += pools[items->layers[layer].first_item + e] >= SMT_POOL_HOST;
    return n;
}

void smt_plan_choose_slots(const smt_plan_request *request, const smt_placed_device *device, const uint8_t *pools,
                           uint32_t *slots) {
    uint64_t one_each = 0;
    for (uint32_t l = device->first_layer; l < device->last_layer; l++) {
        const smt_expert_layout *layout = &device->items.layers[l];
        if (!layout->n_windows) continue;
        uint32_t windows = smt_min_u32(slots[l], SMT_MAX_WINDOWS);
        slots[l] = smt_min_u32(count_elsewhere(&device->items, pools, l), (SMT_MAX_WINDOWS - windows) * layout->per_window);
        if (slots[l]) one_each += layout->stride;
    }
    for (uint32_t l = device->first_layer; l < device->last_layer; l++)
        slots[l] = (uint32_t)smt_min_u64(slots[l], one_each ? request->expert_cache / one_each : 0);
}

uint32_t smt_plan_step_rows(const smt_model *model, const smt_items *items, const smt_plan_weights *weights) {
    uint32_t rows = UINT32_MAX;
    for (uint32_t l = 0; l < model->n_layers; l++) {
        uint32_t n_slots = smt_plan_slots(weights, l), elsewhere = 0;
        if (!items->layers[l].n_windows || !items->layers[l].from_file) continue;
        for (uint32_t e = 0; e < items->n_experts; e++)
            elsewhere += !smt_plan_is_resident(weights, &weights->items[items->layers[l].first_item + e]);
        if (n_slots < elsewhere) rows = smt_min_u32(rows, n_slots / model->n_used);
    }
    return rows;
}

double smt_plan_slot_hits(const smt_model *model, const smt_plan_request *request, const smt_placed_device *d, uint32_t layer) {
    const smt_plan_place *experts = &d->weights.items[d->items.layers[layer].first_item];
    uint32_t n_slots = smt_plan_slots(&d->weights, layer), n = 0;
    double uses[SMT_MODEL_MAX_EXPERTS], all = 0, held = 0;
    for (uint32_t e = 0; e < d->items.n_experts && n_slots; e++)
        if (!smt_plan_is_resident(&d->weights, &experts[e])) {
            uses[n] = smt_plan_expert_use(model, request, layer, d->items.range.first_expert + e);
            all += uses[n++];
        }
    for (uint32_t i = 0; i < n_slots && i < n; i++) { /* the most used of the rest comes next */
        for (uint32_t j = i + 1; j < n; j++)
            if (uses[j] > uses[i]) {
                double less = uses[i];
                uses[i] = uses[j];
                uses[j] = less;
            }
        held += uses[i];
    }
    return all > 0 ? held / all : 0;
}
