/* chat_internal.h: what the files of this room share: tokens, nodes, values, and the state of one parse and of one rendering.
 *
 * Memory: tokens and nodes live in the template's arena, values in the arena of the rendering that made them; neither is freed
 * one by one. Strings are immutable and share bytes: a slice points into the string it was cut from.
 *
 * Values cannot be cyclic: lists and dictionaries are complete when they are made, and a namespace, the only thing a template can
 * change, cannot be put into one. Their depth is bounded (SMT_CHAT_MAX_DEPTH), as is that of nodes, so recursion is. */
#ifndef SMT_CHAT_INTERNAL_H
#define SMT_CHAT_INTERNAL_H

#include "chat.h"

#define SMT_CHAT_MAX_SOURCE ((size_t)1 << 18)    /* bytes of a template; published ones have up to 20 thousand */
#define SMT_CHAT_MAX_DEPTH  100                  /* of nodes in a tree, of values in one another */
#define SMT_CHAT_MAX_STACK  250                  /* expressions and bodies in one another while rendering, through macros too */
#define SMT_CHAT_MAX_WORK   ((uint64_t)8 << 20)  /* nodes evaluated and 16-byte pieces touched, plus a share of what is given */
#define SMT_CHAT_MAX_MEMORY ((uint64_t)64 << 20) /* bytes of values, plus a multiple of what is given */

/* ---- text that remembers its author ---- */

typedef struct smt_chat_text {
    const char *text;     /* not NUL-terminated */
    const uint8_t *given; /* [bytes], 1: the byte was given by the caller; NULL: all are the template's */
    size_t bytes;
} smt_chat_text;

#define SMT_CHAT_TEXT(literal) ((smt_chat_text){(literal), NULL, sizeof(literal) - 1})
bool smt_chat_equal(smt_chat_text a, smt_chat_text b);
bool smt_chat_is(smt_chat_text text, const char *literal);
static inline smt_chat_text smt_chat_slice(smt_chat_text text, size_t start, size_t end) {
    return (smt_chat_text){text.text + start, text.given ? text.given + start : NULL, end - start};
}

/* ---- tokens (chat_lex.c) ---- */

typedef enum smt_chat_token_kind {
    SMT_CHAT_TOKEN_END,
    SMT_CHAT_TOKEN_TEXT,  /* outside of braces */
    SMT_CHAT_TOKEN_PRINT, /* {{ */
    SMT_CHAT_TOKEN_TAG,   /* {% */
    SMT_CHAT_TOKEN_CLOSE, /* }} or %} */
    SMT_CHAT_TOKEN_NAME,
    SMT_CHAT_TOKEN_STRING, /* escapes resolved */
    SMT_CHAT_TOKEN_INT,
    SMT_CHAT_TOKEN_REAL,
    SMT_CHAT_TOKEN_SIGN /* operators and brackets: the text is one or two characters */
} smt_chat_token_kind;

typedef struct smt_chat_token {
    smt_chat_token_kind kind;
    uint32_t line;
    smt_chat_text text;
    int64_t integer;
    double real;
} smt_chat_token;

/* *out_tokens is to be freed; the texts live in the arena. The last token is SMT_CHAT_TOKEN_END. */
smt_status smt_chat_lex(const char *source, size_t bytes, smt_arena *arena, smt_chat_token **out_tokens, smt_error *err);

/* ---- values ---- */

typedef enum smt_chat_kind {
    SMT_CHAT_UNDEFINED, /* text: the name that was looked for */
    SMT_CHAT_NONE,
    SMT_CHAT_BOOL,
    SMT_CHAT_INT,
    SMT_CHAT_REAL,
    SMT_CHAT_STRING,
    SMT_CHAT_LIST,
    SMT_CHAT_DICT,
    SMT_CHAT_NAMESPACE,
    SMT_CHAT_LOOP,
    SMT_CHAT_MACRO,
    SMT_CHAT_FUNCTION
} smt_chat_kind;

typedef struct smt_chat_node smt_chat_node;
typedef struct smt_chat_list smt_chat_list;
typedef struct smt_chat_dict smt_chat_dict;
typedef struct smt_chat_loop smt_chat_loop;

typedef struct smt_chat_value {
    smt_chat_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        smt_chat_text text;
        const smt_chat_list *list;
        smt_chat_dict *dict; /* also of a namespace, the only one that changes */
        const smt_chat_loop *loop;
        const smt_chat_node *macro;
        uint32_t function;
    };
} smt_chat_value;

struct smt_chat_list {
    uint32_t depth; /* 1: nothing nested */
    size_t count;
    smt_chat_value *items;
};

