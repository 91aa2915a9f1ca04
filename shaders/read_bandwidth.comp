// read_bandwidth.comp: reads a buffer from end to end and keeps one sum per invocation, so that no load can be left out.
// Neighbouring invocations read neighbouring vectors, four of them in flight: texels where products read their weights so (SMT_TEXELS), else
// from a storage buffer. WIDE: vectors of 32 bytes, which suit processors, where the number of load instructions is the limit; else 16 bytes.
// n_vectors is a multiple of 4 * the number of invocations. See smt_device_bandwidth.
#if SMT_TEXELS
#extension GL_GOOGLE_include_directive : enable
#include "shared/params.h"
#include "lib/windows.glsl"
#define VECTOR uvec4
#define LOAD(i) load_vec(0u, i)
#else
#if WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define VECTOR u64vec4
#else
#define VECTOR uvec4
#endif

layout(std430, set = 0, binding = 1) readonly buffer Data { VECTOR data[]; };
#define LOAD(i) data[i]
#endif

layout(local_size_x = SMT_GROUP_X) in;
layout(std430, set = 0, binding = 2) writeonly buffer Sums { uint sums[]; };

layout(push_constant) uniform Push { uint n_vectors; };

void main() {
    VECTOR sum = VECTOR(0);
#if RUNS
    uint run = n_vectors / gl_NumWorkGroups.x, stride = SMT_GROUP_X, first = gl_WorkGroupID.x * run + gl_LocalInvocationID.x;
    uint end = (gl_WorkGroupID.x + 1u) * run;
#else
    uint stride = gl_NumWorkGroups.x * SMT_GROUP_X, first = gl_GlobalInvocationID.x, end = n_vectors;
#endif
    for (uint i = first; i < end; i += 4u * stride)
        sum ^= (LOAD(i) ^ LOAD(i + stride)) ^ (LOAD(i + 2u * stride) ^ LOAD(i + 3u * stride));
    sums[gl_GlobalInvocationID.x] = uint(sum.x) ^ uint(sum.y) ^ uint(sum.z) ^ uint(sum.w);
}
