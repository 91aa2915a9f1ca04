/* serve_slots.c: the engine thread: which jobs have slots, and what a round evaluates.
 *
 * A round is one step of the engine: a token for every answer under way, and beside them pieces of prompts, so much of them
 * (serve_pace.c) that a long prompt slows answers and does not stop them. Of several prompts the one comes first that waits longest.
 * Between rounds: jobs of clients that went away are dropped, waiting ones get free slots, those first whose request has the fewest;
 * so the batch grows and shrinks from step to step.
 *
 * What a client gets does not depend on any of this: the engine's results are the same however tokens are cut into steps. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_S 0.2 /* between two looks at connections and at ended() while nothing is to be done */
#define LOOK_S 0.1 /* the same while there is work */

/* Room for what one round needs. */
typedef struct serve_batch {
    serve_held *held; /* owned, as all three; [n_slots] each */
    smt_eval *evals;
    smt_batch_entry *entries;
    uint32_t n_answers, n_prompt; /* tokens of the round */
} serve_batch;

bool serve_slots_create(serve_server *server, smt_error *err) {
    smt_runner_options options;
    smt_runner_get_options(server->runner, &options);
    server->n_ctx = options.n_ctx;
    server->n_batch = options.n_batch;
    server->slots = calloc(options.n_sessions, sizeof *server->slots);
    for (uint32_t i = 0; server->slots && i < options.n_sessions; i++) {
        serve_slot *slot = &server->slots[server->n_slots++];
        slot->index = i;
        slot->logits = malloc(server->model.n_vocab * sizeof *slot->logits);
        slot->top = malloc(SERVE_MAX_TOP * sizeof *slot->top);
        if (!slot->logits || !slot->top) break;
        if (smt_session_create(server->runner, &slot->session, err) != SMT_OK) return false;
    }
    if (server->n_slots && server->slots[server->n_slots - 1].session) return true;
    *err = (smt_error){.code = SMT_MEMORY, .message = "out of memory for slots"};
    return false;
}

void serve_slots_free(serve_server *server) {
    smt_observer_free(server->observer);
    server->observer = NULL;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        smt_session_free(slot->session);
        free(slot->tokens);
        free(slot->logits);
        free(slot->top);
    }
    free(server->slots);
    server->slots = NULL;
    server->n_slots = 0;
}

/* ---- clients ---- */

static void look_at(serve_request *request) {
    if (request->gone || !network_is_gone(request->client)) return;
    request->gone = true;
    pthread_cond_signal(&request->news);
}

/* Takes the jobs of clients that are gone out of the queue: a list. */
static serve_job *take_gone(serve_server *server) {
    serve_job *gone = NULL, **link = &server->first;
    server->last = NULL;
    while (*link) {
        serve_job *job = *link;
        look_at(job->request);
        if (job->request->gone) {
            *link = job->next;
            job->next = gone;
            gone = job;
            server->n_waiting--;
        } else {
            server->last = job;
            link = &job->next;
        }
    }
    return gone;
}

static void look_after_clients(serve_server *server) {
    pthread_mutex_lock(&server->lock);
    serve_reap(server);
    serve_job *gone = take_gone(server);
    for (uint32_t i = 0; i < server->n_slots; i++)
        if (server->slots[i].job) look_at(server->slots[i].job->request);
    pthread_mutex_unlock(&server->lock);
    for (serve_job *next; gone; gone = next) {
        next = gone->next;
        serve_job_end(gone, NULL);
    }
}

static bool has_gone(serve_server *server, const serve_job *job) {
    pthread_mutex_lock(&server->lock);
    bool gone = job->request->gone;
    pthread_mutex_unlock(&server->lock);
    return gone;
}

/* ---- the queue ---- */

static bool has_room(const serve_server *server, const serve_job *job) {
    int64_t wanted = job->request->params.slot;
    for (uint32_t i = 0; i < server->n_slots; i++)
        if (!server->slots[i].job && (wanted < 0 || wanted == i)) return true;
    return false;
}

