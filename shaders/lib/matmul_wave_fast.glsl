// matmul_wave_fast.glsl: activations and products of lib/matmul_wave.glsl as integers of eight bits (lib/matmul_fast.glsl).
//
// An invocation rounds a whole chunk of one column: all of them 128 chunks, with one column enough for four turns or more. Nothing is exchanged
// for that, and the barriers around it are the only ones of those turns. In shared memory the halves of all chunks lie apart, so that 16
// lanes reading along K meet different banks.
#ifndef MATMUL_WAVE_FAST_GLSL
#define MATMUL_WAVE_FAST_GLSL

#include "lib/matmul_fast.glsl"

// Chunks of each column that are rounded at once: a multiple of LANES.
#define SEGMENT uint(SMT_GROUP_X / SMT_COLUMNS)
#define MATMUL_LOADS 1u
uint load_column(uint i) { return gl_LocalInvocationID.x / SEGMENT; }
#include "lib/matmul_columns.glsl"

shared vec4 pool[FOLD_VECTORS];
shared uvec4 x_low[SMT_GROUP_X], x_high[SMT_GROUP_X]; // [column][SEGMENT]
shared float x_scale[SMT_GROUP_X];
shared ivec2 x_sums[SMT_GROUP_X];

// Chunks first .. first + SEGMENT - 1; zeros for those beyond the last.
void round_segment(uint first, uint chunks) {
    uint me = gl_LocalInvocationID.x, chunk = first + me % SEGMENT;
    vec4 v[8];
    float peak = 0.0;
    [[unroll]] for (uint j = 0; j < 8; j++) {
        v[j] = x_load(0u, min(chunk, chunks - 1u) * 8u + j);
        peak = max(peak, peak_of(v[j]));
    }
    if (chunk >= chunks) peak = 0.0;
    float factor = rounding_factor(peak);
    ivec2 sums = ivec2(0);
    uvec4 low, high;
    [[unroll]] for (uint j = 0; j < 4; j++) {
        low[j] = rounded(v[j], factor);
        high[j] = rounded(v[4u + j], factor);
        sums += ivec2(sum_of_bytes(low[j]), sum_of_bytes(high[j]));
    }
    x_low[me] = low;
    x_high[me] = high;
    x_scale[me] = rounding_scale(peak);
    x_sums[me] = sums;
}

void turn(uint first, uint chunks, Raw a, Raw b) {
    if (first % SEGMENT == 0u) {
        barrier();
        round_segment(first, chunks);
        barrier();
    }
    Codes w[STREAMS];
    w[0] = Codes(codes_low(a), codes_high(a), raw_scales(a));
    w[1] = Codes(codes_low(b), codes_high(b), raw_scales(b));
    uint at = first % SEGMENT + gl_LocalInvocationID.x % LANES;
    [[unroll]] for (uint c = 0; c < SMT_COLUMNS; c++) {
        uvec4 low = x_low[c * SEGMENT + at], high = x_high[c * SEGMENT + at];
        float d = x_scale[c * SEGMENT + at];
        ivec2 sums = x_sums[c * SEGMENT + at];
        [[unroll]] for (uint s = 0; s < STREAMS; s++)
            acc[s * SMT_COLUMNS + c] = add_chunk(acc[s * SMT_COLUMNS + c], w[s], low, high, d, sums);
    }
}

#endif
