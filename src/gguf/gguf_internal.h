/* gguf_internal.h: the object behind smt_gguf, shared by the reader (gguf_read.c) and the look-ups (gguf_get.c), and what
 * reader and writer (gguf_output.c) share. */
#ifndef SMT_GGUF_INTERNAL_H
#define SMT_GGUF_INTERNAL_H

#include "gguf.h"
#include "os/os.h"

/* Limits of the format's common reader, so that what passes here passes there. */
#define SMT_GGUF_MAX_KEY_BYTES         65535
#define SMT_GGUF_MAX_TENSOR_NAME_BYTES 63
#define SMT_GGUF_MAX_STRING_BYTES      (1ull << 30)
#define SMT_GGUF_MAX_ELEMENTS          (1ull << 30)
#define SMT_GGUF_DEFAULT_ALIGNMENT     32

/* Names in sorted order beside their index in the file. A sorted list rather than a hash table: a file chooses its names, and
 * no choice of names makes sorting or bisection slow. */
typedef struct smt_gguf_name {
    const char *name; /* in the arena */
    uint64_t index;
} smt_gguf_name;

struct smt_gguf {
    smt_os_map map;       /* owned; empty when parsed from memory */
    const uint8_t *bytes; /* the mapping, or the caller's memory */
    uint64_t n_bytes;
    char *path;      /* owned */
    smt_arena arena; /* names and string tables */
    uint64_t alignment;

    smt_gguf_key *keys; /* owned */
    size_t n_keys, key_capacity;
    smt_gguf_name *key_names; /* owned, [n_keys] */

    smt_gguf_tensor *tensors; /* owned */
    size_t n_tensors, tensor_capacity;
    smt_gguf_name *tensor_names; /* owned, [n_tensors] */
};

/* Sorts names[n]; returns the first of two equal ones, or NULL. */
const smt_gguf_name *smt_gguf_sort_names(smt_gguf_name *names, size_t n);

/* Bytes of one scalar as the file stores it; 0 for strings, arrays and ids beyond the table. */
uint32_t smt_gguf_kind_bytes(uint32_t kind);

#endif
