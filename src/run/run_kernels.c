/* run_kernels.c: the kernels of a model on its devices, compiled side by side on several threads and kept in the model.
 *
 *   begin    the keys that are missing become tasks; other threads start on them
 *   (the caller does something else: loads the weights)
 *   finish   the caller's thread joins in and reports progress until all is done; what compiled is kept, also when some of it failed
 *
 * Software drivers translate to machine code at the first dispatch only, inside the queue's own thread. There a task ends with a dispatch
 * of no workgroups, so that this time too passes before the first step, and beside the loading. That thread is one for all who compile, and
 * the translation takes most of the time. So where it is slow, and the device busy with one kernel, other threads let a twin of the device
 * translate theirs: the driver keeps the result in a cache of its own, where the device finds it. A driver that keeps nothing shows at the
 * first kernel that comes from a twin; then there are no more of them.
 *
 *   fresh --(this thread has the device)------------------------------> done
 *     \----(the device is busy)--> a twin's --(the device is free)----/
 *
 * Kernels that take long come first, so that no thread is left with one at the end; but before them the shortest, which tell what the driver
 * is like. Callbacks are called by the caller's thread alone. */
#include "run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_THREADS   16
#define WARM_BYTES     4096
#define TRIALS         3
#define SETTLE_SECONDS 0.1  /* a driver writes its cache on a thread of low priority */
#define SLOW_SECONDS   0.03 /* to warm a kernel: much more than finding one that is kept */

typedef struct task {
    uint32_t device; /* of the model's */
    uint32_t effort;
    smt_run_kernel made;
    bool twins;                      /* a twin has translated it, the device has not yet */
    double twins_seconds, twins_end; /* it took; 0: it failed */
} task;

/* One logical device that kernels are warmed on. */
typedef struct place {
    smt_vk_device *vk; /* a model's device: borrowed; a twin: owned */
    smt_vk_buffer
        *bindings; /* owned: stands behind every binding of a dispatch that reads nothing; NULL: kernels need no warming */
} place;

/* A device of the model, and what was learnt of its driver. */
typedef struct host {
    place place;
    uint32_t users; /* threads that compile on it */
    bool slow;      /* it translates kernels at their first dispatch */
    bool tried;     /* a twin was given a kernel, to see whether the device finds the result */
    bool forgets;   /* it does not */
} host;

typedef struct hand { /* what a thread works with */
    smt_run_compile *job;
    place twins[SMT_GRAPH_DEVICES]; /* made when first needed */
    smt_os_thread *thread;          /* owned; NULL: the caller's */
} hand;

struct smt_run_compile {
    smt_run_model *model; /* borrowed */
    task *tasks;          /* owned; each is its taker's until the threads are joined */
    size_t n, capacity;
    hand hands[MOST_THREADS + 1]; /* the first is the caller's */
    uint32_t n_hands;
    smt_os_mutex *lock; /* owned: guards what follows */
    host hosts[SMT_GRAPH_DEVICES];
    size_t next, done;
    smt_status status; /* the first failure ends the rest */
    smt_error err;
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

/* A kernel whose device is free, and where the driver has had the time to put what a twin made into its cache. */
static task *find_settled(smt_run_compile *job) {
    bool last = job->next == job->n;
    double now = smt_os_seconds();
    for (size_t i = 0; i < job->next; i++) {
        task *one = &job->tasks[i];
        if (one->twins && !job->hosts[one->device].users && (last || now - one->twins_end > SETTLE_SECONDS)) return one;
    }
    return NULL;
}

/* Takes the device too where the task needs it; *on_twin: a twin's has to do. NULL: nothing is left for this thread. */
static task *take(smt_run_compile *job, bool *on_twin) {
    task *taken = NULL;
    *on_twin = false;
    smt_os_mutex_lock(job->lock);
    if (job->status == SMT_OK) taken = find_settled(job);
    bool fresh = !taken && job->status == SMT_OK && job->next < job->n;
    if (fresh) taken = &job->tasks[job->next++];
    if (taken) {
        host *on = &job->hosts[taken->device];
        taken->twins = false;
        *on_twin = fresh && on->slow && !on->forgets && (on->users || !on->tried);
        on->tried |= *on_twin;
        on->users += !*on_twin;
    }
    smt_os_mutex_unlock(job->lock);
    return taken;
}

static smt_status compile_on(const place *on, const smt_kernel_key *key, smt_vk_kernel **out, double *out_seconds,
                             smt_error *err) {
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(on->vk), key, &spec);
    SMT_TRY(smt_run_kernel_compile(on->vk, &spec, false, out, err));
    double start = smt_os_seconds();
    smt_status status = on->bindings ? smt_vk_kernel_warm(on->vk, *out, on->bindings, SMT_RUN_WAIT_NS, err) : SMT_OK;
    *out_seconds = smt_os_seconds() - start;
    if (status == SMT_OK) return SMT_OK;
    smt_vk_kernel_destroy(on->vk, *out); /* nobody shall find it the next time */
    *out = NULL;
    return status;
}

/* What the time to warm a kernel says of the driver. */
static void learn(smt_run_compile *job, const task *one, double seconds) {
    host *on = &job->hosts[one->device];
    smt_os_mutex_lock(job->lock);
    on->slow |= seconds > SLOW_SECONDS;
    on->forgets |= one->twins_seconds > 0 && seconds > SLOW_SECONDS && seconds > one->twins_seconds / 2;
    on->users--;
    smt_os_mutex_unlock(job->lock);
}

