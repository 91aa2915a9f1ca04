/* grammar_schema.c: a JSON schema to a grammar: which words a schema has, and what they make of it together.
 *
 *   $ref           a rule of its own, made once, so that schemas may contain themselves; beside other words: merged with them
 *   allOf          all of them merged (grammar_schema_merge.c)
 *   anyOf, oneOf   alternatives, each merged with what stands beside
 *   const, enum    the values, as compact JSON
 *   type           the file of the type; where it is missing, the words that stand there tell it, else any value */
#include "grammar_schema.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- words ---- */

static const char *const annotations[] = {"title",    "description", "default", "examples",         "$schema",
                                          "$id",      "$comment",    "$defs",   "definitions",      "deprecated",
                                          "readOnly", "writeOnly",   "$anchor", "contentMediaType", "contentEncoding"};

bool smt_schema_is_annotation(const char *key) {
    for (size_t i = 0; i < SMT_COUNT(annotations); i++)
        if (!strcmp(key, annotations[i])) return true;
    return false;
}

/* The words that each type has, besides those that all have. */
typedef struct type_row {
    const char *name, *words[10];
} type_row;
enum { TYPE_OBJECT, TYPE_ARRAY, TYPE_STRING, TYPE_NUMBER, TYPE_INTEGER, TYPE_BOOLEAN, TYPE_NULL, TYPE_COUNT };
static const type_row types[TYPE_COUNT] = {
    {"object", {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
    {"array", {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}},
    {"string", {"minLength", "maxLength", "pattern", "format"}},
    {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
    {"integer", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
    {"boolean", {NULL}},
    {"null", {NULL}}};

static bool is_word_of(int type, const char *key) {
    for (size_t i = 0; types[type].words[i]; i++)
        if (!strcmp(key, types[type].words[i])) return true;
    return false;
}

/* Every word must be one that we know; *out_types: bit set of the types whose words are there. */
static smt_status check_words(smt_schema *s, json_t *schema, uint32_t *out_types) {
    static const char *const general[] = {"type", "enum", "const"};
    const char *key;
    json_t *value;
    *out_types = 0;
    json_object_foreach(schema, key, value) {
        bool known = smt_schema_is_annotation(key);
        for (size_t i = 0; i < SMT_COUNT(general); i++) known = known || !strcmp(key, general[i]);
        for (int type = 0; type < TYPE_COUNT; type++) {
            if (!is_word_of(type, key)) continue;
            known = true;
            *out_types |= 1u << type;
        }
        if (!known) return SMT_SCHEMA_UNSUPPORTED(s, key);
    }
    if (*out_types & 1u << TYPE_NUMBER) *out_types &= ~(1u << TYPE_INTEGER); /* they share their words */
    return SMT_OK;
}

static smt_status type_bit(smt_schema *s, json_t *name, uint32_t *types_out) {
    for (int type = 0; type < TYPE_COUNT; type++)
        if (json_is_string(name) && !strcmp(json_string_value(name), types[type].name)) {
            *types_out |= 1u << type;
            return SMT_OK;
        }
    return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"type\" is not one of object, array, string, number, integer, boolean, null%s", "");
}

/* The types that `type` names; all bits where there is none. */
static smt_status read_types(smt_schema *s, json_t *schema, uint32_t *out) {
    json_t *type = json_object_get(schema, "type"), *entry;
    size_t i;
    *out = 0;
    if (!type) *out = UINT32_MAX;
    if (!type) return SMT_OK;
    if (!json_is_array(type)) return type_bit(s, type, out);
    json_array_foreach(type, i, entry) SMT_TRY(type_bit(s, entry, out));
    return *out ? SMT_OK : SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"type\" is an empty list%s", "");
}

/* ---- spelling ---- */

smt_status smt_schema_literal(smt_schema *s, const char *text, size_t bytes, smt_str *out) {
    SMT_PUT(s, out, "\"");
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == '"' || byte == '\\')
            SMT_PUT(s, out, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            SMT_PUT(s, out, "\\x%02X", byte);
        else
            SMT_TRY(smt_str_append(out, text + i, 1, s->err));
    }
    SMT_PUT(s, out, "\"");
    return SMT_OK;
}

smt_status smt_schema_class_char(smt_schema *s, uint32_t character, smt_str *out) {
    bool plain = (character >= '0' && character <= '9') || (character >= 'a' && character <= 'z') ||
                 (character >= 'A' && character <= 'Z');
    SMT_PUT(s, out, plain ? "%c" : "\\U%08X", character);
    return SMT_OK;
}

smt_status smt_schema_count(smt_schema *s, json_t *schema, const char *key, uint32_t *out) {
    json_t *value = json_object_get(schema, key);
    if (!value) return SMT_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || number != (double)(uint32_t)number)
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"%s\" is no whole number from 0 on", key);
    if (number > SMT_GRAMMAR_MAX_NODES)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"%s\" is %.0f, more than %u", key, number, SMT_GRAMMAR_MAX_NODES);
    *out = (uint32_t)number;
    return SMT_OK;
}

