# The code of a test itself is checked for less, and by calls instead of in place: that compiles in 0.6 of
# the time. The rooms that it tests are checked in full.
function(pensieve_sanitize_less target)
  if(PENSIEVE_SANITIZE MATCHES "undefined")
    target_compile_options(${target} PRIVATE
      -fno-sanitize=null,alignment,vptr,object-size,pointer-overflow,nonnull-attribute,returns-nonnull-attribute)
  endif()
  if(PENSIEVE_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE "SHELL:--param asan-instrumentation-with-call-threshold=0")
  endif()
endfunction()

# pensieve_room(engine SOURCES a.cpp DEPENDS model compute LINK lib TESTS a_test.cpp BENCHES a_bench.cpp
#               FUZZERS a_fuzz.cpp [LABELS unit] [PLAIN] [OPTIMISED_TESTS])
#
# One room of the house: a static library pensieve_<name>, one test program <name>_test with every
# TESTS file, one benchmark program <name>_bench, and a libFuzzer program for each FUZZERS file, with
# its seed corpus in <x>_fuzz_corpus/ beside it. DEPENDS names rooms; LINK names outside libraries
# that stay private to the room's .cpp files. PLAIN: a room that waits more than it computes. It is not
# optimised in sanitizer builds and little in others, and compiles in half the time so. Tests are not
# optimised in sanitizer builds either, but for OPTIMISED_TESTS: they compute much, or count stack.
function(pensieve_room NAME)
  cmake_parse_arguments(ROOM "PLAIN;OPTIMISED_TESTS" "" "SOURCES;DEPENDS;LINK;TESTS;TEST_LINK;BENCHES;FUZZERS;LABELS" ${ARGN})
  add_library(pensieve_${NAME} STATIC ${ROOM_SOURCES})
  target_include_directories(pensieve_${NAME} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(pensieve_${NAME} PRIVATE pensieve::strict ${ROOM_LINK})
  foreach(room IN LISTS ROOM_DEPENDS)
    target_link_libraries(pensieve_${NAME} PUBLIC pensieve_${room})
  endforeach()
  if(NOT ROOM_LABELS)
    set(ROOM_LABELS unit)
  endif()

  if(ROOM_PLAIN)
    target_compile_options(pensieve_${NAME} PRIVATE $<IF:$<CONFIG:Dev>,-O0,-O1>)
    if(PENSIEVE_SANITIZE MATCHES "undefined")
      # A third of the time to compile. Null pointers end in the address sanitizer's report anyway, and what
      # lies in files as bytes is the business of other rooms and of the fuzzers, which check all.
      target_compile_options(pensieve_${NAME} PRIVATE -fno-sanitize=null,alignment)
    endif()
  endif()

  if(PENSIEVE_TESTS AND ROOM_TESTS)
    add_executable(${NAME}_test ${ROOM_TESTS})
    if(CMAKE_BUILD_TYPE STREQUAL "Dev" AND NOT ROOM_OPTIMISED_TESTS)
      target_compile_options(${NAME}_test PRIVATE -O0)
    endif()
    pensieve_sanitize_less(${NAME}_test)
    target_link_libraries(${NAME}_test PRIVATE pensieve_${NAME} pensieve::strict ${ROOM_LINK} ${ROOM_TEST_LINK}
                          GTest::gtest GTest::gtest_main)
    target_compile_definitions(${NAME}_test PRIVATE PENSIEVE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${NAME} COMMAND ${NAME}_test)
    set_tests_properties(${NAME} PROPERTIES LABELS "${ROOM_LABELS}" TIMEOUT 600)
  endif()
  if(PENSIEVE_BENCHES AND ROOM_BENCHES)
    add_executable(${NAME}_bench ${ROOM_BENCHES})
    target_link_libraries(${NAME}_bench PRIVATE pensieve_${NAME} pensieve::strict ${ROOM_LINK}
                          benchmark::benchmark benchmark::benchmark_main)
  endif()
  if(PENSIEVE_FUZZ)
    foreach(file IN LISTS ROOM_FUZZERS)
      get_filename_component(target ${file} NAME_WE)
      add_executable(${target} ${file})
      target_link_libraries(${target} PRIVATE pensieve_${NAME} ${ROOM_LINK})
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
      set_property(GLOBAL APPEND PROPERTY PENSIEVE_FUZZ_TARGETS ${target})
    endforeach()
  endif()
endfunction()
