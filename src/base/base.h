/* base.h: what every room stands on: errors as values, the allocator hooks, arenas, strings, small arithmetic.
 *
 * Invariants
 *   1. A smt_error is filled once, at the place where the failure is known; callers pass it on and only add cleanup.
 *   2. All host memory comes from smt_alloc and friends, so that a test can fail the Nth allocation.
 *   3. Nothing here prints, exits or reads the environment; there are no mutable globals but the test hook of smt_alloc. */
#ifndef SMT_BASE_H
#define SMT_BASE_H

#include "seamount.h"

#include <stdarg.h>
#include <stdio.h>

#define SMT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The compiler checks formats: of the parameter with this number against those from `first` on. MinGW's <stdio.h> says which printf
 * it has. */
#if defined(__MINGW_PRINTF_FORMAT)
#define SMT_PRINTF(number, first) __attribute__((format(__MINGW_PRINTF_FORMAT, number, first)))
#elif defined(__GNUC__)
#define SMT_PRINTF(number, first) __attribute__((format(printf, number, first)))
#else
#define SMT_PRINTF(number, first)
#endif

/* ---- errors (error.c) ---- */

/* Fills *err (may be NULL) and returns `code`, so that `return SMT_FAIL(err, SMT_FORMAT, "...", ...)` is the whole idiom. */
/* The value is `code` itself, so that compilers see that a failing path does not return SMT_OK. */
#define SMT_FAIL(err, code, ...) (smt_base_fail((err), (code), __FILE__, __LINE__, __VA_ARGS__), (code))
SMT_PRINTF(5, 6)
void smt_base_fail(smt_error *err, smt_status code, const char *file, int line, const char *format, ...);

/* Passes a failure up: `SMT_TRY(call(..., err))` for functions without cleanup of their own. */
#define SMT_TRY(call)                                          \
    do {                                                       \
        smt_status smt_try_status_ = (call);                   \
        if (smt_try_status_ != SMT_OK) return smt_try_status_; \
    } while (0)

/* ---- memory (mem.c) ---- */

/* NULL on failure (n * size is checked for overflow). Memory is zeroed. smt_free of seamount.h releases it. */
void *smt_alloc(size_t n, size_t size);
/* Grows to n * size bytes, the new part not zeroed; the old block stays valid on failure. */
void *smt_realloc(void *memory, size_t n, size_t size);
char *smt_strdup(const char *text);
char *smt_strndup(const char *text, size_t bytes);
/* Tests only: the allocation `countdown` calls from now fails (1: the next), once; 0 switches the hook off. */
void smt_mem_fail_after(uint64_t countdown);

/* Ensures room for `need` elements in a growing array; doubles. SMT_MEMORY on failure. */
smt_status smt_grow(void **array, size_t *capacity, size_t need, size_t size, smt_error *err);

/* ---- arena (arena.c): many small things with one lifetime ---- */

typedef struct smt_arena_block smt_arena_block;
typedef struct smt_arena {
    smt_arena_block *first; /* owned */
} smt_arena;
void *smt_arena_alloc(smt_arena *arena, size_t n, size_t size); /* zeroed, 16-byte aligned; NULL on failure */
char *smt_arena_strndup(smt_arena *arena, const char *text, size_t bytes);
void smt_arena_free(smt_arena *arena); /* frees everything; the arena may be used again */

/* ---- strings (str.c) ---- */

typedef struct smt_str { /* growing byte string; always NUL-terminated once it has bytes */
    char *text;          /* owned */
    size_t bytes, capacity;
} smt_str;
smt_status smt_str_append(smt_str *str, const void *bytes, size_t count, smt_error *err);
SMT_PRINTF(3, 4)
smt_status smt_str_printf(smt_str *str, smt_error *err, const char *format, ...);
void smt_str_free(smt_str *str);
/* The first place of `what` in `text`; NULL: nowhere. What is empty is at the beginning. */
const char *smt_mem_find(const char *text, size_t bytes, const char *what, size_t what_bytes);

/* ---- small arithmetic ---- */

/* `align` is a power of two. */
static inline uint64_t smt_align_up(uint64_t value, uint64_t align) { return (value + align - 1) & ~(align - 1); }
static inline uint32_t smt_div_up(uint32_t value, uint32_t by) { return value / by + (value % by != 0); }
static inline uint32_t smt_min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t smt_max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline uint64_t smt_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline bool smt_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* ---- half.c: IEEE binary16 and bfloat16, exact, subnormals included; rounding to nearest even ---- */
float smt_half_to_float(uint16_t half);
uint16_t smt_float_to_half(float value);
float smt_bf16_to_float(uint16_t bits);
uint16_t smt_float_to_bf16(float value);

/* ---- exp.c ---- */
/* exp(x) within 1 ulp, by operations that GLSL can repeat to the bit; 0 below -87.3, exp(88.7) above 88.7, NaN for NaN:
 *   n = floor(x * LOG2E + 0.5); r = (x - n * LN2_HIGH) - n * LN2_LOW;
 *   p = ((((C6 * r + C5) * r + C4) * r + C3) * r + C2), p = (p * r) * r + r, p = p + 1; n is added to the exponent bits of p.
 * Plain products and sums, because drivers may round once or twice in fma. LOG2E 1.44269502, LN2_HIGH 0.693115234375 (12 bits: n times it
 * is exact), LN2_LOW 3.19461833e-05, C2 0.49999994, C3 0.166665211, C4 0.0416682623, C5 0.00836867373, C6 0.00138210389. */
float smt_exp(float x);

#endif
