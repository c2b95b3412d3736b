#include "capture/trace_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/utf8.h"

namespace greta::capture {
namespace {

/// A file that says whether all of it was written.
class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool write(const void* bytes, size_t size) {
    const char* at = static_cast<const char*>(bytes);
    while (fd_ >= 0 && size > 0) {
      const ssize_t done = ::write(fd_, at, size);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return false;
      at += done;
      size -= static_cast<size_t>(done);
    }
    return fd_ >= 0;
  }
  bool write(const std::string& text) { return write(text.data(), text.size()); }
  int64_t size() const { return ::lseek(fd_, 0, SEEK_END); }
  void cut(int64_t size) const {
    if (fd_ >= 0 && ::ftruncate(fd_, size) != 0) return;  // a broken last line is read as an interruption
  }
  bool close() {
    const bool closed = fd_ >= 0 && ::close(fd_) == 0;
    fd_ = -1;
    return closed;
  }

 private:
  int fd_;
};

constexpr int kNew = O_WRONLY | O_CREAT | O_TRUNC;

std::string_view name_of(const Record& record) {
  return record.beside != nullptr ? std::string_view(record.beside) : name(record.place.stage);
}

std::string key_of(const std::string& phase, const Record& record) {
  if (!record.op.empty()) return phase + "/" + record.op + "." + std::to_string(record.number);
  std::string key = phase + "/";
  if (record.place.layer != kNoLayer) key += "L" + std::to_string(record.place.layer) + ".";
  return key + std::string(name_of(record));
}

std::string positions_text(const std::vector<int64_t>& positions) {
  const int64_t first = positions.front(), last = positions.back();
  const bool run = last - first + 1 == static_cast<int64_t>(positions.size());
  return run ? list({first, last}) : list(positions);
}

std::string manifest_text(const Manifest& m) {
  std::string text = "{\"schema\": \"greta.trace/1\", \"engine\": " + quoted(m.engine);
  if (!m.version.empty()) text += ", \"version\": " + quoted(m.version);
  if (!m.device.empty()) text += ", \"device\": " + quoted(m.device);
  if (!m.model_file.empty()) text += ",\n \"model\": {\"file\": " + quoted(m.model_file) + "}";
  if (!m.kv_format.empty()) text += ",\n \"kv_format\": " + quoted(m.kv_format);
  text += std::string(",\n \"aligned\": ") + (m.aligned ? "true" : "false");
  text += std::string(", \"shared_cache\": ") + (m.shared_cache ? "true" : "false");
  if (!m.decode0_row.empty()) text += ", \"decode0_row\": " + quoted(m.decode0_row);
  text += ",\n \"complete\": false,\n \"prompts\": [";
  for (size_t i = 0; i < m.prompts.size(); ++i)
    text += std::string(i == 0 ? "" : ",\n  ") + "{\"id\": " + quoted(m.prompts[i].id) +
            ", \"tokens\": " + list(m.prompts[i].tokens) + "}";
  text += "],\n \"kernels\": {";
  for (const auto& [kernel, declared] : m.kernels)
    text += std::string(text.back() == '{' ? "" : ",") + "\n  " + quoted(kernel) + ": " + declared;
  return text + "}}\n";
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = utf8_length(text, at);
    if (byte == '"' || byte == '\\') out += '\\';
    if (length > 0 && byte >= 0x20 && byte != 0x7f) {
      out += text.substr(at, length);
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(byte));
      out += escape;
    }
    at += length > 0 ? length : 1;
  }
  return out + "\"";
}

std::string list(const std::vector<int64_t>& numbers) {
  std::string text = "[";
  for (size_t i = 0; i < numbers.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(numbers[i]);
  return text + "]";
}

bool TraceWriter::fail(const std::string& path) {
  failure_ = "cannot write " + path + ": " + std::strerror(errno);
  return false;
}

bool TraceWriter::write_tensors(const std::string& file_name, const std::string& phase,
                                const std::vector<Record>& records) {
  std::string header = "{";
  size_t at = 0;
  for (const Record& record : records) {
    const size_t end = at + record.values.size() * sizeof(float);
    header += std::string(at == 0 ? "" : ", ") + quoted(key_of(phase, record));
    header += ": {\"dtype\": \"F32\", \"shape\": " + list(record.shape);
    header += ", \"data_offsets\": " + list({static_cast<int64_t>(at), static_cast<int64_t>(end)}) + "}";
    at = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string path = directory_ + "/" + file_name, part = path + ".tmp";
  File file(part, kNew);
  const uint64_t size = header.size();
  bool good = file.write(&size, sizeof size) && file.write(header);
  for (const Record& record : records)
    good = good && file.write(record.values.data(), record.values.size() * sizeof(float));
  good = good && file.close() && std::rename(part.c_str(), path.c_str()) == 0;
  if (good) return true;
  fail(path);
  ::unlink(part.c_str());
  return false;
}

bool TraceWriter::append_events(const std::string& file_name, const std::string& prompt,
                                const std::string& phase, const std::vector<Record>& records) {
  std::string lines;
  for (const Record& record : records) {
    lines +=
        "{\"cell\": " + quoted("E0/" + prompt) + ", \"experiment\": \"E0\", \"prompt_id\": " + quoted(prompt);
    lines += ", \"phase\": " + quoted(phase);
    if (record.op.empty()) {
      lines += ", \"layer\": " + std::to_string(record.place.layer);
      lines += ", \"stage\": " + quoted(name_of(record));
      lines += ", \"positions\": " + positions_text(record.positions);
    } else {
      lines += ", \"op\": " + quoted(record.op);
    }
    lines += ", \"shape\": " + list(record.shape);
    lines += ", \"dtype\": " + quoted(record.dtype) + ", \"kernel\": " + quoted(record.kernel);
    if (record.unscaled) lines += ", \"unscaled\": true";
    if (record.unmasked) lines += ", \"unmasked\": true";
    lines += ", \"file\": " + quoted(file_name);
    lines += ", \"tensor\": " + quoted(key_of(phase, record)) + "}\n";
  }
  const std::string path = directory_ + "/events.jsonl";
  File file(path, O_WRONLY | O_CREAT | O_APPEND);
  const int64_t before = file.size();
  if (file.write(lines) && file.close()) return true;
  fail(path);
  file.cut(before);
  return false;
}

bool TraceWriter::write(const std::string& prompt, const std::string& phase,
                        const std::vector<Record>& records, const Manifest& manifest) {
  if (!failure_.empty()) return false;
  char file_name[40];
  std::snprintf(file_name, sizeof file_name, "tensors-%04d.safetensors", files_++);
  if (!records.empty() && !write_tensors(file_name, phase, records)) return false;
  const std::string path = directory_ + "/manifest.json", part = path + ".tmp";
  File file(part, kNew);
  const bool whole = file.write(manifest_text(manifest)) && file.close();
  if (!whole || std::rename(part.c_str(), path.c_str()) != 0) {
    fail(path);
    ::unlink(part.c_str());
    return false;
  }
  return records.empty() || append_events(file_name, prompt, phase, records);
}

}  // namespace greta::capture
