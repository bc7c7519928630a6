-- The tables of the test bed, for psql; about 4 GB. A table is a case, and its name says what it is: in
-- "uniform" all of its pages are alike, so that a sample can count rows; in "various" it need not.
\set ON_ERROR_STOP 1
\set QUIET 1
SET client_min_messages = warning;
SET work_mem = '64MB';
CREATE SCHEMA uniform;
CREATE SCHEMA various;
\o /dev/null
SELECT setseed(0.42);

-- Incompressible, of that length.
CREATE FUNCTION noise(length integer) RETURNS text LANGUAGE sql VOLATILE AS
  'SELECT left(string_agg(md5(random()::text), ''''), length) FROM generate_series(0, length / 32)';

-- Rows of 60 to 110 bytes, in order of their id.
CREATE UNLOGGED TABLE rows AS
  SELECT id, (random() * 100000)::integer AS customer, (random() * 1000)::numeric(10, 2) AS amount,
         left(md5(random()::text) || md5(random()::text), 10 + (random() * 50)::integer) AS note,
         now() - id * interval '1 second' AS created
    FROM generate_series(1, 500000) AS id;

-- Long rows, to be stored in place, or apart: in TOAST, not compressed.
CREATE TABLE in_place (id bigint, text text);
ALTER TABLE in_place ALTER COLUMN text SET STORAGE PLAIN;
CREATE TABLE apart (id bigint, text text);
ALTER TABLE apart ALTER COLUMN text SET STORAGE EXTERNAL;
CREATE UNLOGGED TABLE long_rows AS
  SELECT id, noise(3000 + (random() * 800)::integer) AS text FROM generate_series(1, 14000) AS id;

SET search_path = uniform, public;

CREATE TABLE "clean" AS TABLE rows;
CREATE TABLE "clean, integers only" AS SELECT g AS a, g + 1 AS b FROM generate_series(1, 1000000) AS g;
CREATE TABLE "clean, one short text" AS SELECT left(note, (id % 20)::integer) AS note FROM rows;
CREATE TABLE "clean, read by VACUUM" AS TABLE rows;
VACUUM "clean, read by VACUUM";
CREATE TABLE "clean, less than 1000 pages" AS SELECT * FROM rows WHERE id <= 50000;
CREATE TABLE "60 % deleted, less than 1000 pages" AS SELECT * FROM rows WHERE id <= 50000;
DELETE FROM "60 % deleted, less than 1000 pages" WHERE random() < 0.6;

CREATE TABLE "30 % deleted" AS TABLE rows;
DELETE FROM "30 % deleted" WHERE random() < 0.3;
CREATE TABLE "60 % deleted" AS TABLE rows;
DELETE FROM "60 % deleted" WHERE random() < 0.6;
CREATE TABLE "90 % deleted" AS TABLE rows;
DELETE FROM "90 % deleted" WHERE random() < 0.9;
CREATE TABLE "30 % deleted, vacuumed" AS TABLE rows;
DELETE FROM "30 % deleted, vacuumed" WHERE random() < 0.3;
VACUUM "30 % deleted, vacuumed";
CREATE TABLE "60 % deleted, vacuumed" AS TABLE rows;
DELETE FROM "60 % deleted, vacuumed" WHERE random() < 0.6;
VACUUM "60 % deleted, vacuumed";
CREATE TABLE "90 % deleted, vacuumed" AS TABLE rows;
DELETE FROM "90 % deleted, vacuumed" WHERE random() < 0.9;
VACUUM "90 % deleted, vacuumed";
CREATE TABLE "every 3rd deleted" AS TABLE rows;
DELETE FROM "every 3rd deleted" WHERE id % 3 = 0;
CREATE TABLE "every 20th kept, vacuumed" AS TABLE rows;
DELETE FROM "every 20th kept, vacuumed" WHERE id % 20 <> 0;
VACUUM "every 20th kept, vacuumed";
CREATE TABLE "30 % deleted before, 30 % after VACUUM" AS TABLE rows;
DELETE FROM "30 % deleted before, 30 % after VACUUM" WHERE random() < 0.3;
VACUUM "30 % deleted before, 30 % after VACUUM";
DELETE FROM "30 % deleted before, 30 % after VACUUM" WHERE random() < 0.43;
CREATE TABLE "frozen, then 30 % deleted" AS TABLE rows;
VACUUM FREEZE "frozen, then 30 % deleted";
DELETE FROM "frozen, then 30 % deleted" WHERE random() < 0.3;

-- A NULL costs nothing but a bit.
SELECT format('CREATE TABLE "many NULLs" (id bigint, %s)', string_agg(format('c%s text', c), ', '))
  FROM generate_series(1, 40) AS c \gexec
INSERT INTO "many NULLs" (id, c7, c33) SELECT id, CASE WHEN id % 5 = 0 THEN note END, CASE WHEN id % 3 = 0 THEN 'x' END FROM rows;
CREATE TABLE "many NULLs, 60 % deleted" AS TABLE "many NULLs";
DELETE FROM "many NULLs, 60 % deleted" WHERE random() < 0.6;
SELECT format('CREATE TABLE "200 columns" AS SELECT %s FROM generate_series(1, 30000)',
    string_agg(format('%s::%s AS c%s', CASE WHEN c % 4 = 0 THEN 'NULL' ELSE c::text END,
      CASE c % 3 WHEN 0 THEN 'integer' WHEN 1 THEN 'bigint' ELSE 'smallint' END, c), ', '))
  FROM generate_series(1, 200) AS c \gexec

CREATE TABLE "two rows a page" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "two rows a page" TABLE long_rows;
CREATE TABLE "three or four rows a page" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "three or four rows a page" SELECT id, left(text, 1800 + (random() * 800)::integer) FROM long_rows;
CREATE TABLE "one row a page" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "one row a page" SELECT id, left(text || text, 5000) FROM long_rows WHERE id <= 7000;
CREATE TABLE "one or two rows a page" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "one or two rows a page" SELECT id, left(text || text, 3000 + (random() * 2500)::integer) FROM long_rows WHERE id <= 9000;

CREATE TABLE "padding" AS
  SELECT id % 2 = 0 AS a, id AS b, id % 3 = 0 AS c, id + 1 AS d, id % 5 = 0 AS e, id + 2 AS f, true AS g, id + 3 AS h FROM rows;
CREATE TABLE "padding, 30 % deleted" AS TABLE "padding";
DELETE FROM "padding, 30 % deleted" WHERE random() < 0.3;
CREATE TABLE "row with no column" ();
INSERT INTO "row with no column" SELECT FROM generate_series(1, 300000);

CREATE TABLE "fillfactor 70" (LIKE rows) WITH (fillfactor = 70);
INSERT INTO "fillfactor 70" TABLE rows;
CREATE TABLE "fillfactor 50, 30 % deleted, vacuumed" (LIKE rows) WITH (fillfactor = 50);
INSERT INTO "fillfactor 50, 30 % deleted, vacuumed" TABLE rows;
DELETE FROM "fillfactor 50, 30 % deleted, vacuumed" WHERE random() < 0.3;
VACUUM "fillfactor 50, 30 % deleted, vacuumed";
CREATE TABLE "fillfactor 70, three rows a page" (LIKE in_place INCLUDING STORAGE) WITH (fillfactor = 70);
INSERT INTO "fillfactor 70, three rows a page" SELECT id, left(text, 2000) FROM long_rows;
CREATE TABLE "loaded full, then fillfactor 70" AS TABLE rows;
ALTER TABLE "loaded full, then fillfactor 70" SET (fillfactor = 70);
CREATE TABLE "fillfactor 70, HOT updates" (LIKE rows) WITH (fillfactor = 70);
INSERT INTO "fillfactor 70, HOT updates" SELECT * FROM rows WHERE id <= 250000;
UPDATE "fillfactor 70, HOT updates" SET amount = amount + 1 WHERE id % 4 = 0;
UPDATE "fillfactor 70, HOT updates" SET amount = amount + 1 WHERE id % 4 = 1;
UPDATE "fillfactor 70, HOT updates" SET amount = amount + 1 WHERE id % 4 = 2;
VACUUM "fillfactor 70, HOT updates";

CREATE TABLE "updated" AS SELECT * FROM rows WHERE id <= 250000;
UPDATE "updated" SET amount = amount + 1;
CREATE TABLE "updated 3 times, vacuumed" AS SELECT * FROM rows WHERE id <= 250000;
CREATE INDEX ON "updated 3 times, vacuumed" (customer);
UPDATE "updated 3 times, vacuumed" SET customer = customer + 1;
UPDATE "updated 3 times, vacuumed" SET customer = customer + 1;
UPDATE "updated 3 times, vacuumed" SET customer = customer + 1;
VACUUM "updated 3 times, vacuumed";
CREATE TABLE "updates rolled back" AS SELECT * FROM rows WHERE id <= 250000;
BEGIN; UPDATE "updates rolled back" SET amount = amount + 1; ROLLBACK;
CREATE TABLE "every other INSERT rolled back" (LIKE rows);
DO $$
BEGIN
  FOR part IN 0 .. 199 LOOP
    INSERT INTO "every other INSERT rolled back" SELECT * FROM rows WHERE id > part * 2000 AND id <= part * 2000 + 1000;
    COMMIT;
    INSERT INTO "every other INSERT rolled back" SELECT * FROM rows WHERE id > part * 2000 + 1000 AND id <= part * 2000 + 2000;
    ROLLBACK;
  END LOOP;
END
$$;
CREATE TABLE "locked rows" AS TABLE rows;
BEGIN; SELECT 1 FROM "locked rows" WHERE id % 2 = 0 FOR UPDATE; SELECT 1 FROM "locked rows" WHERE id % 3 = 0 FOR KEY SHARE; COMMIT;
-- Line pointers stay where rows were narrow.
CREATE TABLE "narrow rows gone, wide ones come" (id bigint, text text);
INSERT INTO "narrow rows gone, wide ones come" SELECT g FROM generate_series(1, 1500000) AS g;
DELETE FROM "narrow rows gone, wide ones come" WHERE id % 30 <> 0;
VACUUM "narrow rows gone, wide ones come";
INSERT INTO "narrow rows gone, wide ones come" SELECT id, left(text, 1000) FROM long_rows;

CREATE TABLE "never analysed, 60 % deleted" AS TABLE rows;
DELETE FROM "never analysed, 60 % deleted" WHERE random() < 0.6;
CREATE TABLE "autovacuum off, 30 % deleted" WITH (autovacuum_enabled = off) AS TABLE rows;
DELETE FROM "autovacuum off, 30 % deleted" WHERE random() < 0.3;
CREATE UNLOGGED TABLE "unlogged, 30 % deleted" AS TABLE rows;
DELETE FROM "unlogged, 30 % deleted" WHERE random() < 0.3;

-- A rewrite leaves NULL of it, which may be the first of the row.
CREATE TABLE "dropped text" AS SELECT *, left(repeat(note, 8), 200) AS gone FROM rows WHERE id <= 200000;
ALTER TABLE "dropped text" DROP COLUMN gone;
CREATE TABLE "dropped text, 30 % deleted, vacuumed" AS SELECT id, left(repeat(note, 8), 200) AS gone, note FROM rows WHERE id <= 200000;
ALTER TABLE "dropped text, 30 % deleted, vacuumed" DROP COLUMN gone;
DELETE FROM "dropped text, 30 % deleted, vacuumed" WHERE random() < 0.3;
VACUUM "dropped text, 30 % deleted, vacuumed";
CREATE TABLE "dropped bigint of integers" AS SELECT 1 AS a, id AS gone, 2 AS b, id AS c FROM rows;
ALTER TABLE "dropped bigint of integers" DROP COLUMN gone;
SELECT format('CREATE TABLE "dropped boolean of 12 columns" AS SELECT true AS gone, %s FROM generate_series(1, 400000)',
    string_agg(format('%s AS c%s', c, c), ', '))
  FROM generate_series(1, 11) AS c \gexec
ALTER TABLE "dropped boolean of 12 columns" DROP COLUMN gone;
CREATE TABLE "dropped and others NULL" AS SELECT id, left(repeat(note, 8), 150) AS gone, nullif(customer % 3, 0) AS c, note FROM rows WHERE id <= 250000;
ALTER TABLE "dropped and others NULL" DROP COLUMN gone;
CREATE TABLE "dropped, then added with default" AS SELECT id, left(repeat(note, 8), 120) AS gone FROM rows WHERE id <= 300000;
ALTER TABLE "dropped, then added with default" DROP COLUMN gone;
ALTER TABLE "dropped, then added with default" ADD COLUMN d text DEFAULT 'what every old row has, forty bytes of it';

CREATE TABLE "fast default, integer" AS TABLE rows;
ALTER TABLE "fast default, integer" ADD COLUMN d integer NOT NULL DEFAULT 7;
CREATE TABLE "fast default, 80 bytes" AS TABLE rows;
SELECT format('ALTER TABLE "fast default, 80 bytes" ADD COLUMN d text DEFAULT %L', noise(80)) \gexec
CREATE TABLE "fast default, 30 % deleted, vacuumed" AS TABLE rows;
ALTER TABLE "fast default, 30 % deleted, vacuumed" ADD COLUMN d text DEFAULT 'what every old row has, forty bytes of it';
DELETE FROM "fast default, 30 % deleted, vacuumed" WHERE random() < 0.3;
VACUUM "fast default, 30 % deleted, vacuumed";
CREATE TABLE "20 columns added, NULL" AS TABLE rows;
SELECT format('ALTER TABLE "20 columns added, NULL" %s', string_agg(format('ADD COLUMN c%s integer', c), ', '))
  FROM generate_series(1, 20) AS c \gexec

CREATE TABLE "jsonb" AS SELECT id, jsonb_build_object('id', id, 'note', note, 'tags', jsonb_build_array(customer, amount)) AS doc FROM rows WHERE id <= 250000;
CREATE TABLE "jsonb, 60 % deleted" AS TABLE "jsonb";
DELETE FROM "jsonb, 60 % deleted" WHERE random() < 0.6;
CREATE TABLE "arrays and numerics, 30 % deleted, vacuumed" AS
  SELECT id, array_fill(customer, ARRAY[(id % 10)::integer]) AS numbers, amount, amount * 1e12 AS much FROM rows;
DELETE FROM "arrays and numerics, 30 % deleted, vacuumed" WHERE random() < 0.3;
VACUUM "arrays and numerics, 30 % deleted, vacuumed";
CREATE MATERIALIZED VIEW "materialized view" AS TABLE rows;
CREATE TABLE public.of_a_view AS SELECT * FROM rows WHERE id <= 250000;

SET search_path = various, public;

CREATE MATERIALIZED VIEW "materialized view, refreshed concurrently" AS SELECT * FROM of_a_view;
CREATE UNIQUE INDEX ON "materialized view, refreshed concurrently" (id);
UPDATE of_a_view SET amount = amount + 1 WHERE id % 2 = 0;
REFRESH MATERIALIZED VIEW CONCURRENTLY "materialized view, refreshed concurrently";

-- So few rows in 1000 pages that chance puts the counts off by 2 %.
CREATE TABLE "two rows a page, half deleted, vacuumed" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "two rows a page, half deleted, vacuumed" TABLE long_rows;
DELETE FROM "two rows a page, half deleted, vacuumed" WHERE random() < 0.5;
VACUUM "two rows a page, half deleted, vacuumed";
CREATE TABLE "one row a page, half deleted" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "one row a page, half deleted" SELECT id, left(text || text, 5000) FROM long_rows WHERE id <= 7000;
DELETE FROM "one row a page, half deleted" WHERE random() < 0.5;

CREATE TABLE "head deleted" AS TABLE rows;
DELETE FROM "head deleted" WHERE id <= 250000;
CREATE TABLE "head deleted, vacuumed" AS TABLE rows;
DELETE FROM "head deleted, vacuumed" WHERE id <= 250000;
VACUUM "head deleted, vacuumed";
CREATE TABLE "tail deleted" AS TABLE rows;
DELETE FROM "tail deleted" WHERE id > 300000;
CREATE TABLE "tail deleted, truncated" AS TABLE rows;
DELETE FROM "tail deleted, truncated" WHERE id > 300000;
VACUUM "tail deleted, truncated";
CREATE TABLE "middle deleted, vacuumed" AS TABLE rows;
DELETE FROM "middle deleted, vacuumed" WHERE id BETWEEN 150000 AND 350000;
VACUUM "middle deleted, vacuumed";
CREATE TABLE "queue" AS TABLE rows;
DELETE FROM "queue" WHERE id <= 400000;
VACUUM "queue";
INSERT INTO "queue" SELECT * FROM rows WHERE id <= 150000;
DELETE FROM "queue" WHERE id <= 30000;
CREATE TABLE "a tenth of a large file deleted, vacuumed" AS SELECT * FROM rows, generate_series(1, 3) AS part ORDER BY part, id;
DELETE FROM "a tenth of a large file deleted, vacuumed" WHERE part = 2 AND id BETWEEN 100000 AND 250000;
VACUUM "a tenth of a large file deleted, vacuumed";
CREATE TABLE "alternating regions deleted" AS TABLE rows;
DELETE FROM "alternating regions deleted" WHERE id / 10000 % 2 = 0;
CREATE TABLE "alternating short regions deleted, vacuumed" AS TABLE rows;
DELETE FROM "alternating short regions deleted, vacuumed" WHERE id / 300 % 2 = 0;
VACUUM "alternating short regions deleted, vacuumed";
CREATE TABLE "more deleted from page to page" AS TABLE rows;
DELETE FROM "more deleted from page to page" WHERE random() < id / 500000.0;

CREATE TABLE "row width grows" AS SELECT id, repeat('x', (id / 1000)::integer) AS text FROM rows WHERE id <= 300000;
CREATE TABLE "row width grows, half deleted, vacuumed" AS TABLE "row width grows";
DELETE FROM "row width grows, half deleted, vacuumed" WHERE random() < 0.5;
VACUUM "row width grows, half deleted, vacuumed";
CREATE TABLE "row width grows, narrow ones deleted" AS TABLE "row width grows";
DELETE FROM "row width grows, narrow ones deleted" WHERE id < 150000;
CREATE TABLE "narrow rows, then wide ones" (LIKE in_place INCLUDING STORAGE);
INSERT INTO "narrow rows, then wide ones" SELECT id FROM rows;
INSERT INTO "narrow rows, then wide ones" TABLE long_rows;
CREATE TABLE "fast default, half of the rows are later" AS SELECT * FROM rows WHERE id <= 200000;
ALTER TABLE "fast default, half of the rows are later" ADD COLUMN d text DEFAULT 'what every old row has, forty bytes of it';
INSERT INTO "fast default, half of the rows are later" SELECT *, 'new' FROM rows WHERE id <= 200000;

CREATE TABLE "empty" (LIKE rows);
CREATE TABLE "one page" AS SELECT * FROM rows WHERE id <= 30;
CREATE TABLE "one page, half deleted" AS SELECT * FROM rows WHERE id <= 60;
DELETE FROM "one page, half deleted" WHERE id % 2 = 0;
CREATE TABLE "two pages, half deleted, vacuumed" AS SELECT * FROM rows WHERE id <= 130;
DELETE FROM "two pages, half deleted, vacuumed" WHERE id % 2 = 0;
VACUUM "two pages, half deleted, vacuumed";
CREATE TABLE "all deleted" AS SELECT * FROM rows WHERE id <= 200000;
DELETE FROM "all deleted";
CREATE TABLE "all deleted, vacuumed" AS SELECT * FROM rows WHERE id <= 200000;
DELETE FROM "all deleted, vacuumed";
VACUUM "all deleted, vacuumed";
CREATE TABLE "all but the last row deleted, vacuumed" AS SELECT * FROM rows WHERE id <= 200000;
DELETE FROM "all but the last row deleted, vacuumed" WHERE id < 200000;
VACUUM "all but the last row deleted, vacuumed";

CREATE TABLE "TOAST" (LIKE apart INCLUDING STORAGE);
INSERT INTO "TOAST" TABLE long_rows;
CREATE TABLE "TOAST, half deleted" (LIKE apart INCLUDING STORAGE);
INSERT INTO "TOAST, half deleted" TABLE long_rows;
DELETE FROM "TOAST, half deleted" WHERE random() < 0.5;
CREATE TABLE "TOAST, half deleted, vacuumed" (LIKE apart INCLUDING STORAGE);
INSERT INTO "TOAST, half deleted, vacuumed" TABLE long_rows;
DELETE FROM "TOAST, half deleted, vacuumed" WHERE random() < 0.5;
VACUUM "TOAST, half deleted, vacuumed";
CREATE TABLE "TOAST, its column updated" (LIKE apart INCLUDING STORAGE);
INSERT INTO "TOAST, its column updated" TABLE long_rows;
UPDATE "TOAST, its column updated" SET text = reverse(text) WHERE id % 3 = 0;
CREATE TABLE "TOAST, another column updated" (LIKE apart INCLUDING STORAGE);
INSERT INTO "TOAST, another column updated" TABLE long_rows;
UPDATE "TOAST, another column updated" SET id = -id;
CREATE TABLE "TOAST, jsonb" AS
  SELECT id, jsonb_build_object('text', text, 'more', to_jsonb(regexp_split_to_array(left(text, 500), '4'))) AS doc FROM long_rows WHERE id <= 8000;
CREATE TABLE "TOAST, jsonb, half deleted, vacuumed" AS TABLE "TOAST, jsonb";
DELETE FROM "TOAST, jsonb, half deleted, vacuumed" WHERE random() < 0.5;
VACUUM "TOAST, jsonb, half deleted, vacuumed";
CREATE TABLE "TOAST, compressed" AS SELECT id, repeat(left(text, 1200), 12) AS text FROM long_rows;
CREATE TABLE "TOAST of some rows, 60 % deleted" AS
  SELECT r.id, r.note, CASE WHEN r.id % 20 = 0 THEN l.text END AS text FROM rows AS r LEFT JOIN long_rows AS l ON r.id / 20 = l.id WHERE r.id <= 200000;
DELETE FROM "TOAST of some rows, 60 % deleted" WHERE random() < 0.6;
CREATE TABLE "dropped column, in TOAST" (id bigint, gone text, note text);
ALTER TABLE "dropped column, in TOAST" ALTER COLUMN gone SET STORAGE EXTERNAL;
INSERT INTO "dropped column, in TOAST" SELECT id, text, left(text, 400) FROM long_rows;
ALTER TABLE "dropped column, in TOAST" DROP COLUMN gone;
CREATE TABLE "dropped column in TOAST, others stay there" (id bigint, gone text, stays text);
ALTER TABLE "dropped column in TOAST, others stay there" ALTER COLUMN gone SET STORAGE EXTERNAL, ALTER COLUMN stays SET STORAGE EXTERNAL;
INSERT INTO "dropped column in TOAST, others stay there" SELECT id, text, left(text, 2500) FROM long_rows WHERE id <= 9000;
ALTER TABLE "dropped column in TOAST, others stay there" DROP COLUMN gone;

CREATE TABLE "partitioned" (LIKE rows) PARTITION BY HASH (id);
CREATE TABLE "partitioned 0" PARTITION OF "partitioned" FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE "partitioned 1" PARTITION OF "partitioned" FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE "partitioned 2" PARTITION OF "partitioned" FOR VALUES WITH (MODULUS 3, REMAINDER 2) PARTITION BY LIST (customer);
CREATE TABLE "partitioned 2, some" PARTITION OF "partitioned 2" FOR VALUES IN (1, 2, 3);
CREATE TABLE "partitioned 2, others" PARTITION OF "partitioned 2" DEFAULT;
INSERT INTO "partitioned" TABLE rows;
DELETE FROM "partitioned 0" WHERE random() < 0.6;
VACUUM "partitioned 0";
DELETE FROM "partitioned 2" WHERE random() < 0.3;
CREATE TABLE "partitioned, with TOAST" (LIKE apart INCLUDING STORAGE) PARTITION BY RANGE (id);
CREATE TABLE "partitioned, with TOAST, old" PARTITION OF "partitioned, with TOAST" FOR VALUES FROM (MINVALUE) TO (5000);
CREATE TABLE "partitioned, with TOAST, new" PARTITION OF "partitioned, with TOAST" FOR VALUES FROM (5000) TO (MAXVALUE);
INSERT INTO "partitioned, with TOAST" TABLE long_rows;
DELETE FROM "partitioned, with TOAST" WHERE id < 3000;
CREATE TABLE "partitioned, no part" (id bigint) PARTITION BY RANGE (id);

SELECT format('ANALYZE %s', oid::regclass) FROM pg_class
 WHERE relnamespace IN ('uniform'::regnamespace, 'various'::regnamespace) AND relkind IN ('r', 'm', 'p') AND relname NOT LIKE 'never analysed%' \gexec
CHECKPOINT;
