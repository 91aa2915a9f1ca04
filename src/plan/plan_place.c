/* plan_place.c: sub-allocation of buffers, in the order things are asked for: pieces follow each other in the newest buffer of their tier
 * until it would exceed the slab limit, then a new one begins. Buffers end exactly where their last piece does. */
#include "plan/plan.h"

/* Slabs keep single allocations well below driver limits, yet are few. */
#define SLAB_MOST ((uint64_t)1 << 30)

static smt_status plan_init(smt_plan *plan, const smt_caps *caps, smt_error *err) {
    *plan = (smt_plan){.slab_limit = smt_min_u64(caps->max_allocation, SLAB_MOST),
                       .align = caps->storage_align > 256 ? caps->storage_align : 256};
    /* the first type that fits wins: drivers list the better ones first */
    const struct {
        uint32_t want, avoid;
    } wishes[SMT_TIER_COUNT][2] = {
        [SMT_TIER_DEVICE] = {{SMT_MEM_DEVICE, 0}, {0, 0}},
        [SMT_TIER_UPLOAD] = {{SMT_MEM_HOST, SMT_MEM_CACHED}, {SMT_MEM_HOST, 0}},
        [SMT_TIER_READBACK] = {{SMT_MEM_HOST | SMT_MEM_CACHED, 0}, {SMT_MEM_HOST, 0}},
    };
    for (int tier = 0; tier < SMT_TIER_COUNT; tier++) {
        uint32_t type = smt_caps_find_memory(caps, wishes[tier][0].want, wishes[tier][0].avoid);
        if (type == UINT32_MAX) type = smt_caps_find_memory(caps, wishes[tier][1].want, wishes[tier][1].avoid);
        if (type == UINT32_MAX)
            return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no %s memory", caps->name,
                            tier == SMT_TIER_DEVICE ? "device" : "host-visible");
        plan->memory_type[tier] = type;
    }
    return SMT_OK;
}

static smt_status place(smt_plan *plan, const smt_caps *caps, smt_plan_tier tier, uint64_t bytes, const char *what,
                        smt_plan_place *out, smt_error *err) {
    bytes = smt_align_up(bytes, plan->align);
    if (bytes > caps->max_allocation)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s: %llu bytes in one piece, %s allocates at most %llu", what,
                        (unsigned long long)bytes, caps->name, (unsigned long long)caps->max_allocation);
    size_t i = plan->n_buffers;
    while (i > 0 && plan->buffers[i - 1].tier != tier) i--;
    if (i == 0 || plan->buffers[i - 1].bytes + bytes > plan->slab_limit) {
        SMT_TRY(smt_grow((void **)&plan->buffers, &plan->capacity, plan->n_buffers + 1, sizeof(smt_plan_buffer), err));
        plan->buffers[plan->n_buffers] = (smt_plan_buffer){.memory_type = plan->memory_type[tier], .tier = tier};
        i = ++plan->n_buffers;
    }
    *out = (smt_plan_place){.buffer = (uint32_t)(i - 1), .offset = plan->buffers[i - 1].bytes, .bytes = bytes};
    plan->buffers[i - 1].bytes += bytes;
    return SMT_OK;
}

void smt_plan_count(const smt_plan *plan, const smt_caps *caps, uint64_t *used) {
    for (size_t i = 0; i < plan->n_buffers; i++) used[caps->types[plan->buffers[i].memory_type].heap] += plan->buffers[i].bytes;
}

static smt_status check_budget(const smt_plan *plan, const smt_caps *caps, const uint64_t *used, const char *what,
                               smt_error *err) {
    uint64_t need[SMT_CAPS_MAX_HEAPS] = {0};
    smt_plan_count(plan, caps, need);
    for (uint32_t heap = 0; heap < caps->n_heaps; heap++) {
        uint64_t taken = used ? used[heap] : 0, budget = smt_min_u64(caps->heaps[heap].budget, caps->heaps[heap].bytes);
        if (need[heap] + taken > budget)
            return SMT_FAIL(err, SMT_DEVICE_MEMORY,
                            "%s: %s needs %.1f MiB of heap %u beside %.1f MiB in use, its budget is %.1f MiB", caps->name, what,
                            (double)need[heap] / 1048576, heap, (double)taken / 1048576, (double)budget / 1048576);
    }
    return SMT_OK;
}

