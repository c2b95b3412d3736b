// RoPE, cache and attention computed wrongly by hand: each must be named.

#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::Mistake;
using test::NamedCase;
using test::PlainRope;
using test::PlainRun;
using test::PlainSite;
using test::Row;
using Reading = PlainSite::Reading;

using enum Stage;

/// RoPE with the angle at another position.
std::function<Row(const PlainSite&)> at_position(std::function<double(const PlainSite&)> position) {
  return [position](const PlainSite& s) {
    const double p = position(s);
    return s.rope(
        {[&](size_t pair) { return p * std::pow(s.config().rope_base, -static_cast<double>(pair) / 8); }});
  };
}

std::function<Row(const PlainSite&)> with_base(double base) {
  return [base](const PlainSite& s) {
    return s.rope({[&](size_t pair) {
      return static_cast<double>(s.position) * std::pow(base, -static_cast<double>(pair) / 8);
    }});
  };
}

double place(const PlainSite& s) { return static_cast<double>(s.position); }

Row turned_in_bf16(const PlainSite& s) {
  const auto rounded = [](double x) {
    return static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(x))));
  };
  const Row& x = s.in(q);
  Row y = x;
  for (size_t i = 0; i < x.size(); i += 2) {
    const double angle = s.angle(i % 16 / 2), a = static_cast<double>(x[i]),
                 b = static_cast<double>(x[i + 1]);
    y[i] = static_cast<float>(a * rounded(std::cos(angle)) - b * rounded(std::sin(angle)));
    y[i + 1] = static_cast<float>(a * rounded(std::sin(angle)) + b * rounded(std::cos(angle)));
  }
  return y;
}

/// Attention that reads the cache wrongly.
std::function<Row(const PlainSite&)> reads(std::function<Reading(const PlainSite&)> how) {
  return [how](const PlainSite& s) { return s.stage == qk ? s.scores(how(s)) : s.values(how(s)); };
}

std::function<Row(const PlainSite&)> sees(std::function<bool(const PlainSite&, int64_t p)> visible) {
  return reads([visible](const PlainSite& s) {
    Reading how;
    how.visible = [&s, visible](int64_t p) { return visible(s, p); };
    return how;
  });
}

std::function<Row(const PlainSite&)> kv_heads(std::function<size_t(size_t)> map) {
  return reads([map](const PlainSite&) {
    Reading how;
    how.kv_head = map;
    return how;
  });
}

std::function<Row(const PlainSite&)> slots(int64_t shift) {
  return reads([shift](const PlainSite& s) {
    Reading how;
    how.slot = [&s, shift](int64_t p) { return std::clamp<int64_t>(p + shift, 0, s.run.n_pos() - 1); };
    return how;
  });
}

std::function<Row(const PlainSite&)> scaled_by(double scale) {
  return reads([scale](const PlainSite&) {
    Reading how;
    how.scale = scale;
    return how;
  });
}

std::function<Row(const PlainSite&)> of_layer(int layer) {
  return reads([layer](const PlainSite&) {
    Reading how;
    how.layer = layer;
    return how;
  });
}

Row capped(const PlainSite& s) {
  return test::mapped(s.right(),
                      [](double score) { return std::isfinite(score) ? 2 * std::tanh(score / 2) : score; });
}

/// softmax(c s)
std::function<Row(const PlainSite&)> softmax_of(double c) {
  return [c](const PlainSite& s) { return s.weights_of([c](double score) { return std::exp(c * score); }); };
}

double exponential(double score) { return std::exp(score); }

/// Each head's maximum is taken off before 1 is added to the sum.
Row sink_after_the_maximum(const PlainSite& s) {
  const Row& score = s.in(qk);
  const size_t n = static_cast<size_t>(s.run.n_pos());
  Row y(score.size());
  for (size_t begin = 0; begin < y.size(); begin += n) {
    double max = -INFINITY, sum = 1;
    for (size_t i = begin; i < begin + n; ++i) max = std::max(max, static_cast<double>(score[i]));
    for (size_t i = begin; i < begin + n; ++i) sum += std::exp(static_cast<double>(score[i]) - max);
    for (size_t i = begin; i < begin + n; ++i)
      y[i] = static_cast<float>(std::exp(static_cast<double>(score[i]) - max) / sum);
  }
  return y;
}

