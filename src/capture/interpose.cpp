// The functions of ggml that a program finds here before its own: what it computes is looked at on the way,
// and passed on. Preloaded (LD_PRELOAD), or loaded with RTLD_GLOBAL before the program's ggml.

#include <memory>
#include <mutex>
#include <unordered_map>

#include "capture/ggml.h"
#include "capture/session.h"
#include "capture/settings.h"

namespace greta::capture {
namespace {

using Callback = bool (*)(void* tensor, bool ask, void* data);

struct Observer {
  Callback function = nullptr;
  void* data = nullptr;
};

/// Recursive: a program's observer may call what stands here.
std::recursive_mutex& lock() {
  static auto* const kLock = new std::recursive_mutex;  // programs compute until after our destructors
  return *kLock;
}

/// What programs asked to be told, by scheduler.
std::unordered_map<void*, Observer>& observers() {
  static auto* const kObservers = new std::unordered_map<void*, Observer>;
  return *kObservers;
}

/// nullptr where nothing is asked for.
Session* session() {
  static Session* const kSession = [] {
    std::optional<Settings> settings = read_settings();
    return settings ? new Session(std::move(*settings)) : nullptr;
  }();
  return kSession;
}

/// One graph that is recorded, and the program's own observer of it.
struct Chain {
  Session* session;
  Observer theirs;
  bool we_want = false, they_want = false;  // the node that was asked for last
};

bool observe(void* tensor, bool ask, void* data) {
  Chain& chain = *static_cast<Chain*>(data);
  const bool other = chain.theirs.function != nullptr;
  if (ask) {
    chain.we_want = chain.session->wants(tensor);
    chain.they_want = other && chain.theirs.function(tensor, true, chain.theirs.data);
    return chain.we_want || chain.they_want;
  }
  try {
    if (chain.we_want) chain.session->computed(tensor);
  } catch (...) {  // no memory: this stage is not recorded
  }
  return !chain.they_want || chain.theirs.function(tensor, false, chain.theirs.data);
}

using Compute = int (*)(void* sched, void* graph);

int compute(const char* name, void* sched, void* graph) {
  static thread_local bool inside = false;  // one of the two calls the other
  const auto real = reinterpret_cast<Compute>(find_real(name));
  if (inside || session() == nullptr) return real(sched, graph);
  const std::unique_lock guard(lock(), std::try_to_lock);
  if (!guard.owns_lock()) return real(sched, graph);  // another thread's graph is recorded
  inside = true;
  Chain chain{.session = session(), .theirs = observers()[sched]};
  bool wanted = false;
  try {
    wanted = chain.session->begin(sched, graph);
  } catch (...) {
  }
  if (wanted) the_ggml->call().sched_set_eval_callback(sched, observe, &chain);
  const int status = real(sched, graph);
  if (wanted) the_ggml->call().sched_set_eval_callback(sched, chain.theirs.function, chain.theirs.data);
  try {
    chain.session->end(sched, status == 0);
  } catch (...) {
  }
  inside = false;
  return status;
}

}  // namespace
}  // namespace greta::capture

#define GRETA_EXPORT extern "C" __attribute__((visibility("default")))

GRETA_EXPORT void ggml_backend_sched_set_eval_callback(void* sched, bool (*callback)(void*, bool, void*),
                                                       void* data) {
  using namespace greta::capture;
  using Set = void (*)(void*, Callback, void*);
  static const auto kReal = reinterpret_cast<Set>(find_real("ggml_backend_sched_set_eval_callback"));
  if (session() != nullptr) {
    const std::lock_guard guard(lock());
    observers()[sched] = {callback, data};
  }
  kReal(sched, callback, data);
}

GRETA_EXPORT int ggml_backend_sched_graph_compute(void* sched, void* graph) {
  return greta::capture::compute("ggml_backend_sched_graph_compute", sched, graph);
}

GRETA_EXPORT int ggml_backend_sched_graph_compute_async(void* sched, void* graph) {
  return greta::capture::compute("ggml_backend_sched_graph_compute_async", sched, graph);
}

/// llama.cpp's tools run an empty prompt first.
GRETA_EXPORT void llama_set_warmup(void* context, bool warmup) {
  using namespace greta::capture;
  if (session() != nullptr) {
    const std::lock_guard guard(lock());
    session()->pause(warmup);
  }
  static const auto kReal = reinterpret_cast<void (*)(void*, bool)>(find_real("llama_set_warmup"));
  kReal(context, warmup);
}

/// For a program that knows what it runs (python/greta/llama_cpp.py): graphs from now on are this phase of
/// this prompt; with an empty phase they are not recorded.
GRETA_EXPORT void greta_capture_phase(const char* prompt, const char* phase) {
  using namespace greta::capture;
  if (session() == nullptr) return;
  const std::lock_guard guard(lock());
  session()->name_phase(prompt, phase);
}
