/* run_kernels.c: the kernels of a model on its devices, compiled side by side on several threads and kept in the model.
 *
 *   begin    the keys that are missing become tasks; other threads start on them
 *   (the caller does something else: loads the weights)
 *   finish   the caller's thread joins in and reports progress until all is done; what compiled is kept, also when some of it failed
 *
 * Software drivers translate to machine code at the first dispatch only, inside the queue's own thread. There a task ends with a dispatch
 * of no workgroups, so that this time too passes before the first step, and beside the loading. Callbacks are called by the caller's
 * thread alone. */
#include "run/run.h"

#include <stdio.h>

#define MOST_THREADS 16
#define WARM_BYTES   4096

typedef struct task {
    uint32_t device; /* of the model's */
    smt_run_kernel made;
} task;

struct smt_run_compile {
    smt_run_model *model; /* borrowed */
    task *tasks;          /* owned; each is its taker's until the threads are joined */
    size_t n, capacity;
    /* Owned, of each device: stands behind every binding of a dispatch that reads nothing; NULL: kernels need no warming there. */
    smt_vk_buffer *bindings[SMT_GRAPH_DEVICES];
    smt_os_mutex *lock; /* owned: guards what follows */
    size_t next, done;
    smt_status status; /* the first failure ends the rest */
    smt_error err;
    smt_os_thread *threads[MOST_THREADS]; /* owned */
    uint32_t n_threads;
};

smt_vk_kernel_desc smt_run_kernel_desc(const smt_kernel_spec *spec, smt_vk_define defines[SMT_KERNEL_MAX_DEFINES]) {
    for (uint32_t i = 0; i < spec->n_defines; i++) defines[i] = (smt_vk_define){spec->defines[i].name, spec->defines[i].value};
    return (smt_vk_kernel_desc){.source = spec->source,
                                .label = spec->label,
                                .defines = defines,
                                .n_defines = spec->n_defines,
                                .n_windows = spec->windows,
                                .group_size = {spec->group, 1, 1},
                                .push_bytes = spec->push_bytes,
                                .constants = spec->constants,
                                .n_constants = spec->n_constants,
                                .portable = spec->portable,
                                .window_texels = spec->window_texels,
                                .buffer_texels = spec->buffer_texels};
}

smt_status smt_run_kernel_compile(smt_vk_device *device, const smt_kernel_spec *spec, bool want_stats, smt_vk_kernel **out,
                                  smt_error *err) {
    smt_vk_define defines[SMT_KERNEL_MAX_DEFINES];
    const smt_vk_kernel_desc desc = smt_run_kernel_desc(spec, defines);
    return smt_vk_kernel_create(device, &desc, want_stats, out, err);
}

const smt_vk_kernel *smt_run_kernel_find(const smt_run_device *device, const smt_kernel_key *key) {
    for (size_t i = 0; i < device->n_kernels; i++)
        if (smt_kernel_equal(&device->kernels[i].key, key)) return device->kernels[i].kernel;
    return NULL;
}

/* ---- the work of any thread ---- */

static void fail(smt_run_compile *job, smt_status status, const smt_error *err) {
    smt_os_mutex_lock(job->lock);
    if (job->status == SMT_OK) {
        job->status = status;
        job->err = *err;
    }
    smt_os_mutex_unlock(job->lock);
}

static task *take(smt_run_compile *job) {
    smt_os_mutex_lock(job->lock);
    task *next = job->status == SMT_OK && job->next < job->n ? &job->tasks[job->next++] : NULL;
    smt_os_mutex_unlock(job->lock);
    return next;
}

static smt_status compile(const smt_run_compile *job, task *one, smt_error *err) {
    smt_vk_device *device = job->model->devices[one->device].vk;
    smt_vk_buffer *any = job->bindings[one->device];
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(device), &one->made.key, &spec);
    SMT_TRY(smt_run_kernel_compile(device, &spec, false, &one->made.kernel, err));
    smt_status status = any ? smt_vk_kernel_warm(device, one->made.kernel, any, SMT_RUN_WAIT_NS, err) : SMT_OK;
    if (status == SMT_OK) status = smt_run_self_test(job->model, &job->model->devices[one->device], &one->made, err);
    if (status == SMT_OK) return SMT_OK;
    smt_vk_kernel_destroy(device, one->made.kernel); /* nobody shall find it the next time */
    one->made.kernel = NULL;
    return status;
}

