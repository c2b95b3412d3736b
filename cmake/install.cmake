# What a user of an installed GRETA has: the program, its manual page (made by it), completion for shells, the
# header by which other engines record.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/greta.1 DEPENDS greta VERBATIM
  COMMAND greta manual > ${CMAKE_BINARY_DIR}/greta.1)
add_custom_target(manual ALL DEPENDS ${CMAKE_BINARY_DIR}/greta.1)
install(TARGETS greta)
install(TARGETS greta_capture LIBRARY DESTINATION lib/greta)
install(FILES include/greta_trace.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/greta.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
foreach(completion bash=bash-completion/completions/greta zsh=zsh/vendor-completions/_greta
    fish=fish/vendor_completions.d/greta.fish)
  string(REGEX MATCH "^([a-z]+)=(.*)/(.*)$" _ ${completion})
  install(FILES completions/greta.${CMAKE_MATCH_1} DESTINATION ${CMAKE_INSTALL_DATADIR}/${CMAKE_MATCH_2}
    RENAME ${CMAKE_MATCH_3})
endforeach()
install(FILES LICENSE DESTINATION share/doc/greta-llm RENAME copyright)
# `cmake --install build/release --component python`, and what the packages carry: the recorder of Python engines.
install(DIRECTORY python/greta DESTINATION lib/python3/dist-packages COMPONENT python EXCLUDE_FROM_ALL
  FILES_MATCHING PATTERN *.py)

# The Debian package (scripts/deb.sh): the program with the libraries of the distribution.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME greta-llm)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The GRETA maintainers <maintainers@greta.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "finds where and why an LLM engine computes wrongly")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL Unspecified python)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS python3-numpy)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/cmake/deb/prerm)
include(CPack)
