# The install tree: headers, the libraries that applications link, and find_package(mete).
include(CMakePackageConfigHelpers)

install(DIRECTORY include/mete DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
foreach(folder base budget memory new_hook quota)
  if(TARGET mete_${folder})
    install(TARGETS mete_${folder} EXPORT mete_targets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endforeach()
# What needs another project to link is asked for by name.
foreach(folder store vulkan)
  if(TARGET mete_${folder})
    install(TARGETS mete_${folder} EXPORT mete_${folder}_targets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT mete_${folder}_targets NAMESPACE mete:: FILE mete-${folder}-targets.cmake
            DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mete)
  endif()
endforeach()
if(TARGET mete_program)
  install(TARGETS mete_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(EXPORT mete_targets NAMESPACE mete:: FILE mete-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mete)
configure_package_config_file(cmake/mete-config.cmake.in
                              ${CMAKE_CURRENT_BINARY_DIR}/mete-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mete)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mete-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mete-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/mete-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mete)
