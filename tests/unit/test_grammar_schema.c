/* test_grammar_schema.c: JSON schemas as grammars: texts that each word allows and forbids, what is refused and how, and random
 * texts drawn under the grammar, which a checker of its own reads against the schema. */
#include "test_grammar_fixture.h"

#include "grammar/grammar_schema.h"

#include <jansson.h>

static grammar_fixture fixture;

static int open_fixture(void **state) {
    (void)state;
    open_words(&fixture, bpe_vocab());
    return 0;
}

static int end_fixture(void **state) {
    (void)state;
    close_fixture(&fixture);
    return 0;
}

static void open_schema(const char *schema) {
    smt_error err = {0};
    char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_schema_grammar(schema, strlen(schema), "root", &text, &bytes, &err), &err);
    assert_int_equal(strlen(text), bytes);
    smt_status status = open_matcher(&fixture, text, bytes, &err);
    if (status != SMT_OK) fail_msg("%s\n%s\n%s", schema, text, err.message);
    smt_free(text);
}

/* ---- tables ---- */

typedef struct schema_row {
    const char *schema, *yes[8], *no[9];
} schema_row;

static const schema_row rows[] = {
    {"{}",
     {"1", "\"a\"", "[1, {\"a\": null}]", "{}", "-1.5e-3"},
     {"", "nul", "[1,]", "{\"a\"}", "01", "\"\\ud800\"", "\"\\u0000\""}},
    {"true", {"[]"}, {"]"}},
    {"{\"title\": \"x\", \"description\": \"y\"}", {"null"}, {""}},
    {"{\"type\": \"object\"}",
     {"{}", "{\"a\":1}", "{\"a\": [2], \"\\u00e9\": \"\xc3\xa9\\n\"}", "{\n  \"a\": 1\n}"},
     {"[]", "1", "{\"a\":1,}"}},
    {"{\"type\": \"string\"}", {"\"\"", "\"a\\\"b\"", "\"\\u12aB\""}, {"a", "\"", "\"\n\"", "\"\\x\""}},
    {"{\"type\": \"boolean\"}", {"true", "false"}, {"null", "True"}},
    {"{\"type\": [\"null\", \"boolean\"]}", {"true", "null"}, {"1"}},
    {"{\"type\": \"integer\"}", {"0", "-12", "1234567890123456"}, {"1.0", "00", "+1", ""}},
    {"{\"type\": \"number\"}", {"0", "-1.25", "1e5"}, {".5", "1.", "\"1\""}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}}", {"[]", "[1]", "[1, 2,3]"}, {"[1,]", "[\"a\"]", "1"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 2, \"maxItems\": 3}",
     {"[1,2]", "[1,2,3]"},
     {"[]", "[1]", "[1,2,3,4]"}},
    {"{\"items\": {\"const\": 1}, \"maxItems\": 1}", {"[]", "[1]"}, {"[1,1]", "1"}},
    {"{\"type\": \"array\", \"maxItems\": 0}", {"[]", "[ ]"}, {"[1]"}},
    {"{\"prefixItems\": [{\"type\": \"null\"}, {\"type\": \"integer\"}]}", {"[null, 1]"}, {"[null]", "[1,null]", "[null,1,1]"}},
    {"{\"prefixItems\": [{\"type\": \"null\"}], \"items\": {\"type\": \"integer\"}, \"minItems\": 2}",
     {"[null,1]", "[null,1,2]"},
     {"[null]", "[null,null]"}},
    {"{\"prefixItems\": [{\"type\": \"null\"}], \"items\": {\"type\": \"integer\"}, \"maxItems\": 2}",
     {"[null]", "[null,1]"},
     {"[null,1,2]", "[]"}},
    {"{\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"null\"}}, \"required\": [\"a\"]}",
     {"{\"a\": 1}", "{\"a\":1,\"b\":null}"},
     {"{}", "{\"b\":null}", "{\"b\":null,\"a\":1}", "{\"a\":1,}", "{\"a\":1,\"c\":1}", "{,\"a\":1}"}},
    {"{\"properties\": {\"a\": {}, \"b\": {}, \"c\": {}}, \"required\": [\"b\"]}",
     {"{\"b\":1}", "{\"a\":1,\"b\":2}", "{\"b\":1,\"c\":2}", "{\"a\":1,\"b\":2,\"c\":3}"},
     {"{\"a\":1}", "{\"c\":1}", "{\"a\":1,\"c\":2}", "{}"}},
    {"{\"properties\": {\"a\": {}, \"b\": {}}}",
     {"{}", "{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":2}"},
     {"{\"c\":1}", "{\"a\":1,\"a\":1}"}},
    {"{\"properties\": {\"a\\\"\\u00e9\": {\"const\": 1}}}", {"{\"a\\\"\xc3\xa9\":1}"}, {"{\"a\":1}"}},
    {"{\"required\": [\"z\"], \"properties\": {\"a\": {\"const\": 1}}}", {"{\"z\":{}}", "{\"a\":1,\"z\":2}"}, {"{\"a\":1}"}},
    {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}}", {"{}", "{\"x\":1,\"y\":2}"}, {"{\"x\":null}"}},
    {"{\"type\": \"object\", \"additionalProperties\": false}", {"{}"}, {"{\"x\":1}"}},
    {"{\"additionalProperties\": {\"const\": 1}, \"minProperties\": 1, \"maxProperties\": 2}",
     {"{\"a\":1}", "{\"a\":1,\"b\":1}"},
     {"{}", "{\"a\":1,\"b\":1,\"c\":1}"}},
    {"{\"properties\": {\"ab\": {\"const\": 1}, \"ac\": {\"const\": 1}, \"abc\": {\"const\": 1}}, \"additionalProperties\": "
     "{\"const\": 2}}",
     {"{\"ab\":1}", "{\"ab\":1,\"a\":2}", "{\"abd\":2}", "{\"x\":2,\"\":2}", "{\"abcd\":2}", "{\"ac\":1,\"abb\":2}", "{}",
      "{\"\xc3\xa9\":2}"},
     {"{\"ab\":2}", "{\"abc\":2}", "{\"ac\":2}", "{\"a\":1}", "{\"a\\u0062\":2}", "{\"x\":2,\"ab\":1}"}},
    {"{\"enum\": [\"a\", 1, null, {\"x\": [1.5, \"\xc3\xa9\"]}]}",
     {"\"a\"", "1", "null", "{\"x\":[1.5,\"\xc3\xa9\"]}"},
     {"\"b\"", "2", ""}},
    {"{\"enum\": [\"a\", 1, 2.5], \"type\": \"integer\"}", {"1"}, {"\"a\"", "2.5"}},
    {"{\"const\": \"q\\\"\\n\"}", {"\"q\\\"\\n\""}, {"\"q\""}},
    {"{\"anyOf\": [{\"type\": \"null\"}, {\"type\": \"integer\"}]}", {"null", "5"}, {"true"}},
    {"{\"oneOf\": [{\"const\": 1}, {\"const\": 2}]}", {"1", "2"}, {"3"}},
    {"{\"type\": \"object\", \"properties\": {\"k\": {\"enum\": [1, 2]}}, \"anyOf\": [{\"properties\": {\"a\": {\"const\": 1}}, "
     "\"required\": [\"a\"]}, {\"required\": [\"k\"]}]}",
     {"{\"a\":1}", "{\"k\":2,\"a\":1}", "{\"k\":1}"},
     {"{}", "{\"k\":3}"}},
    {"{\"allOf\": [{\"type\": \"integer\", \"minimum\": 3}, {\"maximum\": 12}, {\"$ref\": \"#/$defs/x\"}], \"$defs\": {\"x\": "
     "{\"minimum\": 5}}}",
     {"5", "12"},
     {"4", "13", "3"}},
    {"{\"allOf\": [{\"properties\": {\"a\": {\"minimum\": 2}}}, {\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {}}, "
     "\"required\": [\"a\"]}]}",
     {"{\"a\":2}", "{\"a\":3,\"b\":0}"},
     {"{\"a\":1}", "{}", "{\"a\":2.5}"}},
    {"{\"$ref\": \"#/definitions/list\", \"definitions\": {\"list\": {\"anyOf\": [{\"type\": \"null\"}, {\"type\": \"object\", "
     "\"properties\": {\"next\": {\"$ref\": \"#/definitions/list\"}}, \"required\": [\"next\"]}]}}}",
     {"null", "{\"next\":null}", "{\"next\": {\"next\": {\"next\": null}}}"},
     {"{}", "{\"next\":1}"}},
    {"{\"type\": \"array\", \"items\": {\"$ref\": \"#\"}}", {"[]", "[[], [[]]]"}, {"[1]"}},
    {"{\"$ref\": \"#/$defs/a~1b~0c\", \"$defs\": {\"a/b~c\": {\"const\": 7}}}", {"7"}, {"8"}},
    {"{\"type\": \"integer\", \"$ref\": \"#/$defs/p\", \"$defs\": {\"p\": {\"minimum\": 1, \"maximum\": 2}}}",
     {"1", "2"},
     {"3", "1.5"}},
    {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
     {"\"ab\"", "\"\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\"", "\"a\\n\\u00e9\""},
     {"\"a\"", "\"abcd\"", "\"\""}},
    {"{\"minLength\": 1}", {"\"a\""}, {"\"\"", "1"}},
    {"{\"maxLength\": 0}", {"\"\""}, {"\"a\""}},
    {"{\"format\": \"date\"}", {"\"2024-02-28\""}, {"\"2024-13-01\"", "\"24-01-01\"", "\"2024-01-32\""}},
    {"{\"type\": \"string\", \"format\": \"date-time\"}",
     {"\"2024-02-28T23:59:59Z\"", "\"2024-02-28T00:00:00.5+01:00\""},
     {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
    {"{\"format\": \"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}},
    {"{\"format\": \"ipv4\"}", {"\"0.10.199.255\""}, {"\"256.1.1.1\"", "\"01.1.1.1\"", "\"1.1.1\""}},
    {"{\"pattern\": \"^[a-c]+\\\\d{2,3}$\"}", {"\"a12\"", "\"abc123\""}, {"\"12\"", "\"a1\"", "\"a1234\"", "\"xa12\""}},
    {"{\"pattern\": \"ab?\"}", {"\"a\"", "\"xxaby\""}, {"\"b\""}},
    {"{\"pattern\": \"^(?:foo|ba[rz])-\\\\w*?\\\\.$\"}", {"\"foo-.\"", "\"baz-x_1.\""}, {"\"ba-.\"", "\"foo-\""}},
    {"{\"pattern\": \"^[^0-9]\\\\S.$\"}", {"\"ab \"", "\"\xc3\xa9zz\""}, {"\"1ab\"", "\"a a\"", "\"\\\"ab\"", "\"a\nb\""}},
    {"{\"pattern\": \"^[\\\"\\\\\\\\\\n-]x\\\"\\\\t\\\\/$\"}",
     {"\"\\\"x\\\"\\t/\"", "\"\\\\x\\\"\\t/\"", "\"\\nx\\\"\\t/\"", "\"-x\\\"\\t/\""},
     {"\"ax\\\"\\t/\"", "\"\"x\"\""}},
    {"{\"pattern\": \"^[ -~]$\"}", {"\" \"", "\"~\"", "\"Z\""}, {"\"\"\"", "\"\\\"", "\"\x7f\""}},
};

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        open_schema(rows[i].schema);
        for (size_t k = 0; k < SMT_COUNT(rows[i].yes) && rows[i].yes[k]; k++)
            if (!matches(&fixture, rows[i].yes[k], strlen(rows[i].yes[k])))
                fail_msg("%s\ndoes not allow %s", rows[i].schema, rows[i].yes[k]);
        for (size_t k = 0; k < SMT_COUNT(rows[i].no) && rows[i].no[k]; k++)
            if (matches(&fixture, rows[i].no[k], strlen(rows[i].no[k]))) fail_msg("%s\nallows %s", rows[i].schema, rows[i].no[k]);
        close_matcher(&fixture);
    }
}

