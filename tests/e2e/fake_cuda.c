/* A driver that has a card only in name, to be found before the real one: what goes wrong with it is said by
 * FAKE_CUDA (no_card, old_card, no_memory, lost). Memory is the host's; kernels leave it as it is. Compiled
 * with OLD_DRIVER, it lacks a call that the program needs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int is(const char* mode) {
  const char* asked = getenv("FAKE_CUDA");
  return asked != NULL && strcmp(asked, mode) == 0;
}

static int launches = 0;
/* The card is lost after so many launches: "unspecified launch failure". */
static int state(void) { return is("lost") && launches > 20 ? 719 : 0; }

int cuInit(unsigned flags) { return flags == 0 ? 0 : 1; }
int cuGetErrorString(int error, const char** text) {
  *text = error == 719 ? "unspecified launch failure" : "another error";
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = is("no_card") ? 0 : 1;
  return 0;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}
int cuDeviceGetName(char* text, int size, int device) {
  strncpy(text, "Fake card", (size_t)size);
  return device;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  switch (attribute) {
    case 75: *value = is("old_card") ? 7 : 9; break;
    case 16: *value = 4; break;
    case 81:
    case 97: *value = 200 << 10; break;
    default: *value = 0;
  }
  return device;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = NULL;
  return device;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return device; }
int cuCtxSetCurrent(void* context) { return context != NULL; }
int cuModuleLoadData(void** module, const void* image) {
  *module = NULL;
  return image == NULL;
}
int cuModuleUnload(void* module) { return module != NULL; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = (void*)(uintptr_t)name;
  return module != NULL;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  return function == NULL || attribute < 0 || value < 0;
}
int cuStreamCreate(void** stream, unsigned flags) {
  *stream = &launches;
  return flags != 1;
}
int cuStreamDestroy_v2(void* stream) { return stream == NULL; }
int cuStreamSynchronize(void* stream) { return stream == NULL ? 1 : state(); }
int cuStreamBeginCapture_v2(void* stream, int mode) { return stream == NULL || mode < 0; }
int cuStreamEndCapture(void* stream, void** graph) {
  *graph = stream;
  return 0;
}
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags) {
  *exec = graph;
  return flags != 0;
}
int cuGraphLaunch(void* exec, void* stream) { return exec == NULL || stream == NULL ? 1 : state(); }
int cuGraphDestroy(void* graph) { return graph == NULL; }
int cuGraphExecDestroy(void* exec) { return exec == NULL; }
int cuMemHostAlloc(void** memory, size_t bytes, unsigned flags) {
  *memory = malloc(bytes);
  return *memory == NULL || flags != 0;
}
int cuMemFreeHost(void* memory) {
  free(memory);
  return 0;
}
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  *free_bytes = 5 << 20;
  *total = 80 << 20;
  return 0;
}
int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  if (is("no_memory")) return 2;
  *address = (uint64_t)(uintptr_t)calloc(1, bytes);
  return 0;
}
int cuMemFree_v2(uint64_t address) {
  free((void*)(uintptr_t)address);
  return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
  memcpy((void*)(uintptr_t)to, from, bytes);
  return stream == NULL ? 1 : state();
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
  memcpy(to, (void*)(uintptr_t)from, bytes);
  return stream == NULL ? 1 : state();
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void* stream) {
  memset((void*)(uintptr_t)to, value, bytes);
  return stream == NULL ? 1 : state();
}
int cuTensorMapEncodeTiled(void* map) { return map == NULL; }
#ifndef OLD_DRIVER
int cuLaunchKernelEx(const void* launch, void* function, void** args, void** extra) {
  ++launches;
  return launch == NULL || function == NULL || args == NULL || extra != NULL ? 1 : state();
}
#endif
