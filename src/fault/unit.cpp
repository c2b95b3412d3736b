// Matrix units whose arithmetic is not their rule's: only a device that models a unit bit for bit shows them.

#include "fault/bank.h"
#include "units/instruction.h"

namespace greta {
namespace {

/// The op's kernel with the unit changed by `change`. Ops of the device's vector lanes stay right.
template <class Change>
MakeWrong with_unit(Change change) {
  return [change](TwinSite& site) -> Wrong {
    const KernelInfo& right = *site.call().kernel;
    if (is_simulated(right.device) && right.route == Route::vector) return [](const WrongCall&) {};
    if (right.roundings.unit == nullptr || right.roundings.unit->fraction_bits == 0) return nullptr;
    auto unit = std::make_shared<units::Instruction>(*right.roundings.unit);
    change(*unit);
    auto kernel = std::make_shared<KernelInfo>(right);
    kernel->roundings.unit = unit.get();
    return [unit, kernel](const WrongCall& call) {
      KernelArgs args = call.args;
      args.kernel = kernel.get();
      kernel->run(args, {0, 1});
    };
  };
}

}  // namespace

FaultList unit_faults() {
  const auto on_unit = [](const char* name, const char* fault_class, const char* what, MakeWrong make) {
    return needing(Needs::matrix_unit,
                   {name, fault_class, Stage::q, what, kMadeUp, fault_class, std::move(make)});
  };
  return {
      on_unit("accumulator_bits_minus1", "accumulator_bits",
              "the matrix unit's aligned sum keeps one fractional bit less",
              with_unit([](units::Instruction& unit) { unit.fraction_bits -= 1; })),
      on_unit("accumulator_bits_minus2", "accumulator_bits",
              "the matrix unit's aligned sum keeps two fractional bits less",
              with_unit([](units::Instruction& unit) { unit.fraction_bits -= 2; })),
      on_unit("accumulator_nearest", "accumulator_rounding",
              "the matrix unit rounds to nearest where it ought to truncate or floor",
              with_unit([](units::Instruction& unit) { unit.nearest = true; })),
  };
}

}  // namespace greta
