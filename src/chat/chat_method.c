/* chat_method.c: methods of strings, dictionaries and loops, the functions templates may call, and the string operations that
 * filters share. What changes a list or dictionary in place does not exist: values never change. */
#include "chat_internal.h"

#include <string.h>
#include <utf8proc.h>

/* ---- string operations ---- */

static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* The character of a piece; UINT32_MAX where it is not UTF-8. */
static uint32_t code_point(smt_chat_text piece) {
    utf8proc_int32_t point;
    utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)piece.text, (utf8proc_ssize_t)piece.bytes, &point);
    return length == (utf8proc_ssize_t)piece.bytes ? (uint32_t)point : UINT32_MAX;
}

/* Whether the character goes: white space, or one of the set. */
static bool goes(smt_chat_text piece, const smt_chat_text *set) {
    if (!set) return is_space(code_point(piece));
    for (size_t at = 0, step; at < set->bytes; at += step) {
        step = smt_chat_char(*set, at);
        if (smt_chat_equal(piece, smt_chat_slice(*set, at, at + step))) return true;
    }
    return false;
}

smt_chat_text smt_chat_strip(smt_chat_text text, const smt_chat_text *set, bool left, bool right) {
    size_t start = 0, end = text.bytes;
    while (left && start < end) {
        size_t step = smt_chat_char(text, start);
        if (!goes(smt_chat_slice(text, start, start + step), set)) break;
        start += step;
    }
    while (right && end > start) {
        size_t at = end - 1;
        while (at > start && end - at < 4 && ((uint8_t)text.text[at] & 0xc0) == 0x80) at--;
        if (!goes(smt_chat_slice(text, at, end), set)) break;
        end = at;
    }
    return smt_chat_slice(text, start, end);
}

/* Old, new and how often at most, from the arguments. */
smt_status smt_chat_replace(smt_chat_run *run, const smt_chat_args *args, smt_chat_text text, smt_chat_value *out) {
    smt_chat_text old, new;
    smt_chat_builder builder = {0};
    int64_t most = -1;
    SMT_TRY(smt_chat_args_text(run, args, 0, &old));
    SMT_TRY(smt_chat_args_text(run, args, 1, &new));
    SMT_TRY(smt_chat_args_int(run, args, 2, &most));
    if (old.bytes == 0) return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "replace with nothing to look for");
    size_t done = 0;
    for (size_t at; most != 0 && (at = smt_chat_search(text, old, done)) != SIZE_MAX; most--) {
        SMT_TRY(smt_chat_spend(run, 1, args->line));
        SMT_TRY(smt_chat_append(run, &builder, smt_chat_slice(text, done, at)));
        SMT_TRY(smt_chat_append(run, &builder, new));
        done = at + old.bytes;
    }
    SMT_TRY(smt_chat_append(run, &builder, smt_chat_slice(text, done, text.bytes)));
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

