/* args.c: the table of options and the parser over it (rules in args.h).
 *
 * Parsing goes over the words twice. The first round only finds the command, which needs nothing but to know which options take
 * a value. The second knows the command and so the options that belong to it: a short name may mean different things to different
 * commands, but either all of them take a value or none does. */
#include "args.h"
#include "seamount.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum value_kind { FLAG, TEXT, LISTED, INTEGER, REAL, SEED, CACHE_TYPE, PRECISION, FAMILY, SPLIT_MODE } value_kind;

typedef struct option_row {
    const char *short_name, *name; /* name without the dashes */
    value_kind kind;
    double low, high, standard; /* bounds and default of numbers */
    unsigned commands;          /* bits 1 << CMD_... */
    const char *value, *help;
} option_row;

enum {
    RUN = 1 << CMD_RUN,
    CHAT = 1 << CMD_CHAT,
    SERVE = 1 << CMD_SERVE,
    TRACE = 1 << CMD_TRACE,
    TALKS = RUN | CHAT | TRACE,
    SAMPLES = TALKS | SERVE,
    EVAL = 1 << CMD_EVAL,
    PERPLEXITY = 1 << CMD_PERPLEXITY,
    TOKENS = 1 << CMD_TOKENIZE | 1 << CMD_DETOKENIZE,
    TEMPLATE = 1 << CMD_TEMPLATE,
    DEVICES = 1 << CMD_DEVICES,
    PLAN = 1 << CMD_PLAN,
    INSPECT = 1 << CMD_INSPECT,
    KERNELS = 1 << CMD_KERNELS,
    BENCH = 1 << CMD_BENCH,
    QUANTIZE = 1 << CMD_QUANTIZE,
    CONVERT = 1 << CMD_CONVERT,
    COMPUTES = SAMPLES | EVAL | PERPLEXITY | BENCH,
    PLACES = COMPUTES | PLAN,
    VULKAN = COMPUTES | DEVICES | KERNELS | PLAN,
    EVERY = VULKAN | TOKENS | TEMPLATE | INSPECT | QUANTIZE | CONVERT
};

