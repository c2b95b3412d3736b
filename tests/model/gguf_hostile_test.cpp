// Files that broke other readers: each must give one clear input Error, with little memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <random>

#include "model/gguf.h"
#include "model/gguf_builder.h"
#include "model/gguf_error.h"
#include "model/gguf_model_file.h"
#include "model/model.h"

namespace {

// Bytes that this thread holds by operator new, and the most it held since the last reset.
thread_local int64_t live_bytes = 0;
thread_local int64_t peak_bytes = 0;

}  // namespace

#ifndef GRETA_SANITIZED  // sanitizers bring their own operator new, and their own limits
void* operator new(size_t size) {
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  live_bytes += static_cast<int64_t>(malloc_usable_size(p));
  peak_bytes = std::max(peak_bytes, live_bytes);
  return p;
}
static void release(void* p) {
  live_bytes -= static_cast<int64_t>(malloc_usable_size(p));
  std::free(p);
}
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, size_t) noexcept { release(p); }
#endif

namespace greta::test {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

/// The most memory that `act` holds at once.
template <class Act>
int64_t peak_of(Act act) {
  const int64_t before = live_bytes;
  peak_bytes = live_bytes;
  act();
  return peak_bytes - before;
}

/// A file that must be refused, and a part of the message.
struct Hostile {
  std::string name;
  std::function<Bytes()> file;
  std::string message;
};

void PrintTo(const Hostile& hostile, std::ostream* out) { *out << hostile.name; }

/// A file with one tensor entry of these dims, and some data behind it.
Bytes with_dims(std::vector<uint64_t> dims, uint32_t type = 0, std::optional<uint32_t> n_dims = {}) {
  GgufBuilder file = tiny_llama();
  file.tensors.push_back({"bad", std::move(dims), type, Bytes(64, '\0'), n_dims, {}});
  return file.build();
}

Bytes with_entry(std::string_view key, uint32_t type, const Bytes& value) {
  return tiny_llama().add_raw(key, type, value).build();
}

Bytes with_array(uint32_t element_type, uint64_t count, const Bytes& elements = Bytes(16, '\0')) {
  return with_entry("k", kGgufArray, raw(element_type) + raw(count) + elements);
}

Bytes with_alignment(uint32_t alignment) {
  return tiny_llama().set<uint32_t>("general.alignment", alignment).build();
}

Bytes with_tensor(std::string_view name) {
  GgufBuilder file = tiny_llama();
  file.add_f32(name, {8});
  return file.build();
}

Bytes changed(const std::function<void(GgufBuilder&)>& change) {
  GgufBuilder file = tiny_llama();
  change(file);
  return file.build();
}

Bytes start_of_file(const Bytes& start) { return start + Bytes(100, '\0'); }

std::vector<Hostile> products() {
  constexpr uint64_t kTwo42 = uint64_t{1} << 42;
  constexpr uint64_t kTwo63 = uint64_t{1} << 63;
  const std::string product = "tensor 21 ('bad'): the product of the dimensions does not fit in 63 bits";
  const std::string bytes = "tensor 21 ('bad'): the size of the tensor in bytes does not fit in 63 bits";
  const std::string beyond = "the file is cut short or damaged";
  return {
      {"DimsOfCve2026_33298",
       [=] {
         return with_dims({kTwo42 + 1, kTwo42});
       },
       product},
      {"ProductTimesTypeSizeWraps",
       [=] {
         return with_dims({kTwo42 + 1, 1 << 20});
       },
       bytes},
      {"DimsOfIssue27203",
       [=] {
         return with_dims({kTwo63 - 1, 2, 1, 1});
       },
       product},
      {"DimIsMinusOne", [=] { return with_dims({kMax}); }, product},
      {"DimsWrapToZero",
       [=] {
         return with_dims({uint64_t{1} << 32, uint64_t{1} << 32});
       },
       product},
      {"DimsWrapToOne",
       [=] {
         return with_dims({kMax, kMax});
       },
       product},
      {"SizeInBytesWraps", [=] { return with_dims({kTwo63 - 1}); }, bytes},
      {"SizeOfBlocksWraps", [=] { return with_dims({kTwo63 - 32}, 9); }, bytes},
      {"HugeWithoutWrapping", [=] { return with_dims({kTwo42}); }, beyond},
      {"DimensionZero", [] { return with_dims({0}); }, "dimension 0 is 0"},
      {"DimensionZeroAfterHugeOnes",
       [=] {
         return with_dims({kTwo63 - 1, 0});
       },
       "dimension 1 is 0"},
      {"DimensionZeroOf88Bytes",
       [] {
         GgufBuilder file;
         file.tensors.push_back({"t", {8, 8, 0, 8}, 0, "", {}, {}});
         return file.build();
       },
       "dimension 2 is 0"},
      {"BlockDoesNotDivide", [] { return with_dims({33}, 8); }, "dimension 0 is 33, which is not a multiple"},
      {"BlockOfKQuantsDoesNotDivide",
       [] {
         return with_dims({32, 8}, 12);
       },
       "block of q4_k (256 elements)"},
  };
}

std::vector<Hostile> dimension_counts() {
  std::vector<Hostile> rows;
  for (const uint32_t n : {0u, 5u, 9u, 1000000u, 0xffffffffu}) {
    rows.push_back({fmt::format("NDims{}", n),
                    [n] {
                      return with_dims({1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, n);
                    },
                    fmt::format("the tensor has {} dimensions; expected 1 to 4", n)});
  }
  return rows;
}

std::vector<Hostile> names() {
  return {
      {"EmptyKey", [] { return with_entry("", 0, raw<uint8_t>(1)); }, "metadata entry 13: the key is empty"},
      {"KeyWithNul", [] { return with_entry(std::string_view("a\0b", 3), 0, raw<uint8_t>(1)); },
       "('a\\x00b'): the key contains a NUL byte"},
      {"KeyWithNewlineIsEscaped", [] { return with_entry("a\nb", 99, ""); }, "('a\\x0ab')"},
      {"LongKeyIsCut", [] { return with_entry(std::string(5000, 'k'), 99, ""); }, "kkk...')"},
      {"DuplicateKey", [] { return with_entry("general.name", 0, raw<uint8_t>(1)); },
       "metadata key 'general.name' comes twice"},
      {"EmptyTensorName", [] { return with_tensor(""); }, "tensor 21: the tensor's name is empty"},
      {"TensorNameWithNul", [] { return with_tensor(std::string_view("a\0", 2)); }, "contains a NUL byte"},
      {"DuplicateTensorName", [] { return with_tensor("output.weight"); },
       "tensor 'output.weight' comes twice"},
  };
}

std::vector<Hostile> alignments() {
  std::vector<Hostile> rows = {
      {"AlignmentIsText", [] { return tiny_llama().set_string("general.alignment", "32").build(); },
       "general.alignment is a string"},
      {"AlignmentIsNegative", [] { return tiny_llama().set<int32_t>("general.alignment", -32).build(); },
       "general.alignment is -32"},
      {"AlignmentOf64Bits",
       [] { return tiny_llama().set<uint64_t>("general.alignment", uint64_t{1} << 63).build(); },
       "general.alignment is 9223372036854775808; it must be a multiple of 8"},
  };
  for (const uint32_t alignment : {0u, 1u, 4u, 3u, 33u, 36u, 1u << 21, 1u << 31, 0xffffffffu}) {
    rows.push_back({fmt::format("Alignment{}", alignment), [alignment] { return with_alignment(alignment); },
                    fmt::format("general.alignment is {}; it must be a multiple of 8", alignment)});
  }
  return rows;
}

std::vector<Hostile> lengths() {
  const std::string cut = "the file is cut short or damaged, fetch it again";
  const std::string no_room = "cannot fit in the";
  return {
      {"KeyBeyondFile", [] { return GgufBuilder().add_raw(Bytes(20, 'x'), 0, "x").build().substr(0, 40); },
       cut},
      {"KeyOfMaxLength",
       [] {
         GgufBuilder file;
         file.claimed_entries = 1;
         return file.build() + raw(kMax) + Bytes(64, 'x');
       },
       "the key needs 18446744073709551615 bytes, but only 64 remain"},
      {"StringBeyondFile", [] { return with_entry("k", kGgufString, raw_string("x", 1u << 30)); },
       "the value's text needs 1073741824 bytes"},
      {"StringOfMaxLength", [] { return with_entry("k", kGgufString, raw_string("x", kMax)); }, cut},
      {"StringThatWrapsTheOffset", [] { return with_entry("k", kGgufString, raw_string("x", kMax - 7)); },
       cut},
      {"ArrayBeyondFile", [] { return with_array(4, 1u << 30); }, no_room},
      {"ArrayOfMaxLength", [] { return with_array(0, kMax); }, no_room},
      {"ArrayWhoseSizeWraps", [] { return with_array(10, (uint64_t{1} << 61) + 1); }, no_room},
      {"StringArrayOfMaxLength", [] { return with_array(8, kMax); }, no_room},
      {"StringArrayWhoseListWraps", [] { return with_array(8, uint64_t{1} << 60); }, no_room},
      {"StringInArrayBeyondFile", [] { return with_array(8, 2, raw_string("a") + raw_string("b", kMax)); },
       "a string of the array needs"},
      {"NestedArrayBeyondFile",
       [] { return with_array(9, 1, raw<uint32_t>(4) + raw<uint64_t>(1u << 30) + raw<uint32_t>(7)); },
       no_room},
      {"NestedArrayOfMaxLength", [] { return with_array(9, kMax); }, no_room},
      {"DeeplyNestedArray",
       [] {
         Bytes nest;
         for (int i = 0; i < 100000; ++i) nest += raw<uint32_t>(9) + raw<uint64_t>(1);
         return with_array(9, 1, nest);
       },
       "arrays are nested deeper than 8"},
      {"EntryCountBeyondFile", [] { return changed([](auto& f) { f.claimed_entries = 4000; }); },
       "4000 metadata entries cannot fit"},
      {"EntryCountMax", [] { return changed([](auto& f) { f.claimed_entries = kMax; }); },
       "the header claims 18446744073709551615 metadata entries"},
      {"TensorCountBeyondFile", [] { return changed([](auto& f) { f.claimed_tensors = 1 << 20; }); },
       "1048576 tensor entries cannot fit"},
      {"TensorCountMax", [] { return changed([](auto& f) { f.claimed_tensors = kMax; }); }, no_room},
      {"TensorCountWrapsTheList",
       [] { return changed([](auto& f) { f.claimed_tensors = uint64_t{1} << 58; }); }, no_room},
  };
}

std::vector<Hostile> types() {
  const std::string range = "GGUF's value types are 0 to 12";
  std::vector<Hostile> rows = {
      {"BoolIs2", [] { return with_entry("k", 7, raw<uint8_t>(2)); }, "a bool must be stored as 0 or 1"},
      {"BoolInArrayIs255", [] { return with_array(7, 16, Bytes(16, '\xff')); },
       "a bool must be stored as 0 or 1"},
  };
  for (const uint32_t type : {13u, 255u, 0x80000000u, 0xffffffffu}) {
    rows.push_back({fmt::format("ValueType{}", type), [=] { return with_entry("k", type, Bytes(16, '\0')); },
                    fmt::format("the value's type is {}, but {}", type, range)});
    rows.push_back({fmt::format("ElementType{}", type), [=] { return with_array(type, 1); },
                    fmt::format("the array's element type is {}, but {}", type, range)});
  }
  return rows;
}

Bytes with_offset(uint64_t offset) {
  return changed([=](auto& file) { file.tensor("output.weight").offset = offset; });
}

std::vector<Hostile> offsets() {
  const std::string cut = "the file is cut short or damaged, fetch it again";
  return {
      {"OffsetPastTheEnd", [] { return with_offset(1 << 20); },
       "('output.weight'): the tensor has 192 bytes at"},
      {"OffsetMax", [] { return with_offset(kMax - 31); }, cut},
      {"OffsetThatWrapsWithTheSize", [] { return with_offset(kMax - 191 - 32 + 32); }, cut},
      {"OffsetUnaligned", [] { return with_offset(33); },
       "('output.weight'): the tensor's offset 33 is not a multiple of the alignment 32"},
      {"OffsetOfAnother", [] { return with_offset(0); }, "'token_embd.weight' and 'output.weight' overlap"},
      {"OffsetInsideAnother", [] { return with_offset(160); }, "overlap"},
      {"DataCutByOneByte",
       [] {
         Bytes file = tiny_llama().build();
         file.pop_back();
         return file;
       },
       "('blk.1.ffn_down.weight'): the tensor has 384 bytes"},
      {"DataMissing", [] { return tiny_llama().header(); }, cut},
  };
}

std::vector<Hostile> starts() {
  const std::string big_endian = "big-endian GGUF file is not supported";
  return {
      {"BigEndianMagic", [] { return start_of_file("FUGG"); }, big_endian},
      {"BigEndianVersion", [] { return start_of_file("GGUF" + raw<uint32_t>(3u << 24)); }, big_endian},
      {"Version0", [] { return start_of_file("GGUF" + raw<uint32_t>(0)); },
       "GGUF version 0 is not supported"},
      {"Version1", [] { return start_of_file("GGUF" + raw<uint32_t>(1)); },
       "GGUF version 1 is not supported; GRETA reads versions 2 and 3"},
      {"Version4", [] { return start_of_file("GGUF" + raw<uint32_t>(4)); },
       "GGUF version 4 is not supported"},
      {"OldGgml", [] { return start_of_file("tjgg"); }, "GGML file from before GGUF"},
      {"LfsPointer", [] { return start_of_file("version https://git-lfs.github.com/spec/v1\n"); },
       "Git LFS pointer"},
      {"SafeTensors", [] { return start_of_file(raw<uint64_t>(120) + "{\"a\":"); },
       "starts with 'x\\x00\\x00\\x00'"},
      {"Empty", [] { return Bytes(); }, "not a GGUF file"},
      {"MagicOnly", [] { return Bytes("GGUF"); }, "the version needs 4 bytes, but only 0 remain"},
  };
}

class HostileGguf : public testing::TestWithParam<Hostile> {};

TEST_P(HostileGguf, IsRefusedWithOneClearErrorAndLittleMemory) {
  const Bytes file = GetParam().file();
  std::string message;
  const int64_t peak = peak_of([&] { message = parse_error(file); });
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  // 4x: the widest expansion is a string view of 16 bytes for a string of 8, and entries of 72 bytes for
  // tensors of 33. The constant is for the message and the exception.
  EXPECT_LE(peak, static_cast<int64_t>(4 * file.size() + 16384));
}

const auto kRowName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Products, HostileGguf, testing::ValuesIn(products()), kRowName);
INSTANTIATE_TEST_SUITE_P(DimensionCounts, HostileGguf, testing::ValuesIn(dimension_counts()), kRowName);
INSTANTIATE_TEST_SUITE_P(Names, HostileGguf, testing::ValuesIn(names()), kRowName);
INSTANTIATE_TEST_SUITE_P(Alignments, HostileGguf, testing::ValuesIn(alignments()), kRowName);
INSTANTIATE_TEST_SUITE_P(Lengths, HostileGguf, testing::ValuesIn(lengths()), kRowName);
INSTANTIATE_TEST_SUITE_P(Types, HostileGguf, testing::ValuesIn(types()), kRowName);
INSTANTIATE_TEST_SUITE_P(Offsets, HostileGguf, testing::ValuesIn(offsets()), kRowName);
INSTANTIATE_TEST_SUITE_P(Starts, HostileGguf, testing::ValuesIn(starts()), kRowName);

// Valid files that make the reader's own lists as large as they can be against the file.

TEST(GgufMemory, ManyEmptyStrings) {
  const Bytes file = with_array(8, 1 << 17, Bytes(8 << 17, '\0'));
  const int64_t peak = peak_of([&] { parse_gguf(as_bytes(file), "test.gguf"); });
  EXPECT_LE(peak, static_cast<int64_t>(4 * file.size()));
#ifndef GRETA_SANITIZED
  EXPECT_GE(peak, 16 << 17) << "the counter does not count";
#endif
}

TEST(GgufMemory, ManySmallTensors) {
  GgufBuilder file;
  for (int i = 0; i < 10000; ++i) file.tensors.push_back({fmt::format("{}", i), {1}, 0, "", {}, {}});
  const Bytes bytes = file.header();  // without data: refused, but only after the list was made
  const int64_t peak = peak_of([&] { parse_error(bytes); });
  EXPECT_LE(peak, static_cast<int64_t>(4 * bytes.size() + 16384));
}

TEST(GgufMemory, ManySmallEntriesAreCapped) {
  GgufBuilder file;
  for (int i = 0; i < 4097; ++i) file.add_raw(fmt::format("{}", i), 0, "x");
  EXPECT_THAT(parse_error(file.build()),
              HasSubstr("the header claims 4097 metadata entries; a model has at most 4096"));
  file.claimed_entries = 4096;
  const Bytes bytes = file.build();
  // An entry of 80 bytes may take 14 in the file, so this list alone may be larger than 4x; hence the cap.
  EXPECT_LE(peak_of([&] { parse_gguf(as_bytes(bytes), "test.gguf"); }), int64_t{1} << 20);
}

/// Parses and binds whatever the bytes are: an Error or a model, nothing else.
void survive(std::string_view bytes) {
  try {
    bind_model(parse_gguf(as_bytes(bytes), "test.gguf"));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
  }
}

TEST(GgufTruncation, AtEveryByteIsRefused) {
  const Bytes file = tiny_llama().build();
  for (size_t size = 0; size < file.size(); ++size) {
    // A copy of its own, so that a sanitizer sees the first byte behind the end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_NE(parse_error({cut.data(), cut.size()}), "") << size;
  }
}

TEST(GgufTruncation, OfARealHeaderAtItsFields) {
  const auto path = model_file("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!path) GTEST_SKIP() << kNoModel;
  const ModelFile gguf = open_gguf(*path);
  const std::string_view file = gguf.parts().front().map.text();
  std::vector<size_t> cuts;
  const auto add_around = [&](std::string_view name) {
    const size_t start = static_cast<size_t>(name.data() - file.data());
    for (const size_t cut :
         {start - 8, start, start + name.size(), start + name.size() + 4, start + name.size() + 12}) {
      cuts.push_back(cut);
    }
  };
  for (const auto& entry : gguf.metadata()) add_around(entry.first);
  for (size_t i = 0; i < gguf.tensors().size(); i += 16) add_around(gguf.tensors()[i].name);
  for (const size_t cut : cuts) EXPECT_NE(parse_error(file.substr(0, cut)), "") << cut;
}

/// A tiny model with every kind of metadata value.
GgufBuilder varied() {
  GgufBuilder file = tiny_llama();
  file.set_array<int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 3})
      .set<bool>("tokenizer.ggml.add_bos_token", true);
  file.set_array<float>("tokenizer.ggml.scores", {0, 1, 2, 3, 4, 5})
      .set<uint64_t>("u64", 1)
      .set<double>("f64", 1);
  file.set<uint32_t>("general.alignment", 32);
  return file;
}
Bytes varied_file() { return varied().build(); }
size_t varied_header_size() { return varied().header().size(); }

