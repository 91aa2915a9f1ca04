/* serve_tool_words.c: a conversation with calls and results, for a template to write.
 *
 * A template that knows calls gets them as messages, in the form that it expects: no text where there is none beside the calls (some,
 * DeepSeek-V3's among them, pass over the calls of a message that has a text, be it empty), two messages where there is one, arguments as
 * text or as objects. For another one they become texts: an
 * assistant's calls stand behind what it said, in the words of the dialect, and results are what the user says, those of one turn
 * together with what the user says next, since roles have to take turns in some templates. Functions that the template does not list
 * stand behind the system message. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

/* Texts of a message, and of the fields beside it, are owned. */
static void set_text(const char **text, char *value) {
    free((char *)*text);
    *text = value;
}

/* An empty one in front of the index-th. */
static bool insert_message(serve_messages *messages, size_t index, const char *role, serve_error *error) {
    smt_chat_message *grown = realloc(messages->items, (messages->count + 1) * sizeof *grown);
    char *copy = strdup(role);
    if (grown) messages->items = grown;
    if (!grown || !copy) {
        free(copy);
        return serve_fail_memory(error);
    }
    memmove(grown + index + 1, grown + index, (messages->count++ - index) * sizeof *grown);
    grown[index] = (smt_chat_message){.role = copy};
    return true;
}

/* ---- calls ---- */

static bool check_calls(const json_t *calls, size_t message, serve_error *error) {
    size_t i;
    json_t *call;
    if (!json_is_array(calls)) return serve_fail(error, 400, "message %zu: \"tool_calls\" is not a list", message);
    json_array_foreach(calls, i, call) {
        const json_t *function = serve_tool_function(call), *arguments = json_object_get(function, "arguments");
        if (!json_is_string(json_object_get(function, "name")))
            return serve_fail(error, 400, "message %zu: call %zu has no function with a name", message, i);
        if (!json_is_string(arguments) && !json_is_object(arguments))
            return serve_fail(error, 400, "message %zu: the arguments of call %zu are no JSON text", message, i);
    }
    return true;
}

/* Arguments as text, the caller's (free); NULL: no memory. Some clients send nothing for none. */
static char *arguments_text(const json_t *call) {
    const json_t *arguments = json_object_get(serve_tool_function(call), "arguments");
    if (!json_is_string(arguments)) return json_dumps(arguments, 0);
    return strdup(json_string_length(arguments) ? json_string_value(arguments) : "{}");
}

/* Text within a text: what holds for a body holds for it. NULL with an error. */
static json_t *parse_arguments(const char *text, uint32_t depth, size_t message, size_t call, serve_error *error) {
    char what[96];
    snprintf(what, sizeof what, "message %zu: the text of the arguments of call %zu", message, call);
    return serve_parse(what, text, strlen(text), depth, error);
}

/* Each call's arguments as the template wants them. */
static bool convert_calls(json_t *calls, const serve_habits *habits, uint32_t depth, size_t message, serve_error *error) {
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        json_t *function = json_object_get(call, "function");
        char *text = arguments_text(call);
        if (!text) return serve_fail_memory(error);
        json_t *value = habits->wants_objects ? parse_arguments(text, depth, message, i, error) : json_string(text);
        free(text);
        if (!value) return habits->wants_objects ? false : serve_fail_memory(error);
        if (json_object_set_new(function, "arguments", value)) return serve_fail_memory(error);
        if (!json_object_get(call, "type") && json_object_set_new(call, "type", json_string("function")))
            return serve_fail_memory(error);
    }
    return true;
}

static bool pass_calls(json_t *fields, const serve_habits *habits, uint32_t depth, size_t number, smt_chat_message *message,
                       serve_error *error) {
    if (message->content && !*message->content) set_text(&message->content, NULL);
    if (!convert_calls(json_object_get(fields, "tool_calls"), habits, depth, number, error)) return false;
    set_text(&message->fields, json_dumps(fields, JSON_COMPACT));
    return message->fields || serve_fail_memory(error);
}

/* The calls in the words of the dialect, behind the text; they leave the fields. */
static bool tell_calls(json_t *fields, const serve_dialect *d, smt_chat_message *message, serve_error *error) {
    const json_t *calls = json_object_get(fields, "tool_calls");
    serve_text said = {0}, *out = &said;
    char *text;
    size_t i;
    json_t *call;
    if (message->content && *message->content) serve_print(out, "%s\n", message->content);
    bool good = true;
    json_array_foreach(calls, i, call) {
        char *arguments = arguments_text(call);
        good = good && arguments;
        if (i) serve_put(out, d->between);
        if (!i) serve_print(out, "%s%s", d->trigger, d->open);
        serve_print(out, "%s%s%s", json_string_value(json_object_get(serve_tool_function(call), "name")), d->middle,
                    arguments ? arguments : "");
        free(arguments);
    }
    if (i) serve_put(out, d->end);
    if (!good) serve_fail_memory(error);
    if (!serve_take_text(out, good, &text, error)) return false;
    set_text(&message->content, text);
    json_object_del(fields, "tool_calls");
    set_text(&message->fields, json_object_size(fields) ? json_dumps(fields, JSON_COMPACT) : NULL);
    return message->fields || json_object_size(fields) == 0 || serve_fail_memory(error);
}

