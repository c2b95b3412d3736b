#include "report/stored_verdict.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/archive.h"
#include "io/json_fields.h"
#include "verdict/error_picture_json.h"

NLOHMANN_JSON_NAMESPACE_BEGIN
template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& to, const std::optional<T>& from) {
    if (from) {
      to = *from;
    } else {
      to = nullptr;
    }
  }
  static void from_json(const json& from, std::optional<T>& to) {
    if (!from.is_null()) to = from.get<T>();
  }
};
template <class T>
struct adl_serializer<std::shared_ptr<const T>> {
  static void to_json(json& to, const std::shared_ptr<const T>& from) {
    if (from != nullptr) {
      to = *from;
    } else {
      to = nullptr;
    }
  }
  static void from_json(const json& from, std::shared_ptr<const T>& to) {
    if (!from.is_null()) to = std::make_shared<const T>(from.get<T>());
  }
};
NLOHMANN_JSON_NAMESPACE_END

namespace greta {
namespace {

/// Enumerators by number; the last of each says which there are. In another version they may mean something
/// else: hence its name in the file.
template <class E>
constexpr E kLast = E{};
template <>
constexpr Stage kLast<Stage> = Stage::logits;
template <>
constexpr Phase kLast<Phase> = Phase::decode;
template <>
constexpr Phases kLast<Phases> = Phases::both;
template <>
constexpr PairStatus kLast<PairStatus> = PairStatus::missing;
template <>
constexpr RunStatus kLast<RunStatus> = RunStatus::vacuous;
template <>
constexpr CauseFamily kLast<CauseFamily> = CauseFamily::plan;
template <>
constexpr Cause kLast<Cause> = Cause::named;
template <>
constexpr HeldUp kLast<HeldUp> = HeldUp::no_other_row;
template <>
constexpr FlagKind kLast<FlagKind> = FlagKind::undeclared_arithmetic;
template <>
constexpr OpStatus kLast<OpStatus> = OpStatus::unmeasured;
template <>
constexpr KernelArithmetic::Source kLast<KernelArithmetic::Source> = KernelArithmetic::Source::inferred;

}  // namespace

template <class E>
requires std::is_enum_v<E>
void to_json(nlohmann::json& to, const E& from) { to = static_cast<int>(from); }
template <class E>
requires std::is_enum_v<E>
void from_json(const nlohmann::json& from, E& to) {
  const int number = from.get<int>();
  if (number < 0 || number > static_cast<int>(kLast<E>)) fail_input("{} names nothing", number);
  to = static_cast<E>(number);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Text, en, es)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CellKey, experiment, prompt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PairMetrics, count, bit_equal, differing, first_differing, mae, max_abs,
                                   rel_l2, cosine, norm_ratio, max_ulp)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StagePair, cell, phase, layer, stage, status, metrics, head_mae,
                                   hash_prefill, hash_decode, judged_alone, noise_ratio, noise_ratio_prefill,
                                   noise_ratio_decode, why)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RuledOut, hypothesis, explained_residual)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Intervention, mismatch_removed, mismatch_before, mismatch_after,
                                   logits_before, logits_after, prompt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Deviation, phase, length, layer, position, what, element, expected,
                                   observed)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Difference, cause, told, first)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Factor, stages, attributes, wrong_values, wrong, right)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Finding, phase, layer, stage, cells, prompts_that_cannot_show, cause,
                                   sought, family, best, held_up, nearest, title, explained_residual,
                                   runner_up, runner_up_residual, hypothesis_noise_ratio, by_arithmetic,
                                   ruled_out, pattern, gap, intervention, noise_ratio, noise_ratio_prefill,
                                   noise_ratio_decode, mae, difference, kernels, scope)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProjectionSeen, mae, route, kernel)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Cell, key, verdict, prompt_tokens, q, k, v, attn_norm_mae,
                                   attn_norm_hash_prefill, attn_norm_hash_decode, prefill_q_kernel,
                                   force_route, force_gemm, paired, attested, logits_top1_agree, logits_kl,
                                   logits_margin, pairs_equal, pairs_rounding, pairs_fault, pairs_propagated,
                                   max_noise_ratio, has_first_difference, first_layer, first_stage)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Flag, kind, cell, why)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(UntestedWrite, cell, layers, recorded)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KernelArithmetic, phase, stages, weight_type, what, source)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RouteDifference, stages, weight_type, prefill, decode, mae)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StageNoise, phase, layer, stage, ratio, cell, kernel, route, arithmetic,
                                   picture)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Coverage, recorded, judged, propagated, alone, skipped)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TrustedValue, what, used, instead, more, error)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Trust, tokens, loss, chance, others)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Exercise, seed, held, prompts, first_tokens, own_tokens, blocks, threads,
                                   judged, steps, caches, equal, unvouched, not_exercised, trust)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JudgedOp, op, name, kernel, phase, layer, status, recorded, wrong,
                                   unmeasured, noise_ratio, arithmetic, why, hypothesis, title,
                                   explained_residual)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Verdict, status, aligned, engine, engine_version, model_name, model_file,
                                   model_hash, device, isa, kv_format, threads, command_line, date, injected,
                                   layers, cells, pairs, noise, findings, factors, flags, untested_writes,
                                   arithmetic, route_differences, ops, coverage, seconds, bundle, directory,
                                   exercise)

namespace report {
namespace {

// Changes with what a verdict holds.
constexpr const char* kStored = "greta.stored/1 " GRETA_VERSION;

std::string stored_in_archive(const std::string& path) {
  const auto files =
      read_archive(path, [](const std::string& name) { return name.ends_with(kStoredVerdict); });
  if (files.empty()) return "";
  const std::vector<std::byte>& bytes = files.begin()->second;
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string stored_in_directory(const std::string& path) {
  const std::string file = path + "/" + kStoredVerdict;
  std::error_code none;
  if (!std::filesystem::exists(file, none)) return "";
  return std::string(MappedFile(file).text());
}

}  // namespace

std::string stored_verdict(const Verdict& verdict) {
  std::string bytes;
  nlohmann::json::to_cbor({{"schema", kStored}, {"verdict", verdict}}, bytes);
  return bytes;
}

Verdict verdict_from_stored(std::string_view bytes, const std::string& where) {
  const nlohmann::json file = parse_cbor(bytes, where);
  try {
    if (const std::string schema = file.at("schema"); schema != kStored)
      fail_input("was written by another version ({}; this is {})", schema, kStored);
    return file.at("verdict").get<Verdict>();
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: is no stored verdict: {}", where, error.what());
  } catch (const Error& error) {
    fail_input("{}: {}; judge it again: greta diagnose BUNDLE -m MODEL --out DIR", where, error.what());
  }
}

Verdict read_verdict(const std::string& path) {
  std::error_code none;
  if (!std::filesystem::exists(path, none)) fail_input("{}: no such directory or bundle", path);
  const std::string bytes =
      std::filesystem::is_directory(path, none) ? stored_in_directory(path) : stored_in_archive(path);
  if (bytes.empty())
    fail_input("{}: holds no verdict ({}); judge it: greta diagnose {} -m MODEL --out DIR, or give -m", path,
               kStoredVerdict, path);
  return verdict_from_stored(bytes, path + "/" + kStoredVerdict);
}

}  // namespace report
}  // namespace greta
