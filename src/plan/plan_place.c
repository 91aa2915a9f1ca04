/* plan_place.c: sub-allocation of buffers, in the order things are asked for: pieces follow each other in the newest buffer of their pool
 * until it would exceed the slab limit, then a new one begins. Buffers end exactly where their last piece does. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

/* Slabs keep single allocations well below driver limits, yet are few. */
#define SLAB_MOST ((uint64_t)1 << 30)

smt_status smt_plan_init(smt_plan *plan, const smt_caps *caps, smt_error *err) {
    *plan = (smt_plan){.slab_limit = smt_min_u64(caps->max_allocation, SLAB_MOST),
                       .align = caps->storage_align > 256 ? caps->storage_align : 256};
    /* the first type that fits wins: drivers list the better ones first */
    const struct {
        uint32_t want, avoid;
    } wishes[SMT_POOL_COUNT][3] = {
        [SMT_POOL_DEVICE] = {{SMT_MEM_DEVICE, 0}, {0, 0}, {0, 0}},
        [SMT_POOL_MAPPED] = {{SMT_MEM_DEVICE | SMT_MEM_HOST, 0},
                             {SMT_MEM_DEVICE | SMT_MEM_HOST, 0},
                             {SMT_MEM_DEVICE | SMT_MEM_HOST, 0}},
        [SMT_POOL_HOST] = {{SMT_MEM_HOST, SMT_MEM_DEVICE | SMT_MEM_CACHED}, {SMT_MEM_HOST, SMT_MEM_DEVICE}, {SMT_MEM_HOST, 0}},
        [SMT_POOL_UPLOAD] = {{SMT_MEM_HOST, SMT_MEM_CACHED | SMT_MEM_DEVICE}, {SMT_MEM_HOST, SMT_MEM_DEVICE}, {SMT_MEM_HOST, 0}},
        [SMT_POOL_READBACK] = {{SMT_MEM_HOST | SMT_MEM_CACHED, 0}, {SMT_MEM_HOST, SMT_MEM_DEVICE}, {SMT_MEM_HOST, 0}},
        [SMT_POOL_LENT] = {{SMT_MEM_HOST | SMT_MEM_CACHED, 0}, {SMT_MEM_HOST, SMT_MEM_DEVICE}, {SMT_MEM_HOST, 0}},
    };
    for (int pool = 0; pool < SMT_POOL_COUNT; pool++) {
        uint32_t type = UINT32_MAX;
        for (int i = 0; i < 3 && type == UINT32_MAX; i++)
            type = smt_caps_find_memory(caps, wishes[pool][i].want, wishes[pool][i].avoid);
        plan->memory_type[pool] = type;
        if (type == UINT32_MAX && pool != SMT_POOL_MAPPED)
            return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no %s memory", caps->name,
                            pool == SMT_POOL_DEVICE ? "device" : "host-visible");
    }
    uint32_t *mapped = &plan->memory_type[SMT_POOL_MAPPED];
    if (*mapped != UINT32_MAX && caps->types[*mapped].heap == caps->types[plan->memory_type[SMT_POOL_DEVICE]].heap)
        *mapped = UINT32_MAX;
    return SMT_OK;
}

static smt_status place(smt_plan *plan, const smt_caps *caps, smt_plan_pool pool, uint64_t bytes, const char *what,
                        smt_plan_place *out, smt_error *err) {
    bytes = smt_align_up(bytes, plan->align);
    if (bytes > caps->max_allocation)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s: %llu bytes in one piece, %s allocates at most %llu", what,
                        (unsigned long long)bytes, caps->name, (unsigned long long)caps->max_allocation);
    size_t i = plan->n_buffers;
    while (i > 0 && plan->buffers[i - 1].pool != pool) i--;
    if (i == 0 || plan->buffers[i - 1].bytes + bytes > plan->slab_limit) {
        SMT_TRY(smt_grow((void **)&plan->buffers, &plan->capacity, plan->n_buffers + 1, sizeof(smt_plan_buffer), err));
        plan->buffers[plan->n_buffers] = (smt_plan_buffer){.memory_type = plan->memory_type[pool], .pool = pool};
        i = ++plan->n_buffers;
    }
    *out = (smt_plan_place){.buffer = (uint32_t)(i - 1), .offset = plan->buffers[i - 1].bytes, .bytes = bytes};
    plan->buffers[i - 1].bytes += bytes;
    return SMT_OK;
}

/* ---- counting ---- */

