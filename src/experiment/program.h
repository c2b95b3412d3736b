#pragma once
// The program that an engine runs where nobody looks, run in several ways that must give the same bits.

#include <functional>
#include <set>
#include <span>
#include <vector>

#include "experiment/snapshot.h"
#include "record/matrix_request.h"

namespace greta {

/// How a plan is made: as it runs in production, or with an edit of it.
struct Making {
  bool fast = true;                               // fused where that is faster
  std::function<void(PlanEdit& edit)> edit = {};  // after the request's own change
};

/// The plan as it is recorded: nothing fused, and the threads meet after each op.
Making as_recorded();

/// Lets all threads meet after every op that is wanted; nothing else is changed.
void meet_after(PlanEdit& edit, const std::function<bool(const Op& op)>& wanted);

/// After each of them.
void meet_always(PlanEdit& edit);

/// What an op is called here: by its stage, else by its kernel's work; empty for an action.
std::string label_of(const Op& op);

/// Puts fused ops back, all but those that make a stage to be kept.
void unfuse_but(PlanEdit& edit, const std::function<bool(Stage)>& kept);

/// How tokens are run.
struct Way {
  std::vector<int64_t> blocks =
      {};                   // rows of each block of prefill, in order; none: one step of decode a token
  bool all_logits = false;  // of every block; else of the last one
  int threads = 0;          // 0: the engine's
  bool used = false;        // in a cache and in buffers that are full of what nobody may read
  std::optional<Format> cache = {};  // in another format than the engine's
};

/// n tokens in blocks of `most`.
std::vector<int64_t> blocks_of(int64_t n, int64_t most);

class Program {
 public:
  /// `request` must outlive it.
  Program(Engine& engine, const MatrixRequest& request) : engine_(engine), request_(request) {}

  Engine& engine() const { return engine_; }
  const MatrixRequest& request() const { return request_; }

  Plan plan(Phase phase, int64_t rows, bool logits, const Making& making) const;
  Plan plan(Phase phase, int64_t rows, bool logits, const Making& making, const RouteTable& routes) const;

  /// Runs `tokens` from position 0; `runner`, if there is one, is what they run in. Of steps the logits of
  /// `logits_at` are kept, and those of the last one.
  Snapshot run(const Way& way, std::span<const int32_t> tokens, const Making& making = {},
               const std::set<int64_t>& logits_at = {}, Runner* runner = nullptr) const;

  /// The last token as a step of decode after the others, which run as they are recorded: its row and logits.
  /// `used`: as of a Way.
  Snapshot step(const RouteTable& routes, std::span<const int32_t> tokens, const Making& making,
                bool used) const;

  /// Why prefill and decode need not agree bit for bit: a projection on different routes. Empty: they must.
  std::string different_routes() const;

 private:
  Engine& engine_;
  const MatrixRequest& request_;
};

/// The same of two plans.
std::string different_routes(const Plan& prefill, const Plan& decode);

/// Whether two plans are the same kernels on the same buffers in the same order: then one run tells of both.
bool same_program(const Plan& a, const Plan& b);

}  // namespace greta
