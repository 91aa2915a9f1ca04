/* run_step.c: one step that the host waits for: the step buffers are filled, the segments of its shape are submitted one after another, and
 * what was asked for is read back.
 *
 * Where nothing was asked for, as in front of the last piece of a long prompt, several devices work on two steps at a time:
 *
 *   device a  | step 1 | step 2 | step 3 |
 *   device b           | step 1 | step 2 | step 3 |
 *
 * After a failed or cancelled step the cache rows it was writing are undefined; the session's length has not moved, so nobody reads them. */
#include "run/run.h"

#include <string.h>

#define SUBMISSIONS 2 /* under way: the device never idles between segments, and a cancelled step stops within two */

/* The embeddings of rows that have one, to where their hidden states in front of the first layer would be captured. */
static smt_status write_embeddings(smt_run *run, const smt_run_row *rows, uint32_t n, smt_error *err) {
    const smt_run_part *part = &run->parts[0];
    const smt_plan_place *place = &part->plan.capture;
    smt_vk_buffer *buffer = part->buffers[place->buffer];
    size_t row_bytes = run->model->model->n_embd * sizeof(float);
    uint8_t *map = (uint8_t *)smt_vk_buffer_map(buffer) + place->offset;
    SMT_TRY(smt_run_wait(run, run->parts, UINT64_MAX, err));
    for (uint32_t r = 0; r < n; r++)
        if (rows[r].embedding) memcpy(map + r * row_bytes, rows[r].embedding, row_bytes);
    return smt_vk_buffer_flush(part->on->vk, buffer, place->offset, n * row_bytes, err);
}

/* Head groups of the split attention on one device: the part of its grid that no step changes. */
static uint32_t attend_groups(const smt_graph *graph, uint32_t device) {
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const smt_node *node = &graph->nodes[i];
        if (node->device == device && node->key.kernel == SMT_KERNEL_ATTEND && !node->copy && !node->host) return node->groups[0];
    }
    return 0;
}

static void write_rule(uint32_t *words, const smt_run_follow *follow) {
    const smt_sample_rule *rule = follow->rule;
    words[STEP_DRAWN] = follow->drawn;
    words[STEP_TOP_K] = rule->top_k;
    memcpy(&words[STEP_INVERSE], &rule->inverse, sizeof rule->inverse);
    words[STEP_TOP_P] = rule->top_p;
    words[STEP_MIN_P] = rule->min_p;
    words[STEP_SEED] = rule->seed_low;
    words[STEP_SEED + 1] = rule->seed_high;
}

/* The step buffer of a device, in mapped memory. */
static void write_step(uint32_t *words, uint32_t device, const smt_graph *graph, const smt_run_inputs *inputs) {
    const smt_run_row *rows = inputs->rows;
    uint32_t max_rows = graph->shape.rows, n = inputs->n;
    memset(words, 0, STEP_HEAD * sizeof *words);
    words[STEP_N_ROWS] = n;
    words[STEP_MAX_ROWS] = max_rows;
    for (uint32_t r = 0; r < n; r++) {
        uint32_t *row = words + STEP_HEAD + r;
        row[STEP_ARRAY_TOKEN * max_rows] = rows[r].embedding ? UINT32_MAX : (uint32_t)rows[r].token;
        row[STEP_ARRAY_POSITION * max_rows] = (uint32_t)rows[r].position;
        row[STEP_ARRAY_INDEX * max_rows] = rows[r].index;
        row[STEP_ARRAY_SLOT * max_rows] = rows[r].slot;
        if (rows[r].out) words[STEP_HEAD + STEP_ARRAY_OUT * max_rows + words[STEP_N_OUT]++] = r;
    }
    words[STEP_ATTEND] = attend_groups(inputs->follow ? inputs->follow->graph : graph, device);
    words[STEP_ATTEND + 1] = n;
    words[STEP_ATTEND + 2] = rows[n - 1].index / SMT_BLOCK + 1;
    if (inputs->follow) write_rule(words, inputs->follow);
}

