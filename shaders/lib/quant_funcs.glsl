// quant_funcs.glsl: one tensor type, chosen by SMT_TYPE (its ggml id), behind one interface:
//   STEP                                 elements that one load covers: 32, 64 or 128
//   Raw raw_load(window, row byte, i)    the words and scales of elements i * STEP ...
//   vec4 raw_w(raw, sub, j)              the weights of elements sub * 32 + 4j .. + 3 of the step; sub and j constant after unrolling
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
