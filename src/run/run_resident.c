/* run_resident.c: which experts are in the slots of their layer, of those that have no place of their own in device memory.
 *
 *   host memory  a step reads a missed expert where it lies; afterwards it is copied into a slot, and the expert table tells of it
 *   the file     a step stops before the layer, and the expert is read into a slot (smt_run_resident_fetch)
 *
 * What was wanted last stays: `recent` is that order, and all that is in it has a slot. An expert of host memory that loses its slot is read
 * where it lies again. Books change first; where the device could not be told, they are put back, so that they say what its tables say.
 *
 * Where copies have a queue of their own, those out of host memory run beside the kernels:
 *
 *   kernels  | step | who leaves |   next step: layers 0-7 | who came, 8-15 | layers 8-15 | who came, 16-23 | ...
 *   copies                 | 0-7 | 8-15 | 16-23 | ...
 *
 * A copy comes after the edit that took its slot from the expert before, and so after every step that may read that. The edit that tells of
 * the newcomers of some layers is submitted in front of the next step's first segment with these layers, whoever's step it is, and waits for
 * their copies alone. So copies overlap with what the host does between steps, with the layers in front of theirs, as far as segments
 * are cut between them, and with steps of other runners. More could not be known: a layer's choice is made in the layer itself,
 * where its next kernels need it; and to bring what a layer may want next is what the slots are for. Which step finds which expert in a
 * slot does not depend on how long anything takes. With a single queue a step's edits and copies are one submission. */
#include "run/run.h"

#include <string.h>

#define NONE UINT16_MAX
#define COPY_BYTES \
    ((uint64_t)16 << 20) /* of one submission of copies: about a millisecond of a link, and some layers of most models */
#define SUBMISSIONS 64   /* kept until they are done; a step has at most one for each layer with experts */

/* Of one layer; the arrays lie in the block of all layers. */
typedef struct books {
    uint32_t n_slots, n_recent, n_fresh;
    uint16_t *recent;  /* [n_slots], the latest first */
    uint16_t *fresh;   /* [n_slots] newcomers that the table does not tell of yet */
    uint16_t *slot_of; /* [n_experts], or NONE */
    uint64_t copied;   /* submission of copies that brings the last of the newcomers; 0: not submitted */
} books;

/* Submissions to one queue: recordings that may be under way. */
typedef struct lane {
    struct {
        smt_vk_recording *recording; /* owned; NULL: none */
        uint64_t value;
    } ring[SUBMISSIONS];
    uint32_t next;
    uint64_t latest; /* value of the last one */
} lane;

struct smt_run_resident {
    const smt_model *model; /* borrowed, as is `on` */
    smt_run_device *on;
    books *layers;            /* owned, [n_layers] */
    uint16_t *block, *before; /* owned, [n_words]: arrays of the books, and as they were */
    size_t n_words;
    uint64_t copy_bytes;
    smt_load_fetch *fetch; /* owned; NULL: no expert stays in the file */
    smt_os_mutex *lock;    /* owned: guards all that follows and the books, when several runners learn */
    bool any_fresh;        /* in any layer */
    lane edits, copies;
};

/* ---- books ---- */

static const smt_plan_place *home(const smt_run_resident *r, uint32_t layer, uint32_t expert) {
    return &r->on->plan.items[smt_items_expert(&r->on->items, layer, expert)];
}

/* Where an expert lies that the device has, and that is not used there; NULL: another one. Where scores are NaN, ids may be anything. */
static const smt_plan_place *home_elsewhere(const smt_run_resident *r, uint32_t layer, uint32_t expert) {
    const smt_items *items = &r->on->items;
    if (expert - items->range.first_expert >= items->n_experts) return NULL; /* another device's, also where that is below 0 */
    const smt_plan_place *place = home(r, layer, expert);
    return smt_plan_is_resident(&r->on->plan, place) ? NULL : place;
}

static const smt_plan_place *slot_place(const smt_run_resident *r, uint32_t layer, uint32_t slot) {
    return &r->on->plan.slots[r->on->plan.first_slot[layer] + slot];
}

