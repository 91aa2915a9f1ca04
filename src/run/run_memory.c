/* run_memory.c: how much memory a runner needs, from the shapes it may ever record, and the tables made once. */
#include "run/run.h"

#include <math.h>

/* A step returns logits and captures through host-visible buffers of at most this size; larger requests go in several steps. */
#define READBACK_MOST ((uint64_t)64 << 20)
/* Scratch for partial results of the split attention. Deeper contexts walk their chunks in one workgroup instead: same bits. */
#define PARTIAL_MOST          ((uint64_t)64 << 20)
#define DEFAULT_CTX           4096
#define DEFAULT_BATCH         512
#define DEFAULT_SUBMISSION_MS 100

void smt_run_resolve(const smt_model *model, smt_run_options *options) {
    if (options->n_ctx == 0) options->n_ctx = smt_min_u32(model->n_ctx_train, DEFAULT_CTX);
    if (options->n_batch == 0) options->n_batch = DEFAULT_BATCH;
    options->n_batch = smt_min_u32(options->n_batch, options->n_ctx);
    if (options->n_sessions == 0) options->n_sessions = 1;
    if (options->submission_ms == 0) options->submission_ms = DEFAULT_SUBMISSION_MS;
}

bool smt_run_splits(const smt_model *model, uint32_t n_ctx) {
    uint32_t value = model->mla ? model->kv_rank : model->value_dim;
    return 4ull * model->n_heads * smt_div_up(n_ctx, SMT_BLOCK) * value <= PARTIAL_MOST;
}

uint32_t smt_run_bucket(uint32_t n) {
    if (n <= 1) return 1;
    uint32_t bucket = 8; /* steps of 2 to 7 rows run in 8: fewer pipelines to compile, the same bits */
    while (bucket < n) bucket *= 2;
    return bucket;
}

static uint32_t rows_within(uint64_t row_bytes, uint32_t most) {
    uint64_t rows = READBACK_MOST / (row_bytes ? row_bytes : 1);
    return rows == 0 ? 1 : (uint32_t)smt_min_u64(rows, most);
}

smt_graph_shape smt_run_make_shape(const smt_run *run, uint32_t rows, uint32_t out_rows, bool keep_hidden, bool keep_routing) {
    return (smt_graph_shape){.rows = rows,
                             .out_rows = out_rows,
                             .n_ctx = run->options.n_ctx,
                             .n_blocks = run->kv.n_blocks,
                             .cache_f16 = run->options.cache_f16,
                             .split = rows == 1 && run->split,
                             .keep_hidden = keep_hidden,
                             .keep_routing = keep_routing};
}

/* Largest scratch over every shape; halves n_batch while one activation exceeds what a descriptor spans. */
static smt_status measure_scratch(smt_run *run, uint64_t *out_scratch, smt_error *err) {
    const smt_run_model *m = run->model;
    const smt_caps *caps = smt_vk_device_caps(m->device);
    *out_scratch = 0;
    for (uint32_t rows = smt_run_bucket(run->options.n_batch);; rows = rows > 8 ? rows / 2 : 1) {
        uint32_t out_rows = smt_min_u32(rows, smt_run_bucket(run->logits_rows));
        smt_graph_shape shape = smt_run_make_shape(run, rows, out_rows, false, false);
        smt_graph *graph;
        smt_error local = {0};
        smt_status status = smt_graph_create(m->model, &m->items, caps, &shape, &graph, &local);
        if (status == SMT_OK) {
            if (graph->scratch_bytes > *out_scratch) *out_scratch = graph->scratch_bytes;
            smt_graph_free(graph);
        } else if (status == SMT_UNSUPPORTED && rows > 1 && *out_scratch == 0) {
            run->options.n_batch = rows > 8 ? rows / 2 : 1;
        } else {
            if (err) *err = local;
            return status;
        }
        if (rows == 1) return SMT_OK;
    }
}

