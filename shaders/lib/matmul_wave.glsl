// matmul_wave.glsl: products in the GPU family: 16 lanes along K share a pair of rows, so that even small matrices make many waves.
//
// The order of summation is the second one of src/ref/ref.h (smt_ref_dot_wave): lane l of the 16 takes the chunks l, l + 16, ... of 32 elements in
// one chain of fma; the 16 sums are added one after another. Nothing here asks how wide a subgroup is, so all widths give equal bits.
//
// Each lane works on two streams of weights: two rows, or the same row of both matrices of a gated pair. All lanes along K want the same
// activations: the workgroup brings 16 chunks of every column to shared memory, reading the next ones while slower waves still work on the last,
// hence two buffers. A chunk there is an odd number of vec4 apart from the next, so that 16 lanes reading along K meet different banks.
//
// The interface is told in lib/matmul_rows.glsl.
#ifndef MATMUL_WAVE_GLSL
#define MATMUL_WAVE_GLSL

#define LANES uint(SMT_WAVE_LANES)
#define GROUPS uint(SMT_GROUP_X / SMT_WAVE_LANES)
#define STREAMS 2u
#define MATMUL_ROWS (STREAMS - SMT_GATED)

#define MATMUL_COLUMNS 1

// Vectors of a chunk that are brought at once; BUFFER vectors hold them, for all lanes and columns.
#define STAGE (SMT_COLUMNS <= 2 ? 8u : 16u / SMT_COLUMNS)
#define PITCH (STAGE + 1u)
#define BUFFER (SMT_COLUMNS * LANES * PITCH)
// A lane's sums, stream by stream and column by column, as vectors; those of lane l of all groups lie together at l * FOLD_PITCH.
#define SUMS ((STREAMS * SMT_COLUMNS + 3u) / 4u)
#define FOLD_PITCH (GROUPS * SUMS + 1u)

// Columns that one lane brings its part of: all lanes together bring a part of all columns.
#define MATMUL_LOADS (SMT_COLUMNS == 1 ? 1u : 2u)
#define TURNS (SMT_COLUMNS / MATMUL_LOADS)
uint load_column(uint i) { return i * TURNS + gl_LocalInvocationID.x / (SMT_GROUP_X / TURNS); }
#include "lib/matmul_columns.glsl"

shared vec4 pool[2u * BUFFER]; // always more than LANES * FOLD_PITCH + GROUPS * SUMS

float acc[STREAMS * SMT_COLUMNS];

uint row_of(uint group, uint r) { return (gl_WorkGroupID.x * MATMUL_ROWS + r) * GROUPS + group; }
uint product_row(uint r) { return row_of(gl_LocalInvocationID.x % GROUPS, r); }
uint product_column(uint i) { return gl_LocalInvocationID.x / GROUPS; }
bool product_owner() { return gl_LocalInvocationID.x < GROUPS * SMT_COLUMNS; }

// Part `stage` of the chunks first .. first + 15; zeros for those beyond the last.
void bring(uint base, uint first, uint stage, uint chunks) {
    uint me = gl_LocalInvocationID.x % (SMT_GROUP_X / TURNS), lane = me / STAGE, j = me % STAGE, chunk = first + lane;
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) {
        vec4 v = x_load(i, min(chunk, chunks - 1u) * 8u + stage * STAGE + j);
        pool[base + (load_column(i) * LANES + lane) * PITCH + j] = chunk < chunks ? v : vec4(0);
    }
}

void multiply(uint base, uint stage, Raw a, Raw b) {
    uint at = base + gl_LocalInvocationID.x % LANES * PITCH;
    [[unroll]] for (uint i = 0; i < STAGE; i++) {
        vec4 w[STREAMS];
        w[0] = raw_w(a, stage * STAGE + i);
        w[1] = raw_w(b, stage * STAGE + i);
        [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
            vec4 v = pool[at + c * LANES * PITCH + i];
            [[unroll]] for (uint s = 0; s < STREAMS; s++)
                [[unroll]] for (uint e = 0; e < 4; e++) acc[s * SMT_COLUMNS + c] = fma(w[s][e], v[e], acc[s * SMT_COLUMNS + c]);
        }
    }
}

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
    uint byte_a = off * 16u + min(row_of(group, 0u), last) * p.row_bytes; // groups beyond the end repeat the last row
#if SMT_GATED
    uint byte_b = off2 * 16u + min(row_of(group, 0u), last) * p.row_bytes;
#else
    uint byte_b = off * 16u + min(row_of(group, 1u), last) * p.row_bytes;
    win2 = win;
#endif
    [[unroll]] for (uint i = 0; i < STREAMS * SMT_COLUMNS; i++) acc[i] = 0.0;
    uint base = 0u;
    for (uint first = 0; first < chunks; first += LANES) {
        uint chunk = min(first + lane, chunks - 1u); // beyond the end the activations are zero
        Raw a = raw_load(win, byte_a, chunk), b = raw_load(win2, byte_b, chunk);
        [[unroll]] for (uint stage = 0; stage < 8u / STAGE; stage++) {
            bring(base, first, stage, chunks);
            barrier();
            multiply(base, stage, a, b);
            base = BUFFER - base;
        }
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
