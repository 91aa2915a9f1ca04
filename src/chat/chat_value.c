/* chat_value.c: what values are and how they compare, as the language of the templates has it: strings are sequences of
 * characters, dictionaries keep their order, the kinds compare by value, and numbers compare across whole and real. */
#include "chat_internal.h"

#include <string.h>

/* ---- bounds ---- */

smt_status smt_chat_spend(smt_chat_run *run, uint64_t work, uint32_t line) {
    run->work += work;
    if (run->work <= run->max_work) return SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, line, "the template works without end: more than %llu steps",
                         (unsigned long long)run->max_work);
}

smt_status smt_chat_descend(smt_chat_run *run, uint32_t line) {
    if (++run->depth <= SMT_CHAT_MAX_STACK) return SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, line, "more than %d expressions and blocks inside of one another",
                         SMT_CHAT_MAX_STACK);
}

smt_status smt_chat_alloc(smt_chat_run *run, size_t n, size_t size, void **out) {
    uint64_t bytes;
    *out = NULL;
    if (!smt_mul_u64(n, size, &bytes) || bytes > run->max_memory - run->memory)
        return SMT_FAIL(run->err, SMT_UNSUPPORTED, "chat template: its values take more than %llu bytes",
                        (unsigned long long)run->max_memory);
    run->memory += bytes;
    run->work += bytes / 16;
    *out = smt_arena_alloc(&run->arena, n, size);
    if (!*out) return SMT_FAIL(run->err, SMT_MEMORY, "out of memory rendering a chat template (%zu x %zu bytes)", n, size);
    return SMT_OK;
}

/* ---- strings ---- */

bool smt_chat_equal(smt_chat_text a, smt_chat_text b) {
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.text, b.text, a.bytes) == 0);
}

bool smt_chat_is(smt_chat_text text, const char *literal) {
    return text.bytes == strlen(literal) && memcmp(text.text, literal, text.bytes) == 0;
}

/* Twice the room: what was there stays behind in the arena. */
static smt_status grow(smt_chat_run *run, smt_chat_builder *builder, size_t need, bool marks) {
    size_t capacity = builder->capacity;
    bool adds_marks = marks && !builder->given;
    if (need <= capacity && !adds_marks) return SMT_OK;
    if (need > capacity) {
        capacity = capacity * 2 > need ? capacity * 2 : need + 64;
        void *text;
        SMT_TRY(smt_chat_alloc(run, capacity, 1, &text));
        if (builder->bytes) memcpy(text, builder->text, builder->bytes);
        builder->text = text;
    }
    if (builder->given || adds_marks) {
        void *given; /* zeroed: the template's */
        SMT_TRY(smt_chat_alloc(run, capacity, 1, &given));
        if (builder->given) memcpy(given, builder->given, builder->bytes);
        builder->given = given;
    }
    builder->capacity = capacity;
    return SMT_OK;
}

smt_status smt_chat_append(smt_chat_run *run, smt_chat_builder *builder, smt_chat_text text) {
    if (text.bytes == 0) return SMT_OK;
    run->work += text.bytes / 16;
    SMT_TRY(grow(run, builder, builder->bytes + text.bytes, text.given != NULL));
    memcpy(builder->text + builder->bytes, text.text, text.bytes);
    if (text.given)
        memcpy(builder->given + builder->bytes, text.given, text.bytes);
    else if (builder->given)
        memset(builder->given + builder->bytes, 0, text.bytes);
    builder->bytes += text.bytes;
    return SMT_OK;
}

smt_status smt_chat_copy_given(smt_chat_run *run, const char *text, size_t bytes, smt_chat_text *out) {
    void *copy, *given;
    SMT_TRY(smt_chat_alloc(run, bytes, 1, &copy));
    SMT_TRY(smt_chat_alloc(run, bytes, 1, &given));
    if (bytes) memcpy(copy, text, bytes);
    memset(given, 1, bytes);
    *out = (smt_chat_text){copy, given, bytes};
    return SMT_OK;
}

/* Strings need not be UTF-8: whatever begins a character ends the one before. */
size_t smt_chat_char(smt_chat_text text, size_t at) {
    size_t end = at + 1;
    while (end < text.bytes && end < at + 4 && ((uint8_t)text.text[end] & 0xc0) == 0x80) end++;
    return end - at;
}