/* To the front; the last one falls off the end of a full list. */
static void touch(books *b, uint16_t expert) {
    uint32_t at = 0;
    while (at < b->n_recent && b->recent[at] != expert) at++;
    if (at == b->n_recent && b->n_recent < b->n_slots) b->n_recent++;
    if (at == b->n_slots) at--;
    memmove(b->recent + 1, b->recent, at * sizeof *b->recent);
    b->recent[0] = expert;
}

static void forget(books *b, uint32_t expert) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_recent; i++)
        if (b->recent[i] != expert) b->recent[n++] = b->recent[i];
    b->n_recent = n;
    b->slot_of[expert] = NONE;
}

static uint32_t free_slot(const books *b, uint32_t n_experts) {
    bool taken[SMT_MODEL_MAX_EXPERTS] = {false};
    uint32_t slot = 0;
    for (uint32_t e = 0; e < n_experts; e++)
        if (b->slot_of[e] != NONE) taken[b->slot_of[e]] = true;
    while (taken[slot]) slot++;
    return slot;
}

/* ---- submissions ---- */

/* Ends a recording and submits it, after a submission to the other queue (0: none). NULL: there is nothing to submit. */
static smt_status submit(smt_run_resident *r, lane *l, smt_vk_recording *recording, uint64_t after, smt_error *err) {
    if (!recording) return SMT_OK;
    uint64_t value;
    smt_vk_device *device = r->on->vk;
    smt_vk_recording *oldest = l->ring[l->next].recording;
    smt_status status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK && oldest) status = smt_vk_recording_wait(oldest, l->ring[l->next].value, SMT_RUN_WAIT_NS, err);
    if (status == SMT_OK) status = smt_vk_submit_after(device, recording, after, &value, err);
    if (status != SMT_OK) {
        smt_vk_recording_destroy(device, recording);
        return status;
    }
    smt_vk_recording_destroy(device, oldest);
    l->ring[l->next].recording = recording;
    l->ring[l->next].value = l->latest = value;
    l->next = (l->next + 1) % SUBMISSIONS;
    return SMT_OK;
}

/* The end of an edit: submitted where all went well, else dropped. */
static smt_status close_edit(smt_run_resident *r, smt_vk_recording *edit, uint64_t after, smt_status status, smt_error *err) {
    if (status == SMT_OK) return submit(r, &r->edits, edit, after, err);
    smt_vk_recording_destroy(r->on->vk, edit);
    return status;
}

static void finish(smt_vk_device *device, lane *l) {
    for (uint32_t i = 0; i < SUBMISSIONS; i++) {
        if (l->ring[i].recording) smt_vk_recording_wait(l->ring[i].recording, l->ring[i].value, SMT_RUN_WAIT_NS, NULL);
        smt_vk_recording_destroy(device, l->ring[i].recording);
    }
}

/* ---- edits of the device's tables ---- */

static smt_status begin_edit(smt_run_resident *r, smt_vk_recording **edit, smt_error *err) {
    return *edit ? SMT_OK : smt_vk_recording_begin(r->on->vk, "experts", edit, err);
}

/* The expert is found at `place` from here on. */
static void tell(const smt_run_resident *r, smt_vk_recording *edit, uint32_t layer, uint32_t expert,
                 const smt_plan_place *place) {
    const smt_plan_place *table = &r->on->plan.tables[layer];
    uint32_t row[EXPERT_WORDS];
    smt_plan_expert_row(&r->on->plan, &r->on->items, layer, place, row);
    for (uint32_t i = 0; i < EXPERT_WORDS; i++)
        smt_vk_record_fill(
            edit, &(smt_vk_range){r->on->weights.buffers[table->buffer], table->offset + (expert * EXPERT_WORDS + i) * 4ull, 4},
            row[i]);
}

