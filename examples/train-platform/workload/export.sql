-- Trouble: an export that makes its user wait for more than a second. It reads and formats a tier with all
-- its turns; pg_sleep stands for the upload, and makes it slow on fast machines too.
\set user random(1, 50)
BEGIN;
SELECT set_config('request.method', 'POST', true),
  set_config('request.path', '/rest/v1/rpc/export_conversations', true),
  set_config('request.jwt.claims',
    json_build_object('sub', md5('user ' || :user)::uuid, 'role', 'authenticated')::text, true);
INSERT INTO export_logs (user_id, conversation_ids, conversation_count, format, file_name, file_size_bytes)
SELECT request_user_id(), array_agg(id), count(*), 'markdown', 'approved-edge-cases.md', sum(length(body))
FROM (SELECT c.id, string_agg(format(E'## %s\n\n%s\n\n', t.role, t.content), '' ORDER BY t.turn_number) AS body
      FROM conversations c
      JOIN conversation_turns t ON t.conversation_id = c.id
      WHERE c.tier = 'edge_case' AND c.status = 'approved'
      GROUP BY c.id) AS exported,
     pg_sleep(1.1);
COMMIT;
