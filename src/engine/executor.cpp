#include "engine/executor.h"

#include "engine/host_executor.h"
#include "engine/stream_executor.h"

namespace greta {

std::unique_ptr<Executor> make_executor(ThreadPool& pool, DeviceStore* store) {
  if (store == nullptr) return std::make_unique<HostExecutor>(pool);
  return std::make_unique<StreamExecutor>(pool, *store);
}

}  // namespace greta
