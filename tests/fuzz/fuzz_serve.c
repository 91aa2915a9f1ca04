/* fuzz_serve.c: any bytes as the body of a request to every route of the server that reads one; and bodies that are JSON with members that
 * the routes know, put together as the bytes say. A body is either a request whose prompts fit, or a 400 that can be told. Nothing may
 * crash or be lost. There is no engine behind it: what is fuzzed ends where a request would be submitted. */
#include "corpus.h"
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

#define N_CTX      256
#define DEPTH      64
#define MAX_BODIES 16 /* of one input, which may be a long file */

/* ---- a body of known members ---- */

/* Lists, with a blank behind each entry. */
static const char names[] =
    "prompt suffix n_predict max_tokens temperature top_k top_p repeat_last_n seed n best_of stop stream "
    "stream_options include_usage logit_bias logprobs top_logprobs n_probs response_fields ignore_eos grammar "
    "json_schema response_format schema messages role content text name tool_calls function arguments "
    "parameters tools tool_choice chat_template_kwargs add_generation_prompt input_prefix input_suffix "
    "input_extra filename input dimensions tokens type properties required enum const items prefixItems anyOf "
    "allOf $ref $defs pattern format minItems maxItems minLength maxLength minimum maximum "
    "additionalProperties parallel_tool_calls tool_call_id reasoning_format reasoning_content thinking enable_thinking "
    "timings_per_token ";
static const char words[] =
    "null true false 0 1 -1 2 0.5 1e30 9007199254740993 -9223372036854775808 \"\" \"x\" \"user\" \"system\" \"tool\" \"text\" "
    "\"def\\n\" \"object\" \"array\" \"string\" \"integer\" \"json_schema\" \"json_object\" \"#/$defs/a\" \"#\" "
    "\"root::=\\\"a\\\"root|[b-z]*\" \"^[a-z]{2,9}$\" \"date-time\" \"\\ud83d\\ude00\" \"<\\uff5cUser\\uff5c>\" \"auto\" "
    "\"required\" \"deepseek\" \"none\" \"disabled\" \"<think>\" [] {} ";
static const char types[] =
    "\"object\" \"array\" \"string\" \"integer\" \"number\" \"boolean\" \"null\" \"text\" \"json_object\" "
    "\"json_schema\" [\"string\",\"null\"] \"function\" ";

typedef struct maker {
    const uint8_t *at, *end;
    uint32_t state; /* what follows where the bytes are used up: few of them make whole bodies too */
    serve_text out;
} maker;

static unsigned next(maker *m, size_t n) {
    m->state = m->state * 1664525u + 1013904223u + (m->at < m->end ? *m->at : 0);
    return (m->at < m->end ? *m->at++ : m->state >> 24) % (unsigned)n;
}

static void write_text(maker *m, const char *text) {
    if (!serve_append(&m->out, text, strlen(text))) abort();
}

/* One of a list: the next whole entry from some place on. */
static void write_one(maker *m, const char *list) {
    const char *at = strchr(list + next(m, 256) * (strlen(list) - 1) / 256, ' ') + 1;
    if (!*at) at = list;
    if (!serve_append(&m->out, at, strcspn(at, " "))) abort();
}

/* A few bytes of the input: as they are, or each as a letter that grammars, patterns and stop strings are made of. */
static void write_bytes(maker *m, bool raw) {
    static const char letters[] = "abcxyz019 .:=|*+?()[]{}-^$/<>#_,;&!~'ABC";
    write_text(m, "\"");
    for (unsigned n = next(m, 24); n; n--) {
        char c = raw ? (char)next(m, 256) : letters[next(m, sizeof letters - 1)];
        if (!serve_append(&m->out, &c, 1)) abort();
    }
    write_text(m, "\"");
}

static void write_value(maker *m, unsigned depth);

static void write_member(maker *m, unsigned depth) {
    write_text(m, ",\"");
    write_one(m, names);
    write_text(m, "\":");
    write_value(m, depth + 1);
}

/* A schema, mostly; a name that comes twice counts the second time. */
static void write_object(maker *m, unsigned depth) {
    write_text(m, "{\"type\":");
    write_one(m, types);
    for (unsigned n = next(m, 5); n; n--) write_member(m, depth);
    write_text(m, "}");
}

static void write_list(maker *m, unsigned depth) {
    write_text(m, "[");
    for (unsigned n = next(m, 4), i = 0; i < n; i++) {
        if (i) write_text(m, ",");
        write_value(m, depth + 1);
    }
    write_text(m, "]");
}

