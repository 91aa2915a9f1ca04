// attend.comp: softmax-weighted values over the cached positions, for SMT_ROWS rows x SMT_HEADS query heads that share a kv head.
//
// A (row, head) pair is a column: a cached row is loaded once for all COLUMNS of them. Positions go in chunks of SMT_BLOCK, ascending; a
// chunk is reduced by itself to {maximum, sum of weights, weighted values} and joined to the ones before, so that neither the
// split nor the other columns of a workgroup change a bit of a column. p.split 0: one workgroup walks all chunks, its results
// so far in `o`. p.split 1: a workgroup per chunk writes {maximum, sum} and values to `partial`, and attend_merge joins them the same way.
// Rows of one workgroup may be of different slots: each run of rows of one slot is a pass of its own. A column that a chunk does not concern
// has zero weights there, which add nothing.
//
// How a chunk is computed is a family's business, lib/attend_lanes.glsl (CPU-like devices) or lib/attend_tile.glsl (GPUs):
//   void chunk_weights(chunk_place)   reduces the scores of the chunk to chunk_stat[] = {maximum, sum of weights}; keeps the weights
//   void chunk_values(chunk_place)    hands weighted values to put(), PART by PART; the same invocation gets the same ones in every chunk
//   PART, PART_VALUES                 float or vec4
//   GROUP_SYNC                        what the workgroup does before shared memory changes hands
//
// Defines: SMT_HEADS, SMT_ROWS, SMT_TILE (family), SMT_CACHE, SMT_KEY4 (key_dim / 4), SMT_QUERY4 (p.q_dim / 4), SMT_VALUE4 (value_dim / 4).
#include "lib/prelude.glsl"
#include "lib/attend_funcs.glsl"
#if SMT_TILE
#define PART vec4
#define PART_VALUES 4
#else
#define PART float
#define PART_VALUES 1
#endif

#define COLUMNS (SMT_ROWS * SMT_HEADS)

layout(push_constant) uniform Push { attend_params p; };
#include "lib/attend_cache.glsl"
layout(std430, binding = 2) buffer O { PART o[]; }; // result, or the values of `partial`
layout(std430, binding = 3) writeonly buffer Sums { vec2 sums[]; };
#define STEP_BINDING 4
#define TABLE_BINDING 5
#include "lib/step.glsl"
#include "lib/cache_funcs.glsl"

struct chunk_place {
    uint win, key, value; // window, unit of the first key and value in it
    uint row_units;       // from position to position
    uint positions;       // of the chunk, over all columns: 1 .. SMT_BLOCK
};

shared uint column_positions[COLUMNS]; // of the pass; 0: not concerned
shared vec2 chunk_stat[COLUMNS];
shared vec2 joint[COLUMNS]; // of the chunks so far

uint first_row, chunk_index;

uint column_row(uint c) { return first_row + c / SMT_HEADS; }
uint column_head(uint c) { return gl_WorkGroupID.x * SMT_HEADS + c % SMT_HEADS; }
// vec4s of the column's query in its two buffers; idle columns repeat the last row's.
uvec2 query_at(uint c) {
    uint row = min(column_row(c), step_rows() - 1u);
    return (row * uvec2(p.q_stride, p.turned_stride) >> 2u) + column_head(c) * uvec2(SMT_QUERY4, SMT_KEY4 - SMT_QUERY4);
}
// Positions of this chunk that column c sees.
uint column_seen(uint c) {
    uint first = chunk_index * SMT_BLOCK;
    return min(max(column_positions[c], first) - first, uint(SMT_BLOCK));
}

// Where the values of column c go in this chunk, and what joins them to the values so far.
#define NOWHERE 0xffffffffu
shared uint column_out[COLUMNS]; // PARTs, or NOWHERE
shared vec3 column_join[COLUMNS]; // factors of old and new, divisor
bool fresh;                       // no values so far