/* False where no task is left. */
static bool work_once(smt_run_compile *job) {
    smt_error err = {0};
    task *next = take(job);
    if (!next) return false;
    smt_status status = compile(job, next, &err);
    if (status != SMT_OK) fail(job, status, &err);
    smt_os_mutex_lock(job->lock);
    job->done += status == SMT_OK;
    smt_os_mutex_unlock(job->lock);
    return true;
}

static void work(void *job) {
    while (work_once(job)) {
    }
}

/* ---- begin ---- */

static smt_status add_task(smt_run_compile *job, uint32_t device, const smt_kernel_key *key, smt_error *err) {
    if (smt_run_kernel_find(&job->model->devices[device], key)) return SMT_OK;
    for (size_t i = 0; i < job->n; i++)
        if (job->tasks[i].device == device && smt_kernel_equal(&job->tasks[i].made.key, key)) return SMT_OK;
    SMT_TRY(smt_grow((void **)&job->tasks, &job->capacity, job->n + 1, sizeof *job->tasks, err));
    job->tasks[job->n++] = (task){.device = device, .made.key = *key};
    return SMT_OK;
}

static smt_status add_graph(smt_run_compile *job, const smt_graph *graph, smt_error *err) {
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const smt_node *node = &graph->nodes[i];
        if (!node->copy && !node->host) SMT_TRY(add_task(job, node->device, &node->key, err));
    }
    return SMT_OK;
}

static smt_status make_bindings(smt_run_compile *job, smt_error *err) {
    for (size_t i = 0; i < job->n; i++) {
        uint32_t device = job->tasks[i].device;
        smt_vk_device *vk = job->model->devices[device].vk;
        const smt_caps *caps = smt_vk_device_caps(vk);
        if (caps->kind != SMT_KIND_CPU || job->bindings[device]) continue;
        uint32_t type = smt_caps_find_memory(caps, SMT_MEM_DEVICE, 0);
        if (type == UINT32_MAX) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no device-local memory", caps->name);
        SMT_TRY(smt_vk_buffer_create(vk, type, WARM_BYTES, "warm-up", &job->bindings[device], err));
    }
    return SMT_OK;
}

static smt_status create(smt_run_model *model, smt_run_compile **out, smt_error *err) {
    *out = smt_alloc(1, sizeof **out);
    if (!*out) return SMT_FAIL(err, SMT_MEMORY, "out of memory for compiling kernels");
    (*out)->model = model;
    (*out)->lock = smt_os_mutex_create();
    return (*out)->lock ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a lock");
}

static void destroy(smt_run_compile *job) {
    if (!job) return;
    for (uint32_t i = 0; i < job->model->n_devices; i++) smt_vk_buffer_destroy(job->model->devices[i].vk, job->bindings[i]);
    smt_os_mutex_free(job->lock);
    smt_free(job->tasks);
    smt_free(job);
}

/* `most` threads beside the caller's; one that cannot be started leaves its work to the others. */
static void start(smt_run_compile *job, size_t most) {
    for (size_t i = 0; i < most && i < job->n && i < MOST_THREADS; i++)
        if (smt_os_thread_start(work, job, &job->threads[job->n_threads], NULL) == SMT_OK) job->n_threads++;
}

smt_graph_shape smt_run_expected_shape(const smt_model *model, const smt_run_options *options, uint32_t rows) {
    smt_run_options o = *options;
    smt_run_resolve(model, &o);
    return (smt_graph_shape){.rows = rows,
                             .out_rows = 1,
                             .n_ctx = o.n_ctx,
                             .n_blocks = o.n_sessions * smt_div_up(o.n_ctx, SMT_BLOCK),
                             .cache_f16 = o.cache_f16,
                             .fast = o.fast,
                             .coop = o.coop,
                             .split = rows == 1 && smt_plan_splits(model, o.n_ctx),
                             .sample = true};
}

