/* token_spm.c: SPM (Llama 2): characters merged by the score of what they become, bytes where no token fits.
 *
 * Spaces are U+2581 inside. A piece gets one space in front where the file says so, since words were trained with the space
 * before them; decoding drops it again at the very start of a text. Only normal and user-defined tokens can result from
 * merging: the spelled-out name of a control or byte token in a text stays text. */
#include "token_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SPACE "\xe2\x96\x81" /* U+2581 */

/* Ascending numbers for descending scores, so that the merge heap compares integers. */
static uint32_t priority_of(float score) {
    float positive_zero = score + 0.0f; /* -0 and 0 are equal scores */
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

static smt_status load_bytes(smt_vocab *vocab, smt_error *err) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        int bytes = snprintf(text, sizeof text, "<0x%02X>", byte);
        int32_t id = smt_vocab_find(vocab, text, (size_t)bytes);
        if (id < 0 || vocab->tokens[id].kind != SMT_TOKEN_BYTE)
            return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.tokens: none of the %u tokens is the byte token %s", vocab->n_tokens,
                            text);
        vocab->byte_ids[byte] = id;
    }
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        smt_vocab_token *token = &vocab->tokens[id];
        if (token->kind == SMT_TOKEN_BYTE && (token->bytes != 6 || smt_vocab_find(vocab, token->text, 6) != (int32_t)id))
            return SMT_FAIL(err, SMT_FORMAT,
                            "tokenizer.ggml.tokens[%u]: \"%.*s\" is typed as a byte but is not one of <0x00> to <0xFF>", id,
                            (int)smt_min_u32(token->bytes, 60), token->text);
    }
    return SMT_OK;
}

smt_status smt_spm_load(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    SMT_TRY(load_bytes(vocab, err));
    const smt_gguf_key *key;
    SMT_TRY(smt_vocab_array(file, "tokenizer.ggml.scores", SMT_GGUF_F32, &key, err));
    if (key->count != vocab->n_tokens)
        return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.scores has %llu elements, tokenizer.ggml.tokens has %u",
                        (unsigned long long)key->count, vocab->n_tokens);
    vocab->priorities = smt_alloc(vocab->n_tokens, sizeof *vocab->priorities);
    if (!vocab->priorities) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u token scores", vocab->n_tokens);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        float score = smt_gguf_array_f32(key, i);
        if (isnan(score)) return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.scores[%u] is not a number", i);
        vocab->priorities[i] = priority_of(score);
    }
    vocab->space_prefix = true;
    return smt_gguf_bool(file, "tokenizer.ggml.add_space_prefix", &vocab->space_prefix, NULL, err);
}

/* The token that this text may become, -1: none. */
static int32_t find_piece(const smt_token_work *work, uint32_t start, uint32_t bytes) {
    const smt_vocab *vocab = work->vocab;
    if (bytes > vocab->longest) return -1;
    int32_t id = smt_vocab_find(vocab, work->text + start, bytes);
    bool usable = id >= 0 && (vocab->tokens[id].kind == SMT_TOKEN_NORMAL || vocab->tokens[id].kind == SMT_TOKEN_USER);
    return usable ? id : -1;
}

static bool find_pair(const smt_token_work *work, const smt_token_symbol *left, const smt_token_symbol *right, uint32_t *priority,
                      int32_t *id) {
    *id = find_piece(work, left->start, left->bytes + right->bytes);
    if (*id < 0) return false;
    *priority = work->vocab->priorities[*id];
    return true;
}

/* work->scratch becomes the piece as the vocabulary spells it. */
static smt_status escape_spaces(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err) {
    work->scratch.bytes = 0;
    if (work->vocab->space_prefix) SMT_TRY(smt_str_append(&work->scratch, SPACE, 3, err));
    for (uint32_t at = 0, end; at < bytes; at = end) {
        end = at;
        while (end < bytes && text[end] != ' ') end++;
        SMT_TRY(smt_str_append(&work->scratch, text + at, end - at, err));
        if (end == bytes) break;
        SMT_TRY(smt_str_append(&work->scratch, SPACE, 3, err));
        end++;
    }
    return SMT_OK;
}

smt_status smt_spm_encode(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err) {
    if (bytes == 0) return SMT_OK;
    SMT_TRY(escape_spaces(work, text, bytes, err));
    work->text = work->scratch.text;
    size_t n_bytes = work->scratch.bytes, n = 0;
    for (size_t i = 0; i < n_bytes; i++) n += ((uint8_t)work->text[i] & 0xc0) != 0x80;
    SMT_TRY(smt_token_symbols(work, n, err));
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        smt_token_symbol *symbol = &work->symbols[i];
        symbol->start = at;
        symbol->bytes = (uint32_t)smt_token_utf8(work->text + at, n_bytes - at);
        symbol->id = find_piece(work, at, symbol->bytes);
        at += symbol->bytes;
    }
    SMT_TRY(smt_token_merge(work, find_pair, err));
    for (int32_t i = 0; i >= 0; i = work->symbols[i].next) {
        const smt_token_symbol *symbol = &work->symbols[i];
        if (symbol->id >= 0) {
            SMT_TRY(smt_token_put(work, symbol->id, err));
            continue;
        }
        for (uint32_t k = 0; k < symbol->bytes; k++)
            SMT_TRY(smt_token_put(work, work->vocab->byte_ids[(uint8_t)work->text[symbol->start + k]], err));
    }
    return SMT_OK;
}

static int hex_digit(char digit) { return digit <= '9' ? digit - '0' : digit - 'A' + 10; }

smt_status smt_spm_bytes(const smt_vocab_token *token, bool first, smt_str *out, smt_error *err) {
    if (token->kind == SMT_TOKEN_BYTE) { /* "<0xHH>": checked while loading */
        uint8_t byte = (uint8_t)(hex_digit(token->text[3]) << 4 | hex_digit(token->text[4]));
        return smt_str_append(out, &byte, 1, err);
    }
    for (uint32_t at = 0; at < token->bytes;) {
        bool space = token->bytes - at >= 3 && memcmp(token->text + at, SPACE, 3) == 0;
        if (!space)
            SMT_TRY(smt_str_append(out, token->text + at, 1, err));
        else if (!first || at > 0)
            SMT_TRY(smt_str_append(out, " ", 1, err));
        at += space ? 3 : 1;
    }
    return SMT_OK;
}
