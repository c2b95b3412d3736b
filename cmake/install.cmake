# What a user of an installed GRETA has: the program, its manual page (made by it), completion for bash,
# the header by which other engines record.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/greta.1 DEPENDS greta VERBATIM
  COMMAND greta manual > ${CMAKE_BINARY_DIR}/greta.1)
add_custom_target(manual ALL DEPENDS ${CMAKE_BINARY_DIR}/greta.1)
install(TARGETS greta)
install(TARGETS greta_capture LIBRARY DESTINATION lib/greta)
install(FILES include/greta_trace.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/greta.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES completions/greta.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME greta)
