# smt_add_driver_tests(PROGRAM LABELS): one ctest entry per Vulkan driver manifest found on this machine, each with the validation layer
# where it is installed. A machine without any driver gets an entry that reports "skipped".
set(SMT_DRIVERS "")
foreach(entry "lavapipe=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json" "lavapipe=/usr/share/vulkan/icd.d/lvp_icd.json"
              "lavapipe-new=${CMAKE_SOURCE_DIR}/build-mesa/lvp_icd.json" # unpacked by tools/deps.sh --newer-mesa; full tier only
              "swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json")
  string(REGEX MATCH "^([^=]+)=(.*)$" _ ${entry})
  if(EXISTS ${CMAKE_MATCH_2})
    list(APPEND SMT_DRIVERS ${entry})
  endif()
endforeach()
list(LENGTH SMT_DRIVERS SMT_DRIVER_COUNT)
message(STATUS "Vulkan drivers for tests: ${SMT_DRIVERS}")

function(smt_add_driver_tests program labels)
  foreach(entry ${SMT_DRIVERS})
    string(REGEX MATCH "^([^=]+)=(.*)$" _ ${entry})
    set(driver ${CMAKE_MATCH_1})
    set(manifest ${CMAKE_MATCH_2})
    set(own_labels ${labels})
    if(driver STREQUAL "lavapipe-new")
      list(REMOVE_ITEM own_labels quick)
      list(APPEND own_labels full)
    endif()
    add_test(NAME ${program}.${driver} COMMAND ${program})
    set_tests_properties(${program}.${driver} PROPERTIES LABELS "${own_labels};${driver}" TIMEOUT 900
      ENVIRONMENT "VK_ICD_FILENAMES=${manifest};SMT_TEST_DRIVER=${driver}" SKIP_RETURN_CODE 77)
  endforeach()
  if(NOT SMT_DRIVERS)
    add_test(NAME ${program}.nodriver COMMAND ${program})
    set_tests_properties(${program}.nodriver PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77)
  endif()
endfunction()
