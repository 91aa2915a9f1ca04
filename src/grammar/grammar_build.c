/* grammar_build.c: the syntax tree of a grammar to an automaton over bytes.
 *
 * Built from the end: an expression is compiled with the node that follows it and returns the node where it begins, so no edge
 * has to be patched but those of loops. A repetition with bounds does not copy its body: the body becomes a rule of its own, and
 * each round is one call:
 *
 *   x{2,4}    call x -> call x -> split -> call x -> split -> call x -> next
 *                                   \----------------\----------------^
 *
 * A class becomes one node with an edge for each run of UTF-8 sequences that share the ranges of their bytes. */
#include "grammar_internal.h"

#include <string.h>

typedef struct builder {
    smt_automaton *automaton;
    const smt_syntax *syntax;
    uint32_t owner; /* the rule of the text that is being compiled */
    smt_error *err;
} builder;

static smt_status compile(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out);

/* ---- nodes ---- */

static smt_status too_large(builder *b, const smt_expr *expr) {
    return SMT_FAIL(b->err, SMT_UNSUPPORTED, "%s: the grammar becomes too large: more than %u places",
                    smt_syntax_where(b->syntax, expr->at).text, SMT_GRAMMAR_MAX_NODES);
}

static smt_status put_node(builder *b, const smt_expr *expr, smt_automaton_node node, uint32_t *out) {
    smt_automaton *a = b->automaton;
    if (a->n_nodes >= SMT_GRAMMAR_MAX_NODES) return too_large(b, expr);
    SMT_TRY(smt_grow((void **)&a->nodes, &a->node_capacity, a->n_nodes + 1, sizeof *a->nodes, b->err));
    *out = (uint32_t)a->n_nodes;
    a->nodes[a->n_nodes++] = node;
    return SMT_OK;
}

static smt_status put_edges(builder *b, const smt_expr *expr, uint32_t count, uint32_t *out_first) {
    smt_automaton *a = b->automaton;
    if (count > SMT_GRAMMAR_MAX_NODES * 2 - a->n_edges) return too_large(b, expr);
    SMT_TRY(smt_grow((void **)&a->edges, &a->edge_capacity, a->n_edges + count, sizeof *a->edges, b->err));
    *out_first = (uint32_t)a->n_edges;
    memset(a->edges + a->n_edges, 0, count * sizeof *a->edges);
    a->n_edges += count;
    return SMT_OK;
}

/* A node with `count` edges, to be filled in. */
static smt_status put_branch(builder *b, const smt_expr *expr, smt_node_kind kind, uint32_t count, uint32_t *out) {
    uint32_t first;
    SMT_TRY(put_edges(b, expr, count, &first));
    return put_node(b, expr, (smt_automaton_node){.kind = (uint8_t)kind, .a = first, .b = count}, out);
}

static smt_automaton_edge *edge_of(builder *b, uint32_t node, uint32_t i) {
    return &b->automaton->edges[b->automaton->nodes[node].a + i];
}

static smt_status put_byte(builder *b, const smt_expr *expr, uint8_t low, uint8_t high, uint32_t next, uint32_t *out) {
    SMT_TRY(put_branch(b, expr, SMT_NODE_BYTES, 1, out));
    *edge_of(b, *out, 0) = (smt_automaton_edge){next, low, high};
    return SMT_OK;
}

static smt_status put_rule(builder *b, uint32_t *out) {
    smt_automaton *a = b->automaton;
    SMT_TRY(smt_grow((void **)&a->rules, &a->rule_capacity, a->n_rules + 1, sizeof *a->rules, b->err));
    *out = (uint32_t)a->n_rules;
    a->rules[a->n_rules++] = (smt_automaton_rule){0, b->owner};
    return SMT_OK;
}

/* ---- characters ---- */

static int encode(uint32_t c, uint8_t out[4]) {
    static const uint8_t head[] = {0, 0, 0xc0, 0xe0, 0xf0};
    int length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)(head[length] | c);
    return length;
}

/* The greatest last character of a run that begins at `low`: the same number of bytes, and behind the first byte that differs
 * every sequence of bytes. */
