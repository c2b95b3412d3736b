// RoPE at a wrong position, with wrong frequencies, or on the wrong pairs.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "fault/bank.h"

namespace greta {
namespace {

/// How a twin turns. The right one: all as it stands, with the model's values.
struct Turn {
  double position_factor = 1;
  double position_offset = 0;
  double base_factor = 1;
  double dims_share = 1;  // of the rotated dims
  double sine = 1;
  bool other_pairs = false;              // halves where the model has adjacent pairs, or the other way round
  bool reversed_base = false;            // pair i has the last-but-i frequency
  bool again = false;                    // turns what is already turned
  double length = 1;                     // times the op's magnitude
  bool first_part = false;               // the first dims of a head turn, where the model's last do
  std::vector<double> frequencies = {};  // in radians; none: the op's own
};

/// The op's own frequency of a pair, in radians.
double frequency_of(const OpParams& params, int64_t pair) {
  const double turns =
      static_cast<double>(params.rope_turns[2 * pair]) + static_cast<double>(params.rope_turns[2 * pair + 1]);
  return 2 * std::numbers::pi * turns;
}

void turn_head(const Turn& turn, const OpParams& params, double position, const float* in, float* out) {
  std::copy_n(in, params.head_dim, out);
  const int64_t dims = static_cast<int64_t>(static_cast<double>(params.rope_dims) * turn.dims_share);
  const int64_t all_pairs = params.rope_dims / 2;
  const bool halves = params.rope_adjacent == turn.other_pairs;
  for (int64_t pair = 0; pair < dims / 2; ++pair) {
    const int64_t index = turn.reversed_base ? all_pairs - 1 - pair : pair;
    const double frequency =
        (turn.frequencies.empty() ? frequency_of(params, index)
                                  : turn.frequencies[static_cast<size_t>(index)]) *
        std::pow(turn.base_factor, -2 * static_cast<double>(index) / static_cast<double>(params.rope_dims));
    const double length = turn.length * static_cast<double>(params.scale);
    const double cos = length * std::cos(position * frequency),
                 sin = length * turn.sine * std::sin(position * frequency);
    const int64_t first = turn.first_part ? 0 : params.rope_first;
    const int64_t a = first + (halves ? pair : 2 * pair),
                  b = first + (halves ? pair + dims / 2 : 2 * pair + 1);
    const double x = static_cast<double>(in[a]), y = static_cast<double>(in[b]);
    out[a] = static_cast<float>(x * cos - y * sin);
    out[b] = static_cast<float>(y * cos + x * sin);
  }
}

Wrong turning(Turn turn) {
  return [turn](const WrongCall& call) {
    const KernelArgs& args = call.args;
    const Rows source = as_f32(turn.again ? args.out : args.in[0], args.out.cols);
    for (int64_t r = 0; r < args.out.rows; ++r) {
      const double position =
          turn.position_factor * static_cast<double>(args.position + r) + turn.position_offset;
      for (int64_t h = 0; h < args.out.cols; h += args.params.head_dim) {
        turn_head(turn, args.params, position, source.view.row(r) + h, args.out.row(r) + h);
      }
    }
  };
}

MakeWrong turned(Turn turn) {
  return [turn](TwinSite&) { return turning(turn); };
}

/// The model's base times 1 + size. (Of YaRN, whose borders go with the base, no such twin is made.)
Wrong change_base(TwinSite& site) {
  if (site.config().layer(site.op.layer).yarn.factor != 1) return {};
  return turning({.base_factor = 1 + site.size});
}

/// Each pair's frequency as a wrong YaRN has it: of (unstretched, the op's own).
using Stretch = double (*)(double plain, double own, double factor);

template <Stretch stretch>
Wrong stretched(const TwinSite& site, double length) {
  const LayerConfig& layer = site.config().layer(site.op.layer);
  if (layer.yarn.factor == 1) return {};
  Turn turn{.length = length};
  const OpParams& params = site.call().params;
  for (int64_t pair = 0; pair < params.rope_dims / 2; ++pair) {
    const double exponent = -2 * static_cast<double>(pair) / static_cast<double>(params.rope_dims);
    const double plain = layer.rope_scale * std::pow(layer.rope_base, exponent);
    turn.frequencies.push_back(stretch(plain, frequency_of(params, pair), layer.yarn.factor));
  }
  return turning(turn);
}

double left_alone(double plain, double, double) { return plain; }
double all_slowed(double plain, double, double factor) { return plain / factor; }
double other_way_round(double plain, double own, double factor) { return plain + plain / factor - own; }

Wrong yarn_ignored(TwinSite& site) {
  return stretched<left_alone>(site, 1 / static_cast<double>(site.call().params.scale));
}
Wrong yarn_linear(TwinSite& site) { return stretched<all_slowed>(site, 1); }
Wrong yarn_reversed(TwinSite& site) { return stretched<other_way_round>(site, 1); }

double factor_of(const Tensor& table, int64_t pair) {
  float value;
  std::memcpy(&value, table.data.data() + static_cast<size_t>(pair) * sizeof value, sizeof value);
  return static_cast<double>(value);
}

/// Frequencies by another table of the model's than its own; nullptr: by none.
Wrong by_table(const TwinSite& site, const Tensor* table) {
  const Tensor& own = *site.engine.model().rope_freqs;
  Turn turn;
  const OpParams& params = site.call().params;
  for (int64_t pair = 0; pair < params.rope_dims / 2; ++pair) {
    const double other = table == nullptr ? 1 : factor_of(*table, pair);
    turn.frequencies.push_back(frequency_of(params, pair) * factor_of(own, pair) / other);
  }
  return turning(turn);
}

Wrong factors_omitted(TwinSite& site) {
  return site.engine.model().rope_freqs == nullptr ? Wrong{} : by_table(site, nullptr);
}

/// LongRoPE's other table.
Wrong other_factors(TwinSite& site) {
  const Model& model = site.engine.model();
  if (model.rope_long == nullptr) return {};
  return by_table(site, model.rope_freqs == model.rope_long ? model.rope_short : model.rope_long);
}

Wrong magnitude_omitted(TwinSite& site) {
  const double magnitude = static_cast<double>(site.call().params.scale);
  return magnitude == 1 ? Wrong{} : turning({.length = 1 / magnitude});
}
Wrong magnitude_twice(TwinSite& site) {
  const double magnitude = static_cast<double>(site.call().params.scale);
  return magnitude == 1 ? Wrong{} : turning({.length = magnitude});
}

}  // namespace

FaultList rope_faults() {
  const std::string zero = kGitHub + "Blaizzy/mlx-vlm/pull/1993",
                    merged = kGitHub + "scouzi1966/maclocal-api/issues/92";
  const std::string identity = kGitHub + "1bit-MONSTER/1bit-MONSTER/issues/2052";
  const std::string lost = kGitHub + "turboderp-org/exllamav3/issues/259",
                    squared = kGitHub + "sgl-project/sglang/pull/33558", madeup = kMadeUp;
  const auto of_yarn = [&](const char* name, const char* kind, Stage stage, const char* what,
                           const std::string& source, MakeWrong make) {
    return needing(Needs::yarn, Fault{name, kind, stage, what, source, kind, std::move(make)});
  };
  const auto with_length = [](const char* name, Stage stage, const char* what, const std::string& source,
                              MakeWrong make) {
    const char* kind = "rope_magnitude";
    return needing(Needs::rope_length, Fault{name, kind, stage, what, source, kind, std::move(make)});
  };
  const auto with_tables = [&](const char* name, Stage stage) {
    const char* kind = "rope_factors";
    return needing(Needs::long_rope, Fault{name, kind, stage, "LongRoPE's other table of factors",
                                           kGitHub + "lablup/mlxcel/issues/1358", kind, other_factors});
  };
  const std::string style = kGitHub + "kekzl/imp/pull/503", scaling = kGitHub + "Blaizzy/mlx-vlm/pull/1710";
  const auto rope = [&](const char* name, const char* kind, Stage stage, const char* what,
                        const std::string& source,
                        Turn turn) { return Fault{name, kind, stage, what, source, kind, turned(turn)}; };
  const auto base = [&](const char* name, Stage stage) {
    return Fault{name,    "rope_base", stage,       "another base (1.5 times the model's; by=0.5)",
                 scaling, "rope_base", change_base, 0.5};
  };
  return {
      rope("q_rope_next", "rope_position", Stage::q_rope, "at position + 1", merged, {.position_offset = 1}),
      rope("k_rope_next", "rope_position", Stage::k_rope, "at position + 1", merged, {.position_offset = 1}),
      rope("q_rope_previous", "rope_position", Stage::q_rope, "at position - 1", merged,
           {.position_offset = -1}),
      rope("q_rope_zero", "rope_omitted", Stage::q_rope, "always at position 0", zero,
           {.position_factor = 0}),
      rope("k_rope_constant", "rope_position", Stage::k_rope, "always at position 3", zero,
           {.position_factor = 0, .position_offset = 3}),
      base("q_rope_base", Stage::q_rope),
      base("k_rope_base", Stage::k_rope),
      rope("q_rope_halves", "rope_style", Stage::q_rope, "pairs (i, i + d/2), not (2i, 2i + 1)", style,
           {.other_pairs = true}),
      rope("k_rope_halves", "rope_style", Stage::k_rope, "pairs (i, i + d/2), not (2i, 2i + 1)", style,
           {.other_pairs = true}),
      rope("k_rope_twice", "rope_twice", Stage::k_rope, "applied twice", merged, {.again = true}),
      rope("k_rope_omitted", "rope_omitted", Stage::k_rope, "not applied", identity, {.dims_share = 0}),
      rope("q_rope_half_dims", "rope_dims", Stage::q_rope, "only the first half of the dims turns", kMadeUp,
           {.dims_share = 0.5}),
      rope("q_rope_scaled", "rope_scale", Stage::q_rope, "position * 0.5: linear scaling that is not there",
           scaling, {.position_factor = 0.5}),
      rope("k_rope_scaled", "rope_scale", Stage::k_rope, "position / 8: linear scaling that is not there",
           scaling, {.position_factor = 0.125}),
      rope("q_rope_inverse", "rope_inverse", Stage::q_rope, "turns the other way", kMadeUp, {.sine = -1}),
      {"k_rope_reversed", "rope_table_order", Stage::k_rope, "the frequency table is read from its end",
       kGitHub + "vllm-project/vllm-ascend/pull/16929", "", turned({.reversed_base = true})},
      of_yarn("q_rope_yarn_ignored", "rope_yarn", Stage::q_rope, "RoPE without the model's YaRN", madeup,
              yarn_ignored),
      of_yarn("k_rope_yarn_linear", "rope_yarn", Stage::k_rope,
              "all pairs are slowed down, not the slow ones alone", madeup, yarn_linear),
      of_yarn("q_rope_yarn_reversed", "rope_yarn", Stage::q_rope, "the fast pairs are slowed down", madeup,
              yarn_reversed),
      with_length("q_rope_magnitude_omitted", Stage::q_rope, "without the factor of cosines and sines", lost,
                  magnitude_omitted),
      with_length("k_rope_magnitude_twice", Stage::k_rope, "the factor of cosines and sines twice", squared,
                  magnitude_twice),
      needing(Needs::rope_factors, Fault{"q_rope_factors_omitted", "rope_factors", Stage::q_rope,
                                         "without the model's factors of frequencies (llama3, longrope)",
                                         scaling, "rope_factors", factors_omitted}),
      needing(Needs::latent,
              rope("q_rope_first_part", "rope_part", Stage::q_rope,
                   "the first dims of a head turn, not the last", madeup, {.first_part = true})),
      with_tables("q_rope_other_factors", Stage::q_rope),
      with_tables("k_rope_other_factors", Stage::k_rope),
  };
}

}  // namespace greta
