// What gcc's own libstdc++.a asks of a glibc newer than the one that is linked for (cmake/static.cmake).
#include <unistd.h>

extern "C" {

/// Since 2.32; "perhaps several" is always right.
extern char __libc_single_threaded;
char __libc_single_threaded = 0;

/// Since 2.36; std::random_device's. getentropy() is of 2.25.
unsigned arc4random();
unsigned arc4random() {
  unsigned value = 0;
  return getentropy(&value, sizeof value) == 0 ? value : 0;
}

}  // extern "C"
