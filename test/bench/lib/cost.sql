-- What is in each database.
SET client_min_messages = error;
CREATE EXTENSION pgstattuple;
CREATE EXTENSION train_perf;

-- Runs the query: its time, and the blocks that it looks at, in shared buffers or not. Of INSERT … SELECT those
-- of the SELECT.
CREATE FUNCTION cost(query text, OUT ms numeric, OUT blocks bigint) LANGUAGE plpgsql AS $$
DECLARE
  plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
  plan := CASE WHEN query LIKE 'INSERT%' THEN plan #> '{0,Plan,Plans,0}' ELSE plan #> '{0,Plan}' END;
  ms := plan -> 'Actual Total Time';
  blocks := (plan -> 'Shared Hit Blocks')::bigint + (plan -> 'Shared Read Blocks')::bigint;
END
$$;