static void write_value(maker *m, unsigned depth) {
    unsigned kind = next(m, 16);
    if (kind < 5 && depth < 6)
        write_object(m, depth);
    else if (kind < 7 && depth < 6)
        write_list(m, depth);
    else if (kind < 9)
        write_bytes(m, kind == 8);
    else
        write_one(m, words);
}

/* What every route asks for is there, and something else, or the same once more. */
static void write_body(maker *m) {
    m->out.bytes = 0;
    write_text(m, "{\"prompt\":\"def \",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],");
    write_text(m, "\"input\":[\"x\",[5]],\"content\":\"x\",\"tokens\":[5]");
    for (unsigned n = next(m, 4); n; n--) write_member(m, 0);
    static const char *const schemas[][2] = {
        {",\"json_schema\":", ""}, {",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":", "}}]"}};
    unsigned i = next(m, 6);
    if (i < 2) {
        write_text(m, schemas[i][0]);
        write_object(m, 0);
        write_text(m, schemas[i][1]);
    }
    write_text(m, "}");
}

/* ---- the server ---- */

/* Made once: what requests are read with. */
static serve_server *get_server(void) {
    static serve_server server;
    smt_file *file;
    smt_error err = {0};
    if (server.tokenizer) return &server;
    server = (serve_server){.state = SERVE_READY, .n_ctx = N_CTX, .n_batch = 64, .bos = -1, .think = -1};
    server.options =
        (serve_options){.json_depth = DEPTH, .n_predict = -1, .sampling = {.struct_size = sizeof(smt_sampler_options)}};
    if (smt_file_open(SMT_TEST_DATA "/../../assets/seamount-coder.gguf", &file, &err) != SMT_OK) abort();
    if (smt_tokenizer_create(file, &server.tokenizer, &err) != SMT_OK) abort();
    if (smt_chat_template_create(file, server.tokenizer, "deepseek2", &server.chat, &err) != SMT_OK) abort();
    server.model.n_vocab = (uint32_t)smt_tokenizer_size(server.tokenizer);
    server.model.n_embd = 64;
    smt_file_free(file);
    serve_learn_habits(server.chat, &server.habits);
    return &server;
}

/* ---- what has to hold ---- */

static void check_error(const serve_error *error) {
    json_t *document = serve_error_json(error);
    char *text = document ? json_dumps(document, 0) : NULL;
    if (error->code != 400 || !error->message[0] || !text) abort();
    free(text);
    json_decref(document);
}

static void check_request(const serve_server *server, serve_request *request, const serve_error *error) {
    if (!request) {
        check_error(error);
        return;
    }
    for (uint32_t i = 0; i < request->n_jobs; i++) {
        const serve_job *job = &request->jobs[i];
        if (job->n_prompt == 0 || job->n_prompt > N_CTX) abort();
        for (size_t k = 0; k < job->n_prompt; k++)
            if (job->prompt[k] < 0 || (uint32_t)job->prompt[k] >= server->model.n_vocab) abort();
    }
    json_t *settings = serve_settings(&request->params);
    if (!settings) abort();
    json_decref(settings);
    serve_request_free(request);
}

static void check_route(serve_server *server, const char *path, const json_t *body) {
    serve_error error = {0};
    serve_call call = {.server = server};
    struct MHD_Response *stream = NULL;
    json_t *document = serve_find_route("POST", path, &error)->run(&call, body, &stream, &error);
    if (!document) check_error(&error);
    json_decref(document);
}

static void use(serve_server *server, const char *text, size_t bytes) {
    serve_error error = {0};
    json_t *body = serve_parse("the body", text, bytes, DEPTH, &error);
    if (!body) {
        check_error(&error);
        return;
    }
    check_request(server, serve_read_completion(server, body, SERVE_NATIVE, &error), &error);
    check_request(server, serve_read_completion(server, body, SERVE_COMPLETION, &error), &error);
    check_request(server, serve_read_chat(server, body, &error), &error);
    check_request(server, serve_read_infill(server, body, &error), &error);
    check_request(server, serve_read_embed(server, body, &error), &error);
    check_route(server, "/tokenize", body);
    check_route(server, "/detokenize", body);
    check_route(server, "/apply-template", body);
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    serve_server *server = get_server();
    maker m = {.at = data, .end = data + size};
    use(server, (const char *)data, size);
    for (int i = 0; i < MAX_BODIES && (i == 0 || m.at < m.end); i++) {
        write_body(&m);
        use(server, m.out.at, m.out.bytes);
    }
    free(m.out.at);
    return 0;
}
