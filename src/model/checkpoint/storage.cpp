#include "model/checkpoint/storage.h"

#include "model/gguf_metadata.h"

namespace greta {

void MetadataBuilder::set_texts(std::string key, std::vector<std::string> texts) {
  GgufArray array{static_cast<uint32_t>(GgufType::string), texts.size(), {}, {}};
  array.strings.reserve(texts.size());
  for (std::string& text : texts) array.strings.push_back(storage_.keep(std::move(text)));
  set(std::move(key), std::move(array));
}

void MetadataBuilder::set_flags(std::string key, const std::vector<bool>& flags) {
  std::vector<std::byte> bytes;
  for (const bool flag : flags) bytes.push_back(std::byte{flag});
  set(std::move(key),
      GgufArray{static_cast<uint32_t>(GgufType::boolean), flags.size(), storage_.keep(bytes), {}});
}

void MetadataBuilder::set_numbers(std::string key, const std::vector<int32_t>& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  set(std::move(key), GgufArray{static_cast<uint32_t>(GgufType::i32),
                                numbers.size(),
                                storage_.keep(std::vector(bytes.begin(), bytes.end())),
                                {}});
}

}  // namespace greta
