/* system_posix.c: system.h for Linux, the BSDs and macOS, where names, arguments and the environment are bytes, UTF-8 by custom. */
#ifndef _WIN32
#include "system.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

bool system_start(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write, told like any other */
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN); /* and so is a file beyond the limit of the user's shell */
#endif
    return true;
}

const char *system_environment(const char *name) { return getenv(name); }

bool system_set_environment(const char *name, const char *value) { return setenv(name, value, 1) == 0; }

/* ---- files ---- */

FILE *system_open(const char *path, const char *mode) { return fopen(path, mode); }

bool system_can_read(const char *path) { return access(path, R_OK) == 0; }

bool system_replace_file(const char *path, const void *bytes, size_t count) {
    char *beside = NULL;
    if (asprintf(&beside, "%s.XXXXXX", path) < 0) return false;
    int file = mkstemp(beside);
    FILE *stream = file >= 0 ? fdopen(file, "wb") : NULL;
    bool written = stream && fwrite(bytes, 1, count, stream) == count && fflush(stream) == 0 && fsync(file) == 0;
    int cause = errno;
    if (stream) fclose(stream);
    if (written && rename(beside, path) != 0) {
        written = false;
        cause = errno;
    }
    if (!written && file >= 0) unlink(beside);
    free(beside);
    errno = cause;
    return written;
}

bool system_is_slash(char c) { return c == '/'; }

bool system_is_terminal(FILE *stream) { return isatty(fileno(stream)); }

/* As the XDG base directory specification has it: relative folders are to be ignored. */
bool system_user_folder(system_folder kind, char *path, size_t capacity) {
    bool cache = kind == SYSTEM_CACHE;
    const char *folder = getenv(cache ? "XDG_CACHE_HOME" : "XDG_STATE_HOME"), *home = getenv("HOME");
    int length = -1;
    if (folder && folder[0] == '/')
        length = snprintf(path, capacity, "%s/seamount", folder);
    else if (home && home[0] == '/')
        length = snprintf(path, capacity, "%s/%s/seamount", home, cache ? ".cache" : ".local/state");
    return length > 0 && (size_t)length < capacity;
}

const char *system_find_data(const char *name, const char *const *folders, size_t n_folders) {
    static char path[4096];
    for (size_t i = 0; i < n_folders; i++) {
        int length = snprintf(path, sizeof path, "%s/%s", folders[i], name);
        if (length > 0 && (size_t)length < sizeof path && system_can_read(path)) return path;
    }
    return NULL;
}

/* ---- the rest ---- */

const clockid_t system_cond_clock = CLOCK_MONOTONIC;

bool system_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) return false;
    bool made = pthread_condattr_setclock(&attributes, system_cond_clock) == 0 && pthread_cond_init(cond, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
}

bool system_random(uint64_t *out) {
    ssize_t got;
    do got = getrandom(out, sizeof *out, 0);
    while (got < 0 && errno == EINTR);
    return got == sizeof *out;
}

void system_on_interrupt(void (*handle)(int number)) {
    struct sigaction action = {.sa_handler = handle};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}
#else
typedef int system_posix_unused; /* ISO C wants one declaration in a file */
#endif