static uint32_t run_end(uint32_t low, uint32_t high) {
    static const uint32_t last_of_length[] = {0x7f, 0x7ff, 0xffff};
    for (size_t i = 0; i < SMT_COUNT(last_of_length); i++)
        if (low <= last_of_length[i] && high > last_of_length[i]) high = last_of_length[i];
    if (high < 0x80) return high;
    for (uint32_t bits = 6; bits <= 18; bits += 6) {
        uint32_t tail = ((uint32_t)1 << bits) - 1;
        if ((low & ~tail) == (high & ~tail)) return high; /* they differ in the byte of these bits at most */
        if (low & tail) return low | tail;
        if ((high & tail) != tail) high = (high & ~tail) - 1;
    }
    return high;
}

/* One run as edges behind each other; the first of them is *head. */
static smt_status put_run(builder *b, const smt_expr *expr, uint32_t low, uint32_t high, uint32_t next,
                          smt_automaton_edge *head) {
    uint8_t from[4], to[4];
    int length = encode(low, from);
    encode(high, to);
    for (int i = length - 1; i > 0; i--) SMT_TRY(put_byte(b, expr, from[i], to[i], next, &next));
    *head = (smt_automaton_edge){next, from[0], to[0]};
    return SMT_OK;
}

static uint32_t count_runs(const smt_expr *expr) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < expr->n; i++)
        for (uint32_t low = expr->ranges[i].low; low <= expr->ranges[i].high; n++) low = run_end(low, expr->ranges[i].high) + 1;
    return n;
}

static smt_status compile_class(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    uint32_t done = 0;
    SMT_TRY(put_branch(b, expr, SMT_NODE_BYTES, count_runs(expr), out));
    for (uint32_t i = 0; i < expr->n; i++)
        for (uint32_t low = expr->ranges[i].low, last; low <= expr->ranges[i].high; low = last + 1) {
            smt_automaton_edge edge;
            last = run_end(low, expr->ranges[i].high);
            SMT_TRY(put_run(b, expr, low, last, next, &edge));
            *edge_of(b, *out, done++) = edge;
        }
    return SMT_OK;
}

static smt_status compile_text(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    *out = next;
    for (uint32_t i = expr->n; i-- > 0;) {
        uint8_t byte = (uint8_t)expr->text[i];
        SMT_TRY(put_byte(b, expr, byte, byte, *out, out));
    }
    return SMT_OK;
}

/* ---- what is made of other expressions ---- */

static smt_status compile_choice(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    SMT_TRY(put_branch(b, expr, SMT_NODE_SPLIT, expr->n, out));
    for (uint32_t i = 0; i < expr->n; i++) {
        uint32_t entry;
        SMT_TRY(compile(b, expr->items[i], next, &entry));
        edge_of(b, *out, i)->next = entry;
    }
    return SMT_OK;
}

/* x* and x+: one node that goes back or on. */
static smt_status compile_loop(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    uint32_t split, entry;
    SMT_TRY(put_branch(b, expr, SMT_NODE_SPLIT, 2, &split));
    SMT_TRY(compile(b, expr->items[0], split, &entry));
    edge_of(b, split, 0)->next = entry;
    edge_of(b, split, 1)->next = next;
    *out = expr->min ? entry : split;
    return SMT_OK;
}

static smt_status body_rule(builder *b, const smt_expr *body, uint32_t *out) {
    if (body->kind == SMT_EXPR_RULE) {
        *out = body->rule;
        return SMT_OK;
    }
    uint32_t entry;
    SMT_TRY(put_rule(b, out));
    SMT_TRY(compile(b, body, 0, &entry));
    b->automaton->rules[*out].entry = entry;
    return SMT_OK;
}

static smt_status put_call(builder *b, const smt_expr *expr, uint32_t rule, uint32_t next, uint32_t *out) {
    return put_node(b, expr, (smt_automaton_node){.kind = SMT_NODE_CALL, .a = rule, .b = next}, out);
}

