// quant_funcs.glsl: one tensor type, chosen by SMT_TYPE (its ggml id), behind one interface:
//   Raw raw_load(window, row byte, i)    the words and scales of chunk i: elements 32 i ... 32 i + 31 of a row
//   vec4 raw_w(raw, j)                   the weights of elements 4j .. 4j + 3 of the chunk; j constant after unrolling
// Weights come out exactly as the C decoder in src/quant computes them.
#ifndef QUANT_FUNCS_GLSL
#define QUANT_FUNCS_GLSL

#include "lib/windows.glsl"

#if SMT_TYPE == 0 || SMT_TYPE == 1 || SMT_TYPE == 30
#include "lib/quant_float.glsl"
#elif SMT_TYPE == 2 || SMT_TYPE == 6 || SMT_TYPE == 8
#include "lib/quant_block32.glsl"
#elif SMT_TYPE == 12 || SMT_TYPE == 14
#include "lib/quant_k.glsl"
#else
#error no decoder for this SMT_TYPE
#endif

#endif
