// matmul_rows.glsl: products in the CPU-like family: one invocation owns one row or two, and SMT_COLUMNS columns.
//
// The order of summation is the contract of src/ref/ref.h: four interleaved chains of fma over ascending elements, folded at the end.
// Activations are the same for all rows of a workgroup: each lane of a group of eight loads one vec4 of a 32-element chunk and the others
// receive it by broadcast, of two columns at once where a subgroup has 16 lanes; without subgroup operations they go through shared memory. With
// few columns a second row shares both.
//
// Where the time goes: lavapipe 25.0, 8 lanes, Q8_0, cycles for 8 rows of a chunk. A texel fetch is a call of 75 instructions, 40 cycles for 8
// vectors; fma is a product and a sum, with the broadcast three instructions. One column: 230, half of them 2.6 fetches a row. Eight: 900, of
// which 10 fetches take 430, and the loop outgrows what a processor keeps decoded. Measured and refused: another order of rows and columns
// (the same code), vectors that chunks of Q4_K share fetched once, in an inner loop (0.86 to 1.13) or unrolled (1.07; Q6_K does it:
// lib/quant_k.glsl), a second row at four or eight columns (1.05 to 1.12); the last two compile twice the code. Activations by loads that the
// compiler sees to be uniform (addresses made of push constants) take a branch each, 5 cycles a number; from a buffer's address, in a loop,
// they are gathers: 4 times slower.
//
// 16 lanes (512 bits), eight columns of Q8_0, instructions for 16 rows of a chunk: a fetch 94, and ten of them; 512 for products and sums; a
// broadcast from a lane known here is a permutation, which waits for the unit that half of the sums need: 256, and as many loads of what
// permutes. From a lane that the compiler does not know it becomes part of the product, which reads it from memory. This and two
// columns a fetch: 1.30 of the speed (Q4_K 1.28, four columns 1.26, gated 1.13 to 1.17). Measured and refused: 64 elements of a column a fetch
// (0.97, an inner loop), unknown lanes where two rows or matrices share a broadcast (0.90 to 0.98), rows woven by 16 (0.97),
// one column with rows side by side (1.02), four rows of it (1.05 to 1.09; twice the code).
// One column of Q8_0 is at the limit of the two ports that 512-bit operations share. Operations that need them, for two rows of a chunk: five
// fetches 325 (lanes' addresses one by one, and a transposition), codes to floats 144, their scales 64, products and sums 128, broadcasts 28,
// the rest 80. Eight columns meet that limit, and besides that of decoding instructions: a product and a sum have 17 bytes.
//
// Interface of a product family (matmul.comp uses nothing else of it):
//   MATMUL_ROWS             rows that one invocation ends up with
//   uint product_row(r)     the r-th of them; may lie beyond the matrix
//   bool product_owner()    whether this invocation stores its results
//   void product(...)       the products of rows and columns, from 0; every invocation of the workgroup takes part. `chunks` is how many
//                           runs of 32 elements a row has; 0 in a workgroup without columns, which must not leave earlier: on
//                           lavapipe, code after a `return` tests a mask before every load
//   float product_sum(r, c), product_sum2(r, c)    results; sum2: of the second matrix of a gated pair
#ifndef MATMUL_ROWS_GLSL
#define MATMUL_ROWS_GLSL

// Of one matrix, or one of each of a pair: what shares an activation. The host divides the workgroup's rows by MATMUL_ROWS.
#define MATMUL_ROWS SMT_ROWS
#define SIDES (SMT_GATED == 1 ? 2 : SMT_ROWS)

#if SMT_SUBGROUP >= 16
#define MATMUL_LOADS ((SMT_COLUMNS + 1) / 2)
uint load_column(uint i) { return min(2u * i + ((gl_SubgroupInvocationID >> 3) & 1u), SMT_COLUMNS - 1u); }
#endif
#include "lib/matmul_columns.glsl"

#if SMT_SUBGROUP == 0
shared vec4 x_shared[SMT_COLUMNS][8];
#endif

vec4 acc[SIDES][SMT_COLUMNS];