static const option_row options[] = {
    [OPT_MODEL] = {"-m", "model", TEXT, 0, 0, 0, PLACES | TOKENS | TEMPLATE | KERNELS, "FILE",
                   "the model, a GGUF file; default: the small one that comes with seamount"},
    [OPT_PROMPT] = {"-p", "prompt", TEXT, 0, 0, 0, RUN | TRACE, "TEXT", "the text to continue"},
    [OPT_FILE] = {"-f", "file", TEXT, 0, 0, 0, RUN | TRACE | PERPLEXITY, "FILE",
                  "read the text from a file, - for standard input"},
    [OPT_SUFFIX] = {NULL, "suffix", TEXT, 0, 0, 0, RUN, "TEXT", "what comes after: the model fills in between it and -p or -f"},
    [OPT_PREDICT] =
        {"-n", "n-predict", INTEGER, -1, INT32_MAX, 128, SAMPLES, "N",
         "tokens to generate at most; -1: to the end token or the end of the context; default: run 128, chat and serve -1"},
    [OPT_IGNORE_EOS] = {NULL, "ignore-eos", FLAG, 0, 0, 0, TALKS, NULL, "never choose an end token"},
    [OPT_CTX_SIZE] = {"-c", "ctx-size", INTEGER, 0, INT32_MAX, 0, PLACES, "N",
                      "positions the cache holds (serve: of each slot); 0: what the call needs, perplexity: 512, plan: 4096, "
                      "others: at least 4096 or the model's own"},
    [OPT_N_PROMPT] = {"-p", "n-prompt", TEXT, 0, 0, 0, BENCH, "LIST",
                      "lengths of prompts, separated by commas, each a test; 0: none; default: 512"},
    [OPT_N_GEN] = {"-n", "n-gen", TEXT, 0, 0, 0, BENCH, "LIST",
                   "numbers of tokens generated one by one, each a test; 0: none; default: 32"},
    [OPT_N_DEPTH] = {"-d", "n-depth", TEXT, 0, 0, 0, BENCH, "LIST",
                     "tokens that the context holds before; every test is made at each; default: 0"},
    [OPT_REPETITIONS] = {"-r", "repetitions", INTEGER, 1, 1000, 3, BENCH, "N", "of each test"},
    [OPT_DRAW_ON_HOST] = {NULL, "draw-on-host", FLAG, 0, 0, 0, RUN | CHAT | BENCH, NULL,
                          "choose tokens on the host, step by step, and not on the device: for comparisons"},
    [OPT_OUTPUT] = {"-o", "output", TEXT, 0, 0, 0, BENCH, "FORMAT", "md (default), csv or json"},
    [OPT_SEED] = {"-s", "seed", SEED, 0, 0, -1, TALKS, "N", "of the random choice; -1: a new one each time (-v prints it)"},
    [OPT_TEMP] = {NULL, "temp", REAL, 0, 1e6, 0.8, SAMPLES, "T", "temperature; 0: always the likeliest token"},
    [OPT_TOP_K] = {NULL, "top-k", INTEGER, 0, INT32_MAX, 40, SAMPLES, "K", "choose among the K likeliest; 0: off"},
    [OPT_TOP_P] = {NULL, "top-p", REAL, 0, 1, 0.95, SAMPLES, "P", "choose among the likeliest that together reach P; 1: off"},
    [OPT_MIN_P] = {NULL, "min-p", REAL, 0, 1, 0.05, SAMPLES, "P",
                   "leave out what is less likely than P times the likeliest; 0: off"},
    [OPT_REPEAT_PENALTY] = {NULL, "repeat-penalty", REAL, 0, 1e6, 1, SAMPLES, "R",
                            "weaken the last tokens by the factor R; 1: off"},
    [OPT_PRESENCE_PENALTY] = {NULL, "presence-penalty", REAL, -1e6, 1e6, 0, SAMPLES, "P",
                              "take P from the logits of the last tokens"},
    [OPT_FREQUENCY_PENALTY] = {NULL, "frequency-penalty", REAL, -1e6, 1e6, 0, SAMPLES, "F",
                               "the same with F for each time that a token is there"},
    [OPT_REPEAT_LAST_N] = {NULL, "repeat-last-n", INTEGER, -1, INT32_MAX, 64, SAMPLES, "N",
                           "how many last tokens the penalties look at, the prompt included; -1: all, 0: none"},
    [OPT_LOGIT_BIAS] = {NULL, "logit-bias", LISTED, 0, 0, 0, TALKS, "ID+BIAS",
                        "add to the logit of a token, or take from it: ID-BIAS; ID-inf bans it; may be repeated"},
    [OPT_LOGPROBS] = {NULL, "logprobs", INTEGER, 0, 1000, 0, RUN, "N",
                      "with --json: log-probability of each token, and of the N likeliest"},
    [OPT_EXPERT_USE] = {NULL, "expert-use", FLAG, 0, 0, 0, RUN, NULL, "how often each expert was chosen, as bars"},
    [OPT_STOP] = {"-r", "stop", LISTED, 0, 0, 0, TALKS, "TEXT", "end in front of this text; may be repeated"},
    [OPT_GRAMMAR] = {NULL, "grammar", TEXT, 0, 0, 0, TALKS, "TEXT", "the answer follows this grammar (GBNF)"},
    [OPT_GRAMMAR_FILE] = {NULL, "grammar-file", TEXT, 0, 0, 0, TALKS, "FILE", "the same, read from a file"},
    [OPT_JSON_SCHEMA] = {"-j", "json-schema", TEXT, 0, 0, 0, TALKS, "TEXT",
                         "the answer is JSON that this schema allows; {}: any value"},
    [OPT_JSON_SCHEMA_FILE] = {"-jf", "json-schema-file", TEXT, 0, 0, 0, TALKS, "FILE", "the same, read from a file"},
    [OPT_SYSTEM] = {NULL, "system", TEXT, 0, 0, 0, CHAT, "TEXT", "the system message"},
    [OPT_STRIDE] = {NULL, "stride", INTEGER, 0, INT32_MAX, 0, PERPLEXITY, "N",
                    "tokens from one window to the next; 0: as many as a window predicts"},
    [OPT_SECOND_HALF] = {NULL, "second-half", FLAG, 0, 0, 0, PERPLEXITY, NULL,
                         "count only the second half of each whole window, as llama.cpp does"},
    [OPT_TOKENS] = {NULL, "tokens", TEXT, 0, 0, 0, EVAL, "LIST", "token ids, separated by commas or blanks"},
    [OPT_TOKENS_FILE] = {NULL, "tokens-file", TEXT, 0, 0, 0, EVAL, "FILE", "read the token ids from a file"},
    [OPT_POSITIONS] = {NULL, "positions", TEXT, 0, 0, 0, EVAL, "LIST", "rotary positions: the first, or one for each token"},
    [OPT_LOGITS] = {NULL, "logits", TEXT, 0, 0, 0, EVAL, "OUT", "write float32 [n_tokens, n_vocab]"},
    [OPT_ROUTING] = {NULL, "routing", TEXT, 0, 0, 0, EVAL, "OUT", "write the experts chosen, as JSON"},
    [OPT_HIDDEN] = {NULL, "hidden", TEXT, 0, 0, 0, EVAL, "OUT", "write float32 [n_layers + 2, n_tokens, n_embd]"},
    [OPT_BOS] = {NULL, "bos", FLAG, 0, 0, 0, 1 << CMD_TOKENIZE, NULL, "put the beginning token in front, as the model asks"},
    [OPT_SPECIAL] = {NULL, "special", FLAG, 0, 0, 0, RUN | TRACE | 1 << CMD_TOKENIZE, NULL,
                     "recognise special tokens in the text"},
    [OPT_MESSAGES] = {NULL, "messages", TEXT, 0, 0, 0, TEMPLATE, "FILE",
                      "JSON: a list of messages, or a chat request with one; - for standard input"},
    [OPT_NO_GENERATION_PROMPT] = {NULL, "no-generation-prompt", FLAG, 0, 0, 0, TEMPLATE, NULL,
                                  "end after the last message, not where the answer begins"},
    [OPT_CHAT_TEMPLATE] = {NULL, "chat-template", TEXT, 0, 0, 0, CHAT | SERVE | TEMPLATE, "NAME",
                           "instead of the file's: one we know (deepseek2), a variant in the file, or the template itself"},
    [OPT_CHAT_TEMPLATE_FILE] = {NULL, "chat-template-file", TEXT, 0, 0, 0, CHAT | SERVE | TEMPLATE, "FILE",
                                "read the template from a file"},
    [OPT_CHAT_TEMPLATE_KWARGS] =
        {NULL, "chat-template-kwargs", TEXT, 0, 0, 0, CHAT | SERVE, "JSON",
         "variables for the template, such as {\"thinking\": true}; serve: where requests do not set them"},
    [OPT_HOST] = {NULL, "host", TEXT, 0, 0, 0, SERVE, "NAME", "the address to listen at; default: 127.0.0.1, this machine alone"},
    [OPT_PORT] = {NULL, "port", INTEGER, 0, 65535, 8080, SERVE, "N", "the port; 0: one that is free (stdout has it)"},
    [OPT_PARALLEL] = {"-np", "parallel", INTEGER, 1, 1024, 4, SERVE, "N", "slots: answers that are written at the same time"},
    [OPT_BATCH_SIZE] = {"-b", "batch-size", INTEGER, 0, 65536, 0, SERVE, "N", "tokens of one step, at most; 0: 512"},
    [OPT_ALIAS] = {NULL, "alias", TEXT, 0, 0, 0, SERVE, "NAME", "the model's name for clients; default: that of its file"},
    [OPT_API_KEY] = {NULL, "api-key", LISTED, 0, 0, 0, SERVE, "KEY",
                     "serve only who sends this key; may be repeated (others see the command line: prefer the environment)"},
    [OPT_API_KEY_FILE] = {NULL, "api-key-file", TEXT, 0, 0, 0, SERVE, "FILE", "the same with the keys of a file, one a line"},
    [OPT_ALLOW_HOST] =
        {NULL, "allow-host", LISTED, 0, 0, 0, SERVE, "NAME",
         "a name that the server may be called by, as behind a proxy (* for any; may be repeated); at the loopback it knows "
         "itself by addresses, localhost and --host only, so that no page of another name reaches it"},
    [OPT_CORS] = {NULL, "cors", TEXT, 0, 0, 0, SERVE, "ORIGIN", "let pages of this origin call; * for all; default: none"},
    [OPT_TIMEOUT] = {NULL, "timeout", INTEGER, 1, 86400, 60, SERVE, "S",
                     "seconds in which a request has to be whole, and its client to take what it is sent"},
    [OPT_MAX_CONNECTIONS] = {NULL, "max-connections", INTEGER, 1, 4096, 64, SERVE, "N", "connections at the same time"},
    [OPT_MAX_BODY] = {NULL, "max-body", INTEGER, 1, 1 << 30, 8 << 20, SERVE, "BYTES", "of a request"},
    [OPT_MAX_HEADERS] = {NULL, "max-headers", INTEGER, 4096, 1 << 20, 32768, SERVE, "BYTES", "memory for a request's headers"},
    [OPT_MAX_DEPTH] = {NULL, "max-depth", INTEGER, 1, 512, 64, SERVE, "N", "levels of brackets in a request's JSON"},
    [OPT_NO_SLOTS] = {NULL, "no-slots", FLAG, 0, 0, 0, SERVE, NULL, "do not show slots"},
    [OPT_NO_METRICS] = {NULL, "no-metrics", FLAG, 0, 0, 0, SERVE, NULL, "do not show counters"},
    [OPT_REASONING_FORMAT] =
        {NULL, "reasoning-format", TEXT, 0, 0, 0, SERVE, "WHICH",
         "what a model thinks before it answers a chat: deepseek (as reasoning_content, apart from content), none (in "
         "content, as it is), auto (default: deepseek where the template or the vocabulary knows thoughts)"},
    [OPT_ALL] = {NULL, "all", FLAG, 0, 0, 0, KERNELS, NULL, "every kernel of the catalogue, whatever the model"},
    [OPT_DEVICE] = {"-dev", "device", TEXT, 0, 0, 0, VULKAN, "LIST",
                    "by id (vk0), start of the UUID, or part of the name; several share the layers in this order"},
    [OPT_MACHINE] = {NULL, "machine", TEXT, 0, 0, 0, PLAN, "FILE",
                     "plan for the devices that this file describes, as `devices --json` writes them; - for standard input"},
    [OPT_TENSOR_SPLIT] =
        {"-ts", "tensor-split", TEXT, 0, 0, 0, PLACES, "LIST",
         "shares of the layers, or with -sm expert of the experts, for the devices of -dev, such as 3,1; default: by speed "
         "and memory"},
    [OPT_SPLIT_MODE] = {"-sm", "split-mode", SPLIT_MODE, 0, 0, SMT_SPLIT_LAYER, PLACES, "WHAT",
                        "what several devices share: layer (default), or expert: those of every layer, all else on the first"},
    [OPT_GPU_LAYERS] =
        {"-ngl", "n-gpu-layers", INTEGER, -1, INT32_MAX, -1, PLACES, "N",
         "layers in device memory, the last ones; the matrices of the others are read from host memory; -1: all (default)"},
    [OPT_CPU_MOE] = {"-ncmoe", "n-cpu-moe", INTEGER, 0, INT32_MAX, 0, PLACES, "N",
                     "the experts of the first N layers are read from host memory"},
    [OPT_BUDGET] =
        {NULL, "budget", LISTED, 0, 0, 0, PLACES, "DEV:HEAP=BYTES",
         "use so much of a heap (vk0:0=8G; host:0 is host memory), and host memory for experts beyond it; may be repeated"},
    [OPT_PROFILE] = {NULL, "profile", TEXT, 0, 0, 0, PLACES, "TRACE",
                     "a routing trace of this model: the experts that it uses least leave device memory first"},
    [OPT_EXPERT_CACHE] =
        {NULL, "expert-cache", TEXT, 0, 0, 0, PLACES, "BYTES",
         "device memory (2G) for experts that have no place in it: those in use are copied there; with it, experts that "
         "host memory has no room for stay in the file"},
    [OPT_CACHE_TYPE] = {"-ctk", "cache-type-k", CACHE_TYPE, 0, 0, 0, PLACES, "TYPE",
                        "element of the cache: f16 (default) or f32"},
    [OPT_PRECISION] =
        {NULL, "precision", PRECISION, 0, 0, SMT_PRECISION_AUTO, COMPUTES, "WHICH",
         "arithmetic: exact, or fast (activations of eight bits; with --kernels wave, which it implies); default: fast where "
         "the device accelerates it, but for eval and perplexity"},
    [OPT_NO_COOPMAT] = {NULL, "no-coopmat", FLAG, 0, 0, 0, COMPUTES, NULL,
                        "no cooperative matrices in fast precision, where the device has them"},
    [OPT_NO_EXTERNAL_MEMORY] =
        {NULL, "no-external-memory", FLAG, 0, 0, 0, PLACES, NULL,
         "a device that is named twice: activations go from one to the other by the host's hands, not through memory of both"},
    [OPT_CACHE_DIR] = {NULL, "cache-dir", TEXT, 0, 0, 0, VULKAN, "DIR",
                       "compiled kernels are kept here; default: seamount in the user's cache folder; empty: nowhere"},
    [OPT_SHADER_DIR] = {NULL, "shader-dir", TEXT, 0, 0, 0, VULKAN, "DIR", "read shaders from here, not from the program"},
    [OPT_MINIMUM] = {NULL, "minimum", FLAG, 0, 0, 0, VULKAN, NULL, "use no optional feature of the device"},
    [OPT_SELF_TEST] =
        {NULL, "self-test", FLAG, 0, 0, 0, COMPUTES | KERNELS, NULL,
         "compare what every kernel gives with the same in plain C; without it, what --cache-dir knows to be right is not "
         "tested again, and kernels tests nothing"},
    [OPT_NO_SELF_TEST] = {NULL, "no-self-test", FLAG, 0, 0, 0, COMPUTES, NULL, "never do that"},
    [OPT_KERNELS] = {NULL, "kernels", FAMILY, 0, 0, 0, VULKAN, "FAMILY",
                     "matrix kernels: rows (made for processors) or wave (for GPUs); default: as the device is"},
    [OPT_VALIDATION] = {NULL, "validation", FLAG, 0, 0, 0, VULKAN, NULL, "load the Vulkan validation layer where installed"},
    [OPT_TENSOR_TYPE] = {NULL, "tensor-type", LISTED, 0, 0, 0, QUANTIZE, "PATTERN=TYPE",
                         "the type of tensors whose name holds this regular expression; may be given several times"},
    [OPT_OUTPUT_TENSOR_TYPE] = {NULL, "output-tensor-type", TEXT, 0, 0, 0, QUANTIZE, "TYPE", "the type of output.weight"},
    [OPT_TOKEN_EMBEDDING_TYPE] = {NULL, "token-embedding-type", TEXT, 0, 0, 0, QUANTIZE, "TYPE", "the type of token_embd.weight"},
    [OPT_IMATRIX] = {NULL, "imatrix", TEXT, 0, 0, 0, QUANTIZE, "FILE", "importance of columns, as llama.cpp writes it"},
    [OPT_PURE] = {NULL, "pure", FLAG, 0, 0, 0, QUANTIZE, NULL, "one type for every matrix"},
    [OPT_ALLOW_REQUANTIZE] = {NULL, "allow-requantize", FLAG, 0, 0, 0, QUANTIZE, NULL, "take tensors that are quantised already"},
    [OPT_TYPE] = {NULL, "type", TEXT, 0, 0, 0, CONVERT, "TYPE",
                  "of the matrices: bf16, f16, f32, q8_0, q4_k_m, ...; default: 16 or 32 bits, as the checkpoint has them"},
    [OPT_NAME] = {NULL, "name", TEXT, 0, 0, 0, CONVERT, "NAME", "the model's name in the file; default: the folder's"},
    [OPT_PRETOKENIZER] = {NULL, "pre", TEXT, 0, 0, 0, CONVERT, "NAME",
                          "the pre-tokenizer, where it is not recognised: deepseek-llm, deepseek-coder, deepseek-v3, llama-bpe"},
    [OPT_VOCAB_ONLY] = {NULL, "vocab-only", FLAG, 0, 0, 0, CONVERT, NULL, "a file with the vocabulary and no tensors"},
    [OPT_DRY_RUN] = {NULL, "dry-run", FLAG, 0, 0, 0, QUANTIZE | CONVERT, NULL, "say what would be written, and write nothing"},
    [OPT_OUT] = {"-o", "out", TEXT, 0, 0, 0, TRACE, "FILE", "record: the trace to write"},
    [OPT_THREADS] = {"-t", "threads", INTEGER, 0, 64, 0, QUANTIZE, "N", "threads to work with; 0: one for each core"},
    [OPT_JSON] = {NULL, "json", FLAG, 0, 0, 0,
                  RUN | TRACE | EVAL | PERPLEXITY | BENCH | TEMPLATE | DEVICES | PLAN | INSPECT | KERNELS | QUANTIZE | CONVERT,
                  NULL, "one JSON document on stdout"},
    [OPT_VERBOSE] = {"-v", "verbose", FLAG, 0, 0, 0, EVERY, NULL, "more words on stderr"},
};
_Static_assert(sizeof options / sizeof options[0] == OPT_COUNT, "one row per option");

