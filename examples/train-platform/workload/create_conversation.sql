-- A new conversation with two turns, as the generator stores it.
\set n random(1000000000, 9000000000000000000)
\set user random(1, 50)
BEGIN;
SET LOCAL ROLE authenticated;
SELECT set_config('request.method', 'POST', true), set_config('request.path', '/rest/v1/conversations', true),
  set_config('request.jwt.claims',
    json_build_object('sub', md5('user ' || :user)::uuid, 'role', 'authenticated')::text, true);
INSERT INTO conversations (id, conversation_id, title, persona, emotion, topic, tier, status, category,
  quality_score, turn_count, parameters, created_by)
VALUES (md5(':n')::uuid, 'NEW-' || :n, 'Hopeful anxious planner asks about savings, number ' || :n,
  'anxious planner', 'hopeful', 'savings', 'template', 'pending_review', '{savings,beginner}',
  4 + :n % 60 / 10.0, 2, json_build_object('seed', :n), request_user_id());
INSERT INTO conversation_turns (conversation_id, turn_number, role, content, token_count)
VALUES (md5(':n')::uuid, 1, 'user', 'I have a little left each month. Where do I begin?', 14),
       (md5(':n')::uuid, 2, 'assistant', 'With three months of what you need, within reach.', 13);
COMMIT;
