#include "verdict/verdict.h"

#include <fmt/format.h>

#include <iterator>

namespace greta {

std::string_view name(PairStatus status) {
  switch (status) {
    case PairStatus::equal: return "EQUAL";
    case PairStatus::rounding: return "ROUNDING";
    case PairStatus::fault: return "FAULT";
    case PairStatus::propagated: return "PROPAGATED";
    case PairStatus::missing: return "MISSING";
  }
  return "?";
}

std::string_view name(RunStatus status) {
  switch (status) {
    case RunStatus::equal: return "EQUAL";
    case RunStatus::rounding: return "ROUNDING";
    case RunStatus::fault: return "FAULT";
    case RunStatus::inert_factor: return "INERT_FACTOR";
    case RunStatus::harness_suspect: return "HARNESS_SUSPECT";
    case RunStatus::undeclared_arithmetic: return "UNDECLARED_ARITHMETIC";
    case RunStatus::vacuous: return "VACUOUS";
    case RunStatus::inconclusive: return "INCONCLUSIVE";
  }
  return "?";
}

std::string_view name(FlagKind kind) {
  switch (kind) {
    case FlagKind::inert_factor: return name(RunStatus::inert_factor);
    case FlagKind::vacuous: return name(RunStatus::vacuous);
    case FlagKind::harness_suspect: return name(RunStatus::harness_suspect);
    case FlagKind::undeclared_arithmetic: return name(RunStatus::undeclared_arithmetic);
  }
  return "?";
}

std::string_view name(KernelArithmetic::Source source) {
  switch (source) {
    case KernelArithmetic::Source::by_default: return "default";
    case KernelArithmetic::Source::declared: return "declared";
    case KernelArithmetic::Source::inferred: return "inferred";
  }
  return "?";
}

std::string_view name(OpStatus status) {
  switch (status) {
    case OpStatus::within: return "WITHIN";
    case OpStatus::fault: return "FAULT";
    case OpStatus::unmeasured: return "UNMEASURED";
  }
  return "?";
}

std::string_view name(HeldUp held_up) {
  switch (held_up) {
    case HeldUp::nothing_estimated: return "nothing estimated";
    case HeldUp::yes: return "yes";
    case HeldUp::no: return "no";
    case HeldUp::no_other_row: return "no other row";
  }
  return "?";
}

std::string_view Finding::hypothesis() const {
  switch (cause) {
    case Cause::unexplained: return "unexplained";
    case Cause::ambiguous: return "ambiguous";
    case Cause::named: return best;
  }
  return "?";
}

namespace {

/// A model foresees text better by what it was made with.
void doubt(const Trust& trust, Verdict& verdict) {
  for (const TrustedValue& value : trust.others) {
    if (!trust.doubts(value)) continue;
    verdict.flags.push_back(
        {FlagKind::harness_suspect,
         {},
         fmt::format(
             "GRETA's own: with {} {} in the place of {}, as the file was read, the loss of {} tokens is "
             "lower by {:.2f} nats each",
             value.what.en, value.instead, value.used, trust.tokens, -value.more)});
    if (is_clean(verdict.status)) verdict.status = RunStatus::harness_suspect;
  }
}

}  // namespace

Verdict completed(Verdict judged, Completion completion) {
  if (completion.confirmed) judged.findings = std::move(*completion.confirmed);
  judged.directory = std::move(completion.directory);
  judged.seconds = completion.seconds;
  judged.exercise = std::move(completion.exercise);
  if (judged.exercise) doubt(judged.exercise->trust, judged);
  if (!completion.differences.empty()) judged.status = RunStatus::fault;
  std::move(completion.differences.begin(), completion.differences.end(),
            std::back_inserter(judged.findings));
  return judged;
}

}  // namespace greta
