/* test_vk_prebuilt.c: shaders/prebuilt holds a module for every kernel with cooperative matrices, and no other: a source that has changed
 * since, or whose defines have, is found here. And what a module's name depends on. */
#include "support.h"

#include "run/run.h"
#include "vk/vk_internal.h"

#include <stdio.h>

#define MOST_NAMES 256

/* The name of the module that the kernel needs on a device whose own numbers should not matter. */
static bool find_name(const smt_kernel_key *key, const smt_caps *caps, char name[33]) {
    smt_vk_define defines[SMT_KERNEL_MAX_DEFINES];
    smt_kernel_spec spec;
    smt_error err;
    char *text;
    bool known;
    smt_kernel_describe(caps, key, &spec);
    assert_true(spec.portable && spec.n_constants > 0);
    const smt_vk_kernel_desc desc = smt_run_kernel_desc(&spec, defines);
    SMT_ASSERT_OK(smt_vk_portable_text(&desc, &text, name, &known, &err), &err);
    smt_free(text);
    if (!known) fprintf(stderr, "%s: no module %s.spv.zst\n", spec.label, name);
    return known;
}

static void test_complete(void **state) {
    (void)state;
    static const smt_caps machines[] = {{.family = SMT_FAMILY_WAVE, .coop = {16, 16, 16}, .subgroup_size = 32},
                                        {.family = SMT_FAMILY_WAVE,
                                         .coop = {8, 8, 16},
                                         .subgroup_size = 8,
                                         .int_dot = true,
                                         .fp16 = true,
                                         .max_texels = 1u << 27}};
    static char names[MOST_NAMES][33];
    smt_kernel_key key;
    uint32_t n = 0, missing = 0, unused = 0;
    for (; smt_kernel_coop_catalogue(n, &key); n++) {
        char again[33];
        assert_true(n < MOST_NAMES);
        missing += !find_name(&key, &machines[0], names[n]);
        find_name(&key, &machines[1], again);
        assert_string_equal(names[n], again);
    }
    assert_true(n >= 28); /* seven types, dense and expert, gated and not */
    for (const struct smt_vk_prebuilt *module = smt_vk_prebuilt_modules; module->name; module++) {
        bool used = false;
        for (uint32_t i = 0; i < n; i++) used |= strcmp(names[i], module->name) == 0;
        if (!used) fprintf(stderr, "no kernel needs %s.spv.zst\n", module->name);
        unused += !used;
    }
    if (missing || unused)
        fail_msg("%u modules are missing, %u are not needed: tools/prebuild.sh makes them anew", missing, unused);
}

/* Every module unpacks to SPIR-V that says what it needs: cooperative matrices are capability 6022. */
static void test_modules(void **state) {
    (void)state;
    for (const struct smt_vk_prebuilt *module = smt_vk_prebuilt_modules; module->name; module++) {
        uint32_t *words;
        size_t count, at = 5;
        smt_error err;
        SMT_ASSERT_OK(smt_vk_prebuilt_load(module->name, &words, &count, &err), &err);
        assert_non_null(words);
        while (at + 1 < count && words[at] == (2u << 16 | 17u) && words[at + 1] != 6022) at += 2; /* OpCapability */
        assert_true(at + 1 < count && words[at + 1] == 6022);
        smt_free(words);
    }
    uint32_t *none;
    size_t count;
    SMT_ASSERT_OK(smt_vk_prebuilt_load("0123456789abcdef0123456789abcdef", &none, &count, NULL), &(smt_error){0});
    assert_null(none);
}

static void name_of(const char *text, char name[33]) {
    smt_error err;
    smt_vk_source source = {0};
    SMT_ASSERT_OK(smt_str_append(&source.text, text, strlen(text), &err), &err);
    SMT_ASSERT_OK(smt_vk_prebuilt_name(&source, name, &err), &err);
    smt_vk_source_free(&source);
}

static void test_names(void **state) {
    (void)state;
    static const char plain[] = "#define A 1\nint a = A / 2;\nint b = 4 / 2;\n";
    static const char *const same[] = {"#line 1 2\n#define A 1\n\n  int a = A / 2; // half\n/* two\n lines */\nint b = 4 / 2;",
                                       "#define A 1 /* one */\n\tint a = A / 2;\n#line 7 1\nint b = 4 / 2;\n"};
    static const char *const other[] = {"#define A 2\nint a = A / 2;\nint b = 4 / 2;\n", "#define A 1\nint a = A / 2;\n",
                                        "#define A 1\nint a = A / 2;\n/* int b = 4 / 2; */\n",
                                        "#define A 1\nint a = A; // 2;\nint b = 4 / 2;\n"};
    char expected[33], name[33];
    name_of(plain, expected);
    for (size_t i = 0; i < SMT_COUNT(same); i++) {
        name_of(same[i], name);
        assert_string_equal(name, expected);
    }
    for (size_t i = 0; i < SMT_COUNT(other); i++) {
        name_of(other[i], name);
        assert_string_not_equal(name, expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_complete), cmocka_unit_test(test_modules),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
