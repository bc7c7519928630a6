# A table that was loaded gets ANALYZE when the load has committed, once; nothing else does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

# Nothing else may analyze: no autovacuum, no schedule.
my $node = start_server('maintenance_bulk_load', q(
autovacuum = off
fsync = off
max_prepared_transactions = 5
max_worker_processes = 20
train_perf.analyze_after_rows = 1000
train_perf.maintenance_retry_delay = 100
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''
), allows_streaming => 'logical');
with_extension($node, 'app');
create_database($node, 'plain');
is_collected($node, 'app');
is_logged($node, 'app', 'ready');

my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
$node->safe_psql('app', "COPY (SELECT generate_series(1, 1000)) TO '$file'");
my $rows = join "\n", 1 .. 1000;

# NAME SQL [TABLE…]: # is the table NAME (a int), which is there already; the tables that are analyzed, if not that one.
my @loads = (
	[ 'insert_select', 'INSERT INTO # SELECT generate_series(1, 1000)' ],
	[ 'insert_values', 'INSERT INTO # VALUES ' . join(', ', map { "($_)" } 1 .. 1000) ],
	[ 'copied', "COPY # FROM STDIN;\n$rows\n\\.\n" ],
	[ 'prepared', 'PREPARE p(int) AS INSERT INTO # SELECT generate_series(1, $1); EXECUTE p(1000)' ],
	[ 'in_sql_function', qq(CREATE FUNCTION load() RETURNS void LANGUAGE sql AS 'COPY # FROM ''$file'''; SELECT load()) ],
	[ 'in_do', 'DO $$BEGIN INSERT INTO # SELECT generate_series(1, 1000); END$$' ],
	[ 'row_by_row', 'DO $$BEGIN FOR i IN 1 .. 1000 LOOP INSERT INTO # VALUES (i); END LOOP; END$$' ],
	[ 'in_cte', 'WITH i AS (INSERT INTO # SELECT generate_series(1, 1000) RETURNING a) SELECT count(*) FROM i' ],
	[ 'explained', 'EXPLAIN ANALYZE INSERT INTO # SELECT generate_series(1, 1000)' ],
	[ 'merged', 'MERGE INTO # t USING generate_series(1, 1000) g ON t.a = g WHEN NOT MATCHED THEN INSERT VALUES (g)' ],
	[ 'in_trigger', q(
		CREATE TABLE watched (a int);
		CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO # VALUES (NEW.a); RETURN NULL; END';
		CREATE TRIGGER audit AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION audit();
		INSERT INTO watched SELECT generate_series(1, 1000)), qw(in_trigger watched) ],
	[ 'deferred', q(
		CREATE TABLE later (a int);
		CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql
			AS 'BEGIN INSERT INTO # SELECT generate_series(1, 1000); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
		INSERT INTO later VALUES (1)) ],
	[ 'summed_up', 'BEGIN; INSERT INTO # SELECT generate_series(1, 600); INSERT INTO # SELECT generate_series(1, 400); COMMIT' ],
	[ 'once', 'BEGIN; ' . 'INSERT INTO # SELECT generate_series(1, 1000); ' x 5 . 'COMMIT' ],
	[ 'released',
		'BEGIN; INSERT INTO # SELECT generate_series(1, 600); SAVEPOINT s; INSERT INTO # SELECT generate_series(1, 400); RELEASE s; COMMIT' ],
	[ 'kept_from_rollback',
		'BEGIN; INSERT INTO # SELECT generate_series(1, 1000); SAVEPOINT s; TRUNCATE #; INSERT INTO # VALUES (1); ROLLBACK TO s; COMMIT' ],
	[ 'in_procedure', q(
		CREATE PROCEDURE load_and_fail() LANGUAGE plpgsql AS 'BEGIN INSERT INTO # SELECT generate_series(1, 1000); COMMIT; PERFORM 1 / 0; END';
		CALL load_and_fail()) ],
	[ 'loaded_again', 'INSERT INTO # SELECT generate_series(1, 500); TRUNCATE #; INSERT INTO # SELECT generate_series(1, 1000)' ],
	[ 'threshold', 'SET train_perf.analyze_after_rows = 10; INSERT INTO # SELECT generate_series(1, 10)' ],
	[ 'made', 'CREATE TABLE made_by_ctas AS SELECT generate_series(1, 1000) a', 'made_by_ctas' ],
	[ 'made_into', 'SELECT g AS a INTO made_by_into FROM generate_series(1, 1000) g', 'made_by_into' ],
	[ 'unlogged', 'CREATE UNLOGGED TABLE fast (a int); INSERT INTO fast SELECT generate_series(1, 1000)', 'fast' ],
	[ 'refreshed', q(
		CREATE MATERIALIZED VIEW mv AS SELECT g AS a FROM generate_series(1, 1000) g WITH NO DATA;
		REFRESH MATERIALIZED VIEW mv), 'mv' ],
	[ 'foreign_schema', q(CREATE SCHEMA "we""ird $x'"; CREATE TABLE "we""ird $x'"."T 1" AS SELECT generate_series(1, 1000) a),
		q("we""ird $x'"."T 1") ],
);

