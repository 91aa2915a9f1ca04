/* token_internal.h: what the files of this room share: the vocabulary's inside, and the scratch memory of one encoding.
 *
 * Invariants of a vocabulary that smt_vocab_create returned
 *   1. Every id stored anywhere (merges, byte ids, bos) is below n_tokens; every token text lies in `texts`.
 *   2. BPE: each byte that can occur in UTF-8 has a token, and both sides and the result of each merge are tokens.
 *   3. SPM: each of the 256 bytes has a token of kind byte, and no score is NaN.
 * Hence encoding never meets a symbol without a token, and can only fail for want of memory. */
#ifndef SMT_TOKEN_INTERNAL_H
#define SMT_TOKEN_INTERNAL_H

#include "token.h"

/* Keeps every offset below 2^32, also after each space has become the three bytes of U+2581. */
#define SMT_TOKEN_MAX_TEXT ((size_t)1 << 30)

typedef enum smt_token_kind { /* as tokenizer.ggml.token_type numbers them */
                              SMT_TOKEN_NORMAL = 1,
                              SMT_TOKEN_UNKNOWN,
                              SMT_TOKEN_CONTROL,
                              SMT_TOKEN_USER, /* matched in any text, and stands for itself */
                              SMT_TOKEN_UNUSED,
                              SMT_TOKEN_BYTE
} smt_token_kind;

typedef struct smt_vocab_token {
    const char *text; /* in smt_vocab.texts, not NUL-terminated */
    uint32_t bytes;
    uint8_t kind;
    bool ends;  /* generation stops here */
    bool shown; /* has a text whatever its kind: see token_vocab.c */
} smt_vocab_token;

typedef struct smt_bpe_merge { /* a slot of an open-addressing table */
    uint64_t pair;             /* left id << 32 | right id */
    uint32_t rank_plus_1;      /* 0: the slot is free */
    int32_t merged;
} smt_bpe_merge;

typedef struct smt_vocab_special { /* the cut candidates of one length */
    uint32_t bytes;
    uint32_t first[8]; /* bit set of their first bytes: rejects nearly every position without hashing */
} smt_vocab_special;

typedef struct smt_split smt_split;

struct smt_vocab {
    uint32_t n_tokens;
    int32_t bos, eos; /* -1: none */
    int32_t fim[3];   /* marks of prefix, suffix, middle; -1: none */
    bool spm, adds_bos, space_prefix;
    smt_vocab_token *tokens;     /* owned, [n_tokens] */
    char *texts;                 /* owned: all texts, one after the other */
    uint32_t *text_slots;        /* owned: text hash table of id + 1, 0 where free */
    uint64_t text_mask;          /* slots - 1 */
    uint32_t longest;            /* bytes of the longest text */
    smt_vocab_special *specials; /* owned, longest first */
    size_t n_specials;
    int32_t byte_ids[256]; /* -1: none (BPE: only bytes that UTF-8 never contains) */
    uint32_t *priorities;  /* owned, SPM: [n_tokens], lower merges first */
    smt_bpe_merge *merges; /* owned, BPE */
    uint64_t merge_mask;
    smt_split *split; /* owned, BPE */
};

typedef struct smt_fragment {
    uint32_t start, bytes;
} smt_fragment;

typedef struct smt_split_scratch {
    void *match;         /* owned: pcre2_match_data */
    smt_fragment *list;  /* owned: the result */
    smt_fragment *spare; /* owned */
    size_t n_list, list_capacity, spare_capacity;
} smt_split_scratch;

typedef struct smt_token_symbol { /* a node of the doubly linked list that merging shrinks; -1 ends it */
    uint32_t start, bytes;        /* of smt_token_work.text; bytes 0: swallowed by its left neighbour */
    int32_t id, prev, next;
} smt_token_symbol;

typedef struct smt_token_candidate { /* a merge that was possible when it was found */
    uint64_t key;                    /* priority << 32 | left symbol: least first, leftmost among equals */
    uint32_t bytes;                  /* of both symbols then: symbols only grow, so an equal sum means that nothing changed */
    int32_t id;
} smt_token_candidate;

