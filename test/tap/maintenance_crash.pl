# Workers, collectors, launchers and servers that end in the middle: no job is lost, none stays "running".

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Maintenance;
use TrainPerfTest;
use Workers;

my $node = maintenance_server('maintenance_crash', <<'END');
restart_after_crash = on
train_perf.maintenance_workers = 2
train_perf.maintenance_max_attempts = 1000
max_worker_processes = 16
END
with_maintenance($node, 'app', 'many');
slow_table($node, 'app', $_) for qw(big bigger);

my $at_work = q{SELECT count(*) = 2 FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid)
	WHERE a.backend_type = 'train_perf maintenance'};

# As if each had just begun, so that pauses stay short.
sub at_first_attempt
{
	return $node->safe_psql('app', q{TRUNCATE steps; UPDATE maintenance_jobs SET attempts = 1 WHERE finished_at IS NULL});
}

# Both at work again, and in between they were queued because of the end of their workers.
sub both_resume
{
	my ($name, @jobs) = @_;
	my $ids = join ', ', @jobs;
	eventually($node, 'app', "SELECT count(*) = 2 FROM maintenance_jobs WHERE job_id IN ($ids) AND status = 'running'
		AND attempts > 1 AND is_maintenance_running(job_id)", "$name: both are at work again");
	eventually($node, 'app', $at_work, "$name: truly");
	is_true($node, 'app', qq{SELECT count(DISTINCT job_id) = 2 AND bool_and(error_message = 'the worker ended before the job did')
		FROM steps WHERE job_id IN ($ids) AND status = 'queued' AND sqlstate = '57P01' AND attempts = 1},
		"$name: they were queued again");
	return;
}

sub pid_of
{
	my ($type) = @_;
	my $pid = '';
	wait_until("there is a $type", sub {
		$pid = $node->safe_psql('app', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'
			AND coalesce(datname, 'app') = 'app' ORDER BY pid LIMIT 1");
		return $pid ne '';
	}) or die "no $type";
	return $pid;
}

subtest 'jobs_are_taken_up_again' => sub {
	my @jobs = map { ask($node, 'app', $_) } qw(big bigger);
	eventually($node, 'app', $at_work, 'two VACUUM at work');
	my $waiting = client($node, 'app');
	$waiting->send(query => "SELECT * FROM await_maintenance(ARRAY[$jobs[0]])");
	for my $victim ('train_perf maintenance', 'train_perf collector', 'train_perf launcher')
	{
		at_first_attempt();
		kill 'KILL', pid_of($victim);
		both_resume("kill -9 of a $victim", @jobs);
	}
	ok($waiting->answer->{closed}, 'whoever waits is thrown out by the crash');
	for my $mode (qw(immediate fast))
	{
		at_first_attempt();
		$node->stop($mode);
		$node->start;
		both_resume("stop -m $mode", @jobs);
	}

	# Without a crash: whoever waits goes on waiting.
	$waiting = client($node, 'app');
	$waiting->send(query => "SELECT answer FROM await_maintenance(ARRAY[$jobs[0], $jobs[1]])");
	at_first_attempt();
	my @pids = split /\n/, $node->safe_psql('app', 'SELECT pid FROM maintenance_workers()');
	is(scalar @pids, 2, 'two workers');
	is($node->safe_psql('app', "SELECT pg_terminate_backend($_)"), 't', "worker $_ is terminated") for @pids;
	both_resume('terminated', @jobs);
	for my $victim ('train_perf collector', 'train_perf launcher')
	{
		my $pid = pid_of($victim);
		$node->safe_psql('app', "SELECT pg_terminate_backend($pid)");
		eventually($node, 'app', "SELECT count(*) = 1 AND min(pid) <> $pid FROM pg_stat_activity WHERE backend_type = '$victim'
			AND coalesce(datname, 'app') = 'app'", "another $victim");
		my $ids = join ', ', @jobs;
		is_true($node, 'app', "SELECT bool_and(status = 'running' AND attempts = 2) FROM maintenance_jobs WHERE job_id IN ($ids)",
			'the jobs go on meanwhile');
	}

	# The rest in no time.
	at_first_attempt();
	$node->safe_psql('app', 'ALTER DATABASE app RESET vacuum_cost_delay; ALTER DATABASE app RESET vacuum_cost_limit');
	$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'});
	my $answer = $waiting->answer;
	is(scalar @{ $answer->{rows} }, 2, 'it waited for both');
	like($_->[0], qr/^job \d+: VACUUM \(ANALYZE\) public\.big/, 'and tells of both') for @{ $answer->{rows} };
	is_true($node, 'app', "SELECT count(*) = 1 FROM steps WHERE job_id = $_ AND status = 'succeeded'", 'done once') for @jobs;
	$waiting->quit;
};

subtest 'attempts_are_limited' => sub {
	configure($node, 'app', 'SET train_perf.maintenance_max_attempts = 2', q{SET vacuum_cost_delay = '100ms'}, 'SET vacuum_cost_limit = 1');
	my $caller = client($node, 'app');
	$caller->send(query => "SELECT vacuum_analyze_table('big')");
	for my $attempt (1 .. 2)
	{
		eventually($node, 'app', "SELECT count(*) = 1 FROM maintenance_jobs JOIN maintenance_workers() w USING (job_id)
			WHERE status = 'running' AND attempts = $attempt", "attempt $attempt");
		$node->safe_psql('app', 'SELECT pg_terminate_backend(pid) FROM maintenance_workers()');
	}
	my $answer = $caller->answer;
	is($answer->{error}{C}, '57P01', 'the caller is told');
	my $id = job_of($answer->{error}{M});
	is($answer->{error}{M}, "job $id failed: the worker ended before the job did", 'what happened');
	is(attempts($node, 'app', $id), 'queued, running, queued 57P01, running, failed 57P01', 'after two attempts');
	$caller->quit;
	configure($node, 'app', 'RESET ALL');
};

# Cancelled when its worker is gone and nobody has noticed yet.
subtest 'cancelled_without_worker' => sub {
	# If the collector notices first, the job is queued again, and must not be done.
	configure($node, 'app', 'SET train_perf.maintenance_workers = 0');
	my $insert = q{INSERT INTO maintenance_jobs (kind, target, requested_by, status, relid, role)
		VALUES ('vacuum_analyze', 'public.big', 'postgres', 'running', 'big'::regclass, 10) RETURNING job_id};
	is_true($node, 'app', qq{BEGIN; CREATE TEMP TABLE lost (job_id bigint) ON COMMIT DROP;
		WITH job AS ($insert) INSERT INTO lost SELECT job_id FROM job;
		WITH cancelled AS MATERIALIZED (SELECT cancel_job(job_id, 10) AS answer FROM lost) SELECT answer = 1 FROM cancelled;
		ROLLBACK}, 'before anybody can notice');
	my $id = $node->safe_psql('app', $insert);
	is($node->safe_psql('app', "SELECT cancel_maintenance_job($id)"), 't', 'cancelled');
	is(job($node, 'app', $id)->{status}, 'cancelled', 'for good');
	configure($node, 'app', 'RESET train_perf.maintenance_workers');
};

subtest 'locked_table_of_jobs' => sub {
	add_gate($node, 'many');
	$node->safe_psql('many', "CALL gated_table('g')");
	my $keeper = close_gate($node, 'many');
	my $id = ask($node, 'many', 'g');
	reaches($node, 'many', $id, 'running');
	my $locker = client($node, 'many');
	sql($locker, 'BEGIN');
	sql($locker, 'LOCK TABLE maintenance_jobs IN EXCLUSIVE MODE');
	open_gate($keeper);
	eventually($node, 'many', q{SELECT count(*) >= 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE NOT granted AND relation = 'maintenance_jobs'::regclass AND backend_type = 'train_perf maintenance'}, 'the end waits for the lock');
	my $caller = client($node, 'many');
	$caller->send(query => "SELECT vacuum_analyze_table('g')");
	eventually($node, 'many', q{SELECT last_error ~ 'lock timeout' FROM capture_status()}, 'the collector has tried');
	sql($locker, 'COMMIT');
	like($caller->answer->{rows}[0][0] // '', qr/^job \d+: VACUUM/, 'then the job is written and done');
	reaches($node, 'many', $id, 'succeeded');
	is(attempts($node, 'many', $id), 'queued, running, succeeded', 'at the first attempt');
	$_->quit for $locker, $caller;
};

# What was asked for is in the table, whatever ends meanwhile.
subtest 'no_request_is_lost' => sub {
	$node->safe_psql('many', "CREATE TABLE t$_ AS SELECT 1 AS n") for 1 .. 4;
	my $before = $node->safe_psql('many', 'SELECT max(job_id) FROM maintenance_jobs');
	my $script = $node->basedir . '/ask.sql';
	append_to_file($script, "\\set n random(1, 4)\nSET train_perf.maintenance_wait = 0;\nSELECT vacuum_analyze_table('t' || :n);\n");
	my ($out, $err) = ('', '');
	# No load is so fast that it ends before the first worker does.
	my $locker = client($node, 'many');
	sql($locker, 'BEGIN');
	sql($locker, 'LOCK TABLE maintenance_jobs IN EXCLUSIVE MODE');
	my $load = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', 4, '-t', 25, $node->connstr('many') ], '>', \$out, '2>', \$err);
	my ($ended, $written) = (0, -1);
	while ($load->pumpable)
	{
		$load->pump_nb;
		# Each time something was taken: whoever is ended faster than it can begin takes nothing.
		my $now = $node->safe_psql('many', 'SELECT max(job_id) FROM maintenance_jobs');
		if ($now != $written)
		{
			$ended += $node->safe_psql('many', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE backend_type IN ('train_perf collector', 'train_perf maintenance') AND datname = 'many'});
			$written = $now;
		}
		if ($locker && $ended > 0)
		{
			sql($locker, 'COMMIT');
			$locker->quit;
			undef $locker;
		}
		$written = -1 if $locker;
		Time::HiRes::usleep(100_000);
	}
	ok($load->finish, 'nobody is refused') or diag($err);
	cmp_ok($ended, '>', 0, 'workers were ended meanwhile');
	# The more often one was ended, the longer the pause before its next attempt.
	wait_until('the last attempt', sub {
		$node->safe_psql('many', 'SELECT count(*) FROM maintenance_jobs WHERE finished_at IS NULL') eq '0' });
	all_have_ended($node, 'many');
	is_true($node, 'many', "SELECT count(*) = 100 AND bool_and(status = 'succeeded') FROM maintenance_jobs WHERE job_id > $before",
		'all is written and done') or diag($node->safe_psql('many', "SELECT status, count(*) FROM maintenance_jobs WHERE job_id > $before GROUP BY 1"));
};

subtest 'queued_jobs_survive' => sub {
	configure($node, 'many', 'SET train_perf.maintenance_workers = 0');
	my @jobs = map { ask($node, 'many', "t$_") } 1 .. 4;
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('many', 'SELECT 1');
	is_true($node, 'many', "SELECT count(*) = 4 FROM maintenance_jobs WHERE job_id >= $jobs[0] AND status = 'queued' AND attempts = 0",
		'they are queued');
	$node->safe_psql('many', 'ALTER DATABASE many RESET train_perf.maintenance_workers');
	reaches($node, 'many', $_, 'succeeded') for @jobs;
};

# What settings of a database could break.
subtest 'settings_of_the_database' => sub {
	my %settings = (default_transaction_read_only => 'on', default_transaction_isolation => 'serializable',
		default_transaction_deferrable => 'on', statement_timeout => '1ms', lock_timeout => '1ms',
		idle_in_transaction_session_timeout => '1ms', search_path => 'nowhere', log_min_messages => 'panic',
		session_replication_role => 'replica', client_min_messages => 'error', DateStyle => 'German', role => 'nobody',
		row_security => 'off', bytea_output => 'escape', TimeZone => 'Asia/Tokyo', array_nulls => 'off');
	with_maintenance($node, 'hostile');
	$node->safe_psql('hostile', "CREATE ROLE nobody; CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 1000) g; DELETE FROM t");
	$node->safe_psql('postgres', "ALTER DATABASE hostile SET $_ = '$settings{$_}'") for sort keys %settings;
	my $client = client($node, 'hostile', undef, options => '-c role=none -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0
		-c default_transaction_read_only=off -c search_path=public' =~ s/\s+/ /gr);
	my $text = '';
	wait_until('dead rows can be removed', sub {
		$text .= sql($client, q{SELECT vacuum_analyze_table('t')}) . "\n";
		return $text !~ /could not be removed[^\n]*\n\z/;
	});
	like($text, qr/public\.t: 1000 dead rows removed, /, 'VACUUM is not bothered');
	is(sql($client, q{SELECT string_agg(DISTINCT concat_ws(' ', status, attempts, sqlstate), ',') FROM maintenance_jobs}), 'succeeded 1',
		'at once');
	# No superuser's role for the jobs of others: what VACUUM may do shows which one it has.
	$client->queries('CREATE ROLE hostile_owner', 'CREATE TABLE parts (n integer) PARTITION BY LIST (n)',
		'CREATE TABLE others PARTITION OF parts FOR VALUES IN (1)', 'ALTER TABLE ONLY parts OWNER TO hostile_owner',
		q{ALTER DATABASE hostile SET role = 'postgres'}, 'SET ROLE hostile_owner');
	like(sql($client, q{SELECT vacuum_analyze_table('parts')}), qr/skipping "others"|"others", skipping it/,
		'a job has the rights of whoever asked only');
	sql($client, 'RESET ROLE');
	is($client->query('BEGIN READ ONLY')->{error}, undef, 'read only');
	is($client->query(q{SELECT vacuum_analyze_table('t')})->{error}{C}, '25006', 'whoever may not write may not ask');
	$client->quit;
};

# Cancelled when its worker has not begun, and then does not get as far as that.
subtest 'cancelled_while_it_is_planned' => sub {
	my $locker = client($node, 'many');
	sql($locker, $_) for 'BEGIN', 'LOCK TABLE retention_rules';
	my $id = $node->safe_psql('many', q{INSERT INTO maintenance_jobs (kind, target, requested_by, relid, role)
		VALUES ('retention', 'public.t1', 'postgres', 't1'::regclass, 10) RETURNING job_id});
	ask($node, 'many', 't2');
	reaches($node, 'many', $id, 'running');
	eventually($node, 'many', "SELECT cancel_maintenance_job($id)", 'cancelled');
	reaches($node, 'many', $id, 'cancelled', 'it is not tried again');
	sql($locker, 'COMMIT');
	$locker->quit;
};

# No standby answers: what writes waits for it, jobs do not.
subtest 'synchronous_standby_that_is_away' => sub {
	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'away'");
	$node->reload;
	eventually($node, 'many', q{SELECT setting = 'away' FROM pg_settings WHERE name = 'synchronous_standby_names'}, 'a standby is away');
	like($node->safe_psql('many', q{SELECT vacuum_analyze_table('t1')}), qr/^job \d+: VACUUM/, 'a job is done nevertheless');
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->reload;
};

# No slot for a worker: the job waits and is shown, and runs when there is one.
subtest 'worker_slots_used_up' => sub {
	my $narrow = maintenance_server('maintenance_slots', <<'END');
max_worker_processes = 4
max_parallel_workers = 0
train_perf.max_collectors = 2
END
	# Launchers of ours and of logical replication, and two collectors.
	with_extension($narrow, 'app', 'other');
	is_collected($narrow, $_) for qw(app other);
	$narrow->safe_psql('app', 'CREATE TABLE t AS SELECT 1 AS n');
	my $caller = client($narrow, 'app');
	$caller->send(query => "SELECT vacuum_analyze_table('t')");
	eventually($narrow, 'app', q{SELECT count(*) = 1 FROM maintenance_status WHERE status = 'queued' AND attempts = 0}, 'it is shown');
	my $id = ask($narrow, 'app', 't');
	is_true($narrow, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'}, 'no worker');
	is($narrow->safe_psql('app', "SELECT cancel_maintenance_job($id)"), 't', 'it can be cancelled');
	is_never($narrow, qr/ERROR|WARNING/, 'no noise about it');
	$narrow->safe_psql('other', 'DROP EXTENSION train_perf');
	like($caller->answer->{rows}[0][0] // '', qr/^job \d+: VACUUM/, 'it runs when a slot is free');
	$caller->quit;
	$narrow->stop;
};

is_true($node, $_, "SELECT count(*) = 0 FROM maintenance_jobs WHERE status = 'running' AND NOT is_maintenance_running(job_id)",
	"$_: nothing survives its worker") for qw(app many);
is_never($node, qr/PANIC|TRAP/, 'no panic');
$node->stop;
done_testing();
