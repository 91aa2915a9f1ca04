/* chat_filter.c: filters (value | name) and tests (value is name), and how arguments are read. */
#include "chat_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- arguments ---- */

/* The position of a name in a comma-separated list, -1: it is not there. */
static int name_index(const char *names, smt_chat_text name) {
    for (int index = 0; *names; index++) {
        size_t length = strcspn(names, ",");
        if (length == name.bytes && memcmp(names, name.text, length) == 0) return index;
        names += length + (names[length] == ',');
    }
    return -1;
}

static int name_count(const char *names) {
    int count = *names != 0;
    for (; *names; names++) count += *names == ',';
    return count;
}

smt_status smt_chat_args_read(smt_chat_run *run, const smt_chat_node *node, const char *names, smt_chat_args *out) {
    *out = (smt_chat_args){.line = node->line, .name = node->kind == SMT_CHAT_CALL ? node->a->text : node->text};
    for (size_t i = 0; i < SMT_CHAT_MAX_ARGS; i++) out->values[i] = smt_chat_undefined(SMT_CHAT_TEXT("an argument"));
    int position = 0;
    for (const smt_chat_node *item = node->items; item; item = item->next) {
        bool named = item->kind == SMT_CHAT_KEYWORD;
        int index = named ? name_index(names, item->text) : position++;
        if (index < 0 || index >= name_count(names))
            return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, node->line, "%.*s does not take the argument %.*s or so many of them",
                                 SMT_CHAT_ARG(out->name), SMT_CHAT_ARG(item->text));
        SMT_TRY(smt_chat_eval(run, named ? item->a : item, &out->values[index]));
        if ((size_t)index >= out->count) out->count = (size_t)index + 1;
    }
    return SMT_OK;
}

smt_status smt_chat_args_text(smt_chat_run *run, const smt_chat_args *args, size_t index, smt_chat_text *out) {
    if (args->values[index].kind == SMT_CHAT_STRING) return *out = args->values[index].text, SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "argument %zu of %.*s is %s, a string is wanted", index + 1,
                         SMT_CHAT_ARG(args->name), smt_chat_kind_name(&args->values[index]));
}

smt_status smt_chat_args_int(smt_chat_run *run, const smt_chat_args *args, size_t index, int64_t *inout) {
    if (args->values[index].kind == SMT_CHAT_UNDEFINED || args->values[index].kind == SMT_CHAT_NONE) return SMT_OK;
    if (args->values[index].kind == SMT_CHAT_INT) return *inout = args->values[index].integer, SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "argument %zu of %.*s is %s, a whole number is wanted", index + 1,
                         SMT_CHAT_ARG(args->name), smt_chat_kind_name(&args->values[index]));
}

/* ---- tests ---- */

enum test {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_STRING,
    IS_NUMBER,
    IS_INTEGER,
    IS_FLOAT,
    IS_BOOLEAN,
    IS_TRUE,
    IS_FALSE,
    IS_MAPPING,
    IS_ITERABLE,
    IS_SEQUENCE,
    IS_CALLABLE,
    IS_ODD,
    IS_EVEN,
    IS_DIVISIBLEBY,
    IS_EQUAL,
    IS_UNEQUAL,
    IS_IN
};

static const struct {
    const char *name;
    enum test test;
} tests[] = {
    {"defined", IS_DEFINED},
    {"undefined", IS_UNDEFINED},
    {"none", IS_NONE},
    {"string", IS_STRING},
    {"number", IS_NUMBER},
    {"integer", IS_INTEGER},
    {"float", IS_FLOAT},
    {"boolean", IS_BOOLEAN},
    {"true", IS_TRUE},
    {"false", IS_FALSE},
    {"mapping", IS_MAPPING},
    {"iterable", IS_ITERABLE},
    {"sequence", IS_SEQUENCE},
    {"callable", IS_CALLABLE},
    {"odd", IS_ODD},
    {"even", IS_EVEN},
    {"divisibleby", IS_DIVISIBLEBY},
    {"eq", IS_EQUAL},
    {"equalto", IS_EQUAL},
    {"ne", IS_UNEQUAL},
    {"in", IS_IN},
};

int smt_chat_test_code(smt_chat_text name) {
    for (size_t i = 0; i < SMT_COUNT(tests); i++)
        if (smt_chat_is(name, tests[i].name)) return (int)tests[i].test;
    return -1;
}

