#pragma once
// The trace bundle (docs/trace-format.md):
// manifest.json, events.jsonl, tensors-*.safetensors in a directory, or a .tgz of it.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "bundle/event.h"

namespace greta {

/// Recorded values, held by all who need them.
using SharedFloats = std::shared_ptr<const std::vector<float>>;

inline constexpr const char* kBundleSchema = "greta.trace/1";

/// Writes a bundle as a run goes on: each event is a flushed line, so that an interrupted run is readable;
/// kept data of a run reach the disk with end_run() as one more safetensors file.
/// Equal data are stored once (by hash).
class BundleWriter {
 public:
  /// Creates `directory` and manifest.json. An input Error when it exists (unless `force`, which removes the
  /// bundle's own files and nothing else) or can't be made;
  /// what it can't write later is a machine Error (disk full).
  BundleWriter(const std::string& directory, bool force, const nlohmann::json& manifest);
  ~BundleWriter();  // keeps what was recorded: as end_run(), but never throws
  BundleWriter(const BundleWriter&) = delete;
  BundleWriter& operator=(const BundleWriter&) = delete;

  /// Adds one event; fills event.hash and event.summary, and event.file and event.tensor when `keep`.
  /// Returns the event as it was written.
  Event write(Event event, std::span<const float> data, bool keep);

  /// Adds one record that several cells share: `events` are described, and differ in cell and experiment
  /// only. Fills their file and tensor when `keep`; the data are held until end_run(), not copied.
  void write(std::span<Event> events, const SharedFloats& data, bool keep);

  /// Writes the data kept since the last call; call it when a run (a phase of a cell) is over.
  void end_run();

  /// Replaces manifest.json (for what is known only at the end, such as "complete": true).
  void set_manifest(const nlohmann::json& manifest);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A bundle in memory, however it came there.
struct Bundle {
  std::string path;  // for messages
  nlohmann::json manifest;
  std::vector<Event> events;
  std::vector<std::string> notes;  // what is missing: "events.jsonl ends in the middle of line 812"
  /// Data of an event by its hash; nullptr when it was not kept.
  const std::vector<float>* data(const Event& event) const;
  /// Keeps data under their hash, once, and says where they are.
  SharedFloats store(const std::string& hash, std::vector<float> values);
  /// Adds an event with its data; fills its hash and summary.
  void add(Event event, std::vector<float> values);
  std::map<std::string, SharedFloats> tensors;  // by hash
};

/// Reads a directory or .tgz. Input Errors: no such bundle, no manifest, a newer schema, an event that is not
/// as the format says (file, line, field), a tensor that the file does not hold or whose size or hash differ.
/// A last line without its end is no error (an interrupted run): it becomes a note.
Bundle read_bundle(const std::string& path);

}  // namespace greta
