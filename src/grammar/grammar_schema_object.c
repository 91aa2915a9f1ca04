/* grammar_schema_object.c: objects and arrays.
 *
 * Properties come in the order of the schema, so n of them need 2n rules: P for the pair of each, and R for what may follow from
 * it on once a pair has been written:
 *
 *   object  "{" ws (P1 R2 | P2 R3 | ... up to the first that is required | others)? "}"
 *   Ri      ("," ws Pi)? Ri+1          without the ? where it is required; the last one is ("," ws other)* or nothing
 *
 * Other pairs, where additionalProperties asks for them, have names that are not listed: a tree of rules that leaves the listed
 * ones by their first different character. They are spelled without escapes, in which a listed name could hide. */
#include "grammar_schema.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define LONGEST_NAME 256 /* bytes: one rule each */

typedef struct property {
    const char *name;
    json_t *schema; /* NULL: whatever other pairs have */
    bool required;
} property;

typedef struct object {
    property *properties; /* owned, [n]: in order */
    size_t n, capacity;
    json_t *others; /* schema of other pairs; NULL: there are none */
    uint32_t min, max;
} object;

/* ---- what the schema says ---- */

static property *find_property(const object *o, const char *name) {
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->properties[i].name, name)) return &o->properties[i];
    return NULL;
}

static smt_status add_property(smt_schema *s, object *o, property p) {
    SMT_TRY(smt_grow((void **)&o->properties, &o->capacity, o->n + 1, sizeof *o->properties, s->err));
    o->properties[o->n++] = p;
    return SMT_OK;
}

static smt_status read_required(smt_schema *s, json_t *schema, object *o) {
    json_t *required = json_object_get(schema, "required"), *name;
    size_t i;
    if (required && !json_is_array(required)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"required\" is no list of names%s", "");
    json_array_foreach(required, i, name) {
        if (!json_is_string(name)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"required\" is no list of names%s", "");
        SMT_TRY(smt_schema_work(s)); /* names are looked up one by one */
        property *known = find_property(o, json_string_value(name));
        if (known)
            known->required = true;
        else
            SMT_TRY(add_property(s, o, (property){json_string_value(name), NULL, true}));
    }
    return SMT_OK;
}

static smt_status read_object(smt_schema *s, json_t *schema, object *o) {
    json_t *properties = json_object_get(schema, "properties"), *others = json_object_get(schema, "additionalProperties"), *value;
    const char *name;
    if (properties && !json_is_object(properties)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"properties\" is no object%s", "");
    json_object_foreach(properties, name, value) SMT_TRY(add_property(s, o, (property){name, value, false}));
    SMT_TRY(read_required(s, schema, o));
    o->max = SMT_GRAMMAR_MAX_NODES;
    SMT_TRY(smt_schema_count(s, schema, "minProperties", &o->min));
    SMT_TRY(smt_schema_count(s, schema, "maxProperties", &o->max));
    if (others && !json_is_false(others)) o->others = others;
    if (!others && o->n == 0) o->others = json_true();
    for (size_t i = 0; i < o->n; i++)
        if (!o->properties[i].schema && json_is_false(others))
            return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"required\" asks for \"%.80s\", which \"additionalProperties\" forbids",
                                   o->properties[i].name);
    return o->min > o->max
               ? SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"minProperties\" %u is more than \"maxProperties\" %u", o->min, o->max)
               : SMT_OK;
}

/* With listed properties the numbers of pairs must follow from these alone. */
static smt_status check_counts(smt_schema *s, const object *o) {
    size_t n_required = 0;
    for (size_t i = 0; i < o->n; i++) n_required += o->properties[i].required;
    if (o->n && o->min > n_required)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"minProperties\" beside optional properties is not supported%s", "");
    if (o->n && o->max < SMT_GRAMMAR_MAX_NODES && (o->others || o->max < o->n))
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"maxProperties\" beside optional properties is not supported%s", "");
    if (!o->n && o->min && !o->others)
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"minProperties\" %u of none that are allowed", o->min);
    return SMT_OK;
}

