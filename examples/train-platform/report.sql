-- What train_perf knows about the database it is asked in: the report that scripts/demo prints.
--
--   psql -d app -f report.sql
--
-- The extension is looked for in the search path.

\pset footer off
\pset null '-'
\echo

-- One line of at most so many characters.
CREATE FUNCTION pg_temp.line(text text, width integer) RETURNS text LANGUAGE sql AS $$
  SELECT CASE WHEN length(flat) > width THEN left(flat, width - 1) || '…' ELSE flat END
  FROM (SELECT btrim(regexp_replace(text, '\s+', ' ', 'g')) AS flat) AS one
$$;

\echo '== Statements that took the most time (ms; the endpoint is that of logged executions)'
\echo
SELECT pg_temp.line(s.query, 48) AS statement, s.calls, s.errors,
       round(s.mean_time_ms::numeric, 2) AS mean, round(s.p50_ms::numeric, 2) AS p50,
       round(s.p95_ms::numeric, 2) AS p95, round(s.p99_ms::numeric, 2) AS p99,
       round(100 * s.total_time_ms::numeric / sum(s.total_time_ms::numeric) OVER (), 1) AS "% time",
       endpoint.most_frequent AS endpoint
FROM query_stats s
LEFT JOIN LATERAL (
  SELECT mode() WITHIN GROUP (ORDER BY l.endpoint) AS most_frequent
  FROM query_performance_logs l
  WHERE l.query_hash = s.query_hash
) AS endpoint ON true
WHERE s.datname = current_database() AND s.total_time_ms > 0
ORDER BY s.total_time_ms DESC
LIMIT 15;

\echo '== All executions of the last 24 hours: get_query_stats()'
\echo
SELECT * FROM get_query_stats();

\echo '== Slow statements of the last hour: get_slow_queries(1)'
\echo
SELECT pg_temp.line(query_text, 80) AS statement, round(avg_duration_ms, 1) AS "mean ms",
       max_duration_ms AS "max ms", execution_count AS executions,
       to_char(last_execution, 'HH24:MI:SS') AS last
FROM get_slow_queries(1);

\echo '== The log: the last slow or failed executions'
\echo
SELECT to_char(execution_timestamp, 'HH24:MI:SS.MS') AS at, duration_ms AS ms, endpoint, user_id,
       sqlstate, pg_temp.line(coalesce(error_message, query_text), 48) AS "error, or statement"
FROM query_performance_logs
WHERE is_slow OR error_message IS NOT NULL
ORDER BY execution_timestamp DESC
LIMIT 12;

\echo '== Alerts: one for each statement, with a count'
\echo
SELECT severity, alert_type, occurrences, to_char(created_at, 'HH24:MI:SS') AS first,
       to_char(last_seen_at, 'HH24:MI:SS') AS last, pg_temp.line(message, 90) AS message
FROM performance_alerts
WHERE resolved_at IS NULL
ORDER BY array_position('{critical,error,warning,info}', severity), occurrences DESC
LIMIT 15;

\echo '== Bloat: the largest tables and indexes now, and after a rewrite, from sampled blocks'
\echo
SELECT capture_table_bloat_snapshot() AS ignored \gset
SELECT s.tablename AS relation, 'table' AS kind, pg_size_pretty(s.actual_size_bytes) AS size,
       pg_size_pretty(s.estimated_size_bytes) AS "after a rewrite", s.bloat_ratio AS "bloat %", s.live_tuples AS live,
       s.dead_tuples AS dead, s.method, s.sampled_pages AS pages
FROM get_bloat_status() s
WHERE s.actual_size_bytes > 100000
UNION ALL
SELECT i.indexname, i.access_method, pg_size_pretty(i.actual_size_bytes), pg_size_pretty(i.estimated_size_bytes),
       i.bloat_ratio, i.live_tuples, i.dead_tuples, i.method, i.sampled_pages
FROM (SELECT * FROM index_bloat_status() ORDER BY actual_size_bytes DESC LIMIT 10) AS i
ORDER BY 2 DESC, 6 DESC;

\echo '== Findings about indexes: index_findings'
\echo
SELECT finding, level, pg_temp.line(title, 70) AS title, pg_size_pretty(bytes_to_win) AS win, pg_temp.line(remediation, 90) AS remediation
FROM index_findings
ORDER BY array_position('{error,warning,info}', level), bytes_to_win DESC
LIMIT 12;

\echo '== What capture wrote and what it dropped: capture_status()'
\echo
\x on
SELECT * FROM capture_status();
\x off
