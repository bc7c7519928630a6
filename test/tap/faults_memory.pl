# Memory runs out wherever train_perf asks for some, at one place after the other: statements end as they
# always do, their sessions go on, and what could not be recorded is all that is missing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use TrainPerfTest;
use Workers ();

my $library = Workers::build_library('failing_allocations');
my $node = PostgreSQL::Test::Cluster->new('faults_memory');
$node->init;
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = '$library, train_perf'
max_prepared_transactions = 2
train_perf.log_min_duration = 0
train_perf.event_buffer_size = 64MB
lc_messages = 'C'
END
{
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
}
$node->safe_psql('postgres', $_) for (
	'CREATE EXTENSION train_perf',
	'CREATE TABLE numbers (n integer PRIMARY KEY, t text)',
	q(INSERT INTO numbers SELECT n, 'row ' || n FROM generate_series(1, 20) AS n),
	q(CREATE FUNCTION nested(n integer) RETURNS text LANGUAGE plpgsql AS $$
	  BEGIN
	    BEGIN PERFORM 1 / (n - n); EXCEPTION WHEN division_by_zero THEN NULL; END;
	    RETURN (SELECT t FROM numbers AS m WHERE m.n = $1);
	  END $$),
	'CREATE TABLE loaded (a integer) PARTITION BY RANGE (a)',
	'CREATE TABLE loaded_1 PARTITION OF loaded FOR VALUES FROM (1) TO (11)',
	'CREATE TABLE loaded_2 PARTITION OF loaded FOR VALUES FROM (11) TO (21)',
	'CREATE ROLE plain LOGIN');

