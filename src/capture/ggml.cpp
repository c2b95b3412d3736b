#include "capture/ggml.h"

#include <dlfcn.h>
#include <link.h>

#include <vector>

namespace greta::capture {

const Ggml* the_ggml = nullptr;

namespace {

/// The file that an address was loaded from.
std::string_view object_of(const void* address) {
  Dl_info info;
  return dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
}

bool is_ours(const void* address) {
  static const int kHere = 0;
  return object_of(address) == object_of(&kHere);
}

int keep_name(dl_phdr_info* info, size_t, void* names) {
  if (info->dlpi_name != nullptr && *info->dlpi_name != '\0')
    static_cast<std::vector<std::string>*>(names)->emplace_back(info->dlpi_name);
  return 0;
}

template <class F>
bool find(F*& function, const char* name, std::string& why) {
  function = reinterpret_cast<F*>(find_real(name));
  if (function == nullptr && why.empty()) why = std::string("this ggml has no ") + name + "()";
  return function != nullptr;
}

/// What makes tensors to look at.
struct Makers {
  struct InitParams {
    size_t size;
    void* buffer;
    bool no_alloc;
  };
  void* (*init)(InitParams);
  void (*free)(void*);
  void* (*new_2d)(void*, int, int64_t, int64_t);
  void* (*mul_mat)(void*, void*, void*);
  void* (*view_1d)(void*, void*, int64_t, size_t);
  void* (*scale)(void*, void*, float);
  void* (*new_graph)(void*, size_t, bool);
  void (*expand)(void*, void*);
  void* (*get_data)(const void*);
  const char* (*get_name)(const void*);

  bool find_all(std::string& why) {
    return find(init, "ggml_init", why) && find(free, "ggml_free", why) &&
           find(new_2d, "ggml_new_tensor_2d", why) && find(mul_mat, "ggml_mul_mat", why) &&
           find(view_1d, "ggml_view_1d", why) && find(scale, "ggml_scale", why) &&
           find(get_data, "ggml_get_data", why) && find(get_name, "ggml_get_name", why);
  }
  /// What makes a graph to look at.
  bool find_graph(std::string& why) {
    return find(new_graph, "ggml_new_graph_custom", why) && find(expand, "ggml_build_forward_expand", why);
  }
};

constexpr size_t kScanned = 512;  // a ggml_tensor is smaller
constexpr int kF32 = 0, kF16 = 1;
constexpr int kMostOps =
    64;  // MUL_MAT is among the first in every version; the table of names ends somewhere

template <class T>
T read(const void* tensor, size_t offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(tensor) + offset, sizeof value);
  return value;
}

/// The one offset from `from` on where `fits`; nullopt where there is none.
template <class Fits>
std::optional<size_t> offset_where(size_t from, size_t step, Fits fits) {
  for (size_t at = from; at + 4 * sizeof(int64_t) <= kScanned; at += step) {
    if (fits(at)) return at;
  }
  return std::nullopt;
}

using Four = std::array<int64_t, 4>;

/// Tensors of known shapes, types and sources, in memory of ours: reading beyond one of them reads the next.
class Specimens {
 public:
  explicit Specimens(const Makers& makers) : makers_(makers), memory_(size_t{1} << 16) {
    context_ = makers.init({memory_.size(), memory_.data(), false});
    if (context_ == nullptr) return;
    a = makers.new_2d(context_, kF32, 37, 3);
    b = makers.new_2d(context_, kF32, 37, 5);
    half = makers.new_2d(context_, kF16, 64, 2);
    product = makers.mul_mat(context_, a, b);
    view = makers.view_1d(context_, a, 11, kViewOffset);
    scaled = makers.scale(context_, a, kFactor);
  }
  ~Specimens() {
    if (context_ != nullptr) makers_.free(context_);
  }
  Specimens(const Specimens&) = delete;
  Specimens& operator=(const Specimens&) = delete;

