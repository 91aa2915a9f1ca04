// matmul_wave.glsl: products in the GPU family: 16 lanes along K share a pair of rows, so that even small matrices make many waves.
//
// The order of summation is the second one of src/ref/ref.h (smt_ref_dot_wave): lane l of the 16 takes the chunks l, l + 16, ... of 32 elements in
// one chain of fma; the 16 sums are added one after another. Nothing here asks how wide a subgroup is, so all widths give equal bits.
//
// Each lane works on two streams of weights: two rows, or the same row of both matrices of a gated pair. All lanes along K want the same
// activations: the workgroup brings them to shared memory and multiplies, as floats (lib/matmul_wave_exact.glsl) or as integers
// (lib/matmul_wave_fast.glsl: SMT_FAST):
//   void turn(first, chunks, a, b)    adds the products of this lane's chunk, of those from `first` on, to acc; a, b: its weights in both streams
//
// The interface is told in lib/matmul_rows.glsl.
#ifndef MATMUL_WAVE_GLSL
#define MATMUL_WAVE_GLSL

#define LANES uint(SMT_WAVE_LANES)
#define GROUPS uint(SMT_GROUP_X / SMT_WAVE_LANES)
#define STREAMS 2u
#define MATMUL_ROWS (STREAMS - SMT_GATED)

#define MATMUL_COLUMNS 1

// A lane's sums, stream by stream and column by column, as vectors; those of lane l of all groups lie together at l * FOLD_PITCH.
#define SUMS ((STREAMS * SMT_COLUMNS + 3u) / 4u)
#define FOLD_PITCH (GROUPS * SUMS + 1u)
#define FOLD_VECTORS (LANES * FOLD_PITCH + GROUPS * SUMS)

float acc[STREAMS * SMT_COLUMNS];

#if SMT_FAST
#include "lib/matmul_wave_fast.glsl"
#else
#include "lib/matmul_wave_exact.glsl"
#endif

uint row_of(uint group, uint r) { return (gl_WorkGroupID.x * MATMUL_ROWS + r) * GROUPS + group; }
uint product_row(uint r) { return row_of(gl_LocalInvocationID.x % GROUPS, r); }
uint product_column(uint i) { return gl_LocalInvocationID.x / GROUPS; }
bool product_owner() { return gl_LocalInvocationID.x < GROUPS * SMT_COLUMNS; }

// The 16 sums of every row and column become one.
void fold() {
    uint me = gl_LocalInvocationID.x;
    barrier();
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        vec4 mine = vec4(0);
        [[unroll]] for (uint e = 0; e < 4; e++)
            if (i * 4u + e < STREAMS * SMT_COLUMNS) mine[e] = acc[i * 4u + e];
        pool[me % LANES * FOLD_PITCH + me / LANES * SUMS + i] = mine;
    }
    barrier();
    if (me < GROUPS * SUMS) {
        precise vec4 sum = pool[me];
        [[unroll]] for (uint l = 1; l < LANES; l++) sum += pool[l * FOLD_PITCH + me];
        pool[LANES * FOLD_PITCH + me] = sum;
    }
    barrier();
}

// win, off: window and 16-byte offset of the first row; win2, off2: of the second matrix of a gated pair.
void product(uint win, uint off, uint win2, uint off2, uint chunks) {
    if (chunks == 0u) return;
    uint group = gl_LocalInvocationID.x / LANES, lane = gl_LocalInvocationID.x % LANES, last = p.rows - 1u;
    Row row_a = row_at(off, min(row_of(group, 0u), last), p.row_bytes, p.rows); // groups beyond the end repeat the last row
#if SMT_GATED
    Row row_b = row_at(off2, min(row_of(group, 0u), last), p.row_bytes, p.rows);
#else
    Row row_b = row_at(off, min(row_of(group, 1u), last), p.row_bytes, p.rows);
    win2 = win;
#endif
    [[unroll]] for (uint i = 0; i < STREAMS * SMT_COLUMNS; i++) acc[i] = 0.0;
    for (uint first = 0; first < chunks; first += LANES) {
        uint chunk = min(first + lane, chunks - 1u); // beyond the end the activations are zero
        Raw a = raw_load(win, row_a, chunk), b = raw_load(win2, row_b, chunk);
        turn(first, chunks, a, b);
    }
    fold();
}

float sum_of(uint s) {
    uint i = s * SMT_COLUMNS + product_column(0u);
    return pool[LANES * FOLD_PITCH + gl_LocalInvocationID.x % GROUPS * SUMS + i / 4u][i % 4u];
}
float product_sum(uint r, uint c) { return sum_of(r); }
#if SMT_GATED
float product_sum2(uint r, uint c) { return sum_of(1u); }
#endif

#endif
