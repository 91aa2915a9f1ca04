/* hf_folder.h: checkpoints as they are published (config.json, safetensors, tokenizer.json), written for tests into the build folder,
 * either matrix by matrix or by taking a GGUF file apart again.
 *
 * The way back from GGUF is written from the layouts' definitions and shares nothing with src/convert: halves of kv_b_proj from
 * attn_k_b and attn_v_b, half-split rows from pairs, one matrix per expert, merges from scores. Any failure ends the test. */
#ifndef SMT_HF_FOLDER_H
#define SMT_HF_FOLDER_H

#include "gguf/gguf.h"
#include "support.h"

#include <jansson.h>

typedef struct smt_hf_matrix {
    char name[160];
    const char *dtype; /* "F16" */
    uint32_t n_dims;
    uint64_t dims[2]; /* slowest first */
    void *bytes;      /* owned */
    size_t n_bytes;
} smt_hf_matrix;

typedef struct smt_hf_folder {
    char path[600];
    smt_hf_matrix *matrices; /* owned */
    size_t n_matrices, capacity;
    char files[32][64]; /* written so far, to be removed */
    size_t n_files;
} smt_hf_folder;

/* Starts an empty folder of this name. */
void smt_hf_begin(smt_hf_folder *folder, const char *name);
/* The path of a file in it, valid for a few calls. */
const char *smt_hf_path(const smt_hf_folder *folder, const char *file);
/* Writes a file into it. */
void smt_hf_file(smt_hf_folder *folder, const char *file, const void *bytes, size_t n_bytes);
void smt_hf_json(smt_hf_folder *folder, const char *file, json_t *value); /* takes the reference */
/* Adds a matrix [rows, k], or with rows 0 a vector [k]. */
void smt_hf_add_bytes(smt_hf_folder *folder, const char *name, const char *dtype, uint64_t rows, uint64_t k, const void *bytes,
                      size_t n_bytes);
void smt_hf_add(smt_hf_folder *folder, const char *name, const char *dtype, uint64_t rows, uint64_t k, const float *values);
smt_hf_matrix *smt_hf_find(smt_hf_folder *folder, const char *name); /* NULL: none */
/* Writes the matrices: one model.safetensors, or so many shards with an index. */
void smt_hf_write(smt_hf_folder *folder, uint32_t n_shards);
/* Removes what was written. */
void smt_hf_end(smt_hf_folder *folder);

/* Adds every tensor of a deepseek2, deepseek or llama file under the names of the published code. */
void smt_hf_from_gguf(smt_hf_folder *folder, const smt_gguf *file, const char *dtype);
/* tokenizer.json and tokenizer_config.json. `pre`: the "pre_tokenizer" of a byte-level vocabulary, as JSON. */
void smt_hf_tokenizer(smt_hf_folder *folder, const smt_gguf *file, const char *pre, bool merges_as_pairs);

/* The bytes of a tensor; freed by the caller. */
uint8_t *smt_hf_tensor_bytes(const smt_gguf_tensor *tensor);
/* As float32. */
float *smt_hf_tensor_values(const smt_gguf_tensor *tensor);
/* Fails the test where `got` lacks a tensor of `want`, has others, or other shapes, types or bytes. */
void smt_hf_same_tensors(const smt_gguf *want, const smt_gguf *got);

/* "pre_tokenizer" objects as the published files have them. */
extern const char smt_hf_pre_deepseek_llm[], smt_hf_pre_deepseek_coder[], smt_hf_pre_deepseek_v3[], smt_hf_pre_llama3[];

#endif
