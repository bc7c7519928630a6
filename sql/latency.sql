-- Latency histograms: one per interval and statement, merged into any period.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS train_perf;
RESET client_min_messages;
\pset format unaligned
\pset null -

-- A quantile is within 1.6 % of what was put in, from 1 µs to 1 h.
SELECT ms, abs(latency_quantile_ms(latency_histogram(ms), 0.5)::float8 - ms) <= ms * 0.016 AS close
  FROM unnest('{0.001, 0.01, 0.1, 1, 10, 100, 500, 1000, 60000, 3600000}'::float8[]) AS ms;
SELECT pg_typeof(latency_quantile_ms(latency_histogram(1), 0.5)) AS type;

-- Any percentile comes from all executions.
WITH period AS (SELECT merge_latency(latency_histogram(ms)) AS latency FROM generate_series(1, 1000) ms)
SELECT quantile, abs(latency_quantile_ms(latency, quantile)::float8 / (1000 * quantile) - 1) < 0.016
         AS close
  FROM period, unnest('{0.01, 0.5, 0.95, 0.99, 1}'::float8[]) AS quantile;

-- Merging parts is merging all, in any order.
WITH parts AS (
  SELECT ms % 7 AS part, merge_latency(latency_histogram(ms)) AS latency
    FROM generate_series(1, 500) ms GROUP BY 1
)
SELECT (SELECT merge_latency(latency ORDER BY part DESC) FROM parts) =
       (SELECT merge_latency(latency_histogram(ms)) FROM generate_series(1, 500) ms) AS same;
SELECT merge_latency(latency) OVER (ORDER BY ms) = merge_latency(latency) OVER (ORDER BY ms) AS same
  FROM (SELECT ms, latency_histogram(ms) AS latency FROM generate_series(1, 3) ms) parts;

-- Nothing is NULL or empty, never 0 ms.
SELECT merge_latency(NULL) AS of_null, merge_latency(latency) AS of_none
  FROM (SELECT NULL::bytea AS latency WHERE false) none;
SELECT latency_quantile_ms(merge_latency(NULL), 0.5) AS of_null,
       latency_quantile_ms('\x01', 0.5) AS of_empty, latency_quantile_ms(NULL, 0.5) AS of_nothing,
       latency_quantile_ms(latency_histogram(1), NULL) AS without_quantile;
SELECT merge_latency(latency) = latency_histogram(5) AS nulls_are_left_out
  FROM (VALUES (NULL), (latency_histogram(5)), (NULL)) AS parts (latency);

-- Durations and quantiles at the edges.
SELECT latency_quantile_ms(latency_histogram(0), 0.5) < 0.001 AS zero,
       latency_quantile_ms(latency_histogram('Infinity'), 0.5) > 3600000 AS endless;
SELECT latency_histogram(-1);
SELECT latency_histogram('NaN');
SELECT latency_quantile_ms(latency_histogram(10), -1) = latency_quantile_ms(latency_histogram(10), 0)
         AS below,
       latency_quantile_ms(latency_histogram(10), 2) = latency_quantile_ms(latency_histogram(10), 1)
         AS above;

-- Whatever is not a histogram is refused, and nothing crashes.
\set VERBOSITY sqlstate
SELECT latency_quantile_ms('', 0.5);
SELECT latency_quantile_ms('\x02', 0.5);
SELECT latency_quantile_ms('\x0101', 0.5);
SELECT latency_quantile_ms('\x010100', 0.5);
SELECT latency_quantile_ms('\x010001', 0.5);
SELECT latency_quantile_ms('\x01ffffffffffffffffffff01', 0.5);
SELECT latency_quantile_ms('\x01ffffffffffffffff7f01', 0.5);
SELECT latency_quantile_ms('\x01a10801', 0.5);
SELECT latency_quantile_ms('\x0181808080808000', 0.5);
SELECT merge_latency(latency) FROM (VALUES (latency_histogram(1)), ('\xdeadbeef')) AS parts (latency);
SELECT merge_latency('\x');
\set VERBOSITY default
SELECT latency_quantile_ms('\xff', 0.5);

-- Random bytes: an error or a number, for each of them.
DO $$
DECLARE
  refused integer := 0;
  bytes bytea;
BEGIN
  FOR i IN 1..2000 LOOP
    bytes := '\x01'::bytea || decode(left(md5(i::text), 2 * (i % 16)), 'hex');
    BEGIN
      PERFORM latency_quantile_ms(bytes, 0.95);
    EXCEPTION WHEN invalid_binary_representation THEN
      refused := refused + 1;
    END;
  END LOOP;
  ASSERT refused BETWEEN 1 AND 1999;
END
$$;
