/* test_api_chat.c: chat templates and gaps through seamount.h: where a template comes from, what a file's silence about its
 * vocabulary becomes, and the rules of option structs. */
#include "test_token_fixture.h"

/* An invented vocabulary with two templates, written to a file and opened. */
static smt_file *open_file(const char *name, bool templates, const char *pre) {
    token_spec spec;
    fixture_file fixture = {0};
    smt_error err = {0};
    smt_file *file;
    spec_bpe(&spec);
    spec.pre = pre;
    write_spec(&spec, &fixture);
    if (templates) {
        put_key(&fixture, "tokenizer.chat_template", SMT_GGUF_STRING);
        put_text(&fixture, "own:{{ messages[0].content }}");
        put_key(&fixture, "tokenizer.chat_template.brief", SMT_GGUF_STRING);
        put_text(&fixture, "brief:{{ messages[0].content }}");
    }
    memcpy(fixture.bytes.text + 16, &fixture.n_keys, 8);
    const char *path = smt_test_work(name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(fixture.bytes.text, 1, fixture.bytes.bytes, out), fixture.bytes.bytes);
    fclose(out);
    smt_str_free(&fixture.bytes);
    SMT_ASSERT_OK(smt_file_open(path, &file, &err), &err);
    remove(path);
    return file;
}

static void assert_renders(const smt_file *file, const smt_tokenizer *tokenizer, const char *source, const char *want) {
    static const smt_chat_message message = {"user", "x", NULL};
    smt_chat_request request = {.struct_size = sizeof request, .messages = &message, .n_messages = 1};
    smt_error err = {0};
    smt_chat_template *chat;
    char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_chat_template_create(file, tokenizer, source, &chat, &err), &err);
    SMT_ASSERT_OK(smt_chat_render(chat, &request, &text, &bytes, &err), &err);
    assert_string_equal(text, want);
    assert_int_equal(bytes, strlen(want));
    smt_free(text);
    smt_chat_template_free(chat);
}

static void sources(void **state) {
    (void)state;
    smt_error err = {0};
    smt_tokenizer *tokenizer;
    smt_chat_template *chat;
    smt_file *file = open_file("api-chat.gguf", true, "deepseek-llm"), *bare = open_file("api-bare.gguf", false, "deepseek-llm");
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    assert_renders(file, tokenizer, NULL, "own:x");
    assert_renders(file, tokenizer, "brief", "brief:x");
    assert_renders(file, tokenizer, "deepseek2", "<begin>User: x\n\nAssistant:");
    assert_renders(file, tokenizer, "{{ messages[0].role }}", "user");
    assert_renders(bare, tokenizer, "deepseek2", "<begin>User: x\n\nAssistant:");
    assert_int_equal(smt_chat_template_create(bare, tokenizer, NULL, &chat, &err), SMT_NOT_FOUND);
    assert_non_null(strstr(err.message, "tokenizer.chat_template"));
    assert_int_equal(smt_chat_template_create(file, tokenizer, "other", &chat, &err), SMT_NOT_FOUND);
    assert_non_null(strstr(err.message, "\"other\""));
    assert_int_equal(smt_chat_template_create(file, tokenizer, "{{ x | sort }}", &chat, &err), SMT_UNSUPPORTED);
    assert_null(chat);
    bool known = false;
    for (uint32_t i = 0; smt_chat_template_known(i); i++) known = known || !strcmp(smt_chat_template_known(i), "deepseek2");
    assert_true(known);
    smt_tokenizer_free(tokenizer);
    smt_file_free(bare);
    smt_file_free(file);
}

static void requests(void **state) {
    (void)state;
    smt_error err = {0};
    smt_tokenizer *tokenizer;
    smt_chat_template *chat;
    smt_file *file = open_file("api-chat.gguf", true, "deepseek-llm");
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    SMT_ASSERT_OK(smt_chat_template_create(file, tokenizer, NULL, &chat, &err), &err);
    smt_file_free(file); /* the template must not need it */
    int32_t *tokens = NULL;
    char *text = NULL;
    size_t count;
    smt_chat_request request = {.n_messages = 1};
    assert_int_equal(smt_chat_render(chat, &request, &text, &count, &err), SMT_INVALID);
    request.struct_size = sizeof request;
    assert_int_equal(smt_chat_tokens(chat, &request, &tokens, &count, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "1 messages"));
    assert_null(tokens);
    static const smt_chat_message message = {"user", "<end>", NULL};
    request.messages = &message;
    SMT_ASSERT_OK(smt_chat_tokens(chat, &request, &tokens, &count, &err), &err);
    assert_int_equal(tokens[0], 259);
    for (size_t i = 1; i < count; i++) assert_true(tokens[i] < 259);
    assert_true(smt_chat_template_is_end(chat, 260));
    assert_string_equal(smt_chat_template_name(chat), "custom");
    smt_free(tokens);
    smt_fim fim = {.struct_size = sizeof fim, .prefix_bytes = 1};
    assert_int_equal(smt_fim_prompt(tokenizer, &fim, &tokens, &count, &err), SMT_INVALID);
    fim.prefix_bytes = 0;
    assert_int_equal(smt_fim_prompt(tokenizer, &fim, &tokens, &count, &err), SMT_UNSUPPORTED);
    smt_chat_template_free(chat);
    smt_tokenizer_free(tokenizer);
}

/* A file that names no pre-tokenizer says so in its list of assumptions. */
static void assumed(void **state) {
    (void)state;
    smt_file *file = open_file("api-assumed.gguf", false, NULL);
    assert_string_equal(smt_file_assumed(file, 0), "tokenizer.ggml.pre: gpt-2 (262 tokens, no begin token that we know)");
    assert_null(smt_file_assumed(file, 1));
    assert_null(smt_fim_notice(file));
    smt_file_free(file);
    file = open_file("api-assumed.gguf", false, "deepseek-llm");
    assert_null(smt_file_assumed(file, 0));
    smt_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sources), cmocka_unit_test(requests), cmocka_unit_test(assumed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
