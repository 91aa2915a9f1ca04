// matmul_tile_exact.glsl: activations and products of lib/matmul_tile.glsl as floats.
//
// Vector j of line i lies at 8 i + (j ^ (i & 7)): 8 lines read at the same j meet different banks, and both tiles together take the 16 KiB that
// every device has.
#ifndef MATMUL_TILE_EXACT_GLSL
#define MATMUL_TILE_EXACT_GLSL

// Eight invocations bring a chunk of one column.
#define MATMUL_LOADS (SMT_COLUMNS * 8 / SMT_GROUP_X)
uint load_column(uint i) { return i * (SMT_GROUP_X / 8) + gl_LocalInvocationID.x / 8u; }
#include "lib/matmul_columns.glsl"

shared vec4 tile_w[LINES * 8u], tile_x[SMT_COLUMNS * 8];

vec4 next_x[MATMUL_LOADS];

uint place(uint line, uint j) { return line * 8u + (j ^ (line & 7u)); }

void before_put() {}

void fetch_x(uint chunk) {
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) next_x[i] = x_load(i, chunk * 8u + gl_LocalInvocationID.x % 8u);
}

// What was fetched goes to shared memory; two invocations decode a half each of the chunk of a line.
void put(Raw a, uint line, uint part) {
    if (part == 0u)
        [[unroll]] for (uint j = 0; j < 4; j++) tile_w[place(line, j)] = raw_w(a, j);
    else
        [[unroll]] for (uint j = 4; j < 8; j++) tile_w[place(line, j)] = raw_w(a, j);
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) tile_x[place(load_column(i), gl_LocalInvocationID.x % 8u)] = next_x[i];
}

void multiply() {
    uint line = gl_LocalInvocationID.x % LANES_LINES, column = gl_LocalInvocationID.x / LANES_LINES;
    for (uint j = 0; j < 8; j++) {
        vec4 x[MATMUL_COLUMNS];
        [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++) x[c] = tile_x[place(column + c * LANES_COLUMNS, j)];
        [[unroll]] for (uint i = 0; i < MINE_LINES; i++) {
            vec4 w = tile_w[place(line + i * LANES_LINES, j)];
            [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++)
                [[unroll]] for (uint e = 0; e < 4; e++) acc[i][c] = fma(w[e], x[c][e], acc[i][c]);
        }
    }
}

#endif
