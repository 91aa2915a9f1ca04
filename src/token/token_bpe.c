/* token_bpe.c: byte-level BPE: bytes written as printable characters, merged by rank.
 *
 * Files spell the token texts in the byte-to-unicode alphabet: bytes 33-126, 161-172 and 174-255 are the character of the same
 * number, the other 68 follow in order from U+0100 on ("Ġ" is the space). Encoding needs the alphabet only while loading: each
 * of the 256 bytes has its token id, and a merge is a pair of ids, because texts and ids correspond one to one. */
#include "token_internal.h"

#include <string.h>
#include <xxhash.h>

static uint32_t char_of_byte(uint32_t byte) {
    if (byte <= 32) return 256 + byte;
    if (byte >= 127 && byte <= 160) return 289 + byte - 127;
    return byte == 173 ? 323 : byte;
}

static int byte_of_char(uint32_t character) {
    if (character >= 256 && character <= 288) return (int)(character - 256);
    if (character >= 289 && character <= 322) return (int)(character - 289 + 127);
    if (character == 323) return 173;
    return character < 256 && char_of_byte(character) == character ? (int)character : -1;
}

/* UTF-8 of the character of a byte; returns 1 or 2. */
static size_t write_char(uint32_t byte, char out[2]) {
    uint32_t character = char_of_byte(byte);
    if (character < 128) {
        out[0] = (char)character;
        return 1;
    }
    out[0] = (char)(0xc0 | character >> 6);
    out[1] = (char)(0x80 | (character & 63));
    return 2;
}

static smt_status load_bytes(smt_vocab *vocab, smt_error *err) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[2];
        vocab->byte_ids[byte] = smt_vocab_find(vocab, text, write_char(byte, text));
        bool in_utf8 = byte < 0xf5 && byte != 0xc0 && byte != 0xc1;
        if (vocab->byte_ids[byte] < 0 && in_utf8)
            return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.tokens: none of the %u tokens stands for byte 0x%02X (U+%04X)",
                            vocab->n_tokens, byte, char_of_byte(byte));
    }
    return SMT_OK;
}

/* The slot of a pair, or the free one where it belongs: the table is at most half full. */
static smt_bpe_merge *merge_slot(const smt_vocab *vocab, uint64_t pair) {
    uint64_t at = XXH3_64bits(&pair, sizeof pair) & vocab->merge_mask;
    while (vocab->merges[at].rank_plus_1 && vocab->merges[at].pair != pair) at = (at + 1) & vocab->merge_mask;
    return &vocab->merges[at];
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

/* A line is "left right"; the left part is never empty, so the search for the space starts at index 1. */
static smt_status load_merge(smt_vocab *vocab, smt_gguf_string line, uint64_t rank, smt_str *joined, smt_error *err) {
    const char *space = line.bytes > 2 ? memchr(line.text + 1, ' ', line.bytes - 2) : NULL;
    if (!space)
        return SMT_FAIL(err, SMT_FORMAT,
                        "tokenizer.ggml.merges[%llu]: \"%.*s\" (%zu bytes) is not two texts with a space between",
                        (unsigned long long)rank, (int)smt_min_u64(line.bytes, 60), line.text, line.bytes);
    size_t left_bytes = (size_t)(space - line.text), right_bytes = line.bytes - left_bytes - 1;
    joined->bytes = 0;
    SMT_TRY(smt_str_append(joined, line.text, left_bytes, err));
    SMT_TRY(smt_str_append(joined, space + 1, right_bytes, err));
    int32_t left = smt_vocab_find(vocab, joined->text, left_bytes);
    int32_t right = smt_vocab_find(vocab, joined->text + left_bytes, right_bytes);
    int32_t merged = smt_vocab_find(vocab, joined->text, joined->bytes);
    if (left < 0 || right < 0 || merged < 0)
        return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.merges[%llu]: the %s of \"%.*s\" is not among the %u tokens",
                        (unsigned long long)rank,
                        left < 0    ? "left part"
                        : right < 0 ? "right part"
                                    : "result",
                        (int)smt_min_u64(line.bytes, 60), line.text, vocab->n_tokens);
    uint64_t pair = pair_of(left, right);
    smt_bpe_merge *slot = merge_slot(vocab, pair);
    if (slot->rank_plus_1 == 0) *slot = (smt_bpe_merge){pair, (uint32_t)rank + 1, merged};
    return SMT_OK;
}

