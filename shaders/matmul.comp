// matmul.comp: rows of a weight matrix times columns of activations; the matrix kernel (moe_down.comp is its sum over a row's experts).
//
// Which columns, and what happens to the results, is decided here; how rows and columns are multiplied, in a product family (lib/matmul_rows.glsl).
// The order of summation depends on nothing but the row length, so 1, 2, 4 and 8 columns, dense and expert use, give equal bits.
//
// Defines: SMT_TYPE, SMT_COLUMNS, SMT_GATED (y = silu(W x) * (W2 x)), SMT_EXPERT (columns come from the work list).
#include "lib/prelude.glsl"
layout(push_constant) uniform Push { matmul_params p; };
#include "lib/quant_funcs.glsl"
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
layout(std430, binding = 4) readonly buffer Step { uint step_words[]; };
#if SMT_EXPERT
layout(std430, binding = 5) readonly buffer Table { uint table[]; };
layout(std430, binding = 6) readonly buffer Work { uint work[]; };
#endif

#include "lib/matmul_product.glsl"

void main() {
    uint win = 0u, off = p.w_off16, off2 = p.w2_off16, batch = gl_WorkGroupID.z;
    uint y_at[SMT_COLUMNS], n;
#if SMT_EXPERT
    uint tile = WORK_HEAD + min(gl_WorkGroupID.y, max(work[WORK_TILES], 1u) - 1u) * WORK_TILE_WORDS;
    n = gl_WorkGroupID.y < work[WORK_TILES] ? work[tile + 2u] : 0u;
    uint expert = n > 0u ? work[tile] : 0u, first = work[tile + 1u];
    win = table[expert * EXPERT_WORDS + EXPERT_WINDOW];
    off = table[expert * EXPERT_WORDS + p.table_word];
    off2 = table[expert * EXPERT_WORDS + EXPERT_UP];
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        uint entry = work[p.entries_word + first + min(c, max(n, 1u) - 1u)];
        x_at[c] = (entry / p.x_div) * (p.x_stride >> 2);
        y_at[c] = entry * p.y_stride;
    }
#else
    uint first = gl_WorkGroupID.y * SMT_COLUMNS, total = step_words[p.count_word];
    n = min(SMT_COLUMNS, total - min(first, total));
    off += batch * p.w_batch_off16;
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        uint col = min(first + c, max(total, 1u) - 1u);
        x_at[c] = (col * p.x_stride + batch * p.x_batch) >> 2;
        y_at[c] = col * p.y_stride + batch * p.y_batch + p.y_row;
    }
#endif
    product(win, off, SMT_EXPERT == 1 ? win : 1u, off2, n > 0u ? (p.k + 31u) / 32u : 0u);
    if (!product_owner()) return;
    [[unroll]] for (uint r = 0; r < MATMUL_ROWS; r++) {
        uint row = product_row(r);
        if (row >= p.rows) break;
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
            if (c >= n) break;
            precise float sum = product_sum(r, c);
#if SMT_GATED
            sum = smt_silu(sum) * product_sum2(r, c);
#elif !SMT_EXPERT
#if SMT_WINDOWS > 1
            if (p.bias != 0u) sum += load_f32(1u, p.w2_off16, p.y_row + row);
#endif
            if (p.residual != 0u) sum += residual[(first + c) * p.res_stride + p.y_row + row];
#endif
            y[y_at[c] + row] = sum;
        }
    }
}