/* ---- bounds of numbers, against arithmetic ---- */

static void check_bounds(const char *type, double low, bool low_open, double high, bool high_open, bool halves) {
    char schema[200];
    snprintf(schema, sizeof schema, "{\"type\": \"%s\", \"%s\": %.10g, \"%s\": %.10g}", type,
             low_open ? "exclusiveMinimum" : "minimum", low, high_open ? "exclusiveMaximum" : "maximum", high);
    open_schema(schema);
    for (double x = -1300; x <= 1300; x += halves ? 0.5 : 1) {
        char text[32];
        snprintf(text, sizeof text, "%.10g", x);
        bool wanted = (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high);
        if (matches(&fixture, text, strlen(text)) != wanted) fail_msg("%s: %s", schema, text);
    }
    close_matcher(&fixture);
}

static void test_bounds(void **state) {
    (void)state;
    static const double borders[] = {-1234, -1000, -999, -100, -37, -10, -1, 0, 1, 9, 10, 42, 99, 100, 101, 808, 1000, 1299};
    smt_test_random random = {9};
    for (int round = 0; round < 60; round++) {
        double a = borders[smt_test_next(&random) % SMT_COUNT(borders)], b = borders[smt_test_next(&random) % SMT_COUNT(borders)];
        bool low_open = smt_test_next(&random) % 3 == 0, high_open = smt_test_next(&random) % 3 == 0, integer = round % 2;
        if (a > b || (low_open + high_open && b - a < 2)) continue;
        check_bounds(integer ? "integer" : "number", a, low_open, b, high_open, !integer);
    }
    check_bounds("integer", -7.5, false, 12.5, true, false);
    static const char *const open_ended[][3] = {{"{\"type\":\"integer\",\"minimum\":0}", "9999999999999999", "-1"},
                                                {"{\"type\":\"integer\",\"exclusiveMaximum\":0}", "-12345678", "0"},
                                                {"{\"type\":\"number\",\"exclusiveMinimum\":0}", "0.001", "0"},
                                                {"{\"type\":\"number\",\"maximum\":-5}", "-5.25", "-4.9"}};
    for (size_t i = 0; i < SMT_COUNT(open_ended); i++) {
        open_schema(open_ended[i][0]);
        assert_true(matches(&fixture, open_ended[i][1], strlen(open_ended[i][1])));
        assert_false(matches(&fixture, open_ended[i][2], strlen(open_ended[i][2])));
        close_matcher(&fixture);
    }
}

