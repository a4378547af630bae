# One library per folder of src/, and the tests that stand beside its sources.
#
# A library sees the private headers of another folder only if it links that folder's target: each
# folder gets an include root of its own that holds nothing but itself, so an include against the
# arrows of docs/architecture.md does not compile.

# Signs: Clang's -Wconversion asks for them, GCC's does not.
set(METE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                  -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual)
# GCC 12 sees an overlap in `"text" + std::string` that is not there (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND METE_WARNINGS -Wno-restrict)
endif()
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
if(METE_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # TSan does not model fences, and GCC warns so. What the credit protocol orders by fences is all
  # atomic, so that no race is hidden or invented by it.
  target_compile_options(mete_options INTERFACE -Wno-tsan)
endif()
if(METE_FUZZ)  # coverage feedback in everything that a fuzz target reaches
  target_compile_options(mete_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# mete_library(NAME SOURCES ... [USES ...] [PRIVATE ...])
#   USES: other folders whose headers this one includes; PRIVATE: third-party targets, seen here.
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

# mete_test(NAME SOURCES ... [USES ...] [ALONE] [THREADS] [TIMEOUT seconds] [ENVIRONMENT A=b]
#           [DEFINES ...])
#   A test program of GoogleTest cases. ALONE: nothing else runs beside it (it times or enforces).
#   THREADS: it has some; TSan builds no others.
function(mete_test name)
  if(NOT METE_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "ALONE;THREADS" "TIMEOUT;ENVIRONMENT"
                        "SOURCES;USES;PRIVATE;DEFINES" ${ARGN})
  if(METE_SANITIZE STREQUAL "thread" AND NOT ARG_THREADS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  foreach(folder IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE mete_${folder})
  endforeach()
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES})
  # The libraries are what is tested at full speed; compiling tests that way costs a third more.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} GTest::gtest GTest::gtest_main mete_options)
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_ALONE)
    list(APPEND properties RUN_SERIAL TRUE)
  endif()
  if(ARG_ENVIRONMENT)
    list(APPEND properties ENVIRONMENT ${ARG_ENVIRONMENT})
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES ${properties})
endfunction()

# mete_python_test(FILE [WHOLE] [ALONE] [SANITIZED] [TIMEOUT seconds])
#   The cases of a unittest file, one test each; WHOLE: one for the file, where the cases share a
#   costly set-up. Release build only, unless SANITIZED. The tests find the program, the build and
#   the sources in METE_PROGRAM, METE_BUILD and METE_SOURCE.
function(mete_python_test file)
  cmake_parse_arguments(ARG "WHOLE;ALONE;SANITIZED" "TIMEOUT" "" ${ARGN})
  if(METE_SANITIZE AND NOT ARG_SANITIZED)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  get_filename_component(path ${file} ABSOLUTE)
  get_filename_component(stem ${file} NAME_WE)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  set(environment METE_PROGRAM=${PROJECT_BINARY_DIR}/mete METE_BUILD=${PROJECT_BINARY_DIR}
                  METE_SOURCE=${PROJECT_SOURCE_DIR})
  set(cases "")
  if(NOT ARG_WHOLE)
    execute_process(COMMAND ${CMAKE_COMMAND} -E env ${environment} ${Python3_EXECUTABLE} -B
                            ${PROJECT_SOURCE_DIR}/scripts/list_cases.py ${path}
                    OUTPUT_VARIABLE cases COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "[^\n]+" cases "${cases}")
  endif()
  set(names "")
  if(ARG_WHOLE)
    add_test(NAME ${stem} COMMAND ${Python3_EXECUTABLE} -B ${path} -v)
    list(APPEND names ${stem})
  endif()
  foreach(case IN LISTS cases)
    add_test(NAME ${stem}.${case} COMMAND ${Python3_EXECUTABLE} -B ${path} -v ${case})
    list(APPEND names ${stem}.${case})
  endforeach()
  set_tests_properties(${names} PROPERTIES
    TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL ${ARG_ALONE} SKIP_REGULAR_EXPRESSION "OK \\(skipped="
    ENVIRONMENT "${environment}")
endfunction()

# mete_bench(NAME SOURCES ... [USES ...] [PRIVATE ...])
#   A Google Benchmark program; `bench_smoke` runs each of its rows for a moment, as a test.
function(mete_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE;DEFINES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  foreach(folder IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE mete_${folder})
  endforeach()
  target_compile_definitions(${name} PRIVATE ${ARG_DEFINES})
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} benchmark::benchmark
                                        benchmark::benchmark_main mete_options)
endfunction()

# mete_fuzz(NAME SOURCES ... [USES ...] [PRIVATE ...])
#   A libFuzzer program; `make fuzz` runs each, from the inputs of fuzz/corpus/NAME. Without
#   METE_FUZZ it is a test program instead, which runs over those inputs and some made from them.
function(mete_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE" ${ARGN})
  if(NOT METE_FUZZ)
    mete_test(${name}_test SOURCES ${ARG_SOURCES} corpus_test.cc USES ${ARG_USES}
              PRIVATE ${ARG_PRIVATE}
              DEFINES METE_INPUTS=20000 METE_CORPUS="${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/targets)
  foreach(folder IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE mete_${folder})
  endforeach()
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} mete_options -fsanitize=fuzzer)
endfunction()