/* One more round, or straight on to `over`. */
static smt_status put_optional(builder *b, const smt_expr *expr, uint32_t rule, uint32_t next, uint32_t over, uint32_t *out) {
    uint32_t call;
    SMT_TRY(put_call(b, expr, rule, next, &call));
    SMT_TRY(put_branch(b, expr, SMT_NODE_SPLIT, 2, out));
    edge_of(b, *out, 0)->next = call;
    edge_of(b, *out, 1)->next = over;
    return SMT_OK;
}

static smt_status compile_repeat(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    uint32_t rule;
    *out = next;
    if (expr->max == 0) return SMT_OK;
    if (expr->max == SMT_EXPR_NO_END && expr->min <= 1) return compile_loop(b, expr, next, out);
    if (expr->min == 1 && expr->max == 1) return compile(b, expr->items[0], next, out);
    SMT_TRY(body_rule(b, expr->items[0], &rule));
    if (expr->max == SMT_EXPR_NO_END) {
        uint32_t call, split;
        SMT_TRY(put_branch(b, expr, SMT_NODE_SPLIT, 2, &split));
        SMT_TRY(put_call(b, expr, rule, split, &call));
        edge_of(b, split, 0)->next = call;
        edge_of(b, split, 1)->next = next;
        *out = split;
    } else {
        for (uint32_t i = expr->min; i < expr->max; i++) SMT_TRY(put_optional(b, expr, rule, *out, next, out));
    }
    for (uint32_t i = 0; i < expr->min; i++) SMT_TRY(put_call(b, expr, rule, *out, out));
    return SMT_OK;
}

/* Recursion is as deep as expressions nest, which the parser bounds. */
static smt_status compile(builder *b, const smt_expr *expr, uint32_t next, uint32_t *out) {
    switch (expr->kind) {
    case SMT_EXPR_TEXT:
        return compile_text(b, expr, next, out);
    case SMT_EXPR_CLASS:
        return compile_class(b, expr, next, out);
    case SMT_EXPR_RULE:
        return put_call(b, expr, expr->rule, next, out);
    case SMT_EXPR_CHOICE:
        return compile_choice(b, expr, next, out);
    case SMT_EXPR_REPEAT:
        return compile_repeat(b, expr, next, out);
    case SMT_EXPR_SEQUENCE:
        *out = next;
        for (uint32_t i = expr->n; i-- > 0;) SMT_TRY(compile(b, expr->items[i], *out, out));
        return SMT_OK;
    }
    return SMT_FAIL(b->err, SMT_INTERNAL, "an expression of kind %d", (int)expr->kind);
}

/* ---- the whole ---- */

static smt_status build(builder *b) {
    static const smt_expr nowhere = {0};
    uint32_t entry;
    SMT_TRY(put_node(b, &nowhere, (smt_automaton_node){.kind = SMT_NODE_END}, &entry));
    for (b->owner = 0; b->owner < b->syntax->n_rules; b->owner++) SMT_TRY(put_rule(b, &entry));
    for (b->owner = 0; b->owner < b->syntax->n_rules; b->owner++) {
        SMT_TRY(compile(b, b->syntax->rules[b->owner].expr, 0, &entry));
        b->automaton->rules[b->owner].entry = entry;
    }
    b->automaton->root = b->syntax->root;
    return smt_automaton_check(b->automaton, b->syntax, b->err);
}

smt_status smt_automaton_create(const char *text, size_t bytes, smt_automaton **out, smt_error *err) {
    smt_syntax syntax;
    *out = NULL;
    smt_automaton *automaton = smt_alloc(1, sizeof *automaton);
    if (!automaton) return SMT_FAIL(err, SMT_MEMORY, "out of memory making a grammar");
    builder b = {.automaton = automaton, .syntax = &syntax, .err = err};
    smt_status status = smt_syntax_parse(text, bytes, &syntax, err);
    if (status == SMT_OK) status = build(&b);
    smt_syntax_free(&syntax);
    if (status == SMT_OK)
        *out = automaton;
    else
        smt_automaton_free(automaton);
    return status;
}

void smt_automaton_free(smt_automaton *automaton) {
    if (!automaton) return;
    smt_free(automaton->nodes);
    smt_free(automaton->edges);
    smt_free(automaton->rules);
    smt_free(automaton);
}
