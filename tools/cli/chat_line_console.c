/* chat_line_console.c: chat_line.h by the console of Windows, which edits lines by itself and remembers those of its session. It gives
 * UTF-16, whatever the code page. */
#ifdef _WIN32
#include "chat_line.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>

#define PART_UNITS 8192 /* that are asked for at once */
#define END_KEY    0x1a /* Ctrl-Z, with Enter behind it */
#define WAIT_MS    200  /* for the thread that is told of Ctrl-C: the wait for a line ends before it */

struct chat_line {
    wchar_t *units; /* owned */
    size_t capacity;
    char *text; /* owned */
    size_t text_capacity;
};

chat_line *chat_line_open(void) { return calloc(1, sizeof(chat_line)); }

void chat_line_close(chat_line *line) {
    if (!line) return;
    free(line->units);
    free(line->text);
    free(line);
}

static bool was_interrupted(void) {
    for (int waited = 0; !cli_interrupted() && waited < WAIT_MS; waited += 10) Sleep(10);
    return cli_interrupted();
}

/* Up to the end of the line: the console hands out long ones in parts. */
static chat_event read_units(chat_line *line, size_t *out_count) {
    for (*out_count = 0; *out_count == 0 || line->units[*out_count - 1] != '\n';) {
        DWORD got = 0;
        if (!cli_reserve((void **)&line->units, &line->capacity, *out_count + PART_UNITS, sizeof *line->units))
            return CHAT_FAILED;
        BOOL read = ReadConsoleW(GetStdHandle(STD_INPUT_HANDLE), line->units + *out_count, PART_UNITS, &got, NULL);
        DWORD cause = GetLastError();
        if (got == 0 && was_interrupted()) return CHAT_INTERRUPT;
        if (!read) {
            cli_fail(CLI_FAILED, "standard input: Windows error %lu", (unsigned long)cause);
            return CHAT_FAILED;
        }
        *out_count += got;
        if (got == 0 || line->units[0] == END_KEY) break;
    }
    return *out_count == 0 || line->units[0] == END_KEY ? CHAT_END : CHAT_MESSAGE;
}

chat_event chat_line_read(chat_line *line, bool continued, const char **out, size_t *out_bytes) {
    size_t count;
    fputs(continued ? "... " : "> ", stderr);
    fflush(stderr);
    chat_event event = read_units(line, &count);
    if (event == CHAT_INTERRUPT) fputc('\n', stderr);
    if (event != CHAT_MESSAGE) return event;
    size_t room = 3 * count; /* UTF-8 needs no more */
    if (!cli_reserve((void **)&line->text, &line->text_capacity, room, 1)) return CHAT_FAILED;
    *out = line->text;
    *out_bytes = (size_t)WideCharToMultiByte(CP_UTF8, 0, line->units, (int)count, line->text, (int)room, NULL, NULL);
    return CHAT_MESSAGE;
}
#else
typedef int chat_line_console_unused; /* ISO C wants one declaration in a file */
#endif
