// sample_draw.comp: draws the next token from logits by the rule in the step buffer (shared/draw.h), puts it into the ring that the host reads,
// and turns the step buffer into that of the next step: one row, the token drawn, one position further. One workgroup.
//
// The k best of all logits lie in the k groups whose best are the best (sample_top.comp found those), because each of these groups has a
// member at least as good as any member of the others. So k groups are selected among some thousand, then k tokens among those members
// that are no worse than the last of these k, each time by searching the number that k items exceed, bit by bit. The order is that of keys,
// the lower id first among equals: it has no ties, hence the result is one and the same however invocations run.
#include "lib/prelude.glsl"
#include "lib/sample_funcs.glsl"
#include "lib/turns.glsl"

shared uint weights[256]; // [DRAW_MOST]
#define DRAW_LIST
#define DRAW_WEIGHT(i) weights[i]
#include "shared/draw.h"

#if SMT_SUBGROUP == SMT_GROUP_X
#define GROUP_SYNC subgroupBarrier() // CPU drivers pay for the other kind in compile time and in switching
#else
#define GROUP_SYNC memoryBarrierBuffer(), barrier()
#endif

layout(push_constant) uniform Push { sample_params p; };
layout(std430, binding = 1) readonly buffer Logits { uint logits[]; };
layout(std430, binding = 2) coherent buffer Best { uvec2 best[]; }; // of groups, later what comes from the selected ones
layout(std430, binding = 3) buffer Step { uint step_words[]; };
layout(std430, binding = 4) writeonly buffer Ring { uint ring[]; };

shared uint chosen[DRAW_MOST]; // ids of what is selected; a group goes by that of its best
shared uint keys[DRAW_MOST];   // of what is selected
shared uint ranked[DRAW_MOST]; // ids, the best first
shared uint tally, best_key[SMT_GROUP_X], best_id[SMT_GROUP_X];

bool before(uvec2 a, uvec2 b) { return a.x > b.x || (a.x == b.x && a.y < b.y); }

// How many of the n best come before the limit or are it; every invocation gets it.
uint count(uint n, uvec2 limit) {
    uint mine = 0u;
    for (uint i = gl_LocalInvocationID.x; i < n; i += SMT_GROUP_X) mine += uint(!before(limit, best[i]));
    GROUP_SYNC;
    if (gl_LocalInvocationID.x == 0u) tally = 0u;
    GROUP_SYNC;
    atomicAdd(tally, mine);
    GROUP_SYNC;
    return tally;
}

void clear_tally() {
    GROUP_SYNC; // it was read
    if (gl_LocalInvocationID.x == 0u) tally = 0u;
    GROUP_SYNC;
}

// Selects k of the n best, or all that have a key, in no order; returns how many those are. The limit is the last of them: the greatest key,
// then the least id, up to which there are k.
uint select(uint n, uint k, out uvec2 limit) {
    uint id_bits = uint(findMSB(p.n_vocab)) + 1u;
    limit = uvec2(0u, (1u << id_bits) - 1u);
    for (uint round = 0u; round <= 32u + id_bits; round++) {
        uvec2 further = limit;
        if (round == 0u)
            further.x = 1u; // any key
        else if (round <= 32u)
            further.x |= 1u << (32u - round);
        else
            further.y ^= 1u << (32u + id_bits - round);
        uint found = count(n, further);
        if (round == 0u) k = min(k, found);
        if (found == k || (found > k && round > 0u)) limit = further;
        if (found == k) break;
    }
    clear_tally();
    for (uint i = gl_LocalInvocationID.x; i < n; i += SMT_GROUP_X) {
        uvec2 one = best[i];
        if (before(limit, one)) continue;
        uint at = atomicAdd(tally, 1u);
        chosen[at] = one.y;
        keys[at] = one.x;
    }
    GROUP_SYNC;
    return k;
}

// Puts the members of n selected groups that are no worse than the limit into the place of all groups; returns how many. Few, most often: an
// invocation on Mesa 22's CPU driver has 65536 turns of loops, all its loops together.
uint gather(uint n, uvec2 limit) {
    clear_tally();
    for (uint i = gl_LocalInvocationID.x; i < n * p.per_group; i += SMT_GROUP_X) {
        uint id = sample_id(sample_group(chosen[i / p.per_group], p.per_group), i % p.per_group, p.per_group);
        uvec2 one = uvec2(id < p.n_vocab ? sample_key(logits[id]) : 0u, id);
        if (!before(limit, one)) best[atomicAdd(tally, 1u)] = one;
    }
    GROUP_SYNC;
    return tally;
}

