#include "model/checkpoint/quantised.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/parallel.h"
#include "io/json_fields.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

using nlohmann::json;

constexpr int64_t kWord = 32;  // bits of the integers that codes are packed in
constexpr int kThreads = 4;

/// The last two extents; those before count matrices.
struct Shape {
  int64_t matrices = 1, rows = 1, columns = 1;
};

Shape shape_of(const TensorView& view) {
  Shape shape;
  const size_t n = view.shape.size();
  if (n >= 1) shape.columns = view.shape[n - 1];
  if (n >= 2) shape.rows = view.shape[n - 2];
  for (size_t d = 0; d + 2 < n; ++d) shape.matrices *= view.shape[d];
  return shape;
}

/// What each byte stands for.
const std::vector<float>& e4m3_values() {
  static const std::vector<float> values = [] {
    std::array<std::byte, 256> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::byte>(i);
    return to_floats({"F8_E4M3", {256}, 256, all});
  }();
  return values;
}

constexpr std::array<double, 16> kE2m1 = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

uint8_t byte_at(const TensorView& view, int64_t i) {
  return static_cast<uint8_t>(view.bytes[static_cast<size_t>(i)]);
}

uint32_t word_at(const TensorView& view, int64_t i) {
  uint32_t word;
  std::memcpy(&word, view.bytes.data() + i * 4, sizeof word);
  return word;
}

/// The `at`-th code of `bits` in a word, from the lowest.
int64_t code_in(uint32_t word, int64_t at, int64_t bits) {
  return word >> (at * bits) & ((uint32_t{1} << bits) - 1);
}

/// Which of a matrix's scales is that of an element.
struct Scales {
  std::vector<float> values;
  int64_t matrices = 1, rows = 1, columns = 1;  // how many there are
  int64_t block_rows = 1, block_columns = 1;    // of elements that share one

  double at(int64_t matrix, int64_t r, int64_t k) const {
    const int64_t row = std::min(r / block_rows, rows - 1), column = std::min(k / block_columns, columns - 1);
    const int64_t own = matrices == 1 ? 0 : matrix;
    return static_cast<double>(values[static_cast<size_t>((own * rows + row) * columns + column)]);
  }
};

/// Reads what one quantization_config says.
class Decoder {
 public:
  Decoder(const json& config, const std::string& where, Storage& storage, TensorTable& tensors)
      : config_(config), where_(where + ": quantization_config"), storage_(storage), tensors_(tensors) {}

  void run() {
    const Fields fields(config_, where_);
    method_ = fields.text_or("quant_method", "a method without a name");
    const Method* method = find(method_);
    if (method == nullptr)
      fail_input(
          "{}: the weights are quantised by {}; GRETA reads {} (or take the model that this one was made "
          "from, or a GGUF of it)",
          where_, excerpt(method_), known());
    (this->*method->check)(fields);
    std::vector<std::string> names;
    for (const auto& [name, stored] : tensors_) {
      if (method->is_codes(name, stored.view)) names.push_back(name);
    }
    if (names.empty() && fields.text_or("format", "") != "dense")
      fail_input("{}: says that the weights are quantised by {}, and no tensor is stored so", where_,
                 excerpt(method_));
    for (const std::string& name : names) {
      if (tensors_.at(name).view.count == 0) fail(name, "is empty");
      (this->*method->decode)(name);
    }
    for (const std::string& name : read_) tensors_.erase(name);
    for (auto& [name, stored] : made_) tensors_.insert_or_assign(name, std::move(stored));
    forget_what_tells_of_activations();
  }

 private:
  struct Method {
    std::string_view name;
    void (Decoder::*check)(const Fields&);
    bool (*is_codes)(const std::string&, const TensorView&);
    void (Decoder::*decode)(const std::string&);
  };

