// sample_funcs.glsl: logits as whole numbers of the same order, and the groups that the vocabulary is cut into (shared/params.h).
#ifndef SAMPLE_FUNCS_GLSL
#define SAMPLE_FUNCS_GLSL

// Greater logits have greater keys, -0 that of 0. NaN and infinities have none: they are never drawn.
uint sample_key(uint bits) {
    uint size = bits & 0x7fffffffu;
    if (size >= 0x7f800000u) return 0u;
    return (bits >> 31) != 0u && size != 0u ? ~bits : size | 0x80000000u;
}

uint sample_id(uint group, uint member, uint per_group) {
    return (group / SAMPLE_TILE * per_group + member) * SAMPLE_TILE + group % SAMPLE_TILE;
}

uint sample_group(uint id, uint per_group) { return id / SAMPLE_TILE / per_group * SAMPLE_TILE + id % SAMPLE_TILE; }

#endif
