/* support.c: paths and reproducible random numbers. */
#include "support.h"

#include <math.h>

static const char *join(const char *folder, const char *name) {
    static char paths[8][1024]; /* a few results may be in use at once */
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *smt_test_data(const char *name) { return join(SMT_TEST_DATA, name); }
const char *smt_test_work(const char *name) { return join(SMT_TEST_WORK, name); }

const char *smt_test_shared(const char *name) {
    const char *folder = getenv("SEAMOUNT_SHARED");
    if (!folder || !*folder) return NULL;
    const char *path = join(folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fclose(file);
    return path;
}

uint64_t smt_test_next(smt_test_random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

float smt_test_uniform(smt_test_random *random, float low, float high) {
    return low + (high - low) * (float)(smt_test_next(random) >> 40) * 0x1p-24f;
}

float smt_test_normal(smt_test_random *random) {
    float u = smt_test_uniform(random, 1e-7f, 1), v = smt_test_uniform(random, 0, 6.28318531f);
    return sqrtf(-2 * logf(u)) * cosf(v);
}

bool smt_test_hook_waits(uint64_t n) {
    bool waits = false;
    for (uint64_t i = 0; i < n && !waits; i++) {
        void *probe = smt_alloc(1, 1);
        waits = probe == NULL;
        smt_free(probe);
    }
    smt_mem_fail_after(0);
    return waits;
}
