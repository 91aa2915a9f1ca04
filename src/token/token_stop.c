/* token_stop.c: stop strings in a text that comes in pieces.
 *
 * Each string is an automaton after Knuth, Morris and Pratt: `matched` is the length of its longest beginning that the text ends
 * with, so every byte of the text is looked at once for each string, however the pieces are cut and whatever the strings repeat. The first
 * string to be complete ends the text; among several complete at the same byte the longest does, as the text then ends earliest.
 * Until then the longest beginning matched by any of them is held back: a byte goes out as soon as it cannot belong to a stop
 * string any more, and not before.
 *
 *   text: | handed out by the last call | held back: the last `matched` bytes |
 *
 * Text and strings are UTF-8, so what goes out never ends inside a character. */
#include "token_internal.h"

#include <string.h>

struct smt_token_stop {
    const char *text;
    uint32_t bytes, matched;
    uint32_t *fallback; /* [bytes]: of the first i + 1 bytes, the longest shorter beginning that they end with */
};

/* One byte further. The beginning of `matched` bytes either grows by the byte or falls back to a shorter one that does. */
static uint32_t advance(const smt_token_stop *stop, uint32_t matched, char byte) {
    while (matched && stop->text[matched] != byte) matched = stop->fallback[matched - 1];
    return stop->text[matched] == byte ? matched + 1 : matched;
}

static bool is_utf8(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        int length = smt_token_utf8(text + at, bytes - at);
        if (length <= 0) return false;
        at += (size_t)length;
    }
    return true;
}

static smt_status prepare(smt_token_stops *stops, const char *text, uint32_t index, smt_error *err) {
    size_t bytes = text ? strlen(text) : 0;
    if (bytes == 0) return SMT_FAIL(err, SMT_INVALID, "stop string %u is empty", index);
    if (bytes > UINT32_MAX || !is_utf8(text, bytes)) return SMT_FAIL(err, SMT_INVALID, "stop string %u is not UTF-8", index);
    smt_token_stop *stop = &stops->stops[index];
    stop->text = smt_arena_strndup(&stops->memory, text, bytes);
    stop->fallback = smt_arena_alloc(&stops->memory, bytes, sizeof *stop->fallback);
    if (!stop->text || !stop->fallback) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a stop string of %zu bytes", bytes);
    stop->bytes = (uint32_t)bytes;
    for (uint32_t i = 1; i < stop->bytes; i++) stop->fallback[i] = advance(stop, stop->fallback[i - 1], text[i]);
    return SMT_OK;
}

smt_status smt_token_stops_set(smt_token_stops *stops, const char *const *texts, uint32_t n, smt_error *err) {
    smt_token_stops_free(stops);
    if (n == 0) return SMT_OK;
    stops->stops = smt_arena_alloc(&stops->memory, n, sizeof *stops->stops);
    smt_status status = stops->stops ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for %u stop strings", n);
    for (uint32_t i = 0; status == SMT_OK && i < n; i++) status = prepare(stops, texts[i], i, err);
    if (status != SMT_OK)
        smt_token_stops_free(stops);
    else
        stops->n = n;
    return status;
}

/* One byte of the text for all strings: the index of the longest that it completes, or -1. */
static int32_t look_at(smt_token_stops *stops, char byte) {
    int32_t hit = -1;
    for (uint32_t s = 0; s < stops->n; s++) {
        smt_token_stop *stop = &stops->stops[s];
        stop->matched = advance(stop, stop->matched, byte);
        if (stop->matched == stop->bytes && (hit < 0 || stop->bytes > stops->stops[hit].bytes)) hit = (int32_t)s;
    }
    return hit;
}

smt_status smt_token_stops_feed(smt_token_stops *stops, const char *text, size_t bytes, smt_error *err) {
    smt_str *all = &stops->text;
    size_t held = all->bytes - stops->n_given;
    if (held) memmove(all->text, all->text + stops->n_given, held);
    all->bytes = held;
    stops->n_given = 0;
    if (stops->hit >= 0) return SMT_OK;
    SMT_TRY(smt_str_append(all, text, bytes, err));
    uint32_t keep = 0;
    for (size_t i = held; i < all->bytes; i++) {
        stops->hit = look_at(stops, all->text[i]);
        if (stops->hit < 0) continue;
        all->bytes = stops->n_given = i + 1 - stops->stops[stops->hit].bytes;
        return SMT_OK;
    }
    for (uint32_t s = 0; s < stops->n; s++) keep = smt_max_u32(keep, stops->stops[s].matched);
    stops->n_given = all->bytes - keep;
    return SMT_OK;
}

void smt_token_stops_end(smt_token_stops *stops) {
    stops->n_given = stops->text.bytes;
    for (uint32_t s = 0; s < stops->n; s++) stops->stops[s].matched = 0;
}

void smt_token_stops_free(smt_token_stops *stops) {
    smt_arena_free(&stops->memory);
    smt_str_free(&stops->text);
    *stops = (smt_token_stops){.hit = -1};
}
