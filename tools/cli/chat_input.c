/* chat_input.c: messages from a terminal or from a pipe.
 *
 * On a terminal libedit edits the line, in UTF-8 whatever the locale, and remembers lines from one chat to the next. Its prompts go
 * to stderr: stdout holds answers alone. Reading goes through a function of our own, because an interrupt has to end the wait (the
 * library's reader would go on). From a pipe each line is a message. */
#include "chat.h"

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

struct chat_input {
    EditLine *edit;     /* owned; NULL: not interactive */
    History *history;   /* owned; NULL: the same */
    char *history_path; /* owned; NULL: nowhere */
    bool continued;     /* the next line belongs to a message that has begun: for the prompt */
    char *line;         /* owned: getline's */
    size_t line_capacity;
    char *text; /* owned: the message */
    size_t text_capacity;
};

/* ---- terminal ---- */

static char *prompt(EditLine *edit) {
    static char first[] = "> ", later[] = "... ";
    chat_input *input;
    el_get(edit, EL_CLIENTDATA, &input);
    return input->continued ? later : first;
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
    if (!cli_user_folder("XDG_STATE_HOME", ".local/state", folder, sizeof folder)) return NULL;
    for (char *slash = strchr(folder + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = 0;
        bool made = mkdir(folder, 0700) == 0 || errno == EEXIST;
        if (slash) *slash = '/';
        if (!made) return NULL;
        if (!slash) break;
    }
    return asprintf(&path, "%s/chat_history", folder) < 0 ? NULL : path;
}

static bool open_terminal(chat_input *input) {
    HistEvent event;
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    input->edit = el_init("seamount", stdin, stderr, stderr);
    input->history = history_init();
    if (!input->edit || !input->history) return false;
    input->history_path = find_history();
    history(input->history, &event, H_SETSIZE, HISTORY_LINES);
    if (input->history_path) history(input->history, &event, H_LOAD, input->history_path); /* the first time there is none */
    el_set(input->edit, EL_CLIENTDATA, input);
    el_set(input->edit, EL_PROMPT, prompt);
    el_set(input->edit, EL_EDITOR, "emacs");
    el_set(input->edit, EL_HIST, history, input->history);
    el_set(input->edit, EL_GETCFN, read_character);
    el_source(input->edit, NULL); /* the user's own key bindings */
    return true;
}

chat_input *chat_input_open(bool interactive) {
    chat_input *input = calloc(1, sizeof *input);
    if (!input || (interactive && !open_terminal(input))) {
        chat_input_close(input);
        cli_fail(CLI_FAILED, "no line editor on this terminal, or out of memory");
        return NULL;
    }
    return input;
}

void chat_input_close(chat_input *input) {
    if (!input) return;
    HistEvent event;
    if (input->edit && input->history && input->history_path) history(input->history, &event, H_SAVE, input->history_path);
    if (input->history) history_end(input->history);
    if (input->edit) el_end(input->edit);
    free(input->history_path);
    free(input->line);
    free(input->text);
    free(input);
}

/* ---- reading ---- */

static chat_event no_line(void) {
    if (cli_interrupted()) return CHAT_INTERRUPT;
    if (!ferror(stdin)) return CHAT_END;
    cli_fail(CLI_FAILED, "standard input: %s", strerror(errno));
    return CHAT_FAILED;
}

/* One line with its end, as the source has it. */
static chat_event read_line(chat_input *input, const char **out, size_t *out_bytes) {
    HistEvent event;
    if (!input->edit) {
        ssize_t bytes = getline(&input->line, &input->line_capacity, stdin);
        *out = input->line;
        *out_bytes = bytes > 0 ? (size_t)bytes : 0;
        return bytes > 0 ? CHAT_MESSAGE : no_line();
    }
    int count = 0;
    /* Raw before the prompt shows: the library would switch after it, and the terminal's own editing eat what is typed between. */
    el_set(input->edit, EL_PREP_TERM, 1);
    *out = el_gets(input->edit, &count);
    if (!*out || count <= 0) {
        if (cli_interrupted()) el_reset(input->edit);
        fputc('\n', stderr);
        return no_line();
    }
    *out_bytes = strlen(*out);
    if (*out_bytes > 1) history(input->history, &event, H_ENTER, *out);
    return CHAT_MESSAGE;
}

chat_event chat_input_read(chat_input *input, const char **out_text) {
    size_t used = 0;
    input->continued = false;
    for (;;) {
        const char *line;
        size_t bytes = 0;
        chat_event event = read_line(input, &line, &bytes);
        if (event == CHAT_END && input->continued) break; /* the end of the input ends the message too */
        if (event != CHAT_MESSAGE) return event;
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r')) bytes--;
        if (!cli_reserve((void **)&input->text, &input->text_capacity, used + bytes + 1, 1)) return CHAT_FAILED;
        memcpy(input->text + used, line, bytes);
        used += bytes;
        input->continued = bytes && line[bytes - 1] == '\\';
        if (!input->continued) break;
        input->text[used - 1] = '\n';
    }
    input->text[used] = 0;
    *out_text = input->text;
    return CHAT_MESSAGE;
}
