/* test_vk_include.c: includes spliced into one text, and compiler messages mapped back to the true file and line. */
#include "vk_support.h"

#include "vk/vk_internal.h"

static char folder[256];

static void put(const char *name, const char *text) {
    smt_vk_fixture fixture;
    memcpy(fixture.folder, folder, sizeof folder);
    smt_vk_test_shader(&fixture, name, text);
}

/* Flattens and compiles; returns the compiler's status. */
static smt_status compile(const char *name, smt_error *err) {
    smt_vk_source source;
    smt_vk_define defines[] = {{"A", "1"}, {"B", NULL}};
    smt_status status = smt_vk_source_flatten(folder, name, defines, 2, &source, err);
    if (status != SMT_OK) {
        assert_null(source.text.text);
        return status;
    }
    smt_vk_glsl *glsl;
    uint32_t *words = NULL;
    size_t count = 0;
    SMT_ASSERT_OK(smt_vk_glsl_create(&glsl, err), err);
    status = smt_vk_glsl_compile(glsl, &source, "test", &words, &count, err);
    if (status == SMT_OK) assert_true(smt_vk_spirv_plausible(words, count * 4));
    smt_free(words);
    smt_vk_glsl_free(glsl);
    smt_vk_source_free(&source);
    return status;
}

static void expect(const char *name, smt_status want, const char *words) {
    smt_error err = {0};
    smt_status status = compile(name, &err);
    if (status != want || !strstr(err.message, words))
        fail_msg("%s: %s, \"%s\"; wanted \"%s\"", name, smt_status_name(status), err.message, words);
}

#define MAIN "layout(local_size_x = 1) in;\nvoid main() {}\n"

static void test_once(void **state) {
    (void)state;
    put("lib/a.glsl", "#include \"b.glsl\"\nuint a() { return b() + A; }\n"); /* beside the including file */
    put("lib/b.glsl", "#include \"lib/a.glsl\"\nuint b() { return 1; }\n");   /* from the root, and in a circle */
    put("twice.comp", "#include \"lib/a.glsl\"\n #  include\t\"lib/b.glsl\" // again\n#include \"./lib/../lib/a.glsl\"\n" MAIN);
    expect("twice.comp", SMT_OK, "");
    put("self.comp", "#include \"self.comp\"\n" MAIN);
    expect("self.comp", SMT_OK, "");
}

/* An include under a false condition does not count as the one time. */
static void test_conditions(void **state) {
    (void)state;
    put("f.glsl", "uint f() { return 1; }\n");
    put("conditional.comp", "#ifdef NOT_DEFINED\n#include \"f.glsl\"\n#endif\n#ifdef B\n#include \"f.glsl\"\n#else\n#error B\n"
                            "#endif\nuint g() { return f(); }\n" MAIN);
    expect("conditional.comp", SMT_OK, "");
    put("c_header.comp", "#ifndef A\n#include <stdint.h>\n#endif\n" MAIN);
    expect("c_header.comp", SMT_OK, "");
    put("comments.comp", "/* like so:\n#include \"nowhere.glsl\"\n*/ // #include \"nowhere.glsl\"\n// /* not open\n"
                         "#include \"f.glsl\" /* open\n#include \"nowhere.glsl\"\n*/\nuint g() { return f(); }\n" MAIN);
    expect("comments.comp", SMT_OK, "");
}

static void test_lines(void **state) {
    (void)state;
    put("f.glsl", "uint f() { return 1; }\n");
    put("bad.glsl", "\n\n\nuint h() { return nothing; }");
    put("one.comp", "uint x = wrong;\n" MAIN);
    expect("one.comp", SMT_COMPILE, "one.comp:1: 'wrong'");
    put("behind.comp", "#include \"f.glsl\"\n\nuint x = wrong;\n" MAIN);
    expect("behind.comp", SMT_COMPILE, "behind.comp:3: 'wrong'");
    put("within.comp", "#include \"f.glsl\"\n#include \"bad.glsl\"\n" MAIN);
    expect("within.comp", SMT_COMPILE, "bad.glsl:4: 'nothing'");
    put("skipped.comp", "#if 0\n#include \"f.glsl\"\n#else\n\nuint x = wrong;\n#endif\n" MAIN);
    expect("skipped.comp", SMT_COMPILE, "skipped.comp:5: 'wrong'");
    put("skipped2.comp", "#if 0\n#include \"f.glsl\"\n\n#endif\n#include \"f.glsl\"\nuint x = wrong;\n" MAIN);
    expect("skipped2.comp", SMT_COMPILE, "skipped2.comp:6: 'wrong'");
    put("again.comp", "#include \"f.glsl\"\n#include \"f.glsl\"\nuint x = wrong;\n" MAIN);
    expect("again.comp", SMT_COMPILE, "again.comp:3: 'wrong'");
    put("crlf.comp", "#include \"f.glsl\"\r\n\r\nuint x = wrong;\r\nlayout(local_size_x = 1) in;\r\nvoid main() {}\r\n");
    expect("crlf.comp", SMT_COMPILE, "crlf.comp:3: 'wrong'");
}