smt_status smt_chat_recase(smt_chat_run *run, smt_chat_text text, smt_chat_case to, smt_chat_value *out) {
    static const uint8_t all_given[4] = {1, 1, 1, 1};
    smt_chat_builder builder = {0};
    bool starts = true; /* of the text, for a title of a word */
    SMT_TRY(smt_chat_spend(run, text.bytes / 4, 0));
    for (size_t at = 0, step; at < text.bytes; at += step) {
        step = smt_chat_char(text, at);
        smt_chat_text piece = smt_chat_slice(text, at, at + step);
        utf8proc_int32_t point = (utf8proc_int32_t)code_point(piece);
        bool upper = to == SMT_CHAT_UPPER || (to >= SMT_CHAT_CAPITALIZE && starts);
        utf8proc_int32_t changed = point < 0 ? point : upper ? utf8proc_toupper(point) : utf8proc_tolower(point);
        if (changed != point) {
            utf8proc_uint8_t bytes[4];
            size_t n = (size_t)utf8proc_encode_char(changed, bytes);
            bool given = piece.given && piece.given[0];
            SMT_TRY(smt_chat_append(run, &builder, (smt_chat_text){(const char *)bytes, given ? all_given : NULL, n}));
        } else {
            SMT_TRY(smt_chat_append(run, &builder, piece));
        }
        starts = to == SMT_CHAT_TITLE && (point < 0 || utf8proc_toupper(point) == utf8proc_tolower(point));
    }
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

smt_status smt_chat_join(smt_chat_run *run, uint32_t line, const smt_chat_value *list, smt_chat_text between,
                         smt_chat_value *out) {
    const smt_chat_value *items;
    size_t count;
    smt_chat_builder builder = {0};
    SMT_TRY(smt_chat_items(run, line, list, &items, &count));
    for (size_t i = 0; i < count; i++) {
        if (i) SMT_TRY(smt_chat_append(run, &builder, between));
        SMT_TRY(smt_chat_write(run, &builder, &items[i], false));
    }
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

/* ---- splitting ---- */

typedef struct pieces { /* the parts of a split, in the arena */
    smt_chat_value *items;
    size_t count, capacity;
} pieces;

static smt_status add_piece(smt_chat_run *run, pieces *list, smt_chat_text piece) {
    if (list->count == list->capacity) {
        void *items;
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        SMT_TRY(smt_chat_alloc(run, capacity, sizeof *list->items, &items));
        if (list->count) memcpy(items, list->items, list->count * sizeof *list->items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = smt_chat_string(piece);
    return SMT_OK;
}

/* At runs of white space; none at the ends. */
static smt_status split_words(smt_chat_run *run, smt_chat_text text, int64_t most, pieces *list) {
    text = smt_chat_strip(text, NULL, true, most < 0);
    for (; text.bytes && most != 0; most--) {
        size_t end = 0;
        while (end < text.bytes && !goes(smt_chat_slice(text, end, end + smt_chat_char(text, end)), NULL))
            end += smt_chat_char(text, end);
        SMT_TRY(add_piece(run, list, smt_chat_slice(text, 0, end)));
        text = smt_chat_strip(smt_chat_slice(text, end, text.bytes), NULL, true, false);
    }
    return text.bytes ? add_piece(run, list, text) : SMT_OK;
}

static smt_status split_at(smt_chat_run *run, smt_chat_text text, smt_chat_text at, int64_t most, pieces *list) {
    size_t done = 0;
    for (size_t found; most != 0 && (found = smt_chat_search(text, at, done)) != SIZE_MAX; most--) {
        SMT_TRY(add_piece(run, list, smt_chat_slice(text, done, found)));
        done = found + at.bytes;
    }
    return add_piece(run, list, smt_chat_slice(text, done, text.bytes));
}

/* The same with a bound on the cuts, which are then the last ones: all pieces, and the first of them joined again. */
static smt_status split_at_right(smt_chat_run *run, smt_chat_text text, smt_chat_text at, int64_t most, pieces *list) {
    SMT_TRY(split_at(run, text, at, -1, list));
    if (most < 0 || list->count <= (size_t)most + 1) return SMT_OK;
    size_t joined = list->count - (size_t)most;
    const char *end = list->items[joined - 1].text.text + list->items[joined - 1].text.bytes;
    list->items[0].text = smt_chat_slice(text, 0, (size_t)(end - text.text));
    memmove(list->items + 1, list->items + joined, (size_t)most * sizeof *list->items);
    list->count = (size_t)most + 1;
    return SMT_OK;
}

static smt_status method_split(smt_chat_run *run, const smt_chat_args *args, smt_chat_text text, bool right,
                               smt_chat_value *out) {
    pieces list = {0};
    smt_chat_text at;
    smt_chat_value *items;
    int64_t most = -1;
    bool words = args->values[0].kind == SMT_CHAT_UNDEFINED || args->values[0].kind == SMT_CHAT_NONE;
    SMT_TRY(smt_chat_args_int(run, args, 1, &most));
    SMT_TRY(smt_chat_spend(run, text.bytes / 4, args->line));
    if (words) {
        if (right && most >= 0)
            return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "rsplit at white space with a bound is not supported");
        SMT_TRY(split_words(run, text, most, &list));
    } else {
        SMT_TRY(smt_chat_args_text(run, args, 0, &at));
        if (at.bytes == 0) return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "a split at the empty string");
        SMT_TRY(right ? split_at_right(run, text, at, most, &list) : split_at(run, text, at, most, &list));
    }
    SMT_TRY(smt_chat_list_make(run, list.count, out, &items));
    if (list.count) memcpy(items, list.items, list.count * sizeof *items);
    return SMT_OK;
}

/* ---- methods ---- */

enum method {
    STRIP,
    LSTRIP,
    RSTRIP,
    SPLIT,
    RSPLIT,
    STARTSWITH,
    ENDSWITH,
    REPLACE,
    UPPER,
    LOWER,
    CAPITALIZE,
    TITLE,
    FIND,
    COUNT,
    JOIN,
    GET,
    ITEMS,
    KEYS,
    VALUES
};

static const struct {
    const char *name, *parameters;
} methods[] = {
    [STRIP] = {"strip", "chars"},
    [LSTRIP] = {"lstrip", "chars"},
    [RSTRIP] = {"rstrip", "chars"},
    [SPLIT] = {"split", "sep,maxsplit"},
    [RSPLIT] = {"rsplit", "sep,maxsplit"},
    [STARTSWITH] = {"startswith", "prefix"},
    [ENDSWITH] = {"endswith", "suffix"},
    [REPLACE] = {"replace", "old,new,count"},
    [UPPER] = {"upper", ""},
    [LOWER] = {"lower", ""},
    [CAPITALIZE] = {"capitalize", ""},
    [TITLE] = {"title", ""},
    [FIND] = {"find", "sub"},
    [COUNT] = {"count", "sub"},
    [JOIN] = {"join", "iterable"},
    [GET] = {"get", "key,default"},
    [ITEMS] = {"items", ""},
    [KEYS] = {"keys", ""},
    [VALUES] = {"values", ""},
};

int smt_chat_method_code(smt_chat_text name) {
    for (size_t i = 0; i < SMT_COUNT(methods); i++)
        if (smt_chat_is(name, methods[i].name)) return (int)i;
    return -1;
}

/* Any of the texts of a list, or the one text. */
static smt_status has_end(smt_chat_run *run, const smt_chat_args *args, smt_chat_text text, bool front, smt_chat_value *out) {
    const smt_chat_value *ends = &args->values[0];
    size_t count = 1;
    if (ends->kind == SMT_CHAT_LIST) SMT_TRY(smt_chat_items(run, args->line, &args->values[0], &ends, &count));
    *out = smt_chat_bool(false);
    for (size_t i = 0; i < count; i++) {
        if (ends[i].kind != SMT_CHAT_STRING)
            return SMT_CHAT_FAIL(run, SMT_INVALID, args->line, "%.*s of %s, a string is wanted", SMT_CHAT_ARG(args->name),
                                 smt_chat_kind_name(&ends[i]));
        smt_chat_text end = ends[i].text;
        if (end.bytes > text.bytes) continue;
        size_t start = front ? 0 : text.bytes - end.bytes;
        if (smt_chat_equal(smt_chat_slice(text, start, start + end.bytes), end)) *out = smt_chat_bool(true);
    }
    return smt_chat_spend(run, count, args->line);
}

static smt_status method_find(smt_chat_run *run, const smt_chat_args *args, smt_chat_text text, bool counts,
                              smt_chat_value *out) {
    smt_chat_text what;
    int64_t count = 0;
    SMT_TRY(smt_chat_args_text(run, args, 0, &what));
    SMT_TRY(smt_chat_spend(run, text.bytes / 4, args->line));
    size_t at = smt_chat_search(text, what, 0);
    if (!counts) {
        *out = smt_chat_int(at == SIZE_MAX ? -1 : (int64_t)smt_chat_count(smt_chat_slice(text, 0, at)));
        return SMT_OK;
    }
    if (what.bytes == 0) return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, args->line, "count of the empty string");
    for (; at != SIZE_MAX; at = smt_chat_search(text, what, at + what.bytes)) count++;
    *out = smt_chat_int(count);
    return SMT_OK;
}

static smt_status text_method(smt_chat_run *run, enum method method, const smt_chat_args *args, smt_chat_text text,
                              smt_chat_value *out) {
    smt_chat_text set;
    switch (method) {
    case STRIP:
    case LSTRIP:
    case RSTRIP:
        if (args->count) SMT_TRY(smt_chat_args_text(run, args, 0, &set));
        *out = smt_chat_string(smt_chat_strip(text, args->count ? &set : NULL, method != RSTRIP, method != LSTRIP));
        return SMT_OK;
    case SPLIT:
    case RSPLIT:
        return method_split(run, args, text, method == RSPLIT, out);
    case STARTSWITH:
    case ENDSWITH:
        return has_end(run, args, text, method == STARTSWITH, out);
    case REPLACE:
        return smt_chat_replace(run, args, text, out);
    case UPPER:
    case LOWER:
    case CAPITALIZE:
    case TITLE:
        return smt_chat_recase(run, text, (smt_chat_case)(method - UPPER), out);
    case FIND:
    case COUNT:
        return method_find(run, args, text, method == COUNT, out);
    default: /* join */
        return smt_chat_join(run, args->line, &args->values[0], text, out);
    }
}
_Static_assert(LOWER - UPPER == (int)SMT_CHAT_LOWER && CAPITALIZE - UPPER == (int)SMT_CHAT_CAPITALIZE &&
                   TITLE - UPPER == (int)SMT_CHAT_TITLE,
               "methods in the order of cases");

smt_status smt_chat_pairs(smt_chat_run *run, uint32_t line, const smt_chat_value *dict, smt_chat_value *out) {
    smt_chat_value *items, *pair;
    if (!smt_chat_is_mapping(dict)) return SMT_CHAT_FAIL(run, SMT_INVALID, line, "the items of %s", smt_chat_kind_name(dict));
    SMT_TRY(smt_chat_list_make(run, dict->dict->count, out, &items));
    for (size_t i = 0; i < dict->dict->count; i++) {
        SMT_TRY(smt_chat_list_make(run, 2, &items[i], &pair));
        pair[0] = smt_chat_string(dict->dict->entries[i].key);
        pair[1] = dict->dict->entries[i].value;
        SMT_TRY(smt_chat_list_close(run, line, &items[i]));
    }
    return smt_chat_list_close(run, line, out);
}

static smt_status dict_method(smt_chat_run *run, enum method method, const smt_chat_args *args, const smt_chat_value *value,
                              smt_chat_value *out) {
    const smt_chat_dict *dict = value->dict;
    if (method == ITEMS) return smt_chat_pairs(run, args->line, value, out);
    if (method == GET) {
        smt_chat_text key;
        SMT_TRY(smt_chat_args_text(run, args, 0, &key));
        const smt_chat_value *found = smt_chat_dict_find(dict, key);
        *out = found ? *found : args->count > 1 ? args->values[1] : (smt_chat_value){.kind = SMT_CHAT_NONE};
        return SMT_OK;
    }
    smt_chat_value *items;
    SMT_TRY(smt_chat_list_make(run, dict->count, out, &items));
    for (size_t i = 0; i < dict->count; i++)
        items[i] = method == KEYS ? smt_chat_string(dict->entries[i].key) : dict->entries[i].value;
    return smt_chat_list_close(run, args->line, out);
}

smt_status smt_chat_method(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, smt_chat_value *out) {
    smt_chat_args args;
    enum method method = (enum method)node->code;
    SMT_TRY(smt_chat_args_read(run, node, methods[method].parameters, &args));
    if (value->kind == SMT_CHAT_STRING && method <= JOIN) return text_method(run, method, &args, value->text, out);
    if (smt_chat_is_mapping(value) && method >= GET) return dict_method(run, method, &args, value, out);
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%s has no method %s", smt_chat_kind_name(value), methods[method].name);
}

/* ---- functions ---- */

enum function { RAISE_EXCEPTION, RANGE, NAMESPACE, DICT };
static const char *const functions[] = {"raise_exception", "range", "namespace", "dict"};

int smt_chat_function_code(smt_chat_text name) {
    for (size_t i = 0; i < SMT_COUNT(functions); i++)
        if (smt_chat_is(name, functions[i])) return (int)i;
    return -1;
}

static smt_status make_range(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_args args;
    smt_chat_value *items;
    int64_t borders[3] = {0, 0, 1};
    SMT_TRY(smt_chat_args_read(run, node, "start,stop,step", &args));
    for (size_t i = 0; i < 3; i++) SMT_TRY(smt_chat_args_int(run, &args, i, &borders[i]));
    if (args.count == 1) {
        borders[1] = borders[0];
        borders[0] = 0;
    }
    bool far = false;
    for (size_t i = 0; i < 3; i++) far = far || borders[i] > INT32_MAX || borders[i] < INT32_MIN;
    if (args.count == 0 || far || borders[2] == 0)
        return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "range without end, with step 0, or beyond 32 bits");
    int64_t span = borders[2] > 0 ? borders[1] - borders[0] : borders[0] - borders[1];
    int64_t step = borders[2] > 0 ? borders[2] : -borders[2], count = span > 0 ? (span + step - 1) / step : 0;
    SMT_TRY(smt_chat_list_make(run, (size_t)count, out, &items));
    for (int64_t i = 0; i < count; i++) items[i] = smt_chat_int(borders[0] + i * borders[2]);
    return SMT_OK;
}

