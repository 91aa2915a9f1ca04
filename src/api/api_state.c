/* api_state.c: sessions to bytes and back: into memory or a file, from memory or a file. What the bytes are stands in kv/kv.h.
 *
 * Restoring makes a new session, and gives it away only when everything fitted, the checksum at the end included. */
#define XXH_STATIC_LINKING_ONLY /* the hash state lies on the stack */
#include "api/api_engine.h"

#include <string.h>
#include <xxhash.h>

/* The bytes on one end, passed in order; exactly one of the four ends is there. */
typedef struct stream {
    uint8_t *to;             /* memory to be filled, of the right size */
    smt_os_output *output;   /* borrowed */
    const uint8_t *from;     /* memory to be read */
    const smt_os_file *file; /* borrowed */
    const char *path;
    uint64_t at, n_bytes; /* n_bytes: of the whole */
    XXH3_state_t hash;    /* of the bytes before `at` */
} stream;

static smt_status put(void *user, void *bytes, uint64_t n, smt_error *err) {
    stream *s = user;
    XXH3_64bits_update(&s->hash, bytes, n);
    if (s->to) memcpy(s->to + s->at, bytes, n);
    s->at += n;
    return s->output ? smt_os_output_write(s->output, bytes, n, err) : SMT_OK;
}

/* The caller keeps within n_bytes. */
static smt_status get(void *user, void *bytes, uint64_t n, smt_error *err) {
    stream *s = user;
    if (s->from)
        memcpy(bytes, s->from + s->at, n);
    else
        SMT_TRY(smt_os_file_read(s->file, s->path, s->at, bytes, n, err));
    XXH3_64bits_update(&s->hash, bytes, n);
    s->at += n;
    return SMT_OK;
}

/* All but the length. */
static smt_status describe(const smt_runner *runner, smt_kv_state *out, smt_error *err) {
    const smt_model *model = runner->engine->file->model;
    bool f16 = runner->run->options.cache_f16;
    *out = (smt_kv_state){.n_layers = model->n_layers, .row_bytes = 4 * smt_graph_row_words(model, f16), .f16 = f16};
    return smt_model_identity(model, &out->model, err);
}

/* ---- saving ---- */

static smt_status save(const smt_session *session, const smt_kv_state *state, stream *s, smt_error *err) {
    uint8_t head[SMT_KV_STATE_HEAD];
    XXH3_64bits_reset(&s->hash);
    smt_kv_state_head(state, head);
    SMT_TRY(put(s, head, sizeof head, err));
    SMT_TRY(put(s, session->tokens, state->length * sizeof *session->tokens, err));
    SMT_TRY(smt_run_move_rows(session->runner->run, session->slot, state->length, false, put, s, err));
    uint64_t sum = XXH3_64bits_digest(&s->hash);
    return put(s, &sum, sizeof sum, err);
}

smt_status smt_session_save(const smt_session *session, void **out_bytes, size_t *out_count, smt_error *err) {
    *out_bytes = NULL;
    *out_count = 0;
    smt_kv_state state;
    SMT_TRY(describe(session->runner, &state, err));
    state.length = session->length;
    size_t n = smt_kv_state_bytes(&state);
    stream s = {.to = smt_alloc(1, n)};
    if (!s.to) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a saved session of %zu bytes", n);
    smt_status status = save(session, &state, &s, err);
    if (status != SMT_OK) {
        smt_free(s.to);
        return status;
    }
    *out_bytes = s.to;
    *out_count = n;
    return SMT_OK;
}

smt_status smt_session_save_file(const smt_session *session, const char *path, smt_error *err) {
    smt_kv_state state;
    stream s = {0};
    SMT_TRY(describe(session->runner, &state, err));
    state.length = session->length;
    SMT_TRY(smt_os_output_create(path, &s.output, err));
    smt_status status = save(session, &state, &s, err);
    if (status == SMT_OK) status = smt_os_output_commit(s.output, err);
    smt_os_output_free(s.output);
    return status;
}

/* ---- restoring ---- */

static smt_status get_tokens(smt_session *session, uint32_t length, stream *s, smt_error *err) {
    uint32_t n_vocab = session->runner->engine->file->model->n_vocab;
    SMT_TRY(get(s, session->tokens, length * sizeof *session->tokens, err));
    for (uint32_t i = 0; i < length; i++)
        if (session->tokens[i] < -1 || (session->tokens[i] >= 0 && (uint32_t)session->tokens[i] >= n_vocab))
            return SMT_FAIL(err, SMT_FORMAT, "token %d at index %u of a saved session is outside the vocabulary of %u",
                            session->tokens[i], i, n_vocab);
    return SMT_OK;
}

static smt_status fill(smt_session *session, uint32_t length, stream *s, smt_error *err) {
    smt_run *run = session->runner->run;
    if (length > run->options.n_ctx)
        return SMT_FAIL(err, SMT_FULL, "a saved session of %u tokens exceeds the context of %u", length, run->options.n_ctx);
    SMT_TRY(get_tokens(session, length, s, err));
    SMT_TRY(smt_kv_resize(&run->kv, session->slot, length, err));
    SMT_TRY(smt_run_move_rows(run, session->slot, length, true, get, s, err));
    uint64_t sum = XXH3_64bits_digest(&s->hash), written;
    SMT_TRY(get(s, &written, sizeof written, err));
    if (sum != written)
        return SMT_FAIL(err, SMT_FORMAT, "a saved session is damaged: its checksum is %016llx, its bytes give %016llx",
                        (unsigned long long)written, (unsigned long long)sum);
    session->length = length;
    return SMT_OK;
}

static smt_status restore(smt_runner *runner, stream *s, smt_session **out_session, smt_error *err) {
    smt_kv_state state;
    uint8_t head[SMT_KV_STATE_HEAD];
    XXH3_64bits_reset(&s->hash);
    SMT_TRY(describe(runner, &state, err));
    if (s->n_bytes < sizeof head + SMT_KV_STATE_TAIL)
        return SMT_FAIL(err, SMT_FORMAT, "%llu bytes are no saved session", (unsigned long long)s->n_bytes);
    SMT_TRY(get(s, head, sizeof head, err));
    SMT_TRY(smt_kv_state_check(head, s->n_bytes, &state, err));
    SMT_TRY(smt_session_create(runner, out_session, err));
    smt_status status = fill(*out_session, state.length, s, err);
    if (status == SMT_OK) return SMT_OK;
    smt_session_free(*out_session);
    *out_session = NULL;
    return status;
}

smt_status smt_session_restore(smt_runner *runner, const void *bytes, size_t count, smt_session **out_session, smt_error *err) {
    *out_session = NULL;
    stream s = {.from = bytes, .n_bytes = bytes ? count : 0};
    return restore(runner, &s, out_session, err);
}

smt_status smt_session_restore_file(smt_runner *runner, const char *path, smt_session **out_session, smt_error *err) {
    *out_session = NULL;
    smt_os_file file;
    SMT_TRY(smt_os_file_open(path, &file, err));
    stream s = {.file = &file, .path = path, .n_bytes = file.n_bytes};
    smt_status status = restore(runner, &s, out_session, err);
    smt_os_file_close(&file);
    return status;
}
