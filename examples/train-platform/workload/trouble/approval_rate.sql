-- A ratio that nobody guarded: there is no row of that language yet (division by zero, 22012).
SELECT count(*) FILTER (WHERE status = 'approved') * 100 / count(*) AS approval_rate
FROM conversations
WHERE language = 'pt' AND created_at > now() - interval '7 days'
/*route='/api/analytics/approval-rate',traceparent='00-c872e8321cf373085b8aa5a2d2000001-051581bf3cb55c13-01'*/;
