#include "engine/device_store.h"

#include <cstring>

namespace greta {

const std::byte* DeviceStore::constant(const void* host, int64_t bytes) {
  Copy& copy = copies_[host];
  if (copy.bytes.size() < bytes) {
    copy.bytes = gpu::DeviceBytes(*device_, bytes);
    device_->upload(copy.bytes.data(), static_cast<const std::byte*>(host), bytes);
  }
  return copy.bytes.data();
}

const std::byte* DeviceStore::panels(const PackedWeight& weight) {
  const std::byte* data = constant(weight.bytes.data(), weight.packed_bytes());
  AlignedBytes& keep = copies_[weight.bytes.data()].keep;
  if (keep.size() == 0) keep = weight.bytes.slice(0, weight.packed_bytes());
  return data;
}

const std::byte* Mirror::read_host() const {
  if (fresh_ == Fresh::device) {
    device_->download(host_.data(), theirs_.data(), size());
    fresh_ = Fresh::both;
  }
  return host_.data();
}

std::byte* Mirror::write_host() {
  read_host();
  fresh_ = Fresh::host;
  return host_.data();
}

const std::byte* Mirror::read_device() const {
  if (fresh_ == Fresh::host) {
    device_->upload(theirs_.data(), host_.data(), size());
    fresh_ = Fresh::both;
  }
  return theirs_.data();
}

void Mirror::fill(uint8_t value) {
  if (device_ == nullptr) {
    std::memset(host_.data(), value, static_cast<size_t>(size()));
  } else {
    device_->fill(theirs_.data(), value, size());
    fresh_ = Fresh::device;
  }
}

std::byte* Mirror::write_device() {
  read_device();
  fresh_ = Fresh::device;
  return theirs_.data();
}

}  // namespace greta
