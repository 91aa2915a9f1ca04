/* token_vocab.c: builds the vocabulary from the tokenizer.ggml.* keys of a file, and answers questions about it.
 *
 * Order of work: texts, kinds, the text table, the special ids, then what the family needs (token_bpe.c or token_spm.c), last
 * the cut candidates, because kinds change on the way: tokens that files type as user-defined although they control the model
 * (fill-in-the-middle marks, end marks) become control tokens here. Otherwise any text a user types could contain them. */
#include "token_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define DEEPSEEK_BOS \
    "<\xef\xbd\x9c"  \
    "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"
#define LLAMA_BOS       "<|begin_of_text|>"
#define MAX_TOKEN_BYTES (1u << 20) /* real ones have at most a few hundred */

typedef enum token_part { NO_PART = -1, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE } token_part;

/* Tokens that control the model whatever their type says, whether generation ends there, and their part in filling gaps. */
static const struct {
    const char *text;
    bool ends;
    token_part part;
} control_texts[] = {
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     false, FIM_PREFIX},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81hole\xef\xbd\x9c>",
     false, FIM_SUFFIX},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>",
     false, FIM_MIDDLE},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     true, NO_PART},
    {"<|EOT|>", true, NO_PART},
    {"<|eot_id|>", true, NO_PART},
    {"<|end_of_text|>", true, NO_PART},
};

/* The same by key; a key goes before a text, a newer key before an older one. */
static const struct {
    const char *name;
    bool ends;
    token_part part;
} control_keys[] = {
    {"tokenizer.ggml.eos_token_id", true, NO_PART},         {"tokenizer.ggml.eot_token_id", true, NO_PART},
    {"tokenizer.ggml.eom_token_id", true, NO_PART},         {"tokenizer.ggml.fim_pre_token_id", false, FIM_PREFIX},
    {"tokenizer.ggml.fim_suf_token_id", false, FIM_SUFFIX}, {"tokenizer.ggml.fim_mid_token_id", false, FIM_MIDDLE},
    {"tokenizer.ggml.fim_pad_token_id", false, NO_PART},    {"tokenizer.ggml.fim_rep_token_id", false, NO_PART},
    {"tokenizer.ggml.fim_sep_token_id", false, NO_PART},    {"tokenizer.ggml.prefix_token_id", false, FIM_PREFIX},
    {"tokenizer.ggml.suffix_token_id", false, FIM_SUFFIX},  {"tokenizer.ggml.middle_token_id", false, FIM_MIDDLE},
};

smt_status smt_vocab_array(const smt_gguf *file, const char *name, smt_gguf_kind kind, const smt_gguf_key **out, smt_error *err) {
    *out = smt_gguf_find(file, name);
    if (!*out) return SMT_FAIL(err, SMT_FORMAT, "%s is missing", name);
    if ((*out)->kind != SMT_GGUF_ARRAY)
        return SMT_FAIL(err, SMT_FORMAT, "%s is of type %s, an array of %s is wanted", name, smt_gguf_kind_name((*out)->kind),
                        smt_gguf_kind_name(kind));
    if ((*out)->element_kind != kind)
        return SMT_FAIL(err, SMT_FORMAT, "%s has elements of type %s, %s is wanted", name,
                        smt_gguf_kind_name((*out)->element_kind), smt_gguf_kind_name(kind));
    return SMT_OK;
}

/* ---- texts and their table ---- */

static smt_status load_texts(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    const smt_gguf_key *key;
    SMT_TRY(smt_vocab_array(file, "tokenizer.ggml.tokens", SMT_GGUF_STRING, &key, err));
    if (key->count == 0 || key->count > INT32_MAX)
        return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.tokens has %llu elements, 1 to %d are possible",
                        (unsigned long long)key->count, INT32_MAX);
    vocab->n_tokens = (uint32_t)key->count;
    size_t total = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        if (key->strings[i].bytes > MAX_TOKEN_BYTES)
            return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.tokens[%u] has %zu bytes, at most %u are accepted", i,
                            key->strings[i].bytes, MAX_TOKEN_BYTES);
        total += key->strings[i].bytes;
    }
    vocab->tokens = smt_alloc(vocab->n_tokens, sizeof *vocab->tokens);
    vocab->texts = smt_alloc(total, 1);
    if (!vocab->tokens || !vocab->texts)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u tokens with %zu bytes of text", vocab->n_tokens, total);
    char *text = vocab->texts;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        smt_gguf_string string = key->strings[i];
        if (string.bytes) memcpy(text, string.text, string.bytes);
        vocab->tokens[i] = (smt_vocab_token){.text = text, .bytes = (uint32_t)string.bytes, .kind = SMT_TOKEN_NORMAL};
        vocab->longest = smt_max_u32(vocab->longest, (uint32_t)string.bytes);
        text += string.bytes;
    }
    return SMT_OK;
}

