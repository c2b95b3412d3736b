#include "fault/matrix.h"

#include <algorithm>

#include "base/error.h"
#include "base/parallel.h"

namespace greta {
namespace {

/// The wrong weight of the site's op, made once for all plans.
template <class Make>
std::shared_ptr<const PackedWeight> shared_weight(const TwinSite& site, Make make) {
  std::shared_ptr<const PackedWeight>& weight = site.state.weights[site.call().weight];
  if (!weight) weight = std::make_shared<const PackedWeight>(make());
  return weight;
}

PackedWeight edit_values(const TwinSite& site, void (*edit)(Matrix&, const TwinSite&)) {
  const PackedWeight& right = *site.call().weight;
  const int threads = site.engine.options().threads;
  const size_t panels = static_cast<size_t>(right.panels());
  Matrix matrix{std::vector<float>(static_cast<size_t>(right.n * right.k)), right.n, right.k};
  parallel_for(threads, panels, [&](size_t panel) {
    const int64_t first = static_cast<int64_t>(panel) * kPanelRows;
    for (int64_t row = first; row < std::min(first + kPanelRows, right.n); ++row)
      unpack_row(right, row, &matrix.at(row, 0));
  });
  edit(matrix, site);
  const auto rows = std::as_bytes(std::span(matrix.data));
  PackedWeight wrong = plan_pack(TensorType::f32, rows, right.n, right.k);
  wrong.bytes = AlignedBytes(wrong.packed_bytes());
  parallel_for(threads, panels, [&](size_t panel) {
    pack_panels(wrong, rows, static_cast<int64_t>(panel), static_cast<int64_t>(panel) + 1);
  });
  return wrong;
}

bool fits(BlockTypes types, TensorType type) {
  switch (types) {
    case BlockTypes::q4_1: return type == TensorType::q4_1;
    case BlockTypes::four_bit: return type == TensorType::q4_0 || type == TensorType::q4_1;
    case BlockTypes::quantised: return has_blocks(type);
  }
  return false;
}

std::string_view describe(BlockTypes types) {
  switch (types) {
    case BlockTypes::q4_1: return "q4_1";
    case BlockTypes::four_bit: return "q4_0 or q4_1";
    case BlockTypes::quantised: return "a block type (q4_0 to q8_0)";
  }
  return "";
}

PackedWeight edit_bytes(const TwinSite& site, void (*edit)(const BlockRow&)) {
  const PackedWeight& right = *site.call().weight;
  const Tensor* tensor = weight_of(site.engine.model(), {site.at().stage, site.at().layer});
  std::vector<std::byte> bytes(tensor->data.begin(), tensor->data.end());
  const int64_t blocks = right.k / kBlock, block_bytes = info(right.type).bytes;
  for (int64_t row = 0; row < right.n; ++row) {
    edit({bytes.data() + row * blocks * block_bytes, blocks, block_bytes, row});
  }
  return pack(right.type, bytes, right.n, right.k, tensor->order);
}

}  // namespace

MakeWrong edited(void (*edit)(Matrix& weight, const TwinSite& site)) {
  return [edit](TwinSite& site) {
    return multiply_by(site, shared_weight(site, [&] { return edit_values(site, edit); }));
  };
}

MakeWrong edited_blocks(BlockTypes types, void (*edit)(const BlockRow& row)) {
  return [types, edit](TwinSite& site) {
    const KernelCall& call = site.call();
    if (!fits(types, call.weight->type)) {
      fail_input("this fault needs weights of {}; {} is {}: choose another stage or model", describe(types),
                 call.weight_name, name(call.weight->type));
    }
    return multiply_by(site, shared_weight(site, [&] { return edit_bytes(site, edit); }));
  };
}

}  // namespace greta
