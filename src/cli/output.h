#pragma once
// What commands print. Bytes of strangers (names, keys, paths) come out as base/printable.h makes them;
// nothing in src/cli calls fmt::print() but these, the progress bar and main()
// (tests/base/includes_test.cpp).

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/printable.h"
#include "report/document.h"

namespace greta::cli {

template <class T>
inline constexpr bool kIsText = std::is_convertible_v<const T&, std::string_view>;

/// A text that can be shown; a number as it is.
template <class T>
std::conditional_t<kIsText<T>, std::string, const T&> shown(const T& value) {
  if constexpr (kIsText<T>) {
    return printable(value);
  } else {
    return value;
  }
}

template <class T>
using Shown = decltype(shown(std::declval<const T&>()));

/// fmt::print() with every text argument printable: one line each.
template <class... Args>
void say(std::FILE* stream, fmt::format_string<Shown<Args>...> format, const Args&... args) {
  fmt::print(stream, format, shown(args)...);
}
template <class... Args>
void say(fmt::format_string<Shown<Args>...> format, const Args&... args) {
  say<Args...>(stdout, format, args...);
}

/// A report on stdout as it is: its writer (src/report) saw to the strings in it.
void say_report(std::string_view report);
/// 80 columns wide, without colours.
void say_report(const report::Document& document);

/// One JSON document on stdout.
void say_json(const nlohmann::json& json, int indent = -1);

}  // namespace greta::cli