/* ---- what is refused ---- */

typedef struct refusal {
    const char *schema;
    smt_status status;
    const char *message;
} refusal;

static const refusal refusals[] = {
    {"{", SMT_FORMAT, "JSON schema, line 1"},
    {"3", SMT_FORMAT, "#: a schema is an object"},
    {"false", SMT_UNSUPPORTED, "which allows nothing"},
    {"{\"properties\": {\"a\": {\"items\": {\"not\": {}}}}}", SMT_UNSUPPORTED, "#/properties/a/items: \"not\" is not supported"},
    {"{\"anyOf\": [{}, {\"patternProperties\": {}}]}", SMT_UNSUPPORTED, "#/anyOf/1: \"patternProperties\""},
    {"{\"if\": {}}", SMT_UNSUPPORTED, "\"if\""},
    {"{\"type\": \"array\", \"uniqueItems\": true}", SMT_UNSUPPORTED, "\"uniqueItems\""},
    {"{\"type\": \"array\", \"contains\": {}}", SMT_UNSUPPORTED, "\"contains\""},
    {"{\"items\": [{}]}", SMT_UNSUPPORTED, "\"items\" as a list"},
    {"{\"multipleOf\": 2}", SMT_UNSUPPORTED, "\"multipleOf\""},
    {"{\"minimum\": 0.5}", SMT_UNSUPPORTED, "\"minimum\" 0.5 is no whole number"},
    {"{\"type\": \"integer\", \"minimum\": true}", SMT_FORMAT, "\"minimum\" is no number"},
    {"{\"type\": \"integer\", \"minimum\": 5, \"maximum\": 4}", SMT_FORMAT, "no number lies between"},
    {"{\"type\": \"thing\"}", SMT_FORMAT, "\"type\" is not one of"},
    {"{\"type\": []}", SMT_FORMAT, "\"type\" is an empty list"},
    {"{\"enum\": [1], \"type\": \"string\"}", SMT_FORMAT, "none of the values"},
    {"{\"enum\": [1], \"minimum\": 0}", SMT_UNSUPPORTED, "\"enum\" beside"},
    {"{\"format\": \"email\"}", SMT_UNSUPPORTED, "\"format\" email"},
    {"{\"format\": \"date\", \"minLength\": 2}", SMT_UNSUPPORTED, "only one at a time"},
    {"{\"minLength\": -1}", SMT_FORMAT, "\"minLength\" is no whole number"},
    {"{\"minLength\": 3, \"maxLength\": 2}", SMT_FORMAT, "\"minLength\" 3 is more"},
    {"{\"minItems\": 3, \"maxItems\": 2}", SMT_FORMAT, "\"minItems\" is 3"},
    {"{\"maxItems\": 1e9}", SMT_UNSUPPORTED, "\"maxItems\" is 1000000000"},
    {"{\"required\": [\"a\"], \"additionalProperties\": false}", SMT_FORMAT, "\"required\" asks for \"a\""},
    {"{\"properties\": {\"a\": {}}, \"minProperties\": 1}", SMT_UNSUPPORTED, "\"minProperties\" beside"},
    {"{\"propertyNames\": {}}", SMT_UNSUPPORTED, "\"propertyNames\""},
    {"{\"$ref\": \"other.json\"}", SMT_UNSUPPORTED, "\"$ref\" to \"other.json\""},
    {"{\"$ref\": \"#/$defs/a\"}", SMT_NOT_FOUND, "\"$ref\" to \"#/$defs/a\""},
    {"{\"allOf\": [{\"pattern\": \"a\"}, {\"pattern\": \"b\"}]}", SMT_UNSUPPORTED, "two different \"pattern\""},
    {"{\"allOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", SMT_FORMAT, "nothing satisfies both"},
    {"{\"allOf\": [{\"properties\": {\"a\": {}}, \"additionalProperties\": false}, {\"properties\": {\"b\": {}}}]}",
     SMT_UNSUPPORTED, "\"additionalProperties\" beside the property \"b\""},
    {"{\"allOf\": [{\"$ref\": \"#\"}]}", SMT_UNSUPPORTED, "nested more than"},
    {"{\"pattern\": \"(?=a)\"}", SMT_UNSUPPORTED, "groups that begin with (?"},
    {"{\"pattern\": \"(a)\\\\1\"}", SMT_UNSUPPORTED, "this escape is not supported, at byte 4"},
    {"{\"pattern\": \"\\\\bx\"}", SMT_UNSUPPORTED, "this escape"},
    {"{\"pattern\": \"a$b\"}", SMT_UNSUPPORTED, "cannot stand here"},
    {"{\"pattern\": \"^a|b$\"}", SMT_UNSUPPORTED, "alternatives beside"},
    {"{\"pattern\": \"[a\"}", SMT_UNSUPPORTED, "a class without its end"},
    {"{\"pattern\": \"(a\"}", SMT_UNSUPPORTED, "a group without its end"},
    {"{\"pattern\": \"a)\"}", SMT_UNSUPPORTED, "a group that was not begun"},
    {"{\"pattern\": \"a{,2}\"}", SMT_UNSUPPORTED, "a repetition is"},
    {"{\"pattern\": \"a**\"}", SMT_UNSUPPORTED, "a repetition of a repetition"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(refusals); i++) {
        smt_error err = {0};
        char *text;
        size_t bytes;
        smt_status status = smt_schema_grammar(refusals[i].schema, strlen(refusals[i].schema), "root", &text, &bytes, &err);
        if (status != refusals[i].status || !strstr(err.message, refusals[i].message))
            fail_msg("%s\n%s: %s", refusals[i].schema, smt_status_name(status), err.message);
        assert_null(text);
    }
    smt_error err = {0};
    char *text;
    size_t bytes;
    assert_int_equal(smt_schema_grammar("{}", 2, "a b", &text, &bytes, &err), SMT_INVALID);
}

