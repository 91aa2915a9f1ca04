/* api_eval.c: tokens of one session or of several become rows of device steps.
 *
 * The tokens of all entries stand one after another, in the order of the entries; a step takes as many of them as the runner's memory
 * allows (a whole batch, unless many logits or captures are wanted). One session is the batch of one entry: there is no other path.
 *
 * Invariant: lengths move after the last step and all together; before that, nothing reads what the steps write. */
#include "api/api_engine.h"

#include <string.h>

/* An entry, as this version of the library understands it. */
typedef struct part {
    smt_session *session;
    smt_eval eval;
    smt_run_capture capture;
} part;

typedef struct batch {
    smt_run *run;
    part *parts; /* owned, [n_parts] */
    uint32_t n_parts;
    uint64_t n_tokens; /* of all parts */
    smt_run_row *rows; /* owned, [limit]: those of one step */
    uint32_t limit;
} batch;

smt_status smt_api_check_eval(const smt_session *session, const smt_eval *eval, smt_error *err) {
    const smt_model *model = session->runner->engine->file->model;
    const smt_run_options *o = &session->runner->run->options;
    if (eval->tokens && eval->embeddings) return SMT_FAIL(err, SMT_INVALID, "smt_eval has both tokens and embeddings");
    if ((!eval->tokens && !eval->embeddings) || eval->n_tokens == 0) return SMT_FAIL(err, SMT_INVALID, "smt_eval has no tokens");
    if (eval->n_tokens > o->n_ctx - session->length)
        return SMT_FAIL(err, SMT_FULL, "%u tokens after %u exceed the context of %u", eval->n_tokens, session->length, o->n_ctx);
    for (uint32_t i = 0; i < eval->n_tokens; i++) {
        if (eval->tokens && (eval->tokens[i] < 0 || (uint32_t)eval->tokens[i] >= model->n_vocab))
            return SMT_FAIL(err, SMT_INVALID, "token %d at index %u is outside the vocabulary of %u", eval->tokens[i], i,
                            model->n_vocab);
        if (eval->positions && (eval->positions[i] < 0 || (uint32_t)eval->positions[i] >= o->n_ctx))
            return SMT_FAIL(err, SMT_INVALID, "position %d at index %u is outside the context of %u", eval->positions[i], i,
                            o->n_ctx);
    }
    return SMT_OK;
}

void smt_api_append(smt_session *session, const int32_t *tokens, uint32_t n_tokens) {
    for (uint32_t i = 0; i < n_tokens; i++) session->tokens[session->length++] = tokens ? tokens[i] : -1;
}

/* Fills parts[i], the others before it being there. */
static smt_status take_part(const smt_runner *runner, const smt_batch_entry *entry, part *parts, uint32_t i, smt_error *err) {
    smt_eval *e = &parts[i].eval;
    if (!entry->session || entry->session->runner != runner)
        return SMT_FAIL(err, SMT_INVALID, "%s", entry->session ? "its session is another runner's" : "it has no session");
    for (uint32_t j = 0; j < i; j++)
        if (parts[j].session == entry->session) return SMT_FAIL(err, SMT_INVALID, "entry %u has the same session", j);
    if (!entry->eval) return SMT_FAIL(err, SMT_INVALID, "it has no smt_eval");
    SMT_TRY(smt_api_copy_options(e, sizeof *e, entry->eval, "smt_eval", err));
    parts[i].session = entry->session;
    parts[i].capture = (smt_run_capture){e->n_tokens, e->hidden, e->expert_ids, e->expert_weights};
    return smt_api_check_eval(entry->session, e, err);
}

static bool captures(const part *p) { return p->capture.hidden || p->capture.ids || p->capture.weights; }
static bool takes_capture_memory(const part *p) { return captures(p) || p->eval.embeddings; }

static smt_status take_parts(smt_runner *runner, const smt_batch_entry *entries, uint32_t n, batch *b, smt_error *err) {
    b->limit = b->run->options.n_batch;
    b->parts = smt_alloc(n, sizeof *b->parts);
    if (!b->parts) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a batch of %u sessions", n);
    for (uint32_t i = 0; i < n; i++) {
        smt_error local = {0};
        smt_status status = take_part(runner, &entries[i], b->parts, i, &local);
        if (status != SMT_OK && n > 1) return SMT_FAIL(err, status, "entry %u of %u: %.400s", i, n, local.message);
        if (status != SMT_OK && err) *err = local;
        if (status != SMT_OK) return status;
        b->n_parts = i + 1;
        b->n_tokens += b->parts[i].eval.n_tokens;
        if (takes_capture_memory(&b->parts[i]) || smt_run_is_watched(b->run))
            b->limit = smt_min_u32(b->limit, b->run->capture_rows);
    }
    b->limit = (uint32_t)smt_min_u64(b->limit, b->n_tokens);
    b->rows = smt_alloc(b->limit, sizeof *b->rows);
    return b->rows ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a step of %u rows", b->limit);
}

