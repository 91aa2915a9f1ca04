/* serve_grammar.c: what an answer has to look like: "grammar" (GBNF), "json_schema", or "response_format" as OpenAI's clients send it.
 *
 * The grammar is made by the HTTP thread, with everything that can be wrong with it, before the request is submitted; from then on only the
 * engine thread uses it, where each slot follows it with a state of its own. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

#define ANY_OBJECT "{\"type\": \"object\"}"

static bool is_absent(const json_t *value) {
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool take(smt_status status, const smt_error *err, const char *name, serve_error *error) {
    if (status == SMT_OK) return true;
    serve_fail_library(error, status, err);
    return serve_fail(error, error->code, "\"%s\": %.500s", name, err->message);
}

static bool from_text(const serve_server *server, const char *text, size_t bytes, const char *name, serve_params *params,
                      serve_error *error) {
    smt_error err = {0};
    smt_status status = smt_grammar_create(server->tokenizer, text, bytes, &params->grammar, &err);
    return take(status, &err, name, error);
}

/* `name`: the member that the schema came in. */
static bool from_schema(const serve_server *server, const json_t *schema, const char *name, serve_params *params,
                        serve_error *error) {
    if (!json_is_object(schema)) return serve_fail(error, 400, "\"%s\" has no object that is a schema", name);
    smt_error err = {0};
    char *grammar, *text = json_dumps(schema, JSON_COMPACT);
    size_t bytes;
    if (!text) return serve_fail_memory(error);
    smt_status status = smt_schema_to_grammar(text, strlen(text), NULL, &grammar, &bytes, &err);
    free(text);
    if (!take(status, &err, name, error)) return false;
    bool good = from_text(server, grammar, bytes, name, params, error);
    smt_free(grammar);
    return good;
}

/* {"type": "text"}, {"type": "json_object"} (llama.cpp's with a "schema"), {"type": "json_schema", "json_schema": {"schema": ...}}. */
static bool read_format(const serve_server *server, const json_t *format, serve_params *params, serve_error *error) {
    static const char name[] = "response_format";
    const json_t *type = json_object_get(format, "type"), *schema = json_object_get(format, "schema");
    const char *kind = json_is_string(type) ? json_string_value(type) : "";
    if (!strcmp(kind, "text")) return true;
    if (!strcmp(kind, "json_object") && is_absent(schema)) {
        json_t *any = json_loads(ANY_OBJECT, 0, NULL);
        bool good = any ? from_schema(server, any, name, params, error) : serve_fail_memory(error);
        json_decref(any);
        return good;
    }
    if (!strcmp(kind, "json_object")) return from_schema(server, schema, name, params, error);
    if (!strcmp(kind, "json_schema"))
        return from_schema(server, json_object_get(json_object_get(format, "json_schema"), "schema"), name, params, error);
    return serve_fail(error, 400, "\"response_format\" %.60s is not supported; there are text, json_object and json_schema",
                      *kind ? kind : "without a type");
}

bool serve_read_grammar(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    const json_t *grammar = json_object_get(body, "grammar"), *schema = json_object_get(body, "json_schema"),
                 *format = json_object_get(body, "response_format");
    if (!is_absent(format) && !read_format(server, format, params, error)) return false;
    if (!!params->grammar + !is_absent(grammar) + !is_absent(schema) > 1)
        return serve_fail(error, 400, "only one of \"grammar\", \"json_schema\" and \"response_format\" can hold");
    if (!is_absent(schema)) return from_schema(server, schema, "json_schema", params, error);
    if (is_absent(grammar)) return true;
    if (!json_is_string(grammar)) return serve_fail(error, 400, "\"grammar\" is not a string");
    return from_text(server, json_string_value(grammar), json_string_length(grammar), "grammar", params, error);
}
