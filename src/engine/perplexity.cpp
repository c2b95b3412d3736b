#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace greta {
namespace {

constexpr int64_t kRows = 64;  // of logits at a time: vocabularies are wide

/// After the logits: -ln p of each row's next token, into `losses`.
class LossOp : public Action {
 public:
  /// `next` and `losses` belong to the caller, who sets `next` before each block: a token for each row.
  LossOp(const std::vector<int32_t>& next, std::vector<double>& losses) : next_(next), losses_(losses) {}

  std::string label() const override { return "loss of the next token"; }

  void run(const KernelArgs& args, Part part) override {
    const Part::Range rows = part.of(args.in[0].rows);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const std::span<const float> logits(args.in[0].row(r), static_cast<size_t>(args.in[0].cols));
      const double top = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const float x : logits) sum += std::exp(static_cast<double>(x) - top);
      const int32_t next = next_[static_cast<size_t>(r)];
      losses_[static_cast<size_t>(r)] =
          top + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(next)]);
    }
  }

 private:
  const std::vector<int32_t>& next_;
  std::vector<double>& losses_;
};

}  // namespace

double Perplexity::value() const { return std::exp(mean); }

void score_rows(PlanEdit& edit, const std::vector<int32_t>& next, std::vector<double>& losses) {
  edit.keep_all_rows();
  edit.append({.call = ActionCall{std::make_shared<LossOp>(next, losses)}, .reads = {edit.logits()}});
}

Perplexity measure_perplexity(Engine& engine, const RouteTable& routes, std::span<const int32_t> tokens,
                              int64_t chunk, int32_t bos,
                              const std::function<void(int64_t done, int64_t total)>& progress) {
  const int64_t chunks = std::ssize(tokens) / chunk, half = chunk / 2;
  if (chunks == 0) {
    fail_input(
        "perplexity: the text has {} tokens, less than one chunk of {}; give more text or a smaller chunk",
        tokens.size(), chunk);
  }
  std::vector<int32_t> next(kRows);
  std::vector<double> losses(kRows);
  Plan scoring = engine.fast_plan(Phase::prefill, kRows, routes);
  {
    PlanEdit edit(scoring);
    score_rows(edit, next, losses);
  }
  Session session(engine, chunk,
                  make_session_plans(engine, {.block = fast_block(engine), .routes = routes, .fast = true}));
  double sum = 0, squares = 0;
  Perplexity result;
  for (int64_t c = 0; c < chunks; ++c) {
    const auto source = tokens.subspan(static_cast<size_t>(c * chunk), static_cast<size_t>(chunk));
    std::vector<int32_t> text(source.begin(), source.end());
    if (bos >= 0) text.front() = bos;
    session.cache().truncate(0);
    session.fill(std::span(text).first(static_cast<size_t>(half)));
    for (int64_t at = half; at + 1 < chunk; at += kRows) {
      const int64_t rows = std::min(kRows, chunk - 1 - at);
      std::copy_n(text.begin() + at + 1, rows, next.begin());
      session.forward(scoring, std::span(text).subspan(static_cast<size_t>(at), static_cast<size_t>(rows)));
      for (int64_t r = 0; r < rows; ++r) {
        const double loss = losses[static_cast<size_t>(r)];
        sum += loss, squares += loss * loss, ++result.tokens;
      }
    }
    progress(c + 1, chunks);
  }
  const double count = static_cast<double>(result.tokens);
  result.mean = sum / count;
  const double variance = std::max(0.0, squares / count - result.mean * result.mean);
  result.error = count > 1 ? std::sqrt(variance / (count - 1)) : 0;
  return result;
}

}  // namespace greta
