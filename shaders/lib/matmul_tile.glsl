// matmul_tile.glsl: products of the GPU family for many columns: a workgroup multiplies 64 rows (32 of both matrices of a gated pair) by 32 or 64
// columns. Each chunk of 32 weights is decoded once a tile and shared by all its columns.
//
// The sums are those of lib/matmul_wave.glsl to the bit: an invocation goes over the chunks 0, 16, 32, ..., then 1, 17, ..., each such class one
// chain of fma, and adds up the chains as they end. Walking through memory in that order costs nothing that matters: what is fetched anew is small
// beside the arithmetic.
//
// While the workgroup multiplies one chunk, each invocation holds its part of the next one in registers: words as they are in memory, decoded
// on the way to shared memory. What lies there, and how it is multiplied, is floats (lib/matmul_tile_exact.glsl) or integers
// (lib/matmul_tile_fast.glsl: SMT_FAST):
//   void fetch_x(chunk)          this invocation's part of a chunk of the columns, to registers
//   void before_put()            what the others must know of that part before it goes to shared memory
//   void put(raw, line, part)    what was fetched goes to shared memory; two invocations decode a half each of the chunk of a line
//   void multiply()              adds the products of the chunk in shared memory to acc
//
// The interface is told in lib/matmul_rows.glsl.
#ifndef MATMUL_TILE_GLSL
#define MATMUL_TILE_GLSL

// Lines of the weight tile: rows, or rows of the first matrix and then those of the second.
#define LINES uint(SMT_TILE_LINES)
#define TILE_ROWS (LINES / (1u + SMT_GATED))
// An invocation ends up with MINE_LINES lines and MATMUL_COLUMNS columns, each LANES_... apart.
#define MATMUL_COLUMNS 4
#define LANES_COLUMNS uint(SMT_COLUMNS / 4)
#define LANES_LINES (SMT_GROUP_X / LANES_COLUMNS)
#define MINE_LINES (LINES / LANES_LINES)
#define MATMUL_ROWS (MINE_LINES / (1u + SMT_GATED))

float acc[MINE_LINES][MATMUL_COLUMNS], total[MINE_LINES][MATMUL_COLUMNS];

#if SMT_FAST
#include "lib/matmul_tile_fast.glsl"
#else
#include "lib/matmul_tile_exact.glsl"
#endif

uint product_row(uint r) { return gl_WorkGroupID.x * TILE_ROWS + r * LANES_LINES + gl_LocalInvocationID.x % LANES_LINES; }
uint product_column(uint i) { return i * LANES_COLUMNS + gl_LocalInvocationID.x / LANES_LINES; }
bool product_owner() { return true; }

// The end of a class of chunks: its chains are added up and begin anew.
void end_class() {
    [[unroll]] for (uint i = 0; i < MINE_LINES; i++)
        [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++) {
            precise float sum = total[i][c] + acc[i][c];
            total[i][c] = sum;
            acc[i][c] = 0.0;
        }
}

// A chunk of one line; the window index is the same for all that go one way.
Raw fetch_w(uint win, uint win2, bool second, Row from, uint chunk) {
#if SMT_GATED
    if (second) return raw_load(win2, from, chunk);
#endif
    return raw_load(win, from, chunk);
}

// win, off: window and 16-byte offset of the first row; win2, off2: of the second matrix of a gated pair.
void product(uint win, uint off, uint win2, uint off2, uint chunks) {
    if (chunks == 0u) return;
    uint me = gl_LocalInvocationID.x, row = me % TILE_ROWS, part = me / TILE_ROWS % 2u;
    bool second = me >= 2u * TILE_ROWS; // in a gated pair
    uint line = second ? row + TILE_ROWS : row; // lines beyond the end repeat the last row
    Row from = row_at(second ? off2 : off, min(gl_WorkGroupID.x * TILE_ROWS + row, p.rows - 1u), p.row_bytes, p.rows);
    [[unroll]] for (uint i = 0; i < MINE_LINES; i++)
        [[unroll]] for (uint c = 0; c < MATMUL_COLUMNS; c++) acc[i][c] = total[i][c] = 0.0;
    uint chunk = 0u, start = 0u;
    Raw next = fetch_w(win, win2, second, from, chunk);
    fetch_x(chunk);
    for (uint n = 0; n < chunks; n++) {
        before_put();
        barrier();
        put(next, line, part);
        barrier();
        chunk += uint(SMT_WAVE_LANES);
        bool ends = chunk >= chunks;
        if (ends) chunk = min(++start, chunks - 1u); // the last turn fetches what nobody needs
        next = fetch_w(win, win2, second, from, chunk);
        fetch_x(chunk);
        multiply();
        if (ends) end_class();
    }
}

float product_sum(uint r, uint c) { return total[r][c]; }
#if SMT_GATED
float product_sum2(uint r, uint c) { return total[MATMUL_ROWS + r][c]; }
#endif

#endif