void put(uint c, uint own, PART values) {
    if (column_out[c] == NOWHERE) return;
    uint at = column_out[c] + own;
    vec3 f = column_join[c];
    PART old = PART(0);
    if (!fresh) old = o[at];
    o[at] = attend_join(old, values, f.xy) / f.z;
}

#if SMT_TILE
#include "lib/attend_tile.glsl"
#else
#include "lib/attend_lanes.glsl"
#endif

void join_chunk() {
    fresh = p.split != 0u || chunk_index == 0u;
    for (uint c = gl_LocalInvocationID.x; c < COLUMNS; c += SMT_GROUP_X) {
        vec2 new = chunk_stat[c];
        uint cell = column_row(c) * p.n_heads + column_head(c);
        column_out[c] = NOWHERE;
        if (column_seen(c) == 0u) continue;
        if (p.split != 0u) {
            cell = cell * p.max_chunks + chunk_index;
            sums[cell] = new;
            column_out[c] = cell * (SMT_VALUE4 * 4 / PART_VALUES);
            column_join[c] = vec3(0, 1, 1);
        } else {
            vec2 f = attend_factors(joint[c].x, new.x);
            joint[c].y = attend_join(joint[c].y, new.y, f);
            column_out[c] = (column_row(c) * p.o_stride + column_head(c) * (SMT_VALUE4 * 4)) / PART_VALUES;
            column_join[c] = vec3(f, (chunk_index + 1u) * SMT_BLOCK < column_positions[c] ? 1.0 : joint[c].y);
        }
    }
}

// The columns of rows first .. last - 1 of the workgroup, which share a slot.
void pass(uint slot, uint first, uint last) {
    uint positions = 0u, kv = gl_WorkGroupID.x * SMT_HEADS / p.heads_per_kv;
    [[dont_unroll]] for (uint r = first; r < last; r++) positions = max(positions, step_get(STEP_ARRAY_INDEX, first_row + r) + 1u);
    GROUP_SYNC;
    for (uint c = gl_LocalInvocationID.x; c < COLUMNS; c += SMT_GROUP_X) {
        uint r = c / SMT_HEADS;
        column_positions[c] = r < first || r >= last ? 0u : step_get(STEP_ARRAY_INDEX, first_row + r) + 1u;
        joint[c] = vec2(ATTEND_NONE, 0);
    }
    uint from = p.split != 0u ? gl_WorkGroupID.z : 0u, chunks = (positions + SMT_BLOCK - 1u) / SMT_BLOCK;
    uint to = p.split != 0u ? min(from + 1u, chunks) : chunks;
    for (uint i = from; i < to; i++) {
        chunk_index = i;
        uint block = cache_block(slot, i * SMT_BLOCK, p.table_stride);
        chunk_place at;
        uint first_word = cache_word(block, i * SMT_BLOCK, p.blocks_per_window, p.row_words);
        at.win = block / p.blocks_per_window;
        at.key = first_word / UNIT_WORDS + (p.key_off + kv * p.key_step) / UNIT_VALUES;
        at.value = first_word / UNIT_WORDS + (p.value_off + kv * p.value_step) / UNIT_VALUES;
        at.row_units = p.row_words / UNIT_WORDS;
        at.positions = min(uint(SMT_BLOCK), positions - i * SMT_BLOCK);
        GROUP_SYNC;
        chunk_weights(at);
        GROUP_SYNC;
        join_chunk();
        GROUP_SYNC;
        chunk_values(at);
    }
}

void main() {
    uint n_rows = step_rows();
    first_row = gl_WorkGroupID.y * SMT_ROWS;
    uint rows = min(uint(SMT_ROWS), n_rows - min(n_rows, first_row)); // no return: lavapipe would mask all that follows
    for (uint first = 0; first < rows;) {
        uint slot = step_get(STEP_ARRAY_SLOT, first_row + first), last = first + 1u;
        while (last < rows && step_get(STEP_ARRAY_SLOT, first_row + last) == slot) last++;
        pass(slot, first, last);
        first = last;
    }
}