TEST(GgufFlips, WithoutFlipsTheFileIsAModel) {
  const Bytes file = varied_file();
  EXPECT_EQ(bind_model(parse_gguf(as_bytes(file), "test.gguf")).layers.size(), 2u);
}

// A fixed seed: many flips, the same on every run. The fuzzer (tests/fuzz) looks for new ones.
TEST(GgufFlips, TwentyThousandFilesWithFlipsNeverCrash) {
  const Bytes original = varied_file();
  const size_t header = varied_header_size();  // the data is not looked at
  std::mt19937 random(20260203);
  for (int round = 0; round < 20000; ++round) {
    std::vector<char> file(original.begin(), original.end());
    for (uint32_t flips = 1 + random() % 4; flips > 0; --flips) {
      file[random() % header] = static_cast<char>(random());
    }
    survive({file.data(), file.size()});
  }
}

/// Where to overwrite a byte, and with what.
using Flips = std::vector<std::pair<uint32_t, char>>;

RC_GTEST_PROP(GgufFlips, AnyBytesOverwrittenNeverCrash, (const Flips& flips)) {
  static const Bytes original = varied_file();
  static const size_t header = varied_header_size();  // the data is not looked at
  // A copy of its own size, so that a sanitizer sees the first byte behind the end.
  std::vector<char> file(original.begin(), original.end());
  for (const auto& [at, byte] : flips) file[at % header] = byte;
  survive({file.data(), file.size()});
}

RC_GTEST_PROP(GgufFlips, AnyFieldReplacedByAnyIntegerNeverCrashes,
              (uint32_t at, uint64_t value, bool small)) {
  static const Bytes original = varied_file();
  std::vector<char> file(original.begin(), original.end());
  const size_t width = small ? 4 : 8;
  std::memcpy(file.data() + at % (varied_header_size() - width), &value, width);
  survive({file.data(), file.size()});
}

}  // namespace
}  // namespace greta::test
