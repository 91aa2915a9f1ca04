/* support.c: the engine as the commands use it: options from the command line, messages, interruption. */
#include "cli.h"
#include "system.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double cli_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int cli_no_memory(void) { return cli_fail(CLI_FAILED, "out of memory"); }

bool cli_reserve(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return true;
    size_t wanted = need * 2 < 64 ? 64 : need * 2;
    void *grown = realloc(*array, wanted * size);
    if (!grown) {
        cli_no_memory();
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

int cli_fail_library(smt_status status, const smt_error *err) {
    cli_progress_clear();
    const char *words = err->message[0] ? err->message : smt_status_text(status);
    return cli_fail(CLI_FAILED, "%s%s", status == SMT_CANCELLED && cli_interrupted() ? "interrupted: " : "", words);
}

int cli_fail_device(const cli_args *args, smt_status status, const smt_error *err) {
    cli_fail_library(status, err);
    bool words = cli_given(args, OPT_DEVICE) && (status == SMT_NOT_FOUND || status == SMT_INVALID);
    return words ? CLI_WRONG : CLI_FAILED;
}

/* ---- the model ---- */

/* Where the embedded model may lie: installed, or in the source folder that the program was built from. Never relative to the
 * working directory. */
#define EMBEDDED "seamount-coder.gguf"
static const char *const data_folders[] = {SEAMOUNT_DATA_DIR, SEAMOUNT_ASSETS_DIR};

const char *cli_model(const cli_args *args) {
    const char *given = cli_text(args, OPT_MODEL);
    return given && *given ? given : system_find_data(EMBEDDED, data_folders, 2);
}

bool cli_need_model(const cli_args *args) {
    const char *model = cli_model(args);
    if (!model)
        cli_fail(CLI_WRONG, "a model is needed: -m FILE (the embedded one, " EMBEDDED ", is neither in %s nor in %s)",
                 data_folders[0], data_folders[1]);
    else if (model != cli_text(args, OPT_MODEL) && cli_flag(args, OPT_VERBOSE))
        fprintf(stderr, "info: no -m: the embedded model, %s\n", model);
    return model != NULL;
}

void cli_notice_vocabulary(const smt_file *file) {
    static const char about[] = "tokenizer.";
    for (uint32_t i = 0; smt_file_assumed(file, i); i++)
        if (!strncmp(smt_file_assumed(file, i), about, sizeof about - 1))
            fprintf(stderr, "notice: assumed, for the file does not say: %s\n", smt_file_assumed(file, i));
}

/* ---- device options ---- */

static void log_message(void *user, smt_log_level level, const char *text) {
    const bool *verbose = user;
    static const char *const names[] = {
        [SMT_LOG_ERROR] = "error", [SMT_LOG_WARN] = "notice", [SMT_LOG_INFO] = "info", [SMT_LOG_DEBUG] = "debug"};
    if (level == SMT_LOG_VALIDATION) {
        cli_progress_clear();
        fprintf(stderr, "%s\n", text);
    } else if (level <= SMT_LOG_WARN || *verbose) {
        cli_progress_clear();
        fprintf(stderr, "%s: %s\n", names[level], text);
    }
}

/* NULL where there is none. */
static const char *default_cache_dir(void) {
    static char path[4096];
    return system_user_folder(SYSTEM_CACHE, path, sizeof path) ? path : NULL;
}

void cli_device_options(const cli_args *args, smt_device_options *options) {
    static bool verbose;
    verbose = cli_flag(args, OPT_VERBOSE);
    /* Only the kernels for GPUs have a fast form, which on a processor must be asked for. */
    bool fast = cli_given(args, OPT_PRECISION) && cli_int(args, OPT_PRECISION) == SMT_PRECISION_FAST;
    const char *cache_dir = cli_given(args, OPT_CACHE_DIR) ? cli_text(args, OPT_CACHE_DIR) : default_cache_dir();
    *options = (smt_device_options){
        .struct_size = sizeof *options,
        .devices = cli_text(args, OPT_DEVICE),
        .cache_dir = cache_dir && *cache_dir ? cache_dir : NULL,
        .shader_dir = cli_text(args, OPT_SHADER_DIR),
        .validation = cli_flag(args, OPT_VALIDATION),
        .minimum = cli_flag(args, OPT_MINIMUM),
        .no_external_memory = cli_flag(args, OPT_NO_EXTERNAL_MEMORY),
        .kernels = fast && !cli_given(args, OPT_KERNELS) ? "wave" : cli_text(args, OPT_KERNELS),
        .callbacks = {.user = &verbose, .log = log_message, .progress = cli_progress},
        .self_test = cli_flag(args, OPT_SELF_TEST)      ? SMT_SELF_TEST_ALWAYS
                     : cli_flag(args, OPT_NO_SELF_TEST) ? SMT_SELF_TEST_NEVER
                                                        : SMT_SELF_TEST_AUTO,
    };
}

void cli_device_shares(const cli_placement *where, smt_device_options *options) {
    options->shares = where->n_shares ? where->shares : NULL;
    options->n_shares = where->n_shares;
}

const char *cli_device_names(const smt_engine *engine, char *text, size_t capacity) {
    size_t used = 0;
    for (uint32_t i = 0; i < smt_engine_device_count(engine) && used < capacity; i++) {
        int n = snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", smt_engine_device_name(engine, i));
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

/* ---- interruption ---- */

static _Atomic(smt_runner *) watched;
static atomic_int interrupted; /* the signal, or 0 */
static atomic_bool outliving;

static void on_signal(int number) {
    static const char words[] = "\nseamount: interrupted twice\n";
    int before = atomic_exchange(&interrupted, number);
    bool endures = atomic_load(&outliving) && (number == SIGINT || before == SIGINT);
    if (before && !endures) { /* whatever is under way does not listen: leave it */
        ssize_t written = write(STDERR_FILENO, words, sizeof words - 1);
        (void)written;
        _exit(CLI_FAILED);
    }
    if (before == SIGTERM) atomic_store(&interrupted, before); /* a Ctrl-C after it must not make it forgotten */
    smt_runner *runner = atomic_load(&watched);
    if (runner) smt_runner_cancel(runner);
}

void cli_watch_interrupts(smt_runner *runner) {
    static bool installed;
    atomic_store(&watched, runner);
    if (installed) return;
    installed = true;
    system_on_interrupt(on_signal);
}

bool cli_interrupted(void) { return atomic_load(&interrupted) != 0; }

void cli_outlive_interrupts(void) { atomic_store(&outliving, true); }

void cli_forget_interrupt(void) {
    int number = SIGINT;
    atomic_compare_exchange_strong(&interrupted, &number, 0);
}

/* ---- engine ---- */

#define LONG_PROMPT 512 /* the library's own n_batch, see smt_runner_options */

/* What measures a model does so in exact arithmetic, unless told otherwise. */
static smt_precision precision(const cli_args *args) {
    bool measures = args->command == CMD_EVAL || args->command == CMD_PERPLEXITY;
    if (!cli_given(args, OPT_PRECISION) && measures) return SMT_PRECISION_EXACT;
    return (smt_precision)cli_int(args, OPT_PRECISION);
}

smt_runner_options cli_runner_options(const cli_args *args, uint32_t n_ctx) {
    return (smt_runner_options){.struct_size = sizeof(smt_runner_options),
                                .n_ctx = n_ctx,
                                .n_sessions = 1,
                                .cache_type = (smt_cache_type)cli_int(args, OPT_CACHE_TYPE),
                                .precision = precision(args),
                                .no_coop_matrix = cli_flag(args, OPT_NO_COOPMAT)};
}

int cli_engine_load(const cli_args *args, size_t n_prompt, cli_engine *out) {
    *out = (cli_engine){0};
    cli_watch_interrupts(NULL);
    smt_runner_options runner = cli_runner_options(args, (uint32_t)cli_int(args, OPT_CTX_SIZE));
    if (n_prompt && n_prompt < LONG_PROMPT) runner.n_batch = (uint32_t)n_prompt;
    cli_placement where;
    smt_engine_options options = {
        .struct_size = sizeof options, .model_path = cli_model(args), .compile_for = &runner, .placement = &where.options};
    cli_device_options(args, &options.device);
    int read = cli_placement_read(args, &where);
    cli_device_shares(&where, &options.device);
    smt_error err = {0};
    smt_status status = read == CLI_DONE ? smt_engine_create(&options, &out->engine, &err) : SMT_OK;
    cli_placement_free(&where);
    if (read != CLI_DONE) return read;
    return status == SMT_OK ? CLI_DONE : cli_fail_device(args, status, &err);
}

int cli_engine_start(const cli_args *args, cli_engine *engine, uint32_t n_ctx) {
    smt_runner_options options = cli_runner_options(args, n_ctx);
    smt_error err = {0};
    smt_status status = smt_runner_create(engine->engine, &options, &engine->runner, &err);
    if (status == SMT_OK) status = smt_session_create(engine->runner, &engine->session, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    cli_watch_interrupts(engine->runner);
    cli_progress_clear();
    return CLI_DONE;
}

void cli_engine_close(cli_engine *engine) {
    cli_watch_interrupts(NULL);
    smt_session_free(engine->session);
    smt_runner_free(engine->runner);
    smt_engine_free(engine->engine);
    *engine = (cli_engine){0};
}
