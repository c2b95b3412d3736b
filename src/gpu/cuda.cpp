#include "gpu/cuda.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/timing.h"
#include "gpu/cuda_driver.h"
#include "gpu/cuda_map.h"
#include "kernels/gpu/shapes.h"

// The code object that nvcc made (cmake/gpu.cmake); nothing where it was not found.
#ifdef GRETA_CUDA_CODE
asm(".section .rodata\n.balign 64\n.hidden greta_cuda_code\n.globl greta_cuda_code\ngreta_cuda_code:\n"
    ".incbin \"" GRETA_CUDA_CODE "\"\n.previous\n");
extern "C" const unsigned char greta_cuda_code[];
static constexpr bool kHasCode = true;
#else
static constexpr const unsigned char* greta_cuda_code = nullptr;
static constexpr bool kHasCode = false;
#endif

namespace greta::gpu {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";
constexpr int kOwnShared =
    4 << 10;                // bytes that a kernel declares, at most, if it asks for more at its launch
constexpr int kOldest = 8;  // compute capability of the oldest code object

void* library() {
  static void* const handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  return handle;
}

const CudaDriver& driver() {
  static const CudaDriver calls = [] {
    CudaDriver found;
#define GRETA_CUDA_CALL(name, symbol, parameters)                                \
  found.name = reinterpret_cast<decltype(found.name)>(dlsym(library(), symbol)); \
  if (found.name == nullptr)                                                     \
    fail_machine("--device cuda: the driver ({}) is too old: it has no {}", kLibrary, symbol);
    GRETA_CUDA_CALLS(GRETA_CUDA_CALL)
#undef GRETA_CUDA_CALL
    return found;
  }();
  return calls;
}

std::string text_of(int error) {
  const char* text = nullptr;
  driver().error_text(error, &text);
  return text != nullptr ? text : fmt::format("error {}", error);
}

void call(int result, const std::string& label, const char* what) {
  if (result != 0) fail_machine("{}: {}: {}", label, what, text_of(result));
}

class CudaGraph final : public Recording {
 public:
  CudaGraph(void* graph, void* stream, std::string label) : stream_(stream), label_(std::move(label)) {
    const int result = driver().graph_make(&exec_, graph, 0);
    driver().graph_destroy(graph);
    call(result, label_, "cannot make a graph");
  }
  ~CudaGraph() override { driver().exec_destroy(exec_); }
  void replay() override { call(driver().graph_launch(exec_, stream_), label_, "cannot launch a graph"); }

 private:
  void *exec_ = nullptr, *stream_;
  std::string label_;
};

class Cuda final : public Device {
 public:
  explicit Cuda(int index) : index_(index) {
    call(driver().init(0), "cannot use the driver");
    int count = 0;
    call(driver().device_count(&count), "cannot count cards");
    if (index >= count) fail_machine("{}: this machine has {} such card(s), numbered from 0", label(), count);
    call(driver().device_get(&device_, index), "cannot open the card");
    std::array<char, 128> text{};
    call(driver().device_name(text.data(), static_cast<int>(text.size()) - 1, device_),
         "cannot open the card");
    card_ = text.data();
    major_ = attribute(kComputeMajor);
    if (major_ < kOldest) {
      fail_machine("{}: {} has compute capability {}.{}; the kernels need {}.0", label(), card_, major_,
                   attribute(kComputeMinor), kOldest);
    }
    chip_.processors = attribute(kProcessors);
    chip_.shared = attribute(kSharedOfProcessor);
    const int most_shared = attribute(kSharedOfGroup);
    call(driver().context_retain(&context_, device_), "cannot open the card");
    call(driver().context_set(context_), "cannot open the card");
    call(driver().module_load(&module_, greta_cuda_code), "cannot load the kernels");
    for (const Kernel& kernel : kernels()) {
      void*& function = functions_[static_cast<size_t>(kernel.id)];
      call(driver().module_function(&function, module_, kernel.symbol), kernel.symbol);
      // One share for all kernels: those of different shares don't overlap.
      call(driver().function_set(function, kSharedShare, 100), kernel.symbol);
      if (launching(kernel.id, chip_.wave).asks_for_shared)
        call(driver().function_set(function, kMostShared, most_shared - kOwnShared), kernel.symbol);
    }
    call(driver().stream_create(&stream_, 1), "cannot make a stream");  // 1: waits for no other stream
  }

  ~Cuda() override {
    read_ = {};
    release_spares();
    if (bounce_ != nullptr) driver().host_release(bounce_);
    if (stream_ != nullptr) driver().stream_destroy(stream_);
    if (module_ != nullptr) driver().module_unload(module_);
    if (context_ != nullptr) driver().context_release(device_);
  }

  std::string card() const override { return card_; }
  const Chip& chip() const override { return chip_; }
  std::string_view unit() const override { return major_ == 8 ? "a100" : major_ == 9 ? "h100" : "b200"; }

  std::byte* allocate(int64_t bytes) override {
    if (const auto spare = spares_.find(bytes); spare != spares_.end()) {
      std::byte* const memory = spare->second;
      spares_.erase(spare);
      return memory;
    }
    CudaAddress address = 0;
    if (driver().allocate(&address, static_cast<size_t>(bytes)) != 0) release_spares();
    if (address == 0 && driver().allocate(&address, static_cast<size_t>(bytes)) != 0) {
      size_t free = 0, total = 0;
      driver().memory_info(&free, &total);
      fail_machine("{}: no memory for {:.1f} MiB more; {} has {:.1f} of {:.1f} MiB left", label(), mib(bytes),
                   card_, mib(static_cast<int64_t>(free)), mib(static_cast<int64_t>(total)));
    }
    std::byte* const memory = reinterpret_cast<std::byte*>(address);
    sizes_[memory] = bytes;
    return memory;
  }
  /// Kept for who asks for as much: a session's buffers are the next one's.
  void release(std::byte* memory) override { spares_.emplace(sizes_.at(memory), memory); }

