// matmul_coop.glsl: products of the GPU family for 64 columns by cooperative matrices (`--precision fast`): a workgroup multiplies 64 rows, or 32
// of both matrices of a gated pair, by its columns. Weights are decoded to halves, activations rounded to them, sums are floats.
//
// Halves reach from 2^-14, below which they lose bits, to 65504; activations may reach further. A column whose greatest magnitude is not between
// 2^-8 and 2^15 is divided by a power of two that brings it to 1..2, and its results are multiplied by it: exact, and of no concern to other
// columns. As that is rare, the first turn goes without, and watches; only where a column turns out to need it is all done again.
//
// How a device adds up the products of a cooperative matrix is its own affair. So results differ in the last bits from those of the other forms
// (by how much: src/ref/ref.h); among themselves, a column's depend on nothing but the column on all devices we know of.
//
// COOP_GATED is no SMT_GATED, and its sizes no defines, since these kernels exist compiled (shaders/prebuilt): every variant is a file.
// The interface is told in lib/matmul_rows.glsl.
#ifndef MATMUL_COOP_GLSL
#define MATMUL_COOP_GLSL

#include "lib/coop_matrix.glsl"

layout(constant_id = 4) const bool COOP_GATED = false;

// Eight invocations bring a chunk of one column.
#define MATMUL_LOADS (SMT_COLUMNS * 8 / SMT_GROUP_X)
uint load_column(uint i) { return i * (SMT_GROUP_X / 8) + gl_LocalInvocationID.x / 8u; }
#include "lib/matmul_columns.glsl"

// Lines of the weight tile: rows, or rows of the first matrix and then those of the second. A subgroup takes 32 of them, and as many columns as
// it has lanes.
#define LINES uint(SMT_TILE_LINES)
#define SIDE_LINES 32u
const uint TILE_ROWS = COOP_GATED ? LINES / 2u : LINES;
const uint FRAGMENT_LINES = SIDE_LINES / COOP_M, FRAGMENT_COLUMNS = COOP_LANES / COOP_N;

// A chunk of a line has 8 HALVES: two more, and lines that are read together meet different banks. The same for the sums.
#define PITCH 10u
#define SUM_PITCH (LINES + 4u)
shared HALVES tile_w[LINES * PITCH], tile_x[SMT_COLUMNS * PITCH];
shared float tile_sums[SMT_COLUMNS * SUM_PITCH]; // [column][line]
shared uint peaks[SMT_COLUMNS];                  // bits of the greatest magnitude of each column, which order as the floats do

#define MATMUL_ROWS 1
#define MATMUL_COLUMNS (TILE_ROWS * SMT_COLUMNS / SMT_GROUP_X)
#define MATMUL_UNROLL [[dont_unroll]]
uint product_line() { return gl_LocalInvocationID.x % TILE_ROWS; }
uint product_row(uint r) { return gl_WorkGroupID.x * TILE_ROWS + product_line(); }
uint product_column(uint i) { return i * (SMT_GROUP_X / TILE_ROWS) + gl_LocalInvocationID.x / TILE_ROWS; }
bool product_owner() { return true; }

#if SMT_COOP == 2
Sums multiply_plain(Weights a, Columns b, Sums sums) {
    for (uint own = 0; own < COOP_OWN; own++) {
        uint line = a.x + coop_element(own) % COOP_M * a.y, column = b.x + coop_element(own) / COOP_M * b.y;
        for (uint k = 0; k < COOP_K; k++)
            sums.v[own] += half_in(tile_w[line + (k >> 2)], k & 3u) * half_in(tile_x[column + (k >> 2)], k & 3u);
    }
    return sums;
}
#endif

// The exponent by which a column must be divided; 0 where it need not be, and for zeros.
int excess(uint peak) {
    int e = int(peak >> 23) - 127;
    return e == -127 || (e >= -8 && e < 15) ? 0 : clamp(e, -126, 126);
}
float power_of_two(int e) { return uintBitsToFloat(uint(e + 127) << 23); }

// ---- a chunk of 32 elements ----

vec4 next_x[MATMUL_LOADS];
float factor[MATMUL_LOADS], peak[MATMUL_LOADS];

// The window index is the same for all that go one way.
Raw fetch_w(uint win, uint win2, bool second, uint byte, uint chunk) {
    if (COOP_GATED && second) return raw_load(win2, byte, chunk);
    return raw_load(win, byte, chunk);
}

void fetch_x(uint chunk) {
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) next_x[i] = x_load(i, chunk * 8u + gl_LocalInvocationID.x % 8u);
}

