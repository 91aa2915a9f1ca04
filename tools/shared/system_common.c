/* system_common.c: those parts of system.h that are alike on all systems but for a letter or a number, which system_posix.c and
 * system_win32.c give. */
#include "system.h"

const char *system_base_name(const char *path) {
    const char *name = path;
    for (const char *at = path; *at; at++)
        if (system_is_slash(*at)) name = at + 1;
    return name;
}

void system_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds) {
    struct timespec until;
    clock_gettime(system_cond_clock, &until);
    double end = (double)until.tv_nsec * 1e-9 + seconds;
    until.tv_sec += (time_t)end;
    until.tv_nsec = (long)((end - (double)(time_t)end) * 1e9);
    pthread_cond_timedwait(cond, lock, &until);
}
