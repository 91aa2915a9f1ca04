/* api_plan.c: smt_placement_*: descriptions of devices become facts for the planner, its placement becomes public structs.
 *
 * A row is a device of the machine, or one of its twins where it is named several times; the host is the last row. */
#include "api/api_engine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of devices that nobody asked: Vulkan's least, where a description leaves something out. */
#define LEAST_SHARED     16384
#define LEAST_ALIGN      64
#define USUAL_SUBGROUP   32
#define LEAST_ALLOCATION ((uint64_t)1 << 30)
#define LEAST_RANGE      ((uint64_t)128 << 20)

/* ---- descriptions to facts ---- */

static smt_device_kind kind_of(const char *word) {
    for (smt_device_kind kind = SMT_KIND_DISCRETE; word && kind < SMT_KIND_OTHER; kind++)
        if (strcmp(smt_caps_kind_name(kind), word) == 0) return kind;
    return SMT_KIND_OTHER;
}

static void add_type(smt_caps *caps, const smt_memory_type *type) {
    if (caps->n_types < SMT_CAPS_MAX_TYPES)
        caps->types[caps->n_types++] = (smt_caps_memory_type){.heap = type->heap,
                                                              .device_local = type->device_local,
                                                              .host_visible = type->host_visible,
                                                              .host_coherent = type->host_coherent,
                                                              .host_cached = type->host_cached};
}

/* Memory types of a device of which only the heaps are known. */
static void invent_types(smt_caps *caps, const smt_device_info *info) {
    for (uint32_t i = 0; i < caps->n_heaps; i++) {
        const smt_heap_info *heap = &info->heaps[i];
        bool discrete = caps->kind == SMT_KIND_DISCRETE;
        if (heap->device_local && discrete) add_type(caps, &(smt_memory_type){.heap = i, .device_local = true});
        if (!heap->host_visible) continue;
        add_type(caps,
                 &(smt_memory_type){.heap = i, .device_local = heap->device_local, .host_visible = true, .host_coherent = true});
        add_type(
            caps,
            &(smt_memory_type){
                .heap = i, .device_local = heap->device_local, .host_visible = true, .host_coherent = true, .host_cached = true});
    }
}

static smt_status read_memory(const smt_device_info *info, smt_caps *caps, smt_error *err) {
    if (info->n_heaps == 0 || info->n_heaps > SMT_CAPS_MAX_HEAPS || info->n_memory_types > SMT_CAPS_MAX_TYPES)
        return SMT_FAIL(err, SMT_INVALID, "device %s has %u heaps and %u memory types", caps->id, info->n_heaps,
                        info->n_memory_types);
    caps->n_heaps = info->n_heaps;
    for (uint32_t i = 0; i < info->n_heaps; i++)
        caps->heaps[i] = (smt_caps_heap){info->heaps[i].bytes, info->heaps[i].budget, info->heaps[i].device_local};
    for (uint32_t i = 0; i < info->n_memory_types; i++) {
        if (info->memory_types[i].heap >= info->n_heaps)
            return SMT_FAIL(err, SMT_INVALID, "device %s: memory type %u is of heap %u, there are %u", caps->id, i,
                            info->memory_types[i].heap, info->n_heaps);
        add_type(caps, &info->memory_types[i]);
    }
    if (caps->n_types == 0) invent_types(caps, info);
    return SMT_OK;
}