/* ---- random texts, read by a checker that knows nothing of grammars ---- */

static bool conforms(json_t *document, json_t *schema, json_t *value);

static bool has_type(json_t *value, const char *type) {
    static const char *const names[] = {"object", "array", "string", "integer", "number", "boolean", "boolean", "null"};
    return !strcmp(names[json_typeof(value)], type) || (!strcmp(type, "number") && json_is_integer(value));
}

static bool object_conforms(json_t *document, json_t *schema, json_t *value) {
    json_t *properties = json_object_get(schema, "properties"), *others = json_object_get(schema, "additionalProperties"), *entry;
    const char *name;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i,
                       entry) if (!json_object_get(value, json_string_value(entry))) return false;
    json_object_foreach(value, name, entry) {
        json_t *own = json_object_get(properties, name);
        if (own ? !conforms(document, own, entry) : others && !conforms(document, others, entry)) return false;
    }
    return true;
}

static bool in_limits(json_t *schema, const char *least, const char *most, double n) {
    json_t *low = json_object_get(schema, least), *high = json_object_get(schema, most);
    return !(low && n < json_number_value(low)) && !(high && n > json_number_value(high));
}

static size_t n_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

static bool array_conforms(json_t *document, json_t *schema, json_t *value) {
    json_t *items = json_object_get(schema, "items"), *entry;
    size_t i;
    json_array_foreach(value, i, entry) if (items && !conforms(document, items, entry)) return false;
    return in_limits(schema, "minItems", "maxItems", (double)json_array_size(value));
}