static smt_status place_weights(const smt_model *model, const smt_items *items, const smt_caps *caps, smt_plan_weights *out,
                                smt_error *err) {
    smt_plan *plan = &out->plan;
    for (uint32_t i = 0; i < items->n_items; i++)
        if (items->items[i].expert == UINT32_MAX)
            SMT_TRY(place(plan, caps, SMT_TIER_DEVICE, items->items[i].bytes, items->items[i].matrix->tensor->name,
                          &out->items[i], err));
    for (uint32_t l = 0; l < model->n_layers; l++) {
        const smt_expert_layout *layout = &items->layers[l];
        for (uint32_t w = 0; w < layout->n_windows; w++) {
            uint32_t first = w * layout->per_window, count = smt_min_u32(layout->per_window, model->n_experts - first);
            smt_plan_place *window = &out->windows[l * SMT_MAX_WINDOWS + w];
            SMT_TRY(place(plan, caps, SMT_TIER_DEVICE, count * layout->stride, "a window of experts", window, err));
            for (uint32_t e = 0; e < count; e++)
                out->items[layout->first_item + first + e] = (smt_plan_place){
                    .buffer = window->buffer, .offset = window->offset + e * layout->stride, .bytes = layout->stride};
        }
        if (layout->n_windows)
            SMT_TRY(place(plan, caps, SMT_TIER_DEVICE, 4ull * EXPERT_WORDS * model->n_experts, "an expert table", &out->tables[l],
                          err));
    }
    if (!items->codebooks) return SMT_OK;
    return place(plan, caps, SMT_TIER_DEVICE, sizeof smt_quant_codebooks, "the codebooks", &out->codebooks, err);
}

smt_status smt_plan_weights_create(const smt_model *model, const smt_items *items, const smt_caps *caps, smt_plan_weights *out,
                                   smt_error *err) {
    *out = (smt_plan_weights){0};
    SMT_TRY(plan_init(&out->plan, caps, err));
    out->items = smt_alloc(items->n_items, sizeof *out->items);
    out->windows = smt_alloc((size_t)model->n_layers * SMT_MAX_WINDOWS, sizeof *out->windows);
    out->tables = smt_alloc(model->n_layers, sizeof *out->tables);
    smt_status status = SMT_OK;
    if (!out->items || !out->windows || !out->tables)
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory planning %u items", items->n_items);
    if (status == SMT_OK) status = place_weights(model, items, caps, out, err);
    if (status == SMT_OK) status = check_budget(&out->plan, caps, NULL, "the model's weights", err);
    if (status != SMT_OK) smt_plan_weights_free(out);
    return status;
}

void smt_plan_weights_free(smt_plan_weights *plan) {
    smt_free(plan->plan.buffers);
    smt_free(plan->items);
    smt_free(plan->windows);
    smt_free(plan->tables);
    *plan = (smt_plan_weights){0};
}

static smt_status place_runner(const smt_plan_runner_sizes *s, const smt_caps *caps, smt_plan_runner *out, smt_error *err) {
    smt_plan *plan = &out->plan;
    const struct {
        smt_plan_tier tier;
        uint64_t bytes;
        const char *what;
        smt_plan_place *to;
    } pieces[] = {
        {SMT_TIER_DEVICE, s->rope, "the rotary tables", &out->rope},
        {SMT_TIER_DEVICE, s->counter, "the counter", &out->counter},
        {SMT_TIER_DEVICE, s->scratch, "scratch memory", &out->scratch},
        {SMT_TIER_UPLOAD, s->step, "the step buffer", &out->step},
        {SMT_TIER_UPLOAD, s->blocks, "the block table", &out->blocks},
        {SMT_TIER_READBACK, s->logits, "logits", &out->logits},
        {SMT_TIER_READBACK, s->capture, "captured states", &out->capture},
    };
    for (size_t i = 0; i < SMT_COUNT(pieces); i++)
        SMT_TRY(place(plan, caps, pieces[i].tier, pieces[i].bytes, pieces[i].what, pieces[i].to, err));
    for (uint32_t l = 0; l < s->n_layers; l++)
        for (uint32_t w = 0; w < s->n_cache_windows; w++)
            SMT_TRY(place(plan, caps, SMT_TIER_DEVICE, w + 1 < s->n_cache_windows ? s->cache_window_bytes : s->cache_last_bytes,
                          "the cache of a layer", &out->cache[l * s->n_cache_windows + w], err));
    return SMT_OK;
}

smt_status smt_plan_runner_create(const smt_plan_runner_sizes *sizes, const smt_caps *caps, const uint64_t *used,
                                  smt_plan_runner *out, smt_error *err) {
    *out = (smt_plan_runner){0};
    SMT_TRY(plan_init(&out->plan, caps, err));
    out->cache = smt_alloc((size_t)sizes->n_layers * sizes->n_cache_windows, sizeof *out->cache);
    smt_status status = out->cache ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory planning a cache");
    if (status == SMT_OK) status = place_runner(sizes, caps, out, err);
    if (status == SMT_OK) status = check_budget(&out->plan, caps, used, "cache and working memory", err);
    if (status != SMT_OK) smt_plan_runner_free(out);
    return status;
}

void smt_plan_runner_free(smt_plan_runner *plan) {
    smt_free(plan->plan.buffers);
    smt_free(plan->cache);
    *plan = (smt_plan_runner){0};
}
