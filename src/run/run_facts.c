/* run_facts.c: what traces say of a model: its shape, and where the plan has put every expert. */
#include "run/run.h"

static const char *tier_name(const smt_caps_memory_type *type) {
    if (!type->device_local) return "host";
    return type->host_visible ? "device+host" : "device";
}

/* A place for each memory type; a plan uses one device. */
static smt_status list_places(const smt_run *run, smt_arena *arena, smt_trace_model *out, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(run->model->device);
    smt_trace_place *places = smt_arena_alloc(arena, caps->n_types, sizeof *places);
    const char **devices = smt_arena_alloc(arena, 1, sizeof *devices);
    if (!places || !devices) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u memory types", caps->n_types);
    for (uint32_t i = 0; i < caps->n_types; i++) places[i] = (smt_trace_place){.tier = tier_name(&caps->types[i])};
    devices[0] = caps->name;
    out->n_devices = 1;
    out->devices = devices;
    out->n_places = caps->n_types;
    out->places = places;
    return SMT_OK;
}

static smt_status describe_layer(const smt_run_model *m, uint32_t index, smt_arena *arena, smt_trace_layer *out, smt_error *err) {
    const smt_model_layer *layer = &m->model->layers[index];
    uint32_t first = m->items.layers[index].first_item, n_experts = m->model->n_experts;
    uint16_t *places = smt_arena_alloc(arena, n_experts, sizeof *places);
    if (!places) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the places of %u experts", n_experts);
    *out = (smt_trace_layer){.layer = index, .expert_bytes = m->items.items[first].bytes, .places = places};
    for (uint32_t e = 0; e < n_experts; e++)
        places[e] = (uint16_t)m->plan.plan.buffers[m->plan.items[first + e].buffer].memory_type;
    for (uint32_t i = 0; i < m->items.n_items; i++) {
        const smt_item *item = &m->items.items[i];
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
        if (model->layers[i].moe) SMT_TRY(describe_layer(run->model, i, arena, &layers[at++], err));
    out->layers = layers;
    return smt_trace_model_check(out, err);
}
