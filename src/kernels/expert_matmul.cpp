#include "kernels/expert_matmul.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace greta {
namespace {

// Rows of one expert that are gathered for one call, and the columns that it makes of them.
constexpr int64_t kTileRows = 64, kTilePanels = 32;

/// Choices of a row; where there are none, each matrix has its slice.
int64_t used_of(const KernelArgs& args) {
  return args.in[1].cols == 0 ? args.params.experts : args.in[1].cols;
}

/// A chosen expert of a row: `slot` counts the choices of all rows.
int64_t expert_at(const KernelArgs& args, int64_t slot) {
  const View& numbers = args.in[1];
  if (numbers.cols == 0) return slot % args.params.experts;
  const float number = numbers.row(slot / numbers.cols)[slot % numbers.cols];
  return number >= 0 && number < static_cast<float>(args.params.experts) ? static_cast<int64_t>(number) : 0;
}

/// What the kernel reads of its input, by slot.
class Inputs {
 public:
  explicit Inputs(const KernelArgs& args)
      : in_(args.in[0]),
        used_(used_of(args)),
        k_(args.weight->k),
        of_each_(in_.cols != k_),
        width_(of_each_ ? in_.cols / used_ : k_),
        bytes_(in_.format == Format::f32 ? k_ * 4 : activation_row_bytes(in_.format, k_)) {
    // Pairs of an odd number of 16-bit values would end in the next expert's first.
    apart_ = of_each_ && (k_ % 2 != 0 || width_ % 2 != 0) && in_.format != Format::f32;
  }

  View tile(std::byte* memory) const { return {memory, 0, k_, round_up(bytes_, 64), in_.format}; }

  /// The slot's values where they are; no data where they can't be read there.
  View in_place(int64_t slot) const {
    return {apart_ ? nullptr : at(slot), 1, k_, round_up(bytes_, 64), in_.format};
  }

  void copy(int64_t slot, std::byte* to) const {
    const bool halves = in_.format == Format::bf16 || in_.format == Format::f16;
    const int64_t own = of_each_ ? bytes_of(k_) : halves ? k_ * 2 : bytes_;
    std::memcpy(to, at(slot), static_cast<size_t>(own));
    if (own < bytes_) std::memset(to + own, 0, static_cast<size_t>(bytes_ - own));
  }

 private:
  /// Of n values within a row, without the padding at its end.
  int64_t bytes_of(int64_t n) const {
    switch (in_.format) {
      case Format::bf16:
      case Format::f16: return n * 2;
      case Format::q8_block32: return n / kBlock * static_cast<int64_t>(sizeof(ActivationBlock));
      default: return n * 4;
    }
  }
  std::byte* at(int64_t slot) const {
    return in_.raw_row(slot / used_) + (of_each_ ? slot % used_ * bytes_of(width_) : 0);
  }

  const View& in_;
  int64_t used_, k_;
  bool of_each_, apart_;
  int64_t width_, bytes_;
};

/// The first thread, which says what ran, has the last panels: where there are few it has one at least.
Part::Range own_panels(const KernelArgs& args, Part part) {
  return Part{part.count - 1 - part.index, part.count}.of(args.weight->panels());
}

/// One thread's part of the outputs: some panels of every expert.
class Products {
 public:
  Products(const KernelArgs& args, Part part)
      : args_(args),
        by_one_(*args.kernel->by_one),
        inputs_(args),
        panels_(own_panels(args, part)),
        most_(by_one_.shape == Shape::gemv ? 1 : kTileRows) {
    std::byte* memory = reinterpret_cast<std::byte*>(args.scratch.row(part.index));
    tile_in_ = inputs_.tile(memory);
    tile_out_ = {memory + kTileRows * tile_in_.stride, 0, 0, kTilePanels * kPanelRows * 4, Format::f32};
    slots_ = reinterpret_cast<int32_t*>(tile_out_.data + kTileRows * tile_out_.stride);
    ends_ = slots_ + slots();
  }

  void run() {
    sort_slots();
    for (int64_t expert = 0, begin = 0; expert < args_.params.experts; begin = ends_[expert++]) {
      for (int64_t at = begin; at < ends_[expert]; at += most_)
        multiply(expert, at, std::min<int64_t>(ends_[expert], at + most_));
    }
  }

  /// The name of the kernel that ran; nullptr for none.
  const char* ran() const { return launch_.kernel; }

 private:
  int64_t slots() const { return args_.in[0].rows * used_of(args_); }

