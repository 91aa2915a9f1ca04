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
/* Whether the model shall think: templates call it "enable_thinking" or (DeepSeek-V3.1's) "thinking", and clients know one of the two, or
 * DeepSeek's {"thinking": {"type": "enabled"}} in the body of a request (NULL: there is none). What is set of them sets the rest among the
 * template's variables. False: no memory. */
bool serve_spread_thinking(json_t *variables, const json_t *body);

#endif
