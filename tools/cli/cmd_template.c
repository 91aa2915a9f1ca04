/* cmd_template.c: `template`: the prompt that a conversation becomes by the model's chat template. Needs neither tensors nor Vulkan.
 *
 * The messages are a JSON array, or the body of a chat request: an object with "messages", and possibly "tools",
 * "add_generation_prompt", "chat_template_kwargs" and "thinking". On stdout the text, byte for byte; with --json also the tokens, in which no
 * message can forge a turn, and what ends an answer. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* Everything owned. */
typedef struct rendering {
    smt_file *file;
    smt_tokenizer *tokenizer;
    smt_chat_template *chat;
    serve_messages messages;
    char *tools, *variables;
    smt_chat_request request;
} rendering;

static void end_rendering(rendering *r) {
    smt_chat_template_free(r->chat);
    smt_tokenizer_free(r->tokenizer);
    smt_file_free(r->file);
    serve_messages_free(&r->messages);
    free(r->tools);
    free(r->variables);
}

bool cli_messages_read(const json_t *list, serve_messages *out) {
    char message[256];
    return serve_messages_read(list, out, message, sizeof message) || (cli_fail(CLI_FAILED, "%s", message), false);
}

/* A member of the request as JSON text; *out NULL where it is not there. */
static bool dump_member(const json_t *body, const char *name, char **out) {
    const json_t *member = json_object_get(body, name);
    *out = member && !json_is_null(member) ? json_dumps(member, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (member && !json_is_null(member) && !*out) return cli_fail(CLI_FAILED, "out of memory"), false;
    return true;
}

/* Among the variables, which are there then. */
static bool spread_thinking(json_t *body) {
    static const char name[] = "chat_template_kwargs";
    const json_t *given = json_object_get(body, name);
    bool good = (given && !json_is_null(given)) || json_object_set_new(body, name, json_object()) == 0;
    json_t *variables = json_object_get(body, name);
    return (good && (!json_is_object(variables) || serve_spread_thinking(variables, body))) || (cli_no_memory(), false);
}

static bool read_body(const cli_args *args, json_t *body, rendering *r) {
    bool is_request = json_is_object(body);
    if (!cli_messages_read(is_request ? json_object_get(body, "messages") : body, &r->messages)) return false;
    if (is_request && !dump_member(body, "tools", &r->tools)) return false;
    if (is_request && (!spread_thinking(body) || !dump_member(body, "chat_template_kwargs", &r->variables))) return false;
    bool ends = cli_flag(args, OPT_NO_GENERATION_PROMPT) || json_is_false(json_object_get(body, "add_generation_prompt"));
    r->request = (smt_chat_request){.struct_size = sizeof r->request,
                                    .messages = r->messages.items,
                                    .n_messages = r->messages.count,
                                    .no_generation_prompt = ends,
                                    .tools = r->tools,
                                    .variables = r->variables};
    return true;
}

static bool read_request(const cli_args *args, rendering *r) {
    char *text;
    size_t bytes;
    json_error_t problem;
    if (!cli_read_file(cli_text(args, OPT_MESSAGES), &text, &bytes)) return false;
    json_t *body = json_loadb(text, bytes, 0, &problem);
    free(text);
    if (!body) return cli_fail(CLI_FAILED, "%s: line %d: %s", cli_text(args, OPT_MESSAGES), problem.line, problem.text), false;
    bool good = read_body(args, body, r);
    json_decref(body);
    return good;
}

int cli_chat_template(const cli_args *args, const smt_file *file, const smt_tokenizer *tokenizer, smt_chat_template **out) {
    cli_option which;
    char *text = NULL;
    size_t bytes;
    smt_error err = {0};
    *out = NULL;
    if (!cli_either(args, OPT_CHAT_TEMPLATE, OPT_CHAT_TEMPLATE_FILE, &which)) return CLI_WRONG;
    if (which == OPT_CHAT_TEMPLATE_FILE && !cli_read_file(cli_text(args, which), &text, &bytes)) return CLI_FAILED;
    const char *source = which == OPT_CHAT_TEMPLATE ? cli_text(args, which) : text;
    smt_status status = smt_chat_template_create(file, tokenizer, source, out, &err);
    free(text);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

int cli_chat_variables(const cli_args *args, char **out) {
    const char *given = cli_text(args, OPT_CHAT_TEMPLATE_KWARGS);
    json_t *variables = given ? json_loads(given, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool good = !given || json_is_object(variables);
    *out = good && variables && serve_spread_thinking(variables, NULL) ? json_dumps(variables, JSON_COMPACT) : NULL;
    json_decref(variables);
    if (!good) return cli_fail(CLI_WRONG, "--chat-template-kwargs: %.100s is no JSON object", given);
    return !given || *out ? CLI_DONE : cli_no_memory();
}

static int print_text(const rendering *r) {
    char *text;
    size_t bytes;
    smt_error err = {0};
    smt_status status = smt_chat_render(r->chat, &r->request, &text, &bytes, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    bool written = cli_write(text, bytes);
    smt_free(text);
    return written ? CLI_DONE : CLI_FAILED;
}

static int print_json(const rendering *r) {
    char *text;
    size_t bytes, count;
    int32_t *ids;
    smt_error err = {0};
    smt_status status = smt_chat_render(r->chat, &r->request, &text, &bytes, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    json_t *prompt = cli_json_text(text), *tokens = json_array(), *stops = json_array();
    smt_free(text);
    status = smt_chat_tokens(r->chat, &r->request, &ids, &count, &err);
    for (size_t i = 0; i < count; i++) json_array_append_new(tokens, json_integer(ids[i]));
    smt_free(ids);
    for (uint32_t i = 0; smt_chat_template_stop(r->chat, i); i++)
        json_array_append_new(stops, json_string(smt_chat_template_stop(r->chat, i)));
    json_t *document = json_pack("{s:s, s:o, s:o, s:o}", "template", smt_chat_template_name(r->chat), "prompt", prompt, "tokens",
                                 tokens, "stop", stops);
    if (status == SMT_OK) return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
    json_decref(document);
    return cli_fail_library(status, &err);
}

static int render(const cli_args *args, rendering *r) {
    smt_error err = {0};
    if (!read_request(args, r)) return CLI_FAILED;
    smt_status made = smt_file_open(cli_model(args), &r->file, &err);
    if (made == SMT_OK) made = smt_tokenizer_create(r->file, &r->tokenizer, &err);
    if (made != SMT_OK) return cli_fail_library(made, &err);
    cli_notice_vocabulary(r->file);
    int status = cli_chat_template(args, r->file, r->tokenizer, &r->chat);
    if (status != CLI_DONE) return status;
    return cli_flag(args, OPT_JSON) ? print_json(r) : print_text(r);
}

int cmd_template(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    if (!cli_given(args, OPT_MESSAGES)) return cli_fail(CLI_WRONG, "messages are needed: --messages FILE, - for standard input");
    rendering r = {0};
    int status = render(args, &r);
    end_rendering(&r);
    return status;
}
