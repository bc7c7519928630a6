# Index usage over time on a real server: what renames, rebuilds, resets and crashes do to it, and whom a capture
# waits for: nobody.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Midnight;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

# Without preloading there is no collector, and captures are ours alone.
my $node = PostgreSQL::Test::Cluster->new('history_usage');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\nenable_seqscan = off\nenable_bitmapscan = off\n");
$node->start;
with_extension($node, 'app');
$node->safe_psql('app', q(
	CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer);
	INSERT INTO t SELECT g, g, g FROM generate_series(1, 10000) g;
	CREATE INDEX t_a ON t (a);
	CREATE INDEX t_b ON t (b);));

sub capture { return $node->safe_psql('app', 'SELECT capture_index_usage_snapshot()') }

# Scans by a column, in the statistics when this returns.
sub scan
{
	my ($column, $times, $table) = @_;
	$table //= 't';
	$node->safe_psql('app', "SELECT count(*) FROM $table WHERE $column = 5;\n" x $times . 'SELECT pg_stat_force_next_flush()');
	return;
}

# What the history counted for an index.
sub counted
{
	my ($index) = @_;
	return $node->safe_psql('app', "SELECT coalesce(sum(scans_since_previous), 0) FROM index_usage_snapshots
		WHERE indexrelid = '$index'::regclass");
}

sub trend
{
	my ($table) = @_;
	return $node->safe_psql('app', "SELECT string_agg(indexname || ' ' || round(total), ', ' ORDER BY indexname)
		FROM (SELECT indexname, sum(n) AS total FROM get_index_trends('$table'), unnest(scans_per_day) n GROUP BY 1) s");
}

# As if all had happened days earlier.
sub age
{
	my ($days) = @_;
	$node->safe_psql('app', "UPDATE index_usage_snapshots SET snapshot_timestamp = snapshot_timestamp - $days * interval '24 hours'");
	return;
}

sub unused
{
	my ($age_days) = @_;
	$age_days //= 30;
	return $node->safe_psql('app', "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM detect_unused_indexes($age_days)");
}

# PostgreSQL 16 and later remember when an index was scanned last, which age() cannot shift: what was scanned in this test is used.
my $remembers = $node->safe_psql('app', q(SELECT current_setting('server_version_num')::integer >= 160000)) eq 't';
sub is_unused
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $got = unused();
	return is($got, $expected, $name) unless $remembers;
	my %expected = map { $_ => 1 } split / /, $expected;
	return is(join(' ', grep { !$expected{$_} } split / /, $got), '', "$name: no others");
}

# What has changed counters: they are in the statistics when this returns.
sub changes
{
	my ($sql) = @_;
	$node->safe_psql('app', "$sql;\nSELECT pg_stat_force_next_flush()");
	return;
}

subtest 'scans_between_captures' => sub {
	not_over_midnight($node, 30);    # each day has a row of each index
	is($node->safe_psql('app', 'SELECT index_usage_observed_since IS NULL FROM capture_status()'), 't', 'not observed yet');
	my ($out, $err);
	$node->psql('app', 'SELECT * FROM detect_unused_indexes()', stdout => \$out, stderr => \$err);
	like($err, qr/NOTICE:  index usage is not observed for 30 days yet, but for 0 days/, 'a notice says how much is observed');
	is(capture(), '3', 'the first capture writes all indexes');
	scan('a', 5);
	is(capture(), '1', 'the next those that were used');
	is(capture(), '0', 'and one without news none');
	scan('a', 2);
	is(trend('t'), 't_a 7, t_b 0, t_pkey 0', 'trends include what no capture has seen');
	capture();
	is(counted('t_a'), '7', 'every scan is counted');
	is_true($node, 'app', q(SELECT index_usage_observed_since = (SELECT min(snapshot_timestamp) FROM index_usage_snapshots)
		FROM capture_status()), 'capture_status says since when');
	is_true($node, 'app', q(SELECT bool_and(index_size_bytes = pg_relation_size(indexrelid) AND table_size_bytes = pg_relation_size(relid))
		FROM index_usage_snapshots), 'with sizes');
	is($node->safe_psql('app', 'BEGIN; SELECT capture_index_usage_snapshot(); SELECT capture_index_usage_snapshot(); COMMIT'),
		"0\n0", 'twice in a transaction');
};

subtest 'the_same_index' => sub {
	not_over_midnight($node, 30);
	changes('REINDEX INDEX CONCURRENTLY t_a');
	scan('a', 3);
	is(capture(), '1', 'after REINDEX CONCURRENTLY');
	is(counted('t_a'), '10', 'the history goes on');
	$node->safe_psql('app', 'ALTER INDEX t_a RENAME TO "t A"; ALTER TABLE t RENAME TO t2; CREATE SCHEMA s; ALTER TABLE t2 SET SCHEMA s;
		ALTER SCHEMA s RENAME TO "S"');
	scan('a', 1, '"S".t2');
	is(trend('"S".t2'), 't A 11, t_b 0, t_pkey 0', 'renamed it keeps its history at once');
	capture();
	is(counted('"S"."t A"'), '11', 'and after a capture');
	changes('REINDEX TABLE CONCURRENTLY "S".t2; ALTER INDEX "S"."t A" RENAME TO x; ALTER INDEX "S".t_b RENAME TO "t A";
		ALTER INDEX "S".x RENAME TO t_b');
	scan('b', 2, '"S".t2');
	capture();
	is(trend('"S".t2'), 't A 0, t_b 0, t_pkey 0', 'rebuilt and renamed between two captures: nobody can know, and nothing is mixed');
	$node->safe_psql('app', 'ALTER INDEX "S"."t A" RENAME TO x; ALTER INDEX "S".t_b RENAME TO "t A"; ALTER INDEX "S".x RENAME TO t_b');
	scan('b', 2, '"S".t2');
	capture();
	is(trend('"S".t2'), 't A 11, t_b 4, t_pkey 0', 'with their old names they find their old rows');
	$node->safe_psql('app', 'ALTER TABLE "S".t2 SET SCHEMA public; ALTER TABLE t2 RENAME TO t; ALTER INDEX "t A" RENAME TO t_a');
	capture();
	is($node->safe_psql('app', 'SELECT count(*) FROM index_usage_snapshots WHERE (schemaname, tablename) <> (\'public\', \'t\')'), '0', 'no row stays behind');
};

# Beginning anew.
sub forget { $node->safe_psql('app', 'DELETE FROM index_usage_snapshots'); capture(); return }

my $resets = q(SELECT string_agg(DISTINCT indexname, ' ' ORDER BY indexname) FROM index_usage_snapshots WHERE reset_detected);

subtest 'a_build_that_a_capture_has_seen' => sub {
	scan('a', 4);
	forget();
	my $reader = session($node, 'app');
	# It scans no index: nobody knows when its session would report that.
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE t IN ACCESS SHARE MODE; SELECT 1;');
	my $builder = session($node, 'app');
	$builder->query_until(qr/builds/, "\\echo builds\nREINDEX INDEX CONCURRENTLY t_a;\nSELECT pg_stat_force_next_flush();\n\\echo done\n");
	eventually($node, 'app', q(SELECT count(*) = 1 FROM pg_stat_progress_create_index WHERE phase ~ 'wait'), 'the build waits for a reader');
	is_true($node, 'app', q(SELECT count(*) = 1 FROM snapshot_indexes() WHERE indexname = 't_a_ccnew'), 'there is another index meanwhile');
	scan('a', 1);
	capture();
	$reader->query_safe('COMMIT');
	$builder->query_until(qr/done/, '');
	scan('a', 2);
	capture();
	is(counted('t_a'), '3', 'the history is that of the name');
	is($node->safe_psql('app', q(SELECT count(*) FROM index_usage_snapshots WHERE indexname ~ 'cc')), '0', 'without a rest');
	$_->quit for $reader, $builder;
};

subtest 'resets' => sub {
	scan('a', 3);
	forget();
	age(31);
	is_unused('t_a t_b', 'unused for 31 days');
	$node->safe_psql('app', q(SELECT pg_stat_reset_single_table_counters('t_a'::regclass)));
	is_unused('t_b', 'a reset may hide scans of each index that has none now');
	capture();
	is_unused('t_b', 'also after a capture');
	is($node->safe_psql('app', $resets), 't_a t_pkey', 'which notes it');

	forget();
	scan('b', 3);
	capture();
	age(40);
	$node->safe_psql('app', q(SELECT pg_stat_reset()));
	scan('b', 4);    # more than before
	is_unused('', 'after pg_stat_reset() nothing is known');
	capture();
	is(counted('t_b'), '7', 'what came after it is counted whole');
	is($node->safe_psql('app', $resets), 't_a t_b t_pkey', 'of each index nobody knows more');
	age(40);
	is_unused('t_a t_b', 'from then on it is observed again');
	is($node->safe_psql('app', q(SELECT days_since_last_scan FROM detect_unused_indexes() WHERE indexname = 't_b')), $remembers ? '' : '40',
		'since the last scans');
};

subtest 'crash' => sub {
	forget();
	scan('a', 2);
	capture();
	age(35);
	$node->stop('immediate');
	$node->start;
	scan('a', 3);
	is_unused('', 'the counters are lost, and with them 35 days');
	capture();
	is($node->safe_psql('app', $resets), 't_a t_b t_pkey', 'a capture notices it');
	is(counted('t_a'), '5', 'and counts what is counted since');
	age(31);
	is_unused('t_a t_b', 'history goes on');
	$node->restart;
	is_unused('t_a t_b', 'an orderly restart loses nothing');
};

subtest 'two_at_once' => sub {
	not_over_midnight($node, 30);
	my ($one, $other) = map { session($node, 'app') } 1 .. 2;
	scan('a', 1);
	$one->query_safe('BEGIN; SELECT capture_index_usage_snapshot();');
	my $answer = $other->query('SELECT capture_index_usage_snapshot();');
	is($answer, '0', 'the second writes nothing and does not wait');
	like($other->{stderr}, qr/NOTICE:  nothing is written.*another session/, 'a notice says why');
	$other->{stderr} = '';
	$one->query_safe('COMMIT');
	is($other->query_safe('SELECT capture_index_usage_snapshot();'), '0', 'nothing is counted twice');
	$_->quit for $one, $other;
};

subtest 'locked_tables' => sub {
	not_over_midnight($node, 30);
	changes(q(CREATE TABLE "lo cked" (a integer, b text, EXCLUDE (a WITH =));
		INSERT INTO "lo cked" SELECT g, g FROM generate_series(1, 10000) g;
		CREATE INDEX locked_e ON "lo cked" ((a + 1), lower(b)) WHERE a > 0 AND b IS NOT NULL;
		CREATE TABLE parts (a integer) PARTITION BY RANGE (a); CREATE TABLE part PARTITION OF parts DEFAULT; CREATE INDEX ON parts (a)));
	my $locker = session($node, 'app');
	$locker->query_safe('BEGIN; LOCK TABLE "lo cked", parts, part IN ACCESS EXCLUSIVE MODE; REINDEX INDEX locked_e;');
	my $hurry = "SET lock_timeout = '10ms';";
	is($node->safe_psql('app', "$hurry SELECT capture_index_usage_snapshot() >= 3"), 't', 'a capture does not wait');
	is($node->safe_psql('app', "$hurry SELECT count(*) FROM index_usage_snapshots WHERE tablename = 'lo cked' AND index_size_bytes > 8192
		AND definition_hash IS NOT NULL"), '2', 'and knows all of them');
	is($node->safe_psql('app', "$hurry SELECT count(*) >= 0 FROM detect_unused_indexes(1), check_unused_index_alerts()"), 't', 'nor do others');
	is($node->safe_psql('app', "$hurry SELECT cardinality(scans_per_day) FROM get_index_trends('parts')"), '7', 'nor trends');
	$locker->query_safe('ROLLBACK');
	$locker->quit;
	is(capture(), '0', 'what was rolled back is no news');
	changes('REINDEX TABLE CONCURRENTLY part; ALTER TABLE "lo cked" RENAME b TO c');
	is(capture(), '0', 'nor a new name of a column');
};

subtest 'standby' => sub {
	age(31);
	scan('a', 1);
	capture();
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('history_usage_standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	my ($code, $out, $err) = $standby->psql('app', "\\set VERBOSITY verbose\nSELECT capture_index_usage_snapshot()");
	like($err, qr/ERROR:  25006: .*standby.*HINT:  Run it on the primary/s, 'captures are for the primary');
	$node->wait_for_catchup($standby);
	my $answer = q(SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM detect_unused_indexes());
	is($standby->safe_psql('app', $answer), 'locked_e t_b', 'answers come from the history');
	is($standby->safe_psql('app', $answer), $node->safe_psql('app', $answer), 'and are the same');
	$standby->stop;
};

subtest 'a_dump_loaded_elsewhere' => sub {
	forget();
	scan('b', 6);
	capture();
	age(33);
	scan('b', 1);
	capture();
	1 while $node->safe_psql('app', 'SELECT maintain_index_usage_partitions()') > 0;
	is_true($node, 'app', 'SELECT count(*) = 0 FROM index_usage_snapshots_default', 'rows are in partitions of months');
	create_database($node, 'other');
	$node->safe_psql('other', 'CREATE TABLE before (a integer PRIMARY KEY, b integer UNIQUE, c integer UNIQUE)');
	my $file = $node->basedir . '/dump';
	$node->command_ok([ 'pg_dump', '-f', $file, $node->connstr('app') ], 'dumped');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr('other') ], 'loaded without an error');
	my $rows = q(SELECT snapshot_timestamp, tablename, indexname, idx_scan, scans_since_previous FROM index_usage_snapshots
		WHERE snapshot_timestamp <= '%s' ORDER BY snapshot_timestamp, indexname);
	my $until = $node->safe_psql('app', 'SELECT max(snapshot_timestamp) FROM index_usage_snapshots');
	my $before = $node->safe_psql('app', sprintf($rows, $until));
	is($node->safe_psql('other', sprintf($rows, $until)), $before, 'with all rows');
	$node->safe_psql('other', 'SELECT capture_index_usage_snapshot()');
	is($node->safe_psql('other', sprintf($rows, $until)), $before, 'the first capture leaves them as they are');
	is_true($node, 'other', q(SELECT count(*) > 5 AND bool_and(s.indexrelid = to_regclass(format('%I', s.indexname))) FROM index_usage_snapshots s),
		'and makes them those of the indexes here');
	is($node->safe_psql('other', 'SELECT capture_index_usage_snapshot()'), '0', 'once');
};

log_is_clean($node);
$node->stop;
done_testing();
