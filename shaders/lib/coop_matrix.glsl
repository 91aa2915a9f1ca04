// coop_matrix.glsl: matrices that a subgroup holds together, as lib/matmul_coop.glsl multiplies them: weights [M, K] times columns [K, N] in
// halves, sums [M, N] in floats. The sizes are the device's (src/base/caps.h: smt_coop_shape).
//
// In shared memory, where they come from and go to, a run of halves along K is one line: HALVES holds four of them.
//   HALVES halves(vec4)
//   Weights, Columns, Sums                       types, or what stands for them
//   LOAD_WEIGHTS(m, memory, at, pitch)           line i of m begins at memory[at + i * pitch]; likewise LOAD_COLUMNS, for column i
//   MULTIPLY(a, b, sums)                         sums + a b
//   STORE_SUMS(sums, memory, at, pitch)          element [i, j] goes to memory[at + j * pitch + i]
//   coop_group()                                 number of this subgroup in the workgroup
//   COOP_UNROLL                                  for loops over matrices
//
// SMT_COOP 2 spells the same out for devices without such matrices, with plain loops: tests find a wrong index with it. It serves nothing else.
#ifndef COOP_MATRIX_GLSL
#define COOP_MATRIX_GLSL

layout(constant_id = 0) const uint COOP_M = 16;
layout(constant_id = 1) const uint COOP_N = 16;
layout(constant_id = 2) const uint COOP_K = 16;
layout(constant_id = 3) const uint COOP_LANES = 32; // of a subgroup

#if SMT_COOP == 1
#define HALVES f16vec4
#define COOP_UNROLL [[unroll]]
HALVES halves(vec4 v) { return f16vec4(v); }

#define Weights coopmat<float16_t, gl_ScopeSubgroup, COOP_M, COOP_K, gl_MatrixUseA>
#define Columns coopmat<float16_t, gl_ScopeSubgroup, COOP_K, COOP_N, gl_MatrixUseB>
#define Sums coopmat<float, gl_ScopeSubgroup, COOP_M, COOP_N, gl_MatrixUseAccumulator>
#define ZERO_SUMS Sums(0.0)
#define LOAD_WEIGHTS(m, memory, at, pitch) coopMatLoad(m, memory, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define LOAD_COLUMNS(m, memory, at, pitch) coopMatLoad(m, memory, at, pitch, gl_CooperativeMatrixLayoutColumnMajor)
#define MULTIPLY(a, b, sums) coopMatMulAdd(a, b, sums)
#define STORE_SUMS(sums, memory, at, pitch) coopMatStore(sums, memory, at, pitch, gl_CooperativeMatrixLayoutColumnMajor)
uint coop_group() { return gl_SubgroupID; }

#else
#define HALVES uvec2
#define COOP_UNROLL [[dont_unroll]] // a software driver would take a minute to compile it
HALVES halves(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }
float half_in(HALVES four, uint i) { return unpackHalf2x16(four[(i >> 1) & 1u])[i & 1u]; }

// Weights and columns stay in memory until they are multiplied; invocation i of a subgroup holds the sums i, i + COOP_LANES, ... of [N][M].
#define Weights uvec2 // first line, pitch
#define Columns uvec2
#define COOP_OWN 8
struct Sums {
    float v[COOP_OWN];
};
#define ZERO_SUMS Sums(float[COOP_OWN](0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
uint coop_group() { return gl_LocalInvocationID.x / COOP_LANES; }
uint coop_element(uint i) { return gl_LocalInvocationID.x % COOP_LANES + i * COOP_LANES; }
#define LOAD_WEIGHTS(m, memory, at, pitch) m = uvec2(at, pitch)
#define LOAD_COLUMNS(m, memory, at, pitch) m = uvec2(at, pitch)
#define MULTIPLY(a, b, sums) multiply_plain(a, b, sums)
#define STORE_SUMS(sums, memory, at, pitch) \
    for (uint own = 0; own < COOP_OWN; own++) memory[(at) + coop_element(own) / COOP_M * (pitch) + coop_element(own) % COOP_M] = sums.v[own]
#endif

#endif
