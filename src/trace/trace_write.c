/* trace_write.c: tokens into chunks into a file.
 *
 * The tokens of the chunk under way are rows, one after another; they become columns when the chunk is full, since only then their number
 * is known. After a failure nothing more can be added, as the file may end in half a chunk. */
#include "trace/trace.h"

#include "os/os.h"

struct smt_trace_writer {
    smt_os_output *output; /* owned */
    smt_trace_rows rows;
    smt_str pending, texts; /* owned: the chunk under way */
    smt_str raw, chunk;     /* owned: what becomes of it */
    uint32_t n_pending;     /* tokens in it */
    uint64_t n_tokens, next_number;
    bool ended; /* by the commit or a failure */
};

void smt_trace_writer_free(smt_trace_writer *writer) {
    if (!writer) return;
    smt_os_output_free(writer->output);
    smt_str_free(&writer->pending);
    smt_str_free(&writer->texts);
    smt_str_free(&writer->raw);
    smt_str_free(&writer->chunk);
    smt_free(writer);
}

/* Compresses `raw` and writes it. */
static smt_status write_chunk(smt_trace_writer *w, smt_trace_kind kind, uint32_t tokens, smt_error *err) {
    w->chunk.bytes = 0;
    SMT_TRY(smt_trace_chunk_write(kind, tokens, &w->raw, &w->chunk, err));
    w->raw.bytes = 0;
    return smt_os_output_write(w->output, w->chunk.text, w->chunk.bytes, err);
}

static smt_status write_start(smt_trace_writer *w, const smt_trace_model *model, smt_error *err) {
    uint8_t start[SMT_TRACE_START] = "SMTTRACE";
    smt_trace_put(start + 8, SMT_TRACE_VERSION, 8);
    SMT_TRY(smt_os_output_write(w->output, start, sizeof start, err));
    SMT_TRY(smt_trace_model_write(model, &w->raw, err));
    return write_chunk(w, SMT_TRACE_MODEL, 0, err);
}

smt_status smt_trace_write_begin(const char *path, const smt_trace_model *model, smt_trace_writer **out, smt_error *err) {
    *out = NULL;
    SMT_TRY(smt_trace_model_check(model, err));
    smt_trace_writer *w = smt_alloc(1, sizeof *w);
    if (!w) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a trace");
    w->rows = smt_trace_rows_of(model, SMT_TRACE_VERSION);
    smt_status status = smt_os_output_create(path, &w->output, err);
    if (status == SMT_OK) status = write_start(w, model, err);
    if (status != SMT_OK)
        smt_trace_writer_free(w);
    else
        *out = w;
    return status;
}

static smt_status flush(smt_trace_writer *w, smt_error *err) {
    if (w->n_pending == 0) return SMT_OK;
    SMT_TRY(smt_grow((void **)&w->raw.text, &w->raw.capacity, w->pending.bytes + w->texts.bytes, 1, err));
    smt_trace_rows_transpose(&w->rows, (const uint8_t *)w->pending.text, w->n_pending, (uint8_t *)w->raw.text);
    w->raw.bytes = w->pending.bytes;
    SMT_TRY(smt_str_append(&w->raw, w->texts.text, w->texts.bytes, err));
    SMT_TRY(write_chunk(w, SMT_TRACE_TOKENS, w->n_pending, err));
    w->pending.bytes = w->texts.bytes = w->n_pending = 0;
    return SMT_OK;
}

static smt_status add(smt_trace_writer *w, const smt_trace_token *token, smt_error *err) {
    size_t at = w->pending.bytes;
    if (token->number < w->next_number)
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: number %llu after %llu", (unsigned long long)token->number,
                        (unsigned long long)w->next_number - 1);
    SMT_TRY(smt_grow((void **)&w->pending.text, &w->pending.capacity, at + w->rows.bytes, 1, err));
    SMT_TRY(smt_trace_row_write(&w->rows, token, (uint8_t *)w->pending.text + at, err));
    if (token->text) SMT_TRY(smt_str_append(&w->texts, token->text, token->text_bytes, err));
    w->pending.bytes += w->rows.bytes;
    w->n_pending++;
    w->n_tokens++;
    w->next_number = token->number + 1;
    bool full = w->n_pending == SMT_TRACE_CHUNK_TOKENS || w->pending.bytes + w->texts.bytes >= SMT_TRACE_CHUNK_BYTES;
    return full ? flush(w, err) : SMT_OK;
}

static smt_status refuse_ended(const smt_trace_writer *w, smt_error *err) {
    return w->ended ? SMT_FAIL(err, SMT_INVALID, "this trace of %llu tokens has ended", (unsigned long long)w->n_tokens) : SMT_OK;
}

smt_status smt_trace_write_token(smt_trace_writer *writer, const smt_trace_token *token, smt_error *err) {
    SMT_TRY(refuse_ended(writer, err));
    smt_status status = add(writer, token, err);
    writer->ended = status != SMT_OK && status != SMT_INVALID;
    return status;
}

static smt_status write_end(smt_trace_writer *w, uint64_t dropped, smt_error *err) {
    SMT_TRY(flush(w, err));
    SMT_TRY(smt_trace_append(&w->raw, w->n_tokens, 8, err));
    SMT_TRY(smt_trace_append(&w->raw, dropped, 8, err));
    SMT_TRY(write_chunk(w, SMT_TRACE_END, 0, err));
    return smt_os_output_commit(w->output, err);
}

smt_status smt_trace_writer_commit(smt_trace_writer *writer, uint64_t dropped, smt_error *err) {
    SMT_TRY(refuse_ended(writer, err));
    writer->ended = true;
    return write_end(writer, dropped, err);
}
