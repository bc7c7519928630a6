# The workers leave no traces: not in the statistics, not as open transactions, whatever the settings of
# their database.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('workers_quiet', q(
train_perf.history_interval = 1
log_min_messages = warning
));
with_extension($node, 'app');
# Only now: the statements of the extension's script are not the workers'.
$node->safe_psql('postgres', "ALTER SYSTEM SET $_")
  for q(train_perf.track = 'all'), 'train_perf.log_min_duration = 0';
$node->reload;
$node->safe_psql('app', 'SELECT query_stats_reset()');
is_logged($node, 'app', 'first');
eventually($node, 'app', 'SELECT count(*) > 0 FROM query_stats_history', 'history is written');
eventually($node, 'app', q(SELECT count(*) > 0 FROM pg_inherits
	WHERE inhparent = 'query_stats_history'::regclass AND inhrelid::regclass::text ~ '_p\d{8}$'),
	'partitions are made');

# What this test asks itself has these names only in quotes, which normalising takes away.
my $theirs = q('collect_events|queued_events|collect_statistics|maintain_partitions|pending_statistics'
	'|insert into "?query_|create table "?public|delete from');
is($node->safe_psql('app', "SELECT query FROM query_stats WHERE query ~* $theirs"), '',
	'none of their statements is in query_stats');
is_true($node, 'app', "SELECT count(*) = 0 FROM query_performance_logs
	WHERE query_text ~* $theirs OR application_name ~ 'train_perf'", 'nor in the log');

$node->safe_psql('postgres', 'ALTER SYSTEM SET train_perf.history_interval = 3600');
$node->reload;
eventually($node, 'postgres', q(SELECT count(*) = 2 AND bool_and(backend_xmin IS NULL AND backend_xid IS NULL)
	FROM pg_stat_activity WHERE backend_type ~ '^train_perf'), 'idle workers hold no snapshot');
# Now and then they work: these very statements are events.
eventually($node, 'postgres', q(SELECT count(*) = 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE a.backend_type ~ '^train_perf' AND l.locktype = 'relation'), 'and no locks');
is_true($node, 'postgres', q(SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type = 'train_perf launcher' AND datname IS NOT NULL), 'the launcher is in no database');

subtest 'settings_of_a_database_do_not_stop_it' => sub {
	create_database($node, 'strange');
	$node->safe_psql('postgres', join ";\n", map { "ALTER DATABASE strange SET $_" } (
			'default_transaction_read_only = on',
			q(default_transaction_isolation = 'serializable'),
			q(search_path = 'nowhere'),
			q(statement_timeout = '1ms'),
			q(lock_timeout = '1ms'),
			q(session_replication_role = 'replica'),
			q(row_security = off),
			q(DateStyle = 'German'),
			q(IntervalStyle = 'sql_standard'),
			q(TimeZone = 'Pacific/Chatham'),
			'quote_all_identifiers = on',
			'array_nulls = off',
			q(client_encoding = 'LATIN1'),
			q(bytea_output = 'escape'),
			'transform_null_equals = on',
			'standard_conforming_strings = off',
			'extra_float_digits = -15',
			q(idle_in_transaction_session_timeout = '1ms'),
			'check_function_bodies = off',
			q(role = 'pg_read_all_settings')));
	my $settings = 'SET default_transaction_read_only = off; SET statement_timeout = 0; SET role = none;
		SET lock_timeout = 0; SET search_path = public; SET default_transaction_isolation = \'read committed\';
		SET idle_in_transaction_session_timeout = 0; SET row_security = on;';
	$node->safe_psql('strange', "$settings CREATE EXTENSION train_perf");
	my $admin = session($node, 'strange');
	$admin->query($settings);
	$admin->query('SELECT 1 / count(*) AS strange_settings FROM pg_class WHERE false');
	my $becomes_true = sub {
		my ($condition, $name) = @_;
		my $met = 'f';
		for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
		{
			$met = $admin->query($condition);
			last if $met eq 't';
			$admin->query('SELECT pg_sleep(0.1)');
		}
		return is($met, 't', $name);
	};
	$becomes_true->(logged('strange_settings'), 'events are written');
	$becomes_true->(q(SELECT count(*) > 1 FROM pg_inherits
		WHERE inhparent = 'query_performance_logs'::regclass), 'and partitions made');
	is($admin->query('SELECT last_error FROM capture_status()'), '', 'without an error');
	$admin->query(q(SET train_perf.snapshot_include = 'items, a."b c"'));
	is($admin->query(q(SELECT snapshot_patterns('train_perf.snapshot_include', '') = ARRAY['^.*' || chr(92) || '.items$',
			'^a' || chr(92) || '.b' || chr(92) || ' c$'])), 't', 'patterns are read');
	$admin->query(q(SET train_perf.maintenance_daily = '02:00'; SET train_perf.maintenance_weekly = 'Sun 02:00';
		SET train_perf.maintenance_monthly = '1 03:00'));
	is($admin->query(q(SELECT count(*) FROM maintenance_schedule WHERE error IS NULL AND next_at IS NOT NULL)), '4', 'and the schedule');
	is($admin->query(q(SELECT count(*) FROM check_maintenance_window('Sat 22:00 - Sun 04:00'))), '1', 'and windows');
	$admin->quit;
};

log_is_clean($node);
$node->stop;
done_testing();
