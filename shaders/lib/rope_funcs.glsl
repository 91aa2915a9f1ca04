// rope_funcs.glsl: the angle of pair i at a position, from tables made in double on the host: position = SMT_BLOCK * coarse + fine, and
// cos and sin of the sum of two angles by a complex product. Drivers' own sin and cos may be off by 2^-11.
// ROPE_BINDING is where the table is bound: [coarse][pairs] {cos, sin}, then [SMT_BLOCK][pairs] {cos, sin}.
#ifndef ROPE_FUNCS_GLSL
#define ROPE_FUNCS_GLSL

layout(std430, binding = ROPE_BINDING) readonly buffer Rope { vec2 rope_table[]; };

vec2 rope_angle(uint position, uint pair, uint pairs, uint coarse_words) {
    vec2 a = rope_table[position / SMT_BLOCK * pairs + pair];
    vec2 b = rope_table[coarse_words / 2u + position % SMT_BLOCK * pairs + pair];
    return vec2(fma(a.x, b.x, -(a.y * b.y)), fma(a.y, b.x, a.x * b.y));
}

vec2 rope_turn(vec2 x, vec2 angle, float magnitude) {
    return magnitude * vec2(fma(x.x, angle.x, -(x.y * angle.y)), fma(x.x, angle.y, x.y * angle.x));
}

#endif
