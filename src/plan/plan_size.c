/* plan_size.c: how much memory a runner needs, from the shapes it may ever record. */
#include "plan/plan.h"

/* A step returns logits and captures through host-visible buffers of at most this size; larger requests go in several steps. */
#define READBACK_MOST ((uint64_t)64 << 20)
/* Scratch for partial results of the split attention. Deeper contexts walk their chunks in one workgroup instead: same bits. */
#define PARTIAL_MOST  ((uint64_t)64 << 20)
#define DEFAULT_CTX   4096
#define DEFAULT_BATCH 512

void smt_plan_resolve(const smt_model *model, smt_plan_demand *demand) {
    if (demand->n_ctx == 0) demand->n_ctx = smt_min_u32(model->n_ctx_train, DEFAULT_CTX);
    if (demand->n_batch == 0) demand->n_batch = DEFAULT_BATCH;
    demand->n_batch = smt_min_u32(demand->n_batch, demand->n_ctx);
    if (demand->n_sessions == 0) demand->n_sessions = 1;
}

bool smt_plan_splits(const smt_model *model, uint32_t n_ctx) {
    uint32_t value = model->mla ? model->kv_rank : model->value_dim;
    return 4ull * model->n_heads * smt_div_up(n_ctx, SMT_BLOCK) * value <= PARTIAL_MOST;
}

uint32_t smt_plan_bucket(uint32_t n) {
    if (n <= 1) return 1;
    uint32_t bucket = 8; /* steps of 2 to 7 rows run in 8: fewer pipelines to compile, the same bits */
    while (bucket < n) bucket *= 2;
    return bucket;
}

static uint32_t rows_within(uint64_t row_bytes, uint32_t most) {
    uint64_t rows = READBACK_MOST / (row_bytes ? row_bytes : 1);
    return rows == 0 ? 1 : (uint32_t)smt_min_u64(rows, most);
}

/* What every size follows from. */
typedef struct measure {
    const smt_model *model;
    const smt_graph_device *devices; /* [n] */
    uint32_t n;
    const smt_plan_demand *demand;
    smt_plan_runner_sizes *out; /* [n] */
} measure;

static uint32_t cache_blocks(const smt_plan_demand *demand) { return demand->n_sessions * smt_div_up(demand->n_ctx, SMT_BLOCK); }

static void raise(uint64_t *size, uint64_t wanted) {
    if (wanted > *size) *size = wanted;
}

/* Raises scratch and hops to what a shape needs, and gives its stages. */
static smt_status measure_shape(const measure *m, const smt_graph_shape *shape, uint32_t *out_stages, smt_error *err) {
    smt_graph *graph;
    SMT_TRY(smt_graph_create_split(m->model, m->devices, m->n, shape, &graph, err));
    for (uint32_t i = 0; i < m->n; i++) {
        raise(&m->out[i].scratch, graph->parts[i].scratch_bytes);
        raise(&m->out[i].hop_out, graph->parts[i].hop_out);
        raise(&m->out[i].hop_in, graph->parts[i].hop_in);
        m->out[i].lends |= graph->parts[i].lends;
        out_stages[i] = smt_graph_device_stages(graph, i).stages;
    }
    smt_graph_free(graph);
    return SMT_OK;
}

/* Scratch and stages of steps of `rows` rows, and of those that draw a token. */
static smt_status measure_rows(const measure *m, uint32_t rows, smt_error *err) {
    uint32_t stages[SMT_GRAPH_DEVICES], drawing[SMT_GRAPH_DEVICES];
    smt_graph_shape shape = {.rows = rows,
                             .out_rows = smt_min_u32(rows, smt_plan_bucket(m->out->logits_rows)),
                             .n_ctx = m->demand->n_ctx,
                             .n_blocks = cache_blocks(m->demand),
                             .cache_f16 = m->demand->cache_f16,
                             .split = rows == 1 && m->out->split};
    SMT_TRY(measure_shape(m, &shape, stages, err));
    for (uint32_t i = 0; i < m->n; i++) {
        m->out[i].stages_one = stages[i]; /* rows come in descending order */
        if (m->out[i].stages_batch == 0) m->out[i].stages_batch = stages[i];
    }
    shape.out_rows = 1;
    shape.sample = true;
    return measure_shape(m, &shape, drawing, err);
}