static bool kind_test(enum test test, const smt_chat_value *value) {
    smt_chat_kind kind = value->kind;
    switch (test) {
    case IS_DEFINED:
        return kind != SMT_CHAT_UNDEFINED;
    case IS_UNDEFINED:
        return kind == SMT_CHAT_UNDEFINED;
    case IS_NONE:
        return kind == SMT_CHAT_NONE;
    case IS_STRING:
        return kind == SMT_CHAT_STRING;
    case IS_NUMBER:
        return kind == SMT_CHAT_INT || kind == SMT_CHAT_REAL || kind == SMT_CHAT_BOOL;
    case IS_INTEGER:
        return kind == SMT_CHAT_INT;
    case IS_FLOAT:
        return kind == SMT_CHAT_REAL;
    case IS_BOOLEAN:
        return kind == SMT_CHAT_BOOL;
    case IS_TRUE:
        return kind == SMT_CHAT_BOOL && value->truth;
    case IS_FALSE:
        return kind == SMT_CHAT_BOOL && !value->truth;
    case IS_MAPPING:
        return kind == SMT_CHAT_DICT;
    case IS_CALLABLE:
        return kind == SMT_CHAT_MACRO || kind == SMT_CHAT_FUNCTION;
    default: /* iterable, sequence */
        return kind == SMT_CHAT_STRING || kind == SMT_CHAT_LIST || kind == SMT_CHAT_DICT || kind == SMT_CHAT_UNDEFINED;
    }
}

/* A test with its argument read already. */
static smt_status test_value(smt_chat_run *run, uint32_t line, enum test test, const smt_chat_value *value,
                             const smt_chat_value *argument, bool *out) {
    int64_t by = test == IS_DIVISIBLEBY ? (argument->kind == SMT_CHAT_INT ? argument->integer : 0) : 2;
    switch (test) {
    case IS_EQUAL:
    case IS_UNEQUAL:
        SMT_TRY(smt_chat_same(run, value, argument, out));
        *out = *out == (test == IS_EQUAL);
        return SMT_OK;
    case IS_IN:
        return smt_chat_contains(run, line, argument, value, out);
    case IS_ODD:
    case IS_EVEN:
    case IS_DIVISIBLEBY:
        if (value->kind != SMT_CHAT_INT || by == 0 || by == -1)
            return SMT_CHAT_FAIL(run, SMT_INVALID, line, "whether %s is divisible by %lld", smt_chat_kind_name(value),
                                 (long long)by);
        *out = (value->integer % by == 0) == (test != IS_ODD);
        return SMT_OK;
    default:
        *out = kind_test(test, value);
        return SMT_OK;
    }
}

smt_status smt_chat_test(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, bool *out) {
    smt_chat_args args;
    bool takes_one = node->code >= IS_DIVISIBLEBY;
    SMT_TRY(smt_chat_args_read(run, node, takes_one ? "value" : "", &args));
    return test_value(run, node->line, (enum test)node->code, value, &args.values[0], out);
}

/* ---- filters ---- */

enum filter {
    TRIM,
    TOJSON,
    LENGTH,
    JOIN,
    REPLACE,
    UPPER,
    LOWER,
    CAPITALIZE,
    TITLE,
    DEFAULT,
    FIRST,
    LAST,
    LIST,
    STRING,
    INT,
    FLOAT,
    SAFE,
    ITEMS,
    REVERSE,
    MAP,
    SELECT,
    REJECT,
    SELECTATTR,
    REJECTATTR,
    INDENT,
    ABS,
    UNIQUE
};

static const struct {
    const char *name;
    enum filter filter;
    const char *parameters;
} filters[] = {
    {"trim", TRIM, "chars"},
    {"tojson", TOJSON, "indent"},
    {"length", LENGTH, ""},
    {"count", LENGTH, ""},
    {"join", JOIN, "d"},
    {"replace", REPLACE, "old,new,count"},
    {"upper", UPPER, ""},
    {"lower", LOWER, ""},
    {"capitalize", CAPITALIZE, ""},
    {"title", TITLE, ""},
    {"default", DEFAULT, "default_value,boolean"},
    {"d", DEFAULT, "default_value,boolean"},
    {"first", FIRST, ""},
    {"last", LAST, ""},
    {"list", LIST, ""},
    {"string", STRING, ""},
    {"int", INT, "default"},
    {"float", FLOAT, "default"},
    {"safe", SAFE, ""},
    {"items", ITEMS, ""},
    {"reverse", REVERSE, ""},
    {"map", MAP, "attribute"},
    {"select", SELECT, "test,value"},
    {"reject", REJECT, "test,value"},
    {"selectattr", SELECTATTR, "attribute,test,value"},
    {"rejectattr", REJECTATTR, "attribute,test,value"},
    {"indent", INDENT, "width,first,blank"},
    {"abs", ABS, ""},
    {"unique", UNIQUE, ""},
};

