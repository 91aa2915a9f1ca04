// matmul_tile_fast.glsl: activations and products of lib/matmul_tile.glsl as integers of eight bits (lib/matmul_fast.glsl).
//
// PARTS invocations share the rounding of a column's chunk: each tells the others the greatest magnitude of its part, across a barrier that
// stands anyway. In shared memory the halves of all lines and columns lie apart, as lines that are read together meet different banks.
#ifndef MATMUL_TILE_FAST_GLSL
#define MATMUL_TILE_FAST_GLSL

#include "lib/matmul_fast.glsl"

#define PARTS uint(SMT_GROUP_X / SMT_COLUMNS)
#define PART_VECTORS (8u / PARTS)
#define MATMUL_LOADS 1u
uint load_column(uint i) { return gl_LocalInvocationID.x / PARTS; }
#include "lib/matmul_columns.glsl"

shared uvec4 tile_w[2u * LINES];
shared vec2 tile_scales[LINES];
shared uvec2 tile_x[2u * SMT_COLUMNS * 2u];
shared float x_scale[SMT_COLUMNS], part_peak[SMT_GROUP_X];
shared int part_sum[SMT_GROUP_X]; // [column][PARTS]

vec4 next_x[PART_VECTORS];

void fetch_x(uint chunk) {
    uint part = gl_LocalInvocationID.x % PARTS;
    [[unroll]] for (uint i = 0; i < PART_VECTORS; i++) next_x[i] = x_load(0u, chunk * 8u + part * PART_VECTORS + i);
}

void before_put() {
    float peak = 0.0;
    [[unroll]] for (uint i = 0; i < PART_VECTORS; i++) peak = max(peak, peak_of(next_x[i]));
    part_peak[gl_LocalInvocationID.x] = peak;
}

void put_x() {
    uint me = gl_LocalInvocationID.x, column = me / PARTS, part = me % PARTS;
    float peak = part_peak[column * PARTS];
    [[unroll]] for (uint i = 1; i < PARTS; i++) peak = max(peak, part_peak[column * PARTS + i]);
    float factor = rounding_factor(peak);
    int sum = 0;
    [[unroll]] for (uint i = 0; i < PART_VECTORS; i += 2u) {
        uvec2 two = uvec2(rounded(next_x[i], factor), rounded(next_x[i + 1u], factor));
        sum += sum_of_bytes(two.x) + sum_of_bytes(two.y);
        uint pair = (part * PART_VECTORS + i) / 2u;
        tile_x[(pair / 2u * SMT_COLUMNS + column) * 2u + pair % 2u] = two;
    }
    part_sum[me] = sum;
    if (part == 0u) x_scale[column] = rounding_scale(peak);
}

void put(Raw a, uint line, uint part) {
    if (part == 0u) {
        tile_w[line] = codes_low(a);
        tile_scales[line] = raw_scales(a);
    } else {
        tile_w[LINES + line] = codes_high(a);
    }
    put_x();
}

uvec4 x_half(uint column, uint which) {
    uint at = (which * SMT_COLUMNS + column) * 2u;
    return uvec4(tile_x[at], tile_x[at + 1u]);
}

ivec2 x_sums(uint column) {
    ivec2 sums = ivec2(0);
    [[unroll]] for (uint i = 0; i < PARTS; i++) sums[i / (PARTS / 2u)] += part_sum[column * PARTS + i];
    return sums;
}

void multiply() {
    uint line = gl_LocalInvocationID.x % LANES_LINES, column = gl_LocalInvocationID.x / LANES_LINES;
    uvec4 low[MATMUL_COLUMNS], high[MATMUL_COLUMNS];
    float d[MATMUL_COLUMNS];
    ivec2 sums[MATMUL_COLUMNS];
    [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++) {
        uint at = column + c * LANES_COLUMNS;
        low[c] = x_half(at, 0u);
        high[c] = x_half(at, 1u);
        d[c] = x_scale[at];
        sums[c] = x_sums(at);
    }
    [[unroll]] for (uint i = 0; i < MINE_LINES; i++) {
        uint at = line + i * LANES_LINES;
        Codes w = Codes(tile_w[at], tile_w[LINES + at], tile_scales[at]);
        [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++) acc[i][c] = add_chunk(acc[i][c], w, low[c], high[c], d[c], sums[c]);
    }
}

#endif
