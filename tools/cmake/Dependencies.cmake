# Every library we link, each a target smt::NAME; a missing one is an error that names its Debian package.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

function(smt_pkg name module package)
  pkg_check_modules(SMT_${name} QUIET IMPORTED_TARGET ${module})
  if(NOT SMT_${name}_FOUND)
    message(FATAL_ERROR "${module} not found: install the package ${package} (tools/deps.sh installs everything)")
  endif()
  add_library(smt::${name} ALIAS PkgConfig::SMT_${name})
endfunction()

smt_pkg(pcre2 libpcre2-8 libpcre2-dev)
smt_pkg(utf8proc libutf8proc libutf8proc-dev)
smt_pkg(jansson jansson libjansson-dev)
if(NOT WIN32)
  smt_pkg(libedit libedit libedit-dev)
endif()
smt_pkg(microhttpd libmicrohttpd libmicrohttpd-dev)
if(WIN32) # a static one says nothing of it
  target_link_libraries(PkgConfig::SMT_microhttpd INTERFACE ws2_32)
endif()
smt_pkg(xxhash libxxhash libxxhash-dev)
smt_pkg(zstd libzstd libzstd-dev)
if(SEAMOUNT_VIEW)
  smt_pkg(sdl2 sdl2 libsdl2-dev)
  smt_pkg(sdl2_ttf SDL2_ttf libsdl2-ttf-dev)
  smt_pkg(png libpng libpng-dev)
  # The viewer's fonts; it also looks for them when it starts, in more places.
  find_path(SEAMOUNT_FONT_DIR NAMES DejaVuSansMono.ttf PATHS /usr/share/fonts/truetype/dejavu /usr/share/fonts/dejavu
            /usr/share/fonts/TTF /usr/share/fonts/dejavu-sans-fonts /usr/local/share/fonts/dejavu)
  if(NOT SEAMOUNT_FONT_DIR)
    message(FATAL_ERROR "DejaVuSansMono.ttf not found: install the package fonts-dejavu-core, or set SEAMOUNT_FONT_DIR to the folder "
            "of the DejaVu fonts, or build without the viewer: -DSEAMOUNT_VIEW=OFF")
  endif()
endif()

# Headers alone: the loader itself is opened at run time.
find_path(SMT_VULKAN_INCLUDE vulkan/vulkan.h)
if(NOT SMT_VULKAN_INCLUDE)
  message(FATAL_ERROR "vulkan/vulkan.h not found: install the package libvulkan-dev")
endif()
add_library(smt_vulkan_headers INTERFACE)
add_library(smt::vulkan_headers ALIAS smt_vulkan_headers)
target_include_directories(smt_vulkan_headers SYSTEM INTERFACE ${SMT_VULKAN_INCLUDE})
target_compile_definitions(smt_vulkan_headers INTERFACE VK_NO_PROTOTYPES)

include(GlslCompiler)
