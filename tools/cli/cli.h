/* cli.h: what the commands share: output that notices failure, files in and out, the progress bar, device options, interruption.
 *
 * stdout carries the result and nothing else; everything for people who watch goes to stderr. A command ends with
 * `return cli_finish(status)`, which turns a stdout that could not be written (closed pipe, full disk) into exit status 1. */
#ifndef CLI_H
#define CLI_H

#include "args.h"
#include "seamount.h"
#include "serve_messages.h"
#include "serve_thoughts.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* The commands, each in cmd_<name>.c (detokenize in cmd_tokenize.c). */
int cmd_run(const cli_args *args);
int cmd_chat(const cli_args *args);
int cmd_eval(const cli_args *args);
int cmd_perplexity(const cli_args *args);
int cmd_bench(const cli_args *args);
int cmd_tokenize(const cli_args *args);
int cmd_detokenize(const cli_args *args);
int cmd_template(const cli_args *args);
int cmd_devices(const cli_args *args);
int cmd_plan(const cli_args *args);
int cmd_inspect(const cli_args *args);
int cmd_kernels(const cli_args *args);
int cmd_quantize(const cli_args *args);
int cmd_convert(const cli_args *args);
int cmd_serve(const cli_args *args);
int cmd_trace(const cli_args *args);

/* ---- output.c ---- */

/* To stdout; after the first failure the rest is dropped, cli_finish reports it. False: failed. */
bool cli_write(const void *bytes, size_t count);
SYSTEM_PRINTF(1, 2)
bool cli_print(const char *format, ...);
/* Hands what was written to the reader now. False: failed. */
bool cli_flush(void);
/* The document and a newline; takes the reference. NULL (a value could not be built) fails. `compact`: on one line. */
bool cli_write_json(json_t *document, bool compact);
/* Flushes stdout; CLI_FAILED with a message when anything written did not arrive, else `status`. */
int cli_finish(int status);

/* Any text as a JSON string: bytes that are not UTF-8 become U+FFFD. */
json_t *cli_json_text(const char *text);
/* 64-bit counts as JSON integers; beyond the range of those as real numbers. */
json_t *cli_json_count(uint64_t value);
/* Text from a file for a terminal: control characters become '?'. */
void cli_print_safe(const char *text, size_t bytes);

/* The next line of stdin with its end, bytes as they are, into a buffer that grows and that the caller frees. False:
 * feof(stdin), an interrupt, or with a message. */
bool cli_read_line(char **line, size_t *capacity, size_t *out_bytes);
/* A whole file, or stdin for "-", NUL-terminated; *out is freed by the caller. False with a message. */
bool cli_read_file(const char *path, char **out, size_t *out_bytes);
/* Creates or replaces a file. False with a message. */
bool cli_write_file(const char *path, const void *bytes, size_t count);
/* The same by way of a new file beside it: at any time the path holds the old content or the new. */
bool cli_replace_file(const char *path, const void *bytes, size_t count);

/* ---- cmd_template.c ---- */

/* A conversation from a JSON array; false with a message. serve_messages_free in either case. */
bool cli_messages_read(const json_t *list, serve_messages *out);

/* The template that --chat-template or --chat-template-file name, else the file's own. CLI_DONE or the exit status, with a message. */
int cli_chat_template(const cli_args *args, const smt_file *file, const smt_tokenizer *tokenizer, smt_chat_template **out);
/* --chat-template-kwargs, a JSON object (serve_spread_thinking), the caller's (free); NULL: not given. CLI_DONE or the exit status, with a
 * message. */
int cli_chat_variables(const cli_args *args, char **out);

/* ---- progress.c ---- */

/* A bar on stderr while it is a terminal, else a line now and then; returns false (cancel) once the user interrupts. */
bool cli_progress(void *user, smt_stage stage, uint64_t done, uint64_t total);
/* A line of words in the place of the bar; evaluation then draws no bar of its own. */
SYSTEM_PRINTF(1, 2)
void cli_progress_note(const char *format, ...);
/* What stands behind the bar from now on; borrowed. */
void cli_progress_label(const char *text);
/* Takes the bar away: call before writing to the terminal. */
void cli_progress_clear(void);

/* ---- support.c ---- */

/* Prints the library's message as the failure of this command and returns CLI_FAILED. */
int cli_fail_library(smt_status status, const smt_error *err);
/* The same for calls that choose a device: CLI_WRONG where the user's words match no device or several. */
int cli_fail_device(const cli_args *args, smt_status status, const smt_error *err);
/* Fills the options that every Vulkan-using call shares; the strings live as long as the process. */
void cli_device_options(const cli_args *args, smt_device_options *options);
/* What -ts says: points into `where`. */
typedef struct cli_placement cli_placement;
void cli_device_shares(const cli_placement *where, smt_device_options *options);
/* The devices that an engine computes on, "A, B", cut to `capacity`; returns text. */
const char *cli_device_names(const smt_engine *engine, char *text, size_t capacity);
/* The file to work with: -m, else the small model that comes with seamount; NULL where neither is there. */
const char *cli_model(const cli_args *args);
/* False with a message (exit status 2) when there is none. */
bool cli_need_model(const cli_args *args);