/* Experts that fell off the list leave their slots. */
static smt_status drop(smt_run_resident *r, uint32_t layer, smt_vk_recording **edit, smt_error *err) {
    books *b = &r->layers[layer];
    bool recent[SMT_MODEL_MAX_EXPERTS] = {false};
    for (uint32_t i = 0; i < b->n_recent; i++) recent[b->recent[i]] = true;
    for (uint32_t e = 0; e < r->model->n_experts; e++) {
        if (b->slot_of[e] == NONE || recent[e]) continue;
        SMT_TRY(begin_edit(r, edit, err));
        tell(r, *edit, layer, e, home(r, layer, e));
        b->slot_of[e] = NONE;
    }
    return SMT_OK;
}

/* The next expert on the list that has no slot; NONE: all have. */
static uint32_t newcomer(const books *b) {
    for (uint32_t i = 0; i < b->n_recent; i++)
        if (b->slot_of[b->recent[i]] == NONE) return b->recent[i];
    return NONE;
}

/* ---- between steps: experts of host memory ---- */

/* Counts each expert of a layer once, and puts all in the order in which the rows wanted them. */
static void count(smt_run_resident *r, smt_run_stats *stats, uint32_t layer, const uint32_t *ids, uint32_t n) {
    books *b = &r->layers[layer];
    bool seen[SMT_MODEL_MAX_EXPERTS] = {false};
    for (uint32_t i = 0; i < n; i++) {
        const smt_plan_place *place = home_elsewhere(r, layer, ids[i]);
        if (!place || place->buffer == SMT_PLAN_FILE || seen[ids[i]]) continue;
        bool hit = b->slot_of[ids[i]] != NONE;
        seen[ids[i]] = true;
        stats->expert_hits += hit;
        stats->expert_misses += !hit;
        stats->expert_link_bytes += hit ? 0 : place->bytes;
    }
    for (uint32_t i = 0; i < n; i++)
        if (b->n_slots && home_elsewhere(r, layer, ids[i])) touch(b, (uint16_t)ids[i]);
}

/* Copies of the experts on the list that have no slot. */
static smt_status move_in(smt_run_resident *r, smt_run_stats *stats, uint32_t layer, smt_vk_recording **copies, smt_error *err) {
    books *b = &r->layers[layer];
    for (uint32_t e; (e = newcomer(b)) != NONE;) {
        if (!*copies) SMT_TRY(smt_vk_recording_begin_copies(r->on->vk, "copies of experts", copies, err));
        const smt_plan_place *from = home(r, layer, e);
        uint32_t slot = free_slot(b, r->model->n_experts);
        const smt_plan_place *to = slot_place(r, layer, slot);
        smt_vk_record_copy(*copies, &(smt_vk_range){r->on->weights.buffers[from->buffer], from->offset, from->bytes},
                           &(smt_vk_range){r->on->weights.buffers[to->buffer], to->offset, to->bytes});
        b->slot_of[e] = (uint16_t)slot;
        b->fresh[b->n_fresh++] = (uint16_t)e;
        stats->expert_copied_bytes += from->bytes;
    }
    return SMT_OK;
}

/* The table tells of a layer's newcomers. */
static void announce(const smt_run_resident *r, uint32_t layer, smt_vk_recording *edit) {
    const books *b = &r->layers[layer];
    for (uint32_t i = 0; i < b->n_fresh; i++) tell(r, edit, layer, b->fresh[i], slot_place(r, layer, b->slot_of[b->fresh[i]]));
}

static void settle(smt_run_resident *r, uint32_t end_layer) {
    r->any_fresh = false;
    for (uint32_t l = 0; l < r->model->n_layers; l++) {
        if (l < end_layer) r->layers[l].n_fresh = 0;
        r->any_fresh |= r->layers[l].n_fresh > 0;
    }
}

