/* run_queue.c: the submissions of a runner that are under way on each device, oldest first, and what is learned from how long they take.
 *
 * They run one after another, so one has taken the time from its own submission, or from the end of the one before where that is later, to its
 * end. The host sees an end only when it waits for it: where it came late, or had missed the end before, nothing is measured.
 *
 * Segments are cut by work (smt_graph_cut), and the work that fits the cap is learned: submissions that come near the cap lower it, the second
 * within a while, since the first may have been somebody else's load; full ones that stay far below raise it. So a wrong guess mends itself,
 * and a device is not asked for many small submissions when it is fast. Steps of one row stream weights and steps of many rows multiply:
 * two paces. */
#include "run/run.h"

#define NEAR_CAP   0.9  /* a submission of this share of the cap is too long ... */
#define AIM        0.7  /* ... and the next ones shall take this share */
#define FAR_BELOW  0.25 /* one that is short enough to hold twice as much */
#define WORK_LEAST 1e5
#define WHILE      32 /* submissions */

void smt_run_pace_begin(smt_run_pace *pace, const smt_caps *caps, uint32_t cap_ms) {
    double cap_s = cap_ms * 1e-3, most = smt_graph_slowest(caps) * cap_s;
    *pace = (smt_run_pace){.cap_s = cap_s, .most = {most, most}};
}

bool smt_run_pace_stale(const smt_run_pace *pace, double most, size_t n_segments, bool many) {
    double now = pace->most[many];
    return now < 0.9 * most || (now >= 2 * most && n_segments > 1);
}

bool smt_run_is_stale(const smt_run *run, const smt_run_plan_entry *entry) {
    size_t n[SMT_GRAPH_DEVICES] = {0}; /* segments that might be one */
    for (size_t i = 0; i < entry->n_segments; i++) {
        const smt_segment *s = &entry->graph->segments[i];
        n[s->device] += !s->host && !entry->graph->nodes[s->last - 1].ends_segment;
    }
    for (uint32_t i = 0; i < run->n_parts; i++)
        if (smt_run_pace_stale(&run->parts[i].pace, entry->most[i], n[i], entry->graph->shape.rows > 1)) return true;
    return false;
}

void smt_run_pace_learn(smt_run_pace *pace, const smt_run_flight *flight, double seconds) {
    double *most = &pace->most[flight->many];
    uint32_t *alarm = &pace->alarm[flight->many];
    if (seconds > NEAR_CAP * pace->cap_s && *alarm == 0) {
        *alarm = WHILE;
    } else if (seconds > NEAR_CAP * pace->cap_s) {
        double wanted = flight->work * AIM * pace->cap_s / seconds, least = *most / 4 > WORK_LEAST ? *most / 4 : WORK_LEAST;
        if (wanted < least) wanted = least;
        if (wanted < *most) *most = wanted;
        *alarm = 0;
    } else {
        *alarm -= *alarm > 0;
        if (seconds < FAR_BELOW * pace->cap_s && flight->work > *most / 2) *most *= 2;
    }
}

static void measure(smt_run *run, smt_run_part *part, const smt_run_flight *flight, double seconds) {
    if (seconds > run->stats.longest_s) run->stats.longest_s = seconds;
    smt_run_pace_learn(&part->pace, flight, seconds);
}

static smt_status retire(smt_run *run, smt_run_part *part, smt_error *err) {
    smt_run_queue *q = &part->queue;
    const smt_run_flight flight = q->flights[q->first];
    q->first = (q->first + 1) % SMT_RUN_FLIGHTS;
    q->n--; /* failed or not: nobody waits for it again */
    bool seen = smt_vk_reached(part->on->vk) < flight.value;
    SMT_TRY(smt_vk_wait(part->on->vk, flight.value, SMT_RUN_WAIT_NS, err));
    double now = smt_os_seconds();
    if (seen && (q->seen || flight.submitted >= q->finished))
        measure(run, part, &flight, now - (flight.submitted > q->finished ? flight.submitted : q->finished));
    if (q->n == 0) part->spent.busy_s += now - q->began;
    q->seen = seen;
    q->finished = now;
    return SMT_OK;
}

