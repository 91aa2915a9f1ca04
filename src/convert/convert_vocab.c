/* convert_vocab.c: the vocabulary of a tokenizer.json: a text and a type for every row of the embedding table, and the merges.
 *
 * Two kinds of tokenizer are called BPE there. Byte-level ones write each byte as a visible character; with "byte_fallback" the
 * file is a SentencePiece model in disguise, and becomes one again (convert_spm.c). Rows beyond the tokens are padding: they
 * get names of their own and the type "unused". Texts of the vocabulary are borrowed from the JSON, which lives as long. */
#include "convert_internal.h"

#include <stdio.h>
#include <string.h>

#define LABEL         "tokenizer.json"
#define MAX_TOKENIZER ((size_t)256 << 20)
#define MAX_CONFIG    ((size_t)64 << 20)
#define MAX_TEMPLATE  ((size_t)16 << 20)
#define MAX_TEXT      ((size_t)1 << 20) /* bytes of a token: more than any reader takes */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE }; /* tokenizer.ggml.token_type */

/* ---- files ---- */

static smt_status load_template(smt_hf_vocab *vocab, const char *folder, smt_error *err) {
    static const char name[] = "chat_template.jinja";
    bool there;
    SMT_TRY(smt_convert_find_file(folder, name, &there, err));
    return there ? smt_convert_text_load(folder, name, MAX_TEMPLATE, &vocab->chat_template, err) : SMT_OK;
}

smt_status smt_hf_vocab_load(smt_hf_vocab *vocab, const smt_convert_options *options, const json_t *model_config, uint32_t n_rows,
                             smt_error *err) {
    const char *folder = options->folder;
    *vocab = (smt_hf_vocab){.options = options, .model_config = model_config};
    SMT_TRY(smt_convert_json_load(folder, LABEL, MAX_TOKENIZER, &vocab->tokenizer, err));
    SMT_TRY(smt_convert_json_optional(folder, "tokenizer_config.json", MAX_CONFIG, &vocab->config, err));
    SMT_TRY(smt_convert_json_optional(folder, "generation_config.json", MAX_CONFIG, &vocab->generation, err));
    SMT_TRY(load_template(vocab, folder, err));
    return smt_hf_vocab_build(vocab, n_rows, err);
}

void smt_hf_vocab_free(smt_hf_vocab *vocab) {
    json_decref(vocab->tokenizer);
    json_decref(vocab->config);
    json_decref(vocab->generation);
    smt_str_free(&vocab->chat_template);
    smt_free(vocab->tokens);
    smt_arena_free(&vocab->arena);
    *vocab = (smt_hf_vocab){0};
}

/* ---- tokens ---- */

static bool is_byte_token(const char *text) {
    unsigned value;
    char again[8];
    if (strlen(text) != 6 || sscanf(text, "<0x%2X>", &value) != 1) return false;
    snprintf(again, sizeof again, "<0x%02X>", value);
    return strcmp(again, text) == 0;
}

static smt_status set_token(smt_hf_vocab *vocab, const char *text, const json_t *id_value, int32_t type, smt_error *err) {
    uint64_t id;
    if (!smt_convert_u64_of(id_value, &id) || id >= vocab->n_tokens)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": token \"%.60s\" has the id %g, config.json says %u rows", text,
                        json_number_value(id_value), vocab->n_tokens);
    if (strlen(text) > MAX_TEXT)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": token %llu has %zu bytes", (unsigned long long)id, strlen(text));
    smt_hf_token *token = &vocab->tokens[id];
    if (token->text && strcmp(token->text, text) != 0)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": id %llu is \"%.60s\" and \"%.60s\"", (unsigned long long)id, token->text, text);
    *token = (smt_hf_token){text, type};
    return SMT_OK;
}

static smt_status set_plain_tokens(smt_hf_vocab *vocab, smt_error *err) {
    json_t *texts = json_object_get(vocab->model, "vocab"), *id;
    const char *unknown = json_string_value(json_object_get(vocab->model, "unk_token")), *text;
    if (!json_is_object(texts)) return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"vocab\" is not an object");
    json_object_foreach(texts, text, id) {
        int32_t type = vocab->spm && is_byte_token(text) ? BYTE : vocab->spm && smt_convert_is(unknown, text) ? UNKNOWN : NORMAL;
        SMT_TRY(set_token(vocab, text, id, type, err));
    }
    return SMT_OK;
}

