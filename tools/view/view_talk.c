/* view_talk.c: see view_talk.h. The session holds tokens[0, n_tokens) but for what a turn is about to evaluate: a conversation that
 * begins as the one before goes on from where they part.
 *
 * A token shows when it is evaluated, so an answer is asked for one token longer than wanted: the last one is not taken. */
#include "view_talk.h"

#include <SDL_mutex.h>
#include <SDL_thread.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct view_talk {
    const view_options *options; /* borrowed, as the next five */
    smt_runner *runner;
    const smt_tokenizer *tokenizer;
    const smt_chat_template *chat;
    smt_sampler *sampler;
    smt_session *session;
    SDL_Thread *thread;
    SDL_mutex *mutex; /* for `words` */
    SDL_cond *changed;
    char *words; /* handed over and not yet taken */
    atomic_int state;
    atomic_bool stop;
    char failure[512]; /* written before the state says so */

    int32_t *tokens; /* [capacity]; from here on the thread's own */
    size_t n_tokens, capacity;
    size_t most;                /* tokens that those of the turn may become */
    smt_chat_message *messages; /* [n_messages], with their texts: the conversation so far */
    size_t n_messages;
};

/* ---- what is evaluated next ---- */

static smt_status add_message(view_talk *t, const char *role, const char *text, size_t bytes) {
    smt_chat_message *grown = realloc(t->messages, (t->n_messages + 1) * sizeof *grown);
    if (!grown) return SMT_MEMORY;
    t->messages = grown;
    char *copy = malloc(bytes + 1);
    if (!copy) return SMT_MEMORY;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    t->messages[t->n_messages++] = (smt_chat_message){.role = role, .content = copy};
    return SMT_OK;
}

/* The whole conversation with the new words; *out is the caller's. */
static smt_status make_prompt(view_talk *t, const char *words, int32_t **out, size_t *n, smt_error *err) {
    int32_t *added = NULL;
    size_t n_added;
    if (t->chat) {
        smt_status status = add_message(t, "user", words, strlen(words));
        smt_chat_request request = {.struct_size = sizeof request, .messages = t->messages, .n_messages = t->n_messages};
        return status == SMT_OK ? smt_chat_tokens(t->chat, &request, out, n, err) : status;
    }
    smt_status status =
        smt_tokenize(t->tokenizer, words, strlen(words), t->n_tokens ? 0 : SMT_TOKENIZE_BOS, &added, &n_added, err);
    if (status != SMT_OK) return status;
    *n = t->n_tokens + n_added;
    *out = malloc((*n + 1) * sizeof **out);
    if (*out && t->n_tokens) memcpy(*out, t->tokens, t->n_tokens * sizeof **out);
    if (*out && n_added) memcpy(*out + t->n_tokens, added, n_added * sizeof **out);
    smt_free(added);
    return *out ? SMT_OK : SMT_MEMORY;
}

/* At least one token is left to evaluate, as its logits are needed. */
static smt_status take_prompt(view_talk *t, const int32_t *prompt, size_t n, smt_error *err) {
    size_t same = 0;
    if (n == 0 || n > t->capacity) {
        snprintf(err->message, sizeof err->message, "%zu tokens do not fit a context of %zu: see -c", n, t->capacity);
        return n ? SMT_FULL : SMT_INVALID;
    }
    while (same < t->n_tokens && same + 1 < n && t->tokens[same] == prompt[same]) same++;
    smt_status status = smt_session_rewind(t->session, (uint32_t)same, err);
    if (status != SMT_OK) return status;
    memcpy(t->tokens, prompt, n * sizeof *prompt);
    t->n_tokens = n;
    return SMT_OK;
}

/* ---- the answer ---- */

static bool is_end(const view_talk *t, int32_t token) {
    return t->chat ? smt_chat_template_is_end(t->chat, token) : smt_tokenizer_is_end(t->tokenizer, token);
}

static bool take_token(void *user, const smt_generated *generated) {
    view_talk *t = user;
    atomic_store(&t->state, TALK_GENERATING);
    if (atomic_load(&t->stop) || is_end(t, generated->token) || t->n_tokens == t->most) return false;
    t->tokens[t->n_tokens++] = generated->token;
    return true;
}

static smt_status answer(view_talk *t, smt_error *err) {
    uint32_t held = smt_session_length(t->session);
    size_t room = t->capacity - t->n_tokens;
    int64_t wanted = t->options->n_predict;
    t->most = t->n_tokens + (wanted >= 0 && (uint64_t)wanted < room ? (size_t)wanted : room);
    const smt_generate request = {.struct_size = sizeof request,
                                  .tokens = t->tokens + held,
                                  .n_tokens = (uint32_t)t->n_tokens - held,
                                  .max_tokens = (uint32_t)(t->most - t->n_tokens) + 1,
                                  .on_token = take_token,
                                  .user = t};
    smt_end end;
    return smt_session_generate(t->session, t->sampler, &request, &end, err);
}

