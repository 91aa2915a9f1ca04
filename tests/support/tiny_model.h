/* tiny_model.h: writes complete small models with random weights: the same shapes, tensor types and keys as real files, small
 * enough to run anywhere in a moment. The same options give the same bytes. The weights are scaled so that activations stay of
 * order 1, logits differ, and every expert gets used.
 *
 * Rows whose length no block of the chosen type divides fall back as in real files (tiny_types.h): the expert width is 96 and the
 * head's unrotated part 32, so that files of types with blocks of 256 hold both kinds. Types without an encoder get random blocks. */
#ifndef SMT_TINY_MODEL_H
#define SMT_TINY_MODEL_H

#include "base/dtype.h"

typedef struct smt_tiny_options { /* zero means default */
    smt_dtype type;               /* of the matrices; norms and routers are F32 */
    uint32_t n_layers;            /* 3; the first is dense */
    uint32_t n_experts;           /* 8 */
    uint32_t n_used;              /* 3, or all if there are fewer */
    uint32_t group_size;          /* experts of a group, two groups are kept: 2 with sigmoid (8 experts and up), else no groups */
    uint64_t seed;
    float linear;    /* llama, deepseek: factor of linear rotary scaling */
    float rope_base; /* 10000 */
    bool q_lora;     /* q in two steps, as in the large models */
    bool old_layout; /* attn_kv_b and the keys of files before 2025 */
    bool sigmoid;    /* V3: sigmoid gate, selection bias, normalised weights, groups */
    bool ahead;      /* a layer behind the model's own that predicts tokens further ahead, counted as newer converters do */
    bool fused;      /* ffn_gate_up_exps in place of two tensors */
    bool tied;       /* no output.weight */
    bool gqa;        /* llama, deepseek: two key-value heads for all heads */
    bool biases;     /* llama, deepseek: on every product of attention and of dense feed-forward */
    bool divisors;   /* llama: rope_freqs.weight */
    bool mix;        /* `type` names a mix of several types, put together as llama.cpp's quantiser does: tiny_types.h */
    bool wide;       /* experts 256 wide: all their matrices in types with blocks of 256 */
    bool blank;      /* all weights are zero: written at once, where nothing computes with them */
    bool small;      /* widths for files of a quarter of a megabyte: no K-quants */
} smt_tiny_options;

/* options may be NULL: all defaults. Byte-level BPE vocabulary with a few merges. */
smt_status smt_tiny_deepseek2(const char *path, const smt_tiny_options *options, smt_error *err);
smt_status smt_tiny_deepseek(const char *path, const smt_tiny_options *options, smt_error *err);
/* SPM vocabulary with byte fallback. */
smt_status smt_tiny_llama(const char *path, const smt_tiny_options *options, smt_error *err);

#endif
