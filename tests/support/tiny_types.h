/* tiny_types.h: which type a quantiser gives each matrix of a file, after llama.cpp's rules: what a "Q2_K" file really holds. */
#ifndef SMT_TINY_TYPES_H
#define SMT_TINY_TYPES_H

#include "base/dtype.h"

/* What a type falls back to where its block does not divide rows of k elements: Q2_K, Q3_K and the IQ types with blocks of 256 to IQ4_NL,
 * Q4_K to Q5_0, Q5_K to Q5_1, Q6_K to Q8_0; F16 where 32 does not divide k either. */
smt_dtype smt_tiny_fitting(smt_dtype type, uint64_t k);

/* The type of the matrix `name` ("ffn_down.weight", without its layer) in the mix known by its base: Q2_K, Q3_K (Q3_K_M), Q4_K (Q4_K_M),
 * Q5_K (Q5_K_M) or IQ4_XS; any other base is a file of one type with a Q6_K output head. */
smt_dtype smt_tiny_mixed(smt_dtype base, const char *name, uint32_t layer, uint32_t n_layers);

#endif