/* Further names that users of llama.cpp know. */
static const struct {
    const char *name;
    cli_option option;
} aliases[] = {{"reverse-prompt", OPT_STOP}};

static const char *command_name; /* of this process: for messages */

int cli_fail(int status, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < 32 || *at == 127) *at = ' ';
    fprintf(stderr, "seamount%s%s: %s\n", command_name ? " " : "", command_name ? command_name : "", line);
    return status;
}

/* ---- help ---- */

static void print_help(FILE *out) {
    fputs("seamount runs models of the DeepSeek-V2 and Llama families on any Vulkan device.\n\n"
          "usage: seamount COMMAND [options]     (seamount COMMAND --help for its options)\n\n",
          out);
    for (int i = 0; i < CMD_COUNT; i++) fprintf(out, "  %-11s %s\n", cli_commands[i].name, cli_commands[i].summary);
    fputs("\n  --help      this list\n  --version   the version\n", out);
}

bool cli_option_describe(cli_command command, cli_option option, cli_option_text *out) {
    const option_row *row = &options[option];
    *out = (cli_option_text){.short_name = row->short_name, .name = row->name, .value = row->value, .help = row->help};
    bool number = row->kind == INTEGER || row->kind == REAL || row->kind == SEED;
    if (number && !strstr(row->help, "default")) snprintf(out->standard, sizeof out->standard, "%g", row->standard);
    return row->commands & 1u << command;
}

