/* serve_prompt.c: from bodies to jobs: texts, token ids, gaps to fill and conversations become prompts of tokens that fit the context.
 *
 * A prompt in plain text is the client's own template, so special tokens in it count; messages of a conversation and the sides of a
 * gap are texts of users, in which nothing is special. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

static bool append(serve_tokens *list, const int32_t *more, size_t count) {
    int32_t *grown = realloc(list->at, (list->count + count + 1) * sizeof *grown);
    if (!grown) return false;
    if (count) memcpy(grown + list->count, more, count * sizeof *more);
    list->at = grown;
    list->count += count;
    return true;
}

bool serve_take_tokens(serve_tokens *out, smt_status status, const smt_error *err, int32_t *given, size_t count,
                       serve_error *error) {
    if (status != SMT_OK) return serve_fail_library(error, status, err);
    bool appended = append(out, given, count);
    smt_free(given);
    return appended || serve_fail_memory(error);
}

/* ---- prompts ---- */

static bool fits(const serve_server *server, size_t count, serve_error *error) {
    if (count == 0) return serve_fail(error, 400, "the prompt is empty, and this model has no token to begin with");
    if (count <= server->n_ctx) return true;
    serve_fail(error, 400, "the prompt has %zu tokens; this model's maximum context length is %u tokens", count, server->n_ctx);
    error->n_prompt = count;
    error->n_ctx = server->n_ctx;
    return false;
}

/* Clients that write the beginning token's text themselves get it once. */
static void one_beginning(const serve_server *server, serve_tokens *list) {
    if (server->bos < 0 || list->count < 2 || list->at[0] != server->bos || list->at[1] != server->bos) return;
    memmove(list->at, list->at + 1, --list->count * sizeof *list->at);
}

static bool read_text(const serve_server *server, const json_t *text, uint32_t flags, serve_tokens *out, serve_error *error) {
    int32_t *given;
    size_t count;
    smt_error err = {0};
    smt_status status = smt_tokenize(server->tokenizer, json_string_value(text), json_string_length(text),
                                     flags | SMT_TOKENIZE_SPECIAL, &given, &count, &err);
    if (!serve_take_tokens(out, status, &err, given, count, error)) return false;
    one_beginning(server, out);
    return true;
}

static bool append_part(const serve_server *server, const json_t *part, serve_tokens *out, serve_error *error) {
    if (json_is_string(part)) return read_text(server, part, out->count ? 0 : SMT_TOKENIZE_BOS, out, error);
    if (!json_is_integer(part)) return serve_fail(error, 400, "the prompt holds something that is neither a text nor a token id");
    json_int_t id = json_integer_value(part);
    if (id < 0 || id >= server->model.n_vocab)
        return serve_fail(error, 400, "the prompt: token %lld is outside the vocabulary of %u", (long long)id,
                          server->model.n_vocab);
    int32_t token = (int32_t)id;
    return append(out, &token, 1) || serve_fail_memory(error);
}

/* A text, or a list of token ids and texts. */
static bool read_prompt(const serve_server *server, const json_t *prompt, serve_tokens *out, serve_error *error) {
    if (json_is_string(prompt)) return read_text(server, prompt, SMT_TOKENIZE_BOS, out, error);
    if (!json_is_array(prompt)) return serve_fail(error, 400, "the prompt is neither a text nor a list");
    for (size_t i = 0; i < json_array_size(prompt); i++)
        if (!append_part(server, json_array_get(prompt, i), out, error)) return false;
    return true;
}

/* A list without token ids is a list of prompts. */
static bool is_list(const json_t *prompt) {
    for (size_t i = 0; i < json_array_size(prompt); i++)
        if (json_is_number(json_array_get(prompt, i))) return false;
    return json_is_array(prompt);
}

/* With "suffix": the text between the two. */
static bool read_gap(const serve_server *server, const json_t *prompt, const char *suffix, size_t suffix_bytes, serve_tokens *out,
                     serve_error *error) {
    if (!json_is_string(prompt)) return serve_fail(error, 400, "\"suffix\" goes with a prompt in text");
    smt_fim fim = {.struct_size = sizeof fim,
                   .prefix = json_string_value(prompt),
                   .prefix_bytes = json_string_length(prompt),
                   .suffix = suffix,
                   .suffix_bytes = suffix_bytes};
    int32_t *given;
    size_t count;
    smt_error err = {0};
    smt_status status = smt_fim_prompt(server->tokenizer, &fim, &given, &count, &err);
    return serve_take_tokens(out, status, &err, given, count, error);
}