/* A notice on stderr where the file does not say how its vocabulary splits texts. */
void cli_notice_vocabulary(const smt_file *file);

/* Interrupts (Ctrl-C, termination) set a flag and cancel `runner` (NULL: none yet, or no more); a second one ends the process
 * at once, with exit status 1. */
void cli_watch_interrupts(smt_runner *runner);
bool cli_interrupted(void);
/* For a command that goes on after Ctrl-C: no number of them ends the process any more; each stays until it is forgotten. A
 * request to end (SIGTERM) cannot be forgotten. */
void cli_outlive_interrupts(void);
void cli_forget_interrupt(void);

/* What commands that compute need: the model on its device, and one session. */
typedef struct cli_engine {
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
} cli_engine;
/* CLI_DONE or the exit status, with a message. cli_engine_close accepts whatever was made. n_prompt: tokens that will be evaluated
 * together, at most, so that their kernels compile while the weights load; 0: not known. */
int cli_engine_load(const cli_args *args, size_t n_prompt, cli_engine *out);
smt_runner_options cli_runner_options(const cli_args *args, uint32_t n_ctx);
int cli_engine_start(const cli_args *args, cli_engine *engine, uint32_t n_ctx);
void cli_engine_close(cli_engine *engine);

double cli_seconds(void); /* monotonic */

/* Room for `need` elements in a growing array; false with a message. */
bool cli_reserve(void **array, size_t *capacity, size_t need, size_t size);
int cli_no_memory(void);

/* ---- machine.c ---- */

typedef struct cli_machine {
    smt_machine_device *devices; /* [n_devices], owned; their strings belong to what follows */
    uint32_t n_devices;
    json_t *document;      /* owned */
    smt_device_list *list; /* owned */
} cli_machine;
/* The devices of --machine, or of this machine, GPUs measured. CLI_DONE or the exit status, with a message; free it in either case. */
int cli_machine_read(const cli_args *args, cli_machine *out);
void cli_machine_free(cli_machine *machine);

/* ---- placement.c ---- */

struct cli_placement {
    smt_placement_options options; /* points into what follows: do not copy */
    smt_runner_options runner;
    smt_heap_budget *budgets; /* this and what follows: owned */
    char **texts;             /* ends with NULL */
    float *expert_weights;
    double shares[16]; /* [n_shares], of the layers, for each device of -dev */
    uint32_t n_shares;
};
/* What -ts, --budget, --profile, -ngl, -ncmoe, -c and -ctk say. CLI_DONE or the exit status, with a message; free it in either case. */
int cli_placement_read(const cli_args *args, cli_placement *out);
/* Has the slots of a placement serve the trace of --profile, where there is one. */
int cli_placement_replay(const cli_args *args, smt_placement *placement);
void cli_placement_free(cli_placement *placement);

/* ---- sampling.c ---- */

typedef struct cli_biases {
    smt_logit_bias *at; /* owned; free() it */
    size_t count, capacity;
} cli_biases;
/* What --logit-bias says: before anything is loaded, since it may be wrong. CLI_DONE or the exit status, with a message. */
int cli_read_biases(const cli_args *args, cli_biases *out);
/* What the options say, without a seed and biases. */
smt_sampler_options cli_sampler_options(const cli_args *args);
/* The sampler that the options describe, for a model of n_vocab tokens; the bans of --ignore-eos join `biases`. */
int cli_make_sampler(const cli_args *args, const smt_tokenizer *tokenizer, uint32_t n_vocab, cli_biases *biases,
                     smt_sampler **out);

/* ---- prompt.c ---- */

/* The text of -p or -f, NUL-terminated; *out is freed by the caller. CLI_DONE or the exit status, with a message. */
int cli_read_prompt(const cli_args *args, char **out, size_t *out_bytes);
/* -c, or what prompt and answer need where that is more than the default, within what the model was trained for. */
uint32_t cli_choose_context(const cli_args *args, const smt_model_info *model, size_t n_prompt);

/* ---- generate.c: what run and chat share: the prompt, the answer token by token, where it stops ---- */

typedef enum cli_stop { CLI_STOP_EOS, CLI_STOP_LENGTH, CLI_STOP_TEXT, CLI_STOP_INTERRUPT } cli_stop;

typedef struct cli_expert_use {
    uint64_t *counts; /* owned, [n_experts]; NULL: nothing is counted */
    uint32_t n_experts;
    size_t n_ids; /* of one token */
} cli_expert_use;
/* experts.c. False without memory. */
bool cli_expert_use_begin(const smt_model_info *model, cli_expert_use *use);
/* smt_generated's ids, [MoE layers, n_tokens, experts used]; NULL: none. */
void cli_expert_use_add(cli_expert_use *use, const int32_t *ids, size_t n_tokens);
void cli_expert_use_print(const cli_expert_use *use); /* one line on stderr */
json_t *cli_expert_use_json(const cli_expert_use *use);
void cli_expert_use_end(cli_expert_use *use);

