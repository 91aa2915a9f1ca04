/* run_memory.c: a runner's memory, allocated as its plan says, and the tables made once. */
#include "run/run.h"

#include <math.h>

#define DEFAULT_SUBMISSION_MS 100

smt_plan_demand smt_run_demand(const smt_run_options *options) {
    return (smt_plan_demand){
        .n_ctx = options->n_ctx, .n_batch = options->n_batch, .n_sessions = options->n_sessions, .cache_f16 = options->cache_f16};
}

void smt_run_resolve(const smt_model *model, smt_run_options *options) {
    smt_plan_demand demand = smt_run_demand(options);
    smt_plan_resolve(model, &demand);
    options->n_ctx = demand.n_ctx;
    options->n_batch = demand.n_batch;
    options->n_sessions = demand.n_sessions;
    if (options->submission_ms == 0) options->submission_ms = DEFAULT_SUBMISSION_MS;
}

smt_graph_shape smt_run_make_shape(const smt_run *run, uint32_t rows, uint32_t out_rows, bool keep_hidden, bool keep_routing) {
    return (smt_graph_shape){.rows = rows,
                             .out_rows = out_rows,
                             .n_ctx = run->options.n_ctx,
                             .n_blocks = run->kv.n_blocks,
                             .cache_f16 = run->options.cache_f16,
                             .fast = run->options.fast,
                             .coop = run->options.coop,
                             .split = rows == 1 && run->split,
                             .keep_hidden = keep_hidden,
                             .keep_routing = keep_routing};
}

smt_graph_shape smt_run_draw_shape(const smt_run *run, uint32_t rows, uint32_t turn) {
    smt_graph_shape shape = smt_run_make_shape(run, rows, 1, false, smt_run_is_watched(run));
    shape.sample = true;
    shape.turn = turn;
    return shape;
}

static smt_status upload(const smt_run_part *part, const smt_plan_place *place, const void *bytes, size_t n, smt_error *err) {
    return smt_load_bytes(part->on->vk, part->buffers[place->buffer], place->offset, bytes, n, err);
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
    smt_status status = SMT_OK;
    for (uint32_t i = 0; i < run->n_parts && status == SMT_OK; i++)
        status = upload(&run->parts[i], &run->parts[i].plan.rope, table, n * 4, err);
    smt_free(table);
    return status;
}

void smt_run_graph_devices(const smt_run_model *model, smt_graph_device *out) {
    for (uint32_t i = 0; i < model->n_devices; i++)
        out[i] = (smt_graph_device){&model->devices[i].items, smt_vk_device_caps(model->devices[i].vk)};
}

smt_status smt_run_measure(smt_run *run, smt_plan_runner_sizes *sizes, smt_error *err) {
    const smt_plan_demand demand = smt_run_demand(&run->options);
    smt_graph_device devices[SMT_GRAPH_DEVICES];
    smt_run_graph_devices(run->model, devices);
    SMT_TRY(smt_plan_measure(run->model->model, devices, run->n_parts, &demand, sizes, err));
    run->options.n_batch = sizes->n_batch;
    run->logits_rows = sizes->logits_rows;
    run->capture_rows = sizes->capture_rows;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        const smt_run_device *on = run->parts[i].on;
        run->capture_rows = smt_min_u32(run->capture_rows, smt_plan_step_rows(run->model->model, &on->items, &on->plan));
    }
    run->split = sizes->split;
    return SMT_OK;
}

static smt_status create_part(smt_run_part *part, const smt_plan_runner_sizes *sizes, smt_error *err) {
    static const uint8_t zeros[SMT_COUNTER_BYTES];
    const smt_caps *caps = smt_vk_device_caps(part->on->vk);
    smt_plan_bytes used = {0};
    smt_plan_count(&part->on->plan.plan, caps, &used);
    SMT_TRY(smt_plan_runner_create(sizes, caps, &part->plan, err));
    SMT_TRY(smt_plan_check(&part->plan.plan, caps, &part->on->limits, &used, "cache and working memory", err));
    SMT_TRY(smt_load_buffers(part->on->vk, &part->plan.plan, "runner", &part->buffers, err));
    return upload(part, &part->plan.counter, zeros, sizeof zeros, err);
}

smt_status smt_run_memory_create(smt_run *run, const smt_plan_runner_sizes *sizes, smt_error *err) {
    for (uint32_t i = 0; i < run->n_parts; i++) SMT_TRY(create_part(&run->parts[i], &sizes[i], err));
    return write_rope(run, err);
}