static smt_status compile(smt_run_compile *job, task *one, smt_error *err) {
    double seconds = 0;
    smt_status status = compile_on(&job->hosts[one->device].place, &one->made.key, &one->made.kernel, &seconds, err);
    learn(job, one, seconds);
    SMT_TRY(status);
    smt_run_device *device = &job->model->devices[one->device];
    status = smt_run_self_test(job->model, device, &one->made, err);
    if (status == SMT_OK) return SMT_OK;
    smt_vk_kernel_destroy(device->vk, one->made.kernel);
    one->made.kernel = NULL;
    return status;
}

static smt_status make_bindings(place *on, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(on->vk);
    uint32_t type = smt_caps_find_memory(caps, SMT_MEM_DEVICE, 0);
    if (type == UINT32_MAX) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no device-local memory", caps->name);
    return smt_vk_buffer_create(on->vk, type, WARM_BYTES, "warm-up", &on->bindings, err);
}

/* Fails in silence: the device itself will say why. */
static void compile_on_twin(hand *by, task *one) {
    smt_run_compile *job = by->job;
    place *twin = &by->twins[one->device];
    smt_vk_kernel *kernel = NULL;
    double seconds = 0;
    smt_status status = SMT_OK;
    if (!twin->vk) status = smt_vk_device_twin(job->hosts[one->device].place.vk, &twin->vk, NULL);
    if (status == SMT_OK && !twin->bindings) status = make_bindings(twin, NULL);
    if (status == SMT_OK) status = compile_on(twin, &one->made.key, &kernel, &seconds, NULL);
    if (status == SMT_OK) smt_vk_kernel_destroy(twin->vk, kernel);
    smt_os_mutex_lock(job->lock);
    one->twins = true;
    one->twins_seconds = seconds;
    one->twins_end = smt_os_seconds();
    job->hosts[one->device].forgets |= status != SMT_OK;
    smt_os_mutex_unlock(job->lock);
}

/* False where no task is left. */
static bool work_once(hand *by) {
    smt_run_compile *job = by->job;
    smt_error err = {0};
    bool on_twin;
    task *next = take(job, &on_twin);
    if (!next) return false;
    if (on_twin) {
        compile_on_twin(by, next);
        return true;
    }
    smt_status status = compile(job, next, &err);
    if (status != SMT_OK) fail(job, status, &err);
    smt_os_mutex_lock(job->lock);
    job->done += status == SMT_OK;
    smt_os_mutex_unlock(job->lock);
    return true;
}

static void work(void *by) {
    while (work_once(by)) {
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

static int by_effort(const void *a, const void *b) {
    const task *x = a, *y = b;
    if (x->effort != y->effort) return x->effort < y->effort ? 1 : -1;
    return memcmp(&x->made.key, &y->made.key, sizeof x->made.key);
}

/* All tasks are known: their order, and what they need of their devices. */
static smt_status make_ready(smt_run_compile *job, smt_error *err) {
    for (size_t i = 0; i < job->n; i++) {
        host *on = &job->hosts[job->tasks[i].device];
        bool warms = smt_vk_device_caps(on->place.vk)->kind == SMT_KIND_CPU;
        if (warms && !on->place.bindings) SMT_TRY(make_bindings(&on->place, err));
        job->tasks[i].effort = smt_kernel_effort(&job->tasks[i].made.key);
    }
    if (job->n) qsort(job->tasks, job->n, sizeof *job->tasks, by_effort);
    for (size_t i = 0; i < TRIALS && i < job->n; i++) {
        task shortest = job->tasks[job->n - 1];
        memmove(job->tasks + 1, job->tasks, (job->n - 1) * sizeof *job->tasks);
        job->tasks[0] = shortest;
    }
    return SMT_OK;
}

static smt_status create(smt_run_model *model, smt_run_compile **out, smt_error *err) {
    smt_run_compile *job = *out = smt_alloc(1, sizeof *job);
    if (!job) return SMT_FAIL(err, SMT_MEMORY, "out of memory for compiling kernels");
    job->model = model;
    for (uint32_t i = 0; i < model->n_devices; i++) job->hosts[i].place.vk = model->devices[i].vk;
    job->hands[job->n_hands++].job = job;
    job->lock = smt_os_mutex_create();
    return job->lock ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a lock");
}

static void destroy(smt_run_compile *job) {
    if (!job) return;
    for (uint32_t i = 0; i < job->model->n_devices; i++) {
        smt_vk_buffer_destroy(job->hosts[i].place.vk, job->hosts[i].place.bindings);
        for (uint32_t h = 0; h < job->n_hands; h++) {
            place *twin = &job->hands[h].twins[i];
            if (twin->bindings) smt_vk_buffer_destroy(twin->vk, twin->bindings);
            smt_vk_device_destroy(twin->vk);
        }
    }
    smt_os_mutex_free(job->lock);
    smt_free(job->tasks);
    smt_free(job);
}

/* `most` threads beside the caller's; one that cannot be started leaves its work to the others. */
static void start(smt_run_compile *job, size_t most) {
    for (size_t i = 0; i < most && i < job->n && i < MOST_THREADS; i++) {
        hand *next = &job->hands[job->n_hands];
        next->job = job;
        if (smt_os_thread_start(work, next, &next->thread, NULL) == SMT_OK) job->n_hands++;
    }
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
    if (status == SMT_OK) status = make_ready(*out, err);
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
        more = work_once(&job->hands[0]);
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
    for (uint32_t i = 1; i < job->n_hands; i++) smt_os_thread_join(job->hands[i].thread);
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
    if (status == SMT_OK) status = make_ready(job, err);
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
