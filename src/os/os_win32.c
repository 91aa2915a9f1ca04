/* os_win32.c: os.h for Windows. Paths are UTF-8 here as everywhere and become UTF-16 at the calls.
 *
 * Invariants
 *   1. Every handle is closed before its function returns, but those that the result holds.
 *   2. GetLastError is turned into words in the message at the place of the failure, with the path and the number.
 *   3. Files are opened so that others may write, rename and delete them meanwhile, as on other systems. */
#ifdef _WIN32
#include "os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <string.h>
#include <wchar.h>

/* ---- files ---- */

static smt_status fail_io(smt_error *err, const char *what, const char *path) {
    DWORD cause = GetLastError(),
          flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
    wchar_t wide[200];
    char words[600];
    bool said = FormatMessageW(flags, NULL, cause, 0, wide, SMT_COUNT(wide), NULL) &&
                WideCharToMultiByte(CP_UTF8, 0, wide, -1, words, sizeof words, NULL, NULL);
    return SMT_FAIL(err, SMT_IO, "cannot %s %.250s: %.150s(Windows error %lu)", what, path, said ? words : "",
                    (unsigned long)cause);
}

#define MOST_UNITS 4096 /* of a path; names need no memory so */

/* A path for the calls of Windows. Long ones are taken only as a whole, from the drive or the server on, behind a mark. */
static smt_status widen(const char *path, wchar_t out[MOST_UNITS], smt_error *err) {
    static const wchar_t local[] = L"\\\\?\\", device[] = L"\\\\.\\", server[] = L"\\\\", mark_of_server[] = L"\\\\?\\UNC\\";
    const DWORD room = MOST_UNITS - SMT_COUNT(mark_of_server);
    wchar_t whole[MOST_UNITS];
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, MOST_UNITS);
    if (units <= 0) return SMT_FAIL(err, SMT_IO, "\"%.250s\" is not UTF-8, or too long for a path", path);
    if (units < MAX_PATH - 12 || wcsncmp(out, local, 4) == 0) return SMT_OK; /* 12: folders need room for a name */
    DWORD length = GetFullPathNameW(out, room, whole, NULL);
    if (length == 0 || length >= room) return SMT_FAIL(err, SMT_IO, "\"%.250s\" is too long for a path", path);
    bool marked = wcsncmp(whole, local, 4) == 0 || wcsncmp(whole, device, 4) == 0, away = wcsncmp(whole, server, 2) == 0;
    wcscpy(out, marked ? L"" : away ? mark_of_server : local);
    wcscat(out, whole + (away && !marked ? 2 : 0));
    return SMT_OK;
}

/* Opens what is there, a folder too. */
static smt_status open_wide(const char *path, DWORD access, HANDLE *out, smt_error *err) {
    wchar_t wide[MOST_UNITS];
    SMT_TRY(widen(path, wide, err));
    *out = CreateFileW(wide, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                       FILE_FLAG_BACKUP_SEMANTICS, NULL);
    return *out == INVALID_HANDLE_VALUE ? fail_io(err, "open", path) : SMT_OK;
}

/* Opens a regular file for reading and finds the size. */
static smt_status open_sized(const char *path, HANDLE *out_file, uint64_t *out_bytes, smt_error *err) {
    HANDLE file;
    SMT_TRY(open_wide(path, GENERIC_READ, &file, err));
    LARGE_INTEGER size;
    BY_HANDLE_FILE_INFORMATION info;
    smt_status status = SMT_OK;
    if (GetFileType(file) != FILE_TYPE_DISK ||
        (GetFileInformationByHandle(file, &info) && (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)))
        status = SMT_FAIL(err, SMT_IO, "cannot read %s: not a regular file", path);
    else if (!GetFileSizeEx(file, &size))
        status = fail_io(err, "examine", path);
    if (status != SMT_OK) {
        CloseHandle(file);
        return status;
    }
    *out_file = file;
    *out_bytes = (uint64_t)size.QuadPart;
    return SMT_OK;
}

