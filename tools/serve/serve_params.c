/* serve_params.c: how to answer: sampling, lengths, stop strings, what the answer shall tell. Names are those of OpenAI's interface and of
 * llama.cpp's server; what a request leaves out is as the command line has it. What is known but not there (other samplers, functions in their old form) is
 * refused by its name, since an answer without it would not be what was asked for. */
#include "serve_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void serve_params_end(serve_params *params) {
    for (uint32_t i = 0; i < params->n_stops; i++) free(params->stops[i]);
    free(params->stops);
    free(params->biases);
    smt_grammar_free(params->grammar);
    json_decref(params->fields);
    *params = (serve_params){0};
}

/* ---- what is refused ---- */

/* Samplers that are not there, with the value that switches each off. */
static bool refuse_samplers(const json_t *body, serve_error *error) {
    static const struct {
        const char *name;
        double off;
    } others[] = {{"mirostat", 0},        {"typical_p", 1},      {"tfs_z", 1},          {"dynatemp_range", 0},
                  {"xtc_probability", 0}, {"dry_multiplier", 0}, {"top_n_sigma", -1.0}, {"adaptive_target", -1.0}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        double value = others[i].off;
        if (!serve_get_real(body, others[i].name, -INFINITY, INFINITY, &value, error)) return false;
        if (value != others[i].off)
            return serve_fail(error, 400, "\"%s\" is not supported; leave it out, or set it to %g", others[i].name,
                              others[i].off);
    }
    return true;
}

static bool is_set(const json_t *value) {
    if (json_is_string(value)) return json_string_length(value) > 0;
    if (json_is_array(value)) return json_array_size(value) > 0;
    return value && !json_is_null(value) && !json_is_false(value);
}

static bool refuse_others(const json_t *body, serve_format format, serve_error *error) {
    static const char *const names[] = {"echo", "lora", "audio", "post_sampling_probs"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_set(json_object_get(body, names[i]))) return serve_fail(error, 400, "\"%s\" is not supported", names[i]);
    if (is_set(json_object_get(body, "functions")) || is_set(json_object_get(body, "function_call")))
        return serve_fail(error, 400,
                          "\"functions\" and \"function_call\" are not supported; their successors are \"tools\" and "
                          "\"tool_choice\"");
    if (format != SERVE_CHAT && is_set(json_object_get(body, "tools")))
        return serve_fail(error, 400, "\"tools\" are for conversations (/v1/chat/completions)");
    return true;
}

/* ---- lists ---- */

static bool add_stop(serve_params *params, const json_t *text, serve_error *error) {
    if (!json_is_string(text)) return serve_fail(error, 400, "\"stop\" is neither a string nor a list of strings");
    if (json_string_length(text) == 0) return true; /* clients send what their users left empty */
    if (params->n_stops == SERVE_MAX_STOPS) return serve_fail(error, 400, "\"stop\" has more than %d strings", SERVE_MAX_STOPS);
    return serve_add_stop(params, json_string_value(text)) || serve_fail_memory(error);
}

bool serve_add_stop(serve_params *params, const char *text) {
    char **grown = realloc(params->stops, (params->n_stops + 1) * sizeof *grown);
    if (!grown) return false;
    params->stops = grown;
    grown[params->n_stops] = strdup(text);
    if (!grown[params->n_stops]) return false;
    params->n_stops++;
    return true;
}

static bool read_stops(const json_t *body, serve_params *params, serve_error *error) {
    const json_t *stop = json_object_get(body, "stop");
    if (!stop || json_is_null(stop)) return true;
    if (!json_is_array(stop)) return add_stop(params, stop, error);
    for (size_t i = 0; i < json_array_size(stop); i++)
        if (!add_stop(params, json_array_get(stop, i), error)) return false;
    return true;
}

static bool add_bias(serve_params *params, int64_t token, double bias) {
    uint32_t n = params->sampling.n_biases;
    smt_logit_bias *grown = realloc(params->biases, (n + 1) * sizeof *grown);
    if (!grown) return false;
    params->biases = grown;
    grown[n] = (smt_logit_bias){(int32_t)token, (float)bias};
    params->sampling.n_biases++;
    return true;
}