/* ---- requests ---- */

serve_request *serve_open_request(serve_server *server, serve_params *params, size_t n, serve_error *error) {
    size_t n_jobs = n * params->n_choices, most = params->format == SERVE_EMBED ? SERVE_MAX_EMBED : SERVE_MAX_JOBS;
    serve_request *request = NULL;
    if (n_jobs == 0 || n > most || n_jobs > most)
        serve_fail(error, 400, "%zu prompts, %u answers to each: from 1 to %zu answers are possible", n, params->n_choices, most);
    else if (!(request = serve_request_create(server, (uint32_t)n_jobs)))
        serve_fail_memory(error);
    if (request)
        request->params = *params;
    else
        serve_params_end(params);
    return request;
}

bool serve_give_prompt(serve_request *request, size_t index, const serve_tokens *prompt, serve_error *error) {
    const serve_params *params = &request->params;
    if (!fits(request->server, prompt->count, error)) return false;
    for (uint32_t i = 0; i < params->n_choices; i++) {
        serve_job *job = &request->jobs[index * params->n_choices + i];
        serve_tokens copy = {0};
        if (!append(&copy, prompt->at, prompt->count)) return serve_fail_memory(error);
        job->prompt = copy.at;
        job->n_prompt = copy.count;
        job->seed = (uint64_t)params->seed + i;
        if (params->seed == -1 && !system_random(&job->seed)) return serve_fail_random(error);
    }
    return true;
}

serve_request *serve_open_with_prompts(serve_server *server, serve_params *params, const json_t *prompts, serve_error *error) {
    bool several = is_list(prompts);
    size_t n = several ? json_array_size(prompts) : 1;
    serve_request *request = serve_open_request(server, params, n, error);
    for (size_t i = 0; request && i < n; i++) {
        serve_tokens list = {0};
        bool good = read_prompt(server, several ? json_array_get(prompts, i) : prompts, &list, error) &&
                    serve_give_prompt(request, i, &list, error);
        free(list.at);
        if (good) continue;
        serve_request_free(request);
        request = NULL;
    }
    return request;
}

static serve_request *open_gap(serve_server *server, serve_params *params, const json_t *prompt, const char *suffix,
                               size_t suffix_bytes, serve_error *error) {
    serve_tokens list = {0};
    serve_request *request = serve_open_request(server, params, 1, error);
    bool good =
        request && read_gap(server, prompt, suffix, suffix_bytes, &list, error) && serve_give_prompt(request, 0, &list, error);
    free(list.at);
    if (request && !good) serve_request_free(request);
    return good ? request : NULL;
}

serve_request *serve_read_completion(serve_server *server, const json_t *body, serve_format format, serve_error *error) {
    const json_t *prompt = json_object_get(body, "prompt");
    const char *suffix = "";
    size_t suffix_bytes = 0;
    serve_params params;
    if (!prompt) return serve_fail(error, 400, "\"prompt\" is missing"), NULL;
    if (!serve_read_params(server, body, format, &params, error) ||
        !serve_get_text(body, "suffix", &suffix, &suffix_bytes, error))
        return serve_params_end(&params), NULL;
    if (json_is_array(prompt) && json_array_size(prompt) == 1 && suffix_bytes) prompt = json_array_get(prompt, 0);
    if (suffix_bytes) return open_gap(server, &params, prompt, suffix, suffix_bytes, error);
    return serve_open_with_prompts(server, &params, prompt, error);
}

/* ---- conversations ---- */

/* A body's conversation, as the template takes it. */
typedef struct conversation {
    serve_messages messages;
    char *variables; /* owned, as is the next; NULL: none */
    char *tools;
    smt_chat_request request;
} conversation;

