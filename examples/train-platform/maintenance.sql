-- A clean-up, and the maintenance after it: the last part of scripts/demo.
--
--   psql -d app -f maintenance.sql
--
-- Deletes two of three log entries, and the turns of archived conversations.

\pset footer off
\pset null '-'
\set QUIET on
\echo
\echo '== Maintenance: two of three log entries are deleted, then vacuum_analyze_table()'
\echo
DELETE FROM generation_logs WHERE abs(hashtext(id::text)) % 3 > 0;
\pset format unaligned
\pset tuples_only on
SELECT vacuum_analyze_table('generation_logs');

\echo
\echo '== Its indexes are larger than needed now: reindex_if_bloated()'
\echo
SELECT reindex_if_bloated('generation_logs');
SELECT format('CALL wait_for_maintenance(%s)', job_id) FROM maintenance_status WHERE status IN ('queued', 'running')
 ORDER BY job_id
\gexec

\echo
\echo '== weekly_maintenance(), a line for each table'
\echo
SELECT weekly_maintenance();

\echo
\echo '== Old rows: set_retention(); and what happens when: maintenance_schedule'
\echo
\pset format aligned
\pset tuples_only off
SELECT set_retention('export_logs', 'created_at', '90 days') \g /dev/null
SELECT * FROM maintenance_schedule;

\echo '== What was done: maintenance_status'
\echo
SELECT job_id AS job, kind, target, status, duration_ms AS ms, pg_size_pretty(bytes_before) AS before,
       pg_size_pretty(bytes_after) AS after, rows_removed AS rows
FROM maintenance_status WHERE kind <> 'vacuum_analyze' OR bytes_before > 1e6
ORDER BY job_id;
