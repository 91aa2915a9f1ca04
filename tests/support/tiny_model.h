/* tiny_model.h: writes complete small models with random weights: the same shapes, tensor types and keys as real files, small
 * enough to run anywhere in a moment. The same options give the same bytes. The weights are scaled so that activations stay of
 * order 1, logits differ, and every expert gets used.
 *
 * Rows whose length no block of the chosen type divides fall back as in real files (Q4_K to Q5_0, Q6_K to Q8_0): the expert
 * width is 96 and the head's unrotated part 32, so that K-quant files hold both kinds. */
#ifndef SMT_TINY_MODEL_H
#define SMT_TINY_MODEL_H

#include "base/dtype.h"

typedef struct smt_tiny_options { /* zero means default */
    smt_dtype type;               /* of the matrices; norms and routers are F32 */
    uint32_t n_layers;            /* 3; the first is dense */
    uint32_t n_experts;           /* 8; used: 3, or all if there are fewer */
    uint64_t seed;
    bool q_lora;     /* q in two steps, as in the large models */
    bool old_layout; /* attn_kv_b and the keys of files before 2025 */
    bool sigmoid;    /* V3: sigmoid gate, selection bias, normalised weights, groups of two experts (8 experts and up) */
    bool tied;       /* no output.weight */
    bool gqa;        /* llama: two key-value heads for eight heads */
} smt_tiny_options;

/* options may be NULL: all defaults. Byte-level BPE vocabulary with a few merges. */
smt_status smt_tiny_deepseek2(const char *path, const smt_tiny_options *options, smt_error *err);
/* SPM vocabulary with byte fallback. */
smt_status smt_tiny_llama(const char *path, const smt_tiny_options *options, smt_error *err);

#endif
