/* check.h: does a device compute what a kernel says? One small dispatch of a compiled kernel, beside the same in plain C.
 *
 * Drivers have bugs, and one that compiles a kernel wrongly would otherwise show as gibberish that nobody can place. So every kernel that an
 * engine compiles is given invented numbers before it is used: weights of random blocks, lists with more entries than a tile has, positions
 * on both sides of a chunk's border. It takes a millisecond a kernel, much less than compiling it; what has been right once for the same
 * driver and the same source is not asked again (vk.h: smt_vk_kernel_trusted).
 *
 *   check_run.c     memory of a case, the dispatch, the comparison
 *   check_data.c    invented numbers: activations, weights of any type
 *   check_product.c products, embedding, repacking      check_attend.c  cache and attention
 *   check_route.c   choice of experts and their sums                    check_token.c   norm, gate, the draw of a token
 *
 * It is no proof: tests/gpu holds each kernel to the bit over odd shapes. Here results are compared with sums in double precision, within
 * bounds that any order of summation keeps, and whole numbers exactly; words that no kernel should write have to be untouched. */
#ifndef SMT_CHECK_H
#define SMT_CHECK_H

#include "kernel/kernel.h"
#include "vk/vk.h"

/* `kernel` is the key as compiled for the device. SMT_WRONG_RESULT names device, driver, kernel, place, and both numbers; other errors are
 * those of Vulkan and of memory. Thread-safe. */
smt_status smt_check_kernel(smt_vk_device *device, const smt_kernel_key *key, const smt_vk_kernel *kernel, uint64_t timeout_ns,
                            smt_error *err);

#endif
