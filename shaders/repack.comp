// repack.comp: rows as the file has them to device rows (src/quant/quant_layout.c), one 16-byte vector of a row an invocation; while
// weights load. Bytes move and nothing is computed, so the result is that of smt_quant_to_device.
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { repack_params p; };
layout(std430, binding = 1) readonly buffer Source { uint src[]; };
layout(std430, binding = 2) writeonly buffer Target { uvec4 dst[]; };

uint word(uint at) { return src[min(at, p.src_words - 1u)]; }

// The 16 bytes from any address on.
uvec4 load_16(uint byte) {
    uint at = byte >> 2, shift = 8u * (byte & 3u);
    uvec4 low = uvec4(word(at), word(at + 1u), word(at + 2u), word(at + 3u));
    if (shift == 0u) return low;
    uvec4 high = uvec4(low.yzw, word(at + 4u));
    return (low >> shift) | (high << (32u - shift));
}

// A vector of small parts of several blocks, or of the end of a row: byte by byte, zeros where the row has none.
uvec4 gather_16(uint row_at, uint part, uint at) {
    uint words[4];
    for (uint w = 0u; w < 4u; w++) {
        words[w] = 0u;
        for (uint i = 0u; i < 4u; i++) {
            uint to = at * 16u + w * 4u + i, block = to / p.stride[part], within = to % p.stride[part];
            uint from = block * p.block_bytes + p.from[part] + within;
            if (block < p.blocks && within < p.bytes[part] && from < p.file_row_bytes)
                words[w] |= ((word((row_at + from) >> 2) >> (8u * ((row_at + from) & 3u))) & 0xffu) << (8u * i);
        }
    }
    return uvec4(words[0], words[1], words[2], words[3]);
}

void main() {
    uint vector = gl_GlobalInvocationID.x;
    if (vector >= p.n_vectors) return;
    uint row = vector / p.row_vectors, row_at = row * p.file_row_bytes, at = vector % p.row_vectors, part = 0u, to = vector;
    if (row < p.woven) to = row / SMT_WEAVE * SMT_WEAVE * p.row_vectors + at * SMT_WEAVE + row % SMT_WEAVE;
    while (part < REPACK_PARTS - 1u && at >= p.vectors[part]) at -= p.vectors[part++];
    // The bulk of a block is whole vectors.
    uint block = at * 16u / p.stride[0], from = block * p.block_bytes + p.from[0] + at * 16u % p.stride[0];
    bool whole = part == 0u && from + 16u <= p.file_row_bytes;
    dst[p.dst_off16 + to] = whole ? load_16(row_at + from) : gather_16(row_at, part, at);
}
