// gqa_cache.comp: plain attention between the projections and the scores, for each row one workgroup for the cache and some for the queries:
//   cache row of this token <- { rotated keys of every kv head | values }
//   queries <- rotated in place of a copy (the first `rope` values of a head turn, the others pass)
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { cache_params p; };
layout(std430, set = 0, binding = 0) buffer Cache { uint w[]; } W[SMT_WINDOWS];
layout(std430, binding = 1) readonly buffer K { float k[]; };
layout(std430, binding = 2) readonly buffer Q { float q[]; };
layout(std430, binding = 3) writeonly buffer Turned { float turned[]; };
layout(std430, binding = 4) readonly buffer V { float v[]; };
#define STEP_BINDING 5
#define ROPE_BINDING 6
#define TABLE_BINDING 7
#include "lib/step.glsl"
#include "lib/rope_funcs.glsl"
#include "lib/cache_funcs.glsl"

void store_pair(uint win, uint word, uint pair, vec2 value) {
#if SMT_CACHE == 1
    W[win].w[word + pair] = packHalf2x16(value);
#else
    W[win].w[word + 2u * pair] = floatBitsToUint(value.x);
    W[win].w[word + 2u * pair + 1u] = floatBitsToUint(value.y);
#endif
}

// Pair `pair` of a head of p.nope + p.rope values.
vec2 turn(vec2 x, uint position, uint pair) {
    if (pair >= p.rope / 2u) return x;
    return rope_turn(x, rope_angle(position, pair, p.rope / 2u, p.coarse_words), p.magnitude);
}

// Pairs of queries from `first` on.
void turn_queries(uint row, uint position, uint first) {
    uint pairs = (p.nope + p.rope) / 2u, last = min(first + SMT_TURN_PAIRS, p.n_heads * pairs);
    for (uint i = first + gl_LocalInvocationID.x; i < last; i += SMT_GROUP_X) {
        uint at = row * p.q_stride + 2u * i;
        vec2 x = turn(vec2(q[at], q[at + 1u]), position, i % pairs);
        turned[row * p.turned_stride + 2u * i] = x.x;
        turned[row * p.turned_stride + 2u * i + 1u] = x.y;
    }
}

void main() {
    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (row >= step_rows()) return;
    uint position = step_get(STEP_ARRAY_POSITION, row), index = step_get(STEP_ARRAY_INDEX, row);
    if (gl_WorkGroupID.y > 0u) {
        turn_queries(row, position, (gl_WorkGroupID.y - 1u) * SMT_TURN_PAIRS);
        return;
    }
    uint block = cache_block(step_get(STEP_ARRAY_SLOT, row), index, p.table_stride);
    uint win = block / p.blocks_per_window, word = cache_word(block, index, p.blocks_per_window, p.row_words);
    uint pairs = (p.nope + p.rope) / 2u, key_pairs = p.n_kv_heads * pairs;

    for (uint i = lane; i < key_pairs; i += SMT_GROUP_X) {
        uint at = row * p.kv_stride + 2u * i;
        store_pair(win, word, i, turn(vec2(k[at], k[at + 1u]), position, i % pairs));
    }
    for (uint i = lane; i < p.n_kv_heads * p.value / 2u; i += SMT_GROUP_X) {
        uint at = row * p.v_stride + 2u * i;
        store_pair(win, word, key_pairs + i, vec2(v[at], v[at + 1u]));
    }
}
