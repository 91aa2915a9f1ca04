/* serve_calls.c: reads an answer as it is written: text, then perhaps calls of functions.
 *
 *   TEXT --trigger--> OPEN -> NAME -> MIDDLE -> ARGUMENTS -> TAIL --between--> NAME
 *                                                            TAIL --end--> END
 *
 * Byte by byte, so that it does not matter where pieces begin and end. What may still turn out to be a trigger is held back, and so are
 * the blanks in front of it: a text has none behind it when calls follow. Arguments go out as they come, and end with their last bracket.
 * The grammar has seen to everything between; what is cut off in the middle ends there. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

void serve_reader_free(serve_reader *reader) {
    free(reader->held.at);
    free(reader->ready.at);
    *reader = (serve_reader){0};
}

/* Hands a text over, if there is anything in it. */
static bool tell(serve_reader *r, serve_heard_kind kind, serve_text *text, serve_hear_fn hear, void *user) {
    if (text->bytes == 0) return true;
    const serve_heard heard = {kind, kind == SERVE_HEARD_TEXT ? 0 : r->n_calls - 1, text->at, text->bytes};
    text->bytes = 0;
    return hear(user, &heard);
}

static bool is_blank(char byte) { return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r'; }

/* Held bytes turned out to be text. */
static bool release(serve_reader *r) {
    bool good = serve_append(&r->ready, r->held.at, r->held.bytes);
    r->held.bytes = r->at = 0;
    return good;
}

static bool read_text(serve_reader *r, char byte, serve_hear_fn hear, void *user) {
    if (!r->dialect) return serve_append(&r->ready, &byte, 1);
    if (r->at && byte != r->dialect->trigger[r->at] && !release(r)) return false;
    if (byte == r->dialect->trigger[r->at]) {
        r->at++;
        if (!serve_append(&r->held, &byte, 1)) return false;
        if (r->dialect->trigger[r->at]) return true;
        r->held.bytes = r->at = 0;
        r->place = SERVE_IN_OPEN;
        return tell(r, SERVE_HEARD_TEXT, &r->ready, hear, user);
    }
    if (is_blank(byte)) return serve_append(&r->held, &byte, 1);
    return release(r) && serve_append(&r->ready, &byte, 1);
}

/* Passes over a literal, and goes on at `next` behind it. */
static void pass(serve_reader *r, const char *literal, serve_place next) {
    if (literal[++r->at]) return;
    r->at = 0;
    r->place = next;
}

static bool read_name(serve_reader *r, char byte, serve_hear_fn hear, void *user) {
    if (byte != r->dialect->middle[0]) return serve_append(&r->held, &byte, 1);
    r->n_calls++;
    r->place = SERVE_IN_MIDDLE;
    pass(r, r->dialect->middle, SERVE_IN_ARGUMENTS);
    return tell(r, SERVE_HEARD_NAME, &r->held, hear, user);
}

/* JSON: brackets count outside of strings. */
static bool read_arguments(serve_reader *r, char byte, serve_hear_fn hear, void *user) {
    if (!serve_append(&r->ready, &byte, 1)) return false;
    bool quote = byte == '"' && !r->escaped;
    r->escaped = r->in_string && byte == '\\' && !r->escaped;
    if (quote) r->in_string = !r->in_string;
    if (r->in_string || quote) return true;
    if (byte == '{' || byte == '[') r->depth++;
    if (byte != '}' && byte != ']') return true;
    if (--r->depth) return true;
    r->place = SERVE_IN_TAIL;
    return tell(r, SERVE_HEARD_ARGUMENTS, &r->ready, hear, user);
}

static bool read_byte(serve_reader *r, char byte, serve_hear_fn hear, void *user) {
    switch (r->place) {
    case SERVE_IN_TEXT:
        return read_text(r, byte, hear, user);
    case SERVE_IN_OPEN:
        pass(r, r->dialect->open, SERVE_IN_NAME);
        return true;
    case SERVE_IN_NAME:
        return read_name(r, byte, hear, user);
    case SERVE_IN_MIDDLE:
        pass(r, r->dialect->middle, SERVE_IN_ARGUMENTS);
        return true;
    case SERVE_IN_ARGUMENTS:
        return read_arguments(r, byte, hear, user);
    case SERVE_IN_TAIL:
        if (byte == r->dialect->between[r->at])
            pass(r, r->dialect->between, SERVE_IN_NAME);
        else
            r->place = SERVE_IN_END;
        return true;
    case SERVE_IN_END:
        break;
    }
    return true;
}

bool serve_reader_feed(serve_reader *r, const char *bytes, size_t count, serve_hear_fn hear, void *user) {
    for (size_t i = 0; i < count; i++)
        if (!read_byte(r, bytes[i], hear, user)) return false;
    return tell(r, r->place == SERVE_IN_ARGUMENTS ? SERVE_HEARD_ARGUMENTS : SERVE_HEARD_TEXT, &r->ready, hear, user);
}

bool serve_reader_has_called(const serve_reader *r) { return r->place == SERVE_IN_TAIL || r->place == SERVE_IN_END; }

bool serve_reader_end(serve_reader *r, serve_hear_fn hear, void *user) {
    if (r->place != SERVE_IN_TEXT) return true;
    return release(r) && tell(r, SERVE_HEARD_TEXT, &r->ready, hear, user);
}