smt_status smt_os_file_open(const char *path, smt_os_file *out, smt_error *err) {
    *out = (smt_os_file){0};
    HANDLE file;
    uint64_t bytes;
    SMT_TRY(open_sized(path, &file, &bytes, err));
    BY_HANDLE_FILE_INFORMATION info;
    if (!GetFileInformationByHandle(file, &info)) {
        smt_status status = fail_io(err, "examine", path);
        CloseHandle(file);
        return status;
    }
    *out = (smt_os_file){.open = true,
                         .n_bytes = bytes,
                         .identity = {info.dwVolumeSerialNumber, (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow,
                                      info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime},
                         .handle = (intptr_t)file};
    return SMT_OK;
}

void smt_os_file_close(smt_os_file *file) {
    if (file->open) CloseHandle((HANDLE)file->handle);
    file->open = false;
}

bool smt_os_file_same(const smt_os_file *a, const smt_os_file *b) {
    return a->n_bytes == b->n_bytes && memcmp(a->identity, b->identity, sizeof a->identity) == 0;
}

smt_status smt_os_file_read(const smt_os_file *file, const char *path, uint64_t offset, void *out, uint64_t bytes,
                            smt_error *err) {
    for (uint64_t done = 0; done < bytes;) {
        uint64_t at = offset + done;
        OVERLAPPED place = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
        DWORD got = 0;
        BOOL read = ReadFile((HANDLE)file->handle, (char *)out + done, (DWORD)smt_min_u64(bytes - done, 1u << 30), &got, &place);
        if (!read && GetLastError() != ERROR_HANDLE_EOF) return fail_io(err, "read", path);
        if (got == 0)
            return SMT_FAIL(err, SMT_IO, "%.200s ends at byte %llu, but it had %llu when it was opened: was it cut short?", path,
                            (unsigned long long)at, (unsigned long long)file->n_bytes);
        done += got;
    }
    return SMT_OK;
}

/* Windows reads ahead by itself and takes no advice for ranges of an open file. */
void smt_os_file_expect(const smt_os_file *file, uint64_t offset, uint64_t bytes) {
    (void)file;
    (void)offset;
    (void)bytes;
}

/* ReadFile takes 32-bit counts. */
static bool read_all(HANDLE file, char *into, uint64_t bytes) {
    while (bytes > 0) {
        DWORD got = 0;
        if (!ReadFile(file, into, (DWORD)smt_min_u64(bytes, 1u << 30), &got, NULL) || got == 0) return false;
        into += got;
        bytes -= got;
    }
    return true;
}

smt_status smt_os_read_file(const char *path, char **out, size_t *out_bytes, smt_error *err) {
    *out = NULL;
    *out_bytes = 0;
    HANDLE file;
    uint64_t bytes;
    SMT_TRY(open_sized(path, &file, &bytes, err));
    smt_status status = SMT_OK;
    char *text = bytes < SIZE_MAX / 2 ? smt_alloc((size_t)bytes + 1, 1) : NULL;
    if (!text)
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory reading %s (%llu bytes)", path, (unsigned long long)bytes);
    else if (!read_all(file, text, bytes))
        status = fail_io(err, "read", path);
    CloseHandle(file);
    if (status != SMT_OK) {
        smt_free(text);
        return status;
    }
    *out = text;
    *out_bytes = (size_t)bytes;
    return SMT_OK;
}

/* Makes every folder above `wide`, which is changed and restored on the way. What cannot be made shows when the file is. */
static void make_folders(wchar_t *wide) {
    for (wchar_t *at = wide + 1; *at; at++) {
        if (*at != L'/' && *at != L'\\') continue;
        wchar_t slash = *at;
        *at = 0;
        CreateDirectoryW(wide, NULL);
        *at = slash;
    }
}

static bool write_all(HANDLE file, const char *bytes, uint64_t count) {
    while (count > 0) {
        DWORD done = 0;
        if (!WriteFile(file, bytes, (DWORD)smt_min_u64(count, 1u << 30), &done, NULL)) return false;
        bytes += done;
        count -= done;
    }
    return true;
}

struct smt_os_output {
    HANDLE file;     /* NULL: closed */
    char *path;      /* owned */
    bool unfinished; /* the temporary file is there */
    uint64_t n_bytes;
    wchar_t temporary[MOST_UNITS], target[MOST_UNITS];
};

static smt_status begin_output(const char *path, smt_os_output *output, smt_error *err) {
    smt_str name = {0};
    LARGE_INTEGER now;
    QueryPerformanceCounter(&now);
    /* Process, thread and time make a name that no other writer has at this moment. */
    SMT_TRY(smt_str_printf(&name, err, "%s.%lx-%lx-%llx.new", path, (unsigned long)GetCurrentProcessId(),
                           (unsigned long)GetCurrentThreadId(), (unsigned long long)now.QuadPart));
    output->path = smt_strdup(path);
    smt_status status =
        output->path ? widen(name.text, output->temporary, err) : SMT_FAIL(err, SMT_MEMORY, "out of memory writing %s", path);
    if (status == SMT_OK) status = widen(path, output->target, err);
    smt_str_free(&name);
    if (status != SMT_OK) return status;
    DWORD attributes = GetFileAttributesW(output->target);
    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE)))
        return SMT_FAIL(err, SMT_IO, "cannot write %s: it exists and is not a regular file", path);
    make_folders(output->temporary);
    HANDLE file = CreateFileW(output->temporary, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return fail_io(err, "create a file beside", path);
    output->file = file;
    output->unfinished = true;
    return SMT_OK;
}

smt_status smt_os_output_create(const char *path, smt_os_output **out, smt_error *err) {
    *out = NULL;
    smt_os_output *output = smt_alloc(1, sizeof *output);
    if (!output) return SMT_FAIL(err, SMT_MEMORY, "out of memory writing %s", path);
    smt_status status = begin_output(path, output, err);
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
    if (!write_all(output->file, bytes, n_bytes)) return fail_output(output, err);
    output->n_bytes += n_bytes;
    return SMT_OK;
}

