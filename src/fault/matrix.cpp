#include "fault/matrix.h"

#include "base/error.h"

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
  Matrix matrix{std::vector<float>(static_cast<size_t>(right.n * right.k)), right.n, right.k};
  for (int64_t row = 0; row < right.n; ++row) unpack_row(right, row, &matrix.at(row, 0));
  edit(matrix, site);
  return pack(TensorType::f32, std::as_bytes(std::span(matrix.data)), right.n, right.k);
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