/* Largest scratch over every shape; halves n_batch while one activation exceeds what a descriptor spans. */
static smt_status measure_scratch(const measure *m, smt_error *err) {
    for (uint32_t rows = smt_plan_bucket(m->out->n_batch);; rows = rows > 8 ? rows / 2 : 1) {
        smt_error local = {0};
        smt_status status = measure_rows(m, rows, &local);
        if (status == SMT_UNSUPPORTED && rows > 1 && m->out->scratch == 0) {
            m->out->n_batch = rows > 8 ? rows / 2 : 1;
        } else if (status != SMT_OK) {
            if (err) *err = local;
            return status;
        }
        if (rows == 1) return SMT_OK;
    }
}

/* The cache of each layer of a device, in windows. */
static smt_status measure_cache(const measure *m, uint32_t device, smt_error *err) {
    const smt_plan_demand *d = m->demand;
    const smt_items *items = m->devices[device].items;
    smt_plan_runner_sizes *out = &m->out[device];
    uint32_t per_window = smt_graph_blocks_per_window(m->model, d->cache_f16, items->window_limit);
    uint64_t n_blocks = (uint64_t)d->n_sessions * smt_div_up(d->n_ctx, SMT_BLOCK), most = (uint64_t)SMT_MAX_WINDOWS * per_window;
    uint64_t block = smt_graph_block_bytes(m->model, d->cache_f16);
    if (n_blocks > most)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%u sessions of %u positions need %llu cache blocks, this device binds %llu",
                        d->n_sessions, d->n_ctx, (unsigned long long)n_blocks, (unsigned long long)most);
    out->n_layers = items->range.last - items->range.first;
    out->n_cache_windows = smt_div_up((uint32_t)n_blocks, per_window);
    out->cache_window_bytes = block * per_window;
    out->cache_last_bytes = block * (n_blocks - (uint64_t)(out->n_cache_windows - 1) * per_window);
    return SMT_OK;
}

/* What is the same on every device, but for logits: others than the last give none. */
static void measure_buffers(const measure *m, uint32_t device) {
    smt_plan_runner_sizes *out = &m->out[device];
    out->n_batch = m->out->n_batch; /* of the first device, where it was halved */
    out->logits_rows = smt_min_u32(out->logits_rows, out->n_batch);
    out->capture_rows = rows_within(smt_graph_capture_bytes(m->model, 1), out->n_batch);
    out->rope = smt_graph_rope_bytes(m->model, m->demand->n_ctx);
    out->counter = SMT_COUNTER_BYTES;
    out->blocks = 4ull * cache_blocks(m->demand);
    /* buckets round up, so buffers hold whole buckets */
    if (m->devices[device].items->range.head) out->logits = 4ull * m->model->n_vocab * smt_plan_bucket(out->logits_rows);
    out->capture = smt_graph_capture_bytes(m->model, smt_plan_bucket(out->capture_rows));
    raise(&out->capture, smt_graph_capture_turn(m->model, 1, SMT_GRAPH_TURNS)); /* steps that run ahead have one row */
    out->ring = 4ull * SAMPLE_RING;
    out->step = smt_graph_step_bytes(smt_plan_bucket(out->n_batch));
}

smt_status smt_plan_measure(const smt_model *model, const smt_graph_device *devices, uint32_t n_devices,
                            const smt_plan_demand *demand, smt_plan_runner_sizes *out, smt_error *err) {
    const measure m = {.model = model, .devices = devices, .n = n_devices, .demand = demand, .out = out};
    for (uint32_t i = 0; i < n_devices; i++) {
        out[i] = (smt_plan_runner_sizes){.n_batch = demand->n_batch,
                                         .split = smt_plan_splits(model, demand->n_ctx),
                                         .logits_rows = rows_within(4ull * model->n_vocab, demand->n_batch)};
        SMT_TRY(measure_cache(&m, i, err));
    }
    SMT_TRY(measure_scratch(&m, err));
    for (uint32_t i = 0; i < n_devices; i++) measure_buffers(&m, i);
    return SMT_OK;
}
