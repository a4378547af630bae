# METE_VULKAN: whether src/vulkan is built. AUTO: where what it needs is found (scripts/setup gpu).
#
# With METE_TESTS it also finds what the tests open a device with: METE_LAVAPIPE, the manifest of a
# Vulkan driver for the CPU, and the validation layers.
set(METE_VULKAN AUTO CACHE STRING "Build the device allocators on Vulkan: ON, OFF or AUTO")
set_property(CACHE METE_VULKAN PROPERTY STRINGS AUTO ON OFF)

set(METE_HAS_VULKAN OFF)
if(METE_VULKAN STREQUAL "OFF")
  return()
endif()
set(missing "")
find_package(Vulkan QUIET)
if(NOT Vulkan_FOUND)
  list(APPEND missing "the headers and loader of Vulkan")
endif()
find_path(METE_VMA_INCLUDE vk_mem_alloc.h)
if(NOT METE_VMA_INCLUDE)
  list(APPEND missing "vk_mem_alloc.h")
endif()
if(METE_TESTS OR METE_BENCH)
  # Debian 12's own driver is too old; scripts/setup_vulkan puts one beside it.
  find_file(METE_LAVAPIPE NAMES lvp_icd.json lvp_icd.x86_64.json lvp_icd.aarch64.json
            PATHS /usr/local/lib/mete/lavapipe /usr/share/vulkan/icd.d NO_DEFAULT_PATH)
  find_file(METE_VALIDATION VkLayer_khronos_validation.json
            PATHS /usr/share/vulkan/explicit_layer.d /usr/local/share/vulkan/explicit_layer.d
            NO_DEFAULT_PATH)
  find_program(METE_GLSLANG glslangValidator)
  foreach(what METE_LAVAPIPE METE_VALIDATION METE_GLSLANG)
    if(NOT ${what})
      list(APPEND missing "${what}")
    endif()
  endforeach()
endif()
if(NOT missing)
  set(METE_HAS_VULKAN ON)
elseif(METE_VULKAN STREQUAL "ON")
  list(JOIN missing ", " missing)
  message(FATAL_ERROR "METE_VULKAN: not found: ${missing} (scripts/setup gpu installs it)")
else()
  list(JOIN missing ", " missing)
  message(STATUS "src/vulkan is left out: not found: ${missing}")
endif()
