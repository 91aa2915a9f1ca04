/* chat_line_console.c: chat_line.h by the console of Windows, which edits lines by itself and remembers those of its session. It gives
 * UTF-16, whatever the code page. */
#ifdef _WIN32
#include "chat_line.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <errno.h>
#include <stdlib.h>

#define MOST_UNITS 8192
#define END_KEY    0x1a /* Ctrl-Z, with Enter behind it */
#define WAIT_MS    200  /* for the thread that is told of Ctrl-C: the wait for a line ends before it */

struct chat_line {
    wchar_t units[MOST_UNITS];
    char text[MOST_UNITS * 3 + 1]; /* UTF-8 needs no more */
};

chat_line *chat_line_open(void) { return calloc(1, sizeof(chat_line)); }

void chat_line_close(chat_line *line) { free(line); }

static bool was_interrupted(void) {
    for (int waited = 0; !cli_interrupted() && waited < WAIT_MS; waited += 10) Sleep(10);
    return cli_interrupted();
}

chat_event chat_line_read(chat_line *line, bool continued, const char **out, size_t *out_bytes) {
    DWORD count = 0;
    fputs(continued ? "... " : "> ", stderr);
    fflush(stderr);
    BOOL read = ReadConsoleW(GetStdHandle(STD_INPUT_HANDLE), line->units, MOST_UNITS, &count, NULL);
    if (count == 0 && was_interrupted()) {
        fputc('\n', stderr);
        return CHAT_INTERRUPT;
    }
    if (!read) {
        errno = EIO;
        return CHAT_FAILED;
    }
    if (count == 0 || line->units[0] == END_KEY) return CHAT_END;
    int bytes = WideCharToMultiByte(CP_UTF8, 0, line->units, (int)count, line->text, sizeof line->text - 1, NULL, NULL);
    *out = line->text;
    *out_bytes = (size_t)bytes;
    return CHAT_MESSAGE;
}
#else
typedef int chat_line_console_unused; /* ISO C wants one declaration in a file */
#endif
