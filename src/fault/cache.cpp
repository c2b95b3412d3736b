// Keys and values written wrongly into the cache. The twin runs after the right kernel has written.

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "engine/kv_cache.h"
#include "fault/bank.h"

namespace greta {
namespace {

/// A position's key, then its value: [2 * kv_dim].
using CacheRow = std::vector<float>;

int64_t kv_dim(const KernelArgs& args) { return args.cache.n_head_kv * args.cache.head_dim; }

/// What the op is to write for a row of its block.
CacheRow row_in(const KernelArgs& args, int64_t row) {
  const auto heads = static_cast<size_t>(args.cache.n_head_kv);
  CacheRow both;
  for (const size_t i : {0u, 1u}) {
    const size_t width = static_cast<size_t>(args.in[i].cols) / heads;
    for (size_t head = 0; head < heads; ++head) {  // narrower values have zeros behind them
      const float* from = args.in[i].row(row) + head * width;
      both.insert(both.end(), from, from + width);
      both.resize((i * heads + head + 1) * static_cast<size_t>(args.cache.head_dim), 0.0f);
    }
  }
  return both;
}

/// A fault that writes change(row) in the place of every row.
template <class Change>
Wrong write_rows(Change change) {
  return [change](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for (int64_t r = 0; r < args.block_rows; ++r) {
      CacheRow row = row_in(args, r);
      change(args, r, row);
      write_cache_row(args.cache, args.position + r, row);
    }
  };
}

/// Which of a row a fault is about.
struct RowPart {
  bool keys = true, values = true;
};

/// The part of a slot becomes that of `row`.
void write_part(const KvView& cache, int64_t slot, const CacheRow& row, RowPart part) {
  CacheRow mixed = read_cache_row(cache, slot);
  const auto half = static_cast<std::ptrdiff_t>(row.size() / 2);
  if (part.keys) std::copy_n(row.begin(), half, mixed.begin());
  if (part.values) std::copy_n(row.begin() + half, half, mixed.begin() + half);
  write_cache_row(cache, slot, mixed);
}

/// Puts back what the block's slots held before; slots that never held anything become 0, as a fresh
/// allocation of most engines is (GRETA's own NaN would show itself).
void restore(const WrongCall& call, RowPart part) {
  for (int64_t p = call.args.position; p < call.args.position + call.args.block_rows; ++p) {
    CacheRow row = read_cache_row(call.old_cache, p);
    for (float& x : row) x = std::isnan(x) ? 0.0f : x;
    write_part(call.args.cache, p, row, part);
  }
}

MakeWrong write_nothing(RowPart part = {}) {
  return [part](TwinSite&) -> Wrong { return [part](const WrongCall& call) { restore(call, part); }; };
}

/// Position p goes to slot p + shift; slots outside the cache are not written.
MakeWrong shift_slots(int64_t shift, RowPart part = {}) {
  return [shift, part](TwinSite&) -> Wrong {
    return [shift, part](const WrongCall& call) {
      restore(call, part);
      const KernelArgs& args = call.args;
      for (int64_t r = 0; r < args.block_rows; ++r) {
        const int64_t slot = args.position + r + shift;
        if (slot >= 0 && slot < args.cache.capacity) write_part(args.cache, slot, row_in(args, r), part);
      }
    };
  };
}

Wrong swap_keys_and_values(TwinSite& site) {
  if (site.config().is_latent()) return {};  // of different widths
  return write_rows([](const KernelArgs& args, int64_t, CacheRow& row) {
    std::rotate(row.begin(), row.begin() + kv_dim(args), row.end());
  });
}

Wrong write_unrotated(TwinSite& site) {
  if (site.config().is_latent()) return {};
  const size_t k = site.read_also(Stage::k);
  return write_rows([k](const KernelArgs& args, int64_t r, CacheRow& row) {
    std::copy_n(args.in[k].row(r), kv_dim(args), row.begin());
  });
}

/// The block's last row also goes to position 0.
Wrong clobber_first(TwinSite&) {
  return [](const WrongCall& call) {
    write_cache_row(call.args.cache, 0, row_in(call.args, call.args.block_rows - 1));
  };
}

Wrong duplicate_first_row(TwinSite&) {
  return write_rows([](const KernelArgs& args, int64_t, CacheRow& row) { row = row_in(args, 0); });
}

/// The largest element of the block's last key (head 0), times 1 + size.
Wrong change_key(TwinSite& site) {
  return write_rows([by = site.size](const KernelArgs& args, int64_t r, CacheRow& row) {
    if (r != args.block_rows - 1) return;
    const auto less = [](float a, float b) { return std::abs(a) < std::abs(b); };
    float& largest = *std::max_element(row.begin(), row.begin() + args.cache.head_dim, less);
    largest = static_cast<float>(static_cast<double>(largest) * (1 + by));
  });
}

Wrong round_to_bf16(TwinSite&) {
  return write_rows([](const KernelArgs&, int64_t, CacheRow& row) {
    for (float& x : row) x = bf16_to_f32(f32_to_bf16(x));
  });
}

/// Values of a head as integers within +-7, with one scale.
Wrong quantise_values(TwinSite&) {
  return write_rows([](const KernelArgs& args, int64_t, CacheRow& row) {
    const size_t head_dim = static_cast<size_t>(args.cache.head_dim);
    for (size_t head = row.size() / 2; head < row.size(); head += head_dim) {
      const std::span<float> values = std::span(row).subspan(head, head_dim);
      float most = 0;
      for (const float x : values) most = std::max(most, std::abs(x));
      const float step = most / 7;
      for (float& x : values) x = step > 0 ? step * std::nearbyint(x / step) : x;
    }
  });
}

}  // namespace

FaultList cache_faults() {
  const std::string slot = kGitHub + "gittensor-ai-lab/sparkinfer/issues/146";
  const std::string batched = kGitHub + "paiml/realizar/issues/94", race = kGitHub + "kekzl/imp/pull/1709";
  const RowPart keys{true, false}, values{false, true};
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
            "kv_not_written", write_nothing()),
      cache("kv_keys_next", "kv_slot", "keys go to slot p + 1, values to p", slot, "kv_slot",
            shift_slots(1, keys)),
      cache("kv_values_next", "kv_slot", "values go to slot p + 1, keys to p", slot, "kv_slot",
            shift_slots(1, values)),
      cache("kv_keys_not_written", "kv_not_written", "keys are not written, values are", batched,
            "kv_not_written", write_nothing(keys)),
      cache("kv_values_not_written", "kv_not_written", "values are not written, keys are", batched,
            "kv_not_written", write_nothing(values)),
      cache("kv_first_overwritten", "kv_history_overwritten", "the last row is written to position 0, too",
            race, "kv_history_overwritten", clobber_first),
      needing(Needs::several_rows, cache("kv_row_duplicated", "kv_row_duplicated",
                                         "all rows of a block get its first row's (S > 1)", batched,
                                         "kv_duplicated", duplicate_first_row)),
      cache("kv_element", "kv_element", "one element of the last key is off (by half)", batched,
            "corrupted_elements", change_key, 0.5),
      cache("kv_bf16", "undeclared_rounding", "keys and values are rounded to bf16", mixed,
            "undeclared_rounding", round_to_bf16),
      cache("kv_int4", "kv_coarse", "values are rounded to 15 levels per head", kMadeUp, "", quantise_values),
  };
}

}  // namespace greta
