#include "capture/plan.hpp"

#include "core/error_text.hpp"
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
    const bool meant_for_user = ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_OPERATOR_INTERVENTION;
    MemoryContextSwitchTo(outer);
    if (meant_for_user) PG_RE_THROW();  // a cancel request, not a failure of ours
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
    plan = nullptr;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(outer);
  CurrentResourceOwner = owner;
  if (plan == nullptr || plan->len > kMaxPlan) return {};
  const auto length = static_cast<size_t>(plan->len);
  return {plan->data, settings::log_literal_text ? length : MaskPlan(plan->data, length)};
}

}  // namespace train_perf
