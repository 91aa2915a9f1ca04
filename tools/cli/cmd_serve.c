/* cmd_serve.c: `serve`: a model behind HTTP, for clients of OpenAI's interface and of llama.cpp's server (tools/serve/).
 *
 * The address stands on stdout as soon as it answers, one line; until the model is loaded /health and all others say 503. Ctrl-C and
 * termination end it: requests under way are told, and the exit status is 0. Without --api-key whoever reaches the address is served,
 * which is this machine alone as long as --host is not given. */
#include "cli.h"
#include "serve.h"
#include "system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Everything owned. */
typedef struct serving {
    serve_server *server;
    smt_engine *engine;
    smt_runner *runner;
    char *template, *keys_text;
    const char **keys; /* [n_keys], into the command line and keys_text */
    uint32_t n_keys;
    char *alias;
    char *variables;
    serve_reasoning reasoning;
} serving;

static void log_call(const char *line) {
    char clean[320];
    snprintf(clean, sizeof clean, "%s", line);
    for (char *at = clean; *at; at++)
        if ((unsigned char)*at < 32 || *at == 127) *at = '?';
    fprintf(stderr, "%s\n", clean);
}

/* Steps of requests draw no bar. */
static bool progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    return stage == SMT_STAGE_EVAL ? !cli_interrupted() : cli_progress(user, stage, done, total);
}

/* ---- options ---- */

/* --api-key, and the lines of --api-key-file. */
static int read_keys(const cli_args *args, serving *s) {
    const cli_value *given = &args->values[OPT_API_KEY];
    const char *path = cli_text(args, OPT_API_KEY_FILE);
    size_t bytes, room = given->n_list;
    if (path && !cli_read_file(path, &s->keys_text, &bytes)) return CLI_FAILED;
    for (const char *at = s->keys_text; at && *at; at++) room += *at == '\n';
    s->keys = calloc(room + 1, sizeof *s->keys);
    if (!s->keys) return cli_no_memory();
    for (uint32_t i = 0; i < given->n_list; i++) {
        if (!*given->list[i]) return cli_fail(CLI_WRONG, "--api-key: an empty key");
        s->keys[s->n_keys++] = given->list[i];
    }
    char *rest = NULL;
    for (char *line = s->keys_text ? strtok_r(s->keys_text, "\r\n", &rest) : NULL; line; line = strtok_r(NULL, "\r\n", &rest))
        s->keys[s->n_keys++] = line;
    if (path && s->n_keys == given->n_list) return cli_fail(CLI_FAILED, "%s: no key in it", path);
    return CLI_DONE;
}

/* --alias, else the name of the model's file. */
static int choose_alias(const cli_args *args, serving *s) {
    const char *name = system_base_name(cli_model(args));
    size_t length = strlen(name);
    if (length > 5 && !strcmp(name + length - 5, ".gguf")) length -= 5;
    if (cli_given(args, OPT_ALIAS)) {
        name = cli_text(args, OPT_ALIAS);
        length = strlen(name);
    }
    json_t *valid = json_stringn(name, length); /* a name of a file may be no UTF-8 */
    if (!valid) length = strlen(name = "model");
    json_decref(valid);
    s->alias = malloc(length + 1);
    if (s->alias) sprintf(s->alias, "%.*s", (int)length, name);
    return s->alias ? CLI_DONE : cli_no_memory();
}

static int read_template(const cli_args *args, serving *s) {
    cli_option which;
    size_t bytes;
    if (!cli_either(args, OPT_CHAT_TEMPLATE, OPT_CHAT_TEMPLATE_FILE, &which)) return CLI_WRONG;
    if (which == OPT_CHAT_TEMPLATE_FILE)
        return cli_read_file(cli_text(args, which), &s->template, &bytes) ? CLI_DONE : CLI_FAILED;
    if (which == OPT_CHAT_TEMPLATE) s->template = strdup(cli_text(args, which));
    return which == OPT_COUNT || s->template ? CLI_DONE : cli_no_memory();
}

static int read_reasoning(const cli_args *args, serving *s) {
    const char *name = cli_text(args, OPT_REASONING_FORMAT);
    if (!name || serve_reasoning_named(name, &s->reasoning)) return CLI_DONE;
    return cli_fail(CLI_WRONG, "--reasoning-format %s: there are none, deepseek and auto", name);
}

