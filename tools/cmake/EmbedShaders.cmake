# smt_embed(OUT SCRIPT PATTERN...): one C file holding the files under shaders/ that match, as the script writes it.
function(smt_embed out script)
  set(patterns ${ARGN})
  list(TRANSFORM patterns PREPEND ${CMAKE_SOURCE_DIR}/shaders/)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/shaders ${patterns})
  set(depends ${sources})
  list(TRANSFORM depends PREPEND ${CMAKE_SOURCE_DIR}/shaders/)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DROOT=${CMAKE_SOURCE_DIR}/shaders "-DSOURCES=${sources}"
            -P ${CMAKE_SOURCE_DIR}/tools/cmake/${script}
    DEPENDS ${depends} ${CMAKE_SOURCE_DIR}/tools/cmake/${script} VERBATIM)
endfunction()

# smt_embed_shaders(SOURCES MODULES): every shader as text, and the modules of shaders/prebuilt, so that the library needs no data files.
# src/vk/vk_include.c reads the table smt_vk_embedded_shaders[], vk_prebuilt.c smt_vk_prebuilt_modules[] (both declared there).
function(smt_embed_shaders sources modules)
  smt_embed(${sources} embed.cmake *.comp *.glsl *.h)
  smt_embed(${modules} embed_modules.cmake *.spv.zst)
endfunction()
