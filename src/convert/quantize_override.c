/* quantize_override.c: "PATTERN=TYPE": regular expressions looked for in tensor names, the first that is found decides.
 *
 * The patterns are the user's, the names the file's: matching is limited in steps and memory, so that the two together
 * cannot keep us busy for long. */
#include "quantize_internal.h"

#include <strings.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MATCH_STEPS 100000 /* a name has 63 bytes; sensible patterns take hundreds */

typedef struct entry {
    pcre2_code *code; /* owned */
    smt_dtype type;
} entry;

struct smt_overrides {
    pcre2_general_context *memory; /* owned: sends PCRE2's allocations through base/mem */
    pcre2_match_context *limits;   /* owned */
    entry *entries;                /* owned, [n] */
    size_t n;
};

static void *take(PCRE2_SIZE bytes, void *user) {
    (void)user;
    return smt_alloc(bytes, 1);
}

static void release(void *memory, void *user) {
    (void)user;
    smt_free(memory);
}

smt_status smt_quantize_type_of(const char *word, const char *what, smt_dtype *out, smt_error *err) {
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (info && !strcasecmp(info->name, word)) {
            *out = (smt_dtype)id;
            return SMT_OK;
        }
    }
    return SMT_FAIL(err, SMT_INVALID, "%.100s: there is no tensor type \"%.40s\"", what, word);
}

static smt_status compile(smt_overrides *overrides, const smt_quantize_override *given, smt_error *err) {
    if (!given->pattern || !*given->pattern || !given->type)
        return SMT_FAIL(err, SMT_INVALID, "override %zu has no pattern or no type", overrides->n + 1);
    smt_dtype type;
    SMT_TRY(smt_quantize_type_of(given->type, given->pattern, &type, err));
    pcre2_compile_context *context = pcre2_compile_context_create(overrides->memory);
    if (!context) return SMT_FAIL(err, SMT_MEMORY, "out of memory for pattern %.100s", given->pattern);
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)given->pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, context);
    pcre2_compile_context_free(context);
    if (compiled) {
        overrides->entries[overrides->n++] = (entry){compiled, type};
        return SMT_OK;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED) return SMT_FAIL(err, SMT_MEMORY, "out of memory for pattern %.100s", given->pattern);
    char words[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)words, sizeof words);
    return SMT_FAIL(err, SMT_INVALID, "pattern \"%.100s\", character %zu: %s", given->pattern, (size_t)at + 1, words);
}

static smt_status compile_all(smt_overrides *overrides, const smt_quantize_override *list, size_t n, smt_error *err) {
    overrides->memory = pcre2_general_context_create(take, release, NULL);
    overrides->limits = overrides->memory ? pcre2_match_context_create(overrides->memory) : NULL;
    overrides->entries = smt_alloc(n, sizeof *overrides->entries);
    if (!overrides->limits || !overrides->entries)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu tensor type patterns", n);
    pcre2_set_match_limit(overrides->limits, MATCH_STEPS);
    for (size_t i = 0; i < n; i++) SMT_TRY(compile(overrides, &list[i], err));
    return SMT_OK;
}

smt_status smt_overrides_create(const smt_quantize_override *list, size_t n, smt_overrides **out, smt_error *err) {
    *out = NULL;
    smt_overrides *overrides = smt_alloc(1, sizeof *overrides);
    if (!overrides) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu tensor type patterns", n);
    smt_status status = compile_all(overrides, list, n, err);
    if (status == SMT_OK)
        *out = overrides;
    else
        smt_overrides_free(overrides);
    return status;
}

void smt_overrides_free(smt_overrides *overrides) {
    if (!overrides) return;
    for (size_t i = 0; i < overrides->n; i++) pcre2_code_free(overrides->entries[i].code);
    pcre2_match_context_free(overrides->limits);
    pcre2_general_context_free(overrides->memory);
    smt_free(overrides->entries);
    smt_free(overrides);
}

smt_status smt_overrides_match(const smt_overrides *overrides, const char *name, bool *out_found, smt_dtype *out_type,
                               smt_error *err) {
    *out_found = false;
    for (size_t i = 0; i < overrides->n && !*out_found; i++) {
        const entry *e = &overrides->entries[i];
        pcre2_match_data *match = pcre2_match_data_create(1, overrides->memory);
        if (!match) return SMT_FAIL(err, SMT_MEMORY, "out of memory matching %s", name);
        int result = pcre2_match(e->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, match, overrides->limits);
        pcre2_match_data_free(match);
        if (result == PCRE2_ERROR_NOMEMORY || result == PCRE2_ERROR_HEAPLIMIT)
            return SMT_FAIL(err, SMT_MEMORY, "out of memory matching %s", name);
        if (result < 0 && result != PCRE2_ERROR_NOMATCH)
            return SMT_FAIL(err, SMT_INVALID, "tensor type pattern %zu takes too long on the name %s (PCRE2 says %d)", i + 1,
                            name, result);
        *out_found = result >= 0;
        *out_type = e->type;
    }
    return SMT_OK;
}
