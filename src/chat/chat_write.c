/* chat_write.c: values as text, in the two notations templates print: the language's own (True, None, ['a', 1]) and JSON, spelled
 * as models saw it in training: ", " and ": " between, characters beyond ASCII as they are, newlines and four blanks where an
 * indent is asked for. Strings keep their marks, whatever they are wrapped in. */
#include "chat_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static smt_status put(smt_chat_run *run, smt_chat_builder *out, const char *text) {
    return smt_chat_append(run, out, (smt_chat_text){text, NULL, strlen(text)});
}

/* The shortest digits that read back as the same number, in plain notation from 1e-4 up to 1e16. */
static void print_real(double value, char *text, size_t capacity) {
    if (isnan(value) || isinf(value)) {
        snprintf(text, capacity, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, capacity, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) break;
    }
    snprintf(text, capacity, "%.*e", digits - 1, value);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 16) return;
    int decimals = digits - 1 - exponent;
    snprintf(text, capacity, "%.*f", decimals > 1 ? decimals : 1, value);
}

static smt_status put_number(smt_chat_run *run, smt_chat_builder *out, const smt_chat_value *value) {
    char text[48];
    if (value->kind == SMT_CHAT_REAL)
        print_real(value->real, text, sizeof text);
    else
        snprintf(text, sizeof text, "%" PRId64, value->integer);
    return put(run, out, text);
}

/* A string between quotes; what `escape` gives for a byte takes its place, with its mark. */
static smt_status put_escaped(smt_chat_run *run, smt_chat_builder *out, smt_chat_text text, char quote,
                              const char *(*escape)(uint8_t byte, char quote, char buffer[8])) {
    char buffer[8] = {quote};
    SMT_TRY(smt_chat_append(run, out, (smt_chat_text){buffer, NULL, 1}));
    size_t done = 0;
    for (size_t at = 0; at < text.bytes; at++) {
        const char *instead = escape((uint8_t)text.text[at], quote, buffer);
        if (!instead) continue;
        static const uint8_t all_given[8] = {1, 1, 1, 1, 1, 1, 1, 1};
        bool given = text.given && text.given[at];
        SMT_TRY(smt_chat_append(run, out, smt_chat_slice(text, done, at)));
        SMT_TRY(smt_chat_append(run, out, (smt_chat_text){instead, given ? all_given : NULL, strlen(instead)}));
        done = at + 1;
    }
    SMT_TRY(smt_chat_append(run, out, smt_chat_slice(text, done, text.bytes)));
    buffer[0] = quote;
    return smt_chat_append(run, out, (smt_chat_text){buffer, NULL, 1});
}

