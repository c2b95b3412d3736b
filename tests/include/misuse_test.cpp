// greta_trace.h used wrongly, on a full disk, by several threads, in a program that is killed:
// an error with a message, and a bundle that can be read.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <thread>

#include "base/rounding.h"
#include "bundle/event.h"
#include "bundle/kernel_fields.h"
#include "include/recording.h"
#include "io/file_size_limit.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using testing::event_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::plain_meta;
using testing::Recording;
using ::testing::SizeIs;
using testing::TempDirectory;
using testing::write_file;

const std::vector<float> kTwo{1, 2};

/// The call's code, and what was said of it: one line, plain.
void expect_error(int code, greta_trace_result expected, const std::string& part) {
  EXPECT_EQ(code, expected) << greta_trace_error();
  EXPECT_THAT(greta_trace_error(), HasSubstr(part));
  EXPECT_THAT(greta_trace_error(), Not(HasSubstr("\n")));
}

TEST(GretaTraceMisuse, OpenSaysWhy) {
  TempDirectory temp;
  const auto refused = [&](const std::string& directory, const greta_trace_meta* meta, const char* part) {
    EXPECT_EQ(greta_trace_open(directory.c_str(), meta), 0U);
    EXPECT_THAT(greta_trace_error(), HasSubstr(part));
  };
  greta_trace_meta meta = plain_meta();
  EXPECT_EQ(greta_trace_open(nullptr, &meta), 0U);
  refused("", &meta, "no name");
  refused(temp / "b", nullptr, "meta.engine");
  meta.engine = "";
  refused(temp / "b", &meta, "meta.engine");
  meta = plain_meta();
  meta.decode0_row = "ones";
  refused(temp / "b", &meta, "zeros|other row|nan|freed");
  meta = plain_meta();
  meta.model_hash = "sha256:12";
  refused(temp / "b", &meta, "64");
  meta = plain_meta();
  refused(temp / "no/such/parent", &meta, "No such file");
  write_file(temp / "file", "");
  refused(temp / "file/b", &meta, "Not a directory");
  refused(temp / "file", &meta, "Not a directory");
  const greta_trace first = greta_trace_open((temp / "b").c_str(), &meta);
  EXPECT_NE(first, 0U);
  refused(temp / "b", &meta, "holds a bundle already");
  greta_trace_close(first);
  refused(temp / "b", &meta, "holds a bundle already");
}

TEST(GretaTraceMisuse, ATraceThatIsNone) {
  TempDirectory temp;
  const greta_trace_meta meta = plain_meta();
  const greta_trace closed = greta_trace_open((temp / "b").c_str(), &meta);
  EXPECT_EQ(greta_trace_close(closed), GRETA_TRACE_OK);
  const greta_trace successor = greta_trace_open((temp / "c").c_str(), &meta);
  for (const greta_trace trace : {closed, greta_trace{0}, greta_trace{1}, ~greta_trace{0}}) {
    expect_error(greta_trace_close(trace), GRETA_TRACE_E_CLOSED, "no open trace");
    expect_error(greta_trace_prompt(trace, "p", nullptr, nullptr, 0), GRETA_TRACE_E_CLOSED, "no open trace");
    expect_error(greta_trace_kernel(trace, "k", ""), GRETA_TRACE_E_CLOSED, "no open trace");
    expect_error(greta_trace_begin(trace, "prefill", "p", nullptr), GRETA_TRACE_E_CLOSED, "no open trace");
    expect_error(greta_trace_rows(trace, "q", 0, kTwo.data(), GRETA_TRACE_F32, 1, 2, 0), GRETA_TRACE_E_CLOSED,
                 "no open trace");
  }
  EXPECT_EQ(greta_trace_close(successor), GRETA_TRACE_OK);
}