  void upload(std::byte* to, const std::byte* from, int64_t bytes) override {
    call(driver().upload(address_of(to), from, static_cast<size_t>(bytes), stream_),
         "cannot copy to the card");
  }
  void download(std::byte* to, const std::byte* from, int64_t bytes) override {
    // Through memory that the card can write: else the driver would copy in small pieces.
    if (bounce_ == nullptr) call(driver().host_allocate(&bounce_, kBounce, 0), "no memory on the host");
    for (int64_t at = 0; at < bytes; at += kBounce) {
      const auto size = static_cast<size_t>(std::min(kBounce, bytes - at));
      call(driver().download(bounce_, address_of(from + at), size, stream_), "cannot copy from the card");
      wait();
      std::memcpy(to + at, bounce_, size);
    }
  }
  void fill(std::byte* to, uint8_t value, int64_t bytes) override {
    call(driver().fill(address_of(to), value, static_cast<size_t>(bytes), stream_), "cannot fill memory");
  }

  void launch(const Kernel& kernel, std::span<const Args> parts) override {
    Parts<kMostParts> copy;
    std::copy(parts.begin(), parts.end(), copy.of);
    const std::span<Args> own = std::span(copy.of).first(parts.size());
    const Grid grid = place(kernel, own, chip_);
    if (launching(kernel.id, chip_.wave).copies_boxes && major_ >= 9) {
      for (Args& args : own) call(make_copy_maps(driver().encode_map, args), kernel.symbol);
    }
    void* parameters[] = {&copy};
    static constexpr CudaLaunchAttribute kOverlaps{kOverlapsPrevious, {}, 1, {}};
    const CudaLaunch shape{{static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), 1},
                           {static_cast<unsigned>(grid.threads), 1, 1},
                           static_cast<unsigned>(grid.shared),
                           stream_,
                           &kOverlaps,
                           1};
    call(driver().launch(&shape, functions_[static_cast<size_t>(kernel.id)], parameters, nullptr),
         kernel.symbol);
  }

  std::unique_ptr<Recording> record(const std::function<void()>& launches) override {
    constexpr int kOfThisThread = 1;
    void* graph = nullptr;
    call(driver().capture_begin(stream_, kOfThisThread), "cannot record");
    launches();
    call(driver().capture_end(stream_, &graph), "cannot record");
    return std::make_unique<CudaGraph>(graph, stream_, label());
  }

  double read_rate() override {
    constexpr int64_t kBytes = 1 << 30;
    constexpr int kRounds = 8, kThreads = 512, kGroups = 16;
    if (read_.data() == nullptr) {
      call(driver().module_function(&read_memory_, module_, "greta_read_memory"), "greta_read_memory");
      read_ = DeviceBytes(*this, kBytes);
      fill(read_.data(), 1, kBytes);
    }
    std::byte* from = read_.data();
    int64_t quads = kBytes / 16;
    void* parameters[] = {&from, &quads, &from};
    const CudaLaunch shape{
        {static_cast<unsigned>(kGroups * chip_.processors), 1, 1}, {kThreads, 1, 1}, 0, stream_, nullptr, 0};
    const auto rounds = [&](int count) {
      for (int i = 0; i < count; ++i)
        call(driver().launch(&shape, read_memory_, parameters, nullptr), "greta_read_memory");
      wait();
    };
    rounds(1);
    return kRounds * static_cast<double>(kBytes) / seconds_of([&] { rounds(kRounds); });
  }

  void wait() override { call(driver().stream_wait(stream_), "the card failed"); }

 private:
  static constexpr int64_t kBounce = 4 << 20;

  void release_spares() {
    for (const auto& [size, memory] : spares_) {
      sizes_.erase(memory);
      driver().release(address_of(memory));
    }
    spares_.clear();
  }

  static double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }
  static CudaAddress address_of(const std::byte* memory) { return reinterpret_cast<CudaAddress>(memory); }

  std::string label() const { return fmt::format("--device cuda:{}", index_); }
  void call(int result, const char* what) const {
    if (result != 0) gpu::call(result, label(), what);
  }
  int attribute(int id) const {
    int value = 0;
    call(driver().device_attribute(&value, id, device_), "cannot ask the card");
    return value;
  }

  int index_, device_ = 0, major_ = 0;  // of the compute capability
  Chip chip_;
  std::string card_;
  void *context_ = nullptr, *module_ = nullptr, *stream_ = nullptr;
  std::array<void*, kKernelCount> functions_{};
  std::map<std::byte*, int64_t> sizes_;
  std::multimap<int64_t, std::byte*> spares_;
  void* bounce_ = nullptr;
  void* read_memory_ = nullptr;
  DeviceBytes read_;  // what read_rate() reads
};

}  // namespace

std::string missing_for_cuda() {
  if (!kHasCode) return "CUDA code: nvcc was not found when this was built";
  if (library() == nullptr) return fmt::format("{}, NVIDIA's driver", kLibrary);
  return "";
}

std::unique_ptr<Device> open_cuda(int index) {
  if (const std::string missing = missing_for_cuda(); !missing.empty())
    fail_machine("--device cuda: missing: {}", missing);
  return std::make_unique<Cuda>(index);
}

}  // namespace greta::gpu
