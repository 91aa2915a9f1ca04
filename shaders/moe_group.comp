// moe_group.comp: turns "row -> experts" round into "expert -> entries" and cuts the entries into tiles of SMT columns for the expert
// kernels. One workgroup, no atomics: each invocation owns experts and walks all choices in order, so the list is the same every time.
// An entry is row * n_used + slot; entries of experts outside of [first_expert, end_expert), which other devices have, are left out.
// The layout of the work list is in shared/params.h. Defines: SMT_EXPERTS.
#include "lib/prelude.glsl"
#include "lib/turns.glsl"

layout(push_constant) uniform Push { group_params p; };
layout(std430, binding = 1) readonly buffer Ids { uint ids[]; };
layout(std430, binding = 2) writeonly buffer Work { uint work[]; };
#define STEP_BINDING 3
#include "lib/step.glsl"

#define STAGED 1024
shared uint count[SMT_EXPERTS], entry_at[SMT_EXPERTS], tile_at[SMT_EXPERTS];
shared uint staged[STAGED];

// Choices from `from` on go to shared memory, where every invocation walks them: each is read once from the buffer. Returns how many.
uint stage(uint from, uint n) {
    uint taken = min(n - from, uint(STAGED));
    barrier(); // all have walked the former ones
    for (uint i = gl_LocalInvocationID.x; i < taken; i += SMT_GROUP_X) staged[i] = ids[from + i];
    barrier();
    return taken;
}

// Where each expert's entries and tiles begin, and how many there are.
void scan() {
    uint entries = 0u, tiles = 0u;
    for (uint e = p.first_expert; e < p.end_expert; e++) {
        entry_at[e] = entries;
        tile_at[e] = tiles;
        entries += count[e];
        tiles += (count[e] + p.columns - 1u) / p.columns;
    }
    const uint at[] = uint[](WORK_GRID_UP, WORK_GRID_UP + 1u, WORK_GRID_UP + 2u, WORK_TILES, WORK_GRID_DOWN, WORK_GRID_DOWN + 1u,
                             WORK_GRID_DOWN + 2u);
    uint word[] = uint[](p.up_blocks, tiles, 1u, tiles, p.down_blocks, tiles, 1u);
    FIXED_TURNS for (uint i = 0; i < at.length(); i++) work[at[i]] = word[i];
}

void main() {
    uint lane = gl_LocalInvocationID.x, n = step_rows() * p.n_used;
    for (uint e = p.first_expert + lane; e < p.end_expert; e += SMT_GROUP_X) count[e] = 0u;
    for (uint from = 0u; from < n; from += STAGED) {
        uint taken = stage(from, n);
        for (uint e = p.first_expert + lane; e < p.end_expert; e += SMT_GROUP_X) {
            uint mine = 0u;
            for (uint i = 0; i < taken; i++) mine += uint(staged[i] == e);
            count[e] += mine;
        }
    }
    barrier();
    if (lane == 0u) scan();
    barrier();
    for (uint e = p.first_expert + lane; e < p.end_expert; e += SMT_GROUP_X)
        for (uint t = 0; t * p.columns < count[e]; t++) {
            uint tile = WORK_HEAD + (tile_at[e] + t) * WORK_TILE_WORDS;
            uint word[] = uint[](e, entry_at[e] + t * p.columns, min(p.columns, count[e] - t * p.columns));
            FIXED_TURNS for (uint i = 0; i < 3u; i++) work[tile + i] = word[i];
        }
    for (uint from = 0u; from < n; from += STAGED) {
        uint taken = stage(from, n);
        for (uint e = p.first_expert + lane; e < p.end_expert; e += SMT_GROUP_X)
            for (uint i = 0; i < taken; i++)
                if (staged[i] == e && entry_at[e] < p.max_entries) work[p.entries_word + entry_at[e]++] = from + i;
    }
}
