# What is estimated is what a rewrite gives: exactly where all pages are read, nearly so from a sample.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('bloat_truth', q(
autovacuum = off
fsync = off
max_parallel_maintenance_workers = 0
train_perf.sample_cost_delay = 0
train_perf.snapshot_exclude = '*.*'
));
$node->safe_psql('postgres', 'CREATE EXTENSION train_perf');
my $rows = 30000;

# Deleted rows are dead when nobody has an older snapshot; the collector may have one for a moment.
sub wait_for_old_snapshots
{
	$node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL))))
	  or die 'an old snapshot does not go';
	return;
}

# name => statements; each leaves the table t.
my %tables = (
	clean => "CREATE TABLE t AS SELECT g, repeat('x', g % 100) AS v FROM generate_series(1, $rows) g",
	empty => 'CREATE TABLE t (a int)',
	one_row => 'CREATE TABLE t AS SELECT 1 AS a',
	all_deleted => "CREATE TABLE t AS SELECT g FROM generate_series(1, $rows) g; DELETE FROM t",
	deleted_30 => "CREATE TABLE t AS SELECT g, repeat('x', g % 100) FROM generate_series(1, $rows) g; DELETE FROM t WHERE g % 10 < 3",
	deleted_90 => "CREATE TABLE t AS SELECT g, repeat('x', g % 100) FROM generate_series(1, $rows) g; DELETE FROM t WHERE g % 10 < 9",
	head_deleted => "CREATE TABLE t AS SELECT g, repeat('x', g % 100) FROM generate_series(1, $rows) g; DELETE FROM t WHERE g < $rows / 2",
	updated => "CREATE TABLE t AS SELECT g, repeat('x', g % 100) FROM generate_series(1, $rows) g; UPDATE t SET g = -g; UPDATE t SET g = -g WHERE g % 2 = 0",
	wide_1 => "CREATE TABLE t (a text); ALTER TABLE t ALTER a SET STORAGE PLAIN; INSERT INTO t SELECT repeat('x', 4100) FROM generate_series(1, 300)",
	wide_2 => "CREATE TABLE t (a text); ALTER TABLE t ALTER a SET STORAGE PLAIN; INSERT INTO t SELECT repeat('x', 3000) FROM generate_series(1, 300) g",
	padding => "CREATE TABLE t AS SELECT true AS a, 1::bigint AS b, true AS c, g::bigint AS d, 'x'::\"char\" AS e FROM generate_series(1, $rows) g",
	nulls => "CREATE TABLE t AS SELECT NULLIF(g, g) AS a, NULL::text AS b, NULLIF(g % 3, 0) AS c, g::numeric AS d FROM generate_series(1, $rows) g",
	fillfactor => "CREATE TABLE t (a, b) WITH (fillfactor = 70) AS SELECT g, md5(g::text) FROM generate_series(1, $rows) g",
	fillfactor_later => "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; ALTER TABLE t SET (fillfactor = 50)",
	fast_default => "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; ALTER TABLE t ADD b text DEFAULT repeat('y', 200),
		ADD c bigint DEFAULT 4, ADD d int; INSERT INTO t VALUES (1, 'z', 4, 5)",
	dropped_column => "CREATE TABLE t AS SELECT g AS a, repeat('y', 300) AS b, g::bigint AS c FROM generate_series(1, $rows) g; ALTER TABLE t DROP b",
	all_dropped => "CREATE TABLE t AS SELECT g AS a, repeat('y', 300) AS b FROM generate_series(1, $rows) g; ALTER TABLE t DROP a, DROP b",
	toast => "CREATE TABLE t (a int, b text); ALTER TABLE t ALTER b SET STORAGE EXTERNAL; INSERT INTO t SELECT g, repeat('x', 3000 + g) FROM generate_series(1, 1000) g;
		DELETE FROM t WHERE a % 3 = 0",
	toast_dropped => "CREATE TABLE t (a int, b text, c text); ALTER TABLE t ALTER b SET STORAGE EXTERNAL, ALTER c SET STORAGE EXTERNAL;
		INSERT INTO t SELECT g, repeat('x', 5000), repeat('z', 9000) FROM generate_series(1, 300) g; ALTER TABLE t DROP b",
	types => "CREATE TABLE t (a point, c name, d int2, e uuid, f numeric, g text[]);
		INSERT INTO t SELECT point(g, g), 'n', g % 100, gen_random_uuid(), g * 1e10, ARRAY['a', repeat('b', g % 50)]
		FROM generate_series(1, 10000) g; ALTER TABLE t DROP d, ADD h bool DEFAULT true, ADD j name DEFAULT 'j'",
	unlogged => "CREATE UNLOGGED TABLE t AS SELECT g FROM generate_series(1, $rows) g; DELETE FROM t WHERE g % 2 = 0",
);
my $size = q(SELECT pg_relation_size(oid) + CASE WHEN reltoastrelid <> 0 THEN pg_relation_size(reltoastrelid) ELSE 0 END
	FROM pg_class WHERE oid = 't'::regclass);

