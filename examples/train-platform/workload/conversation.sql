-- One conversation with its turns, through PostgREST: what opens when a row of a list is clicked.
\set n random(1, :conversations)
BEGIN;
SET LOCAL ROLE authenticated;
SELECT set_config('request.method', 'GET', true),
  set_config('request.path', '/rest/v1/conversation_turns', true),
  set_config('request.jwt.claims',
    json_build_object('sub', md5('user ' || 1 + :n % 50)::uuid, 'role', 'authenticated')::text, true);
SELECT c.conversation_id, c.title, c.status, t.turn_number, t.role, t.content
FROM conversations c
JOIN conversation_turns t ON t.conversation_id = c.id
WHERE c.id = md5('conversation ' || :n)::uuid
ORDER BY t.turn_number;
COMMIT;