static smt_status upload(smt_run *run, const smt_plan_place *place, const void *bytes, size_t n, smt_error *err) {
    smt_os_mutex_lock(run->model->lock); /* it may submit, and other runners share the queue */
    smt_status status = smt_load_bytes(run->model->device, run->buffers[place->buffer], place->offset, bytes, n, err);
    smt_os_mutex_unlock(run->model->lock);
    return status;
}

static smt_status write_rope(smt_run *run, smt_error *err) {
    const smt_model *model = run->model->model;
    uint32_t pairs = model->rope_dim / 2, n_coarse = smt_div_up(run->options.n_ctx, SMT_BLOCK);
    size_t n = ((size_t)n_coarse + SMT_BLOCK) * pairs * 2;
    float *table = smt_alloc(n ? n : 1, sizeof *table);
    if (!table) return SMT_FAIL(err, SMT_MEMORY, "out of memory for rotary tables of %zu values", n);
    for (uint32_t i = 0; i < n_coarse + SMT_BLOCK; i++)
        for (uint32_t j = 0; j < pairs; j++) {
            double position = i < n_coarse ? (double)i * SMT_BLOCK : (double)(i - n_coarse),
                   angle = position * model->rope_freq[j];
            table[((size_t)i * pairs + j) * 2] = (float)cos(angle);
            table[((size_t)i * pairs + j) * 2 + 1] = (float)sin(angle);
        }
    smt_status status = upload(run, &run->plan.rope, table, n * 4, err);
    smt_free(table);
    return status;
}

smt_status smt_run_memory_create(smt_run *run, smt_error *err) {
    const smt_run_model *m = run->model;
    const smt_model *model = m->model;
    const smt_caps *caps = smt_vk_device_caps(m->device);
    smt_run_options *o = &run->options;
    run->split = smt_run_splits(model, o->n_ctx);
    run->logits_rows = rows_within(4ull * model->n_vocab, o->n_batch);

    smt_plan_runner_sizes sizes = {
        .n_layers = model->n_layers, .rope = smt_graph_rope_bytes(model, o->n_ctx), .counter = SMT_COUNTER_BYTES};
    SMT_TRY(measure_scratch(run, &sizes.scratch, err));
    run->logits_rows = smt_min_u32(run->logits_rows, o->n_batch);
    run->capture_rows = rows_within(smt_graph_capture_bytes(model, 1), o->n_batch);
    /* buckets round up, so buffers hold whole buckets */
    sizes.logits = 4ull * model->n_vocab * smt_run_bucket(run->logits_rows);
    sizes.capture = smt_graph_capture_bytes(model, smt_run_bucket(run->capture_rows));
    sizes.step = smt_graph_step_bytes(smt_run_bucket(o->n_batch));
    sizes.blocks = 4ull * run->kv.n_slots * run->kv.per_slot;
    uint32_t per_window = smt_graph_blocks_per_window(model, o->cache_f16, m->items.window_limit);
    uint64_t block = smt_graph_block_bytes(model, o->cache_f16);
    sizes.n_cache_windows = smt_div_up(run->kv.n_blocks, smt_max_u32(per_window, 1));
    sizes.cache_window_bytes = block * per_window;
    sizes.cache_last_bytes = block * (run->kv.n_blocks - (uint64_t)(sizes.n_cache_windows - 1) * per_window);

    uint64_t used[SMT_CAPS_MAX_HEAPS] = {0};
    smt_plan_count(&m->plan.plan, caps, used);
    SMT_TRY(smt_plan_runner_create(&sizes, caps, used, &run->plan, err));
    SMT_TRY(smt_load_buffers(m->device, &run->plan.plan, "runner", &run->buffers, err));
    static const uint8_t zeros[SMT_COUNTER_BYTES];
    SMT_TRY(upload(run, &run->plan.counter, zeros, sizeof zeros, err));
    return write_rope(run, err);
}
