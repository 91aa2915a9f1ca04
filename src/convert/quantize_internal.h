/* quantize_internal.h: what the files of the quantiser share.
 *
 *   quantize_mix.c       pure: which type a tensor gets in a mix such as Q4_K_M
 *   quantize_override.c  the user's patterns, which go before the mix
 *   quantize_imatrix.c   importance matrices from files
 *   quantize_plan.c      all of that for every tensor of one file: a list of decisions, before anything is written
 *   quantize_run.c       executes the list: streams the tensors, on several threads */
#ifndef SMT_QUANTIZE_INTERNAL_H
#define SMT_QUANTIZE_INTERNAL_H

#include "gguf/gguf.h"

/* ---- quantize_mix.c ---- */

typedef struct smt_mix {
    const char *name;   /* "Q4_K_M"; plain types have a mix of their own name */
    uint32_t file_type; /* general.file_type */
    smt_dtype base;     /* of whatever no rule names */
} smt_mix;

/* By name, in any case; NULL: there is none. */
const smt_mix *smt_mix_find(const char *name);
/* "F32, F16, ..." */
void smt_mix_list(char *text, size_t capacity);

typedef struct smt_mix_facts { /* what the rules look at besides a tensor's name */
    uint32_t n_layers, heads_per_kv;
    bool has_output;  /* there is an output.weight; else token_embd.weight is the output too */
    bool has_imatrix; /* an importance matrix is used */
    bool llama;       /* of the llama architecture */
} smt_mix_facts;

void smt_mix_facts_of(const smt_gguf *gguf, smt_mix_facts *out);
/* True for tensors that stay as they are in every mix: vectors, norms, routers, biases. */
bool smt_mix_keeps(const smt_gguf_tensor *tensor);
bool smt_mix_is_output(const smt_mix_facts *facts, const char *name);
/* The type the mix wants; the tensor's rows may not fit it. */
smt_dtype smt_mix_choose(const smt_mix *mix, const smt_mix_facts *facts, const smt_gguf_tensor *tensor);
/* `type`, or what stands in for it where its block does not divide rows of n elements. */
smt_dtype smt_mix_fit(smt_dtype type, uint64_t n);

/* ---- quantize_override.c ---- */

typedef struct smt_overrides smt_overrides;
smt_status smt_overrides_create(const smt_quantize_override *list, size_t n, smt_overrides **out, smt_error *err);
void smt_overrides_free(smt_overrides *overrides);
/* *out_found: the type of the first pattern that is found in the name. */
smt_status smt_overrides_match(const smt_overrides *overrides, const char *name, bool *out_found, smt_dtype *out_type,
                               smt_error *err);

/* A type's id by name in any case; SMT_INVALID names `what` and the word. */
smt_status smt_quantize_type_of(const char *word, const char *what, smt_dtype *out, smt_error *err);

/* ---- quantize_imatrix.c ---- */

typedef struct smt_imatrix smt_imatrix;
typedef struct smt_imatrix_entry {
    const char *name; /* of the tensor */
    float *values;    /* importance of each column, plane after plane: finite, not negative */
    uint64_t n;
} smt_imatrix_entry;

/* Reads either form (GGUF, or the older .dat). */
smt_status smt_imatrix_open(const char *path, smt_imatrix **out, smt_error *err);
/* From memory; `label` stands for the path in messages. The bytes may go afterwards. */
smt_status smt_imatrix_parse(const void *bytes, size_t n_bytes, const char *label, smt_imatrix **out, smt_error *err);
void smt_imatrix_free(smt_imatrix *imatrix);
const smt_imatrix_entry *smt_imatrix_find(const smt_imatrix *imatrix, const char *name); /* NULL: not in the file */
size_t smt_imatrix_count(const smt_imatrix *imatrix);
uint32_t smt_imatrix_chunks(const smt_imatrix *imatrix); /* of text that it was computed from; 0: not known */

/* ---- quantize_plan.c ---- */

typedef struct smt_quantize_item {
    const smt_gguf_tensor *tensor; /* borrowed from the input */
    smt_dtype type;                /* what it becomes; the tensor's own: it is copied */
    bool fallback;                 /* the type wanted did not fit the rows */
    const float *weights;          /* borrowed: [ne[0] * ne[2]] or NULL */
    uint64_t bytes;                /* of the new data */
} smt_quantize_item;

typedef struct smt_quantize_plan {
    smt_gguf *input;      /* owned */
    smt_imatrix *imatrix; /* owned, or NULL */
    const smt_mix *mix;
    smt_quantize_item *items; /* owned, one for each tensor, in the order of the file */
    size_t n_items;
} smt_quantize_plan;

/* Opens the input and decides; writes nothing. smt_quantize_plan_free takes what a failure leaves. */
smt_status smt_quantize_plan_make(const smt_quantize_options *options, smt_quantize_plan *out, smt_error *err);
void smt_quantize_plan_free(smt_quantize_plan *plan);

#endif
