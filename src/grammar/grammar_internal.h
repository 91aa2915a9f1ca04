/* grammar_internal.h: what the files of this room share: the syntax tree, the automaton's inside, and the tables of a matcher. */
#ifndef SMT_GRAMMAR_INTERNAL_H
#define SMT_GRAMMAR_INTERNAL_H

#include "grammar.h"

/* ---- syntax tree (grammar_parse.c): what the text says, in one arena ---- */

typedef struct smt_grammar_range {
    uint32_t low, high; /* code points, both included */
} smt_grammar_range;

typedef enum smt_expr_kind {
    SMT_EXPR_TEXT,
    SMT_EXPR_CLASS,
    SMT_EXPR_RULE,
    SMT_EXPR_SEQUENCE,
    SMT_EXPR_CHOICE,
    SMT_EXPR_REPEAT
} smt_expr_kind;

#define SMT_EXPR_NO_END UINT32_MAX

typedef struct smt_expr smt_expr;
struct smt_expr {
    smt_expr_kind kind;
    uint32_t n;                /* of what the kind has */
    uint32_t depth;            /* greatest number of expressions one in another */
    uint32_t rule;             /* RULE */
    uint32_t min, max;         /* REPEAT: of items[0] */
    size_t at;                 /* where in the text it begins */
    const char *text;          /* TEXT: [n] bytes */
    smt_grammar_range *ranges; /* CLASS: [n], ascending, disjoint, no surrogates; none: nothing matches */
    smt_expr **items;          /* SEQUENCE, CHOICE: [n] */
};

typedef struct smt_syntax_rule {
    const char *name;      /* in the text, not NUL-terminated */
    size_t name_bytes, at; /* where it is first spoken of */
    smt_expr *expr;        /* NULL: not defined yet */
} smt_syntax_rule;

typedef struct smt_syntax {
    const char *text; /* borrowed */
    size_t bytes;
    smt_arena memory;
    smt_syntax_rule *rules; /* owned */
    size_t n_rules, rule_capacity;
    uint32_t *slots; /* owned: hash table of rule + 1 by name, at most half full */
    size_t n_slots;
    uint32_t root;
} smt_syntax;

smt_status smt_syntax_parse(const char *text, size_t bytes, smt_syntax *out, smt_error *err);
void smt_syntax_free(smt_syntax *syntax);
/* "grammar, line 2, column 7" of an offset, for messages. */
typedef struct smt_syntax_place {
    char text[64];
} smt_syntax_place;
smt_syntax_place smt_syntax_where(const smt_syntax *syntax, size_t at);

/* ---- automaton (grammar_build.c) ---- */

typedef enum smt_node_kind {
    SMT_NODE_END,   /* back to whoever called the rule: node 0 and no other */
    SMT_NODE_BYTES, /* edges that consume a byte */
    SMT_NODE_SPLIT, /* edges that consume nothing */
    SMT_NODE_CALL   /* a rule, then another node */
} smt_node_kind;

typedef struct smt_automaton_node {
    uint8_t kind;
    bool live;     /* the end of the rule can be reached from here */
    uint32_t a, b; /* BYTES, SPLIT: edges [a, a + b); CALL: rule a, then node b */
} smt_automaton_node;

typedef struct smt_automaton_edge {
    uint32_t next;
    uint8_t low, high; /* BYTES */
} smt_automaton_edge;

typedef struct smt_automaton_rule {
    uint32_t entry; /* node */
    uint32_t owner; /* the rule of the text that it is, or a repetition of */
} smt_automaton_rule;

struct smt_automaton {
    smt_automaton_node *nodes; /* these three: owned */
    smt_automaton_edge *edges;
    smt_automaton_rule *rules;
    size_t n_nodes, node_capacity, n_edges, edge_capacity, n_rules, rule_capacity;
    uint32_t root;         /* rule */
    uint32_t n_classes;    /* bytes that no edge tells apart are one class */
    uint8_t class_of[256]; /* by byte */
    uint8_t byte_of[256];  /* by class: the least of its bytes */
};

