/* speech.c: from the tokens of an answer to text, on stdout and in the generator.
 *
 *   token -> spoken: whole characters -> thoughts: the thought | the answer -> stream: the answer, up to a stop string
 *
 * Text goes out as soon as it is certain. Of a chat's answer the thought in front is told apart, and stop strings are not about it: on a
 * terminal it is dim, elsewhere it stands between its marks, those too that the prompt ended with; blanks around it are always the same. A
 * grammar says what an answer looks like from its first token on, so that one which begins in a thought by its prompt does not then. */
#include "cli.h"
#include "system.h"

#include <stdlib.h>
#include <string.h>

/* What stands around a thought. `close` behind it where an answer follows, `cut` where none does. */
typedef struct frame {
    const char *open, *close, *cut;
} frame;

static const frame plain = {SERVE_THINK "\n", "\n" SERVE_THOUGHT "\n\n", ""}, dim = {"\033[2m", "\033[0m\n\n", "\033[0m"};

static const frame *frame_here(void) { return system_is_terminal(stdout) ? &dim : &plain; }

int cli_speech_begin(cli_generator *g, cli_speech *s) {
    smt_error err = {0};
    *s = (cli_speech){.generator = g, .thoughts.place = SERVE_ANSWERS};
    g->text_bytes = g->thought_bytes = 0;
    smt_status status = serve_open_spoken(g->tokenizer, g->tokens, g->n_prompt, &s->spoken, &err);
    if (status == SMT_OK) status = smt_text_stream_create(g->tokenizer, &s->stream, &err);
    if (status == SMT_OK) status = smt_text_stream_set_stops(s->stream, g->stops, g->n_stops, &err);
    if (status == SMT_OK && g->chat)
        status = serve_thinking_after(g->tokenizer, g->tokens, g->n_prompt, &s->thoughts.place, &err);
    if (g->grammar.state && s->thoughts.place == SERVE_THINKS) s->thoughts.place = SERVE_MAY_THINK;
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

void cli_speech_end(cli_speech *s) {
    smt_text_stream_free(s->spoken);
    smt_text_stream_free(s->stream);
    *s = (cli_speech){0};
}

/* ---- on its way out ---- */

static bool keep(char **text, size_t *used, size_t *capacity, const char *bytes, size_t count) {
    if (!cli_reserve((void **)text, capacity, *used + count, 1)) return false;
    memcpy(*text + *used, bytes, count);
    *used += count;
    return true;
}

static bool write_text(const char *text) { return cli_write(text, strlen(text)); }

static bool put_answer(cli_speech *s, const char *text, size_t count) {
    cli_generator *g = s->generator;
    for (; g->chat && g->text_bytes == 0 && count && *text == ' '; text++) count--;
    if (count == 0) return true;
    if (!keep(&g->text, &g->text_bytes, &g->text_capacity, text, count)) return false;
    if (cli_flag(g->args, OPT_JSON)) return true;
    if (s->thinks && !write_text(frame_here()->close)) return false;
    s->thinks = false;
    return cli_write(text, count);
}

static bool put_thought(cli_speech *s, const char *text, size_t count) {
    cli_generator *g = s->generator;
    if (!keep(&g->thought, &g->thought_bytes, &g->thought_capacity, text, count)) return false;
    if (!s->thinks && !write_text(frame_here()->open)) return false;
    s->thinks = true;
    return cli_write(text, count);
}

static bool take_part(void *user, bool thought, const char *bytes, size_t count) {
    cli_speech *s = user;
    smt_error err = {0};
    const char *text;
    size_t given;
    if (thought) return put_thought(s, bytes, count);
    smt_status status = smt_text_stream_push_text(s->stream, bytes, count, &text, &given, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err), false;
    return put_answer(s, text, given);
}

int cli_speech_take(cli_speech *s, int32_t token) {
    const char *text;
    size_t bytes;
    smt_error err = {0};
    smt_status status = smt_text_stream_push(s->spoken, token, &text, &bytes, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    return serve_thoughts_feed(&s->thoughts, text, bytes, take_part, s) && cli_flush() ? CLI_DONE : CLI_FAILED;
}

int cli_speech_rest(cli_speech *s) {
    const char *text;
    size_t bytes;
    smt_text_stream_flush(s->spoken, &text, &bytes);
    bool good = serve_thoughts_feed(&s->thoughts, text, bytes, take_part, s) && serve_thoughts_end(&s->thoughts, take_part, s);
    smt_text_stream_flush(s->stream, &text, &bytes);
    good = good && put_answer(s, text, bytes) && (!s->thinks || write_text(frame_here()->cut));
    return good && cli_flush() ? CLI_DONE : CLI_FAILED;
}
