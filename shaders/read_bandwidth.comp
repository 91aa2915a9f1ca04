// read_bandwidth.comp: reads a buffer from end to end and keeps one sum per invocation, so that no load can be left out.
// Neighbouring invocations read neighbouring 16-byte vectors. See smt_device_bandwidth.
#version 450

layout(local_size_x = SMT_GROUP_X) in;

layout(set = 0, binding = 1) readonly buffer Data { uvec4 data[]; };
layout(set = 0, binding = 2) writeonly buffer Sums { uint sums[]; };

layout(push_constant) uniform Push { uint n_vectors; };

void main() {
    uvec4 sum = uvec4(0);
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < n_vectors; i += stride) sum ^= data[i];
    sums[gl_GlobalInvocationID.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}
