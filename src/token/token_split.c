/* token_split.c: the pre-tokenizers of byte-level BPE: regular expressions that cut a text into fragments no merge crosses.
 *
 * A pre-tokenizer is a list of patterns, applied one after the other. Each runs over every fragment there is by then, also over
 * those that an earlier pattern made; matches become fragments, and so do the stretches between them. (Hence the deepseek-llm
 * list cuts "Café" between "f" and "é": the third pattern's range from ':' to '~' holds the ASCII letters and runs over the
 * words that the second one made.) Anchors refer to the fragment.
 *
 * What the models were trained with treats every non-ASCII white space as white space and nothing else, also where a range of a
 * pattern contains it. So WS lists white space itself, and the ranges below have holes: no U+3000 in punctuation, no U+2028 in
 * CJK.
 *
 * Compiled patterns are read-only and shared by all threads; match data lives in the caller's scratch. Texts are valid UTF-8,
 * checked before, so PCRE2 need not check again at each call, which would take quadratic time. */
#include "token_internal.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PATTERNS 6

#define WS "\\t-\\r\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define CJK                                                                                                              \
    "[\\x{800}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}" \
    "\\x{3001}-\\x{9fa5}\\x{ac00}-\\x{d7ff}]+"
#define LETTERS     "@" /* stands for the inside of the class of letter_ranges */
#define CONTRACTION "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]"

typedef struct split_row {
    const char *names[4];
    int32_t deepseek_bos, llama_bos; /* ids of the begin tokens in the vocabularies that go with it, -1: none */
    uint32_t min_tokens;             /* those vocabularies have so many at least */
    bool ignores_merges;
    const char *patterns[MAX_PATTERNS];
} split_row;

/* A file that names no pre-tokenizer, or "default", gets the last row: the split of GPT-2. That is wrong for the DeepSeek and
 * Llama 3 files of before May 2024, which name none either; they are known by the position of their begin token. For V3, where
 * it is the first token of all, the size of the vocabulary must speak for it too. */
