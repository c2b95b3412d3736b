#pragma once
// What the host and a device both hold: constants, and bytes that either may change.

#include <map>
#include <memory>

#include "base/aligned.h"
#include "gpu/device.h"
#include "kernels/pack.h"

namespace greta {

/// A device, and its copies of what never changes on the host: weights, norms, biases, frequencies.
class DeviceStore {
 public:
  explicit DeviceStore(std::unique_ptr<gpu::Device> device) : device_(std::move(device)) {}

  gpu::Device& device() const { return *device_; }

  /// The device's copy, made when it is first asked for. The host's bytes must outlive the store.
  const std::byte* constant(const void* host, int64_t bytes);
  /// The same of a weight, which the store keeps alive: a faulty twin's may come and go.
  const std::byte* panels(const PackedWeight& weight);

 private:
  struct Copy {
    gpu::DeviceBytes bytes;
    AlignedBytes keep;
  };
  std::unique_ptr<gpu::Device> device_;
  std::map<const void*, Copy> copies_;
};

/// Bytes on the host that a device may have, too. Whoever asks for one side gets what the other has changed;
/// who will write says so. Without a device: the host's bytes.
class Mirror {
 public:
  Mirror() = default;
  Mirror(int64_t bytes, gpu::Device* device) : host_(bytes), device_(device) {
    if (device != nullptr) theirs_ = gpu::DeviceBytes(*device, bytes);
  }

  int64_t size() const { return host_.size(); }
  const std::byte* read_host() const;
  std::byte* write_host();
  const std::byte* read_device() const;
  std::byte* write_device();
  /// All of them, where it costs least.
  void fill(uint8_t value);

 private:
  enum class Fresh { both, host, device };

  mutable AlignedBytes host_;
  gpu::DeviceBytes theirs_;
  gpu::Device* device_ = nullptr;
  mutable Fresh fresh_ = Fresh::both;  // of what nobody has written yet, neither matters
};

}  // namespace greta