TEST(GretaTraceMisuse, NoMoreThanSixteenAtOnce) {
  TempDirectory temp;
  const greta_trace_meta meta = plain_meta();
  std::vector<greta_trace> traces;
  for (int i = 0; i < 16; ++i) traces.push_back(greta_trace_open((temp / std::to_string(i)).c_str(), &meta));
  EXPECT_EQ(greta_trace_open((temp / "more").c_str(), &meta), 0U);
  EXPECT_THAT(greta_trace_error(), HasSubstr("16 traces"));
  for (const greta_trace trace : traces) EXPECT_EQ(greta_trace_close(trace), GRETA_TRACE_OK);
}

TEST(GretaTraceMisuse, WhatIsSaidOfTheRun) {
  const Recording recording;
  const greta_trace trace = recording.trace();
  const int32_t negative[] = {1, -1};
  expect_error(greta_trace_prompt(trace, nullptr, "", nullptr, 0), GRETA_TRACE_E_ARGUMENT, "id");
  expect_error(greta_trace_prompt(trace, "n", "", negative, 2), GRETA_TRACE_E_ARGUMENT, "token 1");
  expect_error(greta_trace_prompt(trace, "p", "other", nullptr, 0), GRETA_TRACE_E_TWICE, "\"p\"");
  expect_error(greta_trace_experiment(trace, "", nullptr, 0), GRETA_TRACE_E_ARGUMENT, "name");
  expect_error(greta_trace_experiment(trace, "E1", "valu", 0), GRETA_TRACE_E_ARGUMENT, "vector");
  expect_error(greta_trace_begin(trace, nullptr, "p", nullptr), GRETA_TRACE_E_PHASE, "decode0");
  expect_error(greta_trace_begin(trace, "prompt", "p", nullptr), GRETA_TRACE_E_PHASE, "decode0");
  expect_error(greta_trace_begin(trace, "decode0", nullptr, nullptr), GRETA_TRACE_E_ARGUMENT, "prompt");
  EXPECT_THAT(recording.read().events, IsEmpty());
  EXPECT_EQ(greta_trace_close(trace), GRETA_TRACE_E_ARGUMENT) << "the first of all";
  EXPECT_THAT(greta_trace_error(), HasSubstr("id"));
  EXPECT_EQ(recording.read().manifest.at("complete"), true);
}

TEST(GretaTraceMisuse, WhatAKernelDeclares) {
  const Recording recording;
  const auto refused = [&](const char* declared, const char* part) {
    expect_error(greta_trace_kernel(recording.trace(), "k", declared), GRETA_TRACE_E_ARGUMENT, part);
  };
  refused(nullptr, "what it declares");
  refused("activaton=f16", "\"activaton\"");
  refused("activation", "activation");
  refused("activation=f17", "known are f32");
  refused("activation=f32 accumulator=f32", "known are f32");
  refused("splits=0", "splits");
  refused("splits=65", "splits");
  refused("splits=4.5", "splits");
  refused("splits=99999999999999999999", "splits");
  refused("sum_lanes=-1", "sum_lanes");
  refused("angle_rounding=1,5", "\"5\"");
  refused("angle_rounding=.5", "angle_rounding");
  refused("angle_rounding=1e999", "angle_rounding");
  refused("fast_math=1", "true");
  refused("unit=", "unit");
  EXPECT_EQ(greta_trace_kernel(recording.trace(), "k", "activation=f16"), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_kernel(recording.trace(), "k", "activation=f16"), GRETA_TRACE_OK);
  expect_error(greta_trace_kernel(recording.trace(), "k", "activation=f32"), GRETA_TRACE_E_TWICE, "\"k\"");
  EXPECT_EQ(greta_trace_kernel(recording.trace(), "j", " , splits=64 ,"), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("q", kTwo, 1), GRETA_TRACE_OK);
  EXPECT_EQ(recording.read().manifest.at("kernels"),
            (nlohmann::json{{"k", {{"activation", "f16"}}}, {"j", {{"splits", 64}}}}));
}

