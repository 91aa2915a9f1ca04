/* api_kernels.c: compiles the kernels of a model, or the whole catalogue, and reports each. Needs no device memory, so that a driver
 * without hardware (RADV's null device) can be asked what its compiler makes of them. */
#include "api/api_engine.h"

#include <stdio.h>

typedef struct key_list {
    smt_kernel_key *keys; /* owned */
    size_t n, capacity;
} key_list;

static smt_status add_key(key_list *list, const smt_kernel_key *key, smt_error *err) {
    for (size_t i = 0; i < list->n; i++)
        if (smt_kernel_equal(&list->keys[i], key)) return SMT_OK;
    SMT_TRY(smt_grow((void **)&list->keys, &list->capacity, list->n + 1, sizeof *list->keys, err));
    list->keys[list->n++] = *key;
    return SMT_OK;
}

/* The kernels of a step of `rows` rows in such a runner. */
static smt_status add_shape(key_list *list, const smt_model *model, const smt_items *items, const smt_caps *caps, uint32_t rows,
                            smt_run_options options, smt_error *err) {
    smt_graph_shape shape = smt_run_expected_shape(model, &options, rows);
    smt_graph *graph;
    SMT_TRY(smt_graph_create(model, items, caps, &shape, &graph, err));
    smt_status status = SMT_OK;
    for (size_t i = 0; i < graph->n_nodes && status == SMT_OK; i++)
        if (!graph->nodes[i].copy) status = add_key(list, &graph->nodes[i].key, err);
    smt_graph_free(graph);
    return status;
}

static smt_status model_keys(key_list *list, const char *path, const smt_caps *caps, smt_error *err) {
    smt_file *file;
    SMT_TRY(smt_file_open(path, &file, err));
    smt_status status = file->model_status;
    if (status != SMT_OK && err) *err = file->model_error;
    smt_items items = {0};
    if (status == SMT_OK) status = smt_items_create(file->model, caps, &items, err);
    /* exact, fast, and fast with cooperative matrices: where the device lacks them, that is the same */
    static const smt_run_options precisions[] = {
        {.cache_f16 = true}, {.cache_f16 = true, .fast = true}, {.cache_f16 = true, .fast = true, .coop = true}};
    static const uint32_t rows[] = {1, 128};
    for (size_t i = 0; i < SMT_COUNT(rows) * SMT_COUNT(precisions) && status == SMT_OK; i++)
        status = add_shape(list, file->model, &items, caps, rows[i / SMT_COUNT(precisions)],
                           precisions[i % SMT_COUNT(precisions)], err);
    smt_items_free(&items);
    smt_file_free(file);
    return status;
}

static smt_status catalogue_keys(key_list *list, const smt_caps *caps, smt_error *err) {
    smt_kernel_key key;
    for (uint32_t i = 0; smt_kernel_catalogue(caps, i, &key); i++) SMT_TRY(add_key(list, &key, err));
    return SMT_OK;
}

/* Compiles one key, tests it if so asked, and reports it. */
static smt_status compile_key(smt_vk_device *device, const smt_kernel_key *key, bool test, smt_kernel_fn report, void *user) {
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(device), key, &spec);
    smt_vk_kernel *kernel;
    smt_error why = {0};
    smt_status status = smt_run_kernel_compile(device, &spec, true, &kernel, &why);
    smt_vk_kernel_stats stats = {
        .compile_ms = -1, .vgprs = -1, .spills = -1, .lds = -1, .occupancy = -1, .inverse_throughput = -1};
    if (status == SMT_OK) smt_vk_kernel_get_stats(kernel, &stats);
    if (status == SMT_OK && test) status = smt_check_kernel(device, key, kernel, SMT_RUN_WAIT_NS, &why);
    smt_kernel_info info = {.kernel = smt_kernel_name(key->kernel),
                            .variant = spec.label,
                            .ok = status == SMT_OK,
                            .message = status == SMT_OK ? NULL : why.message,
                            .compile_ms = stats.compile_ms,
                            .vgprs = stats.vgprs,
                            .spills = stats.spills,
                            .lds = stats.lds,
                            .occupancy = stats.occupancy,
                            .inverse_throughput = stats.inverse_throughput};
    if (report) report(user, &info);
    smt_vk_kernel_destroy(device, kernel);
    return status;
}

static smt_status compile_all(smt_vk_device *device, const smt_device_options *options, const char *model_path,
                              smt_kernel_fn report, void *user, smt_error *err) {
    key_list list = {0};
    const smt_caps *caps = smt_vk_device_caps(device);
    smt_status status = model_path ? model_keys(&list, model_path, caps, err) : catalogue_keys(&list, caps, err);
    size_t failed = 0, wrong = 0;
    bool test = options->self_test == SMT_SELF_TEST_ALWAYS;
    const smt_callbacks *c = &options->callbacks;
    for (size_t i = 0; i < list.n && status == SMT_OK; i++) {
        smt_status one = compile_key(device, &list.keys[i], test, report, user);
        wrong += one == SMT_WRONG_RESULT;
        failed += one != SMT_OK && one != SMT_WRONG_RESULT;
        if (c->progress && !c->progress(c->user, SMT_STAGE_COMPILE, i + 1, list.n))
            status = SMT_FAIL(err, SMT_CANCELLED, "cancelled after %zu of %zu kernels", i + 1, list.n);
    }
    if (status == SMT_OK && failed)
        status = SMT_FAIL(err, SMT_COMPILE, "%zu of %zu kernels did not compile on %s", failed, list.n, caps->name);
    if (status == SMT_OK && wrong)
        status = SMT_FAIL(err, SMT_WRONG_RESULT, "%zu of %zu kernels give wrong results on %s", wrong, list.n, caps->name);
    char complaint[1024];
    if (smt_vk_cache_complaint(device, complaint, sizeof complaint) && c->log) c->log(c->user, SMT_LOG_WARN, complaint);
    smt_free(list.keys);
    return status;
}

smt_status smt_kernels_compile(const smt_device_options *options, const char *model_path, smt_kernel_fn report, void *user,
                               smt_error *err) {
    smt_device_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_device_options", err));
    smt_vk *vk;
    SMT_TRY(smt_api_open_vulkan(&o, &vk, err));
    uint32_t index;
    smt_vk_device *device = NULL;
    smt_status status = smt_api_pick_device(vk, &o, &index, err);
    const smt_vk_device_options device_options = {
        .minimum = o.minimum, .kernels = o.kernels, .cache_dir = o.cache_dir, .shader_dir = o.shader_dir};
    if (status == SMT_OK) status = smt_run_device_create(vk, index, &device_options, &device, err);
    if (status == SMT_OK) status = compile_all(device, &o, model_path, report, user, err);
    smt_vk_device_destroy(device);
    smt_vk_close(vk);
    return status;
}
