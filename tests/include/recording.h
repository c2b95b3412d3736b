#pragma once
// What the tests of greta_trace.h share: a trace that is recorded as an engine does, and what became of it.

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "greta_trace.h"
#include "io/testing.h"

namespace greta::testing {

inline greta_trace_meta plain_meta() {
  greta_trace_meta meta = GRETA_TRACE_ZERO;
  meta.engine = "test";
  return meta;
}

/// A trace in which prompt "p" of three tokens has begun its prefill.
class Recording {
 public:
  explicit Recording(greta_trace_meta meta = plain_meta()) : trace_(greta_trace_open(path().c_str(), &meta)) {
    const int32_t tokens[] = {7, 8, 9};
    EXPECT_NE(trace_, 0U) << greta_trace_error();
    EXPECT_EQ(greta_trace_prompt(trace_, "p", "abc", tokens, 3), GRETA_TRACE_OK);
    EXPECT_EQ(greta_trace_begin(trace_, "prefill", "p", nullptr), GRETA_TRACE_OK);
  }
  ~Recording() { greta_trace_close(trace_); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  greta_trace trace() const { return trace_; }
  std::string path() const { return temp_ / "b"; }
  int rows(const char* stage, const std::vector<float>& values, int64_t count, int64_t first = 0) const {
    return greta_trace_rows(trace_, stage, 0, values.data(), GRETA_TRACE_F32, count,
                            static_cast<int64_t>(values.size()) / count, first);
  }
  /// As the reader sees it now.
  Bundle read() const { return read_bundle(path()); }

 private:
  TempDirectory temp_;
  greta_trace trace_;
};

/// {rows, width} of floats, at position 0 on.
inline greta_trace_event event_of(const char* stage, const std::vector<float>& values, int64_t rows) {
  greta_trace_event event = GRETA_TRACE_ZERO;
  event.stage = stage;
  event.data = values.data();
  event.shape[0] = rows;
  event.shape[1] = static_cast<int64_t>(values.size()) / rows;
  return event;
}

}  // namespace greta::testing
