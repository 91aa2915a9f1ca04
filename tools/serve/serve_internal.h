/* serve_internal.h: how the files of the server fit together.
 *
 *   HTTP threads, one for each connection              the engine thread
 *   ------------------------------------              ------------------------------------
 *   serve_listen.c   beginning and end
 *   serve_http.c     connections, calls, bodies       serve_slots.c   jobs to slots, rounds
 *   serve_guard.c    who may call                     serve_step.c    evaluate, draw, stop
 *   serve_routes.c   the table of routes              serve_bound.c   what a grammar lets be drawn
 *   serve_body.c     JSON, checked                    serve_say.c     tokens to texts
 *   serve_info.c     what the server says of itself   serve_pick.c    which slot
 *                                                     serve_pace.c    how much of prompts in a round
 *   serve_prompt.c   bodies to prompts                          both
 *   serve_params.c   how to answer                    ------------------------------------
 *   serve_grammar.c  what an answer has to look like
 *   serve_tools.h    functions that a model may call, and files of its own
 *   serve_answer.c   pieces to documents              serve_request.c requests, jobs, pieces
 *   serve_stream.c   pieces to events                 serve_thoughts.h thoughts in front of answers
 *   serve_infill.c   gaps in files to fill
 *   serve_embed.c    vectors of texts: the request, and a slot's part
 *   serve_experts.c  which experts the tokens go to, for the page at / (page.html)
 *
 * A request that generates is cut into jobs, one for each text asked for (n choices, a list of prompts). Jobs wait in one queue;
 * the engine thread gives them slots (sessions), advances all of them in rounds, and hands back pieces: tokens with the text that
 * became certain. The pieces of all jobs of a request go through one queue of its own to the HTTP thread that waits for them.
 *
 *   body -> serve_request { params, jobs[] } -> waiting -> slot -> pieces -> document or events
 *
 * Locking: one lock, serve_server.lock, over the queue, the pieces, the connections, the counters and what /slots shows. Nothing
 * slow happens under it. What is set by serve_attach is read without, by whoever has seen SERVE_READY under it. A job's working
 * state (serve_slot) belongs to the engine thread alone.
 *
 * Ownership: a request belongs to its HTTP thread and to its jobs that are not done; who lets go last frees it. */
#ifndef SERVE_INTERNAL_H
#define SERVE_INTERNAL_H

#include "network.h" /* before windows.h, which others include */
#include "serve.h"
#include "serve_thoughts.h"
#include "system.h"

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <time.h>

#define SERVE_MAX_EMBED  2048      /* inputs of one request */
#define SERVE_MAX_JOBS   64        /* texts of one request */
#define SERVE_EMBED_ROWS 64        /* tokens of one step of which hidden states are wanted */
#define SERVE_MAX_TOP    100       /* likeliest tokens for which log-probabilities are given */
#define SERVE_MAX_STOPS  64        /* stop strings of one request */
#define SERVE_MAX_VALUES (1 << 18) /* JSON values of a body: a few bytes of it may become hundreds of memory */
#define SERVE_MAX_PROBS  (1 << 16) /* log-probabilities of one document; streams have no such limit */
#define SERVE_MAX_UNREAD (1 << 22) /* bytes of pieces that wait for a client that does not read its stream */

/* A text that grows; there is one after the first serve_append, of nothing too. Without memory what is appended is lost, and so is all that
 * follows: whoever puts a text together by many calls asks at the end. */
typedef struct serve_text {
    char *at; /* owned: free() it */
    size_t bytes, capacity;
    bool lost;
} serve_text;
bool serve_append(serve_text *text, const char *bytes, size_t count); /* false without memory */
bool serve_put(serve_text *text, const char *words);
SYSTEM_PRINTF(2, 3)
bool serve_print(serve_text *text, const char *format, ...);

/* ---- errors: what a client is told ---- */

