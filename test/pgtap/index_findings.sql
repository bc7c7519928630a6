-- index_findings: what is accused, and above all what is not.
BEGIN;
SELECT no_plan();
SET client_min_messages = warning;

-- What is found about the objects that a script makes in the schema c; the schema is not shown.
CREATE FUNCTION pg_temp.found_after(script text) RETURNS text[] LANGUAGE plpgsql
AS $$
DECLARE
  found text[];
BEGIN
  CREATE SCHEMA c;
  EXECUTE 'SET LOCAL search_path = c, public;' || script;
  SET LOCAL search_path = public;
  SELECT coalesce(array_agg(replace(finding_key, 'c.', '') ORDER BY finding_key), '{}') INTO found
    FROM index_findings WHERE schemaname = 'c' OR schemaname LIKE 'pg\_%';
  DROP SCHEMA c CASCADE;
  RETURN found;
END
$$;

-- An index as a failed or unfinished concurrent build leaves it.
CREATE FUNCTION pg_temp.invalidate(index regclass) RETURNS void LANGUAGE sql
AS $$ UPDATE pg_index SET indisvalid = false WHERE indexrelid = index $$;

CREATE TEMP TABLE cases (place serial, name text, script text, expected text[]);

INSERT INTO cases (name, script, expected) VALUES
-- Duplicates: columns.
('no_index', 'CREATE TABLE t (a int)', '{}'),
('different_columns', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (b)', '{}'),
('twins_one_is_accused', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)',
  '{duplicate:y}'),
('triplets_two_are_accused',
  'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a); CREATE INDEX z ON t (a)',
  '{duplicate:y,duplicate:z}'),
('a_prefix_is_accused', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b)',
  '{duplicate:x}'),
