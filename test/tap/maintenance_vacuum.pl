# VACUUM from wherever SQL runs, by whoever may; what callers are told; and code of users that runs on the way.

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

my $node = maintenance_server('maintenance_vacuum', "max_prepared_transactions = 2\n");
my $libraries = `pg_config --pkglibdir`;
chomp $libraries;
my $has_cron = -e "$libraries/pg_cron.so";
if ($has_cron)
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'train_perf, pg_cron'\ncron.database_name = 'app'\n"
		. "cron.host = '" . $node->host . "'\n");
	$node->restart;
}
with_maintenance($node, 'app', 'gate');
$node->safe_psql('app', q{
	CREATE EXTENSION pg_freespacemap;
	CREATE ROLE shop_owner LOGIN;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE clerks NOLOGIN;
	CREATE ROLE clerk LOGIN IN ROLE clerks;
	CREATE SCHEMA shop AUTHORIZATION shop_owner;
	GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text), await_maintenance(bigint[])
	  TO shop_owner, stranger;
	GRANT ALL ON SCHEMA shop TO clerks, stranger});

# Pages full of dead rows, and one of live ones behind them, so that none is given back.
sub dirty_table
{
	my ($table, $owner) = @_;
	$node->safe_psql('app', qq{
		SET ROLE $owner;
		CREATE TABLE shop.$table (n integer, filler text);
		INSERT INTO shop.$table SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g;
		DELETE FROM shop.$table WHERE n <= 4900;
		SELECT pg_stat_force_next_flush();
	});
	return;
}

sub is_vacuumed
{
	my ($table, $asker) = @_;
	eventually($node, 'app', qq{SELECT vacuum_count > 0 AND analyze_count > 0 AND n_dead_tup = 0 AND n_live_tup = 100
		FROM pg_stat_user_tables WHERE relid = 'shop.$table'::regclass}, 'pg_stat_user_tables knows it');
	is_true($node, 'app', "SELECT sum(avail) > 400000 FROM pg_freespace('shop.$table')", 'the space is free');
	is_true($node, 'app', qq{SELECT bool_and(status = 'succeeded' AND requested_by = '$asker') AND sum(rows_removed) = 4900
		FROM maintenance_jobs WHERE relid = 'shop.$table'::regclass}, "by $asker");
	my $size = $node->safe_psql('app', "SELECT pg_relation_size('shop.$table')");
	$node->safe_psql('app', "INSERT INTO shop.$table SELECT g, repeat('y', 100) FROM generate_series(1, 4000) g");
	is_true($node, 'app', "SELECT pg_relation_size('shop.$table') = $size", 'and used again');
	return;
}

# Again, as long as somebody else's snapshot is older than the DELETE.
sub until_removed
{
	my ($table, $run) = @_;
	wait_until("dead rows of $table can be removed", sub {
		$run->();
		return $node->safe_psql('app', qq{SELECT summary !~ 'could not be removed' FROM maintenance_jobs
			WHERE relid = 'shop.$table'::regclass ORDER BY job_id DESC LIMIT 1}) eq 't';
	});
	return;
}

sub works
{
	my ($name, $owner, $asker, $run) = @_;
	subtest $name => sub {
		dirty_table($name, $owner);
		is_true($node, 'app', "SELECT coalesce(sum(avail), 0) < 100000 FROM pg_freespace('shop.$name')", 'full at first');
		until_removed($name, sub { $run->("shop.$name") });
		is_vacuumed($name, $asker);
	};
	return;
}

sub as
{
	my ($user, $sql) = @_;
	return $node->safe_psql('app', $sql, extra_params => [ '-U', $user ]);
}

# pg_cron looks once in a minute: what it did is seen at the end.
dirty_table('by_cron', 'shop_owner');
$node->safe_psql('app', 'CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO shop_owner') if $has_cron;
as('shop_owner', !$has_cron ? 'SELECT' : q{SELECT cron.schedule('vacuum', '* * * * *', $$SELECT vacuum_analyze_table('shop.by_cron')$$)});

