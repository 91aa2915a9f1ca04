/* ref_internal.h: private to the reference.
 *
 * Without the fma instruction set in the target, fmaf is a call into the C library, and the reference spends its time
 * there. On x86-64 with glibc the few hot functions are therefore compiled twice and the linker picks by the CPU at hand.
 * fmaf is one rounding either way, so the results are the same to the bit. */
#ifndef SMT_REF_INTERNAL_H
#define SMT_REF_INTERNAL_H

#include "ref.h"

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) /* whose calls crash in a resolver */
#define SMT_REF_HOT __attribute__((target_clones("fma", "default")))
#else
#define SMT_REF_HOT
#endif

#endif
