/* grammar_parse.c: GBNF, the grammar language that llama.cpp's users know, to a syntax tree.
 *
 *   rule      name "::=" choice end of line            a name: letters, digits, "-" and "_"
 *   choice    sequence ("|" sequence)*                 "|" may also begin the next line
 *   sequence  (item repetition?)*                      an empty one matches the empty text
 *   item      "text" | [class] | [^class] | . | name | ( choice )
 *   repetition  * + ? {m} {m,} {m,n}
 *
 * # begins a comment. Inside parentheses lines may break anywhere. Texts and classes know \n \r \t \\ \" \[ \] \xHH \uHHHH and
 * \UHHHHHHHH, each of which is one character. All memory is the arena of the result. */
#include "grammar_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>

typedef struct parser {
    smt_syntax *syntax;
    const char *text;
    size_t bytes, at;
    uint32_t depth; /* of parentheses */
    smt_error *err;
} parser;

/* ---- messages ---- */

smt_syntax_place smt_syntax_where(const smt_syntax *syntax, size_t at) {
    uint32_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < syntax->bytes; i++) {
        uint8_t byte = (uint8_t)syntax->text[i];
        if (byte == '\n') {
            line++;
            column = 1;
        } else if ((byte & 0xc0) != 0x80) {
            column++;
        }
    }
    smt_syntax_place place;
    snprintf(place.text, sizeof place.text, "grammar, line %u, column %u", line, column);
    return place;
}

#define FAIL_AT(p, offset, code, format, ...) \
    SMT_FAIL((p)->err, code, "%s: " format, smt_syntax_where((p)->syntax, (offset)).text, __VA_ARGS__)
#define SYNTAX(p, offset, text) FAIL_AT(p, offset, SMT_FORMAT, "%s", text)

static smt_status no_memory(parser *p) {
    return SMT_FAIL(p->err, SMT_MEMORY, "out of memory reading a grammar of %zu bytes", p->bytes);
}

/* ---- characters ---- */

static int peek(const parser *p) { return p->at < p->bytes ? (uint8_t)p->text[p->at] : -1; }

static bool is_name(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static void skip_space(parser *p, bool lines) {
    for (int c; (c = peek(p)) == ' ' || c == '\t' || c == '#' || (lines && (c == '\n' || c == '\r')); p->at++)
        if (c == '#')
            while (p->at + 1 < p->bytes && p->text[p->at + 1] != '\n' && p->text[p->at + 1] != '\r') p->at++;
}

static int hex_digit(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static smt_status read_hex(parser *p, size_t start, int digits, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int digit = hex_digit(peek(p));
        if (digit < 0) return FAIL_AT(p, start, SMT_FORMAT, "the escape needs %d hexadecimal digits", digits);
        *out = *out << 4 | (uint32_t)digit;
    }
    if (*out > 0x10ffff || (*out >= 0xd800 && *out <= 0xdfff))
        return FAIL_AT(p, start, SMT_FORMAT, "U+%04X is no Unicode character", *out);
    return SMT_OK;
}

static smt_status read_escape(parser *p, uint32_t *out) {
    static const char plain[] = "n\nr\rt\t\\\\\"\"[[]]";
    size_t start = p->at - 1;
    int c = peek(p);
    p->at++;
    if (c == 'x') return read_hex(p, start, 2, out);
    if (c == 'u') return read_hex(p, start, 4, out);
    if (c == 'U') return read_hex(p, start, 8, out);
    for (size_t i = 0; i + 1 < sizeof plain; i += 2)
        if (plain[i] == c) {
            *out = (uint32_t)plain[i + 1];
            return SMT_OK;
        }
    return SYNTAX(p, start, "an unknown escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH");
}

/* One character of a text or class, which may not end here. */
static smt_status read_character(parser *p, uint32_t *out) {
    if (peek(p) == '\\') {
        p->at++;
        return read_escape(p, out);
    }
    utf8proc_int32_t character;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)p->text + p->at, (utf8proc_ssize_t)(p->bytes - p->at), &character);
    if (length <= 0) return SYNTAX(p, p->at, "a byte that is not UTF-8");
    p->at += (size_t)length;
    *out = (uint32_t)character;
    return SMT_OK;
}

/* ---- rules by name ---- */

