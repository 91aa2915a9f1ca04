// attend_tile.glsl: a chunk of attend.comp on GPUs. 64 invocations for each QUAD of (up to four) columns.
// Scores: 64 bytes of every key of the chunk at a time come to shared memory, each cached row read once for all columns, neighbours reading
// neighbours; an invocation owns four positions of its quad: 16 chains of four for 8 reads. Values: an invocation owns a unit
// of the value and V_COLUMNS columns, and walks the positions; rows are read as they lie. The shared memory of the keys then holds the weights.
// RADV, 576 x 512, 16 columns: no spills, 128 registers on vega10 and navi21, 144 on navi31 (tools/bench/attend.csv).
#ifndef ATTEND_TILE_GLSL
#define ATTEND_TILE_GLSL

#define GROUP_SYNC barrier()
#if COLUMNS < 4
#define QUAD COLUMNS
#else
#define QUAD 4
#endif
#define QUADS (COLUMNS / QUAD)
#define OF_QUAD 64u // invocations
#define EACH (SMT_BLOCK / OF_QUAD)
#define STAGED 4                 // units of a key in shared memory
#define STAGED_ROW (STAGED + 1u) // an odd number of 16-byte units: rows begin in different banks
#define STAGED_EACH (SMT_BLOCK * STAGED / SMT_GROUP_X)
// Columns of an invocation when values are summed: as few as keep all invocations busy.
#if QUAD == 4 && VALUE_UNITS <= 16
#define V_COLUMNS 1
#elif QUAD == 4 && VALUE_UNITS <= 32 || QUAD == 2 && VALUE_UNITS <= 32
#define V_COLUMNS (QUAD / 2)
#else
#define V_COLUMNS QUAD
#endif
#define V_LANES (OF_QUAD * uint(V_COLUMNS) / uint(QUAD))
#define V_STEP 4

shared uvec4 pool[SMT_BLOCK * STAGED_ROW]; // keys, then weights [position][QUADS]
shared vec4 lane_stat[SMT_GROUP_X], eighth_stat[SMT_GROUP_X / 8];

UNIT staged_load(chunk_place at, uint first, uint n) {
    uint i = gl_LocalInvocationID.x + n * SMT_GROUP_X;
    uint t = min(i / STAGED, at.positions - 1u), unit = min(first + i % STAGED, uint(KEY_UNITS - 1));
    return cache_unit(at.win, at.key + t * at.row_units + unit);
}

#if UNIT_WORDS == 4
#define TO_POOL(u) (u)
#define FROM_POOL(u) (u)
#else
#define TO_POOL(u) uvec4(u, 0u, 0u)
#define FROM_POOL(u) (u).xy
#endif

void staged_dots(uint quad, uint first, inout vec4 dots[EACH][QUAD]) {
    uint l = gl_LocalInvocationID.x % OF_QUAD;
    [[unroll]] for (uint u = 0; u < STAGED; u++) {
        if (first + u >= KEY_UNITS) break;
        [[unroll]] for (uint g = 0; g < UNIT4; g++) {
            vec4 x[QUAD];
            [[unroll]] for (uint c = 0; c < QUAD; c++) x[c] = query_part(query_at(quad * QUAD + c), (first + u) * UNIT4 + g);
            [[unroll]] for (uint k = 0; k < EACH; k++) {
                vec4 key = unit_get(FROM_POOL(pool[(l + k * OF_QUAD) * STAGED_ROW + u]), g);
                [[unroll]] for (uint c = 0; c < QUAD; c++) dots[k][c] = fma(x[c], key, dots[k][c]);
            }
        }
    }
}

// Sum or maximum over the invocations of a quad, in one fixed order.
#define REDUCE_QUAD(name, join)                                                                   \
    vec4 name(vec4 mine) {                                                                        \
        uint lane = gl_LocalInvocationID.x;                                                       \
        barrier();                                                                                \
        lane_stat[lane] = mine;                                                                   \
        barrier();                                                                                \
        if (lane < SMT_GROUP_X / 8) {                                                             \
            precise vec4 all = lane_stat[lane * 8u];                                              \
            [[unroll]] for (uint i = 1; i < 8; i++) all = join(all, lane_stat[lane * 8u + i]);    \
            eighth_stat[lane] = all;                                                              \
        }                                                                                         \
        barrier();                                                                                \
        uint first = lane / OF_QUAD * 8u;                                                         \
        precise vec4 all = eighth_stat[first];                                                    \
        [[unroll]] for (uint i = 1; i < 8; i++) all = join(all, eighth_stat[first + i]);          \
        return all;                                                                               \
    }