/* DeepSeek's marks of calls of functions, and those around thoughts. Files type them as control tokens, llama.cpp's converter the former
 * and others the latter too, but they are a part of the answer for whoever has to act on it, and a grammar has to be able to ask for them. */
static bool is_mark(const smt_vocab_token *token) {
    static const char calls[] = "<\xef\xbd\x9ctool\xe2\x96\x81", think[] = "<think>", thought[] = "</think>";
    size_t n = token->bytes;
    return (n >= sizeof calls - 1 && !memcmp(token->text, calls, sizeof calls - 1)) ||
           (n == sizeof think - 1 && !memcmp(token->text, think, n)) ||
           (n == sizeof thought - 1 && !memcmp(token->text, thought, n));
}

static smt_status load_kinds(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    static const char name[] = "tokenizer.ggml.token_type";
    if (!smt_gguf_find(file, name)) return SMT_OK; /* all normal */
    const smt_gguf_key *key;
    SMT_TRY(smt_vocab_array(file, name, SMT_GGUF_I32, &key, err));
    if (key->count != vocab->n_tokens)
        return SMT_FAIL(err, SMT_FORMAT, "%s has %llu elements, tokenizer.ggml.tokens has %u", name,
                        (unsigned long long)key->count, vocab->n_tokens);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        int64_t kind = smt_gguf_array_int(key, i);
        if (kind < 0 || kind > SMT_TOKEN_BYTE)
            return SMT_FAIL(err, SMT_FORMAT, "%s[%u] is %lld, types go from 0 to %d", name, i, (long long)kind, SMT_TOKEN_BYTE);
        vocab->tokens[i].kind = kind ? (uint8_t)kind : SMT_TOKEN_NORMAL; /* 0: undefined */
        vocab->tokens[i].shown = kind == SMT_TOKEN_CONTROL && is_mark(&vocab->tokens[i]);
    }
    return SMT_OK;
}

/* The slot of a text, or the free one where it belongs: the table is at most half full. */
static uint32_t *text_slot(const smt_vocab *vocab, const char *text, size_t bytes) {
    for (uint64_t at = XXH3_64bits(text, bytes) & vocab->text_mask;; at = (at + 1) & vocab->text_mask) {
        uint32_t *slot = &vocab->text_slots[at];
        if (*slot == 0) return slot;
        const smt_vocab_token *token = &vocab->tokens[*slot - 1];
        if (token->bytes == bytes && memcmp(token->text, text, bytes) == 0) return slot;
    }
}

static smt_status build_text_table(smt_vocab *vocab, smt_error *err) {
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)vocab->n_tokens) slots *= 2;
    vocab->text_slots = smt_alloc(slots, sizeof *vocab->text_slots);
    if (!vocab->text_slots) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a table of %u tokens", vocab->n_tokens);
    vocab->text_mask = slots - 1;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) *text_slot(vocab, vocab->tokens[i].text, vocab->tokens[i].bytes) = i + 1;
    return SMT_OK;
}

int32_t smt_vocab_find(const smt_vocab *vocab, const char *text, size_t bytes) {
    return bytes ? (int32_t)*text_slot(vocab, text, bytes) - 1 : -1;
}

/* ---- special ids ---- */

static smt_status load_id(const smt_gguf *file, const smt_vocab *vocab, const char *name, int32_t *out, smt_error *err) {
    uint32_t id = 0;
    bool found = false;
    *out = -1;
    SMT_TRY(smt_gguf_u32(file, name, &id, &found, err));
    if (!found) return SMT_OK;
    if (id >= vocab->n_tokens)
        return SMT_FAIL(err, SMT_FORMAT, "%s is %u, the vocabulary has %u tokens", name, id, vocab->n_tokens);
    *out = (int32_t)id;
    return SMT_OK;
}

