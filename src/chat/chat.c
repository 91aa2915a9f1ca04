/* chat.c: a template as others see it: made from a source, rendered with messages to text or to ids. */
#include "chat_internal.h"

#include <string.h>

struct smt_chat {
    smt_arena arena; /* owned: nodes and their texts */
    const smt_chat_node *body;
    const smt_chat_row *row; /* NULL: none we know */
    const smt_vocab *vocab;  /* borrowed; may be NULL */
};

/* ---- making one ---- */

smt_status smt_chat_create(const char *source, size_t bytes, const smt_vocab *vocab, smt_chat **out, smt_error *err) {
    *out = NULL;
    smt_chat *chat = smt_alloc(1, sizeof *chat);
    if (!chat) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a chat template");
    chat->vocab = vocab;
    chat->row = smt_chat_row_named(source, bytes);
    if (chat->row) {
        source = chat->row->source;
        bytes = strlen(source);
    } else {
        chat->row = smt_chat_row_of(source, bytes);
    }
    smt_chat_node *body = NULL;
    smt_status status = smt_chat_parse(source, bytes, &chat->arena, &body, err);
    chat->body = body;
    if (status == SMT_OK)
        *out = chat;
    else
        smt_chat_free(chat);
    return status;
}

void smt_chat_free(smt_chat *chat) {
    if (!chat) return;
    smt_arena_free(&chat->arena);
    smt_free(chat);
}

const char *smt_chat_name(const smt_chat *chat) { return chat->row ? chat->row->name : "custom"; }

const char *smt_chat_stop(const smt_chat *chat, uint32_t index) {
    return chat->row && index < SMT_COUNT(chat->row->stops) ? chat->row->stops[index] : NULL;
}

bool smt_chat_ends(const smt_chat *chat, int32_t token) {
    if (!chat->vocab || token < 0) return false;
    if (smt_vocab_is_end(chat->vocab, token)) return true;
    for (size_t i = 0; chat->row && i < SMT_COUNT(chat->row->turns) && chat->row->turns[i]; i++)
        if (smt_vocab_find(chat->vocab, chat->row->turns[i], strlen(chat->row->turns[i])) == token) return true;
    return false;
}

/* ---- what a template sees ---- */

static smt_status set_variable(smt_chat_run *run, const char *name, smt_chat_value value) {
    return smt_chat_variable_set(run, (smt_chat_text){name, NULL, strlen(name)}, value);
}

static smt_status set_given(smt_chat_run *run, const smt_chat_value *dict, const char *key, const char *text) {
    smt_chat_text copy;
    smt_chat_value value = {.kind = SMT_CHAT_NONE};
    if (text) {
        SMT_TRY(smt_chat_copy_given(run, text, strlen(text), &copy));
        value = smt_chat_string(copy);
    }
    return smt_chat_dict_set(run, 0, dict, (smt_chat_text){key, NULL, strlen(key)}, value);
}

/* The members of a JSON object, which may replace what is there. */
static smt_status set_members(smt_chat_run *run, const smt_chat_value *dict, const char *json, const char *what) {
    smt_chat_value object;
    if (!json) return SMT_OK;
    SMT_TRY(smt_chat_from_json(run, json, what, &object));
    if (object.kind != SMT_CHAT_DICT) return SMT_FAIL(run->err, SMT_INVALID, "%s: not a JSON object", what);
    for (size_t i = 0; i < object.dict->count; i++)
        SMT_TRY(smt_chat_dict_set(run, 0, dict, object.dict->entries[i].key, object.dict->entries[i].value));
    return SMT_OK;
}

static smt_status set_messages(smt_chat_run *run, const smt_chat_request *request) {
    smt_chat_value list, *items;
    SMT_TRY(smt_chat_list_make(run, request->n_messages, &list, &items));
    for (size_t i = 0; i < request->n_messages; i++) {
        const smt_chat_message *message = &request->messages[i];
        if (!message->role) return SMT_FAIL(run->err, SMT_INVALID, "message %zu has no role", i);
        SMT_TRY(smt_chat_dict_make(run, SMT_CHAT_DICT, &items[i]));
        SMT_TRY(set_given(run, &items[i], "role", message->role));
        SMT_TRY(set_given(run, &items[i], "content", message->content));
        SMT_TRY(set_members(run, &items[i], message->fields, "fields of a message"));
    }
    SMT_TRY(smt_chat_list_close(run, 0, &list));
    return set_variable(run, "messages", list);
}

