// A program of one whole room and what it may see (tests/CMakeLists.txt): it is linked, and need not run.

int main() { return 0; }
