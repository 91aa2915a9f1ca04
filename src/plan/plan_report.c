/* plan_report.c: a placement as one list of entries: every matrix, table, piece of cache and of working memory, with its place. An expert is
 * three entries, gate, up and down, as the file has them. Buffers are numbered over all devices: weights of the first, its runner, ... */
#include "plan_internal.h"

typedef struct reporter {
    smt_placement *placement;
    smt_placed_device *device;
    uint32_t index, first_buffer; /* of the device; of its weights or its runner */
    const smt_plan *plan;         /* which of the two */
    smt_error *err;
} reporter;

static smt_status add(reporter *r, smt_plan_entry entry, const smt_plan_place *place) {
    smt_placement *p = r->placement;
    const smt_caps *caps = &r->device->caps;
    SMT_TRY(smt_grow((void **)&p->entries, &p->entries_capacity, p->n_entries + 1, sizeof *p->entries, r->err));
    entry.device = r->index;
    if (place->buffer == SMT_PLAN_FILE) {
        entry.buffer = SMT_PLAN_FILE;
        entry.host = true;
        entry.heap = 1;
        entry.memory_type = UINT32_MAX;
        entry.tier = SMT_TIER_FILE;
    } else {
        const smt_plan_buffer *buffer = &r->plan->buffers[place->buffer];
        entry.buffer = r->first_buffer + place->buffer;
        entry.host = smt_plan_in_host(buffer, caps);
        entry.heap = entry.host ? 0 : caps->types[buffer->memory_type].heap;
        entry.memory_type = buffer->memory_type;
        entry.tier = smt_plan_buffer_tier(buffer, caps);
    }
    entry.offset += place->offset;
    if (entry.bytes == 0) entry.bytes = place->bytes;
    p->entries[p->n_entries++] = entry;
    return SMT_OK;
}

static bool same_tensor(const smt_item *a, const smt_item *b) {
    return a->matrix && b->matrix && a->layer == b->layer && a->matrix->tensor == b->matrix->tensor;
}

/* Parts of one tensor among the items of its layer: rows cut off, or the other half of attn_kv_b. */
static void find_parts(const smt_items *items, uint32_t index, smt_plan_entry *entry) {
    const smt_item *all = items->items;
    for (uint32_t i = index; i-- > 0 && all[i].matrix && all[i].layer == all[index].layer;)
        entry->part += same_tensor(&all[i], &all[index]);
    entry->n_parts = entry->part + 1;
    for (uint32_t i = index + 1; i < items->n_items && all[i].matrix && all[i].layer == all[index].layer; i++)
        entry->n_parts += same_tensor(&all[i], &all[index]);
}

/* Of an expert's rows, in the part of the model's file that has them. */
static uint64_t file_offset(const smt_matrix *m, uint32_t expert) {
    return m->tensor->offset + ((uint64_t)expert * m->plane_rows + m->row) * smt_dtype_row_bytes(m->tensor->type, m->k);
}

static smt_status add_item(reporter *r, uint32_t index) {
    const smt_items *items = &r->device->items;
    const smt_item *item = &items->items[index];
    const smt_plan_place *place = &r->device->weights.items[index];
    smt_plan_entry entry = {.kind = SMT_PLAN_WEIGHT, .layer = item->layer, .expert = item->expert};
    if (item->matrix) {
        entry.name = item->matrix->tensor->name;
        find_parts(items, index, &entry);
        return add(r, entry, place);
    }
    const smt_model_layer *layer = &r->placement->model->layers[item->layer];
    const smt_expert_layout *layout = &items->layers[item->layer];
    const smt_matrix *matrices[] = {&layer->gate_exps, &layer->up_exps, &layer->down_exps};
    const uint64_t at[] = {layout->gate, layout->up, layout->down, layout->stride};
    bool both = layer->gate_exps.tensor == layer->up_exps.tensor; /* in one tensor */
    entry.kind = SMT_PLAN_EXPERT;
    for (uint32_t i = 0; i < SMT_COUNT(matrices); i++) {
        entry.name = matrices[i]->tensor->name;
        entry.part = i == 1 && both;
        entry.n_parts = i < 2 && both ? 2 : 1;
        entry.offset = place->buffer == SMT_PLAN_FILE ? file_offset(matrices[i], item->expert) : at[i];
        entry.bytes = at[i + 1] - at[i];
        SMT_TRY(add(r, entry, place));
    }
    return SMT_OK;
}

