/* dump_sources.c: writes the complete sources of all kernels with cooperative matrices as NAME.comp, where NAME.spv is the name of the
 * compiled form in shaders/prebuilt. tools/prebuild.sh compiles them.
 *
 *     dump_sources FOLDER */
#include "run/run.h"

#include <stdio.h>
#include <string.h>

static smt_status dump(const smt_kernel_key *key, const char *folder, smt_error *err) {
    const smt_caps caps = {.family = SMT_FAMILY_WAVE, .coop = {16, 16, 16}, .subgroup_size = 32};
    smt_vk_define defines[SMT_KERNEL_MAX_DEFINES];
    smt_kernel_spec spec;
    char *text, name[33], path[4096];
    bool known;
    smt_kernel_describe(&caps, key, &spec);
    const smt_vk_kernel_desc desc = smt_run_kernel_desc(&spec, defines);
    SMT_TRY(smt_vk_portable_text(&desc, &text, name, &known, err));
    snprintf(path, sizeof path, "%s/%s.comp", folder, name);
    smt_status status = smt_os_write_atomic(path, text, strlen(text), err);
    printf("%s %s\n", name, spec.label);
    smt_free(text);
    return status;
}

int main(int argc, char **argv) {
    smt_kernel_key key;
    smt_error err = {0};
    if (argc != 2) return fprintf(stderr, "usage: dump_sources FOLDER\n"), 2;
    for (uint32_t i = 0; smt_kernel_coop_catalogue(i, &key); i++)
        if (dump(&key, argv[1], &err) != SMT_OK) return fprintf(stderr, "%s\n", err.message), 1;
    return 0;
}
