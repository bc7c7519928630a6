# capture_query_stats_snapshot(): the history of servers with pg_stat_statements alone, and a cross-check beside
# our own capture.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = PostgreSQL::Test::Cluster->new('history_snapshot');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 20\nautovacuum = off\n");
$node->start;
create_database($node, 'app');

# A statement of our own, recognised by its table of three rows.
my %tables;
sub executes
{
	my ($mark, $times, $set) = @_;
	$node->safe_psql('app', "CREATE TABLE $mark AS SELECT n FROM generate_series(1, 3) n") unless $tables{$mark}++;
	$node->safe_psql('app', ($set // '') . "SELECT n FROM $mark;\n" x $times);
	return;
}

sub snapshot { return $node->safe_psql('app', 'SELECT capture_query_stats_snapshot()') }

# What the snapshots found of it.
sub found
{
	my ($mark) = @_;
	return $node->safe_psql('app', "SELECT sum(calls), sum(rows), count(*), bool_and(total_time_ms > 0), bool_and(bucket_end > bucket_start)
		FROM query_stats_history JOIN query_texts USING (query_hash)
		WHERE source = 'pg_stat_statements' AND query = 'select n from $mark'");
}

sub refused
{
	my ($sql, $state, $why, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($code, $out, $err) = $node->psql('app', "\\set VERBOSITY verbose\n$sql");
	return like($err, qr/ERROR:  $state: .*$why/s, $name);
}

subtest 'without_pg_stat_statements' => sub {
	$node->safe_psql('app', 'CREATE EXTENSION train_perf');
	refused('SELECT capture_query_stats_snapshot()', '55000', 'HINT:.*shared_preload_libraries', 'not loaded');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements'");
	$node->restart;
	refused('SELECT capture_query_stats_snapshot()', '55000', 'HINT:.*CREATE EXTENSION pg_stat_statements', 'not created');
	is($node->safe_psql('app', 'SELECT take_hourly_snapshot()'), '0', 'the collector would not try');
};

subtest 'deltas_since_the_last_call' => sub {
	$node->safe_psql('app', q(CREATE SCHEMA "we ird"; CREATE EXTENSION pg_stat_statements SCHEMA "we ird";
		CREATE FUNCTION "we ird".pg_stat_statements(text) RETURNS SETOF record LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$));
	executes('before', 2);
	is(snapshot(), '0', 'the first call only remembers');
	executes('first', 3);
	cmp_ok(snapshot(), '>=', 1, 'the next finds what was executed');
	is(found('first'), '3|9|1|t|t', 'calls, rows and time');
	is(found('before'), '||0||', 'not what was before');
	executes('first', 2);
	snapshot();
	is(found('first'), '5|15|2|t|t', 'the difference each time');
	snapshot();
	is(found('first'), '5|15|2|t|t', 'and nothing for nothing');
	is_true($node, 'app', q(SELECT bool_and(latency_histogram IS NULL) FROM query_stats_history), 'histograms are not known');
	is_true($node, 'app', q(SELECT count(*) = count(DISTINCT bucket_start) FROM query_stats_history
		JOIN query_texts USING (query_hash) WHERE query ~ 'from first'), 'buckets follow each other');
};

subtest 'reset_and_return' => sub {
	executes('again', 5);
	snapshot();
	$node->safe_psql('app', 'SELECT "we ird".pg_stat_statements_reset()');
	executes('again', 2);
	snapshot();
	is(found('again'), '7|21|2|t|t', 'after a reset all counts');
	$node->safe_psql('app', 'SELECT "we ird".pg_stat_statements_reset()');
	snapshot();
	executes('again', 1);
	snapshot();
	is(found('again'), '8|24|3|t|t', 'an entry that was away too');
};

subtest 'get_query_stats_uses_them' => sub {
	is_true($node, 'app', q(SELECT total_queries = (SELECT sum(calls) FROM query_stats_history) AND slow_queries = 0
		AND avg_duration_ms > 0 AND p95_duration_ms IS NULL FROM get_query_stats()),
		'calls and average, where nothing else is known');
	$node->safe_psql('app', q(INSERT INTO query_stats_history SELECT bucket_start, bucket_end, 'me', 1, md5('x'), true, 1, 0, 1,
		0, 700, 0, 0, 0, 0, 0, latency_histogram(700) FROM query_stats_history ORDER BY bucket_start LIMIT 1));
	is($node->safe_psql('app', q(SELECT total_queries - (SELECT sum(calls) FROM query_stats_history h
		  WHERE bucket_start > (SELECT min(bucket_start) FROM query_stats_history)), slow_queries, round(p50_duration_ms, -1)
		FROM get_query_stats())), '1|1|700', 'never beside our own of the same time');
	$node->safe_psql('app', q(DELETE FROM query_stats_history WHERE source = 'train_perf'));
};

subtest 'who_may' => sub {
	$node->safe_psql('app', q(CREATE ROLE operator LOGIN; CREATE ROLE stranger LOGIN; SELECT grant_access('operator', 'operate')));
	executes('for_operator', 2);
	my @as = (extra_params => [ '-U', 'operator' ]);
	my ($code, $out) = $node->psql('app', 'SET search_path = pg_temp; CREATE TEMP TABLE query_stats_baseline (x integer);
		SELECT public.capture_query_stats_snapshot() > 0', @as);
	is($out, 't', 'whom operate was given, and sees what the owner sees');
	is(found('for_operator'), '2|6|1|t|t', 'also of other users');
	isnt($node->psql('app', 'SELECT capture_query_stats_snapshot()', extra_params => [ '-U', 'stranger' ]), 0, 'nobody else');
	refused('SET default_transaction_read_only = on; SELECT capture_query_stats_snapshot()', '25006', 'read-only',
		'nobody where nothing may be written');
};

subtest 'old_versions_of_pg_stat_statements' => sub {
	for my $version ('1.7', '1.8')
	{
		my $mark = 'old_' . ($version =~ s/\.//r);
		$node->safe_psql('app', qq(DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements SCHEMA public VERSION '$version'));
		snapshot();
		executes($mark, 4);
		snapshot();
		is(found($mark), '4|12|1|t|t', "SQL objects of $version");
	}
	$node->safe_psql('app', q(ALTER EXTENSION pg_stat_statements UPDATE));
};

subtest 'two_at_once' => sub {
	executes('twice', 3);
	my ($one, $other) = map { session($node, 'app') } 1 .. 2;
	$one->query_safe('BEGIN; SELECT capture_query_stats_snapshot()');
	$other->query_until(qr/waits/, "\\echo waits\nSELECT capture_query_stats_snapshot();\n\\echo done\n");
	eventually($node, 'app', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'), 'the second waits');
	$one->query_safe('COMMIT');
	$other->query_until(qr/done/, '');
	is(found('twice'), '3|9|1|t|t', 'and counts nothing twice');
	$_->quit for $one, $other;
};

subtest 'beside_our_own_capture' => sub {
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'train_perf, pg_stat_statements'");
	$node->restart;
	executes('own', 4);
	snapshot();
	executes('own', 6);
	$node->psql('app', 'SELECT 1 / (n - 1) FROM own');    # counted by us alone
	snapshot();
	is_true($node, 'app', q(SELECT snapshot_at > now() - interval '1 hour' AND snapshot_calls >= 6 AND snapshot_calls_differ = 0
		FROM capture_status()), 'capture_status shows that both count the same');
	executes('own', 5, "SET train_perf.enabled = off;\n");
	snapshot();
	is($node->safe_psql('app', 'SELECT snapshot_calls_differ FROM capture_status()'), '5', 'or by how much they differ');
	executes('hourly', 2);
	# In one transaction, for the collector looks every second.
	is_true($node, 'app', q(BEGIN; UPDATE query_stats_snapshot SET taken_at = now() - interval '2 hours';
		SELECT take_hourly_snapshot() > 0; COMMIT), 'one is taken when the last is of an hour ago');
	is($node->safe_psql('app', 'SELECT take_hourly_snapshot()'), '0', 'not more');
	is_collected($node, 'app');
};

log_is_clean($node);
$node->stop;
done_testing();
