// matmul_rows.glsl: products in the CPU-like family: one invocation owns one row and SMT_COLUMNS columns.
//
// The order of summation is the contract of src/ref/ref.h: four interleaved chains of fma over ascending elements, folded at the end.
// Activations are the same for all rows of a workgroup: each lane of a group of eight loads one vec4 of a 32-element chunk and the others
// receive it by broadcast; without subgroup operations they go through shared memory.
//
// Interface of a product family (matmul.comp uses nothing else of it):
//   MATMUL_ROWS             rows that one invocation ends up with
//   uint product_row(r)     the r-th of them; may lie beyond the matrix
//   bool product_owner()    whether this invocation stores its results
//   void product(...)       the products of rows and columns, from 0; every invocation of the workgroup takes part
//   float product_sum(r, c), product_sum2(r, c)    results; sum2: of the second matrix of a gated pair
#ifndef MATMUL_ROWS_GLSL
#define MATMUL_ROWS_GLSL

#define MATMUL_ROWS 1

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

uint product_row(uint r) { return gl_WorkGroupID.x * SMT_GROUP_X + gl_LocalInvocationID.x; }
bool product_owner() { return true; }

// win, off: window and 16-byte offset of the first row; win2, off2: of the second matrix of a gated pair.
void product(uint win, uint off, uint win2, uint off2) {
    uint row_byte = min(product_row(0u), p.rows - 1u) * p.row_bytes; // lanes beyond the end repeat the last row: broadcasts need them all
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        acc[c] = vec4(0);
#if SMT_GATED
        acc2[c] = vec4(0);
#endif
    }
    uint chunks = (p.k + 31u) / 32u;
    for (uint i = 0; i < chunks; i++) {
#if SMT_GATED
        accumulate(i, raw_load(win, off * 16u + row_byte, i), raw_load(win2, off2 * 16u + row_byte, i));
#else
        accumulate(i, raw_load(win, off * 16u + row_byte, i));
#endif
    }
}

float product_sum(uint r, uint c) { return fold(acc[c]); }
#if SMT_GATED
float product_sum2(uint r, uint c) { return fold(acc2[c]); }
#endif

#endif