static void test_refusals(void **state) {
    (void)state;
    expect("absent.comp", SMT_NOT_FOUND, "absent.comp");
    put("lost.comp", "\n#include \"gone.glsl\"\n" MAIN);
    expect("lost.comp", SMT_COMPILE, "lost.comp:2: included file \"gone.glsl\" not found");
    put("outside.comp", "#include \"../../etc/passwd\"\n" MAIN);
    expect("outside.comp", SMT_COMPILE, "outside.comp:1: included file");
    put("absolute.comp", "#include \"/etc/passwd\"\n" MAIN);
    expect("absolute.comp", SMT_COMPILE, "absolute.comp:1: included file");
    put("empty_name.comp", "#include \"\"\n" MAIN);
    expect("empty_name.comp", SMT_COMPILE, "empty_name.comp:1: included file");
    put("open.comp", "#include \"f.glsl\n" MAIN);
    expect("open.comp", SMT_COMPILE, "open.comp:1: #include without");
    put("quote.comp", MAIN "#include \""); /* at the very end of the file */
    expect("quote.comp", SMT_COMPILE, "quote.comp:3: #include without");
    for (int i = 0; i < 20; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "deep%d.glsl", i);
        snprintf(text, sizeof text, "#include \"deep%d.glsl\"\n", i + 1);
        put(name, text);
    }
    expect("deep0.glsl", SMT_COMPILE, "nested more than");
}

/* Each level includes the next one many times: guards make it valid, the limit keeps it small. */
static void test_growth(void **state) {
    (void)state;
    smt_str text = {0};
    smt_error err;
    for (int level = 0; level < 6; level++) {
        char name[32];
        snprintf(name, sizeof name, "grow%d.glsl", level);
        text.bytes = 0;
        for (int i = 0; i < 20; i++) SMT_ASSERT_OK(smt_str_printf(&text, &err, "#include \"grow%d.glsl\"\n", level + 1), &err);
        put(name, text.text);
    }
    put("grow6.glsl", "// the end\n");
    smt_str_free(&text);
    expect("grow0.glsl", SMT_COMPILE, "bytes of source");
}

static void test_map_log(void **state) {
    (void)state;
    char *files[] = {"(defines)", "a.comp", "lib/b.glsl"};
    smt_vk_source source = {.files = files, .n_files = 3};
    smt_str out = {0};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_source_map_log(&source,
                                        "ERROR: 1:17: 'x' : undeclared\n2:3: error: no\nERROR: 9:1: odd\nplain words\n\n"
                                        "ERROR: 2 compilation errors.\nERROR: 99999999999999999999999:1: far",
                                        &out, &err),
                  &err);
    assert_string_equal(out.text, "a.comp:17: 'x' : undeclared\nlib/b.glsl:3: no\nplain words");
    smt_str_free(&out);
}

static void test_every_allocation(void **state) {
    (void)state;
    put("f.glsl", "uint f() { return 1; }\n");
    put("fault.comp", "#include \"f.glsl\"\n" MAIN);
    smt_vk_define define = {"A", "1"};
    smt_status status = SMT_MEMORY;
    for (uint64_t n = 1; status != SMT_OK; n++) {
        smt_vk_source source;
        smt_error err;
        smt_mem_fail_after(n);
        status = smt_vk_source_flatten(folder, "fault.comp", &define, 1, &source, &err);
        smt_mem_fail_after(0);
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        if (status == SMT_OK) assert_true(n > 5);
        smt_vk_source_free(&source);
    }
}

static int begin(void **state) {
    (void)state;
    smt_vk_test_folder(folder, sizeof folder);
    return 0;
}

static int end(void **state) {
    (void)state;
    smt_vk_test_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_map_log),
        cmocka_unit_test(test_every_allocation),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
