#include "capture/plan.hpp"

#include "core/error_text.hpp"
#include "pg/boundary.hpp"
#include "pg/settings.hpp"

namespace train_perf {

namespace {

constexpr int kMaxPlan = 64 * 1024;

StringInfo Explain(QueryDesc* query) {
  ExplainState* state = NewExplainState();
  state->format = EXPLAIN_FORMAT_JSON;
  state->analyze = false;
  state->costs = true;
  ExplainBeginOutput(state);
  ExplainPrintPlan(state, query);
  ExplainEndOutput(state);
  // As auto_explain does: one object instead of an array of one.
  state->str->data[0] = '{';
  state->str->data[state->str->len - 1] = '}';
  return state->str;
}

}  // namespace

std::string_view PlanAsJson(QueryDesc* query) {
  if (!IsTransactionState() || IsInParallelMode()) return {};
  if (query->estate == nullptr || query->planstate == nullptr) return {};
  StringInfo plan = nullptr;
  const bool explained = Attempt([&] {
    MemoryContextSwitchTo(query->estate->es_query_cxt);
    plan = Explain(query);
  });
  if (!explained || plan->len > kMaxPlan) return {};
  const auto length = static_cast<size_t>(plan->len);
  return {plan->data, settings::log_literal_text ? length : MaskPlan(plan->data, length)};
}

}  // namespace train_perf
