/* vk_shader.c: GLSL text -> SPIR-V 1.5 for Vulkan 1.2, by the compiler that CMake found: glslang's C interface or libshaderc.
 *
 * No optimiser: drivers do that work again, and it costs hundreds of milliseconds a kernel. The includes are already spliced
 * in, so neither compiler's include callbacks (which differ between versions) are needed. Both may be used from several
 * threads at once; glslang counts its own initialisations under its own lock, one smt_vk_glsl is one count.
 *
 * Both were run: glslang 12.0 as static libraries on Debian 12, whose shared libshaderc does not link, and the shared libshaderc 2025.2
 * on Debian 13 (unit tests, a selection of the GPU tests, three golden models with validation). */
#include "vk_internal.h"

#include <string.h>

#if defined(SMT_GLSL_SHADERC)
#include <shaderc/shaderc.h>
#elif defined(SMT_GLSL_GLSLANG)
#include <glslang/Include/glslang_c_interface.h>
#include <glslang/Public/resource_limits_c.h>
#else
#error "tools/cmake/GlslCompiler.cmake defines SMT_GLSL_SHADERC or SMT_GLSL_GLSLANG"
#endif

/* SMT_COMPILE with the mapped log; the text of a smt_error is short, so the first error lines are what remains. */
static smt_status fail_compile(const smt_vk_source *source, const char *label, const char *log, smt_error *err) {
    smt_str mapped = {0};
    smt_status status = smt_vk_source_map_log(source, log ? log : "", &mapped, err);
    if (status == SMT_OK)
        status = SMT_FAIL(err, SMT_COMPILE, "kernel %s does not compile: %s", label, mapped.text ? mapped.text : "(no reason)");
    smt_str_free(&mapped);
    return status;
}

static smt_status copy_words(const void *words, size_t count, const char *label, uint32_t **out_words, size_t *out_count,
                             smt_error *err) {
    uint32_t *copy = smt_alloc(count, sizeof *copy);
    if (!copy) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu words of kernel %s", count, label);
    memcpy(copy, words, count * sizeof *copy);
    *out_words = copy;
    *out_count = count;
    return SMT_OK;
}

#if defined(SMT_GLSL_SHADERC)

struct smt_vk_glsl {
    shaderc_compiler_t compiler;
    shaderc_compile_options_t options;
};

const char *smt_vk_glsl_identity(void) { return "shaderc " SMT_GLSL_VERSION ", vulkan 1.2, spirv 1.5"; }

smt_status smt_vk_glsl_create(smt_vk_glsl **out, smt_error *err) {
    *out = NULL;
    smt_vk_glsl *glsl = smt_alloc(1, sizeof *glsl);
    if (!glsl) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the GLSL compiler");
    glsl->compiler = shaderc_compiler_initialize();
    glsl->options = shaderc_compile_options_initialize();
    if (!glsl->compiler || !glsl->options) {
        smt_vk_glsl_free(glsl);
        return SMT_FAIL(err, SMT_MEMORY, "shaderc could not be initialised");
    }
    shaderc_compile_options_set_target_env(glsl->options, shaderc_target_env_vulkan, shaderc_env_version_vulkan_1_2);
    shaderc_compile_options_set_target_spirv(glsl->options, shaderc_spirv_version_1_5);
    shaderc_compile_options_set_optimization_level(glsl->options, shaderc_optimization_level_zero);
    *out = glsl;
    return SMT_OK;
}

void smt_vk_glsl_free(smt_vk_glsl *glsl) {
    if (!glsl) return;
    shaderc_compile_options_release(glsl->options);
    shaderc_compiler_release(glsl->compiler);
    smt_free(glsl);
}

