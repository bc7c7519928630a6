# Without shared_preload_libraries: what needs shared memory says which line to add, all else works.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $line = "shared_preload_libraries = 'train_perf'";
my $node = PostgreSQL::Test::Cluster->new('without_preload');
$node->init;
$node->start;

# Each in a session of its own, which has not loaded the library yet: exit code, output, messages.
sub ask
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return ($code, $out, $err);
}

sub answers
{
	my ($sql, $expected, $name) = @_;
	my ($code, $out, $err) = ask($sql);
	is($code, 0, "$name: no error") or diag $err;
	is($out, $expected, $name);
}

sub needs_preload
{
	my ($sql, $name) = @_;
	my ($code, $out, $err) = ask($sql);
	isnt($code, 0, "$name: fails");
	like($err, qr/^psql:<stdin>:\d+: ERROR:  55000: .*train_perf/m, "$name: says what is missing");
	like($err, qr/HINT: .*\Q$line\E/, "$name: names the line to add");
	my @errors = $err =~ /ERROR: /g;
	is(scalar @errors, 1, "$name: one error");
}

subtest 'the_extension_can_be_created' => sub {
	my ($code, $out, $err) = ask('CREATE EXTENSION train_perf');
	is($code, 0, 'CREATE EXTENSION works') or diag $err;
	my @warnings = $err =~ /WARNING: /g;
	is(scalar @warnings, 1, 'with one warning');
	like($err, qr/WARNING: .*not preloaded/, 'that says what is missing');
	like($err, qr/HINT: .*\Q$line\E/, 'and the line to add');
	unlike($err, qr/NOTICE/, 'and nothing else');
};

subtest 'live_statistics_say_what_is_missing' => sub {
	needs_preload('SELECT * FROM query_stats', 'the view');
	needs_preload('SELECT * FROM query_stats()', 'the function');
	needs_preload('SELECT query_stats_reset()', 'the reset');
};

subtest 'the_schedule_says_that_nobody_keeps_it' => sub {
	answers(q(SELECT next_at, error FROM maintenance_schedule WHERE name = 'weekly'),
		'|train_perf is not preloaded: no worker keeps the schedule', 'the view');
};

subtest 'rebuilds_need_workers' => sub {
	needs_preload(q(SELECT reindex_if_bloated('pg_class')), 'of a table');
	needs_preload('SELECT * FROM reindex_bloated_indexes()', 'of all tables');
};

subtest 'capture_status_says_so_too' => sub {
	answers('SELECT preloaded, enabled IS NOT NULL, events_enqueued, collector_pid, counting_since, count(*) OVER ()
			 FROM capture_status()', 'f|t||||1', 'one row');
};

subtest 'applications_log_and_ask' => sub {
	answers(q(SELECT log_query_performance('SELECT slow WHERE a = 1', 1500, endpoint => 'GET /') IS NOT NULL),
		't', 'a slow call is logged');
	answers(q(INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select mine', 3) RETURNING is_slow),
		'f', 'a row is inserted');
	answers(q(SELECT alert_type, severity, occurrences FROM performance_alerts),
		'slow_query|warning|1', 'the alert was raised');
	answers('SELECT query_text, max_duration_ms, execution_count FROM get_slow_queries()',
		'select slow where a = $1|1500|1', 'get_slow_queries');
	answers('SELECT total_queries, slow_queries, avg_duration_ms FROM get_query_stats()',
		'2|1|751.500', 'get_query_stats counts what applications logged');
	answers(q(SELECT resolve_performance_alert(id, 'done') FROM performance_alerts), 't', 'an alert is resolved');
	answers(q(SELECT resolve_performance_alert(create_performance_alert('a', 'info', 'm'))), 't', 'one of its own');
};

subtest 'functions_of_text_and_histograms_work' => sub {
	answers(q(SELECT normalize_query('SELECT 1'), query_hash('SELECT 1') = md5('select $1')), 'select $1|t', 'text');
	answers('SELECT round(latency_quantile_ms(merge_latency(latency_histogram(ms)), 0.5)) BETWEEN 4 AND 6
			 FROM generate_series(1, 9) ms', 't', 'histograms');
};

subtest 'access_and_users_work' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE TABLE user_profiles (id uuid PRIMARY KEY)');
	answers(q(SELECT grant_access('app', 'operate')), '', 'grant_access');
	my ($code, $out, $err) = $node->psql('postgres', q(SELECT log_query_performance('select by_app', 1) IS NOT NULL),
		extra_params => [ '-U', 'app' ]);
	is($out, 't', 'the application logs by its own role') or diag $err;
	answers(q(SELECT link_user_profiles('user_profiles')), '', 'link_user_profiles');
	answers(q(SELECT log_query_performance('select x', 1, gen_random_uuid()) IS NOT NULL), 't', 'an unknown user');
	answers(q(SELECT log_query_performance('select x', 1) IS NOT NULL), 't', 'no user');
	answers('SELECT unlink_user_profiles()', 't', 'unlink_user_profiles');
	answers(q(SELECT revoke_access('app')), '', 'revoke_access');
};

subtest 'background_work_can_be_done_by_hand_or_says_what_is_missing' => sub {
	for my $function (qw(maintain_log_partitions maintain_history_partitions collect_statistics collect_events))
	{
		my ($code, $out, $err) = ask("SELECT $function() >= 0");
		ok($code == 0 ? $out eq 't' : $err =~ /ERROR:  55000: /, $function) or diag $err;
	}
	answers('SELECT count(*) FROM pending_statistics()', '0', 'nothing is pending');
};

subtest 'settings_do_not_need_it' => sub {
	$node->append_conf('postgresql.conf', "train_perf.max_statements = 1000\ntrain_perf.log_min_duration = 1s");
	$node->restart;
	answers(q(SELECT log_query_performance('select again', 1) IS NOT NULL), 't', 'after a restart with settings');
	my ($code, $out, $err) = ask("LOAD 'train_perf'; SHOW train_perf.log_min_duration");
	is($out, '1s', 'settings of the configuration file count') or diag $err;
};

subtest 'adding_the_line_is_enough' => sub {
	my $logged = $node->safe_psql('postgres', 'SELECT count(*) FROM query_performance_logs');
	$node->append_conf('postgresql.conf', "$line\ntrain_perf.log_min_duration = 0");
	$node->restart;
	answers('SELECT preloaded FROM capture_status()', 't', 'capture_status');
	$node->safe_psql('postgres', 'SELECT 1 AS captured_at_last');
	ok($node->poll_query_until('postgres',
			q(SELECT count(*) > 0 FROM query_performance_logs WHERE query_text = 'select $1 as captured_at_last')),
		'statements are logged by the collector, without another command');
	ok($node->safe_psql('postgres', 'SELECT count(*) FROM query_performance_logs') > $logged,
		'and nothing of before is lost');
};

subtest 'removing_it_again_leaves_data_readable' => sub {
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	answers('SELECT preloaded FROM capture_status()', 'f', 'capture_status');
	answers('SELECT count(*) > 0 FROM query_performance_logs WHERE duration_us IS NOT NULL', 't', 'the log');
	answers('SELECT total_queries > 0 FROM get_query_stats()', 't', 'get_query_stats');
	answers('DROP EXTENSION train_perf; SELECT 1', '1', 'DROP EXTENSION');
};

$node->stop;
done_testing();
