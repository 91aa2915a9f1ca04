/* plan_predict.c: how long a step takes with this placement: what has to be read from where, arithmetic, and waiting.
 *
 *   device = max(bytes from device memory / read + bytes from host memory / link + bytes from the file / file, multiply-adds / rate)
 *            + stages * latency
 *   step   = the devices one after another + a hop at each border
 *            where they share the experts of each layer: the first device's other work + the slowest share of the experts + two hops a layer
 *
 * Reading and computing overlap, kernels of one step do not. A decoded token looks back on half the context; of a prompt's experts those
 * count that n_batch rows touch if each chooses independently; slots hold those that are used most, for good. The result is meant for comparing placements: the speeds of summation and the
 * latencies are assumed (plan_facts.c). */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>

typedef enum wait { WAIT_READ, WAIT_LINK, WAIT_FILE, WAIT_CACHE, WAIT_MACS, WAIT_STAGES, WAIT_HOPS, WAIT_COUNT } wait;

/* Seconds of a step on one device, or of all. */
typedef struct step_time {
    double s[WAIT_COUNT];
    double total;
} step_time;

typedef struct predictor {
    const smt_plan_request *request;
    const smt_model *model;
    const smt_placement *placement;
    uint32_t rows;
    double depth; /* positions that a row looks back on */
} predictor;

enum { FROM_DEVICE, FROM_HOST, FROM_FILE, SOURCES };

/* Of a step: bytes of an item that are read, by where it lies, of an expert that lies elsewhere `hits` of them from slots; its multiply-adds. */
static double add_item(const predictor *p, const smt_placed_device *d, uint32_t index, double hits, double bytes[SOURCES]) {
    const smt_item *item = &d->items.items[index];
    const smt_plan_place *place = &d->weights.items[index];
    double *sum = &bytes[smt_plan_is_resident(&d->weights, place) ? FROM_DEVICE
                         : place->buffer == SMT_PLAN_FILE         ? FROM_FILE
                                                                  : FROM_HOST];
    if (item->expert != UINT32_MAX) {
        const smt_model_layer *layer = &p->model->layers[item->layer];
        double use = smt_plan_expert_use(p->model, p->request, item->layer, item->expert);
        double read = (double)item->bytes * (p->rows == 1 ? use : 1 - pow(1 - use, p->rows));
        *sum += (1 - hits) * read;
        bytes[FROM_DEVICE] += hits * read;
        return p->rows * use * (double)(layer->gate_exps.rows + layer->up_exps.rows + layer->down_exps.rows) * layer->gate_exps.k;
    }
    bool table = item->matrix == &p->model->token_embd;
    bool tied = d->last && p->model->output.tensor == p->model->token_embd.tensor;
    if (table && item->part == 0) *sum += (double)p->rows * item->row_bytes;
    if (table && !tied) return 0;
    *sum += (double)item->bytes;
    bool head = table || item->matrix == &p->model->output; /* of a prompt, the last row alone */
    return (head ? 1 : p->rows) * (double)item->rows * item->matrix->k;
}

/* Of what a device does, the part that is made of experts, or the rest, or all. */
typedef enum share { SHARE_ALL, SHARE_EXPERTS, SHARE_REST } share;

static step_time device_time(const predictor *p, const smt_placed_device *d, share which) {
    const smt_model *m = p->model;
    const smt_plan_speeds *speeds = &d->speeds;
    bool stages_count = which != SHARE_EXPERTS || d->items.range.experts_only;
    double bytes[SOURCES] = {0}, hits = 0, macs = 0, n_layers = which == SHARE_EXPERTS ? 0 : d->last_layer - d->first_layer;
    for (uint32_t i = 0; i < d->items.n_items; i++) {
        const smt_item *item = &d->items.items[i];
        if (which != SHARE_ALL && (item->expert != UINT32_MAX) != (which == SHARE_EXPERTS)) continue;
        if (item->expert == d->items.range.first_expert) hits = smt_plan_slot_hits(m, p->request, d, item->layer);
        macs += add_item(p, d, i, hits, bytes);
    }
    double per_position =
        m->mla ? m->n_heads * (2.0 * m->kv_rank + m->rope_dim) : m->n_heads * (double)(m->nope_dim + m->rope_dim + m->value_dim);
    macs += p->rows * n_layers * per_position * p->depth;
    uint32_t stages = p->rows == 1 ? d->sizes.stages_one : d->sizes.stages_batch;
    step_time time = {
        .s = {[WAIT_READ] = bytes[FROM_DEVICE] / speeds->read_s,
              [WAIT_LINK] = bytes[FROM_HOST] / speeds->link_s,
              [WAIT_FILE] = bytes[FROM_FILE] / speeds->file_s,
              [WAIT_CACHE] = 4.0 * smt_graph_row_words(m, p->placement->demand.cache_f16) * n_layers * p->depth / speeds->read_s,
              [WAIT_MACS] = macs / speeds->macs_s,
              [WAIT_STAGES] = stages_count ? stages * speeds->stage_s : 0,
              [WAIT_HOPS] = p->placement->n_devices > 1 && which == SHARE_ALL ? speeds->hop_s : 0}};
    double reading = time.s[WAIT_READ] + time.s[WAIT_LINK] + time.s[WAIT_FILE] + time.s[WAIT_CACHE];
    time.total = (reading > time.s[WAIT_MACS] ? reading : time.s[WAIT_MACS]) + time.s[WAIT_STAGES] + time.s[WAIT_HOPS];
    if (reading > time.s[WAIT_MACS])
        time.s[WAIT_MACS] = 0; /* behind the reading */
    else
        time.s[WAIT_READ] = time.s[WAIT_LINK] = time.s[WAIT_FILE] = time.s[WAIT_CACHE] = 0;
    return time;
}

