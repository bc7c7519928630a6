-- The counts at the head of the dashboard.
\set trace random(100000, 999999)
SELECT tier, status, count(*), round(avg(quality_score), 2) AS quality, sum(actual_cost_usd) AS cost
FROM conversations
WHERE created_at > now() - interval '30 days'
GROUP BY tier, status
ORDER BY tier, status
/*controller='dashboard',route='/api/dashboard',traceparent='00-a3ce929d0e0e47364bf92f3577:trace-00f067aa0ba902b7-01'*/;
