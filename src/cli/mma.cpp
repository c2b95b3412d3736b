#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/safetensors.h"
#include "sim/evaluate.h"

namespace greta::cli {
namespace {

struct MmaOptions {
  CommonOptions common;
  std::string instruction, in, out;
};

using units::Element;
using units::Instruction;
using Tensors = std::map<std::string, TensorView>;

std::string text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// Dtypes that may hold the bits of an element.
std::vector<std::string_view> dtypes(Element element) {
  switch (element) {
    case Element::f32:
    case Element::tf32: return {"F32"};
    case Element::f16: return {"I16", "U16", "F16"};
    case Element::bf16: return {"I16", "U16", "BF16"};
    default: return {"U8", "I8"};
  }
}

/// What stands before "A", "Bt" and "C" in the names: "" or "CASE/". Of a file with cases of several
/// instructions, those of this one.
std::set<std::string> cases(const MmaOptions& options, const Tensors& tensors) {
  std::set<std::string> all, own;
  for (const auto& [key, tensor] : tensors) {
    const size_t leaf = key.rfind('/') == std::string::npos ? 0 : key.rfind('/') + 1;
    const std::string name = key.substr(leaf), prefix = key.substr(0, leaf);
    if (name != "A" && name != "Bt" && name != "C") continue;
    all.insert(prefix);
    if (prefix.rfind(options.instruction + "/", 0) == 0) own.insert(prefix);
  }
  if (all.empty()) fail_input("{}: has no tensors A, Bt and C (nor CASE/A, ...)", options.in);
  if (!own.empty()) return own;
  for (const Instruction& row : units::instructions()) {
    for (const std::string& prefix : all) {
      if (prefix.rfind(row.full_name() + "/", 0) != 0) continue;
      fail_input("{}: has cases of {}, none of {}", options.in, row.full_name(), options.instruction);
    }
  }
  return all;
}

/// One operand of a case, its dtype and shape checked: [..., rows, cols].
const TensorView& operand(const MmaOptions& options, const Tensors& tensors, const std::string& name,
                          Element element, int rows, int cols) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail_input("{}: tensor \"{}\" is missing", options.in, name);
  const TensorView& tensor = found->second;
  const auto known = dtypes(element);
  if (std::find(known.begin(), known.end(), tensor.dtype) == known.end()) {
    fail_input("{}: tensor \"{}\" is {}; {} takes the bits of {} as {}", options.in, name, tensor.dtype,
               options.instruction, info(element).name, fmt::join(known, " or "));
  }
  const auto& shape = tensor.shape;
  const size_t rank = shape.size();
  if (rank < 2 || shape[rank - 2] != rows || shape[rank - 1] != cols) {
    fail_input("{}: tensor \"{}\" has shape {}; {} takes [..., {}, {}]", options.in, name, text(shape),
               options.instruction, rows, cols);
  }
  return tensor;
}

struct Case {
  const TensorView *a, *bt, *c;
  int64_t batches;
};

Case find_case(const MmaOptions& options, const Instruction& row, const Tensors& tensors,
               const std::string& prefix) {
  const Case found{&operand(options, tensors, prefix + "A", row.a, row.m, row.k),
                   &operand(options, tensors, prefix + "Bt", row.b, row.n, row.k),
                   &operand(options, tensors, prefix + "C", row.c, row.m, row.n), 0};
  const auto leading = [](const TensorView& tensor) {
    return std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end() - 2);
  };
  for (const TensorView* other : {found.bt, found.c}) {
    if (leading(*other) != leading(*found.a)) {
      fail_input("{}: \"{}A\", \"{}Bt\" and \"{}C\" have different numbers of matrices: {}, {} and {}",
                 options.in, prefix, prefix, prefix, text(found.a->shape), text(found.bt->shape),
                 text(found.c->shape));
    }
  }
  return {found.a, found.bt, found.c, found.a->count / (row.m * row.k)};
}

NamedBytes evaluate(const Instruction& row, sim::Form form, const Case& one, const std::string& prefix) {
  const bool c_is_d = row.c == row.d;
  NamedBytes d{prefix + "D", c_is_d ? one.c->dtype : "F32", one.c->shape, {}};
  const auto part = [&](const TensorView& tensor, int64_t i) {
    const size_t size = tensor.bytes.size() / static_cast<size_t>(one.batches);
    return tensor.bytes.subspan(static_cast<size_t>(i) * size, size);
  };
  for (int64_t i = 0; i < one.batches; ++i) {
    const auto result = sim::evaluate(row, form, part(*one.a, i), part(*one.bt, i), part(*one.c, i));
    d.data.insert(d.data.end(), result.begin(), result.end());
  }
  return d;
}

/// Outputs compared with a file's own D (or D_h100, ...): another machine's answers.
struct Agreement {
  int64_t outputs = 0, equal = 0;
  std::vector<std::string> differences;  // the first ones
};

