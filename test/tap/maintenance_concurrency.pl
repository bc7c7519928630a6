# Many jobs at once, limits, and what others do to the tables, databases and the extension meanwhile.

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

my $node = maintenance_server('maintenance_concurrency', <<'END');
train_perf.maintenance_workers = 3
train_perf.maintenance_lock_timeout = 1min
max_worker_processes = 16
train_perf.max_collectors = 4
END
with_maintenance($node, 'app', 'gate');
add_gate($node, 'gate');

sub running
{
	my ($database, $expected) = @_;
	return "SELECT count(*) = $expected FROM maintenance_jobs WHERE status = 'running'";
}

# The most jobs that were at work at any time; each start and end lies within the life of its worker.
my $most_at_once = q{SELECT max(n) FROM (SELECT sum(d) OVER (ORDER BY at, d) AS n FROM (
	SELECT started_at AS at, 1 AS d FROM maintenance_jobs UNION ALL SELECT finished_at, -1 FROM maintenance_jobs) e) s};

subtest 'two_hundred_jobs_by_eight_sessions' => sub {
	$node->safe_psql('app', "CREATE TABLE t$_ AS SELECT 1 AS n") for 1 .. 6;
	$node->pgbench('-n -c 8 -j 2 -t 25', 0, [qr{processed: 200/200}], [qr/^$/], '25 by each', {
		'001_ask' => q{
			\set n random(1, 6)
			SET train_perf.maintenance_wait = 0;
			SELECT vacuum_analyze_table('t' || :n);
		} }, 'app');
	all_have_ended($node, 'app');
	is($node->safe_psql('app', q{SELECT string_agg(DISTINCT concat_ws(' ', status, attempts, sqlstate), ',') FROM maintenance_jobs}),
		'succeeded 1', 'all were done at the first attempt');
	is($node->safe_psql('app', 'SELECT count(*) FROM maintenance_jobs'), 200, 'each is in the table');
	eventually($node, 'app', q{SELECT sum(vacuum_count) = 200 FROM pg_stat_user_tables WHERE relname ~ '^t\d$'}, 'each was done once');
	is_true($node, 'app', "SELECT ($most_at_once) <= 3", 'never more than three at once');
	is_true($node, 'app', q{SELECT NOT EXISTS (SELECT FROM maintenance_jobs a JOIN maintenance_jobs b
		ON a.relid = b.relid AND a.job_id < b.job_id AND a.started_at < b.finished_at AND b.started_at < a.finished_at)},
		'never two on one table');
	is_true($node, 'app', q{SELECT bool_and(status = 'running') FROM steps WHERE status NOT IN ('queued', 'succeeded')}, 'no other step');
};

# With jobs that stay at work as long as the test likes.
subtest 'workers_at_once' => sub {
	$node->safe_psql('gate', "CALL gated_table('g$_')") for 1 .. 5;
	my $keeper = close_gate($node, 'gate');
	my @jobs = map { ask($node, 'gate', "g$_") } 1 .. 5;
	eventually($node, 'gate', running('gate', 3), 'three are at work');
	my $other = ask($node, 'app', 't1');
	# Whatever asks for attention, no other starts.
	$node->safe_psql('gate', "SET train_perf.maintenance_wait = 0; SELECT vacuum_analyze_table('g1')") for 1 .. 3;
	$node->reload;
	eventually($node, 'gate', q{SELECT count(*) = 3 FROM maintenance_workers() WHERE waiting_for ~ '^a lock of pid'}, 'all wait');
	is_true($node, 'gate', running('gate', 3), 'still three');
	# One that found no job may be about to exit.
	eventually($node, 'postgres', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'},
		'by three processes');
	is(job($node, 'app', $other)->{status}, 'queued', 'other databases wait too');
	open_gate($keeper);
	all_have_ended($node, $_) for qw(gate app);
	is(attempts($node, 'gate', $_), 'queued, running, succeeded', "job $_") for @jobs;
	is_true($node, 'gate', "SELECT ($most_at_once) = 3", 'three all the time');
};

