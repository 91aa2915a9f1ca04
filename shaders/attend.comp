// attend.comp: softmax-weighted values over the cached positions, for SMT_HEADS heads that share one kv head, of one row.
//
// Positions go in chunks of SMT_BLOCK, ascending. SMT_SPLIT 0: one workgroup walks all chunks and writes the result. SMT_SPLIT 1: one
// workgroup per chunk writes {maximum, sum} and values to `partial`, and attend_merge joins them. Both give equal bits.
// In a chunk: invocations own positions for the scores (a cached key is read once for all heads), then vec4s of the value for the sum.
//
// Defines: SMT_HEADS, SMT_CACHE, SMT_SPLIT, SMT_KEY4 (key_dim / 4), SMT_VALUE4 (value_dim / 4).
#include "lib/prelude.glsl"
#include "lib/reduce.glsl"
#include "lib/attend_funcs.glsl"

layout(push_constant) uniform Push { attend_params p; };
#if SMT_CACHE == 1
layout(std430, set = 0, binding = 0) readonly buffer Cache { uvec2 v[]; } W[SMT_WINDOWS];
vec4 cache4(uint win, uint at) {
    uvec2 x = W[win].v[at];
    return vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
}
#define VALUE_WORDS(n) ((n) / 2u)
#define WORD4 2u
#else
layout(std430, set = 0, binding = 0) readonly buffer Cache { vec4 v[]; } W[SMT_WINDOWS];
vec4 cache4(uint win, uint at) { return W[win].v[at]; }
#define VALUE_WORDS(n) (n)
#define WORD4 4u
#endif
layout(std430, binding = 1) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 6) readonly buffer Turned { vec4 turned[]; }; // what of a head's query does not lie in q
layout(std430, binding = 2) writeonly buffer O { vec4 o[]; }; // result, or the values of `partial`
layout(std430, binding = 3) writeonly buffer Sums { vec2 sums[]; };
#define STEP_BINDING 4
#define TABLE_BINDING 5
#include "lib/step.glsl"
#include "lib/cache_funcs.glsl"

#define OWN ((SMT_VALUE4 + SMT_GROUP_X - 1) / SMT_GROUP_X) // value vec4s of one invocation

// Queries and weights are the same for all lanes: LANES of them are loaded at once, one a lane, and broadcast (measured on lavapipe: shared
// memory read at one address by all lanes costs as much as eight different ones).
#if SMT_SUBGROUP >= 8
#define LANES 8
#elif SMT_SUBGROUP > 0
#define LANES 4
#else
#define LANES 1
#endif
#if SMT_SUBGROUP > 0
#define LANE (gl_SubgroupInvocationID & uint(LANES - 1))
#define FROM_LANE(x, j) subgroupBroadcast(x, j)
#define SUBGROUP_FIRST (gl_LocalInvocationID.x - gl_SubgroupInvocationID)
#else
#define LANE 0u
#define FROM_LANE(x, j) (x)
#define SUBGROUP_FIRST gl_LocalInvocationID.x
#endif
shared vec4 q_shared[SMT_HEADS][SMT_KEY4];
shared float weight[SMT_HEADS][SMT_BLOCK];

vec4 total[SMT_HEADS][OWN];
vec2 stat[SMT_HEADS]; // maximum, sum

vec4 query4(uint row, uint head, uint at) {
    uint n = p.q_dim >> 2;
    return at < n ? q[(row * p.q_stride >> 2) + head * n + at] : turned[(row * p.turned_stride >> 2) + head * (SMT_KEY4 - n) + at - n];
}

