/* chat_expr.c: expressions: tokens to nodes, by recursive descent over the levels of precedence.
 *
 *   choice  a if b else c        or, and, not        compare  == != < <= > >= in, chained
 *   sum     + -                  concat  ~           product  * / // %
 *   unary   - +                  primary, then . [] (), then | filters and `is` tests
 *
 * Names of filters, tests and methods are looked up here, so that a template with one we do not have is refused when it is read.
 * Nodes know their depth: long chains of operators make deep trees even where the descent itself stays flat. */
#include "chat_internal.h"

#include <stdio.h>
#include <string.h>

smt_status smt_chat_fail(smt_error *err, smt_status code, uint32_t line, const char *file, int at, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    smt_base_fail(err, code, file, at, "chat template, line %u: %s", line, text);
    return code;
}

/* ---- tokens ---- */

const smt_chat_token *smt_chat_peek(const smt_chat_parser *parser) { return &parser->tokens[parser->at]; }

bool smt_chat_at_sign(const smt_chat_parser *parser, const char *sign) {
    return smt_chat_peek(parser)->kind == SMT_CHAT_TOKEN_SIGN && smt_chat_is(smt_chat_peek(parser)->text, sign);
}

bool smt_chat_at_word(const smt_chat_parser *parser, const char *word) {
    return smt_chat_peek(parser)->kind == SMT_CHAT_TOKEN_NAME && smt_chat_is(smt_chat_peek(parser)->text, word);
}

bool smt_chat_take_sign(smt_chat_parser *parser, const char *sign) {
    bool taken = smt_chat_at_sign(parser, sign);
    parser->at += taken;
    return taken;
}

bool smt_chat_take_word(smt_chat_parser *parser, const char *word) {
    bool taken = smt_chat_at_word(parser, word);
    parser->at += taken;
    return taken;
}

static smt_status unexpected(smt_chat_parser *parser, const char *wanted) {
    const smt_chat_token *token = smt_chat_peek(parser);
    if (token->kind == SMT_CHAT_TOKEN_CLOSE || token->kind == SMT_CHAT_TOKEN_END)
        return SMT_CHAT_FAIL(parser, SMT_FORMAT, token->line, "%s is missing before the end of the braces", wanted);
    return SMT_CHAT_FAIL(parser, SMT_FORMAT, token->line, "\"%.*s\" where %s is wanted", SMT_CHAT_ARG(token->text), wanted);
}

smt_status smt_chat_want_sign(smt_chat_parser *parser, const char *sign) {
    return smt_chat_take_sign(parser, sign) ? SMT_OK : unexpected(parser, sign);
}

smt_status smt_chat_want_name(smt_chat_parser *parser, const char *what, smt_chat_text *out) {
    if (smt_chat_peek(parser)->kind != SMT_CHAT_TOKEN_NAME) return unexpected(parser, what);
    *out = parser->tokens[parser->at++].text;
    return SMT_OK;
}

/* ---- nodes ---- */

smt_status smt_chat_node_make(smt_chat_parser *parser, smt_chat_node_kind kind, smt_chat_node **out) {
    *out = smt_arena_alloc(parser->arena, 1, sizeof **out);
    if (!*out) return SMT_FAIL(parser->err, SMT_MEMORY, "out of memory reading a chat template");
    (*out)->kind = kind;
    (*out)->line = smt_chat_peek(parser)->line;
    return SMT_OK;
}

static uint32_t depth_of(const smt_chat_node *list) {
    uint32_t depth = 0;
    for (; list; list = list->next) depth = smt_max_u32(depth, list->depth);
    return depth;
}

smt_status smt_chat_node_close(smt_chat_parser *parser, smt_chat_node *node) {
    const smt_chat_node *const single[] = {node->a, node->b, node->c};
    uint32_t depth = smt_max_u32(depth_of(node->items), smt_max_u32(depth_of(node->body), depth_of(node->otherwise)));
    for (size_t i = 0; i < SMT_COUNT(single); i++)
        if (single[i]) depth = smt_max_u32(depth, single[i]->depth);
    node->depth = depth + 1;
    if (node->depth <= SMT_CHAT_MAX_DEPTH) return SMT_OK;
    return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "more than %d levels of nesting", SMT_CHAT_MAX_DEPTH);
}

