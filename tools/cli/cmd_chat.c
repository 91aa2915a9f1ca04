/* cmd_chat.c: `chat`: a conversation with the model, in the words of the template that it was trained with.
 *
 * What the model thinks before it answers is kept beside the answer ("reasoning_content"), where the template finds it that wants it.
 *
 * On a terminal lines are edited and a line of figures follows each answer, on stderr; from a pipe each line of stdin is a message,
 * and stdout holds the answers alone. Every turn renders the whole conversation anew; what the session holds of it already is not
 * evaluated again (generate.c), which is nearly all, as an answer is kept without the blank that such models begin with.
 *
 * Where the conversation outgrows the context, its oldest turns leave the prompt, never half of one, and several at once so that
 * the next messages have room; they stay in the conversation for /save. Ctrl-C ends an answer and the chat goes on with what there
 * is of it; at the prompt a second one leaves. A command that fails says so and nothing changes; from a pipe it ends the chat. */
#include "chat.h"
#include "system.h"

#include <stdlib.h>
#include <string.h>

typedef struct chat {
    const cli_args *args;
    cli_generator generator;
    smt_chat_template *template;
    char *variables; /* of the template, owned; NULL: none */
    json_t *messages;
    size_t n_dropped; /* messages, after the system's, that the model sees no longer */
    bool interactive, done;
} chat;

static void close_chat(chat *c) {
    cli_generator_close(&c->generator);
    smt_chat_template_free(c->template);
    json_decref(c->messages);
    free(c->variables);
}

/* ---- the prompt ---- */

/* The conversation without its dropped turns as tokens. CLI_DONE, or CLI_FAILED with a message. */
static int render(const chat *c, int32_t **out_tokens, size_t *out_count) {
    size_t first = chat_has_system(c->messages) ? 1 : 0, i;
    json_t *seen = json_array(), *message;
    json_array_foreach(c->messages, i, message) if (i < first || i >= first + c->n_dropped) json_array_append(seen, message);
    serve_messages list;
    smt_error err = {0};
    smt_status status = SMT_OK;
    bool read = cli_messages_read(seen, &list);
    smt_chat_request request = {
        .struct_size = sizeof request, .messages = list.items, .n_messages = list.count, .variables = c->variables};
    if (read) status = smt_chat_tokens(c->template, &request, out_tokens, out_count, &err);
    serve_messages_free(&list);
    json_decref(seen);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    return read ? CLI_DONE : CLI_FAILED;
}

static bool is_users(const json_t *message) { return !strcmp(json_string_value(json_object_get(message, "role")), "user"); }

/* Leaves out the oldest turn: messages up to the next of the user's. False when only the last turn is left. */
static bool drop_turn(chat *c) {
    size_t first = (chat_has_system(c->messages) ? 1 : 0) + c->n_dropped;
    for (size_t i = first + 1; i < json_array_size(c->messages); i++) {
        if (!is_users(json_array_get(c->messages, i))) continue;
        c->n_dropped += i - first;
        return true;
    }
    return false;
}

/* Room that an answer should find: what -n asks for, an eighth of the context at most. */
static size_t wanted_room(const chat *c) {
    int64_t most = cli_given(c->args, OPT_PREDICT) ? cli_int(c->args, OPT_PREDICT) : -1;
    size_t room = c->generator.n_ctx / 8;
    return most >= 0 && (uint64_t)most < room ? (size_t)most : room;
}

/* *out_tokens is smt_free'd by the caller. CLI_FAILED with a message. */
static int make_prompt(chat *c, int32_t **out_tokens, size_t *out_count) {
    size_t limit = c->generator.n_ctx - wanted_room(c), before = c->n_dropped;
    for (;;) {
        if (render(c, out_tokens, out_count) != CLI_DONE) return CLI_FAILED;
        if (*out_count <= limit) break;
        limit = c->generator.n_ctx / 4 * 3; /* when turns have to go, then enough of them for a while */
        if (!drop_turn(c)) break;
        smt_free(*out_tokens);
    }
    if (c->n_dropped > before)
        fprintf(stderr, "notice: the context of %u tokens is full: the oldest %zu messages are no longer seen by the model\n",
                c->generator.n_ctx, c->n_dropped);
    if (*out_count <= c->generator.n_ctx) return CLI_DONE;
    cli_fail(CLI_FAILED, "the message does not fit: %zu tokens with its template, the context holds %u (-c)", *out_count,
             c->generator.n_ctx);
    smt_free(*out_tokens);
    return CLI_FAILED;
}

