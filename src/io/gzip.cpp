#include "io/gzip.h"

#include <libdeflate.h>

#include <algorithm>
#include <memory>
#include <new>

#include "base/parallel.h"
#include "base/usable_cores.h"

namespace greta {
namespace {

constexpr size_t kMember = size_t{1} << 20;
// Recorded floats hardly shrink at any level: at level 6 zlib took 0.6 % off what its level 1 left.
constexpr int kLevel = 1;

std::vector<std::byte> compressed(std::span<const std::byte> data) {
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kLevel), libdeflate_free_compressor);
  if (compressor == nullptr) throw std::bad_alloc();
  std::vector<std::byte> member(libdeflate_gzip_compress_bound(compressor.get(), data.size()));
  member.resize(
      libdeflate_gzip_compress(compressor.get(), data.data(), data.size(), member.data(), member.size()));
  return member;
}

}  // namespace

GzipWriter::GzipWriter(OutputFile& file)
    : file_(file), batch_(kMember * static_cast<size_t>(std::min(4 * usable_cores(), 64))) {}

void GzipWriter::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const auto part = data.first(std::min(data.size(), batch_ - data_.size()));
    data_.insert(data_.end(), part.begin(), part.end());
    if (data_.size() == batch_) flush();
    data = data.subspan(part.size());
  }
}

void GzipWriter::finish() {
  if (!data_.empty() || !any_) flush();
}

void GzipWriter::flush() {
  std::vector<std::vector<std::byte>> members(std::max<size_t>(1, (data_.size() + kMember - 1) / kMember));
  parallel_for(usable_cores(), members.size(), [&](size_t i) {
    members[i] = compressed(
        std::span(data_).subspan(i * kMember).first(std::min(kMember, data_.size() - i * kMember)));
  });
  for (const std::vector<std::byte>& member : members) file_.write(member);
  data_.clear();
  any_ = true;
}

}  // namespace greta
