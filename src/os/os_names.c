/* os_names.c: names in paths, which are alike on all systems but for what parts them. */
#include "os.h"

const char *smt_os_base_name(const char *path) {
    const char *name = path;
    for (const char *at = path; *at; at++)
        if (smt_os_is_slash(*at)) name = at + 1;
    return name;
}
