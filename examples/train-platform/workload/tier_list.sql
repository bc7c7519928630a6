-- One user's newest conversations of a tier and status, through PostgREST and under row level security.
\set user random(1, 50)
\set tier random(1, 3)
BEGIN;
SET LOCAL ROLE authenticated;
SELECT set_config('request.method', 'GET', true), set_config('request.path', '/rest/v1/conversations', true),
  set_config('request.jwt.claims',
    json_build_object('sub', md5('user ' || :user)::uuid, 'role', 'authenticated')::text, true);
SELECT id, conversation_id, title, tier, status, quality_score, turn_count, created_at
FROM conversations
WHERE tier = ('{template,scenario,edge_case}'::text[])[:tier] AND status = 'approved'
ORDER BY created_at DESC
LIMIT 25;
COMMIT;
