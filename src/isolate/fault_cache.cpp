// Keys and values written wrongly into the cache. The twin runs after the right kernel has written.

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "isolate/fault_bank.h"
#include "isolate/fault_cache_io.h"

namespace greta::isolate {
namespace {

int64_t key_index(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return ((head * (cache.capacity / 16) + position / 16) * cache.head_dim + dim) * 16 + position % 16;
}

int64_t value_index(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return (head * cache.capacity + position) * cache.head_dim + dim;
}

float load(const std::byte* data, Format format, int64_t index) {
  if (format == Format::f16) return f16_to_f32(reinterpret_cast<const uint16_t*>(data)[index]);
  return reinterpret_cast<const float*>(data)[index];
}

void store(std::byte* data, Format format, int64_t index, float x) {
  if (format == Format::f16) {
    reinterpret_cast<uint16_t*>(data)[index] = f32_to_f16(x);
  } else {
    reinterpret_cast<float*>(data)[index] = x;
  }
}

/// Calls body(position, row of the block, head, dim) for all elements that the op writes.
template <class Body>
void for_each_element(const KernelArgs& args, Body body) {
  for (int64_t r = 0; r < args.block_rows; ++r) {
    for (int64_t h = 0; h < args.cache.n_head_kv; ++h) {
      for (int64_t d = 0; d < args.cache.head_dim; ++d) body(args.position + r, r, h, d);
    }
  }
}

float key_in(const KernelArgs& args, int64_t row, int64_t head, int64_t dim) {
  return args.in[0].row(row)[head * args.cache.head_dim + dim];
}

float value_in(const KernelArgs& args, int64_t row, int64_t head, int64_t dim) {
  return args.in[1].row(row)[head * args.cache.head_dim + dim];
}

float or_zero(float x) { return std::isnan(x) ? 0.0f : x; }

/// Puts back what the block's slots held before; slots that never held anything become 0, as a fresh
/// allocation of most engines is (GRETA's own NaN would show itself).
void restore(const WrongCall& call) {
  const KvView& cache = call.args.cache;
  for_each_element(call.args, [&](int64_t p, int64_t, int64_t h, int64_t d) {
    store_key(cache, p, h, d, or_zero(load_key(call.old_cache, p, h, d)));
    store_value(cache, p, h, d, or_zero(load_value(call.old_cache, p, h, d)));
  });
}

Wrong write_nothing(TwinSite&) { return restore; }

/// Position p goes to slot p + shift; slots outside the cache are not written.
MakeWrong shift_slots(int64_t shift) {
  return [shift](TwinSite&) -> Wrong {
    return [shift](const WrongCall& call) {
      restore(call);
      const KernelArgs& args = call.args;
      for_each_element(args, [&](int64_t p, int64_t r, int64_t h, int64_t d) {
        if (p + shift < 0 || p + shift >= args.cache.capacity) return;
        store_key(args.cache, p + shift, h, d, key_in(args, r, h, d));
        store_value(args.cache, p + shift, h, d, value_in(args, r, h, d));
      });
    };
  };
}

Wrong swap_keys_and_values(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t p, int64_t r, int64_t h, int64_t d) {
      store_key(args.cache, p, h, d, value_in(args, r, h, d));
      store_value(args.cache, p, h, d, key_in(args, r, h, d));
    });
  };
}

Wrong write_unrotated(TwinSite& site) {
  site.read_also(Stage::k);
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t p, int64_t r, int64_t h, int64_t d) {
      store_key(args.cache, p, h, d, args.extra.row(r)[h * args.cache.head_dim + d]);
    });
  };
}

/// The block's last row also goes to position 0.
Wrong clobber_first(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t, int64_t r, int64_t h, int64_t d) {
      store_key(args.cache, 0, h, d, key_in(args, r, h, d));
      store_value(args.cache, 0, h, d, value_in(args, r, h, d));
    });
  };
}

Wrong duplicate_first_row(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t p, int64_t, int64_t h, int64_t d) {
      store_key(args.cache, p, h, d, key_in(args, 0, h, d));
      store_value(args.cache, p, h, d, value_in(args, 0, h, d));
    });
  };
}

