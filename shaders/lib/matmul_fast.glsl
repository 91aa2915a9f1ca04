// matmul_fast.glsl: the arithmetic of `--precision fast`: activations are rounded to eight bits, a chunk of 32 with one scale, and multiplied with
// the codes of the weights as integers, four at a time. What src/ref/ref.h says of it (smt_ref_dot_fast), to the bit.
//
// The rounding is done by each workgroup that reads a column, on the way to shared memory: a kernel of its own would be a stage of its own
// before every product. SMT_DOT: the device has an instruction for four products, which this compiler knows by number only.
#ifndef MATMUL_FAST_GLSL
#define MATMUL_FAST_GLSL

#if SMT_DOT
// OpSDot of packed 4x8 vectors
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int packed_dot(int a, int b, spirv_literal int format);
int dot4(uint a, uint b) { return packed_dot(int(a), int(b), 0); }
#else
int dot4(uint a, uint b) {
    int sum = 0;
    [[unroll]] for (int i = 0; i < 32; i += 8) sum += bitfieldExtract(int(a), i, 8) * bitfieldExtract(int(b), i, 8);
    return sum;
}
#endif

int dot16(uvec4 a, uvec4 b) { return dot4(a.x, b.x) + dot4(a.y, b.y) + dot4(a.z, b.z) + dot4(a.w, b.w); }

// ---- activations ----

float peak_of(vec4 v) { return max(max(abs(v.x), abs(v.y)), max(abs(v.z), abs(v.w))); }

// The factor of a chunk whose greatest magnitude is `peak`, and its scale; chunks of next to nothing become zeros.
float rounding_factor(float peak) { return peak > 1e-30 ? 127.0 / peak : 0.0; }
float rounding_scale(float peak) { return peak > 1e-30 ? peak * 0.00787401574803149606 : 0.0; }

uint rounded(vec4 v, float factor) {
    ivec4 i = ivec4(roundEven(v * factor)) & 255;
    return uint(i.x | (i.y << 8) | (i.z << 16) | (i.w << 24));
}

int sum_of_bytes(uint word) { return dot4(word, 0x01010101u); }

// ---- products of a chunk ----

struct Codes {
    uvec4 low, high; // of elements 0..15 and 16..31
    vec2 scales;
};

uvec4 codes_low(Raw r) { return uvec4(raw_q(r, 0u), raw_q(r, 1u), raw_q(r, 2u), raw_q(r, 3u)); }
uvec4 codes_high(Raw r) { return uvec4(raw_q(r, 4u), raw_q(r, 5u), raw_q(r, 6u), raw_q(r, 7u)); }

// acc and the product of a chunk with activations low, high of scale d; sums: those of the two halves.
float add_chunk(float acc, Codes w, uvec4 low, uvec4 high, float d, ivec2 sums) {
    int first = dot16(w.low, low), second = dot16(w.high, high);
#if CODE_HALVES
    precise float a = w.scales.x * float(first - CODE_OFFSET * sums.x) + w.scales.y * float(second - CODE_OFFSET * sums.y);
#else
    precise float a = w.scales.x * float(first + second - CODE_OFFSET * (sums.x + sums.y));
#endif
    acc = fma(a, d, acc);
#if CODE_MIN
    precise float b = d * float(sums.x + sums.y);
    acc = fma(w.scales.y, b, acc);
#endif
    return acc;
}

#endif
