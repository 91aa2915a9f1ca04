/* chat_line.h: one line from a terminal, edited there: by libedit (chat_line_edit.c), or by the console of Windows
 * (chat_line_console.c). */
#ifndef CHAT_LINE_H
#define CHAT_LINE_H

#include "chat.h"

typedef struct chat_line chat_line;
/* NULL: no editor on this terminal, or out of memory. */
chat_line *chat_line_open(void);
/* Asks for a line, on stderr; CHAT_MESSAGE: *out is UTF-8 with its end, valid until the next call. continued: it belongs to a message that
 * has begun. Otherwise CHAT_INTERRUPT, CHAT_END or CHAT_FAILED; the last with a message. */
chat_event chat_line_read(chat_line *line, bool continued, const char **out, size_t *out_bytes);
void chat_line_close(chat_line *line); /* NULL is legal */

#endif
