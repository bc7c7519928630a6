// The settings train_perf.*: defined once, read everywhere. docs/settings.md describes each.
#pragma once

namespace train_perf::settings {

enum Track : int { kTrackNone, kTrackTop, kTrackAll };

// Units are in the names; -1 means never where a setting allows it.
extern bool enabled;
extern int track;  // Track
extern bool track_utility;
extern bool track_planning;
extern int max_statements;
extern int event_buffer_size_kb;
extern int log_min_duration_ms;
extern bool log_errors;
extern double log_sample_rate;
extern bool log_parameters;
extern bool log_literal_text;
extern bool log_plan;
extern int history_interval_s;
extern int retention_min;
extern int log_retention_min;
extern int max_collectors;
extern int snapshot_interval_s;
extern char* snapshot_include;
extern char* snapshot_exclude;
extern int sample_cost_delay_ms;
extern int index_usage_retention_min;
extern int maintenance_workers;
extern int maintenance_wait_ms;
extern int maintenance_lock_timeout_ms;
extern int maintenance_drain_timeout_ms;
extern int maintenance_job_timeout_ms;  // 0: none
extern char* maintenance_window;
extern char* maintenance_tables;
extern int maintenance_retry_delay_ms;
extern int maintenance_max_attempts;
extern char* maintenance_daily;
extern char* maintenance_weekly;
extern char* maintenance_monthly;
extern double reindex_threshold;
extern int analyze_after_rows;
extern char* timezone;

// Defines them; the sizes only while shared_preload_libraries is being processed.
void Define(bool preloading);

}  // namespace train_perf::settings