typedef struct serve_error {
    unsigned code;          /* HTTP status; 0: none */
    size_t n_prompt, n_ctx; /* where the context is too small, else 0 */
    char message[640];
} serve_error;
/* Returns false, so that `return serve_fail(...)` is the idiom. */
SYSTEM_PRINTF(3, 4)
bool serve_fail(serve_error *error, unsigned code, const char *format, ...);
/* The library's words; the caller's mistakes are 400, the rest is 500. */
bool serve_fail_library(serve_error *error, smt_status status, const smt_error *err);
bool serve_fail_memory(serve_error *error);
bool serve_fail_random(serve_error *error);
json_t *serve_error_json(const serve_error *error); /* {"error": {"code", "message", "type"}} */

/* ---- requests, jobs, pieces (serve_request.c) ---- */

typedef enum serve_format {
    SERVE_NATIVE,     /* /completion and /infill */
    SERVE_COMPLETION, /* /v1/completions */
    SERVE_CHAT,       /* /v1/chat/completions */
    SERVE_EMBED,      /* /v1/embeddings: prompts without answers */
} serve_format;

typedef struct serve_dialect serve_dialect; /* serve_tools.h */

/* How to answer: the same for all jobs of a request. */
typedef struct serve_params {
    serve_format format;
    bool stream, include_usage, return_tokens, logprobs, ignore_eos;
    bool reuse;                /* what a slot still holds of the prompt is not evaluated again */
    bool timings;              /* every event of a stream says how fast it goes */
    serve_reasoning reasoning; /* what was asked for */
    bool thoughts;             /* they are told apart from answers */
    serve_thinking thinking;   /* where the answers begin */
    uint32_t n_top, n_choices; /* n_choices: answers to each prompt, one after another in the request's jobs */
    int64_t seed;              /* of the first of them; -1: drawn for each */
    int64_t n_predict;         /* -1: to the end of the context */
    int64_t slot;              /* the one that answers; -1: whichever suits */
    double predict_s;          /* end at the first line break after so long; 0: no such limit */
    smt_sampler_options sampling;
    smt_logit_bias *biases; /* owned, [sampling.n_biases] */
    char **stops;           /* owned, [n_stops] */
    uint32_t n_stops;
    smt_grammar *grammar;       /* owned, the engine thread's once the request is submitted; NULL: answers are free */
    const serve_dialect *calls; /* how calls of functions are spelled in the answers; NULL: answers are texts */
    json_t *fields;             /* owned: what of a native document is wanted; NULL: all */
    char id[40];
    time_t created;
} serve_params;

typedef enum serve_end { SERVE_END_NONE, SERVE_END_EOS, SERVE_END_LENGTH, SERVE_END_WORD, SERVE_END_ERROR } serve_end;

/* How far a job got, and how long that took. */
typedef struct serve_timing {
    size_t n_reused;    /* tokens of the prompt that a slot still held */
    size_t n_predicted; /* tokens of the answer, thoughts included */
    double prompt_s, predict_s;
} serve_timing;

/* What became of a job: the engine thread's until its last piece is there, which may be read then. */
typedef struct serve_result {
    serve_end end;
    int32_t stop; /* the stop string, or -1 */
    uint32_t slot;
    size_t n_evaluated; /* tokens of the prompt */
    size_t n_thought;   /* tokens of the answer that are its thought, the marks included */
    serve_timing timing;
    serve_error error;
} serve_result;

typedef struct serve_request serve_request;
typedef struct serve_job {
    struct serve_job *next; /* in the queue */
    serve_request *request;
    uint32_t index;
    int32_t *prompt; /* owned, [n_prompt] */
    size_t n_prompt;
    uint64_t seed, number; /* number: of the job, since the server began */
    float *embedding;      /* owned, [n_embd], of jobs that embed; NULL in others */
    serve_result result;
} serve_job;

/* One token and the text that became certain with it; or the text that was held back to the end. */
typedef struct serve_piece {
    struct serve_piece *next;
    uint32_t job;
    bool last;     /* of its job */
    int32_t token; /* -1: none */
    uint32_t slot;
    serve_timing timing; /* up to here, this token included */
    bool thinks;         /* the answer has not begun with it, and thoughts are told apart */
    float logprob;
    uint32_t n_top;
    smt_token_logprob *top; /* [n_top], within this allocation, as is the text */
    char *text;             /* whole UTF-8 characters, NUL-terminated: n_thought bytes of the thought, then the answer */
    size_t bytes, n_thought;
} serve_piece;

