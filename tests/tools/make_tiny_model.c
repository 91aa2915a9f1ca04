/* make_tiny_model.c: writes a small random deepseek2 model, for demonstrations and for trying commands by hand.
 *
 *     make_tiny_model OUT.gguf [TYPE]        TYPE: F32 (the default), F16, BF16, Q8_0, Q4_K, ... */
#include "tiny_model.h"

#include <stdio.h>
#include <strings.h>

/* UINT32_MAX: no such type. */
static uint32_t find_type(const char *name) {
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (info && strcasecmp(info->name, name) == 0) return id;
    }
    return UINT32_MAX;
}

int main(int argc, char **argv) {
    uint32_t type = argc == 3 ? find_type(argv[2]) : SMT_DTYPE_F32;
    if (argc < 2 || argc > 3 || type == UINT32_MAX) {
        fprintf(stderr, "usage: make_tiny_model OUT.gguf [TYPE], such as F32, F16, Q8_0 or Q4_K\n");
        return 2;
    }
    smt_error err = {0};
    smt_tiny_options options = {.type = (smt_dtype)type};
    if (smt_tiny_deepseek2(argv[1], &options, &err) != SMT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
