/* error.c: status names and the one way to fill a smt_error. */
#include "base.h"

#include <stdio.h>

static const struct {
    const char *name, *text;
} status_table[] = {
#define X(name, text) {"SMT_" #name, text},
    SMT_STATUS_LIST(X)
#undef X
};
_Static_assert(SMT_COUNT(status_table) == SMT_STATUS_COUNT, "one row per status");

uint32_t smt_version(void) { return SMT_VERSION_MAJOR * 10000 + SMT_VERSION_MINOR * 100 + SMT_VERSION_PATCH; }

const char *smt_status_name(smt_status status) {
    return (unsigned)status < SMT_STATUS_COUNT ? status_table[status].name : "SMT_UNKNOWN";
}

const char *smt_status_text(smt_status status) {
    return (unsigned)status < SMT_STATUS_COUNT ? status_table[status].text : "unknown status";
}

void smt_base_fail(smt_error *err, smt_status code, const char *file, int line, const char *format, ...) {
    if (!err) return;
    err->code = code;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
}