/* "chat_template_kwargs", and behind them what the server was started with. */
static bool read_variables(const serve_server *server, const json_t *body, char **out, serve_error *error) {
    const json_t *given = json_object_get(body, "chat_template_kwargs");
    if (given && !json_is_null(given) && !json_is_object(given))
        return serve_fail(error, 400, "\"chat_template_kwargs\" is not an object");
    json_t *variables = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    json_t *others = server->options.variables ? json_loads(server->options.variables, 0, NULL) : json_object();
    bool good = variables && others && serve_spread_thinking(variables, body) && !json_object_update_missing(variables, others) &&
                serve_spread_thinking(variables, NULL);
    if (good && json_object_size(variables)) good = (*out = json_dumps(variables, JSON_COMPACT)) != NULL;
    json_decref(others);
    json_decref(variables);
    return good || serve_fail_memory(error);
}

static bool read_conversation(const serve_server *server, const json_t *body, conversation *out, serve_error *error) {
    char message[256];
    *out = (conversation){0};
    if (!server->chat) return serve_fail_library(error, SMT_NOT_FOUND, &server->chat_error);
    if (!serve_messages_read(json_object_get(body, "messages"), &out->messages, message, sizeof message))
        return serve_fail(error, 400, "%s", message);
    bool generates = true;
    serve_tools tools;
    if (!serve_tools_read(body, &tools, error) ||
        !serve_tools_retell(&tools, &server->habits, server->options.json_depth, &out->messages, error))
        return false;
    if (tools.list && server->habits.lists_tools && !(out->tools = json_dumps(tools.list, JSON_COMPACT)))
        return serve_fail_memory(error);
    if (!serve_get_bool(body, "add_generation_prompt", &generates, error)) return false;
    if (!read_variables(server, body, &out->variables, error)) return false;
    out->request = (smt_chat_request){.struct_size = sizeof out->request,
                                      .messages = out->messages.items,
                                      .n_messages = out->messages.count,
                                      .no_generation_prompt = !generates,
                                      .tools = out->tools,
                                      .variables = out->variables};
    return true;
}

static void end_conversation(conversation *c) {
    serve_messages_free(&c->messages);
    free(c->variables);
    free(c->tools);
}

bool serve_render(serve_server *server, const json_t *body, char **out_text, size_t *out_bytes, serve_error *error) {
    conversation c;
    smt_error err = {0};
    bool good = read_conversation(server, body, &c, error);
    if (good) {
        smt_status status = smt_chat_render(server->chat, &c.request, out_text, out_bytes, &err);
        good = status == SMT_OK || serve_fail_library(error, status, &err);
    }
    end_conversation(&c);
    return good;
}

static bool chat_tokens(serve_server *server, const json_t *body, serve_tokens *out, serve_error *error) {
    conversation c;
    smt_error err = {0};
    int32_t *given;
    size_t count;
    bool good = read_conversation(server, body, &c, error);
    if (good) {
        smt_status status = smt_chat_tokens(server->chat, &c.request, &given, &count, &err);
        good = serve_take_tokens(out, status, &err, given, count, error);
    }
    end_conversation(&c);
    return good;
}

/* Whether the prompt leads into a thought; by the request's variables it may do so where the template else knows of none. */
static bool look_behind(const serve_server *server, const serve_tokens *prompt, serve_params *params, serve_error *error) {
    smt_error err = {0};
    smt_status status = serve_thinking_after(server->tokenizer, prompt->at, prompt->count, &params->thinking, &err);
    if (params->reasoning == SERVE_REASONING_AUTO && params->thinking == SERVE_THINKS) params->thoughts = true;
    return status == SMT_OK || serve_fail_library(error, status, &err);
}

serve_request *serve_read_chat(serve_server *server, const json_t *body, serve_error *error) {
    serve_params params;
    serve_tokens list = {0};
    serve_request *request = NULL;
    bool good = serve_read_params(server, body, SERVE_CHAT, &params, error) && chat_tokens(server, body, &list, error) &&
                look_behind(server, &list, &params, error);
    for (uint32_t i = 0; good && smt_chat_template_stop(server->chat, i); i++)
        if (!serve_add_stop(&params, smt_chat_template_stop(server->chat, i))) good = serve_fail_memory(error);
    if (!good)
        serve_params_end(&params);
    else
        request = serve_open_request(server, &params, 1, error);
    if (request && !serve_give_prompt(request, 0, &list, error)) {
        serve_request_free(request);
        request = NULL;
    }
    free(list.at);
    return request;
}