size_t smt_chat_count(smt_chat_text text) {
    size_t count = 0;
    for (size_t at = 0; at < text.bytes; at += smt_chat_char(text, at)) count++;
    return count;
}

size_t smt_chat_search(smt_chat_text text, smt_chat_text what, size_t from) {
    if (what.bytes == 0) return from <= text.bytes ? from : SIZE_MAX;
    if (from >= text.bytes || text.bytes - from < what.bytes) return SIZE_MAX;
    const char *found = smt_mem_find(text.text + from, text.bytes - from, what.text, what.bytes);
    return found ? (size_t)(found - text.text) : SIZE_MAX;
}

/* ---- making values ---- */

smt_chat_value smt_chat_bool(bool truth) { return (smt_chat_value){.kind = SMT_CHAT_BOOL, .truth = truth}; }
smt_chat_value smt_chat_int(int64_t integer) { return (smt_chat_value){.kind = SMT_CHAT_INT, .integer = integer}; }
smt_chat_value smt_chat_string(smt_chat_text text) { return (smt_chat_value){.kind = SMT_CHAT_STRING, .text = text}; }
smt_chat_value smt_chat_undefined(smt_chat_text name) { return (smt_chat_value){.kind = SMT_CHAT_UNDEFINED, .text = name}; }

smt_status smt_chat_list_make(smt_chat_run *run, size_t count, smt_chat_value *out, smt_chat_value **out_items) {
    void *list, *items;
    SMT_TRY(smt_chat_alloc(run, 1, sizeof(smt_chat_list), &list));
    SMT_TRY(smt_chat_alloc(run, count, sizeof **out_items, &items));
    *(smt_chat_list *)list = (smt_chat_list){.depth = 1, .count = count, .items = items};
    *out = (smt_chat_value){.kind = SMT_CHAT_LIST, .list = list};
    *out_items = items;
    return SMT_OK;
}

/* The depth of a container that holds this value, or an error where none may. */
static smt_status depth_around(smt_chat_run *run, uint32_t line, const smt_chat_value *value, uint32_t *inout) {
    uint32_t depth = 1;
    if (value->kind == SMT_CHAT_LIST) depth = value->list->depth + 1;
    if (value->kind == SMT_CHAT_DICT) depth = value->dict->depth + 1;
    if (value->kind > SMT_CHAT_DICT)
        return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, line, "%s inside of another value", smt_chat_kind_name(value));
    if (depth > SMT_CHAT_MAX_DEPTH)
        return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, line, "values nested more than %d deep", SMT_CHAT_MAX_DEPTH);
    *inout = smt_max_u32(*inout, depth);
    return SMT_OK;
}

smt_status smt_chat_list_close(smt_chat_run *run, uint32_t line, const smt_chat_value *list) {
    smt_chat_list *own = (smt_chat_list *)list->list;
    for (size_t i = 0; i < own->count; i++) SMT_TRY(depth_around(run, line, &own->items[i], &own->depth));
    return SMT_OK;
}

smt_status smt_chat_dict_make(smt_chat_run *run, smt_chat_kind kind, smt_chat_value *out) {
    void *dict;
    SMT_TRY(smt_chat_alloc(run, 1, sizeof *out->dict, &dict));
    *out = (smt_chat_value){.kind = kind, .dict = dict};
    out->dict->depth = 1;
    return SMT_OK;
}

static smt_chat_entry *find_entry(const smt_chat_dict *dict, smt_chat_text key) {
    for (size_t i = 0; i < dict->count; i++)
        if (smt_chat_equal(dict->entries[i].key, key)) return &dict->entries[i];
    return NULL;
}

const smt_chat_value *smt_chat_dict_find(const smt_chat_dict *dict, smt_chat_text key) {
    const smt_chat_entry *entry = find_entry(dict, key);
    return entry ? &entry->value : NULL;
}

smt_status smt_chat_dict_set(smt_chat_run *run, uint32_t line, const smt_chat_value *value, smt_chat_text key,
                             smt_chat_value item) {
    smt_chat_dict *dict = value->dict;
    SMT_TRY(depth_around(run, line, &item, &dict->depth));
    SMT_TRY(smt_chat_spend(run, 1 + dict->count / 4, line));
    smt_chat_entry *entry = find_entry(dict, key);
    if (!entry) {
        if (dict->count == dict->capacity) {
            void *entries;
            size_t capacity = dict->capacity ? dict->capacity * 2 : 8;
            SMT_TRY(smt_chat_alloc(run, capacity, sizeof *dict->entries, &entries));
            if (dict->count) memcpy(entries, dict->entries, dict->count * sizeof *dict->entries);
            dict->entries = entries;
            dict->capacity = capacity;
        }
        entry = &dict->entries[dict->count++];
        entry->key = key;
    }
    entry->value = item;
    return SMT_OK;
}

