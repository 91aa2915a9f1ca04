/* convert.h: making one GGUF file out of another: the room behind smt_quantize.
 *
 * Knows GGUF files and tensor types, and nothing of how a model computes: a file of any architecture can be quantised. */
#ifndef SMT_CONVERT_H
#define SMT_CONVERT_H

#include "base/base.h"

/* See smt_quantize; `options` is complete (the caller has looked after struct_size). */
smt_status smt_convert_quantize(const smt_quantize_options *options, smt_error *err);

#endif
