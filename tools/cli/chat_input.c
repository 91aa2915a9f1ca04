/* chat_input.c: messages from a terminal, where each line is edited (chat_line.h), or from a pipe, where each line is a message. */
#include "chat.h"
#include "chat_line.h"

#include <stdlib.h>
#include <string.h>

struct chat_input {
    chat_line *terminal; /* owned; NULL: not interactive */
    char *line;          /* owned: of the pipe */
    size_t line_capacity;
    char *text; /* owned: the message */
    size_t text_capacity;
};

chat_input *chat_input_open(bool interactive) {
    chat_input *input = calloc(1, sizeof *input);
    if (!input || (interactive && !(input->terminal = chat_line_open()))) {
        chat_input_close(input);
        cli_fail(CLI_FAILED, "no line editor on this terminal, or out of memory");
        return NULL;
    }
    return input;
}

void chat_input_close(chat_input *input) {
    if (!input) return;
    chat_line_close(input->terminal);
    free(input->line);
    free(input->text);
    free(input);
}

/* ---- reading ---- */

/* From the pipe, with its end. */
static chat_event read_pipe(chat_input *input, const char **out, size_t *out_bytes) {
    bool read = cli_read_line(&input->line, &input->line_capacity, out_bytes);
    *out = input->line;
    if (read) return CHAT_MESSAGE;
    return cli_interrupted() ? CHAT_INTERRUPT : feof(stdin) ? CHAT_END : CHAT_FAILED;
}

static chat_event read_line(chat_input *input, bool continued, const char **out, size_t *out_bytes) {
    return input->terminal ? chat_line_read(input->terminal, continued, out, out_bytes) : read_pipe(input, out, out_bytes);
}

chat_event chat_input_read(chat_input *input, const char **out_text) {
    size_t used = 0;
    for (bool continued = false;;) {
        const char *line;
        size_t bytes = 0;
        chat_event event = read_line(input, continued, &line, &bytes);
        if (event == CHAT_END && continued) break; /* the end of the input ends the message too */
        if (event != CHAT_MESSAGE) return event;
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r')) bytes--;
        if (!cli_reserve((void **)&input->text, &input->text_capacity, used + bytes + 1, 1)) return CHAT_FAILED;
        memcpy(input->text + used, line, bytes);
        used += bytes;
        continued = bytes && line[bytes - 1] == '\\';
        if (!continued) break;
        input->text[used - 1] = '\n';
    }
    input->text[used] = 0;
    *out_text = input->text;
    return CHAT_MESSAGE;
}
