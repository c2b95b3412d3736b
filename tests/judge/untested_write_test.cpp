// A decode0 whose cache row may be what prefill left there: an engine that does not clear it, and one that
// does not write it besides.

#include "judge/untested_write.h"

#include <gmock/gmock.h>

#include "bundle/decode0_row.h"
#include "engine/kv_cache.h"
#include "engine/tiny_model.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Decode does not write one layer's row, and finds there what prefill has written.
class Stale final : public Action {
 public:
  const KernelInfo* writes = nullptr;  // the phase's own kernel

  std::string label() const override { return "stale"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    writes->run(args, {0, 1});
    const int64_t last = args.position + args.block_rows - 1;
    if (args.block_rows > 1) {
      row_ = read_cache_row(args.cache, last);
    } else if (!row_.empty()) {
      write_cache_row(args.cache, last, row_);
    }
  }

 private:
  std::vector<float> row_;
};

struct WriteRun {
  Format cache = Format::f32;
  std::string experiment = "E0";  // E1: decode by another kernel than prefill, so that keys differ
  bool stale = false;             // in layer 1
  bool says_so = false;           // what became of the row
};

Verdict judged_write(const WriteRun& setting) {
  test::TinyEngine tiny(TensorType::q4_k, {1, best_isa(), setting.cache});
  MatrixRequest request;
  request.experiments = parse_experiments(setting.experiment);
  request.prompts = {{"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  const auto stale = std::make_shared<Stale>();
  if (setting.stale)
    request.change.edit = [&](PlanEdit& edit) {
      Op& write = *edit.find({1, Stage::kv_write});
      stale->writes = kernel_call(write)->kernel;
      edit.replace(write, stale);
    };
  Bundle bundle = record_matrix(tiny.engine, request);
  if (!setting.says_so) {
    bundle.manifest["prompts"][0].erase("decode0_row");
    std::erase_if(bundle.events, [](const Event& event) { return event.stage == kKvNext; });
  }
  return judge(bundle, tiny.engine.model());
}

TEST(UntestedWrite, ARowLikePrefillsIsToldUnlessItWasCleared) {
  for (const bool stale : {false, true}) {
    const Verdict verdict = judged_write({.stale = stale});
    EXPECT_EQ(exit_code(verdict.status), 0) << "an engine is no worse for how it was recorded";
    ASSERT_THAT(verdict.untested_writes, SizeIs(1));
    EXPECT_EQ(verdict.untested_writes[0].cell, (CellKey{"E0", "many"}));
    EXPECT_EQ(verdict.untested_writes[0].layers, 2);
    EXPECT_EQ(verdict.untested_writes[0].recorded, 2);
  }
  EXPECT_THAT(judged_write({.says_so = true}).untested_writes, IsEmpty());
}

TEST(UntestedWrite, ARowOfItsOwnWasWritten) {
  const Verdict verdict = judged_write({.experiment = "E1"});
  EXPECT_EQ(exit_code(verdict.status), 0);
  EXPECT_THAT(verdict.untested_writes, IsEmpty());
}

/// Where decode's own key rounds to something else than the row that prefill left, the row convicts itself.
TEST(UntestedWrite, PrefillsRowInThePlaceOfDecodesOwnIsAFault) {
  for (const Format cache : {Format::f32, Format::f16, Format::q8_0}) {
    const Verdict verdict = judged_write({.cache = cache, .experiment = "E1", .stale = true});
    ASSERT_THAT(verdict.findings, SizeIs(1)) << name(cache);
    const Finding& finding = verdict.findings[0];
    EXPECT_EQ(finding.layer, 1);
    EXPECT_EQ(finding.stage, Stage::kv_write);
    EXPECT_EQ(finding.phase, Phases::decode);
    EXPECT_EQ(finding.cause, Cause::ambiguous) << name(cache) << ": the slot after was not recorded";
    EXPECT_THAT((std::vector{finding.best, finding.runner_up}),
                testing::UnorderedElementsAre("kv_slot", "kv_not_written"))
        << name(cache);
    const Verdict with_next =
        judged_write({.cache = cache, .experiment = "E1", .stale = true, .says_so = true});
    ASSERT_THAT(with_next.findings, SizeIs(1)) << name(cache);
    EXPECT_EQ(with_next.findings[0].hypothesis(), "kv_not_written") << name(cache);
    EXPECT_THAT(with_next.findings[0].title.en, HasSubstr("what was there before")) << name(cache);
  }
}

}  // namespace
}  // namespace greta