constexpr size_t kShownDifferences = 8;

void compare(const Instruction& row, const NamedBytes& d, const std::string& name, const TensorView& recorded,
             Agreement& agreement) {
  if (recorded.bytes.size() != d.data.size() || recorded.shape != d.shape) return;
  const auto width = static_cast<size_t>(info(row.d).bytes);
  for (size_t i = 0; i < d.data.size(); i += width) {
    ++agreement.outputs;
    if (std::memcmp(d.data.data() + i, recorded.bytes.data() + i, width) == 0) {
      ++agreement.equal;
    } else if (agreement.differences.size() < kShownDifferences) {
      uint32_t model = 0, other = 0;
      std::memcpy(&model, d.data.data() + i, width);
      std::memcpy(&other, recorded.bytes.data() + i, width);
      agreement.differences.push_back(fmt::format("{}[{}]: recorded {:#0{}x}, model {:#0{}x}", name,
                                                  i / width, other, 2 * width + 2, model, 2 * width + 2));
    }
  }
}

/// Of CASE = UNIT.INSTRUCTION/DISTRIBUTION/..., the distribution; "" of another name.
std::string distribution(const MmaOptions& options, const std::string& prefix) {
  if (prefix.rfind(options.instruction + "/", 0) != 0) return "";
  const size_t begin = options.instruction.size() + 1;
  return prefix.substr(begin, prefix.find('/', begin) - begin);
}

/// By name ("D", "D_h100"), then by distribution.
using Agreements = std::map<std::string, std::map<std::string, Agreement>>;

void print(const Agreements& agreements, Context& context) {
  for (const auto& [name, groups] : agreements) {
    say("{} of the input, outputs with the same bits:\n", name);
    for (const auto& [group, agreement] : groups) {
      say("  {:<12} {:>9} of {}\n", group.empty() ? "all" : group, agreement.equal, agreement.outputs);
      for (const std::string& difference : agreement.differences) say("    {}\n", difference);
      const int64_t more =
          agreement.outputs - agreement.equal - static_cast<int64_t>(agreement.differences.size());
      if (more > 0) say("    and {} more: compare with the file written\n", more);
      if (agreement.equal != agreement.outputs) context.exit_code = 1;
    }
  }
}

sim::Form form_of(Isa isa) {
  return isa == Isa::scalar ? sim::Form::scalar : isa == Isa::avx2 ? sim::Form::avx2 : sim::Form::avx512;
}

void run_mma(const MmaOptions& options, Context& context) {
  const Instruction& row = units::find_instruction(options.instruction);
  const sim::Form form = form_of(chosen_isa(options.common, context.environment));
  const MappedFile file(options.in);
  const Tensors tensors = parse_safetensors(file.bytes(), options.in);
  std::vector<NamedBytes> results;
  Agreements agreements;
  int64_t outputs = 0;
  for (const std::string& prefix : cases(options, tensors)) {
    const Case one = find_case(options, row, tensors, prefix);
    results.push_back(evaluate(row, form, one, prefix));
    outputs += one.c->count;
    for (auto it = tensors.lower_bound(prefix + "D"); it != tensors.end(); ++it) {
      if (it->first.rfind(prefix + "D", 0) != 0) break;
      const std::string name = it->first.substr(prefix.size());
      if (name == "D" || name.rfind("D_", 0) == 0)
        compare(row, results.back(), it->first, it->second, agreements[name][distribution(options, prefix)]);
    }
  }
  replace_file(
      options.out, [&](OutputFile& out) { write_safetensors(out, std::span<const NamedBytes>(results)); },
      ErrorKind::input);
  say("{}: {} cases, {} outputs: {}\n", row.full_name(), results.size(), outputs, describe_rule(row));
  print(agreements, context);
}

}  // namespace

void add_mma(Program& program, Context& context) {
  auto options = std::make_shared<MmaOptions>();
  Command command = program.command("mma", "one instruction of a GPU's matrix unit, bit for bit");
  command.option("INSTRUCTION", options->instruction, "UNIT.INSTRUCTION; greta info --units lists them")
      .required();
  command.option("--in", options->in, "A [m, k], Bt [n, k], C [m, n]; or CASE/A, ...")
      .required()
      .takes("FILE");
  command.option("--out", options->out, "safetensors: D [m, n]; or CASE/D, ...").required().takes("FILE");
  command.option("--isa", options->common.isa, "scalar, avx2, avx512: all give the same bits").takes("ISA");
  command.footer(
      "Narrow formats as bits: I16, U8. A D (or D_...) in the input is compared:\n"
      "exit code 1 if a bit differs.\n"
      "Example:\n  greta mma cdna3.mfma.f32_16x16x16_bf16 --in in.safetensors --out d.safetensors");
  command.on_run([options, &context] { run_mma(*options, context); });
}

}  // namespace greta::cli
