/* machines.h: the machines of tests/data/machines, as the public interface takes them. */
#ifndef SMT_MACHINES_H
#define SMT_MACHINES_H

#include "support.h"

#include <jansson.h>

typedef struct smt_test_machine {
    json_t *document; /* owns the strings */
    smt_machine_device devices[16];
    uint32_t n_devices;
} smt_test_machine;

/* NULL behind the last. */
extern const char *const smt_test_machines[];
/* Fails the test where the file cannot be read. */
void smt_test_machine_open(const char *name, smt_test_machine *out);
void smt_test_machine_close(smt_test_machine *machine);

#endif