typedef struct smt_chat_entry {
    smt_chat_text key;
    smt_chat_value value;
} smt_chat_entry;

struct smt_chat_dict { /* in the order of insertion */
    uint32_t depth;
    size_t count, capacity;
    smt_chat_entry *entries;
};

struct smt_chat_loop { /* `loop` inside of a for */
    size_t index, count;
    const smt_chat_value *items;
};

/* ---- nodes (chat_expr.c, chat_parse.c) ---- */

typedef enum smt_chat_node_kind {
    /* expressions */
    SMT_CHAT_LITERAL,   /* value */
    SMT_CHAT_NAME,      /* text */
    SMT_CHAT_MAKE_LIST, /* items */
    SMT_CHAT_MAKE_DICT, /* items: SMT_CHAT_PAIR */
    SMT_CHAT_PAIR,      /* a: key, b: value */
    SMT_CHAT_ATTRIBUTE, /* a . text */
    SMT_CHAT_ITEM,      /* a [ b ] */
    SMT_CHAT_CUT,       /* a [ items: start, stop, step ], each of which may be a NONE literal */
    SMT_CHAT_CALL,      /* a ( items ) */
    SMT_CHAT_KEYWORD,   /* text = a: an argument by name, a parameter with its default */
    SMT_CHAT_METHOD,    /* a . text ( items ), code: which */
    SMT_CHAT_FILTER,    /* a | text ( items ), code: which */
    SMT_CHAT_TEST,      /* a is text ( items ), code: which, negated */
    SMT_CHAT_NOT,       /* a */
    SMT_CHAT_NEGATE,
    SMT_CHAT_PLUS,
    SMT_CHAT_AND, /* a, b */
    SMT_CHAT_OR,
    SMT_CHAT_ARITHMETIC, /* a code b, code: '+' '-' '*' '/' '%' '~', or 'f' for // */
    SMT_CHAT_COMPARE,    /* a, items: SMT_CHAT_OPERAND */
    SMT_CHAT_OPERAND,    /* code: '=' '!' '<' '>' 'l' (<=) 'g' (>=) 'i' (in), negated, a */
    SMT_CHAT_CHOICE,     /* a if b else c; c may be NULL */
    /* statements */
    SMT_CHAT_OUTPUT, /* text */
    SMT_CHAT_PRINT,  /* a */
    SMT_CHAT_IF,     /* items: SMT_CHAT_BRANCH */
    SMT_CHAT_BRANCH, /* a: condition, NULL for else; body */
    SMT_CHAT_FOR,    /* items: targets; a: over what; b: filter or NULL; body; otherwise */
    SMT_CHAT_SET,    /* items: targets; a: the value, or NULL and body */
    SMT_CHAT_DEFINE, /* macro text ( items ) body */
    SMT_CHAT_BREAK,
    SMT_CHAT_CONTINUE
} smt_chat_node_kind;

struct smt_chat_node {
    smt_chat_node_kind kind;
    uint32_t line, depth, code;
    bool negated;
    smt_chat_node *next; /* in the list it is part of */
    smt_chat_node *a, *b, *c, *items, *body, *otherwise;
    smt_chat_text text;
    smt_chat_value value;
};

typedef struct smt_chat_parser {
    smt_arena *arena;             /* borrowed */
    const smt_chat_token *tokens; /* borrowed */
    size_t at;
    uint32_t depth;         /* open expressions and blocks */
    uint32_t loops, scopes; /* open loops; open loops, set blocks and macros */
    smt_error *err;
} smt_chat_parser;

/* Fails with "chat template, line N: ..."; `owner` has an err. */
#define SMT_CHAT_FAIL(owner, code, line, ...) smt_chat_fail((owner)->err, (code), (line), __FILE__, __LINE__, __VA_ARGS__)
SMT_PRINTF(6, 7)
smt_status smt_chat_fail(smt_error *err, smt_status code, uint32_t line, const char *file, int at, const char *format, ...);
/* For "%.*s" of hostile text: at most 60 bytes. */
#define SMT_CHAT_ARG(string) (int)smt_min_u64((string).bytes, 60), (string).text