smt_status smt_run_wait(smt_run *run, smt_run_part *part, uint64_t value, smt_error *err) {
    const smt_run_queue *q = &part->queue;
    smt_status status = SMT_OK;
    while (q->n && q->flights[q->first].value <= value) { /* after a failure too: at the end nothing is under way */
        smt_status waited = retire(run, part, status == SMT_OK ? err : NULL);
        if (status == SMT_OK) status = waited;
    }
    return status;
}

smt_status smt_run_drain(smt_run *run, smt_error *err) {
    smt_status status = SMT_OK;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        smt_status waited = smt_run_wait(run, &run->parts[i], UINT64_MAX, status == SMT_OK ? err : NULL);
        if (status == SMT_OK) status = waited;
    }
    return status;
}

static smt_status submit_segment(smt_run *run, smt_run_plan_entry *entry, size_t i, uint64_t *out_value, smt_error *err) {
    const smt_segment *nodes = &entry->graph->segments[i];
    smt_run_part *part = &run->parts[nodes->device];
    smt_run_queue *q = &part->queue;
    smt_run_flight flight = {.submitted = smt_os_seconds(), .work = nodes->work, .many = entry->graph->shape.rows > 1};
    SMT_TRY(smt_run_resident_arrive(part, entry->graph->nodes[nodes->last - 1].layer, err));
    SMT_TRY(smt_vk_submit(part->on->vk, entry->segments[i], &flight.value, err));
    if (nodes->reads_peer) part->peers_read = flight.value;
    if (q->n == 0) q->began = flight.submitted;
    q->flights[(q->first + q->n++) % SMT_RUN_FLIGHTS] = flight;
    run->stats.n_submissions++;
    run->stats.n_dispatches += nodes->last - nodes->first;
    *out_value = flight.value;
    return SMT_OK;
}

/* At the first segment of a device. It may still be at the step before, whose inputs it reads until the end; and what it has sent there may
 * still be read. */
static smt_status begin_device(smt_run *run, uint32_t device, const smt_graph *graph, const smt_run_inputs *inputs,
                               smt_error *err) {
    SMT_TRY(smt_run_wait(run, &run->parts[device], UINT64_MAX, err));
    for (uint32_t i = 0; i < run->n_parts; i++) SMT_TRY(smt_run_wait(run, &run->parts[i], run->parts[i].peers_read, err));
    return smt_run_write_inputs(run, device, graph, inputs, err);
}

smt_status smt_run_submit(smt_run *run, smt_run_plan_entry *entry, const smt_run_inputs *inputs, uint32_t most,
                          uint64_t *out_value, smt_error *err) {
    size_t n = entry->n_segments;
    bool begun[SMT_GRAPH_DEVICES] = {false};
    most = smt_min_u32(most, SMT_RUN_FLIGHTS);
    smt_run_watch_memory(run);
    *out_value = 0;
    for (size_t i = 0; i < n; i++) {
        const smt_segment *segment = &entry->graph->segments[i];
        smt_run_part *part = &run->parts[segment->device];
        while (part->queue.n >= most) SMT_TRY(retire(run, part, err));
        if (atomic_load(&run->cancel))
            return SMT_FAIL(err, SMT_CANCELLED, "cancelled after %zu of %zu submissions of a step", i, n);
        if (inputs && !begun[segment->device]) SMT_TRY(begin_device(run, segment->device, entry->graph, inputs, err));
        begun[segment->device] = true;
        if (segment->host)
            SMT_TRY(smt_run_act(run, entry->graph, &entry->graph->nodes[segment->first], err));
        else if (!part->idle)
            SMT_TRY(submit_segment(run, entry, i, out_value, err));
    }
    run->stats.n_steps++;
    return SMT_OK;
}
