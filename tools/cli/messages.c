/* messages.c: a conversation in JSON, as clients of chat servers write it, to what the library takes.
 *
 * A message has "role" and "content"; content is a string, null, or a list of parts of which only texts are understood (joined by
 * newlines). All other members go along as fields of the message, for templates that know them (tool_calls, name). */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool no_memory(void) { return cli_fail(CLI_FAILED, "out of memory"), false; }

/* The texts of a list of parts, or NULL with a message. */
static char *join_parts(const json_t *parts, size_t number) {
    size_t i, used = 0, room = 1;
    json_t *part;
    json_array_foreach(parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (!json_is_string(text)) {
            cli_fail(CLI_FAILED, "message %zu: part %zu of its content is not a text", number, i);
            return NULL;
        }
        room += json_string_length(text) + 1;
    }
    char *joined = malloc(room);
    if (!joined) return no_memory(), NULL;
    json_array_foreach(parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (i) joined[used++] = '\n';
        memcpy(joined + used, json_string_value(text), json_string_length(text));
        used += json_string_length(text);
    }
    joined[used] = 0;
    return joined;
}

/* Members beside role and content as JSON text; NULL and true where there are none. */
static bool take_fields(json_t *message, char **out) {
    *out = NULL;
    json_t *rest = json_copy(message);
    if (!rest) return no_memory();
    json_object_del(rest, "role");
    json_object_del(rest, "content");
    if (json_object_size(rest)) *out = json_dumps(rest, JSON_COMPACT);
    bool good = *out || json_object_size(rest) == 0;
    json_decref(rest);
    return good || no_memory();
}

static bool take_message(json_t *message, size_t number, smt_chat_message *out) {
    const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    if (!json_is_string(role)) return cli_fail(CLI_FAILED, "message %zu has no role", number), false;
    if (content && !json_is_string(content) && !json_is_null(content) && !json_is_array(content))
        return cli_fail(CLI_FAILED, "message %zu: its content is no string and no list of parts", number), false;
    char *text = NULL, *fields;
    if (json_is_array(content)) {
        text = join_parts(content, number);
        if (!text) return false;
    } else if (json_is_string(content)) {
        text = strdup(json_string_value(content));
        if (!text) return no_memory();
    }
    out->content = text;
    out->role = strdup(json_string_value(role));
    if (!out->role) return no_memory();
    if (!take_fields(message, &fields)) return false;
    out->fields = fields;
    return true;
}

bool cli_messages_read(json_t *list, cli_messages *out) {
    *out = (cli_messages){0};
    if (!json_is_array(list)) return cli_fail(CLI_FAILED, "the messages are not a JSON array"), false;
    out->items = calloc(json_array_size(list) + 1, sizeof *out->items);
    if (!out->items) return no_memory();
    for (size_t i = 0; i < json_array_size(list); i++) {
        out->count++;
        if (!take_message(json_array_get(list, i), i, &out->items[i])) return false;
    }
    return true;
}

void cli_messages_free(cli_messages *messages) {
    for (size_t i = 0; i < messages->count; i++) {
        free((char *)messages->items[i].role);
        free((char *)messages->items[i].content);
        free((char *)messages->items[i].fields);
    }
    free(messages->items);
    *messages = (cli_messages){0};
}