/* chat_expr.c */
const smt_chat_token *smt_chat_peek(const smt_chat_parser *parser);
bool smt_chat_at_sign(const smt_chat_parser *parser, const char *sign);
bool smt_chat_at_word(const smt_chat_parser *parser, const char *word);
bool smt_chat_take_sign(smt_chat_parser *parser, const char *sign);
bool smt_chat_take_word(smt_chat_parser *parser, const char *word);
smt_status smt_chat_want_sign(smt_chat_parser *parser, const char *sign);
smt_status smt_chat_want_name(smt_chat_parser *parser, const char *what, smt_chat_text *out);
smt_status smt_chat_node_make(smt_chat_parser *parser, smt_chat_node_kind kind, smt_chat_node **out);
/* Sets the depth from the children, which must be complete; too deep is an error. */
smt_status smt_chat_node_close(smt_chat_parser *parser, smt_chat_node *node);
smt_status smt_chat_parse_expr(smt_chat_parser *parser, bool with_choice, smt_chat_node **out);
/* `a, b` as a list; a single one without comma as itself. */
smt_status smt_chat_parse_tuple(smt_chat_parser *parser, smt_chat_node **out);

/* chat_parse.c: the statements of a template as a list */
smt_status smt_chat_parse(const char *source, size_t bytes, smt_arena *arena, smt_chat_node **out, smt_error *err);

/* ---- one rendering ---- */

typedef struct smt_chat_variable {
    smt_chat_text name;
    smt_chat_value value;
} smt_chat_variable;

typedef struct smt_chat_builder { /* text under construction, in the arena */
    char *text;
    uint8_t *given; /* NULL as long as nothing given came in */
    size_t bytes, capacity;
} smt_chat_builder;

typedef struct smt_chat_run {
    smt_arena arena; /* owned */
    smt_error *err;
    uint64_t work, max_work, memory, max_memory;
    smt_chat_variable *variables; /* owned: outer to inner */
    size_t n_variables, variable_capacity;
    uint32_t scopes;          /* open ones; 0: the template's own */
    size_t frame;             /* first variable of the innermost scope */
    size_t visible, n_global; /* seen are [visible, n_variables), and [0, n_global), the template's own, from inside of a macro */
    uint32_t depth;           /* of expressions and bodies under way */
    smt_chat_builder *out;
    enum { SMT_CHAT_ON, SMT_CHAT_BREAKS, SMT_CHAT_CONTINUES } flow;
} smt_chat_run;

/* chat_value.c */
smt_status smt_chat_spend(smt_chat_run *run, uint64_t work, uint32_t line); /* of the bounded work */
smt_status smt_chat_descend(smt_chat_run *run, uint32_t line);              /* of the bounded stack: run->depth-- undoes it */
smt_status smt_chat_alloc(smt_chat_run *run, size_t n, size_t size, void **out);
smt_status smt_chat_append(smt_chat_run *run, smt_chat_builder *builder, smt_chat_text text);
static inline smt_chat_text smt_chat_built(const smt_chat_builder *builder) {
    return (smt_chat_text){builder->text ? builder->text : "", builder->given, builder->bytes};
}
smt_status smt_chat_copy_given(smt_chat_run *run, const char *text, size_t bytes, smt_chat_text *out);
smt_chat_value smt_chat_bool(bool truth);
smt_chat_value smt_chat_int(int64_t integer);
smt_chat_value smt_chat_string(smt_chat_text text);
smt_chat_value smt_chat_undefined(smt_chat_text name);
/* A list of `count` items to be filled in, then closed: that checks the depth and that the items may be in a list. */
smt_status smt_chat_list_make(smt_chat_run *run, size_t count, smt_chat_value *out, smt_chat_value **out_items);
smt_status smt_chat_list_close(smt_chat_run *run, uint32_t line, const smt_chat_value *list);
smt_status smt_chat_dict_make(smt_chat_run *run, smt_chat_kind kind, smt_chat_value *out);
smt_status smt_chat_dict_set(smt_chat_run *run, uint32_t line, const smt_chat_value *dict, smt_chat_text key,
                             smt_chat_value value);
const smt_chat_value *smt_chat_dict_find(const smt_chat_dict *dict, smt_chat_text key); /* NULL: not there */
bool smt_chat_truth(const smt_chat_value *value);
const char *smt_chat_kind_name(const smt_chat_value *value);
smt_status smt_chat_same(smt_chat_run *run, const smt_chat_value *a, const smt_chat_value *b, bool *out);
/* SMT_INVALID where the kinds have no order. */
smt_status smt_chat_order(smt_chat_run *run, uint32_t line, const smt_chat_value *a, const smt_chat_value *b, int *out);
smt_status smt_chat_contains(smt_chat_run *run, uint32_t line, const smt_chat_value *in, const smt_chat_value *what, bool *out);
/* Offset of the first occurrence at or after `from`; SIZE_MAX: none. */
size_t smt_chat_search(smt_chat_text text, smt_chat_text what, size_t from);
/* What a for runs over: the items of a list, the keys of a dictionary, the characters of a string. */
smt_status smt_chat_items(smt_chat_run *run, uint32_t line, const smt_chat_value *value, const smt_chat_value **out_items,
                          size_t *out_count);
