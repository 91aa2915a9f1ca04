// windows.glsl: the weight windows W[SMT_WINDOWS], seen as words and as 16-byte vectors of the same memory; with SMT_TEXELS as vectors alone.
// Measured in the gate/up and down kernels with 16 experts (Q4_K, Q8_0): arrays of 1, 4 and 16 windows, the index from the
// expert table, cost the same on lavapipe 22.3 and 25.0 (0.92 to 1.08 of one window, CPU time) and SwiftShader, and RADV's statistics are
// identical for a table, a push constant and a constant. subgroupBroadcastFirst on the index gains nothing.
// The window index must be uniform over the workgroup. Addresses are bytes inside the window, below 4 GiB.
// Row: where a row of a matrix lies, row_at; row_vec: its vector v + i. A constant i goes into the load itself where it is added last.
#ifndef WINDOWS_GLSL
#define WINDOWS_GLSL

#if SMT_TEXELS
// Windows of a weight type that is made of 16-byte vectors, on a device that fetches texels faster than it loads from buffers.
layout(set = 0, binding = TEXEL_BINDING) uniform usamplerBuffer WT[SMT_WINDOWS];
uvec4 load_vec(uint win, uint at) { return texelFetch(WT[SMT_WINDOWS == 1 ? 0u : win], int(at)); }
float load_f32(uint win, uint off16, uint index) { return uintBitsToFloat(load_vec(win, off16 + (index >> 2))[index & 3u]); }

// Rows are woven (src/quant/quant.h): the lanes of a subgroup, a row each, read one run of memory. Without that a Q8_0 product of one
// column spent 43 % of its time waiting for eight streams of memory at once, lavapipe 25.0; it takes 0.68 of the time now.
struct Row {
    uint at, shift; // vector v: at + (v << shift)
};
Row row_at(uint off16, uint row, uint row_bytes, uint rows) {
    uint vectors = row_bytes >> 4, first = row & ~(SMT_WEAVE - 1u), lane = row - first;
    bool whole = first + SMT_WEAVE <= rows;
    return Row(off16 + first * vectors + (whole ? lane : lane * vectors), whole ? uint(findMSB(SMT_WEAVE)) : 0u);
}
uvec4 row_vec(uint win, Row row, uint v, uint i) { return load_vec(win, row.at + ((v + i) << row.shift)); }
#else
layout(std430, set = 0, binding = 0) readonly buffer WindowWords { uint w[]; } W[SMT_WINDOWS];
layout(std430, set = 0, binding = 0) readonly buffer WindowVectors { uvec4 v[]; } WV[SMT_WINDOWS];
uvec4 load_vec(uint win, uint at) { return WV[win].v[at]; }

#define Row uint // its first byte
Row row_at(uint off16, uint row, uint row_bytes, uint rows) { return off16 * 16u + row * row_bytes; }
uvec4 row_vec(uint win, Row row, uint v, uint i) { return load_vec(win, (row >> 4) + v + i); }
float load_f32(uint win, uint off16, uint index) { return uintBitsToFloat(W[win].w[off16 * 4u + index]); }

// The 32 bits that begin `shift` bits into a pair of words, shift 0 .. 31; no choice in it, which compilers branch on.
uint funnel(uint low, uint high, uint shift) { return (low >> shift) | ((high << 1u) << (31u - shift)); }
// One word at any byte address. Reads the word after it too.
uint load_u32(uint win, uint byte) {
    uint at = byte >> 2;
    return funnel(W[win].w[at], W[win].w[at + 1u], 8u * (byte & 3u));
}
// Two bytes at an even address.
uint load_u16(uint win, uint byte) { return (W[win].w[byte >> 2] >> ((byte & 2u) * 8u)) & 0xffffu; }
uint load_u8(uint win, uint byte) { return (W[win].w[byte >> 2] >> ((byte & 3u) * 8u)) & 0xffu; }
#endif

uvec4 row_vec(uint win, Row row, uint v) { return row_vec(win, row, v, 0u); }

#endif
