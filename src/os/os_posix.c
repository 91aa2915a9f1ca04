/* os_posix.c: os.h for Linux, the BSDs and macOS.
 *
 * Invariants
 *   1. Every descriptor is closed on exec, and closed before its function returns, but those that a smt_os_file holds.
 *   2. errno is turned into words at the place of the failure, with the path. */
#ifndef _WIN32
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- files ---- */

static smt_status fail_io(smt_error *err, const char *what, const char *path) {
    int cause = errno;
    char text[128];
    /* strerror is not thread-safe, and strerror_r comes in two forms. */
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *words = strerror_r(cause, text, sizeof text);
#else
    const char *words = strerror_r(cause, text, sizeof text) == 0 ? text : "unknown cause";
#endif
    return SMT_FAIL(err, SMT_IO, "cannot %s %s: %s", what, path, words);
}

/* Opens a regular file for reading and examines it. */
static smt_status open_regular(const char *path, int *out_fd, struct stat *info, smt_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang us */
    if (fd < 0) return fail_io(err, "open", path);
    smt_status status = SMT_OK;
    if (fstat(fd, info) != 0)
        status = fail_io(err, "examine", path);
    else if (!S_ISREG(info->st_mode))
        status = SMT_FAIL(err, SMT_IO, "cannot read %s: not a regular file", path);
    if (status != SMT_OK) {
        close(fd);
        return status;
    }
    *out_fd = fd;
    return SMT_OK;
}

smt_status smt_os_file_open(const char *path, smt_os_file *out, smt_error *err) {
    *out = (smt_os_file){0};
    int fd;
    struct stat info;
    SMT_TRY(open_regular(path, &fd, &info, err));
    *out = (smt_os_file){.open = true,
                         .n_bytes = (uint64_t)info.st_size,
                         .identity = {(uint64_t)info.st_dev, (uint64_t)info.st_ino, (uint64_t)info.st_mtime},
                         .handle = fd};
    return SMT_OK;
}

void smt_os_file_close(smt_os_file *file) {
    if (file->open) close((int)file->handle);
    file->open = false;
}

bool smt_os_file_same(const smt_os_file *a, const smt_os_file *b) {
    return a->n_bytes == b->n_bytes && memcmp(a->identity, b->identity, sizeof a->identity) == 0;
}

smt_status smt_os_file_read(const smt_os_file *file, const char *path, uint64_t offset, void *out, uint64_t bytes,
                            smt_error *err) {
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread((int)file->handle, (char *)out + done, (size_t)(bytes - done), (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_io(err, "read", path);
        if (n == 0)
            return SMT_FAIL(err, SMT_IO, "%.200s ends at byte %llu, but it had %llu when it was opened: was it cut short?", path,
                            (unsigned long long)(offset + done), (unsigned long long)file->n_bytes);
        done += (uint64_t)n;
    }
    return SMT_OK;
}

void smt_os_file_expect(const smt_os_file *file, uint64_t offset, uint64_t bytes) {
#if defined(POSIX_FADV_WILLNEED)
    (void)posix_fadvise((int)file->handle, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
#else
    (void)file;
    (void)offset;
    (void)bytes;
#endif
}

/* Reads exactly `bytes`, or fewer when the file ends early; returns the count, or -1 with errno. */
static ssize_t read_all(int fd, char *into, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, into + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

smt_status smt_os_read_file(const char *path, char **out, size_t *out_bytes, smt_error *err) {
    *out = NULL;
    *out_bytes = 0;
    int fd;
    struct stat info;
    SMT_TRY(open_regular(path, &fd, &info, err));
    smt_status status = SMT_OK;
    uint64_t bytes = (uint64_t)info.st_size;
    char *text = bytes < SIZE_MAX / 2 ? smt_alloc((size_t)bytes + 1, 1) : NULL;
    ssize_t got = 0;
    if (!text)
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory reading %s (%llu bytes)", path, (unsigned long long)bytes);
    else if ((got = read_all(fd, text, (size_t)bytes)) < 0)
        status = fail_io(err, "read", path);
    close(fd);
    if (status != SMT_OK) {
        smt_free(text);
        return status;
    }
    text[got] = 0;
    *out = text;
    *out_bytes = (size_t)got;
    return SMT_OK;
}

/* Makes every folder above `path`, which is changed and restored on the way. */
static smt_status make_folders(char *path, smt_error *err) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        smt_status status = failed ? fail_io(err, "create folder", path) : SMT_OK;
        *slash = '/';
        if (failed) return status;
    }
    return SMT_OK;
}

static bool write_all(int fd, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t n = write(fd, bytes, count);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes += n;
        count -= (size_t)n;
    }
    return true;
}

/* Creates a file that nobody else has, beside `path`; the clock and the process number make its name, O_EXCL makes it sure.
 * The caller owns *name and the descriptor. */
static smt_status create_beside(const char *path, smt_str *name, int *out_fd, smt_error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return SMT_FAIL(err, SMT_IO, "cannot write %s: it exists and is not a regular file", path);
    for (unsigned attempt = 0;; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        name->bytes = 0;
        SMT_TRY(smt_str_printf(name, err, "%s.%lx-%lx-%x.new", path, (long)getpid(), (long)now.tv_nsec, attempt));
        if (attempt == 0) SMT_TRY(make_folders(name->text, err));
        *out_fd = open(name->text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*out_fd >= 0) return SMT_OK;
        if (errno != EEXIST || attempt == 100) return fail_io(err, "create", name->text);
    }
}

