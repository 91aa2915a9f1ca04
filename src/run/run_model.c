/* run_model.c: items, plan and weights of one model on one device, and the kernels that are expected to be needed, which compile on other
 * threads while the weights load. */
#include "run/run.h"

/* The plan of this one device; the model takes over what it says of the weights. What does not fit fails here, before any allocation. */
static smt_status make_plan(smt_run_model *m, const smt_caps *caps, const smt_run_model_options *options, smt_error *err) {
    static const uint32_t order[] = {0};
    const smt_plan_facts facts = {.caps = *caps};
    smt_plan_request request = options->placement ? *options->placement : (smt_plan_request){0};
    request.facts = &facts;
    request.n_facts = request.n_order = 1;
    request.order = order;
    const smt_plan_demand demand = options->expected ? smt_run_demand(options->expected) : (smt_plan_demand){0};
    if (!request.demand && options->expected) request.demand = &demand;
    smt_placement *placement;
    SMT_TRY(smt_plan_create(m->model, &request, &placement, err));
    smt_status status = placement->fits ? SMT_OK : placement->n_devices ? SMT_DEVICE_MEMORY : SMT_UNSUPPORTED;
    if (status != SMT_OK) {
        status = SMT_FAIL(err, status, "%s", placement->why);
    } else {
        smt_placed_device *placed = &placement->devices[0];
        m->items = placed->items;
        m->plan = placed->weights;
        m->limits = placed->limits;
        placed->items = (smt_items){0};
        placed->weights = (smt_plan_weights){0};
    }
    smt_plan_free(placement);
    return status;
}

static smt_status load(smt_run_model *m, const smt_run_model_options *options, smt_error *err) {
    smt_load_args args = {.device = m->device,
                          .model = m->model,
                          .items = &m->items,
                          .plan = &m->plan,
                          .force_staging = options->force_staging,
                          .callbacks = options->callbacks};
    smt_vk_kernel *repack = NULL;
    if (smt_load_repacks(&args)) {
        smt_kernel_spec spec;
        smt_kernel_describe(smt_vk_device_caps(m->device), &(smt_kernel_key){.kernel = SMT_KERNEL_REPACK, .windows = 1}, &spec);
        SMT_TRY(smt_run_kernel_compile(m->device, &spec, false, &repack, err));
    }
    args.repack = repack;
    smt_status status = smt_load_weights(&args, &m->weights, err);
    smt_vk_kernel_destroy(m->device, repack);
    return status;
}

smt_status smt_run_model_create(smt_vk_device *device, const smt_model *model, const smt_run_model_options *options,
                                smt_run_model **out, smt_error *err) {
    *out = NULL;
    smt_run_model *m = smt_alloc(1, sizeof *m);
    if (!m) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a model");
    *m = (smt_run_model){.device = device, .model = model, .callbacks = options->callbacks, .lock = smt_os_mutex_create()};
    const smt_caps *caps = smt_vk_device_caps(device);
    smt_status status = m->lock ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a lock");
    if (status == SMT_OK) status = make_plan(m, caps, options, err);
    smt_run_compile *kernels = NULL;
    if (status == SMT_OK && options->expected) status = smt_run_compile_expected(m, options->expected, &kernels, err);
    if (status == SMT_OK) status = load(m, options, err);
    smt_status compiled = smt_run_compile_finish(kernels, status == SMT_OK, status == SMT_OK ? err : NULL);
    if (status == SMT_OK) status = compiled;
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
