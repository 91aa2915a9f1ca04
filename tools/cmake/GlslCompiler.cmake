# smt::glsl: the GLSL to SPIR-V compiler that the library links, with SMT_GLSL_SHADERC or SMT_GLSL_GLSLANG defined for
# src/vk/vk_shader.c and SMT_GLSL_VERSION for the cache key.
#
# First choice is the shared libshaderc. Some systems ship one that cannot be loaded (its glslang symbols are undefined), so a
# probe is linked and run. Otherwise the static libraries of glslang, whose number shrinks from release to release: those that
# exist are taken. Both probes compile one shader, because libraries that merely link have been seen to fail at run time.
# When cross-compiling nothing can be run, and linking has to do.

set(SMT_GLSL_PROBE_SHADERC [=[
#include <shaderc/shaderc.h>
#include <string.h>
int main(void) {
    const char *text = "#version 460\nlayout(local_size_x = 1) in;\nvoid main() {}\n";
    shaderc_compiler_t compiler = shaderc_compiler_initialize();
    shaderc_compilation_result_t result =
        shaderc_compile_into_spv(compiler, text, strlen(text), shaderc_glsl_compute_shader, "probe", "main", 0);
    return shaderc_result_get_compilation_status(result) == shaderc_compilation_status_success ? 0 : 1;
}
]=])

set(SMT_GLSL_PROBE_GLSLANG [=[
#include <glslang/Include/glslang_c_interface.h>
#include <glslang/Public/resource_limits_c.h>
int main(void) {
    glslang_input_t input = {GLSLANG_SOURCE_GLSL, GLSLANG_STAGE_COMPUTE, GLSLANG_CLIENT_VULKAN, GLSLANG_TARGET_VULKAN_1_2,
                             GLSLANG_TARGET_SPV, GLSLANG_TARGET_SPV_1_5,
                             "#version 460\nlayout(local_size_x = 1) in;\nvoid main() {}\n", 460, GLSLANG_NO_PROFILE, 0, 0,
                             GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT, glslang_default_resource()};
    if (!glslang_initialize_process()) return 1;
    glslang_shader_t *shader = glslang_shader_create(&input);
    glslang_program_t *program = glslang_program_create();
    if (!glslang_shader_preprocess(shader, &input) || !glslang_shader_parse(shader, &input)) return 2;
    glslang_program_add_shader(program, shader);
    if (!glslang_program_link(program, GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT)) return 3;
    glslang_program_SPIRV_generate(program, GLSLANG_STAGE_COMPUTE);
    return glslang_program_SPIRV_get_size(program) > 0 ? 0 : 4;
}
]=])

# Links and runs `source`, with headers of the folder `include`, with `libraries`; remembered in the cache until the libraries change.
function(smt_glsl_probe name source include libraries out)
  if(DEFINED SMT_GLSL_WORKS_${name} AND "${SMT_GLSL_TRIED_${name}}" STREQUAL "${libraries}")
    set(${out} ${SMT_GLSL_WORKS_${name}} PARENT_SCOPE)
    return()
  endif()
  set(file ${CMAKE_BINARY_DIR}/CMakeFiles/smt_glsl_probe/${name}.c)
  file(WRITE ${file} "${source}")
  set(works OFF)
  if(CMAKE_CROSSCOMPILING)
    try_compile(works ${CMAKE_BINARY_DIR}/CMakeFiles/smt_glsl_probe/${name} ${file}
                CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${include} LINK_LIBRARIES ${libraries} OUTPUT_VARIABLE log)
  else()
    try_run(status linked ${CMAKE_BINARY_DIR}/CMakeFiles/smt_glsl_probe/${name} ${file}
            CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${include} LINK_LIBRARIES ${libraries} COMPILE_OUTPUT_VARIABLE log)
    if(linked AND "${status}" STREQUAL "0")
      set(works ON)
    endif()
    unset(status CACHE)
    unset(linked CACHE)
  endif()
  if(NOT works)
    file(APPEND ${CMAKE_BINARY_DIR}/CMakeFiles/smt_glsl_probe/${name}.log "${log}\n")
  endif()
  set(SMT_GLSL_WORKS_${name} ${works} CACHE INTERNAL "")
  set(SMT_GLSL_TRIED_${name} "${libraries}" CACHE INTERNAL "")
  set(${out} ${works} PARENT_SCOPE)
endfunction()

