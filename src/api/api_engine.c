/* api_engine.c: file -> model -> device -> weights. */
#include "api/api_engine.h"

static smt_status open_device(smt_engine *engine, const smt_device_options *given, smt_error *err) {
    SMT_TRY(smt_api_open_vulkan(given, &engine->vk, err));
    uint32_t index;
    SMT_TRY(smt_api_pick_device(engine->vk, given, &index, err));
    char why[256];
    if (smt_caps_lacks(smt_vk_caps(engine->vk, index), why, sizeof why))
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s cannot run the engine: %s", smt_vk_caps(engine->vk, index)->name, why);
    const smt_vk_device_options options = {
        .minimum = given->minimum, .kernels = given->kernels, .cache_dir = given->cache_dir, .shader_dir = given->shader_dir};
    return smt_vk_device_create(engine->vk, index, &options, &engine->device, err);
}

static smt_status load(smt_engine *engine, const smt_callbacks *callbacks, const smt_runner_options *compile_for,
                       smt_error *err) {
    smt_run_options expected = {0};
    if (compile_for) SMT_TRY(smt_api_runner_options(compile_for, &expected, err));
    const smt_run_model_options options = {.callbacks = *callbacks, .expected = compile_for ? &expected : NULL};
    return smt_run_model_create(engine->device, engine->file->model, &options, &engine->model, err);
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
    if (status == SMT_OK) status = open_device(engine, &device, err);
    if (status == SMT_OK) status = load(engine, &device.callbacks, o.compile_for, err);
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
