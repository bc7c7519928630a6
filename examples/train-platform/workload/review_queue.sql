-- The review queue, 50 best first: the page that reviewers keep open.
\set trace random(100000, 999999)
SELECT id, conversation_id, title, persona, emotion, tier, quality_score, created_at
FROM conversations
WHERE status = 'pending_review'
ORDER BY quality_score DESC
LIMIT 50
/*route='/api/conversations/review',traceparent='00-4bf92f3577b34da6a3ce929d0e:trace-00f067aa0ba902b7-01'*/;
