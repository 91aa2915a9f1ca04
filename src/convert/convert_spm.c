/* convert_spm.c: a SentencePiece vocabulary out of its translation to merges.
 *
 * SentencePiece merges whichever neighbours give the piece of the highest score; the translation lists for each piece, best
 * score first, all pairs that make it. So the order in which pieces first appear as results is the order of their scores, and
 * minus the place in that order does as the score. Should the merges of one piece not stand together, ranks say more than
 * scores can; the log then says so. Pieces that no merge makes (single characters) come last: their score is never compared. */
#include "convert_internal.h"

#include <stdio.h>
#include <string.h>

#define LABEL "tokenizer.json"
#define SPACE "\xe2\x96\x81" /* U+2581 stands for the space */

static void tell(const smt_hf_vocab *vocab, uint32_t scattered) {
    const smt_callbacks *callbacks = &vocab->options->callbacks;
    char text[160];
    if (scattered == 0 || !callbacks->log) return;
    snprintf(text, sizeof text, LABEL ": %u of %u merges stand apart from those of the same piece: scores cannot say their order",
             scattered, vocab->n_merges);
    callbacks->log(callbacks->user, SMT_LOG_WARN, text);
}

/* Score 0 marks a piece that was not seen yet; ranks count from 1. */
static smt_status rank_pieces(const smt_hf_vocab *vocab, float *out, smt_str *scratch, smt_str *joined, smt_error *err) {
    const json_t *merges = json_object_get(vocab->model, "merges"), *texts = json_object_get(vocab->model, "vocab");
    uint32_t n_seen = 0, scattered = 0;
    uint64_t id = 0, last = UINT64_MAX;
    for (size_t i = 0; i < vocab->n_merges; i++) {
        const char *left, *right;
        SMT_TRY(smt_hf_merge(merges, i, scratch, &left, &right, err));
        joined->bytes = 0;
        SMT_TRY(smt_str_printf(joined, err, "%s%s", left, right));
        bool known = json_object_get(texts, left) && json_object_get(texts, right);
        if (!known || !smt_convert_u64_of(json_object_get(texts, joined->text), &id) || id >= vocab->n_tokens)
            return SMT_FAIL(err, SMT_FORMAT,
                            LABEL ": merge %zu, \"%.60s\" and \"%.60s\": a part or the result is not in \"vocab\"", i, left,
                            right);
        if (out[id] == 0)
            out[id] = -(float)++n_seen;
        else
            scattered += id != last;
        last = id;
    }
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        if (out[i] == 0 && vocab->tokens[i].type == 1) out[i] = -(float)(n_seen + 1);
    tell(vocab, scattered);
    return SMT_OK;
}

smt_status smt_hf_spm_scores(const smt_hf_vocab *vocab, float *out, smt_error *err) {
    smt_str scratch = {0}, joined = {0};
    smt_status status = rank_pieces(vocab, out, &scratch, &joined, err);
    smt_str_free(&scratch);
    smt_str_free(&joined);
    return status;
}

/* ---- the space in front ---- */

static smt_status refuse(const char *what, const json_t *part, smt_error *err) {
    const char *type = json_string_value(json_object_get(part, "type"));
    return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": the %s \"%.40s\" is not supported with byte_fallback", what,
                    type ? type : "(none)");
}

/* The normalizer may put U+2581 in front and in place of spaces, and nothing else. */
static smt_status read_normalizer(const json_t *part, bool *out, smt_error *err) {
    const char *type = json_string_value(json_object_get(part, "type"));
    if (smt_convert_is(type, "Prepend") && smt_convert_is(json_string_value(json_object_get(part, "prepend")), SPACE)) {
        *out = true;
        return SMT_OK;
    }
    const char *from = json_string_value(json_object_get(json_object_get(part, "pattern"), "String"));
    bool replaces = smt_convert_is(from, " ") && smt_convert_is(json_string_value(json_object_get(part, "content")), SPACE);
    return smt_convert_is(type, "Replace") && replaces ? SMT_OK : refuse("normalizer", part, err);
}

/* Newer files say the same with a pre-tokenizer. */
static smt_status read_metaspace(const json_t *part, bool *out, smt_error *err) {
    const char *scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    const char *replacement = json_string_value(json_object_get(part, "replacement"));
    bool splits = json_is_true(json_object_get(part, "split"));
    if (!smt_convert_is(json_string_value(json_object_get(part, "type")), "Metaspace") || !smt_convert_is(replacement, SPACE) ||
        splits)
        return refuse("pre-tokenizer", part, err);
    if (scheme)
        *out = strcmp(scheme, "never") != 0;
    else
        *out = !json_is_false(json_object_get(part, "add_prefix_space"));
    return SMT_OK;
}

smt_status smt_hf_spm_space_prefix(const smt_hf_vocab *vocab, bool *out, smt_error *err) {
    const json_t *normalizer = smt_convert_value(vocab->tokenizer, "normalizer");
    const json_t *pre = smt_convert_value(vocab->tokenizer, "pre_tokenizer"), *list = json_object_get(normalizer, "normalizers");
    *out = false;
    for (size_t i = 0; i < json_array_size(list); i++) SMT_TRY(read_normalizer(json_array_get(list, i), out, err));
    if (normalizer && !list) SMT_TRY(read_normalizer(normalizer, out, err));
    return pre ? read_metaspace(pre, out, err) : SMT_OK;
}
