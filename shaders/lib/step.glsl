// step.glsl: reading the step buffer that the host writes before a step, or the step before (sample_draw.comp). STEP_BINDING is where it is
// bound.
#ifndef STEP_GLSL
#define STEP_GLSL

layout(std430, binding = STEP_BINDING) readonly buffer Step { uint step_words[]; };

uint step_rows() { return step_words[STEP_N_ROWS]; }
uint step_get(uint array, uint row) { return step_words[STEP_HEAD + array * step_words[STEP_MAX_ROWS] + row]; }

#endif
