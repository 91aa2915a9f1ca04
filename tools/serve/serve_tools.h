/* serve_tools.h: functions that a model may call ("tools").
 *
 *   tools, tool_choice --serve_tools.c--> serve_tools --serve_tool_grammar.c--> grammar: calls, or a text, or either
 *   conversation with calls and results --serve_tool_words.c--> messages that the template can write
 *   answer's text --serve_calls.c--> text, names, arguments: as they become certain
 *
 * How a call is spelled is the dialect's matter (serve_dialect.c): the one that the model's chat template writes, which the model was
 * trained on, or a plain one that is explained in the system message. An answer with tools always follows a grammar, so that what
 * serve_calls.c reads is well-formed up to where it is cut off. */
#ifndef SERVE_TOOLS_H
#define SERVE_TOOLS_H

#include "serve_internal.h"
#include "serve_messages.h"

#include <stdio.h>

#define SERVE_MAX_TOOLS 128 /* of one request */
#define SERVE_MAX_CALLS 16  /* of one answer */
#define SERVE_TOOL_NAME 64  /* bytes of a name */

/* ---- dialects (serve_dialect.c) ---- */

/*   trigger open NAME middle ARGUMENTS between NAME middle ARGUMENTS end
 * ARGUMENTS is a JSON object. No text may hold the trigger, whose first character is nowhere else in it; `between` and `end` differ,
 * and `middle` begins with what no name can hold. */
struct serve_dialect {
    const char *trigger, *open, *middle, *between, *end;
};
/* What the template does with a conversation that has calls in it, found out by trying. */
void serve_learn_habits(const smt_chat_template *chat, serve_habits *out);
/* The row of this index; NULL beyond the last. The first is the plain one. */
const serve_dialect *serve_dialect_row(size_t index);

/* ---- requests (serve_tools.c, serve_tool_grammar.c, serve_tool_words.c) ---- */

typedef enum serve_tool_choice { SERVE_TOOLS_NONE, SERVE_TOOLS_AUTO, SERVE_TOOLS_REQUIRED } serve_tool_choice;

typedef struct serve_tools {
    const json_t *list; /* the body's, checked; NULL: none */
    serve_tool_choice choice;
    const json_t *only; /* the name of the one function that is called; NULL: any */
    bool parallel;      /* several calls in one answer */
} serve_tools;

/* False with a 400 that names the entry. */
bool serve_tools_read(const json_t *body, serve_tools *out, serve_error *error);
/* {"name", "description", "parameters"} of an entry of the list. */
const json_t *serve_tool_function(const json_t *tool);
/* The grammar of an answer, GBNF, the caller's (free). answer: rules of which `answer` is what a text has to look like; NULL: anything.
 * choice is not SERVE_TOOLS_NONE. */
bool serve_tools_grammar(const serve_tools *tools, const serve_dialect *dialect, const char *answer, char **out_text,
                         size_t *out_bytes, serve_error *error);
/* Puts what the template has no words for into texts: the functions into the system message, calls into what the assistant said,
 * results into what the user said. The rest becomes what the template expects. depth: of arguments, which are JSON within a text. */
bool serve_tools_retell(const serve_tools *tools, const serve_habits *habits, uint32_t depth, serve_messages *messages,
                        serve_error *error);

/* The text as it was put together, NUL-terminated and the caller's (free): false, with NULL, where `good` is false or memory was
 * lacking. */
bool serve_take_text(serve_text *from, bool good, char **text, serve_error *error);

/* ---- answers (serve_calls.c) ---- */

typedef enum serve_heard_kind { SERVE_HEARD_TEXT, SERVE_HEARD_NAME, SERVE_HEARD_ARGUMENTS, SERVE_HEARD_THOUGHT } serve_heard_kind;
/* One thing that became certain, a thought not by the reader; call: the index of the call, not of a text. False ends the reading. */
typedef struct serve_heard {
    serve_heard_kind kind;
    uint32_t call;
    const char *bytes; /* [count], for the call only */
    size_t count;
} serve_heard;
typedef bool (*serve_hear_fn)(void *user, const serve_heard *heard);

typedef enum serve_place {
    SERVE_IN_TEXT,
    SERVE_IN_OPEN,
    SERVE_IN_NAME,
    SERVE_IN_MIDDLE,
    SERVE_IN_ARGUMENTS,
    SERVE_IN_TAIL,
    SERVE_IN_END
} serve_place;

/* A reader of one answer. All zeros but the dialect to begin with; serve_reader_free. */
typedef struct serve_reader {
    const serve_dialect *dialect; /* NULL: all is text */
    serve_place place;
    size_t at;      /* bytes of the trigger, or of the present literal, that were there */
    uint32_t depth; /* brackets of the arguments */
    bool in_string, escaped;
    uint32_t n_calls; /* whose name is known */
    serve_text held;  /* owned: blanks and the beginning of a trigger, which are text if that goes on; or a part of a name */
    serve_text ready; /* owned: what of this piece is certain */
} serve_reader;

/* Bytes that follow; names come whole and once, texts and arguments in parts. False: no memory, or hear said so. */
bool serve_reader_feed(serve_reader *reader, const char *bytes, size_t count, serve_hear_fn hear, void *user);
/* The answer ends here: what was held back was text. */
bool serve_reader_end(serve_reader *reader, serve_hear_fn hear, void *user);
/* Whether there were calls, and the last of them is whole. */
bool serve_reader_has_called(const serve_reader *reader);
void serve_reader_free(serve_reader *reader);

#endif