smt_plan_tier smt_plan_buffer_tier(const smt_plan_buffer *buffer, const smt_caps *caps) {
    const smt_caps_memory_type *type = &caps->types[buffer->memory_type];
    if (buffer->pool == SMT_POOL_HOST || !type->device_local) return SMT_TIER_HOST;
    return type->host_visible ? SMT_TIER_DEVICE_HOST : SMT_TIER_DEVICE;
}

smt_plan_tier smt_plan_place_tier(const smt_plan *plan, const smt_plan_place *place, const smt_caps *caps) {
    return place->buffer == SMT_PLAN_FILE ? SMT_TIER_FILE : smt_plan_buffer_tier(&plan->buffers[place->buffer], caps);
}

bool smt_plan_in_host(const smt_plan_buffer *buffer, const smt_caps *caps) {
    return buffer->pool == SMT_POOL_HOST || !caps->heaps[caps->types[buffer->memory_type].heap].device_local;
}

void smt_plan_count(const smt_plan *plan, const smt_caps *caps, smt_plan_bytes *used) {
    for (size_t i = 0; i < plan->n_buffers; i++) {
        const smt_plan_buffer *buffer = &plan->buffers[i];
        uint32_t heap = caps->types[buffer->memory_type].heap;
        if (smt_plan_in_host(buffer, caps)) used->host += buffer->bytes;
        if (buffer->pool != SMT_POOL_HOST || !caps->heaps[heap].device_local) used->heap[heap] += buffer->bytes;
    }
}

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static smt_status exceeds(const smt_caps *caps, const char *memory, const char *what, uint64_t need, uint64_t used,
                          uint64_t limit, smt_error *err) {
    return SMT_FAIL(err, SMT_DEVICE_MEMORY, "%s: %.1f MiB of %s for %s beside %.1f MiB in use, its budget is %.1f MiB",
                    caps->name, mib(need), memory, what, mib(used), mib(limit));
}

smt_status smt_plan_check(const smt_plan *plan, const smt_caps *caps, const smt_plan_bytes *limits, const smt_plan_bytes *used,
                          const char *what, smt_error *err) {
    static const smt_plan_bytes nothing;
    smt_plan_bytes need = {0};
    char memory[32];
    if (!used) used = &nothing;
    smt_plan_count(plan, caps, &need);
    uint64_t all = need.host, all_used = used->host;
    for (uint32_t heap = 0; heap < caps->n_heaps; heap++) {
        all += need.heap[heap];
        all_used += used->heap[heap];
        snprintf(memory, sizeof memory, "heap %u", heap);
        if (need.heap[heap] && need.heap[heap] + used->heap[heap] > limits->heap[heap])
            return exceeds(caps, memory, what, need.heap[heap], used->heap[heap], limits->heap[heap], err);
    }
    if (need.host && need.host + used->host > limits->host)
        return exceeds(caps, "host memory", what, need.host, used->host, limits->host, err);
    if (limits->shared && all + all_used > limits->shared)
        return exceeds(caps, "memory", what, all, all_used, limits->shared, err);
    return SMT_OK;
}

/* ---- weights ---- */

typedef struct placer {
    const smt_model *model;
    smt_items *items;
    const smt_caps *caps;
    const smt_plan_choice *choice; /* or NULL */
    smt_plan_weights *out;
    smt_error *err;
} placer;

static smt_plan_pool pool_of(const placer *p, uint32_t item) {
    return p->choice ? (smt_plan_pool)p->choice->pools[item] : SMT_POOL_DEVICE;
}

/* A window around n experts of a layer; their places, one after another, go to where `to` points. */
static smt_status place_window(placer *p, uint32_t layer, smt_plan_pool pool, smt_plan_place *const *to, uint32_t n) {
    smt_expert_layout *layout = &p->items->layers[layer];
    if (layout->n_windows == SMT_MAX_WINDOWS)
        return SMT_FAIL(p->err, SMT_UNSUPPORTED, "layer %u: %u experts, %u to a window, need more than %d windows on this device",
                        layer, p->items->n_experts, layout->per_window, SMT_MAX_WINDOWS);
    smt_plan_place *window = &p->out->windows[layer * SMT_MAX_WINDOWS + layout->n_windows++];
    SMT_TRY(place(&p->out->plan, p->caps, pool, n * layout->stride, "a window of experts", window, p->err));
    for (uint32_t i = 0; i < n; i++)
        *to[i] =
            (smt_plan_place){.buffer = window->buffer, .offset = window->offset + i * layout->stride, .bytes = layout->stride};
    return SMT_OK;
}