// Element 32 chunk + 4 j of every column, to all lanes: prepared once a chunk, then taken by broadcast.
#if SMT_SUBGROUP >= 16
vec4 mine[MATMUL_LOADS];
uint unknown_zero;
#define X_TAKE(c, j) subgroupBroadcast(mine[(c) >> 1], (SIDES == 1 ? unknown_zero : 0u) + ((c) & 1u) * 8u + j)
#elif SMT_SUBGROUP >= 8
vec4 mine[SMT_COLUMNS];
#define X_TAKE(c, j) subgroupBroadcast(mine[c], j)
#elif SMT_SUBGROUP > 0
vec4 mine[SMT_COLUMNS], more[SMT_COLUMNS];
#define X_TAKE(c, j) (j < 4 ? subgroupBroadcast(mine[c], j & 3u) : subgroupBroadcast(more[c], j & 3u))
#else
#define X_TAKE(c, j) x_shared[c][j]
#endif

void x_prepare(uint chunk) {
#if SMT_SUBGROUP == 0
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < 8; i += SMT_GROUP_X)
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) x_shared[c][i] = x_load(c, chunk * 8u + i);
    barrier();
#else
    [[unroll]] for (uint c = 0; c < MATMUL_LOADS; c++) {
#if SMT_SUBGROUP >= 8
        mine[c] = x_load(c, chunk * 8u + (gl_SubgroupInvocationID & 7u));
#else
        mine[c] = x_load(c, chunk * 8u + (gl_SubgroupInvocationID & 3u));
        more[c] = x_load(c, chunk * 8u + 4u + (gl_SubgroupInvocationID & 3u));
#endif
    }
#endif
}

uint product_row(uint r) { return (gl_WorkGroupID.x * SMT_ROWS + r) * SMT_GROUP_X + gl_LocalInvocationID.x; }
bool product_owner() { return true; }

// Adds the products of a chunk of one side with all columns.
// Decoded first, columns outermost: 32 weights wait as memory operands while one column's chains stay in registers.
void product_add(uint s, Raw raw) {
    vec4 w[8];
    [[unroll]] for (uint j = 0; j < 8; j++) w[j] = raw_w(raw, j);
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++)
        [[unroll]] for (uint j = 0; j < 8; j++) acc[s][c] = fma(w[j], X_TAKE(c, j), acc[s][c]);
}

// win, off: window and 16-byte offset of the first row; win2, off2: of the second matrix of a gated pair.
void product(uint win, uint off, uint win2, uint off2, uint chunks) {
    uint side_win[2] = uint[2](win, SMT_GATED == 1 ? win2 : win);
#if SMT_SUBGROUP >= 16
    unknown_zero = p.x_stride & 3u; // whole vec4s
#endif
    Row rows[SIDES];
    [[unroll]] for (uint s = 0; s < SIDES; s++) {
        // lanes beyond the end repeat the last row: broadcasts need them all
        uint row = min(product_row(SMT_GATED == 1 ? 0u : s), p.rows - 1u);
        rows[s] = row_at(SMT_GATED == 1 && s == 1u ? off2 : off, row, p.row_bytes, p.rows);
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) acc[s][c] = vec4(0);
    }
    for (uint first = 0; first < chunks; first += 8u) {
        Head head[SIDES];
        [[unroll]] for (uint s = 0; s < SIDES; s++) head[s] = head_load(side_win[s], rows[s], first >> 3);
        uint end = min(chunks, first + 8u);
#if defined(SHARED_CHUNKS) && SMT_SUBGROUP > 0
        for (uint part = first; part < end; part += SHARED_CHUNKS) {
            SharedVectors held[SIDES];
            [[unroll]] for (uint s = 0; s < SIDES; s++) held[s] = shared_load(side_win[s], rows[s], part);
            [[dont_unroll]] for (uint i = part; i < part + SHARED_CHUNKS; i++) {
                x_prepare(i);
                [[unroll]] for (uint s = 0; s < SIDES; s++) product_add(s, raw_of(held[s], i, head[s]));
            }
        }
#else
        for (uint i = first; i < end; i++) {
            x_prepare(i);
            [[unroll]] for (uint s = 0; s < SIDES; s++) product_add(s, raw_load(side_win[s], rows[s], i, head[s]));
        }
#endif
    }
}

float fold(vec4 chains) {
    precise float sum = (chains.x + chains.y) + (chains.z + chains.w);
    return sum;
}

float product_sum(uint r, uint c) { return fold(acc[SMT_GATED == 1 ? 0u : r][c]); }
float product_sum2(uint r, uint c) { return fold(acc[SIDES - 1][c]); }

#endif