/// The fields and words of GRETA's own tables are taken.
TEST(GretaTraceMisuse, KnowsWhatKernelsDeclare) {
  const Recording recording;
  int n = 0;
  const auto takes = [&](const std::string& declared) {
    EXPECT_EQ(greta_trace_kernel(recording.trace(), std::to_string(++n).c_str(), declared.c_str()),
              GRETA_TRACE_OK)
        << greta_trace_error();
  };
  for (const KernelFieldInfo& field : kKernelFields) {
    const std::string name = std::string(field.name) + "=";
    switch (field.value) {
      case FieldValue::format:
        for (const std::string_view format : kFormatNames) takes(name + std::string(format));
        break;
      case FieldValue::integer:
        takes(name + std::to_string(field.least));
        takes(name + std::to_string(field.most));
        expect_error(
            greta_trace_kernel(recording.trace(), "k", (name + std::to_string(field.most + 1)).c_str()),
            GRETA_TRACE_E_ARGUMENT, field.name);
        break;
      case FieldValue::number: takes(name + "3e-7"); break;
      case FieldValue::flag: takes(name + "false"); break;
      case FieldValue::text:
        if (field.field == KernelField::angle) {
          for (const char* word : {"f32", "iterated", "exact"}) takes(name + word);
        } else if (field.field == KernelField::route || field.field == KernelField::shape) {
          for (const char* word : {"vector", "matrix"})
            takes(field.field == KernelField::route ? name + word : name + "gemm");
        } else {
          takes(name + "any");
        }
    }
  }
  const std::vector<float> values{1};
  for (const std::string_view dtype : kDtypes) {
    const std::string held(dtype);
    greta_trace_event event = event_of("mine", values, 1);
    event.layer = ++n;
    event.held_as = held.c_str();
    event.flags = GRETA_TRACE_UNJUDGED;
    EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK) << greta_trace_error();
  }
  EXPECT_THAT(recording.read().events, SizeIs(kDtypes.size()));
}

TEST(GretaTraceMisuse, Events) {
  const Recording recording;
  const auto refused = [&](greta_trace_result code, const char* part, auto change) {
    greta_trace_event event = event_of("q", kTwo, 1);
    change(event);
    expect_error(greta_trace_stage(recording.trace(), &event), code, part);
  };
  const int64_t back[] = {3, 2}, negative[] = {-1, 1}, huge[] = {int64_t{1} << 62, 1};
  expect_error(greta_trace_stage(recording.trace(), nullptr), GRETA_TRACE_E_ARGUMENT, "stage");
  refused(GRETA_TRACE_E_ARGUMENT, "stage", [](auto& e) { e.stage = nullptr; });
  refused(GRETA_TRACE_E_ARGUMENT, "data", [](auto& e) { e.data = nullptr; });
  refused(GRETA_TRACE_E_ARGUMENT, "dtype", [](auto& e) { e.dtype = static_cast<greta_trace_dtype>(9); });
  refused(GRETA_TRACE_E_ARGUMENT, "held_as", [](auto& e) { e.held_as = "f8"; });
  refused(GRETA_TRACE_E_ARGUMENT, "route", [](auto& e) { e.route = "mfma"; });
  refused(GRETA_TRACE_E_ARGUMENT, "launches", [](auto& e) { e.launches = ~uint64_t{0}; });
  refused(GRETA_TRACE_E_STAGE, "x_in attn_norm", [](auto& e) { e.stage = "Q\x1b[31m"; });
  refused(GRETA_TRACE_E_STAGE, "x_in attn_norm", [](auto& e) { e.stage = "q k"; });
  refused(GRETA_TRACE_E_STAGE, "layers", [](auto& e) { e.layer = -1; });
  refused(GRETA_TRACE_E_STAGE, "layers", [](auto& e) { e.layer = 1 << 30; });
  refused(GRETA_TRACE_E_STAGE, "qk", [](auto& e) { e.flags = GRETA_TRACE_UNMASKED; });
  refused(GRETA_TRACE_E_STAGE, "kv_write", [](auto& e) { e.values = kTwo.data(); });
  refused(GRETA_TRACE_E_PHASE, "prefill", [](auto& e) { e.phase = "decod0"; });
  refused(GRETA_TRACE_E_SHAPE, "rows", [](auto& e) { e.shape[0] = 0; });
  refused(GRETA_TRACE_E_SHAPE, "rows", [](auto& e) { e.shape[1] = 0; });
  refused(GRETA_TRACE_E_SHAPE, "negative", [](auto& e) { e.shape[1] = -2; });
  refused(GRETA_TRACE_E_SHAPE, "large", [](auto& e) { e.shape[0] = e.shape[1] = int64_t{1} << 40; });
  refused(GRETA_TRACE_E_SHAPE, "positions", [](auto& e) { e.stage = "qk"; });
  refused(GRETA_TRACE_E_SHAPE, "positions", [](auto& e) { e.position = -1; });
  refused(GRETA_TRACE_E_SHAPE, "increase", [&](auto& e) {
    e.shape[0] = 2;
    e.positions = back;
  });
  refused(GRETA_TRACE_E_SHAPE, "stride", [&](auto& e) { e.strides = negative; });
  refused(GRETA_TRACE_E_SHAPE, "stride", [&](auto& e) {
    e.shape[0] = 2;
    e.strides = huge;
  });
  EXPECT_EQ(recording.rows("k", kTwo, 1), GRETA_TRACE_OK) << "what is right is taken all the same";
  EXPECT_EQ(greta_trace_close(recording.trace()), GRETA_TRACE_E_ARGUMENT);
  const Bundle bundle = recording.read();
  EXPECT_THAT(bundle.events, SizeIs(1));
  EXPECT_THAT(bundle.notes, IsEmpty());
}

