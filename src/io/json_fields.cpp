#include "io/json_fields.h"

#include <limits>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/printable.h"

namespace greta {
namespace {

constexpr size_t kMaxDepth = 64;  // copying and printing recurse

/// The reason in nlohmann's message, without its "[json.exception...]" and on one line.
std::string reason(const nlohmann::json::exception& error) {
  std::string text = error.what();
  if (const size_t end = text.find("] "); end != std::string::npos) text.erase(0, end + 2);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  if (text.size() > 160) text = text.substr(0, 157) + "...";
  return text;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Parse = nlohmann::json::parse_event_t;
    if (depth > static_cast<int>(kMaxDepth)) {
      fail_input("{}: JSON is nested deeper than {} levels", where, kMaxDepth);
    }
    if (event == Parse::object_start) keys.emplace_back();
    if (event == Parse::object_end) keys.pop_back();
    if (event == Parse::key && !keys.back().insert(value.get<std::string>()).second) {
      fail_input("{}: field \"{}\" occurs twice", where, value.get<std::string>());
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: not valid JSON: {}", where, reason(error));
  }
}

namespace {

/// Reads without keeping anything: whether it is nested too deep is known before a parser recurses.
struct Depth : nlohmann::json_sax<nlohmann::json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++open <= kMaxDepth; }
  bool end_object() override { return open-- > 0; }
  bool start_array(std::size_t) override { return ++open <= kMaxDepth; }
  bool end_array() override { return open-- > 0; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  size_t open = 0;
};

}  // namespace

nlohmann::json parse_cbor(std::string_view bytes, const std::string& where) {
  Depth depth;
  nlohmann::json::sax_parse(bytes, &depth, nlohmann::json::input_format_t::cbor);
  if (depth.open > kMaxDepth) fail_input("{}: CBOR is nested deeper than {} levels", where, kMaxDepth);
  try {
    return nlohmann::json::from_cbor(bytes);
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: not valid CBOR: {}", where, reason(error));
  }
}

std::string dump_json(const nlohmann::json& json, int indent) {
  return printable_json(json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace));
}

Fields::Fields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) fail_input("{}: expected a JSON object, found {}", where_, object.type_name());
}

void Fields::fail(const char* name, std::string_view problem) const {
  fail_input("{}: field \"{}\" {}", where_, name, problem);
}

const nlohmann::json* Fields::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const nlohmann::json& Fields::require(const char* name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) fail(name, "is missing");
  return *value;
}

std::string Fields::text(const char* name) const {
  const nlohmann::json& value = require(name);
  if (!value.is_string()) fail(name, fmt::format("must be a string, found {}", value.type_name()));
  return value.get<std::string>();
}

std::string Fields::text_or(const char* name, std::string fallback) const {
  return has(name) ? text(name) : std::move(fallback);
}

int64_t Fields::to_integer(const char* name, const nlohmann::json& value, int64_t min, int64_t max) const {
  if (!value.is_number_integer()) fail(name, fmt::format("must hold integers, found {}", value.type_name()));
  const bool fits = !value.is_number_unsigned() ||
                    value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max) {
    fail(name, fmt::format("is {}, outside {}..{}", value.dump(), min, max));
  }
  return value.get<int64_t>();
}

int64_t Fields::integer(const char* name, int64_t min, int64_t max) const {
  return to_integer(name, require(name), min, max);
}

int64_t Fields::integer_or(const char* name, int64_t min, int64_t max, int64_t fallback) const {
  return has(name) ? integer(name, min, max) : fallback;
}

std::optional<double> Fields::number(const char* name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(name, fmt::format("must be a number, found {}", value->type_name()));
  return value->get<double>();
}

bool Fields::boolean_or(const char* name, bool fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(name, fmt::format("must be true or false, found {}", value->type_name()));
  return value->get<bool>();
}

std::vector<int64_t> Fields::integers(const char* name, int64_t min, int64_t max) const {
  const nlohmann::json& values = require(name);
  if (!values.is_array()) fail(name, fmt::format("must be a list of integers, found {}", values.type_name()));
  std::vector<int64_t> result;
  result.reserve(values.size());
  for (const nlohmann::json& value : values) result.push_back(to_integer(name, value, min, max));
  return result;
}

std::vector<double> Fields::numbers(const char* name) const {
  const nlohmann::json& values = require(name);
  if (!values.is_array()) fail(name, fmt::format("must be a list of numbers, found {}", values.type_name()));
  std::vector<double> result;
  result.reserve(values.size());
  for (const nlohmann::json& value : values) {
    if (!value.is_number()) fail(name, fmt::format("holds what is no number: {}", value.type_name()));
    result.push_back(value.get<double>());
  }
  return result;
}

}  // namespace greta