static smt_status read_device(const smt_machine_device *device, const char *kernels, smt_plan_facts *out, smt_error *err) {
    const smt_device_info *info = &device->info;
    const double speeds[] = {device->read_bytes_s, device->link_bytes_s, device->hop_s};
    *out = (smt_plan_facts){.read_s = device->read_bytes_s, .link_s = device->link_bytes_s, .hop_s = device->hop_s};
    smt_caps *caps = &out->caps;
    snprintf(caps->id, sizeof caps->id, "%s", info->id ? info->id : "");
    snprintf(caps->name, sizeof caps->name, "%s", info->name && *info->name ? info->name : caps->id);
    snprintf(caps->uuid_text, sizeof caps->uuid_text, "%s", info->uuid ? info->uuid : "");
    for (size_t i = 0; i < SMT_COUNT(speeds); i++)
        if (!(speeds[i] >= 0 && isfinite(speeds[i])))
            return SMT_FAIL(err, SMT_INVALID, "device %s: a speed of %g", caps->id, speeds[i]);
    caps->kind = kind_of(info->kind);
    if (!smt_caps_family(caps->kind, kernels, &caps->family))
        return SMT_FAIL(err, SMT_INVALID, "\"%.32s\" is no family of kernels", kernels);
    caps->max_allocation = info->max_allocation ? info->max_allocation : LEAST_ALLOCATION;
    caps->max_storage_range = info->max_storage_range ? info->max_storage_range : LEAST_RANGE;
    caps->storage_align = info->storage_align ? info->storage_align : LEAST_ALIGN;
    if (caps->storage_align & (caps->storage_align - 1))
        return SMT_FAIL(err, SMT_INVALID, "device %s: an alignment of %u is no power of two", caps->id, caps->storage_align);
    caps->max_shared_bytes = info->max_shared_bytes ? info->max_shared_bytes : LEAST_SHARED;
    caps->max_invocations = info->max_workgroup;
    caps->subgroup_size = info->subgroup_size ? info->subgroup_size : USUAL_SUBGROUP;
    caps->subgroup_min = info->subgroup_min ? info->subgroup_min : caps->subgroup_size;
    caps->subgroup_ballot = info->subgroup_ballot;
    caps->subgroup_arithmetic = info->subgroup_arithmetic;
    caps->max_texels = info->max_texels;
    caps->texel_array_dynamic = info->max_texels > 0;
    caps->texel_align = info->texel_align;
    caps->external_memory_fd = info->external_memory;
    return read_memory(info, caps, err);
}

/* ---- the request ---- */

static smt_status resolve_budget(const smt_heap_budget *budget, const smt_caps *const *caps, uint32_t n_caps,
                                 uint32_t *out_device, smt_error *err) {
    uint32_t count, n_heaps = 1;
    if (!budget->device)
        return SMT_FAIL(err, SMT_INVALID, "a budget of %llu bytes for no device", (unsigned long long)budget->bytes);
    *out_device = SMT_PLAN_HOST;
    if (strcmp(budget->device, "host") != 0) {
        SMT_TRY(smt_api_choose_devices(caps, n_caps, budget->device, out_device, 1, &count, err));
        n_heaps = caps[*out_device]->n_heaps;
    }
    if (budget->heap < n_heaps) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "a budget for heap %u of %.64s, which has %u", budget->heap, budget->device, n_heaps);
}

static smt_status check_expert_weights(const smt_placement_options *o, const smt_model *model, smt_error *err) {
    size_t wanted = (size_t)smt_model_moe_layers(model) * model->n_experts;
    if (!o->expert_weights) return SMT_OK;
    if (o->n_expert_weights != wanted)
        return SMT_FAIL(err, SMT_INVALID, "%zu weights of experts, the model has %zu experts in %u layers", o->n_expert_weights,
                        wanted, smt_model_moe_layers(model));
    for (size_t i = 0; i < wanted; i++)
        if (!(o->expert_weights[i] >= 0 && isfinite(o->expert_weights[i])))
            return SMT_FAIL(err, SMT_INVALID, "weight %zu of an expert is %g", i, (double)o->expert_weights[i]);
    return SMT_OK;
}

smt_status smt_api_request_runner(const smt_runner_options *runner, smt_api_request *out, smt_error *err) {
    smt_run_options options;
    if (!runner || out->request.demand) return SMT_OK;
    SMT_TRY(smt_api_runner_options(runner, NULL, 0, &options,
                                   err)); /* which precision is possible is asked where devices are chosen */
    out->demand = smt_run_demand(&options);
    out->request.demand = &out->demand;
    return SMT_OK;
}

static smt_status read_budgets(const smt_placement_options *o, const smt_caps *const *caps, uint32_t n_caps, smt_api_request *out,
                               smt_error *err) {
    out->budgets = smt_alloc(o->n_budgets ? o->n_budgets : 1, sizeof *out->budgets);
    if (!out->budgets) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu budgets", o->n_budgets);
    out->request.budgets = out->budgets;
    for (size_t i = 0; i < o->n_budgets; i++) {
        uint32_t device;
        SMT_TRY(resolve_budget(&o->budgets[i], caps, n_caps, &device, err));
        out->budgets[out->request.n_budgets++] =
            (smt_plan_budget){.device = device, .heap = o->budgets[i].heap, .bytes = o->budgets[i].bytes};
    }
    return SMT_OK;
}

