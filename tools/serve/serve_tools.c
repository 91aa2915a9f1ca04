/* serve_tools.c: "tools", "tool_choice" and "parallel_tool_calls" of a chat's body, checked.
 *
 *   {"type": "function", "function": {"name", "description", "parameters", "strict"}}
 *   "none" | "auto" | "required" | {"type": "function", "function": {"name"}}
 *
 * As with OpenAI: without tools the choice is none, with them auto; several calls are allowed unless the body says otherwise, but a
 * function that is named is called once. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

bool serve_take_text(serve_text *from, bool good, char **text, serve_error *error) {
    bool whole = serve_append(from, "", 1);
    *text = from->at;
    if (good && whole) return true;
    if (good) serve_fail_memory(error);
    free(*text);
    *text = NULL;
    return false;
}

const json_t *serve_tool_function(const json_t *tool) { return json_object_get(tool, "function"); }

static bool is_name(const json_t *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (!json_is_string(name)) return false;
    size_t length = strspn(json_string_value(name), allowed);
    return length > 0 && length <= SERVE_TOOL_NAME && length == json_string_length(name);
}

/* A member that may be missing or null, and is of this type else. */
static bool may_be(const json_t *object, const char *name, json_type type) {
    const json_t *value = json_object_get(object, name);
    return !value || json_is_null(value) || json_typeof(value) == type || (type == JSON_TRUE && json_is_false(value));
}

static bool check_tool(const json_t *list, size_t index, serve_error *error) {
    const json_t *tool = json_array_get(list, index), *type = json_object_get(tool, "type"),
                 *function = serve_tool_function(tool);
    const json_t *name = json_object_get(function, "name");
    if (!json_is_string(type)) return serve_fail(error, 400, "\"tools\": entry %zu has no type", index);
    if (strcmp(json_string_value(type), "function"))
        return serve_fail(error, 400, "\"tools\": entry %zu is a \"%.40s\"; only functions are supported", index,
                          json_string_value(type));
    if (!json_is_object(function)) return serve_fail(error, 400, "\"tools\": entry %zu has no \"function\"", index);
    if (!is_name(name))
        return serve_fail(error, 400, "\"tools\": entry %zu: its name is not 1 to %d letters, digits, _ or -", index,
                          SERVE_TOOL_NAME);
    for (size_t i = 0; i < index; i++)
        if (json_equal(json_object_get(serve_tool_function(json_array_get(list, i)), "name"), name))
            return serve_fail(error, 400, "\"tools\": entries %zu and %zu are both called \"%s\"", i, index,
                              json_string_value(name));
    if (!may_be(function, "description", JSON_STRING))
        return serve_fail(error, 400, "\"tools\": \"%s\": its description is not a string", json_string_value(name));
    if (!may_be(function, "parameters", JSON_OBJECT))
        return serve_fail(error, 400, "\"tools\": \"%s\": its parameters are no JSON schema", json_string_value(name));
    if (!may_be(function, "strict", JSON_TRUE))
        return serve_fail(error, 400, "\"tools\": \"%s\": \"strict\" is neither true nor false", json_string_value(name));
    return true;
}

static bool read_list(const json_t *body, serve_tools *out, serve_error *error) {
    const json_t *list = json_object_get(body, "tools");
    if (!list || json_is_null(list)) return true;
    if (!json_is_array(list)) return serve_fail(error, 400, "\"tools\" is not a list");
    if (json_array_size(list) > SERVE_MAX_TOOLS)
        return serve_fail(error, 400, "\"tools\" has %zu entries; %d are possible", json_array_size(list), SERVE_MAX_TOOLS);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!check_tool(list, i, error)) return false;
    if (json_array_size(list)) out->list = list;
    return true;
}

static bool read_word(const char *word, serve_tools *out, serve_error *error) {
    static const char *const words[] = {
        [SERVE_TOOLS_NONE] = "none", [SERVE_TOOLS_AUTO] = "auto", [SERVE_TOOLS_REQUIRED] = "required"};
    for (int i = SERVE_TOOLS_NONE; i <= SERVE_TOOLS_REQUIRED; i++) {
        if (strcmp(word, words[i])) continue;
        out->choice = (serve_tool_choice)i;
        return true;
    }
    return serve_fail(error, 400, "\"tool_choice\" is \"%.40s\"; there are none, auto, required, and a function's name", word);
}

static bool read_named(const json_t *choice, serve_tools *out, serve_error *error) {
    const json_t *type = json_object_get(choice, "type"), *name = json_object_get(serve_tool_function(choice), "name");
    if (!json_is_string(type) || strcmp(json_string_value(type), "function") || !json_is_string(name))
        return serve_fail(error, 400, "\"tool_choice\" is no word and not {\"type\": \"function\", \"function\": {\"name\"}}");
    for (size_t i = 0; i < json_array_size(out->list); i++)
        if (json_equal(json_object_get(serve_tool_function(json_array_get(out->list, i)), "name"), name)) out->only = name;
    if (!out->only)
        return serve_fail(error, 400, "\"tool_choice\" is the function \"%.64s\", which is not in \"tools\"",
                          json_string_value(name));
    out->choice = SERVE_TOOLS_REQUIRED;
    return true;
}

bool serve_tools_read(const json_t *body, serve_tools *out, serve_error *error) {
    const json_t *choice = json_object_get(body, "tool_choice");
    *out = (serve_tools){.parallel = true};
    if (!read_list(body, out, error) || !serve_get_bool(body, "parallel_tool_calls", &out->parallel, error)) return false;
    if (out->list) out->choice = SERVE_TOOLS_AUTO;
    if (json_is_string(choice) && !read_word(json_string_value(choice), out, error)) return false;
    if (choice && !json_is_null(choice) && !json_is_string(choice) && !read_named(choice, out, error)) return false;
    if (out->choice == SERVE_TOOLS_REQUIRED && !out->list)
        return serve_fail(error, 400, "\"tool_choice\" is \"required\", and there are no \"tools\"");
    if (!out->list || out->choice == SERVE_TOOLS_NONE) *out = (serve_tools){0};
    if (out->only) out->parallel = false;
    return true;
}