static smt_status make_literal(smt_chat_parser *parser, smt_chat_value value, smt_chat_node **out) {
    SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_LITERAL, out));
    (*out)->value = value;
    return smt_chat_node_close(parser, *out);
}

/* ---- primaries ---- */

static smt_status parse_list(smt_chat_parser *parser, const char *close, smt_chat_node *list) {
    smt_chat_node **last = &list->items;
    while (!smt_chat_take_sign(parser, close)) {
        if (list->items) SMT_TRY(smt_chat_want_sign(parser, ","));
        if (list->items && smt_chat_take_sign(parser, close)) break;
        SMT_TRY(smt_chat_parse_expr(parser, true, last));
        last = &(*last)->next;
    }
    return smt_chat_node_close(parser, list);
}

static smt_status parse_dict(smt_chat_parser *parser, smt_chat_node *dict) {
    smt_chat_node **last = &dict->items;
    while (!smt_chat_take_sign(parser, "}")) {
        if (dict->items) SMT_TRY(smt_chat_want_sign(parser, ","));
        if (dict->items && smt_chat_take_sign(parser, "}")) break;
        smt_chat_node *pair;
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_PAIR, &pair));
        SMT_TRY(smt_chat_parse_expr(parser, true, &pair->a));
        SMT_TRY(smt_chat_want_sign(parser, ":"));
        SMT_TRY(smt_chat_parse_expr(parser, true, &pair->b));
        SMT_TRY(smt_chat_node_close(parser, pair));
        *last = pair;
        last = &pair->next;
    }
    return smt_chat_node_close(parser, dict);
}

static bool constant(smt_chat_text name, smt_chat_value *out) {
    bool truth = smt_chat_is(name, "true") || smt_chat_is(name, "True");
    *out = (smt_chat_value){.kind = SMT_CHAT_BOOL, .truth = truth};
    if (truth || smt_chat_is(name, "false") || smt_chat_is(name, "False")) return true;
    *out = (smt_chat_value){.kind = SMT_CHAT_NONE};
    return smt_chat_is(name, "none") || smt_chat_is(name, "None");
}

static smt_status parse_name(smt_chat_parser *parser, smt_chat_node **out) {
    smt_chat_text name = smt_chat_peek(parser)->text;
    smt_chat_value value;
    if (constant(name, &value)) {
        SMT_TRY(make_literal(parser, value, out));
    } else {
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_NAME, out));
        (*out)->text = name;
        SMT_TRY(smt_chat_node_close(parser, *out));
    }
    parser->at++;
    return SMT_OK;
}

/* Neighbouring strings are one string. */
static smt_status parse_strings(smt_chat_parser *parser, smt_chat_node **out) {
    const smt_chat_token *first = smt_chat_peek(parser);
    SMT_TRY(make_literal(parser, smt_chat_string(first->text), out));
    size_t bytes = 0, n = 0, used = 0;
    for (; first[n].kind == SMT_CHAT_TOKEN_STRING; n++) bytes += first[n].text.bytes;
    parser->at += n;
    if (n == 1) return SMT_OK;
    char *joined = smt_arena_alloc(parser->arena, bytes, 1);
    if (!joined) return SMT_FAIL(parser->err, SMT_MEMORY, "out of memory reading a chat template");
    for (size_t i = 0; i < n; used += first[i++].text.bytes) memcpy(joined + used, first[i].text.text, first[i].text.bytes);
    (*out)->value.text = (smt_chat_text){joined, NULL, bytes};
    return SMT_OK;
}

