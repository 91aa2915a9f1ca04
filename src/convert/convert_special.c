/* convert_special.c: the tokenizer keys about single tokens: beginning, end, padding, fill-in-the-middle; whether texts begin and
 * end with them; and the chat templates.
 *
 * Several files may know. The texts in tokenizer_config.json count first, then ids in config.json, then in generation_config.json;
 * further end tokens are what the lists of the latter two hold besides. Where the tokenizer is to add the beginning token is said
 * by tokenizer_config.json, or by the template of the post-processor. */
#include "convert_internal.h"

#include <stdio.h>
#include <string.h>

#define KEY_ID "tokenizer.ggml.%s_token_id"
/* U+FF5C and U+2581, which DeepSeek's special tokens are spelled with */
#define BAR u8"\uff5c"
#define LOW u8"\u2581"

static smt_status put_id(smt_gguf_output *output, const char *name, int64_t id, smt_error *err) {
    char key[64];
    if (id < 0) return SMT_OK;
    snprintf(key, sizeof key, KEY_ID, name);
    return smt_gguf_output_u32(output, key, (uint32_t)id, err);
}

/* "bos_token": a text, or an object with "content". -1: not said, or no token of this vocabulary. */
static int64_t id_by_text(const smt_hf_vocab *vocab, const char *key) {
    const json_t *value = json_object_get(vocab->config, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    return text ? smt_hf_vocab_find(vocab, text) : -1;
}

/* The i-th number of "eos_token_id", which is a number or a list of them. *out is -1 beyond the last. */
static smt_status id_by_number(const smt_hf_vocab *vocab, const json_t *object, const char *key, size_t i, int64_t *out,
                               smt_error *err) {
    const json_t *value = smt_convert_value(object, key);
    if (json_is_array(value))
        value = json_array_get(value, i);
    else if (i > 0)
        value = NULL;
    uint64_t id = 0;
    *out = -1;
    if (!value || json_number_value(value) < 0) return SMT_OK; /* -1 is how some files say "none" */
    if (!smt_convert_u64_of(value, &id) || id >= vocab->n_tokens)
        return SMT_FAIL(err, SMT_FORMAT, "\"%s\" is %g, there are %u tokens", key, json_number_value(value), vocab->n_tokens);
    *out = (int64_t)id;
    return SMT_OK;
}

static smt_status find_id(const smt_hf_vocab *vocab, const char *name, int64_t *out, smt_error *err) {
    char text_key[32], id_key[32];
    snprintf(text_key, sizeof text_key, "%s_token", name);
    snprintf(id_key, sizeof id_key, "%s_token_id", name);
    *out = id_by_text(vocab, text_key);
    if (*out < 0) SMT_TRY(id_by_number(vocab, vocab->model_config, id_key, 0, out, err));
    if (*out < 0) SMT_TRY(id_by_number(vocab, vocab->generation, id_key, 0, out, err));
    return SMT_OK;
}

/* End tokens beside the one: GGUF has room for two. */
static smt_status put_further_ends(const smt_hf_vocab *vocab, smt_gguf_output *output, int64_t eos, smt_error *err) {
    const json_t *const objects[] = {vocab->model_config, vocab->generation};
    int64_t turn = -1, message = -1, id;
    for (size_t k = 0; k < SMT_COUNT(objects); k++)
        for (size_t i = 0;; i++) {
            SMT_TRY(id_by_number(vocab, objects[k], "eos_token_id", i, &id, err));
            if (id < 0) break;
            if (id == eos || id == turn || id == message) continue;
            bool is_message = smt_convert_is(vocab->tokens[id].text, "<|eom_id|>");
            if (is_message || turn >= 0)
                message = message < 0 || is_message ? id : message;
            else
                turn = id;
        }
    SMT_TRY(put_id(output, "eot", turn, err));
    return put_id(output, "eom", message, err);
}

static smt_status put_middle_ids(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    static const struct {
        const char *name, *text;
    } marks[] = {
        {"fim_pre", "<" BAR "fim" LOW "begin" BAR ">"},
        {"fim_suf", "<" BAR "fim" LOW "hole" BAR ">"},
        {"fim_mid", "<" BAR "fim" LOW "end" BAR ">"},
    };
    for (size_t i = 0; i < SMT_COUNT(marks); i++)
        SMT_TRY(put_id(output, marks[i].name, smt_hf_vocab_find(vocab, marks[i].text), err));
    return SMT_OK;
}

/* ---- what the tokenizer adds ---- */

/* "single" of the post-processor that is a template, itself or one of a sequence; NULL: none. */
static const json_t *find_template(const json_t *processor) {
    const json_t *list = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *single = json_object_get(json_array_get(list, i), "single");
        if (single) return single;
    }
    return json_object_get(processor, "single");
}

