# Daily partitions of the log and the history: made, filled, protected, and dropped when they are old.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Midnight;
use Test::More;
use Workers;

my $node = start_server('life_partitions', q(
max_worker_processes = 20
train_perf.max_collectors = 10
timezone = 'Asia/Kathmandu'
log_min_messages = warning
));

my $partitions = q(SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text)
	FROM pg_inherits WHERE inhparent = 'query_performance_logs'::regclass);
my $default = 'query_performance_logs_default';

sub maintain
{
	my ($database, $keep, $at) = @_;
	return $node->safe_psql($database,
		"SELECT maintain_partitions_of('query_performance_logs', '$keep', '$at')");
}

sub add_row
{
	my ($database, $time) = @_;
	$node->safe_psql($database, "INSERT INTO query_performance_logs (query_text, duration_ms,
		execution_timestamp) VALUES ('at $time', 1, '$time')");
	return;
}

sub place
{
	my ($database, $time) = @_;
	return $node->safe_psql($database,
		"SELECT tableoid::regclass FROM query_performance_logs WHERE query_text = 'at $time'");
}

# As every dump begins: while such a session is there, it may bring partitions of its own.
my $loading = 'SET check_function_bodies = off; SET row_security = off; CREATE EXTENSION train_perf;';

subtest 'made_when_a_dump_has_been_loaded' => sub {
	not_over_midnight($node, 30);
	create_database($node, 'app');
	my $session = session($node, 'app');
	$session->query_safe($loading);
	fail_statement($node, 'app', 'first');
	is_collected($node, 'app');
	is($node->safe_psql('app', $partitions), $default, 'none while a dump may be being loaded');
	$session->quit;
	eventually($node, 'app', logged('first'), 'events of that time are not lost');
	eventually($node, 'app', q(SELECT bool_and(to_regclass(format('%s_p%s', t, to_char(now() AT TIME ZONE 'UTC'
		+ interval '1 day' * d, 'YYYYMMDD'))) IS NOT NULL)
		FROM unnest('{query_performance_logs, query_stats_history}'::text[]) t, generate_series(0, 1) d),
		'today and tomorrow have theirs');
	is_true($node, 'app', "SELECT count(*) = 0 FROM $default", 'the default partition is empty');
	is_logged($node, 'app', 'second');
	is_true($node, 'app', "SELECT count(*) = 0 FROM $default", 'and stays empty');
};

# A database whose partitions only this test makes.
create_database($node, 'calm');
my $keeper = session($node, 'calm');
$keeper->query_safe($loading);

subtest 'made_soon_after_a_reader_was_in_the_way' => sub {
	create_database($node, 'read');
	my $loader = session($node, 'read');
	$loader->query_safe($loading);
	my $reader = session($node, 'read');
	$reader->query_safe('BEGIN; SELECT count(*) FROM query_performance_logs;');
	$loader->quit;
	eventually($node, 'read', q(SELECT last_error ~ 'lock timeout' FROM capture_status()),
		'the collector gives way');
	$reader->query_safe('COMMIT;');
	$reader->quit;
	eventually($node, 'read', q(SELECT count(*) > 2 FROM pg_inherits
		WHERE inhparent = 'query_performance_logs'::regclass), 'and tries again before long');
};

subtest 'rows_move_out_of_the_default_partition' => sub {
	my @times = ('2030-05-01 00:00:00+00', '2030-05-01 23:59:59.999999+00', '2030-05-02 00:00:00+00',
		'2030-05-02 12:00:00+14', '2030-04-28 12:00:00+00');
	add_row('calm', $_) for @times;
	is(place('calm', $_), $default, "$_ comes first to the default partition") for @times;
	is(maintain('calm', '7 days', '2030-05-01 10:00+00'), 3, 'three days, three partitions');
	is(place('calm', $times[0]), 'query_performance_logs_p20300501', 'the first instant of a day');
	is(place('calm', $times[1]), 'query_performance_logs_p20300501', 'its last');
	is(place('calm', $times[2]), 'query_performance_logs_p20300502', 'the first of the next');
	is(place('calm', $times[3]), 'query_performance_logs_p20300501', 'days are those of UTC');
	is(place('calm', $times[4]), 'query_performance_logs_p20300428', 'a past day gets its own');
	is(maintain('calm', '7 days', '2030-05-01 10:00+00'), 0, 'nothing to do again');
	is_true($node, 'calm', q(SELECT count(*) = 5 AND count(DISTINCT id) = 5 FROM query_performance_logs
		WHERE query_text ~ '^at 2030'), 'no row is lost');
	is_true($node, 'calm', q(SELECT bool_and(NOT is_slow) FROM query_performance_logs), 'generated columns too');
};