/* ---- rules and references ---- */

static smt_status put_rule(smt_schema *s, uint32_t number, const smt_str *body) {
    if (s->text.bytes + body->bytes > SMT_GRAMMAR_MAX_TEXT)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "the grammar becomes larger than %zu bytes", SMT_GRAMMAR_MAX_TEXT);
    SMT_PUT(s, &s->text, "%s-%u ::= ", s->root, number);
    SMT_TRY(smt_str_append(&s->text, body->text, body->bytes, s->err));
    return smt_str_append(&s->text, "\n", 1, s->err);
}

smt_status smt_schema_rule(smt_schema *s, const smt_str *body, smt_str *out) {
    uint32_t number = s->n_rules++;
    SMT_TRY(put_rule(s, number, body));
    SMT_PUT(s, out, "%s-%u", s->root, number);
    return SMT_OK;
}

/* The part of a pointer up to the next slash, ~1 and ~0 undone. */
static smt_status next_step(smt_schema *s, const char **at, smt_str *step) {
    step->bytes = 0;
    SMT_TRY(smt_str_append(step, "", 0, s->err));
    for (; **at && **at != '/'; (*at)++) {
        char c = **at;
        if (c == '~' && ((*at)[1] == '0' || (*at)[1] == '1')) c = *++*at == '1' ? '/' : '~';
        SMT_TRY(smt_str_append(step, &c, 1, s->err));
    }
    return SMT_OK;
}

static json_t *child_of(json_t *value, const char *step) {
    if (!json_is_array(value)) return json_object_get(value, step);
    char *end;
    unsigned long index = strtoul(step, &end, 10);
    return *step >= '0' && *step <= '9' && *end == 0 ? json_array_get(value, index) : NULL;
}

smt_status smt_schema_resolve(smt_schema *s, const char *reference, json_t **out) {
    smt_str step = {0};
    smt_status status = SMT_OK;
    if (reference[0] != '#' || (reference[1] && reference[1] != '/'))
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED,
                               "\"$ref\" to \"%.80s\": only places in the same document (#/...) are supported", reference);
    *out = s->document;
    for (const char *at = reference + 1; *at == '/' && *out && status == SMT_OK;) {
        at++;
        status = next_step(s, &at, &step);
        if (status == SMT_OK) *out = child_of(*out, step.text);
    }
    smt_str_free(&step);
    if (status == SMT_OK && !*out)
        return SMT_SCHEMA_FAIL(s, SMT_NOT_FOUND, "\"$ref\" to \"%.80s\", which is not there", reference);
    return status;
}

static smt_status put_reference(smt_schema *s, const char *reference, smt_str *out) {
    json_t *target, *known = json_object_get(s->rules, reference);
    if (!known) {
        smt_str body = {0};
        uint32_t number = s->n_rules++;
        SMT_TRY(smt_schema_resolve(s, reference, &target));
        if (json_object_set_new(s->rules, reference, json_integer(number)))
            return SMT_FAIL(s->err, SMT_MEMORY, "out of memory noting a reference");
        known = json_object_get(s->rules, reference);
        smt_status status = smt_schema_put_at(s, target, "$ref", NULL, -1, &body);
        if (status == SMT_OK) status = put_rule(s, number, &body);
        smt_str_free(&body);
        SMT_TRY(status);
    }
    SMT_PUT(s, out, "%s-%u", s->root, (unsigned)json_integer_value(known));
    return SMT_OK;
}

/* ---- values ---- */

static uint32_t types_of_value(json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return 1u << TYPE_OBJECT;
    case JSON_ARRAY:
        return 1u << TYPE_ARRAY;
    case JSON_STRING:
        return 1u << TYPE_STRING;
    case JSON_INTEGER:
        return 1u << TYPE_INTEGER | 1u << TYPE_NUMBER;
    case JSON_REAL:
        return 1u << TYPE_NUMBER;
    case JSON_NULL:
        return 1u << TYPE_NULL;
    default:
        return 1u << TYPE_BOOLEAN;
    }
}

static smt_status put_value(smt_schema *s, json_t *value, smt_str *out) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) return SMT_FAIL(s->err, SMT_MEMORY, "out of memory spelling a value");
    smt_status status = smt_schema_literal(s, text, strlen(text), out);
    free(text);
    return status;
}