static const split_row rows[] = {
    {{"deepseek-llm"},
     100000,
     -1,
     102400,
     false,
     {"[\\r\\n]", "[" WS "]?[" LETTERS "]+",
      "[" WS "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3001}\\x{3002}]+",
      /* The look-behind changes no match; without it PCRE2's interpreter takes quadratic time for spaces inside a fragment. */
      "(?<![" WS "])[" WS "]+\\z", CJK, "\\p{N}+"}},
    {{"deepseek-coder"}, 32013, -1, 32022, false, {"[\\r\\n]", "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+", CJK, "\\p{N}"}},
    {{"deepseek-v3"},
     0,
     -1,
     128815,
     false,
     {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+",
      "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|"
      "[" WS "]+(?![^" WS "])|[" WS "]+"}},
    {{"llama-bpe", "llama3", "llama-v3"},
     -1,
     128000,
     128256,
     true,
     {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|"
                  "[" WS "]+(?![^" WS "])|[" WS "]+"}},
    {{"gpt-2"},
     -1,
     -1,
     0,
     false,
     {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+"}},
};
#define GPT2 (SMT_COUNT(rows) - 1)

/* What deepseek-llm calls a letter: cased scripts only, no marks, no U+00AA and U+00BA. Published with the model as ranges, which
 * no Unicode property equals. */
static const struct {
    uint32_t first, last;
} letter_ranges[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},       {0xd8, 0xf6},       {0xf8, 0x1ba},
    {0x1bc, 0x1bf},     {0x1c4, 0x293},     {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
    {0x37b, 0x37d},     {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},     {0x38c, 0x38c},     {0x38e, 0x3a1},
    {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},     {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},
    {0x13f8, 0x13fd},   {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},   {0x1d79, 0x1d9a},
    {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},   {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},
    {0x1f5b, 0x1f5b},   {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},   {0x1fbe, 0x1fbe},
    {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},   {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},
    {0x1ff6, 0x1ffc},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211d},
    {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},
    {0x213c, 0x213f},   {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2183},   {0x2184, 0x2184},   {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf2},   {0x2cf3, 0x2cf3},   {0xa640, 0xa66d},   {0xa680, 0xa69b},
    {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},   {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},
    {0xff21, 0xff3a},   {0xff41, 0xff5a},   {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2},
    {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};

struct smt_split {
    pcre2_general_context *memory;   /* owned: sends PCRE2's allocations through base/mem */
    pcre2_code *codes[MAX_PATTERNS]; /* owned */
    size_t n_codes;
    bool ignores_merges;
};

static void *take(size_t bytes, void *unused) {
    (void)unused;
    return smt_alloc(bytes, 1);
}

static void release(void *memory, void *unused) {
    (void)unused;
    smt_free(memory);
}

/* ---- creation ---- */

static bool has_name(const split_row *row, smt_gguf_string name) {
    for (size_t i = 0; i < SMT_COUNT(row->names) && row->names[i]; i++)
        if (strlen(row->names[i]) == name.bytes && memcmp(row->names[i], name.text, name.bytes) == 0) return true;
    return false;
}

static bool is_unnamed(smt_gguf_string pre) { return pre.bytes == 0 || (pre.bytes == 7 && memcmp(pre.text, "default", 7) == 0); }

static bool goes_with(const split_row *row, const smt_split_facts *facts) {
    bool deepseek = row->deepseek_bos >= 0 && row->deepseek_bos == facts->deepseek_bos;
    bool llama = row->llama_bos >= 0 && row->llama_bos == facts->llama_bos;
    return (deepseek || llama) && facts->n_tokens >= row->min_tokens;
}

static const split_row *find_row(smt_gguf_string pre, const smt_split_facts *facts) {
    bool unnamed = is_unnamed(pre);
    for (size_t i = 0; i < SMT_COUNT(rows); i++)
        if (unnamed ? goes_with(&rows[i], facts) : has_name(&rows[i], pre)) return &rows[i];
    return unnamed ? &rows[GPT2] : NULL;
}

const char *smt_split_assumed(smt_gguf_string pre, const smt_split_facts *facts) {
    return is_unnamed(pre) ? find_row(pre, facts)->names[0] : NULL;
}

/* The pattern with LETTERS written out. */
static smt_status expand(const char *pattern, smt_str *out, smt_error *err) {
    const char *mark = strstr(pattern, "[" LETTERS "]");
    if (!mark) return smt_str_append(out, pattern, strlen(pattern), err);
    SMT_TRY(smt_str_append(out, pattern, (size_t)(mark + 1 - pattern), err));
    for (size_t i = 0; i < SMT_COUNT(letter_ranges); i++)
        SMT_TRY(smt_str_printf(out, err, "\\x{%x}-\\x{%x}", letter_ranges[i].first, letter_ranges[i].last));
    return smt_str_append(out, mark + 2, strlen(mark + 2), err);
}

static smt_status compile(smt_split *split, const char *pattern, smt_error *err) {
    pcre2_compile_context *context = pcre2_compile_context_create(split->memory);
    smt_str expanded = {0};
    smt_status status =
        context ? expand(pattern, &expanded, err) : SMT_FAIL(err, SMT_MEMORY, "out of memory compiling \"%s\"", pattern);
    if (status == SMT_OK) {
        int code;
        size_t at;
        pcre2_code *compiled =
            pcre2_compile((PCRE2_SPTR)expanded.text, expanded.bytes, PCRE2_UTF | PCRE2_UCP, &code, &at, context);
        if (compiled) {
            pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where executable memory is not to be had, PCRE2 interprets */
            split->codes[split->n_codes++] = compiled;
        } else
            status = SMT_FAIL(err, code == PCRE2_ERROR_HEAP_FAILED ? SMT_MEMORY : SMT_INTERNAL,
                              "PCRE2 does not compile \"%s\": error %d at offset %zu", pattern, code, at);
    }
    smt_str_free(&expanded);
    pcre2_compile_context_free(context);
    return status;
}

smt_status smt_split_create(smt_gguf_string pre, const smt_split_facts *facts, smt_split **out, smt_error *err) {
    *out = NULL;
    const split_row *row = find_row(pre, facts);
    if (!row)
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        "tokenizer.ggml.pre is \"%.*s\"; deepseek-llm, deepseek-coder, deepseek-v3, llama-bpe, gpt-2 and default "
                        "are supported",
                        (int)smt_min_u64(pre.bytes, 60), pre.text);
    smt_split *split = smt_alloc(1, sizeof *split);
    if (split) split->memory = pcre2_general_context_create(take, release, NULL);
    if (!split || !split->memory) {
        smt_free(split);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for the pre-tokenizer %s", row->names[0]);
    }
    split->ignores_merges = row->ignores_merges;
    smt_status status = SMT_OK;
    for (size_t i = 0; i < MAX_PATTERNS && row->patterns[i] && status == SMT_OK; i++)
        status = compile(split, row->patterns[i], err);
    if (status == SMT_OK)
        *out = split;
    else
        smt_split_free(split);
    return status;
}

void smt_split_free(smt_split *split) {
    if (!split) return;
    for (size_t i = 0; i < split->n_codes; i++) pcre2_code_free(split->codes[i]);
    pcre2_general_context_free(split->memory);
    smt_free(split);
}

bool smt_split_ignores_merges(const smt_split *split) { return split->ignores_merges; }

/* ---- use ---- */

static smt_status add(smt_split_scratch *scratch, size_t start, size_t end, smt_error *err) {
    if (start == end) return SMT_OK;
    SMT_TRY(smt_grow((void **)&scratch->list, &scratch->list_capacity, scratch->n_list + 1, sizeof *scratch->list, err));
    scratch->list[scratch->n_list++] = (smt_fragment){(uint32_t)start, (uint32_t)(end - start)};
    return SMT_OK;
}

static smt_status next_match(const pcre2_code *code, const char *text, smt_fragment fragment, size_t from,
                             pcre2_match_data *match, bool *out_found, smt_error *err) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text + fragment.start;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int result = pcre2_match(code, subject, fragment.bytes, from, options, match, NULL);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(code, subject, fragment.bytes, from, options | PCRE2_NO_JIT, match, NULL);
    *out_found = result >= 0;
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH) return SMT_OK;
    return SMT_FAIL(err, result == PCRE2_ERROR_NOMEMORY || result == PCRE2_ERROR_HEAPLIMIT ? SMT_MEMORY : SMT_INTERNAL,
                    "PCRE2 error %d in a fragment of %u bytes, %zu bytes from its start", result, fragment.bytes, from);
}