static bool bias_token(const serve_server *server, serve_params *params, int64_t token, const json_t *value, serve_error *error) {
    if (token < 0 || token >= server->model.n_vocab)
        return serve_fail(error, 400, "\"logit_bias\": token %lld is outside the vocabulary of %u", (long long)token,
                          server->model.n_vocab);
    if (!json_is_number(value) && !json_is_false(value))
        return serve_fail(error, 400, "\"logit_bias\" of token %lld is neither a number nor false", (long long)token);
    double bias = json_is_false(value) ? -INFINITY : json_number_value(value);
    return add_bias(params, token, bias) || serve_fail_memory(error);
}

/* "15043": an id, as OpenAI writes it. */
static bool parse_id(const char *text, int64_t *token) {
    char *end;
    errno = 0;
    *token = strtoll(text, &end, 10);
    return errno == 0 && *end == 0 && end > text;
}

/* A text: every token of it. */
static bool bias_text(const serve_server *server, serve_params *params, const json_t *text, const json_t *value,
                      serve_error *error) {
    int32_t *tokens;
    size_t count;
    smt_error err = {0};
    smt_status status =
        smt_tokenize(server->tokenizer, json_string_value(text), json_string_length(text), 0, &tokens, &count, &err);
    if (status != SMT_OK) return serve_fail_library(error, status, &err);
    bool good = true;
    for (size_t i = 0; i < count && good; i++) good = bias_token(server, params, tokens[i], value, error);
    smt_free(tokens);
    return good;
}

/* {"15043": -100} or [[15043, -100], ["Hello", false]]. */
static bool read_biases(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    json_t *list = json_object_get(body, "logit_bias"), *value;
    const char *key;
    if (!list || json_is_null(list)) return true;
    json_object_foreach(list, key, value) {
        int64_t token;
        if (!parse_id(key, &token)) return serve_fail(error, 400, "\"logit_bias\": \"%.60s\" is not a token id", key);
        if (!bias_token(server, params, token, value, error)) return false;
    }
    if (!json_is_object(list) && !json_is_array(list)) return serve_fail(error, 400, "\"logit_bias\" is no object and no list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i), *what = json_array_get(pair, 0), *bias = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || (!json_is_integer(what) && !json_is_string(what)))
            return serve_fail(error, 400, "\"logit_bias\": entry %zu is not [token, bias]", i);
        bool good = json_is_string(what) ? bias_text(server, params, what, bias, error)
                                         : bias_token(server, params, json_integer_value(what), bias, error);
        if (!good) return false;
    }
    return true;
}

/* "response_fields": the members that a client of the native routes wants, inner ones as "timings/prompt_n". */
static bool read_fields(const json_t *body, serve_params *params, serve_error *error) {
    json_t *fields = json_object_get(body, "response_fields");
    if (!fields || json_is_null(fields)) return true;
    bool good = json_is_array(fields);
    for (size_t i = 0; i < json_array_size(fields); i++) good = good && json_is_string(json_array_get(fields, i));
    if (!good) return serve_fail(error, 400, "\"response_fields\" is not a list of names");
    params->fields = json_array_size(fields) ? json_incref(fields) : NULL;
    return true;
}

static bool ban_ends(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    if (!serve_get_bool(body, "ignore_eos", &params->ignore_eos, error)) return false;
    for (uint32_t i = 0; params->ignore_eos && i < smt_tokenizer_size(server->tokenizer); i++)
        if (smt_tokenizer_is_end(server->tokenizer, (int32_t)i) && !add_bias(params, i, -INFINITY))
            return serve_fail_memory(error);
    return true;
}

/* ---- numbers ---- */