/* `values`: those of `enum`, or the one of `const`. Those of another type than the schema's are left out. */
static smt_status put_values(smt_schema *s, json_t *values, uint32_t allowed, smt_str *out) {
    size_t i, n = 0;
    json_t *value;
    SMT_PUT(s, out, "(");
    json_array_foreach(values, i, value) {
        if (!(types_of_value(value) & allowed)) continue;
        if (n++) SMT_PUT(s, out, " | ");
        SMT_TRY(put_value(s, value, out));
    }
    SMT_PUT(s, out, ")");
    return n ? SMT_OK : SMT_SCHEMA_FAIL(s, SMT_FORMAT, "none of the values of \"enum\" or \"const\" is of its \"type\"%s", "");
}

static smt_status put_fixed(smt_schema *s, json_t *schema, uint32_t allowed, uint32_t worded, smt_str *out) {
    json_t *values = json_object_get(schema, "enum"), *value = json_object_get(schema, "const");
    if (values && value) return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"enum\" beside \"const\" is not supported%s", "");
    if (worded)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"%s\" beside other restrictions is not supported",
                               values ? "enum" : "const");
    if (values && !json_is_array(values)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"enum\" is no list%s", "");
    if (values) return put_values(s, values, allowed, out);
    json_t *one = json_pack("[O]", value);
    if (!one) return SMT_FAIL(s->err, SMT_MEMORY, "out of memory for a list of one value");
    smt_status status = put_values(s, one, allowed, out);
    json_decref(one);
    return status;
}

/* ---- types ---- */

static smt_status put_type(smt_schema *s, json_t *schema, int type, smt_str *out) {
    switch (type) {
    case TYPE_OBJECT:
        return smt_schema_object(s, schema, out);
    case TYPE_ARRAY:
        return smt_schema_array(s, schema, out);
    case TYPE_STRING:
        return smt_schema_string(s, schema, out);
    case TYPE_NUMBER:
    case TYPE_INTEGER:
        return smt_schema_number(s, schema, type == TYPE_INTEGER, out);
    case TYPE_BOOLEAN:
        SMT_PUT(s, out, "(\"true\" | \"false\")");
        return SMT_OK;
    default:
        SMT_PUT(s, out, "\"null\"");
        return SMT_OK;
    }
}

static smt_status put_typed(smt_schema *s, json_t *schema, smt_str *out) {
    uint32_t allowed, worded, n = 0;
    SMT_TRY(check_words(s, schema, &worded));
    SMT_TRY(read_types(s, schema, &allowed));
    if (json_object_get(schema, "enum") || json_object_get(schema, "const")) return put_fixed(s, schema, allowed, worded, out);
    if (allowed == UINT32_MAX && worded == 0) return smt_schema_use(s, SMT_COMMON_VALUE, out);
    if (allowed == UINT32_MAX) allowed = worded;
    if (allowed & 1u << TYPE_NUMBER) allowed &= ~(1u << TYPE_INTEGER);
    SMT_PUT(s, out, "(");
    for (int type = 0; type < TYPE_COUNT; type++) {
        if (!(allowed >> type & 1)) continue;
        if (n++) SMT_PUT(s, out, " | ");
        SMT_TRY(put_type(s, schema, type, out));
    }
    SMT_PUT(s, out, ")");
    return SMT_OK;
}

/* ---- schemas made of schemas ---- */

/* A copy without one word. */
static smt_status without(smt_schema *s, json_t *schema, const char *word, json_t **out) {
    *out = json_copy(schema);
    if (!*out || json_array_append_new(s->made, *out))
        return SMT_FAIL(s->err, SMT_MEMORY, "out of memory for a part of a schema");
    json_object_del(*out, word);
    return SMT_OK;
}

static bool has_words(json_t *schema) {
    const char *key;
    json_t *value;
    json_object_foreach(schema, key, value) if (!smt_schema_is_annotation(key)) return true;
    return false;
}

static smt_status put_alternatives(smt_schema *s, json_t *schema, const char *word, smt_str *out) {
    json_t *list = json_object_get(schema, word), *entry, *rest;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"%s\" is no list of schemas", word);
    SMT_TRY(without(s, schema, word, &rest));
    SMT_PUT(s, out, "(");
    json_array_foreach(list, i, entry) {
        if (i) SMT_PUT(s, out, " | ");
        if (has_words(rest)) SMT_TRY(smt_schema_merge(s, rest, entry, &entry));
        SMT_TRY(smt_schema_put_at(s, entry, word, NULL, (int64_t)i, out));
    }
    SMT_PUT(s, out, ")");
    return SMT_OK;
}

