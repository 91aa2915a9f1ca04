/* copy_queue.h: a device that has a queue for copies alone, made of one that has none: for drivers that run tests.
 *
 * The program is linked with --wrap=smt_vk_load_instance and --wrap=smt_vk_load_device (tests/CMakeLists.txt), so that functions of this
 * file stand in the tables: one more family of queues is listed, the second queue is a handle that the driver never sees, and what is
 * submitted to it goes to the only one there is. What such a queue may not do fails the test: other commands than copies, fills and barriers
 * of their stages, command buffers of the other family, a buffer that belongs to one family alone.
 *
 * Nothing runs before it must. A submission is held back until the host waits for it, or for one behind it on its queue, or until one that
 * has to run waits for it: so an order that only the driver's good will would keep is not kept. */
#ifndef SMT_COPY_QUEUE_H
#define SMT_COPY_QUEUE_H

#include "vk_support.h"

typedef struct smt_copy_queue_seen {
    uint32_t submissions[2]; /* that ran: of kernels, of copies */
    uint32_t waits[2];       /* of these, how many waited for the other queue */
    uint32_t in_a_row;       /* submissions of copies that ran right behind another one */
    uint32_t overtook;       /* submissions of copies that ran before kernels that were submitted before them */
    uint64_t copied[2];      /* bytes that vkCmdCopyBuffer moved, by queue */
} smt_copy_queue_seen;
extern smt_copy_queue_seen smt_copy_queue_seen_so_far; /* set it to zeros at will, while nothing is under way */

/* smt_vk_test_setup and _teardown with such a device. */
int smt_copy_queue_setup(void **state);
int smt_copy_queue_teardown(void **state);

#endif