/* Places of one pool in as few windows as hold them. */
static smt_status place_windows(placer *p, uint32_t layer, smt_plan_pool pool, smt_plan_place *const *to, uint32_t n) {
    uint32_t most = p->items->layers[layer].per_window;
    for (uint32_t i = 0; i < n; i += most) SMT_TRY(place_window(p, layer, pool, to + i, smt_min_u32(most, n - i)));
    return SMT_OK;
}

static smt_status place_slots(placer *p, uint32_t layer) {
    smt_plan_place *to[SMT_MODEL_MAX_EXPERTS];
    uint32_t first = p->out->first_slot[layer], n = p->choice ? p->choice->slots[layer] : 0;
    for (uint32_t i = 0; i < n; i++) to[i] = &p->out->slots[first + i];
    p->out->first_slot[layer + 1] = first + n;
    return place_windows(p, layer, SMT_POOL_DEVICE, to, n);
}

/* The experts of a layer, pool after pool, in ascending order in windows of each. */
static smt_status place_experts(placer *p, uint32_t layer) {
    smt_expert_layout *layout = &p->items->layers[layer];
    p->out->first_slot[layer + 1] = p->out->first_slot[layer];
    if (!layout->n_windows) return SMT_OK;
    layout->n_windows = 0;
    for (uint32_t pool = 0; pool <= SMT_POOL_FILE; pool++) {
        smt_plan_place *to[SMT_MODEL_MAX_EXPERTS];
        uint32_t n = 0;
        for (uint32_t i = layout->first_item; i < layout->first_item + p->items->n_experts; i++)
            if (pool_of(p, i) == pool) to[n++] = &p->out->items[i];
        if (pool != SMT_POOL_FILE) SMT_TRY(place_windows(p, layer, (smt_plan_pool)pool, to, n));
        layout->from_file = pool == SMT_POOL_FILE && n > 0;
        for (uint32_t i = 0; pool == SMT_POOL_FILE && i < n; i++)
            *to[i] = (smt_plan_place){.buffer = SMT_PLAN_FILE, .bytes = layout->stride};
    }
    SMT_TRY(place_slots(p, layer));
    return place(&p->out->plan, p->caps, SMT_POOL_DEVICE, 4ull * EXPERT_WORDS * p->model->n_experts, "an expert table",
                 &p->out->tables[layer], p->err);
}

static smt_status place_weights(placer *p) {
    const smt_items *items = p->items;
    for (uint32_t i = 0; i < items->n_items; i++)
        if (items->items[i].expert == UINT32_MAX)
            SMT_TRY(place(&p->out->plan, p->caps, pool_of(p, i), items->items[i].bytes, items->items[i].matrix->tensor->name,
                          &p->out->items[i], p->err));
    for (uint32_t l = 0; l < p->model->n_layers; l++) SMT_TRY(place_experts(p, l));
    if (!items->codebooks) return SMT_OK;
    return place(&p->out->plan, p->caps, SMT_POOL_DEVICE, sizeof smt_quant_codebooks, "the codebooks", &p->out->codebooks,
                 p->err);
}

static size_t count_slots(const smt_model *model, const smt_plan_choice *choice) {
    size_t n = 0;
    for (uint32_t l = 0; choice && l < model->n_layers; l++) n += choice->slots[l];
    return n;
}

smt_status smt_plan_weights_create(const smt_model *model, smt_items *items, const smt_caps *caps, const smt_plan_choice *choice,
                                   smt_plan_weights *out, smt_error *err) {
    *out = (smt_plan_weights){0};
    SMT_TRY(smt_plan_init(&out->plan, caps, err));
    placer p = {.model = model, .items = items, .caps = caps, .choice = choice, .out = out, .err = err};
    out->items = smt_alloc(items->n_items, sizeof *out->items);
    out->windows = smt_alloc((size_t)model->n_layers * SMT_MAX_WINDOWS, sizeof *out->windows);
    out->tables = smt_alloc(model->n_layers, sizeof *out->tables);
    out->slots = smt_alloc(count_slots(model, choice), sizeof *out->slots);
    out->first_slot = smt_alloc(model->n_layers + 1u, sizeof *out->first_slot);
    smt_status status = SMT_OK;
    if (!out->items || !out->windows || !out->tables || !out->slots || !out->first_slot)
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory planning %u items", items->n_items);
    if (status == SMT_OK) status = place_weights(&p);
    if (status != SMT_OK) smt_plan_weights_free(out);
    return status;
}

