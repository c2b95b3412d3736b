#include "model/gguf_tensors.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace greta {
namespace {

// An entry has a name of at least one byte (after its length), n_dims, one dim, a type and an offset.
constexpr uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint64_t kMostElements = std::numeric_limits<int64_t>::max();

struct Entry {
  Tensor tensor;    // without data
  uint64_t offset;  // in the data section
  uint64_t size;    // of the data, in bytes
};

std::string_view read_name(GgufCursor& cursor) {
  const std::string_view name = cursor.read_string("the tensor's name");
  cursor.set_name(name);
  if (name.empty()) cursor.fail("the tensor's name is empty; the file is damaged");
  if (name.find('\0') != name.npos) cursor.fail("the tensor's name contains a NUL byte; the file is damaged");
  return name;
}

void read_dims(GgufCursor& cursor, Tensor& tensor) {
  const auto n_dims = cursor.read<uint32_t>("the number of dimensions");
  if (n_dims < 1 || n_dims > tensor.dims.size()) {
    cursor.fail("the tensor has {} dimensions; expected 1 to {}", n_dims, tensor.dims.size());
  }
  tensor.n_dims = static_cast<int>(n_dims);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    const auto dim = cursor.read<uint64_t>("a dimension");
    if (dim == 0) cursor.fail("dimension {} is 0; the file is damaged", i);
    // Dividing keeps the product in 63 bits without ever forming one that wraps; no divisor is 0 here.
    if (dim > kMostElements / elements) cursor.fail("the product of the dimensions does not fit in 63 bits");
    elements *= dim;
    tensor.dims[i] = dim;
  }
}

/// Bytes of a tensor whose element count fits in 63 bits.
uint64_t data_size(const GgufCursor& cursor, const Tensor& tensor, const TensorTypeInfo& type) {
  if (tensor.dims[0] % type.block != 0) {
    cursor.fail("dimension 0 is {}, which is not a multiple of the block of {} ({} elements)", tensor.dims[0],
                type.name, type.block);
  }
  const uint64_t blocks = tensor.dims[0] / type.block * tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
  if (blocks > kMostElements / type.bytes)
    cursor.fail("the size of the tensor in bytes does not fit in 63 bits");
  return blocks * type.bytes;
}

Entry read_entry(GgufCursor& cursor) {
  Entry entry{};
  entry.tensor.name = read_name(cursor);
  read_dims(cursor, entry.tensor);
  const auto id = cursor.read<uint32_t>("the tensor's type");
  // A type that is newer than GRETA is listed, without data: who uses the tensor refuses it.
  const TensorTypeInfo* type = find_tensor_type(id);
  entry.tensor.type = static_cast<TensorType>(id);
  entry.size = type == nullptr ? 0 : data_size(cursor, entry.tensor, *type);
  entry.offset = cursor.read<uint64_t>("the tensor's offset");
  return entry;
}

/// The entry's bytes in the data section `data`, which starts at byte `start` of the file.
std::span<const std::byte> locate(const GgufCursor& cursor, const Entry& entry,
                                  std::span<const std::byte> data, uint64_t start, uint64_t alignment) {
  if (entry.offset % alignment != 0) {
    cursor.fail("the tensor's offset {} is not a multiple of the alignment {}", entry.offset, alignment);
  }
  if (entry.offset > data.size() || entry.size > data.size() - entry.offset) {
    cursor.fail(
        "the tensor has {} bytes at offset {} of the data, which starts at byte {} and has {} bytes; the "
        "file is cut "
        "short or damaged, fetch it again",
        entry.size, entry.offset, start, data.size());
  }
  return data.subspan(entry.offset, entry.size);
}

void check_overlaps(const GgufCursor& cursor, const std::vector<Tensor>& tensors) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  // Stable, so that the message names two tensors at the same place in the file's order.
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return tensors[a].data.data() < tensors[b].data.data(); });
  for (size_t i = 1; i < order.size(); ++i) {
    const Tensor& before = tensors[order[i - 1]];
    const Tensor& after = tensors[order[i]];
    if (before.data.data() + before.data.size() > after.data.data()) {
      cursor.fail("the data of tensors '{}' and '{}' overlap; the file is damaged", excerpt(before.name),
                  excerpt(after.name));
    }
  }
}

}  // namespace

std::vector<Tensor> read_tensors(GgufCursor& cursor, uint64_t count, uint64_t alignment,
                                 std::span<const std::byte> file) {
  cursor.check_count(count, kSmallestTensor, "tensor entries");
  if (count > std::numeric_limits<uint32_t>::max()) cursor.fail("the header claims {} tensors", count);
  // First walk: the data section starts where the entries end,
  // and only entries that were found are reserved for.
  GgufCursor walk = cursor;
  for (uint64_t i = 0; i < count; ++i) {
    walk.enter("tensor", i);
    read_entry(walk);
  }
  const uint64_t start = (walk.offset() + alignment - 1) / alignment * alignment;
  const auto data = start < file.size() ? file.subspan(start) : std::span<const std::byte>{};

  std::vector<Tensor> tensors;
  tensors.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    cursor.enter("tensor", i);
    Entry entry = read_entry(cursor);
    entry.tensor.data = locate(cursor, entry, data, start, alignment);
    tensors.push_back(entry.tensor);
  }
  cursor.leave();
  check_overlaps(cursor, tensors);
  return tensors;
}

}  // namespace greta
