#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "bundle/bundle.h"
#include "bundle/bundle_files.h"
#include "bundle/decode0_row.h"
#include "bundle/kernel_fields.h"
#include "io/archive.h"
#include "io/json_fields.h"
#include "io/safetensors.h"

namespace greta {
namespace {

namespace fs = std::filesystem;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_schema(const Fields& fields, const std::string& where) {
  const std::string schema = fields.text("schema");
  if (schema == kBundleSchema) return;
  if (schema.starts_with("greta.trace/")) {
    fail_input("{}: written in {}; this GRETA reads {}: use a newer GRETA", where, schema, kBundleSchema);
  }
  fields.fail("schema", fmt::format("is \"{}\"; a trace has \"{}\"", schema, kBundleSchema));
}

/// null means absent, at any depth: no reader has to think of it again.
void drop_nulls(nlohmann::json& json) {
  if (json.is_object()) {
    for (auto it = json.begin(); it != json.end();) it = it->is_null() ? json.erase(it) : std::next(it);
  }
  if (!json.is_structured()) return;
  for (nlohmann::json& child : json) drop_nulls(child);
}

/// Calls check(fields) for the objects of a list, or of an object's values.
template <class Check>
void check_children(const nlohmann::json& manifest, const char* name, bool is_list, const std::string& where,
                    Check check) {
  const auto found = manifest.find(name);
  if (found == manifest.end()) return;
  if (found->is_array() != is_list || found->is_object() == is_list) {
    Fields(manifest, where).fail(name, is_list ? "must be a list" : "must be an object");
  }
  for (const auto& [key, child] : found->items())
    check(Fields(child, fmt::format("{}: {}[{}]", where, name, key)));
}

void check_kernel(const Fields& kernel) {
  for (const KernelFieldInfo& row : kKernelFields) {
    switch (row.value) {
      case FieldValue::text:
      case FieldValue::format: kernel.text_or(row.name, ""); break;
      case FieldValue::integer: kernel.integer_or(row.name, row.least, row.most, row.least); break;
      case FieldValue::number: kernel.number(row.name); break;
      case FieldValue::flag: kernel.boolean_or(row.name, false); break;
    }
  }
}

void check_decode0_row(const Fields& fields) {
  if (!fields.has("decode0_row")) return;
  const std::string row = fields.text("decode0_row");
  if (std::ranges::find(kDecode0RowNames, row) != kDecode0RowNames.end()) return;
  fields.fail("decode0_row", fmt::format("is \"{}\"; known are {}", row, fmt::join(kDecode0RowNames, ", ")));
}

/// Whoever reads the manifest later may trust the kinds of all documented fields.
nlohmann::json parse_manifest(std::string_view text, const std::string& where,
                              std::vector<std::string>& notes) {
  nlohmann::json manifest = parse_json(text, where);
  drop_nulls(manifest);
  const Fields fields(manifest, where);
  check_schema(fields, where);
  fields.text("engine");
  for (const char* name : {"version", "device", "isa", "kv_format", "time", "command_line"})
    fields.text_or(name, "");
  for (const char* name : {"options", "environment"}) {
    if (fields.has(name)) Fields(manifest.at(name), fmt::format("{}: {}", where, name));
  }
  if (fields.has("options"))
    Fields(manifest.at("options"), where + ": options").boolean_or("invariant", false);
  if (fields.has("model")) {
    const Fields model(manifest.at("model"), where + ": model");
    for (const char* name : {"file", "hash", "name", "architecture"}) model.text_or(name, "");
  }
  fields.integer_or("threads", 1, std::numeric_limits<int32_t>::max(), 1);
  fields.integer_or("context", 1, std::numeric_limits<int32_t>::max(), 1);
  fields.boolean_or("aligned", true);
  fields.boolean_or("shared_cache", false);
  check_decode0_row(fields);
  check_children(manifest, "prompts", true, where, [](const Fields& prompt) {
    prompt.text("id");
    prompt.text_or("text", "");
    check_decode0_row(prompt);
    if (prompt.has("tokens")) prompt.integers("tokens", 0, std::numeric_limits<int32_t>::max());
  });
  check_children(manifest, "experiments", true, where, [](const Fields& experiment) {
    experiment.text("name");
    experiment.text_or("force_route", "auto");
    experiment.boolean_or("force_gemm", false);
  });
  check_children(manifest, "kernels", false, where, check_kernel);
  if (!fields.boolean_or("complete", true)) notes.push_back("the run that wrote this bundle did not finish");
  return manifest;
}

/// Fills a bundle's data from its tensor files, each file and each tensor once.
class TensorLoader {
 public:
  TensorLoader(Bundle& bundle, const FindFile& find) : bundle_(bundle), find_(find) {}

