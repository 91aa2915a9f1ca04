/* gguf.h: reads a GGUF file (versions 2 and 3, little-endian, one part) into a directory of keys and tensors.
 *
 * Invariants
 *   1. Every length, offset, count and product is checked in 64 bits against the file size before use: hostile bytes give
 *      an error that names the key or tensor and the sizes, never a crash, never an allocation larger than the file warrants.
 *   2. Strings and tensor data borrow from the mapping, which is read-only and lives as long as the smt_gguf.
 *      Key and tensor names are copied into an arena and NUL-terminated.
 *   3. Nothing here knows a model: unknown keys are kept, and every known ggml type id is accepted. */
#ifndef SMT_GGUF_H
#define SMT_GGUF_H

#include "base/dtype.h"

typedef enum smt_gguf_kind { /* value types as the file numbers them */
                             SMT_GGUF_U8,
                             SMT_GGUF_I8,
                             SMT_GGUF_U16,
                             SMT_GGUF_I16,
                             SMT_GGUF_U32,
                             SMT_GGUF_I32,
                             SMT_GGUF_F32,
                             SMT_GGUF_BOOL,
                             SMT_GGUF_STRING,
                             SMT_GGUF_ARRAY,
                             SMT_GGUF_U64,
                             SMT_GGUF_I64,
                             SMT_GGUF_F64
} smt_gguf_kind;

typedef struct smt_gguf_string {
    const char *text; /* borrowed, not NUL-terminated, not necessarily UTF-8 */
    size_t bytes;
} smt_gguf_string;

typedef struct smt_gguf_key {
    const char *name;   /* in the arena */
    smt_gguf_kind kind; /* SMT_GGUF_ARRAY: see element_kind */
    smt_gguf_kind element_kind;
    uint64_t count;           /* elements; 1 for scalars */
    const uint8_t *data;      /* borrowed: the first element (string arrays: the first length word) */
    smt_gguf_string *strings; /* in the arena: the strings of a string or string array, else NULL */
} smt_gguf_key;

typedef struct smt_gguf_tensor {
    const char *name;
    smt_dtype type;
    uint32_t n_dims;
    uint64_t ne[4];  /* unused ones are 1 */
    uint64_t offset; /* of the data, from the start of the file */
    uint64_t bytes;
    const uint8_t *data; /* borrowed */
} smt_gguf_tensor;

typedef struct smt_gguf smt_gguf;

smt_status smt_gguf_open(const char *path, smt_gguf **out, smt_error *err);
/* Over memory that outlives the result (tests and the fuzzer); `label` stands for the path in messages. */
smt_status smt_gguf_parse(const void *bytes, size_t n_bytes, const char *label, smt_gguf **out, smt_error *err);
void smt_gguf_free(smt_gguf *gguf);

const char *smt_gguf_path(const smt_gguf *gguf);
uint64_t smt_gguf_file_bytes(const smt_gguf *gguf);
uint64_t smt_gguf_key_count(const smt_gguf *gguf);
const smt_gguf_key *smt_gguf_key_at(const smt_gguf *gguf, uint64_t index);
const smt_gguf_key *smt_gguf_find(const smt_gguf *gguf, const char *name); /* NULL: absent */
uint64_t smt_gguf_tensor_count(const smt_gguf *gguf);
const smt_gguf_tensor *smt_gguf_tensor_at(const smt_gguf *gguf, uint64_t index);
const smt_gguf_tensor *smt_gguf_find_tensor(const smt_gguf *gguf, const char *name);

/* Typed reads. Any integer type whose value fits is accepted. Absent key: *out keeps its value and the call is SMT_OK with
 * *found false (found may be NULL). Wrong type or value out of range: SMT_FORMAT naming the key. */
smt_status smt_gguf_u32(const smt_gguf *gguf, const char *name, uint32_t *out, bool *found, smt_error *err);
smt_status smt_gguf_f32(const smt_gguf *gguf, const char *name, float *out, bool *found, smt_error *err);
smt_status smt_gguf_bool(const smt_gguf *gguf, const char *name, bool *out, bool *found, smt_error *err);
smt_status smt_gguf_text(const smt_gguf *gguf, const char *name, smt_gguf_string *out, bool *found, smt_error *err);
/* Element i of a numeric array key that the caller has checked for kind and count. */
float smt_gguf_array_f32(const smt_gguf_key *key, uint64_t i);
int64_t smt_gguf_array_int(const smt_gguf_key *key, uint64_t i);
const char *smt_gguf_kind_name(smt_gguf_kind kind);

#endif
