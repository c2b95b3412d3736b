#include "capture/session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace greta::capture {
namespace {

constexpr int kMostDigests = 4096;

/// FNV-1a of 64 bits, eight bytes at a time.
uint64_t hash_of(const void* bytes, size_t size) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (size_t at = 0; at < size; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(bytes) + at, size - at < 8 ? size - at : 8);
    hash = (hash ^ word) * 0x100000001b3U;
    hash ^= hash >> 29;
  }
  return hash;
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "\"%016llx\"", static_cast<unsigned long long>(value));
  return text;
}

void write_all(int fd, const std::string& text) {
  if (::write(fd, text.data(), text.size()) < 0) return;  // there is nobody else to tell
}

/// The model: the file that this process has mapped and that begins as a GGUF does. "" where it only read it.
std::string mapped_model() {
  std::ifstream maps("/proc/self/maps");
  std::string last;
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos || line.compare(path, std::string::npos, last) == 0) continue;
    last = line.substr(path);
    if (last.starts_with("/dev/") || last.ends_with(".so")) continue;
    char magic[4] = {};
    std::ifstream(last, std::ios::binary).read(magic, sizeof magic);
    if (std::memcmp(magic, "GGUF", sizeof magic) == 0) return last;
  }
  return "";
}

/// The last row of each stage: of prefill, what prefill_last is.
std::vector<Record> last_rows(const std::vector<Record>& records, int64_t position) {
  std::vector<Record> last;
  for (const Record& record : records) {
    if (record.positions.empty() || record.positions.back() != position) continue;
    last.push_back(record);
    if (record.place.stage == Stage::kv_write) continue;
    Record& row = last.back();
    const size_t width = row.values.size() / row.positions.size();
    row.values.erase(row.values.begin(), row.values.end() - static_cast<std::ptrdiff_t>(width));
    row.positions = {position};
    row.shape.front() = 1;
  }
  return last;
}

}  // namespace

Session::Session(Settings settings)
    : settings_(std::move(settings)), process_(::getpid()), writer_(settings_.out) {}

void Session::log(const std::string& line) {
  const std::string path = settings_.out + "/capture.jsonl";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return;
  write_all(fd, line + "\n");
  ::close(fd);
}

void Session::say(const std::string& note) {
  if (!said_.insert(note).second) return;
  log("{\"note\": " + quoted(note) + "}");
  if (!settings_.only_digests) write_all(STDERR_FILENO, "greta capture: " + note + "\n");
}

/// The first process that computes is recorded; there may be others, which inherit the library.
bool Session::claim() {
  if (claimed_) return true;
  const std::string path = settings_.out + "/capture.pid";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd >= 0) {
    write_all(fd, std::to_string(process_) + "\n");
    ::close(fd);
    claimed_ = true;
  } else {
    blind_ = true;
    say(errno == EEXIST ? "a second process computes with ggml, too: it is not recorded"
                        : "cannot write " + path + ": " + std::strerror(errno));
  }
  return claimed_;
}

bool Session::find_ggml() {
  if (ggml_) return true;
  std::string why;
  ggml_ = Ggml::find(why);
  if (ggml_) {
    the_ggml = &*ggml_;
  } else {
    blind_ = true;
    say(why + ": nothing is recorded");
  }
  return ggml_.has_value();
}

void Session::name_phase(const std::string& prompt, const std::string& phase) {
  named_ = Target{prompt, phase};
}