int smt_chat_filter_code(smt_chat_text name) {
    for (size_t i = 0; i < SMT_COUNT(filters); i++)
        if (smt_chat_is(name, filters[i].name)) return (int)i;
    return -1;
}

static smt_status filter_length(smt_chat_run *run, const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    size_t count = 0;
    if (value->kind == SMT_CHAT_STRING)
        count = smt_chat_count(value->text);
    else if (value->kind == SMT_CHAT_LIST)
        count = value->list->count;
    else if (value->kind == SMT_CHAT_DICT)
        count = value->dict->count;
    else if (value->kind != SMT_CHAT_UNDEFINED)
        return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "the length of %s", smt_chat_kind_name(value));
    *out = smt_chat_int((int64_t)count);
    return smt_chat_spend(run, count / 16, args->line);
}

static smt_status filter_json(smt_chat_run *run, const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    int64_t indent = -1;
    smt_chat_builder builder = {0};
    SMT_TRY(smt_chat_args_int(run, args, 0, &indent));
    if (indent < -1 || indent > 16)
        return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "tojson with an indent of %lld", (long long)indent);
    SMT_TRY(smt_chat_write_json(run, args->line, &builder, value, (int)indent));
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

/* The text of a number as far as it is one, else the default. */
static smt_status filter_number(smt_chat_run *run, const smt_chat_args *args, bool whole, const smt_chat_value *value,
                                smt_chat_value *out) {
    char text[64] = "";
    double real = 0;
    bool number = value->kind == SMT_CHAT_INT || value->kind == SMT_CHAT_BOOL || value->kind == SMT_CHAT_REAL;
    if (value->kind == SMT_CHAT_STRING) {
        smt_chat_text stripped = smt_chat_strip(value->text, NULL, true, true);
        size_t bytes = smt_min_u64(stripped.bytes, sizeof text - 1);
        char *end = text;
        memcpy(text, stripped.text, bytes);
        if (strspn(text, "0123456789+-.eE") == stripped.bytes) real = strtod(text, &end);
        number = end > text && *end == 0;
    }
    if (value->kind == SMT_CHAT_INT) real = (double)value->integer;
    if (value->kind == SMT_CHAT_BOOL) real = value->truth;
    if (value->kind == SMT_CHAT_REAL) real = value->real;
    *out = whole ? smt_chat_int(0) : (smt_chat_value){.kind = SMT_CHAT_REAL};
    if (!number) return args->count ? (*out = args->values[0], SMT_OK) : SMT_OK;
    if (!whole) return out->real = real, SMT_OK;
    if (!(real > -9e18 && real < 9e18))
        return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "a number beyond 64 bits as a whole one");
    out->integer = value->kind == SMT_CHAT_INT ? value->integer : (int64_t)real;
    return SMT_OK;
}

static smt_status filter_end(smt_chat_run *run, const smt_chat_args *args, bool first, const smt_chat_value *value,
                             smt_chat_value *out) {
    const smt_chat_value *items;
    size_t count;
    SMT_TRY(smt_chat_items(run, args->line, value, &items, &count));
    *out = count ? items[first ? 0 : count - 1] : smt_chat_undefined(SMT_CHAT_TEXT("the end of an empty list"));
    return SMT_OK;
}

/* The items as a list of their own, in order or from the end; a reversed string stays a string. */
static smt_status filter_list(smt_chat_run *run, const smt_chat_args *args, bool reverse, const smt_chat_value *value,
                              smt_chat_value *out) {
    const smt_chat_value *items;
    smt_chat_value *kept;
    size_t count;
    SMT_TRY(smt_chat_items(run, args->line, value, &items, &count));
    SMT_TRY(smt_chat_list_make(run, count, out, &kept));
    for (size_t i = 0; i < count; i++) kept[i] = items[reverse ? count - 1 - i : i];
    SMT_TRY(smt_chat_list_close(run, args->line, out));
    smt_chat_value list = *out;
    return reverse && value->kind == SMT_CHAT_STRING ? smt_chat_join(run, args->line, &list, SMT_CHAT_TEXT(""), out) : SMT_OK;
}

