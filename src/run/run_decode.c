/* run_decode.c: steps that follow from each other on the device. The draw at the end of a step writes its token, position and index into the
 * step buffer, and the next step is the same recording again: the host only submits, and reads the ring of drawn tokens behind.
 *
 *   submitted:  | taken ... |  under way  |        step i draws token i; its row is token i - 1
 *
 * The table of cache blocks grows ahead of the steps: an entry is written before the submission that needs it, while steps that do not read it
 * are running. When an answer ends early, the steps behind it have filled rows of the cache beyond the length that the caller then sets: nobody
 * reads those.
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
    const smt_run_follow follow = {&d->rule, d->entry->graph, d->submitted};
    const smt_run_inputs inputs = {rows, n, &follow};
    uint32_t most = d->ahead * (uint32_t)entry->n_segments;
    SMT_TRY(smt_run_submit(d->run, entry, rows ? &inputs : NULL, smt_max_u32(most, 2),
                           &d->values[d->submitted % SMT_RUN_AHEAD_MOST], err));
    d->submitted++;
    return SMT_OK;
}

smt_status smt_run_decode_begin(smt_run *run, const smt_run_row *rows, uint32_t n, const smt_run_answer *answer,
                                smt_run_decode *out, smt_error *err) {
    const smt_run_row *last = &rows[n - 1];
    *out = (smt_run_decode){.run = run,
                            .rule = *answer->rule,
                            .slot = last->slot,
                            .index = last->index + 1,
                            .ahead = run->n_parts > 1 ? 1 : answer->ahead,
                            .most = answer->most};
    const smt_graph_shape first = smt_run_draw_shape(run, smt_plan_bucket(n)), next = smt_run_draw_shape(run, 1);
    smt_run_plan_entry *entry;
    SMT_TRY(smt_run_shape(run, &first, &entry, err));
    SMT_TRY(smt_run_shape(run, &next, &out->entry, err));
    smt_status status = submit(out, entry, rows, n, err);
    if (status != SMT_OK) smt_run_drain(run, NULL);
    return status;
}

/* Submissions turned out too long, or needlessly short. What is under way has to end first; its tokens stay in the ring. */
static smt_status cut_anew(smt_run_decode *d, smt_error *err) {
    const smt_graph_shape shape = d->entry->graph->shape;
    SMT_TRY(smt_run_drain(d->run, err));
    return smt_run_shape(d->run, &shape, &d->entry, err);
}

/* Fills up to `ahead` steps. Without room for another one there are fewer, or none. */
static smt_status fill(smt_run_decode *d, smt_error *err) {
    while (d->submitted - d->taken < d->ahead && d->submitted < d->most && d->index < d->run->options.n_ctx) {
        smt_error full;
        smt_status status = reserve(d->run, d->slot, d->index, &full);
        if (status == SMT_FULL) return SMT_OK;
        if (status != SMT_OK) {
            if (err) *err = full;
            return status;
        }
        if (smt_run_is_stale(d->run, d->entry)) SMT_TRY(cut_anew(d, err));
        const smt_run_row row = {
            .token = d->token, .position = (int32_t)d->index, .slot = d->slot, .index = d->index, .out = true};
        SMT_TRY(submit(d, d->entry, d->run->n_parts > 1 ? &row : NULL, 1, err));
        d->index++;
    }
    return SMT_OK;
}

smt_status smt_run_decode_next(smt_run_decode *d, bool *out_any, int32_t *out_token, smt_error *err) {
    *out_any = false;
    *out_token = 0;
    SMT_TRY(fill(d, err));
    if (d->submitted == d->taken) return SMT_OK;
    smt_run_part *part = &d->run->parts[smt_run_part_of(d->run, UINT32_MAX)];
    SMT_TRY(smt_run_wait(d->run, part, d->values[d->taken % SMT_RUN_AHEAD_MOST], err));
    const smt_plan_place *place = &part->plan.ring;
    smt_vk_buffer *buffer = part->buffers[place->buffer];
    SMT_TRY(smt_vk_buffer_invalidate(part->on->vk, buffer, place->offset, place->bytes, err));
    const int32_t *ring = (const int32_t *)((const uint8_t *)smt_vk_buffer_map(buffer) + place->offset);
    int32_t token = ring[d->taken++ % SAMPLE_RING];
    uint32_t n_vocab = d->run->model->model->n_vocab;
    if (token < 0 || (uint32_t)token >= n_vocab) return SMT_FAIL(err, SMT_INTERNAL, "none of %u logits is finite", n_vocab);
    *out_any = true;
    *out_token = d->token = token;
    return SMT_OK;
}

smt_status smt_run_decode_end(smt_run_decode *d, smt_error *err) {
    d->run->stats.n_dropped += d->submitted - d->taken;
    return smt_run_drain(d->run, err);
}