/* Newcomers of the layers in front of end_layer have come for whatever is submitted from here on. */
static smt_status arrive(smt_run_resident *r, uint32_t end_layer, smt_error *err) {
    smt_vk_recording *edit = NULL;
    uint64_t after = 0;
    for (uint32_t l = 0; l < end_layer && r->any_fresh; l++) {
        if (r->layers[l].n_fresh == 0) continue;
        SMT_TRY(begin_edit(r, &edit, err));
        announce(r, l, edit);
        if (r->layers[l].copied > after) after = r->layers[l].copied;
    }
    if (!edit) return SMT_OK;
    SMT_TRY(submit(r, &r->edits, edit, after, err));
    settle(r, end_layer);
    return SMT_OK;
}

smt_status smt_run_resident_arrive(smt_run_part *part, uint32_t last_layer, smt_error *err) {
    smt_run_resident *r = part->on->resident;
    if (!r) return SMT_OK;
    smt_os_mutex_lock(r->lock);
    smt_status status = arrive(r, last_layer < r->model->n_layers ? last_layer + 1 : r->model->n_layers, err);
    smt_os_mutex_unlock(r->lock);
    return status;
}

static void save(smt_run_resident *r, uint32_t *n_recent) {
    memcpy(r->before, r->block, r->n_words * sizeof *r->block);
    for (uint32_t l = 0; l < r->model->n_layers; l++) n_recent[l] = r->layers[l].n_recent;
}

static void restore(smt_run_resident *r, const uint32_t *n_recent) {
    memcpy(r->block, r->before, r->n_words * sizeof *r->block);
    for (uint32_t l = 0; l < r->model->n_layers; l++) r->layers[l].n_recent = n_recent[l];
}

/* What the n rows of a step have chosen: of each layer, as the device has captured it that chose. */
typedef struct choices {
    const smt_run *run;
    uint32_t n;
    const uint8_t *const *captures;
} choices;

/* What was wanted, and who leaves for it. */
static smt_status turn_over(smt_run_resident *r, smt_run_stats *stats, const choices *c, smt_vk_recording **edit,
                            smt_error *err) {
    const smt_model *m = r->model;
    uint32_t moe_layer = 0;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        if (!m->layers[l].moe) continue;
        const uint8_t *ids =
            c->captures[smt_run_part_of(c->run, l)] + smt_graph_capture_ids(m, smt_plan_bucket(c->n), moe_layer++);
        if (!r->on->items.layers[l].n_windows) continue; /* another device's */
        count(r, stats, l, (const uint32_t *)(const void *)ids, c->n * m->n_used);
        SMT_TRY(drop(r, l, edit, err));
    }
    return SMT_OK;
}

/* With a single queue: who leaves, the copies, who came. */
static smt_status learn_at_once(smt_run_resident *r, smt_run_stats *stats, const choices *c, smt_error *err) {
    smt_vk_recording *edit = NULL;
    smt_status status = turn_over(r, stats, c, &edit, err);
    for (uint32_t l = 0; l < r->model->n_layers && status == SMT_OK; l++) {
        status = move_in(r, stats, l, &edit, err);
        if (status == SMT_OK) announce(r, l, edit);
    }
    settle(r, r->model->n_layers);
    return close_edit(r, edit, 0, status, err);
}

static smt_status leave(smt_run_resident *r, smt_run_stats *stats, const choices *c, smt_error *err) {
    smt_vk_recording *edit = NULL;
    smt_status status = turn_over(r, stats, c, &edit, err);
    return close_edit(r, edit, 0, status, err);
}

/* Layers whose copies have not been submitted go with this submission. */
static smt_status submit_copies(smt_run_resident *r, smt_vk_recording **copies, smt_error *err) {
    smt_vk_recording *recording = *copies;
    *copies = NULL;
    SMT_TRY(submit(r, &r->copies, recording, r->edits.latest, err));
    for (uint32_t l = 0; l < r->model->n_layers && recording; l++)
        if (r->layers[l].n_fresh && !r->layers[l].copied) r->layers[l].copied = r->copies.latest;
    return SMT_OK;
}

