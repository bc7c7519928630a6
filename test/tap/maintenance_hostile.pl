# Code of users that tries to get more rights from a job, and callers that could wait for ever.

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

my $node = maintenance_server('maintenance_hostile', <<'END');
max_worker_processes = 16
train_perf.maintenance_max_attempts = 2
train_perf.maintenance_lock_timeout = 500ms
END
with_maintenance($node, 'app', 'gate');
add_gate($node, 'gate');
$node->safe_psql('app', q{
	CREATE ROLE mallory LOGIN;
	CREATE SCHEMA mallory AUTHORIZATION mallory});

# Asks for retention as the superuser; the owner of the table adds the trigger afterwards.
sub retention_with_trigger
{
	my ($table, $body) = @_;
	my $owner = client($node, 'app', 'mallory');
	sql($owner, $_) for "CREATE TABLE mallory.$table (at timestamptz, n integer)",
	  "INSERT INTO mallory.$table SELECT now() - interval '9 days', g FROM generate_series(1, 3) g";
	$node->safe_psql('app', "SELECT set_retention('mallory.$table', 'at', '1 day')");
	sql($owner, $_) for
	  "CREATE FUNCTION mallory.on_$table() RETURNS trigger LANGUAGE plpgsql AS \$\$ $body \$\$",
	  "CREATE TRIGGER t BEFORE DELETE ON mallory.$table FOR EACH ROW WHEN (OLD.n = 1) EXECUTE FUNCTION mallory.on_$table()";
	$node->safe_psql('app', 'SELECT queue_retention()');
	$node->reload;    # the collector looks at once
	return $node->safe_psql('app', "SELECT max(job_id) FROM maintenance_jobs WHERE target = 'mallory.$table'");
}

subtest 'trigger_of_a_table_whose_retention_the_superuser_asked_for' => sub {
	my $id = retention_with_trigger('usurped', q{BEGIN
		EXECUTE 'ALTER ROLE mallory SUPERUSER';
		RETURN OLD;
	END});
	reaches($node, 'app', $id, 'failed');
	is(job($node, 'app', $id)->{sqlstate}, '42501', 'not as a superuser');
	is_true($node, 'app', q{SELECT NOT rolsuper FROM pg_roles WHERE rolname = 'mallory'}, 'nor did it become one');
	$node->safe_psql('app', q{SELECT drop_retention('mallory.usurped')});
};

# A parallel worker has a session_authorization of its own, that of who connected: the superuser.
subtest 'function_of_a_parallel_worker' => sub {
	my $force = major_version($node) >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
	my $owner = client($node, 'app', 'mallory');
	sql($owner, $_) for 'CREATE TABLE mallory.seen (what text)',
	  'CREATE TABLE mallory.many AS SELECT 1 AS n FROM generate_series(1, 1000)';
	# Who creates the function is not allowed the setting; the server looks at that when it is called.
	sql($owner, q{CREATE FUNCTION mallory.who(n integer) RETURNS text PARALLEL SAFE LANGUAGE plpgsql
		AS 'BEGIN RETURN current_user; END'});
	sql($owner, "ALTER FUNCTION mallory.who(integer) SET session_authorization = "
		. $node->safe_psql('app', 'SELECT quote_literal(current_user)'));
	my $id = retention_with_trigger('parallel', qq{DECLARE
		answer text;
	BEGIN
		PERFORM set_config('$force', 'on', false), set_config('parallel_leader_participation', 'off', false);
		BEGIN
			EXECUTE 'SELECT max(mallory.who(n)) FROM mallory.many' INTO answer;
		EXCEPTION WHEN OTHERS THEN
			answer := SQLERRM;
		END;
		INSERT INTO mallory.seen VALUES (answer);
		RETURN OLD;
	END});
	reaches($node, 'app', $id, 'succeeded');
	is($node->safe_psql('app', 'SELECT what FROM mallory.seen'), 'parameter "session_authorization" cannot be changed',
		'no function leaves the role of the job');
};

# With DROP EXTENSION, which waits for what the caller reads, and the worker, which waits for that.
subtest 'caller_whose_job_ends_during_drop_extension' => sub {
	$node->safe_psql('gate', "CALL gated_table('g1')");
	my $keeper = close_gate($node, 'gate');
	my $caller = client($node, 'gate');
	$caller->send(query => q{SELECT vacuum_analyze_table('g1')});
	eventually($node, 'gate', q{SELECT count(*) = 1 FROM maintenance_workers() WHERE waiting_for IS NOT NULL}, 'its job is at work');
	is($node->psql('gate', 'DROP EXTENSION train_perf'), 0, 'DROP EXTENSION does not wait for the caller');
	open_gate($keeper);
	is($caller->answer->{error}{C}, '55000', 'who is told');
};

