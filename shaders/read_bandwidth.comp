// read_bandwidth.comp: reads a buffer from end to end and keeps one sum per invocation, so that no load can be left out.
// Neighbouring invocations read neighbouring vectors, four of them in flight. WIDE: vectors of 32 bytes, which suit processors, where
// the number of load instructions is the limit; else 16 bytes. n_vectors is a multiple of 4 * the number of invocations.
// See smt_device_bandwidth.
#ifdef WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define VECTOR u64vec4
#else
#define VECTOR uvec4
#endif

layout(local_size_x = SMT_GROUP_X) in;

layout(std430, set = 0, binding = 1) readonly buffer Data { VECTOR data[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Sums { uint sums[]; };

layout(push_constant) uniform Push { uint n_vectors; };

void main() {
    VECTOR sum = VECTOR(0);
    uint stride = gl_NumWorkGroups.x * SMT_GROUP_X;
    for (uint i = gl_GlobalInvocationID.x; i < n_vectors; i += 4u * stride)
        sum ^= (data[i] ^ data[i + stride]) ^ (data[i + 2u * stride] ^ data[i + 3u * stride]);
    sums[gl_GlobalInvocationID.x] = uint(sum.x) ^ uint(sum.y) ^ uint(sum.z) ^ uint(sum.w);
}