smt_status smt_run_write_inputs(smt_run *run, uint32_t device, const smt_graph *graph, const smt_run_inputs *inputs,
                                smt_error *err) {
    const smt_run_part *part = &run->parts[device];
    const smt_plan_place *step = &part->plan.step, *blocks = &part->plan.blocks;
    smt_vk_buffer *buffer = part->buffers[step->buffer];
    run->n_rows = inputs->n;
    write_step((uint32_t *)((uint8_t *)smt_vk_buffer_map(buffer) + step->offset), device, graph, inputs);
    SMT_TRY(smt_vk_buffer_flush(part->on->vk, buffer, step->offset, step->bytes, err));
    buffer = part->buffers[blocks->buffer];
    memcpy((uint8_t *)smt_vk_buffer_map(buffer) + blocks->offset, run->kv.table, 4ull * run->kv.n_slots * run->kv.per_slot);
    return smt_vk_buffer_flush(part->on->vk, buffer, blocks->offset, blocks->bytes, err);
}

smt_status smt_run_readback(const smt_run_part *part, const smt_plan_place *place, const uint8_t **out, smt_error *err) {
    smt_vk_buffer *buffer = part->buffers[place->buffer];
    *out = (const uint8_t *)smt_vk_buffer_map(buffer) + place->offset;
    return smt_vk_buffer_invalidate(part->on->vk, buffer, place->offset, place->bytes, err);
}

/* Of one row, out of the mapped captures of its step on each device: of a layer, that of the device that has it. */
static void copy_capture(const smt_run *run, const smt_run_row *row, uint32_t r, uint32_t bucket,
                         const uint8_t *const *captures) {
    const smt_model *m = run->model->model;
    const smt_run_capture *c = row->capture;
    size_t embd = m->n_embd, used = m->n_used;
    for (uint32_t s = 0; c->hidden && s < m->n_layers + 2; s++) {
        const uint8_t *bytes = captures[smt_run_part_of(run, s ? s - 1 : 0)]; /* slot s: behind layer s - 1 */
        memcpy(c->hidden + ((size_t)s * c->total + row->at) * embd,
               bytes + smt_graph_capture_hidden(m, bucket, s) + r * embd * sizeof(float), embd * sizeof(float));
    }
    for (uint32_t layer = 0, l = 0; layer < m->n_layers; layer++) {
        if (!m->layers[layer].moe) continue;
        const uint8_t *bytes = captures[smt_run_part_of(run, layer)];
        size_t to = ((size_t)l * c->total + row->at) * used, from = r * used * sizeof(float), n = used * sizeof(float);
        if (c->ids) memcpy(c->ids + to, bytes + smt_graph_capture_ids(m, bucket, l) + from, n);
        if (c->weights) memcpy(c->weights + to, bytes + smt_graph_capture_weights(m, bucket, l) + from, n);
        l++;
    }
}

/* What the rows of a step want, all rows together. */
typedef struct wishes {
    uint32_t n_out;
    bool logits, hidden, routing, embeddings;
} wishes;

static wishes collect(const smt_run *run, const smt_run_row *rows, uint32_t n) {
    wishes w = {.routing = smt_run_is_watched(run)};
    for (uint32_t r = 0; r < n; r++) {
        const smt_run_capture *c = rows[r].capture;
        w.n_out += rows[r].out;
        w.embeddings |= rows[r].embedding != NULL;
        w.logits |= rows[r].out && rows[r].logits;
        w.hidden |= c && c->hidden;
        w.routing |= c && (c->ids || c->weights);
    }
    return w;
}

/* Whether somebody waits for the end of the step. */
static bool gives_anything(const smt_run *run, const smt_run_row *rows, uint32_t n) {
    const wishes w = collect(run, rows, n);
    return run->observer || w.logits || w.hidden || w.routing;
}