Row undivided(const PlainSite& s) {
  const Row& score = s.in(qk);
  const size_t n = static_cast<size_t>(s.run.n_pos());
  Row y(score.size());
  for (size_t begin = 0; begin < y.size(); begin += n) {
    float max = -INFINITY;
    for (size_t i = begin; i < begin + n; ++i) max = std::max(max, score[i]);
    for (size_t i = begin; i < begin + n; ++i)
      y[i] = static_cast<float>(std::exp(static_cast<double>(score[i]) - static_cast<double>(max)));
  }
  return y;
}

Row dims_before_heads(const PlainSite& s) {
  const Row right = s.right();
  Row y(right.size());
  for (size_t head = 0; head < 4; ++head) {
    for (size_t d = 0; d < 16; ++d) y[d * 4 + head] = right[head * 16 + d];
  }
  return y;
}

Row key_and_value(const Row& key, const Row& value) {
  Row row = key;
  row.insert(row.end(), value.begin(), value.end());
  return row;
}

using Rows = std::vector<Row>;

NamedCase writes(const char* label, const char* hypothesis, const char* title, const char* phase,
                 std::function<void(Rows& cache, const Rows& own)> write) {
  return {label, hypothesis, kv_write, 1, {}, title, phase, TensorType::f32, std::move(write)};
}

/// Later positions stay visible, at exp(-6) of their weight.
Row softmax_lowered_by_six(const PlainSite& site) {
  const PlainSite scores{site.run, qk, site.layer, site.position};
  Row all = scores.scores({.visible = [](int64_t) { return true; }});
  const int64_t n = site.run.n_pos();
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int64_t>(i) % n > site.position) all[i] -= 6;
  }
  PlainRun own = site.run;
  own.rows[{site.layer, qk}][site.position] = all;
  return PlainSite{own, softmax, site.layer, site.position}.right();
}

/// The scores as they are recorded are masked rightly.
Row softmax_seeing_next(const PlainSite& site) {
  const PlainSite scores{site.run, qk, site.layer, site.position};
  PlainRun own = site.run;
  own.rows[{site.layer, qk}][site.position] =
      scores.scores({.visible = [&](int64_t p) { return p <= site.position + 1; }});
  return PlainSite{own, softmax, site.layer, site.position}.right();
}