for my $name (sort keys %tables)
{
	$node->safe_psql('postgres', $tables{$name});
	wait_for_old_snapshots();
	my $before = $node->safe_psql('postgres', $size);
	my ($actual, $estimated, $method) = split /\|/, $node->safe_psql('postgres',
		q(SELECT actual_size_bytes, estimated_size_bytes, method FROM estimate_table_bloat('t', 1000000)));
	my $sampled = $node->safe_psql('postgres', q(SELECT estimated_size_bytes FROM estimate_table_bloat('t', 200)));
	$node->safe_psql('postgres', 'VACUUM FULL t');
	my $after = $node->safe_psql('postgres', $size);
	is("$actual $method", "$before exact", "$name: the size now");
	# Of dropped columns' values in TOAST only the share is known.
	cmp_ok(abs($estimated - $after), '<=', $name eq 'toast_dropped' ? 0.02 * $before : 0,
		"$name: the size after a rewrite: $estimated, $after");
	cmp_ok(abs($sampled - $after), '<=', 0.08 * $before + 8192, "$name: from 200 pages");
	$node->safe_psql('postgres', 'DROP TABLE t');
}

# name => statements, which leave the index i; whether the number of live entries is a guess.
my %indexes = (
	serial => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE UNIQUE INDEX i ON t (a)", 0],
	early => ["CREATE TABLE t (a uuid); CREATE INDEX i ON t (a); INSERT INTO t SELECT md5(g::text)::uuid FROM generate_series(1, $rows) g", 0],
	few_values => ["CREATE TABLE t AS SELECT g % 10 AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a)", 0],
	some_values => ["CREATE TABLE t (a int); CREATE INDEX i ON t (a); INSERT INTO t SELECT g * 7 % 3000 FROM generate_series(1, $rows) g", 0],
	without_deduplication => ["CREATE TABLE t AS SELECT g % 10 AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a) WITH (deduplicate_items = off)", 0],
	including => ["CREATE TABLE t AS SELECT g % 10 AS a, g AS b FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a) INCLUDE (b)", 0],
	wide => ["CREATE TABLE t (a text); ALTER TABLE t ALTER a SET STORAGE PLAIN; INSERT INTO t SELECT lpad(g::text, 890, 'x') FROM generate_series(1, 3000) g; CREATE INDEX i ON t (a)", 0],
	text => ["CREATE TABLE t (a text); CREATE INDEX i ON t (a); INSERT INTO t SELECT md5(g::text) || repeat('x', g % 50) FROM generate_series(1, $rows) g", 0],
	with_nulls => ["CREATE TABLE t AS SELECT NULLIF(g % 5, 0) AS a, NULLIF(g % 7, 0) AS b FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a, b)", 0],
	fillfactor => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a) WITH (fillfactor = 60)", 0],
	partial => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a) WHERE a % 2 = 0", 0],
	expression => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t ((a / 3), (a::text))", 0],
	empty => ['CREATE TABLE t (a int); CREATE INDEX i ON t (a)', 0],
	one_row => ['CREATE TABLE t AS SELECT 1 AS a; CREATE INDEX i ON t (a)', 0],
	emptied => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a); DELETE FROM t", 0],
	deleted => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a); DELETE FROM t WHERE a % 3 = 0", 1],
	range_deleted => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a); DELETE FROM t WHERE a < $rows / 2; VACUUM t", 0],
	vacuumed => ["CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a); DELETE FROM t WHERE a % 3 = 0; VACUUM t", 0],
	duplicates_deleted => ["CREATE TABLE t AS SELECT g / 4 AS a, g AS b FROM generate_series(1, $rows) g; CREATE INDEX i ON t (a); DELETE FROM t WHERE b * 7 % 10 < 5", 1],
	churned => ["CREATE TABLE t AS SELECT g AS a, 0 AS b FROM generate_series(1, $rows) g; CREATE UNIQUE INDEX i ON t (a); CREATE INDEX j ON t (b);
		UPDATE t SET b = b + 1; UPDATE t SET b = b + 1 WHERE a % 2 = 0", 1],
);
for my $name (sort keys %indexes)
{
	my ($ddl, $guess) = @{ $indexes{$name} };
	for my $statement (split /;\s*/, $ddl)
	{
		wait_for_old_snapshots() if $statement =~ /^VACUUM/;
		$node->safe_psql('postgres', $statement);
	}
	wait_for_old_snapshots();
	my $before = $node->safe_psql('postgres', q(SELECT pg_relation_size('i')));
	my ($actual, $estimated, $method) = split /\|/, $node->safe_psql('postgres',
		q(SELECT actual_size_bytes, estimated_size_bytes, method FROM estimate_index_bloat('i', 1000000)));
	# The pages are taken at random: of 504 pages full of wide entries one sample in a hundred is 15 % off.
	my $sampled = $node->safe_psql('postgres', q(SELECT avg(e.estimated_size_bytes)::bigint
		FROM generate_series(1, 9) n, estimate_index_bloat('i', 50 + 0 * n) e));
	$node->safe_psql('postgres', 'REINDEX INDEX i');
	my $after = $node->safe_psql('postgres', q(SELECT pg_relation_size('i')));
	is("$actual $method", "$before exact", "index $name: the size now");
	cmp_ok(abs($estimated - $after), '<=', $guess ? 0.02 * $before + 8192 : 0, "index $name: the size after REINDEX: $estimated, $after");
	cmp_ok(abs($sampled - $after), '<=', 0.15 * $before + 16384, "index $name: from 50 pages, on average: $sampled, $after");
	$node->safe_psql('postgres', 'DROP TABLE t');
}

