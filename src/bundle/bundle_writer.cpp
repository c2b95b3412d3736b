#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "bundle/bundle.h"
#include "bundle/bundle_files.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "io/safetensors.h"

namespace greta {
namespace {

namespace fs = std::filesystem;

/// A run that keeps more than this is split over several files, so that memory stays bounded.
constexpr size_t kMaxPendingFloats = size_t{64} << 20;

/// A manifest.json that is not ours guards the whole directory: --force must not cost anyone their files.
void refuse_foreign_manifest(const fs::path& directory) {
  const fs::path path = directory / kManifestFile;
  std::error_code error;
  if (!fs::exists(path, error)) return;
  std::ifstream stream(path);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto schema = json.is_object() ? json.find("schema") : json.end();
  const bool ours = json.is_object() && schema != json.end() && schema->is_string() &&
                    schema->get<std::string>().starts_with("greta.");
  if (!ours)
    fail_input("{} holds a manifest.json that no GRETA bundle has; choose another directory",
               directory.string());
}

void remove_own_files(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> own;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const bool plain = !entry.is_directory(error) || entry.is_symlink(error);
    if (plain && is_own_file(entry.path().filename().string())) own.push_back(entry.path());
  }
  if (error) fail_input("cannot list {}: {}", directory.string(), error.message());
  for (const fs::path& path : own) {
    if (!fs::remove(path, error) && error) fail_input("cannot remove {}: {}", path.string(), error.message());
  }
}

/// Of a run that was interrupted before its first event: nothing would be lost.
bool holds_no_event(const fs::path& directory) {
  std::error_code error;
  return fs::exists(directory / kManifestFile, error) && fs::file_size(directory / kEventsFile, error) == 0 &&
         !error;
}

void prepare_directory(const fs::path& directory, bool force) {
  if (!make_directory(directory, force || holds_no_event(directory))) return;
  refuse_foreign_manifest(directory);
  remove_own_files(directory);
}

/// The key of an event's data: what it is, for people who list the file.
std::string tensor_key(const Event& event) {
  const std::string layer = event.layer == kNoLayer ? "" : fmt::format("L{}.", event.layer);
  std::string key = fmt::format("{}/{}/{}{}", event.cell, event.phase, layer, event.stage);
  for (char& c : key) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return key;
}

std::string with_schema(nlohmann::json manifest) {
  manifest["schema"] = kBundleSchema;
  return dump_json(manifest, 2) + "\n";
}

}  // namespace

bool is_own_file(std::string name) {
  if (name.ends_with(".tmp")) name.resize(name.size() - 4);
  if (is_listed_file(name)) return true;
  constexpr std::string_view kPrefix = "tensors-", kSuffix = ".safetensors";
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) ||
      name.size() <= kPrefix.size() + kSuffix.size()) {
    return false;
  }
  const std::string number = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  return number.find_first_not_of("0123456789") == std::string::npos;
}

std::string size_of_files(const std::string& directory) {
  uintmax_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (is_own_file(entry.path().filename().string()) && entry.is_regular_file(error))
      bytes += entry.file_size(error);
  }
  const double kilobytes = static_cast<double>(bytes) / 1000;
  return kilobytes < 1000 ? fmt::format("{:.0f} kB", kilobytes) : fmt::format("{:.0f} MB", kilobytes / 1000);
}

struct BundleWriter::Impl {
  struct Place {
    std::string file, key;
  };
  struct Pending {
    std::string name;
    std::vector<int64_t> shape;
    SharedFloats data;
  };

  fs::path directory;
  std::unique_ptr<OutputFile> events;
  int next_file = 0;
  std::vector<Pending> pending;
  size_t pending_floats = 0;
  std::unordered_map<std::string, Place> stored;  // by hash
  std::set<std::string> keys;                     // a key is unique in the bundle
  int64_t lines = 0;
  std::string failure;  // the first one: what comes after it would be a bundle with a hole

  std::string file_name() const { return fmt::format("tensors-{:04}.safetensors", next_file); }

  const Place& keep(const Event& event, const SharedFloats& data) {
    const auto [place, is_new] = stored.try_emplace(event.hash);
    if (!is_new) return place->second;
    const std::string base = tensor_key(event);
    std::string key = base;
    for (int copy = 2; !keys.insert(key).second; ++copy) key = fmt::format("{}#{}", base, copy);
    place->second = {file_name(), key};
    pending.push_back({key, event.shape, data});
    pending_floats += data->size();
    return place->second;
  }

  void write_pending() {
    if (pending.empty()) return;
    std::vector<NamedTensor> tensors;
    for (const Pending& tensor : pending) tensors.push_back({tensor.name, tensor.shape, *tensor.data});
    replace_file((directory / file_name()).string(),
                 [&](OutputFile& file) { write_safetensors(file, tensors); });
    pending.clear();
    pending_floats = 0;
    ++next_file;
  }

  /// Runs `step`; after its first failure the bundle takes nothing more.
  template <class Step>
  void guarded(Step step) {
    if (!failure.empty()) throw Error(ErrorKind::machine, failure);
    try {
      step();
    } catch (const Error& error) {
      failure = fmt::format("{}; the bundle is readable up to event {}", error.what(), lines);
      throw Error(error.kind(), failure);
    }
  }
};

BundleWriter::BundleWriter(const std::string& directory, bool force, const nlohmann::json& manifest)
    : impl_(std::make_unique<Impl>()) {
  if (directory.empty()) fail_input("the output directory has no name");
  impl_->directory = directory;
  prepare_directory(impl_->directory, force);
  replace_file((impl_->directory / kManifestFile).string(), with_schema(manifest), ErrorKind::input);
  impl_->events = std::make_unique<OutputFile>((impl_->directory / kEventsFile).string(), ErrorKind::input);
}

BundleWriter::~BundleWriter() {
  if (!impl_->failure.empty()) return;
  try {
    impl_->write_pending();
  } catch (...) {  // the events are on disk; readers say what data are missing
  }
}

Event BundleWriter::write(Event event, std::span<const float> data, bool keep) {
  describe(event, data);
  write(std::span(&event, 1), std::make_shared<const std::vector<float>>(data.begin(), data.end()), keep);
  return event;
}

void BundleWriter::write(std::span<Event> events, const SharedFloats& data, bool keep) {
  if (events.empty()) return;
  impl_->guarded([&] {
    if (keep) {
      const Impl::Place& place = impl_->keep(events.front(), data);
      for (Event& event : events) {
        event.file = place.file;
        event.tensor = place.key;
      }
    }
    nlohmann::json json = to_json(events.front());
    for (const Event& event : events) {
      json["cell"] = event.cell;
      json["experiment"] = event.experiment;
      impl_->events->write(dump_json(json) + "\n");
      ++impl_->lines;
    }
    if (impl_->pending_floats > kMaxPendingFloats) impl_->write_pending();
  });
}

void BundleWriter::end_run() {
  impl_->guarded([this] { impl_->write_pending(); });
}

void BundleWriter::set_manifest(const nlohmann::json& manifest) {
  impl_->guarded([&] { replace_file((impl_->directory / kManifestFile).string(), with_schema(manifest)); });
}

}  // namespace greta