static bool read_sampling(const json_t *body, smt_sampler_options *s, serve_error *error) {
    double temperature = s->temperature, top_p = s->top_p, min_p = s->min_p, repeat = s->repeat_penalty,
           presence = s->presence_penalty, frequency = s->frequency_penalty;
    int64_t top_k = s->top_k, window = s->repeat_last ? (int64_t)s->repeat_last : 64;
    if (s->repeat_last == UINT32_MAX) window = -1;
    bool good = serve_get_real(body, "temperature", 0, 1e6, &temperature, error) &&
                serve_get_real(body, "top_p", 0, 1, &top_p, error) && serve_get_real(body, "min_p", 0, 1, &min_p, error) &&
                serve_get_real(body, "repeat_penalty", 0, 1e6, &repeat, error) &&
                serve_get_real(body, "presence_penalty", -1e6, 1e6, &presence, error) &&
                serve_get_real(body, "frequency_penalty", -1e6, 1e6, &frequency, error) &&
                serve_get_integer(body, "top_k", -1, INT32_MAX, &top_k, error) &&
                serve_get_integer(body, "repeat_last_n", -1, INT32_MAX, &window, error);
    if (!good) return false;
    s->temperature = (float)temperature;
    s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
    s->top_p = (float)top_p;
    s->min_p = (float)min_p;
    s->repeat_penalty = window ? (float)repeat : 0;
    s->presence_penalty = window ? (float)presence : 0;
    s->frequency_penalty = window ? (float)frequency : 0;
    s->repeat_last = window < 0 ? UINT32_MAX : (uint32_t)window;
    return true;
}

/* Log-probabilities have three spellings: true with "top_logprobs" (chat), a number (completions), "n_probs" (native). */
static bool read_logprobs(const json_t *body, serve_params *params, serve_error *error) {
    int64_t n = 0;
    switch (params->format) {
    case SERVE_CHAT:
        if (!serve_get_bool(body, "logprobs", &params->logprobs, error)) return false;
        if (!serve_get_integer(body, "top_logprobs", 0, SERVE_MAX_TOP, &n, error)) return false;
        if (n && !params->logprobs) return serve_fail(error, 400, "\"top_logprobs\" goes with \"logprobs\": true");
        break;
    case SERVE_COMPLETION:
        if (json_is_boolean(json_object_get(body, "logprobs"))) {
            params->logprobs = json_is_true(json_object_get(body, "logprobs"));
            break;
        }
        n = -1;
        if (!serve_get_integer(body, "logprobs", 0, SERVE_MAX_TOP, &n, error)) return false;
        params->logprobs = n >= 0;
        break;
    case SERVE_NATIVE:
        if (!serve_get_integer(body, "n_probs", 0, SERVE_MAX_TOP, &n, error)) return false;
        params->logprobs = n > 0;
        break;
    case SERVE_EMBED:
        break;
    }
    params->n_top = n > 0 ? (uint32_t)n : 0;
    return true;
}

static bool read_lengths(const json_t *body, serve_params *params, serve_error *error) {
    int64_t predict_ms = 0, n = 1, best = 1;
    bool good = serve_get_integer(body, "n_predict", -1, INT32_MAX, &params->n_predict, error) &&
                serve_get_integer(body, "max_tokens", -1, INT32_MAX, &params->n_predict, error) &&
                serve_get_integer(body, "max_completion_tokens", -1, INT32_MAX, &params->n_predict, error) &&
                serve_get_integer(body, "t_max_predict_ms", -1, INT32_MAX, &predict_ms, error) &&
                serve_get_integer(body, "seed", INT64_MIN, INT64_MAX, &params->seed, error) &&
                serve_get_integer(body, "n", 1, SERVE_MAX_JOBS, &n, error) &&
                serve_get_integer(body, "best_of", 1, SERVE_MAX_JOBS, &best, error);
    if (!good) return false;
    if (best > n) return serve_fail(error, 400, "\"best_of\" is not supported beyond \"n\"");
    params->predict_s = predict_ms > 0 ? (double)predict_ms / 1000 : 0;
    params->n_choices = (uint32_t)n;
    return true;
}

bool serve_reasoning_named(const char *name, serve_reasoning *out) {
    static const char *const names[] = {
        [SERVE_REASONING_AUTO] = "auto", [SERVE_REASONING_NONE] = "none", [SERVE_REASONING_DEEPSEEK] = "deepseek"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i])) continue;
        *out = (serve_reasoning)i;
        return true;
    }
    return false;
}

