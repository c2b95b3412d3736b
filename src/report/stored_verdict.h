#pragma once
// A whole verdict as a file, for `greta report`: verdict.json is what people script against, and leaves out
// what a page needs. CBOR; no interface: another version of GRETA may not read it.

#include <string>
#include <string_view>

#include "verdict/verdict.h"

namespace greta::report {

inline constexpr const char* kStoredVerdict = "verdict.cbor";

std::string stored_verdict(const Verdict& verdict);

/// An input Error beginning with `where`: not such a file, another version's, or not whole.
Verdict verdict_from_stored(std::string_view bytes, const std::string& where);

/// That of a directory or .tgz. An input Error that says what to do where there is none.
Verdict read_verdict(const std::string& path);

}  // namespace greta::report