static smt_status put_all(smt_schema *s, json_t *schema, smt_str *out) {
    json_t *list = json_object_get(schema, "allOf"), *entry, *merged;
    size_t i;
    if (!json_is_array(list)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"allOf\" is no list of schemas%s", "");
    SMT_TRY(without(s, schema, "allOf", &merged));
    json_array_foreach(list, i, entry) SMT_TRY(smt_schema_merge(s, merged, entry, &merged));
    return smt_schema_put(s, merged, out);
}

static smt_status put_object_schema(smt_schema *s, json_t *schema, smt_str *out) {
    json_t *reference = json_object_get(schema, "$ref"), *rest;
    if (json_object_get(schema, "allOf")) return put_all(s, schema, out);
    if (reference) {
        if (!json_is_string(reference)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"$ref\" is no text%s", "");
        SMT_TRY(without(s, schema, "$ref", &rest));
        if (!has_words(rest)) return put_reference(s, json_string_value(reference), out);
        SMT_TRY(smt_schema_merge(s, schema, rest, &rest));
        return smt_schema_put(s, rest, out);
    }
    if (json_object_get(schema, "anyOf")) return put_alternatives(s, schema, "anyOf", out);
    if (json_object_get(schema, "oneOf")) return put_alternatives(s, schema, "oneOf", out);
    return put_typed(s, schema, out);
}

smt_status smt_schema_work(smt_schema *s) {
    if (++s->n_work <= SMT_SCHEMA_WORK) return SMT_OK;
    return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "the schema is too large: more than %d parts", SMT_SCHEMA_WORK);
}

smt_status smt_schema_put(smt_schema *s, json_t *schema, smt_str *out) {
    SMT_TRY(smt_schema_work(s));
    if (json_is_true(schema)) return smt_schema_use(s, SMT_COMMON_VALUE, out);
    if (json_is_false(schema))
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "the schema false, which allows nothing, is not supported%s", "");
    if (!json_is_object(schema)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "a schema is an object, true or false%s", "");
    if (++s->depth > SMT_SCHEMA_DEPTH)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "schemas are nested more than %d deep", SMT_SCHEMA_DEPTH);
    smt_status status = put_object_schema(s, schema, out);
    s->depth--;
    return status;
}

smt_status smt_schema_put_at(smt_schema *s, json_t *schema, const char *step, const char *key, int64_t index, smt_str *out) {
    size_t before = s->path.bytes;
    SMT_PUT(s, &s->path, "/%s", step);
    if (key) SMT_PUT(s, &s->path, "/%s", key);
    if (index >= 0) SMT_PUT(s, &s->path, "/%lld", (long long)index);
    SMT_TRY(smt_schema_put(s, schema, out)); /* on failure the path says where */
    s->path.bytes = before;
    s->path.text[before] = 0;
    return SMT_OK;
}

/* ---- the whole ---- */

static smt_status write_schema(smt_schema *s, const char *text, size_t bytes) {
    json_error_t problem;
    smt_str body = {0};
    s->document = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &problem);
    if (!s->document)
        return SMT_FAIL(s->err, SMT_FORMAT, "JSON schema, line %d, column %d: %s", problem.line, problem.column, problem.text);
    s->made = json_array();
    s->rules = json_object();
    if (!s->made || !s->rules) return SMT_FAIL(s->err, SMT_MEMORY, "out of memory reading a JSON schema");
    SMT_PUT(s, &s->path, "#");
    smt_status status = smt_schema_put(s, s->document, &body);
    if (status == SMT_OK) status = smt_str_printf(&s->text, s->err, "%s ::= %s\n", s->root, body.text);
    if (status == SMT_OK) status = smt_schema_put_common(s);
    smt_str_free(&body);
    return status;
}

static bool is_rule_name(const char *text) {
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return n > 0 && n <= 60 && !text[n];
}

smt_status smt_schema_grammar(const char *schema, size_t bytes, const char *root, char **out_text, size_t *out_bytes,
                              smt_error *err) {
    *out_text = NULL;
    *out_bytes = 0;
    if (!is_rule_name(root)) return SMT_FAIL(err, SMT_INVALID, "\"%.60s\" is no name for a rule", root);
    smt_schema s = {.root = root, .err = err};
    smt_status status = write_schema(&s, schema, bytes);
    json_decref(s.document);
    json_decref(s.made);
    json_decref(s.rules);
    smt_str_free(&s.path);
    if (status == SMT_OK) {
        *out_text = s.text.text;
        *out_bytes = s.text.bytes;
    } else {
        smt_str_free(&s.text);
    }
    return status;
}