#define PLUS(a, b) ((a) + (b))
REDUCE_QUAD(quad_max, max)
REDUCE_QUAD(quad_sum, PLUS)

void chunk_weights(chunk_place at) {
    uint lane = gl_LocalInvocationID.x, quad = lane / OF_QUAD, l = lane % OF_QUAD;
    vec4 dots[EACH][QUAD];
    [[unroll]] for (uint k = 0; k < EACH; k++)
        [[unroll]] for (uint c = 0; c < QUAD; c++) dots[k][c] = vec4(0);
    UNIT next[STAGED_EACH];
    [[unroll]] for (uint n = 0; n < STAGED_EACH; n++) next[n] = staged_load(at, 0u, n);
    for (uint first = 0; first < KEY_UNITS; first += STAGED) {
        barrier();
        [[unroll]] for (uint n = 0; n < STAGED_EACH; n++) {
            uint i = lane + n * SMT_GROUP_X;
            pool[i / STAGED * STAGED_ROW + i % STAGED] = TO_POOL(next[n]);
        }
        barrier();
        // Under way while the keys before are worked on; after the last ones a row's last unit once more.
        [[unroll]] for (uint n = 0; n < STAGED_EACH; n++) next[n] = staged_load(at, first + STAGED, n);
        staged_dots(quad, first, dots);
    }
    vec4 best = vec4(ATTEND_NONE), sum = vec4(0), scores[EACH];
    [[unroll]] for (uint k = 0; k < EACH; k++) {
        scores[k] = vec4(ATTEND_NONE);
        [[unroll]] for (uint c = 0; c < QUAD; c++) {
            precise float s = p.scale * ((dots[k][c].x + dots[k][c].y) + (dots[k][c].z + dots[k][c].w));
            if (l + k * OF_QUAD < column_seen(quad * QUAD + c)) scores[k][c] = s;
        }
        best = max(best, scores[k]);
    }
    best = quad_max(best);
    [[unroll]] for (uint k = 0; k < EACH; k++) {
        vec4 e = vec4(0);
        [[unroll]] for (uint c = 0; c < QUAD; c++)
            if (l + k * OF_QUAD < column_seen(quad * QUAD + c)) e[c] = smt_exp(scores[k][c] - best[c]);
        pool[(l + k * OF_QUAD) * QUADS + quad] = floatBitsToUint(e); // the barriers of quad_max let the keys go
        precise vec4 more = sum + e;
        sum = more;
    }
    sum = quad_sum(sum);
    if (l < QUAD) chunk_stat[quad * QUAD + l] = vec2(best[l], sum[l]);
}

void chunk_values(chunk_place at) {
    uint column = gl_LocalInvocationID.x / V_LANES * uint(V_COLUMNS);
    for (uint own = gl_LocalInvocationID.x % V_LANES; own < VALUE_UNITS; own += V_LANES) {
        vec4 part[V_COLUMNS][UNIT4];
        [[unroll]] for (uint c = 0; c < V_COLUMNS; c++)
            [[unroll]] for (uint g = 0; g < UNIT4; g++) part[c][g] = vec4(0);
        for (uint t0 = 0; t0 < at.positions; t0 += V_STEP) {
            UNIT raw[V_STEP];
            [[unroll]] for (uint j = 0; j < V_STEP; j++)
                raw[j] = cache_unit(at.win, at.value + min(t0 + j, at.positions - 1u) * at.row_units + own);
            [[unroll]] for (uint j = 0; j < V_STEP; j++) {
                vec4 w = uintBitsToFloat(pool[(t0 + j) * QUADS + column / QUAD]);
                [[unroll]] for (uint c = 0; c < V_COLUMNS; c++)
                    [[unroll]] for (uint g = 0; g < UNIT4; g++)
                        part[c][g] = fma(vec4(w[column % QUAD + c]), unit_get(raw[j], g), part[c][g]);
            }
        }
        [[unroll]] for (uint c = 0; c < V_COLUMNS; c++)
            [[unroll]] for (uint g = 0; g < UNIT4; g++) put(column + c, own * UNIT4 + g, part[c][g]);
    }
}

#endif
