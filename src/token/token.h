/* token.h: text to token ids and back: byte-level BPE and SPM, exactly as the models were trained.
 *
 *   text --specials--> pieces --pre-split (BPE) / space escape (SPM)--> fragments --merges--> ids
 *
 * token_vocab.c  the vocabulary: texts, kinds, hashed look-up, special ids   token_encode.c  cuts out specials, calls the family
 * token_split.c  the pre-tokenizer patterns (PCRE2)                          token_merge.c   the merge loop of both families
 * token_bpe.c    bytes, merges by rank                                       token_spm.c     merges by score, byte fallback
 * token_stream.c ids to bytes, UTF-8-safe streaming                          token_stop.c    stop strings in streamed text
 * token_fim.c    prompts for filling in the middle
 * The vocabulary copies what it needs: the file may be freed. It is read-only once made, so any thread may use it. */
#ifndef SMT_TOKEN_H
#define SMT_TOKEN_H

#include "gguf/gguf.h"

typedef struct smt_vocab smt_vocab;

smt_status smt_vocab_create(const smt_gguf *file, smt_vocab **out, smt_error *err);
void smt_vocab_free(smt_vocab *vocab);
uint32_t smt_vocab_size(const smt_vocab *vocab);
bool smt_vocab_adds_bos(const smt_vocab *vocab);
int32_t smt_vocab_bos(const smt_vocab *vocab); /* -1: none */
int32_t smt_vocab_eos(const smt_vocab *vocab); /* -1: none */
/* As the file spells it; not NUL-terminated. */
const char *smt_vocab_text(const smt_vocab *vocab, int32_t token, size_t *out_bytes);
/* The id of the token with exactly this text, -1: none. Of equal texts the last one counts. */
int32_t smt_vocab_find(const smt_vocab *vocab, const char *text, size_t bytes);
/* What a file of byte-level BPE does not say of its pre-tokenizer, and what is taken instead, as one line in `text` (""  where
 * nothing is assumed). Needs no vocabulary: it looks at the keys alone. */
void smt_vocab_assumed(const smt_gguf *file, char *text, size_t capacity);
bool smt_vocab_is_end(const smt_vocab *vocab, int32_t token);

/* flags: SMT_TOKENIZE_*. *out_tokens belongs to the caller (smt_free). */
smt_status smt_token_encode(const smt_vocab *vocab, const char *text, size_t bytes, uint32_t flags, int32_t **out_tokens,
                            size_t *out_count, smt_error *err);
/* A prompt that was put together from a template and texts that others gave: control tokens are recognised where `given` [bytes]
 * is 0 throughout (NULL: everywhere), and nowhere else. The beginning token comes first, once, where the file asks for it. */
smt_status smt_token_encode_prompt(const smt_vocab *vocab, const char *text, const uint8_t *given, size_t bytes,
                                   int32_t **out_tokens, size_t *out_count, smt_error *err);
/* beginning token (where the file asks for it), prefix mark, prefix, suffix mark, suffix, middle mark: the model then writes what
 * belongs between. No special token is recognised in the texts. SMT_UNSUPPORTED names the mark the vocabulary lacks. */
smt_status smt_token_fim(const smt_vocab *vocab, const smt_fim *request, int32_t **out_tokens, size_t *out_count, smt_error *err);
/* Appends the bytes of one token. `first`: no token with text came before it (SPM then drops its space). */
smt_status smt_token_bytes(const smt_vocab *vocab, int32_t token, bool first, smt_str *out, smt_error *err);
/* False: control, unknown and unused tokens, which give nothing and do not count as the first of a text; of control tokens only the
 * marks of DeepSeek's calls of functions have one. */
bool smt_token_has_text(const smt_vocab *vocab, int32_t token);
/* Appends the bytes of a whole list; NUL-terminated also when empty. A token out of range is SMT_INVALID. */
smt_status smt_token_decode(const smt_vocab *vocab, const int32_t *tokens, size_t count, smt_str *out, smt_error *err);

/* Holds back incomplete UTF-8 (3 bytes at most); what can no longer become valid turns into U+FFFD. */
typedef struct smt_token_stream {
    const smt_vocab *vocab; /* borrowed */
    smt_str out, raw;       /* owned; raw: tail and token before they are checked */
    uint8_t tail[4];
    uint32_t tail_bytes;
    bool started; /* set it after init where the tokens continue a text: SPM then keeps the first space */
} smt_token_stream;
void smt_token_stream_init(smt_token_stream *stream, const smt_vocab *vocab);
smt_status smt_token_stream_push(smt_token_stream *stream, int32_t token, smt_error *err); /* result in stream->out */
smt_status smt_token_stream_flush(smt_token_stream *stream, smt_error *err);
void smt_token_stream_free(smt_token_stream *stream);

/* Finds stop strings in a text that comes in pieces; no piece border changes what it finds. */
typedef struct smt_token_stop smt_token_stop;
typedef struct smt_token_stops {
    smt_token_stop *stops; /* owned by `memory`, [n] */
    uint32_t n;
    int32_t hit;  /* index of the stop string that has ended the text, or -1 */
    smt_str text; /* owned: text.text[0, n_given) is the result of the last call, the rest is held back */
    size_t n_given;
    smt_arena memory; /* owned: the strings and their tables */
} smt_token_stops;
/* Replaces the strings and begins a new text; SMT_INVALID for one that is empty or not UTF-8. On failure there are none. */
smt_status smt_token_stops_set(smt_token_stops *stops, const char *const *texts, uint32_t n, smt_error *err);
smt_status smt_token_stops_feed(smt_token_stops *stops, const char *text, size_t bytes, smt_error *err);
/* The text is over: gives what is held back, and the next piece begins a new one. */
void smt_token_stops_end(smt_token_stops *stops);
void smt_token_stops_free(smt_token_stops *stops);

#endif
