/* serve_messages.c: see serve_messages.h.
 *
 * A message has "role" and "content"; content is a string, null, or a list of parts of which only texts are understood (joined by
 * newlines). All other members go along as fields of the message, for templates that know them (tool_calls, name). The role
 * "developer" is what OpenAI calls the system's today; templates know "system". */
#include "serve_messages.h"
#include "system.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a message about what is wrong goes. */
typedef struct complaint {
    char *text;
    size_t capacity;
} complaint;

SYSTEM_PRINTF(2, 3)
static bool wrong(const complaint *to, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(to->text, to->capacity, format, args);
    va_end(args);
    return false;
}

static bool no_memory(const complaint *to) { return wrong(to, "out of memory"); }

/* The texts of a list of parts. */
static bool join_parts(const json_t *parts, size_t number, char **out, const complaint *to) {
    size_t i, used = 0, room = 1;
    json_t *part;
    json_array_foreach(parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (!json_is_string(text)) return wrong(to, "message %zu: part %zu of its content is not a text", number, i);
        room += json_string_length(text) + 1;
    }
    char *joined = malloc(room);
    if (!joined) return no_memory(to);
    json_array_foreach(parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (i) joined[used++] = '\n';
        memcpy(joined + used, json_string_value(text), json_string_length(text));
        used += json_string_length(text);
    }
    joined[used] = 0;
    *out = joined;
    return true;
}

/* Members beside role and content as JSON text; NULL where there are none. */
static bool take_fields(const json_t *message, char **out, const complaint *to) {
    json_t *rest = json_copy((json_t *)message);
    if (!rest) return no_memory(to);
    json_object_del(rest, "role");
    json_object_del(rest, "content");
    if (json_object_size(rest)) *out = json_dumps(rest, JSON_COMPACT);
    bool good = *out || json_object_size(rest) == 0;
    json_decref(rest);
    return good || no_memory(to);
}

static bool take_message(const json_t *message, size_t number, smt_chat_message *out, const complaint *to) {
    const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    if (!json_is_string(role)) return wrong(to, "message %zu has no role", number);
    if (content && !json_is_string(content) && !json_is_null(content) && !json_is_array(content))
        return wrong(to, "message %zu: its content is no string and no list of parts", number);
    const char *name = strcmp(json_string_value(role), "developer") ? json_string_value(role) : "system";
    out->role = strdup(name);
    if (!out->role) return no_memory(to);
    if (json_is_array(content) && !join_parts(content, number, (char **)&out->content, to)) return false;
    if (json_is_string(content)) {
        out->content = strdup(json_string_value(content));
        if (!out->content) return no_memory(to);
    }
    return take_fields(message, (char **)&out->fields, to);
}

bool serve_messages_read(const json_t *list, serve_messages *out, char *message, size_t capacity) {
    const complaint to = {message, capacity};
    *out = (serve_messages){0};
    if (!json_is_array(list)) return wrong(&to, "the messages are not a JSON array");
    out->items = calloc(json_array_size(list) + 1, sizeof *out->items);
    if (!out->items) return no_memory(&to);
    for (size_t i = 0; i < json_array_size(list); i++) {
        out->count++;
        if (!take_message(json_array_get(list, i), i, &out->items[i], &to)) return false;
    }
    return true;
}

void serve_messages_free(serve_messages *messages) {
    for (size_t i = 0; i < messages->count; i++) {
        free((char *)messages->items[i].role);
        free((char *)messages->items[i].content);
        free((char *)messages->items[i].fields);
    }
    free(messages->items);
    *messages = (serve_messages){0};
}

bool serve_spread_thinking(json_t *variables, const json_t *body) {
    static const char *const names[] = {"enable_thinking", "thinking"};
    const json_t *type = json_object_get(json_object_get(body, "thinking"), "type");
    json_t *wanted = json_is_string(type) ? json_boolean(strcmp(json_string_value(type), "disabled") != 0) : NULL;
    for (int i = 0; i < 2; i++)
        if (json_object_get(variables, names[i])) wanted = json_object_get(variables, names[i]);
    for (int i = 0; i < 2 && wanted; i++)
        if (!json_object_get(variables, names[i]) && json_object_set(variables, names[i], wanted)) return false;
    return true;
}