std::optional<Session::Target> Session::own_target() {
  const int64_t first = batch_.first();
  const auto known = static_cast<int64_t>(tokens_.size());
  if (first > known) {
    say("the beginning of a text was computed before: it is not recorded");
    return std::nullopt;
  }
  if (manifest_.prompts.empty() || first < known) {  // another prompt, or the same after a rollback
    chunks_ = steps_ = 0;
    tokens_.resize(static_cast<size_t>(first));
    if (first == 0) seen_.clear();
    manifest_.prompts.push_back({"prompt." + std::to_string(manifest_.prompts.size()), {}});
  }
  const bool step = batch_.positions.size() == 1 && chunks_ > 0;
  const int number = step ? steps_++ : chunks_++;
  tokens_.insert(tokens_.end(), batch_.tokens.begin(), batch_.tokens.end());
  if (static_cast<int>(manifest_.prompts.size()) > settings_.prompts || (step && number >= settings_.steps))
    return std::nullopt;
  if (!untold_caches_) manifest_.prompts.back().tokens = tokens_;
  manifest_.shared_cache = manifest_.prompts.size() == 1 && chunks_ == 1;
  const std::string phase = step ? "decode" : "prefill";
  return Target{manifest_.prompts.back().id, step || number > 0 ? phase + std::to_string(number) : phase};
}

std::optional<Session::Target> Session::target_of(void* sched) {
  if (off_ || settings_.only_digests) return std::nullopt;
  if (map_.shifted) {
    say("the cache was turned to other positions (K-shift): it is recorded up to there");
    off_ = true;
    return std::nullopt;
  }
  if (!map_.is_model() || paused_ || (named_ && named_->phase.empty())) return std::nullopt;
  if (sched_ == nullptr) sched_ = sched;
  if (sched != sched_) {
    say("a second model or context computes, too: it is not recorded");
    return std::nullopt;
  }
  if (!batch_.is_one_sequence()) {
    batch_ = caches_.sequence_of(map_, batch_, static_cast<int64_t>(tokens_.size()));
    if (!batch_.is_one_sequence()) return std::nullopt;
    say("batches hold several texts: one of them is recorded");
  }
  const auto known = static_cast<int64_t>(tokens_.size());
  if (const int64_t by = named_ ? 0 : caches_.misplaced_by(map_, batch_, known); by != 0) {
    say("rows are given positions from " + std::to_string(batch_.first()) +
        " on, where the text goes on at " + std::to_string(batch_.first() + by) +
        ": they are recorded as the latter");
    for (int64_t& position : batch_.positions) position += by;
  }
  for (const int layer : caches_.write(map_, batch_)) {
    map_.leave_out_attention(layer);
    say("where layer " + std::to_string(layer) +
        " writes its cache cannot be told: its attention is not recorded");
  }
  if (map_.attention.empty()) {
    off_ = true;
    return std::nullopt;
  }
  if (const std::string types = GraphRecorder::untold_caches(map_); !types.empty()) {
    untold_caches_ = true;
    say("a cache of " + types + " has no word in the format: attention is not judged");
  }
  if (!named_) return own_target();
  tokens_.resize(static_cast<size_t>(batch_.first()));
  tokens_.insert(tokens_.end(), batch_.tokens.begin(), batch_.tokens.end());
  if (manifest_.prompts.empty() || manifest_.prompts.back().id != named_->prompt)
    manifest_.prompts.push_back({named_->prompt, {}});
  if (!untold_caches_) manifest_.prompts.back().tokens = tokens_;
  return named_;
}

bool Session::begin(void* sched, void* graph) {
  target_.reset();
  map_ = {};
  const bool another = ::getpid() != process_;  // a fork of the process that is recorded
  if (another || blind_ || !claim() || !find_ggml()) return false;
  map_ = map_of(graph);
  batch_ = {};
  if (map_.tokens) batch_.tokens = integers(map_.tokens);
  if (map_.positions) batch_.positions = integers(map_.positions);
  if (map_.output_rows) batch_.output_rows = integers(map_.output_rows);
  batch_.graph_rows = static_cast<int64_t>(batch_.positions.size());
  for (int64_t row = 0; row < batch_.graph_rows; ++row) batch_.numbers.push_back(row);
  graph_tokens_ = batch_.tokens;
  target_ = target_of(sched);
  if (!target_) return false;
  leave_out_other_layers();
  for (const std::string& note : map_.notes) say(note);
  recorder_ = std::make_unique<GraphRecorder>(map_, batch_, caches_, seen_);
  recorder_->begin();
  return true;
}