/* ---- names that are not listed ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Bytes of the character at the start of a text that jansson has checked. */
static size_t read_char(const char *text, utf8proc_int32_t *out) {
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, out);
    return n > 0 ? (size_t)n : 1;
}

/* The rest of a name that has begun as names [0, n), which are sorted, do in their first `done` bytes: one rule, and one for each
 * way on. */
static smt_status put_other_rest(smt_schema *s, const char **names, size_t n, size_t done, smt_str *out);

static smt_status put_other_ways(smt_schema *s, const char **names, size_t n, size_t done, smt_str *body) {
    smt_str different = {0};
    smt_status status = SMT_OK;
    bool ends = false;
    for (size_t i = 0, next; i < n && status == SMT_OK; i = next) {
        utf8proc_int32_t c;
        next = i + 1;
        if (!names[i][done]) {
            ends = true;
            continue;
        }
        size_t bytes = read_char(names[i] + done, &c);
        while (next < n && !strncmp(names[next] + done, names[i] + done, bytes)) next++;
        status = smt_schema_class_char(s, (uint32_t)c, &different);
        if (status == SMT_OK) status = smt_schema_literal(s, names[i] + done, bytes, body);
        if (status == SMT_OK) status = smt_str_append(body, " ", 1, s->err);
        if (status == SMT_OK) status = put_other_rest(s, names + i, next - i, done + bytes, body);
        if (status == SMT_OK) status = smt_str_append(body, " | ", 3, s->err);
    }
    if (status == SMT_OK)
        status = smt_str_printf(body, s->err, "[^\"\\\\\\x00-\\x1F\\x7F%s] ", different.text ? different.text : "");
    if (status == SMT_OK) status = smt_schema_use(s, SMT_COMMON_PLAIN, body);
    if (status == SMT_OK) status = smt_str_printf(body, s->err, ends ? "*" : "* | \"\"");
    smt_str_free(&different);
    return status;
}

static smt_status put_other_rest(smt_schema *s, const char **names, size_t n, size_t done, smt_str *out) {
    smt_str body = {0};
    smt_status status = put_other_ways(s, names, n, done, &body);
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    return status;
}

static smt_status put_other_name(smt_schema *s, const object *o, smt_str *out) {
    const char **names = smt_alloc(o->n, sizeof *names);
    size_t n = 0;
    smt_status status = names ? SMT_OK : SMT_FAIL(s->err, SMT_MEMORY, "out of memory for %zu names", o->n);
    for (size_t i = 0; i < o->n && status == SMT_OK; i++) {
        const char *name = o->properties[i].name;
        bool plain = !strpbrk(name, "\"\\\x7f");
        for (const char *at = name; *at; at++) plain = plain && (uint8_t)*at >= 0x20;
        if (plain) names[n++] = name;
        if (strlen(name) > LONGEST_NAME)
            status = SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "a property's name of %zu bytes beside \"additionalProperties\"",
                                     strlen(name));
    }
    if (n > 1) qsort(names, n, sizeof *names, by_name);
    if (status == SMT_OK) status = smt_str_printf(out, s->err, "\"\\\"\" ");
    if (status == SMT_OK) status = put_other_rest(s, names, n, 0, out);
    if (status == SMT_OK) status = smt_str_printf(out, s->err, " \"\\\"\"");
    smt_free(names);
    return status;
}

/* ---- pairs ---- */

static smt_status put_other_pair(smt_schema *s, const object *o, smt_str *out) {
    smt_str body = {0};
    smt_status status = o->n ? put_other_name(s, o, &body) : smt_schema_use(s, SMT_COMMON_STRING, &body);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, " \":\" %s-ws ", s->root);
    if (status == SMT_OK) status = smt_schema_put_at(s, o->others, "additionalProperties", NULL, -1, &body);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, " %s-ws", s->root);
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    return status;
}

static smt_status put_name(smt_schema *s, const char *name, smt_str *out) {
    json_t *value = json_string(name);
    char *spelled = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    smt_status status = spelled ? smt_schema_literal(s, spelled, strlen(spelled), out)
                                : SMT_FAIL(s->err, SMT_MEMORY, "out of memory spelling a name");
    free(spelled);
    json_decref(value);
    return status;
}

