// attend_cache.glsl: what attend.comp reads: cached keys and values in units of 16 bytes (8 where a head's size asks for it), and queries:
// vec4s before SMT_QUERY4 lie in one buffer, the rotated rest in another.
// SMT_CACHE: 0 = float32, 1 = float16. A unit is UNIT4 vec4s of numbers.
#ifndef ATTEND_CACHE_GLSL
#define ATTEND_CACHE_GLSL

#if SMT_CACHE == 1 && SMT_KEY4 % 2 == 0 && SMT_VALUE4 % 2 == 0
#define UNIT uvec4
#define UNIT4 2
#define UNIT_WORDS 4
#elif SMT_CACHE == 1
#define UNIT uvec2
#define UNIT4 1
#define UNIT_WORDS 2
#else
#define UNIT uvec4
#define UNIT4 1
#define UNIT_WORDS 4
#endif
#define UNIT_VALUES uint(UNIT4 * 4)
#define KEY_UNITS (SMT_KEY4 / UNIT4)
#define VALUE_UNITS (SMT_VALUE4 / UNIT4)

#if SMT_TEXELS
layout(set = 0, binding = TEXEL_BINDING) uniform usamplerBuffer W[SMT_WINDOWS];
layout(binding = TEXEL_BINDING + 1) uniform samplerBuffer Q;
UNIT cache_unit(uint win, uint at) { return texelFetch(W[SMT_WINDOWS == 1 ? 0u : win], int(at)); }
vec4 query(uint at) { return texelFetch(Q, int(at)); }
#else
layout(std430, set = 0, binding = 0) readonly buffer Cache { UNIT v[]; } W[SMT_WINDOWS];
layout(std430, binding = 1) readonly buffer Q { vec4 q[]; };
UNIT cache_unit(uint win, uint at) { return W[win].v[at]; }
vec4 query(uint at) { return q[at]; }
#endif

// vec4 i of a query whose two parts begin at `from`; the part must be the same for all invocations where that is to cost nothing.
#if SMT_QUERY4 == SMT_KEY4
vec4 query_turned(uint at) { return vec4(0); } // there is no second part
vec4 query_part(uvec2 from, uint i) { return query(from.x + i); }
#else
#if SMT_TEXELS
layout(binding = TEXEL_BINDING + 6) uniform samplerBuffer Turned;
vec4 query_turned(uint at) { return texelFetch(Turned, int(at)); }
#else
layout(std430, binding = 6) readonly buffer Turned { vec4 turned[]; };
vec4 query_turned(uint at) { return turned[at]; }
#endif
vec4 query_part(uvec2 from, uint i) {
    vec4 part;
    if (i < SMT_QUERY4) part = query(from.x + i);
    else part = query_turned(from.y + i - SMT_QUERY4);
    return part;
}
#endif

// vec4 i of a unit.
vec4 unit_get(UNIT u, uint i) {
#if SMT_CACHE == 0
    return uintBitsToFloat(u);
#elif UNIT4 == 1
    return vec4(unpackHalf2x16(u.x), unpackHalf2x16(u.y));
#else
    uvec2 half4 = i == 0u ? u.xy : u.zw;
    return vec4(unpackHalf2x16(half4.x), unpackHalf2x16(half4.y));
#endif
}

#endif
