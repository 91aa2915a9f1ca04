/* convert_pre.c: which of our pre-tokenizers a tokenizer.json describes.
 *
 * A description is a list of steps: splits by a regular expression, digits one by one, and last the bytes as characters. Each
 * step becomes a line of text, patterns with their escapes for line ends resolved (some files have the escape, some the
 * character), and the lines are compared with the table below. A file that differs in anything is refused with what was seen: a
 * wrong split gives wrong ids in silence.
 *
 * One line needs more than comparison: deepseek-llm's class of letters is a list of some ninety ranges, of which copies exist
 * that were normalised differently. It is recognised by what it holds and what it does not. */
#include "convert_internal.h"

#include <string.h>
#include <utf8proc.h>

#define SPLIT   "Split "
#define LETTERS "(letters)"
#define DIGITS  "Digits, one by one"
#define BYTES   "ByteLevel"
#define CJK     u8"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

#define MAX_STEPS 8

static const struct {
    const char *name;
    const char *steps[MAX_STEPS];
} known[] = {
    {"deepseek-llm",
     {SPLIT "[\r\n]", SPLIT LETTERS, SPLIT u8"\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", SPLIT "\\s+$",
      SPLIT CJK, DIGITS, BYTES}},
    {"deepseek-coder", {SPLIT "[\r\n]", SPLIT "\\s?\\p{L}+", SPLIT "\\s?\\p{P}+", SPLIT CJK, DIGITS, BYTES}},
    {"deepseek-v3",
     {SPLIT "\\p{N}{1,3}", SPLIT u8"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      SPLIT "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
            "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
      BYTES}},
    {"llama-bpe",
     {SPLIT "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|"
            "\\s+(?!\\S)|\\s+",
      BYTES}},
    {"gpt-2", {"ByteLevel with its own split"}},
};

bool smt_hf_pre_known(const char *name) {
    for (size_t i = 0; i < SMT_COUNT(known); i++)
        if (smt_convert_is(name, known[i].name)) return true;
    return false;
}

/* ---- one step as a line ---- */

/* Whether a pattern is an optional blank and some characters of a class that is deepseek-llm's: ranges without escapes, which
 * hold the letters of cased scripts and no others. */
static bool is_letter_class(const char *pattern) {
    static const int32_t inside[] = {'A',   'Z',   'a',    'z',    0xb5,   0xe9,   0x3a9,
                                     0x416, 0x531, 0x13a0, 0x1e00, 0x2c00, 0xff21, 0x10400};
    static const int32_t outside[] = {'0', ' ', '-', '[', '_', 0xaa, 0xba, 0x1bb, 0x300, 0x5d0, 0x627, 0x905, 0x3042, 0x4e00};
    size_t bytes = strlen(pattern);
    bool found[SMT_COUNT(inside)] = {0}, wrong = false;
    if (bytes < 7 || memcmp(pattern, "\\s?[", 4) != 0 || memcmp(pattern + bytes - 2, "]+", 2) != 0) return false;
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)pattern + 4, *end = (const utf8proc_uint8_t *)pattern + bytes - 2;
    while (at < end) {
        utf8proc_int32_t low, high;
        utf8proc_ssize_t taken = utf8proc_iterate(at, end - at, &low);
        if (taken <= 0 || low == '\\' || low == ']' || low == '^') return false;
        at += taken;
        high = low;
        if (at + 1 < end && *at == '-') {
            taken = utf8proc_iterate(at + 1, end - at - 1, &high);
            if (taken <= 0) return false;
            at += 1 + taken;
        }
        for (size_t i = 0; i < SMT_COUNT(inside); i++) found[i] = found[i] || (inside[i] >= low && inside[i] <= high);
        for (size_t i = 0; i < SMT_COUNT(outside); i++) wrong = wrong || (outside[i] >= low && outside[i] <= high);
    }
    for (size_t i = 0; i < SMT_COUNT(inside); i++) wrong = wrong || !found[i];
    return !wrong;
}

