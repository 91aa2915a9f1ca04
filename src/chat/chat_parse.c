/* chat_parse.c: statements: text, {{ }}, and the tags if, for, set, macro, break, continue and generation (which trainers put
 * around answers and which changes nothing). Every other tag is refused by its name. */
#include "chat_internal.h"

static smt_status parse_body(smt_chat_parser *parser, uint32_t opened, const char *const *ends, smt_chat_node **out,
                             smt_chat_text *out_end);

static smt_status want_close(smt_chat_parser *parser) {
    const smt_chat_token *token = smt_chat_peek(parser);
    if (token->kind == SMT_CHAT_TOKEN_CLOSE) return parser->at++, SMT_OK;
    return SMT_CHAT_FAIL(parser, SMT_FORMAT, token->line, "\"%.*s\" where the braces should end", SMT_CHAT_ARG(token->text));
}

/* After the closing of a tag: statements up to one of `ends`, that tag's name taken. */
static smt_status parse_block(smt_chat_parser *parser, uint32_t opened, const char *const *ends, smt_chat_node **out,
                              smt_chat_text *out_end) {
    SMT_TRY(want_close(parser));
    if (++parser->depth > SMT_CHAT_MAX_DEPTH)
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, opened, "more than %d levels of nesting", SMT_CHAT_MAX_DEPTH);
    SMT_TRY(parse_body(parser, opened, ends, out, out_end));
    parser->depth--;
    return SMT_OK;
}

static smt_status parse_if(smt_chat_parser *parser, smt_chat_node *node) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last_ends[] = {"endif", NULL};
    smt_chat_text end = SMT_CHAT_TEXT("if");
    node->kind = SMT_CHAT_IF;
    for (smt_chat_node **last = &node->items; !smt_chat_is(end, "endif"); last = &(*last)->next) {
        bool otherwise = smt_chat_is(end, "else");
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_BRANCH, last));
        if (!otherwise) SMT_TRY(smt_chat_parse_tuple(parser, &(*last)->a));
        SMT_TRY(parse_block(parser, node->line, otherwise ? last_ends : ends, &(*last)->body, &end));
        SMT_TRY(smt_chat_node_close(parser, *last));
    }
    return want_close(parser);
}

/* The names a for or a set assigns to: `a`, `a, b`, for a set also `space.a`. */
static smt_status parse_targets(smt_chat_parser *parser, bool with_attribute, smt_chat_node *node) {
    bool bracket = smt_chat_take_sign(parser, "(");
    smt_chat_node **last = &node->items;
    do {
        smt_chat_node *target;
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_NAME, &target));
        SMT_TRY(smt_chat_want_name(parser, "a name to assign to", &target->text));
        if (with_attribute && smt_chat_take_sign(parser, ".")) {
            smt_chat_node *space = target;
            SMT_TRY(smt_chat_node_close(parser, space));
            SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_ATTRIBUTE, &target));
            target->a = space;
            SMT_TRY(smt_chat_want_name(parser, "an attribute's name", &target->text));
        }
        SMT_TRY(smt_chat_node_close(parser, target));
        *last = target;
        last = &target->next;
    } while (smt_chat_take_sign(parser, ","));
    return bracket ? smt_chat_want_sign(parser, ")") : SMT_OK;
}

static smt_status parse_for(smt_chat_parser *parser, smt_chat_node *node) {
    static const char *const ends[] = {"else", "endfor", NULL}, *const last_ends[] = {"endfor", NULL};
    smt_chat_text end;
    node->kind = SMT_CHAT_FOR;
    SMT_TRY(parse_targets(parser, false, node));
    if (!smt_chat_take_word(parser, "in")) return SMT_CHAT_FAIL(parser, SMT_FORMAT, node->line, "a for without \"in\"");
    SMT_TRY(smt_chat_parse_expr(parser, false, &node->a)); /* an "if" here is the filter */
    if (smt_chat_take_word(parser, "if")) SMT_TRY(smt_chat_parse_expr(parser, true, &node->b));
    if (smt_chat_at_word(parser, "recursive"))
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "a recursive for is not supported");
    parser->loops++;
    parser->scopes++;
    SMT_TRY(parse_block(parser, node->line, ends, &node->body, &end));
    parser->loops--;
    parser->scopes--;
    if (smt_chat_is(end, "else")) SMT_TRY(parse_block(parser, node->line, last_ends, &node->otherwise, &end));
    return want_close(parser);
}

static smt_status parse_set(smt_chat_parser *parser, smt_chat_node *node) {
    static const char *const ends[] = {"endset", NULL};
    smt_chat_text end;
    node->kind = SMT_CHAT_SET;
    SMT_TRY(parse_targets(parser, true, node));
    if (smt_chat_take_sign(parser, "=")) {
        SMT_TRY(smt_chat_parse_tuple(parser, &node->a));
        return want_close(parser);
    }
    if (node->items->next || smt_chat_at_sign(parser, "|"))
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "a set block with filters or several names is not supported");
    parser->scopes++;
    SMT_TRY(parse_block(parser, node->line, ends, &node->body, &end));
    parser->scopes--;
    return want_close(parser);
}

