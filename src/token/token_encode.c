/* token_encode.c: the way from a text to ids: cut out special tokens, make the rest valid UTF-8, hand it to the family.
 *
 * Special tokens are found as raw bytes, the longest ones first: every piece that is still raw is searched for tokens of one
 * length, from left to right, before the next shorter length has its turn. Control and unknown tokens take part only when the
 * caller says so, user-defined ones always; but in a prompt made of a template and of texts that others wrote, nothing that looks
 * like a control token is recognised in the latter. */
#include "token_internal.h"

#include <string.h>

typedef struct piece {
    size_t start, bytes;
    int32_t id; /* -1: still raw */
} piece;

typedef struct piece_list {
    piece *items; /* owned */
    size_t count, capacity;
} piece_list;

static smt_status add_piece(piece_list *list, size_t start, size_t bytes, int32_t id, smt_error *err) {
    if (bytes == 0) return SMT_OK;
    SMT_TRY(smt_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items, err));
    list->items[list->count++] = (piece){start, bytes, id};
    return SMT_OK;
}

/* The text whose special tokens are cut out. */
typedef struct subject {
    const char *text;
    size_t bytes;
    const uint8_t *given; /* [bytes], 1: others wrote it; NULL: all is as `control` says */
    bool control;         /* control and unknown tokens are recognised, where nobody else wrote them */
    bool guards;          /* so are marks that files type as user-defined; else those are recognised everywhere */
} subject;

static bool is_foreign(const subject *in, size_t at, size_t bytes) {
    return in->given ? memchr(in->given + at, 1, bytes) != NULL : !in->control;
}

/* <|...|> with a plain or a full-width bar: what the family calls its control tokens, whatever type files give them. */
static bool is_mark(const smt_vocab_token *token) {
    static const char *const fronts[] = {"<|", "<\xef\xbd\x9c"}, *const backs[] = {"|>", "\xef\xbd\x9c>"};
    for (size_t i = 0; i < SMT_COUNT(fronts); i++) {
        size_t front = strlen(fronts[i]), back = strlen(backs[i]);
        if (token->bytes >= front + back && memcmp(token->text, fronts[i], front) == 0 &&
            memcmp(token->text + token->bytes - back, backs[i], back) == 0)
            return true;
    }
    return false;
}

static int32_t special_at(const smt_vocab *vocab, const smt_vocab_special *special, const subject *in, size_t at) {
    uint8_t first = (uint8_t)in->text[at];
    if (!(special->first[first / 32] >> first % 32 & 1)) return -1;
    int32_t id = smt_vocab_find(vocab, in->text + at, special->bytes);
    if (id < 0) return -1;
    const smt_vocab_token *token = &vocab->tokens[id];
    bool control = token->kind == SMT_TOKEN_CONTROL || token->kind == SMT_TOKEN_UNKNOWN;
    if (token->kind == SMT_TOKEN_USER) control = in->guards && is_mark(token);
    if (token->kind == SMT_TOKEN_USER && !control) return id;
    return control && in->control && !is_foreign(in, at, special->bytes) ? id : -1;
}

/* Copies the pieces of `from` to `to`, the raw ones cut at the tokens of one length. */
static smt_status cut_length(const smt_vocab *vocab, const smt_vocab_special *special, const subject *in, const piece_list *from,
                             piece_list *to, smt_error *err) {
    to->count = 0;
    for (size_t i = 0; i < from->count; i++) {
        piece item = from->items[i];
        size_t done = item.start, end = item.start + item.bytes;
        for (size_t at = done; item.id < 0 && at < end && end - at >= special->bytes;) {
            int32_t id = special_at(vocab, special, in, at);
            if (id < 0) {
                at++;
                continue;
            }
            SMT_TRY(add_piece(to, done, at - done, -1, err));
            SMT_TRY(add_piece(to, at, special->bytes, id, err));
            done = at += special->bytes;
        }
        SMT_TRY(add_piece(to, done, end - done, item.id, err));
    }
    return SMT_OK;
}

static smt_status cut_specials(const smt_vocab *vocab, const subject *in, piece_list *out, smt_error *err) {
    piece_list spare = {0};
    smt_status status = add_piece(out, 0, in->bytes, -1, err);
    for (size_t i = 0; i < vocab->n_specials && status == SMT_OK; i++) {
        status = cut_length(vocab, &vocab->specials[i], in, out, &spare, err);
        piece_list cut = spare;
        spare = *out;
        *out = cut;
    }
    smt_free(spare.items);
    return status;
}