/* Checks of a whole automaton (grammar_check.c): marks live nodes, makes the classes. SMT_FORMAT: left recursion; a root that
 * never ends. */
smt_status smt_automaton_check(smt_automaton *automaton, const smt_syntax *syntax, smt_error *err);

/* ---- vocabulary (grammar_words.c) ---- */

/* The trie in preorder: children follow their parent, whole subtrees are skipped by `end`. */
typedef struct smt_words_node {
    uint32_t end; /* the first node after the subtree */
    uint32_t
        token; /* that ends here, of equal texts the lowest; n_tokens where none does, so that a walk sets a bit in any case */
    uint32_t depth : 24; /* bytes in front of this one */
    uint32_t byte : 8;
} smt_words_node;

typedef struct smt_words_twin {
    uint32_t token, same; /* token's text is that of `same`, which is in the trie */
} smt_words_twin;

struct smt_words {
    uint32_t n_tokens, n_nodes, n_twins, longest; /* longest: bytes of a text */
    smt_words_node *nodes;                        /* owned, [n_nodes] */
    smt_words_twin *twins;                        /* owned, [n_twins] */
    char *text;                                   /* owned: texts by token; token t's is [start[t], start[t + 1]) */
    uint32_t *start;                              /* owned, [n_tokens + 1] */
    uint32_t *ends;                               /* owned: the end tokens as a mask of n_tokens + 1 bits */
};

/* ---- matcher (grammar_match.c) ---- */

#define SMT_MATCH_UNKNOWN UINT32_MAX
#define SMT_MATCH_DEAD    0 /* the state without any reading */

/* A reading is node << 32 | stack; reading 0, the end of root with nothing to go back to, means that the text may end. */
typedef struct smt_match_state {
    uint32_t n;    /* readings */
    uint32_t mask; /* slot of its mask + 1; 0: none */
    size_t first;  /* in smt_matcher.readings, ascending */
} smt_match_state;

typedef struct smt_match_frame {
    uint32_t node, parent; /* where to go on, and the stack below; frame 0 is the empty stack */
} smt_match_frame;

/* Set of 64-bit keys with a number each, emptied by raising the stamp. */
typedef struct smt_match_slot {
    uint64_t key;
    uint32_t value, stamp;
} smt_match_slot;
typedef struct smt_match_map {
    smt_match_slot *slots; /* owned, a power of two */
    size_t n, capacity;
    uint32_t stamp;
} smt_match_map;

struct smt_matcher {
    smt_automaton *automaton; /* owned */
    const smt_words *words;   /* borrowed */
    smt_match_state *states;  /* these: owned */
    uint32_t *next;           /* [n_states, n_classes] */
    uint64_t *readings;
    smt_match_frame *frames;
    smt_match_map frame_map, state_map, seen; /* state_map: by hash of the readings, probing on */
    size_t n_states, state_capacity, next_capacity, n_readings, reading_capacity, n_frames, frame_capacity;
    uint64_t *work, *found; /* of one closure */
    size_t n_work, work_capacity, n_found, found_capacity;
    uint32_t start;       /* state */
    smt_cursor *cursors;  /* all that are open */
    uint32_t *masks;      /* [SMT_GRAMMAR_MASKS, n_words], made with the first */
    uint32_t *mask_state; /* whose they are, [SMT_GRAMMAR_MASKS]; 0: free */
    uint32_t n_words, next_mask;
    size_t *path; /* [words->longest + 1]: states along a branch of the trie, times n_classes */
};

/* The state after `byte` class `class_idx`; computed where it is not known yet. */
smt_status smt_matcher_next(smt_matcher *matcher, uint32_t state, uint32_t class_idx, uint32_t *out, smt_error *err);
/* Drops what no cursor needs where the tables have grown large. Numbers of states change. */
smt_status smt_matcher_trim(smt_matcher *matcher, smt_error *err);
size_t smt_matcher_bytes(const smt_matcher *matcher);
bool smt_match_may_end(const smt_matcher *matcher, uint32_t state);

#endif