static bool conforms(json_t *document, json_t *schema, json_t *value) {
    json_t *entry, *word;
    size_t i;
    bool any = false;
    if (!json_is_object(schema)) return json_is_true(schema);
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    if (reference &&
        !conforms(document, json_object_get(json_object_get(document, "$defs"), reference + strlen("#/$defs/")), value))
        return false;
    if ((word = json_object_get(schema, "type")) && json_is_string(word) && !has_type(value, json_string_value(word)))
        return false;
    if ((word = json_object_get(schema, "enum"))) {
        json_array_foreach(word, i, entry) any = any || json_equal(entry, value);
        if (!any) return false;
    }
    if ((word = json_object_get(schema, "anyOf"))) {
        json_array_foreach(word, i, entry) any = any || conforms(document, entry, value);
        if (!any) return false;
    }
    json_array_foreach(json_object_get(schema, "allOf"), i, entry) if (!conforms(document, entry, value)) return false;
    if (json_is_object(value)) return object_conforms(document, schema, value);
    if (json_is_array(value)) return array_conforms(document, schema, value);
    if (json_is_string(value)) return in_limits(schema, "minLength", "maxLength", (double)n_characters(json_string_value(value)));
    return !json_is_number(value) || in_limits(schema, "minimum", "maximum", json_number_value(value));
}

