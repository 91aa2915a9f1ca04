/* serve_messages.h: a conversation in JSON, as clients of chat servers write it, to what the library takes. The command line reads
 * its conversations with it too. */
#ifndef SERVE_MESSAGES_H
#define SERVE_MESSAGES_H

#include "seamount.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct serve_messages {
    smt_chat_message *items; /* [count], owned with their texts */
    size_t count;
} serve_messages;

/* From a JSON array; false with a message of one line, cut to capacity. serve_messages_free in either case. */
bool serve_messages_read(const json_t *list, serve_messages *out, char *message, size_t capacity);
void serve_messages_free(serve_messages *messages);

#endif
