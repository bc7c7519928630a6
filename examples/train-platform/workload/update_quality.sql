-- A reviewer scores a conversation; a score below 6.0 sends it back (trigger).
\set n random(1, :conversations)
\set score random(40, 100)
\set trace random(100000, 999999)
UPDATE conversations
SET quality_score = :score / 10.0,
    quality_metrics = quality_metrics || jsonb_build_object('overall', :score / 10.0)
WHERE id = md5('conversation ' || :n)::uuid
/*action='score',route='/api/conversations/[id]/quality',traceparent='00-5b8aa5a2d2c872e8321cf37308:trace-051581bf3cb55c13-01'*/;