static smt_status read_results(smt_run *run, const smt_run_row *rows, uint32_t n, const smt_run_times *times, smt_error *err) {
    const smt_model *m = run->model->model;
    const smt_run_part *head = &run->parts[smt_run_part_of(run, UINT32_MAX)];
    const uint8_t *logits = NULL, *captures[SMT_GRAPH_DEVICES];
    const wishes w = collect(run, rows, n);
    bool captured = w.hidden || w.routing;
    if (w.logits) SMT_TRY(smt_run_readback(head, &head->plan.logits, &logits, err));
    for (uint32_t i = 0; i < run->n_parts && captured; i++)
        SMT_TRY(smt_run_readback(&run->parts[i], &run->parts[i].plan.capture, &captures[i], err));
    size_t row_bytes = m->n_vocab * sizeof(float);
    for (uint32_t r = 0, out = 0; r < n; r++) {
        if (rows[r].out && rows[r].logits) memcpy(rows[r].logits, logits + out * row_bytes, row_bytes);
        out += rows[r].out;
        if (rows[r].capture) copy_capture(run, &rows[r], r, smt_plan_bucket(n), captures);
    }
    if (run->observer) smt_run_observe(run->observer, rows, n, times, captured ? captures : NULL);
    return run->model->slots ? smt_run_resident_learn(run, n, captures, err) : SMT_OK;
}

smt_status smt_run_ready(smt_run *run, const smt_run_row *rows, uint32_t n, smt_run_plan_entry **out, smt_error *err) {
    const wishes w = collect(run, rows, n);
    uint32_t out_rows = w.n_out ? smt_plan_bucket(w.n_out) : 0;
    smt_graph_shape shape = smt_run_make_shape(run, smt_plan_bucket(n), out_rows, w.hidden, w.routing);
    shape.embeddings = w.embeddings;
    SMT_TRY(smt_run_shape(run, &shape, out, err));
    return w.embeddings ? write_embeddings(run, rows, n, err) : SMT_OK;
}

/* What the devices have spent since *spent was taken; or, `begin`, takes it. */
static void count_spent(const smt_run *run, bool begin, smt_run_spent *spent) {
    for (uint32_t i = 0; i < run->n_parts; i++) {
        const smt_run_spent now = run->parts[i].spent;
        spent[i] = begin ? now
                         : (smt_run_spent){.busy_s = now.busy_s - spent[i].busy_s,
                                           .hop_s = now.hop_s - spent[i].hop_s,
                                           .hop_bytes = now.hop_bytes - spent[i].hop_bytes};
    }
}

static smt_status step(smt_run *run, const smt_run_row *rows, uint32_t n, smt_error *err) {
    smt_run_plan_entry *entry;
    smt_run_times times = {.begin = smt_os_seconds()};
    SMT_TRY(smt_run_ready(run, rows, n, &entry, err));
    times.submit = smt_os_seconds();
    count_spent(run, true, times.spent);
    uint64_t value;
    smt_status status = smt_run_submit(run, entry, &(smt_run_inputs){.rows = rows, .n = n}, SUBMISSIONS, &value, err);
    if (status == SMT_OK && run->n_parts > 1 && !gives_anything(run, rows, n)) return SMT_OK;
    smt_status waited = smt_run_drain(run, status == SMT_OK ? err : NULL);
    if (status != SMT_OK || waited != SMT_OK) return status == SMT_OK ? waited : status;
    times.done = smt_os_seconds();
    count_spent(run, false, times.spent);
    return read_results(run, rows, n, &times, err);
}

smt_status smt_run_step(smt_run *run, const smt_run_row *rows, uint32_t n, smt_error *err) {
    if (run->model->file) smt_os_mutex_lock(run->model->step);
    smt_status status = step(run, rows, n, err);
    if (run->model->file) smt_os_mutex_unlock(run->model->step);
    return status;
}