static smt_status add_piece(reporter *r, smt_plan_kind kind, const char *name, uint32_t layer, const smt_plan_place *place) {
    if (place->bytes == 0) return SMT_OK;
    return add(r, (smt_plan_entry){.kind = kind, .name = name, .layer = layer, .expert = UINT32_MAX, .n_parts = 1}, place);
}

static smt_status add_weights(reporter *r) {
    const smt_placed_device *d = r->device;
    r->plan = &d->weights.plan;
    for (uint32_t i = 0; i < d->items.n_items; i++) SMT_TRY(add_item(r, i));
    for (uint32_t l = d->first_layer; l < d->last_layer; l++)
        SMT_TRY(add_piece(r, SMT_PLAN_TABLE, "expert table", l, &d->weights.tables[l]));
    smt_plan_entry slot = {.kind = SMT_PLAN_SLOTS, .name = "slot for an expert", .expert = UINT32_MAX};
    for (uint32_t l = d->first_layer; l < d->last_layer; l++) {
        slot.layer = l;
        slot.n_parts = smt_plan_slots(&d->weights, l);
        for (slot.part = 0; slot.part < slot.n_parts; slot.part++)
            SMT_TRY(add(r, slot, &d->weights.slots[d->weights.first_slot[l] + slot.part]));
    }
    return add_piece(r, SMT_PLAN_TABLE, "codebooks", UINT32_MAX, &d->weights.codebooks);
}

static smt_status add_runner(reporter *r) {
    const smt_placed_device *d = r->device;
    const smt_plan_runner *runner = &d->runner;
    const struct {
        const char *name;
        const smt_plan_place *place;
    } pieces[] = {
        {"rotary tables", &runner->rope},         {"counter", &runner->counter},     {"scratch", &runner->scratch},
        {"step buffer", &runner->step},           {"block table", &runner->blocks},  {"logits", &runner->logits},
        {"captured states", &runner->capture},    {"ring of tokens", &runner->ring}, {"outgoing activations", &runner->hop_out},
        {"incoming activations", &runner->hop_in}};
    r->plan = &runner->plan;
    for (size_t i = 0; i < SMT_COUNT(pieces); i++)
        SMT_TRY(add_piece(r, SMT_PLAN_WORK, pieces[i].name, UINT32_MAX, pieces[i].place));
    smt_plan_entry cache = {.kind = SMT_PLAN_CACHE, .name = "cache", .expert = UINT32_MAX, .n_parts = d->sizes.n_cache_windows};
    for (uint32_t i = 0; i < d->sizes.n_layers * d->sizes.n_cache_windows; i++) {
        cache.layer = d->first_layer + i / d->sizes.n_cache_windows;
        cache.part = i % d->sizes.n_cache_windows;
        SMT_TRY(add(r, cache, &runner->cache[i]));
    }
    return SMT_OK;
}

smt_status smt_plan_list(smt_placement *placement, smt_error *err) {
    reporter r = {.placement = placement, .err = err};
    placement->n_entries = 0;
    for (r.index = 0; r.index < placement->n_devices; r.index++) {
        r.device = &placement->devices[r.index];
        SMT_TRY(add_weights(&r));
        r.first_buffer += (uint32_t)r.device->weights.plan.n_buffers;
        SMT_TRY(add_runner(&r));
        r.first_buffer += (uint32_t)r.device->runner.plan.n_buffers;
    }
    return SMT_OK;
}
