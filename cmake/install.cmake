# What a user of an installed GRETA has: the program, its manual page, completion for bash.
install(TARGETS greta)
install(FILES man/greta.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES completions/greta.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME greta)