works('by_psql', 'shop_owner', 'shop_owner', sub { as('shop_owner', "SELECT vacuum_analyze_table('$_[0]')") });
works('by_do', 'shop_owner', 'shop_owner',
	sub { as('shop_owner', qq{DO \$\$ BEGIN PERFORM vacuum_analyze_table('$_[0]'); END \$\$}) });
works('in_a_transaction', 'shop_owner', 'shop_owner', sub { as('shop_owner',
	"BEGIN; SELECT FROM $_[0] LIMIT 0; SELECT vacuum_analyze_table('$_[0]'); COMMIT") });
works('in_one_that_is_rolled_back', 'shop_owner', 'shop_owner',
	sub { as('shop_owner', "BEGIN; SELECT vacuum_analyze_table('$_[0]'); ROLLBACK") });
works('by_a_subtransaction_that_fails', 'shop_owner', 'shop_owner', sub { as('shop_owner', qq{DO \$\$ BEGIN
	PERFORM vacuum_analyze_table('$_[0]'); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$}) });
as('shop_owner', q{
	CREATE FUNCTION shop.clean(name text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT vacuum_analyze_table(name)'});
works('security_definer', 'shop_owner', 'shop_owner', sub { as('stranger', "SELECT shop.clean('$_[0]')") });
works('by_set_role', 'clerks', 'clerks', sub { as('clerk', "SET ROLE clerks; SELECT vacuum_analyze_table('$_[0]')") });
works('by_a_member', 'clerks', 'clerk', sub { as('clerk', "SELECT vacuum_analyze_table('$_[0]')") });
works('by_extended_protocol', 'shop_owner', 'shop_owner', sub {
	my $client = client($node, 'app', 'shop_owner');
	my $answer = $client->extended('SELECT vacuum_analyze_table($1)', $_[0]);
	like($answer->{rows}[0][0], qr/^job \d+: VACUUM/, 'the answer') or diag(explain($answer));
	$client->quit;
});

subtest 'without_right' => sub {
	dirty_table('not_yours', 'shop_owner');
	my $count = q{SELECT count(*) FROM maintenance_jobs WHERE relid <> 'shop.by_cron'::regclass};
	my $jobs = $node->safe_psql('app', $count);
	my $client = client($node, 'app', 'stranger');
	my @tries = ("SELECT vacuum_analyze_table('shop.not_yours')",
		"DO \$\$ BEGIN PERFORM vacuum_analyze_table('shop.not_yours'); END \$\$",
		"SELECT request_maintenance('vacuum_analyze', 'shop.not_yours'::regclass, NULL, NULL, NULL)",
		"SELECT vacuum_analyze_table('pg_catalog.pg_authid')");
	is_deeply([ $client->queries(@tries) ], [ ('42501') x @tries ], 'refused');
	like($client->query($tries[0])->{error}{H}, qr/owner/, 'with a hint');
	is($node->safe_psql('app', $count), $jobs, 'nothing is queued');
	# Who was the owner when the function was made is not asked, but who runs it.
	as('stranger', q{CREATE FUNCTION shop.of_stranger() RETURNS text LANGUAGE sql SECURITY DEFINER AS
		$$SELECT vacuum_analyze_table('shop.not_yours')$$});
	is(client($node, 'app', 'shop_owner')->query('SELECT shop.of_stranger()')->{error}{C}, '42501',
		'a SECURITY DEFINER function has the rights of its owner');
	is($node->safe_psql('app', $count), $jobs, 'nothing is queued by it');
	is_true($node, 'app', q{SELECT vacuum_count = 0 FROM pg_stat_user_tables WHERE relname = 'not_yours'},
		'and nothing done');
	# The database's owner may VACUUM, as the server has it.
	$node->safe_psql('app', 'ALTER DATABASE app OWNER TO stranger');
	like($client->query($tries[0])->{rows}[0][0] // '', qr/^job \d+: VACUUM/, 'the owner of the database may')
	  if major_version($node) < 17;
	$node->safe_psql('app', 'ALTER DATABASE app OWNER TO postgres');
	$client->quit;
};

# Why nothing was achieved.

# As soon as nobody else has a snapshot that is as old.
sub is_answered
{
	my ($ask, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $answer;
	wait_until($name, sub { $answer = $ask->(); return $answer =~ $expected });
	return like($answer, $expected, $name);
}

sub holder_is_named
{
	my ($name, $holder, $text) = @_;
	dirty_table($name, 'shop_owner');
	is_answered(sub { as('shop_owner', "SELECT vacuum_analyze_table('shop.$name')") },
		qr/: 0 dead rows removed, .*; 4900 dead rows could not be removed: they are kept for $text/, $name);
	is_true($node, 'app', qq{SELECT status = 'succeeded' AND rows_removed = 0 FROM maintenance_jobs
		WHERE relid = 'shop.$name'::regclass}, 'nothing was removed');
	return;
}

subtest 'old_snapshot' => sub {
	my $old = client($node, 'app');
	sql($old, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
	sql($old, 'SELECT 1');
	my $since = $node->safe_psql('app', 'SELECT xact_start FROM pg_stat_activity WHERE pid = ' . $old->pid);
	holder_is_named('kept_by_a_session', $old, 'pid ' . $old->pid . qr/ \(idle in transaction, transaction since \Q$since\E\)$/);
	sql($old, 'COMMIT');
	until_removed('kept_by_a_session', sub { as('shop_owner', "SELECT vacuum_analyze_table('shop.kept_by_a_session')") });
	is_vacuumed('kept_by_a_session', 'shop_owner');
	$old->quit;
};

subtest 'old_snapshot_of_the_caller' => sub {
	my $caller = client($node, 'app', 'shop_owner');
	sql($caller, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
	sql($caller, 'SELECT 1');
	dirty_table('kept_by_the_caller', 'shop_owner');
	my $pid = $caller->pid;
	is_answered(sub { sql($caller, "SELECT vacuum_analyze_table('shop.kept_by_the_caller')") },
		qr/4900 dead rows could not be removed: they are kept for pid $pid \(active, transaction since /, 'the caller itself');
	sql($caller, 'COMMIT');
	$caller->quit;
};

subtest 'prepared_transaction' => sub {
	$node->safe_psql('app', q{CREATE TABLE prepared (n integer); BEGIN; INSERT INTO prepared VALUES (1); PREPARE TRANSACTION 'left''over'});
	holder_is_named('kept_by_a_prepared', undef, q{prepared transaction 'left''over' since });
	$node->safe_psql('app', q{ROLLBACK PREPARED 'left''over'});
};

# How long a caller waits, and what it can do meanwhile.

add_gate($node, 'gate');
$node->safe_psql('gate', 'GRANT EXECUTE ON FUNCTION await_maintenance(bigint[]) TO shop_owner, stranger');
for my $table (qw(a b c))
{
	$node->safe_psql('gate', "CALL gated_table('shop_$table'); ALTER TABLE shop_$table OWNER TO shop_owner");
}

subtest 'callers_wait_as_long_as_they_like' => sub {
	my $keeper = close_gate($node, 'gate');
	my $caller = client($node, 'gate', 'shop_owner');
	sql($caller, 'SET train_perf.maintenance_wait = 0');
	my $id = job_of(sql($caller, "SELECT vacuum_analyze_table('shop_a')"));
	reaches($node, 'gate', $id, 'running');
	eventually($node, 'gate', "SELECT command IS NOT NULL FROM maintenance_jobs WHERE job_id = $id", 'it is planned');
	like(sql($caller, "SELECT answer FROM await_maintenance(ARRAY[$id])"),
		qr/^job $id still running: VACUUM \(VERBOSE, ANALYZE\) public\.shop_a$/, 'still running');
	my $gate_pid = $keeper->pid;
	eventually($node, 'gate', qq{SELECT waiting_for = 'a lock of pid $gate_pid' AND progress <> '' AND duration_ms > 0
		FROM maintenance_status WHERE job_id = $id}, 'maintenance_status says what it waits for');
	sql($caller, 'SET train_perf.maintenance_wait = 100');
	like(sql($caller, "SELECT vacuum_analyze_table('shop_b')"), qr/^job \d+ still running: queued, vacuum_analyze of public\.shop_b$/,
		'no worker is left for another one');
	# Long enough before its end for the answer to come through.
	sql($caller, 'RESET train_perf.maintenance_wait');
	for my $timeout ('statement_timeout', major_version($node) < 17 ? () : 'transaction_timeout')
	{
		sql($caller, "SET $timeout = '8s'");
		like(sql($caller, "SELECT vacuum_analyze_table('shop_c')"), qr/^job \d+ still running: queued/, "before $timeout");
		sql($caller, "RESET $timeout");
	}
	my $asked = $node->safe_psql('gate', 'SELECT count(*) FROM maintenance_jobs');
	my $waiting = client($node, 'gate', 'shop_owner');
	$waiting->send(query => "SELECT vacuum_analyze_table('shop_a')");
	eventually($node, 'gate', "SELECT count(*) > $asked FROM maintenance_jobs", 'one more');
	is($waiting->{socket}->blocking(0) && $waiting->{socket}->sysread(my $byte, 1), undef, 'without limit, it waits');
	$waiting->{socket}->blocking(1);
	open_gate($keeper);
	like($waiting->answer->{rows}[0][0] // '', qr/^job \d+: VACUUM \(ANALYZE\) public\.shop_a: /, 'until its job has ended');
	all_have_ended($node, 'gate');
	is_true($node, 'gate', q{SELECT bool_and(status = 'succeeded') FROM maintenance_jobs}, 'all were done');
	$_->quit for $caller, $waiting;
};

subtest 'callers_that_wait_are_no_slow_queries' => sub {
	$node->safe_psql('gate', q{ALTER DATABASE gate SET train_perf.log_min_duration = '10s'});
	my $keeper = close_gate($node, 'gate');
	my @callers = map { client($node, 'gate') } 1 .. 3;
	my $job = ask($node, 'gate', 'shop_a');
	$callers[0]->send(query => q{SELECT vacuum_analyze_table('shop_b')});
	$callers[1]->send(query => "CALL wait_for_maintenance($job)");
	$callers[2]->send(query => 'SELECT 1 AS slow FROM pg_sleep(11)');
	eventually($node, 'gate', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query ~ '^SELECT vacuum|^CALL wait_for'
		AND state = 'active' AND clock_timestamp() - query_start > '12 s'}, 'two have waited for 12 seconds');
	open_gate($keeper);
	ok(!$_->answer->{error}, 'answered') for @callers;
	eventually($node, 'gate', q{SELECT count(*) = 1 FROM query_performance_logs WHERE query_text = 'select $1 as slow from pg_sleep($2)'},
		'a slow query is logged');
	drain($node, 'gate');
	is($node->safe_psql('gate', q{SELECT query_text, duration_ms FROM query_performance_logs
		WHERE query_text ~ 'vacuum_analyze|wait_for' AND sqlstate IS NULL}), '', 'they are not');
	is_true($node, 'gate', q{SELECT count(*) = 2 FROM query_stats WHERE query ~ 'vacuum_analyze|wait_for' AND max_time_ms > 11000},
		'although they count as they are');
	$node->safe_psql('gate', 'ALTER DATABASE gate RESET train_perf.log_min_duration');
	$_->quit for @callers;
};

subtest 'callers_go_away' => sub {
	my $keeper = close_gate($node, 'gate');
	my %ends = (
		cancelled => sub { $node->safe_psql('gate', 'SELECT pg_cancel_backend(' . $_[0]->pid . ')') },
		terminated => sub { $node->safe_psql('gate', 'SELECT pg_terminate_backend(' . $_[0]->pid . ')') },
		vanished => sub { $_[0]->vanish });
	my @jobs;
	for my $end (sort keys %ends)
	{
		my $caller = client($node, 'gate', 'shop_owner');
		my $before = $node->safe_psql('gate', 'SELECT max(job_id) FROM maintenance_jobs');
		$caller->send(query => "SELECT vacuum_analyze_table('shop_a')");
		eventually($node, 'gate', "SELECT max(job_id) > $before FROM maintenance_jobs", "$end: asked");
		push @jobs, $node->safe_psql('gate', 'SELECT max(job_id) FROM maintenance_jobs');
		reaches($node, 'gate', $jobs[0], 'running') if @jobs == 1;
		$ends{$end}->($caller);
		is($caller->answer->{error}{C}, { cancelled => '57014', terminated => '57P01' }->{$end}, $end) if $end ne 'vanished';
	}
	is_true($node, 'gate', "SELECT status = 'running' FROM maintenance_jobs WHERE job_id = $jobs[0]", 'its job goes on');
	open_gate($keeper);
	reaches($node, 'gate', $_, 'succeeded') for @jobs;
};

subtest 'cancelled_jobs' => sub {
	my $keeper = close_gate($node, 'gate');
	my $caller = client($node, 'gate', 'shop_owner');
	my $second = client($node, 'gate', 'shop_owner');
	my $before = $node->safe_psql('gate', 'SELECT max(job_id) FROM maintenance_jobs');
	$caller->send(query => "SELECT vacuum_analyze_table('shop_a')");
	eventually($node, 'gate', "SELECT status = 'running' FROM maintenance_jobs WHERE job_id > $before", 'one runs');
	my $running = $node->safe_psql('gate', 'SELECT max(job_id) FROM maintenance_jobs');
	$second->send(query => "SELECT vacuum_analyze_table('shop_b')");
	eventually($node, 'gate', "SELECT status = 'queued' FROM maintenance_jobs WHERE job_id > $running", 'one is queued');
	my $queued = $node->safe_psql('gate', 'SELECT max(job_id) FROM maintenance_jobs');

	my $stranger = client($node, 'gate', 'stranger');
	is($stranger->query("SELECT cancel_maintenance_job($_)")->{error}{C}, '42501', 'strangers may not cancel')
	  for $running, $queued;
	is_true($node, 'gate', "SELECT array_agg(status ORDER BY job_id) = '{running,queued}'
		FROM maintenance_jobs WHERE job_id IN ($running, $queued)", 'nothing changes');
	my $owner = client($node, 'gate', 'shop_owner');
	is(sql($owner, "SELECT cancel_maintenance_job($queued)"), 't', 'a queued one is cancelled');
	my $error = $second->answer->{error};
	is("$error->{C} $error->{M}", "57014 job $queued cancelled: cancelled by shop_owner", 'its caller is told');
	is(sql($owner, "SELECT cancel_maintenance_job($running)"), 't', 'one that runs is cancelled');
	$error = $caller->answer->{error};
	is("$error->{C} $error->{M}", "57014 job $running cancelled: cancelled on request", 'its caller is told');
	is(attempts($node, 'gate', $running), 'queued, running, cancelled 57014', 'once and for all');
	is(attempts($node, 'gate', $queued), 'queued, cancelled 57014', 'and the other never ran');
	is(sql($owner, "SELECT cancel_maintenance_job($_)"), 'f', 'what has ended is not cancelled') for $running, $queued;

	# By the server's own means.
	my $by_pid = ask($node, 'gate', 'shop_a');
	reaches($node, 'gate', $by_pid, 'running');
	eventually($node, 'gate', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'train_perf maintenance' AND wait_event_type = 'Lock'", 'the worker is cancelled');
	reaches($node, 'gate', $by_pid, 'cancelled');
	open_gate($keeper);
	$_->quit for $caller, $second, $stranger, $owner;
};

# Code of users runs when the expressions of an index are computed.

subtest 'malicious_index_expression' => sub {
	$node->safe_psql('app', q{
		CREATE ROLE mallory LOGIN;
		GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text) TO mallory;
		CREATE SCHEMA mallory AUTHORIZATION mallory;
		GRANT USAGE ON SCHEMA mallory TO PUBLIC});
	my @attacks = ('SET ROLE postgres', 'SET ROLE NONE', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres',
		'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION', 'SET LOCAL SESSION AUTHORIZATION DEFAULT',
		q{SELECT set_config('session_authorization', 'postgres', false)}, q{SELECT set_config('role', 'postgres', false)},
		q{SELECT set_config('is_superuser', 'on', false)}, 'RESET ALL', 'DISCARD ALL',
		'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE planted SUPERUSER', 'UPDATE public.maintenance_jobs SET role = 10',
		q{SELECT public.queue_job('vacuum_analyze', 'mallory.bait'::regclass, 10, NULL, NULL, false)},
		'SELECT count(*) FROM pg_catalog.pg_authid', 'CREATE TEMP TABLE maintenance_jobs (n integer)',
		'SET search_path = mallory, pg_catalog', q{SET default_transaction_read_only = on}, q{SET lock_timeout = '1ms'},
		q{SELECT set_config('default_transaction_read_only', 'on', false)});
	my $attacks = join ', ', map { "\$attack\$$_\$attack\$" } @attacks;
	as('mallory', qq{
		CREATE TABLE mallory.seen (attack text, what text, who name, session name, superuser text);
		GRANT ALL ON mallory.seen TO PUBLIC;
		CREATE FUNCTION mallory.attack() RETURNS void LANGUAGE plpgsql AS \$f\$
		DECLARE
			attack text;
			what text;
		BEGIN
			FOREACH attack IN ARRAY ARRAY[$attacks] LOOP
				BEGIN
					EXECUTE attack;
					what := 'done';
				EXCEPTION WHEN others THEN
					what := SQLSTATE;
				END;
				INSERT INTO mallory.seen VALUES (attack, what, current_user, session_user, current_setting('is_superuser'));
			END LOOP;
		END \$f\$;
		CREATE FUNCTION mallory.expression(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS \$f\$
		BEGIN
			-- By whoever: CREATE INDEX and DELETE compute it too.
			IF current_setting('application_name') = 'train_perf maintenance' THEN PERFORM mallory.attack(); END IF;
			RETURN n;
		END \$f\$;
		CREATE TABLE mallory.bait AS SELECT 1 AS n;
		CREATE INDEX ON mallory.bait (mallory.expression(n));
	});
	for my $asker ('postgres', 'mallory')
	{
		$node->safe_psql('app', 'TRUNCATE mallory.seen');
		like(as($asker, "SELECT vacuum_analyze_table('mallory.bait')"), qr/^job \d+: VACUUM/, "asked by $asker");
		is($node->safe_psql('app', 'SELECT count(*) FROM mallory.seen'), scalar @attacks, 'the code has run');
		is($node->safe_psql('app', 'SELECT DISTINCT who FROM mallory.seen'), 'mallory', 'as the owner of the table');
		is($node->safe_psql('app', q{SELECT DISTINCT session FROM mallory.seen}), $asker, "in a session of $asker");
		is($node->safe_psql('app', q{SELECT attack FROM mallory.seen WHERE what = 'done' AND attack !~ 'search_path|read_only|lock_timeout|RESET ALL'}),
			'', 'in vain');
		is($node->safe_psql('app', 'SELECT count(*) FROM pg_roles WHERE rolsuper'), 1, 'nobody became superuser');
	}
	is_true($node, 'app', q{SELECT bool_and(superuser = 'off') FROM mallory.seen}, 'not even for a moment');
	is_true($node, 'app', q{SELECT bool_and(role = requested_by::regrole) FROM maintenance_jobs}, 'no job was changed');
	# What it raises is told, but not at any length.
	as('mallory', q{
		CREATE OR REPLACE FUNCTION mallory.expression(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $f$
		BEGIN
			IF current_setting('application_name') = 'train_perf maintenance' THEN
				RAISE WARNING '%', repeat('ä', 1000000);
				RAISE EXCEPTION USING ERRCODE = '42XXX', MESSAGE = repeat('ö', 1000000);
			END IF;
			RETURN n;
		END $f$;});
	my $error = client($node, 'app', 'mallory')->query("SELECT vacuum_analyze_table('mallory.bait')")->{error};
	is($error->{C}, '42XXX', 'its error is that of the caller');
	is_true($node, 'app', q{SELECT pg_column_size(j.*) < 20000 AND error_message ~ 'ö' FROM maintenance_jobs j
		WHERE relid = 'mallory.bait'::regclass ORDER BY job_id DESC LIMIT 1},
		'no more is kept of it than is of use');
};

# Event triggers run in the middle of a command at top level; since 17 REINDEX has them too.
subtest 'event_trigger' => sub {
	my @attacks = ('SET ROLE postgres', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
		q{SELECT set_config('session_authorization', 'postgres', false)}, q{SELECT set_config('role', 'postgres', false)},
		'RESET ROLE', 'SET ROLE mallory', 'ALTER ROLE mallory SUPERUSER', 'SELECT count(*) FROM pg_catalog.pg_authid',
		'UPDATE public.maintenance_jobs SET role = 10', 'SET default_transaction_read_only = on',
		'CREATE TEMP TABLE maintenance_jobs (n integer)', q{SET search_path = mallory}, q{SET lock_timeout = '1ms'});
	my $attacks = join ', ', map { "\$attack\$$_\$attack\$" } @attacks;
	as('mallory', qq{
		DROP INDEX mallory.bait_expression_idx;
		TRUNCATE mallory.seen;
		CREATE INDEX bait_n ON mallory.bait (n);
		CREATE FUNCTION mallory.on_command() RETURNS event_trigger LANGUAGE plpgsql AS \$f\$
		DECLARE
			attack text;
			what text;
		BEGIN
			IF current_setting('application_name') <> 'train_perf maintenance' THEN RETURN; END IF;
			FOREACH attack IN ARRAY ARRAY[$attacks] LOOP
				BEGIN
					EXECUTE attack;
					what := 'done';
				EXCEPTION WHEN others THEN
					what := SQLSTATE;
				END;
				INSERT INTO mallory.seen VALUES (attack, what, current_user, session_user, current_setting('is_superuser'));
			END LOOP;
		END \$f\$});
	$node->safe_psql('app', 'CREATE EVENT TRIGGER spy ON ddl_command_start EXECUTE FUNCTION mallory.on_command()');
	like(as('mallory', q{SELECT vacuum_analyze_table('mallory.bait')}), qr/^job \d+: VACUUM/, 'VACUUM');
	my $id = as('mallory', q{SELECT request_maintenance('reindex', 'mallory.bait_n'::regclass, NULL, NULL, 'test')});
	reaches($node, 'app', $id, 'succeeded');
	$node->safe_psql('app', 'DROP EVENT TRIGGER spy');
	cmp_ok($node->safe_psql('app', 'SELECT count(*) FROM mallory.seen'), '>=', major_version($node) < 17 ? 0 : scalar @attacks,
		'the code has run where REINDEX has event triggers');
	is($node->safe_psql('app', q{SELECT string_agg(DISTINCT who || ' ' || session || ' ' || superuser, ',') FROM mallory.seen}),
		major_version($node) < 17 ? '' : 'mallory mallory off', 'as whoever asked');
	is($node->safe_psql('app', q{SELECT count(*) FROM mallory.seen WHERE what = 'done'
		AND attack ~ 'postgres|AUTHORIZATION|SUPERUSER|authid|UPDATE'}), 0, 'in vain');
	is($node->safe_psql('app', 'SELECT count(*) FROM pg_roles WHERE rolsuper'), 1, 'nobody became superuser');
};

subtest 'planted_functions' => sub {
	$node->safe_psql('app', 'GRANT CREATE ON SCHEMA public TO mallory');
	as('mallory', q{
		CREATE FUNCTION public.planted() RETURNS void LANGUAGE plpgsql AS $f$
		BEGIN INSERT INTO mallory.seen VALUES ('planted', NULL, current_user, session_user, NULL); END $f$;
		TRUNCATE mallory.seen;
	});
	for my $function ('format(text, text, text)', 'format(text, text)', 'quote_ident(name)', 'regexp_replace(text, text, text)',
		'maintenance_target(bigint)', 'maintenance_state(bigint, oid)', 'queue_job(text, regclass, oid, text, numeric, boolean)',
		'finish_maintenance_job(bigint, text)', 'claim_maintenance_job(integer)', 'age(text)', 'pg_has_role(oid, oid, name)')
	{
		as('mallory', qq{CREATE FUNCTION public.$function RETURNS text LANGUAGE sql AS \$\$ SELECT public.planted(); SELECT 'x'::text \$\$});
	}
	as('mallory', q{
		CREATE FUNCTION public.planted_compare(text, name) RETURNS boolean LANGUAGE sql AS 'SELECT public.planted(); SELECT true';
		CREATE FUNCTION public.planted_compare(oid, integer) RETURNS boolean LANGUAGE sql AS 'SELECT public.planted(); SELECT true';
		CREATE OPERATOR public.= (FUNCTION = public.planted_compare, LEFTARG = text, RIGHTARG = name);
		CREATE OPERATOR public.= (FUNCTION = public.planted_compare, LEFTARG = oid, RIGHTARG = integer);
		CREATE OPERATOR public.<> (FUNCTION = public.planted_compare, LEFTARG = text, RIGHTARG = name);
		CREATE TABLE mallory.maintenance_jobs (n integer);
		CREATE VIEW mallory.pg_class AS SELECT 1 AS oid, public.planted()::text AS relname;
	});
	$node->safe_psql('postgres', 'ALTER DATABASE app SET search_path = mallory, public, pg_catalog');
	my $id = job_of($node->safe_psql('app', q{SELECT public.vacuum_analyze_table('mallory.bait')}));
	my $client = client($node, 'app', 'mallory');
	like(sql($client, q{SELECT public.vacuum_analyze_table('mallory.bait')}), qr/^job \d+: VACUUM/, 'jobs are done');
	sql($client, 'SELECT count(*) FROM public.maintenance_status');
	sql($client, "SELECT public.cancel_maintenance_job(public.request_maintenance('vacuum_analyze', 'mallory.bait'::regclass, NULL, NULL, NULL))");
	$client->quit;
	$node->safe_psql('postgres', 'ALTER DATABASE app RESET search_path');
	is($node->safe_psql('app', 'SELECT count(*) FROM mallory.seen'), 0, 'and nothing that was planted has run');
};

SKIP: {
	skip 'not installed', 4 unless $has_cron;
	eventually($node, 'app', q{SELECT coalesce(bool_or(rows_removed = 4900), false) FROM maintenance_jobs
		WHERE relid = 'shop.by_cron'::regclass}, 'pg_cron has asked');
	# Between two runs: the next one is some time away.
	eventually($node, 'app', q{SELECT extract(second FROM clock_timestamp()) BETWEEN 5 AND 45
		AND bool_and(status IN ('succeeded', 'failed') AND end_time IS NOT NULL) FROM cron.job_run_details}, 'and has been answered');
	$node->safe_psql('app', 'SELECT cron.unschedule(jobid) FROM cron.job');
	all_have_ended($node, 'app');
	subtest 'by_cron' => sub { is_vacuumed('by_cron', 'shop_owner') };
	is_true($node, 'app', q{SELECT bool_and(return_message ~ 'row' AND status = 'succeeded') FROM cron.job_run_details}, 'each time well');
}
log_is_clean($node);
$node->stop;
done_testing();