# VACUUM waits for the last pin on a page of an index, for which no lock_timeout exists.
subtest 'caller_with_an_open_cursor' => sub {
	$node->safe_psql('app', q{
		CREATE TABLE pinned AS SELECT n FROM generate_series(1, 5000) n;
		CREATE INDEX ON pinned (n)});
	$node->safe_psql('app', 'VACUUM ANALYZE pinned');
	$node->safe_psql('app', 'DELETE FROM pinned WHERE n % 2 = 0');
	dead_for_all($node, 'app');
	my $caller = client($node, 'app');
	sql($caller, $_) for 'BEGIN', 'SET LOCAL enable_seqscan = off', 'SET LOCAL enable_bitmapscan = off',
	  'DECLARE c CURSOR FOR SELECT n FROM pinned WHERE n > 0 ORDER BY n', 'FETCH c';
	my $answer = $caller->query(q{SELECT vacuum_analyze_table('pinned')});
	is($answer->{error}{C}, '55P03', 'its job gives up');
	like($answer->{error}{M}, qr/a page that a cursor has pinned/, 'and says why');
};

# A rebuild waits for the snapshot of a caller, whose job waits for the only worker.
subtest 'caller_that_a_rebuild_waits_for' => sub {
	$node->safe_psql('app', q{
		CREATE TABLE rebuilt AS SELECT n FROM generate_series(1, 1000) n;
		CREATE INDEX rebuilt_n ON rebuilt (n);
		CREATE TABLE vacuumed AS SELECT 1 AS n});
	my $caller = client($node, 'app');
	sql($caller, $_) for 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM vacuumed';
	my $rebuild = $node->safe_psql('app', q{SELECT request_maintenance('reindex', 'rebuilt_n'::regclass, NULL, NULL, 'test')});
	my $pid = $caller->pid;
	eventually($node, 'app', "SELECT waiting_for = 'the end of the transaction of pid $pid' FROM maintenance_status WHERE job_id = $rebuild",
		'a rebuild waits for it');
	like(sql($caller, q{SELECT vacuum_analyze_table('vacuumed')}), qr/^job \d+: VACUUM/, 'which has just begun and gives way');
	eventually($node, 'app', "SELECT attempts = 2 AND waiting_for = 'the end of the transaction of pid $pid'
		FROM maintenance_status WHERE job_id = $rebuild", 'and waits for it again');
	my $answer = sql($caller, q{SELECT vacuum_analyze_table('vacuumed')});
	like($answer, qr/^job \d+ still running: queued/, 'now it does not wait for its job');
	is(job($node, 'app', $rebuild)->{status}, 'running', 'nor does the rebuild begin again');
	sql($caller, 'COMMIT');
	reaches($node, 'app', $_, 'succeeded') for $rebuild, job_of($answer);
	is(attempts($node, 'app', $rebuild), "queued, running, queued 57014, running, succeeded", 'one more attempt');
};

# A rebuild waits for the transaction of somebody who waits for a row of the caller, whose job waits for the only worker.
subtest 'caller_that_a_rebuild_waits_for_through_another' => sub {
	$node->safe_psql('app', 'CREATE TABLE contended AS SELECT 1 AS n');
	my ($caller, $other) = map { client($node, 'app') } 1, 2;
	sql($caller, $_) for 'BEGIN', 'UPDATE contended SET n = 2';
	sql($other, $_) for 'BEGIN', 'INSERT INTO rebuilt VALUES (0)';
	$other->send(query => 'UPDATE contended SET n = 3');
	eventually($node, 'app', 'SELECT ' . $caller->pid . ' = ANY (pg_blocking_pids(' . $other->pid . '))', 'another one waits for it');
	my $rebuild = $node->safe_psql('app', q{SELECT request_maintenance('reindex', 'rebuilt_n'::regclass, NULL, NULL, 'test')});
	my $pid = $other->pid;
	eventually($node, 'app', "SELECT waiting_for = 'the end of the transaction of pid $pid' FROM maintenance_status WHERE job_id = $rebuild",
		'a rebuild waits for that one');
	# First attempts, of the rebuild and of the drop of what it leaves, give way.
	my $answer = 'job 0: VACUUM';
	for (1 .. 5)
	{
		$answer = sql($caller, q{SELECT vacuum_analyze_table('vacuumed')}) if $answer =~ /^job \d+: VACUUM/;
	}
	like($answer, qr/^job \d+ still running: queued/, 'the caller does not wait for its job');
	sql($caller, 'COMMIT');
	ok(!$other->answer->{error}, 'so the other one goes on');
	sql($other, 'COMMIT');
	reaches($node, 'app', $_, 'succeeded') for $rebuild, job_of($answer);
	$_->quit for $caller, $other;
};

# Whoever wants to lock the table of jobs waits for a caller that has read it, and the workers wait for who wants that.
subtest 'caller_that_has_read_what_somebody_wants_to_lock' => sub {
	my ($caller, $locker) = map { client($node, 'app') } 1, 2;
	sql($caller, $_) for 'BEGIN', 'SELECT count(*) FROM maintenance_status';
	$node->safe_psql('gate', "CREATE EXTENSION IF NOT EXISTS train_perf; CALL gated_table('g3')");
	my $keeper = close_gate($node, 'gate');
	my $first = ask($node, 'gate', 'g3');
	reaches($node, 'gate', $first, 'running');
	$caller->send(query => q{SELECT vacuum_analyze_table('vacuumed')});
	eventually($node, 'app', q{SELECT count(*) = 1 FROM maintenance_status WHERE status = 'queued'}, 'the job of a caller waits for the only worker');
	$locker->send(query => 'BEGIN; LOCK TABLE maintenance_jobs; COMMIT');
	eventually($node, 'postgres', 'SELECT ' . $caller->pid . ' = ANY (pg_blocking_pids(' . $locker->pid . '))', 'somebody wants to lock the table of jobs');
	open_gate($keeper);
	my $answer = $caller->answer->{rows}[0][0];
	like($answer, qr/^job \d+ still running: queued/, 'the caller does not wait for its job');
	sql($caller, 'COMMIT');
	ok(!$locker->answer->{error}, 'so the other one goes on');
	reaches($node, 'app', job_of($answer), 'succeeded');
	$_->quit for $caller, $locker;
};

# An index of a table of mallory, whose function runs that in a job.
sub with_index_function
{
	my ($table, $body) = @_;
	my $owner = client($node, 'app', 'mallory');
	sql($owner, $_) for
	  "CREATE TABLE mallory.$table AS SELECT 1 AS n",
	  "CREATE FUNCTION mallory.in_$table(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN
		IF current_setting('application_name') = 'train_perf maintenance' THEN $body END IF;
		RETURN \$1;
	END\$\$",
	  "CREATE INDEX ON mallory.$table (mallory.in_$table(n))";
	return $owner;
}

# With one worker for all jobs.
subtest 'function_that_never_ends' => sub {
	my $owner = with_index_function('endless', 'LOOP PERFORM pg_sleep(1); END LOOP;');
	$node->safe_psql('app', q{ALTER DATABASE app SET train_perf.maintenance_job_timeout = '5s'});
	$owner->send(query => q{SELECT vacuum_analyze_table('mallory.endless')});
	eventually($node, 'app', q{SELECT count(*) = 1 FROM maintenance_jobs WHERE target = 'mallory.endless'}, 'it is asked for');
	my $id = $node->safe_psql('app', q{SELECT job_id FROM maintenance_jobs WHERE target = 'mallory.endless'});
	$node->safe_psql('app', 'CREATE TABLE patient AS SELECT 1 AS n');
	like($node->safe_psql('app', q{SELECT vacuum_analyze_table('patient')}), qr/^job \d+: VACUUM/, 'other jobs get their turn');
	reaches($node, 'app', $id, 'failed');
	my $job = job($node, 'app', $id);
	is("$job->{sqlstate} $job->{attempts}", '57014 2', 'it is ended each time');
	like($job->{error_message}, qr/^took longer than maintenance_job_timeout/, 'and says why');
	is($owner->answer->{error}{C}, '57014', 'as does the caller');
};

# It is also cancelled by somebody meanwhile, of which the end of the worker makes no second attempt.
subtest 'function_that_goes_on_when_it_is_cancelled' => sub {
	$node->safe_psql('app', q{ALTER DATABASE app RESET train_perf.maintenance_job_timeout});
	my $owner = with_index_function('stubborn',
		'LOOP BEGIN PERFORM pg_sleep(1); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;');
	$owner->send(query => q{SELECT vacuum_analyze_table('mallory.stubborn')});
	my $of_it = q{FROM maintenance_jobs WHERE target = 'mallory.stubborn'};
	eventually($node, 'app', "SELECT count(*) = 1 $of_it AND command IS NOT NULL", 'it is at work');
	my $id = $node->safe_psql('app', "SELECT job_id $of_it");
	is($node->safe_psql('app', "SELECT cancel_maintenance_job($id)"), 't', 'it is cancelled');
	reaches($node, 'app', $id, 'cancelled');
	my $job = job($node, 'app', $id);
	is("$job->{sqlstate} $job->{attempts}", '57014 1', 'which ends it in the end');
	ok($owner->answer->{error}, 'the caller is told');
};

log_is_clean($node);
done_testing();