/* Without any word on it: Llama's tokenizers begin texts, others do not. None ends them. */
static smt_status put_flags(const smt_hf_vocab *vocab, smt_gguf_output *output, int64_t bos, int64_t eos, smt_error *err) {
    const json_t *single = find_template(json_object_get(vocab->tokenizer, "post_processor"));
    bool adds_bos = vocab->spm || smt_convert_is(vocab->pre, "llama-bpe"), adds_eos = false;
    if (single) {
        adds_bos = json_object_get(json_array_get(single, 0), "SpecialToken") != NULL;
        adds_eos =
            json_array_size(single) > 1 && json_object_get(json_array_get(single, json_array_size(single) - 1), "SpecialToken");
    }
    SMT_TRY(smt_convert_bool("tokenizer_config.json", vocab->config, "add_bos_token", &adds_bos, NULL, err));
    SMT_TRY(smt_convert_bool("tokenizer_config.json", vocab->config, "add_eos_token", &adds_eos, NULL, err));
    SMT_TRY(smt_gguf_output_bool(output, "tokenizer.ggml.add_bos_token", adds_bos && bos >= 0, err));
    SMT_TRY(smt_gguf_output_bool(output, "tokenizer.ggml.add_eos_token", adds_eos && eos >= 0, err));
    if (!vocab->spm) return SMT_OK;
    bool prefix;
    SMT_TRY(smt_hf_spm_space_prefix(vocab, &prefix, err));
    return smt_gguf_output_bool(output, "tokenizer.ggml.add_space_prefix", prefix, err);
}

/* ---- chat templates ---- */

/* Names become parts of keys. */
static bool is_template_name(const char *name) {
    return name && *name && strlen(name) <= 60 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(name);
}

static smt_status put_named_templates(const json_t *list, bool has_default, smt_gguf_output *output, smt_error *err) {
    smt_gguf_string names[32];
    size_t n_names = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *text = json_string_value(json_object_get(entry, "template"));
        char key[96] = "tokenizer.chat_template";
        bool is_default = smt_convert_is(name, "default");
        if (!is_template_name(name) || !text || (!is_default && n_names == SMT_COUNT(names)))
            return SMT_FAIL(err, SMT_FORMAT, "tokenizer_config.json: entry %zu of \"chat_template\" is no named template", i);
        if (is_default && has_default) continue;
        if (!is_default) {
            snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
            names[n_names++] = (smt_gguf_string){name, strlen(name)};
        }
        SMT_TRY(smt_gguf_output_text(output, key, text, err));
    }
    return n_names ? smt_gguf_output_texts(output, "tokenizer.chat_templates", n_names, names, err) : SMT_OK;
}

static smt_status put_templates(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    const json_t *value = smt_convert_value(vocab->config, "chat_template");
    const char *text = vocab->chat_template.text ? vocab->chat_template.text : json_string_value(value);
    if (text) SMT_TRY(smt_gguf_output_text(output, "tokenizer.chat_template", text, err));
    if (json_is_array(value)) return put_named_templates(value, text != NULL, output, err);
    if (!value || json_is_string(value)) return SMT_OK;
    return SMT_FAIL(err, SMT_FORMAT, "tokenizer_config.json: \"chat_template\" is neither a text nor a list");
}

smt_status smt_hf_special_keys(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    static const struct {
        const char *name, *key; /* as the checkpoint and as GGUF call them */
    } others[] = {{"unk", "unknown"}, {"pad", "padding"}};
    int64_t bos, eos, id;
    SMT_TRY(find_id(vocab, "bos", &bos, err));
    SMT_TRY(find_id(vocab, "eos", &eos, err));
    SMT_TRY(put_id(output, "bos", bos, err));
    SMT_TRY(put_id(output, "eos", eos, err));
    for (size_t i = 0; i < SMT_COUNT(others); i++) {
        SMT_TRY(find_id(vocab, others[i].name, &id, err));
        SMT_TRY(put_id(output, others[i].key, id, err));
    }
    SMT_TRY(put_further_ends(vocab, output, eos, err));
    SMT_TRY(put_middle_ids(vocab, output, err));
    SMT_TRY(put_flags(vocab, output, bos, eos, err));
    return put_templates(vocab, output, err);
}
