// moe_down.comp: the feed-forward result of a single row: the down products of its experts, summed as they are made. What matmul.comp and
// moe_combine.comp do for many rows, with the same operations in the same order: ascending expert id inside each range of p.range_size ids,
// then over the ranges, then the shared expert, then the residual.
//
// A workgroup owns rows of the result and walks the work list, which holds one entry per tile in ascending expert id (moe_route.comp).
// Defines: SMT_TYPE, SMT_NORM (the norm of the result follows, see lib/norm_after.glsl); SMT_COLUMNS is 1, SMT_GATED 0.
#include "lib/prelude.glsl"
layout(push_constant) uniform Push { matmul_params p; };
#include "lib/quant_funcs.glsl"
#if SMT_NORM
layout(std430, binding = 2) coherent buffer Y { float y[]; };
#include "lib/norm_after.glsl"
#else
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#endif
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
layout(std430, binding = 4) readonly buffer Weights { float weights[]; };
layout(std430, binding = 5) readonly buffer Table { uint table[]; };
layout(std430, binding = 6) readonly buffer Work { uint work[]; };
layout(std430, binding = 8) readonly buffer Shared { float shared_y[]; };

#include "lib/matmul_product.glsl"

void main() {
    precise float total[MATMUL_ROWS], part[MATMUL_ROWS];
    uint tiles = work[WORK_TILES], range = 0u;
    [[unroll]] for (uint r = 0; r < MATMUL_ROWS; r++) total[r] = part[r] = 0.0;
    for (uint t = 0; t < tiles; t++) {
        uint tile = WORK_HEAD + t * WORK_TILE_WORDS, expert = work[tile], entry = work[p.entries_word + work[tile + 1u]];
        uint at = expert * EXPERT_WORDS, win = table[at + EXPERT_WINDOW];
        x_at[0] = entry * (p.x_stride >> 2);
        product(win, table[at + EXPERT_DOWN], win, 0u, (p.k + 31u) / 32u);
        bool next = t > 0u && expert / p.range_size != range;
        range = expert / p.range_size;
        float weight = weights[entry];
        [[unroll]] for (uint r = 0; r < MATMUL_ROWS; r++) {
            if (next) total[r] += part[r];
            if (next) part[r] = 0.0;
            part[r] = fma(weight, product_sum(r, 0u), part[r]);
        }
    }
    [[unroll]] for (uint r = 0; r < MATMUL_ROWS; r++) {
        uint row = product_row(r);
        if (tiles == 0u || !product_owner() || row >= p.rows) break;
        total[r] += part[r];
        if (p.has_shared != 0u) total[r] += shared_y[row];
        total[r] += residual[row];
        y[row] = total[r];
    }
#if SMT_NORM
    norm_after();
#endif
}