std::vector<NamedCase> attention_cases() {
  const std::string position = "rope_position", omitted = "rope_omitted", part = "rope_dims",
                    scale = "softmax_scale";
  const auto log2 = std::log(2.0);
  return {
      {"RopeOneFurther", position, q_rope, 0, at_position([](const PlainSite& s) { return place(s) + 1; }),
       "off by +1"},
      {"RopeOneShort", position, k_rope, 1, at_position([](const PlainSite& s) { return place(s) - 1; }),
       "off by -1", "decode"},
      {"RopeSeventeenFurther", position, q_rope, 1,
       at_position([](const PlainSite& s) { return place(s) + 17; }), "off by +17", "prefill"},
      {"RopeAlwaysAtFive", position, k_rope, 0, at_position([](const PlainSite&) { return 5.0; }),
       "is always 5"},
      {"RopeModuloEight", position, q_rope, 1,
       at_position([](const PlainSite& s) { return static_cast<double>(s.position % 8); }), "modulo 8"},
      {"RopeOfOneRow", position, k_rope, 0,
       at_position([](const PlainSite& s) { return s.position == 10 ? 3.0 : place(s); }), "theirs: 10 -> 3",
       "prefill"},
      {"RopeOmitted", omitted, q_rope, 1, [](const PlainSite& s) { return s.in(q); }, "not applied",
       "prefill"},
      {"RopeBase", "rope_base", k_rope, 0, with_base(1e6), "the base of RoPE is 1e+06, not 10000"},
      {"RopeBaseEstimated", "rope_base", q_rope, 1, with_base(23000), "the base of RoPE is 23000", "decode"},
      {"RopeHalves", "rope_style", q_rope, 0,
       [](const PlainSite& s) {
         return s.rope({[&](size_t pair) { return s.angle(pair); }, 16, true});
       },
       "(i, i + d/2) in the place of (2i, 2i+1)"},
      {"RopeTwice", "rope_twice", k_rope, 1,
       [](const PlainSite& s) { return s.rope({[&](size_t pair) { return 2 * s.angle(pair); }}); }, "twice"},
      {"RopeOfHalfTheDims", part, q_rope, 0,
       [](const PlainSite& s) {
         return s.rope({[&](size_t pair) { return s.angle(pair); }, 8});
       },
       "only 8 of 16"},
      {"RopeOfAQuarterWithItsFrequencies", part, k_rope, 0,
       [](const PlainSite& s) {
         return s.rope(
             {[&](size_t pair) { return place(s) * std::pow(1e4, -2.0 * static_cast<double>(pair) / 4); },
              4});
       },
       "only 4 of 16", "prefill"},
      {"RopeScaled", "rope_scale", q_rope, 0, at_position([](const PlainSite& s) { return place(s) / 4; }),
       "by 0.25"},
      {"RopeScaleEstimated", "rope_scale", k_rope, 1,
       at_position([](const PlainSite& s) { return place(s) * 0.77; }), "by 0.77", "prefill"},
      {"RopeOfTheFirstOfThreeRows", position, k_rope, 0,
       at_position([](const PlainSite& s) { return place(s) - static_cast<double>(s.position % 3); }),
       "1 -> 0", "prefill"},
      {"CosinesInBf16", "rope_rounded", q_rope, 0, [](const PlainSite& s) { return turned_in_bf16(s); },
       "cosines and sines of RoPE are rounded to bf16"},
      {"SecondHalfBackwards", "rope_inverse", k_rope, 1,
       [](const PlainSite& s) {
         const Row back = at_position([](const PlainSite& site) { return -place(site); })(s);
         Row y = s.right();
         for (size_t i = 1; i < y.size(); i += 2) y[i] = back[i];
         return y;
       },
       "for elements"},
      {"RopeBackwards", "rope_inverse", q_rope, 1, at_position([](const PlainSite& s) { return -place(s); }),
       "the other way"},

      {"HeadModulo", "head_map", qk, 0, kv_heads([](size_t h) { return h % 2; }), "h mod n_kv"},
      {"HeadZero", "head_map", pv, 1, kv_heads([](size_t) { return size_t{0}; }), "KV head 0", "prefill"},
      {"NextKvHead", "head_map", qk, 1, kv_heads([](size_t h) { return (h / 2 + 1) % 2; }), "next KV head",
       "decode"},
      {"QueriesInTurn", "head_map", qk, 1,
       [](const PlainSite& s) {
         PlainRun own = s.run;
         Row& query = own.rows[{s.layer, q_rope}][s.position];
         std::swap_ranges(query.begin() + 16, query.begin() + 32, query.begin() + 32);
         return PlainSite{own, qk, s.layer, s.position}.right();
       },
       "head 1 takes the query of head 2", "decode"},
      {"WeightsOfTheNextHead", "head_map", pv, 0,
       [](const PlainSite& s) {
         PlainRun own = s.run;
         Row& weights = own.rows[{s.layer, softmax}][s.position];
         std::rotate(weights.begin(), weights.begin() + s.run.n_pos(), weights.end());
         return PlainSite{own, pv, s.layer, s.position}.right();
       },
       "head 0 takes the weights of head 1"},
      {"LateSlotsOfTheValuesBefore", "attention_slot", pv, 1, reads([](const PlainSite&) {
         Reading how;
         how.slot = [](int64_t p) { return p >= 8 ? p - 1 : p; };
         return how;
       }),
       "positions from 8 on read slot p -1"},
      {"LateSlotsOfTheKeysBefore", "attention_slot", qk, 0, reads([](const PlainSite&) {
         Reading how;
         how.slot = [](int64_t p) { return p >= 8 ? p - 4 : p; };
         return how;
       }),
       "read slot p -4", "decode"},
      {"KeyDimsInPairs", "key_dims", qk, 1,
       [](const PlainSite& s) {
         PlainRun own = s.run;
         Row& query = own.rows[{s.layer, q_rope}][s.position];
         for (size_t i = 0; i < query.size(); i += 2) std::swap(query[i], query[i + 1]);
         return PlainSite{own, qk, s.layer, s.position}.right();
       },
       "dims 2i and 2i + 1"},
      {"KeysWithoutTheirLastDims", "key_dims", qk, 0,
       [](const PlainSite& s) {
         PlainRun own = s.run;
         Row& query = own.rows[{s.layer, q_rope}][s.position];
         for (size_t i = 0; i < query.size(); ++i) query[i] = i % 16 < 12 ? query[i] : 0;
         return PlainSite{own, qk, s.layer, s.position}.right();
       },
       "leave out dims 12-15 of 16", "decode"},
      {"LaterScoresAreZero", "zero_scores", qk, 0,
       [](const PlainSite& s) {
         Row y = s.right();
         for (float& score : y) score = std::isfinite(score) ? score : 0.0f;
         return y;
       },
       "not made or not masked", "prefill"},
      {"LateWeightsNotDivided", "softmax_not_normalised", softmax, 0,
       [](const PlainSite& s) {
         const Row late = undivided(s);
         Row y = s.right();
         const size_t n = static_cast<size_t>(s.run.n_pos());
         for (size_t i = 0; i < y.size(); ++i) y[i] = i % n < 8 ? y[i] : late[i];
         return y;
       },
       "for positions from 8 on"},
      {"NextSlot", "attention_slot", pv, 0, slots(1), "slot p +1"},
      {"SlotBefore", "attention_slot", qk, 0, slots(-1), "slot p -1", "decode"},
      {"OtherLayersCache", "wrong_layer_cache", pv, 1, of_layer(0), "layer 0's cache"},
      {"OneShort", "kv_length", pv, 0,
       sees([](const PlainSite& s, int64_t p) { return p <= s.position && p < s.run.n_pos() - 1; }),
       "one position short", "decode"},
      {"LastPageLost", "kv_length", qk, 1,
       sees([](const PlainSite& s, int64_t p) { return p <= s.position && p < s.run.n_pos() / 16 * 16; }),
       "last page of 16"},
      {"NoMask", "mask_absent", qk, 0, sees([](const PlainSite&, int64_t) { return true; }), "no causal mask",
       "prefill"},
      {"MaskHidesSelf", "mask_offset", qk, 1,
       sees([](const PlainSite& s, int64_t p) { return p < s.position; }), "does not see itself", "prefill"},
      {"MaskShowsNext", "mask_offset", qk, 1,
       sees([](const PlainSite& s, int64_t p) { return p <= s.position + 1; }), "sees the next position",
       "prefill"},
      {"HistoryHidden", "history_hidden", qk, 0,
       sees([](const PlainSite& s, int64_t p) { return p == s.position; }), "nothing but itself", "decode"},
      {"WindowOfFive", "window", qk, 0,
       sees([](const PlainSite& s, int64_t p) { return p <= s.position && p > s.position - 5; }),
       "a window of 5 positions"},
      {"Unscaled", scale, qk, 1, scaled_by(1), "scaled by 1, not by 0.25"},
      {"ScaleSquared", scale, qk, 0, scaled_by(1.0 / 16), "scaled by 0.0625", "decode"},
      {"ScaleEstimated", scale, qk, 0, scaled_by(0.3), "scaled by 0.3, not by 0.25", "prefill"},
      {"Temperature", scale, softmax, 0, softmax_of(1.3), "multiplied by 1.3 before the softmax"},
      {"Softcap", "softcap", qk, 1, capped, "2 tanh(s / 2)"},
      {"PowersOfTwo", "softmax_base2", softmax, 0, softmax_of(log2), "powers of 2"},
      {"Log2eTwice", "softmax_base2", softmax, 1, softmax_of(1 / log2), "log2(e) is applied twice",
       "prefill"},
      {"Sink", "softmax_sink", softmax, 0, [](const PlainSite& s) { return s.weights_of(exponential, 1); },
       "a sink, or a slot"},
      {"SinkAfterTheMaximum", "softmax_sink", softmax, 1, sink_after_the_maximum, "after the maximum",
       "decode"},
      {"NotDivided", "softmax_not_normalised", softmax, 1, undivided, "not divided by its sum"},
      {"SoftmaxShowsNext", "mask_offset", softmax, 0, softmax_seeing_next, "sees the next position",
       "prefill"},
      {"MaskOfMinusSix", "mask_finite", softmax, 1, softmax_lowered_by_six, "-6 is added to their scores",
       "prefill"},
      {"PositionThreeHidden", "mask_read", softmax, 1,
       [](const PlainSite& s) {
         Row y = s.right();
         const size_t n = static_cast<size_t>(s.run.n_pos());
         if (s.position < 9) return y;
         for (size_t begin = 0; begin < y.size(); begin += n) {
           const float rest = 1 - y[begin + 3];
           y[begin + 3] = 0;
           for (size_t i = begin; i < begin + n; ++i) y[i] /= rest;
         }
         return y;
       },
       "do not see 3", "prefill"},
      {"SumOfTheFirstEight", "softmax_sum", softmax, 0,
       [](const PlainSite& s) {
         Row y = s.right();
         const size_t n = static_cast<size_t>(s.run.n_pos());
         for (size_t begin = 0; begin < y.size(); begin += n) {
           float sum = 0;
           for (size_t i = begin; i < begin + std::min<size_t>(n, 8); ++i) sum += y[i];
           for (size_t i = begin; i < begin + n; ++i) y[i] /= sum;
         }
         return y;
       },
       "another sum than theirs"},
      {"AnotherLayersValues", "wrong_layer_cache", kv_write, 1,
       [](const PlainSite& s) {
         return s.run.rows.at({0, kv_write}).at(s.position);
       },
       "layer 0's keys and values are in the cache of layer 1", "decode"},
      {"DimsBeforeHeads", "head_order", pv, 0, dims_before_heads, "[head_dim][n_head]"},

      writes("SlotTooLate", "kv_slot", "one slot too late", "prefill",
             [](Rows& cache, const Rows& own) {
               for (size_t i = 0; i + 1 < own.size(); ++i) cache[i + 1] = own[i];
             }),
      writes("SlotTooEarly", "kv_slot", "one slot too early", "decode",
             [](Rows& cache, const Rows& own) { cache[cache.size() - 2] = own[0]; }),
      writes("SlotsInPairs", "kv_slot", "slot 0 holds position 1's, slot 1 holds position 0's", "prefill",
             [](Rows& cache, const Rows& own) {
               for (size_t i = 0; i < own.size(); ++i)
                 if ((i ^ 1) < cache.size()) cache[i ^ 1] = own[i];
             }),
      writes("TailOfARowNotWritten", "kv_not_written", "for elements 56-63 of 64", "decode",
             [](Rows& cache, const Rows& own) {
               std::copy_n(own[0].begin(), 56, cache.back().begin());
               std::fill(cache.back().begin() + 56, cache.back().end(), 0.0f);
             }),
      writes("NeverWritten", "kv_not_written", "uninitialised memory", "prefill", [](Rows&, const Rows&) {}),
      writes("Zero", "kv_not_written", "it is zero", "prefill",
             [](Rows& cache, const Rows&) {
               for (Row& row : cache) std::fill(row.begin(), row.end(), 0.0f);
             }),
      writes("HistoryClobbered", "kv_history_overwritten", "overwrites position 0", "decode",
             [](Rows& cache, const Rows& own) { cache.back() = cache[0] = own[0]; }),
      writes("PositionBeforeIsLost", "kv_history_overwritten", "the position before the block is lost",
             "decode",
             [](Rows& cache, const Rows& own) {
               cache.back() = own[0];
               cache[cache.size() - 2].assign(own[0].size(), std::numeric_limits<float>::quiet_NaN());
             }),
      writes("BlockClobbersHistory", "kv_history_overwritten",
             "writing the last row also overwrites position 0", "prefill",
             [](Rows& cache, const Rows& own) {
               cache = own;
               cache[0] = own.back();
             }),
      {"KeysAndValuesSwapped", "kv_swapped", kv_write, 0,
       [](const PlainSite& s) { return key_and_value(s.in(v), s.in(k_rope)); }, "exchanged"},
      {"KeyBeforeRope", "kv_unrotated", kv_write, 1,
       [](const PlainSite& s) { return key_and_value(s.in(k), s.in(v)); }, "before RoPE"},
      {"KeyForValue", "kv_unrotated", kv_write, 0,
       [](const PlainSite& s) { return key_and_value(s.in(k_rope), s.in(k_rope)); }, "in the value's place",
       "prefill"},
      {"ValueForKey", "kv_unrotated", kv_write, 0,
       [](const PlainSite& s) { return key_and_value(s.in(v), s.in(v)); }, "in the key's place", "decode"},
      writes("FirstRowEverywhere", "kv_duplicated", "its first row's key and value", "prefill",
             [](Rows& cache, const Rows& own) { std::fill(cache.begin(), cache.end(), own.front()); }),
      writes("LastRowEverywhere", "kv_duplicated", "its last row's key and value", "prefill",
             [](Rows& cache, const Rows& own) { std::fill(cache.begin(), cache.end(), own.back()); }),
  };
}

