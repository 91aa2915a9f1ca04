/* random_blocks.h: block data of any block type without an encoder: random codes, and scales that make the weights a wanted size. */
#ifndef SMT_RANDOM_BLOCKS_H
#define SMT_RANDOM_BLOCKS_H

#include "support.h"

#include "base/dtype.h"

/* n blocks, packed. Weights have a deviation of about that given and a mean near zero; scales have either sign, and one in sixteen is
 * subnormal as a half float. Every other bit is random, so that every bit of a block counts. */
void smt_test_blocks(smt_test_random *random, smt_dtype type, uint8_t *bytes, size_t n_blocks, float deviation);

#endif