struct serve_request {
    serve_server *server;
    serve_params params;
    serve_job *jobs; /* owned, [n_jobs] */
    uint32_t n_jobs;
    /* Under the server's lock: */
    pthread_cond_t news;
    serve_piece *first, *last;
    size_t unread;     /* bytes of the pieces */
    uint32_t n_open;   /* jobs that are not done */
    MHD_socket client; /* socket, to see that the client went away */
    bool gone;         /* it did, or does not read, or nobody waits any more: jobs end without further pieces */
    bool left;         /* by the HTTP thread */
};

/* NULL: out of memory. */
serve_request *serve_request_create(serve_server *server, uint32_t n_jobs);
/* Queues the jobs; false with 503 when the server is ending. From here on serve_request_leave, without it serve_request_free. */
bool serve_request_submit(serve_request *request, MHD_socket client, serve_error *error);
void serve_request_free(serve_request *request);
/* The HTTP thread is through with it, whatever the jobs do. */
void serve_request_leave(serve_request *request);
/* The next piece, the caller's to free(); NULL after timeout_s, or (*out_ended) when there will be none: all jobs are done, or the
 * client is gone. */
serve_piece *serve_request_next(serve_request *request, double timeout_s, bool *out_ended);

/* Engine thread, without the lock: */
/* n_thought: bytes at the beginning of the text, which no call is in. */
serve_piece *serve_piece_create(const serve_job *job, const char *text, size_t bytes, size_t n_thought, uint32_t n_top);
void serve_job_push(serve_job *job, serve_piece *piece);
/* Its last piece, which may be NULL when there is no memory for one: the client then sees the error 500. */
void serve_job_end(serve_job *job, serve_piece *piece);

/* ---- the server ---- */

/* What /slots shows: a copy, under the lock. */
typedef struct serve_view {
    bool busy;
    uint64_t job;
    size_t n_prompt, n_held, n_predicted;
} serve_view;

/* A session and the job that has it. Engine thread only, but for `view`. */
typedef struct serve_slot {
    uint32_t index;
    smt_session *session;
    int32_t *tokens; /* owned, [n_tokens]: prompt and answer of its job; without one: what the session holds */
    size_t n_tokens, capacity;
    uint64_t used; /* the round it was last used in */
    float *logits; /* owned, [n_vocab] */
    serve_job *job;
    smt_sampler *sampler;
    smt_text_stream *spoken;    /* what the tokens say */
    smt_text_stream *stream;    /* what of that ends at a stop string; NULL: a call has begun, which none ends */
    size_t n_held;              /* bytes that `stream` has and did not give */
    bool answers;               /* the answer has begun: a call may, too */
    serve_thoughts thoughts;    /* between the two */
    smt_grammar_state *grammar; /* owned; NULL: its job's answer is free */
    uint32_t *mask;             /* owned, twice [n_vocab / 32 + 1], where there is a grammar: for the next token; in a thought */
    bool bound;                 /* the grammar holds; not in a thought */
    float *hidden;              /* owned, [n_layers + 2, SERVE_EMBED_ROWS, n_embd], while its job embeds */
    smt_token_logprob *top;     /* owned, [SERVE_MAX_TOP] */
    bool wrote, line; /* some text went out, or is to go (blanks in front of a chat's answer do not); a line break in it */
    uint32_t n_next;  /* tokens that it evaluates in this round */
    double begun_s, first_s;
    smt_error error; /* of the call under way */
    serve_view view;
} serve_slot;

/* How fast rounds were, lately. All zero: nothing is known. */
typedef struct serve_pace {
    double answers_s; /* a round of answers alone */
    double token_s;   /* a token of a prompt */
} serve_pace;

typedef struct serve_watcher serve_watcher; /* serve_experts.c */

typedef enum serve_state { SERVE_LOADING, SERVE_READY, SERVE_ENDING } serve_state;

typedef struct serve_counters {
    uint64_t prompt_tokens, reused_tokens, predicted_tokens, requests, rounds, busy_slots;
    double prompt_s, predict_s;
} serve_counters;