/* Slots that work for this request; NULL: for any. */
static uint32_t count_slots(const serve_server *server, const serve_request *request) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        const serve_job *job = server->slots[i].job;
        n += job && (!request || job->request == request);
    }
    return n;
}

/* Out of the queue: a job for which there is a slot, of the request that has the fewest slots, the first such. A request for many texts
 * gets all slots while nobody else waits, and keeps nobody waiting for all of its texts. */
static serve_job *take_next(serve_server *server) {
    serve_job *found = NULL, *before = NULL, *before_found = NULL;
    uint32_t fewest = UINT32_MAX;
    if (count_slots(server, NULL) == server->n_slots) return NULL;
    pthread_mutex_lock(&server->lock);
    for (serve_job *job = server->first; job && fewest; before = job, job = job->next) {
        uint32_t n = has_room(server, job) ? count_slots(server, job->request) : UINT32_MAX;
        if (n >= fewest) continue;
        fewest = n;
        found = job;
        before_found = before;
    }
    if (found) {
        *(before_found ? &before_found->next : &server->first) = found->next;
        if (server->last == found) server->last = before_found;
        server->n_waiting--;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

static serve_slot *free_slot(serve_server *server, serve_held *held, const serve_job *job) {
    if (job->request->params.slot >= 0) return &server->slots[job->request->params.slot];
    for (uint32_t i = 0; i < server->n_slots; i++) {
        const serve_slot *slot = &server->slots[i];
        held[i] = (serve_held){slot->tokens, slot->n_tokens, slot->used, slot->job != NULL};
    }
    uint32_t index = serve_pick(held, server->n_slots, job->prompt, job->n_prompt);
    return &server->slots[index];
}

static void admit(serve_server *server, serve_held *held) {
    serve_job *job;
    while ((job = take_next(server)))
        if (has_gone(server, job))
            serve_job_end(job, NULL);
        else
            serve_slot_begin(server, free_slot(server, held, job), job);
}

/* ---- rounds ---- */

static bool reads_prompt(const serve_slot *slot) { return slot->n_tokens == slot->job->n_prompt; }

static serve_slot *next_reader(const serve_server *server) {
    serve_slot *found = NULL;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        if (slot->job && slot->n_next == 0 && reads_prompt(slot) && (!found || slot->used < found->used)) found = slot;
    }
    return found;
}

/* What each slot evaluates next, in slot->n_next. */
static void plan(serve_server *server, serve_batch *batch) {
    serve_slot *reader;
    batch->n_answers = batch->n_prompt = 0;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        slot->n_next = slot->job && !reads_prompt(slot);
        batch->n_answers += slot->n_next;
    }
    uint32_t share = serve_pace_share(&server->pace, batch->n_answers, server->n_batch);
    while (batch->n_prompt < share && (reader = next_reader(server))) {
        size_t missing = reader->n_tokens - smt_session_length(reader->session), left = share - batch->n_prompt;
        reader->n_next = (uint32_t)(missing < left ? missing : left);
        if (reader->hidden && reader->n_next > SERVE_EMBED_ROWS) reader->n_next = SERVE_EMBED_ROWS;
        reader->used = server->round;
        batch->n_prompt += reader->n_next;
    }
}

/* One step for all of them. The number of slots that took part goes to *n_busy. */
static smt_status evaluate(serve_server *server, serve_batch *batch, uint32_t *n_busy, smt_error *err) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        if (!slot->job || slot->n_next == 0) continue;
        uint32_t length = smt_session_length(slot->session);
        bool whole = length + slot->n_next == slot->n_tokens;
        batch->evals[n] = (smt_eval){.struct_size = sizeof(smt_eval),
                                     .tokens = slot->tokens + length,
                                     .n_tokens = slot->n_next,
                                     .logits = whole && !slot->hidden ? slot->logits : NULL,
                                     .hidden = slot->hidden};
        batch->entries[n] = (smt_batch_entry){slot->session, &batch->evals[n]};
        n++;
    }
    *n_busy = n;
    if (n == 0) return SMT_OK;
    double begun = serve_seconds();
    smt_status status = smt_runner_eval(server->runner, batch->entries, n, err);
    if (status == SMT_OK) serve_pace_learn(&server->pace, batch->n_answers, batch->n_prompt, serve_seconds() - begun);
    return status;
}