TEST(GretaTraceMisuse, NoPhaseWasBegun) {
  TempDirectory temp;
  const greta_trace_meta meta = plain_meta();
  const greta_trace trace = greta_trace_open((temp / "b").c_str(), &meta);
  greta_trace_event event = event_of("q", kTwo, 1);
  expect_error(greta_trace_stage(trace, &event), GRETA_TRACE_E_PHASE, "greta_trace_begin");
  event.phase = "prefill";
  expect_error(greta_trace_stage(trace, &event), GRETA_TRACE_E_PHASE, "greta_trace_begin");
  event.prompt = "p";
  EXPECT_EQ(greta_trace_stage(trace, &event), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_close(trace), GRETA_TRACE_E_PHASE);
  EXPECT_THAT(read_bundle(temp / "b").events, SizeIs(1));
}

TEST(GretaTraceMisuse, AFullDiskLeavesWhatWentBefore) {
  for (const bool of_values :
       {true, false}) {  // a tensors file is the first that is too long, or events.jsonl
    const Recording recording;
    int code = GRETA_TRACE_OK, taken = 0;
    {
      const testing::FileSizeLimit full(1500);
      for (; code == GRETA_TRACE_OK && taken < 100; ++taken) {
        const bool large = of_values && taken > 2;
        code = recording.rows(large ? "v" : "q", std::vector<float>(large ? 400 : 4, 1.0f), 1, 10 + taken);
      }
      expect_error(code, GRETA_TRACE_E_IO, "cannot write");
      --taken;
    }
    expect_error(recording.rows("k", kTwo, 1), GRETA_TRACE_E_IO, "nothing more is recorded");
    EXPECT_EQ(greta_trace_close(recording.trace()), GRETA_TRACE_E_IO);
    const Bundle bundle = read_bundle(recording.path());
    EXPECT_THAT(bundle.events, SizeIs(static_cast<size_t>(taken)));
    for (const Event& event : bundle.events) EXPECT_NE(bundle.data(event), nullptr);
    EXPECT_THAT(bundle.notes, Not(IsEmpty()));
    EXPECT_THAT(greta_trace_error(), HasSubstr("readable up to event"));
  }
}

