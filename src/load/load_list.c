/* load_list.c: items of the plan as jobs.
 *
 * Three kinds of item: rows of a file matrix (perhaps a view: the v half of every head in attn_kv_b), the three matrices of an expert, and
 * derived planes: k_b transposed out of an old file's attn_kv_b. */
#include "load_internal.h"

typedef struct lister {
    const smt_load_args *args;
    const smt_weights *weights;
    const smt_upload *upload;
    smt_load_jobs *out; /* [SMT_LOAD_WAYS] */
    smt_error *err;
} lister;

static bool weaves(const lister *l, const smt_matrix *m) {
    return smt_kernel_weaves(smt_vk_device_caps(l->args->device), smt_matrix_dtype(m));
}

static smt_status add(lister *l, const smt_load_job *job) {
    smt_load_jobs *jobs = &l->out[smt_upload_is_direct(l->upload, job->buffer) ? SMT_LOAD_MAPPED : SMT_LOAD_STAGED];
    SMT_TRY(smt_grow((void **)&jobs->jobs, &jobs->capacity, jobs->n + 1, sizeof *jobs->jobs, l->err));
    jobs->jobs[jobs->n++] = *job;
    return SMT_OK;
}

/* Rows of one plane of a file matrix, as many to a job as a chunk holds; whole groups of them if they are woven. */
static smt_status add_rows(lister *l, const smt_load_job *all) {
    uint64_t device_row = smt_quant_device_row_bytes(all->matrix->tensor->type, all->matrix->k);
    uint32_t step = (uint32_t)(SMT_UPLOAD_CHUNK / device_row);
    if (all->woven) step -= step % SMT_WEAVE;
    if (step == 0)
        return SMT_FAIL(l->err, SMT_UNSUPPORTED, "tensor %s: a row has %llu bytes", all->matrix->tensor->name,
                        (unsigned long long)device_row);
    for (uint32_t i = 0; i < all->rows; i += step) {
        smt_load_job job = *all;
        job.row += i;
        job.rows = smt_min_u32(step, all->rows - i);
        job.to += i * device_row;
        SMT_TRY(add(l, &job));
    }
    return SMT_OK;
}

static smt_status add_matrix(lister *l, const smt_item *item, const smt_plan_place *place) {
    const smt_matrix *m = item->matrix;
    smt_load_job job = {.matrix = m, .row = item->row0, .rows = item->rows, .woven = weaves(l, m), .to = place->offset};
    job.buffer = l->weights->buffers[place->buffer];
    if (m->n_planes == 1 && !m->transposed) return add_rows(l, &job);
    job.row = 0;
    job.rows = m->rows;
    for (; job.plane < m->n_planes; job.plane++, job.to += (uint64_t)m->rows * item->row_bytes)
        SMT_TRY(m->transposed ? add(l, &job) : add_rows(l, &job));
    return SMT_OK;
}

static smt_status add_expert(lister *l, const smt_item *item, const smt_plan_place *place) {
    const smt_model_layer *layer = &l->args->model->layers[item->layer];
    const smt_expert_layout *layout = &l->args->items->layers[item->layer];
    const smt_matrix *parts[] = {&layer->gate_exps, &layer->up_exps, &layer->down_exps};
    const uint64_t at[] = {layout->gate, layout->up, layout->down};
    for (size_t i = 0; i < SMT_COUNT(parts); i++)
        SMT_TRY(add_rows(l, &(smt_load_job){.matrix = parts[i],
                                            .plane = item->expert,
                                            .rows = parts[i]->rows,
                                            .woven = weaves(l, parts[i]),
                                            .buffer = l->weights->buffers[place->buffer],
                                            .to = place->offset + at[i]}));
    return SMT_OK;
}

smt_status smt_load_list(const smt_load_args *args, const smt_weights *weights, const smt_upload *upload,
                         smt_load_jobs out[SMT_LOAD_WAYS], smt_error *err) {
    for (int way = 0; way < SMT_LOAD_WAYS; way++) out[way] = (smt_load_jobs){0};
    lister l = {.args = args, .weights = weights, .upload = upload, .out = out, .err = err};
    for (uint32_t i = 0; i < args->items->n_items; i++) {
        const smt_item *item = &args->items->items[i];
        if (args->plan->items[i].buffer == SMT_PLAN_FILE) continue;
        SMT_TRY((item->matrix ? add_matrix : add_expert)(&l, item, &args->plan->items[i]));
    }
    return SMT_OK;
}

smt_status smt_load_list_expert(const smt_load_args *args, const smt_weights *weights, const smt_upload *upload,
                                const smt_item *item, const smt_plan_place *to, smt_load_jobs out[SMT_LOAD_WAYS],
                                smt_error *err) {
    for (int way = 0; way < SMT_LOAD_WAYS; way++) out[way] = (smt_load_jobs){0};
    lister l = {.args = args, .weights = weights, .upload = upload, .out = out, .err = err};
    return add_expert(&l, item, to);
}

void smt_load_list_free(smt_load_jobs jobs[SMT_LOAD_WAYS]) {
    for (int way = 0; way < SMT_LOAD_WAYS; way++) smt_free(jobs[way].jobs);
}
