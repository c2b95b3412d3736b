#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace greta {
namespace {

class ThreadPoolOf : public testing::TestWithParam<int> {};

// More threads than any CI machine has cores are among them: waiting must then be sleeping, not spinning.
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolOf, testing::Values(1, 2, 3, 8, 33),
                         testing::PrintToStringParamName());

TEST(Part, RangesTileTheWhole) {
  for (const int count : {1, 2, 3, 7, 64}) {
    for (const int64_t total : {0L, 1L, 2L, 63L, 64L, 65L, 49152L, int64_t{1} << 40}) {
      int64_t next = 0;
      for (int i = 0; i < count; ++i) {
        const Part::Range range = Part{i, count}.of(total);
        EXPECT_EQ(range.begin, next) << "part " << i << " of " << count << ", total " << total;
        EXPECT_LE(range.begin, range.end);
        EXPECT_LE(range.end - range.begin, total / count + 1);
        next = range.end;
      }
      EXPECT_EQ(next, total) << count << " parts";
    }
  }
}

TEST_P(ThreadPoolOf, RunsEveryPartOnceAndSeesItsWrites) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  std::vector<int> runs(static_cast<size_t>(pool.size()), 0);  // plain ints: run() must publish them
  constexpr int kRuns = 200;
  for (int i = 0; i < kRuns; ++i) {
    pool.run([&](Part part) {
      EXPECT_EQ(part.count, GetParam());
      ++runs[static_cast<size_t>(part.index)];
    });
  }
  for (const int count : runs) EXPECT_EQ(count, kRuns);
}

// Each thread writes its slot, then reads everyone's. A barrier that opens early, is lost or does not publish
// shows as a stale value, as a hang, or under tsan as a race.
TEST_P(ThreadPoolOf, BarrierSeparatesWritesFromReads) {
  ThreadPool pool(GetParam());
  const int rounds = GetParam() > 8 ? 100 : 2000;
  std::vector<int> slots(static_cast<size_t>(pool.size()), -1);
  std::atomic<int> wrong{0};
  pool.run([&](Part part) {
    for (int round = 0; round < rounds; ++round) {
      slots[static_cast<size_t>(part.index)] = round;
      pool.barrier();
      for (const int slot : slots) wrong += slot != round;
      pool.barrier();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(ThreadPoolOf, ManyShortRuns) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> calls{0};
  const int runs = GetParam() > 8 ? 200 : 5000;
  for (int i = 0; i < runs; ++i) {
    pool.run([&](Part) { calls.fetch_add(1, std::memory_order_relaxed); });
  }
  EXPECT_EQ(calls, int64_t{runs} * GetParam());
}

TEST_P(ThreadPoolOf, ComesAndGoesWithoutWork) {
  for (int i = 0; i < 20; ++i) ThreadPool pool(GetParam());
}

// The failing thread never comes to the barrier that its team-mates wait at.
TEST_P(ThreadPoolOf, AnExceptionOfAnyPartReachesTheCallerAndThePoolLivesOn) {
  ThreadPool pool(GetParam());
  for (int culprit = 0; culprit < pool.size(); ++culprit) {
    std::atomic<bool> went_on{false};
    const auto body = [&](Part part) {
      pool.barrier();
      if (part.index == culprit) throw std::runtime_error("part " + std::to_string(culprit));
      pool.barrier();
      if (part.count > 1) went_on = true;
    };
    try {
      pool.run(body);
      ADD_FAILURE() << "the exception of part " << culprit << " is lost";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "part " + std::to_string(culprit));
    }
    EXPECT_FALSE(went_on) << "a barrier opened without part " << culprit;

    std::atomic<int> calls{0};
    pool.run([&](Part) {
      pool.barrier();
      ++calls;
    });
    EXPECT_EQ(calls, pool.size());
  }
}

TEST_P(ThreadPoolOf, WhenAllThrowTheCallerGetsOne) {
  ThreadPool pool(GetParam());
  for (int i = 0; i < 50; ++i) {
    EXPECT_THROW(pool.run([](Part part) { throw part.index; }), int);
  }
}

TEST(ThreadPool, LessThanOneThreadIsOne) { EXPECT_EQ(ThreadPool(0).size(), 1); }

}  // namespace
}  // namespace greta