static size_t slot_of(const smt_syntax *syntax, const char *name, size_t bytes) {
    size_t mask = syntax->n_slots - 1, at = XXH3_64bits(name, bytes) & mask;
    for (uint32_t rule; (rule = syntax->slots[at]) != 0; at = (at + 1) & mask)
        if (syntax->rules[rule - 1].name_bytes == bytes && !memcmp(syntax->rules[rule - 1].name, name, bytes)) break;
    return at;
}

static smt_status grow_slots(parser *p) {
    smt_syntax *syntax = p->syntax;
    if (syntax->n_slots > 2 * syntax->n_rules) return SMT_OK;
    size_t n = syntax->n_slots ? syntax->n_slots * 2 : 64;
    uint32_t *slots = smt_alloc(n, sizeof *slots);
    if (!slots) return no_memory(p);
    smt_free(syntax->slots);
    syntax->slots = slots;
    syntax->n_slots = n;
    for (size_t i = 0; i < syntax->n_rules; i++)
        slots[slot_of(syntax, syntax->rules[i].name, syntax->rules[i].name_bytes)] = (uint32_t)i + 1;
    return SMT_OK;
}

/* Reads a name; its rule is made where nobody has spoken of it yet. */
static smt_status read_name(parser *p, uint32_t *out_rule) {
    smt_syntax *syntax = p->syntax;
    size_t start = p->at;
    while (is_name(peek(p))) p->at++;
    if (p->at == start) return SYNTAX(p, start, "the name of a rule is expected");
    SMT_TRY(grow_slots(p));
    size_t slot = slot_of(syntax, p->text + start, p->at - start);
    if (!syntax->slots[slot]) {
        SMT_TRY(smt_grow((void **)&syntax->rules, &syntax->rule_capacity, syntax->n_rules + 1, sizeof *syntax->rules, p->err));
        syntax->rules[syntax->n_rules++] = (smt_syntax_rule){p->text + start, p->at - start, start, NULL};
        syntax->slots[slot] = (uint32_t)syntax->n_rules;
    }
    *out_rule = syntax->slots[slot] - 1;
    return SMT_OK;
}

/* ---- expressions ---- */

static smt_expr *new_expr(parser *p, smt_expr_kind kind, size_t at) {
    smt_expr *expr = smt_arena_alloc(&p->syntax->memory, 1, sizeof *expr);
    if (expr) *expr = (smt_expr){.kind = kind, .at = at, .depth = 1};
    return expr;
}

/* Growing list of items, copied into the arena when it is complete. */
typedef struct item_list {
    smt_expr **items; /* owned */
    size_t n, capacity;
} item_list;

static smt_status add_item(parser *p, item_list *list, smt_expr *expr) {
    SMT_TRY(smt_grow((void **)&list->items, &list->capacity, list->n + 1, sizeof *list->items, p->err));
    list->items[list->n++] = expr;
    return SMT_OK;
}

/* The list becomes one expression; a single item stands for itself. */
static smt_status close_list(parser *p, smt_expr_kind kind, size_t at, const item_list *list, smt_expr **out) {
    if (list->n == 1) {
        *out = list->items[0];
        return SMT_OK;
    }
    smt_expr *expr = new_expr(p, kind, at);
    if (expr) expr->items = smt_arena_alloc(&p->syntax->memory, list->n, sizeof *expr->items);
    if (!expr || !expr->items) return no_memory(p);
    expr->n = (uint32_t)list->n;
    for (size_t i = 0; i < list->n; i++) {
        expr->items[i] = list->items[i];
        expr->depth = smt_max_u32(expr->depth, list->items[i]->depth + 1);
    }
    *out = expr;
    return SMT_OK;
}

static smt_status check_depth(parser *p, const smt_expr *expr) {
    /* a list and a repetition for each pair of parentheses */
    if (expr->depth <= 3 * SMT_GRAMMAR_MAX_DEPTH) return SMT_OK;
    return FAIL_AT(p, expr->at, SMT_UNSUPPORTED, "repetitions are nested more than %d deep", SMT_GRAMMAR_MAX_DEPTH);
}