static smt_status encode_raw(smt_token_work *work, const char *text, size_t bytes, smt_error *err) {
    work->clean.bytes = 0;
    SMT_TRY(smt_token_clean(text, bytes, &work->clean, NULL, err));
    uint32_t clean_bytes = (uint32_t)work->clean.bytes;
    return work->vocab->spm ? smt_spm_encode(work, work->clean.text, clean_bytes, err)
                            : smt_bpe_encode(work, work->clean.text, clean_bytes, err);
}

static smt_status encode_pieces(smt_token_work *work, const subject *in, smt_error *err) {
    piece_list pieces = {0};
    smt_status status = cut_specials(work->vocab, in, &pieces, err);
    for (size_t i = 0; i < pieces.count && status == SMT_OK; i++) {
        piece item = pieces.items[i];
        status = item.id >= 0 ? smt_token_put(work, item.id, err) : encode_raw(work, in->text + item.start, item.bytes, err);
    }
    smt_free(pieces.items);
    return status;
}

smt_status smt_token_encode_given(smt_token_work *work, const char *text, size_t bytes, smt_error *err) {
    subject in = {text, bytes, NULL, false, true};
    return encode_pieces(work, &in, err);
}

/* The beginning token is put in front as `bos` says, or where the text does not begin with it. */
typedef enum bos_rule { BOS_NEVER, BOS_ALWAYS, BOS_ONCE } bos_rule;

static smt_status encode(smt_token_work *work, const subject *in, bos_rule bos, smt_error *err) {
    const smt_vocab *vocab = work->vocab;
    SMT_TRY(smt_grow((void **)&work->ids, &work->id_capacity, 1, sizeof *work->ids, err)); /* so that no ids is not NULL */
    if (bos != BOS_NEVER && vocab->adds_bos) SMT_TRY(smt_token_put(work, vocab->bos, err));
    SMT_TRY(encode_pieces(work, in, err));
    if (bos == BOS_ONCE && vocab->adds_bos && work->n_ids > 1 && work->ids[1] == vocab->bos)
        memmove(work->ids, work->ids + 1, --work->n_ids * sizeof *work->ids);
    return SMT_OK;
}

void smt_token_work_free(smt_token_work *work) {
    smt_free(work->ids);
    smt_free(work->symbols);
    smt_free(work->heap);
    smt_split_scratch_free(&work->split);
    smt_str_free(&work->clean);
    smt_str_free(&work->scratch);
}

static smt_status encode_subject(const smt_vocab *vocab, const subject *in, bos_rule bos, int32_t **out_tokens, size_t *out_count,
                                 smt_error *err) {
    *out_tokens = NULL;
    *out_count = 0;
    if (in->bytes > SMT_TOKEN_MAX_TEXT / 3) /* each bad byte becomes the three of U+FFFD */
        return SMT_FAIL(err, SMT_INVALID, "a text of %zu bytes, at most %zu can be tokenized at once", in->bytes,
                        SMT_TOKEN_MAX_TEXT / 3);
    smt_token_work work = {.vocab = vocab};
    smt_status status = encode(&work, in, bos, err);
    if (status == SMT_OK) {
        *out_tokens = work.ids;
        *out_count = work.n_ids;
        work.ids = NULL;
    }
    smt_token_work_free(&work);
    return status;
}

smt_status smt_token_encode(const smt_vocab *vocab, const char *text, size_t bytes, uint32_t flags, int32_t **out_tokens,
                            size_t *out_count, smt_error *err) {
    subject in = {text, bytes, NULL, flags & SMT_TOKENIZE_SPECIAL, false};
    return encode_subject(vocab, &in, flags & SMT_TOKENIZE_BOS ? BOS_ALWAYS : BOS_NEVER, out_tokens, out_count, err);
}

smt_status smt_token_encode_prompt(const smt_vocab *vocab, const char *text, const uint8_t *given, size_t bytes,
                                   int32_t **out_tokens, size_t *out_count, smt_error *err) {
    subject in = {text, bytes, given, true, true};
    return encode_subject(vocab, &in, BOS_ONCE, out_tokens, out_count, err);
}
