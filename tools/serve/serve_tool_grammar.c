/* serve_tool_grammar.c: the grammar of an answer that may or must call functions.
 *
 *   args-I    a JSON object that the parameters of function I allow
 *   named     one function's name with its arguments, as the dialect puts them together
 *   calls     all that follows a trigger: one or more of them
 *   text-K    what may follow where K characters of a trigger were just written: a text that holds no trigger, or, behind the last
 *             character, calls. This is the automaton that looks for a word, written down as rules; as the word's first character is
 *             nowhere else in it, a character that does not go on with the word leads to the beginning, or one behind it.
 *
 * A model is so free to write whatever it wants, and held to well-formed calls from the moment it begins one. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (4u << 20) /* of a grammar that smt_grammar_create takes */
#define MOST_LOOSE 64         /* parameters that are tried one by one, as definitions are read anew for each */

static void put_literal(serve_text *out, const char *text) {
    serve_append(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '\n') {
            serve_put(out, "\\n");
            continue;
        }
        if (*text == '"' || *text == '\\') serve_append(out, "\\", 1);
        serve_append(out, text, 1);
    }
    serve_put(out, "\" ");
}

/* ---- arguments ---- */

/* The parameters as a schema of objects: an empty list of properties means none, as it does for those who call without arguments. A new
 * reference; NULL with an error. */
static json_t *schema_of(const json_t *function, serve_error *error) {
    const json_t *given = json_object_get(function, "parameters"), *type = json_object_get(given, "type");
    const char *name = json_string_value(json_object_get(function, "name"));
    if (type && !(json_is_string(type) && !strcmp(json_string_value(type), "object"))) {
        serve_fail(error, 400, "\"tools\": \"%s\": parameters are an object, and this schema's type is another", name);
        return NULL;
    }
    json_t *schema = json_is_object(given) ? json_copy((json_t *)given) : json_pack("{s:{}}", "properties");
    const json_t *properties = json_object_get(schema, "properties");
    bool none =
        json_is_object(properties) && json_object_size(properties) == 0 && !json_object_get(schema, "additionalProperties");
    bool good = schema && (type || !json_object_set_new(schema, "type", json_string("object"))) &&
                (!none || !json_object_set_new(schema, "additionalProperties", json_false()));
    if (good) return schema;
    json_decref(schema);
    serve_fail_memory(error);
    return NULL;
}

static smt_status put_schema(serve_text *out, const json_t *schema, size_t index, smt_error *err) {
    char root[32], *rules, *text = json_dumps(schema, JSON_COMPACT);
    size_t bytes;
    if (!text) return SMT_MEMORY;
    snprintf(root, sizeof root, "args-%zu", index);
    smt_status status = smt_schema_to_grammar(text, strlen(text), root, &rules, &bytes, err);
    free(text);
    if (status == SMT_OK) serve_append(out, rules, bytes);
    smt_free(rules);
    return status;
}

/* Whether this parameter alone, with the definitions that its schema may refer to, is beyond grammars. */
static bool is_beyond(const json_t *schema, const char *name, json_t *parameter) {
    static const char *const places[] = {"$defs", "definitions"};
    json_t *alone = json_pack("{s:s, s:{s:O}}", "type", "object", "properties", name, parameter);
    char *text = NULL, *rules;
    size_t bytes;
    for (size_t i = 0; alone && i < sizeof places / sizeof *places; i++) {
        json_t *definitions = json_object_get(schema, places[i]);
        if (definitions) json_object_set(alone, places[i], definitions);
    }
    if (alone) text = json_dumps(alone, JSON_COMPACT);
    bool beyond = text && smt_schema_to_grammar(text, strlen(text), NULL, &rules, &bytes, NULL) == SMT_UNSUPPORTED;
    if (text) smt_free(rules);
    free(text);
    json_decref(alone);
    return beyond;
}

/* The schema with each parameter that is beyond grammars allowed to be anything. A new reference. */
static json_t *loosen(const json_t *schema) {
    json_t *loose = json_copy((json_t *)schema), *properties = json_copy(json_object_get(schema, "properties")), *parameter;
    const char *name;
    if (!loose || !properties || json_object_set_new(loose, "properties", properties)) return loose;
    if (json_object_size(properties) > MOST_LOOSE) return loose;
    json_object_foreach(properties, name, parameter) {
        if (is_beyond(schema, name, parameter)) json_object_set_new(properties, name, json_true());
    }
    return loose;
}

