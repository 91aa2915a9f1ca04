/* test_token_split.c: the pre-tokenizers: which fragments each makes, what names they have, and that none takes quadratic time.
 */
#include "test_token_fixture.h"
#include "token/token_internal.h"

#include <time.h>

static const smt_split_facts no_facts = {1000, -1, -1};

static smt_split *split_named(const char *name, const smt_split_facts *facts) {
    smt_error err = {0};
    smt_split *split;
    SMT_ASSERT_OK(smt_split_create((smt_gguf_string){name, strlen(name)}, facts, &split, &err), &err);
    return split;
}

/* The fragments joined with '|'. */
static void assert_split(const char *name, const char *text, const char *want) {
    smt_error err = {0};
    smt_split *split = split_named(name, &no_facts);
    smt_split_scratch scratch = {0};
    SMT_ASSERT_OK(smt_split_run(split, text, (uint32_t)strlen(text), &scratch, &err), &err);
    smt_str got = {0};
    for (size_t i = 0; i < scratch.n_list; i++) {
        smt_fragment fragment = scratch.list[i];
        SMT_ASSERT_OK(smt_str_printf(&got, &err, "%s%.*s", i ? "|" : "", (int)fragment.bytes, text + fragment.start), &err);
    }
    assert_string_equal(got.text, want);
    smt_str_free(&got);
    smt_split_scratch_free(&scratch);
    smt_split_free(split);
}

static void deepseek_llm(void **state) {
    (void)state;
    static const char name[] = "deepseek-llm";
    assert_split(name, "don't x", "don|'|t| x");
    assert_split(name, " Café naïve", " Caf|é| na|ï|ve");
    assert_split(name, "Привет, мир!", "Привет|,| мир|!");
    assert_split(name, "a\n\nb\r\n", "a|\n|\n|b|\r|\n");
    assert_split(name, "a  b", "a| | b");
    assert_split(name, "x   ", "x|   ");
    assert_split(name, "12 345", "12| |345");
    assert_split(name, "Hi世界。ok", "Hi|世界|。|ok");
    /* Non-ASCII white space is white space, and neither punctuation (U+3000) nor CJK (U+2028) where a range has it. */
    assert_split(name, "a\u00a0b", "a|\u00a0b");
    assert_split(name, "a\u3000,", "a|\u3000,");
    assert_split(name, "世\u3000界", "世|\u3000|界");
    assert_split(name, "世\u2028界", "世|\u2028|界");
    /* Arabic and combining marks are no letters of this pattern. */
    assert_split(name, "aم", "a|م");
    assert_split(name, "e\u0301a", "e|\u0301|a");
}

static void other_names(void **state) {
    (void)state;
    assert_split("deepseek-coder", "x = y+1;12", "x| =| y|+|1|;|1|2");
    assert_split("deepseek-coder", "naïve مر", "naïve| مر");
    assert_split("deepseek-v3", "x=foo(12345)\n\n  y", "x|=foo|(|123|45|)\n\n| | y");
    assert_split("deepseek-v3", "こんにちは世界!", "こんにちは世界|!");
    assert_split("deepseek-v3", "  \n z", "  \n| z");
    assert_split("llama-bpe", "I'LL don't 12345", "I|'LL| don|'t| |123|45");
    assert_split("llama3", "a   b !\n\nc", "a|  | b| !\n\n|c");
    assert_split("gpt-2", "Hi there's 2024!  ok", "Hi| there|'s| 2024|!| | ok");
    assert_split("default", "A'S", "A|'|S");
    assert_split("", "a  b", "a| | b");
}

/* Vocabularies in files that name nothing are known by their size and by where their begin token is. */
static void unnamed(void **state) {
    (void)state;
    static const struct {
        const char *name;
        smt_split_facts facts;
        const char *assumed; /* NULL: the name stands */
        size_t n_fragments;
    } cases[] = {
        {"", {102400, 100000, -1}, "deepseek-llm", 4},
        {"default", {32256, 32013, -1}, "deepseek-coder", 6},
        {"", {129280, 0, -1}, "deepseek-v3", 3},
        {"", {128256, -1, 128000}, "llama-bpe", 3},
        {"", {300, 0, -1}, "gpt-2", 2},
        {"", {102400, 77, -1}, "gpt-2", 2},
        {"", {50257, -1, -1}, "gpt-2", 2},
        {"gpt-2", {102400, 100000, -1}, NULL, 2},
        {"deepseek-coder", {102400, 100000, -1}, NULL, 6},
    };
    static const char text[] = "12345 na\u00efve";
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_error err = {0};
        const char *assumed = smt_split_assumed((smt_gguf_string){cases[i].name, strlen(cases[i].name)}, &cases[i].facts);
        if (cases[i].assumed)
            assert_string_equal(assumed, cases[i].assumed);
        else
            assert_null(assumed);
        smt_split *split = split_named(cases[i].name, &cases[i].facts);
        smt_split_scratch scratch = {0};
        SMT_ASSERT_OK(smt_split_run(split, text, sizeof text - 1, &scratch, &err), &err);
        if (scratch.n_list != cases[i].n_fragments) fail_msg("case %zu: %zu fragments", i, scratch.n_list);
        smt_split_scratch_free(&scratch);
        smt_split_free(split);
    }
}

