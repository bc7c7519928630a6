-- A client repeats a request: the conversation exists already (unique violation, 23505).
BEGIN;
SET LOCAL ROLE authenticated;
SELECT set_config('request.method', 'POST', true), set_config('request.path', '/rest/v1/conversations', true),
  set_config('request.jwt.claims',
    json_build_object('sub', md5('user 7')::uuid, 'role', 'authenticated')::text, true);
INSERT INTO conversations (conversation_id, title, persona, emotion, created_by)
VALUES ('TRAIN-0000001', 'Sent twice', 'anxious planner', 'anxious', request_user_id());
ROLLBACK;
