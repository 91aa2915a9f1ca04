/* serve_listen.c: the server's life: a listening socket, libmicrohttpd with a thread for each connection, a model, the end. */
#include "serve_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE       16                /* connections beyond the limit, which serve_http.c sees and turns away */
#define STACK_BYTES ((size_t)1 << 20) /* templates and JSON nest: their limits fit several times */
#define FAREWELL_S  2.0               /* for answers under way when the server ends */

static bool say(char *message, size_t capacity, const char *what, const serve_options *options, const char *why) {
    snprintf(message, capacity, "cannot %s %s, port %u: %s", what, options->host, options->port, why);
    return false;
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return address->ss_family == AF_INET && ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

/* What became of `host` and `port`. */
static void see_address(serve_server *server, network_socket fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char service[16];
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return;
    server->loopback = is_loopback(&address);
    if (getnameinfo((struct sockaddr *)&address, length, NULL, 0, service, sizeof service, NI_NUMERICSERV) == 0)
        server->port = (uint16_t)strtoul(service, NULL, 10);
}

static bool open_socket(serve_server *server, network_socket *out_fd, char *message, size_t capacity) {
    const serve_options *options = &server->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list, *at;
    char service[16], why[256];
    snprintf(service, sizeof service, "%u", options->port);
    int cause = getaddrinfo(options->host, service, &hints, &list);
    if (cause != 0) return say(message, capacity, "find", options, network_lookup_words(cause, why, sizeof why));
    *out_fd = NETWORK_NONE;
    for (at = list; at && *out_fd == NETWORK_NONE; at = at->ai_next) *out_fd = network_listen(at, why, sizeof why);
    freeaddrinfo(list);
    if (*out_fd == NETWORK_NONE) return say(message, capacity, "listen at", options, why);
    see_address(server, *out_fd);
    return true;
}

/* No path of ours has escapes: what has some is none of ours. A path that were decoded would end at its first %00. */
static size_t as_it_is(void *user, struct MHD_Connection *connection, char *text) {
    (void)user;
    (void)connection;
    return strlen(text);
}

static bool start_daemon(serve_server *server, char *message, size_t capacity) {
    const serve_options *options = &server->options;
    network_socket fd;
    if (!network_start()) return say(message, capacity, "serve at", options, "there are no sockets");
    if (!open_socket(server, &fd, message, capacity)) return false;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL;
    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, serve_handle, server, MHD_OPTION_LISTEN_SOCKET, fd,
                                      MHD_OPTION_CONNECTION_LIMIT, options->connections + SPARE, MHD_OPTION_CONNECTION_TIMEOUT,
                                      (unsigned)options->timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->header_bytes,
                                      MHD_OPTION_THREAD_STACK_SIZE, STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                      MHD_OPTION_NOTIFY_COMPLETED, serve_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
                                      serve_connected, server, MHD_OPTION_UNESCAPE_CALLBACK, as_it_is, NULL, MHD_OPTION_END);
    if (server->daemon) return true;
    network_close(fd);
    return say(message, capacity, "serve at", options, "libmicrohttpd did not start");
}

bool serve_start(const serve_options *options, serve_server **out, char *message, size_t capacity) {
    *out = NULL;
    serve_server *server = calloc(1, sizeof *server);
    if (!server || pthread_mutex_init(&server->lock, NULL) != 0) {
        free(server);
        snprintf(message, capacity, "out of memory");
        return false;
    }
    server->options = *options;
    server->bos = -1;
    if (system_cond_init(&server->work) && start_daemon(server, message, capacity)) {
        *out = server;
        return true;
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
    return false;
}

uint16_t serve_port(const serve_server *server) { return server->port; }

bool serve_is_ready(serve_server *server, serve_error *error) {
    pthread_mutex_lock(&server->lock);
    serve_state state = server->state;
    pthread_mutex_unlock(&server->lock);
    return state == SERVE_READY || serve_fail(error, 503, state == SERVE_LOADING ? "Loading model" : "the server is ending");
}

static smt_status find_bos(serve_server *server, smt_error *err) {
    int32_t *tokens;
    size_t count;
    smt_status status = smt_tokenize(server->tokenizer, "", 0, SMT_TOKENIZE_BOS, &tokens, &count, err);
    if (status == SMT_OK && count == 1) server->bos = tokens[0];
    smt_free(tokens);
    return status;
}

smt_status serve_attach(serve_server *server, smt_engine *engine, smt_runner *runner, smt_error *err) {
    const smt_file *file = smt_engine_file(engine);
    server->engine = engine;
    server->runner = runner;
    server->loaded = time(NULL);
    smt_engine_model(engine, &server->model);
    smt_status status = smt_tokenizer_create(file, &server->tokenizer, err);
    if (status == SMT_OK) status = find_bos(server, err);
    if (status == SMT_OK && !serve_slots_create(server, err)) status = err->code;
    if (status != SMT_OK) return status;
    /* Without a template the other routes work. One that was asked for has to be there. */
    status = smt_chat_template_create(file, server->tokenizer, server->options.chat_template, &server->chat, &server->chat_error);
    if (status != SMT_OK && server->options.chat_template) {
        *err = server->chat_error;
        return status;
    }
    serve_learn_habits(server->chat, &server->habits);
    status = serve_find_think(server->tokenizer, &server->think, err);
    if (status != SMT_OK) return status;
    pthread_mutex_lock(&server->lock);
    server->state = SERVE_READY;
    pthread_mutex_unlock(&server->lock);
    return SMT_OK;
}

/* ---- the end ---- */

/* What is under way and what waits ends with an error that the clients are told. */
static void end_jobs(serve_server *server) {
    serve_error error;
    serve_fail(&error, 503, "the server is ending");
    pthread_mutex_lock(&server->lock);
    server->state = SERVE_ENDING;
    serve_job *job = server->first;
    server->first = NULL;
    pthread_mutex_unlock(&server->lock);
    for (serve_job *next; job; job = next) {
        next = job->next;
        job->result.end = SERVE_END_ERROR;
        job->result.error = error;
        serve_job_end(job, serve_piece_create(job, "", 0, 0, 0));
    }
    for (uint32_t i = 0; i < server->n_slots; i++)
        if (server->slots[i].job) serve_slot_end(server, &server->slots[i], SERVE_END_ERROR, &error);
}

static bool answers_anyone(serve_server *server) {
    bool any = false;
    pthread_mutex_lock(&server->lock);
    for (const serve_connection *c = server->connections; c; c = c->next) any = any || c->answering;
    pthread_mutex_unlock(&server->lock);
    return any;
}

void serve_stop(serve_server *server) {
    if (!server) return;
    end_jobs(server);
    const struct timespec moment = {.tv_nsec = 10000000};
    for (double until = serve_seconds() + FAREWELL_S; answers_anyone(server) && serve_seconds() < until;)
        nanosleep(&moment, NULL);
    MHD_stop_daemon(server->daemon);
    serve_slots_free(server);
    smt_chat_template_free(server->chat);
    smt_tokenizer_free(server->tokenizer);
    pthread_cond_destroy(&server->work);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