static smt_status remember_answer(view_talk *t, size_t first, smt_error *err) {
    char *text;
    size_t bytes;
    smt_status status = smt_detokenize(t->tokenizer, t->tokens + first, t->n_tokens - first, &text, &bytes, err);
    if (status != SMT_OK) return status;
    status = add_message(t, "assistant", text, bytes);
    smt_free(text);
    return status;
}

static smt_status turn(view_talk *t, const char *words, smt_error *err) {
    int32_t *prompt = NULL;
    size_t n = 0;
    smt_status status = make_prompt(t, words, &prompt, &n, err);
    if (status == SMT_OK) status = take_prompt(t, prompt, n, err);
    smt_free(prompt);
    if (status == SMT_OK) status = answer(t, err);
    return status == SMT_OK && t->chat ? remember_answer(t, n, err) : status;
}

/* ---- the thread ---- */

/* NULL: it is time to stop. */
static char *wait_for_words(view_talk *t) {
    SDL_LockMutex(t->mutex);
    while (!t->words && !atomic_load(&t->stop)) SDL_CondWait(t->changed, t->mutex);
    char *words = t->words;
    t->words = NULL;
    SDL_UnlockMutex(t->mutex);
    return words;
}

static int run(void *user) {
    view_talk *t = user;
    for (char *words; (words = wait_for_words(t));) {
        smt_error err = {0};
        smt_status status = turn(t, words, &err);
        free(words);
        bool stopped = atomic_load(&t->stop), failed = status != SMT_OK && !(status == SMT_CANCELLED && stopped);
        if (failed) snprintf(t->failure, sizeof t->failure, "%s", err.message[0] ? err.message : smt_status_text(status));
        atomic_store(&t->state, failed ? TALK_FAILED : TALK_WAITING);
        if (failed || stopped) break;
    }
    return 0;
}

static bool prepare(view_talk *t) {
    smt_runner_options runner;
    smt_runner_get_options(t->runner, &runner);
    t->capacity = runner.n_ctx;
    t->tokens = malloc(t->capacity * sizeof *t->tokens);
    t->mutex = SDL_CreateMutex();
    t->changed = SDL_CreateCond();
    if (!t->tokens || !t->mutex || !t->changed) return false;
    return !t->options->prompt || view_talk_say(t, t->options->prompt);
}

view_talk *view_talk_start(const view_options *options, smt_runner *runner, const smt_tokenizer *tokenizer,
                           const smt_chat_template *chat, smt_sampler *sampler, smt_session *session) {
    view_talk *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->options = options;
    t->runner = runner, t->tokenizer = tokenizer, t->chat = chat, t->sampler = sampler, t->session = session;
    atomic_init(&t->state, TALK_WAITING);
    if (prepare(t)) return t;
    view_talk_end(t);
    return NULL;
}

bool view_talk_begin(view_talk *t) {
    if (!t->thread) t->thread = SDL_CreateThread(run, "talk", t);
    return t->thread != NULL;
}

void view_talk_end(view_talk *t) {
    if (!t) return;
    atomic_store(&t->stop, true);
    if (t->thread) {
        smt_runner_cancel(t->runner);
        SDL_LockMutex(t->mutex);
        SDL_CondSignal(t->changed);
        SDL_UnlockMutex(t->mutex);
        SDL_WaitThread(t->thread, NULL);
    }
    if (t->changed) SDL_DestroyCond(t->changed);
    if (t->mutex) SDL_DestroyMutex(t->mutex);
    for (size_t i = 0; i < t->n_messages; i++) free((char *)t->messages[i].content);
    free(t->messages);
    free(t->words);
    free(t->tokens);
    free(t);
}

view_talk_state view_talk_get_state(const view_talk *t) { return (view_talk_state)atomic_load(&t->state); }

const char *view_talk_failure(const view_talk *t) { return t->failure; }

bool view_talk_say(view_talk *t, const char *words) {
    if (view_talk_get_state(t) != TALK_WAITING) return false;
    char *copy = strdup(words);
    if (!copy) return false;
    SDL_LockMutex(t->mutex);
    free(t->words);
    t->words = copy;
    atomic_store(&t->state, TALK_READING);
    SDL_CondSignal(t->changed);
    SDL_UnlockMutex(t->mutex);
    return true;
}
