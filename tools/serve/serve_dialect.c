/* serve_dialect.c: how calls of functions are spelled, and which spelling a model knows.
 *
 * A template that can write a conversation with calls shows by that how the model was trained to write them. So the template is given
 * such a conversation, and its prompt is searched for the call in each dialect; one that is not found, and a template that loses the
 * call or the result or refuses the roles (DeepSeek-V2's own), means the plain dialect. DeepSeek's marks are single tokens of its
 * vocabularies and texts like any other where a vocabulary lacks them. Whether the model thinks before it answers shows in the same way. */
#include "serve_tools.h"

#include <string.h>

#define CALLS   "<｜tool▁calls▁begin｜>"
#define CALL    "<｜tool▁call▁begin｜>"
#define SEP     "<｜tool▁sep｜>"
#define CALLED  "<｜tool▁call▁end｜>"
#define ALL     "<｜tool▁calls▁end｜>"
#define PLAIN   "\n{\"name\": \""
#define CLOSING "}\n</tool_call>"

static const serve_dialect rows[] = {
    {"<tool_call>", PLAIN, "\", \"arguments\": ", CLOSING "\n<tool_call>" PLAIN, CLOSING}, /* Hermes, Qwen */
    {CALLS, CALL "function" SEP, "\n```json\n", "\n```" CALLED "\n" CALL "function" SEP,
     "\n```" CALLED ALL},                        /* DeepSeek V2.5, V3, R1 */
    {CALLS, CALL, SEP, CALLED CALL, CALLED ALL}, /* DeepSeek V3.1 */
};

const serve_dialect *serve_dialect_row(size_t index) { return index < sizeof rows / sizeof *rows ? &rows[index] : NULL; }

/* ---- the trial ---- */

#define NAME      "trial_function"
#define SAID      "trial text"
#define RESULT    "trial result"
#define THOUGHT   "trial thought"
#define ARGUMENTS "{\"trial\": 1}"
#define CALL_WITH(arguments)                                                                          \
    "{\"tool_calls\": [{\"id\": \"call_0\", \"type\": \"function\", \"function\": {\"name\": \"" NAME \
    "\", \"arguments\": " arguments "}}]}"
#define TOOLS                                                    \
    "[{\"type\": \"function\", \"function\": {\"name\": \"" NAME \
    "\", \"description\": \"tries\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]"

static bool holds(const char *text, const char *const *parts, size_t n) {
    for (size_t i = 0; i < n && text; i++) {
        if (strncmp(text, parts[i], strlen(parts[i]))) return false;
        text += strlen(parts[i]);
    }
    return text != NULL;
}

/* Whether the call is there in this dialect. Templates differ in what they write behind it. */
static bool speaks(const serve_dialect *d, const char *prompt) {
    const char *const parts[] = {d->trigger, d->open, NAME, d->middle, ARGUMENTS};
    for (const char *at = prompt; (at = strstr(at, d->trigger)); at++)
        if (holds(at, parts, sizeof parts / sizeof *parts)) return true;
    return false;
}

/* A conversation with a call as the template writes it, the caller's (smt_free); NULL: it refuses that. */
static char *try_calls(const smt_chat_template *chat, const char *text, const char *fields) {
    const smt_chat_message messages[] = {{"user", "Try it.", NULL},
                                         {"assistant", text, fields},
                                         {"tool", RESULT, "{\"tool_call_id\": \"call_0\", \"name\": \"" NAME "\"}"}};
    const smt_chat_request request = {.struct_size = sizeof request, .messages = messages, .n_messages = 3, .tools = TOOLS};
    char *prompt;
    size_t bytes;
    smt_chat_render(chat, &request, &prompt, &bytes, NULL);
    return prompt;
}

static bool learn_calls(const smt_chat_template *chat, const char *fields, serve_habits *out) {
    char *prompt = try_calls(chat, NULL, fields);
    for (size_t i = 0; prompt && !out->writes_calls && serve_dialect_row(i); i++) {
        if (!speaks(&rows[i], prompt) || !strstr(prompt, RESULT)) continue;
        out->dialect = &rows[i];
        out->writes_calls = true;
    }
    smt_free(prompt);
    if (!out->writes_calls) return false;
    prompt = try_calls(chat, SAID, fields);
    out->one_of_both = !prompt || !speaks(out->dialect, prompt) || !strstr(prompt, SAID);
    smt_free(prompt);
    return true;
}

static bool lists_tools(const smt_chat_template *chat) {
    const smt_chat_message message = {"user", "Try it.", NULL};
    const smt_chat_request request = {.struct_size = sizeof request, .messages = &message, .n_messages = 1, .tools = TOOLS};
    char *prompt;
    size_t bytes;
    if (smt_chat_render(chat, &request, &prompt, &bytes, NULL) != SMT_OK) return false;
    bool found = strstr(prompt, NAME) != NULL;
    smt_free(prompt);
    return found;
}

/* Whether it knows thoughts: it ends with a mark of them, or leaves out those that came with answers before. */
static bool learn_thoughts(const smt_chat_template *chat) {
    const smt_chat_message messages[] = {
        {"user", "Try it.", NULL}, {"assistant", SERVE_THINK THOUGHT SERVE_THOUGHT SAID, NULL}, {"user", "Try again.", NULL}};
    const smt_chat_request request = {.struct_size = sizeof request, .messages = messages, .n_messages = 3};
    char *prompt;
    size_t bytes;
    if (smt_chat_render(chat, &request, &prompt, &bytes, NULL) != SMT_OK) return false;
    bool thinks = serve_thinking_behind(prompt, bytes) != SERVE_MAY_THINK || (strstr(prompt, SAID) && !strstr(prompt, THOUGHT));
    smt_free(prompt);
    return thinks;
}

void serve_learn_habits(const smt_chat_template *chat, serve_habits *out) {
    *out = (serve_habits){.dialect = &rows[0]};
    if (!chat) return;
    if (!learn_calls(chat, CALL_WITH("\"{\\\"trial\\\": 1}\""), out))
        out->wants_objects = learn_calls(chat, CALL_WITH(ARGUMENTS), out);
    out->lists_tools = out->writes_calls && lists_tools(chat);
    out->thinks = learn_thoughts(chat);
}