static smt_status read_text(parser *p, smt_expr **out) {
    size_t start = p->at++;
    smt_str text = {0};
    smt_status status = SMT_OK;
    while (status == SMT_OK && peek(p) != '"') {
        uint32_t character;
        utf8proc_uint8_t spelled[4];
        if (peek(p) < 0 || peek(p) == '\n')
            status = SYNTAX(p, start, "the text that begins here has no closing quote on its line");
        else
            status = read_character(p, &character);
        if (status == SMT_OK)
            status = smt_str_append(&text, spelled, (size_t)utf8proc_encode_char((utf8proc_int32_t)character, spelled), p->err);
    }
    p->at++;
    if (status == SMT_OK) {
        *out = new_expr(p, SMT_EXPR_TEXT, start);
        char *copy = smt_arena_strndup(&p->syntax->memory, text.text, text.bytes);
        if (*out && copy) {
            (*out)->text = copy;
            (*out)->n = (uint32_t)text.bytes;
        } else {
            status = no_memory(p);
        }
    }
    smt_str_free(&text);
    return status;
}

/* ---- classes ---- */

static int by_low(const void *a, const void *b) {
    uint32_t x = ((const smt_grammar_range *)a)->low, y = ((const smt_grammar_range *)b)->low;
    return (x > y) - (x < y);
}

/* Ascending and disjoint; returns how many are left. */
static size_t merge_ranges(smt_grammar_range *ranges, size_t n) {
    size_t kept = 0;
    if (n > 1) qsort(ranges, n, sizeof *ranges, by_low);
    for (size_t i = 0; i < n; i++) {
        if (kept && ranges[i].low <= ranges[kept - 1].high + 1)
            ranges[kept - 1].high = smt_max_u32(ranges[kept - 1].high, ranges[i].high);
        else
            ranges[kept++] = ranges[i];
    }
    return kept;
}

/* What lies between the ranges, or these themselves, in the arena and without surrogates. */
static smt_status put_class(parser *p, const smt_grammar_range *ranges, size_t n, bool negated, smt_expr *expr) {
    smt_grammar_range *out =
        smt_arena_alloc(&p->syntax->memory, n + 2, sizeof *out); /* a gap more than ranges; surrogates cut one */
    if (!out) return no_memory(p);
    uint32_t from = 0;
    expr->ranges = out;
    for (size_t i = 0; i < n + negated; i++) {
        smt_grammar_range r = negated ? (smt_grammar_range){from, i < n ? ranges[i].low : 0x110000} : ranges[i];
        if (negated) {
            from = i < n ? ranges[i].high + 1 : 0;
            if (r.low >= r.high) continue;
            r.high--;
        }
        if (r.low < 0xd800 && r.high >= 0xd800) out[expr->n++] = (smt_grammar_range){r.low, 0xd7ff};
        if (r.low < 0xd800 && r.high < 0xd800) out[expr->n++] = r;
        if (r.high > 0xdfff) out[expr->n++] = (smt_grammar_range){smt_max_u32(r.low, 0xe000), r.high};
    }
    return SMT_OK;
}

static smt_status read_ranges(parser *p, size_t start, smt_grammar_range **ranges, size_t *n, size_t *capacity) {
    while (peek(p) != ']') {
        if (peek(p) < 0 || peek(p) == '\n')
            return SYNTAX(p, start, "the class that begins here has no closing bracket on its line");
        size_t at = p->at;
        smt_grammar_range range;
        SMT_TRY(read_character(p, &range.low));
        range.high = range.low;
        if (peek(p) == '-' && p->at + 1 < p->bytes && p->text[p->at + 1] != ']') {
            p->at++;
            SMT_TRY(read_character(p, &range.high));
        }
        if (range.high < range.low) return SYNTAX(p, at, "a range whose end comes before its beginning");
        SMT_TRY(smt_grow((void **)ranges, capacity, *n + 1, sizeof **ranges, p->err));
        (*ranges)[(*n)++] = range;
    }
    return SMT_OK;
}

static smt_status read_class(parser *p, smt_expr **out) {
    size_t start = p->at++, n = 0, capacity = 0;
    smt_grammar_range *ranges = NULL;
    bool negated = peek(p) == '^';
    p->at += negated;
    smt_status status = read_ranges(p, start, &ranges, &n, &capacity);
    p->at++;
    if (status == SMT_OK && n == 0) status = SYNTAX(p, start, "a class without characters");
    if (status == SMT_OK) {
        *out = new_expr(p, SMT_EXPR_CLASS, start);
        status = *out ? put_class(p, ranges, merge_ranges(ranges, n), negated, *out) : no_memory(p);
    }
    smt_free(ranges);
    return status;
}