# So that others have their turn.
subtest 'fewer_workers_for_one_database' => sub {
	configure($node, 'gate', 'SET train_perf.maintenance_workers = 1');
	my $keeper = close_gate($node, 'gate');
	my @jobs = map { ask($node, 'gate', "g$_") } 1 .. 3;
	reaches($node, 'gate', $jobs[0], 'running');
	my $other = ask($node, 'app', 't1');
	reaches($node, 'app', $other, 'succeeded');
	is_true($node, 'gate', running('gate', 1), 'one at work here, others done elsewhere');
	open_gate($keeper);
	all_have_ended($node, 'gate');
	is(attempts($node, 'gate', $_), 'queued, running, succeeded', "job $_") for @jobs;
	configure($node, 'gate', 'RESET train_perf.maintenance_workers');
};

subtest 'one_job_per_table' => sub {
	my $keeper = close_gate($node, 'gate');
	my $first = ask($node, 'gate', 'g1');
	reaches($node, 'gate', $first, 'running');
	my $second = ask($node, 'gate', 'g1');
	$node->safe_psql('gate', 'CREATE TABLE no_gate AS SELECT 1 AS n');
	for (1 .. 3)
	{
		my $other = ask($node, 'gate', 'no_gate');
		reaches($node, 'gate', $other, 'succeeded');
	}
	is_true($node, 'gate', "SELECT array_agg(status ORDER BY job_id) = '{running,queued}' FROM maintenance_jobs
		WHERE job_id IN ($first, $second)", 'what came later and could start was done');
	open_gate($keeper);
	reaches($node, 'gate', $_, 'succeeded') for $first, $second;
	is_true($node, 'gate', "SELECT a.finished_at <= b.started_at FROM maintenance_jobs a, maintenance_jobs b
		WHERE a.job_id = $first AND b.job_id = $second", 'one after the other');
};

# VACUUM of a partitioned table would wait for a job on a partition, one of a table for a job on its TOAST table.
subtest 'one_job_per_family' => sub {
	$node->safe_psql('gate', q{
		CALL gated_table('leaf');
		ALTER TABLE leaf ADD words text;
		CREATE TABLE tree (n integer, words text) PARTITION BY RANGE (n);
		CREATE TABLE branch PARTITION OF tree FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (n);
		ALTER TABLE branch ATTACH PARTITION leaf DEFAULT;
		CREATE TABLE other_leaf PARTITION OF branch FOR VALUES FROM (50) TO (60)});
	my $keeper = close_gate($node, 'gate');
	my $first = ask($node, 'gate', 'leaf');
	reaches($node, 'gate', $first, 'running');
	my @others = map { ask($node, 'gate', $_) } qw(tree branch);
	push @others, $node->safe_psql('gate', q{SELECT request_maintenance('reindex', i.indexrelid, NULL, NULL, 'test')
		FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid WHERE c.oid = 'leaf'::regclass});
	for (1 .. 3)
	{
		my $other = ask($node, 'gate', 'other_leaf');
		reaches($node, 'gate', $other, 'succeeded');
	}
	my $others = join ', ', @others;
	is_true($node, 'gate', "SELECT array_agg(status ORDER BY job_id) = '{queued,queued,queued}' AND sum(attempts) = 0 FROM maintenance_jobs
		WHERE job_id IN ($others)", 'what would wait for the first is not begun, what comes later and would not is done');
	open_gate($keeper);
	reaches($node, 'gate', $_, 'succeeded') for $first, @others;
	is_true($node, 'gate', "SELECT sum(attempts) = 3 FROM maintenance_jobs WHERE job_id IN ($others)", 'at the first attempt');
	$node->safe_psql('gate', 'DROP TABLE tree');
};

# Locks of others.

subtest 'lock_holder' => sub {
	configure($node, 'app', q{SET train_perf.maintenance_lock_timeout = '200ms'}, 'SET train_perf.maintenance_max_attempts = 1000');
	my $holder = client($node, 'app');
	sql($holder, 'BEGIN');
	sql($holder, 'LOCK TABLE t2 IN SHARE UPDATE EXCLUSIVE MODE');
	my $id = ask($node, 'app', 't2');
	my $pid = $holder->pid;
	eventually($node, 'app', "SELECT count(*) >= 2 FROM steps WHERE job_id = $id AND status = 'queued' AND sqlstate = '55P03'",
		'it is tried again');
	is_true($node, 'app', qq{SELECT bool_and(error_message = 'could not get a lock within 200 ms: a lock of pid $pid'
		AND waiting_for = 'a lock of pid $pid') FROM steps WHERE job_id = $id AND sqlstate = '55P03'}, 'it says who is in the way');
	# Between two attempts or in one.
	is($node->safe_psql('app', "SELECT count(*) FROM maintenance_status WHERE job_id = $id AND finished_at IS NULL"), 1, 'it is not over');
	sql($holder, 'COMMIT');
	reaches($node, 'app', $id, 'succeeded');
	is_true($node, 'app', "SELECT attempts >= 3 AND sqlstate IS NULL AND error_message IS NULL AND waiting_for IS NULL
		FROM maintenance_jobs WHERE job_id = $id", 'in the end it is done');

	configure($node, 'app', 'SET train_perf.maintenance_max_attempts = 2');
	sql($holder, 'BEGIN');
	sql($holder, 'LOCK TABLE t2 IN SHARE UPDATE EXCLUSIVE MODE');
	my $answer = client($node, 'app')->query("SELECT vacuum_analyze_table('t2')");
	is($answer->{error}{C}, '55P03', 'the caller is told when it is given up');
	like($answer->{error}{M}, qr/^job \d+ failed: could not get a lock within 200 ms: a lock of pid $pid$/, 'and by whom');
	is(attempts($node, 'app', job_of($answer->{error}{M})), 'queued, running, queued 55P03, running, failed 55P03', 'after two attempts');
	sql($holder, 'COMMIT');
	# As long as it waits for its next attempt, it can be cancelled.
	configure($node, 'app', q{SET train_perf.maintenance_retry_delay = '1h'});
	sql($holder, 'BEGIN');
	sql($holder, 'LOCK TABLE t2 IN SHARE UPDATE EXCLUSIVE MODE');
	$id = ask($node, 'app', 't2');
	eventually($node, 'app', "SELECT status = 'queued' AND sqlstate = '55P03' AND not_before > now() FROM maintenance_jobs WHERE job_id = $id",
		'it waits for its next attempt');
	like($node->safe_psql('app', "SET train_perf.maintenance_wait = 0; SELECT answer FROM await_maintenance(ARRAY[$id])"),
		qr/^job $id still running: queued, vacuum_analyze of public.t2, next attempt at .* \(could not get a lock within 200 ms/, 'as it says');
	is($node->safe_psql('app', "SELECT cancel_maintenance_job($id)"), 't', 'it is cancelled');
	is(job($node, 'app', $id)->{status}, 'cancelled', 'and stays so');
	$holder->quit;
	configure($node, 'app', map { "RESET train_perf.maintenance_$_" } qw(retry_delay max_attempts lock_timeout));
};

# Behind a job that does not end by itself.
sub others_pass
{
	my ($name, $table, $statement, $after) = @_;
	subtest $name => sub {
		my $keeper = close_gate($node, 'gate');
		my $id = ask($node, 'gate', $table);
		eventually($node, 'gate', "SELECT waiting_for ~ 'lock' FROM maintenance_status WHERE job_id = $id AND status = 'running'", 'at work');
		my $other = client($node, 'gate');
		my $answer = $other->query($statement);
		is($answer->{error}, undef, "$statement goes on");
		my $pid = $other->pid;
		# Its lock is free before that is written.
		eventually($node, 'gate', qq{SELECT error_message = 'gave way to pid $pid, which waits for a lock that the job holds'
			AND status = 'queued' FROM steps WHERE job_id = $id AND sqlstate = '57014'}, 'the job gave way');
		$after->($id, $keeper);
		$other->quit;
	};
	return;
}

$node->safe_psql('gate', 'ALTER DATABASE gate SET train_perf.maintenance_max_attempts = 100');
others_pass('alter_table', 'g2', 'ALTER TABLE g2 ADD COLUMN more integer', sub {
	my ($id, $keeper) = @_;
	eventually($node, 'gate', "SELECT status = 'running' AND attempts >= 2 FROM maintenance_jobs WHERE job_id = $id", 'it is tried again');
	open_gate($keeper);
	reaches($node, 'gate', $id, 'succeeded');
});
others_pass('drop_table', 'g3', 'DROP TABLE g3', sub {
	my ($id, $keeper) = @_;
	reaches($node, 'gate', $id, 'skipped');
	is(job($node, 'gate', $id)->{summary}, 'The table is gone.', 'it says why');
	open_gate($keeper);
});
others_pass('truncate', 'g4', 'TRUNCATE g4', sub {
	my ($id, $keeper) = @_;
	open_gate($keeper);
	reaches($node, 'gate', $id, 'succeeded');
});
others_pass('manual_vacuum', 'g5', 'VACUUM g5', sub {
	my ($id, $keeper) = @_;
	open_gate($keeper);
	reaches($node, 'gate', $id, 'succeeded');
});

# Databases with a job at work that takes minutes.

sub slow_job
{
	my ($database) = @_;
	with_maintenance($node, $database);
	slow_table($node, $database, 'big');
	my $id = ask($node, $database, 'big');
	eventually($node, $database, 'SELECT count(*) = 1 FROM pg_stat_progress_vacuum', "$database: VACUUM is at work");
	return $id;
}

subtest 'template' => sub {
	my $id = slow_job('origin');
	is($node->psql('postgres', 'CREATE DATABASE copy TEMPLATE origin'), 0, 'CREATE DATABASE TEMPLATE');
	is($node->psql('postgres', 'ALTER DATABASE origin RENAME TO renamed'), 0, 'RENAME');
	eventually($node, 'renamed', "SELECT status = 'running' AND attempts > 1 FROM maintenance_jobs WHERE job_id = $id", 'the job goes on');
	is_true($node, 'renamed', "SELECT count(*) > 0 FROM steps WHERE job_id = $id AND status = 'queued' AND sqlstate = '57P01'",
		'it was ended and queued again');
	# Without the settings of the database it takes no time there.
	reaches($node, 'copy', $id, 'succeeded', 'in the copy it is done too');
	is($node->psql('postgres', 'DROP DATABASE copy'), 0, 'DROP DATABASE');
	is($node->psql('postgres', 'DROP DATABASE renamed WITH (FORCE)'), 0, 'DROP DATABASE WITH (FORCE)');
	eventually($node, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'}, 'nobody is left');
};

subtest 'drop_extension' => sub {
	my $id = slow_job('dropping');
	is($node->psql('dropping', 'DROP EXTENSION train_perf'), 0, 'DROP EXTENSION');
	eventually($node, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'},
		'the job ends with it');
	$node->safe_psql('dropping', 'DROP TABLE steps; DROP FUNCTION note_step()');
	$node->safe_psql('dropping', 'ALTER DATABASE dropping RESET ALL; CREATE EXTENSION train_perf');
	my $next = ask($node, 'dropping', 'big');
	is($next, $id, 'a new extension counts anew');
	reaches($node, 'dropping', $next, 'succeeded');
};

# The job of the old extension has the number of one of the new.
subtest 'another_extension' => sub {
	with_maintenance($node, 'renewed');
	add_gate($node, 'renewed');
	$node->safe_psql('renewed', "CALL gated_table('g')");
	my $keeper = close_gate($node, 'renewed');
	my $id = ask($node, 'renewed', 'g');
	reaches($node, 'renewed', $id, 'running');
	$node->safe_psql('renewed', 'BEGIN; DROP EXTENSION train_perf; CREATE EXTENSION train_perf; COMMIT');
	$node->safe_psql('renewed', 'CREATE TABLE other AS SELECT 1 AS n');
	my $other = ask($node, 'renewed', 'other');
	is($other, $id, 'a job of the same number');
	reaches($node, 'renewed', $other, 'succeeded');
	eventually($node, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance'},
		'the old one has ended');
	is_true($node, 'renewed', q{SELECT count(*) = 1 AND min(target) = 'public.other' AND min(status) = 'succeeded'
		FROM maintenance_jobs}, 'and wrote nothing');
	open_gate($keeper);
};

log_is_clean($node);
$node->stop;
done_testing();
