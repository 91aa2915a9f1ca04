/* split_model.h: one GGUF file as a set of files, for tests of sets. */
#ifndef SMT_SPLIT_MODEL_H
#define SMT_SPLIT_MODEL_H

#include "gguf/gguf.h"

/* Writes `from` as PREFIX-00001-of-0000N.gguf to PREFIX-0000N-of-0000N.gguf. The keys go to the first part, tensors in runs of equal
 * length to all, or with `bare_first` to all but the first; parts differ in alignment (32, 4096, 64, ...). */
smt_status smt_split_model(const smt_gguf *from, const char *prefix, uint32_t n_parts, bool bare_first, smt_error *err);
/* The path of one part, numbers from 1. */
const char *smt_split_path(const char *prefix, uint32_t number, uint32_t n_parts, char path[1024]);
void smt_split_remove(const char *prefix, uint32_t n_parts);

#endif