static smt_status set_added_tokens(smt_hf_vocab *vocab, smt_error *err) {
    const json_t *list = smt_convert_value(vocab->tokenizer, "added_tokens");
    size_t i;
    json_t *entry;
    if (list && !json_is_array(list)) return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"added_tokens\" is not a list");
    json_array_foreach(list, i, entry) {
        const char *text = json_string_value(json_object_get(entry, "content"));
        const json_t *id_value = json_object_get(entry, "id");
        uint64_t id = 0;
        if (!text) return SMT_FAIL(err, SMT_FORMAT, LABEL ": added token %zu has no \"content\"", i);
        bool keeps = smt_convert_u64_of(id_value, &id) && id < vocab->n_tokens && vocab->tokens[id].type == UNKNOWN;
        int32_t type = keeps ? UNKNOWN : json_is_true(json_object_get(entry, "special")) ? CONTROL : USER;
        SMT_TRY(set_token(vocab, text, id_value, type, err));
    }
    return SMT_OK;
}

static smt_status set_padding(smt_hf_vocab *vocab, smt_error *err) {
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        char text[24];
        if (vocab->tokens[i].text) continue;
        int bytes = snprintf(text, sizeof text, "[PAD%u]", i);
        vocab->tokens[i] = (smt_hf_token){smt_arena_strndup(&vocab->arena, text, (size_t)bytes), UNUSED};
        if (!vocab->tokens[i].text) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the names of %u tokens", vocab->n_tokens);
    }
    return SMT_OK;
}

int32_t smt_hf_vocab_find(const smt_hf_vocab *vocab, const char *text) {
    uint64_t id;
    size_t i;
    json_t *entry;
    if (smt_convert_u64_of(json_object_get(json_object_get(vocab->model, "vocab"), text), &id)) return (int32_t)id;
    json_array_foreach(json_object_get(vocab->tokenizer, "added_tokens"), i, entry) {
        bool same = smt_convert_is(json_string_value(json_object_get(entry, "content")), text);
        if (same && smt_convert_u64_of(json_object_get(entry, "id"), &id)) return (int32_t)id;
    }
    return -1;
}

/* ---- the model ---- */

/* Parts of the format that none of our tokenizers knows. */
static smt_status refuse_parts(const smt_hf_vocab *vocab, smt_error *err) {
    static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_string_value(json_object_get(vocab->model, "type"));
    if (!smt_convert_is(type, "BPE"))
        return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": model type \"%.40s\"; BPE is supported", type ? type : "(none)");
    for (size_t i = 0; i < SMT_COUNT(absent); i++) {
        const json_t *value = smt_convert_value(vocab->model, absent[i]);
        if (value && !smt_convert_is(json_string_value(value), ""))
            return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"%s\" is set, which is not supported", absent[i]);
    }
    const json_t *normalizer = smt_convert_value(vocab->tokenizer, "normalizer");
    bool empty = !normalizer || (json_is_array(json_object_get(normalizer, "normalizers")) &&
                                 json_array_size(json_object_get(normalizer, "normalizers")) == 0);
    if (vocab->spm || empty) return SMT_OK;
    const char *name = json_string_value(json_object_get(normalizer, "type"));
    return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": byte-level tokenizer with the normalizer \"%.40s\", which is not supported",
                    name ? name : "(none)");
}

static smt_status find_pre(smt_hf_vocab *vocab, smt_error *err) {
    const char *given = vocab->options->pretokenizer;
    if (!given) return smt_hf_pre_find(smt_convert_value(vocab->tokenizer, "pre_tokenizer"), &vocab->pre, err);
    if (!smt_hf_pre_known(given))
        return SMT_FAIL(err, SMT_INVALID,
                        "pre-tokenizer \"%.40s\": deepseek-llm, deepseek-coder, deepseek-v3, llama-bpe and gpt-2 are known",
                        given);
    vocab->pre = given;
    return SMT_OK;
}

smt_status smt_hf_vocab_build(smt_hf_vocab *vocab, uint32_t n_rows, smt_error *err) {
    vocab->model = smt_convert_value(vocab->tokenizer, "model");
    vocab->spm = json_is_true(json_object_get(vocab->model, "byte_fallback"));
    SMT_TRY(refuse_parts(vocab, err));
    vocab->n_tokens = n_rows;
    vocab->tokens = smt_alloc(n_rows, sizeof *vocab->tokens);
    if (!vocab->tokens) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u tokens", n_rows);
    SMT_TRY(set_plain_tokens(vocab, err));
    SMT_TRY(set_added_tokens(vocab, err));
    SMT_TRY(set_padding(vocab, err));
    const json_t *merges = json_object_get(vocab->model, "merges");
    if (!json_is_array(merges) || json_array_size(merges) > INT32_MAX)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"merges\" is not a list, or too long");
    vocab->n_merges = (uint32_t)json_array_size(merges);
    return vocab->spm ? SMT_OK : find_pre(vocab, err);
}

/* ---- merges ---- */

