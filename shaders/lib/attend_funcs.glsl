// attend_funcs.glsl: joining the partial results of two runs of positions: {maximum, sum of weights, weighted values}.
// attend.comp does it in registers, attend_merge.comp from memory, with the same operations in the same order.
#ifndef ATTEND_FUNCS_GLSL
#define ATTEND_FUNCS_GLSL

// Factors for (old, new); max_old becomes the joint maximum. Before the first chunk max_old is ATTEND_NONE and the old factor 0.
#define ATTEND_NONE -3.0e38
vec2 attend_factors(inout float max_old, float max_new) {
    float joint = max(max_old, max_new);
    vec2 f = vec2(max_old == ATTEND_NONE ? 0.0 : smt_exp(max_old - joint), smt_exp(max_new - joint));
    max_old = joint;
    return f;
}
float attend_join(float a, float b, vec2 f) {
    precise float r = a * f.x + b * f.y;
    return r;
}
vec4 attend_join(vec4 a, vec4 b, vec2 f) {
    precise vec4 r = a * f.x + b * f.y;
    return r;
}

#endif
