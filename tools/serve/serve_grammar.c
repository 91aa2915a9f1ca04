/* serve_grammar.c: what an answer has to look like: "grammar" (GBNF), "json_schema", "response_format" as OpenAI's clients send it, and
 * calls of functions, where the body has tools.
 *
 * The grammar is made by the HTTP thread, with everything that can be wrong with it, before the request is submitted; from then on only the
 * engine thread uses it, where each slot follows it with a state of its own. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

#define ANY_OBJECT "{\"type\": \"object\"}"

/* What a text has to be: a JSON schema, and the member of the body that it came in. */
typedef struct shape {
    json_t *schema; /* owned; NULL: texts are free */
    const char *name;
} shape;

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

/* The rules of a schema, of which `root` is the whole; the caller's (smt_free). */
static bool rules_of(const shape *s, const char *root, char **out_rules, serve_error *error) {
    smt_error err = {0};
    size_t bytes;
    char *text = json_dumps(s->schema, JSON_COMPACT);
    *out_rules = NULL;
    if (!text) return serve_fail_memory(error);
    smt_status status = smt_schema_to_grammar(text, strlen(text), root, out_rules, &bytes, &err);
    free(text);
    return take(status, &err, s->name, error);
}

/* ---- what the body says ---- */

static bool use_schema(json_t *schema, const char *name, shape *out, serve_error *error) {
    if (!json_is_object(schema)) return serve_fail(error, 400, "\"%s\" has no object that is a schema", name);
    *out = (shape){json_incref(schema), name};
    return true;
}

/* {"type": "text"}, {"type": "json_object"} (llama.cpp's with a "schema"), {"type": "json_schema", "json_schema": {"schema": ...}}. */
static bool read_format(const json_t *format, shape *out, serve_error *error) {
    static const char name[] = "response_format";
    const json_t *type = json_object_get(format, "type");
    json_t *schema = json_object_get(format, "schema");
    const char *kind = json_is_string(type) ? json_string_value(type) : "";
    if (!strcmp(kind, "text")) return true;
    if (!strcmp(kind, "json_object") && is_absent(schema)) {
        *out = (shape){json_loads(ANY_OBJECT, 0, NULL), name};
        return out->schema || serve_fail_memory(error);
    }
    if (!strcmp(kind, "json_object")) return use_schema(schema, name, out, error);
    if (!strcmp(kind, "json_schema"))
        return use_schema(json_object_get(json_object_get(format, "json_schema"), "schema"), name, out, error);
    return serve_fail(error, 400, "\"response_format\" %.60s is not supported; there are text, json_object and json_schema",
                      *kind ? kind : "without a type");
}

static bool read_shape(const json_t *body, shape *out, serve_error *error) {
    const json_t *grammar = json_object_get(body, "grammar"), *format = json_object_get(body, "response_format");
    json_t *schema = json_object_get(body, "json_schema");
    if (!is_absent(format) && !read_format(format, out, error)) return false;
    if (!!out->schema + !is_absent(grammar) + !is_absent(schema) > 1)
        return serve_fail(error, 400, "only one of \"grammar\", \"json_schema\" and \"response_format\" can hold");
    return is_absent(schema) || use_schema(schema, "json_schema", out, error);
}

/* ---- the grammar ---- */

/* An answer is text of this shape, or calls. */
static bool with_tools(const serve_server *server, const serve_tools *tools, const shape *s, serve_params *params,
                       serve_error *error) {
    char *answer = NULL, *text;
    size_t bytes;
    if (s->schema && !rules_of(s, "answer", &answer, error)) return false;
    params->calls = server->habits.dialect;
    bool good = serve_tools_grammar(tools, params->calls, answer, &text, &bytes, error);
    if (good) good = from_text(server, text, bytes, "tools", params, error);
    free(text);
    smt_free(answer);
    return good;
}

static bool make_grammar(const serve_server *server, const json_t *body, const shape *s, serve_params *params,
                         serve_error *error) {
    const json_t *grammar = json_object_get(body, "grammar");
    serve_tools tools = {0};
    if (params->format == SERVE_CHAT && !serve_tools_read(body, &tools, error)) return false;
    if (tools.list && !is_absent(grammar)) return serve_fail(error, 400, "\"grammar\" does not go with \"tools\"");
    if (tools.list) return with_tools(server, &tools, s, params, error);
    if (s->schema) {
        char *rules;
        bool good = rules_of(s, NULL, &rules, error) && from_text(server, rules, strlen(rules), s->name, params, error);
        smt_free(rules);
        return good;
    }
    if (is_absent(grammar)) return true;
    if (!json_is_string(grammar)) return serve_fail(error, 400, "\"grammar\" is not a string");
    return from_text(server, json_string_value(grammar), json_string_length(grammar), "grammar", params, error);
}

bool serve_read_grammar(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    shape s = {0};
    bool good = read_shape(body, &s, error) && make_grammar(server, body, &s, params, error);
    json_decref(s.schema);
    return good;
}