typedef struct smt_token_work { /* scratch of one smt_token_encode */
    const smt_vocab *vocab;
    const char *text;          /* what the symbols point into */
    smt_token_symbol *symbols; /* owned */
    size_t n_symbols, symbol_capacity;
    smt_token_candidate *heap; /* owned: binary heap by key */
    size_t n_heap, heap_capacity;
    smt_split_scratch split;
    smt_str clean, scratch; /* the piece as valid UTF-8; its escaped form */
    int32_t *ids;           /* owned: the result */
    size_t n_ids, id_capacity;
} smt_token_work;

/* ---- token_vocab.c ---- */
/* An array key that must exist with elements of `kind`. */
smt_status smt_vocab_array(const smt_gguf *file, const char *name, smt_gguf_kind kind, const smt_gguf_key **out, smt_error *err);

/* ---- token_split.c ---- */
/* What tells vocabularies apart whose files name no pre-tokenizer. */
typedef struct smt_split_facts {
    uint32_t n_tokens;
    int32_t deepseek_bos, llama_bos; /* ids of the begin tokens, -1: the vocabulary has no such token */
} smt_split_facts;
/* `pre` may be empty. */
smt_status smt_split_create(smt_gguf_string pre, const smt_split_facts *facts, smt_split **out, smt_error *err);
/* The name of the pre-tokenizer that is assumed; NULL where `pre` names one. */
const char *smt_split_assumed(smt_gguf_string pre, const smt_split_facts *facts);
void smt_split_free(smt_split *split);
bool smt_split_ignores_merges(const smt_split *split); /* a fragment that is a token is taken whole */
/* `text` is valid UTF-8. The fragments cover it in order, none is empty. */
smt_status smt_split_run(const smt_split *split, const char *text, uint32_t bytes, smt_split_scratch *scratch, smt_error *err);
void smt_split_scratch_free(smt_split_scratch *scratch);

/* ---- token_encode.c ---- */
/* The ids of a text that others wrote, appended to work->ids: no control token is recognised, however the file types it. */
smt_status smt_token_encode_given(smt_token_work *work, const char *text, size_t bytes, smt_error *err);
void smt_token_work_free(smt_token_work *work);

/* ---- token_merge.c ---- */
/* Whether two neighbours may merge, and then how urgently and into what. */
typedef bool (*smt_token_pair)(const smt_token_work *work, const smt_token_symbol *left, const smt_token_symbol *right,
                               uint32_t *priority, int32_t *id);
/* Makes work->symbols (linked in order, one at least) shrink until no pair is left; the list then starts at symbol 0. */
smt_status smt_token_merge(smt_token_work *work, smt_token_pair pair, smt_error *err);
smt_status smt_token_symbols(smt_token_work *work, size_t count, smt_error *err); /* room for so many, linked; rest unset */
smt_status smt_token_put(smt_token_work *work, int32_t id, smt_error *err);

/* ---- token_bpe.c, token_spm.c ---- */
smt_status smt_bpe_load(const smt_gguf *file, smt_vocab *vocab, smt_error *err);
smt_status smt_bpe_encode(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err);
smt_status smt_bpe_bytes(const smt_vocab_token *token, smt_str *out, smt_error *err);
smt_status smt_spm_load(const smt_gguf *file, smt_vocab *vocab, smt_error *err);
smt_status smt_spm_encode(smt_token_work *work, const char *text, uint32_t bytes, smt_error *err);
smt_status smt_spm_bytes(const smt_vocab_token *token, bool first, smt_str *out, smt_error *err);

/* ---- token_stream.c ---- */
/* Bytes of the well-formed UTF-8 sequence at the start; 0: cut off, more bytes could complete it; -1: its first byte is bad. */
int smt_token_utf8(const void *text, size_t bytes);
/* Appends the text with each bad byte as U+FFFD. The last `*out_rest` bytes (3 at most), which more input could complete,
 * are left out; with out_rest NULL they count as bad. */
smt_status smt_token_clean(const void *text, size_t bytes, smt_str *out, size_t *out_rest, smt_error *err);

#endif
