/* api_token.c: smt_tokenizer_*, smt_tokenize, smt_detokenize and smt_text_stream_* over src/token.
 *
 * A tokenizer copies the vocabulary, so the file may go; it never changes after creation, so any thread may use it. A text
 * stream belongs to one reader at a time and borrows its tokenizer, which must outlive it. */
#include "api_internal.h"

struct smt_text_stream {
    smt_token_stream stream;
    smt_token_stops stops;
};

smt_status smt_tokenizer_create(const smt_file *file, smt_tokenizer **out_tokenizer, smt_error *err) {
    *out_tokenizer = NULL;
    smt_tokenizer *tokenizer = smt_alloc(1, sizeof *tokenizer);
    if (!tokenizer) return SMT_FAIL(err, SMT_MEMORY, "out of memory making a tokenizer");
    tokenizer->lazy = smt_alloc(1, sizeof *tokenizer->lazy);
    smt_status status = tokenizer->lazy ? smt_vocab_create(file->gguf, &tokenizer->vocab, err)
                                        : SMT_FAIL(err, SMT_MEMORY, "out of memory making a tokenizer");
    if (status != SMT_OK) {
        smt_tokenizer_free(tokenizer);
        return status;
    }
    *out_tokenizer = tokenizer;
    return SMT_OK;
}

void smt_tokenizer_free(smt_tokenizer *tokenizer) {
    if (!tokenizer) return;
    smt_vocab_free(tokenizer->vocab);
    if (tokenizer->lazy) smt_words_free(atomic_load(&tokenizer->lazy->words));
    smt_free(tokenizer->lazy);
    smt_free(tokenizer);
}

smt_status smt_tokenize(const smt_tokenizer *tokenizer, const char *text, size_t text_bytes, uint32_t flags, int32_t **out_tokens,
                        size_t *out_count, smt_error *err) {
    *out_tokens = NULL;
    *out_count = 0;
    if (flags & ~(uint32_t)(SMT_TOKENIZE_BOS | SMT_TOKENIZE_SPECIAL))
        return SMT_FAIL(err, SMT_INVALID, "unknown tokenizer flags 0x%x", flags);
    return smt_token_encode(tokenizer->vocab, text, text_bytes, flags, out_tokens, out_count, err);
}

/* Hands a decoded text over to the caller, or drops it. */
static smt_status hand_over(smt_status status, smt_str *text, char **out_text, size_t *out_bytes) {
    if (status != SMT_OK) smt_str_free(text);
    *out_text = text->text;
    *out_bytes = text->bytes;
    return status;
}

smt_status smt_detokenize(const smt_tokenizer *tokenizer, const int32_t *tokens, size_t count, char **out_text, size_t *out_bytes,
                          smt_error *err) {
    smt_str text = {0};
    smt_status status = smt_token_decode(tokenizer->vocab, tokens, count, &text, err);
    return hand_over(status, &text, out_text, out_bytes);
}

smt_status smt_token_text(const smt_tokenizer *tokenizer, int32_t token, char **out_text, size_t *out_bytes, smt_error *err) {
    smt_str text = {0};
    smt_status status = smt_token_bytes(tokenizer->vocab, token, false, &text, err);
    if (status == SMT_OK) status = smt_str_append(&text, "", 0, err); /* control tokens give no bytes */
    return hand_over(status, &text, out_text, out_bytes);
}

uint32_t smt_tokenizer_size(const smt_tokenizer *tokenizer) { return smt_vocab_size(tokenizer->vocab); }

bool smt_tokenizer_is_end(const smt_tokenizer *tokenizer, int32_t token) { return smt_vocab_is_end(tokenizer->vocab, token); }

bool smt_tokenizer_adds_bos(const smt_tokenizer *tokenizer) { return smt_vocab_adds_bos(tokenizer->vocab); }

/* ---- streaming ---- */

smt_status smt_text_stream_create(const smt_tokenizer *tokenizer, smt_text_stream **out_stream, smt_error *err) {
    *out_stream = smt_alloc(1, sizeof **out_stream);
    if (!*out_stream) return SMT_FAIL(err, SMT_MEMORY, "out of memory making a text stream");
    smt_token_stream_init(&(*out_stream)->stream, tokenizer->vocab);
    (*out_stream)->stops.hit = -1;
    return SMT_OK;
}

void smt_text_stream_free(smt_text_stream *stream) {
    if (!stream) return;
    smt_token_stream_free(&stream->stream);
    smt_token_stops_free(&stream->stops);
    smt_free(stream);
}

smt_status smt_text_stream_set_stops(smt_text_stream *stream, const char *const *stops, uint32_t n_stops, smt_error *err) {
    if (n_stops && !stops) return SMT_FAIL(err, SMT_INVALID, "stops is NULL, n_stops %u", n_stops);
    return smt_token_stops_set(&stream->stops, stops, n_stops, err);
}

int32_t smt_text_stream_stop(const smt_text_stream *stream) { return stream->stops.hit; }

/* Hands on a text, through the stop strings where there are any. */
static smt_status give(smt_text_stream *stream, const char *text, size_t bytes, bool last, const char **out_text,
                       size_t *out_bytes, smt_error *err) {
    if (stream->stops.n) {
        SMT_TRY(smt_token_stops_feed(&stream->stops, text, bytes, err));
        if (last) smt_token_stops_end(&stream->stops);
        text = stream->stops.text.text;
        bytes = stream->stops.n_given;
    }
    *out_text = text ? text : "";
    *out_bytes = bytes;
    return SMT_OK;
}

smt_status smt_text_stream_push(smt_text_stream *stream, int32_t token, const char **out_text, size_t *out_bytes,
                                smt_error *err) {
    *out_text = "";
    *out_bytes = 0;
    SMT_TRY(smt_token_stream_push(&stream->stream, token, err));
    return give(stream, stream->stream.out.text, stream->stream.out.bytes, false, out_text, out_bytes, err);
}

smt_status smt_text_stream_push_text(smt_text_stream *stream, const char *text, size_t text_bytes, const char **out_text,
                                     size_t *out_bytes, smt_error *err) {
    *out_text = "";
    *out_bytes = 0;
    return give(stream, text, text_bytes, false, out_text, out_bytes, err);
}

void smt_text_stream_flush(smt_text_stream *stream, const char **out_text, size_t *out_bytes) {
    *out_text = "";
    *out_bytes = 0;
    if (smt_token_stream_flush(&stream->stream, NULL) != SMT_OK) return;
    give(stream, stream->stream.out.text, stream->stream.out.bytes, true, out_text, out_bytes, NULL);
}
