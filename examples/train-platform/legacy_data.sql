-- Rows for legacy.sql as they were found in real use, odd ones included, the same on each run.

BEGIN;

INSERT INTO user_profiles (id) SELECT md5('user ' || n)::uuid FROM generate_series(1, 5) AS n
ON CONFLICT DO NOTHING;

-- Every tenth without a user, every twentieth failed, durations from 0 to 5 s, five rows to a timestamp.
INSERT INTO query_performance_logs (id, query_text, duration_ms, execution_timestamp, user_id, endpoint,
  parameters, error_message, stack_trace)
SELECT md5('log ' || n)::uuid,
       (ARRAY['SELECT * FROM conversations WHERE status = ''pending_review'' ORDER BY quality_score DESC LIMIT 50',
              'SELECT *   FROM conversation_turns WHERE conversation_id = $1',
              'UPDATE conversations SET status = ''approved'' WHERE id = $1',
              E'SELECT count(*)\nFROM generation_logs\nWHERE error_message IS NOT NULL'])[1 + n % 4],
       n * 37 % 5000, date_trunc('hour', now()) - n / 5 * interval '20 minutes',
       CASE WHEN n % 10 > 0 THEN md5('user ' || 1 + n % 5)::uuid END,
       CASE WHEN n % 3 > 0 THEN '/api/conversations' END,
       CASE WHEN n % 4 = 1 THEN jsonb_build_object('1', n) END,
       CASE WHEN n % 20 = 0 THEN 'canceling statement due to statement timeout' END,
       CASE WHEN n % 20 = 0 THEN E'at query (app.js:12)\nat handler (app.js:40)' END
FROM generate_series(1, 400) AS n;

INSERT INTO query_performance_logs (id, query_text, query_hash, duration_ms, execution_timestamp, parameters)
VALUES (md5('odd 1')::uuid, 'SELECT 1', NULL, 0, NULL, NULL),
       (md5('odd 2')::uuid, 'SELECT 1', 'hashed by the application', 0, NULL, 'null'),
       (md5('odd 3')::uuid, '', '', 0, now() - interval '2 years', '[]'),
       (md5('odd 4')::uuid, E'SELECT ''\\ "quoted" ''', NULL, 2147483647, now() + interval '1 day', '{}'),
       (md5('odd 5')::uuid, repeat('SELECT 1 UNION ALL ', 2000) || 'SELECT 1', NULL, 501, now(), NULL),
       (md5('odd 6')::uuid, 'SELECT 1', NULL, 1, '-infinity', NULL),
       (md5('odd 7')::uuid, 'SELECT 1', NULL, 1, 'infinity', NULL);

-- What rows from before the trigger look like.
UPDATE query_performance_logs SET query_hash = NULL WHERE id = md5('odd 1')::uuid OR duration_ms % 50 = 1;

INSERT INTO index_usage_snapshots (id, snapshot_timestamp, schemaname, tablename, indexname, idx_scan,
  idx_tup_read, idx_tup_fetch, index_size_bytes, table_size_bytes)
SELECT md5(format('index %s %s', day, i))::uuid, date_trunc('day', now()) - day * interval '1 day', 'public',
       'conversations', 'idx_conversations_' || i, (30 - day) * i, (30 - day) * i * 10,
       CASE WHEN i > 1 THEN 0 END, i * 81920, 20000000
FROM generate_series(0, 29) AS day, generate_series(0, 9) AS i;

INSERT INTO index_usage_snapshots (snapshot_timestamp, schemaname, tablename, indexname, idx_scan)
SELECT NULL, 'public', 'conversations', 'idx_conversations_1', 0 FROM generate_series(1, 2);

INSERT INTO table_bloat_snapshots (id, snapshot_timestamp, schemaname, tablename, actual_size_bytes,
  estimated_size_bytes, dead_tuples, live_tuples)
SELECT md5(format('bloat %s %s', day, t))::uuid, date_trunc('day', now()) - day * interval '1 day', 'public',
       t, 10000000 + day * 1000, CASE WHEN day = 7 THEN 0 ELSE 9000000 END, day * 10,
       CASE WHEN day % 5 > 0 THEN 100000 END
FROM generate_series(0, 59) AS day, unnest('{conversations,conversation_turns,generation_logs}'::text[]) AS t;

INSERT INTO table_bloat_snapshots (snapshot_timestamp, schemaname, tablename, actual_size_bytes,
  estimated_size_bytes)
SELECT NULL, 'public', 'conversations', 8192, 8192 FROM generate_series(1, 2);

-- Every severity; two of three resolved, half of these by a person.
INSERT INTO performance_alerts (id, alert_type, severity, message, details, created_at, resolved_at, resolved_by,
  resolution_notes)
SELECT md5('alert ' || n)::uuid,
       (ARRAY['slow_query', 'high_bloat', 'unused_index', 'missing_index', 'connection_pool'])[1 + n % 5],
       (ARRAY['info', 'warning', 'error', 'critical'])[1 + n % 4], 'Alert number ' || n,
       CASE WHEN n % 7 > 0 THEN jsonb_build_object('n', n) END,
       now() - n * interval '3 hours',
       CASE WHEN n % 3 > 0 THEN now() - n * interval '2 hours' END,
       CASE WHEN n % 3 = 1 THEN md5('user ' || 1 + n % 5)::uuid END,
       CASE WHEN n % 3 = 1 THEN 'index added' END
FROM generate_series(1, 250) AS n;

INSERT INTO performance_alerts (id, alert_type, severity, message, created_at, resolved_at)
VALUES (md5('odd alert 1')::uuid, 'slow_query', 'info', '', NULL, NULL),
       (md5('odd alert 2')::uuid, 'slow_query', 'info', '', NULL, now() - interval '1 hour'),
       (md5('odd alert 3')::uuid, 'deploy', 'warning', 'a type of the application', now(), NULL),
       (md5('odd alert 4')::uuid, 'slow_query', 'error', 'resolved before it began', now(), now() - interval '1 day');

INSERT INTO schema_migrations (version, description, applied_at, applied_by, execution_time_ms, checksum)
SELECT 1700000000000 + n, 'migration ' || n, CASE WHEN n > 1 THEN now() - (301 - n) * interval '1 day' END,
       CASE WHEN n % 10 > 0 THEN 'postgres' END, CASE WHEN n % 9 > 0 THEN n END, md5('script ' || n)
FROM generate_series(1, 300) AS n;

COMMIT;