static void print_command_help(cli_command command) {
    const cli_command_row *row = &cli_commands[command];
    printf("seamount %s: %s\n\nusage: seamount %s\n\n", row->name, row->summary, row->usage);
    for (int i = 0; i < OPT_COUNT; i++) {
        cli_option_text o;
        if (!cli_option_describe(command, (cli_option)i, &o)) continue;
        char left[64];
        snprintf(left, sizeof left, "%s%s--%s%s%s", o.short_name ? o.short_name : "", o.short_name ? ", " : "", o.name,
                 o.value ? " " : "", o.value ? o.value : "");
        printf("  %-28s %s", left, o.help);
        if (*o.standard) printf(" (default %s)", o.standard);
        putchar('\n');
    }
    puts("\nEach option may also be set in the environment: --ctx-size as SEAMOUNT_CTX_SIZE, and so on; flags as 1 or 0.");
}

static void list_commands(char *text, size_t capacity) {
    size_t used = 0;
    for (int i = 0; i < CMD_COUNT && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", cli_commands[i].name);
}

/* ---- words ---- */

/* One word of the command line taken apart. */
typedef struct word {
    const char *text;         /* as given */
    const char *inline_value; /* after '=', or NULL */
    int option;               /* index into options[], or -1 */
    bool is_option;           /* it begins with a dash, and is more than one */
} word;

static bool is_name(const char *name, const char *text, size_t length) {
    return strlen(name) == length && !memcmp(name, text, length);
}

/* `commands`: bits of those that may be meant; an option of theirs goes before another of the same name. */
static word look_at(const char *text, unsigned commands) {
    word result = {.text = text, .option = -1, .is_option = text[0] == '-' && text[1]};
    if (!result.is_option) return result;
    bool is_long = text[1] == '-';
    const char *equals = is_long ? strchr(text, '=') : NULL;
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    if (equals) result.inline_value = equals + 1;
    for (int i = 0; i < OPT_COUNT; i++) {
        bool named = is_long ? is_name(options[i].name, text + 2, length - 2)
                             : options[i].short_name && !strcmp(options[i].short_name, text);
        if (named && (result.option < 0 || options[i].commands & commands)) result.option = i;
    }
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0] && is_long && result.option < 0; i++)
        if (is_name(aliases[i].name, text + 2, length - 2)) result.option = aliases[i].option;
    return result;
}

