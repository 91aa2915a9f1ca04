/* mem.c: the one door to the host heap, with a hook that lets a test fail the Nth allocation.
 *
 * The hook is the only mutable global of src/. It is a relaxed atomic: zero (always, outside tests) costs one load. */
#include "base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t fail_countdown;

void smt_mem_fail_after(uint64_t countdown) { atomic_store(&fail_countdown, countdown); }

static bool must_fail(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0) return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

void *smt_alloc(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || must_fail()) return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *smt_realloc(void *memory, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || must_fail()) return NULL;
    return realloc(memory, bytes ? bytes : 1);
}

void smt_free(void *memory) { free(memory); }

char *smt_strndup(const char *text, size_t bytes) {
    char *copy = bytes < SIZE_MAX ? smt_alloc(bytes + 1, 1) : NULL;
    if (copy && bytes) memcpy(copy, text, bytes);
    return copy;
}

char *smt_strdup(const char *text) { return smt_strndup(text, strlen(text)); }

smt_status smt_grow(void **array, size_t *capacity, size_t need, size_t size, smt_error *err) {
    if (need <= *capacity) return SMT_OK;
    size_t wanted = *capacity > SIZE_MAX / 2 ? need : *capacity * 2;
    if (wanted < need) wanted = need;
    if (wanted < 8) wanted = 8;
    void *grown = smt_realloc(*array, wanted, size);
    if (!grown) return SMT_FAIL(err, SMT_MEMORY, "out of memory growing an array to %zu elements of %zu bytes", wanted, size);
    *array = grown;
    *capacity = wanted;
    return SMT_OK;
}