/* What the model's chat template does with calls of functions, and with thoughts (serve_dialect.c). */
typedef struct serve_habits {
    const serve_dialect *dialect; /* its own, or the plain one */
    bool writes_calls;            /* and results; else they have to become texts */
    bool lists_tools;
    bool wants_objects; /* arguments of calls as objects, not as JSON text */
    bool one_of_both;   /* of a message with a text and calls one gets lost */
    bool thinks;        /* prompts end with a mark of thoughts, or earlier thoughts are left out */
} serve_habits;

/* A connection, from its beginning to its end. */
typedef struct serve_connection {
    struct serve_connection *next, **link;
    MHD_socket socket;
    double since; /* when the present request may have begun */
    bool answering;
    bool beyond; /* the limit: it gets answers of open routes only, until there is room */
    bool shut;   /* and not yet closed */
} serve_connection;

struct serve_server {
    serve_options options;
    struct MHD_Daemon *daemon;
    uint16_t port;
    bool loopback; /* it listens there alone */
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job was queued, or the server ends */
    /* Under the lock: */
    serve_state state;
    serve_job *first, *last; /* the queue */
    uint32_t n_waiting;
    uint64_t n_jobs;
    serve_connection *connections;
    serve_watcher *watchers;
    serve_counters counters;
    /* Set by serve_attach: */
    smt_engine *engine;
    smt_runner *runner;
    smt_tokenizer *tokenizer;
    smt_chat_template *chat; /* NULL: chat_error says why */
    smt_error chat_error;
    serve_habits habits;
    smt_model_info model;
    uint32_t n_ctx, n_batch;
    int32_t bos;   /* -1: texts begin without one */
    int32_t think; /* the token that begins a thought; -1: the vocabulary has no such marks */
    time_t loaded;
    serve_slot *slots; /* owned, [n_slots] */
    uint32_t n_slots;
    /* The engine thread's: */
    uint64_t round;
    serve_pace pace;
    smt_observer *observer; /* owned; NULL while nobody watches */
};

double serve_seconds(void); /* monotonic */
/* Whether there is a model to ask; else a 503 that says why: there is none yet, or (after a failed load too) never will be. */
bool serve_is_ready(serve_server *server, serve_error *error);
/* libmicrohttpd's callbacks (serve_http.c). */
enum MHD_Result serve_handle(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                             const char *version, const char *bytes, size_t *n_bytes, void **context);
void serve_completed(void *user, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code);
void serve_connected(void *user, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code);
/* Connections whose request is not whole in time are shut. Under the lock. */
void serve_reap(serve_server *server);

/* ---- bodies (serve_body.c) ---- */

/* A JSON object of a limited depth and number of values. NULL with an error that begins with `what`. */
json_t *serve_parse(const char *what, const char *text, size_t bytes, uint32_t depth, serve_error *error);
/* Members: absent and null leave *value as it is; a wrong type or range is a 400 that names the member. */
bool serve_get_bool(const json_t *body, const char *name, bool *value, serve_error *error);
bool serve_get_integer(const json_t *body, const char *name, int64_t low, int64_t high, int64_t *value, serve_error *error);
bool serve_get_real(const json_t *body, const char *name, double low, double high, double *value, serve_error *error);
/* *value points into the body. */
bool serve_get_text(const json_t *body, const char *name, const char **value, size_t *bytes, serve_error *error);

/* ---- what a request asks for (serve_params.c, serve_prompt.c) ---- */

bool serve_read_params(const serve_server *server, const json_t *body, serve_format format, serve_params *out,
                       serve_error *error);
void serve_params_end(serve_params *params);
bool serve_add_stop(serve_params *params, const char *text); /* false without memory */
/* Sets params->grammar where the body asks for one (serve_grammar.c). */
bool serve_read_grammar(const serve_server *server, const json_t *body, serve_params *params, serve_error *error);
json_t *serve_settings(const serve_params *params); /* as clients know them */
bool serve_tells_thoughts(const serve_server *server, serve_reasoning which);
/* The whole request, ready to be submitted; NULL with an error. */
serve_request *serve_read_completion(serve_server *server, const json_t *body, serve_format format, serve_error *error);
serve_request *serve_read_chat(serve_server *server, const json_t *body, serve_error *error);
serve_request *serve_read_infill(serve_server *server, const json_t *body, serve_error *error);
serve_request *serve_read_embed(serve_server *server, const json_t *body, serve_error *error);
/* A list of tokens that grows. */
typedef struct serve_tokens {
    int32_t *at; /* owned: free() it */
    size_t count;
} serve_tokens;
/* Appends what a call of the library gave (and frees it), or tells its failure. */
bool serve_take_tokens(serve_tokens *out, smt_status status, const smt_error *err, int32_t *given, size_t count,
                       serve_error *error);
