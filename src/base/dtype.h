/* dtype.h: the tensor types of GGUF files by their ggml ids: names and block sizes, nothing about their contents (see quant/). */
#ifndef SMT_DTYPE_H
#define SMT_DTYPE_H

#include "base.h"

/* X(ggml id, NAME, elements per block, bytes per block, the engine computes with it) */
#define SMT_DTYPE_LIST(X)      \
    X(0, F32, 1, 4, 1)         \
    X(1, F16, 1, 2, 1)         \
    X(2, Q4_0, 32, 18, 1)      \
    X(3, Q4_1, 32, 20, 1)      \
    X(6, Q5_0, 32, 22, 1)      \
    X(7, Q5_1, 32, 24, 1)      \
    X(8, Q8_0, 32, 34, 1)      \
    X(9, Q8_1, 32, 36, 0)      \
    X(10, Q2_K, 256, 84, 1)    \
    X(11, Q3_K, 256, 110, 1)   \
    X(12, Q4_K, 256, 144, 1)   \
    X(13, Q5_K, 256, 176, 1)   \
    X(14, Q6_K, 256, 210, 1)   \
    X(15, Q8_K, 256, 292, 0)   \
    X(16, IQ2_XXS, 256, 66, 1) \
    X(17, IQ2_XS, 256, 74, 1)  \
    X(18, IQ3_XXS, 256, 98, 1) \
    X(19, IQ1_S, 256, 50, 1)   \
    X(20, IQ4_NL, 32, 18, 1)   \
    X(21, IQ3_S, 256, 110, 1)  \
    X(22, IQ2_S, 256, 82, 1)   \
    X(23, IQ4_XS, 256, 136, 1) \
    X(24, I8, 1, 1, 0)         \
    X(25, I16, 1, 2, 0)        \
    X(26, I32, 1, 4, 0)        \
    X(27, I64, 1, 8, 0)        \
    X(28, F64, 1, 8, 0)        \
    X(29, IQ1_M, 256, 56, 1)   \
    X(30, BF16, 1, 2, 1)       \
    X(34, TQ1_0, 256, 54, 0)   \
    X(35, TQ2_0, 256, 66, 0)   \
    X(39, MXFP4, 32, 17, 1)    \
    X(40, NVFP4, 64, 36, 0)    \
    X(41, Q1_0, 128, 18, 0)    \
    X(42, Q2_0, 64, 18, 0)

typedef enum smt_dtype {
#define X(id, name, elems, bytes, runs) SMT_DTYPE_##name = id,
    SMT_DTYPE_LIST(X)
#undef X
        SMT_DTYPE_LIMIT = 43
} smt_dtype;

typedef struct smt_dtype_info {
    const char *name;      /* "Q4_K" */
    uint32_t elems, bytes; /* of one block */
    bool runs;             /* the engine has kernels for it */
} smt_dtype_info;

/* NULL for an id that no table entry has. */
const smt_dtype_info *smt_dtype_get(uint32_t id);
/* Words for an id in messages: its name, "removed type 31", "unknown type 144 (ids from 97 on belong to a fork)". */
const char *smt_dtype_words(uint32_t id, char *text, size_t capacity);
/* Bytes of a row of n elements; 0 when the block does not divide n. */
uint64_t smt_dtype_row_bytes(smt_dtype type, uint64_t n);

#endif
