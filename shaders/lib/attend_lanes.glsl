// attend_lanes.glsl: a chunk of attend.comp on CPU-like devices. The workgroup is one subgroup where there are subgroups: no barriers, which
// CPU drivers pay for in compile time and in switching.
// Scores: an invocation owns POSITIONS positions and walks their keys. Values: it owns units of the value and walks the positions.
// Queries and weights are the same for all lanes: they are loaded one a lane and broadcast.
// Lavapipe 25.0, V2-Lite shapes, 8 columns (tools/bench/attend.csv): 2048 positions 6.8 ms of processor time, before 22.5. A step of 8 vec4s,
// 2 positions and 8 columns is 512 vector products for 16 fetches; 16 columns or steps of 16 are no faster and compile for twice as long.
// Lavapipe's compiler pays for every place that touches shared memory at an address of the lane's own: results leave through an array of the
// invocation and a loop that stays one, with a single such place (3 to 4 times less to compile than with the stores written out).
#ifndef ATTEND_LANES_GLSL
#define ATTEND_LANES_GLSL

#if SMT_SUBGROUP == SMT_GROUP_X
#extension GL_KHR_shader_subgroup_basic : require
#define GROUP_SYNC subgroupBarrier()
#else
#define GROUP_SYNC barrier()
#endif
#if SMT_SUBGROUP >= 8
#define LANES 8
#elif SMT_SUBGROUP > 0
#define LANES 4
#else
#define LANES 1
#endif
#if SMT_SUBGROUP > 0
#define LANE gl_SubgroupInvocationID
#define FROM_LANE(x, j) subgroupBroadcast(x, j)
#else
#define LANE 0u
#define FROM_LANE(x, j) (x)
#endif

#define POSITIONS 2
// vec4s of a key taken at a time: a power of two that divides the key and both parts of the query.
#if SMT_KEY4 % 8 == 0 && SMT_QUERY4 % 8 == 0
#define STEP4 8
#elif SMT_KEY4 % 4 == 0 && SMT_QUERY4 % 4 == 0
#define STEP4 4
#else
#define STEP4 UNIT4
#endif
#define Q_LANES (LANES < STEP4 ? LANES : STEP4)
#define Q_LOADS (STEP4 / Q_LANES)
#define T_STEP 8 // positions of a value taken at a time
#define T_LOADS (T_STEP / LANES)

shared float weight[COLUMNS][SMT_BLOCK];
shared float lane_best[COLUMNS][SMT_GROUP_X];

void scores(chunk_place at, uint t0) {
    uint lane = gl_LocalInvocationID.x, row[POSITIONS];
    [[unroll]] for (uint k = 0; k < POSITIONS; k++) // no lane leaves: broadcasts need them all
        row[k] = at.key + min(t0 + lane + k * SMT_GROUP_X, at.positions - 1u) * at.row_units;
    uvec2 from[COLUMNS];
    vec4 dots[COLUMNS][POSITIONS];
    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
        [[unroll]] for (uint k = 0; k < POSITIONS; k++) dots[c][k] = vec4(0);
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) from[c] = query_at(c) + LANE % Q_LANES;
    for (uint i = 0; i < SMT_KEY4; i += STEP4) {
        // All loads come first: on lavapipe they are calls, around which nothing should be live.
        vec4 mine[COLUMNS][Q_LOADS];
        UNIT raw[POSITIONS][STEP4 / UNIT4];
        if (i < SMT_QUERY4) { // a step has one part's queries: a branch for all of them, not one for each
            [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                [[unroll]] for (uint j = 0; j < Q_LOADS; j++) mine[c][j] = query(from[c].x + i + j * Q_LANES);
        } else {
            [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                [[unroll]] for (uint j = 0; j < Q_LOADS; j++) mine[c][j] = query_turned(from[c].y + i - SMT_QUERY4 + j * Q_LANES);
        }
        [[unroll]] for (uint k = 0; k < POSITIONS; k++)
            [[unroll]] for (uint j = 0; j < STEP4 / UNIT4; j++) raw[k][j] = cache_unit(at.win, row[k] + i / UNIT4 + j);
        [[unroll]] for (uint j = 0; j < STEP4; j++) {
            vec4 key[POSITIONS];
            [[unroll]] for (uint k = 0; k < POSITIONS; k++) key[k] = unit_get(raw[k][j / UNIT4], j % UNIT4);
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                vec4 x = FROM_LANE(mine[c][j / Q_LANES], j % Q_LANES);
                [[unroll]] for (uint k = 0; k < POSITIONS; k++) dots[c][k] = fma(x, key[k], dots[c][k]);
            }
        }
    }
    float score[COLUMNS * POSITIONS];
    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
        [[unroll]] for (uint k = 0; k < POSITIONS; k++) {
            precise float s = p.scale * ((dots[c][k].x + dots[c][k].y) + (dots[c][k].z + dots[c][k].w));
            score[c * POSITIONS + k] = s;
        }
    [[dont_unroll]] for (uint n = 0; n < COLUMNS * POSITIONS; n++) {
        uint c = n / POSITIONS, t = t0 + lane + n % POSITIONS * SMT_GROUP_X;
        weight[c][t] = t < column_seen(c) ? score[n] : ATTEND_NONE;
    }
}

