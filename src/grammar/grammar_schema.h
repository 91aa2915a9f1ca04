/* grammar_schema.h: what the files share that turn a JSON schema into a grammar.
 *
 * Everything is written as GBNF text: a schema becomes one item (a rule's name, a text, a group) in the rule that needs it, so
 * that each file below only knows the words of its own types. Whatever of a schema has no place in the grammar is an error with
 * the keyword and its path; annotations are the only words passed over. The texts of the grammar are a subset of those that the
 * schema allows, in four respects: properties come in the order of the schema, objects with `properties` have no others unless
 * `additionalProperties` asks for them, white space is short, and oneOf counts as anyOf. */
#ifndef SMT_GRAMMAR_SCHEMA_H
#define SMT_GRAMMAR_SCHEMA_H

#include "grammar.h"

#include <jansson.h>

#define SMT_SCHEMA_DEPTH 100   /* schemas in each other */
#define SMT_SCHEMA_WORK  20000 /* schemas looked at, those by reference again each time that they are merged */

typedef struct smt_schema {
    const char *root; /* borrowed: the name of the whole, and what all rules begin with */
    json_t *document; /* owned */
    json_t *made;     /* owned: an array that keeps merged schemas alive */
    json_t *rules;    /* owned: an object, number of the rule by reference */
    smt_str text;     /* owned: the rules that are complete */
    smt_str path;     /* owned: where in the document, for messages: "#/properties/a" */
    uint32_t n_rules, depth, n_work;
    uint32_t used; /* bit set of the common rules that are needed */
    smt_error *err;
} smt_schema;

#define SMT_PUT(s, out, ...) SMT_TRY(smt_str_printf((out), (s)->err, __VA_ARGS__))

/* "JSON schema, #/properties/a: ..." */
#define SMT_SCHEMA_FAIL(s, code, format, ...) \
    SMT_FAIL((s)->err, code, "JSON schema, %.200s: " format, (s)->path.text ? (s)->path.text : "#", __VA_ARGS__)
#define SMT_SCHEMA_UNSUPPORTED(s, keyword) SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"%.80s\" is not supported", keyword)

/* ---- grammar_schema.c ---- */

/* Appends the item that the schema stands for. */
smt_status smt_schema_put(smt_schema *s, json_t *schema, smt_str *out);
/* The same for the schema that lies at `step` below the present one; index: -1, or a place in an array. */
smt_status smt_schema_put_at(smt_schema *s, json_t *schema, const char *step, const char *key, int64_t index, smt_str *out);
/* Adds a rule of this body; appends its name. */
smt_status smt_schema_rule(smt_schema *s, const smt_str *body, smt_str *out);
/* A text as GBNF spells it, with its quotes. */
smt_status smt_schema_literal(smt_schema *s, const char *text, size_t bytes, smt_str *out);
/* A character inside a class. */
smt_status smt_schema_class_char(smt_schema *s, uint32_t character, smt_str *out);
/* {"minLength": 3}: *out stays what it is where the key is not there; SMT_FORMAT where it is no count. */
smt_status smt_schema_count(smt_schema *s, json_t *schema, const char *key, uint32_t *out);
/* The target of "#/...": SMT_NOT_FOUND, SMT_UNSUPPORTED for other documents. */
smt_status smt_schema_resolve(smt_schema *s, const char *reference, json_t **out);
/* Counts a schema that is looked at against the limits. */
smt_status smt_schema_work(smt_schema *s);
bool smt_schema_is_annotation(const char *key);

/* Rules that many schemas need (grammar_schema_common.c). */
typedef enum smt_schema_common {
    SMT_COMMON_WS,
    SMT_COMMON_HEX,
    SMT_COMMON_CHAR,
    SMT_COMMON_PLAIN, /* a character of a string that is not escaped */
    SMT_COMMON_STRING,
    SMT_COMMON_INTEGER,
    SMT_COMMON_NUMBER,
    SMT_COMMON_PAIR,
    SMT_COMMON_OBJECT,
    SMT_COMMON_ARRAY,
    SMT_COMMON_VALUE,
    SMT_COMMON_COUNT
} smt_schema_common;
smt_status smt_schema_use(smt_schema *s, smt_schema_common which, smt_str *out);
smt_status smt_schema_put_common(smt_schema *s); /* at the end: all that were used, into s->text */

/* ---- one file each ---- */

smt_status smt_schema_object(smt_schema *s, json_t *schema, smt_str *out);
smt_status smt_schema_array(smt_schema *s, json_t *schema, smt_str *out);
smt_status smt_schema_string(smt_schema *s, json_t *schema, smt_str *out);
smt_status smt_schema_pattern(smt_schema *s, const char *pattern, smt_str *out);
smt_status smt_schema_number(smt_schema *s, json_t *schema, bool integer, smt_str *out);
/* What satisfies both, as a new schema that s->made keeps; references in either are followed. SMT_UNSUPPORTED names the keyword.
 * */
smt_status smt_schema_merge(smt_schema *s, json_t *a, json_t *b, json_t **out);

#endif