static smt_status parse_primary(smt_chat_parser *parser, smt_chat_node **out) {
    const smt_chat_token *token = smt_chat_peek(parser);
    smt_chat_value number = {.kind = SMT_CHAT_INT, .integer = token->integer};
    switch (token->kind) {
    case SMT_CHAT_TOKEN_NAME:
        return parse_name(parser, out);
    case SMT_CHAT_TOKEN_STRING:
        return parse_strings(parser, out);
    case SMT_CHAT_TOKEN_REAL:
        number = (smt_chat_value){.kind = SMT_CHAT_REAL, .real = token->real};
        /* fall through */
    case SMT_CHAT_TOKEN_INT:
        SMT_TRY(make_literal(parser, number, out));
        parser->at++;
        return SMT_OK;
    default:
        break;
    }
    if (smt_chat_take_sign(parser, "(")) {
        if (smt_chat_at_sign(parser, ")"))
            SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_MAKE_LIST, out));
        else
            SMT_TRY(smt_chat_parse_tuple(parser, out));
        return smt_chat_want_sign(parser, ")");
    }
    bool is_list = smt_chat_at_sign(parser, "[");
    if (!is_list && !smt_chat_at_sign(parser, "{")) return unexpected(parser, "an expression");
    SMT_TRY(smt_chat_node_make(parser, is_list ? SMT_CHAT_MAKE_LIST : SMT_CHAT_MAKE_DICT, out));
    parser->at++;
    return is_list ? parse_list(parser, "]", *out) : parse_dict(parser, *out);
}

/* ---- what follows a primary ---- */

/* "(a, name=b)" into items of the node; the node is closed. */
static smt_status parse_arguments(smt_chat_parser *parser, smt_chat_node *node) {
    smt_chat_node **last = &node->items;
    SMT_TRY(smt_chat_want_sign(parser, "("));
    while (!smt_chat_take_sign(parser, ")")) {
        if (node->items) SMT_TRY(smt_chat_want_sign(parser, ","));
        if (node->items && smt_chat_take_sign(parser, ")")) break;
        if (smt_chat_at_sign(parser, "*") || smt_chat_at_sign(parser, "**"))
            return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, smt_chat_peek(parser)->line,
                                 "arguments unpacked by * are not supported");
        const smt_chat_token *token = smt_chat_peek(parser);
        bool named =
            token->kind == SMT_CHAT_TOKEN_NAME && token[1].kind == SMT_CHAT_TOKEN_SIGN && smt_chat_is(token[1].text, "=");
        smt_chat_node *keyword = NULL;
        if (named) {
            SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_KEYWORD, &keyword));
            keyword->text = token->text;
            parser->at += 2;
        }
        SMT_TRY(smt_chat_parse_expr(parser, true, named ? &keyword->a : last));
        if (named) {
            SMT_TRY(smt_chat_node_close(parser, keyword));
            *last = keyword;
        }
        last = &(*last)->next;
    }
    return smt_chat_node_close(parser, node);
}

static smt_status find_code(smt_chat_parser *parser, const char *what, int (*code_of)(smt_chat_text), smt_chat_node *node) {
    int code = code_of(node->text);
    if (code < 0)
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "the %s \"%.*s\" is not supported", what,
                             SMT_CHAT_ARG(node->text));
    node->code = (uint32_t)code;
    return SMT_OK;
}

/* [index] and [start:stop:step] */
static smt_status parse_subscript(smt_chat_parser *parser, smt_chat_node *node) {
    parser->at++;
    smt_chat_node *parts[3] = {NULL, NULL, NULL};
    size_t n = 0;
    bool is_cut = false;
    for (;; n++) {
        bool empty = smt_chat_at_sign(parser, ":") || smt_chat_at_sign(parser, "]");
        if (empty)
            SMT_TRY(make_literal(parser, (smt_chat_value){.kind = SMT_CHAT_NONE}, &parts[n]));
        else
            SMT_TRY(smt_chat_parse_expr(parser, true, &parts[n]));
        if (n == 2 || !smt_chat_take_sign(parser, ":")) {
            if (!is_cut && empty) return unexpected(parser, "an index");
            break;
        }
        is_cut = true;
    }
    if (smt_chat_at_sign(parser, ","))
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "an index of several values is not supported");
    SMT_TRY(smt_chat_want_sign(parser, "]"));
    node->kind = is_cut ? SMT_CHAT_CUT : SMT_CHAT_ITEM;
    if (!is_cut) {
        node->b = parts[0];
        return smt_chat_node_close(parser, node);
    }
    for (size_t i = n + 1; i < 3; i++) SMT_TRY(make_literal(parser, (smt_chat_value){.kind = SMT_CHAT_NONE}, &parts[i]));
    parts[0]->next = parts[1];
    parts[1]->next = parts[2];
    node->items = parts[0];
    return smt_chat_node_close(parser, node);
}

