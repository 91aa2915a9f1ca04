/* chat_json.c: JSON text (tools, fields of messages, variables) to values. All of it was given by the caller, and is marked so.
 *
 * The parsing is jansson's, which keeps the order of keys; its nesting limit is above ours, which list and dictionary check. */
#include "chat_internal.h"

#include <jansson.h>
#include <string.h>

static smt_status convert(smt_chat_run *run, json_t *json, const char *what, int depth, smt_chat_value *out);

static smt_status convert_array(smt_chat_run *run, json_t *json, const char *what, int depth, smt_chat_value *out) {
    smt_chat_value *items;
    SMT_TRY(smt_chat_list_make(run, json_array_size(json), out, &items));
    for (size_t i = 0; i < json_array_size(json); i++) SMT_TRY(convert(run, json_array_get(json, i), what, depth + 1, &items[i]));
    return smt_chat_list_close(run, 0, out);
}

static smt_status convert_object(smt_chat_run *run, json_t *json, const char *what, int depth, smt_chat_value *out) {
    const char *name;
    json_t *member;
    SMT_TRY(smt_chat_dict_make(run, SMT_CHAT_DICT, out));
    json_object_foreach(json, name, member) {
        smt_chat_text key;
        smt_chat_value value;
        SMT_TRY(smt_chat_copy_given(run, name, strlen(name), &key));
        SMT_TRY(convert(run, member, what, depth + 1, &value));
        SMT_TRY(smt_chat_dict_set(run, 0, out, key, value));
    }
    return SMT_OK;
}

static smt_status convert(smt_chat_run *run, json_t *json, const char *what, int depth, smt_chat_value *out) {
    if (depth >= SMT_CHAT_MAX_DEPTH)
        return SMT_FAIL(run->err, SMT_INVALID, "%s: nested more than %d deep", what, SMT_CHAT_MAX_DEPTH);
    smt_chat_text text;
    switch (json_typeof(json)) {
    case JSON_NULL:
        *out = (smt_chat_value){.kind = SMT_CHAT_NONE};
        return SMT_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = smt_chat_bool(json_is_true(json));
        return SMT_OK;
    case JSON_INTEGER:
        *out = smt_chat_int(json_integer_value(json));
        return SMT_OK;
    case JSON_REAL:
        *out = (smt_chat_value){.kind = SMT_CHAT_REAL, .real = json_real_value(json)};
        return SMT_OK;
    case JSON_STRING:
        SMT_TRY(smt_chat_copy_given(run, json_string_value(json), json_string_length(json), &text));
        *out = smt_chat_string(text);
        return SMT_OK;
    case JSON_ARRAY:
        return convert_array(run, json, what, depth, out);
    case JSON_OBJECT:
        return convert_object(run, json, what, depth, out);
    }
    return SMT_FAIL(run->err, SMT_INTERNAL, "%s: a JSON value of unknown type", what);
}

smt_status smt_chat_from_json(smt_chat_run *run, const char *json, const char *what, smt_chat_value *out) {
    json_error_t problem;
    json_t *document = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (!document) {
        smt_status code = json_error_code(&problem) == json_error_out_of_memory ? SMT_MEMORY : SMT_INVALID;
        return SMT_FAIL(run->err, code, "%s: line %d: %s", what, problem.line, problem.text);
    }
    smt_status status = convert(run, document, what, 0, out);
    json_decref(document);
    return status;
}
