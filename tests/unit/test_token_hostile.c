/* test_token_hostile.c: damaged vocabularies give errors that name the key and the numbers; arbitrary bytes and failing
 * allocations never crash or leak (run under the sanitizers to see the latter). */
#include "test_token_fixture.h"

#include <math.h>

/* The vocabulary is refused with this status, and the message has both texts. */
static void assert_refused(const token_spec *spec, smt_status status, const char *key, const char *detail) {
    smt_error err = {0};
    smt_vocab *vocab = (smt_vocab *)&err;
    smt_status got = spec_create(spec, &vocab, &err);
    if (got != status) fail_msg("%s, %s: got %s: %s", key, detail, smt_status_name(got), err.message);
    assert_null(vocab);
    if (!strstr(err.message, key) || !strstr(err.message, detail))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err.message, key, detail);
}

static void bad_names(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec.model = NULL;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.model", "missing");
    spec.model = "t5";
    assert_refused(&spec, SMT_UNSUPPORTED, "tokenizer.ggml.model", "\"t5\"");
    spec.model = "gpt2";
    spec.pre = "falcon";
    assert_refused(&spec, SMT_UNSUPPORTED, "tokenizer.ggml.pre", "\"falcon\"");
}

static void bad_lengths(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec.n_kinds--;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.token_type", "261");
    spec_bpe(&spec);
    spec.n_tokens = 0;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.tokens", "missing");
    spec_bpe(&spec);
    spec.n_merges = 0;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.merges", "missing");
    spec_spm(&spec);
    spec.n_scores--;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.scores", "264");
    spec.n_scores = 0;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.scores", "missing");
}

static void bad_values(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec.bos = 262;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.bos_token_id", "262");
    spec.bos = -1;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.add_bos_token", "bos_token_id");
    spec.bos = 259;
    spec.eos = UINT32_MAX;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.eos_token_id", "4294967295");
    spec.eos = 260;
    spec.fim_pre = 100000;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.fim_pre_token_id", "100000");
    spec_bpe(&spec);
    spec.kinds[17] = 7;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.token_type[17]", "7");
    spec.kinds[17] = -1;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.token_type[17]", "-1");
    spec.kinds[17] = 1;
    spec.kind_kind = SMT_GGUF_F32;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.token_type", smt_gguf_kind_name(SMT_GGUF_F32));
    spec_spm(&spec);
    spec.scores[260] = NAN;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.scores[260]", "not a number");
    spec.scores[260] = 0;
    spec.score_kind = SMT_GGUF_I32;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.scores", smt_gguf_kind_name(SMT_GGUF_I32));
}

static void bad_tokens(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec.tokens[0x41] = "other";
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.tokens", "0x41");
    spec_bpe(&spec);
    spec.tokens[0xf8] = "never in UTF-8"; /* this one may be missing */
    smt_vocab_free(spec_vocab(&spec));
    spec_spm(&spec);
    spec.tokens[3 + 0x0a] = "x";
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.tokens", "<0x0A>");
    spec_spm(&spec);
    spec.kinds[3 + 0x0a] = 1;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.tokens", "<0x0A>");
    spec_spm(&spec);
    spec.kinds[260] = 6;
    assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.tokens[260]", "\"a\"");
}

static void bad_merges(void **state) {
    (void)state;
    static const struct {
        const char *merge, *detail;
    } cases[] = {
        {"ab", "space"}, {" ", "space"},        {"", "space"},          {"a ", "space"},   {" a", "space"},
        {"  ", "space"}, {"zz a", "left part"}, {"a zz", "right part"}, {"a a", "result"}, {"a  b", "right part"},
    };
    token_spec spec;
    spec_bpe(&spec);
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        spec.merges[1] = cases[i].merge;
        assert_refused(&spec, SMT_FORMAT, "tokenizer.ggml.merges[1]", cases[i].detail);
    }
}

/* Strange but harmless: equal texts, equal merges, empty tokens, specials that are parts of characters, undefined types. */
static void strange_vocabularies(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec.kinds[5] = 0;
    spec.merges[3] = "a b";
    spec.n_merges = 4;
    spec_add(&spec, "", 3, 0);
    spec_add(&spec, "", 1, 0);
    int part = spec_add(&spec, "\xe4", 4, 0);
    int last = spec_add(&spec, "<end>", 3, 0);
    smt_vocab *vocab = spec_vocab(&spec);
    assert_ids(vocab, "<end>", 5, SMT_TOKENIZE_SPECIAL, &last, 1);
    const int32_t torn[] = {part, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd};
    assert_ids(vocab, "\xe4\xbd\xa0", 3, 0, torn, 7);
    static const int32_t empty[] = {262, 263};
    assert_text(vocab, empty, 2, "", 0);
    smt_vocab_free(vocab);
}

