// judge() on a bundle that was spoilt as the input says, four bytes a change: which event, what, how much.
// A verdict or an input Error may come out, in little time and memory.

#include <cstdint>

#include "base/error.h"
#include "judge/hypotheses/plain_llama.h"
#include "judge/judge.h"

namespace {

using greta::Bundle;
using greta::Event;

const Bundle& clean() {
  static const Bundle bundle = greta::test::plain_llama().record({}, {greta::test::random_tokens(5)});
  return bundle;
}

int64_t number(uint8_t byte) {
  const int64_t small = byte & 15;
  return byte < 128 ? small : small << (byte & 0x70) / 2;  // up to 15 * 2^56
}

float value(uint8_t byte) {
  constexpr float kSpecial[] = {0, -0.0f, NAN, INFINITY, -INFINITY, 3e38f, 1e-42f, -1};
  return byte < 8 ? kSpecial[byte] : static_cast<float>(byte) - 128;
}

void change_data(Bundle& bundle, Event& event, uint8_t how, uint8_t amount) {
  const std::vector<float>* old = bundle.data(event);
  std::vector<float> data = old == nullptr ? std::vector<float>{} : *old;
  if (how % 3 == 0 && !data.empty()) data[amount % data.size()] = value(how / 3);
  if (how % 3 == 1) data.assign(data.size(), value(amount));
  if (how % 3 == 2) data.resize(data.size() * (amount % 8) / 4, value(how / 3));
  event.hash = std::to_string(bundle.tensors.size());
  bundle.store(event.hash, std::move(data));
}

void change(Bundle& bundle, uint8_t which, uint8_t what, uint8_t how, uint8_t amount) {
  if (bundle.events.empty()) return;
  Event& event = bundle.events[which % bundle.events.size()];
  switch (what % 8) {
    case 0: change_data(bundle, event, how, amount); break;
    case 1: event.positions = {number(how), number(amount)}; break;
    case 2: event.positions.push_back(number(amount)); break;
    case 3: event.shape = {number(how), event.shape.size() > 1 ? event.shape[1] : 1, number(amount)}; break;
    case 4: event.layer = static_cast<int>(amount % 4) - 1; break;
    case 5: event.stage = greta::name(static_cast<greta::Stage>(amount % greta::kStageCount)); break;
    case 6: event.hash = bundle.events[amount % bundle.events.size()].hash; break;
    case 7:
      bundle.events.erase(bundle.events.begin() + which % static_cast<int64_t>(bundle.events.size()));
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bundle bundle = clean();
  for (size_t i = 0; i + 4 <= size && i < 64; i += 4)
    change(bundle, data[i], data[i + 1], data[i + 2], data[i + 3]);
  try {
    greta::judge(bundle, greta::test::plain_llama().model());
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) throw;
  }
  return 0;
}