/* A file that was just written, or the one in its place, may for a moment be another program's, which looks for viruses or makes an index. */
static bool replace(const wchar_t *from, const wchar_t *to) {
    for (int attempt = 0;; attempt++) {
        if (MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING)) return true;
        DWORD cause = GetLastError();
        if (attempt == 20 || (cause != ERROR_ACCESS_DENIED && cause != ERROR_SHARING_VIOLATION)) return false;
        Sleep(10);
    }
}

static smt_status close_and_rename(smt_os_output *output, smt_error *err) {
    BOOL closed = CloseHandle(output->file);
    output->file = NULL;
    if (!closed) return fail_output(output, err);
    if (!replace(output->temporary, output->target)) return fail_io(err, "rename a new file to", output->path);
    output->unfinished = false;
    return SMT_OK;
}

smt_status smt_os_output_commit(smt_os_output *output, smt_error *err) {
    if (!FlushFileBuffers(output->file)) return fail_output(output, err);
    return close_and_rename(output, err);
}

void smt_os_output_free(smt_os_output *output) {
    if (!output) return;
    if (output->file) CloseHandle(output->file);
    if (output->unfinished) DeleteFileW(output->temporary);
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

static bool identify(const char *path, BY_HANDLE_FILE_INFORMATION *out) {
    HANDLE file;
    if (open_wide(path, 0, &file, NULL) != SMT_OK) return false;
    BOOL known = GetFileInformationByHandle(file, out);
    CloseHandle(file);
    return known;
}

bool smt_os_same_file(const char *a, const char *b) {
    BY_HANDLE_FILE_INFORMATION first, second;
    return identify(a, &first) && identify(b, &second) && first.dwVolumeSerialNumber == second.dwVolumeSerialNumber &&
           first.nFileIndexHigh == second.nFileIndexHigh && first.nFileIndexLow == second.nFileIndexLow;
}

bool smt_os_is_slash(char c) { return c == '/' || c == '\\' || c == ':'; } /* "C:name" is a name of the present folder of C: */

void smt_os_fd_close(int fd) { (void)fd; }

/* ---- clock and libraries ---- */

double smt_os_seconds(void) {
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    return (double)now.QuadPart / (double)per_second.QuadPart;
}

void *smt_os_library_open(const char *name) {
    wchar_t wide[MOST_UNITS];
    return widen(name, wide, NULL) == SMT_OK ? (void *)LoadLibraryW(wide) : NULL;
}

const char *smt_os_vulkan_library(void) { return "vulkan-1.dll"; }

void *smt_os_library_symbol(void *library, const char *name) {
    FARPROC symbol = GetProcAddress((HMODULE)library, name);
    void *result;
    _Static_assert(sizeof symbol == sizeof result, "function pointers fit object pointers");
    memcpy(&result, &symbol, sizeof result);
    return result;
}

void smt_os_library_close(void *library) {
    if (library) FreeLibrary((HMODULE)library);
}

/* ---- threads ---- */

struct smt_os_mutex {
    CRITICAL_SECTION section;
};

smt_os_mutex *smt_os_mutex_create(void) {
    smt_os_mutex *mutex = smt_alloc(1, sizeof *mutex);
    if (mutex) InitializeCriticalSection(&mutex->section);
    return mutex;
}

void smt_os_mutex_free(smt_os_mutex *mutex) {
    if (!mutex) return;
    DeleteCriticalSection(&mutex->section);
    smt_free(mutex);
}

void smt_os_mutex_lock(smt_os_mutex *mutex) { EnterCriticalSection(&mutex->section); }

void smt_os_mutex_unlock(smt_os_mutex *mutex) { LeaveCriticalSection(&mutex->section); }

uint32_t smt_os_cores(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwNumberOfProcessors ? (uint32_t)info.dwNumberOfProcessors : 1;
}

struct smt_os_thread {
    HANDLE thread;
    void (*run)(void *);
    void *argument;
};

static DWORD WINAPI thread_main(LPVOID user) {
    smt_os_thread *thread = user;
    thread->run(thread->argument);
    return 0;
}

smt_status smt_os_thread_start(void (*run)(void *), void *argument, smt_os_thread **out, smt_error *err) {
    *out = NULL;
    smt_os_thread *thread = smt_alloc(1, sizeof *thread);
    if (!thread) return SMT_FAIL(err, SMT_MEMORY, "out of memory starting a thread");
    thread->run = run;
    thread->argument = argument;
    thread->thread = CreateThread(NULL, 0, thread_main, thread, 0, NULL);
    if (!thread->thread) {
        smt_free(thread);
        return SMT_FAIL(err, SMT_MEMORY, "cannot start a thread: Windows error %lu", (unsigned long)GetLastError());
    }
    *out = thread;
    return SMT_OK;
}

void smt_os_thread_join(smt_os_thread *thread) {
    if (!thread) return;
    WaitForSingleObject(thread->thread, INFINITE);
    CloseHandle(thread->thread);
    smt_free(thread);
}
#else
typedef int smt_os_win32_unused; /* ISO C wants one declaration in a file */
#endif
