#include "emulator/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>

#include "base/aligned.h"
#include "emulator/kernels.h"
#include "emulator/work_group.h"

namespace greta::emulator {
namespace {

constexpr std::array<Card, 4> kCards{{{"h100", 32}, {"a100", 32}, {"mi300x", 64}, {"mi250x", 64}}};

/// So few that small products, too, give a work-group several panels.
constexpr int kProcessors = 1;

class Emulator final : public gpu::Device {
 public:
  Emulator(const Card& card, ThreadPool& pool, uint64_t seed) : card_(card), pool_(pool) {
    const auto units = sim::devices();
    const auto unit =
        std::find_if(units.begin(), units.end(), [&](const sim::Device& it) { return it.name == card.name; });
    for (int i = 0; i < pool.size(); ++i) groups_.emplace_back(seed + static_cast<uint64_t>(i), &*unit);
  }

  std::string card() const override { return fmt::format("emulated {}", card_.name); }
  std::string_view unit() const override { return card_.name; }
  const gpu::Chip& chip() const override { return chip_; }

  std::byte* allocate(int64_t bytes) override {
    AlignedBytes memory(bytes);
    std::byte* const data = memory.data();
    memory_.emplace(data, std::move(memory));
    return data;
  }
  void release(std::byte* memory) override { memory_.erase(memory); }

  void upload(std::byte* to, const std::byte* from, int64_t bytes) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void download(std::byte* to, const std::byte* from, int64_t bytes) override { upload(to, from, bytes); }
  void fill(std::byte* to, uint8_t value, int64_t bytes) override {
    std::memset(to, value, static_cast<size_t>(bytes));
  }

  void launch(const gpu::Kernel& kernel, std::span<const gpu::Args> of) override {
    if (recording_ != nullptr) {
      recording_->push_back({&kernel, {of.begin(), of.end()}});
      return;
    }
    gpu::Parts<gpu::kMostParts> parts;
    std::copy(of.begin(), of.end(), parts.of);
    const gpu::Grid grid = gpu::place(kernel, std::span(parts.of).first(of.size()), chip_);
    const Body body = card_.wave == 32 ? gpu::wave32::body_of(kernel.id) : gpu::wave64::body_of(kernel.id);
    std::atomic<int64_t> next{0};
    pool_.run([&](Part part) {
      WorkGroup& group = groups_[static_cast<size_t>(part.index)];
      for (int64_t i = next++; i < grid.x * grid.y; i = next++)
        group.run(body, parts.of, grid, static_cast<int>(i % grid.x), static_cast<int>(i / grid.x));
    });
  }

  void wait() override {}

  std::unique_ptr<gpu::Recording> record(const std::function<void()>& launches) override {
    auto made = std::make_unique<Launches>(*this);
    recording_ = &made->list;
    launches();
    recording_ = nullptr;
    return made;
  }

 private:
  struct Launch {
    const gpu::Kernel* kernel;
    std::vector<gpu::Args> parts;
  };
  struct Launches final : gpu::Recording {
    explicit Launches(Emulator& on) : emulator(on) {}
    void replay() override {
      for (const Launch& launch : list) emulator.launch(*launch.kernel, launch.parts);
    }
    Emulator& emulator;
    std::vector<Launch> list;
  };

  Card card_;
  const gpu::Chip chip_{card_.wave, kProcessors};
  ThreadPool& pool_;
  std::vector<WorkGroup> groups_;  // a thread's own
  std::map<std::byte*, AlignedBytes> memory_;
  std::vector<Launch>* recording_ = nullptr;
};

}  // namespace

std::span<const Card> cards() { return kCards; }

std::unique_ptr<gpu::Device> make_device(const Card& card, ThreadPool& pool, uint64_t seed) {
  return std::make_unique<Emulator>(card, pool, seed);
}

}  // namespace greta::emulator