static smt_status parse_parameters(smt_chat_parser *parser, smt_chat_node *node) {
    smt_chat_node **last = &node->items;
    SMT_TRY(smt_chat_want_sign(parser, "("));
    while (!smt_chat_take_sign(parser, ")")) {
        if (node->items) SMT_TRY(smt_chat_want_sign(parser, ","));
        smt_chat_node *parameter;
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_KEYWORD, &parameter));
        SMT_TRY(smt_chat_want_name(parser, "a parameter's name", &parameter->text));
        if (smt_chat_take_sign(parser, "=")) SMT_TRY(smt_chat_parse_expr(parser, true, &parameter->a));
        SMT_TRY(smt_chat_node_close(parser, parameter));
        *last = parameter;
        last = &parameter->next;
    }
    return SMT_OK;
}

/* Macros see the template's own variables and their parameters; inside of a loop they would need its variables too. */
static smt_status parse_macro(smt_chat_parser *parser, smt_chat_node *node) {
    static const char *const ends[] = {"endmacro", NULL};
    smt_chat_text end;
    node->kind = SMT_CHAT_DEFINE;
    if (parser->scopes)
        return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line,
                             "a macro inside of a loop, of a set block or of a macro is not supported");
    SMT_TRY(smt_chat_want_name(parser, "the macro's name", &node->text));
    SMT_TRY(parse_parameters(parser, node));
    parser->scopes++;
    SMT_TRY(parse_block(parser, node->line, ends, &node->body, &end));
    parser->scopes--;
    return want_close(parser);
}

static smt_status parse_jump(smt_chat_parser *parser, smt_chat_node *node, smt_chat_node_kind kind) {
    node->kind = kind;
    if (!parser->loops) return SMT_CHAT_FAIL(parser, SMT_FORMAT, node->line, "a break or continue outside of any loop");
    return want_close(parser);
}

/* After "{%": the tag named `name`, its name taken. */
static smt_status parse_tag(smt_chat_parser *parser, smt_chat_text name, smt_chat_node *node) {
    static const char *const ends[] = {"endgeneration", NULL};
    smt_chat_text end;
    if (smt_chat_is(name, "if")) return parse_if(parser, node);
    if (smt_chat_is(name, "for")) return parse_for(parser, node);
    if (smt_chat_is(name, "set")) return parse_set(parser, node);
    if (smt_chat_is(name, "macro")) return parse_macro(parser, node);
    if (smt_chat_is(name, "break")) return parse_jump(parser, node, SMT_CHAT_BREAK);
    if (smt_chat_is(name, "continue")) return parse_jump(parser, node, SMT_CHAT_CONTINUE);
    if (smt_chat_is(name, "generation")) { /* a condition that always holds */
        node->kind = SMT_CHAT_IF;
        SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_BRANCH, &node->items));
        SMT_TRY(parse_block(parser, node->line, ends, &node->items->body, &end));
        SMT_TRY(smt_chat_node_close(parser, node->items));
        return want_close(parser);
    }
    return SMT_CHAT_FAIL(parser, SMT_UNSUPPORTED, node->line, "the tag {%% %.*s %%} is not supported here", SMT_CHAT_ARG(name));
}

static bool is_end(smt_chat_text name, const char *const *ends) {
    for (; *ends; ends++)
        if (smt_chat_is(name, *ends)) return true;
    return false;
}

/* One statement, or the name of the tag that ends the body: then *out is NULL. */
static smt_status parse_statement(smt_chat_parser *parser, const char *const *ends, smt_chat_node **out, smt_chat_text *out_end) {
    const smt_chat_token *token = smt_chat_peek(parser);
    smt_chat_node *node;
    SMT_TRY(smt_chat_node_make(parser, SMT_CHAT_OUTPUT, &node));
    parser->at++;
    if (token->kind == SMT_CHAT_TOKEN_TEXT) {
        node->text = token->text;
    } else if (token->kind == SMT_CHAT_TOKEN_PRINT) {
        node->kind = SMT_CHAT_PRINT;
        SMT_TRY(smt_chat_parse_tuple(parser, &node->a));
        SMT_TRY(want_close(parser));
    } else {
        smt_chat_text name;
        SMT_TRY(smt_chat_want_name(parser, "the name of a tag", &name));
        if (is_end(name, ends)) {
            *out_end = name;
            *out = NULL;
            return SMT_OK;
        }
        SMT_TRY(parse_tag(parser, name, node));
    }
    *out = node;
    return smt_chat_node_close(parser, node);
}

static smt_status parse_body(smt_chat_parser *parser, uint32_t opened, const char *const *ends, smt_chat_node **out,
                             smt_chat_text *out_end) {
    *out = NULL;
    for (smt_chat_node **last = out;; last = &(*last)->next) {
        if (smt_chat_peek(parser)->kind == SMT_CHAT_TOKEN_END) {
            if (!*ends) return SMT_OK;
            while (ends[1]) ends++; /* the one that closes stands last */
            return SMT_CHAT_FAIL(parser, SMT_FORMAT, opened, "a tag that is not closed by {%% %s %%}", *ends);
        }
        SMT_TRY(parse_statement(parser, ends, last, out_end));
        if (!*last) return SMT_OK;
    }
}

smt_status smt_chat_parse(const char *source, size_t bytes, smt_arena *arena, smt_chat_node **out, smt_error *err) {
    static const char *const no_ends[] = {NULL};
    smt_chat_token *tokens;
    smt_chat_text end;
    SMT_TRY(smt_chat_lex(source, bytes, arena, &tokens, err));
    smt_chat_parser parser = {.arena = arena, .tokens = tokens, .err = err};
    smt_status status = parse_body(&parser, 1, no_ends, out, &end);
    smt_free(tokens);
    return status;
}
