/* grammar_schema_merge.c: one schema that says what two say together: for allOf, and for words that stand beside anyOf or $ref.
 *
 * Word by word: what only one of them says is taken over, what both say alike stays; bounds become the tighter ones, types and
 * values those that are in both, lists of required names and properties are united, and a property that both describe has to
 * satisfy both. Anything else is refused by name, additionalProperties too where it would forbid what the other one describes. */
#include "grammar_schema.h"

#include <string.h>

static smt_status no_memory(smt_schema *s) { return SMT_FAIL(s->err, SMT_MEMORY, "out of memory merging schemas"); }

static smt_status merge_into(smt_schema *s, json_t *into, json_t *from);

/* Steals `value`. */
static smt_status set(smt_schema *s, json_t *object, const char *key, json_t *value) {
    return value && json_object_set_new(object, key, value) == 0 ? SMT_OK : no_memory(s);
}

static bool holds(json_t *list, json_t *value) {
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) if (json_equal(entry, value)) return true;
    return false;
}

/* ---- words that both have ---- */

static json_t *as_list(json_t *value) { return json_is_array(value) ? json_incref(value) : json_pack("[O]", value); }

/* What is in both lists; a single value is a list of one. */
static smt_status intersect(smt_schema *s, json_t *into, const char *key, json_t *other) {
    json_t *a = as_list(json_object_get(into, key)), *b = as_list(other), *both = json_array(), *entry;
    size_t i;
    bool made = a && b && both;
    if (made) json_array_foreach(a, i, entry) if (holds(b, entry)) made = made && json_array_append(both, entry) == 0;
    size_t n = json_array_size(both);
    json_decref(a);
    json_decref(b);
    if (made && n) return set(s, into, key, both);
    json_decref(both);
    return made ? SMT_SCHEMA_FAIL(s, SMT_FORMAT, "nothing satisfies both of two \"%s\"", key) : no_memory(s);
}

static smt_status unite(smt_schema *s, json_t *into, const char *key, json_t *other) {
    json_t *all = json_copy(json_object_get(into, key)), *entry;
    size_t i;
    if (!json_is_array(all) || !json_is_array(other)) {
        json_decref(all);
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"%s\" is no list", key);
    }
    bool made = true;
    json_array_foreach(other, i, entry) if (!holds(all, entry)) made = made && json_array_append(all, entry) == 0;
    if (made) return set(s, into, key, all);
    json_decref(all);
    return no_memory(s);
}

static smt_status merge_properties(smt_schema *s, json_t *into, json_t *other) {
    json_t *all = json_copy(json_object_get(into, "properties")), *value;
    const char *name;
    bool made = json_is_object(all) && json_is_object(other);
    json_object_foreach(other, name, value) {
        json_t *mine = json_object_get(all, name);
        if (!mine)
            made = made && json_object_set(all, name, value) == 0;
        else if (!json_equal(mine, value))
            made = made && json_object_set_new(all, name, json_pack("{s:[O, O]}", "allOf", mine, value)) == 0;
    }
    if (made) return set(s, into, "properties", all);
    json_decref(all);
    return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"properties\" of schemas to be merged are no objects%s", "");
}

static smt_status merge_word(smt_schema *s, json_t *into, const char *key, json_t *other) {
    static const char *const lower[] = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"};
    static const char *const upper[] = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"};
    json_t *mine = json_object_get(into, key);
    if (json_equal(mine, other)) return SMT_OK;
    for (size_t i = 0; i < SMT_COUNT(lower); i++) {
        bool greater = json_number_value(other) > json_number_value(mine);
        if (strcmp(key, lower[i]) && strcmp(key, upper[i])) continue;
        return greater == !strcmp(key, lower[i]) ? set(s, into, key, json_incref(other)) : SMT_OK;
    }
    if (!strcmp(key, "type") || !strcmp(key, "enum")) return intersect(s, into, key, other);
    if (!strcmp(key, "required")) return unite(s, into, key, other);
    if (!strcmp(key, "properties")) return merge_properties(s, into, other);
    return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "two different \"%.80s\" to be satisfied together are not supported", key);
}

/* additionalProperties of one schema speak of all that it does not list itself, what the other one lists included. */
static smt_status check_additional(smt_schema *s, json_t *has, json_t *other) {
    json_t *rule = json_object_get(has, "additionalProperties"), *value;
    const char *name;
    if (!rule || json_is_true(rule)) return SMT_OK;
    json_object_foreach(json_object_get(other, "properties"), name, value) {
        if (json_object_get(json_object_get(has, "properties"), name)) continue;
        return SMT_SCHEMA_FAIL(
            s, SMT_UNSUPPORTED,
            "\"additionalProperties\" beside the property \"%.80s\" of another schema to be satisfied together", name);
    }
    return SMT_OK;
}

/* ---- the whole ---- */

static smt_status merge_target(smt_schema *s, json_t *into, json_t *reference) {
    json_t *target;
    if (!json_is_string(reference)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"$ref\" is no text%s", "");
    SMT_TRY(smt_schema_resolve(s, json_string_value(reference), &target));
    return merge_into(s, into, target);
}

static smt_status merge_words(smt_schema *s, json_t *into, json_t *from) {
    const char *key;
    json_t *value, *entry;
    size_t i;
    SMT_TRY(check_additional(s, into, from));
    SMT_TRY(check_additional(s, from, into));
    json_object_foreach(from, key, value) {
        if (smt_schema_is_annotation(key)) continue;
        if (!strcmp(key, "$ref")) {
            SMT_TRY(merge_target(s, into, value));
        } else if (!strcmp(key, "allOf")) {
            json_array_foreach(value, i, entry) SMT_TRY(merge_into(s, into, entry));
        } else if (json_object_get(into, key)) {
            SMT_TRY(merge_word(s, into, key, value));
        } else {
            SMT_TRY(set(s, into, key, json_incref(value)));
        }
    }
    return SMT_OK;
}

static smt_status merge_into(smt_schema *s, json_t *into, json_t *from) {
    SMT_TRY(smt_schema_work(s));
    if (json_is_true(from)) return SMT_OK;
    if (!json_is_object(from)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "a schema to be merged is no object%s", "");
    if (++s->depth > SMT_SCHEMA_DEPTH)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "schemas are nested more than %d deep", SMT_SCHEMA_DEPTH);
    smt_status status = merge_words(s, into, from);
    s->depth--;
    return status;
}

smt_status smt_schema_merge(smt_schema *s, json_t *a, json_t *b, json_t **out) {
    *out = json_object();
    if (!*out || json_array_append_new(s->made, *out)) return no_memory(s);
    SMT_TRY(merge_into(s, *out, a));
    return merge_into(s, *out, b);
}
