/* test_convert_vocab.c: tokenizer.json and its companions: which pre-tokenizer is recognised, types and ids of tokens, chat templates;
 * real vocabularies written as tokenizer.json and converted give the ids that they gave before. */
#include "convert/convert_internal.h"
#include "hf_models.h"
#include "token/token.h"

/* ---- pre-tokenizers ---- */

static smt_status find(const char *json, const char **out, smt_error *err) {
    json_t *value = json_loads(json, 0, NULL);
    assert_non_null(value);
    smt_status status = smt_hf_pre_find(value, out, err);
    json_decref(value);
    return status;
}

static void test_pre(void **state) {
    static const struct {
        const char *json, *name;
    } known[] = {{smt_hf_pre_deepseek_llm, "deepseek-llm"},
                 {smt_hf_pre_deepseek_coder, "deepseek-coder"},
                 {smt_hf_pre_deepseek_v3, "deepseek-v3"},
                 {smt_hf_pre_llama3, "llama-bpe"},
                 {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "gpt-2"}};
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(known); i++) {
        smt_error err = {0};
        const char *name;
        SMT_ASSERT_OK(find(known[i].json, &name, &err), &err);
        assert_string_equal(name, known[i].name);
    }
}

/* The text with `from` replaced, once. */
static char *replaced(const char *text, const char *from, const char *to) {
    static char result[8192];
    const char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(result, sizeof result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return result;
}

static void test_unknown_pre(void **state) {
    const struct {
        const char *from, *to, *words;
    } changes[] = {
        {"\\\\p{N}{1,3}", "\\\\p{N}{1,2}", "\\p{N}{1,2}"},
        {"Isolated", "Removed", "Split (Removed)"},
        {"\"invert\":false", "\"invert\":true", "Split (Isolated)"},
        {"\"add_prefix_space\":false", "\"add_prefix_space\":true", "a space in front"},
        {"\"use_regex\":false", "\"use_regex\":true", "with its own split"},
        {"\"ByteLevel\"", "\"Whitespace\"", "; Whitespace"},
        {"ByteLevel\",", "ByteLevel\",\"use_regex\":false},{\"type\":\"ByteLevel\",", "of 5 steps"},
    };
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(changes); i++) {
        smt_error err = {0};
        const char *name;
        assert_int_equal(find(replaced(smt_hf_pre_deepseek_v3, changes[i].from, changes[i].to), &name, &err), SMT_UNSUPPORTED);
        assert_null(name);
        if (!strstr(err.message, changes[i].words)) fail_msg("%s: no %s", err.message, changes[i].words);
    }
    smt_error err = {0};
    const char *name;
    /* Letters that are none of deepseek-llm's, and a list that lacks some of them. */
    assert_int_equal(find(replaced(smt_hf_pre_deepseek_llm, "\\u0370-\\u0373", "\\u3040-\\u3060"), &name, &err), SMT_UNSUPPORTED);
    assert_int_equal(find(replaced(smt_hf_pre_deepseek_llm, "\\u03a3-\\u03f5\\u03f7-\\u0481", ""), &name, &err), SMT_UNSUPPORTED);
    assert_int_equal(smt_hf_pre_find(NULL, &name, &err), SMT_UNSUPPORTED);
}

/* ---- whole vocabularies ---- */

static json_t *vocabulary_config(json_int_t n_vocab) {
    return json_pack("{s:[s], s:i, s:i, s:i, s:i, s:i, s:f, s:I}", "architectures", "LlamaForCausalLM", "hidden_size", 64,
                     "num_hidden_layers", 1, "num_attention_heads", 2, "intermediate_size", 64, "max_position_embeddings", 64,
                     "rms_norm_eps", 1e-6, "vocab_size", n_vocab);
}

static smt_status convert(smt_hf_folder *folder, const char *pre, smt_gguf **out, smt_error *err) {
    const char *path = smt_hf_path(folder, "vocab.gguf");
    smt_convert_options options = {
        .struct_size = sizeof options, .folder = folder->path, .path = path, .pretokenizer = pre, .vocab_only = true};
    *out = NULL;
    SMT_TRY(smt_convert(&options, err));
    smt_status status = smt_gguf_open(path, out, err);
    remove(path);
    return status;
}