/* .name, .0 and .method() */
static smt_status parse_attribute(smt_chat_parser *parser, smt_chat_node *node) {
    parser->at++;
    const smt_chat_token *token = smt_chat_peek(parser);
    if (token->kind == SMT_CHAT_TOKEN_INT) {
        node->kind = SMT_CHAT_ITEM;
        SMT_TRY(make_literal(parser, smt_chat_int(token->integer), &node->b));
        parser->at++;
        return smt_chat_node_close(parser, node);
    }
    SMT_TRY(smt_chat_want_name(parser, "a name after \".\"", &node->text));
    if (!smt_chat_at_sign(parser, "(")) return smt_chat_node_close(parser, node);
    node->kind = SMT_CHAT_METHOD;
    SMT_TRY(find_code(parser, "method", smt_chat_method_code, node));
    return parse_arguments(parser, node);
}

/* A node of this kind around *inout. */
static smt_status wrap(smt_chat_parser *parser, smt_chat_node_kind kind, smt_chat_node **inout) {
    smt_chat_node *node;
    SMT_TRY(smt_chat_node_make(parser, kind, &node));
    node->a = *inout;
    *inout = node;
    return SMT_OK;
}

static smt_status parse_postfix(smt_chat_parser *parser, smt_chat_node **inout) {
    for (;;) {
        bool dot = smt_chat_at_sign(parser, "."), bracket = smt_chat_at_sign(parser, "[");
        if (!dot && !bracket && !smt_chat_at_sign(parser, "(")) return SMT_OK;
        SMT_TRY(wrap(parser, dot ? SMT_CHAT_ATTRIBUTE : bracket ? SMT_CHAT_ITEM : SMT_CHAT_CALL, inout));
        SMT_TRY(dot       ? parse_attribute(parser, *inout)
                : bracket ? parse_subscript(parser, *inout)
                          : parse_arguments(parser, *inout));
    }
}

/* A test may have one argument without parentheses: `is divisibleby 2`. */
static smt_status parse_test(smt_chat_parser *parser, smt_chat_node *node) {
    parser->at++;
    node->negated = smt_chat_take_word(parser, "not");
    SMT_TRY(smt_chat_want_name(parser, "the name of a test", &node->text));
    SMT_TRY(find_code(parser, "test", smt_chat_test_code, node));
    if (smt_chat_at_sign(parser, "(")) return parse_arguments(parser, node);
    smt_chat_token_kind next = smt_chat_peek(parser)->kind;
    static const char *const not_values[] = {"else", "or", "and", "if", "in", "not", "is"};
    bool value = next == SMT_CHAT_TOKEN_NAME || next == SMT_CHAT_TOKEN_STRING || next == SMT_CHAT_TOKEN_INT ||
                 next == SMT_CHAT_TOKEN_REAL || smt_chat_at_sign(parser, "[") || smt_chat_at_sign(parser, "{");
    for (size_t i = 0; i < SMT_COUNT(not_values); i++) value = value && !smt_chat_at_word(parser, not_values[i]);
    if (value) {
        SMT_TRY(parse_primary(parser, &node->items));
        SMT_TRY(parse_postfix(parser, &node->items));
    }
    return smt_chat_node_close(parser, node);
}

