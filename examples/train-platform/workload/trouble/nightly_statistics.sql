-- A nightly job that somebody runs at noon: more than two seconds.
SET application_name = 'nightly-statistics';
SELECT c.topic, t.role, count(*), avg(length(t.content)),
  percentile_cont(0.95) WITHIN GROUP (ORDER BY t.char_count)
FROM conversations c
JOIN conversation_turns t ON t.conversation_id = c.id
CROSS JOIN pg_sleep(2.1)
GROUP BY c.topic, t.role
/*job='nightly-statistics'*/;
RESET application_name;