smt_status smt_run_compile_expected(smt_run_model *model, const smt_run_options *options, smt_run_compile **out, smt_error *err) {
    smt_graph_device devices[SMT_GRAPH_DEVICES];
    smt_run_options o = *options;
    smt_run_graph_devices(model, devices);
    smt_run_resolve(model->model, &o);
    const uint32_t rows[] = {1, smt_plan_bucket(o.n_batch)};
    smt_status status = create(model, out, err);
    for (size_t i = 0; i < SMT_COUNT(rows) && status == SMT_OK; i++) {
        smt_graph_shape shape = smt_run_expected_shape(model->model, &o, rows[i]);
        smt_graph *graph;
        /* A shape that these devices cannot have is refused where it is asked for. */
        if (smt_graph_create_split(model->model, devices, model->n_devices, &shape, &graph, NULL) != SMT_OK) continue;
        status = add_graph(*out, graph, err);
        smt_graph_free(graph);
    }
    if (status == SMT_OK) status = make_bindings(*out, err);
    if (status == SMT_OK) {
        start(*out, smt_max_u32(smt_os_cores() - 1, 1));
        return SMT_OK;
    }
    destroy(*out);
    *out = NULL;
    return status;
}

/* ---- finish ---- */

/* The caller's share of the work, with progress after each of its tasks but the last. */
static void work_and_report(smt_run_compile *job) {
    const smt_callbacks *c = &job->model->callbacks;
    for (bool more = true; more;) {
        more = work_once(job);
        smt_os_mutex_lock(job->lock);
        size_t done = job->done;
        smt_os_mutex_unlock(job->lock);
        if (done == job->n) break; /* finish reports the end */
        if (!more || !c->progress || c->progress(c->user, SMT_STAGE_COMPILE, done, job->n)) continue;
        smt_error err = {0};
        smt_status status = SMT_FAIL(&err, SMT_CANCELLED, "compiling kernels was cancelled after %zu of %zu", done, job->n);
        fail(job, status, &err);
    }
}

static void tell_complaints(const smt_run_model *model) {
    char text[1024];
    for (uint32_t i = 0; i < model->n_devices; i++) {
        bool any = smt_vk_cache_complaint(model->devices[i].vk, text, sizeof text);
        if (any && model->callbacks.log) model->callbacks.log(model->callbacks.user, SMT_LOG_WARN, text);
    }
}

/* A kernel becomes the model's. */
static smt_status keep(smt_run_model *model, const task *one, smt_error *err) {
    smt_run_device *on = &model->devices[one->device];
    smt_status status = smt_grow((void **)&on->kernels, &on->kernels_capacity, on->n_kernels + 1, sizeof *on->kernels, err);
    if (status == SMT_OK)
        on->kernels[on->n_kernels++] = one->made;
    else
        smt_vk_kernel_destroy(on->vk, one->made.kernel);
    return status;
}

smt_status smt_run_compile_finish(smt_run_compile *job, bool wanted, smt_error *err) {
    if (!job) return SMT_OK;
    smt_run_model *model = job->model;
    const smt_callbacks *c = &model->callbacks;
    const smt_error unwanted = {.code = SMT_CANCELLED};
    if (wanted)
        work_and_report(job);
    else
        fail(job, SMT_CANCELLED, &unwanted);
    for (uint32_t i = 0; i < job->n_threads; i++) smt_os_thread_join(job->threads[i]);
    smt_status status = job->status;
    if (status != SMT_OK && err) *err = job->err;
    if (status == SMT_OK && job->n && c->progress && !c->progress(c->user, SMT_STAGE_COMPILE, job->n, job->n))
        status = SMT_FAIL(err, SMT_CANCELLED, "cancelled when all %zu kernels were compiled", job->n);
    for (size_t i = 0; i < job->n; i++) {
        if (!job->tasks[i].made.kernel) continue;
        smt_status kept = keep(model, &job->tasks[i], status == SMT_OK ? err : NULL);
        if (status == SMT_OK) status = kept;
    }
    tell_complaints(model);
    smt_run_tell_tested(model);
    destroy(job);
    return status;
}

smt_status smt_run_kernels_prepare(smt_run_model *model, const smt_graph *graph, smt_error *err) {
    smt_run_compile *job;
    smt_os_mutex_lock(model->lock);
    smt_status status = create(model, &job, err);
    if (status == SMT_OK) status = add_graph(job, graph, err);
    if (status == SMT_OK) status = make_bindings(job, err);
    if (status == SMT_OK) {
        size_t others = smt_min_u64(smt_os_cores(), job->n ? job->n : 1) - 1;
        start(job, others);
        status = smt_run_compile_finish(job, true, err);
    } else {
        destroy(job);
    }
    smt_os_mutex_unlock(model->lock);
    return status;
}