bool serve_tells_thoughts(const serve_server *server, serve_reasoning which) {
    if (which != SERVE_REASONING_AUTO) return which == SERVE_REASONING_DEEPSEEK;
    return server->habits.thinks || server->think >= 0;
}

static bool read_reasoning(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    serve_reasoning which = server->options.reasoning;
    const char *name = NULL;
    size_t bytes;
    if (params->format != SERVE_CHAT) return true;
    if (!serve_get_text(body, "reasoning_format", &name, &bytes, error)) return false;
    if (name && !serve_reasoning_named(name, &which))
        return serve_fail(error, 400, "\"reasoning_format\" %.40s is not supported; there are none, deepseek and auto", name);
    params->reasoning = which;
    params->thoughts = serve_tells_thoughts(server, which);
    return true;
}

static bool read_flags(const serve_server *server, const json_t *body, serve_params *params, serve_error *error) {
    const json_t *options = json_object_get(body, "stream_options");
    return serve_get_integer(body, "id_slot", -1, (int64_t)server->n_slots - 1, &params->slot, error) &&
           serve_get_bool(body, "stream", &params->stream, error) &&
           serve_get_bool(body, "cache_prompt", &params->reuse, error) &&
           serve_get_bool(body, "return_tokens", &params->return_tokens, error) &&
           serve_get_bool(body, "timings_per_token", &params->timings, error) && read_reasoning(server, body, params, error) &&
           (!json_is_object(options) || serve_get_bool(options, "include_usage", &params->include_usage, error));
}

bool serve_read_params(const serve_server *server, const json_t *body, serve_format format, serve_params *out,
                       serve_error *error) {
    static const char *const prefixes[] = {
        [SERVE_NATIVE] = "cmpl-", [SERVE_COMPLETION] = "cmpl-", [SERVE_CHAT] = "chatcmpl-", [SERVE_EMBED] = "embd-"};
    *out = (serve_params){.format = format,
                          .reuse = true,
                          .n_predict = server->options.n_predict,
                          .seed = -1,
                          .slot = -1,
                          .sampling = server->options.sampling,
                          .created = time(NULL)};
    out->sampling.struct_size = sizeof out->sampling;
    if (!serve_draw_id(prefixes[format], out->id, sizeof out->id)) return serve_fail_random(error);
    bool good = refuse_others(body, format, error) && refuse_samplers(body, error) && read_flags(server, body, out, error) &&
                read_lengths(body, out, error) && read_logprobs(body, out, error) && read_sampling(body, &out->sampling, error) &&
                read_stops(body, out, error) && read_biases(server, body, out, error) && read_fields(body, out, error) &&
                ban_ends(server, body, out, error) && (format == SERVE_EMBED || serve_read_grammar(server, body, out, error));
    out->sampling.biases = out->biases;
    return good;
}

/* As it was given: 0.8, and not the nearest number of a float's. */
static json_t *number(float value) {
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

json_t *serve_settings(const serve_params *params) {
    const smt_sampler_options *s = &params->sampling;
    json_t *stops = json_array();
    for (uint32_t i = 0; i < params->n_stops; i++) json_array_append_new(stops, json_string(params->stops[i]));
    return json_pack("{s:I, s:o, s:i, s:o, s:o, s:o, s:i, s:o, s:o, s:I, s:I, s:b, s:b, s:i, s:o, s:b, s:s}", "seed",
                     (json_int_t)params->seed, "temperature", number(s->temperature), "top_k", (int)s->top_k, "top_p",
                     number(s->top_p), "min_p", number(s->min_p), "repeat_penalty", number(s->repeat_penalty), "repeat_last_n",
                     s->repeat_last == UINT32_MAX ? -1 : (int)s->repeat_last, "presence_penalty", number(s->presence_penalty),
                     "frequency_penalty", number(s->frequency_penalty), "n_predict", (json_int_t)params->n_predict, "max_tokens",
                     (json_int_t)params->n_predict, "ignore_eos", params->ignore_eos, "stream", params->stream, "n_probs",
                     (int)params->n_top, "stop", stops, "timings_per_token", params->timings, "reasoning_format",
                     params->thoughts ? "deepseek" : "none");
}