static bool takes_next(const word *w) { return w->option >= 0 && options[w->option].kind != FLAG && !w->inline_value; }
static bool is_help(const char *text) { return !strcmp(text, "--help") || !strcmp(text, "-h"); }

static bool stop(int *exit_status, int status) {
    *exit_status = status;
    return false;
}
#define WRONG(exit_status, ...) stop((exit_status), cli_fail(CLI_WRONG, __VA_ARGS__))

/* Index in argv of the first word that is neither an option nor the value of one; 0: there is none. */
static int find_command(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        word w = look_at(argv[i], EVERY);
        if (!strcmp(w.text, "--")) return i + 1 < argc ? i + 1 : 0;
        if (!w.is_option) return i;
        if (takes_next(&w)) i++;
    }
    return 0;
}

/* ---- values ---- */

static bool parse_flag(const char *text, int64_t *out) {
    static const char *const words[] = {"0", "1", "no", "yes", "false", "true", "off", "on"};
    for (int i = 0; i < (int)(sizeof words / sizeof words[0]); i++)
        if (!strcmp(text, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

/* A whole word as a number: no blanks, no rest. */
static bool parse_integer(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && *end == 0 && (*text == '-' || (*text >= '0' && *text <= '9')) && end > text;
}

static bool parse_real(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end > text && *end == 0 && isfinite(*out) && strspn(text, "+-.0123456789eE") == strlen(text);
}

/* Any 64-bit number, or -1. */
static bool parse_seed(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = (int64_t)value;
    return (!strcmp(text, "-1")) || (errno == 0 && *end == 0 && *text >= '0' && *text <= '9');
}

static bool append(cli_value *value, const char *text) {
    const char **grown = realloc(value->list, (value->n_list + 1) * sizeof *grown);
    if (!grown) return false;
    value->list = grown;
    value->list[value->n_list++] = text;
    return true;
}

/* `label`: the option or variable as the user wrote it. */
static bool set_value(cli_args *args, int option, const char *label, const char *text, cli_source source, int *exit_status) {
    const option_row *row = &options[option];
    cli_value *value = &args->values[option];
    if (source != value->source) value->n_list = 0; /* the command line goes before the environment */
    value->source = source;
    value->text = text;
    switch (row->kind) {
    case TEXT:
        return true;
    case LISTED:
        return append(value, text) || stop(exit_status, cli_fail(CLI_FAILED, "out of memory for the values of %s", label));
    case FLAG:
        if (parse_flag(text, &value->integer)) return true;
        return WRONG(exit_status, "%s is \"%s\"; a flag is 1 or 0", label, text);
    case SEED:
        if (parse_seed(text, &value->integer)) return true;
        return WRONG(exit_status, "%s \"%s\" is not a seed: 0 to 18446744073709551614, or -1", label, text);
    case INTEGER:
        if (!parse_integer(text, &value->integer)) return WRONG(exit_status, "%s \"%s\" is not a whole number", label, text);
        if ((double)value->integer >= row->low && (double)value->integer <= row->high) return true;
        return WRONG(exit_status, "%s %s lies outside %.0f to %.0f", label, text, row->low, row->high);
    case REAL:
        if (!parse_real(text, &value->real)) return WRONG(exit_status, "%s \"%s\" is not a number", label, text);
        if (value->real >= row->low && value->real <= row->high) return true;
        return WRONG(exit_status, "%s %s lies outside %g to %g", label, text, row->low, row->high);
    case CACHE_TYPE:
        value->integer = !strcmp(text, "f32") ? SMT_CACHE_F32 : SMT_CACHE_F16;
        if (!strcmp(text, "f32") || !strcmp(text, "f16")) return true;
        return WRONG(exit_status, "%s: the cache type %s does not exist yet; there are f16 and f32", label, text);
    case PRECISION:
        value->integer = !strcmp(text, "fast") ? SMT_PRECISION_FAST : SMT_PRECISION_EXACT;
        if (!strcmp(text, "exact") || !strcmp(text, "fast")) return true;
        return WRONG(exit_status, "%s \"%s\": neither exact nor fast", label, text);
    case FAMILY:
        if (!strcmp(text, "rows") || !strcmp(text, "wave")) return true;
        return WRONG(exit_status, "%s \"%s\": neither rows nor wave", label, text);
    case SPLIT_MODE:
        value->integer = !strcmp(text, "expert") ? SMT_SPLIT_EXPERT : SMT_SPLIT_LAYER;
        if (!strcmp(text, "layer") || !strcmp(text, "expert")) return true;
        return WRONG(exit_status, "%s \"%s\": neither layer nor expert", label, text);
    }
    return false;
}

/* SEAMOUNT_CTX_SIZE for ctx-size. */
static void environment_name(const char *option, char *name, size_t capacity) {
    snprintf(name, capacity, "SEAMOUNT_%s", option);
    for (char *at = name; *at; at++) {
        if (*at == '-') *at = '_';
        if (*at >= 'a' && *at <= 'z') *at = (char)(*at - 'a' + 'A');
    }
}

static bool read_environment(cli_args *args, int *exit_status) {
    for (int i = 0; i < OPT_COUNT; i++) {
        args->values[i] = (cli_value){.integer = (int64_t)options[i].standard, .real = options[i].standard};
        if (!(options[i].commands & 1u << args->command)) continue;
        char name[64];
        environment_name(options[i].name, name, sizeof name);
        const char *text = system_environment(name);
        if (text && *text && !set_value(args, i, name, text, FROM_ENVIRONMENT, exit_status)) return false;
    }
    return true;
}

/* ---- the parser ---- */

/* An option word at argv[*i]; moves *i over its value. */
static bool take_option(int argc, char **argv, int *i, cli_args *args, int *exit_status) {
    word w = look_at(argv[*i], 1u << args->command);
    if (w.option < 0) return WRONG(exit_status, "unknown option %s", w.text);
    const option_row *row = &options[w.option];
    if (!(row->commands & 1u << args->command)) return WRONG(exit_status, "--%s is not an option of this command", row->name);
    if (row->kind == FLAG) {
        if (w.inline_value) return WRONG(exit_status, "--%s takes no value", row->name);
        return set_value(args, w.option, w.text, "1", FROM_COMMAND_LINE, exit_status);
    }
    const char *value = w.inline_value;
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (!value) return WRONG(exit_status, "%s needs a value (%s)", w.text, row->value);
    char label[64];
    snprintf(label, sizeof label, "--%s", row->name);
    return set_value(args, w.option, w.inline_value ? label : w.text, value, FROM_COMMAND_LINE, exit_status);
}

static bool take_words(int argc, char **argv, int command_at, cli_args *args, int *exit_status) {
    bool options_end = false;
    int n_positional = 0;
    for (int i = 1; i < argc; i++) {
        if (i == command_at) continue;
        word w = look_at(argv[i], 1u << args->command);
        if (!options_end && !strcmp(w.text, "--")) {
            options_end = true;
        } else if (!options_end && w.is_option) {
            if (!take_option(argc, argv, &i, args, exit_status)) return false;
        } else if (n_positional == cli_commands[args->command].n_positional) {
            return WRONG(exit_status, "\"%s\" is one argument too many", w.text);
        } else {
            args->positional[n_positional++] = w.text;
        }
    }
    return true;
}

/* --help and --version, wherever they stand as options of their own. */
static bool answered(int argc, char **argv, int command) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (is_help(argv[i])) {
            if (command < CMD_COUNT)
                print_command_help((cli_command)command);
            else
                print_help(stdout);
            return true;
        }
        if (!strcmp(argv[i], "--version")) {
            uint32_t version = smt_version();
            printf("seamount %u.%u.%u\n", version / 10000, version / 100 % 100, version % 100);
            return true;
        }
        word w = look_at(argv[i], EVERY);
        if (takes_next(&w)) i++;
    }
    return false;
}

/* Says what is wrong with a command line without a known command: an unknown option in front, the word, or nothing there. */
static bool no_command(int argc, char **argv, int command_at, int *exit_status) {
    for (int i = 1; i < (command_at ? command_at : argc); i++) {
        word w = look_at(argv[i], EVERY);
        if (!strcmp(w.text, "--")) break;
        if (w.is_option && w.option < 0) return WRONG(exit_status, "unknown option %s", w.text);
        if (takes_next(&w)) i++;
    }
    char list[160];
    list_commands(list, sizeof list);
    if (command_at) return WRONG(exit_status, "unknown command \"%s\"; there are: %s", argv[command_at], list);
    return WRONG(exit_status, "a command is needed, one of: %s (seamount --help says more)", list);
}

bool cli_args_parse(int argc, char **argv, cli_args *args, int *exit_status) {
    *args = (cli_args){0};
    *exit_status = CLI_DONE;
    int command_at = find_command(argc, argv), command = CMD_COUNT;
    for (int i = 0; i < CMD_COUNT && command_at; i++)
        if (!strcmp(argv[command_at], cli_commands[i].name)) command = i;
    if ((command < CMD_COUNT || !command_at) && answered(argc, argv, command)) return false;
    if (command == CMD_COUNT) return no_command(argc, argv, command_at, exit_status);
    args->command = (cli_command)command;
    command_name = cli_commands[command].name;
    return read_environment(args, exit_status) && take_words(argc, argv, command_at, args, exit_status);
}

void cli_args_free(cli_args *args) {
    for (int i = 0; i < OPT_COUNT; i++) free(args->values[i].list);
    *args = (cli_args){0};
}

bool cli_either(const cli_args *args, cli_option a, cli_option b, cli_option *out) {
    cli_source from_a = args->values[a].source, from_b = args->values[b].source;
    *out = OPT_COUNT;
    if (from_a != FROM_NOWHERE && from_a == from_b) {
        cli_fail(CLI_WRONG, "--%s and --%s exclude each other", options[a].name, options[b].name);
        return false;
    }
    if (from_a > from_b) *out = a;
    if (from_b > from_a) *out = b;
    return true;
}
