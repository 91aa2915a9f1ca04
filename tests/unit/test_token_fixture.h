/* test_token_fixture.h: vocabularies for the token tests: from a file, or spelled out in a struct that a test may damage first.
 */
#ifndef SMT_TEST_TOKEN_FIXTURE_H
#define SMT_TEST_TOKEN_FIXTURE_H

#include "support.h"
#include "token/token.h"

static inline smt_vocab *vocab_of_file(const char *path) {
    smt_error err = {0};
    smt_gguf *gguf;
    smt_vocab *vocab;
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    SMT_ASSERT_OK(smt_vocab_create(gguf, &vocab, &err), &err);
    smt_gguf_free(gguf); /* the vocabulary must not need it */
    return vocab;
}

/* ---- a GGUF file in memory ---- */

typedef struct fixture_file {
    smt_str bytes;
    uint64_t n_keys;
} fixture_file;

static inline void put(fixture_file *file, const void *bytes, size_t count) {
    assert_int_equal(smt_str_append(&file->bytes, bytes, count, NULL), SMT_OK);
}
static inline void put_u32(fixture_file *file, uint32_t value) { put(file, &value, 4); }
static inline void put_u64(fixture_file *file, uint64_t value) { put(file, &value, 8); }
static inline void put_text(fixture_file *file, const char *text) {
    put_u64(file, strlen(text));
    put(file, text, strlen(text));
}
static inline void put_key(fixture_file *file, const char *name, smt_gguf_kind kind) {
    put_text(file, name);
    put_u32(file, (uint32_t)kind);
    file->n_keys++;
}
static inline void put_array(fixture_file *file, const char *name, smt_gguf_kind kind, size_t count) {
    put_key(file, name, SMT_GGUF_ARRAY);
    put_u32(file, (uint32_t)kind);
    put_u64(file, count);
}

/* ---- a vocabulary as a struct ---- */

#define SPEC_MAX 320

typedef struct token_spec {
    const char *model, *pre; /* NULL: no such key */
    const char *tokens[SPEC_MAX], *merges[16];
    int32_t kinds[SPEC_MAX];
    float scores[SPEC_MAX];
    size_t n_tokens, n_merges, n_kinds, n_scores; /* 0: no such key */
    int64_t bos, eos, fim_pre;                    /* -1: no such key */
    int add_bos;                                  /* -1: no such key */
    smt_gguf_kind score_kind, kind_kind;
    char byte_texts[256][8];
} token_spec;

static inline int spec_add(token_spec *spec, const char *text, int32_t kind, float score) {
    assert_true(spec->n_tokens < SPEC_MAX);
    size_t i = spec->n_tokens++;
    spec->tokens[i] = text;
    spec->kinds[i] = kind;
    spec->scores[i] = score;
    spec->n_kinds = spec->n_tokens;
    return (int)i;
}

/* Tokens 0-255: the bytes in order, spelled by the rule in its textbook form: printable bytes as themselves, the others, counted
 * up, from U+0100 on. Then "ab", "abc", " a" with their merges, then a begin, an end and a user-defined token. */
static inline void spec_bpe(token_spec *spec) {
    *spec = (token_spec){.model = "gpt2", .pre = "deepseek-llm", .bos = 259, .eos = 260, .fim_pre = -1, .add_bos = 1};
    spec->score_kind = SMT_GGUF_F32;
    spec->kind_kind = SMT_GGUF_I32;
    unsigned others = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        unsigned character = printable ? byte : 256 + others++;
        if (character < 128)
            snprintf(spec->byte_texts[byte], 8, "%c", (int)character);
        else
            snprintf(spec->byte_texts[byte], 8, "%c%c", (int)(0xc0 | character >> 6), (int)(0x80 | (character & 63)));
        spec_add(spec, spec->byte_texts[byte], 1, 0);
    }
    spec_add(spec, "ab", 1, 0);
    spec_add(spec, "abc", 1, 0);
    spec_add(spec,
             "\xc4\xa0"
             "a",
             1, 0); /* U+0120: the space */
    spec_add(spec, "<begin>", 3, 0);
    spec_add(spec, "<end>", 3, 0);
    spec_add(spec, "\xc3\xbc", 4, 0); /* u umlaut, as itself */
    spec->merges[0] = "a b";
    spec->merges[1] = "ab c";
    spec->merges[2] = "\xc4\xa0 a";
    spec->n_merges = 3;
}

/* Tokens 0-2: unknown, begin, end; 3-258: the bytes; then "▁", "a", "b", "ab", "▁a" and a user-defined token. */
static inline void spec_spm(token_spec *spec) {
    *spec = (token_spec){.model = "llama", .pre = "default", .bos = 1, .eos = 2, .fim_pre = -1, .add_bos = 1};
    spec->score_kind = SMT_GGUF_F32;
    spec->kind_kind = SMT_GGUF_I32;
    spec_add(spec, "<unk>", 2, 0);
    spec_add(spec, "<s>", 3, 0);
    spec_add(spec, "</s>", 3, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(spec->byte_texts[byte], 8, "<0x%02X>", byte & 255u);
        spec_add(spec, spec->byte_texts[byte], 6, 0);
    }
    spec_add(spec, "\xe2\x96\x81", 1, -1);
    spec_add(spec, "a", 1, -2);
    spec_add(spec, "b", 1, -3);
    spec_add(spec, "ab", 1, -4);
    spec_add(spec,
             "\xe2\x96\x81"
             "a",
             1, -5);
    spec_add(spec, "<tool>", 4, 0);
    spec->n_scores = spec->n_tokens;
}