static const char *const sampled[] = {
    "{\"type\": \"object\"}",
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 12}, \"age\": {\"type\": "
    "\"integer\", \"minimum\": 0, \"maximum\": 150},"
    " \"tags\": {\"type\": \"array\", \"items\": {\"enum\": [\"a\", \"b\", null]}, \"minItems\": 1, \"maxItems\": 3}}, "
    "\"required\": [\"name\", \"tags\"]}",
    "{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"anyOf\": [{\"type\": \"number\", \"minimum\": -20, \"maximum\": 30}, "
    "{\"type\": \"object\", \"properties\":"
    " {\"left\": {\"$ref\": \"#/$defs/tree\"}, \"right\": {\"$ref\": \"#/$defs/tree\"}}, \"required\": [\"left\"], "
    "\"additionalProperties\": false}]}}}",
    "{\"properties\": {\"ab\": {\"type\": \"null\"}, \"abc\": {\"type\": \"boolean\"}, \"x\": {\"type\": \"string\", "
    "\"minLength\": 3}}, \"additionalProperties\": {\"type\": \"integer\"}}",
    "{\"allOf\": [{\"properties\": {\"a\": {\"minimum\": 7}}}, {\"properties\": {\"a\": {\"type\": \"integer\", \"maximum\": "
    "1000}, \"b\": {\"minItems\": 2}}, \"required\": [\"b\", \"a\"]}]}",
};