  void load(Event& event) {
    const std::map<std::string, TensorView>* tensors = file(event.file);
    if (tensors == nullptr) {
      ++missing_[event.file];
      event.file.clear();
      event.tensor.clear();
      return;
    }
    const std::string where = fmt::format("{}/{}: tensor \"{}\"", bundle_.path, event.file, event.tensor);
    const auto found = tensors->find(event.tensor);
    if (found == tensors->end()) fail_input("{}: named by an event, but not in the file", where);
    const TensorView& view = found->second;
    if (view.count != event.summary.count) {
      fail_input("{}: has {} values; the event's shape needs {}", where, view.count, event.summary.count);
    }
    const std::string& hash = hash_of(view);
    if (event.hash.empty()) event.hash = hash;
    if (event.hash != hash)
      fail_input("{}: damaged: its hash is {}, the event says {}", where, hash, event.hash);
    store(event, view);
  }

  void report_missing() {
    for (const auto& [name, events] : missing_) {
      bundle_.notes.push_back(
          fmt::format("{} is missing: the data of {} events were not kept", name, events));
    }
  }

 private:
  const std::map<std::string, TensorView>* file(const std::string& name) {
    const auto known = files_.find(name);
    if (known != files_.end()) return known->second ? &*known->second : nullptr;
    std::optional<std::map<std::string, TensorView>>& entry = files_[name];
    if (const auto bytes = find_(name)) entry = parse_safetensors(*bytes, bundle_.path + "/" + name);
    return entry ? &*entry : nullptr;
  }

  const std::string& hash_of(const TensorView& view) {
    std::string& hash = hashes_[&view];
    if (hash.empty()) hash = hash_bytes(view.bytes).hex();
    return hash;
  }

  /// The same bytes of another type may be other numbers: those get a name of their own.
  void store(Event& event, const TensorView& view) {
    const auto [dtype, is_new] = dtypes_.try_emplace(event.hash, view.dtype);
    if (!is_new && dtype->second == view.dtype) return;
    std::vector<float> values = to_floats(view);
    if (!is_new && values != *bundle_.tensors.at(event.hash)) event.hash += ":" + view.dtype;
    bundle_.store(event.hash, std::move(values));
  }

