/* plan_pools.c: which kind of memory each matrix of one device lies in.
 *
 * The unit is what moves together: all matrices of a layer but its experts, one expert, the embedding table, the output head. Units stand
 * in the order of how often a token reads a byte of them; each goes to the fastest pool that still has room. So the embedding table, of
 * which a token reads one row, leaves first, then the rarest experts, then whole layers from the first one on. Among equals the last
 * layers stay, as -ngl and -ncmoe would have it. Where there will be slots, experts that host memory has no room for stay in the file. */
#include "plan_internal.h"

#include <stdlib.h>

typedef struct unit {
    double use; /* how often a token reads it */
    uint64_t bytes;
    uint32_t layer;
    uint32_t first, last; /* items [first, last), those of them that the unit holds: see belongs */
    bool expert;
} unit;

typedef struct chooser {
    const smt_model *model;
    const smt_plan_request *request;
    const smt_placed_device *device;
    unit *units; /* owned */
    size_t n, capacity;
    uint64_t host_left; /* at most, for all that this device keeps in host memory */
    uint8_t *pools;
    uint64_t left[SMT_POOL_COUNT]; /* of those that weights are in */
    uint64_t to_come;              /* bytes of units that are not experts, and come later: they cannot stay in the file */
} chooser;

double smt_plan_expert_use(const smt_model *model, const smt_plan_request *request, uint32_t layer, uint32_t expert) {
    double even = (double)model->n_used / model->n_experts, sum = 0;
    if (!request->expert_weights) return even;
    uint32_t moe_layer = 0;
    for (uint32_t l = 0; l < layer; l++) moe_layer += model->layers[l].moe;
    const float *weights = request->expert_weights + (size_t)moe_layer * model->n_experts;
    for (uint32_t e = 0; e < model->n_experts; e++) sum += weights[e];
    if (!(sum > 0)) return even;
    double use = weights[expert] / sum * model->n_used;
    return use < 1 ? use : 1;
}

static bool is_vector(const smt_item *item) { return item->matrix && item->matrix->rows == 1; }

bool smt_plan_kept_in_host(const smt_plan_request *request, const smt_item *item) {
    if (item->layer == UINT32_MAX || is_vector(item)) return false;
    return item->layer < request->host_layers || (item->expert != UINT32_MAX && item->layer < request->host_expert_layers);
}

static bool belongs(const chooser *c, const unit *u, uint32_t item) {
    const smt_item *it = &c->device->items.items[item];
    return !is_vector(it) && !smt_plan_kept_in_host(c->request, it) && (it->expert != UINT32_MAX) == u->expert;
}

static smt_status add_unit(chooser *c, unit u, smt_error *err) {
    for (uint32_t i = u.first; i < u.last; i++)
        if (belongs(c, &u, i)) u.bytes += smt_align_up(c->device->items.items[i].bytes, c->device->weights.plan.align);
    if (u.bytes == 0) return SMT_OK;
    SMT_TRY(smt_grow((void **)&c->units, &c->capacity, c->n + 1, sizeof *c->units, err));
    c->units[c->n++] = u;
    return SMT_OK;
}

static smt_status list_units(chooser *c, smt_error *err) {
    const smt_items *items = &c->device->items;
    bool tied = c->model->output.tensor == c->model->token_embd.tensor;
    for (uint32_t i = 0, end; i < items->n_items; i = end) {
        const smt_item *item = &items->items[i];
        end = i + 1;
        if (item->expert != UINT32_MAX) {
            double use = smt_plan_expert_use(c->model, c->request, item->layer, item->expert);
            SMT_TRY(add_unit(c, (unit){.use = use, .layer = item->layer, .first = i, .last = end, .expert = true}, err));
            continue;
        }
        while (end < items->n_items && items->items[end].layer == item->layer && items->items[end].expert == UINT32_MAX &&
               (item->layer != UINT32_MAX || items->items[end].matrix == item->matrix))
            end++;
        bool table = item->matrix == &c->model->token_embd && !tied;
        SMT_TRY(add_unit(c, (unit){.use = table ? 0 : 1, .layer = item->layer, .first = i, .last = end}, err));
    }
    return SMT_OK;
}

