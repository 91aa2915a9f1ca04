/* args.h: the command line as data: one table of commands, one table of options, one parser.
 *
 * Rules
 *   - Options may stand before or after the command and the positional arguments: `--name value`, `--name=value`, `-short value`.
 *     An option always takes the next word, even one that begins with '-'; "--" ends the options.
 *   - Every option has an environment mirror: SEAMOUNT_ and the long name in capitals (--ctx-size: SEAMOUNT_CTX_SIZE; flags take
 *     1 or 0). It counts for the commands that have the option; the command line goes before it. This is the only place of the
 *     project that reads the environment, apart from XDG_CACHE_HOME, XDG_STATE_HOME and HOME for the
 *     user's folders.
 *   - Whatever is wrong is one line on stderr that names the word, and exit status 2. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "system.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit statuses of the program. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_WRONG = 2 };

typedef enum cli_command {
    CMD_RUN,
    CMD_CHAT,
    CMD_EVAL,
    CMD_PERPLEXITY,
    CMD_BENCH,
    CMD_TOKENIZE,
    CMD_DETOKENIZE,
    CMD_TEMPLATE,
    CMD_DEVICES,
    CMD_PLAN,
    CMD_INSPECT,
    CMD_KERNELS,
    CMD_QUANTIZE,
    CMD_CONVERT,
    CMD_SERVE,
    CMD_TRACE,
    CMD_COUNT
} cli_command;

typedef enum cli_option {
    OPT_MODEL,
    OPT_PROMPT,
    OPT_FILE,
    OPT_SUFFIX,
    OPT_PREDICT,
    OPT_IGNORE_EOS,
    OPT_CTX_SIZE,
    OPT_N_PROMPT,
    OPT_N_GEN,
    OPT_N_DEPTH,
    OPT_REPETITIONS,
    OPT_DRAW_ON_HOST,
    OPT_OUTPUT,
    OPT_SEED,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPEAT_PENALTY,
    OPT_PRESENCE_PENALTY,
    OPT_FREQUENCY_PENALTY,
    OPT_REPEAT_LAST_N,
    OPT_LOGIT_BIAS,
    OPT_LOGPROBS,
    OPT_EXPERT_USE,
    OPT_STOP,
    OPT_GRAMMAR,
    OPT_GRAMMAR_FILE,
    OPT_JSON_SCHEMA,
    OPT_JSON_SCHEMA_FILE,
    OPT_SYSTEM,
    OPT_STRIDE,
    OPT_SECOND_HALF,
    OPT_TOKENS,
    OPT_TOKENS_FILE,
    OPT_POSITIONS,
    OPT_LOGITS,
    OPT_ROUTING,
    OPT_HIDDEN,
    OPT_BOS,
    OPT_SPECIAL,
    OPT_MESSAGES,
    OPT_NO_GENERATION_PROMPT,
    OPT_CHAT_TEMPLATE,
    OPT_CHAT_TEMPLATE_FILE,
    OPT_CHAT_TEMPLATE_KWARGS,
    OPT_HOST,
    OPT_PORT,
    OPT_PARALLEL,
    OPT_BATCH_SIZE,
    OPT_ALIAS,
    OPT_API_KEY,
    OPT_API_KEY_FILE,
    OPT_ALLOW_HOST,
    OPT_CORS,
    OPT_TIMEOUT,
    OPT_MAX_CONNECTIONS,
    OPT_MAX_BODY,
    OPT_MAX_HEADERS,
    OPT_MAX_DEPTH,
    OPT_NO_SLOTS,
    OPT_NO_METRICS,
    OPT_REASONING_FORMAT,
    OPT_ALL,
    OPT_DEVICE,
    OPT_MACHINE,
    OPT_TENSOR_SPLIT,
    OPT_SPLIT_MODE,
    OPT_GPU_LAYERS,
    OPT_CPU_MOE,
    OPT_BUDGET,
    OPT_PROFILE,
    OPT_EXPERT_CACHE,
    OPT_CACHE_TYPE,
    OPT_PRECISION,
    OPT_NO_COOPMAT,
    OPT_NO_EXTERNAL_MEMORY,
    OPT_CACHE_DIR,
    OPT_SHADER_DIR,
    OPT_MINIMUM,
    OPT_SELF_TEST,
    OPT_NO_SELF_TEST,
    OPT_KERNELS,
    OPT_VALIDATION,
    OPT_TENSOR_TYPE,
    OPT_OUTPUT_TENSOR_TYPE,
    OPT_TOKEN_EMBEDDING_TYPE,
    OPT_IMATRIX,
    OPT_PURE,
    OPT_ALLOW_REQUANTIZE,
    OPT_TYPE,
    OPT_NAME,
    OPT_PRETOKENIZER,
    OPT_VOCAB_ONLY,
    OPT_DRY_RUN,
    OPT_OUT,
    OPT_THREADS,
    OPT_JSON,
    OPT_VERBOSE,
    OPT_COUNT
} cli_option;

typedef enum cli_source { FROM_NOWHERE, FROM_ENVIRONMENT, FROM_COMMAND_LINE } cli_source;

typedef struct cli_value {
    cli_source source;
    const char *text;  /* as given, the last one where it may be repeated; NULL for flags and when not given */
    const char **list; /* [n_list], owned: all texts of an option that may be repeated, in order; the environment gives one */
    uint32_t n_list;
    int64_t integer; /* integers, flags (0 or 1), and the default where none is given */
    double real;
} cli_value;

#define CLI_MAX_POSITIONAL 3

typedef struct cli_args {
    cli_command command;
    cli_value values[OPT_COUNT];
    const char *positional[CLI_MAX_POSITIONAL]; /* what is not there is NULL */
} cli_args;

typedef struct cli_command_row {
    const char *name, *usage, *summary;
    int n_positional; /* arguments at most */
    int (*run)(const cli_args *args);
} cli_command_row;
extern const cli_command_row cli_commands[CMD_COUNT]; /* main.c */

/* A row of the option table, as help and manual pages show it. */
typedef struct cli_option_text {
    const char *short_name, *name, *value, *help; /* name without dashes; short_name and value may be NULL */
    char standard[32];                            /* the default, "" where the help names it or there is none */
} cli_option_text;
/* False: not an option of this command. */
bool cli_option_describe(cli_command command, cli_option option, cli_option_text *out);

/* Fills *args, or deals with the whole call (help, version, anything wrong): then returns false and *exit_status says how. */
bool cli_args_parse(int argc, char **argv, cli_args *args, int *exit_status);
void cli_args_free(cli_args *args); /* also after a parse that has failed */

static inline bool cli_given(const cli_args *args, cli_option option) { return args->values[option].source != FROM_NOWHERE; }
static inline const char *cli_text(const cli_args *args, cli_option option) { return args->values[option].text; }
static inline int64_t cli_int(const cli_args *args, cli_option option) { return args->values[option].integer; }
static inline double cli_real(const cli_args *args, cli_option option) { return args->values[option].real; }
static inline bool cli_flag(const cli_args *args, cli_option option) { return args->values[option].integer != 0; }

/* Settles two options that exclude each other: what the command line says beats the environment. False (with a message) when
 * both come from the same source; *out is the one that holds, or OPT_COUNT when neither is given. */
bool cli_either(const cli_args *args, cli_option a, cli_option b, cli_option *out);

/* "seamount COMMAND: " and the formatted line on stderr; returns `status`, so that `return cli_fail(...)` is the idiom. Control
 * characters become blanks: the line stays one line. */
SYSTEM_PRINTF(2, 3)
int cli_fail(int status, const char *format, ...);

#endif