# ---- shared libshaderc ----
add_library(smt_glsl INTERFACE)
add_library(smt::glsl ALIAS smt_glsl)
set(SMT_GLSL_FOUND OFF)
pkg_check_modules(SMT_SHADERC QUIET shaderc)
find_path(SMT_SHADERC_INCLUDE shaderc/shaderc.h HINTS ${SMT_SHADERC_INCLUDE_DIRS})
find_library(SMT_SHADERC_LIBRARY NAMES shaderc_shared shaderc HINTS ${SMT_SHADERC_LIBRARY_DIRS})
mark_as_advanced(SMT_SHADERC_INCLUDE SMT_SHADERC_LIBRARY)
if(SMT_SHADERC_INCLUDE AND SMT_SHADERC_LIBRARY)
  smt_glsl_probe(shaderc "${SMT_GLSL_PROBE_SHADERC}" "${SMT_SHADERC_INCLUDE}" "${SMT_SHADERC_LIBRARY}" SMT_GLSL_FOUND)
endif()
if(SMT_GLSL_FOUND)
  set(SMT_GLSL_VERSION "${SMT_SHADERC_VERSION}")
  target_include_directories(smt_glsl SYSTEM INTERFACE ${SMT_SHADERC_INCLUDE})
  target_link_libraries(smt_glsl INTERFACE ${SMT_SHADERC_LIBRARY})
  target_compile_definitions(smt_glsl INTERFACE SMT_GLSL_SHADERC)
  message(STATUS "GLSL compiler: libshaderc ${SMT_GLSL_VERSION} (${SMT_SHADERC_LIBRARY})")
endif()

# ---- static glslang ----
if(NOT SMT_GLSL_FOUND)
  find_path(SMT_GLSLANG_INCLUDE glslang/Include/glslang_c_interface.h)
  mark_as_advanced(SMT_GLSLANG_INCLUDE)
  set(libraries "")
  foreach(name glslang MachineIndependent GenericCodeGen OSDependent OGLCompiler SPIRV glslang-default-resource-limits
          SPIRV-Tools-opt SPIRV-Tools)
    find_library(SMT_LIB_${name} NAMES ${name})
    mark_as_advanced(SMT_LIB_${name})
    if(SMT_LIB_${name})
      list(APPEND libraries ${SMT_LIB_${name}})
    endif()
  endforeach()
  # They refer to each other in circles. The standard C++ library follows, for the program is linked as C.
  set(group -Wl,--start-group ${libraries} -Wl,--end-group ${CMAKE_DL_LIBS} stdc++ m Threads::Threads)
  set(probe_group -Wl,--start-group ${libraries} -Wl,--end-group stdc++ m pthread)
  if(SMT_GLSLANG_INCLUDE AND SMT_LIB_glslang)
    smt_glsl_probe(glslang "${SMT_GLSL_PROBE_GLSLANG}" "${SMT_GLSLANG_INCLUDE}" "${probe_group}" SMT_GLSL_FOUND)
  endif()
  if(SMT_GLSL_FOUND)
    set(SMT_GLSL_VERSION "")
    if(EXISTS ${SMT_GLSLANG_INCLUDE}/glslang/build_info.h)
      file(STRINGS ${SMT_GLSLANG_INCLUDE}/glslang/build_info.h lines REGEX "^#define GLSLANG_VERSION_(MAJOR|MINOR|PATCH) ")
      string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
      string(REPLACE ";" "." SMT_GLSL_VERSION "${numbers}")
    endif()
    target_include_directories(smt_glsl SYSTEM INTERFACE ${SMT_GLSLANG_INCLUDE})
    target_link_libraries(smt_glsl INTERFACE ${group})
    target_compile_definitions(smt_glsl INTERFACE SMT_GLSL_GLSLANG)
    message(STATUS "GLSL compiler: static glslang ${SMT_GLSL_VERSION} (${SMT_LIB_glslang})")
  endif()
endif()

if(NOT SMT_GLSL_FOUND)
  message(FATAL_ERROR "no GLSL compiler works here: install the packages glslang-dev and spirv-tools, or libshaderc-dev "
          "(tools/deps.sh installs everything; what was tried is in ${CMAKE_BINARY_DIR}/CMakeFiles/smt_glsl_probe)")
endif()
target_compile_definitions(smt_glsl INTERFACE SMT_GLSL_VERSION="${SMT_GLSL_VERSION}")