/* The pattern with \r and \n as the characters that they mean. */
static smt_status add_pattern(const char *pattern, smt_str *line, smt_error *err) {
    size_t start = line->bytes;
    for (const char *at = pattern; *at; at++) {
        bool escape = at[0] == '\\' && at[1];
        char end = escape && at[1] == 'r' ? '\r' : escape && at[1] == 'n' ? '\n' : 0;
        SMT_TRY(smt_str_append(line, end ? &end : at, escape && !end ? 2 : 1, err));
        at += escape;
    }
    if (!line->text || !is_letter_class(line->text + start)) return SMT_OK;
    line->bytes = start;
    return smt_str_append(line, LETTERS, strlen(LETTERS), err);
}

static smt_status describe(const json_t *step, smt_str *line, smt_error *err) {
    const char *type = json_string_value(json_object_get(step, "type"));
    line->bytes = 0;
    if (smt_convert_is(type, "Split")) {
        const char *pattern = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        const char *behavior = json_string_value(json_object_get(step, "behavior"));
        if (pattern && smt_convert_is(behavior, "Isolated") && !json_is_true(json_object_get(step, "invert"))) {
            SMT_TRY(smt_str_append(line, SPLIT, strlen(SPLIT), err));
            return add_pattern(pattern, line, err);
        }
        return smt_str_printf(line, err, "Split (%s) \"%s\"", behavior ? behavior : "no behavior",
                              pattern ? pattern : "no Regex");
    }
    if (smt_convert_is(type, "Digits"))
        return smt_str_printf(line, err, "%s", json_is_true(json_object_get(step, "individual_digits")) ? DIGITS : "Digits");
    if (smt_convert_is(type, "ByteLevel")) {
        bool own_split = !json_is_false(json_object_get(step, "use_regex"));
        bool prefix = json_is_true(json_object_get(step, "add_prefix_space"));
        return smt_str_printf(line, err, BYTES "%s%s", own_split ? " with its own split" : "",
                              prefix ? ", a space in front" : "");
    }
    return smt_str_printf(line, err, "%s", type ? type : "a step without a type");
}

/* ---- the list ---- */

smt_status smt_hf_pre_find(const json_t *pre_tokenizer, const char **out, smt_error *err) {
    const json_t *list = json_object_get(pre_tokenizer, "pretokenizers");
    size_t n_steps = list ? json_array_size(list) : pre_tokenizer ? 1 : 0;
    bool possible[SMT_COUNT(known)];
    smt_str line = {0}, seen = {0};
    smt_status status = SMT_OK;
    *out = NULL;
    for (size_t k = 0; k < SMT_COUNT(known); k++) possible[k] = n_steps <= MAX_STEPS;
    for (size_t i = 0; i < n_steps && status == SMT_OK; i++) {
        status = describe(list ? json_array_get(list, i) : pre_tokenizer, &line, err);
        if (status == SMT_OK && seen.bytes < 300) status = smt_str_printf(&seen, err, "%s%s", i ? "; " : "", line.text);
        for (size_t k = 0; k < SMT_COUNT(known) && status == SMT_OK; k++)
            possible[k] = possible[k] && smt_convert_is(known[k].steps[i], line.text);
    }
    for (size_t k = 0; k < SMT_COUNT(known) && !*out; k++)
        if (possible[k] && n_steps > 0 && (n_steps == MAX_STEPS || !known[k].steps[n_steps])) *out = known[k].name;
    if (status == SMT_OK && !*out)
        status = SMT_FAIL(err, SMT_UNSUPPORTED,
                          "tokenizer.json: unknown pre-tokenizer of %zu steps: %.300s. A name can be given in its place "
                          "(deepseek-llm, deepseek-coder, deepseek-v3, llama-bpe, gpt-2) by one who knows that it fits",
                          n_steps, seen.text ? seen.text : "none");
    smt_str_free(&line);
    smt_str_free(&seen);
    return status;
}