struct smt_os_output {
    int fd;          /* -1: closed */
    char *path;      /* owned */
    smt_str name;    /* owned: of the unfinished file */
    bool unfinished; /* that file is there */
    uint64_t n_bytes;
};

smt_status smt_os_output_create(const char *path, smt_os_output **out, smt_error *err) {
    *out = NULL;
    smt_os_output *output = smt_alloc(1, sizeof *output);
    if (!output) return SMT_FAIL(err, SMT_MEMORY, "out of memory writing %s", path);
    output->fd = -1;
    output->path = smt_strdup(path);
    smt_status status = output->path ? create_beside(path, &output->name, &output->fd, err)
                                     : SMT_FAIL(err, SMT_MEMORY, "out of memory writing %s", path);
    output->unfinished = status == SMT_OK;
    if (status == SMT_OK)
        *out = output;
    else
        smt_os_output_free(output);
    return status;
}

static smt_status fail_output(const smt_os_output *output, smt_error *err) {
    char what[64];
    snprintf(what, sizeof what, "write beyond byte %llu of", (unsigned long long)output->n_bytes);
    return fail_io(err, what, output->path);
}

smt_status smt_os_output_write(smt_os_output *output, const void *bytes, uint64_t n_bytes, smt_error *err) {
    if (!write_all(output->fd, bytes, (size_t)n_bytes)) return fail_output(output, err);
    output->n_bytes += n_bytes;
    return SMT_OK;
}

/* A rename is durable once the folder is; a file system that cannot do this still has the file. */
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? smt_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : smt_strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    smt_free(folder);
}

static smt_status close_and_rename(smt_os_output *output, smt_error *err) {
    int failed = close(output->fd);
    output->fd = -1;
    if (failed) return fail_output(output, err);
    if (rename(output->name.text, output->path) != 0) return fail_io(err, "rename a new file to", output->path);
    output->unfinished = false;
    return SMT_OK;
}

smt_status smt_os_output_commit(smt_os_output *output, smt_error *err) {
    if (fsync(output->fd) != 0) return fail_output(output, err);
    SMT_TRY(close_and_rename(output, err));
    sync_folder(output->path);
    return SMT_OK;
}

void smt_os_output_free(smt_os_output *output) {
    if (!output) return;
    if (output->fd >= 0) close(output->fd);
    if (output->unfinished) unlink(output->name.text);
    smt_str_free(&output->name);
    smt_free(output->path);
    smt_free(output);
}

/* Not put on the disk for good: what is written so can be made again. */
smt_status smt_os_write_atomic(const char *path, const void *bytes, size_t n_bytes, smt_error *err) {
    smt_os_output *output;
    SMT_TRY(smt_os_output_create(path, &output, err));
    smt_status status = smt_os_output_write(output, bytes, n_bytes, err);
    if (status == SMT_OK) status = close_and_rename(output, err);
    smt_os_output_free(output);
    return status;
}

bool smt_os_same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool smt_os_is_slash(char c) { return c == '/'; }

void smt_os_fd_close(int fd) { close(fd); }

/* ---- clock and libraries ---- */

double smt_os_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void *smt_os_library_open(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }

#if defined(__APPLE__)
const char *smt_os_vulkan_library(void) { return "libvulkan.1.dylib"; }
#else
const char *smt_os_vulkan_library(void) { return "libvulkan.so.1"; }
#endif

void *smt_os_library_symbol(void *library, const char *name) { return dlsym(library, name); }

void smt_os_library_close(void *library) {
    if (library) dlclose(library);
}

/* ---- threads ---- */

struct smt_os_mutex {
    pthread_mutex_t mutex;
};

smt_os_mutex *smt_os_mutex_create(void) {
    smt_os_mutex *mutex = smt_alloc(1, sizeof *mutex);
    if (!mutex) return NULL;
    if (pthread_mutex_init(&mutex->mutex, NULL) != 0) {
        smt_free(mutex);
        return NULL;
    }
    return mutex;
}

void smt_os_mutex_free(smt_os_mutex *mutex) {
    if (!mutex) return;
    pthread_mutex_destroy(&mutex->mutex);
    smt_free(mutex);
}

void smt_os_mutex_lock(smt_os_mutex *mutex) { pthread_mutex_lock(&mutex->mutex); }

void smt_os_mutex_unlock(smt_os_mutex *mutex) { pthread_mutex_unlock(&mutex->mutex); }

uint32_t smt_os_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

struct smt_os_thread {
    pthread_t thread;
    void (*run)(void *);
    void *argument;
};

static void *thread_main(void *user) {
    smt_os_thread *thread = user;
    thread->run(thread->argument);
    return NULL;
}

smt_status smt_os_thread_start(void (*run)(void *), void *argument, smt_os_thread **out, smt_error *err) {
    *out = NULL;
    smt_os_thread *thread = smt_alloc(1, sizeof *thread);
    if (!thread) return SMT_FAIL(err, SMT_MEMORY, "out of memory starting a thread");
    thread->run = run;
    thread->argument = argument;
    int code = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (code != 0) {
        smt_free(thread);
        return SMT_FAIL(err, SMT_MEMORY, "cannot start a thread (pthread_create says %d)", code);
    }
    *out = thread;
    return SMT_OK;
}

void smt_os_thread_join(smt_os_thread *thread) {
    if (!thread) return;
    pthread_join(thread->thread, NULL);
    smt_free(thread);
}
#else
typedef int smt_os_posix_unused; /* ISO C wants one declaration in a file */
#endif