/* ---- items and repetitions ---- */

static smt_status read_choice(parser *p, bool nested, smt_expr **out);

static smt_status read_group(parser *p, smt_expr **out) {
    size_t start = p->at++;
    if (++p->depth > SMT_GRAMMAR_MAX_DEPTH)
        return FAIL_AT(p, start, SMT_UNSUPPORTED, "parentheses are nested more than %d deep", SMT_GRAMMAR_MAX_DEPTH);
    SMT_TRY(read_choice(p, true, out));
    if (peek(p) != ')') return SYNTAX(p, start, "the parenthesis that opens here is not closed");
    p->at++;
    p->depth--;
    return SMT_OK;
}

static smt_status read_item(parser *p, smt_expr **out) {
    size_t start = p->at;
    int c = peek(p);
    if (c == '"') return read_text(p, out);
    if (c == '[') return read_class(p, out);
    if (c == '(') return read_group(p, out);
    if (c == '.') {
        p->at++;
        *out = new_expr(p, SMT_EXPR_CLASS, start);
        return *out ? put_class(p, NULL, 0, true, *out) : no_memory(p);
    }
    if (c == '<' || c == '!') return FAIL_AT(p, start, SMT_UNSUPPORTED, "tokens as items (%c) are not supported", c);
    uint32_t rule;
    SMT_TRY(read_name(p, &rule));
    *out = new_expr(p, SMT_EXPR_RULE, start);
    if (!*out) return no_memory(p);
    (*out)->rule = rule;
    return SMT_OK;
}

static smt_status read_number(parser *p, uint32_t *out) {
    size_t start = p->at;
    uint64_t value = 0;
    for (int c; (c = peek(p)) >= '0' && c <= '9'; p->at++) {
        value = value * 10 + (uint64_t)(c - '0');
        if (value > SMT_GRAMMAR_MAX_NODES)
            return FAIL_AT(p, start, SMT_UNSUPPORTED, "a repetition of more than %u", SMT_GRAMMAR_MAX_NODES);
    }
    if (p->at == start) return SYNTAX(p, start, "a number is expected");
    *out = (uint32_t)value;
    return SMT_OK;
}

/* Behind the brace. */
static smt_status read_bounds(parser *p, size_t start, uint32_t *min, uint32_t *max) {
    skip_space(p, false);
    SMT_TRY(read_number(p, min));
    skip_space(p, false);
    *max = *min;
    if (peek(p) == ',') {
        p->at++;
        skip_space(p, false);
        *max = SMT_EXPR_NO_END;
        if (peek(p) != '}') SMT_TRY(read_number(p, max));
        skip_space(p, false);
    }
    if (peek(p) != '}') return SYNTAX(p, start, "the brace that opens here is not closed");
    p->at++;
    if (*max < *min) return SYNTAX(p, start, "a repetition whose most is less than its least");
    return SMT_OK;
}

static smt_status read_repetitions(parser *p, bool nested, smt_expr **item) {
    for (skip_space(p, nested);; skip_space(p, nested)) {
        size_t start = p->at;
        uint32_t min = 0, max = SMT_EXPR_NO_END;
        int c = peek(p);
        if (c != '*' && c != '+' && c != '?' && c != '{') return SMT_OK;
        p->at++;
        if (c == '+') min = 1;
        if (c == '?') max = 1;
        if (c == '{') SMT_TRY(read_bounds(p, start, &min, &max));
        smt_expr *repeat = new_expr(p, SMT_EXPR_REPEAT, start);
        if (repeat) repeat->items = smt_arena_alloc(&p->syntax->memory, 1, sizeof *repeat->items);
        if (!repeat || !repeat->items) return no_memory(p);
        repeat->items[0] = *item;
        repeat->n = 1;
        repeat->min = min;
        repeat->max = max;
        repeat->depth = (*item)->depth + 1;
        SMT_TRY(check_depth(p, repeat));
        *item = repeat;
    }
}

