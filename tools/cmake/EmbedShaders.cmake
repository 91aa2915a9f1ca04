# smt_embed_shaders(OUT): one C file holding every shader source as text, so that the library needs no data files.
# src/vk/vk_include.c reads the table smt_vk_embedded_shaders[] (declared there).
function(smt_embed_shaders out)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/shaders
       ${CMAKE_SOURCE_DIR}/shaders/*.comp ${CMAKE_SOURCE_DIR}/shaders/*.glsl ${CMAKE_SOURCE_DIR}/shaders/*.h)
  set(depends)
  foreach(source ${sources})
    list(APPEND depends ${CMAKE_SOURCE_DIR}/shaders/${source})
  endforeach()
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DROOT=${CMAKE_SOURCE_DIR}/shaders "-DSOURCES=${sources}"
            -P ${CMAKE_SOURCE_DIR}/tools/cmake/embed.cmake
    DEPENDS ${depends} ${CMAKE_SOURCE_DIR}/tools/cmake/embed.cmake VERBATIM)
endfunction()