static smt_chat_value attribute_of(const smt_chat_value *item, smt_chat_text name) {
    const smt_chat_value *found = smt_chat_is_mapping(item) ? smt_chat_dict_find(item->dict, name) : NULL;
    return found ? *found : smt_chat_undefined(name);
}

static smt_status filter_map(smt_chat_run *run, const smt_chat_node *node, const smt_chat_args *args, const smt_chat_value *value,
                             smt_chat_value *out) {
    const smt_chat_value *items;
    smt_chat_value *kept;
    smt_chat_text name;
    size_t count;
    if (!node->items || node->items->kind != SMT_CHAT_KEYWORD)
        return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, node->line, "map without attribute= is not supported");
    SMT_TRY(smt_chat_args_text(run, args, 0, &name));
    SMT_TRY(smt_chat_items(run, node->line, value, &items, &count));
    SMT_TRY(smt_chat_list_make(run, count, out, &kept));
    for (size_t i = 0; i < count; i++) kept[i] = attribute_of(&items[i], name);
    return smt_chat_list_close(run, node->line, out);
}

/* select, reject, and the two that look at an attribute: the test is an argument, truth where none is given. */
static smt_status filter_select(smt_chat_run *run, const smt_chat_args *args, bool keep, bool by_attribute,
                                const smt_chat_value *value, smt_chat_value *out) {
    const smt_chat_value *items;
    smt_chat_value *kept;
    smt_chat_text attribute = {0}, name;
    size_t count, n = 0, test_at = by_attribute;
    int test = -1;
    if (by_attribute) SMT_TRY(smt_chat_args_text(run, args, 0, &attribute));
    if (args->count > test_at) {
        SMT_TRY(smt_chat_args_text(run, args, test_at, &name));
        test = smt_chat_test_code(name);
        if (test < 0)
            return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "the test \"%.*s\" is not supported", SMT_CHAT_ARG(name));
    }
    SMT_TRY(smt_chat_items(run, args->line, value, &items, &count));
    SMT_TRY(smt_chat_list_make(run, count, out, &kept));
    for (size_t i = 0; i < count; i++) {
        smt_chat_value tested = by_attribute ? attribute_of(&items[i], attribute) : items[i];
        bool holds = smt_chat_truth(&tested);
        SMT_TRY(smt_chat_spend(run, 1, args->line));
        if (test >= 0) SMT_TRY(test_value(run, args->line, (enum test)test, &tested, &args->values[test_at + 1], &holds));
        if (holds == keep) kept[n++] = items[i];
    }
    ((smt_chat_list *)out->list)->count = n;
    return smt_chat_list_close(run, args->line, out);
}

static smt_status filter_unique(smt_chat_run *run, const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    const smt_chat_value *items;
    smt_chat_value *kept;
    size_t count, n = 0;
    SMT_TRY(smt_chat_items(run, args->line, value, &items, &count));
    SMT_TRY(smt_chat_list_make(run, count, out, &kept));
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (size_t k = 0; k < n && !known; k++) SMT_TRY(smt_chat_same(run, &kept[k], &items[i], &known));
        if (!known) kept[n++] = items[i];
    }
    ((smt_chat_list *)out->list)->count = n;
    return smt_chat_list_close(run, args->line, out);
}

/* Blanks in front of every line but the first, empty lines excepted. */
static smt_status filter_indent(smt_chat_run *run, const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    static const char blanks[] = "                                                                ";
    smt_chat_text text;
    smt_chat_builder builder = {0};
    int64_t width = 4;
    bool first = smt_chat_truth(&args->values[1]), blank = smt_chat_truth(&args->values[2]);
    SMT_TRY(smt_chat_args_int(run, args, 0, &width));
    SMT_TRY(smt_chat_to_text(run, value, &text));
    if (width < 0 || (size_t)width >= sizeof blanks)
        return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "indent by %lld blanks", (long long)width);
    for (size_t at = 0, end; at < text.bytes; at = end) {
        size_t newline = smt_chat_search(text, SMT_CHAT_TEXT("\n"), at);
        end = newline == SIZE_MAX ? text.bytes : newline + 1;
        bool empty = newline == at;
        if (at == 0 ? first : blank || !empty)
            SMT_TRY(smt_chat_append(run, &builder, (smt_chat_text){blanks, NULL, (size_t)width}));
        SMT_TRY(smt_chat_append(run, &builder, smt_chat_slice(text, at, end)));
    }
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

