/* chat_line_edit.c: chat_line.h by libedit, in UTF-8 whatever the locale; lines are remembered from one chat to the next.
 *
 * Prompts go to stderr: stdout holds answers alone. Reading goes through a function of our own, because an interrupt has to end the wait
 * (the library's reader would go on). */
#ifndef _WIN32
#include "chat_line.h"
#include "system.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct chat_line {
    EditLine *edit;     /* owned */
    History *history;   /* owned */
    char *history_path; /* owned; NULL: nowhere */
    bool continued;     /* for the prompt */
};

static char *prompt(EditLine *edit) {
    static char first[] = "> ", later[] = "... ";
    chat_line *line;
    el_get(edit, EL_CLIENTDATA, &line);
    return line->continued ? later : first;
}

/* One character; 0 at the end of the input, -1 for failure and interrupts. */
static int read_character(EditLine *edit, wchar_t *out) {
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        char byte;
        ssize_t got = cli_interrupted() ? -1 : read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (got <= 0) return (int)got;
        size_t length = mbrtowc(out, &byte, 1, &state);
        if (length == (size_t)-2) continue; /* more bytes are to come */
        if (length == (size_t)-1) *out = 0xfffd;
        return 1;
    }
}

/* "folder/seamount/chat_history" in the user's state folder, made if it is not there. NULL: there is no such folder. */
static char *find_history(void) {
    char folder[4096], *path = NULL;
    if (!system_user_folder(SYSTEM_STATE, folder, sizeof folder)) return NULL;
    for (char *slash = strchr(folder + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = 0;
        bool made = mkdir(folder, 0700) == 0 || errno == EEXIST;
        if (slash) *slash = '/';
        if (!made) return NULL;
        if (!slash) break;
    }
    return asprintf(&path, "%s/chat_history", folder) < 0 ? NULL : path;
}

static bool open_terminal(chat_line *line) {
    HistEvent event;
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    line->edit = el_init("seamount", stdin, stderr, stderr);
    line->history = history_init();
    if (!line->edit || !line->history) return false;
    line->history_path = find_history();
    history(line->history, &event, H_SETSIZE, HISTORY_LINES);
    if (line->history_path) history(line->history, &event, H_LOAD, line->history_path); /* the first time there is none */
    el_set(line->edit, EL_CLIENTDATA, line);
    el_set(line->edit, EL_PROMPT, prompt);
    el_set(line->edit, EL_EDITOR, "emacs");
    el_set(line->edit, EL_HIST, history, line->history);
    el_set(line->edit, EL_GETCFN, read_character);
    el_source(line->edit, NULL); /* the user's own key bindings */
    return true;
}

chat_line *chat_line_open(void) {
    chat_line *line = calloc(1, sizeof *line);
    if (line && open_terminal(line)) return line;
    chat_line_close(line);
    return NULL;
}

void chat_line_close(chat_line *line) {
    if (!line) return;
    HistEvent event;
    if (line->edit && line->history && line->history_path) history(line->history, &event, H_SAVE, line->history_path);
    if (line->history) history_end(line->history);
    if (line->edit) el_end(line->edit);
    free(line->history_path);
    free(line);
}

chat_event chat_line_read(chat_line *line, bool continued, const char **out, size_t *out_bytes) {
    HistEvent event;
    int count = 0;
    line->continued = continued;
    /* Raw before the prompt shows: the library would switch after it, and the terminal's own editing eat what is typed between. */
    el_set(line->edit, EL_PREP_TERM, 1);
    *out = el_gets(line->edit, &count);
    if (!*out || count <= 0) {
        int cause = errno;
        if (cli_interrupted()) el_reset(line->edit);
        fputc('\n', stderr);
        if (cli_interrupted()) return CHAT_INTERRUPT;
        if (!ferror(stdin)) return CHAT_END;
        cli_fail(CLI_FAILED, "standard input: %s", strerror(cause));
        return CHAT_FAILED;
    }
    *out_bytes = strlen(*out);
    if (*out_bytes > 1) history(line->history, &event, H_ENTER, *out);
    return CHAT_MESSAGE;
}
#else
typedef int chat_line_edit_unused; /* ISO C wants one declaration in a file */
#endif