static void unknown_name(void **state) {
    (void)state;
    smt_error err = {0};
    smt_split *split;
    assert_int_equal(smt_split_create((smt_gguf_string){"qwen2", 5}, &no_facts, &split, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "qwen2"));
    assert_null(split);
}

/* Whatever the text, the fragments cover it in order and none is empty or cuts a character. */
static void fragments_cover(void **state) {
    (void)state;
    static const char *const parts[] = {"a", "B",  " ",      "  ",     "\n", "\r\n",   "\t", "7",           "é",
                                        "ſ", "世", "\u3000", "\u00a0", "'",  "s",      "!",  "\u0301",      "😀",
                                        "م", "٣",  "\u180e", "ª",      "½",  "\u2028", "+",  "\xef\xbf\xbd"};
    static const char *const names[] = {"deepseek-llm", "deepseek-coder", "deepseek-v3", "llama-bpe", "gpt-2"};
    smt_test_random random = {7};
    for (size_t k = 0; k < SMT_COUNT(names); k++) {
        smt_split *split = split_named(names[k], &no_facts);
        smt_split_scratch scratch = {0};
        for (int round = 0; round < 200; round++) {
            smt_error err = {0};
            smt_str text = {0};
            for (uint64_t i = 0, n = 1 + smt_test_next(&random) % 30; i < n; i++) {
                const char *part = parts[smt_test_next(&random) % SMT_COUNT(parts)];
                SMT_ASSERT_OK(smt_str_append(&text, part, strlen(part), &err), &err);
            }
            SMT_ASSERT_OK(smt_split_run(split, text.text, (uint32_t)text.bytes, &scratch, &err), &err);
            uint32_t at = 0;
            for (size_t i = 0; i < scratch.n_list; i++) {
                assert_int_equal(scratch.list[i].start, at);
                assert_true(scratch.list[i].bytes > 0);
                assert_true(((uint8_t)text.text[at] & 0xc0) != 0x80);
                at += scratch.list[i].bytes;
            }
            assert_int_equal(at, text.bytes);
            smt_str_free(&text);
        }
        smt_split_scratch_free(&scratch);
        smt_split_free(split);
    }
}

/* Long runs of one kind, then something else: what makes backtracking patterns slow. A linear pass takes milliseconds. */
static void long_runs(void **state) {
    (void)state;
    static const char *const names[] = {"deepseek-llm", "deepseek-coder", "deepseek-v3", "llama-bpe", "gpt-2"};
    static const char kinds[] = {' ', '\n', 'x', '7', '!', '\'', '\t'};
    enum { N = 100000 };
    char *text = smt_alloc(N + 1, 1);
    clock_t start = clock();
    for (size_t k = 0; k < SMT_COUNT(names); k++) {
        smt_split *split = split_named(names[k], &no_facts);
        smt_split_scratch scratch = {0};
        for (size_t i = 0; i < sizeof kinds; i++) {
            smt_error err = {0};
            memset(text, kinds[i], N);
            text[N] = kinds[i] == '7' ? '+' : '7';
            SMT_ASSERT_OK(smt_split_run(split, text, N + 1, &scratch, &err), &err);
            assert_true(scratch.n_list >= 2);
        }
        smt_split_scratch_free(&scratch);
        smt_split_free(split);
    }
    smt_free(text);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 6) fail_msg("35 runs of %d characters took %.1f s", N, seconds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deepseek_llm), cmocka_unit_test(other_names),     cmocka_unit_test(unnamed),
        cmocka_unit_test(unknown_name), cmocka_unit_test(fragments_cover), cmocka_unit_test(long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