  static const std::array<Method, 6>& methods() {
    static const auto is_fp8 = [](const std::string&, const TensorView& view) {
      return view.dtype == "F8_E4M3";
    };
    static const auto is_packed = [](const std::string& name, const TensorView&) {
      return name.ends_with(".qweight");
    };
    static const auto is_compressed = [](const std::string& name, const TensorView& view) {
      return name.ends_with(".weight_packed") ||
             (name.ends_with(".weight") && (view.dtype == "I8" || view.dtype == "F8_E4M3"));
    };
    static const auto is_blocks = [](const std::string& name, const TensorView&) {
      return name.ends_with("_blocks");
    };
    static const std::array<Method, 6> all{{
        {"fp8", &Decoder::check_fp8, is_fp8, &Decoder::scaled_codes},
        {"fbgemm_fp8", &Decoder::check_fp8, is_fp8, &Decoder::scaled_codes},
        {"gptq", &Decoder::check_gptq, is_packed, &Decoder::gptq},
        {"awq", &Decoder::check_awq, is_packed, &Decoder::awq},
        {"mxfp4", &Decoder::check_mxfp4, is_blocks, &Decoder::mxfp4},
        {"compressed-tensors", &Decoder::check_compressed, is_compressed, &Decoder::compressed},
    }};
    return all;
  }

  static const Method* find(std::string_view name) {
    for (const Method& method : methods()) {
      if (method.name == name) return &method;
    }
    return nullptr;
  }

  static std::string known() {
    std::string names;
    for (const Method& method : methods()) names.append(names.empty() ? "" : ", ").append(method.name);
    return names;
  }

  // What a method may say.

  void demand_word(const Fields& fields, const char* name, std::string fallback,
                   std::initializer_list<std::string_view> words) {
    const std::string word = fields.text_or(name, fallback);
    for (const std::string_view known : words) {
      if (word == known) return;
    }
    fields.fail(name, fmt::format("is \"{}\"; GRETA reads {}", excerpt(word), fmt::join(words, ", ")));
  }

  void check_fp8(const Fields& fields) {
    demand_word(fields, "fmt", "e4m3", {"e4m3"});
    const auto found = config_.find("weight_block_size");
    if (found == config_.end() || found->is_null()) return;
    const std::vector<int64_t> size = fields.integers("weight_block_size", 1, 1 << 20);
    if (size.size() != 2) fields.fail("weight_block_size", "must be two numbers");
    block_rows_ = size[0], block_columns_ = size[1];
  }

  void check_bits(const Fields& fields, std::initializer_list<int64_t> known) {
    bits_ = fields.integer_or("bits", 1, kWord, fields.integer_or("w_bit", 1, kWord, 4));
    if (std::find(known.begin(), known.end(), bits_) == known.end())
      fields.fail("bits", fmt::format("is {}; of {} GRETA reads {}", bits_, method_, fmt::join(known, ", ")));
  }

  void check_gptq(const Fields& fields) {
    check_bits(fields, {2, 4, 8});
    demand_word(fields, "checkpoint_format", "gptq", {"gptq", "gptq_v2"});
    // What is stored of a zero is one less (AutoGPTQ's first form).
    zero_offset_ = fields.text_or("checkpoint_format", "gptq") == "gptq" ? 1 : 0;
  }

  void check_awq(const Fields& fields) {
    check_bits(fields, {4});
    demand_word(fields, "version", "gemm", {"gemm", "GEMM"});
  }

  void check_mxfp4(const Fields&) {}

  void check_compressed(const Fields& fields) {
    demand_word(fields, "format", "dense",
                {"dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
                 "mixed-precision"});
    const auto sparse = config_.find("sparsity_config");
    if (sparse != config_.end() && sparse->is_object() && !sparse->empty())
      demand_word(Fields(*sparse, where_ + ".sparsity_config"), "format", "dense", {"dense"});
    const auto groups = config_.find("config_groups");
    if (groups == config_.end() || !groups->is_object()) fields.fail("config_groups", "is missing");
    for (const auto& [name, group] : groups->items()) {
      if (!group.is_object()) fields.fail("config_groups", "holds what is no object");
      const auto found = group.find("weights");
      if (found == group.end() || !found->is_object()) continue;
      const Fields weights(*found, fmt::format("{}.config_groups.{}.weights", where_, excerpt(name)));
      const int64_t bits = weights.integer("num_bits", 1, 8);
      const std::string type = weights.text_or("type", "int");
      if (type != "int" && !(type == "float" && bits == 8))
        weights.fail("type", fmt::format("is \"{}\" of {} bits; GRETA reads int, and float of 8",
                                         excerpt(type), bits));
      packings_.insert(bits);
      const auto blocks = found->find("block_structure");
      if (blocks != found->end() && blocks->is_array()) {
        const std::vector<int64_t> size = weights.integers("block_structure", 1, 1 << 20);
        if (size.size() != 2) weights.fail("block_structure", "must be two numbers");
        block_rows_ = size[0], block_columns_ = size[1];
      }
    }
  }

