// matmul_product.glsl: the columns of a product and the product family of this device, behind the interface that lib/matmul_rows.glsl describes.
// Two additions to it, with defaults for families that have no use for them: MATMUL_LOADS and load_column (lib/matmul_columns.glsl), and
//   MATMUL_COLUMNS, uint product_column(i)    the columns an owner ends up with, ascending; product_sum(r, i) is about the i-th of them
//   MATMUL_UNROLL           how a loop over them is unrolled: results in registers want it
// Including it needs the push constants `matmul_params p` and lib/quant_funcs.glsl. SMT_WAVE: the family of GPUs, with
// a form of its own for many columns, and another where they are multiplied by cooperative matrices (SMT_COOP).
#ifndef MATMUL_PRODUCT_GLSL
#define MATMUL_PRODUCT_GLSL

#if SMT_COOP
#include "lib/matmul_coop.glsl"
#elif SMT_WAVE && SMT_COLUMNS > 8
#include "lib/matmul_tile.glsl"
#elif SMT_WAVE
#include "lib/matmul_wave.glsl"
#else
#include "lib/matmul_rows.glsl"
#endif

#ifndef MATMUL_COLUMNS
#define MATMUL_COLUMNS SMT_COLUMNS
uint product_column(uint i) { return i; }
#endif
#ifndef MATMUL_UNROLL
#define MATMUL_UNROLL [[unroll]]
#endif

#endif