  Bundle& bundle_;
  const FindFile& find_;
  std::map<std::string, std::optional<std::map<std::string, TensorView>>> files_;
  std::unordered_map<const TensorView*, std::string> hashes_;
  std::unordered_map<std::string, std::string> dtypes_;  // by hash
  std::map<std::string, int64_t> missing_;               // events by file name
};

std::optional<std::span<const std::byte>> find_in_directory(const fs::path& directory,
                                                            const std::string& name,
                                                            std::map<std::string, MappedFile>& open) {
  const auto known = open.find(name);
  if (known != open.end()) return known->second.bytes();
  const fs::path path = directory / name;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return std::nullopt;
  // An interrupted run may leave an empty file, which a map refuses.
  if (fs::is_regular_file(status) && fs::file_size(path, error) == 0) return std::span<const std::byte>{};
  return open.emplace(name, MappedFile(path.string())).first->second.bytes();
}

Bundle read_directory(const std::string& path) {
  std::map<std::string, MappedFile> open;
  return parse_bundle(path, [&](const std::string& name) { return find_in_directory(path, name, open); });
}

Bundle read_tgz(const std::string& path) {
  const auto files = read_archive(path, [](const std::string& name) {
    return name.ends_with(kManifestFile) || name.ends_with(kEventsFile) || name.ends_with(".safetensors");
  });
  // The bundle is where its manifest is: at the root, or in the one directory that was packed.
  std::optional<std::string> prefix;
  for (const auto& [name, bytes] : files) {
    const std::string directory = name.substr(0, name.rfind('/') + 1);
    if (name == directory + kManifestFile && (!prefix || directory.size() < prefix->size()))
      prefix = directory;
  }
  return parse_bundle(path, [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
    const auto found = files.find(prefix.value_or("") + name);
    if (found == files.end()) return std::nullopt;
    return std::span(found->second);
  });
}

}  // namespace

const std::vector<float>* Bundle::data(const Event& event) const {
  const auto found = tensors.find(event.hash);
  // An event without data of its own may share a hash; a shape that does not fit is not its data.
  if (found == tensors.end() || std::ssize(*found->second) != event.summary.count) return nullptr;
  return found->second.get();
}

SharedFloats Bundle::store(const std::string& hash, std::vector<float> values) {
  SharedFloats& data = tensors[hash];
  if (data == nullptr) data = std::make_shared<const std::vector<float>>(std::move(values));
  return data;
}

void Bundle::add(Event event, std::vector<float> values) {
  describe(event, values);
  store(event.hash, std::move(values));
  events.push_back(std::move(event));
}

std::vector<Event> parse_events(std::string_view text, const std::string& where,
                                std::vector<std::string>& notes) {
  std::vector<Event> events;
  for (int64_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}:{}", where, line_number);
    if (end == std::string_view::npos && !nlohmann::json::accept(line)) {
      notes.push_back(fmt::format("{} ends in the middle of line {}", kEventsFile, line_number));
      break;
    }
    events.push_back(event_from_json(parse_json(line, place), place));
  }
  return events;
}

Bundle parse_bundle(const std::string& path, const FindFile& find) {
  Bundle bundle;
  bundle.path = path;
  const auto manifest = find(kManifestFile);
  if (!manifest) fail_input("{} is not a trace bundle: it has no {}", path, kManifestFile);
  bundle.manifest = parse_manifest(as_text(*manifest), path + "/" + kManifestFile, bundle.notes);
  const auto events = find(kEventsFile);
  if (!events) fail_input("{} is not a trace bundle: it has no {}", path, kEventsFile);
  bundle.events = parse_events(as_text(*events), path + "/" + kEventsFile, bundle.notes);

  TensorLoader loader(bundle, find);
  std::unordered_map<const std::vector<float>*, Summary> summaries;  // cells share data
  for (Event& event : bundle.events) {
    if (!event.file.empty()) loader.load(event);
    const std::vector<float>* data = bundle.data(event);
    if (data == nullptr) continue;
    const auto [known, is_new] = summaries.try_emplace(data);
    if (is_new) known->second = summarize(*data);
    event.summary = known->second;
  }
  loader.report_missing();
  // With neither data nor hash there is nothing to compare; two empty hashes must not look equal.
  const size_t dropped = std::erase_if(bundle.events, [](const Event& event) { return event.hash.empty(); });
  if (dropped != 0)
    bundle.notes.push_back(fmt::format("{} events have neither a hash nor data: left out", dropped));
  return bundle;
}

Bundle read_bundle(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail_input("cannot open {}: {}", path, error ? error.message() : "no such bundle");
  return fs::is_directory(status) ? read_directory(path) : read_tgz(path);
}

}  // namespace greta