static void advance(serve_server *server) {
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        if (!slot->job || slot->n_next == 0) continue;
        if (reads_prompt(slot)) slot->job->result.n_evaluated += slot->n_next;
        if (slot->hidden)
            serve_slot_embed(server, slot);
        else
            serve_slot_advance(server, slot);
    }
}

/* A step that failed failed for all that took part. */
static void fail_all(serve_server *server, smt_status status, const smt_error *err) {
    serve_error error;
    serve_fail_library(&error, status, err);
    error.code = 500; /* whatever it is, it is not the clients' fault: their tokens were checked */
    for (uint32_t i = 0; i < server->n_slots; i++)
        if (server->slots[i].job && server->slots[i].n_next) serve_slot_end(server, &server->slots[i], SERVE_END_ERROR, &error);
}

static void drop_gone(serve_server *server) {
    for (uint32_t i = 0; i < server->n_slots; i++)
        if (server->slots[i].job && has_gone(server, server->slots[i].job)) serve_slot_drop(server, &server->slots[i]);
}

/* For those who ask, while the round was busy. */
static void publish(serve_server *server, uint32_t n_busy) {
    pthread_mutex_lock(&server->lock);
    for (uint32_t i = 0; i < server->n_slots; i++) {
        serve_slot *slot = &server->slots[i];
        slot->view = (serve_view){.busy = slot->job != NULL, .n_held = smt_session_length(slot->session), .job = slot->view.job};
        if (!slot->job) continue;
        slot->view.job = slot->job->number;
        slot->view.n_prompt = slot->job->n_prompt;
        slot->view.n_predicted = slot->job->result.timing.n_predicted;
    }
    if (n_busy) server->counters.rounds++;
    server->counters.busy_slots += n_busy;
    pthread_mutex_unlock(&server->lock);
}

/* A cancelled step is the end of the program, which the loop sees. */
static smt_status run_round(serve_server *server, serve_batch *batch, uint32_t *n_busy, smt_error *err) {
    server->round++;
    drop_gone(server);
    admit(server, batch->held);
    plan(server, batch);
    smt_status status = evaluate(server, batch, n_busy, err);
    if (status == SMT_OK)
        advance(server);
    else if (status != SMT_CANCELLED)
        fail_all(server, status, err);
    serve_experts_look(server);
    publish(server, *n_busy);
    return status == SMT_DEVICE_LOST ? status : SMT_OK;
}

static void wait_for_work(serve_server *server) {
    pthread_mutex_lock(&server->lock);
    if (!server->first) system_cond_wait(&server->work, &server->lock, IDLE_S);
    pthread_mutex_unlock(&server->lock);
}

static bool make_batch(const serve_server *server, serve_batch *batch, smt_error *err) {
    batch->held = calloc(server->n_slots, sizeof *batch->held);
    batch->evals = calloc(server->n_slots, sizeof *batch->evals);
    batch->entries = calloc(server->n_slots, sizeof *batch->entries);
    if (batch->held && batch->evals && batch->entries) return true;
    *err = (smt_error){.code = SMT_MEMORY, .message = "out of memory for slots"};
    return false;
}

smt_status serve_loop(serve_server *server, bool (*ended)(void), smt_error *err) {
    serve_batch batch = {0};
    smt_status status = make_batch(server, &batch, err) ? SMT_OK : SMT_MEMORY;
    double looked = 0;
    while (status == SMT_OK && !ended()) {
        uint32_t n_busy;
        double now = serve_seconds();
        if (now - looked > LOOK_S) {
            look_after_clients(server);
            looked = now;
        }
        status = run_round(server, &batch, &n_busy, err);
        if (n_busy == 0) wait_for_work(server);
    }
    free(batch.held);
    free(batch.evals);
    free(batch.entries);
    return status;
}
