// For tokenizer_json.py: the ids of each text. One JSON text a line on standard input, one list of ids a line
// on standard output.

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const auto tokenizer = greta::Tokenizer::from(greta::open_model_file(argv[1]));
    for (std::string line; std::getline(std::cin, line);) {
      const auto text = nlohmann::json::parse(line).get<std::string>();
      std::cout << nlohmann::json(tokenizer.encode(text, true)).dump() << '\n';
    }
  } catch (const greta::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
