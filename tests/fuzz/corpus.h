/* corpus.h: what the fuzz targets share. With libFuzzer (SEAMOUNT_FUZZ) a fuzz_*.c is its target. Compiled with SMT_FUZZ_CORPUS it is a
 * program that runs the target over the files named on its command line, so that a corpus can be replayed with any compiler. */
#ifndef SMT_CORPUS_H
#define SMT_CORPUS_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef SMT_FUZZ_CORPUS
#include "os/os.h"

#include <stdio.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        smt_error err = {0};
        char *bytes;
        size_t n;
        if (smt_os_read_file(argv[i], &bytes, &n, &err) != SMT_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, n);
        smt_free(bytes);
    }
    return 0;
}
#endif

#endif