/* recorder.c: a routing trace of all that a generator evaluates. CLI_DONE or the exit status, with a message. */
typedef struct cli_recorder {
    smt_observer *observer; /* owned */
    smt_trace_writer *writer;
    uint64_t n_tokens; /* written */
} cli_recorder;
typedef struct cli_generator cli_generator;
/* Between cli_generator_start and the first evaluation, which has n_prompt tokens at most. cli_recorder_end in either case, before the
 * generator is closed. */
int cli_recorder_begin(cli_generator *g, cli_recorder *recorder, const char *path, size_t n_prompt);
int cli_recorder_take(cli_recorder *recorder); /* what was evaluated since the last time */
int cli_recorder_commit(cli_recorder *recorder);
void cli_recorder_end(cli_recorder *recorder);
/* trace_report.c */
int cli_trace_report(const char *path, bool json);

/* ---- grammar.c ---- */

/* What --grammar, --json-schema and their files ask for. Zeroed: nothing does. */
typedef struct cli_grammar {
    smt_grammar *grammar;     /* these: owned; NULL: any text */
    smt_grammar_state *state; /* of the answer under way */
} cli_grammar;
/* CLI_DONE or the exit status, with a message; cli_grammar_close accepts what a failure leaves behind. */
int cli_grammar_load(const cli_args *args, const smt_tokenizer *tokenizer, cli_grammar *out);
void cli_grammar_close(cli_grammar *g);
int cli_grammar_begin(cli_grammar *g);           /* a new answer */
bool cli_grammar_complete(const cli_grammar *g); /* nothing can follow the answer's last token but its end */

struct cli_generator {
    const cli_args *args; /* borrowed */
    cli_engine engine;    /* this and what follows: owned */
    smt_model_info model;
    smt_tokenizer *tokenizer;
    smt_sampler *sampler;
    cli_biases biases;
    cli_grammar grammar;
    int32_t *tokens; /* [n_tokens]: prompt, then answer; the session holds a beginning of them */
    size_t n_tokens, capacity;
    uint32_t n_ctx;
    cli_expert_use expert_use;     /* with --expert-use, over all generations */
    cli_recorder *recorder;        /* borrowed; NULL: nobody records */
    const smt_chat_template *chat; /* borrowed: what ends an answer besides; NULL: a plain text is continued */
    const char **stops;            /* [n_stops]: stop strings */
    uint32_t n_stops;
    double load_s;
    /* Of the last generation: */
    size_t n_prompt, n_reused; /* prompt tokens, and how many of them the session still held */
    cli_stop stop;
    char *text, *thought; /* [text_bytes], [thought_bytes]: the answer, and of a chat's what was thought before */
    size_t text_bytes, text_capacity, thought_bytes, thought_capacity;
    json_t *logprobs; /* with --logprobs: one object for each answer token */
    size_t n_steps;   /* tokens drawn, an end token among them */
    double first_token_s, decode_s;
};

/* In this order; each CLI_DONE or the exit status, with a message. n_ctx as smt_runner_options has it. cli_generator_close accepts
 * a generator at any stage, zeroed too. n_prompt: see cli_engine_load. */
int cli_generator_load(const cli_args *args, size_t n_prompt, cli_generator *g);
int cli_generator_start(cli_generator *g, uint32_t n_ctx);
/* From here on answers are turns of a chat: the template's stops hold, and an answer has no blank in front. */
int cli_generator_set_chat(cli_generator *g, const smt_chat_template *chat);
void cli_generator_close(cli_generator *g);

/* Answers `prompt` with `most` tokens at most (-1: as many as the context holds); tokens that the session holds already are not
 * evaluated again. The text goes to stdout as it becomes certain, but for --json. An interrupt is an end like others (g->stop):
 * what was generated until then stays. */
int cli_generate(cli_generator *g, const int32_t *prompt, size_t n_prompt, int64_t most);
/* Tokens a second of the last generation; 0 where nothing was measured. */
double cli_prefill_speed(const cli_generator *g);
double cli_decode_speed(const cli_generator *g);
/* What -v wants to know of an answer: on stderr. */
void cli_print_timings(const cli_generator *g);

/* ---- speech.c: an answer as text, on stdout (but for --json) and in its generator ---- */

typedef struct cli_speech {
    cli_generator *generator; /* borrowed */
    smt_text_stream *spoken;  /* owned, as is the next: what the tokens say */
    smt_text_stream *stream;  /* what of that is answer, up to a stop string */
    serve_thoughts thoughts;  /* between the two */
    bool thinks;              /* a thought stands on stdout, and its end does not */
} cli_speech;
/* When the generator has its prompt; CLI_DONE or the exit status, with a message, as all of them. cli_speech_end in either case. */
int cli_speech_begin(cli_generator *g, cli_speech *s);
int cli_speech_take(cli_speech *s, int32_t token);
int cli_speech_rest(cli_speech *s); /* what was held back: the answer ends here */
void cli_speech_end(cli_speech *s);

/* ---- manual pages (manual.c) ---- */

/* Writes seamount.1 and seamount-COMMAND.1 into an existing folder. An exit status, with a message. */
int cli_write_manual(const char *folder);

#endif