static smt_status filter_abs(smt_chat_run *run, const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    *out = *value;
    if (value->kind == SMT_CHAT_REAL) return out->real = value->real < 0 ? -value->real : value->real, SMT_OK;
    if (value->kind != SMT_CHAT_INT || value->integer == INT64_MIN)
        return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "the absolute value of %s", smt_chat_kind_name(value));
    out->integer = value->integer < 0 ? -value->integer : value->integer;
    return SMT_OK;
}

static smt_status filter_default(const smt_chat_args *args, const smt_chat_value *value, smt_chat_value *out) {
    bool missing = value->kind == SMT_CHAT_UNDEFINED || (smt_chat_truth(&args->values[1]) && !smt_chat_truth(value));
    *out = missing ? args->values[0] : *value;
    if (missing && args->count == 0) *out = smt_chat_string(SMT_CHAT_TEXT(""));
    return SMT_OK;
}

/* Those that take a string; anything else becomes one first. */
static smt_status filter_text(smt_chat_run *run, enum filter filter, const smt_chat_args *args, const smt_chat_value *value,
                              smt_chat_value *out) {
    smt_chat_text text, set;
    SMT_TRY(smt_chat_to_text(run, value, &text));
    switch (filter) {
    case TRIM:
        if (args->count) SMT_TRY(smt_chat_args_text(run, args, 0, &set));
        *out = smt_chat_string(smt_chat_strip(text, args->count ? &set : NULL, true, true));
        return SMT_OK;
    case REPLACE:
        return smt_chat_replace(run, args, text, out);
    case UPPER:
    case LOWER:
    case CAPITALIZE:
    case TITLE:
        return smt_chat_recase(run, text, (smt_chat_case)(filter - UPPER), out);
    default: /* string, safe */
        *out = smt_chat_string(text);
        return SMT_OK;
    }
}
_Static_assert(LOWER - UPPER == (int)SMT_CHAT_LOWER && CAPITALIZE - UPPER == (int)SMT_CHAT_CAPITALIZE &&
                   TITLE - UPPER == (int)SMT_CHAT_TITLE,
               "filters in the order of cases");

smt_status smt_chat_filter(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, smt_chat_value *out) {
    smt_chat_args args;
    smt_chat_text between = SMT_CHAT_TEXT("");
    enum filter filter = filters[node->code].filter;
    SMT_TRY(smt_chat_args_read(run, node, filters[node->code].parameters, &args));
    switch (filter) {
    case TOJSON:
        return filter_json(run, &args, value, out);
    case LENGTH:
        return filter_length(run, &args, value, out);
    case JOIN:
        if (args.count) SMT_TRY(smt_chat_args_text(run, &args, 0, &between));
        return smt_chat_join(run, node->line, value, between, out);
    case DEFAULT:
        return filter_default(&args, value, out);
    case FIRST:
    case LAST:
        return filter_end(run, &args, filter == FIRST, value, out);
    case LIST:
    case REVERSE:
        return filter_list(run, &args, filter == REVERSE, value, out);
    case INT:
    case FLOAT:
        return filter_number(run, &args, filter == INT, value, out);
    case ITEMS:
        return smt_chat_pairs(run, node->line, value, out);
    case MAP:
        return filter_map(run, node, &args, value, out);
    case SELECT:
    case REJECT:
        return filter_select(run, &args, filter == SELECT, false, value, out);
    case SELECTATTR:
    case REJECTATTR:
        return filter_select(run, &args, filter == SELECTATTR, true, value, out);
    case INDENT:
        return filter_indent(run, &args, value, out);
    case ABS:
        return filter_abs(run, &args, value, out);
    case UNIQUE:
        return filter_unique(run, &args, value, out);
    default:
        return filter_text(run, filter, &args, value, out);
    }
}