static smt_status put_pair(smt_schema *s, const object *o, const property *p, smt_str *out) {
    smt_str body = {0};
    json_t *schema = p->schema ? p->schema : o->others ? o->others : json_true();
    smt_status status = put_name(s, p->name, &body);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, " \":\" %s-ws ", s->root);
    if (status == SMT_OK) status = smt_schema_put_at(s, schema, "properties", p->name, -1, &body);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, " %s-ws", s->root);
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    return status;
}

/* ---- the object ---- */

/* items separated by commas, min to max of them; the first stands alone. max SMT_GRAMMAR_MAX_NODES: no end. */
static smt_status put_list(smt_schema *s, const char *item, uint32_t min, uint32_t max, smt_str *out) {
    if (max == 0) return SMT_OK;
    SMT_PUT(s, out, "(%s (\",\" %s-ws %s){%u,", item, s->root, item, min ? min - 1 : 0);
    if (max < SMT_GRAMMAR_MAX_NODES) SMT_PUT(s, out, "%u", max - 1);
    SMT_PUT(s, out, "})%s ", min ? "" : "?");
    return SMT_OK;
}

/* Rules R, from the last to the first; firsts gets the alternatives of the first pair, of which those before the last required
 * one are dropped again: a later property cannot come first. */
static smt_status put_properties(smt_schema *s, const object *o, const char *other, smt_str *out) {
    smt_str rest = {0}, firsts = {0}, pair = {0}, body = {0};
    bool optional = true;
    smt_status status = SMT_OK;
    if (*other) {
        status = smt_str_printf(&rest, s->err, "(\",\" %s-ws %s)*", s->root, other);
        if (status == SMT_OK) status = smt_str_printf(&firsts, s->err, " | %s %s", other, rest.text);
    }
    for (size_t i = o->n; i-- > 0 && status == SMT_OK;) {
        const property *p = &o->properties[i];
        const char *tail = rest.text ? rest.text : "";
        smt_str first = {0};
        pair.bytes = body.bytes = 0;
        status = put_pair(s, o, p, &pair);
        if (status == SMT_OK)
            status =
                smt_str_printf(&first, s->err, " | %s %s%s", pair.text, tail, p->required || !firsts.text ? "" : firsts.text);
        if (status == SMT_OK)
            status = smt_str_printf(&body, s->err, "(\",\" %s-ws %s)%s %s", s->root, pair.text, p->required ? "" : "?", tail);
        rest.bytes = 0;
        if (status == SMT_OK && i) status = smt_schema_rule(s, &body, &rest);
        smt_str_free(&firsts);
        firsts = first;
        if (p->required) optional = false;
    }
    if (status == SMT_OK && firsts.text) status = smt_str_printf(out, s->err, "(%s)%s ", firsts.text + 3, optional ? "?" : "");
    smt_str_free(&rest);
    smt_str_free(&firsts);
    smt_str_free(&pair);
    smt_str_free(&body);
    return status;
}

static smt_status put_object(smt_schema *s, const object *o, smt_str *body) {
    smt_str other = {0}, ws = {0};
    SMT_TRY(check_counts(s, o));
    smt_status status = smt_schema_use(s, SMT_COMMON_WS, &ws);
    if (status == SMT_OK) status = smt_str_printf(body, s->err, "\"{\" %s ", ws.text);
    if (status == SMT_OK && o->others) status = put_other_pair(s, o, &other);
    if (status == SMT_OK)
        status = o->n ? put_properties(s, o, other.text ? other.text : "", body)
                      : put_list(s, other.text, o->min, o->others ? o->max : 0, body);
    if (status == SMT_OK) status = smt_str_printf(body, s->err, "\"}\"");
    smt_str_free(&other);
    smt_str_free(&ws);
    return status;
}