('a_suffix_is_not', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (b); CREATE INDEX y ON t (a, b)', '{}'),
('another_order_of_columns_is_not',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (b, a); CREATE INDEX y ON t (a, b)', '{}'),
('column_1_is_no_prefix_of_column_10',
  'CREATE TABLE t (c1 int, c2 int, c3 int, c4 int, c5 int, c6 int, c7 int, c8 int, c9 int, c10 int);
   CREATE INDEX x ON t (c1); CREATE INDEX y ON t (c10)', '{}'),
('a_chain_keeps_the_longest',
  'CREATE TABLE t (a int, b int, c int);
   CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b); CREATE INDEX z ON t (a, b, c)', '{duplicate:x,duplicate:y}'),
('twins_under_a_longer_one_are_both_accused',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a); CREATE INDEX z ON t (a, b)',
  '{duplicate:x,duplicate:y}'),
('the_same_index_on_another_table',
  'CREATE TABLE t (a int); CREATE TABLE u (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON u (a)', '{}'),
('a_materialized_view',
  'CREATE MATERIALIZED VIEW t AS SELECT 1 AS a; CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)', '{duplicate:y}'),
('an_unlogged_table', 'CREATE UNLOGGED TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)',
  '{duplicate:y}'),
-- Order, collation, operator class, method.
('descending', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a DESC)', '{}'),
('second_column_descending',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a, b); CREATE INDEX y ON t (a, b DESC)', '{}'),
('a_prefix_of_a_second_column_descending',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b DESC)', '{duplicate:x}'),
('nulls_first', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a NULLS FIRST)', '{}'),
('another_collation', 'CREATE TABLE t (a text); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a COLLATE "POSIX")', '{}'),
('another_operator_class',
  'CREATE TABLE t (a text); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a text_pattern_ops)', '{}'),
('hash_beside_btree', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t USING hash (a)', '{}'),
('hash_twins', 'CREATE TABLE t (a int); CREATE INDEX x ON t USING hash (a); CREATE INDEX y ON t USING hash (a)',
  '{duplicate:y}'),
('gin_twins', 'CREATE TABLE t (a int[]); CREATE INDEX x ON t USING gin (a); CREATE INDEX y ON t USING gin (a)',
  '{duplicate:y}'),
('gist_twins', 'CREATE TABLE t (a point); CREATE INDEX x ON t USING gist (a); CREATE INDEX y ON t USING gist (a)',
  '{duplicate:y}'),
('gist_prefix',
  'CREATE TABLE t (a point, b point); CREATE INDEX x ON t USING gist (a); CREATE INDEX y ON t USING gist (a, b)', '{}'),
('gin_prefix',
  'CREATE TABLE t (a int[], b int[]); CREATE INDEX x ON t USING gin (a); CREATE INDEX y ON t USING gin (a, b)', '{}'),
('gist_with_other_parameters_of_its_class',
  'CREATE TABLE t (a tsvector); CREATE INDEX x ON t USING gist (a tsvector_ops (siglen = 64));
   CREATE INDEX y ON t USING gist (a tsvector_ops (siglen = 128))', '{}'),
('spgist_twins',
  'CREATE TABLE t (a text); CREATE INDEX x ON t USING spgist (a); CREATE INDEX y ON t USING spgist (a)', '{duplicate:y}'),
('brin_prefix', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t USING brin (a); CREATE INDEX y ON t USING brin (a, b)', '{}'),
('brin_twins', 'CREATE TABLE t (a int); CREATE INDEX x ON t USING brin (a); CREATE INDEX y ON t USING brin (a)',
  '{duplicate:y}'),
('brin_with_other_ranges',
  'CREATE TABLE t (a int); CREATE INDEX x ON t USING brin (a);
   CREATE INDEX y ON t USING brin (a) WITH (pages_per_range = 8)', '{}'),
('other_fillfactor', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a) WITH (fillfactor = 50)',
  '{duplicate:y}'),
('without_deduplication',
  'CREATE TABLE t (a int); CREATE INDEX x ON t (a) WITH (deduplicate_items = off); CREATE INDEX y ON t (a)',
  '{duplicate:y}'),
-- Predicates and expressions.
('partial_under_full', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a) WHERE a > 0', '{}'),
('other_predicate',
  'CREATE TABLE t (a int); CREATE INDEX x ON t (a) WHERE a > 1; CREATE INDEX y ON t (a) WHERE a > 0', '{}'),
('the_same_predicate_written_elsewhere',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a) WHERE b > 0;
   CREATE INDEX a_longer_name ON t (a)   WHERE   (b>0)', '{duplicate:a_longer_name}'),
('a_prefix_with_the_same_predicate',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a) WHERE b > 0; CREATE INDEX y ON t (a, b) WHERE b > 0',
  '{duplicate:x}'),
('equal_expressions',
  'CREATE TABLE t (a text); CREATE INDEX x ON t (lower(a)); CREATE INDEX a_longer_name ON t (  lower( (a) ) )',
  '{duplicate:a_longer_name}'),
('an_implicit_and_an_explicit_cast',
  'CREATE TABLE t (a varchar); CREATE INDEX x ON t (lower(a)); CREATE INDEX y ON t (lower(a::text))', '{duplicate:y}'),
('other_expressions', 'CREATE TABLE t (a text); CREATE INDEX x ON t (lower(a)); CREATE INDEX y ON t (upper(a))', '{}'),
('other_constants', 'CREATE TABLE t (a int); CREATE INDEX x ON t ((a + 1)); CREATE INDEX y ON t ((a + 2))', '{}'),
('a_prefix_of_expressions',
  'CREATE TABLE t (a text, b text); CREATE INDEX x ON t (lower(a)); CREATE INDEX y ON t (lower(a), lower(b))',
  '{duplicate:x}'),
('an_expression_before_another_column',
  'CREATE TABLE t (a text, b text); CREATE INDEX x ON t (b, lower(a)); CREATE INDEX y ON t (b, lower(a), a)',
  '{duplicate:x}'),
('another_second_expression',
  'CREATE TABLE t (a text, b text); CREATE INDEX x ON t (lower(a), lower(b)); CREATE INDEX y ON t (lower(a), upper(b), b)',
  '{}'),
('expression_and_column', 'CREATE TABLE t (a text); CREATE INDEX x ON t (a); CREATE INDEX y ON t (lower(a))', '{}'),
-- INCLUDE.
('a_payload_under_none', 'CREATE TABLE t (a int, b int, c int); CREATE INDEX x ON t (a) INCLUDE (b); CREATE INDEX y ON t (a, c)',
  '{}'),
('a_payload_under_the_same_columns_as_keys',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a) INCLUDE (b); CREATE INDEX y ON t (a, b)', '{}'),
('none_under_a_payload', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a) INCLUDE (b)',
  '{duplicate:x}'),
('payload_twins',
  'CREATE TABLE t (a int, b int, c int); CREATE INDEX x ON t (a) INCLUDE (b, c); CREATE INDEX y ON t (a) INCLUDE (c, b)',
  '{duplicate:y}'),
('a_key_under_the_same_column_as_payload',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a, b); CREATE UNIQUE INDEX y ON t (a) INCLUDE (b)', '{}'),
-- Uniqueness.
('unique_under_longer', 'CREATE TABLE t (a int, b int); CREATE UNIQUE INDEX x ON t (a); CREATE INDEX y ON t (a, b)', '{}'),
('unique_under_longer_unique',
  'CREATE TABLE t (a int, b int); CREATE UNIQUE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a, b)', '{}'),
('plain_under_unique', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a)', '{duplicate:x}'),
('plain_under_the_primary_key', 'CREATE TABLE t (a int PRIMARY KEY); CREATE INDEX x ON t (a)', '{duplicate:x}'),
('a_prefix_of_the_primary_key', 'CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); CREATE INDEX x ON t (a)',
  '{duplicate:x}'),
('unique_under_the_primary_key', 'CREATE TABLE t (a int PRIMARY KEY); CREATE UNIQUE INDEX x ON t (a)', '{duplicate:x}'),
('partial_unique', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a) WHERE a > 0', '{}'),
('nulls_not_distinct_is_more',
  'CREATE TABLE t (a int); CREATE UNIQUE INDEX x ON t (a) NULLS NOT DISTINCT; CREATE UNIQUE INDEX y ON t (a)', '{duplicate:y}'),
('nulls_not_distinct_of_a_plain_one',
  'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a) NULLS NOT DISTINCT', '{duplicate:x}'),
-- Constraints and other uses of an index.
('the_primary_key_stays', 'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); ALTER TABLE t ADD PRIMARY KEY (a);
   CREATE INDEX y ON t (a, b)', '{duplicate:x}'),
('a_constraint_like_the_primary_key',
  'CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT x UNIQUE (a)', '{duplicate:x}'),
('a_constraint_stays_before_a_unique_index',
  'CREATE TABLE t (a int); CREATE UNIQUE INDEX x ON t (a); ALTER TABLE t ADD CONSTRAINT y UNIQUE (a)', '{duplicate:x}'),
('a_constraint_that_a_foreign_key_refers_to',
  'CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT x UNIQUE (a); CREATE TABLE u (a int PRIMARY KEY REFERENCES t (a));
   ALTER TABLE t ADD PRIMARY KEY (a)', '{}'),
('a_unique_index_that_a_foreign_key_refers_to',
  'CREATE TABLE t (a int); CREATE UNIQUE INDEX x ON t (a); CREATE TABLE u (a int PRIMARY KEY REFERENCES t (a));
   CREATE UNIQUE INDEX y ON t (a)', '{duplicate:y}'),
('the_older_twin_gives_way_to_the_referenced_one',
  'CREATE TABLE t (a int); CREATE UNIQUE INDEX x ON t (a); CREATE TABLE u (a int PRIMARY KEY REFERENCES t (a));
   ALTER INDEX x RENAME TO z; CREATE UNIQUE INDEX x ON t (a); CREATE INDEX y ON t (a)', '{duplicate:x,duplicate:y}'),
('a_deferrable_constraint',
  'CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT x UNIQUE (a) DEFERRABLE', '{}'),
('unique_beside_a_deferrable_constraint',
  'CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT x UNIQUE (a) DEFERRABLE; CREATE UNIQUE INDEX y ON t (a)', '{}'),
('plain_under_a_deferrable_constraint',
  'CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT x UNIQUE (a) DEFERRABLE; CREATE INDEX y ON t (a)', '{duplicate:y}'),
('an_exclusion_constraint_stays',
  'CREATE TABLE t (a int4range); CREATE INDEX x ON t USING gist (a);
   ALTER TABLE t ADD CONSTRAINT y EXCLUDE USING gist (a WITH &&)', '{duplicate:x}'),
('two_exclusion_constraints',
  'CREATE TABLE t (a int4range, CONSTRAINT x EXCLUDE USING gist (a WITH &&), CONSTRAINT y EXCLUDE USING gist (a WITH =))', '{}'),
('a_replica_identity',
  'CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a);
   ALTER TABLE t REPLICA IDENTITY USING INDEX y', '{duplicate:x}'),
('a_replica_identity_and_a_primary_key',
  'CREATE TABLE t (a int PRIMARY KEY); CREATE UNIQUE INDEX x ON t (a); ALTER TABLE t REPLICA IDENTITY USING INDEX x', '{}'),
('a_clustered_index_stays',
  'CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a); ALTER TABLE t CLUSTER ON y', '{duplicate:x}'),
('an_invalid_partner_is_none',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b);
   SELECT pg_temp.invalidate(''y'')', '{invalid:y}'),
('an_invalid_candidate_is_only_invalid',
  'CREATE TABLE t (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b);
   SELECT pg_temp.invalidate(''x'')', '{invalid:x}'),
('temporary_tables', 'CREATE TEMP TABLE tt (a int); CREATE INDEX tx ON tt (a); CREATE INDEX ty ON tt (a)', '{}'),
-- Partitioned tables.
('twins_on_a_partitioned_table',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t (b); CREATE INDEX y ON t (b)', '{duplicate:y}'),
('a_prefix_on_a_partitioned_table',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t (b); CREATE INDEX y ON t (b, a)', '{duplicate:x}'),
('twins_on_a_table_without_partitions',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE INDEX x ON t (b); CREATE INDEX y ON t (b)', '{duplicate:y}'),
('a_partition_s_own_index_under_an_attached_one',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t (b, a); CREATE INDEX y ON t1 (b)', '{duplicate:y}'),
('an_attached_index_under_a_partition_s_own',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t (b); CREATE INDEX y ON t1 (b, a)', '{}'),
('a_partition_s_twin_older_than_the_attached_one',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX y ON t1 (b); CREATE INDEX z ON t1 (b); CREATE INDEX x ON t (b)', '{duplicate:z}'),
('all_levels_of_partitions',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (a);
   CREATE TABLE t2 PARTITION OF t1 FOR VALUES FROM (0) TO (5);
   CREATE INDEX x ON t (b); CREATE INDEX y ON t1 (b); CREATE INDEX z ON t2 (b)', '{duplicate:y,duplicate:z}'),
('a_partition_whose_columns_are_numbered_otherwise',
  'CREATE TABLE t (a int, b int, c int) PARTITION BY RANGE (a);
   CREATE TABLE t1 (gone int, c int, b int, a int); ALTER TABLE t1 DROP gone;
   ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t (b) WHERE c > 0; CREATE INDEX y ON t1 (b) WHERE c > 0', '{duplicate:y}'),
('a_replica_identity_of_a_partition',
  'CREATE TABLE t (a int NOT NULL) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE UNIQUE INDEX x ON t (a); CREATE UNIQUE INDEX y ON t (a); ALTER TABLE t1 REPLICA IDENTITY USING INDEX t1_a_idx1',
  '{duplicate:x}'),
('a_partition_s_index_that_a_foreign_key_refers_to',
  'CREATE TABLE t (a int NOT NULL) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE UNIQUE INDEX x ON t (a); CREATE TABLE u (a int PRIMARY KEY REFERENCES t1 (a)); CREATE UNIQUE INDEX y ON t (a)',
  '{duplicate:y}'),
-- Invalid indexes.
('an_invalid_index', 'CREATE TABLE t (a int); CREATE INDEX x ON t (a); SELECT pg_temp.invalidate(''x'')', '{invalid:x}'),
('an_index_on_only_the_parent',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON ONLY t (b)', '{}'),
('twins_on_only_the_parent',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON ONLY t (b); CREATE INDEX y ON t (b)', '{}'),
('an_invalid_index_of_a_partition',
  'CREATE TABLE t (a int, b int) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE INDEX x ON t1 (b); SELECT pg_temp.invalidate(''x'')', '{invalid:x}'),
-- Foreign keys.
('an_unindexed_foreign_key', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p)', '{unindexed_fk:t(a)}'),
('an_indexed_one', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a)', '{}'),
('the_primary_key_as_index', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int PRIMARY KEY REFERENCES p)', '{}'),
('a_longer_index', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int); CREATE INDEX ON t (a, b)',
  '{}'),
('a_later_column', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int); CREATE INDEX ON t (b, a)',
  '{unindexed_fk:t(a)}'),
('descending_nulls_last',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a DESC NULLS LAST)', '{}'),
('a_hash_index', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t USING hash (a)',
  '{}'),
('a_brin_index', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t USING brin (a)',
  '{unindexed_fk:t(a)}'),
('a_gin_index', 'CREATE TABLE p (a tsvector PRIMARY KEY); CREATE TABLE t (a tsvector REFERENCES p); CREATE INDEX ON t USING gin (a)',
  '{unindexed_fk:t(a)}'),
('a_gist_index_with_equality',
  'CREATE TABLE p (a int4range PRIMARY KEY); CREATE TABLE t (a int4range REFERENCES p); CREATE INDEX ON t USING gist (a)', '{}'),
('a_gist_index_without_equality',
  'CREATE TABLE p (a tsvector PRIMARY KEY); CREATE TABLE t (a tsvector REFERENCES p); CREATE INDEX ON t USING gist (a)',
  '{unindexed_fk:t(a)}'),
('an_included_column',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int); CREATE INDEX ON t (b) INCLUDE (a)',
  '{unindexed_fk:t(a)}'),
('an_included_second_column',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a) INCLUDE (b)', '{"unindexed_fk:t(a, b)"}'),
('an_expression', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t ((a + 0))',
  '{unindexed_fk:t(a)}'),
('a_partial_index', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int); CREATE INDEX ON t (a) WHERE b > 0',
  '{unindexed_fk:t(a)}'),
('not_null', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a) WHERE a IS NOT NULL',
  '{}'),
('null', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a) WHERE a IS NULL',
  '{unindexed_fk:t(a)}'),
('another_column_not_null',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int); CREATE INDEX ON t (a) WHERE b IS NOT NULL',
  '{unindexed_fk:t(a)}'),
('both_columns_not_null',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a, b) WHERE a IS NOT NULL AND b IS NOT NULL', '{}'),
('one_column_not_null',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a, b) WHERE b IS NOT NULL', '{}'),
('not_null_or_something',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a) WHERE a IS NOT NULL AND a > 7',
  '{unindexed_fk:t(a)}'),
('one_not_null_or_the_other',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a, b) WHERE NOT (a IS NOT NULL)', '{"unindexed_fk:t(a, b)"}'),
('columns_in_another_order',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, c int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (b, a, c)', '{}'),
('a_gap_between_columns',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, c int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a, c, b)', '{"unindexed_fk:t(a, b)"}'),
('only_the_first_column',
  'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p);
   CREATE INDEX ON t (a)', '{"unindexed_fk:t(a, b)"}'),
('an_invalid_index_of_a_foreign_key',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX x ON t (a);
   SELECT pg_temp.invalidate(''x'')', '{invalid:x,unindexed_fk:t(a)}'),
('another_collation_cannot_be_looked_up',
  'CREATE TABLE p (a text PRIMARY KEY); CREATE TABLE t (a text REFERENCES p); CREATE INDEX ON t (a COLLATE "POSIX")',
  '{unindexed_fk:t(a)}'),
('text_pattern_ops_can', 'CREATE TABLE p (a text PRIMARY KEY); CREATE TABLE t (a text REFERENCES p);
   CREATE INDEX ON t (a text_pattern_ops)', '{}'),
('columns_of_different_types', 'CREATE TABLE p (a bigint PRIMARY KEY); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a)',
  '{}'),
('varchar', 'CREATE TABLE p (a varchar(9) PRIMARY KEY); CREATE TABLE t (a varchar(9) REFERENCES p); CREATE INDEX ON t (a)', '{}'),
('a_self_reference', 'CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)', '{unindexed_fk:t(parent)}'),
('not_valid', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int);
   ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p NOT VALID', '{unindexed_fk:t(a)}'),
('a_dropped_constraint', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int CONSTRAINT f REFERENCES p);
   ALTER TABLE t DROP CONSTRAINT f', '{}'),
('the_same_twice', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE q (a int PRIMARY KEY);
   CREATE TABLE t (a int REFERENCES p REFERENCES q)', '{unindexed_fk:t(a)}'),
('a_partitioned_table', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9)', '{unindexed_fk:t(a)}'),
('an_indexed_partitioned_table', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9); CREATE INDEX ON t (a)', '{}'),
('a_table_without_partitions', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p) PARTITION BY RANGE (a)',
  '{unindexed_fk:t(a)}'),
('an_indexed_one_without_partitions',
  'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p) PARTITION BY RANGE (a); CREATE INDEX ON t (a)', '{}'),
('an_index_on_each_partition', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
   CREATE TABLE t2 (b int, a int); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (9) TO (19);
   CREATE INDEX ON t1 (a); CREATE INDEX ON t2 (a, b)', '{}'),
('an_index_on_one_partition', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (9) TO (19);
   CREATE INDEX ON t1 (a); CREATE INDEX ON ONLY t (a)', '{unindexed_fk:t(a)}'),
('a_foreign_key_of_a_partition', 'CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int) PARTITION BY RANGE (a);
   CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9); ALTER TABLE t1 ADD FOREIGN KEY (a) REFERENCES p', '{unindexed_fk:t1(a)}'),
('to_a_partitioned_table', 'CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a);
   CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (19);
   CREATE TABLE t (a int REFERENCES p)', '{unindexed_fk:t(a)}'),
('to_a_partitioned_table_indexed', 'CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a);
   CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE t (a int REFERENCES p); CREATE INDEX ON t (a)', '{}'),
('names_of_any_kind', 'CREATE TABLE "T.t" ("A b" int); CREATE INDEX "x''" ON "T.t" ("A b"); CREATE INDEX "y""$" ON "T.t" ("A b")',
  '{"duplicate:\"y\"\"$\""}');

SELECT is(pg_temp.found_after(script), expected, name) FROM cases ORDER BY place;

-- What a finding says.

CREATE SCHEMA c;
CREATE TABLE c.p (a int PRIMARY KEY);
CREATE TABLE c.t (a int CONSTRAINT first_key REFERENCES c.p CONSTRAINT second_key REFERENCES c.p, b int);
CREATE INDEX x ON c.t (b);
CREATE INDEX y ON c.t (b, a);
CREATE INDEX z ON c.t (b) WHERE a > 0;
INSERT INTO c.t SELECT NULL, g FROM generate_series(1, 10000) g;
SELECT pg_temp.invalidate('c.z');
CREATE TEMP TABLE found AS SELECT * FROM index_findings WHERE schemaname = 'c';
SELECT results_eq('SELECT finding_key, finding, level, schemaname, tablename, indexname, remediation FROM found ORDER BY 1',
  $$VALUES ('duplicate:c.x', 'duplicate', 'warning', 'c', 't', 'x', 'DROP INDEX CONCURRENTLY c.x;'),
           ('invalid:c.z', 'invalid', 'error', 'c', 't', 'z', 'REINDEX INDEX CONCURRENTLY c.z;'),
           ('unindexed_fk:c.t(a)', 'unindexed_fk', 'info', 'c', 't', NULL, 'CREATE INDEX CONCURRENTLY ON c.t (a);')$$,
  'a_finding_has_key_level_names_and_remediation');
SELECT results_eq('SELECT bytes_to_win FROM found ORDER BY finding_key',
  $$VALUES (pg_relation_size('c.x')), (pg_relation_size('c.z')), (0::bigint)$$, 'the_size_is_that_of_now');
SELECT ok(title LIKE '%c.x is redundant: c.y %' AND detail LIKE '%CREATE INDEX y ON c.t USING btree (b, a)%'
            AND detail LIKE '%CREATE INDEX x ON c.t USING btree (b)%', 'a_duplicate_shows_both_definitions')
  FROM found WHERE finding = 'duplicate';
SELECT ok(detail LIKE '%first_key, second_key%' AND detail LIKE '%references c.p:%', 'a_foreign_key_is_named_in_detail')
  FROM found WHERE finding = 'unindexed_fk';
INSERT INTO c.t SELECT NULL, g FROM generate_series(1, 40000) g;
SELECT is((SELECT level FROM index_findings WHERE finding_key = 'unindexed_fk:c.t(a)'), 'warning', 'of_a_large_table_it_is_a_warning');

-- Unused ones: all that is found can be dropped together.

CREATE TABLE unused (indexname text);
CREATE OR REPLACE FUNCTION judge_index_usage(age_days integer)
RETURNS TABLE (indexrelid oid, schemaname text, tablename text, indexname text, index_size_bytes bigint,
               idx_scan bigint, observed interval, last_used timestamptz, verdict text)
LANGUAGE sql VOLATILE
AS $$ SELECT to_regclass('c.' || u.indexname)::oid, 'c', 't', u.indexname, 1048576::bigint, 0::bigint, interval '40 days',
             NULL::timestamptz, 'unused' FROM unused u $$;
CREATE FUNCTION pg_temp.found_unused(script text, VARIADIC names text[]) RETURNS text[] LANGUAGE plpgsql
AS $$
BEGIN
  DELETE FROM unused;
  INSERT INTO unused SELECT unnest(names);
  RETURN pg_temp.found_after(script);
END
$$;

ALTER SCHEMA c RENAME TO aside;
SELECT is(pg_temp.found_unused('CREATE TABLE t (a int); CREATE INDEX x ON t (a)', 'x'), '{unused:x}', 'an_unused_index');
SELECT is(pg_temp.found_unused('CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)', 'x'),
  '{duplicate:y}', 'an_unused_one_that_takes_over_from_a_used_twin_stays');
SELECT is(pg_temp.found_unused('CREATE TABLE t (a int); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)', 'x', 'y'),
  '{duplicate:y,unused:x,unused:y}', 'unused_twins_can_both_go');
SELECT is(pg_temp.found_unused('CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int, c int);
  CREATE INDEX x ON t (a, b); CREATE INDEX y ON t (a, c)', 'x', 'y'), '{unused:y}', 'a_foreign_key_keeps_an_index_of_two');
SELECT is(pg_temp.found_unused('CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int, c int);
  CREATE INDEX x ON t (a, b); CREATE INDEX y ON t (a, c)', 'x'), '{unused:x}', 'the_other_one_is_used');
SELECT is(pg_temp.found_unused('CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int);
  CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b)', 'x', 'y'), '{duplicate:x,unused:x}', 'the_other_one_is_redundant');
SELECT is(pg_temp.found_unused('CREATE TABLE t (a int PRIMARY KEY)', 't_pkey'), '{}', 'a_primary_key_in_any_case_stays');
DROP TABLE unused CASCADE;
CREATE OR REPLACE FUNCTION judge_index_usage(age_days integer)
RETURNS TABLE (indexrelid oid, schemaname text, tablename text, indexname text, index_size_bytes bigint,
               idx_scan bigint, observed interval, last_used timestamptz, verdict text)
LANGUAGE sql VOLATILE
AS $$ SELECT 0::oid, '', '', '', 0::bigint, 0::bigint, interval '0', NULL::timestamptz, '' WHERE false $$;
ALTER SCHEMA aside RENAME TO c;

-- Our own objects, and those that snapshots leave out.

SELECT is((SELECT count(*) FROM index_findings f
            JOIN pg_class c ON c.relname = f.tablename AND c.relnamespace = f.schemaname::regnamespace
            JOIN pg_depend d ON d.objid = coalesce(pg_partition_root(c.oid), c.oid) AND d.deptype = 'e'
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'), 0::bigint, 'nothing_is_said_about_ourselves');
ALTER EXTENSION pgtap ADD TABLE c.t;
SELECT results_eq($$SELECT finding_key FROM index_findings WHERE schemaname = 'c'$$, $$VALUES ('invalid:c.z')$$,
  'what_belongs_to_an_extension_can_only_be_invalid');
ALTER EXTENSION pgtap DROP TABLE c.t;
SET LOCAL train_perf.snapshot_exclude = 'c.*';
SELECT is((SELECT count(*) FROM index_findings WHERE schemaname = 'c'), 0::bigint, 'what_is_excluded_is_not_looked_at');
RESET train_perf.snapshot_exclude;

-- A reader who owns nothing sees the same.

CREATE ROLE finding_reader;
SELECT grant_access('finding_reader', 'read') \gset ignored_
CREATE TEMP TABLE seen AS SELECT * FROM index_findings;
GRANT SELECT ON seen TO finding_reader, pg_monitor;
SET LOCAL ROLE finding_reader;
SELECT set_eq('SELECT finding_key, title, detail, bytes_to_win, remediation FROM index_findings',
  'SELECT finding_key, title, detail, bytes_to_win, remediation FROM seen', 'a_reader_sees_everything');
SELECT throws_ok('SELECT check_invalid_index_alerts()', '42501', NULL, 'but_raises_no_alerts');
SET LOCAL ROLE pg_monitor;
SELECT set_eq('SELECT finding_key, detail FROM index_findings', 'SELECT finding_key, detail FROM seen', 'pg_monitor_too');
RESET ROLE;

-- Alerts of invalid indexes.

CREATE VIEW alerts AS
  SELECT fingerprint, severity, occurrences, resolved_at IS NULL AS open, resolution_notes IS NOT NULL AS noted
    FROM performance_alerts WHERE alert_type = 'invalid_index';
CREATE ROLE finding_operator;
SELECT grant_access('finding_operator', 'operate') \gset ignored_
GRANT SELECT ON alerts TO finding_operator;
SET LOCAL ROLE finding_operator;
SELECT is(check_invalid_index_alerts(), 1, 'an_invalid_index_is_counted');
SELECT results_eq('TABLE alerts', $$VALUES ('invalid_index:c.z', 'error', 1::bigint, true, false)$$, 'and_raises_an_alert');
SELECT is(check_invalid_index_alerts(), 1, 'the_next_time_too');
SELECT results_eq('TABLE alerts', $$VALUES ('invalid_index:c.z', 'error', 2::bigint, true, false)$$, 'the_alert_is_updated');
SELECT ok(details ->> 'remediation' = 'REINDEX INDEX CONCURRENTLY c.z;' AND message LIKE '%c.z%', 'it_says_what_to_do')
  FROM performance_alerts WHERE alert_type = 'invalid_index';
RESET ROLE;
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'c.z'::regclass;
SELECT is(check_invalid_index_alerts(), 0, 'when_it_is_valid_nothing_is_counted');
SELECT results_eq('TABLE alerts', $$VALUES ('invalid_index:c.z', 'error', 2::bigint, false, true)$$, 'and_the_alert_is_resolved');
SELECT pg_temp.invalidate('c.z');
SELECT is(check_invalid_index_alerts(), 1, 'when_it_is_invalid_again');
SELECT is((SELECT count(*) FROM alerts WHERE open), 1::bigint, 'it_is_a_new_alert');
DROP INDEX c.z;
SELECT is(check_invalid_index_alerts(), 0, 'when_it_is_gone');
SELECT is((SELECT count(*) FROM alerts WHERE open), 0::bigint, 'no_alert_is_open');

SELECT * FROM finish();
ROLLBACK;
