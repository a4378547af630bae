# One library per folder of src/, and the tests that stand beside its sources.
#
# A library sees the private headers of another folder only if it links that folder's target: each
# folder gets an include root of its own that holds nothing but itself, so an include against the
# arrows of docs/architecture.md does not compile.

set(METE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast
                  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual)
if(METE_WERROR)
  list(APPEND METE_WARNINGS -Werror)
endif()

add_library(mete_options INTERFACE)
target_compile_options(mete_options INTERFACE ${METE_WARNINGS} -fno-strict-aliasing)
if(METE_SANITIZE)
  target_compile_options(mete_options INTERFACE -fsanitize=${METE_SANITIZE} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all)
  target_link_options(mete_options INTERFACE -fsanitize=${METE_SANITIZE})
endif()

# mete_library(NAME SOURCES ... [USES ...] [PRIVATE ...])
#   USES: other folders whose headers this one includes; PRIVATE: third-party targets, seen only here.
function(mete_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE" ${ARGN})
  set(target mete_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(mete::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  set(root ${CMAKE_BINARY_DIR}/include_roots/${name})
  file(MAKE_DIRECTORY ${root})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${root}/${name} SYMBOLIC)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${root}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_23)
  foreach(folder IN LISTS ARG_USES)
    target_link_libraries(${target} PUBLIC mete_${folder})
  endforeach()
  target_link_libraries(${target} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:mete_options>)
endfunction()

# mete_test(NAME SOURCES ... [USES ...] [ALONE] [TIMEOUT seconds] [DEFINES ...])
#   A test program of GoogleTest cases. ALONE: nothing else runs beside it (it times or enforces).
function(mete_test name)
  if(NOT METE_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "ALONE" "TIMEOUT" "SOURCES;USES;PRIVATE;DEFINES" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  foreach(folder IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE mete_${folder})
  endforeach()
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES})
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} GTest::gtest GTest::gtest_main mete_options)
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_ALONE)
    list(APPEND properties RUN_SERIAL TRUE)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES ${properties})
endfunction()
