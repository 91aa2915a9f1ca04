/* run_decode.c: steps that follow from each other on the device. The draw at the end of a step writes its token, position and index into the
 * step buffer, and the next step is the same recording again: the host only submits, and reads the ring of drawn tokens behind.
 *
 *   submitted:  | taken ... |  under way  |        step i draws token i; its row is token i - 1
 *
 * The table of cache blocks grows ahead of the steps: an entry is written before the submission that needs it, while steps that do not read it
 * are running. When an answer ends early, the steps behind it have filled rows of the cache beyond the length that the caller then sets: nobody
 * reads those.
 *
 * An observer is told of each step when its token is taken, while the next one is under way: the two write their routing to different places,
 * by recordings of their own (smt_graph_shape.turn). The step of the rows given has all of that memory, and is waited for at once.
 * Where experts come and go between steps there is one step at a time: the next one finds those that this one missed in slots.
 *
 * Of several devices the last one draws. They cannot be ahead of the host, which has work between them: one step is under way, and the
 * host gives the next one its token. */
#include "run/run.h"

/* One block more, where the row at `index` begins one. */
static smt_status reserve(smt_run *run, uint32_t slot, uint32_t index, smt_error *err) {
    uint32_t held = run->kv.held[slot];
    SMT_TRY(smt_kv_resize(&run->kv, slot, index + 1, err));
    if (run->kv.held[slot] == held || run->n_parts > 1) return SMT_OK; /* inputs bring the table to several devices */
    const smt_run_part *part = run->parts;
    const smt_plan_place *place = &part->plan.blocks;
    smt_vk_buffer *buffer = part->buffers[place->buffer];
    uint64_t at = (uint64_t)slot * run->kv.per_slot + held;
    uint32_t *table = (uint32_t *)((uint8_t *)smt_vk_buffer_map(buffer) + place->offset);
    table[at] = run->kv.table[at];
    return smt_vk_buffer_flush(part->on->vk, buffer, place->offset + 4 * at, 4, err);
}

/* Rows of a step; NULL: the device knows. */
static smt_status submit(smt_run_decode *d, smt_run_plan_entry *entry, const smt_run_row *rows, uint32_t n, smt_error *err) {
    const smt_run_follow follow = {&d->rule, d->entries[0]->graph, d->submitted};
    const smt_run_inputs inputs = {rows, n, &follow};
    /* A long step can be cancelled within two submissions. */
    uint32_t most = n > 1 ? 2 : smt_max_u32(d->ahead * (uint32_t)entry->n_segments, 2);
    smt_run_flown *step = &d->steps[d->submitted % SMT_RUN_AHEAD_MOST];
    step->submitted = smt_os_seconds();
    SMT_TRY(smt_run_submit(d->run, entry, rows ? &inputs : NULL, most, &step->value, err));
    d->submitted++;
    return SMT_OK;
}

/* ---- somebody looks on, or experts come and go ---- */

static bool tells(const smt_run *run) { return run->observer || run->model->slots; }

/* Of a step that has ended, whose captures lie at the given turn. */
static smt_status tell(smt_run_decode *d, const smt_run_row *rows, uint32_t n, uint32_t turn, const smt_run_times *times,
                       smt_error *err) {
    const smt_run_part *part = d->run->parts;
    const uint8_t *captures = NULL;
    smt_plan_place place = part->plan.capture;
    place.offset += smt_graph_capture_turn(d->run->model->model, smt_plan_bucket(n), turn);
    place.bytes = smt_graph_capture_bytes(d->run->model->model, smt_plan_bucket(n));
    if (smt_run_is_watched(d->run)) SMT_TRY(smt_run_readback(part, &place, &captures, err));
    if (d->run->observer) smt_run_observe(d->run->observer, rows, n, times, captures ? &captures : NULL);
    d->told = smt_os_seconds();
    return d->run->model->slots ? smt_run_resident_learn(d->run, n, &captures, err) : SMT_OK;
}

/* The step of the rows given, begun at times->begin. */
static smt_status tell_first(smt_run_decode *d, const smt_run_row *rows, uint32_t n, smt_run_times *times, smt_error *err) {
    SMT_TRY(smt_run_drain(d->run, err));
    times->done = smt_os_seconds();
    times->submit = d->steps[0].submitted;
    times->spent[0].busy_s = times->done - times->submit;
    d->step_s = times->spent[0].busy_s / n; /* until the end of one is seen */
    return tell(d, rows, n, 0, times, err);
}

/* The step that has just ended, `seen` by the host or before it looked. The device began with it when it was submitted, or where that is later
 * with the end of the step before: from there until the observer was told of that, the time is counted already. */
