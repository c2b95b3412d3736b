#include "judge/part.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

struct Recorded {
  test::TinyEngine tiny{TensorType::q4_1};
  Bundle bundle;
  explicit Recorded(const std::vector<std::string>& faults = {}) {
    MatrixRequest request;
    request.experiments = parse_experiments("E0,E4");
    request.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
    request.layers = {0, 1};
    request.change = fault_change(tiny.engine, parse_faults(faults, 2));
    bundle = record_matrix(tiny.engine, request);
  }
  KnownJudgements part(int number, int of) const {
    KnownJudgements known;
    judge(bundle, tiny.engine.model(),
          {.causes = Causes::none, .part = {.number = number, .of = of}, .known = &known});
    return known;
  }
};

TEST(JudgedInParts, EachStageIsJudgedByOnePart) {
  const Recorded recorded;
  KnownJudgements whole, joined;
  judge(recorded.bundle, recorded.tiny.engine.model(), {.known = &whole});
  size_t sum = 0, least = whole.size();
  for (int i = 1; i <= 5; ++i) {
    KnownJudgements part = recorded.part(i, 5);
    sum += part.size();
    least = std::min(least, part.size());
    joined.merge(part);
  }
  EXPECT_EQ(sum, whole.size());
  EXPECT_EQ(joined.size(), whole.size());
  EXPECT_GT(least, whole.size() / 10);  // a fair share
  for (const auto& [key, judged] : whole) EXPECT_TRUE(joined.contains(key)) << key;
}

TEST(Judge, TellsHowFarItIsAndCanBeEnded) {
  const Recorded recorded;
  size_t calls = 0, last = 0, all = 0;
  const auto step = [&](size_t done, size_t of) { ++calls, last = done, all = of; };
  judge(recorded.bundle, recorded.tiny.engine.model(), {.threads = 2, .step = step});
  EXPECT_GT(calls, 10U);
  EXPECT_EQ(last, all);
  EXPECT_EQ(calls, all);
  const auto end = [](size_t, size_t) { throw std::runtime_error("enough"); };
  EXPECT_THROW(judge(recorded.bundle, recorded.tiny.engine.model(), {.threads = 2, .step = end}),
               std::runtime_error);
}

// As it is stored: to the last bit, NaN and infinity too.
TEST(JudgedInParts, ComesBackFromItsFile) {
  const Recorded recorded({"wq_column_major@prefill"});
  JudgedPart part{
      .part = {2, 3}, .command = {"isolate", "a\nb"}, .model = "xxh3:1", .judgements = recorded.part(2, 3)};
  ASSERT_FALSE(part.judgements.empty());
  part.judgements.begin()->second.judgement->noise_ratio = std::numeric_limits<double>::infinity();
  const JudgedPart read = part_from_stored(stored_part(part), "here");
  EXPECT_EQ(read.part.number, 2);
  EXPECT_EQ(read.part.of, 3);
  EXPECT_EQ(read.command, part.command);
  EXPECT_EQ(read.model, part.model);
  EXPECT_EQ(stored_part(read), stored_part(part));
  for (const auto& [key, judged] : part.judgements) {
    const JudgedStage& other = read.judgements.at(key);
    EXPECT_EQ(judged.why, other.why);
    ASSERT_EQ(judged.judgement.has_value(), other.judgement.has_value());
    if (judged.judgement) {
      EXPECT_EQ(judged.judgement->noise_ratio, other.judgement->noise_ratio);
    }
    ASSERT_EQ(judged.picture != nullptr, other.picture != nullptr);
    if (judged.picture) {
      EXPECT_EQ(judged.picture->ratios, other.picture->ratios);
    }
  }
}

TEST(JudgedInParts, FilesThatAreNone) {
  const std::string good = stored_part({{1, 2}, {"isolate"}, "m", {}});
  for (const std::string& bad : {std::string(), std::string("{}"), std::string("\xa0"), good.substr(0, 20),
                                 std::string("\xa1\x66schema\x61x"), std::string(1000000, '\x81')})  // deep
    EXPECT_THROW(part_from_stored(bad, "here"), Error);
  for (size_t i = 0; i < good.size(); ++i) {  // an Error, or another part: nothing else
    std::string other = good;
    other[i] = static_cast<char>(other[i] ^ 0x1f);
    try {
      part_from_stored(other, "here");
    } catch (const Error&) {
    }
  }
  EXPECT_NO_THROW(part_from_stored(good, "here"));
  EXPECT_THROW(read_part("/no/such/directory"), Error);
}

TEST(JudgedInParts, OfNoRun) {
  for (const Share& share : {Share{0, 2}, Share{3, 2}, Share{-1, -1}, Share{1, 2000000000}})
    EXPECT_THROW(part_from_stored(stored_part({share, {"isolate"}, "m", {}}), "here"), Error) << share.of;
}

TEST(JudgedInParts, WhatPartsAreCalled) {
  EXPECT_EQ(parse_part("3/8").number, 3);
  EXPECT_EQ(parse_part("3/8").of, 8);
  EXPECT_FALSE(parse_part("1/1").is_whole());
  for (const char* bad : {"", "3", "3/", "/8", "0/8", "9/8", "3/8x", "x", "-1/8", "3/8/9", "1/9999999999"})
    EXPECT_THROW(parse_part(bad), Error) << bad;
}

}  // namespace
}  // namespace greta
