/* chat_lex.c: template source to tokens.
 *
 * White space is treated as the library does that the templates are written for, with the two options it is run with: the
 * newline after a {% %} or {# #} goes, and so do the blanks before one on its line; "-" inside of a brace takes all white space on
 * its side, "+" keeps it. Newlines of any kind become line feeds, and one at the very end is dropped. */
#include "chat_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    char *text; /* in the arena: the source with its newlines made even */
    size_t bytes, at;
    uint32_t line;
    bool line_start; /* what came last ended with a newline, or nothing came yet */
    smt_arena *arena;
    smt_chat_token *tokens; /* owned until handed over */
    size_t n_tokens, capacity;
    smt_error *err;
} lexer;

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

/* The character `ahead` of the position; NUL beyond the end. */
static char peek(const lexer *lex, size_t ahead) { return lex->bytes - lex->at > ahead ? lex->text[lex->at + ahead] : 0; }
static bool at(const lexer *lex, const char *sign) { return peek(lex, 0) == sign[0] && (!sign[1] || peek(lex, 1) == sign[1]); }

static smt_status add(lexer *lex, smt_chat_token token) {
    SMT_TRY(smt_grow((void **)&lex->tokens, &lex->capacity, lex->n_tokens + 1, sizeof *lex->tokens, lex->err));
    token.line = token.line ? token.line : lex->line;
    lex->tokens[lex->n_tokens++] = token;
    return SMT_OK;
}

static void advance(lexer *lex, size_t to) {
    for (; lex->at < to; lex->at++) lex->line += lex->text[lex->at] == '\n';
}

static smt_status even_newlines(lexer *lex, const char *source, size_t bytes) {
    lex->text = smt_arena_alloc(lex->arena, bytes + 1, 1);
    if (!lex->text) return SMT_FAIL(lex->err, SMT_MEMORY, "out of memory for a chat template of %zu bytes", bytes);
    for (size_t i = 0; i < bytes; i++) {
        char c = source[i];
        if (c == '\r' && i + 1 < bytes && source[i + 1] == '\n') continue;
        lex->text[lex->bytes++] = c == '\r' ? '\n' : c;
    }
    if (lex->bytes && lex->text[lex->bytes - 1] == '\n') lex->bytes--;
    return SMT_OK;
}

/* ---- inside of braces ---- */

static smt_status lex_number(lexer *lex) {
    size_t start = lex->at, end = start;
    bool real = false;
    while (end < lex->bytes && (is_digit(lex->text[end]) || lex->text[end] == '_')) end++;
    if (end + 1 < lex->bytes && lex->text[end] == '.' && is_digit(lex->text[end + 1])) {
        real = true;
        for (end++; end < lex->bytes && is_digit(lex->text[end]);) end++;
    }
    char digits[48];
    size_t n = 0;
    for (size_t i = start; i < end && n < sizeof digits - 1; i++)
        if (lex->text[i] != '_') digits[n++] = lex->text[i];
    digits[n] = 0;
    smt_chat_token token = {.kind = real ? SMT_CHAT_TOKEN_REAL : SMT_CHAT_TOKEN_INT,
                            .text = {lex->text + start, NULL, end - start}};
    errno = 0;
    token.real = strtod(digits, NULL);
    token.integer = real ? 0 : strtoll(digits, NULL, 10);
    if (errno || n == sizeof digits - 1 || (end < lex->bytes && is_name(lex->text[end])))
        return SMT_CHAT_FAIL(lex, SMT_UNSUPPORTED, lex->line, "the number \"%.*s\"", (int)smt_min_u64(end + 1 - start, 40),
                             lex->text + start);
    SMT_TRY(add(lex, token));
    lex->at = end;
    return SMT_OK;
}

static size_t put_utf8(uint32_t c, char *out) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 63));
    out[2] = (char)(0x80 | (c & 63));
    return 3;
}

