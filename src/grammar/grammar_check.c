/* grammar_check.c: what a built automaton must satisfy before texts are matched against it.
 *
 * Two properties of nodes are least fixpoints over "what follows": live (the end of the rule can be reached) and nullable (it can
 * be reached without consuming a byte). One walk backwards from the end finds either, each node once. Places that are not live
 * are never entered later, so that no mask leads into a dead end. Then left recursion, which would let a stack grow for ever: a
 * rule that comes back to itself through calls before which nothing needs to be consumed. */
#include "grammar_internal.h"

#include <string.h>

typedef struct checker {
    smt_automaton *a;
    const smt_syntax *syntax;
    uint32_t *users, *user_start; /* owned: the nodes that look at node n are users[user_start[n] .. user_start[n + 1]) */
    uint32_t *work;               /* owned, [n_nodes] */
    uint8_t *nullable;            /* owned, [n_nodes] */
    uint32_t *calls, *call_start; /* owned: the rules that rule r may begin with */
    uint8_t *seen;                /* owned, [n_nodes] */
    smt_error *err;
} checker;

/* ---- who looks at whom ---- */

static uint32_t n_followers(const smt_automaton *a, uint32_t node) {
    return a->nodes[node].kind == SMT_NODE_CALL ? 2 : a->nodes[node].b;
}

/* Of a call: the node behind it, and the entry of its rule. */
static uint32_t follower(const smt_automaton *a, uint32_t node, uint32_t i) {
    const smt_automaton_node *n = &a->nodes[node];
    if (n->kind != SMT_NODE_CALL) return a->edges[n->a + i].next;
    return i == 0 ? n->b : a->rules[n->a].entry;
}

static void list_users(checker *c) {
    uint32_t n = (uint32_t)c->a->n_nodes;
    for (uint32_t node = 0; node < n; node++)
        for (uint32_t i = 0; i < n_followers(c->a, node); i++) c->user_start[follower(c->a, node, i) + 1]++;
    for (uint32_t node = 0; node < n; node++) c->user_start[node + 1] += c->user_start[node];
    memcpy(c->work, c->user_start, n * sizeof *c->work); /* where the next one goes */
    for (uint32_t node = 0; node < n; node++)
        for (uint32_t i = 0; i < n_followers(c->a, node); i++) c->users[c->work[follower(c->a, node, i)]++] = node;
}

/* Whether a node whose followers have changed can reach the end now: a call needs both of its followers, any other node one. */
static bool reaches(const smt_automaton *a, const uint8_t *marks, uint32_t node, bool through_bytes) {
    if (a->nodes[node].kind == SMT_NODE_CALL) return marks[follower(a, node, 0)] && marks[follower(a, node, 1)];
    return a->nodes[node].kind == SMT_NODE_SPLIT || through_bytes;
}

/* Sets marks[n] where the end of the rule can be reached from node n. */
static void mark_back(checker *c, bool through_bytes, uint8_t *marks) {
    uint32_t n_work = 1;
    marks[0] = 1;
    c->work[0] = 0;
    while (n_work) {
        uint32_t node = c->work[--n_work];
        for (uint32_t i = c->user_start[node]; i < c->user_start[node + 1]; i++) {
            uint32_t user = c->users[i];
            if (marks[user] || !reaches(c->a, marks, user, through_bytes)) continue;
            marks[user] = 1;
            c->work[n_work++] = user;
        }
    }
}

/* ---- left recursion ---- */

/* Follows what `rule` may do before it consumes a byte, without entering the rules it calls. */
static void list_calls(checker *c, uint32_t rule, uint32_t *n_calls) {
    const smt_automaton *a = c->a;
    uint32_t n_work = 0;
    c->work[n_work++] = a->rules[rule].entry;
    c->seen[a->rules[rule].entry] = 1;
    while (n_work) {
        uint32_t node = c->work[--n_work], n = n_followers(a, node);
        bool call = a->nodes[node].kind == SMT_NODE_CALL;
        if (call) c->calls[(*n_calls)++] = a->nodes[node].a;
        if (call && !c->nullable[follower(a, node, 1)]) continue;
        if (a->nodes[node].kind == SMT_NODE_BYTES) continue;
        for (uint32_t i = 0; i < (call ? 1 : n); i++) {
            uint32_t next = follower(a, node, i);
            if (c->seen[next] || next == 0) continue;
            c->seen[next] = 1;
            c->work[n_work++] = next;
        }
    }
}

static smt_status left_recursion(const checker *c, uint32_t rule) {
    const smt_syntax_rule *named = &c->syntax->rules[c->a->rules[rule].owner];
    return SMT_FAIL(
        c->err, SMT_FORMAT,
        "%s: the rule \"%.*s\" can begin with itself (left recursion); put what comes first in front, or repeat with *",
        smt_syntax_where(c->syntax, named->at).text, (int)smt_min_u64(named->name_bytes, 60), named->name);
}