static serve_options options_of(const cli_args *args, const serving *s) {
    return (serve_options){.host = cli_given(args, OPT_HOST) ? cli_text(args, OPT_HOST) : "127.0.0.1",
                           .port = (uint16_t)cli_int(args, OPT_PORT),
                           .api_keys = s->keys,
                           .n_api_keys = s->n_keys,
                           .allow_hosts = args->values[OPT_ALLOW_HOST].list,
                           .n_allow_hosts = args->values[OPT_ALLOW_HOST].n_list,
                           .cors = cli_text(args, OPT_CORS),
                           .alias = s->alias,
                           .model_path = cli_model(args),
                           .chat_template = s->template,
                           .variables = s->variables,
                           .hide_slots = cli_flag(args, OPT_NO_SLOTS),
                           .hide_metrics = cli_flag(args, OPT_NO_METRICS),
                           .body_bytes = (size_t)cli_int(args, OPT_MAX_BODY),
                           .header_bytes = (size_t)cli_int(args, OPT_MAX_HEADERS),
                           .json_depth = (uint32_t)cli_int(args, OPT_MAX_DEPTH),
                           .connections = (uint32_t)cli_int(args, OPT_MAX_CONNECTIONS),
                           .timeout_s = (double)cli_int(args, OPT_TIMEOUT),
                           .keep_alive_s = fmin((double)cli_int(args, OPT_TIMEOUT) / 3, 10),
                           .sampling = cli_sampler_options(args),
                           .n_predict = cli_given(args, OPT_PREDICT) ? cli_int(args, OPT_PREDICT) : -1,
                           .reasoning = s->reasoning,
                           .log = cli_flag(args, OPT_VERBOSE) ? log_call : NULL};
}

/* ---- the model ---- */

static int load(const cli_args *args, serving *s) {
    smt_runner_options runner = {.struct_size = sizeof runner,
                                 .n_ctx = (uint32_t)cli_int(args, OPT_CTX_SIZE),
                                 .n_batch = (uint32_t)cli_int(args, OPT_BATCH_SIZE),
                                 .n_sessions = (uint32_t)cli_int(args, OPT_PARALLEL),
                                 .cache_type = (smt_cache_type)cli_int(args, OPT_CACHE_TYPE)};
    cli_placement where;
    smt_engine_options options = {
        .struct_size = sizeof options, .model_path = cli_model(args), .compile_for = &runner, .placement = &where.options};
    cli_device_options(args, &options.device);
    options.device.callbacks.progress = progress;
    int read = cli_placement_read(args, &where);
    cli_device_shares(&where, &options.device);
    where.options.runner = &runner;
    smt_error err = {0};
    smt_status status = read == CLI_DONE ? smt_engine_create(&options, &s->engine, &err) : SMT_OK;
    cli_placement_free(&where);
    if (read != CLI_DONE) return read;
    if (status != SMT_OK) return cli_fail_device(args, status, &err);
    status = smt_runner_create(s->engine, &runner, &s->runner, &err);
    if (status == SMT_OK) status = serve_attach(s->server, s->engine, s->runner, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    cli_watch_interrupts(s->runner);
    cli_progress_clear();
    cli_notice_vocabulary(smt_engine_file(s->engine));
    return CLI_DONE;
}

static int serve(const cli_args *args, serving *s) {
    char message[320];
    const serve_options options = options_of(args, s);
    cli_watch_interrupts(NULL);
    if (!serve_start(&options, &s->server, message, sizeof message)) return cli_fail(CLI_FAILED, "%s", message);
    bool numeric6 = strchr(options.host, ':') != NULL;
    cli_print("http://%s%s%s:%u\n", numeric6 ? "[" : "", options.host, numeric6 ? "]" : "", serve_port(s->server));
    if (!cli_flush()) return CLI_FAILED;
    int status = load(args, s);
    if (status != CLI_DONE) return status;
    smt_runner_options runner;
    char names[1024];
    smt_runner_get_options(s->runner, &runner);
    fprintf(stderr, "seamount serve: %s is ready: %u slots of %u positions, on %s\n", s->alias, runner.n_sessions, runner.n_ctx,
            cli_device_names(s->engine, names, sizeof names));
    smt_error err = {0};
    smt_status ended = serve_loop(s->server, cli_interrupted, &err);
    return ended == SMT_OK ? CLI_DONE : cli_fail_library(ended, &err);
}

int cmd_serve(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    serving s = {0};
    int status = read_keys(args, &s);
    if (status == CLI_DONE) status = choose_alias(args, &s);
    if (status == CLI_DONE) status = read_template(args, &s);
    if (status == CLI_DONE) status = cli_chat_variables(args, &s.variables);
    if (status == CLI_DONE) status = read_reasoning(args, &s);
    if (status == CLI_DONE) status = serve(args, &s);
    cli_watch_interrupts(NULL);
    serve_stop(s.server);
    smt_runner_free(s.runner);
    smt_engine_free(s.engine);
    free(s.template);
    free(s.keys_text);
    free(s.keys);
    free(s.alias);
    free(s.variables);
    return status;
}
