/* run_facts.c: what traces say of a model: its shape, and where the plan has put every expert. */
#include "run/run.h"

/* By smt_plan_tier. Places are these of the first device, of the second, ... */
static const char *const tier_names[SMT_TIER_COUNT] = {"device", "device+host", "host", "file"};

static smt_status list_places(const smt_run *run, smt_arena *arena, smt_trace_model *out, smt_error *err) {
    out->n_devices = run->n_parts;
    out->n_places = run->n_parts * SMT_TIER_COUNT;
    smt_trace_place *places = smt_arena_alloc(arena, out->n_places, sizeof *places);
    const char **devices = smt_arena_alloc(arena, out->n_devices, sizeof *devices);
    if (!places || !devices) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u places", out->n_places);
    for (uint32_t i = 0; i < out->n_places; i++)
        places[i] = (smt_trace_place){.device = i / SMT_TIER_COUNT, .tier = tier_names[i % SMT_TIER_COUNT]};
    for (uint32_t i = 0; i < out->n_devices; i++) devices[i] = smt_vk_device_caps(run->parts[i].on->vk)->name;
    out->devices = devices;
    out->places = places;
    return SMT_OK;
}

static smt_status describe_layer(const smt_run *run, uint32_t index, smt_arena *arena, smt_trace_layer *out, smt_error *err) {
    const smt_model *model = run->model->model;
    const smt_model_layer *layer = &model->layers[index];
    const smt_items *items = &run->parts[smt_run_part_of(run, index)].on->items;
    uint32_t n_experts = model->n_experts;
    uint16_t *places = smt_arena_alloc(arena, n_experts, sizeof *places);
    if (!places) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the places of %u experts", n_experts);
    *out = (smt_trace_layer){.layer = index, .places = places};
    for (uint32_t e = 0; e < n_experts; e++) {
        uint32_t device = smt_run_part_of_expert(run, index, e);
        const smt_run_device *on = run->parts[device].on;
        uint32_t item = smt_items_expert(&on->items, index, e);
        smt_plan_tier tier = smt_plan_place_tier(&on->plan.plan, &on->plan.items[item], smt_vk_device_caps(on->vk));
        places[e] = (uint16_t)(device * SMT_TIER_COUNT + tier);
        out->expert_bytes = on->items.items[item].bytes;
    }
    for (uint32_t i = 0; i < items->n_items; i++) {
        const smt_item *item = &items->items[i];
        bool shared =
            item->matrix == &layer->gate_shexp || item->matrix == &layer->up_shexp || item->matrix == &layer->down_shexp;
        if (item->matrix && shared) out->shared_bytes += item->bytes;
    }
    return SMT_OK;
}

smt_status smt_run_facts(const smt_run *run, smt_arena *arena, smt_trace_model *out, smt_error *err) {
    const smt_model *model = run->model->model;
    uint32_t n_moe = smt_model_moe_layers(model), at = 0;
    *out = (smt_trace_model){.struct_size = sizeof *out,
                             .name = model->name,
                             .architecture = model->architecture,
                             .n_layers = model->n_layers,
                             .n_experts = model->n_experts,
                             .n_used = model->n_used,
                             .n_shared = model->n_shared,
                             .n_groups = model->n_groups,
                             .n_groups_used = model->n_groups_used,
                             .n_ctx = run->options.n_ctx,
                             .cache_bytes = 4ull * smt_graph_row_words(model, run->options.cache_f16) * model->n_layers,
                             .n_moe = n_moe};
    SMT_TRY(list_places(run, arena, out, err));
    smt_trace_layer *layers = smt_arena_alloc(arena, n_moe, sizeof *layers);
    if (!layers) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u layers with experts", n_moe);
    for (uint32_t i = 0; i < model->n_layers; i++)
        if (model->layers[i].moe) SMT_TRY(describe_layer(run, i, arena, &layers[at++], err));
    out->layers = layers;
    return smt_trace_model_check(out, err);
}