static void mark_control(smt_vocab *vocab, int32_t id, bool ends, token_part part) {
    if (id < 0) return;
    smt_vocab_token *token = &vocab->tokens[id];
    token->ends = token->ends || ends;
    if (token->kind == SMT_TOKEN_USER) token->kind = SMT_TOKEN_CONTROL;
    if (part != NO_PART && vocab->fim[part] < 0) vocab->fim[part] = id;
}

static smt_status load_ids(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    SMT_TRY(load_id(file, vocab, "tokenizer.ggml.bos_token_id", &vocab->bos, err));
    SMT_TRY(load_id(file, vocab, "tokenizer.ggml.eos_token_id", &vocab->eos, err));
    for (size_t i = 0; i < SMT_COUNT(vocab->fim); i++) vocab->fim[i] = -1;
    for (size_t i = 0; i < SMT_COUNT(control_keys); i++) {
        int32_t id;
        SMT_TRY(load_id(file, vocab, control_keys[i].name, &id, err));
        mark_control(vocab, id, control_keys[i].ends, control_keys[i].part);
    }
    for (size_t i = 0; i < SMT_COUNT(control_texts); i++) {
        const char *text = control_texts[i].text;
        mark_control(vocab, smt_vocab_find(vocab, text, strlen(text)), control_texts[i].ends, control_texts[i].part);
    }
    bool found = false;
    vocab->adds_bos = vocab->spm && vocab->bos >= 0;
    SMT_TRY(smt_gguf_bool(file, "tokenizer.ggml.add_bos_token", &vocab->adds_bos, &found, err));
    if (vocab->adds_bos && vocab->bos < 0)
        return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.add_bos_token is true, but tokenizer.ggml.bos_token_id is missing");
    return SMT_OK;
}

/* ---- cut candidates ---- */

static bool is_special(const smt_vocab_token *token) {
    bool kind = token->kind == SMT_TOKEN_CONTROL || token->kind == SMT_TOKEN_UNKNOWN || token->kind == SMT_TOKEN_USER;
    return kind && token->bytes > 0;
}

static int by_descending_length(const void *a, const void *b) {
    uint32_t x = ((const smt_vocab_special *)a)->bytes, y = ((const smt_vocab_special *)b)->bytes;
    return (x < y) - (x > y);
}

/* One entry per distinct length, whose bit set is the union over the tokens of that length. */
static smt_status collect_specials(smt_vocab *vocab, smt_error *err) {
    size_t count = 0, kept = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) count += is_special(&vocab->tokens[i]);
    smt_vocab_special *list = vocab->specials = smt_alloc(count, sizeof *list);
    if (!list) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu special tokens", count);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        const smt_vocab_token *token = &vocab->tokens[i];
        if (!is_special(token)) continue;
        uint8_t first = (uint8_t)token->text[0];
        list[kept].bytes = token->bytes;
        list[kept++].first[first / 32] |= 1u << first % 32;
    }
    qsort(list, count, sizeof *list, by_descending_length);
    for (size_t i = 0; i < count; i++) {
        if (vocab->n_specials == 0 || list[vocab->n_specials - 1].bytes != list[i].bytes) {
            list[vocab->n_specials++] = list[i];
            continue;
        }
        for (int word = 0; word < 8; word++) list[vocab->n_specials - 1].first[word] |= list[i].first[word];
    }
    return SMT_OK;
}

/* ---- the whole ---- */

static smt_status load_family(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    if (vocab->spm) return smt_spm_load(file, vocab, err);
    smt_gguf_string pre = {0};
    SMT_TRY(smt_gguf_text(file, "tokenizer.ggml.pre", &pre, NULL, err));
    smt_split_facts facts = {vocab->n_tokens, smt_vocab_find(vocab, DEEPSEEK_BOS, strlen(DEEPSEEK_BOS)),
                             smt_vocab_find(vocab, LLAMA_BOS, strlen(LLAMA_BOS))};
    SMT_TRY(smt_split_create(pre, &facts, &vocab->split, err));
    return smt_bpe_load(file, vocab, err);
}

