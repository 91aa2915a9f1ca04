/* system_win32.c: system.h for Windows. Its own text is UTF-16; names, arguments and the environment become UTF-8 here, whatever the
 * code page.
 *
 * What system_environment returns is never freed: programs ask for each of their variables once. */
#ifdef _WIN32
#define _CRT_RAND_S /* before <stdlib.h>: rand_s, which asks the system's generator */
#include "system.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* Owned by the caller; NULL: out of memory, or no UTF-8. */
static wchar_t *wide(const char *text) {
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    wchar_t *copy = units > 0 ? calloc((size_t)units, sizeof *copy) : NULL;
    if (copy) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, copy, units);
    return copy;
}

static char *narrow(const wchar_t *text) {
    int bytes = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *copy = bytes > 0 ? calloc((size_t)bytes, 1) : NULL;
    if (copy) WideCharToMultiByte(CP_UTF8, 0, text, -1, copy, bytes, NULL, NULL);
    return copy;
}

/* ---- start ---- */

static UINT former_code_page; /* of the console, which the shell goes on using */

static void restore_console(void) { SetConsoleOutputCP(former_code_page); }

/* UTF-8 and the escape sequences of the progress bar; where output goes to files the calls fail and change nothing. */
static void prepare_console(void) {
    static const DWORD outputs[] = {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        DWORD mode;
        HANDLE console = GetStdHandle(outputs[i]);
        if (GetConsoleMode(console, &mode)) SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
    }
    former_code_page = GetConsoleOutputCP();
    if (former_code_page && SetConsoleOutputCP(CP_UTF8)) atexit(restore_console);
}

bool system_start(int *argc, char ***argv) {
    int count;
    wchar_t **words = CommandLineToArgvW(GetCommandLineW(), &count);
    char **copies = words ? calloc((size_t)count + 1, sizeof *copies) : NULL;
    bool good = copies != NULL;
    for (int i = 0; good && i < count; i++) good = (copies[i] = narrow(words[i])) != NULL;
    LocalFree(words);
    if (!good) return false;
    *argc = count;
    *argv = copies; /* the process's, as the first ones were */
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    prepare_console();
    return true;
}

/* ---- environment ---- */

const char *system_environment(const char *name) {
    wchar_t *key = wide(name);
    DWORD units = key ? GetEnvironmentVariableW(key, NULL, 0) : 0;
    wchar_t *value = units ? calloc(units, sizeof *value) : NULL;
    char *text = value && GetEnvironmentVariableW(key, value, units) < units ? narrow(value) : NULL;
    free(value);
    free(key);
    return text;
}

/* The C library, which drivers may ask, keeps a copy of its own and tells the system. */
bool system_set_environment(const char *name, const char *value) {
    wchar_t *key = wide(name), *text = wide(value);
    bool set = key && text && _wputenv_s(key, text) == 0;
    free(key);
    free(text);
    return set;
}

/* ---- files ---- */

#define MOST_UNITS 4096 /* of a path; names need no memory so */

/* A path for the calls of Windows. Long ones are taken only as a whole, from the drive or the server on, behind a mark. False with
 * errno. */
static bool widen(const char *path, wchar_t out[MOST_UNITS]) {
    static const wchar_t local[] = L"\\\\?\\", device[] = L"\\\\.\\", server[] = L"\\\\", mark_of_server[] = L"\\\\?\\UNC\\";
    const DWORD room = MOST_UNITS - sizeof mark_of_server / sizeof *mark_of_server;
    wchar_t whole[MOST_UNITS];
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, MOST_UNITS);
    errno = units == 0 && GetLastError() == ERROR_INSUFFICIENT_BUFFER ? ENAMETOOLONG : EINVAL; /* where it fails */
    if (units <= 0) return false;
    if (units < MAX_PATH - 12 || wcsncmp(out, local, 4) == 0) return true; /* 12: folders need room for a name */
    DWORD length = GetFullPathNameW(out, room, whole, NULL);
    if (length >= room) errno = ENAMETOOLONG;
    if (length == 0 || length >= room) return false;
    bool marked = wcsncmp(whole, local, 4) == 0 || wcsncmp(whole, device, 4) == 0, away = wcsncmp(whole, server, 2) == 0;
    wcscpy(out, marked ? L"" : away ? mark_of_server : local);
    wcscat(out, whole + (away && !marked ? 2 : 0));
    return true;
}

FILE *system_open(const char *path, const char *mode) {
    wchar_t name[MOST_UNITS], how[8];
    bool known = widen(path, name) && MultiByteToWideChar(CP_UTF8, 0, mode, -1, how, 8) > 0;
    return known ? _wfopen(name, how) : NULL;
}

