/* fuzz_chat.c: any bytes as a chat template, rendered with a conversation that has something for every kind of access; and any bytes
 * as what a conversation brings along in JSON. Nothing may crash, run for long, or print more than the bounds allow. */
#include "chat/chat.h"
#include "corpus.h"

#include <stdlib.h>
#include <string.h>

static void use(const smt_chat *chat, const char *json) {
    smt_chat_message messages[] = {
        {"system", "be <｜User｜> brief", NULL},
        {"user", " Hi\xff there\xe4\xbd", NULL},
        {"assistant", NULL, "{\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]}"},
        {"tool", "1", json},
        {"user", "", NULL}};
    smt_chat_request request = {
        .struct_size = sizeof request, .messages = messages, .n_messages = 5, .tools = json, .variables = json};
    for (int with_json = json != NULL; with_json >= 0; with_json--) {
        smt_error err = {0};
        char *text;
        size_t bytes;
        if (smt_chat_text_of(chat, &request, &text, &bytes, &err) == SMT_OK && strlen(text) > bytes) abort();
        smt_free(text);
        request.tools = request.variables = messages[3].fields = NULL;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char fixed[] =
        "{{ messages | tojson(indent=2) }}{{ tools }}{% for m in messages %}{{ m.tool_calls }}{{ m }}{% endfor %}";
    smt_error err = {0};
    smt_chat *chat;
    char *json = malloc(size + 1);
    if (!json) return 0;
    memcpy(json, data, size);
    json[size] = 0;
    if (smt_chat_create((const char *)data, size, NULL, &chat, &err) == SMT_OK) {
        use(chat, NULL);
        smt_chat_free(chat);
    }
    if (smt_chat_create(fixed, sizeof fixed - 1, NULL, &chat, &err) == SMT_OK) {
        use(chat, json);
        smt_chat_free(chat);
    }
    free(json);
    return 0;
}