static const char *short_escape(uint8_t byte) {
    switch (byte) {
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

static const char *escape_json(uint8_t byte, char quote, char buffer[8]) {
    (void)quote;
    const char *fixed = byte == '"' ? "\\\"" : byte == '\b' ? "\\b" : byte == '\f' ? "\\f" : short_escape(byte);
    if (fixed || byte >= 32) return fixed;
    snprintf(buffer, 8, "\\u%04x", byte);
    return buffer;
}

static const char *escape_own(uint8_t byte, char quote, char buffer[8]) {
    const char *fixed = byte == (uint8_t)quote ? (quote == '"' ? "\\\"" : "\\'") : short_escape(byte);
    if (fixed || (byte >= 32 && byte != 127)) return fixed;
    snprintf(buffer, 8, "\\x%02x", byte);
    return buffer;
}

/* ---- the language's own notation ---- */

static smt_status write_dict(smt_chat_run *run, smt_chat_builder *out, const smt_chat_dict *dict) {
    SMT_TRY(put(run, out, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        smt_chat_value key = smt_chat_string(dict->entries[i].key);
        if (i) SMT_TRY(put(run, out, ", "));
        SMT_TRY(smt_chat_write(run, out, &key, true));
        SMT_TRY(put(run, out, ": "));
        SMT_TRY(smt_chat_write(run, out, &dict->entries[i].value, true));
    }
    return put(run, out, "}");
}

static smt_status write_list(smt_chat_run *run, smt_chat_builder *out, const smt_chat_list *list) {
    SMT_TRY(put(run, out, "["));
    for (size_t i = 0; i < list->count; i++) {
        if (i) SMT_TRY(put(run, out, ", "));
        SMT_TRY(smt_chat_write(run, out, &list->items[i], true));
    }
    return put(run, out, "]");
}

smt_status smt_chat_write(smt_chat_run *run, smt_chat_builder *out, const smt_chat_value *value, bool quoted) {
    SMT_TRY(smt_chat_spend(run, 1, 0));
    switch (value->kind) {
    case SMT_CHAT_UNDEFINED:
        return quoted ? put(run, out, "Undefined") : SMT_OK;
    case SMT_CHAT_NONE:
        return put(run, out, "None");
    case SMT_CHAT_BOOL:
        return put(run, out, value->truth ? "True" : "False");
    case SMT_CHAT_INT:
    case SMT_CHAT_REAL:
        return put_number(run, out, value);
    case SMT_CHAT_STRING: {
        if (!quoted) return smt_chat_append(run, out, value->text);
        bool has_single = smt_chat_search(value->text, SMT_CHAT_TEXT("'"), 0) != SIZE_MAX;
        bool has_double = smt_chat_search(value->text, SMT_CHAT_TEXT("\""), 0) != SIZE_MAX;
        return put_escaped(run, out, value->text, has_single && !has_double ? '"' : '\'', escape_own);
    }
    case SMT_CHAT_LIST:
        return write_list(run, out, value->list);
    case SMT_CHAT_DICT:
        return write_dict(run, out, value->dict);
    default:
        return SMT_FAIL(run->err, SMT_UNSUPPORTED, "chat template: %s cannot be printed", smt_chat_kind_name(value));
    }
}

smt_status smt_chat_to_text(smt_chat_run *run, const smt_chat_value *value, smt_chat_text *out) {
    if (value->kind == SMT_CHAT_STRING) return *out = value->text, SMT_OK;
    smt_chat_builder builder = {0};
    SMT_TRY(smt_chat_write(run, &builder, value, false));
    *out = smt_chat_built(&builder);
    return SMT_OK;
}

/* ---- JSON ---- */

typedef struct json_writer {
    smt_chat_run *run;
    smt_chat_builder *out;
    uint32_t line;
    int indent; /* -1: one line */
} json_writer;

static smt_status write_json(const json_writer *writer, const smt_chat_value *value, int depth);

/* Between the elements: a comma but for the first, then a newline with the blanks of `depth`, or a blank. */
static smt_status put_gap(const json_writer *writer, bool comma, int depth) {
    if (comma) SMT_TRY(put(writer->run, writer->out, writer->indent < 0 ? ", " : ","));
    if (writer->indent < 0) return SMT_OK;
    SMT_TRY(put(writer->run, writer->out, "\n"));
    for (int i = 0; i < depth * writer->indent; i++) SMT_TRY(put(writer->run, writer->out, " "));
    return SMT_OK;
}

static smt_status write_json_list(const json_writer *writer, const smt_chat_list *list, int depth) {
    if (list->count == 0) return put(writer->run, writer->out, "[]");
    SMT_TRY(put(writer->run, writer->out, "["));
    for (size_t i = 0; i < list->count; i++) {
        SMT_TRY(put_gap(writer, i > 0, depth + 1));
        SMT_TRY(write_json(writer, &list->items[i], depth + 1));
    }
    SMT_TRY(put_gap(writer, false, depth));
    return put(writer->run, writer->out, "]");
}

static smt_status write_json_dict(const json_writer *writer, const smt_chat_dict *dict, int depth) {
    if (dict->count == 0) return put(writer->run, writer->out, "{}");
    SMT_TRY(put(writer->run, writer->out, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        SMT_TRY(put_gap(writer, i > 0, depth + 1));
        SMT_TRY(put_escaped(writer->run, writer->out, dict->entries[i].key, '"', escape_json));
        SMT_TRY(put(writer->run, writer->out, ": "));
        SMT_TRY(write_json(writer, &dict->entries[i].value, depth + 1));
    }
    SMT_TRY(put_gap(writer, false, depth));
    return put(writer->run, writer->out, "}");
}

static smt_status write_json(const json_writer *writer, const smt_chat_value *value, int depth) {
    SMT_TRY(smt_chat_spend(writer->run, 1, writer->line));
    switch (value->kind) {
    case SMT_CHAT_NONE:
        return put(writer->run, writer->out, "null");
    case SMT_CHAT_BOOL:
        return put(writer->run, writer->out, value->truth ? "true" : "false");
    case SMT_CHAT_INT:
    case SMT_CHAT_REAL:
        return put_number(writer->run, writer->out, value);
    case SMT_CHAT_STRING:
        return put_escaped(writer->run, writer->out, value->text, '"', escape_json);
    case SMT_CHAT_LIST:
        return write_json_list(writer, value->list, depth);
    case SMT_CHAT_DICT:
        return write_json_dict(writer, value->dict, depth);
    default:
        return SMT_CHAT_FAIL(writer->run, SMT_INVALID, writer->line, "%s cannot be written as JSON", smt_chat_kind_name(value));
    }
}

smt_status smt_chat_write_json(smt_chat_run *run, uint32_t line, smt_chat_builder *out, const smt_chat_value *value, int indent) {
    json_writer writer = {run, out, line, indent};
    return write_json(&writer, value, 0);
}
