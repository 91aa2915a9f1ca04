/* serve_request.c: requests between the HTTP thread that asked and the engine thread that answers.
 *
 *            submit                 push, push, ... end (once for each job)
 *   HTTP ------------> waiting -> slot ----------------------------------> pieces -> next -> HTTP
 *
 * Either side may let go first. The HTTP thread leaves when its connection is through, be it in the middle; its jobs then end at
 * the engine's next round, without pieces. The request is freed by whoever is last. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

double serve_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

serve_request *serve_request_create(serve_server *server, uint32_t n_jobs) {
    serve_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    request->server = server;
    request->client = MHD_INVALID_SOCKET;
    request->jobs = calloc(n_jobs, sizeof *request->jobs);
    if (!request->jobs || !system_cond_init(&request->news)) {
        free(request->jobs);
        free(request);
        return NULL;
    }
    request->n_jobs = n_jobs;
    for (uint32_t i = 0; i < n_jobs; i++) request->jobs[i] = (serve_job){.request = request, .index = i, .result = {.stop = -1}};
    return request;
}

void serve_request_free(serve_request *request) {
    for (serve_piece *piece = request->first, *next; piece; piece = next) {
        next = piece->next;
        free(piece);
    }
    for (uint32_t i = 0; i < request->n_jobs; i++) {
        free(request->jobs[i].prompt);
        free(request->jobs[i].embedding);
    }
    serve_params_end(&request->params);
    pthread_cond_destroy(&request->news);
    free(request->jobs);
    free(request);
}

bool serve_request_submit(serve_request *request, MHD_socket client, serve_error *error) {
    serve_server *server = request->server;
    pthread_mutex_lock(&server->lock);
    bool taken = server->state == SERVE_READY;
    for (uint32_t i = 0; taken && i < request->n_jobs; i++) {
        serve_job *job = &request->jobs[i];
        job->number = ++server->n_jobs;
        *(server->first ? &server->last->next : &server->first) = job;
        server->last = job;
        server->n_waiting++;
        request->n_open++;
    }
    if (taken) {
        request->client = client;
        server->counters.requests++;
        pthread_cond_signal(&server->work);
    }
    pthread_mutex_unlock(&server->lock);
    return taken || serve_fail(error, 503, "the server is ending");
}

void serve_request_leave(serve_request *request) {
    serve_server *server = request->server;
    pthread_mutex_lock(&server->lock);
    request->gone = request->left = true;
    bool last = request->n_open == 0;
    pthread_mutex_unlock(&server->lock);
    if (last) serve_request_free(request);
}

static size_t size_of(size_t bytes, uint32_t n_top) {
    return sizeof(serve_piece) + n_top * sizeof(smt_token_logprob) + bytes + 1;
}

serve_piece *serve_request_next(serve_request *request, double timeout_s, bool *out_ended) {
    serve_server *server = request->server;
    double until = serve_seconds() + timeout_s;
    pthread_mutex_lock(&server->lock);
    for (;;) {
        double left = until - serve_seconds();
        if (request->first || request->gone || request->n_open == 0 || left <= 0) break;
        system_cond_wait(&request->news, &server->lock, left);
    }
    serve_piece *piece = request->first;
    if (piece) {
        request->first = piece->next;
        request->unread -= size_of(piece->bytes, piece->n_top);
    }
    *out_ended = !piece && (request->gone || request->n_open == 0);
    pthread_mutex_unlock(&server->lock);
    return piece;
}

/* ---- the engine's side ---- */

serve_piece *serve_piece_create(const serve_job *job, const char *text, size_t bytes, size_t n_thought, uint32_t n_top) {
    serve_piece *piece = malloc(size_of(bytes, n_top));
    if (!piece) return NULL;
    *piece = (serve_piece){.job = job->index,
                           .token = -1,
                           .slot = job->result.slot,
                           .timing = job->result.timing,
                           .n_top = n_top,
                           .bytes = bytes,
                           .n_thought = n_thought};
    piece->top = (smt_token_logprob *)(piece + 1);
    piece->text = (char *)(piece->top + n_top);
    if (bytes) memcpy(piece->text, text, bytes);
    piece->text[bytes] = 0;
    return piece;
}

/* Under the lock. A client that is so far behind that it cannot be following counts as gone. */
static void append(serve_request *request, serve_piece *piece) {
    request->unread += size_of(piece->bytes, piece->n_top);
    if (request->unread > SERVE_MAX_UNREAD) request->gone = true;
    if (request->gone) {
        free(piece);
        return;
    }
    *(request->first ? &request->last->next : &request->first) = piece;
    request->last = piece;
}

void serve_job_push(serve_job *job, serve_piece *piece) {
    serve_request *request = job->request;
    pthread_mutex_lock(&request->server->lock);
    append(request, piece);
    pthread_cond_signal(&request->news);
    pthread_mutex_unlock(&request->server->lock);
}

void serve_job_end(serve_job *job, serve_piece *piece) {
    serve_request *request = job->request;
    serve_server *server = request->server;
    pthread_mutex_lock(&server->lock);
    if (piece) piece->last = true;
    if (piece) append(request, piece);
    server->counters.prompt_tokens += job->result.n_evaluated;
    server->counters.reused_tokens += job->result.timing.n_reused;
    server->counters.predicted_tokens += job->result.timing.n_predicted;
    server->counters.prompt_s += job->result.timing.prompt_s;
    server->counters.predict_s += job->result.timing.predict_s;
    bool last = --request->n_open == 0 && request->left;
    pthread_cond_signal(&request->news);
    pthread_mutex_unlock(&server->lock);
    if (last) serve_request_free(request);
}
