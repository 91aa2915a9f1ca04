// turns.glsl: whether loops of a few turns are unrolled. On GPUs they are, so that the loads of all turns are under way at once. With SMT_ROLL
// (CPU drivers) they stay loops: each place that touches shared memory or a buffer is code of its own there, a loop over lanes most often,
// and time to compile grows faster than their number. The same operations in the same order either way.
//   FIXED_TURNS  before a loop whose number of turns is known here
//   FEW_TURNS    before others, that a compiler may unroll by itself where they walk a small array
#ifndef TURNS_GLSL
#define TURNS_GLSL

#ifdef SMT_ROLL
#define FIXED_TURNS [[dont_unroll]]
#define FEW_TURNS [[dont_unroll]]
#else
#define FIXED_TURNS [[unroll]]
#define FEW_TURNS
#endif

#endif
