/* test_api_file.c: files, tokenizer and sampler through the public header, as a host program uses them. */
#include "gguf_write.h"
#include "support.h"

#include <math.h>

static const char *write_sample(void) {
    const char *path = smt_test_work("test_api_file.gguf");
    smt_gguf_writer w = {0};
    smt_error err = {0};
    const uint64_t huge = UINT64_MAX;
    const int8_t minus = -5;
    const double third = 1.0 / 3;
    const uint16_t list[] = {1, 2, 65535};
    const float tiny = 1e-6f;
    smt_gguf_write_text(&w, "general.architecture", "no-such-thing");
    smt_gguf_write_text(&w, "bad", "a\xff\xc3(\xe2\x82");
    smt_gguf_write_text(&w, "euro", "\xe2\x82\xac\xe2\x82\xac");
    smt_gguf_write_key(&w, "huge", SMT_GGUF_U64, &huge, sizeof huge);
    smt_gguf_write_key(&w, "minus", SMT_GGUF_I8, &minus, sizeof minus);
    smt_gguf_write_key(&w, "third", SMT_GGUF_F64, &third, sizeof third);
    smt_gguf_write_key(&w, "tiny", SMT_GGUF_F32, &tiny, sizeof tiny);
    smt_gguf_write_bool(&w, "yes", true);
    smt_gguf_write_array(&w, "list", SMT_GGUF_U16, 3, list, sizeof list);
    smt_gguf_write_texts(&w, "words", (const char *const[]){"zero", "", "two"}, 3);
    smt_gguf_write_tensor(&w, "plane", SMT_DTYPE_Q4_0, (const uint64_t[4]){64, 3, 1, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_file(&w, path, &err), &err);
    smt_gguf_write_free(&w);
    return path;
}

static uint64_t key_index(const smt_file *file, const char *name, smt_key_info *info) {
    for (uint64_t i = 0; i < smt_file_key_count(file); i++) {
        assert_int_equal(smt_file_key(file, i, info), SMT_OK);
        if (!strcmp(info->name, name)) return i;
    }
    fail_msg("no key %s", name);
    return 0;
}

static void check_keys(void **state) {
    (void)state;
    static const struct {
        const char *name, *type, *text;
        uint64_t count, element;
    } rows[] = {
        {"bad", "string", "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd", 1, 0},
        {"huge", "u64", "18446744073709551615", 1, 0},
        {"minus", "i8", "-5", 1, 0},
        {"third", "f64", "0.33333333333333331", 1, 0},
        {"tiny", "f32", "1e-06", 1, 0},
        {"yes", "bool", "true", 1, 0},
        {"list", "array of u16", "65535", 3, 2},
        {"list", "array of u16", "", 3, 3},
        {"words", "array of string", "", 3, 1},
        {"words", "array of string", "two", 3, 2},
    };
    smt_error err = {0};
    smt_file *file;
    SMT_ASSERT_OK(smt_file_open(write_sample(), &file, &err), &err);
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        smt_key_info info;
        char text[64];
        uint64_t index = key_index(file, rows[i].name, &info);
        assert_string_equal(info.type, rows[i].type);
        assert_int_equal(info.count, rows[i].count);
        assert_int_equal(smt_file_key_text(file, index, rows[i].element, text, sizeof text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
    }
    smt_key_info info;
    assert_int_equal(smt_file_key(file, smt_file_key_count(file), &info), SMT_INVALID);
    assert_int_equal(smt_file_key_text(file, UINT64_MAX, 0, NULL, 0), 0);
    smt_file_free(file);
}

/* A cut falls between characters, and the full length is told. */
static void check_cuts(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file;
    SMT_ASSERT_OK(smt_file_open(write_sample(), &file, &err), &err);
    smt_key_info info;
    uint64_t index = key_index(file, "euro", &info);
    for (size_t capacity = 0; capacity <= 8; capacity++) {
        char text[8];
        memset(text, '#', sizeof text);
        assert_int_equal(smt_file_key_text(file, index, 0, capacity ? text : NULL, capacity), 6);
        if (capacity) assert_int_equal(strlen(text), capacity > 6 ? 6 : capacity > 3 ? 3 : 0);
        for (size_t i = capacity; i < sizeof text; i++) assert_int_equal(text[i], '#');
    }
    smt_file_free(file);
}

static void check_tensors(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file;
    SMT_ASSERT_OK(smt_file_open(write_sample(), &file, &err), &err);
    smt_tensor_info info;
    assert_int_equal(smt_file_tensor_count(file), 1);
    assert_int_equal(smt_file_tensor(file, 0, &info), SMT_OK);
    assert_string_equal(info.name, "plane");
    assert_string_equal(info.type, "Q4_0");
    assert_int_equal(info.n_dims, 2);
    assert_int_equal(info.ne[1], 3);
    assert_int_equal(info.bytes, 2 * 3 * 18);
    assert_int_equal(smt_file_tensor(file, 1, &info), SMT_INVALID);
    smt_model_info model;
    assert_int_equal(smt_file_model(file, &model, &err), SMT_UNSUPPORTED); /* opens all the same */
    assert_non_null(strstr(err.message, "no-such-thing"));
    assert_null(smt_file_assumed(file, 0));
    smt_file_free(file);
}

static void check_model(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file;
    smt_model_info model;
    SMT_ASSERT_OK(smt_file_open(smt_test_data("g-v2.f16.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_file_model(file, &model, &err), &err);
    assert_string_equal(model.architecture, "deepseek2");
    assert_int_equal(model.n_layers, 4);
    assert_int_equal(model.n_dense_layers, 1);
    assert_int_equal(model.n_experts_used, 4);
    assert_int_equal(model.n_vocab, 512);
    assert_int_equal(model.cache_values_per_token, 4 * (64 + 16));
    assert_string_equal(model.rope_scaling, "yarn");
    assert_true(model.rope_base == 10000 && model.rope_factor == 40 && !model.rope_divided);
    assert_string_equal(model.gate, "softmax");
    assert_string_equal(model.group_rule, "best");
    assert_false(model.selection_bias || model.weights_normalized || model.tied || model.biased);
    assert_true(model.weights_scale == 16);
    uint64_t bytes = 0, values = 0;
    for (uint64_t i = 0; i < smt_file_tensor_count(file); i++) {
        smt_tensor_info info;
        smt_file_tensor(file, i, &info);
        bytes += info.bytes;
        values += info.ne[0] * info.ne[1] * info.ne[2] * info.ne[3];
    }
    assert_int_equal(model.tensor_bytes, bytes);
    assert_int_equal(model.n_params, values);
    assert_true(model.n_params_active < model.n_params);
    for (uint32_t i = 0; i < model.n_assumed; i++) assert_non_null(strchr(smt_file_assumed(file, i), ':'));
    assert_null(smt_file_assumed(file, model.n_assumed));
    smt_file_free(file);
}

static void check_missing(void **state) {
    (void)state;
    smt_error err = {0};
    smt_file *file = (smt_file *)1;
    assert_int_equal(smt_file_open(smt_test_work("no-such-file.gguf"), &file, &err), SMT_IO);
    assert_null(file);
    assert_non_null(strstr(err.message, "no-such-file.gguf"));
    assert_int_equal(smt_file_open("", &file, &err), SMT_INVALID);
    assert_int_equal(smt_file_open(NULL, &file, NULL), SMT_INVALID);
    smt_file_free(NULL);
    smt_tokenizer_free(NULL);
    smt_text_stream_free(NULL);
    smt_sampler_free(NULL);
}

/* Every allocation in turn fails: an error or success, never a crash or a leak (the sanitizers look). */
static void check_memory(void **state) {
    (void)state;
    for (uint64_t countdown = 1;; countdown++) {
        smt_file *file;
        smt_tokenizer *tokenizer = NULL;
        smt_mem_fail_after(countdown);
        smt_status status = smt_file_open(smt_test_data("g-v2.f16.gguf"), &file, NULL);
        if (status == SMT_OK) status = smt_tokenizer_create(file, &tokenizer, NULL);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        assert_true((status == SMT_OK) == (tokenizer != NULL));
        smt_tokenizer_free(tokenizer);
        smt_file_free(file);
        if (status == SMT_OK) break;
        assert_true(countdown < 100000);
    }
}

static smt_tokenizer *open_tokenizer(const char *name) {
    smt_error err = {0};
    smt_file *file;
    smt_tokenizer *tokenizer;
    SMT_ASSERT_OK(smt_file_open(smt_test_data(name), &file, &err), &err);
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    smt_file_free(file); /* the tokenizer needs it no more */
    return tokenizer;
}

static void check_round_trip(const char *name) {
    static const char text[] = "The caf\xc3\xa9 \xf0\x9f\x98\x80 costs 12 \xe2\x82\xac.\0 It is\nnice";
    smt_error err = {0};
    smt_tokenizer *tokenizer = open_tokenizer(name);
    smt_text_stream *stream;
    int32_t *tokens;
    size_t count, bytes, used = 0;
    char *whole, streamed[128];
    SMT_ASSERT_OK(smt_tokenize(tokenizer, text, sizeof text - 1, SMT_TOKENIZE_BOS, &tokens, &count, &err), &err);
    SMT_ASSERT_OK(smt_detokenize(tokenizer, tokens, count, &whole, &bytes, &err), &err);
    assert_int_equal(bytes, sizeof text - 1);
    assert_memory_equal(whole, text, bytes);
    SMT_ASSERT_OK(smt_text_stream_create(tokenizer, &stream, &err), &err);
    for (size_t i = 0; i <= count; i++) {
        const char *piece;
        if (i < count)
            SMT_ASSERT_OK(smt_text_stream_push(stream, tokens[i], &piece, &bytes, &err), &err);
        else
            smt_text_stream_flush(stream, &piece, &bytes);
        assert_true(used + bytes <= sizeof streamed);
        memcpy(streamed + used, piece, bytes);
        used += bytes;
    }
    assert_int_equal(used, sizeof text - 1);
    assert_memory_equal(streamed, text, used);
    smt_text_stream_free(stream);
    smt_free(whole);
    smt_free(tokens);
    smt_tokenizer_free(tokenizer);
}

static void check_tokenizer(void **state) {
    (void)state;
    check_round_trip("g-v2.f16.gguf");
    check_round_trip("g-llama2.f16.gguf");
    smt_error err = {0};
    smt_tokenizer *tokenizer = open_tokenizer("g-v2.f16.gguf");
    int32_t *tokens;
    size_t count, bytes;
    char *text;
    assert_int_equal(smt_tokenizer_size(tokenizer), 512);
    assert_true(smt_tokenizer_adds_bos(tokenizer));
    assert_true(smt_tokenizer_is_end(tokenizer, 511));
    assert_false(smt_tokenizer_is_end(tokenizer, 510));
    assert_false(smt_tokenizer_is_end(tokenizer, -1));
    SMT_ASSERT_OK(smt_tokenize(tokenizer, "", 0, SMT_TOKENIZE_BOS, &tokens, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(tokens[0], 510);
    smt_free(tokens);
    SMT_ASSERT_OK(smt_token_text(tokenizer, 510, &text, &bytes, &err), &err); /* the beginning token: no text */
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    smt_free(text);
    assert_int_equal(smt_token_text(tokenizer, 512, &text, &bytes, &err), SMT_INVALID);
    assert_null(text);
    assert_int_equal(smt_tokenize(tokenizer, "x", 1, 64, &tokens, &count, &err), SMT_INVALID);
    assert_int_equal(smt_detokenize(tokenizer, (const int32_t[]){3, 512}, 2, &text, &bytes, &err), SMT_INVALID);
    assert_null(text);
    assert_non_null(strstr(err.message, "512"));
    SMT_ASSERT_OK(smt_detokenize(tokenizer, NULL, 0, &text, &bytes, &err), &err);
    assert_string_equal(text, "");
    smt_free(text);
    smt_tokenizer_free(tokenizer);
    tokenizer = open_tokenizer("g-llama2.f16.gguf"); /* SPM: a word has its blank but at the beginning of a text */
    SMT_ASSERT_OK(smt_tokenize(tokenizer, "the", 3, 0, &tokens, &count, &err), &err);
    assert_int_equal(count, 1);
    SMT_ASSERT_OK(smt_token_text(tokenizer, tokens[0], &text, &bytes, &err), &err);
    assert_string_equal(text, " the");
    smt_free(text);
    smt_free(tokens);
    smt_tokenizer_free(tokenizer);
}

static void check_sampler(void **state) {
    (void)state;
    static const float logits[] = {0.5f, 2, -1, 2, 1};
    smt_error err = {0};
    smt_sampler *sampler;
    int32_t token, again;
    smt_sampler_options options = {.struct_size = sizeof options};
    smt_draw draw = {.struct_size = sizeof draw, .logits = logits, .n_vocab = 5};
    SMT_ASSERT_OK(smt_sampler_create(&options, &sampler, &err), &err);
    SMT_ASSERT_OK(smt_sampler_draw(sampler, &draw, &token, &err), &err);
    assert_int_equal(token, 1); /* argmax, the lowest id on a tie */
    smt_draw bad[] = {draw, draw, draw, draw};
    bad[0].n_vocab = 0;
    bad[1].logits = NULL;
    bad[2].n_top = 3;
    bad[3].struct_size = 0;
    for (size_t i = 0; i < SMT_COUNT(bad); i++) assert_int_equal(smt_sampler_draw(sampler, &bad[i], &token, &err), SMT_INVALID);
    smt_sampler_free(sampler);
    options.temperature = 1;
    options.seed = 7;
    SMT_ASSERT_OK(smt_sampler_create(&options, &sampler, &err), &err);
    unsigned seen = 0;
    for (draw.position = 0; draw.position < 200; draw.position++) {
        SMT_ASSERT_OK(smt_sampler_draw(sampler, &draw, &token, &err), &err);
        SMT_ASSERT_OK(smt_sampler_draw(sampler, &draw, &again, &err), &err);
        assert_int_equal(token, again);
        seen |= 1u << token;
    }
    assert_int_equal(seen, 31);
    smt_sampler_free(sampler);
    options.top_p = 1.5f;
    assert_int_equal(smt_sampler_create(&options, &sampler, &err), SMT_INVALID);
    assert_null(sampler);
    assert_non_null(strstr(err.message, "top_p"));
    options = (smt_sampler_options){0};
    assert_int_equal(smt_sampler_create(&options, &sampler, &err), SMT_INVALID);
}

/* The biases are the sampler's own; no allocation that fails leaves anything behind. */
static void check_sampler_memory(void **state) {
    (void)state;
    static const float logits[] = {0.5f, 2, -1, 2, 1};
    smt_error err = {0};
    smt_sampler *sampler = NULL;
    smt_status status = SMT_MEMORY;
    int32_t token = -1;
    for (uint64_t n = 1; status != SMT_OK; n++) {
        smt_logit_bias biases[] = {{1, -INFINITY}, {4, 3}};
        smt_sampler_options options = {.struct_size = sizeof options, .n_biases = 2, .biases = biases};
        const smt_draw draw = {.struct_size = sizeof draw, .logits = logits, .n_vocab = 5};
        assert_true(n < 10);
        smt_mem_fail_after(n);
        status = smt_sampler_create(&options, &sampler, &err);
        biases[0].token = biases[1].token = 2;
        if (status == SMT_OK) status = smt_sampler_draw(sampler, &draw, &token, &err);
        smt_mem_fail_after(0);
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        smt_sampler_free(sampler);
    }
    assert_int_equal(token, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_keys),      cmocka_unit_test(check_cuts),    cmocka_unit_test(check_tensors),
        cmocka_unit_test(check_model),     cmocka_unit_test(check_missing), cmocka_unit_test(check_memory),
        cmocka_unit_test(check_tokenizer), cmocka_unit_test(check_sampler), cmocka_unit_test(check_sampler_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