/* number: of the message, as the client counts. */
static bool retell_assistant(const serve_habits *habits, uint32_t depth, size_t number, smt_chat_message *message,
                             bool *out_calls, serve_error *error) {
    json_t *fields = message->fields ? json_loads(message->fields, 0, NULL) : NULL,
           *calls = json_object_get(fields, "tool_calls");
    bool none = !calls || json_is_null(calls) || (json_is_array(calls) && json_array_size(calls) == 0);
    bool good = none || check_calls(calls, number, error);
    if (good && !none)
        good = habits->writes_calls ? pass_calls(fields, habits, depth, number, message, error)
                                    : tell_calls(fields, habits->dialect, message, error);
    json_decref(fields);
    *out_calls = !none;
    return good;
}

/* The text becomes a message in front of the calls. */
static bool part_text(serve_messages *messages, size_t index, serve_error *error) {
    if (!insert_message(messages, index, "assistant", error)) return false;
    messages->items[index].content = messages->items[index + 1].content;
    messages->items[index + 1].content = NULL;
    return true;
}

/* ---- results ---- */

static char *joined(const char *a, const char *between, const char *b) {
    size_t room = strlen(a) + strlen(between) + strlen(b) + 1;
    char *text = malloc(room);
    if (text) snprintf(text, room, "%s%s%s", a, between, b);
    return text;
}

/* A result as a user would say it. */
static bool retell_result(smt_chat_message *message, serve_error *error) {
    static const char before[] = "<tool_response>\n", behind[] = "\n</tool_response>";
    char *opened = joined(before, "", message->content ? message->content : "");
    char *text = opened ? joined(opened, "", behind) : NULL, *role = strdup("user");
    free(opened);
    set_text(&message->content, text);
    set_text(&message->role, role);
    set_text(&message->fields, NULL);
    return (text && role) || serve_fail_memory(error);
}

static void drop_message(serve_messages *messages, size_t index) {
    smt_chat_message *at = &messages->items[index];
    set_text(&at->role, NULL);
    set_text(&at->content, NULL);
    set_text(&at->fields, NULL);
    memmove(at, at + 1, (--messages->count - index) * sizeof *at);
}

/* Results become what the user says, one message with the results before them and with what the user says after them. */
static bool retell_results(serve_messages *messages, serve_error *error) {
    bool follows = false;
    for (size_t i = 0; i < messages->count;) {
        smt_chat_message *message = &messages->items[i];
        bool result = !strcmp(message->role, "tool"), joins = follows && (result || !strcmp(message->role, "user"));
        if (result && !retell_result(message, error)) return false;
        follows = result;
        if (!joins) {
            i++;
            continue;
        }
        smt_chat_message *former = message - 1;
        set_text(&former->content, joined(former->content, "\n", message->content ? message->content : ""));
        if (!former->content) return serve_fail_memory(error);
        drop_message(messages, i);
    }
    return true;
}

/* ---- functions ---- */

static bool write_list(serve_text *out, const serve_tools *tools, const serve_dialect *d) {
    size_t i;
    json_t *tool;
    bool good = true;
    serve_put(out, "You can call these functions, one JSON object each:\n");
    json_array_foreach(tools->list, i, tool) {
        json_t *function = json_copy((json_t *)serve_tool_function(tool));
        json_object_del(function, "strict"); /* for us, not for the model */
        char *text = function ? json_dumps(function, 0) : NULL;
        json_decref(function);
        good = good && text;
        serve_print(out, "%s\n", text ? text : "");
        free(text);
    }
    serve_print(
        out,
        "A call of one of them is written like this, with its name and its arguments, and ends the answer:\n%s%sNAME%s{...}%s",
        d->trigger, d->open, d->middle, d->end);
    return good;
}

static bool open_system(serve_messages *messages, serve_error *error) {
    if (messages->count && !strcmp(messages->items[0].role, "system")) return true;
    return insert_message(messages, 0, "system", error);
}

static bool tell_tools(const serve_tools *tools, const serve_dialect *d, serve_messages *messages, serve_error *error) {
    serve_text said = {0}, *out = &said;
    char *text;
    if (!open_system(messages, error)) return false;
    smt_chat_message *system = &messages->items[0];
    if (system->content && *system->content) serve_print(out, "%s\n\n", system->content);
    bool good = write_list(out, tools, d) || serve_fail_memory(error);
    if (!serve_take_text(out, good, &text, error)) return false;
    set_text(&system->content, text);
    return true;
}

bool serve_tools_retell(const serve_tools *tools, const serve_habits *habits, uint32_t depth, serve_messages *messages,
                        serve_error *error) {
    for (size_t i = 0, number = 0; i < messages->count; i++, number++) {
        bool calls = false;
        if (strcmp(messages->items[i].role, "assistant")) continue;
        if (!retell_assistant(habits, depth, number, &messages->items[i], &calls, error)) return false;
        if (calls && habits->one_of_both && messages->items[i].content && !part_text(messages, i++, error)) return false;
    }
    if (!habits->writes_calls && !retell_results(messages, error)) return false;
    return !tools->list || habits->lists_tools || tell_tools(tools, habits->dialect, messages, error);
}