static int by_use(const void *a, const void *b) {
    const unit *x = a, *y = b;
    if (x->use != y->use) return x->use > y->use ? -1 : 1;
    if (x->expert != y->expert) return x->expert ? 1 : -1;
    if (x->layer != y->layer) return x->layer > y->layer ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Bytes left in a pool once all is placed that cannot choose: vectors, expert tables, codebooks. */
static void find_room(chooser *c) {
    const smt_placed_device *d = c->device;
    const smt_plan *plan = &d->weights.plan;
    uint64_t fixed = d->items.codebooks ? smt_align_up(sizeof smt_quant_codebooks, plan->align) : 0;
    for (uint32_t i = 0; i < d->items.n_items; i++)
        if (is_vector(&d->items.items[i])) fixed += smt_align_up(d->items.items[i].bytes, plan->align);
    for (uint32_t l = d->first_layer; l < d->last_layer; l++)
        if (d->items.layers[l].n_windows) fixed += smt_align_up(4ull * EXPERT_WORDS * c->model->n_experts, plan->align);
    for (uint32_t pool = SMT_POOL_DEVICE; pool <= SMT_POOL_MAPPED; pool++) {
        if (plan->memory_type[pool] == UINT32_MAX) continue;
        uint32_t heap = d->caps.types[plan->memory_type[pool]].heap;
        uint64_t taken = d->used.heap[heap] + (pool == SMT_POOL_DEVICE ? fixed : 0);
        c->left[pool] = d->limits.heap[heap] > taken ? d->limits.heap[heap] - taken : 0;
    }
    c->left[SMT_POOL_HOST] = c->host_left;
    for (uint32_t i = 0; i < d->items.n_items; i++)
        if (c->pools[i] == SMT_POOL_HOST)
            c->left[SMT_POOL_HOST] -= smt_min_u64(c->left[SMT_POOL_HOST], smt_align_up(d->items.items[i].bytes, plan->align));
}

static void put(chooser *c, const unit *u, uint32_t pool) {
    for (uint32_t i = u->first; i < u->last; i++)
        if (belongs(c, u, i)) c->pools[i] = (uint8_t)pool;
}

/* The fastest pool that has room; what has none anywhere is placed all the same. */
static uint32_t fitting_pool(const chooser *c, const unit *u, bool slots) {
    uint32_t pool = SMT_POOL_DEVICE;
    while (pool < SMT_POOL_HOST && u->bytes > c->left[pool]) pool++;
    return pool == SMT_POOL_HOST && u->expert && slots && u->bytes + c->to_come > c->left[pool] ? SMT_POOL_FILE : pool;
}

/* All units, `slots` bytes of device memory being kept free. */
static void choose(chooser *c, uint64_t slots) {
    const smt_items *items = &c->device->items;
    for (uint32_t i = 0; i < items->n_items; i++)
        c->pools[i] = smt_plan_kept_in_host(c->request, &items->items[i]) ? SMT_POOL_HOST : SMT_POOL_DEVICE;
    find_room(c);
    c->left[SMT_POOL_DEVICE] -= smt_min_u64(c->left[SMT_POOL_DEVICE], slots);
    c->to_come = 0;
    for (size_t i = 0; i < c->n; i++) c->to_come += c->units[i].expert ? 0 : c->units[i].bytes;
    for (size_t i = 0; i < c->n; i++) {
        c->to_come -= c->units[i].expert ? 0 : c->units[i].bytes;
        uint32_t pool = fitting_pool(c, &c->units[i], slots > 0);
        put(c, &c->units[i], pool);
        if (pool != SMT_POOL_FILE) c->left[pool] -= smt_min_u64(c->left[pool], c->units[i].bytes);
    }
}

static uint32_t windows_needed(const chooser *c, const smt_expert_layout *layout) {
    uint32_t held[SMT_POOL_FILE + 1] = {0}, windows = 0;
    for (uint32_t i = 0; i < c->device->items.n_experts; i++) held[c->pools[layout->first_item + i]]++;
    for (uint32_t pool = 0; pool < SMT_POOL_COUNT; pool++) windows += smt_div_up(held[pool], layout->per_window);
    return windows;
}

/* A layer whose windows are small may have no more of them to spend on a second pool: then its experts stay together. */
static void mend_windows(chooser *c) {
    for (uint32_t l = c->device->first_layer; l < c->device->last_layer; l++) {
        const smt_expert_layout *layout = &c->device->items.layers[l];
        for (uint32_t pool = SMT_POOL_MAPPED;
             layout->n_windows && pool != UINT32_MAX && windows_needed(c, layout) > SMT_MAX_WINDOWS; pool--)
            for (uint32_t i = layout->first_item; i < layout->first_item + c->device->items.n_experts; i++)
                if (c->pools[i] == pool) c->pools[i] = SMT_POOL_HOST;
    }
}

static bool any_expert_elsewhere(const chooser *c) {
    const smt_items *items = &c->device->items;
    for (uint32_t i = 0; i < items->n_items; i++)
        if (items->items[i].expert != UINT32_MAX && c->pools[i] >= SMT_POOL_HOST) return true;
    return false;
}

/* Slots are of use only where some expert lies elsewhere without them. */
static void choose_all(chooser *c, uint32_t *slots) {
    qsort(c->units, c->n, sizeof *c->units, by_use);
    choose(c, 0);
    if (c->request->expert_cache && any_expert_elsewhere(c)) choose(c, c->request->expert_cache);
    mend_windows(c);
    for (uint32_t l = c->device->first_layer; l < c->device->last_layer; l++)
        if (c->device->items.layers[l].n_windows) slots[l] = windows_needed(c, &c->device->items.layers[l]);
    smt_plan_choose_slots(c->request, c->device, c->pools, slots);
}

smt_status smt_plan_choose(const smt_model *model, const smt_plan_request *request, const smt_placed_device *device,
                           uint64_t host_left, smt_plan_choice *out, smt_error *err) {
    chooser c = {.model = model, .request = request, .device = device, .host_left = host_left};
    *out = (smt_plan_choice){.pools = smt_alloc(device->items.n_items, sizeof *out->pools),
                             .slots = smt_alloc(model->n_layers, sizeof *out->slots)};
    c.pools = out->pools;
    smt_status status = out->pools && out->slots
                            ? list_units(&c, err)
                            : SMT_FAIL(err, SMT_MEMORY, "out of memory planning %u items", device->items.n_items);
    if (status == SMT_OK) choose_all(&c, out->slots);
    smt_free(c.units);
    if (status != SMT_OK) smt_plan_choice_free(out);
    return status;
}

void smt_plan_choice_free(smt_plan_choice *choice) {
    smt_free(choice->pools);
    smt_free(choice->slots);
    *choice = (smt_plan_choice){0};
}