/* ---- questions ---- */

const char *smt_chat_kind_name(const smt_chat_value *value) {
    static const char *const names[] = {
        [SMT_CHAT_UNDEFINED] = "an undefined value",
        [SMT_CHAT_NONE] = "none",
        [SMT_CHAT_BOOL] = "a truth value",
        [SMT_CHAT_INT] = "a whole number",
        [SMT_CHAT_REAL] = "a number",
        [SMT_CHAT_STRING] = "a string",
        [SMT_CHAT_LIST] = "a list",
        [SMT_CHAT_DICT] = "a dictionary",
        [SMT_CHAT_NAMESPACE] = "a namespace",
        [SMT_CHAT_LOOP] = "a loop",
        [SMT_CHAT_MACRO] = "a macro",
        [SMT_CHAT_FUNCTION] = "a function",
    };
    return names[value->kind];
}

bool smt_chat_is_mapping(const smt_chat_value *value) {
    return value->kind == SMT_CHAT_DICT || value->kind == SMT_CHAT_NAMESPACE;
}

bool smt_chat_truth(const smt_chat_value *value) {
    switch (value->kind) {
    case SMT_CHAT_UNDEFINED:
    case SMT_CHAT_NONE:
        return false;
    case SMT_CHAT_BOOL:
        return value->truth;
    case SMT_CHAT_INT:
        return value->integer != 0;
    case SMT_CHAT_REAL:
        return value->real != 0;
    case SMT_CHAT_STRING:
        return value->text.bytes != 0;
    case SMT_CHAT_LIST:
        return value->list->count != 0;
    case SMT_CHAT_DICT:
        return value->dict->count != 0;
    default:
        return true;
    }
}

static bool is_number(const smt_chat_value *value) {
    return value->kind == SMT_CHAT_BOOL || value->kind == SMT_CHAT_INT || value->kind == SMT_CHAT_REAL;
}

static int64_t whole(const smt_chat_value *value) { return value->kind == SMT_CHAT_BOOL ? value->truth : value->integer; }

static double real(const smt_chat_value *value) { return value->kind == SMT_CHAT_REAL ? value->real : (double)whole(value); }

static smt_status same_lists(smt_chat_run *run, const smt_chat_list *a, const smt_chat_list *b, bool *out) {
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) SMT_TRY(smt_chat_same(run, &a->items[i], &b->items[i], out));
    return SMT_OK;
}

static smt_status same_dicts(smt_chat_run *run, const smt_chat_dict *a, const smt_chat_dict *b, bool *out) {
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        SMT_TRY(smt_chat_spend(run, 1 + b->count / 4, 0));
        const smt_chat_value *other = smt_chat_dict_find(b, a->entries[i].key);
        *out = other != NULL;
        if (other) SMT_TRY(smt_chat_same(run, &a->entries[i].value, other, out));
    }
    return SMT_OK;
}

smt_status smt_chat_same(smt_chat_run *run, const smt_chat_value *a, const smt_chat_value *b, bool *out) {
    SMT_TRY(smt_chat_spend(run, 1, 0));
    if (is_number(a) && is_number(b)) {
        bool reals = a->kind == SMT_CHAT_REAL || b->kind == SMT_CHAT_REAL;
        *out = reals ? real(a) == real(b) : whole(a) == whole(b);
        return SMT_OK;
    }
    *out = a->kind == b->kind;
    if (!*out) return SMT_OK;
    switch (a->kind) {
    case SMT_CHAT_STRING:
        *out = smt_chat_equal(a->text, b->text);
        return smt_chat_spend(run, a->text.bytes / 16, 0);
    case SMT_CHAT_LIST:
        return same_lists(run, a->list, b->list, out);
    case SMT_CHAT_DICT:
        return same_dicts(run, a->dict, b->dict, out);
    case SMT_CHAT_NAMESPACE:
        *out = a->dict == b->dict;
        return SMT_OK;
    case SMT_CHAT_LOOP:
        *out = a->loop == b->loop;
        return SMT_OK;
    case SMT_CHAT_MACRO:
        *out = a->macro == b->macro;
        return SMT_OK;
    case SMT_CHAT_FUNCTION:
        *out = a->function == b->function;
        return SMT_OK;
    default: /* undefined, none */
        return SMT_OK;
    }
}

