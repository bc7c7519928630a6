-- Trouble: a search in the prompts of the generation logs, which no index supports. It reads all of them,
-- tens to hundreds of milliseconds each time.
\set amount random(100, 9099)
\set trace random(100000, 999999)
SELECT id, conversation_id, created_at, duration_ms, error_message
FROM generation_logs
WHERE request_payload ->> 'prompt' LIKE '%leaves :amount a month%'
ORDER BY created_at DESC
LIMIT 20
/*route='/api/generation-logs/search',traceparent='00-7651916cd43dd8448eb211c803:trace-b7ad6b7169203331-01'*/;