subtest 'odd_times_of_applications' => sub {
	add_row('calm', $_) for 'infinity', '-infinity', '0001-01-01 00:00+00 BC', '290000-01-01 00:00+00';
	cmp_ok(maintain('calm', '7 days', '2030-05-01 10:00+00'), '>=', 0, 'no error');
	is(place('calm', 'infinity'), $default, 'the far future waits in the default partition');
	is(place('calm', '290000-01-01 00:00+00'), $default, 'also this one');
	is(place('calm', '-infinity'), '', 'the past is older than what is kept');
	is(place('calm', '0001-01-01 00:00+00 BC'), '', 'also this');
};

subtest 'old_ones_are_dropped' => sub {
	is(maintain('calm', '7 days', '2030-05-08 23:59+00'), 3, 'two made, one dropped');
	is(place('calm', '2030-04-28 12:00:00+00'), '', 'the old day is gone');
	isnt(place('calm', '2030-05-01 00:00:00+00'), '', 'a day that ended less than 7 days ago stays');
	is(maintain('calm', '7 days', '2030-05-09 00:00+00'), 2, 'one made, one dropped');
	is(place('calm', '2030-05-01 00:00:00+00'), '', 'until then');
	is(maintain('calm', '1 hour', '2040-01-01 00:30+00'), 6, 'after a long pause all old ones go at once');
	cmp_ok(maintain('calm', '4000 years', '2040-01-01 00:30+00'), '>=', 0, 'the longest retention is no error');
};

subtest 'a_reader_delays_but_does_not_break_it' => sub {
	my $reader = session($node, 'calm');
	$reader->query_safe('BEGIN; SELECT count(*) FROM query_performance_logs;');
	isnt($node->psql('calm', q(SET lock_timeout = '100ms';
		SELECT maintain_partitions_of('query_performance_logs', '7 days', '2050-01-01 00:00+00'))), 0,
		'it gives way');
	$reader->query_safe('COMMIT;');
	$reader->quit;
	cmp_ok(maintain('calm', '7 days', '2050-01-01 00:00+00'), '>', 0, 'and succeeds later');
};
$keeper->quit;

subtest 'partitions_are_as_protected_as_their_table' => sub {
	create_database($node, 'guarded');
	$node->safe_psql('guarded', q(
		CREATE ROLE "an ""odd"" one"; CREATE ROLE anon; CREATE ROLE "public-like";
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, anon, "an ""odd"" one";
		ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO "public-like", anon WITH GRANT OPTION;
		CREATE EXTENSION train_perf;));
	is_logged($node, 'guarded', 'guarded');
	eventually($node, 'guarded', q(SELECT count(*) > 2 FROM pg_inherits
		WHERE inhparent = 'query_stats_history'::regclass), 'partitions are made');
	is_true($node, 'guarded', q(SELECT bool_and(p.relowner = t.relowner AND p.relrowsecurity)
		FROM pg_inherits i JOIN pg_class p ON p.oid = inhrelid JOIN pg_class t ON t.oid = inhparent
		WHERE t.relname IN ('query_performance_logs', 'query_stats_history') AND t.relkind = 'p'),
		'same owner, row security');
	is($node->safe_psql('guarded', q(SELECT p.oid::regclass, a.grantee::regrole, a.privilege_type
		FROM pg_inherits i JOIN pg_class p ON p.oid = inhrelid, aclexplode(p.relacl) a
		WHERE a.grantee <> p.relowner AND p.relkind = 'r')), '', 'nobody else has any privilege');
	is_true($node, 'guarded', q(SELECT bool_and((SELECT count(*) FROM pg_policy WHERE polrelid = inhrelid) = 1)
		FROM pg_inherits WHERE inhparent = 'query_performance_logs'::regclass), 'and each has its policy');
};

subtest 'retention_of_a_database_is_honoured_at_once' => sub {
	with_extension($node, 'strict');
	is_logged($node, 'strict', 'recent');
	eventually($node, 'strict', 'SELECT count(*) > 2 FROM pg_inherits
		WHERE inhparent = \'query_performance_logs\'::regclass', 'partitions are made');
	$node->safe_psql('strict', q(INSERT INTO query_performance_logs (query_text, duration_ms,
		execution_timestamp) SELECT format('%s days old', d), 1, now() - interval '1 day' * d FROM generate_series(1, 6) d));
	$node->safe_psql('postgres', q(ALTER DATABASE strict SET train_perf.log_retention = '3d'));
	eventually($node, 'strict', q(SELECT count(*) FILTER (WHERE query_text ~ '^[56] days') = 0
		AND count(*) FILTER (WHERE query_text ~ '^[12] days') = 2 FROM query_performance_logs),
		'older rows go, younger stay');
	is_logged($node, 'strict', 'still_recent');
	is_true($node, 'app', q(SELECT current_setting('train_perf.log_retention') = '7d'), 'others keep theirs');
	$node->safe_psql('postgres', q(ALTER SYSTEM SET train_perf.log_retention = '1h'));
	$node->reload;
	is_logged($node, 'strict', 'after_reload');
};

log_is_clean($node);
$node->stop;
done_testing();