class AttentionMistake : public testing::TestWithParam<NamedCase> {};
TEST_P(AttentionMistake, IsNamed) { test::expect_named(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, AttentionMistake, testing::ValuesIn(attention_cases()), test::LabelOf());

TEST(AttentionMistakes, CoverEveryHypothesis) {
  for (const auto group :
       {rope_hypotheses(), cache_hypotheses(), attention_hypotheses(), softmax_hypotheses()})
    test::expect_complete(group, attention_cases());
}

/// A row that one decode step writes beyond the recorded slots is not seen anywhere: it may be anywhere.
TEST(AttentionMistakes, ARowThatDecodeDoesNotWriteMayBeInTheNextSlot) {
  const auto nothing = [](Rows&, const Rows&) {};
  const auto no_second_head = [](Rows& cache, const Rows& own) {
    for (size_t i = 0; i < own[0].size(); ++i)
      cache.back()[i] = i / 16 % 2 == 0 ? own[0][i] : cache[0][i];  // heads of 16, keys and values
  };
  for (const std::function<void(Rows&, const Rows&)>& write :
       {std::function<void(Rows&, const Rows&)>(nothing), {no_second_head}}) {
    const Verdict verdict = test::judge_mistakes({{kv_write, 1, {}, "decode", write}});
    ASSERT_EQ(verdict.findings.size(), 1u);
    const Finding& found = verdict.findings[0];
    EXPECT_EQ(found.hypothesis(), "ambiguous") << test::text_of(found);
    EXPECT_THAT(std::vector({found.best, found.runner_up}),
                testing::UnorderedElementsAre("kv_slot", "kv_not_written"));
  }
}

/// One row, of which prefill and decode have other bits, is one row: there is no other to estimate from.
TEST(AttentionMistakes, ARowThatPhasesHaveWithOtherBitsIsNoOtherRow) {
  const auto turned = at_position([](const PlainSite& s) { return place(s) * 0.77; });
  const auto last_row = [turned](float one_more) {
    return [turned, one_more](const PlainSite& s) {
      Row y = s.position == 2 ? turned(s) : s.right();
      if (s.position == 2) y[0] *= 1 + one_more;
      return y;
    };
  };
  const Verdict verdict =
      test::judge_mistakes({{k_rope, 0, last_row(0), "prefill"}, {k_rope, 0, last_row(0x1p-23f), "decode"}},
                           TensorType::f32, {{5, 9, 17}});
  ASSERT_EQ(verdict.findings.size(), 1u);
  EXPECT_EQ(verdict.findings[0].stage, k_rope);
  EXPECT_EQ(name(verdict.findings[0].phase), "both");
  EXPECT_EQ(verdict.findings[0].best, "rope_scale") << test::text_of(verdict.findings[0]);
}

}  // namespace
}  // namespace greta
