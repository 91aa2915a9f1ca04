/* run_model.c: items, plan and weights of one model on its devices, and the kernels that are expected to be needed, which compile on other
 * threads while the weights load. */
#include "run/run.h"

/* Takes over what a placement says of the weights. */
static smt_status take_plan(smt_run_model *m, smt_vk_device *const *devices, smt_placement *placement, smt_error *err) {
    m->devices = smt_alloc(placement->n_devices, sizeof *m->devices);
    if (!m->devices) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a model on %u devices", placement->n_devices);
    m->n_devices = placement->n_devices;
    for (uint32_t i = 0; i < m->n_devices; i++) {
        smt_placed_device *placed = &placement->devices[i];
        m->devices[i] =
            (smt_run_device){.vk = devices[i], .items = placed->items, .plan = placed->weights, .limits = placed->limits};
        placed->items = (smt_items){0};
        placed->weights = (smt_plan_weights){0};
    }
    return SMT_OK;
}

/* Loading device after device is one work for whoever is told of its progress. */
typedef struct joined {
    const smt_callbacks *to;
    uint64_t before, total; /* bytes of the devices loaded already, of all */
} joined;

static bool join_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    const joined *j = user;
    (void)total;
    return j->to->progress(j->to->user, stage, j->before + done, j->total);
}

static void join_log(void *user, smt_log_level level, const char *text) {
    const joined *j = user;
    j->to->log(j->to->user, level, text);
}

static uint64_t bytes_of(const smt_items *items) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < items->n_items; i++) bytes += items->items[i].bytes;
    return bytes;
}

static smt_status load_device(const smt_run_model *m, smt_run_device *on, bool force_staging, const smt_callbacks *callbacks,
                              smt_error *err) {
    smt_load_args args = {.device = on->vk,
                          .model = m->model,
                          .items = &on->items,
                          .plan = &on->plan,
                          .force_staging = force_staging,
                          .callbacks = *callbacks};
    if (smt_load_repacks(&args)) {
        smt_run_kernel repack = {.key = {.kernel = SMT_KERNEL_REPACK, .windows = 1}};
        smt_kernel_spec spec;
        smt_kernel_describe(smt_vk_device_caps(on->vk), &repack.key, &spec);
        SMT_TRY(smt_run_kernel_compile(on->vk, &spec, false, &repack.kernel, err));
        args.repack = on->repack = repack.kernel;
        SMT_TRY(smt_run_self_test(m, on, &repack, err));
    }
    return smt_load_weights(&args, &on->weights, err);
}

static smt_status load_weights(smt_run_model *m, const smt_run_model_options *options, smt_error *err) {
    joined j = {.to = &m->callbacks};
    const smt_callbacks callbacks = {
        .user = &j, .log = m->callbacks.log ? join_log : NULL, .progress = m->callbacks.progress ? join_progress : NULL};
    for (uint32_t i = 0; i < m->n_devices; i++) j.total += bytes_of(&m->devices[i].items);
    for (uint32_t i = 0; i < m->n_devices; i++) {
        smt_run_device *on = &m->devices[i];
        SMT_TRY(load_device(m, on, options->force_staging, &callbacks, err));
        SMT_TRY(smt_run_resident_create(m->model, on, options->copy_bytes, err));
        m->slots |= on->resident != NULL;
        for (uint32_t l = 0; l < m->model->n_layers; l++) m->file |= on->items.layers[l].from_file;
        j.before += bytes_of(&on->items);
    }
    return SMT_OK;
}

smt_status smt_run_model_load(smt_vk_device *const *devices, smt_placement *placement, const smt_run_model_options *options,
                              smt_run_model **out, smt_error *err) {
    *out = NULL;
    if (!placement->fits) return SMT_FAIL(err, placement->n_devices ? SMT_DEVICE_MEMORY : SMT_UNSUPPORTED, "%s", placement->why);
    smt_run_model *m = smt_alloc(1, sizeof *m);
    if (!m) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a model");
    *m = (smt_run_model){.model = placement->model,
                         .callbacks = options->callbacks,
                         .self_test = options->self_test,
                         .lock = smt_os_mutex_create(),
                         .watch = smt_os_mutex_create(),
                         .step = smt_os_mutex_create()};
    smt_status status = m->lock && m->watch && m->step ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a lock");
    if (status == SMT_OK) status = take_plan(m, devices, placement, err);
    smt_run_compile *kernels = NULL;
    if (status == SMT_OK && options->expected) status = smt_run_compile_expected(m, options->expected, &kernels, err);
    if (status == SMT_OK) status = load_weights(m, options, err);
    smt_status compiled = smt_run_compile_finish(kernels, status == SMT_OK, status == SMT_OK ? err : NULL);
    if (status == SMT_OK) status = compiled;
    if (status != SMT_OK)
        smt_run_model_free(m);
    else
        *out = m;
    return status;
}

smt_status smt_run_model_create(smt_vk_device *device, const smt_model *model, const smt_run_model_options *options,
                                smt_run_model **out, smt_error *err) {
    static const uint32_t order[] = {0};
    const smt_plan_facts facts = {.caps = *smt_vk_device_caps(device)};
    smt_plan_request request = options->placement ? *options->placement : (smt_plan_request){0};
    request.facts = &facts;
    request.n_facts = request.n_order = 1;
    request.order = order;
    const smt_plan_demand demand = options->expected ? smt_run_demand(options->expected) : (smt_plan_demand){0};
    if (!request.demand && options->expected) request.demand = &demand;
    smt_placement *placement;
    *out = NULL;
    SMT_TRY(smt_plan_create(model, &request, &placement, err));
    smt_status status = smt_run_model_load(&device, placement, options, out, err);
    smt_plan_free(placement);
    return status;
}

void smt_run_model_free(smt_run_model *model) {
    if (!model) return;
    for (uint32_t d = 0; d < model->n_devices; d++) {
        smt_run_device *on = &model->devices[d];
        for (size_t i = 0; i < on->n_kernels; i++) smt_vk_kernel_destroy(on->vk, on->kernels[i].kernel);
        smt_free(on->kernels);
        smt_run_resident_free(on);
        smt_vk_kernel_destroy(on->vk, on->repack);
        smt_weights_free(on->vk, &on->weights);
        smt_plan_weights_free(&on->plan);
        smt_items_free(&on->items);
    }
    smt_free(model->devices);
    smt_os_mutex_free(model->lock);
    smt_os_mutex_free(model->watch);
    smt_os_mutex_free(model->step);
    smt_free(model);
}