smt_status smt_api_placement_request(const smt_placement_options *options, const smt_model *model, const smt_caps *const *caps,
                                     uint32_t n_caps, smt_api_request *out, smt_error *err) {
    *out = (smt_api_request){0};
    if (!options) return SMT_OK;
    smt_placement_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_placement_options", err));
    SMT_TRY(check_expert_weights(&o, model, err));
    if (o.split != SMT_SPLIT_LAYER && o.split != SMT_SPLIT_EXPERT)
        return SMT_FAIL(err, SMT_INVALID, "smt_placement_options.split: %d is no mode", (int)o.split);
    out->request = (smt_plan_request){.reserve = o.reserve_bytes,
                                      .host_layers = o.host_layers,
                                      .host_expert_layers = o.host_expert_layers,
                                      .expert_weights = o.expert_weights,
                                      .by_experts = o.split == SMT_SPLIT_EXPERT,
                                      .expert_cache = o.expert_cache_bytes};
    smt_status status = smt_api_request_runner(o.runner, out, err);
    if (status == SMT_OK) status = read_budgets(&o, caps, n_caps, out, err);
    if (status == SMT_OK) return SMT_OK;
    smt_free(out->budgets);
    *out = (smt_api_request){0};
    return status;
}

/* Everything a request points to. */
typedef struct call {
    smt_plan_options options;
    const smt_model *model;
    smt_plan_facts *facts; /* owned, [n_facts] */
    const smt_caps **caps; /* owned, the same devices */
    smt_api_request words; /* its budgets are owned */
    uint32_t n_facts, order[16];
} call;

/* The devices that can run the engine. */
static smt_status read_machine(call *c, smt_error *err) {
    const smt_plan_options *o = &c->options;
    if (!o->machine || o->n_machine == 0) return SMT_FAIL(err, SMT_INVALID, "smt_plan_options.machine: no devices");
    c->facts = smt_alloc(o->n_machine, sizeof *c->facts);
    c->caps = smt_alloc(o->n_machine, sizeof *c->caps);
    if (!c->facts || !c->caps) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u devices", o->n_machine);
    for (uint32_t i = 0; i < o->n_machine; i++) {
        if (o->machine[i].info.unusable) continue;
        SMT_TRY(read_device(&o->machine[i], o->kernels, &c->facts[c->n_facts], err));
        c->caps[c->n_facts] = &c->facts[c->n_facts].caps;
        c->n_facts++;
    }
    if (c->n_facts) return SMT_OK;
    return SMT_FAIL(err, SMT_UNSUPPORTED, "%s cannot run the engine: %s", o->machine[0].info.id, o->machine[0].info.unusable);
}

static smt_status plan(call *c, smt_placement **out, smt_error *err) {
    const smt_plan_options *o = &c->options;
    const smt_plan_demand standard = {.cache_f16 = true};
    smt_plan_request *request = &c->words.request;
    uint32_t n_order = 0;
    SMT_TRY(read_machine(c, err));
    if (o->devices && *o->devices)
        SMT_TRY(smt_api_choose_devices(c->caps, c->n_facts, o->devices, c->order, SMT_COUNT(c->order), &n_order, err));
    SMT_TRY(smt_api_placement_request(o->placement, c->model, c->caps, c->n_facts, &c->words, err));
    request->facts = c->facts;
    request->n_facts = c->n_facts;
    request->order = c->order;
    request->n_order = n_order;
    request->shares = o->shares;
    request->n_shares = o->n_shares;
    if (!request->demand) request->demand = &standard;
    SMT_TRY(smt_plan_create(c->model, request, out, err));
    smt_status status = smt_plan_list(*out, err);
    if (status == SMT_OK) return SMT_OK;
    smt_plan_free(*out);
    *out = NULL;
    return status;
}

smt_status smt_placement_create(const smt_file *file, const smt_plan_options *options, smt_placement **out_placement,
                                smt_error *err) {
    *out_placement = NULL;
    call c = {.model = file->model};
    SMT_TRY(smt_api_copy_options(&c.options, sizeof c.options, options, "smt_plan_options", err));
    if (file->model_status != SMT_OK) {
        if (err) *err = file->model_error;
        return file->model_status;
    }
    SMT_TRY(smt_model_check_types(file->model, err));
    smt_status status = plan(&c, out_placement, err);
    smt_free(c.facts);
    smt_free(c.caps);
    smt_free(c.words.budgets);
    return status;
}

