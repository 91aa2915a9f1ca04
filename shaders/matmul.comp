// matmul.comp: rows of a weight matrix times columns of activations; the matrix kernel (moe_down.comp is its sum over a row's experts).
//
// Which columns, and what happens to the results, is decided here; how rows and columns are multiplied, in a product family
// (lib/matmul_product.glsl). The order of summation depends on nothing but the family and the row length, so any number of columns, dense and
// expert use, give equal bits. Cooperative matrices are the exception (lib/matmul_coop.glsl).
//
// Defines: SMT_TYPE, SMT_COLUMNS, SMT_GATED (y = silu(W x) * (W2 x)), SMT_EXPERT (columns come from the work list), SMT_WAVE (the product
// family), SMT_COOP (its form with cooperative matrices), SMT_MERGE (what is read as the column, see lib/matmul_columns.glsl), SMT_NORM (the norm of a single row of results follows, see
// lib/norm_after.glsl).
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
layout(std430, binding = 4) readonly buffer Step { uint step_words[]; };
#if SMT_EXPERT
layout(std430, binding = 5) readonly buffer Table { uint table[]; };
layout(std430, binding = 6) readonly buffer Work { uint work[]; };
#endif

#include "lib/matmul_product.glsl"

void main() {
    uint win = 0u, off = p.w_off16, off2 = p.w2_off16, batch = gl_WorkGroupID.z;
    uint first, n;
#if SMT_EXPERT
    uint tile = WORK_HEAD + min(gl_WorkGroupID.y, max(work[WORK_TILES], 1u) - 1u) * WORK_TILE_WORDS;
    n = gl_WorkGroupID.y < work[WORK_TILES] ? work[tile + 2u] : 0u;
    first = work[tile + 1u];
    uint expert = n > 0u ? work[tile] : 0u;
    win = table[expert * EXPERT_WORDS + EXPERT_WINDOW];
    off = table[expert * EXPERT_WORDS + p.table_word];
    off2 = table[expert * EXPERT_WORDS + EXPERT_UP];
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++)
        x_at[i] = (work[p.entries_word + first + min(load_column(i), max(n, 1u) - 1u)] / p.x_div) * (p.x_stride >> 2);
#else
    uint total = step_words[p.count_word];
    first = gl_WorkGroupID.y * SMT_COLUMNS;
    n = min(SMT_COLUMNS, total - min(first, total));
    off += batch * p.w_batch_off16;
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++)
        x_at[i] = (min(first + load_column(i), max(total, 1u) - 1u) * p.x_stride + batch * p.x_batch) >> 2;
#endif
    columns_prepare();
    product(win, off, SMT_EXPERT == 1 ? win : 1u, off2, n > 0u ? (p.k + 31u) / 32u : 0u);
    MATMUL_UNROLL for (uint i = 0; i < MATMUL_COLUMNS; i++) {
        uint c = product_column(i);
        if (!product_owner() || c >= n) break;
#if SMT_EXPERT
        uint y_at = work[p.entries_word + first + c] * p.y_stride;
#else
        uint y_at = (first + c) * p.y_stride + batch * p.y_batch + p.y_row;
#endif
        [[unroll]] for (uint r = 0; r < MATMUL_ROWS; r++) {
            uint row = product_row(r);
            if (row >= p.rows) break;
            precise float sum = product_sum(r, i);
#if SMT_GATED
            sum = smt_silu(sum) * product_sum2(r, i);
#elif SMT_COOP
            if (COOP_GATED) sum = smt_silu(sum) * product_sum2(r, i);
#endif
#if !SMT_EXPERT && !SMT_GATED
#if SMT_WINDOWS > 1
            if (p.bias != 0u) sum += load_f32(1u, p.w2_off16, p.y_row + row);
#endif
            if (p.residual != 0u) sum += residual[(first + c) * p.res_stride + p.y_row + row];
#endif
            y[y_at + row] = sum;
        }
    }
#if SMT_NORM
    norm_after();
#endif
}
