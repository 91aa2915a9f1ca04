/* dtype.c: the table of tensor types. */
#include "dtype.h"

#include <stdio.h>

static const smt_dtype_info table[SMT_DTYPE_LIMIT] = {
#define X(id, type_name, type_elems, type_bytes, type_runs) [id] = {#type_name, type_elems, type_bytes, type_runs},
    SMT_DTYPE_LIST(X)
#undef X
};

const smt_dtype_info *smt_dtype_get(uint32_t id) { return id < SMT_DTYPE_LIMIT && table[id].name ? &table[id] : NULL; }

const char *smt_dtype_words(uint32_t id, char *text, size_t capacity) {
    const smt_dtype_info *info = smt_dtype_get(id);
    if (info)
        snprintf(text, capacity, "%s", info->name);
    else if (id < SMT_DTYPE_LIMIT)
        snprintf(text, capacity, "removed type %u", id); /* every gap below the limit was once a type */
    else if (id >= 97 && id < 512)
        snprintf(text, capacity, "type %u of a fork", id);
    else
        snprintf(text, capacity, "unknown type %u", id);
    return text;
}

uint64_t smt_dtype_row_bytes(smt_dtype type, uint64_t n) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (!info || n % info->elems) return 0;
    uint64_t bytes;
    return smt_mul_u64(n / info->elems, info->bytes, &bytes) ? bytes : 0;
}