static bool ends_sequence(int c) { return c < 0 || c == '|' || c == ')' || c == '\n' || c == '\r'; }

static smt_status read_items(parser *p, bool nested, item_list *list) {
    for (skip_space(p, nested); !ends_sequence(peek(p)); skip_space(p, nested)) {
        smt_expr *item;
        SMT_TRY(read_item(p, &item));
        SMT_TRY(read_repetitions(p, nested, &item));
        SMT_TRY(add_item(p, list, item));
    }
    return SMT_OK;
}

static smt_status read_sequence(parser *p, bool nested, smt_expr **out) {
    size_t start = p->at;
    item_list list = {0};
    smt_status status = read_items(p, nested, &list);
    if (status == SMT_OK) status = close_list(p, SMT_EXPR_SEQUENCE, start, &list, out);
    smt_free(list.items);
    return status;
}

/* Whether another alternative follows, if need be on the next line; then stands behind its bar, where lines may break. */
static bool take_bar(parser *p) {
    size_t start = p->at;
    skip_space(p, true);
    if (peek(p) == '|') {
        p->at++;
        skip_space(p, true);
        return true;
    }
    p->at = start;
    return false;
}

static smt_status read_choice(parser *p, bool nested, smt_expr **out) {
    size_t start = p->at;
    item_list list = {0};
    smt_status status;
    do {
        smt_expr *sequence = NULL;
        status = read_sequence(p, nested, &sequence);
        if (status == SMT_OK) status = add_item(p, &list, sequence);
    } while (status == SMT_OK && take_bar(p));
    if (status == SMT_OK) status = close_list(p, SMT_EXPR_CHOICE, start, &list, out);
    smt_free(list.items);
    return status;
}

/* ---- rules ---- */

static smt_status read_rule(parser *p) {
    size_t start = p->at;
    uint32_t rule;
    smt_expr *expr = NULL;
    SMT_TRY(read_name(p, &rule));
    skip_space(p, false);
    if (p->bytes - p->at < 3 || memcmp(p->text + p->at, "::=", 3)) return SYNTAX(p, p->at, "\"::=\" is expected");
    p->at += 3;
    skip_space(p, true);
    SMT_TRY(read_choice(p, false, &expr));
    if (peek(p) == ')') return SYNTAX(p, p->at, "a parenthesis that was not opened");
    smt_syntax_rule *made = &p->syntax->rules[rule];
    if (made->expr)
        return FAIL_AT(p, start, SMT_FORMAT, "the rule \"%.*s\" is defined twice", (int)smt_min_u64(made->name_bytes, 60),
                       made->name);
    made->expr = expr;
    return SMT_OK;
}

static smt_status check_rules(parser *p) {
    smt_syntax *syntax = p->syntax;
    for (size_t i = 0; i < syntax->n_rules; i++)
        if (!syntax->rules[i].expr)
            return FAIL_AT(p, syntax->rules[i].at, SMT_FORMAT, "the rule \"%.*s\" is not defined",
                           (int)smt_min_u64(syntax->rules[i].name_bytes, 60), syntax->rules[i].name);
    uint32_t root = syntax->n_slots ? syntax->slots[slot_of(syntax, "root", 4)] : 0;
    if (!root) return SMT_FAIL(p->err, SMT_FORMAT, "grammar: none of its %zu rules is called \"root\"", syntax->n_rules);
    syntax->root = root - 1;
    return SMT_OK;
}

smt_status smt_syntax_parse(const char *text, size_t bytes, smt_syntax *out, smt_error *err) {
    *out = (smt_syntax){.text = text, .bytes = bytes};
    parser p = {.syntax = out, .text = text, .bytes = bytes, .err = err};
    if (bytes > SMT_GRAMMAR_MAX_TEXT)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "a grammar of %zu bytes; at most %zu are taken", bytes, SMT_GRAMMAR_MAX_TEXT);
    for (skip_space(&p, true); peek(&p) >= 0; skip_space(&p, true)) SMT_TRY(read_rule(&p));
    return check_rules(&p);
}

void smt_syntax_free(smt_syntax *syntax) {
    smt_arena_free(&syntax->memory);
    smt_free(syntax->rules);
    smt_free(syntax->slots);
    *syntax = (smt_syntax){0};
}