/* Draws like a model that knows nothing, but is inclined to close what it has opened. Empty where it did not come to an end. */
static void draw_text(smt_test_random *random, smt_str *text) {
    smt_error err = {0};
    smt_cursor cursor;
    uint32_t mask[16], n = smt_vocab_size(fixture.vocab);
    smt_cursor_open(fixture.matcher, &cursor);
    text->bytes = 0;
    for (int step = 0; step < 2000; step++) {
        int32_t allowed[512], closing[512];
        uint32_t n_allowed = 0, n_closing = 0;
        SMT_ASSERT_OK(smt_cursor_mask(&cursor, mask, n, &err), &err);
        for (uint32_t t = 0; t < n; t++) {
            if (!(mask[t / 32] >> t % 32 & 1)) continue;
            allowed[n_allowed++] = (int32_t)t;
            if (t == '"' || t == '}' || t == ']' || smt_vocab_is_end(fixture.vocab, (int32_t)t))
                closing[n_closing++] = (int32_t)t;
        }
        assert_true(n_allowed > 0);
        bool close = n_closing && smt_test_next(random) % 3 == 0;
        int32_t token = close ? closing[smt_test_next(random) % n_closing] : allowed[smt_test_next(random) % n_allowed];
        SMT_ASSERT_OK(smt_cursor_accept(&cursor, token, &err), &err);
        if (smt_vocab_is_end(fixture.vocab, token)) {
            smt_cursor_close(&cursor);
            return;
        }
        SMT_ASSERT_OK(smt_token_bytes(fixture.vocab, token, false, text, &err), &err);
    }
    text->bytes = 0;
    smt_cursor_close(&cursor);
}

static void test_sampled(void **state) {
    (void)state;
    smt_test_random random = {21};
    smt_str text = {0};
    for (size_t i = 0; i < SMT_COUNT(sampled); i++) {
        json_t *schema = json_loads(sampled[i], 0, NULL);
        int n_ended = 0;
        assert_non_null(schema);
        open_schema(sampled[i]);
        for (int round = 0; round < 60; round++) {
            json_error_t problem;
            draw_text(&random, &text);
            if (text.bytes == 0) continue;
            n_ended++;
            json_t *value = json_loadb(text.text, text.bytes, JSON_DECODE_ANY, &problem);
            if (!value) fail_msg("%s\n%.*s\n%s", sampled[i], (int)text.bytes, text.text, problem.text);
            if (!conforms(schema, schema, value)) fail_msg("%s\n%.*s", sampled[i], (int)text.bytes, text.text);
            json_decref(value);
        }
        if (n_ended < 30) fail_msg("%s: %d of 60 texts came to an end", sampled[i], n_ended);
        close_matcher(&fixture);
        json_decref(schema);
    }
    smt_str_free(&text);
}

/* ---- memory ---- */

static void test_each_allocation_fails(void **state) {
    (void)state;
    static const char schema[] = "{\"properties\": {\"a\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/x\"}, "
                                 "\"minItems\": 2}, \"b\": {\"pattern\": \"^[a\\\"]{2}\\\\d$\"}},"
                                 " \"additionalProperties\": {\"minimum\": 12, \"maximum\": 345}, \"$defs\": {\"x\": {\"allOf\": "
                                 "[{\"enum\": [1, 2]}, {\"enum\": [2, 3]}]}}}";
    smt_error err = {0};
    char *wanted, *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_schema_grammar(schema, sizeof schema - 1, "root", &wanted, &bytes, &err), &err);
    uint64_t n = 0, failures = 0;
    for (bool waits = false; !waits;) {
        assert_true(++n < 5000);
        smt_mem_fail_after(n);
        smt_status status = smt_schema_grammar(schema, sizeof schema - 1, "root", &text, &bytes, &err);
        waits = smt_test_hook_waits(n);
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        if (status == SMT_OK) assert_string_equal(text, wanted);
        failures += status == SMT_MEMORY;
        smt_free(text);
    }
    assert_true(failures > 30);
    smt_free(wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_sampled),
                                       cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, open_fixture, end_fixture);
}