  // Parts of a matrix.

  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    fail_input("{}: the tensor {} {}", tensors_.at(name).path, excerpt(name), what);
  }

  const TensorView* find_part(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return nullptr;
    if (found->second.view.count == 0) fail(name, "is empty");
    read_.insert(name);
    return &found->second.view;
  }

  const TensorView& part(const std::string& of, const std::string& name) {
    const TensorView* view = find_part(name);
    if (view == nullptr) fail(of, fmt::format("is quantised, and {} is missing", excerpt(name)));
    return *view;
  }

  void demand_shape(const std::string& of, const std::string& name, const TensorView& view,
                    std::vector<int64_t> shape, std::string_view dtype) const {
    if (view.shape == shape && view.dtype == dtype) return;
    fail(of,
         fmt::format("needs {} as {} of {}; it is {} of [{}]", excerpt(name), dtype,
                     fmt::format("[{}]", fmt::join(shape, ", ")), view.dtype, fmt::join(view.shape, ", ")));
  }

  /// One for the matrix, for each row, for blocks as the config says, or for groups along a row.
  Scales scales_of(const std::string& of, const std::string& name, const Shape& shape) {
    const TensorView& view = part(of, name);
    Scales scales{to_floats(view)};
    const Shape own = shape_of(view);
    const auto fits = [&](int64_t matrices, int64_t rows, int64_t columns) {
      if (view.count != matrices * rows * columns) return false;
      scales.matrices = matrices, scales.rows = rows, scales.columns = columns;
      scales.block_rows = (shape.rows + rows - 1) / rows;
      scales.block_columns = (shape.columns + columns - 1) / columns;
      return true;
    };
    const auto blocks = [&](int64_t extent, int64_t size) { return (extent + size - 1) / size; };
    if (block_rows_ > 0) {
      if (fits(shape.matrices, blocks(shape.rows, block_rows_), blocks(shape.columns, block_columns_))) {
        scales.block_rows = block_rows_, scales.block_columns = block_columns_;
        return scales;
      }
    } else if (view.shape.size() >= 2 && own.rows == shape.rows && own.columns >= 1 &&
               shape.columns % own.columns == 0 && fits(shape.matrices, own.rows, own.columns)) {
      return scales;
    } else if (fits(shape.matrices, 1, 1) || fits(shape.matrices, shape.rows, 1) || fits(1, 1, 1)) {
      return scales;
    }
    fail(of, fmt::format("of [{}] has {} of [{}], which does not divide it",
                         fmt::join(tensors_.at(of).view.shape, ", "), excerpt(name),
                         fmt::join(view.shape, ", ")));
  }

  /// An F32 tensor of what value(matrix, row, column) gives.
  template <class Value>
  void make(const std::string& name, const std::string& from, std::vector<int64_t> extents,
            const Value& value) {
    std::vector<float> values;
    TensorView view{"F32", std::move(extents), 0, {}};
    view.count = element_count(view.shape).value_or(0);
    const Shape shape = shape_of(view);
    values.resize(static_cast<size_t>(view.count));
    parallel_for(kThreads, static_cast<size_t>(shape.matrices * shape.rows), [&](size_t i) {
      const auto all = static_cast<int64_t>(i);
      for (int64_t k = 0; k < shape.columns; ++k)
        values[static_cast<size_t>(all * shape.columns + k)] =
            static_cast<float>(value(all / shape.rows, all % shape.rows, k));
    });
    const auto bytes = std::as_bytes(std::span(values));
    view.bytes = storage_.keep(std::vector(bytes.begin(), bytes.end()));
    if (tensors_.contains(name) && name != from) fail(from, fmt::format("is there beside {}", excerpt(name)));
    made_.insert_or_assign(name, StoredTensor{std::move(view), tensors_.at(from).path});
    read_.insert(from);
  }

  static std::string base_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

  // The methods' forms.

  /// fp8, or int8, in the matrix's own shape.
  void scaled_codes(const std::string& name) {
    const TensorView codes = tensors_.at(name).view;
    const std::string inverse = name + "_scale_inv", plain = name + "_scale";
    const Shape shape = shape_of(codes);
    // "inv": what a weight was divided by, and so what gives it back (DeepSeek's config).
    const Scales scales = scales_of(name, tensors_.contains(inverse) ? inverse : plain, shape);
    const bool integers = codes.dtype == "I8";
    Scales zeros = scales;
    std::ranges::fill(zeros.values, 0.0f);
    if (const TensorView* zero = integers ? find_part(name + "_zero_point") : nullptr) {
      if (zero->count != std::ssize(zeros.values)) fail(name, "has not as many zeros as scales");
      zeros.values = to_floats(*zero);
    }
    make(name, name, codes.shape, [&](int64_t matrix, int64_t r, int64_t k) {
      const uint8_t byte = byte_at(codes, (matrix * shape.rows + r) * shape.columns + k);
      const double code =
          integers ? static_cast<double>(static_cast<int8_t>(byte)) : double{e4m3_values()[byte]};
      return (code - zeros.at(matrix, r, k)) * scales.at(matrix, r, k);
    });
  }

  /// GPTQ and AWQ: scales and zeros of [groups, rows]. The number of groups.
  int64_t groups_of(const std::string& name, const std::string& base, int64_t rows) {
    const TensorView& scales = part(name, base + ".scales");
    if (scales.shape.size() != 2 || scales.shape[1] != rows || scales.shape[0] < 1)
      fail(name,
           fmt::format("gives rows of {}, and its scales are [{}]", rows, fmt::join(scales.shape, ", ")));
    demand_shape(name, base + ".qzeros", part(name, base + ".qzeros"),
                 {scales.shape[0], (rows * bits_ + kWord - 1) / kWord}, "I32");
    return scales.shape[0];
  }

  /// Words along a column: qweight [columns * bits / 32, rows] (AutoGPTQ, qlinear_cuda_old.py; GPTQModel).
  void gptq(const std::string& name) {
    const TensorView codes = tensors_.at(name).view;
    const std::string base = base_of(name);
    if (codes.dtype != "I32" || codes.shape.size() != 2) fail(name, "is no matrix of I32");
    const int64_t per_word = kWord / bits_, rows = codes.shape[1], columns = codes.shape[0] * per_word;
    const int64_t groups = groups_of(name, base, rows);
    const std::vector<float> scales = to_floats(part(name, base + ".scales"));
    const TensorView& zeros = part(name, base + ".qzeros");
    std::vector<int64_t> group(static_cast<size_t>(columns));
    const TensorView* listed = find_part(base + ".g_idx");
    if (listed != nullptr && (listed->dtype != "I32" || listed->count != columns))
      fail(name, fmt::format("has a g_idx of {} numbers for {} columns", listed->count, columns));
    if (listed == nullptr && columns % groups != 0)
      fail(name, fmt::format("cuts {} columns into {} groups", columns, groups));
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t own = listed == nullptr ? k / (columns / groups) : int64_t{word_at(*listed, k)};
      if (own >= groups) fail(name, fmt::format("puts column {} into group {} of {}", k, own, groups));
      group[static_cast<size_t>(k)] = own;
    }
    const int64_t zero_words = zeros.shape[1];
    make(base + ".weight", name, {rows, columns}, [&](int64_t, int64_t r, int64_t k) {
      const int64_t own = group[static_cast<size_t>(k)];
      const int64_t code = code_in(word_at(codes, k / per_word * rows + r), k % per_word, bits_);
      const int64_t zero =
          code_in(word_at(zeros, own * zero_words + r / per_word), r % per_word, bits_) + zero_offset_;
      return static_cast<double>(code - zero) *
             static_cast<double>(scales[static_cast<size_t>(own * rows + r)]);
    });
  }

  /// Words along a row of the transposed matrix: qweight [columns, rows / 8]; of eight rows the codes lie in
  /// the order 0, 2, 4, 6, 1, 3, 5, 7 (AutoAWQ, utils/packing_utils.py).
  void awq(const std::string& name) {
    constexpr std::array<int64_t, 8> kPlace = {0, 4, 1, 5, 2, 6, 3, 7};  // of row j of eight
    const TensorView codes = tensors_.at(name).view;
    const std::string base = base_of(name);
    if (codes.dtype != "I32" || codes.shape.size() != 2) fail(name, "is no matrix of I32");
    const int64_t columns = codes.shape[0], words = codes.shape[1], rows = words * 8;
    const int64_t groups = groups_of(name, base, rows);
    if (columns % groups != 0) fail(name, fmt::format("cuts {} columns into {} groups", columns, groups));
    const std::vector<float> scales = to_floats(part(name, base + ".scales"));
    const TensorView& zeros = part(name, base + ".qzeros");
    const int64_t size = columns / groups;
    make(base + ".weight", name, {rows, columns}, [&](int64_t, int64_t r, int64_t k) {
      const int64_t own = k / size, place = kPlace[static_cast<size_t>(r % 8)];
      const int64_t code = code_in(word_at(codes, k * words + r / 8), place, 4);
      const int64_t zero = code_in(word_at(zeros, own * words + r / 8), place, 4);
      return static_cast<double>(code - zero) *
             static_cast<double>(scales[static_cast<size_t>(own * rows + r)]);
    });
  }

  /// X_blocks [.., rows, columns / 32, 16] of e2m1, the even column in the lower half of a byte, and X_scales
  /// [.., rows, columns / 32], of which e stands for 2^(e - 127) (transformers, integrations/mxfp4.py).
  void mxfp4(const std::string& name) {
    const TensorView codes = tensors_.at(name).view;
    const std::string base = name.substr(0, name.size() - std::string_view("_blocks").size());
    const size_t n = codes.shape.size();
    if (codes.dtype != "U8" || n < 3 || codes.shape[n - 1] != 16)
      fail(name, "is no U8 of blocks of 16 bytes");
    std::vector<int64_t> extents(codes.shape.begin(), codes.shape.end() - 1);
    demand_shape(name, base + "_scales", part(name, base + "_scales"), extents, "U8");
    const TensorView& scales = part(name, base + "_scales");
    const int64_t groups = extents.back(), rows = extents[extents.size() - 2];
    extents.back() = groups * 32;
    make(base, name, extents, [&](int64_t matrix, int64_t r, int64_t k) {
      const int64_t block = (matrix * rows + r) * groups + k / 32;
      const uint8_t byte = byte_at(codes, block * 16 + k % 32 / 2);
      const int exponent = byte_at(scales, block);
      const double value = kE2m1[k % 2 == 0 ? byte & 15 : byte >> 4];
      return exponent == 255 ? NAN : std::ldexp(value, exponent - 127);
    });
  }

  /// Codes in the matrix's shape, or packed along a row with half their range added (compressed-tensors,
  /// compressors/pack_quantized).
  void compressed(const std::string& name) {
    if (!name.ends_with("_packed")) return scaled_codes(name);
    const TensorView codes = tensors_.at(name).view;
    const std::string weight = base_of(name) + ".weight";
    const TensorView& listed = part(name, weight + "_shape");
    const std::vector<float> extents = to_floats(listed);
    if (extents.size() != 2 || codes.dtype != "I32" || codes.shape.size() != 2)
      fail(name, "is no matrix of I32 with a weight_shape of two numbers");
    for (const float extent : extents) {
      if (!(extent >= 1 && extent < 1e9f))
        fail(name, fmt::format("has an extent of {} in its weight_shape", extent));
    }
    const auto rows = static_cast<int64_t>(extents[0]), columns = static_cast<int64_t>(extents[1]);
    const auto words = [](int64_t count, int64_t bits) {
      return (count + kWord / bits - 1) / (kWord / bits);
    };
    std::vector<int64_t> fit;
    for (const int64_t bits : packings_) {
      if (codes.shape[0] == rows && codes.shape[1] == words(columns, bits)) fit.push_back(bits);
    }
    if (fit.size() != 1)
      fail(name, fmt::format("of [{}] is no matrix of [{}, {}] by codes of {} bits",
                             fmt::join(codes.shape, ", "), rows, columns, fmt::join(packings_, " or ")));
    const int64_t bits = fit.front(), per_word = kWord / bits, half = int64_t{1} << (bits - 1);
    const Shape shape{1, rows, columns};
    Scales scales = scales_of_packed(name, weight + "_scale", shape);
    const TensorView* zeros = find_part(weight + "_zero_point");
    const int64_t zero_rows = words(scales.rows, bits);
    if (zeros != nullptr)
      demand_shape(name, weight + "_zero_point", *zeros, {zero_rows, scales.columns}, "I32");
    std::vector<int64_t> group(static_cast<size_t>(columns));
    const TensorView* order = find_part(weight + "_g_idx");
    if (order != nullptr && (order->dtype != "I32" || order->count != columns))
      fail(name, fmt::format("has a g_idx of {} numbers for {} columns", order->count, columns));
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t own = order == nullptr ? k / scales.block_columns : int64_t{word_at(*order, k)};
      if (own >= scales.columns)
        fail(name, fmt::format("puts column {} into group {} of {}", k, own, scales.columns));
      group[static_cast<size_t>(k)] = own;
    }
    make(weight, name, {rows, columns}, [&](int64_t, int64_t r, int64_t k) {
      const int64_t own = group[static_cast<size_t>(k)], row = r / scales.block_rows;
      const int64_t code = code_in(word_at(codes, r * codes.shape[1] + k / per_word), k % per_word, bits);
      const int64_t zero = zeros == nullptr ? half
                                            : code_in(word_at(*zeros, row / per_word * scales.columns + own),
                                                      row % per_word, bits);
      return static_cast<double>(code - zero) *
             static_cast<double>(scales.values[static_cast<size_t>(row * scales.columns + own)]);
    });
  }

  /// [1], [rows, 1] or [rows, groups].
  Scales scales_of_packed(const std::string& of, const std::string& name, const Shape& shape) {
    const TensorView& view = part(of, name);
    const Shape own = shape_of(view);
    const bool one = view.count == 1;
    if (!one && (view.shape.size() != 2 || own.rows != shape.rows || own.columns < 1 ||
                 shape.columns % own.columns != 0))
      fail(of, fmt::format("of [{}, {}] has {} of [{}], which does not divide it", shape.rows, shape.columns,
                           excerpt(name), fmt::join(view.shape, ", ")));
    Scales scales{to_floats(view)};
    scales.rows = one ? 1 : shape.rows, scales.columns = one ? 1 : own.columns;
    scales.block_rows = one ? shape.rows : 1, scales.block_columns = shape.columns / scales.columns;
    return scales;
  }

  /// Scales of what goes into a product, and of the cache, change no weight.
  void forget_what_tells_of_activations() {
    std::erase_if(tensors_, [](const auto& entry) {
      for (const std::string_view end :
           {".input_scale", ".input_scale_ub", ".k_scale", ".v_scale", ".q_scale", ".prob_scale",
            ".output_scale", ".input_zero_point", ".activation_scale", ".act_scales"}) {
        if (entry.first.ends_with(end)) return true;
      }
      return false;
    });
  }

  const json& config_;
  const std::string where_;
  Storage& storage_;
  TensorTable& tensors_;
  TensorTable made_;
  std::set<std::string> read_;
  std::string method_;
  int64_t bits_ = 4, zero_offset_ = 0, block_rows_ = 0, block_columns_ = 0;
  std::set<int64_t> packings_;
};

}  // namespace

void decode_quantised(const json& config, const std::string& where, Storage& storage, TensorTable& tensors) {
  if (!config.is_null()) Decoder(config, where, storage, tensors).run();
}

}  // namespace greta
