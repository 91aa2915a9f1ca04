/* api_engine.c: file -> model -> device -> weights. */
#include "api/api_engine.h"

static smt_status open_device(smt_engine *engine, const smt_device_options *given, uint32_t *out_index, smt_error *err) {
    SMT_TRY(smt_api_open_vulkan(given, &engine->vk, err));
    SMT_TRY(smt_api_pick_device(engine->vk, given, out_index, err));
    uint32_t index = *out_index;
    char why[256];
    if (smt_caps_lacks(smt_vk_caps(engine->vk, index), why, sizeof why))
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s cannot run the engine: %s", smt_vk_caps(engine->vk, index)->name, why);
    const smt_vk_device_options options = {
        .minimum = given->minimum, .kernels = given->kernels, .cache_dir = given->cache_dir, .shader_dir = given->shader_dir};
    return smt_vk_device_create(engine->vk, index, &options, &engine->device, err);
}

/* The budgets of the device that was chosen, among all that the options may name. */
static smt_status read_placement(const smt_engine *engine, uint32_t index, const smt_placement_options *given,
                                 smt_api_request *out, smt_error *err) {
    uint32_t n_caps = smt_vk_count(engine->vk);
    const smt_caps **caps = smt_alloc(n_caps, sizeof *caps);
    if (!caps) return SMT_FAIL(err, SMT_MEMORY, "out of memory listing %u devices", n_caps);
    for (uint32_t i = 0; i < n_caps; i++) caps[i] = smt_vk_caps(engine->vk, i);
    caps[index] = smt_vk_device_caps(engine->device); /* the family of kernels that was asked for */
    smt_status status = smt_api_placement_request(given, engine->file->model, caps, n_caps, index, out, err);
    smt_free(caps);
    return status;
}

static smt_status load(smt_engine *engine, uint32_t index, const smt_callbacks *callbacks, const smt_engine_options *o,
                       smt_error *err) {
    smt_run_options expected = {0};
    smt_api_request placement;
    if (o->compile_for) SMT_TRY(smt_api_runner_options(o->compile_for, smt_vk_device_caps(engine->device), &expected, err));
    SMT_TRY(read_placement(engine, index, o->placement, &placement, err));
    const smt_run_model_options options = {
        .callbacks = *callbacks, .expected = o->compile_for ? &expected : NULL, .placement = &placement.request};
    smt_status status = smt_run_model_create(engine->device, engine->file->model, &options, &engine->model, err);
    smt_free(placement.budgets);
    return status;
}

smt_status smt_engine_create(const smt_engine_options *options, smt_engine **out_engine, smt_error *err) {
    *out_engine = NULL;
    smt_engine_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_engine_options", err));
    smt_device_options device;
    o.device.struct_size = o.device.struct_size ? o.device.struct_size : sizeof o.device;
    SMT_TRY(smt_api_copy_options(&device, sizeof device, &o.device, "smt_device_options", err));
    if (!o.model_path) return SMT_FAIL(err, SMT_INVALID, "smt_engine_options.model_path is NULL");

    smt_engine *engine = smt_alloc(1, sizeof *engine);
    if (!engine) return SMT_FAIL(err, SMT_MEMORY, "out of memory for an engine");
    smt_status status = smt_file_open(o.model_path, &engine->file, err);
    if (status == SMT_OK && engine->file->model_status != SMT_OK) {
        status = engine->file->model_status;
        if (err) *err = engine->file->model_error;
    }
    if (status == SMT_OK) status = smt_model_check_types(engine->file->model, err);
    uint32_t index = 0;
    if (status == SMT_OK) status = open_device(engine, &device, &index, err);
    if (status == SMT_OK) status = load(engine, index, &device.callbacks, &o, err);
    if (status != SMT_OK)
        smt_engine_free(engine);
    else
        *out_engine = engine;
    return status;
}

void smt_engine_free(smt_engine *engine) {
    if (!engine) return;
    smt_run_model_free(engine->model);
    smt_vk_device_destroy(engine->device);
    smt_vk_close(engine->vk);
    smt_file_free(engine->file);
    smt_free(engine);
}

const smt_file *smt_engine_file(const smt_engine *engine) { return engine->file; }

void smt_engine_model(const smt_engine *engine, smt_model_info *out_info) { smt_file_model(engine->file, out_info, NULL); }

uint32_t smt_engine_device_count(const smt_engine *engine) {
    (void)engine;
    return 1;
}

const char *smt_engine_device_name(const smt_engine *engine, uint32_t index) {
    return index == 0 ? smt_vk_device_caps(engine->device)->name : NULL;
}
