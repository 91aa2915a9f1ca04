/* grammar_schema_common.c: rules that many schemas need: white space, strings, numbers, and any value at all.
 *
 * % stands for the name that all rules of a grammar begin with. Escapes leave out what readers refuse: halves of surrogate pairs,
 * and the character zero. */
#include "grammar_schema.h"

#include <string.h>

static const struct common_rule {
    const char *name, *body;
    uint32_t needs; /* bit set */
} rules[SMT_COMMON_COUNT] = {
    [SMT_COMMON_WS] = {"ws", "(\" \" | \"\\n\" [ \\t]{0,20})?", 0},
    [SMT_COMMON_HEX] = {"hex", "[0-9A-Fa-f]", 0},
    [SMT_COMMON_PLAIN] = {"plain", "[^\"\\\\\\x00-\\x1F\\x7F]", 0},
    [SMT_COMMON_CHAR] = {"char",
                         "%-plain | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([1-9A-Ca-cEFef] %-hex{3} | [Dd] [0-7] %-hex{2} | "
                         "\"0\" ([1-9A-Fa-f] %-hex{2} | \"0\" ([1-9A-Fa-f] %-hex | \"0\" [1-9A-Fa-f]))))",
                         1u << SMT_COMMON_PLAIN | 1u << SMT_COMMON_HEX},
    [SMT_COMMON_STRING] = {"string", "\"\\\"\" %-char* \"\\\"\"", 1u << SMT_COMMON_CHAR},
    [SMT_COMMON_INTEGER] = {"integer", "\"-\"? (\"0\" | [1-9] [0-9]{0,15})", 0},
    [SMT_COMMON_NUMBER] = {"number", "%-integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?", 1u << SMT_COMMON_INTEGER},
    [SMT_COMMON_PAIR] = {"pair", "%-string \":\" %-ws %-value %-ws",
                         1u << SMT_COMMON_STRING | 1u << SMT_COMMON_WS | 1u << SMT_COMMON_VALUE},
    [SMT_COMMON_OBJECT] = {"object", "\"{\" %-ws (%-pair (\",\" %-ws %-pair)*)? \"}\"",
                           1u << SMT_COMMON_WS | 1u << SMT_COMMON_PAIR},
    [SMT_COMMON_ARRAY] = {"array", "\"[\" %-ws (%-value %-ws (\",\" %-ws %-value %-ws)*)? \"]\"",
                          1u << SMT_COMMON_WS | 1u << SMT_COMMON_VALUE},
    [SMT_COMMON_VALUE] = {"value", "%-object | %-array | %-string | %-number | \"true\" | \"false\" | \"null\"",
                          1u << SMT_COMMON_OBJECT | 1u << SMT_COMMON_ARRAY | 1u << SMT_COMMON_STRING | 1u << SMT_COMMON_NUMBER},
};

static void need(uint32_t *used, smt_schema_common which) {
    if (*used >> which & 1) return;
    *used |= 1u << which;
    for (int i = 0; i < SMT_COMMON_COUNT; i++)
        if (rules[which].needs >> i & 1) need(used, (smt_schema_common)i);
}

smt_status smt_schema_use(smt_schema *s, smt_schema_common which, smt_str *out) {
    need(&s->used, which);
    SMT_PUT(s, out, "%s-%s", s->root, rules[which].name);
    return SMT_OK;
}

smt_status smt_schema_put_common(smt_schema *s) {
    for (int i = 0; i < SMT_COMMON_COUNT; i++) {
        if (!(s->used >> i & 1)) continue;
        SMT_PUT(s, &s->text, "%s-%s ::= ", s->root, rules[i].name);
        for (const char *at = rules[i].body; *at; at++) {
            bool name = at[0] == '%';
            SMT_TRY(smt_str_append(&s->text, name ? s->root : at, name ? strlen(s->root) : 1, s->err));
        }
        SMT_PUT(s, &s->text, "\n");
    }
    return SMT_OK;
}
