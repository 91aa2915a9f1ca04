/* gguf_output.h: writes a GGUF file (version 3, one part) of any size in one pass: keys and tensor infos first, then the
 * tensors' data in the order of the infos, as it comes.
 *
 *   smt_gguf_output_create -> keys and tensors in any order -> smt_gguf_output_begin(path) -> smt_gguf_output_data ...
 *                          -> smt_gguf_output_finish -> smt_gguf_output_free
 *
 * Invariants
 *   1. What stands under the target's name is the old file until finish has put the whole new one on the disk. Freed before,
 *      the writer leaves nothing behind.
 *   2. What is written here is read by gguf.h: names, counts and shapes are held against the reader's limits when they are
 *      given (SMT_INVALID names the key or tensor), duplicates when the file begins.
 *   3. Memory holds the header only. Nothing of the caller's is kept beyond a call.
 * One thread at a time. */
#ifndef SMT_GGUF_OUTPUT_H
#define SMT_GGUF_OUTPUT_H

#include "gguf.h"

typedef struct smt_gguf_output smt_gguf_output;

smt_status smt_gguf_output_create(smt_gguf_output **out, smt_error *err);
void smt_gguf_output_free(smt_gguf_output *output); /* NULL is legal */

/* Keys, written in the order of the calls. A u32 key general.alignment (a power of two) sets the alignment, which is 32 else. */

/* A number or bool; `value` points to as many bytes as the kind has. */
smt_status smt_gguf_output_scalar(smt_gguf_output *output, const char *name, smt_gguf_kind kind, const void *value,
                                  smt_error *err);
smt_status smt_gguf_output_u32(smt_gguf_output *output, const char *name, uint32_t value, smt_error *err);
smt_status smt_gguf_output_f32(smt_gguf_output *output, const char *name, float value, smt_error *err);
smt_status smt_gguf_output_bool(smt_gguf_output *output, const char *name, bool value, smt_error *err);
smt_status smt_gguf_output_text(smt_gguf_output *output, const char *name, const char *text, smt_error *err);
/* `data`: count packed elements of a number kind or of bools. */
smt_status smt_gguf_output_array(smt_gguf_output *output, const char *name, smt_gguf_kind element_kind, uint64_t count,
                                 const void *data, smt_error *err);
smt_status smt_gguf_output_texts(smt_gguf_output *output, const char *name, uint64_t count, const smt_gguf_string *texts,
                                 smt_error *err);
/* A key of another file, whatever its kind. */
smt_status smt_gguf_output_copy_key(smt_gguf_output *output, const smt_gguf_key *key, smt_error *err);

/* Announces a tensor: n_dims of 0 to 4, ne[d] at least 1, rows a whole number of the type's blocks. */
smt_status smt_gguf_output_tensor(smt_gguf_output *output, const char *name, smt_dtype type, uint32_t n_dims, const uint64_t *ne,
                                  smt_error *err);

/* Bytes of the whole file as announced so far. */
uint64_t smt_gguf_output_bytes(const smt_gguf_output *output);
/* Creates the file (see invariant 1) and writes all before the data. No keys or tensors afterwards. SMT_INVALID names a key or
 * tensor that was given twice. */
smt_status smt_gguf_output_begin(smt_gguf_output *output, const char *path, smt_error *err);
/* The next bytes of data: of one tensor, of part of one, or of several in a row (padding between tensors is put in here). */
smt_status smt_gguf_output_data(smt_gguf_output *output, const void *bytes, uint64_t n_bytes, smt_error *err);
/* SMT_INVALID names the first tensor whose data is not complete. */
smt_status smt_gguf_output_finish(smt_gguf_output *output, smt_error *err);

#endif
