#pragma once
// A device with memory of its own: what the engine's stream executor runs on. Whatever is asked of it happens
// in order. Errors are machine Errors that name the device.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/gpu/launches.h"

namespace greta::gpu {

/// Launches that a device can repeat at once.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

class Device {
 public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Such as "NVIDIA H100 80GB HBM3".
  virtual std::string card() const = 0;
  /// The name of its matrix unit for 16-bit floats: a simulated device's (sim/device.h).
  virtual std::string_view unit() const = 0;

  virtual const Chip& chip() const = 0;

  /// 256-byte aligned; fails with the sizes asked for and left.
  virtual std::byte* allocate(int64_t bytes) = 0;
  virtual void release(std::byte* memory) = 0;

  virtual void upload(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  /// Returns when all that was asked before is done.
  virtual void download(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  virtual void fill(std::byte* to, uint8_t value, int64_t bytes) = 0;
  /// A kernel's ops, in order: one, or as many as it does at once.
  virtual void launch(const Kernel& kernel, std::span<const Args> parts) = 0;
  virtual void wait() = 0;

  /// Bytes a second that the device reads of its own memory, measured now; 0 where nobody can.
  virtual double read_rate() { return 0; }

  /// What `launches` launches (it does nothing else), without running it;
  /// nullptr where the device has no such thing: then it has not been called.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& launches);
};

/// Owns a piece of a device's memory.
class DeviceBytes {
 public:
  DeviceBytes() = default;
  DeviceBytes(Device& device, int64_t bytes)
      : device_(&device), data_(device.allocate(bytes)), size_(bytes) {}
  DeviceBytes(DeviceBytes&& other) noexcept { *this = std::move(other); }
  DeviceBytes& operator=(DeviceBytes&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBytes() {
    if (data_ != nullptr) device_->release(data_);
  }

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace greta::gpu