static smt_status copy_apart(smt_run_resident *r, smt_run_stats *stats, smt_error *err) {
    smt_vk_recording *copies = NULL;
    smt_status status = SMT_OK;
    uint64_t begun = stats->expert_copied_bytes;
    for (uint32_t l = 0; l < r->model->n_layers && status == SMT_OK; l++) {
        r->layers[l].copied = 0;
        status = move_in(r, stats, l, &copies, err);
        if (status != SMT_OK || stats->expert_copied_bytes - begun < r->copy_bytes) continue;
        status = submit_copies(r, &copies, err);
        begun = stats->expert_copied_bytes;
    }
    if (status == SMT_OK) status = submit_copies(r, &copies, err);
    smt_vk_recording_destroy(r->on->vk, copies);
    for (uint32_t l = 0; l < r->model->n_layers && status != SMT_OK; l++) {
        books *b = &r->layers[l];
        for (; b->n_fresh && !b->copied; b->n_fresh--) forget(b, b->fresh[b->n_fresh - 1]);
        for (uint32_t e; (e = newcomer(b)) != NONE;) forget(b, e);
    }
    settle(r, 0);
    return status;
}

static smt_status learn(smt_run_resident *r, smt_run_stats *stats, const choices *c, smt_error *err) {
    bool apart = smt_vk_copies_apart(r->on->vk);
    uint32_t n_recent[SMT_MODEL_MAX_LAYERS];
    SMT_TRY(arrive(r, r->model->n_layers, err)); /* another runner may have learned since the last step */
    save(r, n_recent);
    smt_status status = (apart ? leave : learn_at_once)(r, stats, c, err);
    if (status != SMT_OK) restore(r, n_recent);
    return status == SMT_OK && apart ? copy_apart(r, stats, err) : status;
}

smt_status smt_run_resident_learn(smt_run *run, uint32_t n, const uint8_t *const *captures, smt_error *err) {
    const choices c = {run, n, captures};
    for (uint32_t i = 0; i < run->n_parts; i++) {
        smt_run_resident *r = run->parts[i].on->resident;
        if (!r) continue;
        smt_os_mutex_lock(r->lock);
        smt_status status = learn(r, &run->stats, &c, err);
        smt_os_mutex_unlock(r->lock);
        SMT_TRY(status);
    }
    return SMT_OK;
}

/* ---- within a step: experts in the file ---- */

/* The list in the order of the rows: what has a slot, and what the file has. Returns how many the file has to give. */
static uint32_t touch_wanted(smt_run_resident *r, smt_run_stats *stats, uint32_t layer, const uint32_t *ids, uint32_t n) {
    books *b = &r->layers[layer];
    bool seen[SMT_MODEL_MAX_EXPERTS] = {false};
    uint32_t missing = 0;
    for (uint32_t i = 0; i < n; i++) {
        const smt_plan_place *place = home_elsewhere(r, layer, ids[i]);
        if (!place) continue;
        bool file = place->buffer == SMT_PLAN_FILE, hit = b->slot_of[ids[i]] != NONE;
        if (!file && !hit) continue; /* read where it lies; learned when the step is done */
        touch(b, (uint16_t)ids[i]);
        if (!file || seen[ids[i]]) continue;
        seen[ids[i]] = true;
        stats->expert_hits += hit;
        missing += !hit;
    }
    stats->expert_misses += missing;
    return missing;
}

static smt_status read_newcomers(smt_run_resident *r, smt_run_stats *stats, uint32_t layer, smt_error *err) {
    books *b = &r->layers[layer];
    smt_vk_recording *edit = NULL;
    uint64_t after = r->edits.latest;
    smt_status status = begin_edit(r, &edit, err);
    uint16_t came[SMT_MODEL_MAX_EXPERTS];
    uint32_t n = 0;
    for (uint32_t e; status == SMT_OK && (e = newcomer(b)) != NONE;) {
        uint32_t slot = free_slot(b, r->model->n_experts);
        const smt_plan_place *to = slot_place(r, layer, slot);
        status = smt_load_fetch_expert(r->fetch, layer, e, to, after, err);
        if (status != SMT_OK) break;
        tell(r, edit, layer, e, to);
        b->slot_of[e] = (uint16_t)slot;
        came[n++] = (uint16_t)e;
        stats->expert_copied_bytes += to->bytes;
    }
    status = close_edit(r, edit, smt_load_fetch_copied(r->fetch), status, err);
    for (uint32_t i = 0; status != SMT_OK && i < n; i++) forget(b, came[i]);
    for (uint32_t e; status != SMT_OK && (e = newcomer(b)) != NONE;) forget(b, e);
    return status;
}

