// Writes the seeds of gguf_fuzz into a folder:
// small valid files that between them have every field of the format.

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "model/gguf_builder.h"

namespace {

using greta::test::Bytes;
using greta::test::GgufBuilder;
using greta::test::tiny_llama;

GgufBuilder every_value() {
  GgufBuilder file;
  file.set<uint8_t>("a", 1).set<int8_t>("b", -1).set<uint16_t>("c", 1).set<int16_t>("d", -1);
  file.set<uint32_t>("e", 1).set<int32_t>("f", -1).set<float>("g", 1).set<bool>("h", true);
  file.set_string("i", "text").set<uint64_t>("j", 1).set<int64_t>("k", -1).set<double>("l", 1);
  file.set_array<int32_t>("m", {1, 2})
      .set_array<bool>("n", {true})
      .set_array<double>("o", {1})
      .set_strings("p", {"q", ""});
  file.set<uint32_t>("general.alignment", 8);
  file.alignment = 8;
  return file;
}

GgufBuilder quantised() {
  GgufBuilder file;
  file.tensors.push_back({"a", {32, 2}, 8, Bytes(68, '\1'), {}, {}});
  file.tensors.push_back({"b", {256}, 12, Bytes(144, '\1'), {}, {}});
  file.tensors.push_back({"c", {1, 2, 3, 4}, 1, Bytes(48, '\1'), {}, {}});
  return file;
}

GgufBuilder lists() {
  GgufBuilder file = tiny_llama();
  file.version = 2;
  file.set_array<uint32_t>("llama.attention.head_count", {4, 4})
      .set_string("llama.rope.scaling.type", "none");
  return file.erase_tensor("output.weight");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: gguf_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const GgufBuilder& file) {
    const Bytes bytes = file.build();
    std::ofstream(folder / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  };
  write("tiny_llama.gguf", tiny_llama());
  write("every_value.gguf", every_value());
  write("quantised.gguf", quantised());
  write("lists.gguf", lists());
  write("nothing.gguf", GgufBuilder());
  return 0;
}