// What was fetched goes to shared memory; two invocations decode a half each of the chunk of a line.
void put(Raw a, uint line, uint part) {
    if (part == 0u)
        [[unroll]] for (uint j = 0; j < 4; j++) tile_w[line * PITCH + j] = halves(raw_w(a, j));
    else
        [[unroll]] for (uint j = 4; j < 8; j++) tile_w[line * PITCH + j] = halves(raw_w(a, j));
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) {
        vec4 x = abs(next_x[i]);
        peak[i] = max(peak[i], max(max(x.x, x.y), max(x.z, x.w)));
        tile_x[load_column(i) * PITCH + gl_LocalInvocationID.x % 8u] = halves(next_x[i] * factor[i]);
    }
}

// ---- the whole row ----

// Once through the row: sums of all lines and columns of the tile, in shared memory.
void multiply(uint win, uint win2, bool second, uint byte, uint line, uint part, uint chunks) {
    uint first_line = coop_group() % (LINES / SIDE_LINES) * SIDE_LINES, first_column = coop_group() / (LINES / SIDE_LINES) * COOP_LANES;
    Sums acc[FRAGMENT_LINES * FRAGMENT_COLUMNS];
    COOP_UNROLL for (uint i = 0; i < FRAGMENT_LINES * FRAGMENT_COLUMNS; i++) acc[i] = ZERO_SUMS;
    Raw next = fetch_w(win, win2, second, byte, 0u);
    fetch_x(0u);
    for (uint chunk = 0; chunk < chunks; chunk++) {
        barrier();
        put(next, line, part);
        barrier();
        uint following = min(chunk + 1u, chunks - 1u); // the last turn fetches what nobody needs
        next = fetch_w(win, win2, second, byte, following);
        fetch_x(following);
        COOP_UNROLL for (uint k = 0; k < 32; k += COOP_K) {
            Columns b[FRAGMENT_COLUMNS];
            COOP_UNROLL for (uint c = 0; c < FRAGMENT_COLUMNS; c++)
                LOAD_COLUMNS(b[c], tile_x, (first_column + c * COOP_N) * PITCH + k / 4u, PITCH);
            COOP_UNROLL for (uint l = 0; l < FRAGMENT_LINES; l++) {
                Weights a;
                LOAD_WEIGHTS(a, tile_w, (first_line + l * COOP_M) * PITCH + k / 4u, PITCH);
                COOP_UNROLL for (uint c = 0; c < FRAGMENT_COLUMNS; c++)
                    acc[l * FRAGMENT_COLUMNS + c] = MULTIPLY(a, b[c], acc[l * FRAGMENT_COLUMNS + c]);
            }
        }
    }
    COOP_UNROLL for (uint l = 0; l < FRAGMENT_LINES; l++)
        COOP_UNROLL for (uint c = 0; c < FRAGMENT_COLUMNS; c++)
            STORE_SUMS(acc[l * FRAGMENT_COLUMNS + c], tile_sums, (first_column + c * COOP_N) * SUM_PITCH + first_line + l * COOP_M, SUM_PITCH);
    barrier();
}

// Whether a column must be divided; the peaks are told to all, and the factors set.
bool columns_exceed() {
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) atomicMax(peaks[load_column(i)], floatBitsToUint(peak[i]));
    barrier();
    bool any = false;
    for (uint c = 0; c < SMT_COLUMNS; c++) any = any || excess(peaks[c]) != 0;
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) factor[i] = power_of_two(-excess(peaks[load_column(i)]));
    return any;
}

// win, off: window and 16-byte offset of the first row; win2, off2: of the second matrix of a gated pair.
void product(uint win, uint off, uint win2, uint off2, uint chunks) {
    if (chunks == 0u) return;
    uint me = gl_LocalInvocationID.x, row = me % TILE_ROWS, part = me / TILE_ROWS % 2u;
    bool second = me >= 2u * TILE_ROWS; // in a gated pair
    uint line = second ? row + TILE_ROWS : row; // lines beyond the end repeat the last row
    uint byte = (second ? off2 : off) * 16u + min(gl_WorkGroupID.x * TILE_ROWS + row, p.rows - 1u) * p.row_bytes;
    if (me < SMT_COLUMNS) peaks[me] = 0u;
    [[unroll]] for (uint i = 0; i < MATMUL_LOADS; i++) factor[i] = 1.0, peak[i] = 0.0;
    for (uint turn = 0; turn < 2; turn++) {
        multiply(win, win2, second, byte, line, part, chunks);
        if (turn > 0u || !columns_exceed()) break;
    }
}

float sum_at(uint line, uint column) { return tile_sums[column * SUM_PITCH + line] * power_of_two(excess(peaks[column])); }
float product_sum(uint r, uint i) { return sum_at(product_line(), product_column(i)); }
float product_sum2(uint r, uint i) { return sum_at(TILE_ROWS + product_line(), product_column(i)); }

#endif
