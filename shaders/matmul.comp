// matmul.comp: rows of a weight matrix times columns of activations; the only matrix kernel of the CPU-like family.
//
// One invocation owns one row and SMT_COLUMNS columns. The order of summation is the contract of src/ref/ref.h: four
// interleaved chains of fma over ascending elements, folded at the end. It depends on nothing but the row length, so 1, 2, 4 and 8 columns,
// dense and expert use, give equal bits.
// Activations are the same for all rows of a workgroup: each lane of a group of eight loads one vec4 of a 32-element chunk and the others
// receive it by broadcast; without subgroup operations they go through shared memory.
//
// Measured on lavapipe 25.0 (2 cores, shared with other work; 8192 x 2048): Q4_K 0.9 GB/s at one column, 6 to 10 GFLOP/s at eight. Both are well below
// what the driver's loads and fma allow. Not because of the order of summation (one chain in place of four measured the same): broadcasts and
// per-lane loads take the time.
//
// Defines: SMT_TYPE, SMT_COLUMNS, SMT_GATED (y = silu(W x) * (W2 x)), SMT_EXPERT (columns come from the work list).
#include "lib/prelude.glsl"
#include "lib/quant_funcs.glsl"

layout(push_constant) uniform Push { matmul_params p; };
layout(std430, binding = 1) readonly buffer X { vec4 x[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
layout(std430, binding = 4) readonly buffer Step { uint step_words[]; };
#if SMT_EXPERT
layout(std430, binding = 5) readonly buffer Table { uint table[]; };
layout(std430, binding = 6) readonly buffer Work { uint work[]; };
#endif

uint x_at[SMT_COLUMNS]; // vec4 index of each column's first element

// The vec4 of elements 4 * at .. of column c, zero beyond the row.
vec4 x_load(uint c, uint at) {
    vec4 v = vec4(0);
    uint left = p.k - min(p.k, at * 4u);
    if (left >= 4u) v = x[x_at[c] + at];
    else if (left > 0u) {
        v = x[x_at[c] + at];
        v = vec4(v.x, left > 1u ? v.y : 0.0, left > 2u ? v.z : 0.0, 0.0);
    }
    return v;
}

#if SMT_SUBGROUP == 0
shared vec4 x_shared[SMT_COLUMNS][8];
#endif

vec4 acc[SMT_COLUMNS];
#if SMT_GATED
vec4 acc2[SMT_COLUMNS];
#endif

void accumulate(uint chunk, Raw a
#if SMT_GATED
                , Raw b
#endif
) {
#if SMT_SUBGROUP == 0
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < 8; i += SMT_GROUP_X)
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) x_shared[c][i] = x_load(c, chunk * 8u + i);
    barrier();
#elif SMT_SUBGROUP >= 8
    vec4 mine[SMT_COLUMNS];
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) mine[c] = x_load(c, chunk * 8u + (gl_SubgroupInvocationID & 7u));
#else
    vec4 mine[SMT_COLUMNS], more[SMT_COLUMNS];
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        mine[c] = x_load(c, chunk * 8u + (gl_SubgroupInvocationID & 3u));
        more[c] = x_load(c, chunk * 8u + 4u + (gl_SubgroupInvocationID & 3u));
    }
#endif
    [[unroll]] for (uint j = 0; j < 8; j++) {
        vec4 w = raw_w(a, j);
#if SMT_GATED
        vec4 w2 = raw_w(b, j);
#endif
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
#if SMT_SUBGROUP == 0
            vec4 v = x_shared[c][j];
#elif SMT_SUBGROUP >= 8
            vec4 v = subgroupBroadcast(mine[c], j);
#else
            vec4 v = j < 4 ? subgroupBroadcast(mine[c], j & 3u) : subgroupBroadcast(more[c], j & 3u);
#endif
            acc[c] = fma(w, v, acc[c]);
#if SMT_GATED
            acc2[c] = fma(w2, v, acc2[c]);
#endif
        }
    }
}

float fold(vec4 chains) {
    precise float sum = (chains.x + chains.y) + (chains.z + chains.w);
    return sum;
}

void main() {
    uint win = 0u, off = p.w_off16, off2 = p.w2_off16, batch = gl_WorkGroupID.z;
    uint y_at[SMT_COLUMNS], n;
#if SMT_EXPERT
    uint tile = WORK_HEAD + gl_WorkGroupID.y * WORK_TILE_WORDS;
    uint expert = work[tile], first = work[tile + 1u];
    n = work[tile + 2u];
    win = table[expert * EXPERT_WORDS + EXPERT_WINDOW];
    off = table[expert * EXPERT_WORDS + p.table_word];
    off2 = table[expert * EXPERT_WORDS + EXPERT_UP];
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        uint entry = work[p.entries_word + first + min(c, n - 1u)];
        x_at[c] = (entry / p.x_div) * (p.x_stride >> 2);
        y_at[c] = entry * p.y_stride;
    }
#else
    uint first = gl_WorkGroupID.y * SMT_COLUMNS, total = step_words[p.count_word];
    if (first >= total) return;
    n = min(SMT_COLUMNS, total - first);
    off += batch * p.w_batch_off16;
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        uint col = first + min(c, n - 1u);
        x_at[c] = (col * p.x_stride + batch * p.x_batch) >> 2;
        y_at[c] = col * p.y_stride + batch * p.y_batch + p.y_row;
    }
#endif
    uint row = gl_WorkGroupID.x * SMT_GROUP_X + gl_LocalInvocationID.x;
    uint row_byte = min(row, p.rows - 1u) * p.row_bytes; // lanes beyond the end repeat the last row: broadcasts need them all

    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        acc[c] = vec4(0);
#if SMT_GATED
        acc2[c] = vec4(0);
#endif
    }
    uint chunks = (p.k + 31u) / 32u;
    for (uint i = 0; i < chunks; i++) {
#if SMT_GATED
        accumulate(i, raw_load(win, off * 16u + row_byte, i), raw_load(SMT_EXPERT == 1 ? win : 1u, off2 * 16u + row_byte, i));
#else
        accumulate(i, raw_load(win, off * 16u + row_byte, i));
#endif
    }
    if (row >= p.rows) return;
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        if (c >= n) break;
        precise float sum = fold(acc[c]);
#if SMT_GATED
        sum = smt_silu(sum) * fold(acc2[c]);
#elif !SMT_EXPERT
#if SMT_WINDOWS > 1
        if (p.bias != 0u) sum += load_f32(1u, p.w2_off16, p.y_row + row);
#endif
        if (p.residual != 0u) sum += residual[(first + c) * p.res_stride + p.y_row + row];
#endif
        y[y_at[c] + row] = sum;
    }
}
