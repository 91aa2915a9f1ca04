/* chat_messages.c: the conversation as a JSON array of {"role", "content"}, as files and other programs know it. Files may
 * hold more than that (messages.c says what); it is kept, and goes into the template. */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

/* NULL with a message. */
static json_t *text_json(const char *text, size_t bytes) {
    char *content = malloc(bytes + 1);
    size_t used = 0;
    for (size_t i = 0; content && i < bytes; i++)
        if (text[i]) content[used++] = text[i]; /* a message ends at a zero byte, and a model can write one */
    json_t *json = content ? json_stringn(content, used) : NULL;
    free(content);
    if (!json) cli_fail(CLI_FAILED, "the message of %zu bytes is not UTF-8, or there is no memory for it", bytes);
    return json;
}

bool chat_add(json_t *messages, const char *role, const char *text, size_t bytes) {
    json_t *content = text_json(text, bytes);
    if (!content) return false;
    if (json_array_append_new(messages, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0) return true;
    cli_no_memory();
    return false;
}

bool chat_add_thought(json_t *messages, const char *text, size_t bytes) {
    json_t *content = text_json(text, bytes), *last = json_array_get(messages, json_array_size(messages) - 1);
    if (!content) return false;
    if (json_object_set_new(last, "reasoning_content", content) == 0) return true;
    cli_no_memory();
    return false;
}

void chat_forget_last(json_t *messages) { json_array_remove(messages, json_array_size(messages) - 1); }

bool chat_has_system(const json_t *messages) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
    return role && !strcmp(role, "system");
}

bool chat_set_system(json_t *messages, const char *text) {
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", text);
    if (!message) {
        cli_fail(CLI_FAILED, "the system message is not UTF-8, or there is no memory for it");
        return false;
    }
    if (chat_has_system(messages)) json_array_remove(messages, 0);
    if (*text && json_array_insert(messages, 0, message) != 0) cli_no_memory();
    json_decref(message);
    return true;
}

json_t *chat_load(const char *path) {
    char *text;
    size_t bytes;
    if (!cli_read_file(path, &text, &bytes)) return NULL;
    json_error_t why;
    json_t *document = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!document) {
        cli_fail(CLI_FAILED, "%s: line %d: %s", path, why.line, why.text);
        return NULL;
    }
    json_t *messages = json_is_object(document) ? json_object_get(document, "messages") : document;
    serve_messages read;
    if (!cli_messages_read(messages, &read)) messages = NULL;
    serve_messages_free(&read);
    json_incref(messages);
    json_decref(document);
    return messages;
}

bool chat_save(const json_t *messages, const char *path) {
    char *text = json_dumps(messages, JSON_INDENT(2));
    bool saved = text && cli_replace_file(path, text, strlen(text));
    if (!text) cli_no_memory();
    free(text);
    return saved;
}