static smt_status load(const smt_gguf *file, smt_vocab *vocab, smt_error *err) {
    smt_gguf_string model = {0};
    bool found = false;
    SMT_TRY(smt_gguf_text(file, "tokenizer.ggml.model", &model, &found, err));
    if (!found) return SMT_FAIL(err, SMT_FORMAT, "tokenizer.ggml.model is missing: the file has no vocabulary");
    vocab->spm = model.bytes == 5 && memcmp(model.text, "llama", 5) == 0;
    if (!vocab->spm && !(model.bytes == 4 && memcmp(model.text, "gpt2", 4) == 0))
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        "tokenizer.ggml.model is \"%.*s\"; gpt2 (byte-level BPE) and llama (SPM) are supported",
                        (int)smt_min_u64(model.bytes, 60), model.text);
    SMT_TRY(load_texts(file, vocab, err));
    SMT_TRY(load_kinds(file, vocab, err));
    SMT_TRY(build_text_table(vocab, err));
    SMT_TRY(load_ids(file, vocab, err));
    SMT_TRY(load_family(file, vocab, err));
    return collect_specials(vocab, err);
}

smt_status smt_vocab_create(const smt_gguf *file, smt_vocab **out, smt_error *err) {
    *out = NULL;
    smt_vocab *vocab = smt_alloc(1, sizeof *vocab);
    if (!vocab) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a vocabulary");
    smt_status status = load(file, vocab, err);
    if (status == SMT_OK)
        *out = vocab;
    else
        smt_vocab_free(vocab);
    return status;
}

void smt_vocab_free(smt_vocab *vocab) {
    if (!vocab) return;
    smt_split_free(vocab->split);
    smt_free(vocab->merges);
    smt_free(vocab->priorities);
    smt_free(vocab->specials);
    smt_free(vocab->text_slots);
    smt_free(vocab->texts);
    smt_free(vocab->tokens);
    smt_free(vocab);
}

uint32_t smt_vocab_size(const smt_vocab *vocab) { return vocab->n_tokens; }
bool smt_vocab_adds_bos(const smt_vocab *vocab) { return vocab->adds_bos; }
int32_t smt_vocab_bos(const smt_vocab *vocab) { return vocab->bos; }
int32_t smt_vocab_eos(const smt_vocab *vocab) { return vocab->eos; }

const char *smt_vocab_text(const smt_vocab *vocab, int32_t token, size_t *out_bytes) {
    *out_bytes = vocab->tokens[token].bytes;
    return vocab->tokens[token].text;
}

/* The last element with this text, -1: none. */
static int32_t find_text(const smt_gguf_key *tokens, const char *text) {
    for (uint64_t i = tokens->count; i-- > 0;)
        if (tokens->strings[i].bytes == strlen(text) && memcmp(tokens->strings[i].text, text, strlen(text)) == 0)
            return (int32_t)i;
    return -1;
}

void smt_vocab_assumed(const smt_gguf *file, char *text, size_t capacity) {
    smt_gguf_string model = {0}, pre = {0};
    const smt_gguf_key *tokens = smt_gguf_find(file, "tokenizer.ggml.tokens");
    text[0] = 0;
    smt_gguf_text(file, "tokenizer.ggml.model", &model, NULL, NULL);
    bool bpe = model.bytes == 4 && memcmp(model.text, "gpt2", 4) == 0;
    if (!bpe || !tokens || !tokens->strings || tokens->count > INT32_MAX) return;
    if (smt_gguf_text(file, "tokenizer.ggml.pre", &pre, NULL, NULL) != SMT_OK) return;
    smt_split_facts facts = {(uint32_t)tokens->count, find_text(tokens, DEEPSEEK_BOS), find_text(tokens, LLAMA_BOS)};
    const char *name = smt_split_assumed(pre, &facts);
    int32_t bos = facts.deepseek_bos >= 0 ? facts.deepseek_bos : facts.llama_bos;
    if (name && bos >= 0)
        snprintf(text, capacity, "tokenizer.ggml.pre: %s (%u tokens, the begin token is %d)", name, facts.n_tokens, bos);
    else if (name)
        snprintf(text, capacity, "tokenizer.ggml.pre: %s (%u tokens, no begin token that we know)", name, facts.n_tokens);
}

bool smt_vocab_is_end(const smt_vocab *vocab, int32_t token) {
    return token >= 0 && (uint32_t)token < vocab->n_tokens && vocab->tokens[token].ends;
}