  bool are_here() const {
    for (const void* tensor : {a, b, half, product, view, scaled}) {
      if (!is_here(tensor)) return false;
    }
    return true;
  }
  /// Whether so many bytes from there on can be read.
  bool is_here(const void* address) const {
    const auto* at = static_cast<const char*>(address);
    return at >= memory_.data() && at <= memory_.data() + memory_.size() - kScanned;
  }
  /// A graph of three nodes and two leaves.
  void* graph() const {
    void* graph = makers_.new_graph(context_, kNodes, false);
    for (void* result : {product, scaled, view}) makers_.expand(graph, result);
    return graph;
  }

  static constexpr size_t kViewOffset = 28, kNodes = 16;
  static constexpr float kFactor = 0.3183098F;
  void *a = nullptr, *b = nullptr, *half = nullptr, *product = nullptr, *view = nullptr, *scaled = nullptr;

 private:
  const Makers& makers_;
  std::vector<char> memory_;
  void* context_ = nullptr;
};

/// The fields one after the other; the name of the first that is not found.
const char* find_layout(const Specimens& s, const Makers& makers, const Functions& call, Layout& layout) {
  const auto take = [](std::optional<size_t> found, size_t& field) {
    field = found.value_or(0);
    return found.has_value();
  };
  const auto named = [&](size_t at, const void* tensor, std::string_view name) {
    const int op = read<int>(tensor, at);
    return op >= 0 && op < kMostOps && call.op_name(op) == name;
  };
  const auto type = offset_where(0, 4, [&](size_t at) {
    return read<int>(s.a, at) == kF32 && read<int>(s.b, at) == kF32 && read<int>(s.half, at) == kF16;
  });
  if (!take(type, layout.type)) return "type";
  const auto ne = offset_where(0, 8, [&](size_t at) {
    return read<Four>(s.a, at) == Four{37, 3, 1, 1} && read<Four>(s.half, at) == Four{64, 2, 1, 1};
  });
  if (!take(ne, layout.ne)) return "ne";
  const auto nb = offset_where(0, 8, [&](size_t at) {
    return read<Four>(s.a, at) == Four{4, 148, 444, 444} && read<Four>(s.half, at) == Four{2, 128, 256, 256};
  });
  if (!take(nb, layout.nb)) return "nb";
  const auto op = offset_where(layout.nb + sizeof(Four), 4, [&](size_t at) {
    return named(at, s.product, "MUL_MAT") && named(at, s.a, "NONE") && named(at, s.view, "VIEW");
  });
  if (!take(op, layout.op)) return "op";
  const auto parameters = offset_where(
      layout.op + 4, 4, [&](size_t at) { return read<float>(s.scaled, at) == Specimens::kFactor; });
  if (!take(parameters, layout.op_params)) return "op_params";
  const auto src = offset_where((layout.op_params + 7) / 8 * 8, 8, [&](size_t at) {
    return read<void*>(s.product, at) == s.a && read<void*>(s.product, at + 8) == s.b &&
           read<void*>(s.view, at) == s.a;
  });
  if (!take(src, layout.src)) return "src";
  const auto view = offset_where(layout.src + 16, 8, [&](size_t at) {
    return read<void*>(s.view, at) == s.a && read<size_t>(s.view, at + 8) == Specimens::kViewOffset &&
           read<void*>(s.a, at) == nullptr;
  });
  if (!take(view, layout.view_src)) return "view_src";
  layout.view_offs = layout.view_src + 8;
  const auto data = offset_where(layout.view_offs + 8, 8, [&](size_t at) {
    return read<void*>(s.a, at) == makers.get_data(s.a) && read<void*>(s.b, at) == makers.get_data(s.b) &&
           read<char*>(s.view, at) == static_cast<char*>(makers.get_data(s.a)) + Specimens::kViewOffset;
  });
  if (!take(data, layout.data)) return "data";
  layout.name = static_cast<size_t>(makers.get_name(s.a) - static_cast<const char*>(s.a));
  return layout.name > 0 && layout.name < kScanned ? nullptr : "name";
}

/// Where a graph has its number of nodes, and them.
const char* find_graph_layout(const Specimens& s, Layout& layout) {
  const void* graph = s.graph();
  if (!s.is_here(graph)) return "a graph of our own";
  const auto nodes = offset_where(8, 8, [&](size_t at) {
    const void* first = read<const void*>(graph, at);
    return s.is_here(first) && read<void*>(first, 0) == s.product && read<void*>(first, 8) == s.scaled;
  });
  if (!nodes) return "a graph's nodes";
  const auto count = offset_where(0, 4, [&](size_t at) { return read<int>(graph, at) == 3; });
  if (!count || *count + 4 > *nodes) return "a graph's number of nodes";
  layout.graph_nodes = *nodes;
  layout.graph_n_nodes = *count;
  return nullptr;
}

}  // namespace

