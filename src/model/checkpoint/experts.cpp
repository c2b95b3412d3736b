#include "model/checkpoint/experts.h"

#include <charconv>

#include "base/error.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

constexpr std::string_view kBeforeNumber = ".experts.";
constexpr int64_t kMostNumbers = 1 << 16;

/// X.experts.N.PART.weight in its parts.
struct OneExpert {
  std::string prefix;  // X.experts.
  int64_t number = 0;
  std::string part;
};

struct PartName {
  std::string_view stored, ours;
};
constexpr PartName kParts[] = {{"gate_proj.weight", "gate_proj"}, {"up_proj.weight", "up_proj"},
                               {"down_proj.weight", "down_proj"}, {"w1.weight", "gate_proj"},
                               {"w3.weight", "up_proj"},          {"w2.weight", "down_proj"}};

bool read_expert(std::string_view name, OneExpert& one) {
  const size_t at = name.find(kBeforeNumber);
  if (at == name.npos) return false;
  const std::string_view rest = name.substr(at + kBeforeNumber.size());
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), one.number);
  if (error != std::errc() || end == rest.data() + rest.size() || *end != '.') return false;
  const std::string_view part = rest.substr(static_cast<size_t>(end - rest.data()) + 1);
  for (const PartName& known : kParts) {
    if (part != known.stored) continue;
    one.prefix = name.substr(0, at + kBeforeNumber.size()), one.part = known.ours;
    return one.number >= 0 && one.number < kMostNumbers;
  }
  return false;
}

void join(const std::string& name, const std::map<int64_t, std::string>& of, Storage& storage,
          TensorTable& tensors) {
  const StoredTensor first = tensors.at(of.begin()->second);
  std::vector<std::byte> bytes;
  bytes.reserve(first.view.bytes.size() * of.size());
  int64_t next = 0;
  for (const auto& [number, stored] : of) {
    const TensorView& view = tensors.at(stored).view;
    if (number != next++)
      fail_input("{}: expert {} is missing: {} is there", first.path, next - 1, excerpt(stored));
    if (view.shape != first.view.shape || view.dtype != first.view.dtype || view.shape.size() != 2)
      fail_input("{}: the tensor {} is {} of [{}], and expert 0's is {} of [{}]", tensors.at(stored).path,
                 excerpt(stored), view.dtype, fmt::join(view.shape, ", "), first.view.dtype,
                 fmt::join(first.view.shape, ", "));
    bytes.insert(bytes.end(), view.bytes.begin(), view.bytes.end());
  }
  TensorView all = first.view;
  all.shape.insert(all.shape.begin(), std::ssize(of));
  all.count *= std::ssize(of);
  all.bytes = storage.keep(std::move(bytes));
  for (const auto& [number, stored] : of) tensors.erase(stored);
  tensors.insert_or_assign(name, StoredTensor{std::move(all), first.path});
}

/// The first half of each expert's rows is gate's, the second up's.
void cut_halves(const std::string& name, Storage& storage, TensorTable& tensors) {
  const StoredTensor both = tensors.at(name);
  const std::vector<int64_t>& shape = both.view.shape;
  if (shape.size() != 3 || shape[1] % 2 != 0)
    fail_input("{}: the tensor {} is [{}]; expected [experts, 2 rows, columns]", both.path, excerpt(name),
               fmt::join(shape, ", "));
  const std::string prefix = name.substr(0, name.rfind('.') + 1);
  const size_t half = both.view.bytes.size() / static_cast<size_t>(std::max<int64_t>(2 * shape[0], 1));
  for (size_t part = 0; part < 2; ++part) {
    std::vector<std::byte> bytes;
    for (size_t e = 0; e < static_cast<size_t>(shape[0]); ++e) {
      const auto own = both.view.bytes.subspan((2 * e + part) * half, half);
      bytes.insert(bytes.end(), own.begin(), own.end());
    }
    TensorView view{both.view.dtype, {shape[0], shape[1] / 2, shape[2]}, both.view.count / 2, {}};
    view.bytes = storage.keep(std::move(bytes));
    tensors.insert_or_assign(prefix + (part == 0 ? "gate_proj.weight" : "up_proj.weight"),
                             StoredTensor{std::move(view), both.path});
  }
  tensors.erase(name);
}

}  // namespace

void join_experts(Storage& storage, TensorTable& tensors) {
  std::map<std::string, std::map<int64_t, std::string>> apart;
  std::vector<std::string> fused, down;
  for (const auto& [name, stored] : tensors) {
    OneExpert one;
    if (read_expert(name, one)) apart[one.prefix + one.part + ".weight"].emplace(one.number, name);
    if (name.ends_with(".experts.gate_up_proj")) fused.push_back(name);
    if (name.ends_with(".experts.down_proj")) down.push_back(name);
  }
  for (const auto& [name, of] : apart) join(name, of, storage, tensors);
  for (const std::string& name : fused) cut_halves(name, storage, tensors);
  for (const std::string& name : down) {
    auto entry = tensors.extract(name);
    entry.key() += ".weight";
    tensors.insert(std::move(entry));
  }
}

}  // namespace greta