smt_status smt_hf_merge(const json_t *merges, size_t index, smt_str *scratch, const char **left, const char **right,
                        smt_error *err) {
    const json_t *merge = json_array_get(merges, index);
    const char *line = json_string_value(merge);
    if (!line) {
        *left = json_string_value(json_array_get(merge, 0));
        *right = json_string_value(json_array_get(merge, 1));
        if (*left && *right && **left && **right && json_array_size(merge) == 2) return SMT_OK;
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": merge %zu is neither a text nor a pair of texts", index);
    }
    size_t bytes = strlen(line);
    const char *space = bytes > 2 ? strchr(line + 1, ' ') : NULL;
    if (!space || !space[1] || strchr(space + 1, ' '))
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": merge %zu, \"%.60s\", is not two texts with a space between", index, line);
    scratch->bytes = 0;
    SMT_TRY(smt_str_append(scratch, line, bytes, err));
    scratch->text[space - line] = 0;
    *left = scratch->text;
    *right = scratch->text + (space - line) + 1;
    return SMT_OK;
}

/* One merge as the GGUF file has it. Readers refuse merges of what is no token; so do we. */
static smt_status merge_line(smt_hf_vocab *vocab, const json_t *merges, size_t index, smt_str *scratch, smt_gguf_string *out,
                             smt_error *err) {
    const json_t *texts = json_object_get(vocab->model, "vocab");
    const char *left, *right;
    SMT_TRY(smt_hf_merge(merges, index, scratch, &left, &right, err));
    size_t left_bytes = strlen(left), right_bytes = strlen(right);
    char *line = smt_arena_alloc(&vocab->arena, left_bytes + right_bytes + 2, 1);
    if (!line) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u merges", vocab->n_merges);
    memcpy(line, left, left_bytes);
    memcpy(line + left_bytes, right, right_bytes);
    if (!json_object_get(texts, left) || !json_object_get(texts, right) || !json_object_get(texts, line))
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": merge %zu, \"%.60s\" and \"%.60s\": a part or the result is not in \"vocab\"",
                        index, left, right);
    if (strchr(left, ' ') || strchr(right, ' '))
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": merge %zu has a space inside \"%.60s\" or \"%.60s\"", index, left, right);
    line[left_bytes] = ' ';
    memcpy(line + left_bytes + 1, right, right_bytes);
    *out = (smt_gguf_string){line, left_bytes + right_bytes + 1};
    return SMT_OK;
}

/* ---- keys ---- */

static smt_status put_merges(smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    const json_t *merges = json_object_get(vocab->model, "merges");
    smt_gguf_string *lines = smt_alloc(vocab->n_merges, sizeof *lines);
    smt_str scratch = {0};
    smt_status status = lines ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for %u merges", vocab->n_merges);
    for (size_t i = 0; i < vocab->n_merges && status == SMT_OK; i++)
        status = merge_line(vocab, merges, i, &scratch, &lines[i], err);
    if (status == SMT_OK) status = smt_gguf_output_texts(output, "tokenizer.ggml.merges", vocab->n_merges, lines, err);
    smt_str_free(&scratch);
    smt_free(lines);
    return status;
}

static smt_status put_scores(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    float *scores = smt_alloc(vocab->n_tokens, sizeof *scores);
    smt_status status = scores ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for %u scores", vocab->n_tokens);
    if (status == SMT_OK) status = smt_hf_spm_scores(vocab, scores, err);
    if (status == SMT_OK)
        status = smt_gguf_output_array(output, "tokenizer.ggml.scores", SMT_GGUF_F32, vocab->n_tokens, scores, err);
    smt_free(scores);
    return status;
}

static smt_status put_tokens(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    smt_gguf_string *texts = smt_alloc(vocab->n_tokens, sizeof *texts);
    int32_t *types = smt_alloc(vocab->n_tokens, sizeof *types);
    smt_status status = texts && types ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for %u tokens", vocab->n_tokens);
    for (uint32_t i = 0; i < vocab->n_tokens && status == SMT_OK; i++) {
        texts[i] = (smt_gguf_string){vocab->tokens[i].text, strlen(vocab->tokens[i].text)};
        types[i] = vocab->tokens[i].type;
    }
    if (status == SMT_OK) status = smt_gguf_output_texts(output, "tokenizer.ggml.tokens", vocab->n_tokens, texts, err);
    if (status == SMT_OK)
        status = smt_gguf_output_array(output, "tokenizer.ggml.token_type", SMT_GGUF_I32, vocab->n_tokens, types, err);
    smt_free(texts);
    smt_free(types);
    return status;
}

smt_status smt_hf_vocab_keys(smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err) {
    SMT_TRY(smt_gguf_output_text(output, "tokenizer.ggml.model", vocab->spm ? "llama" : "gpt2", err));
    SMT_TRY(smt_gguf_output_text(output, "tokenizer.ggml.pre", vocab->pre ? vocab->pre : "default", err));
    SMT_TRY(put_tokens(vocab, output, err));
    SMT_TRY(vocab->spm ? put_scores(vocab, output, err) : put_merges(vocab, output, err));
    return smt_hf_special_keys(vocab, output, err);
}
