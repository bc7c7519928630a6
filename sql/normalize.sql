-- One statement, however its constants, lists, comments and case are written.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS train_perf;
RESET client_min_messages;
SET standard_conforming_strings = on;
\pset format unaligned
\pset tuples_only on

SELECT normalize_query(query) FROM (VALUES
  (1, 'SELECT * FROM Users  WHERE id = 42 AND name = ''Ann'';'),
  (2, 'select E''it\''s'', $tag$ secret $tag$, U&''d\0061t'', x''1F'', .5e-3'),
  (3, 'SELECT "MixedCase", lower("a""b") FROM "T"'),
  (4, 'select 1 -- a comment
       /* and /* a nested */ one */ from t'),
  (5, 'select * from t where a in (1, 2, 3) and b = any(array[4, 5]) and c = 6'),
  (6, 'insert into t (a, b) values (1, ''x''), (2, ''y''), (3, ''z'')'),
  (7, 'select * from t where a = $1 and b = 7 limit $2'),
  (8, 'DO $body$ BEGIN PERFORM f(''secret'', 1); END $body$'),
  (9, 'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$'),
  (10, 'select a-1, -1, a - -1'),
  (11, 'select ''Grüße'', "Größe" from "Straße"'),
  (12, ''),
  (13, '   ;  '),
  (14, 'select ''never closed')
) AS examples (number, query) ORDER BY number;

-- One hash for all of a kind; different statements differ.
SELECT count(DISTINCT query_hash(query)) AS hashes FROM (VALUES
  ('select * from t where a in (1) and b = ''x'''),
  ('SELECT  *  FROM t WHERE a IN (1, 2, 3) AND b = ''y'''),
  ('select * /* note */ from t where a in ($1, $2) and b = $3 -- end'),
  (E'select *\n\tfrom T where A in (-1, +2) and b = E''z'';')
) AS examples (query);
SELECT count(DISTINCT query_hash(query)) AS hashes FROM (VALUES
  ('select a from t'), ('select b from t'), ('select a from u'), ('select a, a from t'),
  ('select "A" from t'), ('select a from t limit 1'), ('insert into t values (1)'),
  ('insert into t values (1, 2)')
) AS examples (query);

-- The hash is the md5 of the normalised text, so that anybody can compute it.
SELECT query_hash(query) = md5(normalize_query(query)) FROM (VALUES
  ('SELECT 1'), ('select * from t where a in (1, 2)'), (''), ('DO $$BEGIN NULL; END$$'),
  ('select ''Grüße''')
) AS examples (query);
SELECT query_hash('select * from t where id = 5');

-- The text that is stored is its own normal form: its hash is the same.
SELECT query FROM (VALUES
  ('select * from t where a in (1, 2) and b = 3'), ('select array[1, 2], 3'), ('select -1, a - 1'),
  ('insert into t values (1, 2), (3, 4)'), ('DO $$BEGIN PERFORM f(1); END$$'),
  ('select date ''2024-01-01'', x''1F''')
) AS examples (query)
 WHERE query_hash(query) <> query_hash(normalize_query(query));

SELECT normalize_query(NULL) IS NULL, query_hash(NULL) IS NULL;

-- Neither long texts nor deep nesting are a problem.
SELECT length(normalize_query('select ' || repeat('a, ', 100000) || '1'));
SELECT normalize_query('select * from t where a in (' || repeat('1, ', 100000) || '2)');
SELECT length(normalize_query(repeat('(', 100000) || '1'));
SELECT normalize_query(repeat('/*', 100000) || ' select 1');