smt_status smt_bpe_load(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    SMT_TRY(load_bytes(vocab, err));
    const smt_gguf_key *key;
    SMT_TRY(smt_vocab_array(file, "tokenizer.ggml.merges", SMT_GGUF_STRING, &key, err));
    if (key->count > INT32_MAX)
        return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.merges: %llu merges, at most %d are possible",
                        (unsigned long long)key->count, INT32_MAX);
    uint64_t slots = 16;
    while (slots < 2 * key->count) slots *= 2;
    vocab->merges = smt_alloc(slots, sizeof *vocab->merges);
    if (!vocab->merges)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for the table of %llu merges", (unsigned long long)key->count);
    vocab->merge_mask = slots - 1;
    smt_str joined = {0};
    smt_status status = SMT_OK;
    for (uint64_t i = 0; i < key->count && status == SMT_OK; i++) status = load_merge(vocab, key->strings[i], i, &joined, err);
    smt_str_free(&joined);
    return status;
}

static bool find_pair(const smt_token_work *work, const smt_token_symbol *left, const smt_token_symbol *right, uint32_t *priority,
                      int32_t *id) {
    const smt_bpe_merge *merge = merge_slot(work->vocab, pair_of(left->id, right->id));
    if (merge->rank_plus_1 == 0) return false;
    *priority = merge->rank_plus_1;
    *id = merge->merged;
    return true;
}

/* The token that is exactly this fragment, -1: none. */
static smt_status find_whole(smt_token_work *work, const char *text, uint32_t bytes, int32_t *out_id, smt_error *err) {
    *out_id = -1;
    if (bytes > work->vocab->longest) return SMT_OK;
    work->scratch.bytes = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        char spelled[2];
        SMT_TRY(smt_str_append(&work->scratch, spelled, write_char((uint8_t)text[i], spelled), err));
    }
    *out_id = smt_vocab_find(work->vocab, work->scratch.text, work->scratch.bytes);
    return SMT_OK;
}

static smt_status encode_fragment(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err) {
    if (smt_split_ignores_merges(work->vocab->split)) {
        int32_t whole;
        SMT_TRY(find_whole(work, text, bytes, &whole, err));
        if (whole >= 0) return smt_token_put(work, whole, err);
    }
    SMT_TRY(smt_token_symbols(work, bytes, err));
    for (uint32_t i = 0; i < bytes; i++) {
        work->symbols[i].start = i;
        work->symbols[i].bytes = 1;
        work->symbols[i].id = work->vocab->byte_ids[(uint8_t)text[i]];
    }
    SMT_TRY(smt_token_merge(work, find_pair, err));
    for (int32_t i = 0; i >= 0; i = work->symbols[i].next) SMT_TRY(smt_token_put(work, work->symbols[i].id, err));
    return SMT_OK;
}

smt_status smt_bpe_encode(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err) {
    SMT_TRY(smt_split_run(work->vocab->split, text, bytes, &work->split, err));
    for (size_t i = 0; i < work->split.n_list; i++) {
        smt_fragment fragment = work->split.list[i];
        SMT_TRY(encode_fragment(work, text + fragment.start, fragment.bytes, err));
    }
    return SMT_OK;
}

/* Characters outside the alphabet (an added token typed as a normal one) stand for themselves. */
smt_status smt_bpe_bytes(const smt_vocab_token *token, smt_str *out, smt_error *err) {
    for (uint32_t at = 0; at < token->bytes;) {
        const uint8_t *text = (const uint8_t *)token->text + at;
        int length = smt_token_utf8(text, token->bytes - at);
        uint32_t character = length == 1 ? text[0] : length == 2 ? (text[0] & 31u) << 6 | (text[1] & 63u) : UINT32_MAX;
        int byte = byte_of_char(character);
        uint8_t decoded = (uint8_t)byte;
        size_t count = length > 0 ? (size_t)length : 1;
        SMT_TRY(byte >= 0 ? smt_str_append(out, &decoded, 1, err) : smt_str_append(out, text, count, err));
        at += (uint32_t)count;
    }
    return SMT_OK;
}
