// mla_cache.comp: latent attention between the projections and the scores, for each row one workgroup for the cache and some for the queries:
//   cache row of this token <- { norm(c), rotated k_rope }      (kv = [c | k_rope], the norm covers c alone)
//   rope part of every query, on its own <- rotated q_rope      (q heads are [nope | rope])
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { cache_params p; };
layout(std430, set = 0, binding = 0) buffer Cache { uint w[]; } W[SMT_WINDOWS];
layout(std430, binding = 1) readonly buffer Kv { float kv[]; };
layout(std430, binding = 2) readonly buffer Q { float q[]; };
layout(std430, binding = 3) writeonly buffer Turned { float turned[]; };
layout(std430, binding = 4) readonly buffer Norm { float norm_weight[]; };
#define STEP_BINDING 5
#define ROPE_BINDING 6
#define TABLE_BINDING 7
#include "lib/step.glsl"
#include "lib/rope_funcs.glsl"
#include "lib/cache_funcs.glsl"

uint from; // of the row in kv

#define NORM_X(at) kv[from + at]
#define NORM_FLOATS
#include "lib/norm_funcs.glsl"

void store_pair(uint win, uint word, uint pair, vec2 v) {
#if SMT_CACHE == 1
    W[win].w[word + pair] = packHalf2x16(v);
#else
    W[win].w[word + 2u * pair] = floatBitsToUint(v.x);
    W[win].w[word + 2u * pair + 1u] = floatBitsToUint(v.y);
#endif
}

// Pairs of queries from `first` on.
void turn_queries(uint row, uint position, uint first) {
    uint pairs = p.rope / 2u, last = min(first + SMT_TURN_PAIRS, p.n_heads * pairs);
    for (uint i = first + gl_LocalInvocationID.x; i < last; i += SMT_GROUP_X) {
        uint head = i / pairs, pair = i - head * pairs; // one division: CPU drivers spell it out for each lane
        uint at = row * p.q_stride + head * (p.nope + p.rope) + p.nope + 2u * pair;
        vec2 v = rope_turn(vec2(q[at], q[at + 1u]), rope_angle(position, pair, pairs, p.coarse_words), p.magnitude);
        turned[row * p.turned_stride + 2u * i] = v.x;
        turned[row * p.turned_stride + 2u * i + 1u] = v.y;
    }
}

// The cache row: pairs of the latent, then those of the key's rope part.
void write_row(uint win, uint word, uint position) {
    uint latent_pairs = p.kv_rank / 2u, pairs = p.rope / 2u;
    float factor = norm_factor(p.kv_rank, p.eps);
    for (uint i = gl_LocalInvocationID.x; i < latent_pairs + pairs; i += SMT_GROUP_X) {
        uint at = from + 2u * i;
        precise vec2 v = vec2(kv[at], kv[at + 1u]);
        if (i < latent_pairs)
            v = (v * factor) * vec2(norm_weight[2u * i], norm_weight[2u * i + 1u]);
        else
            v = rope_turn(v, rope_angle(position, i - latent_pairs, pairs, p.coarse_words), p.magnitude);
        store_pair(win, word, i, v);
    }
}

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= step_rows()) return;
    uint position = step_get(STEP_ARRAY_POSITION, row), index = step_get(STEP_ARRAY_INDEX, row);
    if (gl_WorkGroupID.y > 0u) {
        turn_queries(row, position, (gl_WorkGroupID.y - 1u) * SMT_TURN_PAIRS);
        return;
    }
    uint block = cache_block(step_get(STEP_ARRAY_SLOT, row), index, p.table_stride);
    from = row * p.kv_stride;
    write_row(block / p.blocks_per_window, cache_word(block, index, p.blocks_per_window, p.row_words), position);
}
