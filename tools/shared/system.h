/* system.h: what the programs want of the operating system beyond C: their start, the environment, files by names in UTF-8, the user's
 * folders, interrupts. system_posix.c and system_win32.c are, with the two of network.h and the two of the command line's chat_line.h, the
 * only places of the programs that know which system it is; the library has its own in src/os. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* The compiler checks formats: of the parameter with this number against those from `first` on. MinGW's <stdio.h> says which printf
 * it has. */
#if defined(__MINGW_PRINTF_FORMAT)
#define SYSTEM_PRINTF(number, first) __attribute__((format(__MINGW_PRINTF_FORMAT, number, first)))
#elif defined(__GNUC__)
#define SYSTEM_PRINTF(number, first) __attribute__((format(printf, number, first)))
#else
#define SYSTEM_PRINTF(number, first)
#endif

/* At the beginning of main: a closed pipe and a full disk become failed writes, standard streams carry bytes as they are, a console takes
 * UTF-8 and escape sequences, and the arguments, which are replaced by copies where that is needed, are UTF-8. False: out of memory. */
bool system_start(int *argc, char ***argv);

/* ---- environment ---- */

const char *system_environment(const char *name); /* UTF-8; NULL where it is not set. Lives as long as the process. */
/* Only before there are other threads. */
bool system_set_environment(const char *name, const char *value);

/* ---- files ---- */

FILE *system_open(const char *path, const char *mode); /* fopen; errno says why not */
bool system_can_read(const char *path);
/* Writes beside the file and takes its place at the end. False with errno, and the old file as it was. */
bool system_replace_file(const char *path, const void *bytes, size_t count);
bool system_is_slash(char c);                   /* whether this character parts the names in a path */
const char *system_base_name(const char *path); /* what follows the last of them: within `path` */
/* Whether somebody sits before it. */
bool system_is_terminal(FILE *stream);

/* seamount's folder among those of this user: for what may be lost (caches), or for what is kept from one day to the next. Nobody has made
 * it yet. False: there is none. */
typedef enum system_folder { SYSTEM_CACHE, SYSTEM_STATE } system_folder;
bool system_user_folder(system_folder kind, char *path, size_t capacity);
/* "FOLDER/name" of the first folder where that can be read; NULL: none. On systems where programs are moved about their own folder comes
 * first, and share/seamount beside it. The text lives as long as the process, and there is one for all callers. */
const char *system_find_data(const char *name, const char *const *folders, size_t n_folders);

/* ---- the rest ---- */

/* A condition whose waits end when they should, also where somebody sets the clock if the system can do that. The lock is held. */
bool system_cond_init(pthread_cond_t *cond);
extern const clockid_t system_cond_clock; /* which it goes by */
void system_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds);

bool system_random(uint64_t *out); /* what nobody can foretell. False: the system has no such numbers */
/* From now on `handle` is called with SIGINT where the user wants to interrupt, or SIGTERM where the program is to end: in the middle
 * of anything, or on a thread of its own. It may do what a signal handler may. */
void system_on_interrupt(void (*handle)(int number));

#endif
