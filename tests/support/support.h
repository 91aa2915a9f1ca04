/* support.h: what the test programs share. cmocka needs its includes in this order. */
#ifndef SMT_SUPPORT_H
#define SMT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/base.h"

/* Path of a file in tests/data, or in the folder that SEAMOUNT_SHARED names; NULL where the latter is not set or lacks it. */
const char *smt_test_data(const char *name);   /* never NULL */
const char *smt_test_shared(const char *name); /* "golden/g-v2.golden.json" */
/* A path for a scratch file in the build folder. */
const char *smt_test_work(const char *name);

/* Deterministic numbers for fixtures: the same on every machine. */
typedef struct smt_test_random {
    uint64_t state;
} smt_test_random;
uint64_t smt_test_next(smt_test_random *random);
float smt_test_uniform(smt_test_random *random, float low, float high);
float smt_test_normal(smt_test_random *random);

/* Whether the hook that smt_mem_fail_after(n) set still waits for the n-th allocation; switches it off. For walks through all allocations of a call:
 * the walk ends where the hook waits, not where the call succeeds, which may do without some of its memory. */
bool smt_test_hook_waits(uint64_t n);

/* Asserts SMT_OK and prints the message otherwise. */
#define SMT_ASSERT_OK(call, err)                                                                                              \
    do {                                                                                                                      \
        smt_status smt_assert_status_ = (call);                                                                               \
        if (smt_assert_status_ != SMT_OK) fail_msg("%s: %s: %s", #call, smt_status_name(smt_assert_status_), (err)->message); \
    } while (0)

#endif