static smt_status parse_filters(smt_chat_parser *parser, smt_chat_node **inout) {
    for (;;) {
        if (smt_chat_at_sign(parser, "|")) {
            SMT_TRY(wrap(parser, SMT_CHAT_FILTER, inout));
            parser->at++;
            SMT_TRY(smt_chat_want_name(parser, "the name of a filter", &(*inout)->text));
            SMT_TRY(find_code(parser, "filter", smt_chat_filter_code, *inout));
            if (smt_chat_at_sign(parser, "("))
                SMT_TRY(parse_arguments(parser, *inout));
            else
                SMT_TRY(smt_chat_node_close(parser, *inout));
        } else if (smt_chat_at_word(parser, "is")) {
            SMT_TRY(wrap(parser, SMT_CHAT_TEST, inout));
            SMT_TRY(parse_test(parser, *inout));
        } else if (smt_chat_at_sign(parser, "(")) {
            SMT_TRY(wrap(parser, SMT_CHAT_CALL, inout));
            SMT_TRY(parse_arguments(parser, *inout));
        } else {
            return SMT_OK;
        }
    }
}

/* ---- operators ---- */

static smt_status parse_unary(smt_chat_parser *parser, bool with_filters, smt_chat_node **out) {
    bool minus = smt_chat_at_sign(parser, "-");
    if (minus || smt_chat_at_sign(parser, "+")) {
        smt_chat_node *node;
        SMT_TRY(smt_chat_node_make(parser, minus ? SMT_CHAT_NEGATE : SMT_CHAT_PLUS, &node));
        parser->at++;
        if (++parser->depth > SMT_CHAT_MAX_DEPTH)
            return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "more than %d levels of nesting", SMT_CHAT_MAX_DEPTH);
        SMT_TRY(parse_unary(parser, false, &node->a));
        parser->depth--;
        SMT_TRY(smt_chat_node_close(parser, node));
        *out = node;
    } else {
        SMT_TRY(parse_primary(parser, out));
    }
    SMT_TRY(parse_postfix(parser, out));
    if (with_filters) SMT_TRY(parse_filters(parser, out));
    if (smt_chat_at_sign(parser, "**"))
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, smt_chat_peek(parser)->line, "the operator ** is not supported");
    return SMT_OK;
}

/* The arithmetic operators, weakest first: each level's signs and the code of each. */
static const struct {
    const char *signs[4];
    char codes[4];
} levels[] = {{{"+", "-"}, {'+', '-'}}, {{"~"}, {'~'}}, {{"*", "/", "//", "%"}, {'*', '/', 'f', '%'}}};

static smt_status parse_level(smt_chat_parser *parser, size_t level, smt_chat_node **out) {
    if (level == SMT_COUNT(levels)) return parse_unary(parser, true, out);
    SMT_TRY(parse_level(parser, level + 1, out));
    for (size_t i = 0; i < 4 && levels[level].signs[i];) {
        if (!smt_chat_at_sign(parser, levels[level].signs[i])) {
            i++;
            continue;
        }
        SMT_TRY(wrap(parser, SMT_CHAT_ARITHMETIC, out));
        parser->at++;
        (*out)->code = (uint8_t)levels[level].codes[i];
        SMT_TRY(parse_level(parser, level + 1, &(*out)->b));
        SMT_TRY(smt_chat_node_close(parser, *out));
        i = 0;
    }
    return SMT_OK;
}

/* The comparison that stands here, its tokens taken; 0: none. */
static char take_comparison(smt_chat_parser *parser, bool *out_negated) {
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    static const char codes[] = {'=', '!', 'l', 'g', '<', '>'};
    *out_negated = false;
    for (size_t i = 0; i < SMT_COUNT(signs); i++)
        if (smt_chat_take_sign(parser, signs[i])) return codes[i];
    const smt_chat_token *token = smt_chat_peek(parser);
    if (smt_chat_at_word(parser, "not") && token[1].kind == SMT_CHAT_TOKEN_NAME && smt_chat_is(token[1].text, "in")) {
        parser->at++;
        *out_negated = true;
    }
    return smt_chat_take_word(parser, "in") ? 'i' : 0;
}

