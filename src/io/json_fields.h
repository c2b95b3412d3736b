#pragma once
// Reading JSON that others wrote: what is wrong is an input Error that names the place and the field.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greta {

/// Parses one document. Input Errors, beginning with `where`:
/// no JSON, a key twice in an object, more than 64 levels.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// The same of CBOR, as GRETA itself writes it: a key that is there twice counts once.
nlohmann::json parse_cbor(std::string_view bytes, const std::string& where);

/// JSON text, one line unless `indent` says how much. Every string is well-formed UTF-8 (U+FFFD in the place
/// of bytes that are none: a prompt or a path may hold any), and what could steer a terminal is escaped.
std::string dump_json(const nlohmann::json& json, int indent = -1);

/// The fields of one object. null counts as absent; fields not asked for are ignored.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string where);

  std::string text(const char* name) const;
  std::string text_or(const char* name, std::string fallback) const;
  int64_t integer(const char* name, int64_t min, int64_t max) const;
  int64_t integer_or(const char* name, int64_t min, int64_t max, int64_t fallback) const;
  std::optional<double> number(const char* name) const;
  bool boolean_or(const char* name, bool fallback) const;
  std::vector<int64_t> integers(const char* name, int64_t min, int64_t max) const;
  std::vector<double> numbers(const char* name) const;

  bool has(const char* name) const { return find(name) != nullptr; }
  /// "WHERE: field \"name\" PROBLEM".
  [[noreturn]] void fail(const char* name, std::string_view problem) const;

 private:
  const nlohmann::json* find(const char* name) const;
  const nlohmann::json& require(const char* name) const;
  int64_t to_integer(const char* name, const nlohmann::json& value, int64_t min, int64_t max) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace greta