/* Where a schema is beyond grammars, functions that are not "strict" get what of it is not; any object, if that is nothing. */
static smt_status put_what_is_possible(serve_text *out, const json_t *schema, size_t index, smt_error *err) {
    json_t *loose = loosen(schema), *any = json_pack("{s:s}", "type", "object");
    smt_status status = loose && any ? put_schema(out, loose, index, err) : SMT_MEMORY;
    if (status == SMT_UNSUPPORTED) status = put_schema(out, any, index, err);
    json_decref(loose);
    json_decref(any);
    return status;
}

static bool put_arguments(serve_text *out, const json_t *function, size_t index, serve_error *error) {
    json_t *schema = schema_of(function, error);
    if (!schema) return false;
    smt_error err = {0};
    smt_status status = put_schema(out, schema, index, &err);
    if (status == SMT_UNSUPPORTED && !json_is_true(json_object_get(function, "strict")))
        status = put_what_is_possible(out, schema, index, &err);
    json_decref(schema);
    if (status == SMT_OK && out->bytes > MOST_BYTES)
        return serve_fail(error, 400, "\"tools\": the grammar of their parameters becomes larger than %u bytes", MOST_BYTES);
    if (status == SMT_OK) return true;
    serve_fail_library(error, status, &err);
    return serve_fail(error, error->code, "\"tools\": \"%s\": %.400s%s", json_string_value(json_object_get(function, "name")),
                      err.message, status == SMT_UNSUPPORTED ? "; without \"strict\" anything would do there" : "");
}

/* ---- calls and texts ---- */

static bool put_calls(serve_text *out, const serve_tools *tools, const serve_dialect *d, serve_error *error) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(tools->list); i++) {
        const json_t *function = serve_tool_function(json_array_get(tools->list, i)), *name = json_object_get(function, "name");
        if (tools->only && !json_equal(tools->only, name)) continue;
        if (!put_arguments(out, function, i, error)) return false;
        serve_print(out, "named-%zu ::= ", i);
        put_literal(out, json_string_value(name));
        put_literal(out, d->middle);
        serve_print(out, "args-%zu\n", i);
    }
    serve_put(out, "named ::= ");
    for (size_t i = 0; i < json_array_size(tools->list); i++) {
        const json_t *name = json_object_get(serve_tool_function(json_array_get(tools->list, i)), "name");
        if (!tools->only || json_equal(tools->only, name)) serve_print(out, "%snamed-%zu", n++ ? " | " : "", i);
    }
    serve_put(out, "\ncalls ::= ");
    put_literal(out, d->open);
    serve_put(out, "named ");
    if (tools->parallel) {
        serve_put(out, "(");
        put_literal(out, d->between);
        serve_print(out, "named){0,%d} ", SERVE_MAX_CALLS - 1);
    }
    put_literal(out, d->end);
    serve_append(out, "\n", 1);
    return true;
}

/* Bytes of the character at the start of a dialect's text, which is whole UTF-8. */
static int width(const char *text) {
    int n = 1;
    while (((unsigned char)text[n] & 0xC0) == 0x80) n++;
    return n;
}

static void put_texts(serve_text *out, const char *trigger) {
    int first = width(trigger), at = 0;
    unsigned k = 0;
    for (; trigger[at]; k++) {
        int bytes = width(trigger + at);
        if (k == 0)
            serve_print(out, "text-0 ::= ([^%.*s] text-0 | \"%.*s\" text-1)?\n", first, trigger, first, trigger);
        else
            serve_print(out, "text-%u ::= ([^%.*s%.*s] text-0 | \"%.*s\" text-1 | \"%.*s\" text-%u)?\n", k, first, trigger, bytes,
                        trigger + at, first, trigger, bytes, trigger + at, k + 1);
        at += bytes;
    }
    serve_print(out, "text-%u ::= calls\n", k);
}

bool serve_tools_grammar(const serve_tools *tools, const serve_dialect *dialect, const char *answer, char **out_text,
                         size_t *out_bytes, serve_error *error) {
    serve_text grammar = {0}, *out = &grammar;
    bool good = put_calls(out, tools, dialect, error), text = tools->choice == SERVE_TOOLS_AUTO;
    if (text && !answer) {
        put_texts(out, dialect->trigger);
        serve_put(out, "root ::= text-0\n");
    } else {
        if (text) serve_put(out, answer);
        serve_put(out, text ? "root ::= answer | \" \"? " : "root ::= \" \"? ");
        put_literal(out, dialect->trigger);
        serve_put(out, "calls\n");
    }
    *out_bytes = out->bytes;
    return serve_take_text(out, good, out_text, error);
}