/* Where the next row comes from: token `at` of part `part`. */
typedef struct cursor {
    uint32_t part, at;
} cursor;

static smt_run_row make_row(const part *p, uint32_t at, const smt_model *model) {
    const smt_eval *e = &p->eval;
    uint32_t index = p->session->length + at;
    bool out = e->logits && (e->all_logits || at + 1 == e->n_tokens);
    return (smt_run_row){.token = e->tokens ? e->tokens[at] : -1,
                         .embedding = e->embeddings ? e->embeddings + (size_t)at * model->n_embd : NULL,
                         .position = e->positions ? e->positions[at] : (int32_t)index,
                         .slot = p->session->slot,
                         .index = index,
                         .out = out,
                         .logits = out ? e->logits + (e->all_logits ? (size_t)at * model->n_vocab : 0) : NULL,
                         .capture = captures(p) ? &p->capture : NULL,
                         .at = at};
}

/* Rows of the next step from the cursor on: as many as fit. */
static uint32_t fill_rows(batch *b, cursor *c) {
    uint32_t n = 0, n_out = 0;
    while (n < b->limit && c->part < b->n_parts) {
        smt_run_row row = make_row(&b->parts[c->part], c->at, b->run->model->model);
        if (row.out && n_out == b->run->logits_rows) break;
        n_out += row.out;
        b->rows[n++] = row;
        if (++c->at == b->parts[c->part].eval.n_tokens) *c = (cursor){.part = c->part + 1};
    }
    return n;
}

static smt_status run_steps(batch *b, smt_error *err) {
    const smt_callbacks *callbacks = &b->run->model->callbacks;
    cursor c = {0};
    for (uint64_t done = 0; done < b->n_tokens;) {
        uint32_t n = fill_rows(b, &c);
        SMT_TRY(smt_run_step(b->run, b->rows, n, err));
        done += n;
        if (callbacks->progress && !callbacks->progress(callbacks->user, SMT_STAGE_EVAL, done, b->n_tokens))
            return SMT_FAIL(err, SMT_CANCELLED, "cancelled after %llu of %llu tokens", (unsigned long long)done,
                            (unsigned long long)b->n_tokens);
    }
    return SMT_OK;
}

/* Cache blocks for all, the steps, and the new lengths; or nothing of it. */
static smt_status advance(batch *b, smt_error *err) {
    smt_kv *kv = &b->run->kv;
    smt_status status = SMT_OK;
    for (uint32_t i = 0; i < b->n_parts && status == SMT_OK; i++) {
        const smt_session *s = b->parts[i].session;
        status = smt_run_extend(b->run, s->slot, s->length, b->parts[i].eval.n_tokens, err);
    }
    if (status == SMT_OK) status = run_steps(b, err);
    smt_status ended = smt_run_drain(b->run, status == SMT_OK ? err : NULL);
    if (status == SMT_OK) status = ended;
    for (uint32_t i = 0; i < b->n_parts; i++) {
        smt_session *s = b->parts[i].session;
        if (status == SMT_OK)
            smt_api_append(s, b->parts[i].eval.tokens, b->parts[i].eval.n_tokens);
        else
            smt_kv_resize(kv, s->slot, s->length, NULL); /* shrinking cannot fail */
    }
    return status;
}

smt_status smt_api_eval(smt_runner *runner, const smt_batch_entry *entries, uint32_t n_entries, smt_error *err) {
    batch b = {.run = runner->run};
    if (!entries || n_entries == 0) return SMT_FAIL(err, SMT_INVALID, "a batch without entries");
    smt_status status = take_parts(runner, entries, n_entries, &b, err);
    if (status == SMT_OK) status = advance(&b, err);
    smt_free(b.parts);
    smt_free(b.rows);
    return status;
}

smt_status smt_runner_eval(smt_runner *runner, const smt_batch_entry *entries, uint32_t n_entries, smt_error *err) {
    atomic_store(&runner->run->cancel, false);
    return smt_api_eval(runner, entries, n_entries, err);
}

smt_status smt_session_eval(smt_session *session, const smt_eval *eval, smt_error *err) {
    const smt_batch_entry entry = {.session = session, .eval = eval};
    return smt_runner_eval(session->runner, &entry, 1, err);
}