static smt_chat_value token_text(const smt_vocab *vocab, int32_t id) {
    smt_chat_text text = {"", NULL, 0};
    if (vocab && id >= 0) text.text = smt_vocab_text(vocab, id, &text.bytes);
    return smt_chat_string(text);
}

static smt_status set_variables(smt_chat_run *run, const smt_chat *chat, const smt_chat_request *request) {
    smt_chat_value none = {.kind = SMT_CHAT_NONE}, tools = none, more;
    if (request->tools) SMT_TRY(smt_chat_from_json(run, request->tools, "tools", &tools));
    SMT_TRY(set_messages(run, request));
    SMT_TRY(set_variable(run, "tools", tools));
    SMT_TRY(set_variable(run, "documents", none));
    SMT_TRY(set_variable(run, "add_generation_prompt", smt_chat_bool(!request->no_generation_prompt)));
    SMT_TRY(set_variable(run, "bos_token", token_text(chat->vocab, chat->vocab ? smt_vocab_bos(chat->vocab) : -1)));
    SMT_TRY(set_variable(run, "eos_token", token_text(chat->vocab, chat->vocab ? smt_vocab_eos(chat->vocab) : -1)));
    SMT_TRY(smt_chat_dict_make(run, SMT_CHAT_DICT, &more));
    SMT_TRY(set_members(run, &more, request->variables, "variables"));
    for (size_t i = 0; i < more.dict->count; i++)
        SMT_TRY(smt_chat_variable_set(run, more.dict->entries[i].key, more.dict->entries[i].value));
    return SMT_OK;
}

/* ---- rendering ---- */

static size_t length(const char *text) { return text ? strlen(text) : 0; }

static uint64_t given_bytes(const smt_chat_request *request) {
    uint64_t bytes = length(request->tools) + length(request->variables);
    for (size_t i = 0; i < request->n_messages; i++)
        bytes += 64 + length(request->messages[i].content) + length(request->messages[i].fields);
    return bytes;
}

/* The result lives in the run's arena, also when nothing was printed. */
static smt_status render(const smt_chat *chat, const smt_chat_request *request, smt_chat_run *run, smt_chat_builder *out) {
    uint64_t given = given_bytes(request);
    run->max_work = SMT_CHAT_MAX_WORK + 8 * given;
    run->max_memory = SMT_CHAT_MAX_MEMORY + 64 * given;
    run->out = out;
    SMT_TRY(set_variables(run, chat, request));
    return smt_chat_run_body(run, chat->body);
}

static void finish(smt_chat_run *run) {
    smt_free(run->variables);
    smt_arena_free(&run->arena);
}

smt_status smt_chat_text_of(const smt_chat *chat, const smt_chat_request *request, char **out_text, size_t *out_bytes,
                            smt_error *err) {
    smt_chat_run run = {.err = err};
    smt_chat_builder built = {0};
    *out_text = NULL;
    *out_bytes = 0;
    smt_status status = render(chat, request, &run, &built);
    if (status == SMT_OK) {
        *out_text = smt_strndup(smt_chat_built(&built).text, built.bytes);
        if (*out_text)
            *out_bytes = built.bytes;
        else
            status = SMT_FAIL(err, SMT_MEMORY, "out of memory for a prompt of %zu bytes", built.bytes);
    }
    finish(&run);
    return status;
}

smt_status smt_chat_encode(const smt_chat *chat, const smt_chat_request *request, int32_t **out_tokens, size_t *out_count,
                           smt_error *err) {
    smt_chat_run run = {.err = err};
    smt_chat_builder built = {0};
    *out_tokens = NULL;
    *out_count = 0;
    smt_status status = chat->vocab ? render(chat, request, &run, &built)
                                    : SMT_FAIL(err, SMT_INVALID, "a chat template without a vocabulary makes no ids");
    smt_chat_text text = smt_chat_built(&built);
    if (status == SMT_OK)
        status = smt_token_encode_prompt(chat->vocab, text.text, text.given, text.bytes, out_tokens, out_count, err);
    finish(&run);
    return status;
}
