-- The indexes of the test bed, for psql; about 3 GB with their tables. An index in "various" is a case, and its
-- name says what it is.
\set ON_ERROR_STOP 1
\set QUIET 1
SET client_min_messages = warning;
SET work_mem = '64MB';
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA various;
SET search_path = various, public;
\o /dev/null
SELECT setseed(0.42);

CREATE FUNCTION noise(length integer) RETURNS text LANGUAGE sql VOLATILE AS
  'SELECT left(string_agg(md5(random()::text), ''''), length) FROM generate_series(0, length / 32)';

CREATE TABLE rows AS
  SELECT id, gen_random_uuid() AS uuid, (random() * 1e9)::integer AS number, md5(random()::text) AS text,
         (random() * 999999)::numeric(12, 4) AS amount, now() - id * interval '1 second' AS created,
         id % 2 AS of_2, (random() * 9)::integer AS of_10, (random() * 999)::integer AS of_1000, (random() * 99999)::integer AS of_100000,
         CASE WHEN random() < 0.3 THEN id END AS some_null, NULL::integer AS all_null, random() < 0.1 AS flag,
         'customer ' || (random() * 2000)::integer AS customer
    FROM generate_series(1, 600000) AS id;
ANALYZE rows;

-- built: all at once.
CREATE TABLE built AS TABLE rows;
CREATE UNIQUE INDEX "bigserial" ON built (id);
CREATE UNIQUE INDEX "random uuid" ON built (uuid);
CREATE INDEX "text" ON built (text);
CREATE INDEX "numeric" ON built (amount);
CREATE INDEX "timestamptz, DESC" ON built (created DESC NULLS LAST);
CREATE INDEX "boolean" ON built (flag);
CREATE INDEX "2 values" ON built (of_2);
CREATE INDEX "10 values" ON built (of_10);
CREATE INDEX "1000 values" ON built (of_1000);
CREATE INDEX "100,000 values" ON built (of_100000);
CREATE INDEX "2000 texts" ON built (customer);
CREATE INDEX "NULL only" ON built (all_null);
CREATE INDEX "several columns, with NULLs" ON built (some_null, of_10, number);
CREATE INDEX "three columns, long prefix repeated" ON built (customer, of_1000, of_10);
CREATE INDEX "INCLUDE" ON built (id) INCLUDE (uuid);
CREATE INDEX "1000 values, INCLUDE" ON built (of_1000) INCLUDE (of_10);
CREATE INDEX "1000 values, not deduplicated" ON built (of_1000) WITH (deduplicate_items = off);
CREATE INDEX "fillfactor 70" ON built (number) WITH (fillfactor = 70);
CREATE INDEX "fillfactor 100" ON built (number) WITH (fillfactor = 100);
CREATE INDEX "fillfactor 70, 1000 values" ON built (of_1000) WITH (fillfactor = 70);
CREATE INDEX "partial" ON built (number) WHERE flag;
CREATE INDEX "expression" ON built (upper(customer), (id % 5000));
CREATE TABLE long_keys AS SELECT id, noise(900) AS text FROM generate_series(1, 40000) AS id;
CREATE INDEX "900-byte keys" ON long_keys (text);
CREATE TABLE varied_keys AS SELECT id, left(noise(200), 5 + (random() * 190)::integer) AS text FROM generate_series(1, 200000) AS id;
CREATE INDEX "keys of 5 to 195 bytes" ON varied_keys (text);
CREATE TABLE repeated_long_keys AS SELECT id, (SELECT repeat(md5((id % 300)::text), 10)) AS text FROM generate_series(1, 200000) AS id;
CREATE INDEX "300 long texts" ON repeated_long_keys (text);
CREATE TABLE nothing (id bigint);
CREATE INDEX "empty" ON nothing (id);
CREATE TABLE few AS SELECT * FROM rows WHERE id <= 200;
CREATE INDEX "one page" ON few (id);
CREATE TABLE fewer AS SELECT * FROM rows WHERE id <= 30000;
CREATE INDEX "less than 1000 pages" ON fewer (uuid);

-- deleted: 60 % at random, not vacuumed; vacuumed.
CREATE TABLE deleted AS TABLE rows;
CREATE UNIQUE INDEX "bigserial, 60 % deleted" ON deleted (id);
CREATE INDEX "random uuid, 60 % deleted" ON deleted (uuid);
CREATE INDEX "1000 values, 60 % deleted" ON deleted (of_1000);
CREATE INDEX "partial, 60 % deleted" ON deleted (number) WHERE of_2 = 0;
DELETE FROM deleted WHERE random() < 0.6;
CREATE TABLE vacuumed AS TABLE rows;
CREATE UNIQUE INDEX "bigserial, 60 % deleted, vacuumed" ON vacuumed (id);
CREATE INDEX "random uuid, 60 % deleted, vacuumed" ON vacuumed (uuid);
CREATE INDEX "text, 60 % deleted, vacuumed" ON vacuumed (text);
CREATE INDEX "10 values, 60 % deleted, vacuumed" ON vacuumed (of_10);
CREATE INDEX "1000 values, 60 % deleted, vacuumed" ON vacuumed (of_1000);
CREATE INDEX "100,000 values, 60 % deleted, vacuumed" ON vacuumed (of_100000);
CREATE INDEX "several columns, with NULLs, 60 % deleted, vacuumed" ON vacuumed (some_null, of_10, number);
CREATE INDEX "partial, 60 % deleted, vacuumed" ON vacuumed (number) WHERE of_2 = 0;
DELETE FROM vacuumed WHERE random() < 0.6;
VACUUM vacuumed;
CREATE TABLE tenth AS SELECT id, of_1000 FROM rows;
CREATE INDEX "bigserial, 90 % deleted, vacuumed" ON tenth (id);
CREATE INDEX "1000 values, 90 % deleted, vacuumed" ON tenth (of_1000);
DELETE FROM tenth WHERE random() < 0.9;
VACUUM tenth;
CREATE TABLE gone AS SELECT * FROM rows WHERE id <= 100000;
CREATE INDEX "all deleted, vacuumed" ON gone (uuid);
DELETE FROM gone;
VACUUM gone;
CREATE TABLE range_deleted AS SELECT id FROM rows;
CREATE INDEX "bigserial, first 60 % deleted" ON range_deleted (id);
DELETE FROM range_deleted WHERE id <= 360000;
CREATE TABLE range_vacuumed AS SELECT id, created FROM rows;
CREATE INDEX "bigserial, first 60 % deleted, vacuumed" ON range_vacuumed (id);
CREATE INDEX "timestamptz, last 60 % deleted, vacuumed" ON range_vacuumed (created);
DELETE FROM range_vacuumed WHERE id <= 360000;
VACUUM range_vacuumed;
CREATE TABLE narrow_range AS SELECT id FROM rows;
CREATE INDEX "9 of 10 deleted in a fifth, vacuumed" ON narrow_range (id);
DELETE FROM narrow_range WHERE id BETWEEN 200000 AND 320000 AND id % 10 <> 0;
VACUUM narrow_range;
-- Only of the rows with a small number: bloat at one end of this index, all over the other.
CREATE TABLE partly AS SELECT id, flag, of_10 FROM rows;
CREATE INDEX "partial, its rows deleted, vacuumed" ON partly (id) WHERE flag;
CREATE INDEX "partial, other rows deleted, not vacuumed" ON partly (id) WHERE of_10 = 3;
DELETE FROM partly WHERE flag AND random() < 0.8;
VACUUM partly;
DELETE FROM partly WHERE of_10 <> 3 AND random() < 0.5;

-- early: built before the rows came.
CREATE TABLE early (LIKE rows);
CREATE UNIQUE INDEX "bigserial, built early" ON early (id);
CREATE INDEX "random uuid, built early" ON early (uuid);
CREATE INDEX "random integer, built early" ON early (number);
CREATE INDEX "text, built early" ON early (text);
CREATE INDEX "numeric, built early" ON early (amount);
CREATE INDEX "descending, built early" ON early (created);
CREATE INDEX "2 values, built early" ON early (of_2);
CREATE INDEX "1000 values, built early" ON early (of_1000);
CREATE INDEX "100,000 values, built early" ON early (of_100000);
CREATE INDEX "1000 values, not deduplicated, built early" ON early (of_1000) WITH (deduplicate_items = off);
CREATE INDEX "value and number ascending in it, built early" ON early (of_10, id);
CREATE INDEX "fillfactor 70, built early" ON early (id) WITH (fillfactor = 70);
CREATE INDEX "INCLUDE, built early" ON early (uuid) INCLUDE (id);
INSERT INTO early TABLE rows;
CREATE TABLE early_keys (LIKE long_keys);
CREATE INDEX "900-byte keys, built early" ON early_keys (text);
INSERT INTO early_keys TABLE long_keys;
CREATE TABLE refilled AS TABLE rows;
CREATE INDEX "random uuid, 60 % replaced" ON refilled (uuid);
CREATE INDEX "bigserial, 60 % replaced" ON refilled (id);
DELETE FROM refilled WHERE random() < 0.6;
VACUUM refilled;
INSERT INTO refilled SELECT id + 600000, gen_random_uuid() FROM generate_series(1, 360000) AS id;

-- churn: no update is HOT, as number is indexed and changes.
CREATE TABLE churn AS SELECT * FROM rows WHERE id <= 200000;
CREATE UNIQUE INDEX "unique, versions" ON churn (id);
CREATE INDEX "changing key, versions" ON churn (number);
CREATE INDEX "1000 values, versions" ON churn (of_1000);
UPDATE churn SET number = number + 1 WHERE id % 2 = 0;
UPDATE churn SET number = number + 1 WHERE id % 3 = 0;
CREATE TABLE churned AS SELECT * FROM rows WHERE id <= 200000;
CREATE UNIQUE INDEX "unique, versions, vacuumed" ON churned (id);
CREATE INDEX "changing key, versions, vacuumed" ON churned (number);
CREATE INDEX "1000 values, versions, vacuumed" ON churned (of_1000);
UPDATE churned SET number = number + (random() * 1e6)::integer;
VACUUM churned;
UPDATE churned SET number = number + (random() * 1e6)::integer;
VACUUM churned;
CREATE TABLE queue (LIKE rows);
CREATE INDEX "queue, ascending" ON queue (id);
CREATE INDEX "queue, partial" ON queue (created) WHERE of_2 = 0;
DO $$
BEGIN
  FOR turn IN 0 .. 19 LOOP
    INSERT INTO queue SELECT * FROM rows WHERE id > turn * 20000 AND id <= (turn + 1) * 20000;
    DELETE FROM queue WHERE id <= turn * 20000 AND id % 100 <> 0;
    COMMIT;
    UPDATE queue SET of_2 = 1 WHERE id > turn * 20000 AND id % 10 <> 0;
    COMMIT;
  END LOOP;
END
$$;
VACUUM queue;
CREATE TABLE hot (LIKE rows) WITH (fillfactor = 50);
CREATE INDEX "HOT updates" ON hot (id);
INSERT INTO hot SELECT * FROM rows WHERE id <= 200000;
UPDATE hot SET number = number + 1;
CREATE TABLE aborted AS SELECT * FROM rows WHERE id <= 200000;
CREATE INDEX "half of it rolled back" ON aborted (uuid);
BEGIN; INSERT INTO aborted SELECT id, gen_random_uuid() FROM generate_series(1, 200000) AS id; ROLLBACK;

-- Other access methods.
CREATE TABLE hashed AS SELECT id, text, number, flag, of_1000, of_100000 FROM rows;
CREATE INDEX "hash, unique" ON hashed USING hash (id);
CREATE INDEX "hash, text" ON hashed USING hash (text);
CREATE INDEX "hash, 100,000 values" ON hashed USING hash (of_100000);
CREATE INDEX "hash, 1000 values" ON hashed USING hash (of_1000);
CREATE INDEX "hash, partial" ON hashed USING hash (number) WHERE flag;
CREATE TABLE hash_deleted AS SELECT id FROM rows;
ANALYZE hash_deleted;
CREATE INDEX "hash, 60 % deleted" ON hash_deleted USING hash (id);
DELETE FROM hash_deleted WHERE random() < 0.6;
ANALYZE hash_deleted;
CREATE TABLE hash_vacuumed AS SELECT id, of_100000 FROM rows;
CREATE INDEX "hash, 60 % deleted, vacuumed" ON hash_vacuumed USING hash (id);
CREATE INDEX "hash, 90 % of 100,000 values deleted, vacuumed" ON hash_vacuumed USING hash (of_100000);
DELETE FROM hash_vacuumed WHERE random() < 0.6;
VACUUM ANALYZE hash_vacuumed;
CREATE TABLE hash_early (LIKE rows);
CREATE INDEX "hash, built early" ON hash_early USING hash (id);
INSERT INTO hash_early SELECT * FROM rows WHERE id <= 300000;
CREATE INDEX "hash, empty" ON nothing USING hash (id);
CREATE INDEX "hash, one page" ON few USING hash (id);

CREATE TABLE documents AS
  SELECT id, jsonb_build_object('customer', (random() * 3000)::integer, 'tags', jsonb_build_array((random() * 100)::integer, (random() * 100)::integer), 'name', left(md5(random()::text), 6)) AS doc,
         ARRAY[(random() * 2000)::integer, (random() * 2000)::integer, (random() * 50)::integer] AS numbers,
         to_tsvector('simple', md5((random() * 5000)::integer::text) || ' ' || md5((random() * 5000)::integer::text) || ' w' || (random() * 200)::integer) AS words,
         left(md5(random()::text), 12) AS text,
         point(random() * 1000, random() * 1000) AS point,
         int4range((id * 10)::integer, (id * 10 + random() * 100)::integer) AS range,
         ('10.' || (random() * 255)::integer || '.' || (random() * 255)::integer || '.' || (random() * 255)::integer)::inet AS address
    FROM generate_series(1, 150000) AS id;
CREATE EXTENSION pg_trgm;
CREATE INDEX "gin, jsonb" ON documents USING gin (doc);
CREATE INDEX "gin, jsonb_path_ops" ON documents USING gin (doc jsonb_path_ops);
CREATE INDEX "gin, array" ON documents USING gin (numbers);
CREATE INDEX "gin, tsvector" ON documents USING gin (words);
CREATE INDEX "gin, trigrams" ON documents USING gin (text gin_trgm_ops);
CREATE TABLE gin_early (LIKE documents);
CREATE INDEX "gin, jsonb, built early" ON gin_early USING gin (doc) WITH (fastupdate = off);
CREATE INDEX "gin, array, built early" ON gin_early USING gin (numbers) WITH (fastupdate = off);
CREATE INDEX "gin, tsvector, built early" ON gin_early USING gin (words);
INSERT INTO gin_early TABLE documents;
CREATE TABLE gin_pending AS TABLE documents;
CREATE INDEX "gin, with a pending list" ON gin_pending USING gin (numbers) WITH (gin_pending_list_limit = 100000);
INSERT INTO gin_pending SELECT * FROM documents WHERE id <= 60000;
CREATE TABLE gin_deleted AS TABLE documents;
CREATE INDEX "gin, array, 60 % deleted" ON gin_deleted USING gin (numbers);
DELETE FROM gin_deleted WHERE random() < 0.6;
CREATE TABLE gin_vacuumed AS TABLE documents;
CREATE INDEX "gin, array, 60 % deleted, vacuumed" ON gin_vacuumed USING gin (numbers);
CREATE INDEX "gin, jsonb, 60 % deleted, vacuumed" ON gin_vacuumed USING gin (doc);
CREATE INDEX "gin, tsvector, 60 % deleted, vacuumed" ON gin_vacuumed USING gin (words);
DELETE FROM gin_vacuumed WHERE random() < 0.6;
VACUUM gin_vacuumed;
CREATE TABLE no_document (LIKE documents);
CREATE INDEX "gin, empty" ON no_document USING gin (doc);

CREATE INDEX "gist, points" ON documents USING gist (point);
CREATE INDEX "gist, ranges" ON documents USING gist (range);
CREATE INDEX "gist, tsvector" ON documents USING gist (words);
CREATE TABLE gist_early (LIKE documents);
CREATE INDEX "gist, points, built early" ON gist_early USING gist (point);
CREATE INDEX "gist, ranges, built early" ON gist_early USING gist (range);
INSERT INTO gist_early TABLE documents;
CREATE TABLE gist_deleted AS TABLE documents;
CREATE INDEX "gist, points, 60 % deleted" ON gist_deleted USING gist (point);
DELETE FROM gist_deleted WHERE random() < 0.6;
CREATE TABLE gist_vacuumed AS TABLE documents;
CREATE INDEX "gist, points, 60 % deleted, vacuumed" ON gist_vacuumed USING gist (point);
CREATE INDEX "gist, ranges, 60 % deleted, vacuumed" ON gist_vacuumed USING gist (range);
DELETE FROM gist_vacuumed WHERE random() < 0.6;
VACUUM gist_vacuumed;
CREATE INDEX "gist, empty" ON no_document USING gist (point);

CREATE INDEX "spgist, text" ON documents USING spgist (text);
CREATE INDEX "spgist, points" ON documents USING spgist (point);
CREATE INDEX "spgist, points, k-d" ON documents USING spgist (point kd_point_ops);
CREATE INDEX "spgist, inet" ON documents USING spgist (address inet_ops);
CREATE TABLE spgist_early (LIKE documents);
CREATE INDEX "spgist, text, built early" ON spgist_early USING spgist (text);
CREATE INDEX "spgist, points, built early" ON spgist_early USING spgist (point);
INSERT INTO spgist_early TABLE documents;
CREATE TABLE spgist_deleted AS TABLE documents;
CREATE INDEX "spgist, text, 60 % deleted" ON spgist_deleted USING spgist (text);
DELETE FROM spgist_deleted WHERE random() < 0.6;
CREATE TABLE spgist_vacuumed AS TABLE documents;
CREATE INDEX "spgist, text, 60 % deleted, vacuumed" ON spgist_vacuumed USING spgist (text);
CREATE INDEX "spgist, points, 60 % deleted, vacuumed" ON spgist_vacuumed USING spgist (point);
DELETE FROM spgist_vacuumed WHERE random() < 0.6;
VACUUM spgist_vacuumed;
CREATE INDEX "spgist, empty" ON no_document USING spgist (text);

CREATE INDEX "brin" ON rows USING brin (id);
CREATE INDEX "brin, a range for each page" ON rows USING brin (id) WITH (pages_per_range = 1);
CREATE INDEX "brin, text, a range for each page" ON rows USING brin (text) WITH (pages_per_range = 1);
CREATE INDEX "brin, minmax_multi" ON rows USING brin (id int4_minmax_multi_ops) WITH (pages_per_range = 4);
CREATE INDEX "brin, of deleted rows" ON vacuumed USING brin (id) WITH (pages_per_range = 2);
CREATE INDEX "brin, empty" ON nothing USING brin (id);
CREATE TABLE brin_early (LIKE rows);
CREATE INDEX "brin, built early" ON brin_early USING brin (id) WITH (pages_per_range = 2, autosummarize = off);
INSERT INTO brin_early SELECT * FROM rows WHERE id <= 200000;
VACUUM brin_early;

SELECT format('ANALYZE %s', oid::regclass) FROM pg_class WHERE relnamespace = 'various'::regnamespace AND relkind = 'r' \gexec
CHECKPOINT;
