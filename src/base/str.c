/* str.c: a growing byte string. */
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