size_t smt_chat_char(smt_chat_text text, size_t at); /* bytes of the character at `at` */
size_t smt_chat_count(smt_chat_text text);           /* characters */
bool smt_chat_is_mapping(const smt_chat_value *value);

/* chat_write.c */
/* As {{ }} prints it; with `quoted`, as inside of a printed list. */
smt_status smt_chat_write(smt_chat_run *run, smt_chat_builder *out, const smt_chat_value *value, bool quoted);
/* indent -1: on one line. */
smt_status smt_chat_write_json(smt_chat_run *run, uint32_t line, smt_chat_builder *out, const smt_chat_value *value, int indent);
smt_status smt_chat_to_text(smt_chat_run *run, const smt_chat_value *value, smt_chat_text *out);

/* chat_json.c: `what` names the text in messages */
smt_status smt_chat_from_json(smt_chat_run *run, const char *json, const char *what, smt_chat_value *out);

/* chat_eval.c */
smt_status smt_chat_eval(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out);
const smt_chat_value *smt_chat_variable_find(const smt_chat_run *run, smt_chat_text name);

/* chat_run.c */
smt_status smt_chat_run_body(smt_chat_run *run, const smt_chat_node *body);
smt_status smt_chat_run_macro(smt_chat_run *run, const smt_chat_node *call, const smt_chat_node *macro, smt_chat_value *out);
/* Sets a variable of the innermost scope. */
smt_status smt_chat_variable_set(smt_chat_run *run, smt_chat_text name, smt_chat_value value);

/* ---- arguments of filters, tests, methods and functions ---- */

#define SMT_CHAT_MAX_ARGS 4
typedef struct smt_chat_args {
    uint32_t line;
    smt_chat_text name;                       /* of what is called */
    size_t count;                             /* those given by position or name: the first `count` of values */
    smt_chat_value values[SMT_CHAT_MAX_ARGS]; /* SMT_CHAT_UNDEFINED where not given */
} smt_chat_args;
/* Evaluates the arguments of a node; `names` are the parameters in order, comma-separated. */
smt_status smt_chat_args_read(smt_chat_run *run, const smt_chat_node *node, const char *names, smt_chat_args *out);
smt_status smt_chat_args_text(smt_chat_run *run, const smt_chat_args *args, size_t index, smt_chat_text *out);
smt_status smt_chat_args_int(smt_chat_run *run, const smt_chat_args *args, size_t index, int64_t *inout);

/* chat_filter.c, chat_method.c: codes of names for the parser, -1: there is none; then what they do. */
int smt_chat_filter_code(smt_chat_text name);
int smt_chat_test_code(smt_chat_text name);
int smt_chat_method_code(smt_chat_text name);
smt_status smt_chat_filter(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, smt_chat_value *out);
smt_status smt_chat_test(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, bool *out);
smt_status smt_chat_method(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *value, smt_chat_value *out);
int smt_chat_function_code(smt_chat_text name);
smt_status smt_chat_function(smt_chat_run *run, const smt_chat_node *node, uint32_t function, smt_chat_value *out);
/* The string operations that filters and methods share. */
smt_chat_text smt_chat_strip(smt_chat_text text, const smt_chat_text *set, bool left, bool right); /* set NULL: white space */
smt_status smt_chat_replace(smt_chat_run *run, const smt_chat_args *args, smt_chat_text text, smt_chat_value *out);
typedef enum smt_chat_case { SMT_CHAT_UPPER, SMT_CHAT_LOWER, SMT_CHAT_CAPITALIZE, SMT_CHAT_TITLE } smt_chat_case;
smt_status smt_chat_recase(smt_chat_run *run, smt_chat_text text, smt_chat_case to, smt_chat_value *out);
smt_status smt_chat_join(smt_chat_run *run, uint32_t line, const smt_chat_value *list, smt_chat_text between,
                         smt_chat_value *out);
smt_status smt_chat_pairs(smt_chat_run *run, uint32_t line, const smt_chat_value *dict, smt_chat_value *out); /* items() */

/* ---- templates known by name (chat_known.c) ---- */

typedef struct smt_chat_row {
    const char *name;
    const char *marks[3]; /* a source with all of these is this template */
    const char *stops[3]; /* texts that begin the next turn */
    const char *turns[2]; /* tokens that end an answer because they begin another turn, or by their meaning */
    const char *source;   /* the program */
} smt_chat_row;
const smt_chat_row *smt_chat_row_named(const char *name, size_t bytes);
const smt_chat_row *smt_chat_row_of(const char *source, size_t bytes);

#endif