// The best of all.
uvec2 find_best() {
    uint lane = gl_LocalInvocationID.x;
    uvec2 mine = uvec2(0u, DRAW_NONE);
    for (uint i = lane; i < p.n_groups; i += SMT_GROUP_X)
        if (before(best[i], mine)) mine = best[i];
    best_key[lane] = mine.x;
    best_id[lane] = mine.y;
    FEW_TURNS for (uint step = SMT_GROUP_X / 2u; step > 0u; step >>= 1) {
        GROUP_SYNC;
        if (lane >= step) continue;
        uvec2 other = uvec2(best_key[lane + step], best_id[lane + step]);
        if (!before(other, uvec2(best_key[lane], best_id[lane]))) continue;
        best_key[lane] = other.x;
        best_id[lane] = other.y;
    }
    GROUP_SYNC;
    return uvec2(best_key[0], best_id[0]);
}

float key_value(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0u ? key ^ 0x80000000u : ~key); }

// Weights and ids of what is chosen, the best first.
void rank(uint n, float greatest, float inverse) {
    for (uint i = gl_LocalInvocationID.x; i < n; i += SMT_GROUP_X) {
        uint place = 0u;
        for (uint j = 0; j < n; j++) place += uint(before(uvec2(keys[j], chosen[j]), uvec2(keys[i], chosen[i])));
        ranked[place] = chosen[i];
        weights[place] = smt_draw_weight(key_value(keys[i]), greatest, inverse);
    }
    GROUP_SYNC;
}

// The step buffer of the next step, and the ring. One place writes the words: each is as much to compile as a whole loop.
void advance(uint token, uint slot, uint index, uint position) {
    uint drawn = step_words[STEP_DRAWN];
    ring[drawn % SAMPLE_RING] = token;
    const uint at[] = uint[](STEP_DRAWN, STEP_N_ROWS, STEP_N_OUT, STEP_MAX_ROWS, STEP_ATTEND + 1, STEP_ATTEND + 2,
                             STEP_HEAD + STEP_ARRAY_TOKEN, STEP_HEAD + STEP_ARRAY_POSITION, STEP_HEAD + STEP_ARRAY_INDEX,
                             STEP_HEAD + STEP_ARRAY_SLOT, STEP_HEAD + STEP_ARRAY_OUT);
    uint word[] = uint[](drawn + 1u, 1u, 1u, 1u, 1u, index / SMT_BLOCK + 1u, token, position, index, slot, 0u);
    FIXED_TURNS for (uint i = 0; i < at.length(); i++) step_words[at[i]] = word[i];
}

void main() {
    uint rows = step_words[STEP_MAX_ROWS], row = step_words[STEP_HEAD + STEP_ARRAY_OUT * rows], k = step_words[STEP_TOP_K];
    uint slot = step_words[STEP_HEAD + STEP_ARRAY_SLOT * rows + row];
    uint index = step_words[STEP_HEAD + STEP_ARRAY_INDEX * rows + row] + 1u;
    uint position = step_words[STEP_HEAD + STEP_ARRAY_POSITION * rows + row] + 1u;
    uvec2 first = find_best();
    uint token = first.x > 0u ? first.y : DRAW_NONE;
    if (k > 1u && first.x > 0u) {
        uint n = p.n_groups;
        uvec2 limit;
        FEW_TURNS for (uint pass = 0u; pass < 2u; pass++) { // compilers unfold every call: `select` stands here once
            if (pass > 0u) n = gather(n, limit);
            n = select(n, k, limit);
        }
        rank(n, key_value(first.x), uintBitsToFloat(step_words[STEP_INVERSE]));
        uint chance = smt_draw_chance(step_words[STEP_SEED], step_words[STEP_SEED + 1], index);
        token = ranked[smt_draw_pick(n, step_words[STEP_TOP_P], step_words[STEP_MIN_P], chance)];
    }
    GROUP_SYNC; // the last to read the step buffer may write it
    if (gl_LocalInvocationID.x == 0u) advance(token, slot, index, position);
}
