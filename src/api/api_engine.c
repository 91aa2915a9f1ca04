/* api_engine.c: file -> model -> devices -> weights. */
#include "api/api_engine.h"

static smt_status open_devices(smt_engine *engine, const smt_device_options *given, const smt_api_place *place, smt_error *err) {
    smt_vk_device_options options = {.minimum = given->minimum,
                                     .no_external_memory = given->no_external_memory,
                                     .kernels = given->kernels,
                                     .cache_dir = given->cache_dir,
                                     .shader_dir = given->shader_dir};
    for (uint32_t i = 0; i < place->placement->n_devices; i++) {
        options.id = place->placement->devices[i].caps.id;
        SMT_TRY(smt_run_device_create(engine->vk, place->index[i], &options, &engine->devices[i], err));
        engine->n_devices++;
    }
    return SMT_OK;
}

static smt_status load(smt_engine *engine, smt_placement *placement, const smt_device_options *device,
                       const smt_engine_options *o, smt_error *err) {
    smt_run_options expected = {0};
    const smt_caps *caps[SMT_GRAPH_DEVICES];
    for (uint32_t i = 0; i < engine->n_devices; i++) caps[i] = smt_vk_device_caps(engine->devices[i]);
    if (o->compile_for) SMT_TRY(smt_api_runner_options(o->compile_for, caps, engine->n_devices, &expected, err));
    const smt_run_model_options options = {
        .callbacks = device->callbacks, .expected = o->compile_for ? &expected : NULL, .self_test = device->self_test};
    return smt_run_model_load(engine->devices, placement, &options, &engine->model, err);
}

static smt_status place_and_load(smt_engine *engine, const smt_device_options *device, const smt_engine_options *o,
                                 smt_error *err) {
    smt_api_place place;
    SMT_TRY(smt_api_open_vulkan(device, &engine->vk, err));
    SMT_TRY(smt_api_place_model(engine->vk, engine->file->model, device, o, &place, err));
    smt_status status = SMT_OK;
    if (place.placement->fits) status = open_devices(engine, device, &place, err); /* else loading says what does not */
    if (status == SMT_OK) status = load(engine, place.placement, device, o, err);
    smt_plan_free(place.placement);
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
    if (status == SMT_OK) status = place_and_load(engine, &device, &o, err);
    if (status != SMT_OK)
        smt_engine_free(engine);
    else
        *out_engine = engine;
    return status;
}

void smt_engine_free(smt_engine *engine) {
    if (!engine) return;
    smt_run_model_free(engine->model);
    for (uint32_t i = 0; i < engine->n_devices; i++) smt_vk_device_destroy(engine->devices[i]);
    smt_vk_close(engine->vk);
    smt_file_free(engine->file);
    smt_free(engine);
}

const smt_file *smt_engine_file(const smt_engine *engine) { return engine->file; }

void smt_engine_model(const smt_engine *engine, smt_model_info *out_info) { smt_file_model(engine->file, out_info, NULL); }

uint32_t smt_engine_device_count(const smt_engine *engine) { return engine->n_devices; }

const char *smt_engine_device_name(const smt_engine *engine, uint32_t index) {
    return index < engine->n_devices ? smt_vk_device_caps(engine->devices[index])->name : NULL;
}

smt_status smt_engine_memory(const smt_engine *engine, uint32_t index, smt_memory *out_memory) {
    *out_memory = (smt_memory){.struct_size = sizeof *out_memory};
    if (index >= engine->n_devices) return SMT_INVALID;
    const smt_caps *caps = smt_vk_device_caps(engine->devices[index]);
    smt_vk_heap_use now[SMT_CAPS_MAX_HEAPS];
    smt_vk_memory_now(engine->devices[index], now);
    out_memory->n_heaps = caps->n_heaps;
    for (uint32_t i = 0; i < caps->n_heaps; i++)
        out_memory->heaps[i] = (smt_memory_heap){.bytes = caps->heaps[i].bytes,
                                                 .budget = now[i].budget,
                                                 .used = now[i].used,
                                                 .held = now[i].held,
                                                 .device_local = caps->heaps[i].device_local};
    return SMT_OK;
}
