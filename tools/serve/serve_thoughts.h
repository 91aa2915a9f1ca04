/* serve_thoughts.h: tells what a model thinks from what it answers.
 *
 *   MAY_THINK --<think>--> THINKS --</think>--> HAS_THOUGHT --anything but a blank--> ANSWERS
 *   MAY_THINK --anything else but a blank--> ANSWERS
 *
 * A thought stands in front of the answer and nowhere else: marks inside an answer are text. Some templates end with <think> (R1's), so that
 * the answer begins in a thought; some with </think>, where no thought is wanted. The marks are tokens of their own or texts of several
 * tokens: all is read byte by byte, and it does not matter where pieces begin and end. Blanks at both ends of a thought and in front of the
 * answer behind it belong to neither; a raw reading leaves nothing out, and counts them and the marks as part of the thought. The command
 * line's chat reads answers with it too. */
#ifndef SERVE_THOUGHTS_H
#define SERVE_THOUGHTS_H

#include "seamount.h"

#include <stdbool.h>
#include <stddef.h>

#define SERVE_THINK   "<think>"
#define SERVE_THOUGHT "</think>"

typedef enum serve_thinking { SERVE_ANSWERS, SERVE_MAY_THINK, SERVE_THINKS, SERVE_HAS_THOUGHT } serve_thinking;

/* A reader of one answer, plain data that may be copied: all zeros but the place to begin with, and `raw`. */
typedef struct serve_thoughts {
    serve_thinking place;
    bool raw;        /* marks and blanks are told as well */
    bool wrote;      /* something of the thought was told */
    size_t n_marked; /* bytes of a mark that were there, the last of the held ones */
    size_t n_held;   /* blanks, and the beginning of a mark behind them: text, if that goes on */
    char held[64];
} serve_thoughts;

/* What became certain; `thought`: of the thought. False ends the reading. */
typedef bool (*serve_thought_fn)(void *user, bool thought, const char *bytes, size_t count);
/* Bytes that follow. False: tell said so. */
bool serve_thoughts_feed(serve_thoughts *t, const char *bytes, size_t count, serve_thought_fn tell, void *user);
/* The text ends here: what was held back is told. */
bool serve_thoughts_end(serve_thoughts *t, serve_thought_fn tell, void *user);
/* The token that begins a thought; -1 where the vocabulary does not have both marks. */
smt_status serve_find_think(const smt_tokenizer *tokenizer, int32_t *out, smt_error *err);
/* Where an answer begins behind this text; behind these tokens. */
serve_thinking serve_thinking_behind(const char *prompt, size_t bytes);
smt_status serve_thinking_after(const smt_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, serve_thinking *out,
                                smt_error *err);
/* A stream for the text of what follows these tokens: only the first word of a whole text loses the blank in front of it. *out is the
 * caller's to free, also where it fails. */
smt_status serve_open_spoken(const smt_tokenizer *tokenizer, const int32_t *before, size_t n_before, smt_text_stream **out,
                             smt_error *err);

#endif