static void any_bytes(void **state) {
    (void)state;
    static const char *const models[] = {"g-v2.f16.gguf", "g-llama2.f16.gguf"};
    smt_test_random random = {11};
    for (size_t m = 0; m < SMT_COUNT(models); m++) {
        smt_vocab *vocab = vocab_of_file(smt_test_data(models[m]));
        for (int round = 0; round < 1500; round++) {
            uint8_t text[40];
            size_t n = smt_test_next(&random) % sizeof text, count;
            for (size_t i = 0; i < n; i++)
                text[i] = (uint8_t)(smt_test_next(&random) % 3 ? 0x80 | smt_test_next(&random) : smt_test_next(&random));
            smt_error err = {0};
            int32_t *ids;
            SMT_ASSERT_OK(smt_token_encode(vocab, (const char *)text, n, SMT_TOKENIZE_SPECIAL, &ids, &count, &err), &err);
            assert_non_null(ids);
            for (size_t i = 0; i < count; i++) assert_true(ids[i] >= 0 && (uint32_t)ids[i] < smt_vocab_size(vocab));
            smt_free(ids);
        }
        smt_vocab_free(vocab);
    }
}

static void too_long(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    smt_error err = {0};
    int32_t *ids;
    size_t count;
    assert_int_equal(smt_token_encode(vocab, "a", (size_t)1 << 40, 0, &ids, &count, &err), SMT_INVALID);
    assert_null(ids);
    smt_vocab_free(vocab);
}

/* Any file bytes: each prefix and many flips of a good file load or are refused, and what loads can encode. */
static void flipped_files(void **state) {
    (void)state;
    for (int family = 0; family < 2; family++) {
        token_spec spec;
        if (family)
            spec_spm(&spec);
        else
            spec_bpe(&spec);
        fixture_file file = {0};
        write_spec(&spec, &file);
        smt_test_random random = {5};
        for (int round = 0; round < 1500; round++) {
            size_t at = smt_test_next(&random) % file.bytes.bytes;
            char kept = file.bytes.text[at];
            file.bytes.text[at] = (char)(kept ^ (1 << smt_test_next(&random) % 8));
            smt_gguf *gguf = NULL;
            smt_vocab *vocab = NULL;
            int32_t *ids = NULL;
            size_t count;
            if (smt_gguf_parse(file.bytes.text, file.bytes.bytes, "flipped", &gguf, NULL) == SMT_OK &&
                smt_vocab_create(gguf, &vocab, NULL) == SMT_OK)
                assert_int_equal(smt_token_encode(vocab, "abc <end> \xc3\xbc", 12, 3, &ids, &count, NULL), SMT_OK);
            smt_free(ids);
            smt_vocab_free(vocab);
            smt_gguf_free(gguf);
            file.bytes.text[at] = kept;
        }
        smt_str_free(&file.bytes);
    }
}

/* ---- allocation failures ---- */

static smt_status make_and_use(const smt_gguf *gguf, smt_str *out, smt_error *err) {
    static const char text[] = "<end>ab\xff c the <tool>abc 12";
    smt_vocab *vocab;
    SMT_TRY(smt_vocab_create(gguf, &vocab, err));
    int32_t *ids;
    size_t count;
    smt_token_stream stream;
    smt_token_stream_init(&stream, vocab);
    smt_status status =
        smt_token_encode(vocab, text, sizeof text - 1, SMT_TOKENIZE_BOS | SMT_TOKENIZE_SPECIAL, &ids, &count, err);
    for (size_t i = 0; i < count && status == SMT_OK; i++) {
        status = smt_token_stream_push(&stream, ids[i], err);
        if (status == SMT_OK) status = smt_str_append(out, stream.out.text, stream.out.bytes, err);
    }
    if (status == SMT_OK) status = smt_token_stream_flush(&stream, err);
    smt_free(ids);
    smt_token_stream_free(&stream);
    smt_vocab_free(vocab);
    return status;
}

static void each_allocation_fails(void **state) {
    (void)state;
    for (int family = 0; family < 2; family++) {
        token_spec spec;
        if (family)
            spec_spm(&spec);
        else
            spec_bpe(&spec);
        fixture_file file = {0};
        write_spec(&spec, &file);
        smt_error err = {0};
        smt_gguf *gguf;
        SMT_ASSERT_OK(smt_gguf_parse(file.bytes.text, file.bytes.bytes, "fixture", &gguf, &err), &err);
        smt_str wanted = {0};
        SMT_ASSERT_OK(make_and_use(gguf, &wanted, &err), &err);
        uint64_t n = 0, failures = 0;
        bool waits = false;
        while (!waits) {
            assert_true(++n < 5000);
            smt_str out = {0};
            smt_mem_fail_after(n);
            smt_status status = make_and_use(gguf, &out, &err);
            waits = smt_test_hook_waits(n);
            if (status == SMT_OK)
                assert_string_equal(out.text, wanted.text); /* PCRE2 does without its compiler */
            else
                assert_int_equal(status, SMT_MEMORY);
            failures += status == SMT_MEMORY;
            smt_str_free(&out);
        }
        assert_true(failures > 10);
        smt_str_free(&wanted);
        smt_gguf_free(gguf);
        smt_str_free(&file.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_names),     cmocka_unit_test(bad_lengths),
        cmocka_unit_test(bad_values),    cmocka_unit_test(bad_tokens),
        cmocka_unit_test(bad_merges),    cmocka_unit_test(strange_vocabularies),
        cmocka_unit_test(any_bytes),     cmocka_unit_test(too_long),
        cmocka_unit_test(flipped_files), cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