/* What the first device waits for in all layers until its rows are with the others, and until their parts of the sums are back. */
static double sharing_seconds(const predictor *p) {
    const smt_placement *placement = p->placement;
    const smt_model *m = p->model;
    double floats = 0, hop_s = 0;
    for (uint32_t i = 1; i < placement->n_devices; i++) {
        const smt_items_range *range = &placement->devices[i].items.range;
        uint32_t n_ranges = smt_div_up(range->end_expert - range->first_expert, smt_graph_range_size(m));
        floats += p->rows * ((1.0 + n_ranges) * m->n_embd + 2.0 * m->n_used);
        if (placement->devices[i].speeds.hop_s > hop_s) hop_s = placement->devices[i].speeds.hop_s;
    }
    const smt_plan_speeds *home = &placement->devices[0].speeds;
    return smt_model_moe_layers(m) * (home->hop_s + hop_s + 4 * floats / home->link_s);
}

/* Times that follow one another: [n_devices] at most, with the devices they are spent on. Returns how many. */
static uint32_t list_times(const predictor *p, step_time *times, uint32_t *devices) {
    const smt_placement *placement = p->placement;
    if (!placement->by_experts) {
        for (uint32_t i = 0; i < placement->n_devices; i++) {
            times[i] = device_time(p, &placement->devices[i], SHARE_ALL);
            devices[i] = i;
        }
        return placement->n_devices;
    }
    double hops = sharing_seconds(p);
    times[0] = device_time(p, &placement->devices[0], SHARE_REST);
    times[0].s[WAIT_HOPS] += hops;
    times[0].total += hops;
    times[1].total = -1;
    devices[0] = 0;
    for (uint32_t i = 0; i < placement->n_devices; i++) {
        step_time time = device_time(p, &placement->devices[i], SHARE_EXPERTS);
        if (time.total <= times[1].total) continue;
        times[1] = time;
        devices[1] = i;
    }
    return 2;
}

static double step_seconds(const predictor *p) {
    step_time times[SMT_PLAN_MOST_DEVICES];
    uint32_t devices[SMT_PLAN_MOST_DEVICES], n = list_times(p, times, devices);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += times[i].total;
    return sum;
}

/* What one token waits for longest, on all devices together, in words. */
static void name_bottleneck(const predictor *p, double total, char *text, size_t capacity) {
    static const char *const words[WAIT_COUNT][2] = {
        [WAIT_READ] = {"reads weights from its memory", "read weights from their memory"},
        [WAIT_LINK] = {"reads weights from host memory", "read weights from host memory"},
        [WAIT_FILE] = {"waits for experts from the file", "wait for experts from the file"},
        [WAIT_CACHE] = {"reads the cache", "read the cache"},
        [WAIT_MACS] = {"computes", "compute"},
        [WAIT_STAGES] = {"waits between kernels", "wait between kernels"},
        [WAIT_HOPS] = {"hands activations over", "hand activations over"}};
    step_time times[SMT_PLAN_MOST_DEVICES];
    uint32_t devices[SMT_PLAN_MOST_DEVICES], n = list_times(p, times, devices), device = 0, n_waiting = 0, what = 0;
    double most = 0;
    for (uint32_t w = 0; w < WAIT_COUNT; w++) {
        double sum = 0;
        uint32_t first = 0, count = 0;
        for (uint32_t i = n; i-- > 0;) {
            if (times[i].s[w] <= 0) continue;
            sum += times[i].s[w];
            count += !count || devices[i] != first; /* one that shares experts has two entries */
            first = devices[i];
        }
        if (sum <= most) continue;
        most = sum;
        what = w;
        device = first;
        n_waiting = count;
    }
    if (n_waiting == 1)
        snprintf(text, capacity, "%s %s: %.0f %% of a token's time", p->placement->devices[device].caps.id, words[what][0],
                 100 * most / total);
    else
        snprintf(text, capacity, "%u devices %s: %.0f %% of a token's time", n_waiting, words[what][1], 100 * most / total);
}

void smt_plan_predict(const smt_plan_request *request, smt_placement *placement) {
    predictor p = {.request = request, .model = placement->model, .placement = placement, .rows = 1};
    if (!request->demand || placement->n_devices == 0) return;
    p.depth = placement->demand.n_ctx / 2.0;
    double token = step_seconds(&p);
    placement->forecast.decode_tok_s = 1 / token;
    name_bottleneck(&p, token, placement->forecast.bottleneck, sizeof placement->forecast.bottleneck);
    p.rows = placement->devices[0].sizes.n_batch;
    for (uint32_t i = 1; i < placement->n_devices; i++) p.rows = smt_min_u32(p.rows, placement->devices[i].sizes.n_batch);
    for (uint32_t i = 0; i < placement->n_devices; i++)
        p.rows = smt_min_u32(
            p.rows, smt_max_u32(smt_plan_step_rows(p.model, &placement->devices[i].items, &placement->devices[i].weights), 1));
    p.depth = p.rows / 2.0;
    placement->forecast.prefill_tok_s = p.rows / step_seconds(&p);
}