/* A request for the answers to `n` prompts, its prompts to be given, each to n_choices jobs; takes the parameters in any case. */
serve_request *serve_open_request(serve_server *server, serve_params *params, size_t n, serve_error *error);
bool serve_give_prompt(serve_request *request, size_t index, const serve_tokens *prompt, serve_error *error);
/* Several prompts, or one, in the form of "prompt" and "input". */
serve_request *serve_open_with_prompts(serve_server *server, serve_params *params, const json_t *prompts, serve_error *error);
/* The body's conversation by the model's template, as text; the caller's (smt_free). */
bool serve_render(serve_server *server, const json_t *body, char **out_text, size_t *out_bytes, serve_error *error);

/* ---- answers (serve_answer.c, serve_stream.c) ---- */

/* The request, submitted and waited for, as a document; NULL with an error, or without where the client is gone. Owns the request. */
json_t *serve_collect(serve_request *request, MHD_socket client, serve_error *error);
typedef enum serve_embed_form { SERVE_EMBED_FLOATS, SERVE_EMBED_BASE64, SERVE_EMBED_NATIVE } serve_embed_form;
json_t *serve_collect_embeddings(serve_request *request, MHD_socket client, serve_embed_form form, serve_error *error);
/* Waits for all pieces, each of which goes through `take` (NULL: none). False with an error, or without where the client is gone. */
typedef bool (*serve_take_fn)(void *user, const serve_piece *piece, serve_error *error);
bool serve_take_pieces(serve_request *request, serve_take_fn take, void *user, serve_error *error);
/* The same as a response that streams events. */
struct MHD_Response *serve_stream(serve_request *request, MHD_socket client, serve_error *error);

/* Parts of both. */
json_t *serve_head(const serve_request *request, const char *object); /* id, object, created, model, system_fingerprint */
json_t *serve_native_head(const serve_job *job, uint32_t slot, size_t n_predicted, json_t *content, json_t *tokens);
void serve_native_end(const serve_job *job, json_t *document); /* what the last native event and the document hold besides */
/* reason: NULL in all events but a choice's last. */
json_t *serve_choice(const serve_job *job, const char *key, json_t *content, json_t *logprobs, const char *reason);
const char *serve_finish_reason(const serve_job *job, bool calls); /* calls: the answer has some, all of them whole */
/* The prefix and what nobody can foretell. False: the system gives no random numbers. */
bool serve_draw_id(const char *prefix, char *id, size_t capacity);
/* A call in an answer; takes the arguments. NULL: out of memory, or no random numbers for its id. */
json_t *serve_call_json(const char *name, size_t bytes, json_t *arguments);
json_t *serve_usage(const serve_request *request);
json_t *serve_timings(const serve_job *job, const serve_timing *timing);
/* Of one token; a list of them as a format shows it (takes the reference). */
json_t *serve_logprob(const serve_server *server, const serve_piece *piece);
json_t *serve_logprobs(serve_format format, json_t *list);

/* ---- routes (serve_routes.c, serve_info.c) ---- */

typedef struct serve_call serve_call;
/* The answer; NULL with an error, or without where the client is gone. A route that streams sets *out_stream instead. `body` is
 * NULL for routes of GET. */
