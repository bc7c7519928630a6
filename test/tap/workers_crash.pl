# Workers that are ended, and a server that crashes: everything resumes by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use Workers;

my $node = start_server('workers_crash', "restart_after_crash = on\nlog_min_messages = warning\n");
with_extension($node, 'app');
is_logged($node, 'app', 'first');

# Of one of them, as soon as there is one.
sub pid_of
{
	my ($type, $database) = @_;
	my $condition = "backend_type = '$type'" . (defined $database ? " AND datname = '$database'" : '');
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $condition LIMIT 1");
		return $pid if $pid ne '';
		Time::HiRes::sleep(0.1);
	}
	die "there is no $type";
}

# Events are taken from when the launcher has found the database again, which is before its collector starts.
sub is_back
{
	my (@databases) = @_;
	is_collected($node, $_) for @databases;
	return;
}

sub another
{
	my ($type, $old) = @_;
	return eventually($node, 'postgres', "SELECT count(*) = 1 AND min(pid) <> $old FROM pg_stat_activity
		WHERE backend_type = '$type'", "another $type");
}

subtest 'collector_is_terminated' => sub {
	for my $round (1 .. 3)
	{
		my $pid = pid_of('train_perf collector');
		is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', 'terminated');
		another('train_perf collector', $pid);
		is_logged($node, 'app', "terminated$round");
	}
};

subtest 'collector_is_cancelled' => sub {
	my $pid = pid_of('train_perf collector');
	is($node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)"), 't', 'cancelled');
	is_logged($node, 'app', 'cancelled');
};

subtest 'launcher_is_terminated' => sub {
	my $pid = pid_of('train_perf launcher');
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', 'terminated');
	is_logged($node, 'app', 'without_launcher');
	another('train_perf launcher', $pid);
	with_extension($node, 'later');
	is_logged($node, 'later', 'new_launcher');
	is_logged($node, 'app', 'new_launcher');
};

subtest 'launcher_and_collector_are_terminated' => sub {
	my $pid = pid_of('train_perf launcher');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type ~ '^train_perf' ORDER BY backend_type DESC");
	another('train_perf launcher', $pid);
	is_logged($node, $_, 'both') for qw(app later);
};

subtest 'server_crashes' => sub {
	my $rows = $node->safe_psql('app', 'SELECT count(*) FROM query_performance_logs');
	for my $victim ('client backend', 'train_perf collector', 'train_perf launcher')
	{
		my $since = $node->safe_psql('app', 'SELECT counting_since FROM capture_status()');
		my $session = session($node, 'app');
		my $pid = $victim eq 'client backend'
		  ? $session->query('SELECT pg_backend_pid()')
		  : pid_of($victim);
		kill 'KILL', $pid;
		eval { $session->quit };
		$node->poll_query_until('app', "SELECT counting_since > '$since' FROM capture_status()")
		  or die 'the server does not come back';
		is_back(qw(app later));
		my $mark = 'killed_' . $victim =~ s/ /_/r;
		is_logged($node, $_, $mark, "$_: logged after a killed $victim") for qw(app later);
		counts_add_up($node, 'app');
	}
	is_true($node, 'app', "SELECT count(*) > $rows FROM query_performance_logs", 'what was written stays');
};

# In the middle of what all are doing, with the collector in the middle of a batch.
subtest 'server_crashes_under_load' => sub {
	$node->safe_psql('app', 'CREATE TABLE work (n integer)');
	$node->safe_psql('postgres', 'ALTER DATABASE app SET train_perf.log_min_duration = 0');
	my $script = $node->basedir . '/work.sql';
	append_to_file($script, "INSERT INTO work VALUES (1);\nSELECT 1 AS work;\n");
	for my $victim ('client backend', 'train_perf collector')
	{
		my $since = $node->safe_psql('app', 'SELECT counting_since FROM capture_status()');
		my ($out, $err) = ('', '');
		my $load = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', 20, '-T', 600, $node->connstr('app') ],
			'>', \$out, '2>', \$err);
		eventually($node, 'app', 'SELECT events_enqueued > 2000 AND events_written > 500 FROM capture_status()',
			'all are busy');
		kill 'KILL', pid_of($victim, 'app');
		eval { $load->finish };
		$node->poll_query_until('app', "SELECT counting_since > '$since' FROM capture_status()")
		  or die 'the server does not come back';
		is_true($node, 'app', q(SELECT coalesce(sum(calls), 0) = 0 FROM query_stats WHERE query ~ '^insert into work'),
			"killed $victim: counted anew, as counting_since says");
		is_back('app');
		$node->pgbench('-n -c 4 -t 50 -M prepared', 0, [qr{processed: 200/}], [qr/^$/],
			'users go on', { "001_$victim" =~ s/ /_/r => "INSERT INTO work VALUES (2);\n" }, 'app');
		is_true($node, 'app', q(SELECT sum(calls) = 200 FROM query_stats WHERE query ~ '^insert into work'),
			'and are counted');
		eventually($node, 'app', 'SELECT events_queued = 0 AND events_written >= 200 FROM capture_status()',
			'and logged');
		counts_add_up($node, 'app');
		is_true($node, 'app', 'SELECT count(*) = count(DISTINCT id) FROM query_performance_logs', 'nothing twice');
	}
};

is_never($node, qr/PANIC|TRAP/, 'no panic');
$node->stop;
done_testing();