/// Killed at any moment: all events that are there have their values.
TEST(GretaTraceMisuse, AKilledProgramLeavesABundle) {
  for (int trial = 0; trial < 5; ++trial) {
    TempDirectory temp;
    const std::string path = temp / "b";
    const pid_t child = ::fork();
    if (child == 0) {
      const greta_trace_meta meta = plain_meta();
      const greta_trace trace = greta_trace_open(path.c_str(), &meta);
      greta_trace_begin(trace, "prefill", "p", nullptr);
      std::vector<float> values(3000);
      for (int64_t position = 0;; ++position) {
        values[0] = static_cast<float>(position);
        greta_trace_rows(trace, "q", 0, values.data(), GRETA_TRACE_F32, 1, 3000, position);
      }
    }
    const auto is_begun = [&] {
      std::error_code ignored;
      const auto size = std::filesystem::file_size(path + "/events.jsonl", ignored);
      return !ignored && size > 0;
    };
    for (int i = 0; i < 5000 && !is_begun(); ++i) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(3000 + 777 * trial));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const Bundle bundle = read_bundle(path);
    EXPECT_THAT(bundle.events, Not(IsEmpty()));
    for (size_t i = 0; i < bundle.events.size(); ++i) {
      const auto* data = bundle.data(bundle.events[i]);
      ASSERT_NE(data, nullptr);
      EXPECT_EQ(data->front(), static_cast<float>(i));
    }
    EXPECT_THAT(bundle.notes, Not(IsEmpty())) << "the run did not finish";
  }
}

TEST(GretaTraceMisuse, ThreadsRecordAtOnce) {
  const Recording recording;
  constexpr int kThreads = 8, kEvents = 25;
  std::atomic<int> wrong{0}, twice{0};
  const auto work = [&](int thread) {
    const std::string prompt = "p" + std::to_string(thread % 2);
    for (int i = 0; i < kEvents; ++i) {
      const std::vector<float> values{static_cast<float>(thread), static_cast<float>(i)};
      greta_trace_event event = event_of("q", values, 1);
      event.layer = thread;
      event.position = i;
      event.phase = "decode1";
      event.prompt = prompt.c_str();
      wrong += greta_trace_stage(recording.trace(), &event) != GRETA_TRACE_OK;
      event.layer = 100 + i;  // all threads want this place: one gets it
      event.position = 0;
      event.prompt = "shared";
      const int code = greta_trace_stage(recording.trace(), &event);
      twice += code == GRETA_TRACE_E_TWICE;
      wrong += code != GRETA_TRACE_OK && code != GRETA_TRACE_E_TWICE;
      greta_trace_prompt(recording.trace(), prompt.c_str(), "text", nullptr, 0);
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(twice, kEvents * (kThreads - 1));
  EXPECT_EQ(greta_trace_close(recording.trace()), GRETA_TRACE_E_TWICE);
  const Bundle bundle = recording.read();
  EXPECT_THAT(bundle.events, SizeIs(kEvents * (kThreads + 1)));
  EXPECT_THAT(bundle.manifest.at("prompts"), SizeIs(3));
  for (const Event& event : bundle.events) {
    if (event.layer >= 100) continue;
    EXPECT_THAT(*bundle.data(event), ElementsAre(event.layer, event.positions[0]));
  }
}

TEST(GretaTraceMisuse, ClosedWhileOthersRecord) {
  for (int trial = 0; trial < 3; ++trial) {
    const Recording recording;
    std::vector<std::thread> threads;
    std::atomic<int> others{0};
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (int64_t i = 0;; ++i) {
          const int code =
              greta_trace_rows(recording.trace(), "q", thread, kTwo.data(), GRETA_TRACE_F32, 1, 2, 2 * i + 5);
          others += code != GRETA_TRACE_OK && code != GRETA_TRACE_E_CLOSED;
          if (code != GRETA_TRACE_OK) break;
        }
      });
    }
    ::usleep(2000);
    EXPECT_EQ(greta_trace_close(recording.trace()), GRETA_TRACE_OK);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(others, 0);
    EXPECT_THAT(recording.read().notes, IsEmpty());
  }
}

}  // namespace
}  // namespace greta
