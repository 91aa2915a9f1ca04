/* gguf.h: reads a GGUF file (versions 2 and 3, little-endian), or a set of files that hold one model in parts, into a directory of
 * keys and tensors.
 *
 * Invariants
 *   1. Every length, offset, count and product is checked in 64 bits against the file size before use: hostile bytes give
 *      an error that names the key or tensor and the sizes, never a crash, never an allocation larger than the file warrants.
 *   2. Nothing is mapped. Opening reads the header, whatever the size of the file; names and values are copied into an arena and live
 *      as long as the smt_gguf. Tensor data is read when asked for: a file that is cut short meanwhile gives SMT_IO, not a signal.
 *   3. A set is the part that carries the metadata, owning the others. Tensors say in which part they lie; keys are the first part's.
 *   4. Nothing here knows a model: unknown keys are kept, and every known ggml type id is accepted.
 *   5. Once open it is read-only: any thread may ask. */
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
    const char *text; /* in the arena, not NUL-terminated, not necessarily UTF-8 */
    size_t bytes;
} smt_gguf_string;

typedef struct smt_gguf_key {
    const char *name;   /* in the arena */
    smt_gguf_kind kind; /* SMT_GGUF_ARRAY: see element_kind */
    smt_gguf_kind element_kind;
    uint64_t count;                 /* elements; 1 for scalars */
    const uint8_t *data;            /* in the arena, as the file holds it: the first element (strings: the first length word) */
    const smt_gguf_string *strings; /* in the arena: the strings of a string or string array, else NULL */
} smt_gguf_key;

typedef struct smt_gguf smt_gguf;

typedef struct smt_gguf_tensor {
    const char *name;
    smt_dtype type;
    uint32_t n_dims;
    uint64_t ne[4];         /* unused ones are 1 */
    uint32_t part;          /* index of the part that holds the data; 0 in a file that stands alone */
    uint64_t offset, bytes; /* of the data, from the start of its part */
    const smt_gguf *source; /* that part */
} smt_gguf_tensor;

/* Any part of a set opens the set: the names of the others follow from PREFIX-00001-of-00003.gguf. SMT_IO names a missing part. */
smt_status smt_gguf_open(const char *path, smt_gguf **out, smt_error *err);
/* Over memory that outlives the result (tests and the fuzzer), one file or part; `label` stands for the path in messages. */
smt_status smt_gguf_parse(const void *bytes, size_t n_bytes, const char *label, smt_gguf **out, smt_error *err);
/* Makes a set of its parts, in order, at least one; SMT_FORMAT where their split keys say otherwise, or a tensor occurs twice.
 * Takes over every part, also on failure. A part that stands alone passes. */
smt_status smt_gguf_join(smt_gguf *const *parts, uint32_t n_parts, smt_gguf **out, smt_error *err);
void smt_gguf_free(smt_gguf *gguf);

/* `bytes` of a tensor's data from byte `from` on, which must lie within it. SMT_IO where the file can no longer be read. */
smt_status smt_gguf_tensor_read(const smt_gguf_tensor *tensor, uint64_t from, void *out, uint64_t bytes, smt_error *err);
/* Advice that this range is read next; see smt_os_file_expect. */
void smt_gguf_tensor_expect(const smt_gguf_tensor *tensor, uint64_t from, uint64_t bytes);

uint32_t smt_gguf_part_count(const smt_gguf *gguf);                  /* 1 for a file that stands alone */
const char *smt_gguf_part_path(const smt_gguf *gguf, uint32_t part); /* NULL beyond the last */
uint64_t smt_gguf_part_bytes(const smt_gguf *gguf, uint32_t part);
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