static inline void write_spec(const token_spec *spec, fixture_file *file) {
    put(file, "GGUF", 4);
    put_u32(file, 3);
    put_u64(file, 0); /* tensors */
    put_u64(file, 0); /* keys: written last */
    if (spec->model) put_key(file, "tokenizer.ggml.model", SMT_GGUF_STRING), put_text(file, spec->model);
    if (spec->pre) put_key(file, "tokenizer.ggml.pre", SMT_GGUF_STRING), put_text(file, spec->pre);
    if (spec->n_tokens) put_array(file, "tokenizer.ggml.tokens", SMT_GGUF_STRING, spec->n_tokens);
    for (size_t i = 0; i < spec->n_tokens; i++) put_text(file, spec->tokens[i]);
    if (spec->n_merges) put_array(file, "tokenizer.ggml.merges", SMT_GGUF_STRING, spec->n_merges);
    for (size_t i = 0; i < spec->n_merges; i++) put_text(file, spec->merges[i]);
    if (spec->n_kinds) put_array(file, "tokenizer.ggml.token_type", spec->kind_kind, spec->n_kinds);
    put(file, spec->kinds, 4 * spec->n_kinds);
    if (spec->n_scores) put_array(file, "tokenizer.ggml.scores", spec->score_kind, spec->n_scores);
    put(file, spec->scores, 4 * spec->n_scores);
    if (spec->bos >= 0) put_key(file, "tokenizer.ggml.bos_token_id", SMT_GGUF_U32), put_u32(file, (uint32_t)spec->bos);
    if (spec->eos >= 0) put_key(file, "tokenizer.ggml.eos_token_id", SMT_GGUF_U32), put_u32(file, (uint32_t)spec->eos);
    if (spec->fim_pre >= 0)
        put_key(file, "tokenizer.ggml.fim_pre_token_id", SMT_GGUF_U32), put_u32(file, (uint32_t)spec->fim_pre);
    uint8_t flag = spec->add_bos > 0;
    if (spec->add_bos >= 0) put_key(file, "tokenizer.ggml.add_bos_token", SMT_GGUF_BOOL), put(file, &flag, 1);
    memcpy(file->bytes.text + 16, &file->n_keys, 8);
}

static inline smt_status spec_create(const token_spec *spec, smt_vocab **out, smt_error *err) {
    fixture_file file = {0};
    write_spec(spec, &file);
    smt_gguf *gguf;
    SMT_ASSERT_OK(smt_gguf_parse(file.bytes.text, file.bytes.bytes, "fixture", &gguf, err), err);
    smt_status status = smt_vocab_create(gguf, out, err);
    smt_gguf_free(gguf);
    smt_str_free(&file.bytes);
    return status;
}

static inline smt_vocab *spec_vocab(const token_spec *spec) {
    smt_error err = {0};
    smt_vocab *vocab;
    SMT_ASSERT_OK(spec_create(spec, &vocab, &err), &err);
    return vocab;
}

/* ---- checks ---- */

/* Encodes and compares; prints both lists where they differ. */
static inline void assert_ids(const smt_vocab *vocab, const char *text, size_t bytes, uint32_t flags, const int32_t *want,
                              size_t n_want) {
    smt_error err = {0};
    int32_t *ids;
    size_t count;
    SMT_ASSERT_OK(smt_token_encode(vocab, text, bytes, flags, &ids, &count, &err), &err);
    bool equal = count == n_want;
    for (size_t i = 0; i < n_want && equal; i++) equal = ids[i] == want[i];
    if (!equal) {
        print_error("text \"%.*s\" (%u bytes), flags %u\n  wanted:", (int)(bytes < 200 ? bytes : 200), bytes ? text : "",
                    (unsigned)bytes, flags);
        for (size_t i = 0; i < n_want && i < 100; i++) print_error(" %d", want[i]);
        print_error("\n  got:   ");
        for (size_t i = 0; i < count && i < 100; i++) print_error(" %d", ids[i]);
        print_error("\n");
    }
    smt_free(ids);
    assert_true(equal);
}

#define ASSERT_IDS(vocab, text, flags, ...)                                                                                      \
    do {                                                                                                                         \
        static const int32_t wanted_[] = {__VA_ARGS__};                                                                          \
        assert_ids((vocab), (text), sizeof(text) - 1, (flags), wanted_, SMT_COUNT(wanted_));                                     \
    } while (0)

/* The stream's text for these ids, flushed; the caller frees. */
static inline smt_str stream_all(const smt_vocab *vocab, const int32_t *ids, size_t count) {
    smt_error err = {0};
    smt_token_stream stream;
    smt_token_stream_init(&stream, vocab);
    smt_str all = {0};
    for (size_t i = 0; i < count; i++) {
        SMT_ASSERT_OK(smt_token_stream_push(&stream, ids[i], &err), &err);
        assert_true(stream.tail_bytes <= 3);
        SMT_ASSERT_OK(smt_str_append(&all, stream.out.text, stream.out.bytes, &err), &err);
    }
    SMT_ASSERT_OK(smt_token_stream_flush(&stream, &err), &err);
    SMT_ASSERT_OK(smt_str_append(&all, stream.out.text, stream.out.bytes, &err), &err);
    smt_token_stream_free(&stream);
    return all;
}

/* Decodes as a list and token by token: both give these bytes. */
static inline void assert_text(const smt_vocab *vocab, const int32_t *ids, size_t count, const void *want, size_t bytes) {
    smt_error err = {0};
    smt_str whole = {0}, streamed = stream_all(vocab, ids, count);
    SMT_ASSERT_OK(smt_token_decode(vocab, ids, count, &whole, &err), &err);
    assert_int_equal(whole.bytes, bytes);
    assert_memory_equal(whole.text, want, bytes);
    assert_int_equal(streamed.bytes, bytes);
    assert_memory_equal(streamed.text, want, bytes);
    smt_str_free(&whole);
    smt_str_free(&streamed);
}

#endif
