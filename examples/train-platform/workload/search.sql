-- Full-text search; the route is percent-encoded, as the sqlcommenter libraries send it.
\set trace random(100000, 999999)
\set word random(1, 4)
SELECT id, title, ts_rank(to_tsvector('english', title || ' ' || persona || ' ' || emotion), query) AS rank
FROM conversations,
  websearch_to_tsquery('english',
    ('{afraid planner inheritance,hopeful heir debt,angry investor markets,sad parent housing}'::text[])[:word])
  AS query
WHERE to_tsvector('english', title || ' ' || persona || ' ' || emotion) @@ query
ORDER BY rank DESC
LIMIT 20
/*framework='next',route='%2Fapi%2Fsearch',traceparent='00-0af7651916cd43dd8448eb211c:trace-b7ad6b7169203331-01'*/;