/* ---- a turn ---- */

static void print_figures(const chat *c) {
    const cli_generator *g = &c->generator;
    size_t n = g->n_tokens - g->n_prompt;
    fprintf(stderr, "[%zu tokens, %.1f tokens/s; context %u of %u%s]\n", n, cli_decode_speed(g),
            smt_session_length(g->engine.session), g->n_ctx,
            g->stop == CLI_STOP_INTERRUPT ? "; stopped"
            : g->n_tokens > g->n_ctx      ? "; the context is full"
                                          : "");
    if (cli_flag(c->args, OPT_VERBOSE))
        fprintf(stderr, "[prompt: %zu tokens, %zu of them from the cache, %.1f tokens/s]\n", g->n_prompt, g->n_reused,
                cli_prefill_speed(g));
}

/* The answer to the messages as they are; without any text of an answer the user's message is forgotten again. */
static int answer(chat *c) {
    cli_generator *g = &c->generator;
    int32_t *tokens;
    size_t n_tokens;
    int status = make_prompt(c, &tokens, &n_tokens);
    if (status == CLI_DONE) {
        status = cli_generate(g, tokens, n_tokens, cli_given(c->args, OPT_PREDICT) ? cli_int(c->args, OPT_PREDICT) : -1);
        smt_free(tokens);
        if (status == CLI_DONE && (g->text_bytes == 0 || g->text[g->text_bytes - 1] != '\n'))
            status = cli_write("\n", 1) ? CLI_DONE : CLI_FAILED;
        cli_flush();
        if (status == CLI_DONE && (c->interactive || cli_flag(c->args, OPT_VERBOSE))) print_figures(c);
        if (status != CLI_DONE) c->done = true; /* unlike a message that does not fit, this is not the user's to mend */
    }
    if (status != CLI_DONE || (g->text_bytes == 0 && g->stop == CLI_STOP_INTERRUPT)) {
        chat_forget_last(c->messages);
        return status;
    }
    bool added = chat_add(c->messages, "assistant", g->text ? g->text : "", g->text_bytes) &&
                 (g->thought_bytes == 0 || chat_add_thought(c->messages, g->thought, g->thought_bytes));
    return added ? CLI_DONE : CLI_FAILED;
}

static int say(chat *c, const char *text) {
    if (!*text) return CLI_DONE;
    return chat_add(c->messages, "user", text, strlen(text)) ? answer(c) : CLI_FAILED;
}

/* ---- commands ---- */

static void note(const chat *c, const char *text) {
    if (c->interactive) fprintf(stderr, "[%s]\n", text);
}

static int do_reset(chat *c, const char *rest) {
    (void)rest;
    for (size_t first = chat_has_system(c->messages) ? 1 : 0; json_array_size(c->messages) > first;)
        chat_forget_last(c->messages);
    c->n_dropped = 0;
    note(c, "a new conversation");
    return CLI_DONE;
}

static int do_save(chat *c, const char *path) {
    if (!*path) return cli_fail(CLI_FAILED, "/save FILE");
    if (!chat_save(c->messages, path)) return CLI_FAILED;
    note(c, "saved");
    return CLI_DONE;
}

static int do_load(chat *c, const char *path) {
    if (!*path) return cli_fail(CLI_FAILED, "/load FILE");
    json_t *messages = chat_load(path);
    if (!messages) return CLI_FAILED;
    json_decref(c->messages);
    c->messages = messages;
    c->n_dropped = 0;
    if (c->interactive) fprintf(stderr, "[%zu messages]\n", json_array_size(messages));
    return CLI_DONE;
}

static int do_system(chat *c, const char *text) {
    if (!chat_set_system(c->messages, text)) return CLI_FAILED;
    note(c, *text ? "the system message holds from the next answer on" : "no system message");
    return CLI_DONE;
}

static int do_exit(chat *c, const char *rest) {
    (void)rest;
    c->done = true;
    return CLI_DONE;
}

static int do_help(chat *c, const char *rest);

