/* api_chat.c: smt_chat_template_*, smt_chat_render, smt_chat_tokens and smt_fim_* over src/chat and src/token. */
#include "api_internal.h"

#include "chat/chat.h"

#include <stdio.h>
#include <string.h>

struct smt_chat_template {
    smt_chat *chat; /* owned */
};

/* ---- making one ---- */

/* The key of the file's template, or of its variant NAME; found stays false where there is none. */
static smt_status find_source(const smt_file *file, const char *variant, smt_gguf_string *out, bool *found, smt_error *err) {
    char key[128];
    int length = snprintf(key, sizeof key, "tokenizer.chat_template%s%s", variant ? "." : "", variant ? variant : "");
    *found = false;
    if ((size_t)length >= sizeof key) return SMT_OK; /* a program, not a name */
    return smt_gguf_text(file->gguf, key, out, found, err);
}

static smt_status choose_source(const smt_file *file, const char *source, smt_gguf_string *out, smt_error *err) {
    bool found;
    SMT_TRY(find_source(file, source, out, &found, err));
    if (found) return SMT_OK;
    if (!source)
        return SMT_FAIL(err, SMT_NOT_FOUND,
                        "%s has no chat template (tokenizer.chat_template); one can be named, such as deepseek2",
                        smt_gguf_part_path(file->gguf, 0));
    *out = (smt_gguf_string){source, strlen(source)};
    for (uint32_t i = 0; smt_chat_known(i); i++)
        if (!strcmp(source, smt_chat_known(i))) return SMT_OK;
    if (strchr(source, '{')) return SMT_OK;
    return SMT_FAIL(err, SMT_NOT_FOUND,
                    "the chat template \"%.60s\" is no program, no variant in %.200s and no name that we know", source,
                    smt_gguf_part_path(file->gguf, 0));
}

smt_status smt_chat_template_create(const smt_file *file, const smt_tokenizer *tokenizer, const char *source,
                                    smt_chat_template **out_template, smt_error *err) {
    smt_gguf_string text;
    *out_template = NULL;
    SMT_TRY(choose_source(file, source, &text, err));
    smt_chat_template *chat = smt_alloc(1, sizeof *chat);
    if (!chat) return SMT_FAIL(err, SMT_MEMORY, "out of memory making a chat template");
    smt_status status = smt_chat_create(text.text, text.bytes, tokenizer->vocab, &chat->chat, err);
    if (status == SMT_OK)
        *out_template = chat;
    else
        smt_chat_template_free(chat);
    return status;
}

void smt_chat_template_free(smt_chat_template *chat) {
    if (!chat) return;
    smt_chat_free(chat->chat);
    smt_free(chat);
}

const char *smt_chat_template_name(const smt_chat_template *chat) { return smt_chat_name(chat->chat); }
const char *smt_chat_template_stop(const smt_chat_template *chat, uint32_t index) { return smt_chat_stop(chat->chat, index); }
bool smt_chat_template_is_end(const smt_chat_template *chat, int32_t token) { return smt_chat_ends(chat->chat, token); }
const char *smt_chat_template_known(uint32_t index) { return smt_chat_known(index); }

/* ---- rendering ---- */

static smt_status copy_request(const smt_chat_request *given, smt_chat_request *out, smt_error *err) {
    SMT_TRY(smt_api_copy_options(out, sizeof *out, given, "smt_chat_request", err));
    if (out->n_messages && !out->messages)
        return SMT_FAIL(err, SMT_INVALID, "%zu messages, but no list of them", out->n_messages);
    return SMT_OK;
}

smt_status smt_chat_render(const smt_chat_template *chat, const smt_chat_request *request, char **out_text, size_t *out_bytes,
                           smt_error *err) {
    smt_chat_request known;
    *out_text = NULL;
    *out_bytes = 0;
    SMT_TRY(copy_request(request, &known, err));
    return smt_chat_text_of(chat->chat, &known, out_text, out_bytes, err);
}

smt_status smt_chat_tokens(const smt_chat_template *chat, const smt_chat_request *request, int32_t **out_tokens,
                           size_t *out_count, smt_error *err) {
    smt_chat_request known;
    *out_tokens = NULL;
    *out_count = 0;
    SMT_TRY(copy_request(request, &known, err));
    return smt_chat_encode(chat->chat, &known, out_tokens, out_count, err);
}

/* ---- filling in the middle ---- */

smt_status smt_fim_prompt(const smt_tokenizer *tokenizer, const smt_fim *request, int32_t **out_tokens, size_t *out_count,
                          smt_error *err) {
    smt_fim known;
    *out_tokens = NULL;
    *out_count = 0;
    SMT_TRY(smt_api_copy_options(&known, sizeof known, request, "smt_fim", err));
    if ((known.prefix_bytes && !known.prefix) || (known.suffix_bytes && !known.suffix))
        return SMT_FAIL(err, SMT_INVALID, "a prefix or suffix of some bytes, but no text");
    return smt_token_fim(tokenizer->vocab, &known, out_tokens, out_count, err);
}

/* The one large model of the family whose authors say that they left the task out of its training. Its 160 experts tell it from the
 * smaller one, which shares the vocabulary and was trained for it. */
const char *smt_fim_notice(const smt_file *file) {
    if (!file->model || file->model->n_experts != 160) return NULL;
    return "models of this size (160 experts) were trained without filling in the middle: what they write may not fit the gap";
}
