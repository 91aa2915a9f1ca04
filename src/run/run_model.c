/* run_model.c: items, plan, weights and kernels of one model on one device. */
#include "run/run.h"

smt_status smt_run_model_create(smt_vk_device *device, const smt_model *model, const smt_callbacks *callbacks, bool force_staging,
                                smt_run_model **out, smt_error *err) {
    *out = NULL;
    smt_run_model *m = smt_alloc(1, sizeof *m);
    if (!m) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a model");
    *m = (smt_run_model){.device = device, .model = model, .callbacks = *callbacks, .lock = smt_os_mutex_create()};
    const smt_caps *caps = smt_vk_device_caps(device);
    smt_status status = m->lock ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a lock");
    if (status == SMT_OK) status = smt_items_create(model, caps, &m->items, err);
    if (status == SMT_OK) status = smt_plan_weights_create(model, &m->items, caps, &m->plan, err);
    if (status == SMT_OK)
        status = smt_load_weights(&(smt_load_args){.device = device,
                                                   .model = model,
                                                   .items = &m->items,
                                                   .plan = &m->plan,
                                                   .force_staging = force_staging,
                                                   .callbacks = *callbacks},
                                  &m->weights, err);
    if (status != SMT_OK)
        smt_run_model_free(m);
    else
        *out = m;
    return status;
}

void smt_run_model_free(smt_run_model *model) {
    if (!model) return;
    for (size_t i = 0; i < model->n_kernels; i++) smt_vk_kernel_destroy(model->device, model->kernels[i].kernel);
    smt_free(model->kernels);
    smt_weights_free(model->device, &model->weights);
    smt_plan_weights_free(&model->plan);
    smt_items_free(&model->items);
    smt_os_mutex_free(model->lock);
    smt_free(model);
}

const smt_vk_kernel *smt_run_kernel_find(const smt_run_model *model, const smt_kernel_key *key) {
    for (size_t i = 0; i < model->n_kernels; i++)
        if (smt_kernel_equal(&model->kernels[i].key, key)) return model->kernels[i].kernel;
    return NULL;
}

smt_status smt_run_kernel_compile(smt_vk_device *device, const smt_kernel_spec *spec, bool want_stats, smt_vk_kernel **out,
                                  smt_error *err) {
    smt_vk_define defines[SMT_KERNEL_MAX_DEFINES];
    for (uint32_t i = 0; i < spec->n_defines; i++) defines[i] = (smt_vk_define){spec->defines[i].name, spec->defines[i].value};
    const smt_vk_kernel_desc desc = {.source = spec->source,
                                     .label = spec->label,
                                     .defines = defines,
                                     .n_defines = spec->n_defines,
                                     .n_windows = spec->windows,
                                     .group_size = {spec->group, 1, 1},
                                     .push_bytes = spec->push_bytes,
                                     .window_texels = spec->window_texels,
                                     .buffer_texels = spec->buffer_texels};
    return smt_vk_kernel_create(device, &desc, want_stats, out, err);
}

static smt_status add_kernel(smt_run_model *model, const smt_kernel_key *key, smt_error *err) {
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(model->device), key, &spec);
    SMT_TRY(smt_grow((void **)&model->kernels, &model->kernels_capacity, model->n_kernels + 1, sizeof *model->kernels, err));
    smt_run_kernel *entry = &model->kernels[model->n_kernels];
    SMT_TRY(smt_run_kernel_compile(model->device, &spec, false, &entry->kernel, err));
    entry->key = *key;
    model->n_kernels++;
    return SMT_OK;
}

/* Kernels of the graph that are not there yet, each counted once. */
static size_t count_missing(const smt_run_model *model, const smt_graph *graph) {
    size_t n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const smt_node *node = &graph->nodes[i];
        bool known = node->copy || smt_run_kernel_find(model, &node->key);
        for (size_t j = 0; j < i && !known; j++)
            known = !graph->nodes[j].copy && smt_kernel_equal(&graph->nodes[j].key, &node->key);
        n += !known;
    }
    return n;
}

smt_status smt_run_kernels_prepare(smt_run_model *model, const smt_graph *graph, smt_error *err) {
    smt_status status = SMT_OK;
    const smt_callbacks *c = &model->callbacks;
    smt_os_mutex_lock(model->lock);
    size_t done = 0, total = count_missing(model, graph);
    for (size_t i = 0; i < graph->n_nodes && status == SMT_OK; i++) {
        const smt_node *node = &graph->nodes[i];
        if (node->copy || smt_run_kernel_find(model, &node->key)) continue;
        status = add_kernel(model, &node->key, err);
        done += status == SMT_OK;
        if (status == SMT_OK && c->progress && !c->progress(c->user, SMT_STAGE_COMPILE, done, total))
            status = SMT_FAIL(err, SMT_CANCELLED, "compiling kernels was cancelled after %zu of %zu", done, total);
    }
    smt_os_mutex_unlock(model->lock);
    return status;
}