void* find_real(const char* name) {
  if (void* next = dlsym(RTLD_NEXT, name)) return next;
  // Libraries that were loaded by dlopen() (Python's do) are in no order of search.
  std::vector<std::string> names;
  dl_iterate_phdr(keep_name, &names);
  for (const std::string& path : names) {
    void* object = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (object == nullptr) continue;
    void* found = dlsym(object, name);
    dlclose(object);
    if (found != nullptr && !is_ours(found)) return found;
  }
  return nullptr;
}

std::optional<Ggml> Ggml::find(std::string& why) {
  using capture::find;
  Ggml ggml;
  Functions& f = ggml.functions_;
  Makers makers = {};
  const bool all = find(f.op_name, "ggml_op_name", why) && find(f.type_name, "ggml_type_name", why) &&
                   find(f.nbytes, "ggml_nbytes", why) && find(f.tensor_get, "ggml_backend_tensor_get", why) &&
                   find(f.sched_set_eval_callback, "ggml_backend_sched_set_eval_callback", why) &&
                   find(f.sched_synchronize, "ggml_backend_sched_synchronize", why) && makers.find_all(why);
  std::string none;
  const bool told =
      find(f.graph_n_nodes, "ggml_graph_n_nodes", none) && find(f.graph_node, "ggml_graph_node", none);
  if (!all || (!told && !makers.find_graph(why))) return std::nullopt;
  const Specimens specimens(makers);
  const char* missing =
      specimens.are_here() ? find_layout(specimens, makers, f, ggml.layout_) : "a tensor of our own";
  if (missing == nullptr && !told) missing = find_graph_layout(specimens, ggml.layout_);
  if (missing == nullptr) return ggml;
  why = std::string("the layout of this ggml's tensors is not known: ") + missing + " was not found";
  return std::nullopt;
}

std::string_view Tensor::name() const {
  const std::string_view name(at_ + layout().name);
  const size_t first = name.find('#'), last = name.rfind('#');
  return first == last ? name : name.substr(first + 1, last - first - 1);
}

bool Tensor::is_there() const {
  // Between type and ne every version has the buffer, of a view that of the tensor viewed.
  const Tensor base = base_of(*this);
  const bool buffer = layout().ne != 16 || base.field<const void*>(8) != nullptr;
  return buffer && field<const void*>(layout().data) != nullptr;
}

std::vector<Tensor> nodes_of(void* graph) {
  const Functions& call = the_ggml->call();
  const Layout& layout = the_ggml->layout();
  const bool told = call.graph_n_nodes != nullptr && call.graph_node != nullptr;
  const int count = told ? call.graph_n_nodes(graph) : read<int>(graph, layout.graph_n_nodes);
  const auto* all = told ? nullptr : read<const char*>(graph, layout.graph_nodes);
  std::vector<Tensor> nodes;
  for (int i = 0; i < count; ++i)
    nodes.emplace_back(told ? call.graph_node(graph, i)
                            : read<void*>(all, static_cast<size_t>(i) * sizeof(void*)));
  return nodes;
}

}  // namespace greta::capture
