/* tiny_types.c: see tiny_types.h. */
#include "tiny_types.h"

#include <string.h>

smt_dtype smt_tiny_fitting(smt_dtype type, uint64_t k) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (k % info->elems == 0) return type;
    if (k % 32) return SMT_DTYPE_F16;
    switch (type) {
    case SMT_DTYPE_Q4_K:
        return SMT_DTYPE_Q5_0;
    case SMT_DTYPE_Q5_K:
        return SMT_DTYPE_Q5_1;
    case SMT_DTYPE_Q6_K:
        return SMT_DTYPE_Q8_0;
    default:
        return SMT_DTYPE_IQ4_NL;
    }
}

static bool begins(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

/* Layers whose most sensitive matrices get a better type: the first and last eighth, and every third between. */
static bool more_bits(uint32_t layer, uint32_t n_layers) {
    uint32_t eighth = n_layers / 8;
    return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

smt_dtype smt_tiny_mixed(smt_dtype base, const char *name, uint32_t layer, uint32_t n_layers) {
    if (begins(name, "output.")) return SMT_DTYPE_Q6_K;
    bool down = begins(name, "ffn_down"), attention = begins(name, "attn_output."), value = begins(name, "attn_v.");
    if (!down && !attention && !value) return base;
    switch (base) {
    case SMT_DTYPE_Q2_K:
        return SMT_DTYPE_Q3_K;
    case SMT_DTYPE_Q3_K:
        return down && layer < n_layers / 16 ? SMT_DTYPE_Q5_K : value && layer < 2 ? SMT_DTYPE_Q5_K : SMT_DTYPE_Q4_K;
    case SMT_DTYPE_Q4_K:
    case SMT_DTYPE_Q5_K:
        return !attention && more_bits(layer, n_layers) ? SMT_DTYPE_Q6_K : base;
    case SMT_DTYPE_IQ4_XS:
        return down && layer < n_layers / 8 ? SMT_DTYPE_Q5_K : base;
    default:
        return base;
    }
}
