/* gguf_internal.h: the object behind smt_gguf, shared by the files of this room: gguf_file.c (files, sets, tensor data), gguf_read.c
 * (bytes to directory) and gguf_get.c (look-ups); and what they share with the writer (gguf_output.c). */
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
    char *path;           /* owned */
    const uint8_t *bytes; /* the caller's memory; NULL: `file` */
    smt_os_file file;     /* owned; closed again in sets of very many parts, which then open it for each read */
    uint64_t n_bytes;
    smt_arena arena; /* names, values, string tables */
    bool magic;      /* it begins as a GGUF file does, whatever follows */
    uint64_t alignment;

    smt_gguf_key *keys; /* owned */
    size_t n_keys, key_capacity;
    smt_gguf_name *key_names; /* owned, [n_keys] */

    smt_gguf_tensor *tensors; /* owned */
    size_t n_tensors, tensor_capacity;
    smt_gguf_name *tensor_names; /* owned, [n_tensors] */

    smt_gguf *
        *others; /* owned, [n_parts - 1]: the parts after this one, which is the first; their tensors are listed above too */
    uint32_t n_parts;
};

/* ---- gguf_file.c ---- */

/* Exactly `bytes` from `offset` of this one file or memory. */
smt_status smt_gguf_source_read(const smt_gguf *gguf, uint64_t offset, void *out, uint64_t bytes, smt_error *err);

/* ---- gguf_read.c ---- */

/* Fills keys and tensors of a part whose source, path and size are set. */
smt_status smt_gguf_read_header(smt_gguf *gguf, smt_error *err);
/* Makes tensor_names anew and refuses duplicates. */
smt_status smt_gguf_index_tensors(smt_gguf *gguf, smt_error *err);

/* ---- gguf_get.c ---- */

/* Sorts names[n]; returns the first of two equal ones, or NULL. */
const smt_gguf_name *smt_gguf_sort_names(smt_gguf_name *names, size_t n);

/* Bytes of one scalar as the file stores it; 0 for strings, arrays and ids beyond the table. */
uint32_t smt_gguf_kind_bytes(uint32_t kind);

#endif
