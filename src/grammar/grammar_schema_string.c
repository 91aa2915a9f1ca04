/* grammar_schema_string.c: strings by length, by format, or by a regular expression.
 *
 * Of regular expressions the part is taken that describes a language character by character: texts, . [classes] \d \w \s and
 * their opposites, groups, |, * + ? {m,n} (lazy or not), ^ at the very beginning and $ at the very end. Where one of the latter
 * is missing, anything may come before or after, as JSON schema has it. Everything else (look-around, back references, \b, \p) is
 * refused by name. What comes out is the text as JSON spells it: a quote or a backslash of the expression becomes its escape. */
#include "grammar_schema.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- lengths and formats ---- */

static const struct format_row {
    const char *name, *body;
} formats[] = {
#define DATE "[0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])"
#define TIME                                                                              \
    "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? " \
    "(\"Z\" | [+-] ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])"
#define BYTE "(\"25\" [0-5] | \"2\" [0-4] [0-9] | \"1\" [0-9]{2} | [1-9]? [0-9])"
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE " \"T\" " TIME},
    {"uuid", "[0-9a-f]{8} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{4} \"-\" [0-9a-f]{12}"},
    {"ipv4", BYTE " (\".\" " BYTE "){3}"},
};

static smt_status put_format(smt_schema *s, const char *format, smt_str *out) {
    for (size_t i = 0; i < SMT_COUNT(formats); i++)
        if (!strcmp(format, formats[i].name)) {
            SMT_PUT(s, out, "\"\\\"\" %s \"\\\"\"", formats[i].body);
            return SMT_OK;
        }
    return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"format\" %.60s is not supported: date, time, date-time, uuid and ipv4 are",
                           format);
}

static smt_status put_lengths(smt_schema *s, json_t *schema, smt_str *out) {
    uint32_t min = 0, max = UINT32_MAX;
    SMT_TRY(smt_schema_count(s, schema, "minLength", &min));
    SMT_TRY(smt_schema_count(s, schema, "maxLength", &max));
    if (min > max) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"minLength\" %u is more than \"maxLength\" %u", min, max);
    SMT_PUT(s, out, "\"\\\"\" ");
    SMT_TRY(smt_schema_use(s, SMT_COMMON_CHAR, out));
    SMT_PUT(s, out, "{%u,", min);
    if (max != UINT32_MAX) SMT_PUT(s, out, "%u", max);
    SMT_PUT(s, out, "} \"\\\"\"");
    return SMT_OK;
}

smt_status smt_schema_string(smt_schema *s, json_t *schema, smt_str *out) {
    json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    bool lengths = json_object_get(schema, "minLength") || json_object_get(schema, "maxLength");
    if (!pattern && !format && !lengths) return smt_schema_use(s, SMT_COMMON_STRING, out);
    if ((pattern != NULL) + (format != NULL) + lengths > 1)
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "of \"pattern\", \"format\" and lengths only one at a time is supported%s",
                               "");
    if ((pattern && !json_is_string(pattern)) || (format && !json_is_string(format)))
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"%s\" is no text", pattern ? "pattern" : "format");
    smt_str body = {0};
    smt_status status = pattern  ? smt_schema_pattern(s, json_string_value(pattern), &body)
                        : format ? put_format(s, json_string_value(format), &body)
                                 : put_lengths(s, schema, &body);
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    return status;
}

/* ---- regular expressions ---- */

typedef struct regex {
    smt_schema *s;
    const char *text, *at;
    uint32_t depth;
} regex;

#define REGEX_FAIL(r, what) \
    SMT_SCHEMA_FAIL((r)->s, SMT_UNSUPPORTED, "\"pattern\" %.60s: %s, at byte %zu", (r)->text, what, (size_t)((r)->at - (r)->text))

/* How JSON spells a character: itself, or its escape. */
static smt_status put_char(regex *r, uint32_t c, smt_str *out) {
    static const char escaped[] = "\"\"\\\\\nn\tt\rr\ff\bb";
    char text[8] = {'\\', 0};
    for (size_t i = 0; i + 1 < sizeof escaped; i += 2)
        if ((uint32_t)escaped[i] == c) {
            text[1] = escaped[i + 1];
            return smt_schema_literal(r->s, text, 2, out);
        }
    if (c < 0x20 || c == 0x7f) return REGEX_FAIL(r, "a control character");
    return smt_schema_literal(r->s, text, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)text), out);
}

static const char *class_of_escape(char c) {
    switch (c) {
    case 'd':
        return "0-9";
    case 'w':
        return "0-9A-Za-z_";
    case 's':
        return " "; /* the others of its characters would be escapes */
    case 'D':
        return "^0-9";
    case 'W':
        return "^0-9A-Za-z_";
    case 'S':
        return "^ ";
    default:
        return NULL;
    }
}