void smt_plan_expert_row(const smt_plan_weights *plan, const smt_items *items, uint32_t layer, const smt_plan_place *place,
                         uint32_t row[EXPERT_WORDS]) {
    const smt_expert_layout *layout = &items->layers[layer];
    const smt_plan_place *windows = &plan->windows[layer * SMT_MAX_WINDOWS];
    uint32_t w = 0;
    memset(row, 0, EXPERT_WORDS * sizeof *row);
    if (place->buffer == SMT_PLAN_FILE) return;
    while (windows[w].buffer != place->buffer || place->offset < windows[w].offset ||
           place->offset >= windows[w].offset + windows[w].bytes)
        w++;
    uint64_t at = place->offset - windows[w].offset;
    row[EXPERT_WINDOW] = w;
    row[EXPERT_GATE] = (uint32_t)((at + layout->gate) / 16);
    row[EXPERT_UP] = (uint32_t)((at + layout->up) / 16);
    row[EXPERT_DOWN] = (uint32_t)((at + layout->down) / 16);
}

bool smt_plan_is_resident(const smt_plan_weights *plan, const smt_plan_place *expert) {
    return expert->buffer != SMT_PLAN_FILE && plan->plan.buffers[expert->buffer].pool != SMT_POOL_HOST;
}

void smt_plan_weights_free(smt_plan_weights *plan) {
    smt_free(plan->plan.buffers);
    smt_free(plan->items);
    smt_free(plan->windows);
    smt_free(plan->tables);
    smt_free(plan->slots);
    smt_free(plan->first_slot);
    *plan = (smt_plan_weights){0};
}

/* ---- runners ---- */

static smt_status place_runner(const smt_plan_runner_sizes *s, const smt_caps *caps, smt_plan_runner *out, smt_error *err) {
    smt_plan *plan = &out->plan;
    const struct {
        smt_plan_pool pool;
        uint64_t bytes;
        const char *what;
        smt_plan_place *to;
    } pieces[] = {
        {SMT_POOL_DEVICE, s->rope, "the rotary tables", &out->rope},
        {SMT_POOL_DEVICE, s->counter, "the counter", &out->counter},
        {SMT_POOL_DEVICE, s->scratch, "scratch memory", &out->scratch},
        {SMT_POOL_UPLOAD, s->step, "the step buffer", &out->step},
        {SMT_POOL_UPLOAD, s->blocks, "the block table", &out->blocks},
        {SMT_POOL_READBACK, s->logits, "logits", &out->logits},
        {SMT_POOL_READBACK, s->capture, "captured states", &out->capture},
        {SMT_POOL_READBACK, s->ring, "the ring of tokens", &out->ring},
        {s->lends ? SMT_POOL_LENT : SMT_POOL_READBACK, s->hop_out, "outgoing activations", &out->hop_out},
        {SMT_POOL_UPLOAD, s->hop_in, "incoming activations", &out->hop_in},
    };
    for (size_t i = 0; i < SMT_COUNT(pieces); i++)
        if (pieces[i].bytes) SMT_TRY(place(plan, caps, pieces[i].pool, pieces[i].bytes, pieces[i].what, pieces[i].to, err));
    for (uint32_t l = 0; l < s->n_layers; l++)
        for (uint32_t w = 0; w < s->n_cache_windows; w++)
            SMT_TRY(place(plan, caps, SMT_POOL_DEVICE, w + 1 < s->n_cache_windows ? s->cache_window_bytes : s->cache_last_bytes,
                          "the cache of a layer", &out->cache[l * s->n_cache_windows + w], err));
    return SMT_OK;
}

smt_status smt_plan_runner_create(const smt_plan_runner_sizes *sizes, const smt_caps *caps, smt_plan_runner *out,
                                  smt_error *err) {
    *out = (smt_plan_runner){0};
    SMT_TRY(smt_plan_init(&out->plan, caps, err));
    out->cache = smt_alloc((size_t)sizes->n_layers * sizes->n_cache_windows, sizeof *out->cache);
    smt_status status = out->cache ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory planning a cache");
    if (status == SMT_OK) status = place_runner(sizes, caps, out, err);
    if (status != SMT_OK) smt_plan_runner_free(out);
    return status;
}

void smt_plan_runner_free(smt_plan_runner *plan) {
    smt_free(plan->plan.buffers);
    smt_free(plan->cache);
    *plan = (smt_plan_runner){0};
}
