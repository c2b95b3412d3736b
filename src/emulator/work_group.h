#pragma once
// Work-groups on one host thread: lanes run by turns, in an order drawn anew at every turn.

#include <cstdint>
#include <memory>

#include "kernels/gpu/args.h"
#include "sim/device.h"

namespace greta::emulator {

using Body = void (*)(const gpu::Args* parts);

class WorkGroup {
 public:
  /// `unit`: of the card that is emulated; kernels that use none need none.
  explicit WorkGroup(uint64_t seed, const sim::Device* unit = nullptr);
  ~WorkGroup();
  WorkGroup(WorkGroup&&) noexcept;

  /// Runs `body` on all lanes of work-group (x, y). Throws a machine Error when lanes wait for ones that
  /// never come: on a GPU they would hang, or worse.
  void run(Body body, const gpu::Args* parts, const gpu::Grid& grid, int x, int y);

  struct State;
  struct Lane;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace greta::emulator
