/* token_stream.c: from ids to bytes, and to text that is complete UTF-8 after every token.
 *
 * A character may be spread over two to four tokens. The stream keeps the incomplete end of what it has decoded (3 bytes at most)
 * until more arrives; a byte that cannot be part of any character, whatever follows, becomes U+FFFD, one for each. Pushing the
 * tokens one by one and flushing gives the same text as cleaning the bytes of the whole list. */
#include "token_internal.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Well-formed sequences by their first byte (Unicode, table 3-7): what the second byte may be; later ones are 80-BF. */
int smt_token_utf8(const void *text, size_t bytes) {
    const uint8_t *p = text;
    if (bytes == 0) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4) return -1;
    int length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;  /* over-long forms */
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf; /* surrogates, beyond U+10FFFF */
    for (int i = 1; i < length; i++) {
        if ((size_t)i == bytes) return 0;
        if (p[i] < low || p[i] > high) return -1;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

smt_status smt_token_clean(const void *text, size_t bytes, smt_str *out, size_t *out_rest, smt_error *err) {
    const char *p = text;
    size_t done = 0, at = 0; /* [done, at): good, not yet copied */
    if (out_rest) *out_rest = 0;
    while (at < bytes) {
        int length = smt_token_utf8(p + at, bytes - at);
        if (length > 0) {
            at += (size_t)length;
            continue;
        }
        SMT_TRY(smt_str_append(out, p + done, at - done, err));
        done = at;
        if (length == 0 && out_rest) {
            *out_rest = bytes - at;
            return SMT_OK;
        }
        SMT_TRY(smt_str_append(out, REPLACEMENT, 3, err));
        done = ++at;
    }
    return smt_str_append(out, p + done, at - done, err);
}

smt_status smt_token_bytes(const smt_vocab *vocab, int32_t token, bool first, smt_str *out, smt_error *err) {
    if (token < 0 || (uint32_t)token >= vocab->n_tokens)
        return SMT_FAIL(err, SMT_INVALID, "token %d is out of range: the vocabulary has %u", token, vocab->n_tokens);
    const smt_vocab_token *entry = &vocab->tokens[token];
    if (entry->shown) return smt_str_append(out, entry->text, entry->bytes, err);
    switch (entry->kind) {
    case SMT_TOKEN_USER:
        return smt_str_append(out, entry->text, entry->bytes, err);
    case SMT_TOKEN_NORMAL:
    case SMT_TOKEN_BYTE:
        return vocab->spm ? smt_spm_bytes(entry, first && vocab->space_prefix, out, err) : smt_bpe_bytes(entry, out, err);
    default:
        return SMT_OK;
    }
}

bool smt_token_has_text(const smt_vocab *vocab, int32_t token) {
    if (token < 0 || (uint32_t)token >= vocab->n_tokens) return false;
    uint8_t kind = vocab->tokens[token].kind;
    return vocab->tokens[token].shown || kind == SMT_TOKEN_USER || kind == SMT_TOKEN_NORMAL || kind == SMT_TOKEN_BYTE;
}

smt_status smt_token_decode(const smt_vocab *vocab, const int32_t *tokens, size_t count, smt_str *out, smt_error *err) {
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        SMT_TRY(smt_token_bytes(vocab, tokens[i], first, out, err));
        if (smt_token_has_text(vocab, tokens[i])) first = false;
    }
    return smt_str_append(out, "", 0, err);
}

/* ---- streaming ---- */

void smt_token_stream_init(smt_token_stream *stream, const smt_vocab *vocab) { *stream = (smt_token_stream){.vocab = vocab}; }

smt_status smt_token_stream_push(smt_token_stream *stream, int32_t token, smt_error *err) {
    stream->out.bytes = stream->raw.bytes = 0;
    SMT_TRY(smt_str_append(&stream->raw, stream->tail, stream->tail_bytes, err));
    SMT_TRY(smt_token_bytes(stream->vocab, token, !stream->started, &stream->raw, err));
    size_t rest;
    SMT_TRY(smt_token_clean(stream->raw.text, stream->raw.bytes, &stream->out, &rest, err));
    memcpy(stream->tail, stream->raw.text + stream->raw.bytes - rest, rest);
    stream->tail_bytes = (uint32_t)rest;
    if (smt_token_has_text(stream->vocab, token)) stream->started = true;
    return SMT_OK;
}

smt_status smt_token_stream_flush(smt_token_stream *stream, smt_error *err) {
    stream->out.bytes = 0;
    SMT_TRY(smt_token_clean(stream->tail, stream->tail_bytes, &stream->out, NULL, err));
    stream->tail_bytes = 0;
    return SMT_OK;
}

void smt_token_stream_free(smt_token_stream *stream) {
    smt_str_free(&stream->out);
    smt_str_free(&stream->raw);
    *stream = (smt_token_stream){0};
}
