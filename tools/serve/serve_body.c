/* serve_body.c: the bodies of requests, which anyone may have written: JSON of a limited depth, members of the expected type, and
 * otherwise an error that names what is wrong. Members that nobody asks for are not looked at: clients send more than servers know. */
#include "serve_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(serve_text *text, size_t count) {
    if (text->at && count <= text->capacity - text->bytes) return !text->lost;
    size_t wanted = (text->bytes + count) * 2 + 256;
    char *grown = text->lost ? NULL : realloc(text->at, wanted);
    text->lost = !grown;
    if (!grown) return false;
    text->at = grown;
    text->capacity = wanted;
    return true;
}

bool serve_append(serve_text *text, const char *bytes, size_t count) {
    if (!reserve(text, count)) return false;
    if (count) memcpy(text->at + text->bytes, bytes, count);
    text->bytes += count;
    return true;
}

bool serve_put(serve_text *text, const char *words) { return serve_append(text, words, strlen(words)); }

bool serve_print(serve_text *text, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool good = count >= 0 && reserve(text, (size_t)count + 1);
    if (good) {
        vsnprintf(text->at + text->bytes, (size_t)count + 1, format, again);
        text->bytes += (size_t)count;
    }
    va_end(again);
    return good;
}

bool serve_fail(serve_error *error, unsigned code, const char *format, ...) {
    va_list args;
    *error = (serve_error){.code = code};
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return false;
}

bool serve_fail_library(serve_error *error, smt_status status, const smt_error *err) {
    static const struct {
        smt_status status;
        unsigned code;
    } codes[] = {{SMT_INVALID, 400}, {SMT_FULL, 400}, {SMT_NOT_FOUND, 400}, {SMT_FORMAT, 400}, {SMT_UNSUPPORTED, 400}};
    unsigned code = 500;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].status == status) code = codes[i].code;
    return serve_fail(error, code, "%s", err->message[0] ? err->message : smt_status_text(status));
}

bool serve_fail_memory(serve_error *error) { return serve_fail(error, 500, "out of memory"); }

bool serve_fail_random(serve_error *error) { return serve_fail(error, 500, "the system gives no random numbers"); }

static const char *error_type(unsigned code) {
    switch (code) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 500:
        return "server_error";
    case 501:
        return "not_supported_error";
    case 503:
        return "unavailable_error";
    default:
        return "invalid_request_error";
    }
}

/* The message may quote a client's bytes, cut anywhere: what is not UTF-8 becomes '?'. */
static json_t *message_json(const char *message) {
    json_t *text = json_string(message);
    if (text) return text;
    char clean[sizeof((serve_error *)0)->message];
    size_t i = 0;
    for (; message[i]; i++) clean[i] = message[i] & (char)0x80 ? '?' : message[i];
    clean[i] = 0;
    return json_string(clean);
}

json_t *serve_error_json(const serve_error *error) {
    json_t *inner = json_pack("{s:i, s:o, s:s}", "code", (int)error->code, "message", message_json(error->message), "type",
                              error_type(error->code));
    if (error->n_ctx) {
        json_object_set_new(inner, "n_prompt_tokens", json_integer((json_int_t)error->n_prompt));
        json_object_set_new(inner, "n_ctx", json_integer((json_int_t)error->n_ctx));
    }
    return json_pack("{s:o}", "error", inner);
}

/* ---- JSON ---- */

/* What a text of JSON would become: how deep its brackets nest, and how many values it has at most. Strings are left out. */
typedef struct extent {
    uint32_t deepest, n_values;
} extent;

static extent measure(const char *text, size_t bytes) {
    extent e = {0, 1};
    uint32_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == '{' || c == '[')) {
            e.n_values++;
            if (++depth > e.deepest) e.deepest = depth;
        } else if (!in_string && (c == '}' || c == ']') && depth) {
            depth--;
        } else if (!in_string && c == ',') {
            e.n_values++;
        }
    }
    return e;
}

json_t *serve_parse(const char *what, const char *text, size_t bytes, uint32_t depth, serve_error *error) {
    if (bytes == 0) return serve_fail(error, 400, "%s is empty, where JSON is needed", what), NULL;
    extent e = measure(text, bytes);
    if (e.deepest > depth)
        return serve_fail(error, 400, "%s nests %u levels deep, and %u are allowed", what, e.deepest, depth), NULL;
    if (e.n_values > SERVE_MAX_VALUES)
        return serve_fail(error, 400, "%s has about %u values, and %d are allowed", what, e.n_values, SERVE_MAX_VALUES), NULL;
    json_error_t why;
    json_t *body = json_loadb(text, bytes, 0, &why);
    if (!body) serve_fail(error, 400, "%s is not JSON: line %d, column %d: %s", what, why.line, why.column, why.text);
    if (body && !json_is_object(body)) {
        serve_fail(error, 400, "%s is JSON, but not an object", what);
        json_decref(body);
        return NULL;
    }
    return body;
}

/* The member, or NULL where it is absent or null. */
static const json_t *member(const json_t *body, const char *name) {
    const json_t *value = json_object_get(body, name);
    return json_is_null(value) ? NULL : value;
}

bool serve_get_bool(const json_t *body, const char *name, bool *value, serve_error *error) {
    const json_t *found = member(body, name);
    if (!found) return true;
    if (!json_is_boolean(found)) return serve_fail(error, 400, "\"%s\" is neither true nor false", name);
    *value = json_is_true(found);
    return true;
}

bool serve_get_integer(const json_t *body, const char *name, int64_t low, int64_t high, int64_t *value, serve_error *error) {
    const json_t *found = member(body, name);
    if (!found) return true;
    double real = json_number_value(found);
    bool whole = json_is_integer(found) || (json_is_real(found) && floor(real) == real && fabs(real) < 9e15);
    if (!whole) return serve_fail(error, 400, "\"%s\" is not a whole number", name);
    int64_t got = json_is_integer(found) ? json_integer_value(found) : (int64_t)real;
    if (got < low || got > high)
        return serve_fail(error, 400, "\"%s\" is %lld; it has to be from %lld to %lld", name, (long long)got, (long long)low,
                          (long long)high);
    *value = got;
    return true;
}

bool serve_get_real(const json_t *body, const char *name, double low, double high, double *value, serve_error *error) {
    const json_t *found = member(body, name);
    if (!found) return true;
    if (!json_is_number(found)) return serve_fail(error, 400, "\"%s\" is not a number", name);
    double got = json_number_value(found);
    if (!(got >= low && got <= high))
        return serve_fail(error, 400, "\"%s\" is %g; it has to be from %g to %g", name, got, low, high);
    *value = got;
    return true;
}

bool serve_get_text(const json_t *body, const char *name, const char **value, size_t *bytes, serve_error *error) {
    const json_t *found = member(body, name);
    if (!found) return true;
    if (!json_is_string(found)) return serve_fail(error, 400, "\"%s\" is not a string", name);
    *value = json_string_value(found);
    *bytes = json_string_length(found);
    return true;
}
