/* view_live.c: a model at work as the source.
 *
 *   thread of the talk (view_talk.c)      ring of the observer          thread of the window
 *   smt_session_generate        ------->  (full: drops and counts)  --->  view_live_poll: into view_model, and to --record's file
 *
 * The model is loaded before the window opens. */
#include "view_app.h"
#include "view_talk.h"

#include <SDL_timer.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HEAPS_EVERY = 500 }; /* milliseconds: other programs' use of the memory is seen as it changes */

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
    view_talk *talk;
    uint64_t heaps_at; /* when the heaps were read, in SDL's milliseconds */
} live;

/* ---- opening ---- */

static void report(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (level <= SMT_LOG_WARN || level == SMT_LOG_VALIDATION) fprintf(stderr, "notice: %s\n", text);
}

static smt_status open_engine(live *l, smt_error *err) {
    smt_device_options device = {.struct_size = sizeof device,
                                 .devices = l->options->device,
                                 .cache_dir = view_cache_dir(l->options),
                                 .callbacks = {.log = report},
                                 .shares = l->options->n_shares ? l->options->shares : NULL,
                                 .n_shares = l->options->n_shares};
    const smt_placement_options placement = {.struct_size = sizeof placement, .split = l->options->split};
    smt_runner_options runner = {.struct_size = sizeof runner, .n_ctx = (uint32_t)l->options->ctx_size};
    smt_engine_options engine = {.struct_size = sizeof engine,
                                 .model_path = view_model_path(l->options),
                                 .device = device,
                                 .compile_for = &runner,
                                 .placement = &placement};
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

/* Heaps that hold something of the model, with the budgets of now. */
static void list_device(view_source *source, const live *l, uint32_t device, bool alone) {
    smt_memory memory;
    if (smt_engine_memory(l->engine, device, &memory) != SMT_OK) return;
    for (uint32_t i = 0; i < memory.n_heaps && source->n_heaps < VIEW_MAX_HEAPS; i++) {
        const smt_memory_heap *from = &memory.heaps[i];
        if (from->held == 0) continue;
        view_heap *to = &source->heaps[source->n_heaps++];
        *to = (view_heap){.held = from->held, .used = from->used, .budget = from->budget};
        const char *kind = from->device_local ? "device-local" : "host-visible";
        snprintf(to->name, sizeof to->name, "%.40s, heap %u", alone ? kind : smt_engine_device_name(l->engine, device), i);
    }
}

static void list_heaps(view_source *source, live *l) {
    uint32_t n_devices = smt_engine_device_count(l->engine);
    l->heaps_at = SDL_GetTicks64();
    source->n_heaps = 0;
    for (uint32_t d = 0; d < n_devices; d++) list_device(source, l, d, n_devices == 1);
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
    smt_status status = open_engine(l, &err);
    if (status == SMT_OK) status = open_sampler(l, &err);
    if (status == SMT_OK) status = open_observer(l, &err);
    snprintf(message, capacity, "%s", err.message[0] ? err.message : smt_status_text(status));
    source->wrong = options->device && !l->engine && (status == SMT_NOT_FOUND || status == SMT_INVALID);
    if (status != SMT_OK) return false;
    source->shape = smt_observer_model(l->observer);
    list_heaps(source, l);
    if (!view_model_init(model, source->shape)) return false;
    l->talk = view_talk_start(options, l->runner, l->tokenizer, l->chat, l->sampler, l->session);
    return l->talk != NULL;
}

/* ---- following ---- */

static void describe(view_source *source, view_talk_state state, const char *failure, const view_model *model) {
    static const char *const words[] = {
        [TALK_READING] = "reading", [TALK_GENERATING] = "generating", [TALK_WAITING] = "the model waits: Enter to write on"};
    char more[32] = "";
    uint32_t n_devices = model->shape->n_devices;
    if (n_devices > 1) snprintf(more, sizeof more, " and %u more", n_devices - 1);
    source->failed = state == TALK_FAILED;
    source->ended = state == TALK_WAITING || state == TALK_FAILED;
    if (source->failed)
        snprintf(source->status, sizeof source->status, "%.*s", (int)sizeof source->status - 1, failure);
    else
        snprintf(source->status, sizeof source->status, "%s  \u00b7  %.80s%s", words[state], model->shape->devices[0], more);
}

bool view_live_poll(view_source *source, view_model *model) {
    live *l = source->own;
    view_talk_state state = view_talk_get_state(l->talk); /* before the tokens are taken: of an ended answer all are there */
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
    if (SDL_GetTicks64() - l->heaps_at >= HEAPS_EVERY) list_heaps(source, l);
    describe(source, state, view_talk_failure(l->talk), model);
    return true;
}

bool view_live_begin(view_source *source) { return view_talk_begin(((live *)source->own)->talk); }

bool view_live_say(view_source *source, const char *words) {
    live *l = source->own;
    return view_talk_say(l->talk, words);
}

void view_live_close(view_source *source) {
    live *l = source->own;
    if (!l) return;
    view_talk_end(l->talk);
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
    free(l);
    *source = (view_source){0};
}
