/* golden.h: reader of the golden files: NAME.golden.json (an index) and NAME.golden.bin (raw little-endian arrays). The arrays
 * are called SEQUENCE/ARRAY and hold what an independent implementation computed for a small model:
 *
 *   tokens, positions [T] i32        the input; the causal mask goes by index, the rotation by position
 *   logits_at [P] i32                indices whose logits are stored;        logits [P, n_vocab]
 *   hidden_at [Q] i32                indices whose hidden states are stored; hidden [Q, n_layers + 2, n_embd]
 *   route_at [R] i32                 indices whose routing is stored;        route_ids [M, R, k] i32, route_weights [M, R, k],
 *                                    route_margin [M, R]: how far the choice is from another (M layers with a router)
 *
 * A file or array that is missing or out of bounds fails the running test: fixtures are not hostile, only incomplete. */
#ifndef SMT_GOLDEN_H
#define SMT_GOLDEN_H

#include "support.h"

typedef struct smt_golden smt_golden;

typedef struct smt_golden_array {
    const float *f32; /* one of the two is NULL; owned by the golden */
    const int32_t *i32;
    uint32_t n_dims;
    size_t dims[4]; /* unused ones are 1 */
} smt_golden_array;

smt_golden *smt_golden_open(const char *json_path);
void smt_golden_free(smt_golden *golden);
/* False when the golden has no such array. */
bool smt_golden_find(const smt_golden *golden, const char *sequence, const char *name, smt_golden_array *out);
/* Fails the test when it has none, or one of another element type. */
smt_golden_array smt_golden_f32(const smt_golden *golden, const char *sequence, const char *name);
smt_golden_array smt_golden_i32(const smt_golden *golden, const char *sequence, const char *name);

#endif
