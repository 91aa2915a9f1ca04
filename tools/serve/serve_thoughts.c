/* serve_thoughts.c: see serve_thoughts.h.
 *
 * Both marks begin with a character that is nowhere else in them: a byte that does not go on with a mark can only begin it anew. What is
 * held back is bounded: of blanks beyond it nobody asks whether a mark follows. What is held always leaves room for a whole mark. */
#include "serve_thoughts.h"

#include <string.h>

#define LAST_TOKENS 16 /* of a prompt: enough for a mark in single bytes, and blanks behind it */

static bool is_blank(char byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }

/* Held bytes turned out to be text. */
static bool release(serve_thoughts *t, serve_thought_fn tell, void *user) {
    size_t count = t->n_held;
    t->n_held = t->n_marked = 0;
    return count == 0 || tell(user, t->place == SERVE_THINKS, t->held, count);
}

/* Whether the byte is held back: it may belong to the mark, or stand in front of it. */
static bool hold(serve_thoughts *t, const char *mark, char byte) {
    bool goes_on = byte == mark[t->n_marked];
    if (!goes_on && (t->n_marked || !is_blank(byte) || t->n_held == sizeof t->held - strlen(mark))) return false;
    t->n_marked += goes_on;
    t->held[t->n_held++] = byte;
    return true;
}

static bool is_whole(const serve_thoughts *t, const char *mark) { return !mark[t->n_marked]; }

/* Goes on behind the mark that is held. */
static bool pass(serve_thoughts *t, serve_thinking next, serve_thought_fn tell, void *user) {
    size_t count = t->n_held;
    t->n_held = t->n_marked = 0;
    t->place = next;
    return !t->raw || tell(user, true, t->held, count);
}

static bool answer(serve_thoughts *t, const char *bytes, size_t count, serve_thought_fn tell, void *user) {
    t->place = SERVE_ANSWERS;
    return release(t, tell, user) && tell(user, false, bytes, count);
}

static bool think(serve_thoughts *t, char byte, serve_thought_fn tell, void *user) {
    if (!t->raw && !t->wrote && t->n_held == 0 && is_blank(byte)) return true;
    if (hold(t, SERVE_THOUGHT, byte)) return !is_whole(t, SERVE_THOUGHT) || pass(t, SERVE_HAS_THOUGHT, tell, user);
    t->wrote = true;
    if (!release(t, tell, user)) return false;
    return hold(t, SERVE_THOUGHT, byte) || tell(user, true, &byte, 1);
}

bool serve_thoughts_feed(serve_thoughts *t, const char *bytes, size_t count, serve_thought_fn tell, void *user) {
    for (size_t i = 0; i < count; i++) {
        switch (t->place) {
        case SERVE_MAY_THINK:
            if (!hold(t, SERVE_THINK, bytes[i])) return answer(t, bytes + i, count - i, tell, user);
            if (is_whole(t, SERVE_THINK) && !pass(t, SERVE_THINKS, tell, user)) return false;
            break;
        case SERVE_THINKS:
            if (!think(t, bytes[i], tell, user)) return false;
            break;
        case SERVE_HAS_THOUGHT:
            if (!is_blank(bytes[i])) return answer(t, bytes + i, count - i, tell, user);
            if (t->raw && !tell(user, true, bytes + i, 1)) return false;
            break;
        case SERVE_ANSWERS:
            return tell(user, false, bytes + i, count - i);
        }
    }
    return true;
}

bool serve_thoughts_end(serve_thoughts *t, serve_thought_fn tell, void *user) {
    if (t->place == SERVE_THINKS && t->n_marked == 0 && !t->raw) t->n_held = 0; /* blanks at its end */
    return release(t, tell, user);
}

/* Whether the text ends with the mark. */
static bool ends(const char *text, size_t bytes, const char *mark) {
    size_t n = strlen(mark);
    return bytes >= n && !memcmp(text + bytes - n, mark, n);
}

serve_thinking serve_thinking_behind(const char *prompt, size_t bytes) {
    while (bytes && is_blank(prompt[bytes - 1])) bytes--;
    return ends(prompt, bytes, SERVE_THINK) ? SERVE_THINKS : ends(prompt, bytes, SERVE_THOUGHT) ? SERVE_ANSWERS : SERVE_MAY_THINK;
}

smt_status serve_thinking_after(const smt_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, serve_thinking *out,
                                smt_error *err) {
    size_t n = n_prompt < LAST_TOKENS ? n_prompt : LAST_TOKENS, bytes;
    char *text;
    smt_status status = smt_detokenize(tokenizer, prompt + n_prompt - n, n, &text, &bytes, err);
    if (status != SMT_OK) return status;
    *out = serve_thinking_behind(text, bytes);
    smt_free(text);
    return SMT_OK;
}

/* *out -1: the text is not one token. */
static smt_status find(const smt_tokenizer *tokenizer, const char *mark, int32_t *out, smt_error *err) {
    int32_t *tokens;
    size_t count;
    smt_status status = smt_tokenize(tokenizer, mark, strlen(mark), SMT_TOKENIZE_SPECIAL, &tokens, &count, err);
    *out = status == SMT_OK && count == 1 ? tokens[0] : -1;
    smt_free(tokens);
    return status;
}

smt_status serve_find_think(const smt_tokenizer *tokenizer, int32_t *out, smt_error *err) {
    int32_t thought;
    smt_status status = find(tokenizer, SERVE_THOUGHT, &thought, err);
    if (status == SMT_OK) status = find(tokenizer, SERVE_THINK, out, err);
    if (thought < 0) *out = -1;
    return status;
}

smt_status serve_open_spoken(const smt_tokenizer *tokenizer, const int32_t *before, size_t n_before, smt_text_stream **out,
                             smt_error *err) {
    const char *ignored;
    size_t bytes;
    smt_status status = smt_text_stream_create(tokenizer, out, err);
    for (size_t i = 0; status == SMT_OK && i < n_before; i++)
        status = smt_text_stream_push(*out, before[i], &ignored, &bytes, err);
    if (status == SMT_OK) smt_text_stream_flush(*out, &ignored, &bytes);
    return status;
}