/* Ids of every text of a file, whose texts stand between lines "__ggml_vocab_test__". */
static void same_ids(const smt_gguf *a, const smt_gguf *b, const char *texts_path) {
    smt_error err = {0};
    smt_vocab *first, *second;
    char *texts;
    size_t bytes, n_texts = 0;
    SMT_ASSERT_OK(smt_vocab_create(a, &first, &err), &err);
    SMT_ASSERT_OK(smt_vocab_create(b, &second, &err), &err);
    assert_int_equal(smt_vocab_bos(first), smt_vocab_bos(second));
    assert_int_equal(smt_vocab_adds_bos(first), smt_vocab_adds_bos(second));
    SMT_ASSERT_OK(smt_os_read_file(texts_path, &texts, &bytes, &err), &err);
    for (char *at = texts, *end; at; at = end) {
        static const char mark[] = "\n__ggml_vocab_test__\n";
        end = strstr(at, mark);
        size_t length = end ? (size_t)(end - at) : strlen(at), n, m;
        if (end) end += sizeof mark - 1;
        int32_t *one, *two;
        SMT_ASSERT_OK(smt_token_encode(first, at, length, SMT_TOKENIZE_SPECIAL, &one, &n, &err), &err);
        SMT_ASSERT_OK(smt_token_encode(second, at, length, SMT_TOKENIZE_SPECIAL, &two, &m, &err), &err);
        if (n != m || memcmp(one, two, n * sizeof *one) != 0) fail_msg("\"%.*s\" has other ids", (int)length, at);
        smt_free(one);
        smt_free(two);
        n_texts++;
    }
    assert_true(n_texts > 40);
    smt_free(texts);
    smt_vocab_free(first);
    smt_vocab_free(second);
}

static void real_vocabulary(const char *name, const char *pre, const char *pre_name) {
    char file[96];
    snprintf(file, sizeof file, "reference/vocab/ggml-vocab-%s.gguf", name);
    const char *path = smt_test_shared(file);
    if (!path) skip();
    smt_error err = {0};
    smt_gguf *original, *made;
    smt_hf_folder folder;
    SMT_ASSERT_OK(smt_gguf_open(path, &original, &err), &err);
    smt_hf_begin(&folder, name);
    smt_hf_tokenizer(&folder, original, pre, true);
    json_int_t n = (json_int_t)smt_gguf_find(original, "tokenizer.ggml.tokens")->count;
    smt_hf_json(&folder, "config.json", vocabulary_config(n));
    SMT_ASSERT_OK(convert(&folder, NULL, &made, &err), &err);
    smt_gguf_string got = {"", 0};
    smt_gguf_text(made, "tokenizer.ggml.pre", &got, NULL, NULL);
    assert_true(got.bytes == strlen(pre_name) && !memcmp(got.text, pre_name, got.bytes));
    snprintf(file, sizeof file, "reference/vocab/ggml-vocab-%s.gguf.inp", name);
    same_ids(original, made, smt_test_shared(file));
    smt_gguf_free(original);
    smt_gguf_free(made);
    smt_hf_end(&folder);
}

static void test_deepseek_llm(void **state) {
    (void)state;
    real_vocabulary("deepseek-llm", smt_hf_pre_deepseek_llm, "deepseek-llm");
}

static void test_deepseek_coder(void **state) {
    (void)state;
    real_vocabulary("deepseek-coder", smt_hf_pre_deepseek_coder, "deepseek-coder");
}

static void test_llama_spm(void **state) {
    (void)state;
    real_vocabulary("llama-spm", NULL, "default");
}

/* ---- types, ids, flags, templates ---- */

#define FIM(word)   \
    "<\xef\xbd\x9c" \
    "fim\xe2\x96\x81" word "\xef\xbd\x9c>"

/* A byte-level vocabulary of the 256 bytes and what follows them. */
static void begin_small(smt_hf_folder *folder, smt_gguf **original, json_t **out_tokenizer) {
    json_error_t error;
    json_decref(smt_hf_tiny_v3(folder, "convert_vocab", original));
    *out_tokenizer = json_load_file(smt_hf_path(folder, "tokenizer.json"), 0, &error);
    assert_non_null(*out_tokenizer);
}

static void add_token(json_t *tokenizer, int id, const char *text, int special) {
    json_array_append_new(json_object_get(tokenizer, "added_tokens"),
                          json_pack("{s:i, s:s, s:b}", "id", id, "content", text, "special", special));
}

static int64_t type_of(const smt_gguf *file, uint64_t id) {
    return smt_gguf_array_int(smt_gguf_find(file, "tokenizer.ggml.token_type"), id);
}

