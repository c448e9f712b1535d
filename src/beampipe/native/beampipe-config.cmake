# find_package(beampipe) with -Dbeampipe_DIR="$(python -c 'import beampipe; print(beampipe.get_cmake_dir())')".
get_filename_component(BEAMPIPE_PACKAGE ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)

# The target beampipe::track_finder: track finding in C (beampipe/track_finder.h) and C++ (beampipe/track_finder.hpp).
set(BEAMPIPE_LIBRARY ${BEAMPIPE_PACKAGE}/tracking/kernels/libbeampipe.so CACHE FILEPATH "beampipe.get_library()")
if(NOT EXISTS ${BEAMPIPE_LIBRARY})
  message(STATUS "beampipe: no ${BEAMPIPE_LIBRARY}, so no beampipe::track_finder; install beampipe with a C++ compiler")
elseif(NOT TARGET beampipe::track_finder)
  add_library(beampipe::track_finder SHARED IMPORTED)
  set_target_properties(beampipe::track_finder PROPERTIES
    IMPORTED_LOCATION ${BEAMPIPE_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${BEAMPIPE_PACKAGE}/tracking/include)
endif()

# beampipe_add_backend(NAME SOURCE...): a library target triton_NAME, the backend NAME for Triton, from the sources of one
# model (beampipe/triton/pipeline.hpp). The rest of the backend is compiled along, so compiler and flags are one.

function(beampipe_add_backend name)
  file(GLOB backend CONFIGURE_DEPENDS ${BEAMPIPE_PACKAGE}/native/*.cpp ${BEAMPIPE_PACKAGE}/triton/native/*.cpp)
  set(target triton_${name})
  add_library(${target} MODULE ${ARGN} ${backend})
  target_compile_features(${target} PRIVATE cxx_std_17)
  set_target_properties(${target} PROPERTIES
    PREFIX lib SUFFIX .so CXX_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
    INSTALL_RPATH "$ORIGIN" LINK_DEPENDS ${BEAMPIPE_PACKAGE}/triton/native/exports.map)
  # <beampipe/...> is found by a link, so that no other package of the environment is among the headers.
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/include)
  file(CREATE_LINK ${BEAMPIPE_PACKAGE} ${CMAKE_CURRENT_BINARY_DIR}/include/beampipe SYMBOLIC)
  target_include_directories(${target} PRIVATE ${BEAMPIPE_PACKAGE} ${CMAKE_CURRENT_BINARY_DIR}/include)
  # Only what the server calls is shown, so that no other library in it can meet ours. Nothing is linked for Triton: the
  # server resolves TRITONSERVER_* and TRITONBACKEND_* when it opens the library.
  target_link_options(${target} PRIVATE -Wl,--version-script=${BEAMPIPE_PACKAGE}/triton/native/exports.map)
endfunction()