smt_status smt_chat_order(smt_chat_run *run, uint32_t line, const smt_chat_value *a, const smt_chat_value *b, int *out) {
    if (is_number(a) && is_number(b)) {
        if (a->kind == SMT_CHAT_REAL || b->kind == SMT_CHAT_REAL)
            *out = (real(a) > real(b)) - (real(a) < real(b));
        else
            *out = (whole(a) > whole(b)) - (whole(a) < whole(b));
        return SMT_OK;
    }
    if (a->kind == SMT_CHAT_STRING && b->kind == SMT_CHAT_STRING) {
        size_t common = smt_min_u64(a->text.bytes, b->text.bytes);
        *out = common ? memcmp(a->text.text, b->text.text, common) : 0; /* the order of UTF-8 is that of code points */
        if (*out == 0) *out = (a->text.bytes > b->text.bytes) - (a->text.bytes < b->text.bytes);
        return smt_chat_spend(run, common / 16, line);
    }
    return SMT_CHAT_FAIL(run, SMT_INVALID, line, "%s and %s have no order", smt_chat_kind_name(a), smt_chat_kind_name(b));
}

smt_status smt_chat_contains(smt_chat_run *run, uint32_t line, const smt_chat_value *in, const smt_chat_value *what, bool *out) {
    *out = false;
    if (in->kind == SMT_CHAT_STRING && what->kind == SMT_CHAT_STRING) {
        *out = smt_chat_search(in->text, what->text, 0) != SIZE_MAX;
        return smt_chat_spend(run, in->text.bytes / 16, line);
    }
    if (smt_chat_is_mapping(in)) {
        *out = what->kind == SMT_CHAT_STRING && smt_chat_dict_find(in->dict, what->text);
        return smt_chat_spend(run, 1 + in->dict->count / 4, line);
    }
    if (in->kind == SMT_CHAT_UNDEFINED) return SMT_OK; /* holds nothing */
    if (in->kind != SMT_CHAT_LIST)
        return SMT_CHAT_FAIL(run, SMT_INVALID, line, "\"in\" asks whether %s holds %s", smt_chat_kind_name(in),
                             smt_chat_kind_name(what));
    for (size_t i = 0; i < in->list->count && !*out; i++) SMT_TRY(smt_chat_same(run, &in->list->items[i], what, out));
    return SMT_OK;
}

static smt_status characters(smt_chat_run *run, smt_chat_text text, const smt_chat_value **out_items, size_t *out_count) {
    void *items;
    size_t n = 0;
    *out_count = smt_chat_count(text);
    SMT_TRY(smt_chat_alloc(run, *out_count, sizeof **out_items, &items));
    for (size_t at = 0, step; at < text.bytes; at += step) {
        step = smt_chat_char(text, at);
        ((smt_chat_value *)items)[n++] = smt_chat_string(smt_chat_slice(text, at, at + step));
    }
    *out_items = items;
    return SMT_OK;
}

smt_status smt_chat_items(smt_chat_run *run, uint32_t line, const smt_chat_value *value, const smt_chat_value **out_items,
                          size_t *out_count) {
    *out_items = NULL;
    *out_count = 0;
    switch (value->kind) {
    case SMT_CHAT_UNDEFINED:
        return SMT_OK;
    case SMT_CHAT_LIST:
        *out_items = value->list->items;
        *out_count = value->list->count;
        return SMT_OK;
    case SMT_CHAT_STRING:
        return characters(run, value->text, out_items, out_count);
    case SMT_CHAT_DICT: {
        void *keys;
        SMT_TRY(smt_chat_alloc(run, value->dict->count, sizeof **out_items, &keys));
        for (size_t i = 0; i < value->dict->count; i++)
            ((smt_chat_value *)keys)[i] = smt_chat_string(value->dict->entries[i].key);
        *out_items = keys;
        *out_count = value->dict->count;
        return SMT_OK;
    }
    default:
        return SMT_CHAT_FAIL(run, SMT_INVALID, line, "%s cannot be gone through", smt_chat_kind_name(value));
    }
}
