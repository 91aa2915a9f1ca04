/* arena.c: a list of blocks, each twice the last; nothing is freed before the whole. */
#include "base.h"

#include <string.h>

struct smt_arena_block {
    smt_arena_block *next; /* older */
    size_t used, bytes;    /* of the payload, which follows at ARENA_HEAD */
};

#define ARENA_HEAD  ((sizeof(smt_arena_block) + 15) & ~(size_t)15)
#define ARENA_FIRST 4096

void *smt_arena_alloc(smt_arena *arena, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4) return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    smt_arena_block *block = arena->first;
    if (!block || block->bytes - block->used < bytes) {
        size_t wanted = block && block->bytes < ((size_t)1 << 24) ? block->bytes * 2 : block ? block->bytes : ARENA_FIRST;
        if (wanted < bytes) wanted = bytes;
        block = smt_alloc(1, ARENA_HEAD + wanted);
        if (!block) return NULL;
        block->bytes = wanted;
        block->next = arena->first;
        arena->first = block;
    }
    void *result = (char *)block + ARENA_HEAD + block->used;
    block->used += bytes;
    return result;
}

char *smt_arena_strndup(smt_arena *arena, const char *text, size_t bytes) {
    char *copy = bytes < SIZE_MAX ? smt_arena_alloc(arena, bytes + 1, 1) : NULL;
    if (copy && bytes) memcpy(copy, text, bytes);
    return copy;
}

void smt_arena_free(smt_arena *arena) {
    for (smt_arena_block *block = arena->first, *next; block; block = next) {
        next = block->next;
        smt_free(block);
    }
    arena->first = NULL;
}
