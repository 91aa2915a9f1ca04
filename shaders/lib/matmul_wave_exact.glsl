// matmul_wave_exact.glsl: activations and products of lib/matmul_wave.glsl as floats.
//
// The workgroup brings 16 chunks of every column to shared memory, reading the next ones while slower waves still work on the last, hence two
// buffers. A chunk there is an odd number of vec4 apart from the next, so that 16 lanes reading along K meet different banks.
#ifndef MATMUL_WAVE_EXACT_GLSL
#define MATMUL_WAVE_EXACT_GLSL

// Vectors of a chunk that are brought at once; BUFFER vectors hold them, for all lanes and columns.
#define STAGE (SMT_COLUMNS <= 2 ? 8u : 16u / SMT_COLUMNS)
#define PITCH (STAGE + 1u)
#define BUFFER (SMT_COLUMNS * LANES * PITCH)

// Columns that one lane brings its part of: all lanes together bring a part of all columns.
#define MATMUL_LOADS (SMT_COLUMNS == 1 ? 1u : 2u)
#define TURNS (SMT_COLUMNS / MATMUL_LOADS)
uint load_column(uint i) { return i * TURNS + gl_LocalInvocationID.x / (SMT_GROUP_X / TURNS); }
#include "lib/matmul_columns.glsl"

shared vec4 pool[2u * BUFFER]; // always more than FOLD_VECTORS
uint base = 0u;                // of the buffer in use

// Part `stage` of the chunks first .. first + 15; zeros for those beyond the last.
void bring(uint first, uint stage, uint chunks) {
    uint me = gl_LocalInvocationID.x % (SMT_GROUP_X / TURNS), lane = me / STAGE, j = me % STAGE, chunk = first + lane;
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) {
        vec4 v = x_load(i, min(chunk, chunks - 1u) * 8u + stage * STAGE + j);
        pool[base + (load_column(i) * LANES + lane) * PITCH + j] = chunk < chunks ? v : vec4(0);
    }
}

void multiply(uint stage, Raw a, Raw b) {
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

void turn(uint first, uint chunks, Raw a, Raw b) {
    [[unroll]] for (uint stage = 0; stage < 8u / STAGE; stage++) {
        bring(first, stage, chunks);
        barrier();
        multiply(stage, a, b);
        base = BUFFER - base;
    }
}

#endif
