/* plan_pools.c: which kind of memory each matrix of one device lies in.
 *
 * The unit is what moves together: all matrices of a layer but its experts, one expert, the embedding table, the output head. Units stand
 * in the order of how often a token reads a byte of them; each goes to the fastest pool that still has room. So the embedding table, of
 * which a token reads one row, leaves first, then the rarest experts, then whole layers from the first one on. Among equals the last
 * layers stay, as -ngl and -ncmoe would have it. */
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
    uint8_t *pools;
    uint64_t left[SMT_POOL_COUNT];
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
}

static void put(chooser *c, const unit *u, smt_plan_pool pool) {
    for (uint32_t i = u->first; i < u->last; i++)
        if (belongs(c, u, i)) c->pools[i] = (uint8_t)pool;
}

static uint32_t windows_needed(const chooser *c, const smt_expert_layout *layout) {
    uint32_t held[SMT_POOL_COUNT] = {0}, windows = 0;
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

smt_status smt_plan_choose_pools(const smt_model *model, const smt_plan_request *request, const smt_placed_device *device,
                                 uint8_t **out, smt_error *err) {
    chooser c = {.model = model, .request = request, .device = device};
    c.pools = smt_alloc(device->items.n_items, sizeof *c.pools);
    smt_status status = c.pools ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory planning %u items", device->items.n_items);
    if (status == SMT_OK) status = list_units(&c, err);
    if (status == SMT_OK) {
        find_room(&c);
        qsort(c.units, c.n, sizeof *c.units, by_use);
        for (uint32_t i = 0; i < device->items.n_items; i++)
            c.pools[i] = smt_plan_kept_in_host(request, &device->items.items[i]) ? SMT_POOL_HOST : SMT_POOL_DEVICE;
        for (size_t i = 0; i < c.n; i++) {
            uint32_t pool = SMT_POOL_DEVICE;
            while (pool < SMT_POOL_HOST && c.units[i].bytes > c.left[pool]) pool++;
            put(&c, &c.units[i], (smt_plan_pool)pool);
            if (pool < SMT_POOL_HOST) c.left[pool] -= c.units[i].bytes;
        }
        mend_windows(&c);
    }
    smt_free(c.units);
    if (status != SMT_OK) smt_free(c.pools);
    *out = status == SMT_OK ? c.pools : NULL;
    return status;
}
