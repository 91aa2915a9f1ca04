# smt_add_driver_tests(PROGRAM LABELS [VARIABLE=VALUE...]): one ctest entry per Vulkan driver manifest found on this machine, each with the
# validation layer where it is installed. A machine without any driver gets an entry that reports "skipped". With variables for the
# environment, the entries are called PROGRAM_full, PROGRAM_wave where they choose that family of matrix kernels, PROGRAM_wave_full, or
# PROGRAM_wave_fast where they choose fast precision.
set(SMT_DRIVERS "")
foreach(entry "lavapipe=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json" "lavapipe=/usr/share/vulkan/icd.d/lvp_icd.json"
              "lavapipe-new=${CMAKE_SOURCE_DIR}/build-mesa/lvp_icd.json" # unpacked by tools/deps.sh --newer-mesa; full tier only
              "swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json")
  string(REGEX MATCH "^([^=]+)=(.*)$" _ ${entry})
  if(EXISTS ${CMAKE_MATCH_2})
    list(APPEND SMT_DRIVERS ${entry})
  endif()
endforeach()
# Both widths of vectors that Mesa's software driver computes with: where the processor has AVX-512, the newer one as the programs want it
# (tools/shared/vector_width.c), the other one as it is by itself.
if(EXISTS /proc/cpuinfo AND EXISTS ${CMAKE_SOURCE_DIR}/build-mesa/lvp_icd.json)
  file(STRINGS /proc/cpuinfo wide REGEX "^flags.* avx512bw avx512vl" LIMIT_COUNT 1)
  if(wide)
    set(SMT_ENVIRONMENT_lavapipe LP_NATIVE_VECTOR_WIDTH=256)
    set(SMT_ENVIRONMENT_lavapipe-new LP_NATIVE_VECTOR_WIDTH=512 GALLIVM_PERF=no_quad_lod)
  endif()
endif()
list(LENGTH SMT_DRIVERS SMT_DRIVER_COUNT)
message(STATUS "Vulkan drivers for tests: ${SMT_DRIVERS}")

# Programs that compile the same kernels several times, which SwiftShader takes half a second for each of: full tier only there. In the quick
# tier it sees each kernel in its own test, the golden models and the numeric contract.
set(SMT_SLOW_ON_SWIFTSHADER test_api test_api_fault test_compile test_files test_generate test_host_device test_kernel_catalogue test_load
    test_observer test_plan_load test_resident test_session test_stats test_types)

function(smt_add_driver_tests program labels)
  set(name ${program})
  if("SMT_TEST_KERNELS=wave" IN_LIST ARGN)
    set(name ${name}_wave)
  endif()
  if("SMT_TEST_PRECISION=fast" IN_LIST ARGN)
    set(name ${name}_fast)
  endif()
  if("SMT_TEST_FULL=1" IN_LIST ARGN)
    set(name ${name}_full)
  endif()
  foreach(entry ${SMT_DRIVERS})
    string(REGEX MATCH "^([^=]+)=(.*)$" _ ${entry})
    set(driver ${CMAKE_MATCH_1})
    set(manifest ${CMAKE_MATCH_2})
    set(own_labels ${labels})
    # The newer lavapipe sees every kernel and the golden models; the rest would only repeat itself, and compiling is slow there.
    if(driver STREQUAL "lavapipe-new" AND NOT program MATCHES "^test_(kernel|vk|logits)")
      continue()
    endif()
    # The full golden files, 4160 tokens among them, on one age of lavapipe: the newer, faster one where it is.
    if(driver STREQUAL "lavapipe" AND name STREQUAL "test_logits_full" AND EXISTS ${CMAKE_SOURCE_DIR}/build-mesa/lvp_icd.json)
      continue()
    endif()
    # The second family of kernels sees the golden models on the older lavapipe and SwiftShader.
    if(driver STREQUAL "lavapipe-new" AND name STREQUAL "test_logits_wave")
      continue()
    endif()
    # Fast precision on one driver: its kernels are compared everywhere. Lost devices too: an engine for each of twenty losses.
    if(driver STREQUAL "swiftshader" AND name MATCHES "_fast$|^test_lost$")
      continue()
    endif()
    # Equal devices on lavapipe; SwiftShader is the other half of test_split.both.
    if(driver STREQUAL "swiftshader" AND program STREQUAL "test_split")
      continue()
    endif()
    # Bit equality and types in full compile kernels by the dozen: SwiftShader runs the first, representative cases of them.
    if(driver STREQUAL "swiftshader" AND name MATCHES "^test_(contract.*|types)_full$")
      continue()
    endif()
    if(driver STREQUAL "lavapipe-new" OR (driver STREQUAL "swiftshader" AND (program IN_LIST SMT_SLOW_ON_SWIFTSHADER OR name MATCHES "_wave$")))
      list(REMOVE_ITEM own_labels quick)
      list(APPEND own_labels full)
      list(REMOVE_DUPLICATES own_labels)
    endif()
    add_test(NAME ${name}.${driver} COMMAND ${program})
    set(cost 10) # seconds, roughly: ctest starts the longest first, so that none is left alone at the end
    if(name MATCHES "_full$")
      set(cost 80)
    elseif(NOT driver STREQUAL "lavapipe")
      set(cost 30)
    endif()
    set_tests_properties(${name}.${driver} PROPERTIES LABELS "${own_labels};${driver}" TIMEOUT 900 COST ${cost}
      ENVIRONMENT "VK_ICD_FILENAMES=${manifest};SMT_TEST_DRIVER=${driver};${SMT_ENVIRONMENT_${driver}};${ARGN}" SKIP_RETURN_CODE 77)
  endforeach()
  if(NOT SMT_DRIVERS)
    add_test(NAME ${name}.nodriver COMMAND ${program})
    set_tests_properties(${name}.nodriver PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77)
  endif()
endfunction()
