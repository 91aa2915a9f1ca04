/* serve_experts.c: which experts the tokens go to, as events for whoever watches: GET /experts.
 *
 *   engine thread: observer -> one line of JSON a token -> the queue of each watcher -> HTTP thread of the watcher
 *
 * The first event describes the layers, each further one is a token that some slot evaluated. Without watchers there is no observer, and
 * nothing is copied. A watcher that reads too slowly loses tokens and never holds the engine up: its queue is bounded, and an event with
 * `dropped` alone counts them.
 *
 * Locking: watchers and queues under the server's lock; the observer is the engine thread's, which makes and frees it between rounds. */
#include "serve_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE  256 /* events that wait for a watcher */
#define LOOK_S 0.5 /* between two looks at whether the server is ending */

struct serve_watcher {
    struct serve_watcher *next, **link;
    serve_server *server;
    pthread_cond_t news;
    char *events[QUEUE]; /* owned; a ring */
    uint32_t first, n, dropped;
    bool told; /* the layers were described */
    serve_text out;
    size_t taken; /* of out, by libmicrohttpd */
    double wrote_s;
};

/* ---- the engine's side ---- */

/* Of [n_moe, n_used] to a list of lists. */
static json_t *rows(const smt_trace_model *model, const uint16_t *ids, const float *weights) {
    json_t *list = json_array();
    for (uint32_t l = 0; l < model->n_moe; l++) {
        json_t *row = json_array();
        for (uint32_t k = 0; k < model->n_used; k++) {
            uint32_t i = l * model->n_used + k;
            json_array_append_new(row, ids ? json_integer(ids[i]) : json_real((double)weights[i]));
        }
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *describe(const smt_trace_model *model) {
    json_t *layers = json_array();
    for (uint32_t l = 0; l < model->n_moe; l++) json_array_append_new(layers, json_integer(model->layers[l].layer));
    return json_pack("{s:o, s:i, s:i, s:i}", "layers", layers, "n_experts", (int)model->n_experts, "n_used", (int)model->n_used,
                     "n_groups", (int)model->n_groups);
}

static json_t *token_event(const smt_trace_model *model, const smt_trace_token *token) {
    return json_pack("{s:i, s:i, s:i, s:o, s:o}", "slot", (int)token->session, "index", (int)token->index, "token",
                     (int)token->id, "experts", rows(model, token->experts, NULL), "weights", rows(model, NULL, token->weights));
}

/* Under the lock. */
static void push_text(serve_watcher *w, const char *text) {
    char *event = strdup(text);
    if (!event) {
        w->dropped++;
        return;
    }
    w->events[(w->first + w->n++) % QUEUE] = event;
    pthread_cond_signal(&w->news);
}

/* Under the lock. What was dropped is told as soon as there is room for that and for an event. */
static void push(serve_watcher *w, const char *text) {
    char lost[40];
    if (w->n + 2 > QUEUE) {
        w->dropped++;
        return;
    }
    if (w->dropped) {
        snprintf(lost, sizeof lost, "{\"dropped\":%u}", w->dropped);
        w->dropped = 0;
        push_text(w, lost);
    }
    push_text(w, text);
}

/* Takes the reference. The text is made once, and not under the lock. To those who were told of the layers, or to the others, who then are. */
static void push_all(serve_server *server, json_t *event, bool told) {
    char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(4)) : NULL;
    json_decref(event);
    if (!text) return;
    pthread_mutex_lock(&server->lock);
    for (serve_watcher *w = server->watchers; w; w = w->next)
        if (w->told == told) {
            push(w, text);
            w->told = true;
        }
    pthread_mutex_unlock(&server->lock);
    free(text);
}

static void hand_out(serve_server *server, bool newcomers) {
    const smt_trace_model *model = smt_observer_model(server->observer);
    const smt_trace_token *token;
    if (newcomers) push_all(server, describe(model), false);
    while ((token = smt_observer_next(server->observer))) push_all(server, token_event(model, token), true);
}

void serve_experts_look(serve_server *server) {
    pthread_mutex_lock(&server->lock);
    bool watched = server->watchers != NULL, newcomers = false;
    for (const serve_watcher *w = server->watchers; w; w = w->next) newcomers |= !w->told;
    pthread_mutex_unlock(&server->lock);
    if (!watched) {
        smt_observer_free(server->observer);
        server->observer = NULL;
        return;
    }
    const smt_observer_options options = {.struct_size = sizeof options};
    if (!server->observer && smt_observer_create(server->runner, &options, &server->observer, NULL) != SMT_OK) return;
    hand_out(server, newcomers);
}

/* ---- the watcher's side ---- */

static void add(serve_watcher *w) {
    serve_server *server = w->server;
    pthread_mutex_lock(&server->lock);
    w->next = server->watchers;
    w->link = &server->watchers;
    if (w->next) w->next->link = &w->next;
    server->watchers = w;
    pthread_cond_signal(&server->work); /* the engine thread describes the layers */
    pthread_mutex_unlock(&server->lock);
}

static void end(void *user) {
    serve_watcher *w = user;
    pthread_mutex_lock(&w->server->lock);
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    pthread_mutex_unlock(&w->server->lock);
    for (; w->n; w->n--) free(w->events[w->first++ % QUEUE]);
    pthread_cond_destroy(&w->news);
    free(w->out.at);
    free(w);
}

/* The oldest event, the caller's; NULL after a while. */
static char *next_event(serve_watcher *w, bool *out_ending) {
    char *event = NULL;
    pthread_mutex_lock(&w->server->lock);
    if (!w->n && w->server->state == SERVE_READY) system_cond_wait(&w->news, &w->server->lock, LOOK_S);
    if (w->n) {
        event = w->events[w->first];
        w->first = (w->first + 1) % QUEUE;
        w->n--;
    }
    *out_ending = w->server->state == SERVE_ENDING;
    pthread_mutex_unlock(&w->server->lock);
    return event;
}

/* False without memory. */
static bool fill(serve_watcher *w, bool *out_ending) {
    w->out.bytes = w->taken = 0;
    char *event = next_event(w, out_ending);
    bool good = true;
    if (event) {
        good =
            serve_append(&w->out, "data: ", 6) && serve_append(&w->out, event, strlen(event)) && serve_append(&w->out, "\n\n", 2);
        free(event);
    } else if (serve_seconds() - w->wrote_s > w->server->options.keep_alive_s) {
        good = serve_append(&w->out, ": watching\n\n", 12);
    }
    if (w->out.bytes) w->wrote_s = serve_seconds();
    return good;
}

static ssize_t read_events(void *user, uint64_t position, char *buffer, size_t room) {
    serve_watcher *w = user;
    (void)position;
    for (bool ending = false; w->taken == w->out.bytes;) {
        if (ending) return MHD_CONTENT_READER_END_OF_STREAM;
        if (!fill(w, &ending)) return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t count = w->out.bytes - w->taken < room ? w->out.bytes - w->taken : room;
    memcpy(buffer, w->out.at + w->taken, count);
    w->taken += count;
    return (ssize_t)count;
}

json_t *serve_experts(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    serve_watcher *w = calloc(1, sizeof *w);
    (void)body;
    if (!w || !system_cond_init(&w->news)) {
        free(w);
        serve_fail_memory(error);
        return NULL;
    }
    w->server = call->server;
    w->wrote_s = serve_seconds();
    add(w);
    *out_stream = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_events, w, end);
    if (!*out_stream) {
        end(w);
        serve_fail_memory(error);
    }
    return NULL;
}
