#include "pg/settings.hpp"

#include <climits>

#include "pg/prelude.hpp"

namespace train_perf::settings {

bool enabled = true;
int track = kTrackTop;
bool track_utility = true;
bool track_planning = false;
int max_statements = 5000;
int event_buffer_size_kb = 4096;
int log_min_duration_ms = 500;
bool log_errors = true;
double log_sample_rate = 0.0;
bool log_parameters = false;
bool log_literal_text = false;
bool log_plan = false;
int history_interval_s = 60;
int retention_min = 35 * 24 * 60;
int log_retention_min = 7 * 24 * 60;
int max_collectors = 2;
int snapshot_interval_s = 3600;
char* snapshot_include = nullptr;
char* snapshot_exclude = nullptr;
int sample_cost_delay_ms = 2;
int index_usage_retention_min = 400 * 24 * 60;
int maintenance_workers = 1;
int maintenance_wait_ms = -1;
int maintenance_lock_timeout_ms = 2000;
int maintenance_drain_timeout_ms = 30 * 60 * 1000;
int maintenance_job_timeout_ms = 24 * 60 * 60 * 1000;
char* maintenance_window = nullptr;
char* maintenance_tables = nullptr;
int maintenance_retry_delay_ms = 10000;
int maintenance_max_attempts = 5;
char* maintenance_daily = nullptr;
char* maintenance_weekly = nullptr;
char* maintenance_monthly = nullptr;
double reindex_threshold = 50.0;
int analyze_after_rows = 100000;
char* timezone = nullptr;

namespace {

constexpr config_enum_entry kTrackOptions[] = {{"top", kTrackTop, false},
                                               {"all", kTrackAll, false},
                                               {"none", kTrackNone, false},
                                               {nullptr, 0, false}};

void DefineBool(const char* name, const char* description, bool* value) {
  DefineCustomBoolVariable(name, description, nullptr, value, *value, PGC_SUSET, 0, nullptr,
                           nullptr, nullptr);
}

struct IntRange {
  int min;
  int max;
};

void DefineInt(const char* name, const char* description, int* value, IntRange range,
               GucContext context, int flags) {
  DefineCustomIntVariable(name, description, nullptr, value, *value, range.min, range.max, context,
                          flags, nullptr, nullptr, nullptr);
}

void DefineSizes() {
  DefineInt("train_perf.max_statements", "Statements kept in shared memory.", &max_statements,
            {100, 1000000}, PGC_POSTMASTER, 0);
  DefineInt("train_perf.event_buffer_size",
            "Shared memory for statements on their way to query_performance_logs.",
            &event_buffer_size_kb, {256, 1048576}, PGC_POSTMASTER, GUC_UNIT_KB);
}

void DefineCapture() {
  DefineBool("train_perf.enabled", "Records statements.", &enabled);
  DefineCustomEnumVariable(
      "train_perf.track",
      "Which statements are recorded: those of clients, also nested ones, none.", nullptr, &track,
      track, kTrackOptions, PGC_SUSET, 0, nullptr, nullptr, nullptr);
  DefineBool("train_perf.track_utility", "Records utility statements.", &track_utility);
  DefineBool("train_perf.track_planning", "Records planning time.", &track_planning);
}

void DefineLog() {
  DefineInt("train_perf.log_min_duration",
            "Statements slower than this are logged; 0 logs all, -1 none.", &log_min_duration_ms,
            {-1, INT_MAX}, PGC_SUSET, GUC_UNIT_MS);
  DefineBool("train_perf.log_errors", "Logs failed statements.", &log_errors);
  DefineCustomRealVariable("train_perf.log_sample_rate",
                           "Share of all statements that is logged whatever they took.", nullptr,
                           &log_sample_rate, log_sample_rate, 0.0, 1.0, PGC_SUSET, 0, nullptr,
                           nullptr, nullptr);
  DefineBool("train_perf.log_parameters", "Logs the parameters of logged statements.",
             &log_parameters);
  DefineBool("train_perf.log_literal_text",
             "Logs statements with their literals instead of normalised.", &log_literal_text);
  DefineBool("train_perf.log_plan", "Logs the plan of slow statements.", &log_plan);
}

void DefineWorkers() {
  DefineInt("train_perf.history_interval", "Time between two entries in query_stats_history.",
            &history_interval_s, {1, 86400}, PGC_SUSET, GUC_UNIT_S);
  DefineInt("train_perf.retention", "How long query_stats_history is kept.", &retention_min,
            {60, INT_MAX}, PGC_SUSET, GUC_UNIT_MIN);
  DefineInt("train_perf.log_retention", "How long query_performance_logs is kept.",
            &log_retention_min, {60, INT_MAX}, PGC_SUSET, GUC_UNIT_MIN);
  DefineInt("train_perf.max_collectors", "Collector workers at the same time.", &max_collectors,
            {1, 64}, PGC_SIGHUP, 0);
}

// A list of patterns as snapshot_patterns() reads it.
void DefineList(const char* name, const char* description, char** value, const char* initial) {
  DefineCustomStringVariable(name, description, nullptr, value, initial, PGC_SUSET, GUC_LIST_INPUT,
                             nullptr, nullptr, nullptr);
}

void DefineSnapshots() {
  DefineInt("train_perf.snapshot_interval", "Time between two snapshots of bloat and index usage.",
            &snapshot_interval_s, {1, 7 * 86400}, PGC_SUSET, GUC_UNIT_S);
  DefineList("train_perf.snapshot_include", "Tables of which snapshots are taken, as schema.table.",
             &snapshot_include, "*.*");
  DefineList("train_perf.snapshot_exclude", "Tables of which no snapshots are taken.",
             &snapshot_exclude, "");
  DefineInt("train_perf.sample_cost_delay",
            "Pause of the block sampler each time it has read pages worth vacuum_cost_limit.",
            &sample_cost_delay_ms, {0, 100}, PGC_SUSET, GUC_UNIT_MS);
  DefineInt("train_perf.index_usage_retention", "How long index_usage_snapshots is kept.",
            &index_usage_retention_min, {60, INT_MAX}, PGC_SUSET, GUC_UNIT_MIN);
}

void DefineText(const char* name, const char* description, char** value, const char* initial) {
  DefineCustomStringVariable(name, description, nullptr, value, initial, PGC_SUSET, 0, nullptr,
                             nullptr, nullptr);
}

void DefineMaintenance() {
  DefineInt("train_perf.maintenance_workers", "Maintenance jobs at the same time.",
            &maintenance_workers, {0, 64}, PGC_SUSET, 0);
  DefineInt("train_perf.maintenance_wait",
            "How long a caller waits for its job; -1: to its end, or until 5 s are left of "
            "statement_timeout.",
            &maintenance_wait_ms, {-1, INT_MAX}, PGC_USERSET, GUC_UNIT_MS);
  DefineInt("train_perf.maintenance_lock_timeout", "How long a job waits for a lock on a table.",
            &maintenance_lock_timeout_ms, {1, INT_MAX}, PGC_SUSET, GUC_UNIT_MS);
  DefineInt("train_perf.maintenance_drain_timeout",
            "How long a job waits for the end of transactions that have an old snapshot.",
            &maintenance_drain_timeout_ms, {1, INT_MAX}, PGC_SUSET, GUC_UNIT_MS);
  DefineInt("train_perf.maintenance_job_timeout",
            "How long an attempt at a job may take; 0: as long as it likes.",
            &maintenance_job_timeout_ms, {0, INT_MAX}, PGC_SUSET, GUC_UNIT_MS);
  DefineText("train_perf.maintenance_window",
             "When jobs for which nobody waits may start, as in 'Sat 22:00-Sun 04:00'; empty: "
             "always.",
             &maintenance_window, "");
  DefineList("train_perf.maintenance_tables", "Tables that weekly_maintenance() vacuums.",
             &maintenance_tables,
             "conversations, conversation_turns, conversation_templates, scenarios, edge_cases, "
             "generation_logs, export_logs, batch_jobs");
  DefineInt("train_perf.maintenance_retry_delay",
            "Pause before the second attempt at a job; each further one is twice as long.",
            &maintenance_retry_delay_ms, {100, 3600000}, PGC_SUSET, GUC_UNIT_MS);
  DefineInt("train_perf.maintenance_max_attempts", "Attempts at a job.", &maintenance_max_attempts,
            {1, 1000}, PGC_SUSET, 0);
  DefineText("train_perf.maintenance_daily", "When daily maintenance begins; empty: never.",
             &maintenance_daily, "02:00");
  DefineText("train_perf.maintenance_weekly", "When weekly maintenance begins; empty: never.",
             &maintenance_weekly, "Sun 02:00");
  DefineText("train_perf.maintenance_monthly", "When monthly maintenance begins; empty: never.",
             &maintenance_monthly, "1 03:00");
  DefineText("train_perf.timezone", "Time zone of the schedule; empty: that of the server.",
             &timezone, "");
  DefineCustomRealVariable("train_perf.reindex_threshold",
                           "Bloat ratio in percent above which scheduled maintenance rebuilds an "
                           "index.",
                           nullptr, &reindex_threshold, reindex_threshold, 0.0, 1e6, PGC_SUSET, 0,
                           nullptr, nullptr, nullptr);
  DefineInt("train_perf.analyze_after_rows",
            "Rows that one transaction inserts into a table after which it is analyzed at once; "
            "-1: never.",
            &analyze_after_rows, {-1, INT_MAX}, PGC_SUSET, 0);
}

}  // namespace

void Define(bool preloading) {
  if (preloading) DefineSizes();
  DefineCapture();
  DefineLog();
  DefineWorkers();
  DefineSnapshots();
  DefineMaintenance();
  MarkGUCPrefixReserved("train_perf");
}

}  // namespace train_perf::settings