static smt_status tell_next(smt_run_decode *d, bool seen, smt_error *err) {
    double done = smt_os_seconds(), submitted = d->steps[d->taken % SMT_RUN_AHEAD_MOST].submitted;
    double begun = submitted > d->told ? submitted : d->told;
    if (seen)
        d->step_s = done - begun;
    else if (d->step_s < done - begun)
        begun = done - d->step_s;
    const smt_run_times times = {.begin = begun, .submit = begun, .done = done, .spent[0].busy_s = done - begun};
    return tell(d, &d->row, 1, d->taken % SMT_GRAPH_TURNS, &times, err);
}

/* ---- the answer ---- */

static smt_status prepare(smt_run_decode *d, smt_error *err) {
    for (uint32_t turn = 0; turn < SMT_GRAPH_TURNS; turn++) {
        const smt_graph_shape shape = smt_run_draw_shape(d->run, 1, smt_run_is_watched(d->run) ? turn : 0);
        SMT_TRY(smt_run_shape(d->run, &shape, &d->entries[turn], err));
    }
    return SMT_OK;
}

smt_status smt_run_decode_begin(smt_run *run, const smt_run_row *rows, uint32_t n, const smt_run_answer *answer,
                                smt_run_decode *out, smt_error *err) {
    smt_run_times times = {.begin = smt_os_seconds()};
    *out = (smt_run_decode){
        .run = run, .rule = *answer->rule, .index = rows[n - 1].index + 1, .most = answer->most, .row = rows[n - 1]};
    out->ahead = run->n_parts > 1 || run->model->slots ? 1
                 : tells(run)                          ? smt_min_u32(answer->ahead, SMT_GRAPH_TURNS)
                                                       : answer->ahead;
    const smt_graph_shape first = smt_run_draw_shape(run, smt_plan_bucket(n), 0);
    smt_run_plan_entry *entry;
    SMT_TRY(smt_run_shape(run, &first, &entry, err));
    SMT_TRY(prepare(out, err));
    smt_status status = submit(out, entry, rows, n, err);
    if (status == SMT_OK && tells(run)) status = tell_first(out, rows, n, &times, err);
    if (status != SMT_OK) smt_run_drain(run, NULL);
    return status;
}

/* Submissions turned out too long, or needlessly short. What is under way has to end first; its tokens stay in the ring. */
static smt_status cut_anew(smt_run_decode *d, smt_error *err) {
    SMT_TRY(smt_run_drain(d->run, err));
    return prepare(d, err);
}

/* Fills up to `ahead` steps. Without room for another one there are fewer, or none. */
static smt_status fill(smt_run_decode *d, smt_error *err) {
    while (d->submitted - d->taken < d->ahead && d->submitted < d->most && d->index < d->run->options.n_ctx) {
        smt_run_plan_entry **entry = &d->entries[d->submitted % SMT_GRAPH_TURNS];
        smt_error full;
        smt_status status = reserve(d->run, d->row.slot, d->index, &full);
        if (status == SMT_FULL) return SMT_OK;
        if (status != SMT_OK) {
            if (err) *err = full;
            return status;
        }
        if (smt_run_is_stale(d->run, *entry)) SMT_TRY(cut_anew(d, err));
        SMT_TRY(submit(d, *entry, d->run->n_parts > 1 ? &d->row : NULL, 1, err));
        d->index++;
    }
    return SMT_OK;
}

/* The token of the step that is taken next, and has ended. */
static smt_status read_token(const smt_run_decode *d, int32_t *out, smt_error *err) {
    const smt_run_part *part = &d->run->parts[smt_run_part_of(d->run, UINT32_MAX)];
    const uint8_t *bytes;
    SMT_TRY(smt_run_readback(part, &part->plan.ring, &bytes, err));
    *out = ((const int32_t *)(const void *)bytes)[d->taken % SAMPLE_RING];
    uint32_t n_vocab = d->run->model->model->n_vocab;
    if (*out >= 0 && (uint32_t)*out < n_vocab) return SMT_OK;
    *out = 0;
    return SMT_FAIL(err, SMT_INTERNAL, "none of %u logits is finite", n_vocab);
}

smt_status smt_run_decode_next(smt_run_decode *d, bool *out_any, int32_t *out_token, smt_error *err) {
    *out_any = false;
    *out_token = 0;
    SMT_TRY(fill(d, err));
    if (d->submitted == d->taken) return SMT_OK;
    smt_run_part *part = &d->run->parts[smt_run_part_of(d->run, UINT32_MAX)];
    uint64_t value = d->steps[d->taken % SMT_RUN_AHEAD_MOST].value;
    bool seen = smt_vk_reached(part->on->vk) < value;
    SMT_TRY(smt_run_wait(d->run, part, value, err));
    if (tells(d->run) && d->taken) SMT_TRY(tell_next(d, seen, err));
    SMT_TRY(read_token(d, out_token, err));
    d->taken++;
    d->row.token = *out_token;
    d->row.index++;
    d->row.position++;
    *out_any = true;
    return SMT_OK;
}

smt_status smt_run_decode_end(smt_run_decode *d, smt_error *err) {
    d->run->stats.n_dropped += d->submitted - d->taken;
    return smt_run_drain(d->run, err);
}