/* A backslash sequence at `from` into `out` (it never grows); returns the bytes read. */
static size_t unescape(const char *from, size_t left, char *out, size_t *n_out) {
    static const char letters[] = "ntrabfv\\'\"", meanings[] = "\n\t\r\a\b\f\v\\'\"";
    const char *letter = from[1] ? strchr(letters, from[1]) : NULL;
    if (letter) return out[(*n_out)++] = meanings[letter - letters], 2;
    if (from[1] == '\n') return 2; /* the line goes on */
    size_t digits = from[1] == 'x' ? 2 : from[1] == 'u' ? 4 : 0;
    uint32_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = i + 2 < left ? from[i + 2] : 0;
        bool letter_digit = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (!is_digit(c) && !letter_digit) digits = 0;
        value = value * 16 + (uint32_t)(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    bool surrogate = value >= 0xd800 && value < 0xe000;
    if (digits && !surrogate) return *n_out += put_utf8(value, out + *n_out), digits + 2;
    out[(*n_out)++] = '\\'; /* no escape: the backslash stands for itself */
    return 1;
}

static smt_status lex_string(lexer *lex) {
    char quote = peek(lex, 0);
    size_t start = lex->at + 1, end = start;
    while (end < lex->bytes && lex->text[end] != quote) end += lex->text[end] == '\\' ? 2 : 1;
    if (end >= lex->bytes) return SMT_CHAT_FAIL(lex, SMT_FORMAT, lex->line, "a string without its closing %c", quote);
    char *out = smt_arena_alloc(lex->arena, end - start + 1, 1);
    if (!out) return SMT_CHAT_FAIL(lex, SMT_MEMORY, lex->line, "out of memory for a string of %zu bytes", end - start);
    size_t n = 0;
    for (size_t i = start; i < end;) {
        if (lex->text[i] == '\\')
            i += unescape(lex->text + i, end - i, out, &n);
        else
            out[n++] = lex->text[i++];
    }
    SMT_TRY(add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_STRING, .text = {out, NULL, n}}));
    advance(lex, end + 1);
    return SMT_OK;
}

static smt_status lex_sign(lexer *lex) {
    static const char *const signs[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<",
                                        ">",  "=",  "(",  ")",  "[",  "]",  "{", "}", ",", ":", ".", "|"};
    for (size_t i = 0; i < SMT_COUNT(signs); i++) {
        if (!at(lex, signs[i])) continue;
        size_t length = strlen(signs[i]);
        SMT_TRY(add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_SIGN, .text = {lex->text + lex->at, NULL, length}}));
        lex->at += length;
        return SMT_OK;
    }
    return SMT_CHAT_FAIL(lex, SMT_FORMAT, lex->line, "the character 0x%02X inside of braces", (unsigned char)peek(lex, 0));
}

/* Steps over the end of a brace and the white space that goes with it; false: it is not here. */
static bool take_close(lexer *lex, const char *close, bool takes_newline) {
    char sign = peek(lex, 0);
    size_t skip = (sign == '-' || (sign == '+' && takes_newline)) && peek(lex, 1) == close[0] && peek(lex, 2) == close[1];
    if (!skip && !at(lex, close)) return false;
    size_t end = lex->at + skip + 2;
    if (skip && sign == '-')
        while (end < lex->bytes && is_blank(lex->text[end])) end++;
    else if (!skip && takes_newline && end < lex->bytes && lex->text[end] == '\n')
        end++;
    advance(lex, end);
    lex->line_start = lex->text[end - 1] == '\n';
    return true;
}

