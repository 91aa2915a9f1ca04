/* serve.h: a model behind HTTP: what `seamount serve` starts, runs and ends. Everything else of this folder is in serve_internal.h.
 *
 *   serve_start    binds and answers: 503 while there is no model yet
 *   serve_attach   the model is loaded: requests are taken from here on
 *   serve_loop     the calling thread becomes the engine thread, the only one that touches the runner
 *   serve_stop     ends every request, then every connection
 *
 * All four on one thread, in this order; serve_stop accepts whatever was made. */
#ifndef SERVE_H
#define SERVE_H

#include "seamount.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct serve_server serve_server;

/* Whether thoughts of a model go out as "reasoning_content", or as they are in front of the answer. AUTO: the former, where the model's
 * template or vocabulary knows thoughts, or the prompt leads into one. */
typedef enum serve_reasoning { SERVE_REASONING_AUTO, SERVE_REASONING_NONE, SERVE_REASONING_DEEPSEEK } serve_reasoning;
/* By its name: auto, none, deepseek. */
bool serve_reasoning_named(const char *name, serve_reasoning *out);

/* Everything is borrowed, and must outlive the server. */
typedef struct serve_options {
    const char *host;            /* a name or a numeric address, IPv4 or IPv6 */
    uint16_t port;               /* 0: one that is free, see serve_port */
    const char *const *api_keys; /* [n_api_keys]; none: whatever key a client sends is accepted */
    uint32_t n_api_keys;
    const char *const
        *allow_hosts; /* [n_allow_hosts]: names that clients may call the server by; "*": any. A server at the loopback
                                     * knows itself by addresses, localhost and `host` besides; others take any unless there are some */
    uint32_t n_allow_hosts;
    const char *cors;  /* the origin that pages may come from, or "*"; NULL: none but the server's own */
    const char *alias; /* the model's name for clients */
    const char *model_path;
    const char *chat_template; /* as smt_chat_template_create has it; NULL: the model's own */
    const char *variables;     /* of the template, a JSON object: where requests do not set them; NULL: none */
    bool hide_slots, hide_metrics;
    /* Limits. */
    size_t body_bytes, header_bytes;
    uint32_t json_depth, connections;
    double timeout_s;    /* a request must be whole, and a client must take what it is sent, within this time */
    double keep_alive_s; /* a stream without news carries a comment after so long */
    /* What requests leave out. */
    smt_sampler_options sampling; /* seed and biases are not used: seeds are drawn */
    int64_t n_predict;            /* -1: to the end of the context */
    serve_reasoning reasoning;
    void (*log)(const char *line); /* one line for each request, any thread; NULL: silent */
} serve_options;

/* False with a message of one line. */
bool serve_start(const serve_options *options, serve_server **out, char *message, size_t capacity);
uint16_t serve_port(const serve_server *server);
/* The engine and the runner outlive the server. Makes a slot of each session that the runner has room for. */
smt_status serve_attach(serve_server *server, smt_engine *engine, smt_runner *runner, smt_error *err);
/* Serves until `ended` says so, which is asked between steps and several times a second. SMT_DEVICE_LOST: no request can succeed
 * any more. */
smt_status serve_loop(serve_server *server, bool (*ended)(void), smt_error *err);
void serve_stop(serve_server *server);

#endif
