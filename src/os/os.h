/* os.h: the operating system behind a few calls: files and folders, clock, threads, dynamic libraries.
 * os_posix.c and os_win32.c are the only places of the library with platform conditions. Paths are UTF-8 on every system. */
#ifndef SMT_OS_H
#define SMT_OS_H

#include "base/base.h"

/* A regular file open for reading at any place, by any thread at once. Nothing is mapped: where a file was cut short behind our back,
 * or a network drive went away, the read fails with SMT_IO; reading a mapping would end the process with a signal. */
typedef struct smt_os_file {
    bool open;
    uint64_t n_bytes;     /* when it was opened; this and identity stay after closing */
    uint64_t identity[4]; /* which file it is, and when it was last written */
    intptr_t handle;
} smt_os_file;
smt_status smt_os_file_open(const char *path, smt_os_file *out, smt_error *err); /* SMT_IO names path and cause */
void smt_os_file_close(smt_os_file *file);
bool smt_os_file_same(const smt_os_file *a, const smt_os_file *b); /* one file, not written in between */
/* Exactly `bytes`, or SMT_IO, which names `path`. */
smt_status smt_os_file_read(const smt_os_file *file, const char *path, uint64_t offset, void *out, uint64_t bytes,
                            smt_error *err);
/* Advice that this range is read next: the system may fetch it while the caller does something else. */
void smt_os_file_expect(const smt_os_file *file, uint64_t offset, uint64_t bytes);

void smt_os_fd_close(int fd); /* that a Vulkan driver has given; where there are none, it does nothing */

double smt_os_seconds(void); /* monotonic */

void *smt_os_library_open(const char *name); /* NULL: not there */
const char *smt_os_vulkan_library(void);     /* what the Vulkan loader is called here */
void *smt_os_library_symbol(void *library, const char *name);
void smt_os_library_close(void *library);

/* Whole small files. *out belongs to the caller (smt_free), NUL-terminated. */
smt_status smt_os_read_file(const char *path, char **out, size_t *out_bytes, smt_error *err);
/* Writes beside the target and renames: readers see the old file or the new one. Creates missing folders. */
smt_status smt_os_write_atomic(const char *path, const void *bytes, size_t n_bytes, smt_error *err);

/* A file of any size written in order under a name of its own beside the target, which takes the target's place at the end:
 * readers see the old file or the whole new one. Creates missing folders. SMT_IO names path, cause and bytes written. */
typedef struct smt_os_output smt_os_output;
/* SMT_IO where `path` exists and is no regular file. */
smt_status smt_os_output_create(const char *path, smt_os_output **out, smt_error *err);
smt_status smt_os_output_write(smt_os_output *output, const void *bytes, uint64_t n_bytes, smt_error *err);
/* Puts the file on the disk for good and gives it its name; afterwards only smt_os_output_free remains. */
smt_status smt_os_output_commit(smt_os_output *output, smt_error *err);
/* Without a commit: the target is untouched and the unfinished file gone. NULL is legal. */
void smt_os_output_free(smt_os_output *output);

/* Both paths lead to one existing file, by whatever names. */
bool smt_os_same_file(const char *a, const char *b);
/* Whether this character parts the names in a path. '/' does everywhere: paths of our own are put together with it. */
bool smt_os_is_slash(char c);
const char *smt_os_base_name(const char *path); /* what follows the last of them: within `path` */

typedef struct smt_os_mutex smt_os_mutex;
smt_os_mutex *smt_os_mutex_create(void); /* NULL: out of memory */
void smt_os_mutex_free(smt_os_mutex *mutex);
void smt_os_mutex_lock(smt_os_mutex *mutex);
void smt_os_mutex_unlock(smt_os_mutex *mutex);

uint32_t smt_os_cores(void);
typedef struct smt_os_thread smt_os_thread;
smt_status smt_os_thread_start(void (*run)(void *), void *argument, smt_os_thread **out, smt_error *err);
void smt_os_thread_join(smt_os_thread *thread);

#endif