void Session::leave_out_other_layers() {
  std::erase_if(map_.places_of, [&](const auto& found) {
    const int layer = found.second.layer;
    return layer != kNoLayer && (layer < settings_.first_layer || layer > settings_.last_layer);
  });
}

bool Session::wants(const void* node) const {
  return map_.places_of.contains(node) || map_.unknown.contains(node);
}

void Session::computed(const void* node) { recorder_->computed(node); }

void Session::end(void* sched, bool whole) {
  if (the_ggml == nullptr || !map_.last) return;
  if (whole) log_digest(sched);
  if (target_ && whole) write();
  recorder_.reset();
  map_ = {};
}

void Session::say_unknown_layers() {
  int last = kNoLayer;
  for (const auto& [place, node] : map_.stages) last = std::max(last, place.layer);
  if (last == kNoLayer || settings_.first_layer <= last) return;
  say("no layer from " + std::to_string(settings_.first_layer) + " on is computed: the last one is " +
      std::to_string(last));
}

void Session::write() {
  say_unknown_layers();
  for (const std::string& note : recorder_->notes()) say(note);
  for (const auto& [kernel, declared] : recorder_->declared()) manifest_.kernels[kernel] = declared;
  if (manifest_.engine.empty()) describe_engine();
  const std::vector<Record> records = recorder_->take();
  for (const Record& record : records) {
    if (record.place.stage == Stage::kv_write) manifest_.kv_format = record.dtype;
  }
  bool good = writer_.write(target_->prompt, target_->phase, records, manifest_);
  if (good && named_ && target_->phase == "prefill") {
    const int64_t last = batch_.positions.back();
    good = writer_.write(target_->prompt, "prefill_last", last_rows(records, last), manifest_);
  }
  if (good)
    return log("{\"recorded\": " + quoted(target_->prompt + "/" + target_->phase) +
               ", \"rows\": " + std::to_string(batch_.positions.size()) +
               ", \"stages\": " + std::to_string(std::ranges::count_if(records, &Record::is_stage)) + "}");
  off_ = true;
  say(writer_.failure() + "; the bundle is readable up to there");
}

/// Who computes, by what its libraries export.
void Session::describe_engine() {
  manifest_.engine = find_real("llama_decode") != nullptr ? "llama.cpp" : "ggml";
  manifest_.model_file = mapped_model();
  using Text = const char* (*)();
  const auto version = reinterpret_cast<Text>(find_real("ggml_version"));
  const auto commit = reinterpret_cast<Text>(find_real("ggml_commit"));
  if (version != nullptr) manifest_.version = std::string("ggml ") + version();
  if (version != nullptr && commit != nullptr) manifest_.version += std::string(" ") + commit();
  const auto backend = reinterpret_cast<void* (*)(void*, int)>(find_real("ggml_backend_sched_get_backend"));
  const auto name_of = reinterpret_cast<const char* (*)(void*)>(find_real("ggml_backend_name"));
  if (backend != nullptr && name_of != nullptr) manifest_.device = name_of(backend(sched_, 0));
}

void Session::log_digest(void* sched) {
  if (graphs_ >= kMostDigests) return;
  the_ggml->call().sched_synchronize(sched);
  uint64_t logits = 0;
  if (map_.last.is_there() && map_.last.type() == "f32" && map_.last.elements() > 0) {
    std::vector<char> bytes(the_ggml->call().nbytes(map_.last.address()));
    the_ggml->call().tensor_get(map_.last.address(), bytes.data(), 0, bytes.size());
    logits = hash_of(bytes.data(), bytes.size());
  }
  const uint64_t tokens = hash_of(graph_tokens_.data(), graph_tokens_.size() * sizeof(int64_t));
  log("{\"graph\": " + std::to_string(graphs_++) + ", \"rows\": " + std::to_string(graph_tokens_.size()) +
      ", \"tokens\": " + hex(tokens) + ", \"logits\": " + hex(logits) + "}");
}

}  // namespace greta::capture
