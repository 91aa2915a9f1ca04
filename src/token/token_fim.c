/* token_fim.c: the prompt with which a model fills a gap: DeepSeek's order is prefix, suffix, middle, each part behind its mark.
 *
 * The names mislead: DeepSeek's "hole" mark stands where other models have their suffix mark, and its "end" mark where they have
 * the middle one. Files may say the ids by key; otherwise the marks are found by their texts (token_vocab.c). */
#include "token_internal.h"

static smt_status check(const smt_vocab *vocab, const smt_fim *request, smt_error *err) {
    static const char *const marks[] = {"prefix (fim begin)", "suffix (fim hole)", "middle (fim end)"};
    for (size_t i = 0; i < SMT_COUNT(vocab->fim); i++)
        if (vocab->fim[i] < 0)
            return SMT_FAIL(err, SMT_UNSUPPORTED, "the vocabulary has no token for the %s of a text to be filled in", marks[i]);
    size_t most = SMT_TOKEN_MAX_TEXT / 3;
    if (request->prefix_bytes > most || request->suffix_bytes > most)
        return SMT_FAIL(err, SMT_INVALID, "a prefix of %zu and a suffix of %zu bytes, at most %zu can be tokenized at once",
                        request->prefix_bytes, request->suffix_bytes, most);
    return SMT_OK;
}

static smt_status encode(smt_token_work *work, const smt_fim *request, smt_error *err) {
    const smt_vocab *vocab = work->vocab;
    if (vocab->adds_bos) SMT_TRY(smt_token_put(work, vocab->bos, err));
    SMT_TRY(smt_token_put(work, vocab->fim[0], err));
    if (request->prefix_bytes) SMT_TRY(smt_token_encode_given(work, request->prefix, request->prefix_bytes, err));
    SMT_TRY(smt_token_put(work, vocab->fim[1], err));
    if (request->suffix_bytes) SMT_TRY(smt_token_encode_given(work, request->suffix, request->suffix_bytes, err));
    return smt_token_put(work, vocab->fim[2], err);
}

smt_status smt_token_fim(const smt_vocab *vocab, const smt_fim *request, int32_t **out_tokens, size_t *out_count,
                         smt_error *err) {
    *out_tokens = NULL;
    *out_count = 0;
    SMT_TRY(check(vocab, request, err));
    smt_token_work work = {.vocab = vocab};
    smt_status status = encode(&work, request, err);
    if (status == SMT_OK) {
        *out_tokens = work.ids;
        *out_count = work.n_ids;
        work.ids = NULL;
    }
    smt_token_work_free(&work);
    return status;
}