# What a client sees of an answer.
sub seen
{
	my ($answer) = @_;
	return 'closed' if $answer->{closed} && !$answer->{error};
	my @rows = map { join ',', map { $_ // 'NULL' } @$_ } @{ $answer->{rows} };
	return join '|', @rows, @{ $answer->{tags} }, $answer->{error} ? $answer->{error}{C} : 'ok';
}

sub connect_client
{
	my (@settings) = @_;
	my $client = TrainPerfTest::Client->new($node, application_name => 'faults');
	$client->query($_ eq 'lasting' ? 'SET failing.lasting = on' : "SET train_perf.$_") for @settings;
	return $client;
}

# Runs the messages with the first allocation failing, then the second …, until none fails any more, in
# a new session; each by itself and with all that follow. Each time the client must see what it sees
# when none fails.
sub unharmed
{
	my ($name, $settings, @messages) = @_;
	unharmed_by($name, [@$settings], @messages);
	unharmed_by("$name, lasting", [ @$settings, 'lasting' ], @messages);
	return;
}

sub unharmed_by
{
	my ($name, $settings, @messages) = @_;
	my $client = connect_client(@$settings);
	my $run = sub {
		my @all = map { seen(ref $_ ? $client->send(@$_)->answer : $client->query($_)) } @messages;
		return join "\n", @all;
	};
	my $expected = $run->();
	my ($point, $failed, $broken) = (-1, 0, 0);
	$client->quit;
	$client = connect_client(@$settings);
	my $failed_before;
	do
	{
		$failed_before = $failed;
		$point += $point < 40 ? 1 : 7;
		my $set = seen($client->query("SET failing.after = $point"));
		my $got = $run->();
		my $reset = seen($client->query('SET failing.after = -1'));
		$failed = $client->query('SHOW failing.failed')->{rows}[0][0] // 1;
		if ("$set|$got|$reset" ne "SET|ok|$expected|SET|ok")
		{
			is("$set\n$got\n$reset", "SET|ok\n$expected\nSET|ok", "$name: allocation $point fails");
			$client = connect_client(@$settings);
			$failed = $failed_before - 1;
			++$broken;
		}
	} while ($failed != $failed_before && $broken < 5);
	$client->quit;
	pass("$name: $point allocations");
	return;
}

unharmed('select', [], 'SELECT n, t FROM numbers WHERE n < 3');
unharmed('failing', [], 'SELECT 1 / (n - n) FROM numbers');
unharmed('syntax', [], 'SELEC 1', 'SELECT FROM nowhere', 'SELECT 1; SELECT 1 FROM nowhere');
unharmed('parameters', ['log_parameters = on'],
	[ [ parse => '', 'SELECT $1::text, $2::numeric, $3::jsonb, $4::timestamptz IS NULL' ],
		[ bind => '', '', 'x' x 3000, '12.50', '{"a": 1}', '2026-01-01' ], [ execute => '', 0 ], ['sync'] ]);
unharmed('failing_with_parameters', ['log_parameters = on'],
	[ [ parse => '', 'SELECT $1::int / $2::int, $3::jsonb' ],
		[ bind => '', '', 1, 0, '{"a": 1}' ], [ execute => '', 0 ], ['sync'] ]);
unharmed('bad_parameter', [],
	[ [ parse => '', 'SELECT $1::int' ], [ bind => '', '', 'one' ], [ execute => '', 0 ], ['sync'] ]);
unharmed('plan', ['log_plan = on'], q(SELECT t FROM numbers WHERE n = 3 AND t LIKE 'row%' ORDER BY t));
unharmed('literal_text', [ 'log_plan = on', 'log_literal_text = on' ],
	q(SELECT t FROM numbers WHERE n = 4), 'SELECT 1 / 0');
unharmed('tags', [], q(SELECT 1 /*route='/api',traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/));
unharmed('claims', [], 'BEGIN',
	q(SET LOCAL "request.jwt.claims" = '{"sub": "2f1f6a7e-0f4c-4a58-9c77-4fb4b0f1e4a1"}'),
	q(SET LOCAL "request.path" = '/rpc/x'), 'SELECT 1', 'COMMIT');
unharmed('long_error', [], q(SELECT repeat('long', 30000)::int));
unharmed('nested', [ q(track = 'all'), 'log_plan = on' ], 'SELECT nested(3)');
unharmed('prepared', [], 'PREPARE p(int) AS SELECT t FROM numbers WHERE n = $1', 'EXECUTE p(3)', 'EXECUTE p(1 / 0)',
	'DEALLOCATE p');
unharmed('cursors', [], 'BEGIN', (map { "DECLARE c$_ CURSOR FOR SELECT n FROM numbers" } 1 .. 20),
	(map { "FETCH c$_" } 1 .. 20), 'SAVEPOINT s', 'FETCH c1', 'ROLLBACK TO s', 'FETCH c2', 'CLOSE c3', 'ROLLBACK');
unharmed('utility', [], 'BEGIN', 'CREATE TABLE later AS SELECT 1 AS a', 'COPY (SELECT n FROM numbers) TO STDOUT',
	'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT 1', 'DROP TABLE nowhere', 'ROLLBACK',
	'VACUUM numbers');
unharmed('transactions', [], 'BEGIN', 'INSERT INTO numbers VALUES (100)', q(PREPARE TRANSACTION 'two'),
	q(ROLLBACK PREPARED 'two'), 'BEGIN', 'SAVEPOINT a', 'SELECT 1 / 0', 'ROLLBACK TO a', 'COMMIT');
unharmed('loads', ['analyze_after_rows = 10'], 'BEGIN', 'INSERT INTO loaded SELECT generate_series(1, 10)',
	'INSERT INTO loaded SELECT generate_series(11, 20)', 'COMMIT',
	'SELECT a FROM loaded_1 WHERE a = 1 LIMIT 1 FOR UPDATE');
# The error ends the timeout: no other statement is limited by it.
unharmed('timeout', [], 'BEGIN', 'SET LOCAL statement_timeout = 30', 'SELECT pg_sleep(10)', 'ROLLBACK');


# Readers, and commands about databases that collectors must know of before, may say that there is no
# memory; nothing worse.
sub may_run_out
{
	my ($name, @messages) = @_;
	my $client = connect_client();
	my @expected = map { $client->query($_)->{error}{C} // '' } @messages;
	my ($point, $failed, $failed_before, @bad) = (-1, 0);
	do
	{
		$failed_before = $failed;
		$point += $point < 20 ? 1 : 61;
		$client->query("SET failing.after = $point");
		my @codes = map { my $a = $client->query($_); $a->{closed} ? 'closed' : $a->{error}{C} // '' } @messages;
		$client->query('SET failing.after = -1');
		$client->query('ROLLBACK');
		$failed = $client->query('SHOW failing.failed')->{rows}[0][0] // 0;
		push @bad, map { "$point: $messages[$_]: $codes[$_]" }
		  grep { $codes[$_] ne $expected[$_] && $codes[$_] !~ /^(53200|25P02)?$/ } 0 .. $#codes;
	} while ($failed != $failed_before && @bad < 5);
	is(join("\n", @bad), '', "$name: runs out of memory cleanly in $point places");
	$client->quit;
	return;
}

may_run_out('readers', 'SELECT count(*) FROM query_stats', 'SELECT count(*) FROM capture_status()',
	q(SELECT count(*) FROM get_query_stats(now() - interval '1 hour', now())),
	q(SELECT normalize_query('SELECT 1')), 'SELECT latency_quantile_ms(latency_histogram(5), 0.5)');
may_run_out('databases', 'CREATE DATABASE copied TEMPLATE postgres STRATEGY bananas',
	'ALTER DATABASE postgres RENAME TO template1', 'ALTER DATABASE postgres RESET work_mem');

# Whatever it is doing: it starts anew for the changed setting, and one of its allocations fails.
subtest 'collector_resumes' => sub {
	my $client = TrainPerfTest::Client->new($node, 'failing.after' => -1);
	my $value = sub { return $client->query($_[0])->{rows}[0][0] // '' };
	$client->query('ALTER DATABASE postgres SET failing.everywhere = on');
	for my $after (10, 300, 1500, 3000, 4500, 9000)
	{
		my $logged = "SELECT count(*) FROM query_performance_logs WHERE query_text ~ 'after$after'";
		my $failed = 'SELECT last_error_at FROM capture_status()';
		my $failed_before = $value->($failed);
		$client->query("ALTER DATABASE postgres SET failing.after = $after");
		$client->query("SELECT 1 / 0 AS after$after");
		wait_until("$after: an error is shown, or the event logged",
			sub { return $value->($failed) ne $failed_before || $value->($logged) eq '1' });
		note("$after: " . $value->(q(SELECT last_error FROM capture_status())));
		$client->query('ALTER DATABASE postgres RESET failing.after');
		wait_until("$after: the event is logged", sub { return $value->($logged) eq '1' });
		is($value->('SELECT events_enqueued = events_written + events_queued + events_dropped FROM capture_status()'),
			't', "$after: counts add up");
	}
	$client->quit;
};

Workers::is_never($node, qr/PANIC|terminated by signal/, 'no process crashed');
$node->stop;
done_testing();
