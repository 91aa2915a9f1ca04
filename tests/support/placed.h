/* placed.h: plans of the released models, in full size, for the machines of tests/data/machines, as a reader of the public header sees them. */
#ifndef SMT_TEST_PLACED_H
#define SMT_TEST_PLACED_H

#include "machines.h"

#define GIB ((uint64_t)1 << 30)

enum { V2_LITE, V2, V3, DENSE_7B, N_MODELS };
extern const char *const smt_test_big_names[]; /* [N_MODELS] */

/* Of a group of tests: *state becomes smt_file *[N_MODELS]. Ends the program with status 77 on a file system without holes. */
int smt_test_big_setup(void **state);
int smt_test_big_teardown(void **state);

typedef struct smt_test_placed {
    smt_placement *placement;
    smt_placement_info info;
    smt_placement_item *items; /* owned */
    smt_placement_device devices[20];
} smt_test_placed;

/* words: what the user says; the machine is filled in. */
void smt_test_placed_open(smt_test_placed *v, const smt_file *file, const smt_test_machine *machine,
                          const smt_plan_options *words);
void smt_test_placed_close(smt_test_placed *v);
/* What holds for every plan, from the list of its places alone: each matrix once and whole, nothing overlaps, no limit is exceeded, and the
 * same again gives the same. Sorts the items. */
void smt_test_placed_check(smt_test_placed *v, const smt_file *file, const smt_test_machine *machine,
                           const smt_plan_options *words);

#endif