void chunk_weights(chunk_place at) {
    uint lane = gl_LocalInvocationID.x;
    for (uint t0 = 0; t0 < at.positions; t0 += POSITIONS * SMT_GROUP_X) scores(at, t0);
    [[dont_unroll]] for (uint c = 0; c < COLUMNS; c++) { // of the scores that the invocation itself wrote
        float best = ATTEND_NONE;
        for (uint t = lane; t < at.positions; t += SMT_GROUP_X) best = max(best, weight[c][t]);
        lane_best[c][lane] = best;
    }
    GROUP_SYNC;
    [[dont_unroll]] for (uint c = 0; c < COLUMNS; c++) {
        float best = ATTEND_NONE;
        [[dont_unroll]] for (uint i = 0; i < SMT_GROUP_X; i++) best = max(best, lane_best[c][i]);
        uint seen = column_seen(c), padded = (at.positions + T_STEP - 1u) / T_STEP * T_STEP;
        for (uint t = lane; t < padded; t += SMT_GROUP_X) weight[c][t] = t < seen ? smt_exp(weight[c][t] - best) : 0.0;
    }
    GROUP_SYNC;
    for (uint c = lane; c < COLUMNS; c += SMT_GROUP_X) {
        float best = ATTEND_NONE;
        [[dont_unroll]] for (uint i = 0; i < SMT_GROUP_X; i++) best = max(best, lane_best[c][i]);
        precise float sum = 0.0; // by one invocation: no bit depends on how many there are
        for (uint t = 0; t < at.positions; t++) sum += weight[c][t];
        chunk_stat[c] = vec2(best, sum);
    }
}

void chunk_values(chunk_place at) {
    uint lane = gl_LocalInvocationID.x;
    for (uint own0 = 0; own0 < VALUE_UNITS; own0 += SMT_GROUP_X) {
        uint own = min(own0 + lane, VALUE_UNITS - 1u);
        vec4 part[COLUMNS][UNIT4];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++)
            [[unroll]] for (uint g = 0; g < UNIT4; g++) part[c][g] = vec4(0);
        for (uint t0 = 0; t0 < at.positions; t0 += T_STEP) {
            float mine[COLUMNS][T_LOADS];
            UNIT raw[T_STEP];
            [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                [[unroll]] for (uint j = 0; j < T_LOADS; j++) mine[c][j] = weight[c][t0 + j * LANES + LANE % LANES];
            [[unroll]] for (uint j = 0; j < T_STEP; j++)
                raw[j] = cache_unit(at.win, at.value + min(t0 + j, at.positions - 1u) * at.row_units + own);
            [[unroll]] for (uint j = 0; j < T_STEP; j++) {
                vec4 value[UNIT4];
                [[unroll]] for (uint g = 0; g < UNIT4; g++) value[g] = unit_get(raw[j], g);
                [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                    vec4 w = vec4(FROM_LANE(mine[c][j / LANES], j % LANES));
                    [[unroll]] for (uint g = 0; g < UNIT4; g++) part[c][g] = fma(w, value[g], part[c][g]);
                }
            }
        }
        float done[COLUMNS * UNIT_VALUES];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++)
            [[unroll]] for (uint i = 0; i < UNIT_VALUES; i++) done[c * UNIT_VALUES + i] = part[c][i / 4u][i % 4u];
        [[dont_unroll]] for (uint n = 0; n < COLUMNS * UNIT_VALUES && own0 + lane < VALUE_UNITS; n++)
            put(n / UNIT_VALUES, own * UNIT_VALUES + n % UNIT_VALUES, done[n]);
    }
}

#endif