smt_status smt_vk_glsl_compile(smt_vk_glsl *glsl, const smt_vk_source *source, const char *label, uint32_t **out_words,
                               size_t *out_count, smt_error *err) {
    shaderc_compilation_result_t result = shaderc_compile_into_spv(glsl->compiler, source->text.text, source->text.bytes,
                                                                   shaderc_glsl_compute_shader, "0", "main", glsl->options);
    if (!result) return SMT_FAIL(err, SMT_MEMORY, "shaderc ran out of memory on kernel %s", label);
    smt_status status = SMT_OK;
    if (shaderc_result_get_compilation_status(result) == shaderc_compilation_status_success)
        status =
            copy_words(shaderc_result_get_bytes(result), shaderc_result_get_length(result) / 4, label, out_words, out_count, err);
    else
        status = fail_compile(source, label, shaderc_result_get_error_message(result), err);
    shaderc_result_release(result);
    return status;
}

#else

struct smt_vk_glsl {
    bool initialised;
};

const char *smt_vk_glsl_identity(void) { return "glslang " SMT_GLSL_VERSION ", vulkan 1.2, spirv 1.5"; }

smt_status smt_vk_glsl_create(smt_vk_glsl **out, smt_error *err) {
    *out = NULL;
    smt_vk_glsl *glsl = smt_alloc(1, sizeof *glsl);
    if (!glsl) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the GLSL compiler");
    glsl->initialised = glslang_initialize_process();
    if (!glsl->initialised) {
        smt_vk_glsl_free(glsl);
        return SMT_FAIL(err, SMT_INTERNAL, "glslang could not be initialised");
    }
    *out = glsl;
    return SMT_OK;
}

void smt_vk_glsl_free(smt_vk_glsl *glsl) {
    if (!glsl) return;
    if (glsl->initialised) glslang_finalize_process();
    smt_free(glsl);
}

/* Parse, link, generate; each step's own log is the reason when it fails. */
static smt_status compile(glslang_shader_t *shader, glslang_program_t *program, const glslang_input_t *input,
                          const smt_vk_source *source, const char *label, uint32_t **out_words, size_t *out_count,
                          smt_error *err) {
    if (!glslang_shader_preprocess(shader, input) || !glslang_shader_parse(shader, input))
        return fail_compile(source, label, glslang_shader_get_info_log(shader), err);
    glslang_program_add_shader(program, shader);
    if (!glslang_program_link(program, GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT))
        return fail_compile(source, label, glslang_program_get_info_log(program), err);
    glslang_spv_options_t options = {.disable_optimizer = true};
    glslang_program_SPIRV_generate_with_options(program, GLSLANG_STAGE_COMPUTE, &options);
    size_t count = glslang_program_SPIRV_get_size(program);
    if (count == 0) return fail_compile(source, label, glslang_program_SPIRV_get_messages(program), err);
    return copy_words(glslang_program_SPIRV_get_ptr(program), count, label, out_words, out_count, err);
}

smt_status smt_vk_glsl_compile(smt_vk_glsl *glsl, const smt_vk_source *source, const char *label, uint32_t **out_words,
                               size_t *out_count, smt_error *err) {
    (void)glsl;
    glslang_input_t input = {.language = GLSLANG_SOURCE_GLSL,
                             .stage = GLSLANG_STAGE_COMPUTE,
                             .client = GLSLANG_CLIENT_VULKAN,
                             .client_version = GLSLANG_TARGET_VULKAN_1_2,
                             .target_language = GLSLANG_TARGET_SPV,
                             .target_language_version = GLSLANG_TARGET_SPV_1_5,
                             .code = source->text.text,
                             .default_version = 460,
                             .default_profile = GLSLANG_NO_PROFILE,
                             .messages = GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT,
                             .resource = glslang_default_resource()};
    glslang_shader_t *shader = glslang_shader_create(&input);
    glslang_program_t *program = glslang_program_create();
    smt_status status = shader && program ? compile(shader, program, &input, source, label, out_words, out_count, err)
                                          : SMT_FAIL(err, SMT_MEMORY, "glslang could not start on kernel %s", label);
    if (program) glslang_program_delete(program);
    if (shader) glslang_shader_delete(shader);
    return status;
}

#endif
