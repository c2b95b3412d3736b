// greta_trace_op: an op and its inputs in one call, as the reader and its check see them.

#include "bundle/op.h"

#include "include/recording.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Recording;

const std::vector<float> kX{1, 2, 3, 4, 5, 6};
const std::vector<float> kWeight{1, 1, 2};

greta_trace_tensor tensor(const char* name, const std::vector<float>& values, int64_t rows, int64_t width) {
  greta_trace_tensor tensor = GRETA_TRACE_ZERO;
  tensor.name = name;
  tensor.data = values.data();
  tensor.shape[0] = rows > 0 ? rows : width;
  tensor.shape[1] = rows > 0 ? width : 0;
  return tensor;
}

struct Norm {
  greta_trace_tensor inputs[2] = {tensor("x", kX, 2, 3), tensor("w", kWeight, 0, 3)};
  greta_trace_op_event event = GRETA_TRACE_ZERO;
  Norm() {
    event.op = "rms_norm";
    event.attributes = "eps=1e-6";
    event.inputs = inputs;
    event.n_inputs = 2;
    event.output = tensor("y", kX, 2, 3);
    event.layer = 3;
    event.kernel = "my_norm";
  }
};

TEST(TraceOp, IsReadWithItsInputs) {
  const Recording recording;
  Norm norm;
  norm.event.attributes = "eps=1e-6";
  ASSERT_EQ(greta_trace_op(recording.trace(), &norm.event), GRETA_TRACE_OK) << greta_trace_error();
  norm.inputs[0].data = nullptr;  // recorded before
  ASSERT_EQ(greta_trace_op(recording.trace(), &norm.event), GRETA_TRACE_OK) << greta_trace_error();
  const Bundle bundle = recording.read();  // flushed: the trace is still open
  ASSERT_EQ(bundle.events.size(), 5u);
  const Event& op = bundle.events[2];
  EXPECT_EQ(op.op, "rms_norm");
  EXPECT_EQ(op.name, "y");
  EXPECT_EQ(op.stage, "");
  EXPECT_EQ(op.kernel, "my_norm");
  EXPECT_EQ(op.layer, 3);
  EXPECT_EQ(number_of(op, "eps", 0), 1e-6);
  EXPECT_THAT(op.inputs, ElementsAre("x", "w"));
  const auto inputs = op_inputs(bundle);
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_EQ(inputs.at(&op)[0].event, &bundle.events[0]);
  EXPECT_THAT(inputs.at(&op)[1].event->shape, ElementsAre(3));
  EXPECT_EQ(inputs.at(&bundle.events[4])[0].event, &bundle.events[0]);
  EXPECT_EQ(*bundle.data(op), kX);
}

TEST(TraceOp, MisuseIsAnErrorAndRecordsNothing) {
  const Recording recording;
  EXPECT_EQ(greta_trace_op(recording.trace(), nullptr), GRETA_TRACE_E_ARGUMENT);
  Norm nameless;
  nameless.inputs[1].name = nullptr;
  EXPECT_EQ(greta_trace_op(recording.trace(), &nameless.event), GRETA_TRACE_E_ARGUMENT);
  EXPECT_THAT(greta_trace_error(), HasSubstr("input 1 has no name"));
  Norm attribute;
  attribute.event.attributes = "eps";
  EXPECT_EQ(greta_trace_op(recording.trace(), &attribute.event), GRETA_TRACE_E_ARGUMENT);
  Norm shapeless;
  shapeless.inputs[0].shape[0] = 0;
  EXPECT_EQ(greta_trace_op(recording.trace(), &shapeless.event), GRETA_TRACE_E_SHAPE);
  EXPECT_TRUE(recording.read().events.empty());
  EXPECT_NE(greta_trace_op(0, &shapeless.event), GRETA_TRACE_OK);
}

}  // namespace
}  // namespace greta
