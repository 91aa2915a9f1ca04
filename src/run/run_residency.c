/* run_residency.c: between steps, once a second at most: do the devices' drivers still let this process use what it holds?
 *
 * A budget shrinks when other programs want memory. What is beyond it may be moved out of the device's memory while it is not in use, and
 * back for the next step, which makes steps many times slower without an error anywhere. So the log is told, with numbers, when it happens,
 * when it becomes worse by a tenth, and when it is over. */
#include "run/run.h"

#include <stdio.h>

#define EVERY_S 1.0
#define MIB     ((double)(1 << 20))

/* A line about one heap, or none. `told`: the budget that was last told of; 0: none, or it was told that all fits again. */
static bool judge(const smt_caps *caps, uint32_t heap, const smt_vk_heap_use *now, uint64_t *told, char *text, size_t capacity) {
    bool short_of = now->budget < now->held;
    if (!short_of && !*told) return false;
    if (short_of && *told && now->budget >= *told - *told / 10) return false;
    *told = short_of ? now->budget : 0;
    snprintf(text, capacity, "%s, heap %u: %.1f MiB are held, its budget is %.1f MiB now%s", caps->name, heap,
             (double)now->held / MIB, (double)now->budget / MIB,
             short_of ? ": the rest may be moved out of it, and steps become slow" : " and holds them again");
    return true;
}

static void watch_device(smt_run_model *model, smt_run_device *on) {
    const smt_caps *caps = smt_vk_device_caps(on->vk);
    const smt_callbacks *c = &model->callbacks;
    smt_vk_heap_use now[SMT_CAPS_MAX_HEAPS];
    if (!caps->memory_budget) return;
    smt_vk_memory_now(on->vk, now);
    for (uint32_t i = 0; i < caps->n_heaps; i++) {
        char text[512];
        smt_os_mutex_lock(model->watch); /* other runners look, too */
        bool any = judge(caps, i, &now[i], &on->told_budget[i], text, sizeof text);
        bool warns = on->told_budget[i] != 0;
        smt_os_mutex_unlock(model->watch);
        if (any && c->log) c->log(c->user, warns ? SMT_LOG_WARN : SMT_LOG_INFO, text);
    }
}

void smt_run_watch_memory(smt_run *run) {
    double now = smt_os_seconds();
    if (now < run->watched_s + EVERY_S) return;
    run->watched_s = now;
    for (uint32_t i = 0; i < run->n_parts; i++) watch_device(run->model, run->parts[i].on);
}
