/* str.c: a growing byte string, and the search that C lacks for texts with NUL bytes in them. */
#include "base.h"

#include <stdio.h>
#include <string.h>

smt_status smt_str_append(smt_str *str, const void *bytes, size_t count, smt_error *err) {
    if (count > SIZE_MAX - str->bytes - 1) return SMT_FAIL(err, SMT_MEMORY, "text of more than SIZE_MAX bytes");
    SMT_TRY(smt_grow((void **)&str->text, &str->capacity, str->bytes + count + 1, 1, err));
    if (count) memcpy(str->text + str->bytes, bytes, count);
    str->bytes += count;
    str->text[str->bytes] = 0;
    return SMT_OK;
}

smt_status smt_str_printf(smt_str *str, smt_error *err, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    smt_status status = count < 0 ? SMT_FAIL(err, SMT_INTERNAL, "cannot format \"%s\"", format)
                                  : smt_grow((void **)&str->text, &str->capacity, str->bytes + (size_t)count + 1, 1, err);
    if (status == SMT_OK) {
        vsnprintf(str->text + str->bytes, (size_t)count + 1, format, again);
        str->bytes += (size_t)count;
    }
    va_end(again);
    return status;
}

void smt_str_free(smt_str *str) {
    smt_free(str->text);
    *str = (smt_str){0};
}

/* By sums that roll along the text (Rabin and Karp), because texts and patterns may come from a file: the time is that of reading both,
 * however much they are alike, but for texts that were made against these very sums. */
const char *smt_mem_find(const char *text, size_t bytes, const char *what, size_t what_bytes) {
    const uint64_t base = 0x9e3779b97f4a7c15u;
    uint64_t wanted = 0, sum = 0, first = 1; /* the factor of a window's first byte */
    if (what_bytes == 0) return text;
    if (bytes < what_bytes) return NULL;
    for (size_t i = 0; i < what_bytes; i++) {
        wanted = wanted * base + (unsigned char)what[i];
        sum = sum * base + (unsigned char)text[i];
        if (i) first *= base;
    }
    for (const char *at = text, *last = text + (bytes - what_bytes);; at++) {
        if (sum == wanted && memcmp(at, what, what_bytes) == 0) return at;
        if (at == last) return NULL;
        sum = (sum - (unsigned char)at[0] * first) * base + (unsigned char)at[what_bytes];
    }
}
