#pragma once
// ggml as a running program has it: nothing is linked, no header of it is read. Functions are found by name
// in the library that the program loaded; where fields of ggml_tensor lie is found out on tensors that ggml
// itself makes, so that a version with another layout is either read rightly or refused.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greta::capture {

/// Offsets in bytes of the fields that are read.
struct Layout {
  size_t type, ne, nb, op, op_params, src, view_src, view_offs, data, name;
  size_t graph_n_nodes, graph_nodes;  // of ggml_cgraph, in versions without functions for them
};

/// The exported functions that are called.
struct Functions {
  const char* (*op_name)(int);
  const char* (*type_name)(int);
  size_t (*nbytes)(const void* tensor);
  void (*tensor_get)(const void* tensor, void* to, size_t offset, size_t size);
  int (*graph_n_nodes)(void* graph);  // nullptr, as the next, before llama.cpp's September 2024
  void* (*graph_node)(void* graph, int index);
  void (*sched_set_eval_callback)(void* sched, bool (*callback)(void*, bool, void*), void* data);
  void (*sched_synchronize)(void* sched);
};

/// The program's own function of this name, behind ours; nullptr where no loaded library has one.
void* find_real(const char* name);

class Ggml {
 public:
  /// nullopt, and why, where a function is missing or the layout is not found.
  static std::optional<Ggml> find(std::string& why);
  const Functions& call() const { return functions_; }
  const Layout& layout() const { return layout_; }

 private:
  Functions functions_ = {};
  Layout layout_ = {};
};

/// What find() made of the program's ggml; set once, before any Tensor is looked at.
extern const Ggml* the_ggml;

/// A ggml_tensor, through the layout.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(const void* at) : at_(static_cast<const char*>(at)) {}

  explicit operator bool() const { return at_ != nullptr; }
  bool operator==(const Tensor&) const = default;
  const void* address() const { return at_; }

  int64_t ne(int i) const { return field<int64_t>(layout().ne, i); }
  size_t nb(int i) const { return field<size_t>(layout().nb, i); }
  Tensor src(int i) const { return Tensor(field<const void*>(layout().src, i)); }
  Tensor view_src() const { return Tensor(field<const void*>(layout().view_src)); }
  size_t view_offs() const { return field<size_t>(layout().view_offs); }
  float float_parameter(int i) const { return field<float>(layout().op_params, i); }
  int32_t int_parameter(int i) const { return field<int32_t>(layout().op_params, i); }
  int op() const { return field<int>(layout().op); }
  std::string_view op_name() const { return the_ggml->call().op_name(op()); }
  std::string_view type() const { return the_ggml->call().type_name(field<int>(layout().type)); }
  /// Of a scheduler's copy, "CUDA0#NAME#0", the original's.
  std::string_view name() const;
  int64_t elements() const { return ne(0) * ne(1) * ne(2) * ne(3); }
  /// It lies in memory that ggml can read out.
  bool is_there() const;

 private:
  static const Layout& layout() { return the_ggml->layout(); }
  template <class T>
  T field(size_t offset, int i = 0) const {
    T value;
    std::memcpy(&value, at_ + offset + static_cast<size_t>(i) * sizeof(T), sizeof value);
    return value;
  }

  const char* at_ = nullptr;
};

/// An op's name as kernels have it.
inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// The tensor that others are views of.
inline Tensor base_of(Tensor t) { return t.view_src() ? t.view_src() : t; }

/// The nodes of a ggml_cgraph, in the order of their computation.
std::vector<Tensor> nodes_of(void* graph);

}  // namespace greta::capture