void smt_placement_free(smt_placement *placement) { smt_plan_free(placement); }

/* ---- results ---- */

static const char *tier_name(smt_plan_tier tier) {
    static const char *const names[] = {"device-local", "device-local+host-visible", "host-visible", "file"};
    return names[tier];
}

/* Placed devices with these facts. */
static uint32_t twins(const smt_placement *p, uint32_t fact) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_devices; i++) n += p->devices[i].fact == fact;
    return n;
}

/* Rows before those of a device's facts. */
static uint32_t first_row(const smt_placement *p, uint32_t fact) {
    uint32_t row = 0;
    for (uint32_t i = 0; i < fact; i++) row += smt_max_u32(twins(p, i), 1);
    return row;
}

static uint32_t host_row(const smt_placement *p) { return first_row(p, p->n_facts); }

static uint32_t row_of(const smt_placement *p, uint32_t placed) {
    uint32_t row = first_row(p, p->devices[placed].fact);
    for (uint32_t i = 0; i < placed; i++) row += p->devices[i].fact == p->devices[placed].fact;
    return row;
}

void smt_placement_get(const smt_placement *p, smt_placement_info *out_info) {
    *out_info = (smt_placement_info){.fits = p->fits,
                                     .why = p->why,
                                     .decode_tok_s = p->forecast.decode_tok_s,
                                     .prefill_tok_s = p->forecast.prefill_tok_s,
                                     .bottleneck = p->forecast.bottleneck,
                                     .n_devices = host_row(p) + 1,
                                     .n_items = (uint32_t)p->n_entries,
                                     .n_ctx = p->demand.n_ctx,
                                     .n_batch = p->n_devices ? p->devices[0].sizes.n_batch : p->demand.n_batch,
                                     .n_sessions = p->demand.n_sessions,
                                     .cache_bits = p->demand.cache_f16 ? 16 : 32,
                                     .n_replayed = p->replay.n_tokens,
                                     .slot_hits = p->replay.hits,
                                     .slot_misses = p->replay.misses,
                                     .slot_miss_bytes = p->replay.miss_bytes};
}

smt_status smt_placement_replay(smt_placement *p, const uint16_t *experts, size_t n, smt_error *err) {
    return smt_plan_replay_step(p, experts, n, err);
}

/* Adds what lies in each heap of a row. */
static void count_entries(const smt_placement *p, uint32_t row, smt_placement_device *out) {
    bool host = row == host_row(p);
    for (size_t i = 0; i < p->n_entries; i++) {
        const smt_plan_entry *e = &p->entries[i];
        if (e->host != host || (!host && row_of(p, e->device) != row)) continue;
        smt_placement_heap *heap = &out->heaps[e->heap];
        heap->planned += e->bytes;
        *(e->kind == SMT_PLAN_WEIGHT   ? &heap->dense
          : e->kind == SMT_PLAN_EXPERT ? &heap->experts
          : e->kind == SMT_PLAN_CACHE  ? &heap->cache
                                       : &heap->work) += e->bytes;
        heap->n_experts += e->kind == SMT_PLAN_EXPERT; /* matrices: three each */
    }
    for (uint32_t i = 0; i < out->n_heaps; i++) out->heaps[i].n_experts /= 3;
}

static void describe_host(const smt_placement *p, smt_placement_device *out) {
    *out = (smt_placement_device){.id = "host", .name = "host memory", .kind = "host", .n_heaps = 2};
    smt_placement_heap *memory = &out->heaps[0], *file = &out->heaps[1];
    for (uint32_t i = 0; i < p->n_facts; i++)
        for (uint32_t heap = 0; heap < p->facts[i].caps.n_heaps; heap++)
            if (!p->facts[i].caps.heaps[heap].device_local && p->facts[i].caps.heaps[heap].bytes > memory->bytes)
                memory->bytes = p->facts[i].caps.heaps[heap].bytes;
    memory->budget = p->host_limit;
    for (uint32_t i = 0; i < p->n_devices; i++) { /* unified memory: what the devices leave */
        const smt_placed_device *d = &p->devices[i];
        for (uint32_t heap = 0; d->limits.shared && heap < d->caps.n_heaps; heap++)
            memory->budget -= smt_min_u64(memory->budget, d->used.heap[heap]);
    }
    if (memory->bytes < memory->budget) memory->bytes = memory->budget;
    memory->tier = tier_name(SMT_TIER_HOST);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(p->model->file); i++)
        file->bytes += smt_gguf_tensor_at(p->model->file, i)->bytes;
    file->budget = file->bytes;
    file->tier = tier_name(SMT_TIER_FILE);
}

