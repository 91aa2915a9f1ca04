/* run_stats.c: a step taken apart.
 *
 * The nodes of the step are recorded anew in pieces that end where a layer or a submission of the real step ends; each piece is submitted
 * alone and waited for. The pieces of a layer add up to its time, those of a submission to that of the submission. Pieces add what a
 * submission costs (20 to 100 us by the host's clock, next to nothing between two timestamps of the device), so the sum lies a little
 * above the time of the step in one go. Results are the same bits: the order of the nodes is. */
#include "run/run.h"

static smt_status submit_and_wait(smt_vk_device *device, smt_vk_recording *recording, double *out_s, smt_error *err) {
    uint64_t value;
    double start = smt_os_seconds();
    smt_status status = smt_vk_submit(device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(device, value, SMT_RUN_WAIT_NS, err);
    *out_s = smt_os_seconds() - start;
    return status;
}

/* Nodes as a submission of their own. */
static smt_status time_nodes(smt_run *run, const smt_graph *graph, const smt_segment *nodes, bool device_clock, double *out_s,
                             smt_error *err) {
    smt_vk_device *device = run->parts[nodes->device].on->vk;
    smt_vk_recording *recording;
    double stamps[2] = {0};
    *out_s = 0;
    SMT_TRY(smt_vk_recording_begin(device, "profile", &recording, err));
    if (device_clock) smt_vk_record_timestamp(recording, 0);
    smt_status status = smt_run_record_nodes(run, graph, nodes, recording, err);
    if (device_clock) smt_vk_record_timestamp(recording, 1);
    if (status == SMT_OK) status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = submit_and_wait(device, recording, out_s, err);
    if (status == SMT_OK && device_clock) {
        status = smt_vk_recording_stamps(recording, SMT_COUNT(stamps), stamps, err);
        *out_s = (stamps[1] - stamps[0]) * 1e-9;
    }
    smt_vk_recording_destroy(device, recording);
    return status;
}

/* What the host does between two devices, which it has waited for already. */
static smt_status time_host(smt_run *run, const smt_graph *graph, const smt_segment *segment, double *out_s, smt_error *err) {
    double start = smt_os_seconds();
    SMT_TRY(smt_run_act(run, graph, &graph->nodes[segment->first], err));
    *out_s += smt_os_seconds() - start;
    return SMT_OK;
}

/* Node `first` opens a piece: where does it end? */
static uint32_t piece_end(const smt_graph *graph, const smt_segment *segment, uint32_t first) {
    uint32_t last = first + 1;
    while (last < segment->last && graph->nodes[last].layer == graph->nodes[first].layer) last++;
    return last;
}

static smt_status profile_step(smt_run *run, const smt_run_row *rows, uint32_t n, bool device_clock, smt_run_profile *profile,
                               smt_error *err) {
    uint32_t n_layers = run->model->model->n_layers;
    bool in_front = true; /* of the first layer */
    smt_run_plan_entry *entry;
    *profile = (smt_run_profile){.layer_s = profile->layer_s};
    for (uint32_t i = 0; i < n_layers; i++) profile->layer_s[i] = 0;
    SMT_TRY(smt_run_ready(run, rows, n, &entry, err));
    const smt_graph *graph = profile->graph = entry->graph;
    for (uint32_t i = 0; i < run->n_parts; i++)
        SMT_TRY(smt_run_write_inputs(run, i, graph, &(smt_run_inputs){.rows = rows, .n = n}, err));
    for (size_t s = 0; s < graph->n_segments; s++) {
        double submission = 0, seconds;
        smt_segment piece = graph->segments[s]; /* of which first and last change */
        if (piece.host) {
            SMT_TRY(time_host(run, graph, &piece, &profile->hop_s, err));
            continue;
        }
        if (run->parts[piece.device].idle) continue;
        for (piece.last = piece.first; piece.last < graph->segments[s].last;) {
            piece.first = piece.last;
            uint32_t layer = graph->nodes[piece.first].layer;
            if (atomic_load(&run->cancel)) return SMT_FAIL(err, SMT_CANCELLED, "cancelled while a step was measured");
            piece.last = piece_end(graph, &graph->segments[s], piece.first);
            SMT_TRY(time_nodes(run, graph, &piece, device_clock, &seconds, err));
            in_front = in_front && layer >= n_layers;
            *(layer < n_layers ? &profile->layer_s[layer] : in_front ? &profile->embed_s : &profile->head_s) += seconds;
            submission += seconds;
        }
        if (submission > profile->longest_s) profile->longest_s = submission;
    }
    return SMT_OK;
}

smt_status smt_run_profile_step(smt_run *run, const smt_run_row *rows, uint32_t n, bool device_clock, smt_run_profile *profile,
                                smt_error *err) {
    const smt_run_stats stats = run->stats; /* which experts out of the file count in */
    if (run->model->file) smt_os_mutex_lock(run->model->step);
    smt_status status = profile_step(run, rows, n, device_clock, profile, err);
    if (run->model->file) smt_os_mutex_unlock(run->model->step);
    run->stats = stats;
    return status;
}
