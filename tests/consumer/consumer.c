/* consumer.c: the smallest program that uses the installed library: says which it runs with, and what it thinks of a file. */
#include <seamount.h>

#include <stdio.h>

int main(int argc, char **argv) {
    smt_error err = {0};
    smt_file *file;
    smt_status status = smt_file_open(argc > 1 ? argv[1] : "", &file, &err);
    if (smt_version() != SMT_VERSION_MAJOR * 10000 + SMT_VERSION_MINOR * 100 + SMT_VERSION_PATCH) return 1;
    printf("seamount %u: %s: %s\n", (unsigned)smt_version(), smt_status_name(status), status == SMT_OK ? "a model" : err.message);
    smt_file_free(file);
    return 0;
}