static smt_status parse_compare(smt_chat_parser *parser, smt_chat_node **out) {
    SMT_TRY(parse_level(parser, 0, out));
    bool negated;
    char code = take_comparison(parser, &negated);
    if (!code) return SMT_OK;
    SMT_TRY(wrap(parser, SMT_CHAT_COMPARE, out));
    for (smt_chat_node **last = &(*out)->items; code; last = &(*last)->next) {
        smt_chat_node *operand;
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_OPERAND, &operand));
        operand->code = (uint8_t)code;
        operand->negated = negated;
        *last = operand;
        SMT_TRY(parse_level(parser, 0, &operand->a));
        SMT_TRY(smt_chat_node_close(parser, operand));
        code = take_comparison(parser, &negated);
    }
    return smt_chat_node_close(parser, *out);
}

static smt_status parse_not(smt_chat_parser *parser, smt_chat_node **out) {
    if (!smt_chat_at_word(parser, "not")) return parse_compare(parser, out);
    SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_NOT, out));
    parser->at++;
    if (++parser->depth > SMT_CHAT_MAX_DEPTH)
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, (*out)->line, "more than %d levels of nesting", SMT_CHAT_MAX_DEPTH);
    SMT_TRY(parse_not(parser, &(*out)->a));
    parser->depth--;
    return smt_chat_node_close(parser, *out);
}

static smt_status parse_and(smt_chat_parser *parser, smt_chat_node **out) {
    SMT_TRY(parse_not(parser, out));
    while (smt_chat_take_word(parser, "and")) {
        SMT_TRY(wrap(parser, SMT_CHAT_AND, out));
        SMT_TRY(parse_not(parser, &(*out)->b));
        SMT_TRY(smt_chat_node_close(parser, *out));
    }
    return SMT_OK;
}

static smt_status parse_or(smt_chat_parser *parser, smt_chat_node **out) {
    SMT_TRY(parse_and(parser, out));
    while (smt_chat_take_word(parser, "or")) {
        SMT_TRY(wrap(parser, SMT_CHAT_OR, out));
        SMT_TRY(parse_and(parser, &(*out)->b));
        SMT_TRY(smt_chat_node_close(parser, *out));
    }
    return SMT_OK;
}

smt_status smt_chat_parse_expr(smt_chat_parser *parser, bool with_choice, smt_chat_node **out) {
    if (++parser->depth > SMT_CHAT_MAX_DEPTH)
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, smt_chat_peek(parser)->line, "more than %d levels of nesting",
                             SMT_CHAT_MAX_DEPTH);
    SMT_TRY(parse_or(parser, out));
    while (with_choice && smt_chat_at_word(parser, "if")) {
        SMT_TRY(wrap(parser, SMT_CHAT_CHOICE, out));
        parser->at++;
        SMT_TRY(parse_or(parser, &(*out)->b));
        if (smt_chat_take_word(parser, "else")) SMT_TRY(smt_chat_parse_expr(parser, true, &(*out)->c));
        SMT_TRY(smt_chat_node_close(parser, *out));
    }
    parser->depth--;
    return SMT_OK;
}

smt_status smt_chat_parse_tuple(smt_chat_parser *parser, smt_chat_node **out) {
    SMT_TRY(smt_chat_parse_expr(parser, true, out));
    if (!smt_chat_at_sign(parser, ",")) return SMT_OK;
    smt_chat_node *list, **last = &(*out)->next;
    SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_MAKE_LIST, &list));
    list->items = *out;
    while (smt_chat_take_sign(parser, ",")) {
        smt_chat_token_kind next = smt_chat_peek(parser)->kind;
        if (next == SMT_CHAT_TOKEN_CLOSE || smt_chat_at_sign(parser, ")")) break;
        SMT_TRY(smt_chat_parse_expr(parser, true, last));
        last = &(*last)->next;
    }
    *out = list;
    return smt_chat_node_close(parser, list);
}
