#include "model/checkpoint/experts.h"

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

constexpr std::string_view kBeforeNumber = ".experts.";
constexpr std::string_view kGateUp = ".experts.gate_up_proj", kGateUpBias = ".experts.gate_up_proj_bias",
                           kDown = ".experts.down_proj", kDownBias = ".experts.down_proj_bias",
                           kBias = "_bias";
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

/// Gate's rows and up's, of matrices or of biases.
void cut_in_two(const std::string& name, FusedExperts form, Storage& storage, TensorTable& tensors) {
  const StoredTensor both = tensors.at(name);
  const std::vector<int64_t>& shape = both.view.shape;
  const bool is_bias = name.ends_with(kBias);
  if (shape.size() != (is_bias ? 2 : 3) || shape[1] % 2 != 0 || both.view.count == 0)
    fail_input("{}: the tensor {} is [{}]; expected [experts, 2 rows{}]", both.path, excerpt(name),
               fmt::join(shape, ", "), is_bias ? "" : ", columns");
  const std::string prefix = name.substr(0, name.rfind('.') + 1);
  const auto rows = static_cast<size_t>(shape[1]) / 2, n = static_cast<size_t>(shape[0]);
  const size_t row_bytes = both.view.bytes.size() / (2 * rows * n);
  for (size_t part = 0; part < 2; ++part) {
    std::vector<std::byte> bytes;
    bytes.reserve(both.view.bytes.size() / 2);
    for (size_t row = 0; row < n * rows; ++row) {
      const size_t in_expert = row % rows, first = 2 * (row - in_expert);
      const size_t at = form == FusedExperts::turned ? 2 * in_expert + part : part * rows + in_expert;
      const auto own = both.view.bytes.subspan((first + at) * row_bytes, row_bytes);
      bytes.insert(bytes.end(), own.begin(), own.end());
    }
    TensorView view = both.view;
    view.shape[1] /= 2, view.count /= 2;
    view.bytes = storage.keep(std::move(bytes));
    tensors.insert_or_assign(
        fmt::format("{}{}.{}", prefix, part == 0 ? "gate_proj" : "up_proj", is_bias ? "bias" : "weight"),
        StoredTensor{std::move(view), both.path});
  }
  tensors.erase(name);
}

/// Names of all tensors that end so.
std::vector<std::string> named(const TensorTable& tensors, std::string_view end) {
  std::vector<std::string> names;
  for (const auto& [name, stored] : tensors) {
    if (name.ends_with(end)) names.push_back(name);
  }
  return names;
}

void rename(const std::string& from, std::string to, TensorTable& tensors) {
  auto entry = tensors.extract(from);
  entry.key() = std::move(to);
  tensors.insert(std::move(entry));
}

}  // namespace

void turn_experts(Storage& storage, TensorTable& tensors) {
  for (const std::string_view end : {kGateUp, kDown}) {
    for (const std::string& name : named(tensors, end)) {
      StoredTensor& stored = tensors.at(name);
      TensorView& view = stored.view;
      if (view.shape.size() != 3 || view.count == 0)
        fail_input("{}: the tensor {} is [{}]; expected [experts, columns, rows]", stored.path, excerpt(name),
                   fmt::join(view.shape, ", "));
      const auto columns = static_cast<size_t>(view.shape[1]), rows = static_cast<size_t>(view.shape[2]);
      const size_t size = view.bytes.size() / static_cast<size_t>(view.count);
      std::vector<std::byte> turned(view.bytes.size());
      for (size_t i = 0; i < static_cast<size_t>(view.count); ++i) {
        const size_t expert = i / (rows * columns), r = i / columns % rows, k = i % columns;
        std::memcpy(&turned[i * size], &view.bytes[((expert * columns + k) * rows + r) * size], size);
      }
      std::swap(view.shape[1], view.shape[2]);
      view.bytes = storage.keep(std::move(turned));
    }
  }
}

void join_experts(FusedExperts form, Storage& storage, TensorTable& tensors) {
  std::map<std::string, std::map<int64_t, std::string>> apart;
  for (const auto& [name, stored] : tensors) {
    OneExpert one;
    if (read_expert(name, one)) apart[one.prefix + one.part + ".weight"].emplace(one.number, name);
  }
  for (const auto& [name, of] : apart) join(name, of, storage, tensors);
  for (const std::string_view end : {kGateUp, kGateUpBias}) {
    for (const std::string& name : named(tensors, end)) cut_in_two(name, form, storage, tensors);
  }
  for (const std::string& name : named(tensors, kDown)) rename(name, name + ".weight", tensors);
  for (const std::string& name : named(tensors, kDownBias))
    rename(name, name.substr(0, name.size() - kBias.size()) + ".bias", tensors);
}

}  // namespace greta
