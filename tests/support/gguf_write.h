/* gguf_write.h: a small GGUF writer for tests and fixtures: keys in any type, tensors with or without bytes, to memory or file.
 *
 * Start from a zeroed struct. Failures are sticky: later calls do nothing, and finishing reports the first one. Nothing is
 * checked against the format, so that tests can write files that break it. */
#ifndef SMT_GGUF_WRITE_H
#define SMT_GGUF_WRITE_H

#include "gguf/gguf.h"

typedef struct smt_gguf_blob { /* the data of one tensor */
    uint64_t offset, bytes;    /* from the start of the data section */
    void *data;                /* owned; NULL: zeros, which take no space in a file that can have holes */
} smt_gguf_blob;

typedef struct smt_gguf_writer {
    uint32_t version;   /* 0: 3 */
    uint32_t alignment; /* 0: 32, and no key for it */
    uint64_t n_keys, n_tensors;
    smt_str keys, infos;  /* owned */
    smt_gguf_blob *blobs; /* owned, [n_tensors] */
    size_t blob_capacity;
    uint64_t data_bytes;
    smt_status status;
    smt_error err;
} smt_gguf_writer;

/* `bytes` of a scalar (strings: the text without its length), or of all elements of an array. */
void smt_gguf_write_key(smt_gguf_writer *w, const char *key, smt_gguf_kind kind, const void *data, size_t bytes);
void smt_gguf_write_array(smt_gguf_writer *w, const char *key, smt_gguf_kind kind, uint64_t count, const void *data,
                          size_t bytes);
void smt_gguf_write_u32(smt_gguf_writer *w, const char *key, uint32_t value);
void smt_gguf_write_f32(smt_gguf_writer *w, const char *key, float value);
void smt_gguf_write_bool(smt_gguf_writer *w, const char *key, bool value);
void smt_gguf_write_text(smt_gguf_writer *w, const char *key, const char *text);
void smt_gguf_write_texts(smt_gguf_writer *w, const char *key, const char *const *texts, uint64_t count);
/* A key as another file has it. */
void smt_gguf_write_copy(smt_gguf_writer *w, const smt_gguf_key *key);

/* Unused dimensions of ne are 1; trailing ones are dropped as usual writers do. `data` holds what type and ne say, and is copied;
 * NULL: zeros. An unknown type id takes 0 bytes. */
void smt_gguf_write_tensor(smt_gguf_writer *w, const char *name, uint32_t type, const uint64_t ne[4], const void *data);

/* *out belongs to the caller (smt_free). */
smt_status smt_gguf_write_memory(smt_gguf_writer *w, uint8_t **out, size_t *out_bytes, smt_error *err);
smt_status smt_gguf_write_file(smt_gguf_writer *w, const char *path, smt_error *err);
void smt_gguf_write_free(smt_gguf_writer *w);

#endif