static smt_status cut(const pcre2_code *code, const char *text, smt_fragment fragment, smt_split_scratch *scratch,
                      smt_error *err) {
    size_t done = 0;
    while (done < fragment.bytes) {
        bool found;
        SMT_TRY(next_match(code, text, fragment, done, scratch->match, &found, err));
        if (!found) break;
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(scratch->match);
        SMT_TRY(add(scratch, fragment.start + done, fragment.start + range[0], err));
        SMT_TRY(add(scratch, fragment.start + range[0], fragment.start + range[1], err));
        done = range[1];
    }
    return add(scratch, fragment.start + done, fragment.start + fragment.bytes, err);
}

smt_status smt_split_run(const smt_split *split, const char *text, uint32_t bytes, smt_split_scratch *scratch, smt_error *err) {
    if (!scratch->match) scratch->match = pcre2_match_data_create(1, split->memory);
    if (!scratch->match) return SMT_FAIL(err, SMT_MEMORY, "out of memory for PCRE2 match data");
    scratch->n_list = 0;
    SMT_TRY(add(scratch, 0, bytes, err));
    for (size_t i = 0; i < split->n_codes; i++) {
        size_t n_before = scratch->n_list, before_capacity = scratch->list_capacity;
        smt_fragment *before = scratch->list;
        scratch->list = scratch->spare;
        scratch->list_capacity = scratch->spare_capacity;
        scratch->spare = before;
        scratch->spare_capacity = before_capacity;
        scratch->n_list = 0;
        for (size_t k = 0; k < n_before; k++) SMT_TRY(cut(split->codes[i], text, before[k], scratch, err));
    }
    return SMT_OK;
}

void smt_split_scratch_free(smt_split_scratch *scratch) {
    pcre2_match_data_free(scratch->match);
    smt_free(scratch->list);
    smt_free(scratch->spare);
    *scratch = (smt_split_scratch){0};
}
