/* view_live.c: a model at work as the source.
 *
 *   thread of the generation          ring of the observer          thread of the window
 *   smt_session_eval, sampling  --->  (full: drops and counts)  --->  view_live_poll: into view_model, and to --record's file
 *
 * The two threads share the atomics below and nothing else; the message of a failure is written before `state` says so. The model is
 * loaded before the window opens. Closing sets `stop` and cancels the step under way. */
#include "view_app.h"

#include <SDL_thread.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { READING, GENERATING, ENDED, FAILED };

typedef struct live {
    const view_options *options;
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    smt_tokenizer *tokenizer;
    smt_chat_template *chat; /* NULL: a plain text */
    smt_sampler *sampler;
    smt_observer *observer;
    smt_trace_writer *writer; /* NULL: nothing is recorded */
    SDL_Thread *thread;
    atomic_int state;
    atomic_bool stop;
    char failure[512];
    float *logits;   /* [n_vocab]; this and the rest: the thread's own */
    int32_t *tokens; /* [capacity], prompt and answer */
    size_t n_tokens, capacity;
    uint32_t n_vocab;
} live;

/* ---- the generation ---- */

static smt_status make_prompt(live *l, int32_t **out, size_t *n, smt_error *err) {
    const char *text = l->options->prompt;
    if (!l->chat) return smt_tokenize(l->tokenizer, text, strlen(text), SMT_TOKENIZE_BOS, out, n, err);
    smt_chat_message message = {.role = "user", .content = text};
    smt_chat_request request = {.struct_size = sizeof request, .messages = &message, .n_messages = 1};
    return smt_chat_tokens(l->chat, &request, out, n, err);
}

static smt_status evaluate(live *l, const int32_t *tokens, size_t n, smt_error *err) {
    smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = (uint32_t)n, .logits = l->logits};
    return smt_session_eval(l->session, &eval, err);
}

static smt_status draw(live *l, int32_t *out, smt_error *err) {
    smt_draw options = {.struct_size = sizeof options,
                        .logits = l->logits,
                        .n_vocab = l->n_vocab,
                        .history = l->tokens,
                        .n_history = l->n_tokens,
                        .position = l->n_tokens};
    return smt_sampler_draw(l->sampler, &options, out, err);
}

static bool is_end(const live *l, int32_t token) {
    return l->chat ? smt_chat_template_is_end(l->chat, token) : smt_tokenizer_is_end(l->tokenizer, token);
}

static smt_status answer(live *l, smt_error *err) {
    int64_t most = l->options->n_predict;
    smt_status status = SMT_OK;
    for (int64_t i = 0; (most < 0 || i < most) && l->n_tokens < l->capacity && !atomic_load(&l->stop); i++) {
        int32_t token;
        status = draw(l, &token, err);
        if (status != SMT_OK || is_end(l, token)) break;
        l->tokens[l->n_tokens++] = token;
        status = evaluate(l, &token, 1, err);
        if (status != SMT_OK) break;
    }
    return status;
}

static smt_status generate(live *l, smt_error *err) {
    int32_t *prompt;
    size_t n;
    smt_status status = make_prompt(l, &prompt, &n, err);
    if (status != SMT_OK) return status;
    if (n == 0 || n > l->capacity) {
        smt_free(prompt);
        snprintf(err->message, sizeof err->message, "a prompt of %zu tokens does not fit a context of %zu: see -c", n,
                 l->capacity);
        return n ? SMT_FULL : SMT_INVALID;
    }
    memcpy(l->tokens, prompt, n * sizeof *prompt);
    l->n_tokens = n;
    smt_free(prompt);
    status = evaluate(l, l->tokens, n, err);
    atomic_store(&l->state, GENERATING);
    return status == SMT_OK ? answer(l, err) : status;
}

static int run(void *user) {
    live *l = user;
    smt_error err = {0};
    smt_status status = generate(l, &err);
    bool failed = status != SMT_OK && !(status == SMT_CANCELLED && atomic_load(&l->stop));
    if (failed) snprintf(l->failure, sizeof l->failure, "%s", err.message[0] ? err.message : smt_status_text(status));
    atomic_store(&l->state, failed ? FAILED : ENDED);
    return 0;
}

/* ---- opening ---- */

static void report(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (level <= SMT_LOG_WARN || level == SMT_LOG_VALIDATION) fprintf(stderr, "notice: %s\n", text);
}

static smt_status open_engine(live *l, smt_device_options *device, smt_error *err) {
    *device = (smt_device_options){.struct_size = sizeof *device,
                                   .devices = l->options->device,
                                   .cache_dir = view_cache_dir(l->options),
                                   .callbacks = {.log = report}};
    smt_runner_options runner = {.struct_size = sizeof runner, .n_ctx = (uint32_t)l->options->ctx_size};
    smt_engine_options engine = {
        .struct_size = sizeof engine, .model_path = view_model_path(l->options), .device = *device, .compile_for = &runner};
    smt_status status = smt_engine_create(&engine, &l->engine, err);
    if (status == SMT_OK) status = smt_tokenizer_create(smt_engine_file(l->engine), &l->tokenizer, err);
    if (status == SMT_OK && l->options->chat)
        status = smt_chat_template_create(smt_engine_file(l->engine), l->tokenizer, NULL, &l->chat, err);
    if (status == SMT_OK) status = smt_runner_create(l->engine, &runner, &l->runner, err);
    if (status == SMT_OK) status = smt_session_create(l->runner, &l->session, err);
    return status;
}