/// The largest element of the block's last key (head 0), times 1 + size.
Wrong change_key(TwinSite& site) {
  return [by = site.size](const WrongCall& call) {
    const KernelArgs& args = call.args;
    const int64_t row = args.block_rows - 1;
    int64_t largest = 0;
    for (int64_t d = 1; d < args.cache.head_dim; ++d) {
      if (std::abs(key_in(args, row, 0, d)) > std::abs(key_in(args, row, 0, largest))) largest = d;
    }
    const double wrong = static_cast<double>(key_in(args, row, 0, largest)) * (1 + by);
    store_key(args.cache, args.position + row, 0, largest, static_cast<float>(wrong));
  };
}

Wrong round_to_bf16(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t p, int64_t r, int64_t h, int64_t d) {
      store_key(args.cache, p, h, d, bf16_to_f32(f32_to_bf16(key_in(args, r, h, d))));
      store_value(args.cache, p, h, d, bf16_to_f32(f32_to_bf16(value_in(args, r, h, d))));
    });
  };
}

/// Values of a head as integers within +-7, with one scale.
Wrong quantise_values(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for_each_element(args, [&](int64_t p, int64_t r, int64_t h, int64_t d) {
      float most = 0;
      for (int64_t i = 0; i < args.cache.head_dim; ++i)
        most = std::max(most, std::abs(value_in(args, r, h, i)));
      const float step = most / 7;
      if (step > 0) store_value(args.cache, p, h, d, step * std::nearbyint(value_in(args, r, h, d) / step));
    });
  };
}

}  // namespace

float load_key(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return load(cache.keys, cache.format, key_index(cache, position, head, dim));
}

float load_value(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return load(cache.values, cache.format, value_index(cache, position, head, dim));
}

void store_key(const KvView& cache, int64_t position, int64_t head, int64_t dim, float x) {
  store(cache.keys, cache.format, key_index(cache, position, head, dim), x);
}

void store_value(const KvView& cache, int64_t position, int64_t head, int64_t dim, float x) {
  store(cache.values, cache.format, value_index(cache, position, head, dim), x);
}

FaultList cache_faults() {
  const std::string slot = kGitHub + "gittensor-ai-lab/sparkinfer/issues/146";
  const std::string batched = kGitHub + "paiml/realizar/issues/94", race = kGitHub + "kekzl/imp/pull/1709";
  const std::string mixed = kFounding + " (B3.64)";
  const auto cache = [](const char* name, const char* kind, const char* what, const std::string& source,
                        const char* hypothesis, MakeWrong make, double size = 0) {
    return Fault{name, kind, Stage::kv_write, what, source, hypothesis, std::move(make), size};
  };
  return {
      cache("kv_slot_next", "kv_slot", "position p goes to slot p + 1; the first slot stays as it was (or 0)",
            slot, "kv_slot", shift_slots(1)),
      cache("kv_slot_previous", "kv_slot",
            "position p goes to slot p - 1; the last slot stays as it was (or 0)", slot, "kv_slot",
            shift_slots(-1)),
      cache("kv_swapped", "kv_swapped", "keys and values are exchanged", kMadeUp, "kv_swapped",
            swap_keys_and_values),
      cache("kv_unrotated", "kv_unrotated", "keys are cached before RoPE", kMadeUp, "kv_unrotated",
            write_unrotated),
      cache("kv_not_written", "kv_not_written", "not written: the slots stay as they were (or 0)", batched,
            "kv_not_written", write_nothing),
      cache("kv_first_overwritten", "kv_history_overwritten", "the last row is written to position 0, too",
            race, "kv_history_overwritten", clobber_first),
      needing(Needs::several_rows, cache("kv_row_duplicated", "kv_row_duplicated",
                                         "all rows of a block get its first row's (S > 1)", batched,
                                         "wrong_row", duplicate_first_row)),
      cache("kv_element", "kv_element", "one element of the last key is off (by half)", batched,
            "corrupted_elements", change_key, 0.5),
      cache("kv_bf16", "undeclared_rounding", "keys and values are rounded to bf16", mixed,
            "undeclared_rounding", round_to_bf16),
      cache("kv_int4", "kv_coarse", "values are rounded to 15 levels per head", kMadeUp, "", quantise_values),
  };
}

}  // namespace greta::isolate
