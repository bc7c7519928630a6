#include "capture/plan.hpp"

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
  if (query->estate == nullptr || query->planstate == nullptr || IsInParallelMode()) return {};
  const MemoryContext outer = CurrentMemoryContext;
  const ResourceOwner owner = CurrentResourceOwner;
  StringInfo volatile plan = nullptr;
  BeginInternalSubTransaction(nullptr);
  MemoryContextSwitchTo(query->estate->es_query_cxt);
  PG_TRY();
  {
    plan = Explain(query);
    ReleaseCurrentSubTransaction();
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(outer);
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
    plan = nullptr;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(outer);
  CurrentResourceOwner = owner;
  if (plan == nullptr || plan->len > kMaxPlan) return {};
  return {plan->data, static_cast<size_t>(plan->len)};
}

}  // namespace train_perf