bool system_can_read(const char *path) {
    wchar_t name[MOST_UNITS];
    return widen(path, name) && _waccess(name, 4) == 0;
}

/* The name of a file that nobody else has: process and time make it. False with errno. */
static bool name_beside(const char *path, wchar_t out[MOST_UNITS]) {
    char *beside = NULL;
    LARGE_INTEGER now;
    QueryPerformanceCounter(&now);
    errno = ENOMEM;
    if (asprintf(&beside, "%s.%lx-%llx", path, (unsigned long)GetCurrentProcessId(), (unsigned long long)now.QuadPart) < 0)
        return false;
    bool named = widen(beside, out);
    int cause = errno;
    free(beside);
    errno = cause;
    return named;
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

bool system_replace_file(const char *path, const void *bytes, size_t count) {
    wchar_t target[MOST_UNITS], beside[MOST_UNITS];
    FILE *stream = widen(path, target) && name_beside(path, beside) ? _wfopen(beside, L"wb") : NULL;
    bool opened = stream != NULL,
         written = opened && fwrite(bytes, 1, count, stream) == count && fflush(stream) == 0 && _commit(_fileno(stream)) == 0;
    int cause = errno;
    if (stream) fclose(stream);
    if (written && !replace(beside, target)) {
        written = false;
        cause = EACCES; /* a folder, or a file that another program keeps to itself */
    }
    if (opened && !written) DeleteFileW(beside);
    errno = cause;
    return written;
}

bool system_is_slash(char c) { return c == '/' || c == '\\' || c == ':'; } /* "C:name" is a name of the present folder of C: */

/* isatty takes NUL and printers for one too. */
bool system_is_terminal(FILE *stream) {
    DWORD mode;
    return GetConsoleMode((HANDLE)_get_osfhandle(_fileno(stream)), &mode);
}

bool system_user_folder(system_folder kind, char *path, size_t capacity) {
    const char *folder = system_environment("LOCALAPPDATA");
    int length =
        folder && *folder ? snprintf(path, capacity, "%s\\seamount\\%s", folder, kind == SYSTEM_CACHE ? "cache" : "state") : -1;
    return length > 0 && (size_t)length < capacity;
}

/* "C:\...\bin\", with the last slash; empty where it cannot be known. */
static void program_folder(char *folder, size_t capacity) {
    wchar_t name[4096];
    DWORD units = GetModuleFileNameW(NULL, name, 4096);
    char *path = units > 0 && units < 4096 ? narrow(name) : NULL;
    if (!path || snprintf(folder, capacity, "%.*s", (int)(system_base_name(path) - path), path) >= (int)capacity) *folder = 0;
    free(path);
}

static bool readable(char *path, size_t capacity, const char *folder, const char *between, const char *name) {
    int length = snprintf(path, capacity, "%s%s%s", folder, between, name);
    return length > 0 && (size_t)length < capacity && system_can_read(path);
}

const char *system_find_data(const char *name, const char *const *folders, size_t n_folders) {
    static char path[4096];
    char own[4096];
    program_folder(own, sizeof own);
    if (*own && readable(path, sizeof path, own, "", name)) return path;
    if (*own && readable(path, sizeof path, own, "..\\share\\seamount\\", name)) return path;
    for (size_t i = 0; i < n_folders; i++)
        if (readable(path, sizeof path, folders[i], "/", name)) return path;
    return NULL;
}

/* ---- the rest ---- */

const clockid_t system_cond_clock = CLOCK_REALTIME; /* the threads of MinGW know no other here */

bool system_cond_init(pthread_cond_t *cond) { return pthread_cond_init(cond, NULL) == 0; }

bool system_random(uint64_t *out) {
    unsigned high, low;
    if (rand_s(&high) != 0 || rand_s(&low) != 0) return false;
    *out = (uint64_t)high << 32 | low;
    return true;
}

static void (*interrupt_handler)(int number);

/* Ctrl-C is the user's wish, Ctrl-Break that of a program that ends this one. Closing the window ends it without a word. */
static BOOL WINAPI on_console(DWORD event) {
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) return FALSE;
    interrupt_handler(event == CTRL_C_EVENT ? SIGINT : SIGTERM);
    return TRUE;
}

void system_on_interrupt(void (*handle)(int number)) {
    interrupt_handler = handle;
    SetConsoleCtrlHandler(on_console, TRUE);
}
#else
typedef int system_win32_unused; /* ISO C wants one declaration in a file */
#endif