static const struct command {
    const char *name, *help;
    int (*run)(chat *c, const char *rest);
} commands[] = {{"/reset", "          forget the conversation, but for the system message", do_reset},
                {"/save", " FILE      write the conversation as JSON", do_save},
                {"/load", " FILE      go on with a conversation from a file", do_load},
                {"/system", " [TEXT]  another system message, or none", do_system},
                {"/help", "           this list", do_help},
                {"/exit", "           leave, as Ctrl-D does", do_exit}};

static int do_help(chat *c, const char *rest) {
    (void)c;
    (void)rest;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "  %s%s\n", commands[i].name, commands[i].help);
    fputs("  a backslash at the end of a line goes on with the message on the next; // begins a message with a slash\n"
          "  Ctrl-C stops an answer\n",
          stderr);
    return CLI_DONE;
}

static int do_command(chat *c, const char *line) {
    size_t length = strcspn(line, " ");
    const char *rest = line + length + strspn(line + length, " ");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == length && !memcmp(commands[i].name, line, length)) return commands[i].run(c, rest);
    return cli_fail(CLI_FAILED, "there is no command %.*s (/help lists them; // begins a message with a slash)",
                    length < 40 ? (int)length : 40, line);
}

/* ---- the chat ---- */

static int prepare(chat *c) {
    const cli_args *args = c->args;
    c->messages = json_array();
    if (!c->messages) return cli_no_memory();
    const char *system = cli_given(args, OPT_SYSTEM) ? cli_text(args, OPT_SYSTEM) : "";
    if (!chat_set_system(c->messages, system)) return CLI_FAILED;
    int status = cli_chat_variables(args, &c->variables);
    if (status == CLI_DONE) status = cli_generator_load(args, 0, &c->generator);
    if (status != CLI_DONE) return status;
    const smt_file *file = smt_engine_file(c->generator.engine.engine);
    status = cli_chat_template(args, file, c->generator.tokenizer, &c->template);
    if (status != CLI_DONE) return status;
    status = cli_generator_set_chat(&c->generator, c->template);
    return status == CLI_DONE ? cli_generator_start(&c->generator, (uint32_t)cli_int(args, OPT_CTX_SIZE)) : status;
}

/* A Ctrl-C that stopped an answer, or came at the prompt, is dealt with; the end that a signal asks for is not. */
static bool told_to_leave(chat *c) {
    cli_forget_interrupt();
    return cli_interrupted() || !c->interactive;
}

static int take(chat *c, const char *line) {
    int status = line[0] == '/' && line[1] != '/' ? do_command(c, line) : say(c, line[0] == '/' ? line + 1 : line);
    if (cli_interrupted() && told_to_leave(c)) return cli_fail(CLI_FAILED, "interrupted");
    if (status == CLI_DONE || !c->interactive || c->done) return status;
    return CLI_DONE; /* the message said it: the user goes on */
}

static int converse(chat *c, chat_input *input) {
    int in_a_row = 0, status = CLI_DONE;
    while (!c->done && status == CLI_DONE) {
        const char *line;
        chat_event event = chat_input_read(input, &line);
        if (event == CHAT_END) break;
        if (event == CHAT_FAILED) return CLI_FAILED;
        if (event == CHAT_INTERRUPT) {
            if (told_to_leave(c)) return cli_fail(CLI_FAILED, "interrupted");
            if (++in_a_row == 2) break;
            note(c, "Ctrl-C again, or /exit, leaves");
            continue;
        }
        in_a_row = 0;
        status = take(c, line);
    }
    return status;
}

int cmd_chat(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    chat c = {.args = args, .interactive = system_is_terminal(stdin) && system_is_terminal(stderr)};
    int status = prepare(&c);
    chat_input *input = status == CLI_DONE ? chat_input_open(c.interactive) : NULL;
    if (status == CLI_DONE && !input) status = CLI_FAILED;
    if (input && c.interactive)
        fprintf(stderr, "%s, template %s, context %u; /help lists the commands\n",
                c.generator.model.name[0] ? c.generator.model.name : c.generator.model.architecture,
                smt_chat_template_name(c.template), c.generator.n_ctx);
    if (input && c.interactive) cli_outlive_interrupts();
    if (input) status = converse(&c, input);
    chat_input_close(input);
    close_chat(&c);
    return status;
}