void chunk(uint win, uint first_vec, uint count, uint kv_head) {
    uint lane = gl_LocalInvocationID.x, row_vecs = p.row_words / WORD4;
    uint key_at = first_vec + VALUE_WORDS(p.key_off + kv_head * p.key_step) / WORD4;
    uint value_at = first_vec + VALUE_WORDS(p.value_off + kv_head * p.value_step) / WORD4;
    barrier(); // the weights of the chunk before are no longer read
    for (uint t0 = 0; t0 < count; t0 += SMT_GROUP_X) {
        uint t = min(t0 + lane, count - 1u); // no lane leaves: broadcasts need them all
        vec4 dots[SMT_HEADS];
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) dots[h] = vec4(0);
        for (uint i = 0; i < SMT_KEY4; i += LANES) {
            vec4 mine[SMT_HEADS];
            [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) mine[h] = q_shared[h][min(i + LANE, SMT_KEY4 - 1u)];
            [[unroll]] for (uint j = 0; j < LANES; j++) {
                if (i + j >= SMT_KEY4) break;
                vec4 key = cache4(win, key_at + t * row_vecs + i + j);
                [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) dots[h] = fma(FROM_LANE(mine[h], j), key, dots[h]);
            }
        }
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) {
            precise float s = p.scale * ((dots[h].x + dots[h].y) + (dots[h].z + dots[h].w));
            if (t0 + lane < count) weight[h][t] = s;
        }
    }
    barrier();
    vec2 factors[SMT_HEADS];
    vec4 best = vec4(ATTEND_NONE), sum = vec4(0); // a component per head
    for (uint t = lane; t < count; t += SMT_GROUP_X)
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) best[h] = max(best[h], weight[h][t]);
    best = reduce_max(best);
    for (uint t = lane; t < count; t += SMT_GROUP_X)
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) {
            float e = smt_exp(weight[h][t] - best[h]);
            weight[h][t] = e;
            precise float more = sum[h] + e;
            sum[h] = more;
        }
    sum = reduce_sum(sum);
    [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) {
        factors[h] = attend_factors(stat[h].x, best[h]);
        stat[h].y = attend_join(stat[h].y, sum[h], factors[h]);
    }
    [[unroll]] for (uint g = 0; g < OWN; g++) { // the barriers of reduce_sum made the weights visible
        uint own = min(lane + g * SMT_GROUP_X, SMT_VALUE4 - 1u);
        if (SUBGROUP_FIRST + g * SMT_GROUP_X >= SMT_VALUE4) break; // whole subgroups leave together
        vec4 part[SMT_HEADS];
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) part[h] = vec4(0);
        for (uint t0 = 0; t0 < count; t0 += LANES) {
            float mine[SMT_HEADS];
            [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) mine[h] = weight[h][min(t0 + LANE, count - 1u)];
            [[unroll]] for (uint j = 0; j < LANES; j++) {
                if (t0 + j >= count) break;
                vec4 value = cache4(win, value_at + (t0 + j) * row_vecs + own);
                [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) part[h] = fma(vec4(FROM_LANE(mine[h], j)), value, part[h]);
            }
        }
        [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) total[h][g] = attend_join(total[h][g], part[h], factors[h]);
    }
}

void main() {
    uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x, head0 = gl_WorkGroupID.x * SMT_HEADS;
    if (row >= step_rows()) return;
    uint slot = step_get(STEP_ARRAY_SLOT, row), positions = step_get(STEP_ARRAY_INDEX, row) + 1u;
#if SMT_SPLIT
    uint from = gl_WorkGroupID.z, to = from + 1u;
    if (from * SMT_BLOCK >= positions) return;
#else
    uint from = 0u, to = (positions + SMT_BLOCK - 1u) / SMT_BLOCK;
#endif
    for (uint i = lane; i < SMT_HEADS * SMT_KEY4; i += SMT_GROUP_X)
        q_shared[i / SMT_KEY4][i % SMT_KEY4] = query4(row, head0 + i / SMT_KEY4, i % SMT_KEY4);
    [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) {
        stat[h] = vec2(ATTEND_NONE, 0.0);
        [[unroll]] for (uint g = 0; g < OWN; g++) total[h][g] = vec4(0);
    }
    for (uint c = from; c < to; c++) {
        uint block = cache_block(slot, c * SMT_BLOCK, p.table_stride);
        chunk(block / p.blocks_per_window, cache_word(block, c * SMT_BLOCK, p.blocks_per_window, p.row_words) / WORD4,
              min(uint(SMT_BLOCK), positions - c * SMT_BLOCK), head0 / p.heads_per_kv);
    }
    [[unroll]] for (uint h = 0; h < SMT_HEADS; h++) {
#if SMT_SPLIT
        uint at = (row * p.n_heads + head0 + h) * p.max_chunks + from;
        if (lane == 0u) sums[at] = stat[h];
        at *= SMT_VALUE4;
        float last = 1.0;
#else
        uint at = (row * p.o_stride >> 2) + (head0 + h) * SMT_VALUE4;
        float last = stat[h].y;
#endif
        [[unroll]] for (uint g = 0; g < OWN; g++) {
            uint own = lane + g * SMT_GROUP_X;
            if (own < SMT_VALUE4) o[at + own] = total[h][g] / last;
        }
    }
}