typedef json_t *(*serve_route_fn)(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
typedef struct serve_route {
    const char *method, *path;
    serve_route_fn run;
    bool open;        /* needs neither key nor model */
    const char *type; /* the document is a JSON string that goes out as text of this type; NULL: it goes out as it is */
} serve_route;

/* One HTTP request, from its headers to its answer. */
struct serve_call {
    serve_server *server;
    struct MHD_Connection *connection;
    serve_connection *client;
    const char *method, *path;
    const serve_route *route;      /* NULL: error, or permission */
    bool permission;               /* a browser asks whether it may call */
    bool last;                     /* of its connection */
    bool at_once;                  /* an error goes out before the body is there */
    unsigned long long told_bytes; /* of the body, by the headers; 0: not told */
    serve_text body;
    serve_error error;
    unsigned status;
    double begun;
};
/* Whether the headers let the request in; else call->error (serve_guard.c). */
bool serve_guard(serve_call *call);
bool serve_has_key(const serve_call *call);
/* In a time that depends on the length of what was given alone. */
bool serve_same_key(const char *key, const char *given, size_t n_given);
/* NULL with a 404, or a 405 where the path has another method. */
const serve_route *serve_find_route(const char *method, const char *path, serve_error *error);

json_t *serve_health(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_model(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_models(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_props(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_show_slots(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_metrics(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_page(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);
json_t *serve_experts(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error);

/* ---- the engine thread (serve_pick.c, serve_pace.c, serve_slots.c, serve_step.c) ---- */

/* What a free slot holds, for the choice. */
typedef struct serve_held {
    const int32_t *tokens; /* [count] */
    size_t count;
    uint64_t used;
    bool busy;
} serve_held;
/* The slot for a prompt: the free one that holds the longest beginning of it, where that is more than a tenth of the prompt and a
 * token; else the one that was used longest ago. n: none is free. */
uint32_t serve_pick(const serve_held *slots, uint32_t n, const int32_t *prompt, size_t n_prompt);
size_t serve_common(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b);

/* Tokens of prompts in a round, with so many answers beside them; and what a round of so many took. */
uint32_t serve_pace_share(const serve_pace *pace, uint32_t n_answers, uint32_t n_batch);
void serve_pace_learn(serve_pace *pace, uint32_t n_answers, uint32_t n_prompt, double seconds);

bool serve_slots_create(serve_server *server, smt_error *err);
void serve_slots_free(serve_server *server);
/* Gives the slot to the job, or ends the job with an error. */
void serve_slot_begin(serve_server *server, serve_slot *slot, serve_job *job);
/* A slot that embeds: after an evaluation (serve_embed.c). */
void serve_slot_embed(serve_server *server, serve_slot *slot);
/* Between rounds: hands what the observer has to those who watch (serve_experts.c). */
void serve_experts_look(serve_server *server);
/* After an evaluation: draws a token, if the prompt is whole, and ends the job where it is time. */
void serve_slot_advance(serve_server *server, serve_slot *slot);
void serve_slot_end(serve_server *server, serve_slot *slot, serve_end end, const serve_error *error);
/* What ends an answer of this request. */
bool serve_is_end(const serve_server *server, const serve_params *params, int32_t token);

/* Grammars (serve_bound.c). */
smt_status serve_bound_begin(const serve_server *server, serve_slot *slot, smt_grammar *grammar, smt_error *err);
void serve_bound_end(serve_slot *slot);
/* Fills slot->mask, where the job has a grammar. */
smt_status serve_bound_mask(const serve_server *server, serve_slot *slot);
/* The answer goes on with this token; *out_fits false: it cannot, and another one has to be drawn by the mask, in which it is no more. */
smt_status serve_bound_take(const serve_server *server, serve_slot *slot, int32_t token, bool *out_fits);

/* Texts (serve_say.c). */
typedef struct serve_said {
    serve_text text; /* owned: n_thought bytes of the thought, then the answer */
    size_t n_thought;
} serve_said;
smt_status serve_say_begin(const serve_server *server, serve_slot *slot, smt_error *err);
void serve_say_end(serve_slot *slot);
/* Appends what becomes certain with a token; with the end. */
smt_status serve_say(serve_slot *slot, int32_t token, serve_said *said);
smt_status serve_say_rest(serve_slot *slot, serve_said *said);
/* The stop string that has ended the answer, or -1. */
int32_t serve_say_stop(const serve_slot *slot);

/* Lets go of a job whose client is gone. */
void serve_slot_drop(serve_server *server, serve_slot *slot);

#endif