static smt_status lex_braces(lexer *lex, bool is_tag) {
    uint32_t opened = lex->line;
    size_t depth = 0; /* of brackets: a dictionary may end in }} */
    const char *close = is_tag ? "%}" : "}}";
    SMT_TRY(add(lex, (smt_chat_token){.kind = is_tag ? SMT_CHAT_TOKEN_TAG : SMT_CHAT_TOKEN_PRINT}));
    for (;;) {
        while (is_blank(peek(lex, 0))) advance(lex, lex->at + 1);
        uint32_t line = lex->line;
        if (depth == 0 && take_close(lex, close, is_tag))
            return add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_CLOSE, .line = line});
        char c = peek(lex, 0);
        if (lex->at >= lex->bytes) return SMT_CHAT_FAIL(lex, SMT_FORMAT, opened, "braces that are not closed by %s", close);
        if (c == '\'' || c == '"') {
            SMT_TRY(lex_string(lex));
        } else if (is_digit(c)) {
            SMT_TRY(lex_number(lex));
        } else if (is_name(c)) {
            size_t end = lex->at;
            while (end < lex->bytes && is_name(lex->text[end])) end++;
            smt_chat_text name = {lex->text + lex->at, NULL, end - lex->at};
            SMT_TRY(add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_NAME, .text = name}));
            lex->at = end;
        } else {
            depth += c == '(' || c == '[' || c == '{';
            if (depth > 0) depth -= c == ')' || c == ']' || c == '}';
            SMT_TRY(lex_sign(lex));
        }
    }
}

/* ---- outside ---- */

/* The text before a brace, without the white space that the brace takes. */
static smt_status add_text(lexer *lex, size_t end, bool strips, bool strips_line) {
    size_t start = lex->at;
    uint32_t line = lex->line;
    bool fresh = lex->line_start;
    advance(lex, end);
    if (strips)
        while (end > start && is_blank(lex->text[end - 1])) end--;
    if (strips_line) {
        size_t cut = end;
        while (cut > start && is_blank(lex->text[cut - 1]) && lex->text[cut - 1] != '\n') cut--;
        if (cut > start ? lex->text[cut - 1] == '\n' : fresh) end = cut;
    }
    if (end == start) return SMT_OK;
    return add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_TEXT, .line = line, .text = {lex->text + start, NULL, end - start}});
}

static smt_status skip_comment(lexer *lex) {
    uint32_t opened = lex->line;
    while (lex->at < lex->bytes)
        if (take_close(lex, "#}", true))
            return SMT_OK;
        else
            advance(lex, lex->at + 1);
    return SMT_CHAT_FAIL(lex, SMT_FORMAT, opened, "a comment that is not closed by #}");
}

static smt_status lex_all(lexer *lex) {
    while (lex->at < lex->bytes) {
        size_t open = lex->at;
        while (open < lex->bytes &&
               !(lex->text[open] == '{' && open + 1 < lex->bytes && strchr("{%#", lex->text[open + 1]) && lex->text[open + 1]))
            open++;
        char kind = open < lex->bytes ? lex->text[open + 1] : 0, sign = open + 2 < lex->bytes ? lex->text[open + 2] : 0;
        SMT_TRY(add_text(lex, open, kind && sign == '-', (kind == '%' || kind == '#') && sign != '+'));
        if (!kind) break;
        lex->line_start = false;
        lex->at += sign == '-' || sign == '+' ? 3 : 2;
        SMT_TRY(kind == '#' ? skip_comment(lex) : lex_braces(lex, kind == '%'));
    }
    return add(lex, (smt_chat_token){.kind = SMT_CHAT_TOKEN_END});
}

smt_status smt_chat_lex(const char *source, size_t bytes, smt_arena *arena, smt_chat_token **out_tokens, smt_error *err) {
    *out_tokens = NULL;
    if (bytes > SMT_CHAT_MAX_SOURCE)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "a chat template of %zu bytes, at most %zu are accepted", bytes,
                        SMT_CHAT_MAX_SOURCE);
    lexer lex = {.line = 1, .line_start = true, .arena = arena, .err = err};
    smt_status status = even_newlines(&lex, source, bytes);
    if (status == SMT_OK) status = lex_all(&lex);
    if (status == SMT_OK)
        *out_tokens = lex.tokens;
    else
        smt_free(lex.tokens);
    return status;
}