smt_status smt_schema_object(smt_schema *s, json_t *schema, smt_str *out) {
    object o = {0};
    smt_str body = {0};
    smt_status status = read_object(s, schema, &o);
    bool any = status == SMT_OK && o.n == 0 && json_is_true(o.others) && o.min == 0 && o.max == SMT_GRAMMAR_MAX_NODES;
    if (status == SMT_OK && any) status = smt_schema_use(s, SMT_COMMON_OBJECT, out);
    if (status == SMT_OK && !any) status = put_object(s, &o, &body);
    if (status == SMT_OK && !any) status = smt_schema_rule(s, &body, out);
    smt_free(o.properties);
    smt_str_free(&body);
    return status;
}

/* ---- arrays ---- */

typedef struct array {
    json_t *prefix, *items; /* prefix: NULL or a list; items: NULL where the prefix is all */
    uint32_t min, max;
} array;

static smt_status read_array(smt_schema *s, json_t *schema, array *a) {
    a->prefix = json_object_get(schema, "prefixItems");
    a->items = json_object_get(schema, "items");
    a->max = SMT_GRAMMAR_MAX_NODES;
    if (json_is_array(a->items))
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"items\" as a list is not supported: prefixItems is%s", "");
    if (a->prefix && !json_is_array(a->prefix))
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"prefixItems\" is no list of schemas%s", "");
    if (json_is_true(json_object_get(schema, "uniqueItems"))) return SMT_SCHEMA_UNSUPPORTED(s, "uniqueItems");
    SMT_TRY(smt_schema_count(s, schema, "minItems", &a->min));
    SMT_TRY(smt_schema_count(s, schema, "maxItems", &a->max));
    uint32_t n = (uint32_t)json_array_size(a->prefix);
    if (!a->items && (n == 0 || a->min > n)) a->items = json_true();
    if (json_is_false(a->items)) a->items = NULL;
    if (a->min > a->max || (!a->items && a->min > n))
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"minItems\" is %u, but there can be %u at most", a->min, a->items ? a->max : n);
    return SMT_OK;
}

/* The listed items, as many as may be, and then the others. */
static smt_status put_items(smt_schema *s, const array *a, smt_str *body) {
    uint32_t n = smt_min_u32((uint32_t)json_array_size(a->prefix), a->max);
    for (uint32_t i = 0; i < n; i++) {
        if (i) SMT_PUT(s, body, "\",\" %s-ws ", s->root);
        SMT_TRY(smt_schema_put_at(s, json_array_get(a->prefix, i), "prefixItems", NULL, i, body));
        SMT_PUT(s, body, " %s-ws ", s->root);
    }
    if (!a->items || n == a->max) return SMT_OK;
    smt_str item = {0}, name = {0};
    uint32_t min = a->min > n ? a->min - n : 0, max = a->max < SMT_GRAMMAR_MAX_NODES ? a->max - n : SMT_GRAMMAR_MAX_NODES;
    smt_status status = smt_schema_put_at(s, a->items, "items", NULL, -1, &item);
    if (status == SMT_OK) status = smt_str_printf(&item, s->err, " %s-ws", s->root);
    if (status == SMT_OK) status = smt_schema_rule(s, &item, &name);
    if (status == SMT_OK && n == 0) status = put_list(s, name.text, min, max, body);
    if (status == SMT_OK && n && max == SMT_GRAMMAR_MAX_NODES)
        status = smt_str_printf(body, s->err, "(\",\" %s-ws %s){%u,} ", s->root, name.text, min);
    if (status == SMT_OK && n && max < SMT_GRAMMAR_MAX_NODES)
        status = smt_str_printf(body, s->err, "(\",\" %s-ws %s){%u,%u} ", s->root, name.text, min, max);
    smt_str_free(&item);
    smt_str_free(&name);
    return status;
}

smt_status smt_schema_array(smt_schema *s, json_t *schema, smt_str *out) {
    array a = {0};
    smt_str body = {0}, ws = {0};
    SMT_TRY(read_array(s, schema, &a));
    smt_status status = smt_schema_use(s, SMT_COMMON_WS, &ws);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, "\"[\" %s ", ws.text);
    if (status == SMT_OK) status = put_items(s, &a, &body);
    if (status == SMT_OK) status = smt_str_printf(&body, s->err, "\"]\"");
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    smt_str_free(&ws);
    return status;
}