# Of these, nothing is.
my @others = (
	[ 'too_few', 'INSERT INTO # SELECT generate_series(1, 999)' ],
	[ 'in_two_transactions', 'INSERT INTO # SELECT generate_series(1, 600); INSERT INTO # SELECT generate_series(1, 400)' ],
	[ 'rolled_back', 'BEGIN; INSERT INTO # SELECT generate_series(1, 5000); ROLLBACK' ],
	[ 'failed', 'INSERT INTO # SELECT 1000 / (1000 - g) FROM generate_series(0, 2000) g' ],
	[ 'fails_at_commit', q(
		CREATE TABLE refused (a int);
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refused DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
		BEGIN; INSERT INTO # SELECT generate_series(1, 1000); INSERT INTO refused VALUES (1); COMMIT) ],
	[ 'savepoint_rolled_back',
		'BEGIN; INSERT INTO # SELECT generate_series(1, 600); SAVEPOINT s; INSERT INTO # SELECT generate_series(1, 5000); ROLLBACK TO s; COMMIT' ],
	[ 'exception',
		'DO $$BEGIN BEGIN INSERT INTO # SELECT generate_series(1, 5000); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END$$' ],
	[ 'emptied', 'BEGIN; INSERT INTO # SELECT generate_series(1, 5000); TRUNCATE #; INSERT INTO # VALUES (1); COMMIT' ],
	[ 'dropped', 'BEGIN; INSERT INTO # SELECT generate_series(1, 5000); DROP TABLE #; COMMIT' ],
	[ 'made_and_dropped', 'BEGIN; CREATE TABLE gone AS SELECT generate_series(1, 5000); SAVEPOINT s; DROP TABLE gone; RELEASE s; COMMIT' ],
	[ 'two_phases', q(BEGIN; INSERT INTO # SELECT generate_series(1, 5000); PREPARE TRANSACTION 'load'; COMMIT PREPARED 'load') ],
	[ 'temporary', 'CREATE TEMP TABLE passing AS SELECT generate_series(1, 5000)' ],
	[ 'updated', 'INSERT INTO # SELECT generate_series(1, 900); UPDATE # SET a = a + 1; DELETE FROM #' ],
	[ 'large_values', q(
		CREATE TABLE toasted (a text); ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
		INSERT INTO toasted SELECT repeat('x', 4000) FROM generate_series(1, 900)) ],
	[ 'catalogs', q(DO $$BEGIN FOR i IN 1 .. 400 LOOP EXECUTE format('CREATE TABLE many_%s (a int PRIMARY KEY, b text)', i); END LOOP; END$$) ],
	[ 'rewritten', q(INSERT INTO # SELECT generate_series(1, 900); INSERT INTO # SELECT generate_series(1, 900);
		ALTER TABLE # ADD b float DEFAULT random(); VACUUM FULL #) ],
	[ 'never', 'SET train_perf.analyze_after_rows = -1; INSERT INTO # SELECT generate_series(1, 5000)' ],
	[ 'nothing', 'SET train_perf.analyze_after_rows = 0; INSERT INTO # SELECT 1 WHERE false' ],
	[ 'of_ours', q(INSERT INTO performance_alerts (alert_type, severity, message)
		SELECT 'test', 'info', 'test' FROM generate_series(1, 5000)) ],
	[ 'partitions_of_ours', q(INSERT INTO index_usage_snapshots (idx_scan) SELECT generate_series(1, 5000);
		DO $$BEGIN EXECUTE format('INSERT INTO %s (idx_scan) SELECT generate_series(1, 5000)',
			(SELECT tableoid::regclass FROM index_usage_snapshots LIMIT 1)); END$$) ],
);

sub run_load
{
	my ($table, $sql) = @_;
	$node->safe_psql('app', "CREATE TABLE $table (a int)");
	$sql =~ s/#/$table/g;
	my ($code, $output, $errors) = $node->psql('app', $sql);
	return $errors;
}

# That ANALYZE has run on it so often: nothing else makes statistics of a column.
sub is_analyzed
{
	my ($table, $times, $inherited) = @_;
	$inherited //= 'false';
	return qq(SELECT (SELECT analyze_count = $times FROM pg_stat_user_tables WHERE relid = \$t\$$table\$t\$::regclass)
		AND EXISTS (SELECT FROM pg_statistic WHERE starelid = \$t\$$table\$t\$::regclass AND stainherit = $inherited));
}

# First come those of which nothing is analyzed: their jobs would be there when those of the others are.
my %errors = map { $_->[0] => run_load(@$_) } @others;
my %fails = map { $_ => 1 } qw(failed fails_at_commit);
like($errors{$_}, qr/division by zero|division_by_zero/, "$_: it fails") for sort keys %fails;
is($errors{$_}, '', "$_: it succeeds") for grep { !$fails{$_} } sort keys %errors;

# Whoever rewrites a catalog holds up no load; that one is left to autovacuum.
$node->safe_psql('app', 'CREATE TABLE beside_rewriter (a int)');
my $rewriter = session($node, 'app');
$rewriter->query_safe('BEGIN; LOCK pg_catalog.pg_depend, pg_catalog.pg_inherits');
$node->safe_psql('app', 'INSERT INTO beside_rewriter SELECT generate_series(1, 1000)', timeout => $PostgreSQL::Test::Utils::timeout_default);
is_true($node, 'app', 'SELECT count(*) = 1000 FROM beside_rewriter', 'a load beside a locked catalog does not wait');
$rewriter->query_safe('ROLLBACK');
$rewriter->quit;

%errors = map { $_->[0] => run_load(@$_) } @loads;
like($errors{in_procedure}, qr/division by zero/, 'in_procedure: it fails after a commit');
is($errors{$_}, '', "$_: it succeeds") for grep { $_ ne 'in_procedure' } sort keys %errors;

# Two partitions, one of them partitioned again.
sub make_partitioned
{
	my ($table) = @_;
	$node->safe_psql('app', qq(
		CREATE TABLE $table (a int) PARTITION BY RANGE (a);
		CREATE TABLE ${table}_1 PARTITION OF $table FOR VALUES FROM (0) TO (501);
		CREATE TABLE ${table}_2 PARTITION OF $table FOR VALUES FROM (501) TO (9999) PARTITION BY LIST (a);
		CREATE TABLE ${table}_2_all PARTITION OF ${table}_2 DEFAULT));
	return;
}
make_partitioned($_) for qw(routed copied_root direct middle few);
$node->safe_psql('app', $_) for
  'INSERT INTO few SELECT generate_series(1, 999)',
  'INSERT INTO routed SELECT generate_series(1, 1000)',
  "COPY copied_root FROM '$file'",
  'INSERT INTO direct_2_all SELECT generate_series(1001, 2000)',
  'INSERT INTO middle_2 SELECT generate_series(1001, 2000)';

# One load after the other in a session that stays: the server reports what it has counted at most once a second, unless told.
my @flushed = map { "flushed_$_" } 1 .. 6;
my $loader = session($node, 'app');
$loader->query_safe("CREATE TABLE $_ (a int)") for @flushed;
$loader->query_safe("INSERT INTO $_ SELECT generate_series(1, 1000)") for @flushed;

# As the owner, whoever has loaded it.
$node->safe_psql('app', q(
	CREATE ROLE keeper; CREATE ROLE loader LOGIN;
	CREATE TABLE owned (a int); ALTER TABLE owned OWNER TO keeper; GRANT INSERT ON owned TO loader));
$node->safe_psql('app', 'INSERT INTO owned SELECT generate_series(1, 1000)', extra_params => [ '-U', 'loader' ]);

# What a subscription copies and applies, from a database without the extension.
$node->safe_psql($_, 'CREATE TABLE replicated (a int)') for qw(app plain);
$node->safe_psql('plain', $_) for
  'INSERT INTO replicated SELECT generate_series(1, 1000)',
  'CREATE PUBLICATION changes FOR TABLE replicated',
  q(SELECT pg_create_logical_replication_slot('changes', 'pgoutput'));
$node->safe_psql('app', q(CREATE SUBSCRIPTION changes CONNECTION $$) . $node->connstr('plain')
	  . q($$ PUBLICATION changes WITH (create_slot = false, slot_name = changes)));
eventually($node, 'app', is_analyzed('replicated', 1), 'replicated: analyzed after the copy');
$node->safe_psql('plain', 'INSERT INTO replicated SELECT generate_series(1001, 2000)');
eventually($node, 'app', is_analyzed('replicated', 2), 'and after a transaction');
is_true($node, 'plain', q(SELECT analyze_count = 0 FROM pg_stat_user_tables WHERE relname = 'replicated'), 'but not in a database without the extension');

my @analyzed = @flushed;
for my $load (@loads)
{
	my ($name, $sql, @tables) = @$load;
	push @analyzed, @tables ? @tables : $name;
}
eventually($node, 'app', is_analyzed($_, 1), "$_: analyzed") for @analyzed, 'owned';
for my $root (qw(routed copied_root))
{
	eventually($node, 'app', is_analyzed($root, 1, 'true'), "$root: analyzed as a whole");
	eventually($node, 'app', is_analyzed($_, 1), "$_: analyzed with it") for "${root}_1", "${root}_2_all";
}
eventually($node, 'app', is_analyzed('middle_2', 1, 'true'), 'middle_2: analyzed as a whole');
eventually($node, 'app', is_analyzed('direct_2_all', 1), 'direct_2_all: analyzed alone');
is_true($node, 'app', q(SELECT bool_and(analyze_count = 0) FROM pg_stat_user_tables WHERE relname IN ('direct', 'direct_1', 'middle', 'middle_1')),
	'what it is a partition of is not');

# Nothing came late, nothing twice, and nothing else.
my @expected = map { /"[.]"/ ? $_ : "public.$_" } @analyzed, qw(owned routed copied_root direct_2_all middle_2 replicated replicated);
eventually($node, 'app', q(SELECT bool_and(kind = 'analyze' AND status = 'succeeded') FROM maintenance_jobs), 'all jobs are done');
is($node->safe_psql('app', q(SELECT string_agg(target, E'\n' ORDER BY target COLLATE "C") FROM maintenance_jobs)),
	join("\n", sort @expected), 'one for each load');
is_true($node, 'app', q(SELECT requested_by = 'keeper' FROM maintenance_jobs WHERE target = 'public.owned'), 'as the owner');
is_true($node, 'app', q(SELECT bool_and(autoanalyze_count = 0 AND analyze_count < 3) FROM pg_stat_user_tables), 'once');
$loader->quit;
eventually($node, 'app', q(SELECT sum(n_tup_ins) = 4000 FROM pg_stat_user_tables WHERE relname ~ 'flushed_[3-6]'), 'all loads are counted');
is_true($node, 'app', q(SELECT bool_or(n_mod_since_analyze = 0) FROM pg_stat_user_tables WHERE relname ~ 'flushed_[3-6]'),
	'and not after ANALYZE, for autovacuum to find');

log_is_clean($node);
$node->safe_psql('app', 'DROP SUBSCRIPTION changes');
$node->stop;
done_testing();