static smt_status open_sampler(live *l, smt_error *err) {
    const view_options *o = l->options;
    smt_sampler_options sampler = {.struct_size = sizeof sampler,
                                   .temperature = (float)o->temp,
                                   .top_k = (uint32_t)o->top_k,
                                   .top_p = (float)o->top_p,
                                   .min_p = (float)o->min_p,
                                   .seed = o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)time(NULL)};
    return smt_sampler_create(&sampler, &l->sampler, err);
}

static smt_status open_observer(live *l, smt_error *err) {
    smt_observer_options options = {.struct_size = sizeof options, .tokenizer = l->tokenizer};
    smt_status status = smt_observer_create(l->runner, &options, &l->observer, err);
    if (status == SMT_OK && l->options->record)
        status = smt_trace_writer_create(l->options->record, smt_observer_model(l->observer), &l->writer, err);
    return status;
}

static smt_status open_buffers(live *l) {
    smt_runner_options runner;
    smt_model_info model;
    smt_runner_get_options(l->runner, &runner);
    smt_engine_model(l->engine, &model);
    l->n_vocab = model.n_vocab;
    l->capacity = runner.n_ctx;
    l->logits = malloc(model.n_vocab * sizeof *l->logits);
    l->tokens = malloc(l->capacity * sizeof *l->tokens);
    return l->logits && l->tokens ? SMT_OK : SMT_MEMORY;
}

/* The heaps of the device that computes, as they are now that the model is loaded. Not having them is no failure. */
static void list_heaps(view_source *source, const smt_device_options *device) {
    smt_device_list *list;
    smt_device_info info;
    uint32_t chosen;
    if (smt_device_list_create(device, &list, NULL) != SMT_OK) return;
    if (smt_device_list_chosen(list, &chosen, NULL) == SMT_OK && smt_device_list_get(list, chosen, &info) == SMT_OK)
        for (uint32_t i = 0; i < info.n_heaps && i < 16; i++) {
            view_heap *heap = &source->heaps[source->n_heaps++];
            snprintf(heap->name, sizeof heap->name, "heap %u, %s", i, info.heaps[i].device_local ? "device-local" : "host");
            heap->bytes = info.heaps[i].bytes;
            heap->budget = info.heaps[i].budget;
        }
    smt_device_list_free(list);
}

bool view_live_open(view_source *source, const view_options *options, view_model *model, char *message, size_t capacity) {
    *source = (view_source){.live = true};
    live *l = calloc(1, sizeof *l);
    snprintf(message, capacity, "out of memory");
    if (!l) return false;
    source->own = l;
    l->options = options;
    snprintf(message, capacity, "a model is needed: -m FILE");
    if (!view_model_path(options)) return false;
    smt_error err = {0};
    smt_device_options device;
    smt_status status = open_engine(l, &device, &err);
    if (status == SMT_OK) status = open_sampler(l, &err);
    if (status == SMT_OK) status = open_observer(l, &err);
    if (status == SMT_OK) status = open_buffers(l);
    snprintf(message, capacity, "%s", err.message[0] ? err.message : smt_status_text(status));
    source->wrong = options->device && !l->engine && (status == SMT_NOT_FOUND || status == SMT_INVALID);
    if (status != SMT_OK) return false;
    source->shape = smt_observer_model(l->observer);
    list_heaps(source, &device);
    if (!view_model_init(model, source->shape)) return false;
    l->thread = SDL_CreateThread(run, "generation", l);
    return l->thread != NULL;
}

/* ---- following ---- */

static void describe(view_source *source, const live *l, int state, const view_model *model) {
    static const char *const words[] = {
        [READING] = "reading the prompt", [GENERATING] = "generating", [ENDED] = "the text has ended"};
    source->failed = state == FAILED;
    source->ended = state == ENDED || state == FAILED;
    if (source->failed)
        snprintf(source->status, sizeof source->status, "%.*s", (int)sizeof source->status - 1, l->failure);
    else
        snprintf(source->status, sizeof source->status, "%s on %.80s, %u tokens", words[state], model->shape->devices[0],
                 model->n_tokens);
}

bool view_live_poll(view_source *source, view_model *model) {
    live *l = source->own;
    int state = atomic_load(&l->state); /* before the tokens are taken: of an ended generation all of them are there */
    const smt_trace_token *token;
    while ((token = smt_observer_next(l->observer))) {
        if (!view_model_add(model, token)) return false;
        smt_error err = {0};
        if (l->writer && smt_trace_writer_add(l->writer, token, &err) != SMT_OK) {
            fprintf(stderr, "notice: the recording ends here: %s\n", err.message);
            smt_trace_writer_free(l->writer);
            l->writer = NULL;
        }
    }
    model->dropped = smt_observer_dropped(l->observer);
    describe(source, l, state, model);
    return true;
}

void view_live_close(view_source *source) {
    live *l = source->own;
    if (!l) return;
    atomic_store(&l->stop, true);
    if (l->runner) smt_runner_cancel(l->runner);
    if (l->thread) SDL_WaitThread(l->thread, NULL);
    smt_error err = {0};
    if (l->writer && smt_trace_writer_commit(l->writer, smt_observer_dropped(l->observer), &err) != SMT_OK)
        fprintf(stderr, "notice: nothing was recorded: %s\n", err.message);
    smt_trace_writer_free(l->writer);
    smt_observer_free(l->observer);
    smt_sampler_free(l->sampler);
    smt_session_free(l->session);
    smt_runner_free(l->runner);
    smt_chat_template_free(l->chat);
    smt_tokenizer_free(l->tokenizer);
    smt_engine_free(l->engine);
    free(l->logits);
    free(l->tokens);
    free(l);
    *source = (view_source){0};
}