static smt_status fetch(smt_run_resident *r, smt_run_stats *stats, uint32_t layer, const uint32_t *ids, uint32_t n,
                        smt_error *err) {
    uint32_t n_recent[SMT_MODEL_MAX_LAYERS];
    smt_vk_recording *edit = NULL;
    SMT_TRY(arrive(r, layer + 1, err));
    save(r, n_recent);
    if (touch_wanted(r, stats, layer, ids, n) == 0) return SMT_OK;
    smt_status status = drop(r, layer, &edit, err);
    status = close_edit(r, edit, 0, status, err);
    if (status == SMT_OK) return read_newcomers(r, stats, layer, err);
    restore(r, n_recent);
    return status;
}

smt_status smt_run_resident_fetch(smt_run *run, smt_run_part *part, uint32_t layer, const uint32_t *ids, uint32_t n,
                                  smt_error *err) {
    smt_run_resident *r = part->on->resident;
    smt_os_mutex_lock(r->lock);
    smt_status status = fetch(r, &run->stats, layer, ids, n * run->model->model->n_used, err);
    smt_os_mutex_unlock(r->lock);
    return status;
}

/* ---- lifetime ---- */

static void make_books(smt_run_resident *r) {
    uint16_t *at = r->block;
    for (uint32_t l = 0; l < r->model->n_layers; l++) {
        books *b = &r->layers[l];
        b->n_slots = smt_plan_slots(&r->on->plan, l);
        b->recent = at;
        b->fresh = b->recent + b->n_slots;
        b->slot_of = b->fresh + b->n_slots;
        at = b->slot_of + r->model->n_experts;
        for (uint32_t e = 0; e < r->model->n_experts; e++) b->slot_of[e] = NONE;
    }
}

smt_status smt_run_resident_create(const smt_model *model, smt_run_device *on, uint64_t copy_bytes, smt_error *err) {
    uint32_t n_slots = on->plan.first_slot[model->n_layers];
    bool file = false;
    if (n_slots == 0) return SMT_OK;
    smt_run_resident *r = on->resident = smt_alloc(1, sizeof *r);
    if (!r) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the slots of experts");
    *r = (smt_run_resident){.model = model,
                            .on = on,
                            .n_words = 2ull * n_slots + (size_t)model->n_layers * model->n_experts,
                            .copy_bytes = copy_bytes ? copy_bytes : COPY_BYTES};
    r->lock = smt_os_mutex_create();
    r->layers = smt_alloc(model->n_layers, sizeof *r->layers);
    r->block = smt_alloc(r->n_words, sizeof *r->block);
    r->before = smt_alloc(r->n_words, sizeof *r->before);
    if (!r->lock || !r->layers || !r->block || !r->before)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u slots of experts", n_slots);
    make_books(r);
    for (uint32_t l = 0; l < model->n_layers; l++) file |= on->items.layers[l].from_file;
    if (!file) return SMT_OK;
    const smt_load_args args = {.device = on->vk, .model = model, .items = &on->items, .plan = &on->plan, .repack = on->repack};
    return smt_load_fetch_create(&args, &on->weights, &r->fetch, err);
}

void smt_run_resident_free(smt_run_device *on) {
    smt_run_resident *r = on->resident;
    if (!r) return;
    finish(on->vk, &r->copies);
    finish(on->vk, &r->edits);
    smt_load_fetch_free(r->fetch);
    smt_os_mutex_free(r->lock);
    smt_free(r->layers);
    smt_free(r->block);
    smt_free(r->before);
    smt_free(r);
    on->resident = NULL;
}