/* namespace(a=1, b=2) and dict(a=1); either may begin with the entries of a dictionary. */
static smt_status make_mapping(smt_chat_run *run, const smt_chat_node *node, smt_chat_kind kind, smt_chat_value *out) {
    SMT_TRY(smt_chat_dict_make(run, kind, out));
    for (const smt_chat_node *item = node->items; item; item = item->next) {
        smt_chat_value value;
        bool named = item->kind == SMT_CHAT_KEYWORD;
        SMT_TRY(smt_chat_eval(run, named ? item->a : item, &value));
        if (named) {
            SMT_TRY(smt_chat_dict_set(run, node->line, out, item->text, value));
        } else {
            if (value.kind != SMT_CHAT_DICT)
                return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%s as the entries of a mapping", smt_chat_kind_name(&value));
            for (size_t i = 0; i < value.dict->count; i++)
                SMT_TRY(smt_chat_dict_set(run, node->line, out, value.dict->entries[i].key, value.dict->entries[i].value));
        }
    }
    return SMT_OK;
}

/* The template's own refusal of the messages it was given. */
static smt_status raise(smt_chat_run *run, const smt_chat_node *node) {
    smt_chat_args args;
    smt_chat_text text;
    SMT_TRY(smt_chat_args_read(run, node, "message", &args));
    SMT_TRY(smt_chat_to_text(run, &args.values[0], &text));
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%.*s", (int)smt_min_u64(text.bytes, 300), text.text);
}

smt_status smt_chat_function(smt_chat_run *run, const smt_chat_node *node, uint32_t function, smt_chat_value *out) {
    switch (function) {
    case RAISE_EXCEPTION:
        return raise(run, node);
    case RANGE:
        return make_range(run, node, out);
    default:
        return make_mapping(run, node, function == NAMESPACE ? SMT_CHAT_NAMESPACE : SMT_CHAT_DICT, out);
    }
}
