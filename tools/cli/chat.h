/* chat.h: what the files of `chat` share.
 *
 *   cmd_chat.c       turns and the commands that begin with a slash
 *   chat_input.c     messages from a terminal or from a pipe
 *   chat_line_*.c    lines from a terminal, where they are edited
 *   chat_messages.c  the conversation as a JSON array, to and from files */
#ifndef CHAT_H
#define CHAT_H

#include "cli.h"

/* ---- chat_input.c ---- */

typedef struct chat_input chat_input;

typedef enum chat_event { CHAT_MESSAGE, CHAT_END, CHAT_INTERRUPT, CHAT_FAILED } chat_event;

/* `interactive`: edit lines on the terminal, remember them in the user's state folder. NULL with a message. */
chat_input *chat_input_open(bool interactive);
void chat_input_close(chat_input *input);
/* The next message without its line end; a backslash at the end of a line continues it on the next. *out_text is owned by the
 * input until the next call. CHAT_INTERRUPT: Ctrl-C while waiting; CHAT_FAILED: with a message. */
chat_event chat_input_read(chat_input *input, const char **out_text);

/* ---- chat_messages.c ---- */

/* A conversation: a JSON array of {"role", "content"}. "The system message" is one that comes first. */
bool chat_add(json_t *messages, const char *role, const char *text, size_t bytes); /* false with a message */
/* What was thought before the last message, as its "reasoning_content". */
bool chat_add_thought(json_t *messages, const char *text, size_t bytes); /* false with a message */
void chat_forget_last(json_t *messages);
bool chat_has_system(const json_t *messages);
/* Replaces the system message; "" takes it away. False with a message. */
bool chat_set_system(json_t *messages, const char *text);
/* A new array that cli_messages_read accepts, from a file: the array, or an object that holds it as "messages". NULL with a
 * message. */
json_t *chat_load(const char *path);
/* The file appears whole or not at all. False with a message. */
bool chat_save(const json_t *messages, const char *path);

#endif
