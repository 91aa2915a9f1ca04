/* test_vk_shader_errors.c: kernels that do not compile say why, where, and which kernel; several threads may compile. */
#include "vk_support.h"

#include "os/os.h"

static smt_vk_kernel_desc describe(const char *source) {
    return (smt_vk_kernel_desc){.source = source, .label = "broken x4", .n_windows = 4, .group_size = {64, 1, 1}};
}

static void expect(const smt_vk_fixture *f, const char *source, smt_status want, const char *words) {
    smt_vk_kernel_desc desc = describe(source);
    smt_vk_kernel *kernel;
    uint32_t *spirv;
    size_t count;
    smt_error err;
    assert_int_equal(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), want);
    assert_null(kernel);
    if (!strstr(err.message, words)) fail_msg("\"%s\" is not in \"%s\"", words, err.message);
    assert_int_equal(smt_vk_compile_glsl(f->device, &desc, &spirv, &count, &err), want);
    assert_null(spirv);
}

static void test_lines(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "plain.comp", "layout(local_size_x = 64) in;\n\nvoid main() { uint x = nowhere; }\n");
    expect(f, "plain.comp", SMT_COMPILE, "plain.comp:3: 'nowhere'");
    expect(f, "plain.comp", SMT_COMPILE, "broken x4");
    smt_vk_test_shader(f, "lib/inner.glsl", "// one\nuint inner() { return missing; }\n");
    smt_vk_test_shader(f, "outer.comp", "layout(local_size_x = 64) in;\n#include \"lib/inner.glsl\"\nvoid main() {}\n");
    expect(f, "outer.comp", SMT_COMPILE, "lib/inner.glsl:2: 'missing'");
}

static void test_files(void **state) {
    const smt_vk_fixture *f = *state;
    expect(f, "nothing.comp", SMT_NOT_FOUND, "nothing.comp");
    smt_vk_test_shader(f, "lost.comp", "\n\n#include \"not/there.glsl\"\nvoid main() {}\n");
    expect(f, "lost.comp", SMT_COMPILE, "lost.comp:3: included file \"not/there.glsl\" not found");
}

static void test_defines(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "defines.comp",
                       "#if SMT_WINDOWS != 4 || SMT_GROUP_X != 64 || SMT_GROUP_Y != 1 || SMT_GROUP_Z != 1\n"
                       "#error wrong numbers\n#endif\n"
                       "#if SMT_SUBGROUP != EXPECTED\n#error wrong subgroup\n#endif\n"
                       "layout(local_size_x = SMT_GROUP_X) in;\nvoid main() {}\n");
    char expected[12];
    snprintf(expected, sizeof expected, "%u", f->caps->subgroup_ballot ? f->caps->subgroup_min : 0);
    smt_vk_define define = {"EXPECTED", expected};
    smt_vk_kernel_desc desc = describe("defines.comp");
    desc.defines = &define;
    desc.n_defines = 1;
    uint32_t *words;
    size_t count;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_compile_glsl(f->device, &desc, &words, &count, &err), &err);
    assert_true(count > 5 && words[0] == 0x07230203u && words[1] == 0x00010500u); /* SPIR-V 1.5 */
    smt_free(words);
}

typedef struct job {
    const smt_vk_fixture *fixture;
    const char *source;
    smt_status status[8];
} job;

static void compile_some(void *argument) {
    job *j = argument;
    for (size_t i = 0; i < SMT_COUNT(j->status); i++) {
        smt_vk_kernel_desc desc = describe(j->source);
        smt_vk_kernel *kernel;
        j->status[i] = smt_vk_kernel_create(j->fixture->device, &desc, false, &kernel, NULL);
        smt_vk_kernel_destroy(j->fixture->device, kernel);
    }
}

static void test_threads(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "good.comp", "layout(local_size_x = 64) in;\nvoid main() {}\n");
    smt_vk_test_shader(f, "bad.comp", "layout(local_size_x = 64) in;\nvoid main() { bad }\n");
    job jobs[4] = {{f, "good.comp", {0}}, {f, "bad.comp", {0}}, {f, "good.comp", {0}}, {f, "bad.comp", {0}}};
    smt_os_thread *threads[4];
    smt_error err;
    for (int i = 0; i < 4; i++) SMT_ASSERT_OK(smt_os_thread_start(compile_some, &jobs[i], &threads[i], &err), &err);
    for (int i = 0; i < 4; i++) smt_os_thread_join(threads[i]);
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < SMT_COUNT(jobs[i].status); k++) assert_int_equal(jobs[i].status[k], i % 2 ? SMT_COMPILE : SMT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_defines),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
