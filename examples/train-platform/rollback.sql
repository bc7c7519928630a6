-- Takes back what schema.sql made, with all rows; a second run changes nothing.
--
--   psql -v ON_ERROR_STOP=1 -f rollback.sql
--
-- user_profiles, documents and chunks stay: they belong to other modules.

BEGIN;
SET LOCAL client_min_messages = warning;

DROP TABLE IF EXISTS export_logs, generation_logs, edge_cases, scenarios, conversation_turns, conversations,
  batch_jobs, conversation_templates;
DROP FUNCTION IF EXISTS touch_updated_at(), flag_low_quality(), request_user_id();

COMMIT;