# Rows that nobody sees, and rows that only an old snapshot sees.
$node->safe_psql('postgres', "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, $rows) g");
my $counts = q(SELECT live_tuples, dead_tuples, recently_dead_tuples FROM estimate_table_bloat('t', 1000000));
is($node->safe_psql('postgres', $counts), "$rows|0|0", 'all rows live');
# From PostgreSQL 16 on a file is extended by several pages at once.
my $spare = $node->safe_psql('postgres', q(SELECT bloat_bytes FROM estimate_table_bloat('t', 1000000)));
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t');
$node->safe_psql('postgres', 'DELETE FROM t WHERE a % 3 = 0');
is($node->safe_psql('postgres', $counts), '20000|0|10000', 'an old snapshot keeps the deleted ones');
is($node->safe_psql('postgres', q(SELECT bloat_bytes FROM estimate_table_bloat('t', 1000000))), $spare, 'which a rewrite would keep too');
$old->query_safe('COMMIT');
wait_for_old_snapshots();
is($node->safe_psql('postgres', $counts), '20000|10000|0', 'then VACUUM could remove them');
$old->query_safe('BEGIN; INSERT INTO t SELECT 0 FROM generate_series(1, 50)');
is($node->safe_psql('postgres', $counts), '20050|10000|0', 'rows of a running transaction take room');
$old->query_safe('ROLLBACK');
is($node->safe_psql('postgres', $counts), '20000|10050|0', 'and are dead when it fails');
$old->quit;

log_is_clean($node);
$node->stop;
done_testing();
