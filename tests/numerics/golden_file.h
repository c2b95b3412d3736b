#pragma once
// A safetensors file of tests/goldens, with no checks: it is ours.

#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace greta::test {

struct GoldenFile {
  nlohmann::json header;
  std::vector<std::byte> data;

  explicit GoldenFile(const std::string& name) {
    std::ifstream file(std::string(GRETA_SOURCE_DIR) + "/tests/goldens/" + name, std::ios::binary);
    uint64_t size = 0;
    file.read(reinterpret_cast<char*>(&size), sizeof size);
    std::string text(size, ' ');
    file.read(text.data(), static_cast<std::streamsize>(size));
    header = nlohmann::json::parse(text);
    for (char c; file.get(c);) data.push_back(static_cast<std::byte>(c));
  }
  std::vector<std::byte> bytes(const std::string& name) const {
    const auto& at = header.at(name).at("data_offsets");
    return {data.begin() + at[0].get<std::ptrdiff_t>(), data.begin() + at[1].get<std::ptrdiff_t>()};
  }
};

}  // namespace greta::test
