# What programs that embed the library get: libseamount.so, its header, find_package(seamount) and pkg-config files.
#
# The soname carries the major version: it changes when a program that was linked against the former library would no longer run. What
# may change without that is held by tests/package/abi.txt. Static libraries inside (the GLSL compiler) stay inside: the version script
# exports smt_* alone, and of those only what SMT_API marks, since everything else is compiled hidden.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(seamount_shared SHARED $<TARGET_OBJECTS:seamount_objects>)
set_target_properties(seamount_shared PROPERTIES OUTPUT_NAME seamount EXPORT_NAME seamount VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR} PUBLIC_HEADER ${CMAKE_SOURCE_DIR}/include/seamount.h)
target_include_directories(seamount_shared INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(seamount_shared PRIVATE ${SEAMOUNT_LIBRARIES})
if(UNIX AND NOT APPLE)
  set(script ${CMAKE_BINARY_DIR}/seamount.map)
  file(WRITE ${script} "SEAMOUNT_${PROJECT_VERSION_MAJOR} { global: smt_*; local: *; };\n")
  target_link_options(seamount_shared PRIVATE -Wl,--version-script=${script})
  set_target_properties(seamount_shared PROPERTIES LINK_DEPENDS ${script})
  if(NOT (SEAMOUNT_SANITIZE OR SEAMOUNT_SANITIZE_THREADS OR SEAMOUNT_FUZZ)) # their run time is the program's
    target_link_options(seamount_shared PRIVATE -Wl,--no-undefined)
  endif()
endif()
if(WIN32)
  set(exports "EXPORTS\n")
  file(STRINGS ${CMAKE_SOURCE_DIR}/include/seamount.h marked REGEX "^SMT_API ")
  foreach(line ${marked})
    string(REGEX MATCH "(smt_[a-z0-9_]+)\\(" _ "${line}")
    string(APPEND exports "  ${CMAKE_MATCH_1}\n")
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/seamount.def "${exports}")
  target_sources(seamount_shared PRIVATE ${CMAKE_BINARY_DIR}/seamount.def)
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS include/seamount.h)
endif()

install(TARGETS seamount_shared EXPORT seamount LIBRARY COMPONENT library NAMELINK_COMPONENT development RUNTIME COMPONENT library
        ARCHIVE COMPONENT development
        PUBLIC_HEADER COMPONENT development)
set(config ${CMAKE_INSTALL_LIBDIR}/cmake/seamount)
install(EXPORT seamount NAMESPACE seamount:: FILE seamountConfig.cmake DESTINATION ${config} COMPONENT development)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/seamountConfigVersion.cmake COMPATIBILITY SameMajorVersion)
# The pkg-config file finds its folders from where it lies, so that an installed tree may be moved.
file(RELATIVE_PATH SEAMOUNT_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH include ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
set(SEAMOUNT_PC_INCLUDE "\${prefix}/${include}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/seamount.pc.in ${CMAKE_BINARY_DIR}/seamount.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/seamountConfigVersion.cmake DESTINATION ${config} COMPONENT development)
install(FILES ${CMAKE_BINARY_DIR}/seamount.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