static void describe_device(const smt_placement *p, uint32_t fact, uint32_t twin, smt_placement_device *out) {
    const smt_caps *caps = &p->facts[fact].caps;
    const smt_plan_bytes *limits = &p->limits[fact];
    smt_plan_speeds speeds = smt_plan_device_speeds(&p->facts[fact]);
    *out = (smt_placement_device){.id = caps->id,
                                  .name = caps->name,
                                  .kind = smt_caps_kind_name(caps->kind),
                                  .read_bytes_s = speeds.read_s,
                                  .link_bytes_s = speeds.link_s,
                                  .measured = speeds.measured,
                                  .n_heaps = caps->n_heaps};
    for (uint32_t i = 0; i < p->n_devices; i++) {
        const smt_placed_device *d = &p->devices[i];
        if (d->fact != fact || twin-- > 0) continue;
        out->id = d->caps.id;
        out->computes = true;
        out->first_layer = d->first_layer;
        out->last_layer = d->last_layer;
        out->first_expert = d->items.range.first_expert;
        out->last_expert = d->items.range.end_expert;
        out->experts_only = d->items.range.experts_only;
        limits = &d->limits;
        break;
    }
    for (uint32_t heap = 0; heap < caps->n_heaps; heap++) {
        bool local = caps->heaps[heap].device_local, visible = false;
        for (uint32_t i = 0; i < caps->n_types; i++) visible |= caps->types[i].heap == heap && caps->types[i].host_visible;
        out->heaps[heap].bytes = caps->heaps[heap].bytes;
        out->heaps[heap].budget = limits->heap[heap];
        out->heaps[heap].tier = tier_name(!local ? SMT_TIER_HOST : visible ? SMT_TIER_DEVICE_HOST : SMT_TIER_DEVICE);
    }
}

smt_status smt_placement_device_get(const smt_placement *placement, uint32_t index, smt_placement_device *out_device) {
    *out_device = (smt_placement_device){0};
    uint32_t host = host_row(placement), fact = 0;
    if (index > host) return SMT_INVALID;
    while (fact + 1 < placement->n_facts && first_row(placement, fact + 1) <= index) fact++;
    if (index == host)
        describe_host(placement, out_device);
    else
        describe_device(placement, fact, index - first_row(placement, fact), out_device);
    count_entries(placement, index, out_device);
    return SMT_OK;
}

smt_status smt_placement_item_get(const smt_placement *placement, uint32_t index, smt_placement_item *out_item) {
    static const smt_item_kind kinds[] = {
        [SMT_PLAN_WEIGHT] = SMT_ITEM_MATRIX, [SMT_PLAN_EXPERT] = SMT_ITEM_MATRIX, [SMT_PLAN_TABLE] = SMT_ITEM_TABLE,
        [SMT_PLAN_SLOTS] = SMT_ITEM_SLOT,    [SMT_PLAN_CACHE] = SMT_ITEM_CACHE,   [SMT_PLAN_WORK] = SMT_ITEM_WORK};
    *out_item = (smt_placement_item){0};
    if (index >= placement->n_entries) return SMT_INVALID;
    const smt_plan_entry *e = &placement->entries[index];
    uint32_t reader = row_of(placement, e->device);
    *out_item = (smt_placement_item){.kind = kinds[e->kind],
                                     .name = e->name,
                                     .part = e->part,
                                     .n_parts = e->n_parts,
                                     .layer = e->layer,
                                     .expert = e->expert,
                                     .device = e->host ? host_row(placement) : reader,
                                     .reader = reader,
                                     .heap = e->heap,
                                     .tier = tier_name(e->tier),
                                     .memory_type = e->memory_type,
                                     .buffer = e->buffer,
                                     .offset = e->offset,
                                     .bytes = e->bytes};
    return SMT_OK;
}