/* Depth first over the rules; `work` holds the branch, `position` how far each rule's list is done, `seen`: 1 on the branch, 2
 * done. */
static smt_status find_cycle(checker *c, uint32_t *position) {
    uint32_t n_rules = (uint32_t)c->a->n_rules;
    memset(c->seen, 0, c->a->n_nodes + c->a->n_rules);
    for (uint32_t first = 0; first < n_rules; first++) {
        uint32_t depth = 0;
        if (c->seen[first]) continue;
        c->work[depth++] = first;
        c->seen[first] = 1;
        while (depth) {
            uint32_t rule = c->work[depth - 1];
            if (position[rule] == c->call_start[rule + 1]) {
                c->seen[rule] = 2;
                depth--;
                continue;
            }
            uint32_t called = c->calls[position[rule]++];
            if (c->seen[called] == 1) return left_recursion(c, called);
            if (c->seen[called] == 2) continue;
            c->seen[called] = 1;
            c->work[depth++] = called;
        }
    }
    return SMT_OK;
}

static smt_status check_recursion(checker *c) {
    uint32_t n_rules = (uint32_t)c->a->n_rules, n_calls = 0;
    for (uint32_t rule = 0; rule < n_rules; rule++) {
        c->call_start[rule] = n_calls;
        list_calls(c, rule, &n_calls);
    }
    c->call_start[n_rules] = n_calls;
    uint32_t *position = smt_alloc(n_rules, sizeof *position);
    if (!position) return SMT_FAIL(c->err, SMT_MEMORY, "out of memory checking a grammar of %u rules", n_rules);
    memcpy(position, c->call_start, n_rules * sizeof *position);
    smt_status status = find_cycle(c, position);
    smt_free(position);
    return status;
}

/* ---- bytes that nothing tells apart ---- */

static void make_classes(smt_automaton *a) {
    bool begins[257] = {true};
    for (size_t i = 0; i < a->n_nodes; i++)
        for (uint32_t e = 0; a->nodes[i].kind == SMT_NODE_BYTES && e < a->nodes[i].b; e++) {
            begins[a->edges[a->nodes[i].a + e].low] = true;
            begins[a->edges[a->nodes[i].a + e].high + 1] = true;
        }
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte]) a->byte_of[a->n_classes++] = (uint8_t)byte;
        a->class_of[byte] = (uint8_t)(a->n_classes - 1);
    }
}

/* ---- the whole ---- */

static smt_status make_tables(checker *c) {
    size_t n = c->a->n_nodes, n_users = 0;
    for (uint32_t node = 0; node < n; node++) n_users += n_followers(c->a, node);
    c->users = smt_alloc(n_users, sizeof *c->users);
    c->user_start = smt_alloc(n + 1, sizeof *c->user_start);
    c->work = smt_alloc(n + c->a->n_rules, sizeof *c->work);
    c->nullable = smt_alloc(n, 1);
    c->seen = smt_alloc(n + c->a->n_rules, 1);
    c->calls = smt_alloc(n + c->a->n_rules, sizeof *c->calls);
    c->call_start = smt_alloc(c->a->n_rules + 1, sizeof *c->call_start);
    if (c->users && c->user_start && c->work && c->nullable && c->seen && c->calls && c->call_start) return SMT_OK;
    return SMT_FAIL(c->err, SMT_MEMORY, "out of memory checking a grammar of %zu places", n);
}

static smt_status check(checker *c) {
    smt_automaton *a = c->a;
    SMT_TRY(make_tables(c));
    list_users(c);
    mark_back(c, false, c->nullable);
    SMT_TRY(check_recursion(c));
    memset(c->seen, 0, a->n_nodes);
    mark_back(c, true, c->seen);
    for (size_t i = 0; i < a->n_nodes; i++) a->nodes[i].live = c->seen[i];
    const smt_syntax_rule *root = &c->syntax->rules[a->root];
    if (!c->seen[a->rules[a->root].entry])
        return SMT_FAIL(c->err, SMT_FORMAT, "%s: the rule \"root\" never ends: every way through it comes back to where it was",
                        smt_syntax_where(c->syntax, root->at).text);
    make_classes(a);
    return SMT_OK;
}

smt_status smt_automaton_check(smt_automaton *automaton, const smt_syntax *syntax, smt_error *err) {
    checker c = {.a = automaton, .syntax = syntax, .err = err};
    smt_status status = check(&c);
    smt_free(c.users);
    smt_free(c.user_start);
    smt_free(c.work);
    smt_free(c.nullable);
    smt_free(c.seen);
    smt_free(c.calls);
    smt_free(c.call_start);
    return status;
}
