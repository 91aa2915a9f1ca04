// matmul_product.glsl: the columns of a product and the product family of this device, behind the interface that lib/matmul_rows.glsl describes.
// Including it needs the push constants `matmul_params p` and lib/quant_funcs.glsl.
#ifndef MATMUL_PRODUCT_GLSL
#define MATMUL_PRODUCT_GLSL

#include "lib/matmul_columns.glsl"
#include "lib/matmul_rows.glsl"

#endif