  /// By expert, in the order of rows; where each expert's end.
  void sort_slots() {
    const int64_t experts = args_.params.experts;
    std::fill_n(ends_, experts, 0);
    for (int64_t slot = 0; slot < slots(); ++slot) ++ends_[expert_at(args_, slot)];
    int32_t begin = 0;
    for (int64_t expert = 0; expert < experts; ++expert) begin += std::exchange(ends_[expert], begin);
    for (int64_t slot = 0; slot < slots(); ++slot)
      slots_[ends_[expert_at(args_, slot)]++] = static_cast<int32_t>(slot);
  }

  /// Slots [begin, end) of the order, all of one expert.
  void multiply(int64_t expert, int64_t begin, int64_t end) {
    View in = end - begin == 1 ? inputs_.in_place(slots_[begin]) : View{};
    if (in.data == nullptr) {
      in = tile_in_;
      in.rows = end - begin;
      for (int64_t i = begin; i < end; ++i) inputs_.copy(slots_[i], in.raw_row(i - begin));
    }
    for (int64_t panel = panels_.begin; panel < panels_.end; panel += kTilePanels)
      multiply(expert, in, begin, {panel, std::min(panels_.end, panel + kTilePanels)});
  }

  void multiply(int64_t expert, const View& in, int64_t begin, Part::Range panels) {
    const PackedWeight& whole = args_.weight[expert];
    const int64_t first = panels.begin * kPanelRows, n = std::min(whole.n, panels.end * kPanelRows) - first;
    const int64_t bytes = (panels.end - panels.begin) * whole.panel_bytes;
    const PackedWeight weight{whole.type, n,
                              whole.k,    whole.panel_bytes,
                              {},         whole.bytes.slice(panels.begin * whole.panel_bytes, bytes)};
    KernelArgs one = args_;
    int64_t taken = 0;
    one.in = {in};
    one.weight = &weight;
    one.kernel = &by_one_;
    one.launch = &launch_;
    one.taken = &taken;
    one.block_rows = in.rows;
    if (args_.bias != nullptr) one.bias = args_.bias + expert * round_up(whole.n, kPanelRows) + first;
    one.out = tile_out_;
    one.out.rows = in.rows;
    one.out.cols = n;
    const auto place = [&](int64_t row) {
      const int64_t slot = slots_[begin + row], used = used_of(args_);
      return args_.out.row(slot / used) + slot % used * whole.n + first;
    };
    if (in.rows == 1) one.out.data = reinterpret_cast<std::byte*>(place(0));
    by_one_.run(one, {});
    for (int64_t row = 0; row < in.rows && in.rows > 1; ++row)
      std::memcpy(place(row), one.out.row(row), static_cast<size_t>(n) * sizeof(float));
  }

  const KernelArgs& args_;
  const KernelInfo& by_one_;
  Inputs inputs_;
  Part::Range panels_;
  int64_t most_;  // rows of a call: a GEMV takes one, also where a row names an expert twice
  View tile_in_, tile_out_;
  int32_t *slots_, *ends_;
  Launch launch_;
};

void run_expert_matmul(const KernelArgs& args, Part part) {
  Products products(args, part);
  products.run();
  if (part.index != 0 || args.launch == nullptr) return;
  // What ran says so itself: only the kernel that this entry is made of lets it bear its name.
  const bool own = products.ran() != nullptr && products.ran() == std::string_view(args.kernel->by_one->name);
  args.launch->kernel = own ? args.kernel->name.c_str() : products.ran();
  ++args.launch->count;
}

}  // namespace

void add_expert_kernels(std::vector<KernelInfo>& table) {
  const size_t count = table.size();
  for (size_t i = 0; i < count; ++i) {
    if (table[i].op != OpKind::matmul || table[i].on_device != nullptr) continue;
    KernelInfo kernel = table[i];
    kernel.by_one = std::make_shared<const KernelInfo>(table[i]);
    kernel.op = OpKind::expert_matmul;
    kernel.name += ".experts";
    kernel.run = run_expert_matmul;
    table.push_back(std::move(kernel));
  }
}

int64_t expert_scratch_floats(const KernelArgs& args) {
  const Inputs inputs(args);
  const int64_t slots = args.in[0].rows * used_of(args);
  const int64_t row = inputs.tile(nullptr).stride / 4 + kTilePanels * kPanelRows;
  return kTileRows * row + round_up(slots + args.params.experts, 16);
}

}  // namespace greta