/* Opposites leave out what JSON escapes. */
static smt_status put_class(regex *r, const char *members, smt_str *out) {
    bool negated = *members == '^';
    SMT_PUT(r->s, out, "[%s%s%s]", negated ? "^" : "", members + negated, negated ? "\\\"\\\\\\x00-\\x1F\\x7F" : "");
    return SMT_OK;
}

static smt_status read_hex(regex *r, int digits, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < digits; i++, r->at++) {
        static const char known[] = "0123456789abcdefABCDEF";
        const char *digit = *r->at ? strchr(known, *r->at) : NULL;
        if (!digit) return REGEX_FAIL(r, "a hexadecimal digit is expected");
        *out = *out << 4 | (uint32_t)(digit - known < 16 ? digit - known : digit - known - 6);
    }
    return *out >= 0xd800 && *out <= 0xdfff ? REGEX_FAIL(r, "half a surrogate pair") : SMT_OK;
}

/* A single character: behind a backslash, or as it stands. */
static smt_status read_char(regex *r, uint32_t *out) {
    static const char escapes[] = "n\nt\tr\rf\f";
    utf8proc_int32_t c;
    if (*r->at != '\\') {
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)r->at, -1, &c);
        if (n <= 0) return REGEX_FAIL(r, "a character is expected");
        r->at += n;
        *out = (uint32_t)c;
        return SMT_OK;
    }
    char e = *++r->at;
    if (e == 'x' || e == 'u') {
        r->at++;
        return read_hex(r, e == 'x' ? 2 : 4, out);
    }
    for (size_t i = 0; i + 1 < sizeof escapes; i += 2)
        if (escapes[i] == e) {
            r->at++;
            *out = (uint32_t)escapes[i + 1];
            return SMT_OK;
        }
    if (!e || strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", e) || (e & 0x80))
        return REGEX_FAIL(r, "this escape is not supported");
    *out = (uint32_t)e;
    r->at++;
    return SMT_OK;
}

/* One member of a class into `members` (of a GBNF class), or, where JSON escapes it, into `escapes` as an alternative. */
static smt_status put_member(regex *r, bool negated, smt_str *members, smt_str *escapes) {
    uint32_t low, high;
    const char *set = *r->at == '\\' ? class_of_escape(r->at[1]) : NULL;
    if (set) {
        if (*set == '^') return REGEX_FAIL(r, "an opposite inside of a class is not supported");
        r->at += 2;
        return smt_str_append(members, set, strlen(set), r->s->err);
    }
    SMT_TRY(read_char(r, &low));
    high = low;
    if (*r->at == '-' && r->at[1] && r->at[1] != ']') {
        r->at++;
        SMT_TRY(read_char(r, &high));
    }
    if (high < low) return REGEX_FAIL(r, "a range whose end comes before its beginning");
    if (low == high && !negated && (low < 0x20 || low == '"' || low == '\\')) {
        SMT_PUT(r->s, escapes, " | ");
        return put_char(r, low, escapes);
    }
    static const uint32_t special[] = {'"', '\\', 0x7f}; /* a range goes around them: a JSON string has them only as escapes */
    for (size_t i = 0; i <= SMT_COUNT(special) && low <= high; i++) {
        uint32_t stop = i < SMT_COUNT(special) && !negated ? special[i] : UINT32_MAX, last = stop > high ? high : stop - 1;
        if (low < 0x20 && !negated) low = 0x20;
        if (stop < low) continue;
        if (low <= last) {
            SMT_TRY(smt_schema_class_char(r->s, low, members));
            SMT_PUT(r->s, members, "-");
            SMT_TRY(smt_schema_class_char(r->s, last, members));
        }
        if (stop > high) break;
        low = stop + 1;
    }
    return SMT_OK;
}

static smt_status read_class(regex *r, smt_str *out) {
    smt_str members = {0}, escapes = {0};
    smt_status status = SMT_OK;
    bool negated = *++r->at == '^';
    if (negated) {
        r->at++;
        status = smt_str_append(&members, "^", 1, r->s->err);
    }
    while (status == SMT_OK && *r->at != ']')
        status = *r->at ? put_member(r, negated, &members, &escapes) : REGEX_FAIL(r, "a class without its end");
    r->at++;
    bool empty = members.bytes <= (size_t)negated;
    if (status == SMT_OK && empty && escapes.bytes == 0)
        status = REGEX_FAIL(r, "a class without characters that can stand in a JSON string");
    if (status == SMT_OK) status = smt_str_append(out, "(", 1, r->s->err);
    if (status == SMT_OK && !empty) status = put_class(r, members.text, out);
    if (status == SMT_OK && escapes.bytes)
        status = smt_str_append(out, escapes.text + (empty ? 3 : 0), escapes.bytes - (empty ? 3 : 0), r->s->err);
    if (status == SMT_OK) status = smt_str_append(out, ")", 1, r->s->err);
    smt_str_free(&members);
    smt_str_free(&escapes);
    return status;
}