static uint32_t id_of(const smt_gguf *file, const char *name) {
    char key[64];
    uint32_t id = 9999;
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    smt_gguf_u32(file, key, &id, NULL, NULL);
    return id;
}

static bool text_is(const smt_gguf *file, const char *key, const char *want) {
    smt_gguf_string text = {"", 0};
    smt_gguf_text(file, key, &text, NULL, NULL);
    return text.bytes == strlen(want) && !memcmp(text.text, want, text.bytes);
}

static void test_special(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    smt_error err = {0};
    json_t *tokenizer;
    begin_small(&folder, &original, &tokenizer);
    int n = (int)smt_gguf_find(original, "tokenizer.ggml.tokens")->count; /* the last two begin and end */
    add_token(tokenizer, n, FIM("hole"), 0);
    add_token(tokenizer, n + 1, FIM("begin"), 0);
    add_token(tokenizer, n + 2, FIM("end"), 0);
    add_token(tokenizer, n + 3, "<|EOT|>", 1);
    add_token(tokenizer, n + 4, "<pad>", 1);
    smt_hf_json(&folder, "tokenizer.json", tokenizer);
    json_t *config = vocabulary_config(n + 8);
    json_object_set_new(config, "eos_token_id", json_integer(n - 1));
    smt_hf_json(&folder, "config.json", config);
    smt_hf_json(&folder, "generation_config.json",
                json_pack("{s:[i, i], s:i}", "eos_token_id", n - 1, n + 3, "pad_token_id", n + 4));
    json_t *companion = json_pack("{s:{s:s}, s:b, s:n, s:[{s:s, s:s}, {s:s, s:s}]}", "bos_token", "content",
                                  "<\xef\xbd\x9c"
                                  "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                  "add_bos_token", 1, "eos_token", "chat_template", "name", "default", "template", "{{ plain }}",
                                  "name", "tool_use", "template", "{{ tools }}");
    smt_hf_json(&folder, "tokenizer_config.json", companion);
    SMT_ASSERT_OK(convert(&folder, NULL, &made, &err), &err);
    assert_int_equal(type_of(made, 0), 1);
    assert_int_equal(type_of(made, (uint64_t)n - 1), 3);
    assert_int_equal(type_of(made, (uint64_t)n), 4);
    assert_int_equal(type_of(made, (uint64_t)n + 3), 3);
    assert_int_equal(type_of(made, (uint64_t)n + 5), 5);
    smt_gguf_string padding = smt_gguf_find(made, "tokenizer.ggml.tokens")->strings[n + 5];
    assert_memory_equal(padding.text, "[PAD", 4);
    assert_int_equal(id_of(made, "bos"), n - 2);
    assert_int_equal(id_of(made, "eos"), n - 1);
    assert_int_equal(id_of(made, "eot"), n + 3);
    assert_int_equal(id_of(made, "padding"), n + 4);
    assert_int_equal(id_of(made, "fim_suf"), n);
    assert_int_equal(id_of(made, "fim_pre"), n + 1);
    assert_int_equal(id_of(made, "fim_mid"), n + 2);
    assert_true(text_is(made, "tokenizer.chat_template", "{{ plain }}"));
    assert_true(text_is(made, "tokenizer.chat_template.tool_use", "{{ tools }}"));
    assert_int_equal(smt_gguf_find(made, "tokenizer.chat_templates")->count, 1);
    smt_gguf_free(made);

    smt_hf_file(&folder, "chat_template.jinja", "{{ file }}", 10); /* goes before the configuration's */
    SMT_ASSERT_OK(convert(&folder, NULL, &made, &err), &err);
    assert_true(text_is(made, "tokenizer.chat_template", "{{ file }}"));
    assert_true(text_is(made, "tokenizer.chat_template.tool_use", "{{ tools }}"));
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* What the post-processor's template begins and ends with counts where tokenizer_config.json is silent. */
static void test_post_processor(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    smt_error err = {0};
    json_t *tokenizer;
    begin_small(&folder, &original, &tokenizer);
    int n = (int)smt_gguf_find(original, "tokenizer.ggml.tokens")->count;
    json_object_set_new(tokenizer, "post_processor",
                        json_pack("{s:s, s:[{s:s}, {s:s, s:[{s:{s:s}}, {s:{s:s}}]}]}", "type", "Sequence", "processors", "type",
                                  "ByteLevel", "type", "TemplateProcessing", "single", "SpecialToken", "id", "x", "Sequence",
                                  "id", "A"));
    smt_hf_json(&folder, "tokenizer.json", tokenizer);
    json_t *config = vocabulary_config(n);
    json_object_set_new(config, "bos_token_id", json_integer(n - 2));
    smt_hf_json(&folder, "config.json", config);
    smt_hf_json(&folder, "tokenizer_config.json", json_object());
    SMT_ASSERT_OK(convert(&folder, NULL, &made, &err), &err);
    bool bos = false, eos = true;
    smt_gguf_bool(made, "tokenizer.ggml.add_bos_token", &bos, NULL, NULL);
    smt_gguf_bool(made, "tokenizer.ggml.add_eos_token", &eos, NULL, NULL);
    assert_true(bos && !eos);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* ---- refusals ---- */

static void refused(const char *key, json_t *value, const char *pre, smt_status status, const char *words) {
    smt_hf_folder folder;
    smt_gguf *original, *made;
    smt_error err = {0};
    json_t *tokenizer;
    begin_small(&folder, &original, &tokenizer);
    smt_hf_json(&folder, "config.json", vocabulary_config((json_int_t)smt_gguf_find(original, "tokenizer.ggml.tokens")->count));
    bool top = json_object_get(tokenizer, key) != NULL;
    json_object_set_new(top ? tokenizer : json_object_get(tokenizer, "model"), key, value);
    smt_hf_json(&folder, "tokenizer.json", tokenizer);
    smt_status got = convert(&folder, pre, &made, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("%s: \"%s\", not \"%s\"", smt_status_name(got), err.message, words);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

static void test_refusals(void **state) {
    (void)state;
    refused("type", json_string("Unigram"), NULL, SMT_UNSUPPORTED, "Unigram");
    refused("vocab", json_pack("{s:i}", "a", 100000), NULL, SMT_FORMAT, "has the id 100000");
    refused("vocab", json_pack("{s:f}", "a", 1.5), NULL, SMT_FORMAT, "has the id 1.5");
    refused("vocab", json_pack("{s:i, s:i}", "a", 5, "b", 5), NULL, SMT_FORMAT, "id 5 is \"a\" and \"b\"");
    refused("vocab", json_array(), NULL, SMT_FORMAT, "\"vocab\"");
    refused("merges", json_pack("[s]", "ab"), NULL, SMT_FORMAT, "merge 0, \"ab\"");
    refused("merges", json_pack("[s]", "a b c"), NULL, SMT_FORMAT, "merge 0");
    refused("merges", json_pack("[[s]]", "a"), NULL, SMT_FORMAT, "merge 0");
    refused("merges", json_pack("[s]", "q x"), NULL, SMT_FORMAT, "merge 0, \"q\" and \"x\"");
    refused("merges", json_object(), NULL, SMT_FORMAT, "\"merges\"");
    refused("normalizer", json_pack("{s:s}", "type", "NFC"), NULL, SMT_UNSUPPORTED, "NFC");
    refused("end_of_word_suffix", json_string("</w>"), NULL, SMT_UNSUPPORTED, "end_of_word_suffix");
    refused("pre_tokenizer", json_pack("{s:s}", "type", "Whitespace"), NULL, SMT_UNSUPPORTED, "Whitespace");
    refused("pre_tokenizer", json_null(), "no-such", SMT_INVALID, "no-such");
}

/* A name given by one who knows goes before what the file says. */
static void test_given_pre(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    smt_error err = {0};
    json_t *tokenizer;
    begin_small(&folder, &original, &tokenizer);
    smt_hf_json(&folder, "config.json", vocabulary_config((json_int_t)smt_gguf_find(original, "tokenizer.ggml.tokens")->count));
    json_object_set_new(tokenizer, "pre_tokenizer", json_pack("{s:s}", "type", "Whitespace"));
    smt_hf_json(&folder, "tokenizer.json", tokenizer);
    SMT_ASSERT_OK(convert(&folder, "deepseek-v3", &made, &err), &err);
    assert_true(text_is(made, "tokenizer.ggml.pre", "deepseek-v3"));
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pre),
        cmocka_unit_test(test_unknown_pre),
        cmocka_unit_test(test_deepseek_llm),
        cmocka_unit_test(test_deepseek_coder),
        cmocka_unit_test(test_llama_spm),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_post_processor),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_given_pre),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