static smt_status read_choice(regex *r, smt_str *out);

static smt_status read_group(regex *r, smt_str *out) {
    if (++r->depth > SMT_SCHEMA_DEPTH) return REGEX_FAIL(r, "groups are nested too deep");
    r->at++;
    if (*r->at == '?' && r->at[1] == ':')
        r->at += 2;
    else if (*r->at == '?')
        return REGEX_FAIL(r, "groups that begin with (? are not supported, but for (?:");
    SMT_TRY(read_choice(r, out));
    if (*r->at != ')') return REGEX_FAIL(r, "a group without its end");
    r->at++;
    r->depth--;
    return SMT_OK;
}

static smt_status read_atom(regex *r, smt_str *out) {
    uint32_t c;
    const char *set = *r->at == '\\' ? class_of_escape(r->at[1]) : NULL;
    if (*r->at == '(') return read_group(r, out);
    if (*r->at == '[') return read_class(r, out);
    if (*r->at == '.') {
        r->at++;
        return smt_schema_use(r->s, SMT_COMMON_PLAIN, out);
    }
    if (set) {
        r->at += 2;
        return put_class(r, set, out);
    }
    if (strchr("*+?{}^$", *r->at)) return REGEX_FAIL(r, "this character cannot stand here");
    SMT_TRY(read_char(r, &c));
    return put_char(r, c, out);
}

/* {m}, {m,} or {m,n}, digits checked by the grammar's parser. */
static smt_status read_quantifier(regex *r, smt_str *out) {
    size_t n = 1;
    if (!*r->at || !strchr("*+?{", *r->at)) return SMT_OK;
    if (*r->at == '{') {
        n = 1 + strspn(r->at + 1, "0123456789,");
        if (r->at[n++] != '}' || n < 3 || r->at[1] == ',') return REGEX_FAIL(r, "a repetition is {m}, {m,} or {m,n}");
    }
    SMT_TRY(smt_str_append(out, r->at, n, r->s->err));
    r->at += n;
    if (*r->at == '?') r->at++; /* lazy: the same texts */
    return *r->at == '+' || *r->at == '*' ? REGEX_FAIL(r, "a repetition of a repetition") : SMT_OK;
}

static smt_status read_choice(regex *r, smt_str *out) {
    SMT_PUT(r->s, out, "(");
    while (*r->at && *r->at != ')' && !(r->at[0] == '$' && !r->at[1])) {
        SMT_TRY(smt_schema_work(r->s));
        if (*r->at == '|') {
            SMT_PUT(r->s, out, " |");
            r->at++;
        } else {
            SMT_TRY(read_atom(r, out));
            SMT_TRY(read_quantifier(r, out));
        }
        SMT_PUT(r->s, out, " ");
    }
    SMT_PUT(r->s, out, ")");
    return SMT_OK;
}

/* An anchor would hold for one alternative only. */
static bool has_outer_bar(const char *pattern) {
    int depth = 0;
    bool in_class = false;
    for (const char *at = pattern; *at; at++) {
        if (*at == '\\' && at[1])
            at++;
        else if (in_class)
            in_class = *at != ']';
        else if (*at == '[')
            in_class = true;
        else if (*at == '(' || *at == ')')
            depth += *at == '(' ? 1 : -1;
        else if (*at == '|' && depth == 0)
            return true;
    }
    return false;
}

smt_status smt_schema_pattern(smt_schema *s, const char *pattern, smt_str *out) {
    regex r = {.s = s, .text = pattern, .at = pattern};
    bool begins = *pattern == '^';
    size_t n = strlen(pattern);
    if (has_outer_bar(pattern) && (begins || (n && pattern[n - 1] == '$')))
        return REGEX_FAIL(&r, "alternatives beside ^ or $ have to be in a group");
    SMT_PUT(s, out, "\"\\\"\" ");
    if (begins)
        r.at++;
    else
        SMT_TRY(smt_schema_use(s, SMT_COMMON_CHAR, out));
    if (!begins) SMT_PUT(s, out, "* ");
    SMT_TRY(read_choice(&r, out));
    if (*r.at == ')') return REGEX_FAIL(&r, "a group that was not begun");
    if (!*r.at) {
        SMT_PUT(s, out, " ");
        SMT_TRY(smt_schema_use(s, SMT_COMMON_CHAR, out));
        SMT_PUT(s, out, "*");
    }
    SMT_PUT(s, out, " \"\\\"\"");
    return SMT_OK;
}
