# Each statement of a client is logged once, whatever becomes of it: with its own text, time, error
# and origin.
#
# A scenario is one connection, found again in the log by its application_name. Everything is logged
# (log_min_duration = 0), so what a scenario expects is all that may be there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use Time::HiRes ();
use TrainPerfTest;

my $node = start_node('capture_statements', <<'END');
max_prepared_transactions = 5
client_connection_check_interval = '100ms'
wal_level = logical
autovacuum = off
END
my $version = major_version($node);
my $track_all = '-c train_perf.track=all';

$node->safe_psql('postgres', q{
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	GRANT bob TO alice;
	GRANT CREATE ON SCHEMA public TO alice, bob;
	CREATE TABLE item (id int PRIMARY KEY, name text);
	INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 1000) i;
	GRANT SELECT ON item TO PUBLIC;
	CREATE TABLE secret_item (id int);
	CREATE TABLE big AS SELECT i, i % 100 AS k FROM generate_series(1, 100000) i;
	ANALYZE big;
	CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO later VALUES (1);

	CREATE FUNCTION snooze(seconds float) RETURNS int LANGUAGE plpgsql AS
	  $$ BEGIN PERFORM pg_sleep(seconds); RETURN 1; END $$;
	CREATE FUNCTION complain(what text) RETURNS int LANGUAGE plpgsql AS
	  $$ BEGIN RAISE EXCEPTION 'no more %', what; END $$;
	CREATE FUNCTION forgive() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO item VALUES (1, 'again');
	  RETURN 1;
	EXCEPTION WHEN unique_violation THEN
	  RETURN 0;
	END $$;
	CREATE FUNCTION forgive_division() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
	  PERFORM count(*) / 0 FROM item;
	  RETURN 1;
	EXCEPTION WHEN division_by_zero THEN
	  RETURN 0;
	END $$;
	CREATE FUNCTION add_item(new_id int) RETURNS int LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO item VALUES (new_id, 'new'); RETURN new_id; END $$;
	CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS
	  $$ SELECT count(*) FROM item; SELECT count(*) + 1 FROM item $$;
	CREATE FUNCTION counted_atomic() RETURNS bigint LANGUAGE sql VOLATILE
	  BEGIN ATOMIC SELECT count(*) FROM item; END;
	CREATE FUNCTION of_bob() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
	  $$ BEGIN RETURN (SELECT count(*) FROM item WHERE id < 0); END $$;
	ALTER FUNCTION of_bob() OWNER TO bob;
	CREATE FUNCTION opened(name refcursor) RETURNS refcursor LANGUAGE plpgsql AS
	  $$ BEGIN OPEN name FOR SELECT id, pg_sleep(0.2) FROM item WHERE id < 3; RETURN name; END $$;

	CREATE TABLE watched (id int);
	CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
	  $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
	CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();

	CREATE TABLE checked_late (id int);
	CREATE FUNCTION check_late() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  IF NEW.id = 1 THEN RAISE EXCEPTION 'too late'; END IF;
	  IF NEW.id = 2 THEN PERFORM 1 / 0; END IF;
	  IF NEW.id = 3 THEN PERFORM count(*) / 0 FROM item; END IF;
	  IF NEW.id = 4 THEN PERFORM * FROM item WHERE id = 4; END IF;
	  IF NEW.id = 5 THEN PERFORM * FROM no_such_table; END IF;
	  IF NEW.id = 6 THEN PERFORM pg_sleep(0.3); END IF;
	  IF NEW.id = 7 THEN PERFORM forgive(), forgive_division() FROM item WHERE id = 1; END IF;
	  RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER check_late AFTER INSERT ON checked_late DEFERRABLE INITIALLY DEFERRED
	  FOR EACH ROW EXECUTE FUNCTION check_late();

	CREATE PROCEDURE pay(times int) LANGUAGE plpgsql AS $$
	BEGIN
	  FOR i IN 1 .. times LOOP
	    INSERT INTO watched VALUES (i);
	    IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
	  END LOOP;
	END $$;
	CREATE PROCEDURE fail_after_commit() LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO secret_item VALUES (1); COMMIT; PERFORM 1 / (SELECT 0); END $$;

	CREATE TABLE parted (day int, id int) PARTITION BY LIST (day);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
	CREATE FUNCTION today() RETURNS int LANGUAGE plpgsql STABLE AS
	  $$ BEGIN RETURN (SELECT max(id) % 2 + 1 FROM item); END $$;
	CREATE FUNCTION known(id int) RETURNS boolean LANGUAGE plpgsql AS
	  $$ BEGIN RETURN EXISTS (SELECT FROM item i WHERE i.id = known.id); END $$;
	CREATE DOMAIN item_id AS int CHECK (known(VALUE));
});

my @scenarios;
my $number = 0;

# Connects, talks and leaves; what is in the log is looked at in the end, all at once. `expected` is
# SQLSTATE and text of each row, in any order; where the text has spaces is tested elsewhere.
sub scenario
{
	my ($name, $talk, $expected, %more) = @_;
	my $application = sprintf 'scenario %d', ++$number;
	my $settings = '-c train_perf.log_min_duration=0 ' . ($more{settings} // '');
	my $client = TrainPerfTest::Client->new(
		$node,
		application_name => $application,
		options => $settings,
		%{ $more{connect} // {} });
	die "$name: cannot connect: $client->{startup}{error}{M}" if $client->{startup}{error};
	my $begun = Time::HiRes::time();
	$talk->($client);
	$client->quit;
	push @scenarios,
	  {
		name => $name,
		application => $application,
		expected => $expected,
		elapsed_ms => (Time::HiRes::time() - $begun) * 1000,
		%more,
	  };
}

sub simple { my @sql = @_; return sub { $_[0]->queries(@sql) } }

sub check_scenarios
{
	drain($node);
	my %rows;
	push @{ $rows{ $_->{application_name} } }, $_
	  for log_rows($node, 'postgres', q(application_name LIKE 'scenario %'));
	for my $scenario (@scenarios)
	{
		my @rows = @{ $rows{ $scenario->{application} } // [] };
		my @got = map { ($_->{sqlstate} // '00000') . " $_->{query_text}" } @rows;
		subtest $scenario->{name} => sub {
			is_deeply(
				[ sort map { s/ //gr } @got ],
				[ sort map { s/ //gr } @{ $scenario->{expected} } ],
				'each statement once'
			) or diag join "\n", 'logged:', @got;
			is(scalar(grep { $_->{duration_us} > $scenario->{elapsed_ms} * 1000 } @rows),
				0, 'no statement took longer than the whole connection');
			is(scalar(grep { defined $_->{sqlstate} != defined $_->{error_message} } @rows),
				0, 'a message where there is an error');
			$scenario->{check}->(@rows) if $scenario->{check};
		};
	}
	@scenarios = ();
}

# The row of a scenario whose text matches.
sub row { my ($text, @rows) = @_; my ($row) = grep { $_->{query_text} =~ $text } @rows; return $row // {} }

sub takes_at_least
{
	my ($text, $ms) = @_;
	return sub { cmp_ok(row($text, @_)->{duration_us} // 0, '>=', $ms * 1000, "at least $ms ms") };
}

# Somebody who holds a lock until told otherwise.
sub holding
{
	my (@sql) = @_;
	my $holder = TrainPerfTest::Client->new($node, application_name => 'holder');
	$holder->queries('BEGIN', @sql);
	return $holder;
}

sub wait_until_waiting
{
	my ($client, $event) = @_;
	wait_until("backend waits for $event", sub {
		$node->safe_psql('postgres',
			'SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $client->pid) eq $event;
	});
}

# --- The default settings: what is slow, and the alert that it raises -----------------------------

my %slow = map {
	my $client = TrainPerfTest::Client->new($node, application_name => "slow $_", user => 'alice');
	my $column = 's' . $_ * 10;
	$client->send(query => "SELECT pg_sleep($_) AS $column /*route='/slow/$_'*/");
	($_ => $client);
} qw(0.2 0.7 1.2 2.2);

# --- Protocols and strings of statements ----------------------------------------------------------

scenario 'simple_statement_is_logged', simple("SELECT name, 'x' FROM item WHERE id = 7"),
  ['00000 select name, $1 from item where id = $2'],
  check => sub { is($_[0]{rows}, 1, 'rows'); is($_[0]{database_user}, getpwuid($<), 'user') };

scenario 'several_statements_in_a_string_have_their_own_text',
  simple("SELECT 1 /*route='/a'*/; SELECT 2::text /*route='/b'*/; SELECT 1/0 /*route='/c'*/; SELECT 4, 4"),
  [ '00000 select $1', '00000 select $1::text', '22012 select $1/$2' ],
  check => sub { is_deeply([ map { $_->{endpoint} } @_ ], [qw(/a /b /c)], 'each its own tags') };

scenario 'statement_that_does_not_resolve_has_its_own_text_in_a_string',
  simple('SELECT 1; SELECT no_such_column, 2 FROM item; SELECT 3'),
  [ '00000 select $1', '42703 select no_such_column, $1 from item' ];

scenario 'tags_may_stand_before_the_statement', simple("/*route='/first'*/ SELECT 1"),
  ['00000 select $1'], check => sub { is($_[0]{endpoint}, '/first', 'endpoint') };

scenario 'nothing_is_sent', simple('', ' ', ';', '-- nothing', '/* nothing */', ';;'), [];

scenario 'extended_protocol', sub { $_[0]->extended('SELECT $1::int + 1', 41) },
  ['00000 select $1::int + $2'];

scenario 'named_prepared_statement_is_logged_per_execution',
  sub {
	my ($client) = @_;
	$client->send([ parse => 's', 'SELECT name FROM item WHERE id = $1' ], ['sync'])->answer;
	$client->send([ bind => '', 's', $_ ], [ execute => '' ], ['sync'])->answer for 1 .. 7;
	$client->send([ parse => 'never', 'SELECT 12345' ], ['sync'])->answer;
  },
  [ ('00000 select name from item where id = $1') x 7 ];

scenario 'pipelined_executions_are_logged_each',
  sub {
	my ($client) = @_;
	my @one = ([ parse => '', 'SELECT $1::int' ], [ bind => '', '', 1 ], [ execute => '' ]);
	$client->send(@one, @one, @one, ['sync'])->answer;
  },
  [ ('00000 select $1::int') x 3 ];

scenario 'value_that_cannot_be_bound', sub { $_[0]->extended('SELECT $1::int', 'abc') },
  ['22P02 select $1::int'],
  check => sub { unlike($_[0]{error_message}, qr/abc/, 'the value is masked') };

scenario 'extended_syntax_error', sub { $_[0]->extended("SELEC 'hidden'") }, ['42601 selec $1'];

scenario 'extended_execution_error', sub { $_[0]->extended('SELECT 1 / $1::int', 0) },
  ['22012 select $2 / $1::int'];

scenario 'portal_read_in_pieces_is_one_execution',
  sub {
	my ($client) = @_;
	$client->send(
		[ parse => '', 'SELECT * FROM generate_series(1, 10)' ],
		[ bind => 'p', '' ],
		[ execute => 'p', 3 ],
		[ execute => 'p', 3 ],
		[ execute => 'p', 0 ],
		['sync'])->answer;
  },
  ['00000 select * from generate_series($1, $2)'],
  check => sub { is($_[0]{rows}, 10, 'rows of all pieces') };

scenario 'portal_left_in_the_middle',
  sub {
	my ($client) = @_;
	$client->send(
		[ parse => '', 'SELECT * FROM generate_series(1, 10)' ],
		[ bind => 'p', '' ],
		[ execute => 'p', 3 ],
		['sync'])->answer;
  },
  ['00000 select * from generate_series($1, $2)'],
  check => sub { is($_[0]{rows}, 3, 'rows that were read') };

scenario 'portal_reads_to_the_end_in_pieces_and_once_more',
  sub {
	my ($client) = @_;
	$client->send(
		[ parse => '', 'SELECT * FROM generate_series(1, 10)' ],
		[ bind => 'p', '' ],
		[ execute => 'p', 10 ],
		[ execute => 'p', 10 ],
		['sync'])->answer;
  },
  ['00000 select * from generate_series($1, $2)'];

# A pause of the client; `busy_us` is all other time that the scenario took, which a slow machine may lengthen.
my $think_ms = 700;

sub thinking
{
	my ($busy_us, $before, $after) = @_;
	return sub {
		my ($client) = @_;
		my $begun = Time::HiRes::time();
		$before->($client);
		my $pausing = Time::HiRes::time();
		Time::HiRes::usleep($think_ms * 1000);
		my $paused = Time::HiRes::time() - $pausing;
		$after->($client);
		$$busy_us = (Time::HiRes::time() - $begun - $paused) * 1_000_000;
	};
}

my ($pieces_busy_us, $cursor_busy_us);
scenario 'time_of_the_client_between_pieces_does_not_count',
  thinking(\$pieces_busy_us,
	sub {
		my ($client) = @_;
		$client->query('BEGIN');
		$client->send(
			[ parse => '', 'SELECT pg_sleep(0.1), i FROM generate_series(1, 2) i' ],
			[ bind => 'p', '' ],
			[ execute => 'p', 1 ],
			['flush'])->answer('s');
	},
	sub {
		my ($client) = @_;
		$client->send([ execute => 'p', 0 ], ['sync'])->answer;
		$client->query('COMMIT');
	}),
  [ '00000 begin', '00000 select pg_sleep($1), i from generate_series($2, $3) i', '00000 commit' ],
  check => sub {
	my $row = row(qr/pg_sleep/, @_);
	cmp_ok($row->{duration_us}, '>=', 200_000, 'both pieces');
	cmp_ok($row->{duration_us}, '<=', $pieces_busy_us, 'without the pause');
  };

# --- SQL PREPARE ----------------------------------------------------------------------------------

scenario 'sql_prepared_statement_is_logged_in_place_of_execute',
  simple('PREPARE q(float) AS SELECT pg_sleep($1), 5', 'EXECUTE q(0.1)', 'EXECUTE q(0)',
  	'DEALLOCATE q'),
  [
	'00000 prepare q(float) as select pg_sleep($1), $2',
	'00000 prepare q(float) as select pg_sleep($1), $2',
	'00000 prepare q(float) as select pg_sleep($1), $2',
	'00000 deallocate q'
  ];

scenario 'execute_that_fails_before_its_statement',
  simple('EXECUTE missing(1)', 'PREPARE q(int) AS SELECT $1', 'EXECUTE q(1/0)', 'EXECUTE q'),
  [
	'26000 execute missing($1)',
	'00000 prepare q(int) as select $1',
	'22012 execute q($1/$2)', '42601 execute q'
  ];

scenario 'execute_that_fails_in_its_statement',
  simple('PREPARE q(int) AS SELECT 1 / $1', 'EXECUTE q(0)'),
  [ '00000 prepare q(int) as select $2 / $1', '22012 prepare q(int) as select $2 / $1' ];

scenario 'create_table_as_execute',
  simple('PREPARE q(int) AS SELECT $1 AS id', 'CREATE TEMP TABLE made AS EXECUTE q(5)'),
  [ '00000 prepare q(int) as select $1 as id', '00000 create temp table made as execute q($1)' ];

# --- Transactions ---------------------------------------------------------------------------------

scenario 'savepoint_and_rollback_to_it',
  simple(
	'BEGIN', 'SAVEPOINT a',
	'INSERT INTO item VALUES (1)', 'SELECT 2',
	'ROLLBACK TO a', 'SELECT 3::text',
	'RELEASE a', 'COMMIT'),
  [
	'00000 begin', '00000 savepoint a',
	'23505 insert into item values ($1)', '25P02 select $1',
	'00000 rollback to a', '00000 select $1::text',
	'00000 release a', '00000 commit'
  ];

scenario 'rolled_back_statement_stays_logged',
  simple('BEGIN', 'UPDATE item SET name = name WHERE id = 3', 'ROLLBACK'),
  [ '00000 begin', '00000 update item set name = name where id = $1', '00000 rollback' ];

scenario 'aborted_transaction_refuses_by_the_extended_protocol_too',
  sub {
	my ($client) = @_;
	$client->queries('BEGIN', 'SELECT 1/0');
	$client->extended('SELECT $1::int', 5);
	$client->send([ parse => 'x', 'SELECT 77, $1::int' ], ['sync'])->answer;
	$client->query('COMMIT');
  },
  [ '00000 begin', '22012 select $1/$2', '25P02 select $1::int', '25P02 select $2, $1::int',
  	'00000 commit' ];

scenario 'prepared_transactions',
  simple(
	'BEGIN', 'INSERT INTO secret_item VALUES (3)', q(PREPARE TRANSACTION 'one'),
	q(COMMIT PREPARED 'one'), 'BEGIN', 'INSERT INTO secret_item VALUES (4)',
		q(PREPARE TRANSACTION 'two'),
	q(ROLLBACK PREPARED 'two'), q(COMMIT PREPARED 'three')),
  [
	('00000 begin') x 2, ('00000 insert into secret_item values ($1)') x 2,
	('00000 prepare transaction $1') x 2, '00000 commit prepared $1',
	'00000 rollback prepared $1', '42704 commit prepared $1'
  ];

scenario 'deferred_constraint_fails_at_commit',
  simple('BEGIN', 'INSERT INTO later VALUES (1)', 'COMMIT'),
  [ '00000 begin', '00000 insert into later values ($1)', '00000 commit', '23505 commit' ];

scenario 'deferred_constraint_fails_without_commit',
  simple('INSERT INTO later VALUES (1)'),
  [ '00000 insert into later values ($1)', '23505 insert into later values ($1)' ];

scenario 'deferred_constraint_fails_at_the_end_of_a_string',
  simple('SELECT 5; INSERT INTO later VALUES (1); SELECT 6::text'),
  [
	'00000 select $1', '00000 insert into later values ($1)',
	'00000 select $1::text', '23505 select $1::text'
  ];

scenario 'deferred_constraint_fails_at_sync',
  sub { $_[0]->extended('INSERT INTO later VALUES ($1)', 1) },
  [ '00000 insert into later values ($1)', '23505 insert into later values ($1)' ];

scenario 'parameters_of_execute_are_nested',
  simple('PREPARE q(bigint) AS SELECT $1', 'EXECUTE q(counted())', 'EXECUTE q(forgive_division())'),
  [ ('00000 prepare q(bigint) as select $1') x 3 ];

scenario 'deferred_constraint_fails_in_execute',
  simple('PREPARE q AS INSERT INTO later VALUES (1)', 'EXECUTE q'),
  [
	('00000 prepare q as insert into later values ($1)') x 2,
	'23505 insert into later values ($1)'    # the text under which its query id is known
  ];

scenario 'set_constraints_fails',
  simple('BEGIN', 'INSERT INTO later VALUES (1)', 'SET CONSTRAINTS ALL IMMEDIATE', 'ROLLBACK'),
  [
	'00000 begin', '00000 insert into later values ($1)',
	'23505 set constraints all immediate', '00000 rollback'
  ];

my %late = (1 => 'P0001', 2 => '22012', 3 => '22012', 5 => '42P01');
for my $id (sort keys %late)
{
	scenario "deferred_trigger_fails_at_commit_$id",
	  simple('BEGIN', "INSERT INTO checked_late VALUES ($id)", 'COMMIT'),
	  [ '00000 begin', '00000 insert into checked_late values ($1)', '00000 commit',
	  	"$late{$id} commit" ],
	  check => sub {
		like(row(qr/commit/, grep { $_->{sqlstate} } @_)->{stack_trace},
			qr/function check_late\(\) line \d+ at /, 'the trigger is in the context');
	  };
	scenario "deferred_trigger_fails_without_commit_$id",
	  simple("INSERT INTO checked_late VALUES ($id)"),
	  [ '00000 insert into checked_late values ($1)',
	  	"$late{$id} insert into checked_late values (\$1)" ];
	scenario "deferred_trigger_fails_at_sync_$id",
	  sub { $_[0]->extended('INSERT INTO checked_late VALUES ($1)', $id) },
	  [ '00000 insert into checked_late values ($1)',
	  	"$late{$id} insert into checked_late values (\$1)" ];
}

scenario 'statements_of_deferred_triggers_are_nested',
  simple('BEGIN', 'INSERT INTO checked_late VALUES (4)', 'COMMIT',
  	'INSERT INTO checked_late VALUES (4)'),
  [ '00000 begin', ('00000 insert into checked_late values ($1)') x 2, '00000 commit' ];

scenario 'statements_of_deferred_triggers_are_recorded_under_all',
  simple('INSERT INTO checked_late VALUES (4)'),
  [
	'00000 insert into checked_late values ($1)',
	'00000 select * from item where id = $1'
  ],
  settings => $track_all;

my @forgiving = (
	'00000 insert into checked_late values ($1)', '00000 select $1::text',
	'00000 begin', '00000 select $1::text', '00000 commit');

scenario 'deferred_trigger_catches_errors_under_top',
  simple('INSERT INTO checked_late VALUES (7)', 'SELECT 8::text', 'BEGIN', 'SELECT 9::text', 'COMMIT'),
  \@forgiving;

scenario 'deferred_trigger_catches_errors_under_all',
  simple('INSERT INTO checked_late VALUES (7)', 'SELECT 8::text', 'BEGIN', 'SELECT 9::text', 'COMMIT'),
  [
	@forgiving, '00000 select forgive(), forgive_division() from item where id = $1',
	'23505 insert into item values ($1, $2)', '22012 select count(*) / $1 from item'
  ],
  settings => $track_all;

scenario 'deferred_trigger_fails_under_all',
  simple('BEGIN', 'INSERT INTO checked_late VALUES (3)', 'COMMIT', 'SELECT 8::text'),
  [
	'00000 begin', '00000 insert into checked_late values ($1)', '00000 commit',
	'22012 select count(*) / $1 from item', '22012 commit', '00000 select $1::text'
  ],
  settings => $track_all;

# --- Functions, procedures, triggers --------------------------------------------------------------

scenario 'function_under_top', simple('SELECT snooze(0.2)'), ['00000 select snooze($1)'],
  check => takes_at_least(qr/snooze/, 200);

scenario 'function_under_all', simple('SELECT snooze(0.2)'),
  [ '00000 select snooze($1)', '00000 select pg_sleep(seconds)' ],
  settings => $track_all,
  check => sub {
	takes_at_least(qr/snooze/, 200)->(@_);
	takes_at_least(qr/pg_sleep/, 200)->(@_);
  };

scenario 'function_raises', simple(q(SELECT complain('bread'))), ['P0001 select complain($1)'],
  check => sub {
	like($_[0]{error_message}, qr/^no more /, 'message');
	unlike($_[0]{error_message}, qr/bread/, 'without the literal');
	like($_[0]{stack_trace}, qr/^PL\/pgSQL function complain\(text\) line 1 at RAISE$/, 'context');
  };

scenario 'caught_error_under_top', simple('SELECT forgive()', 'SELECT forgive_division()'),
  [ '00000 select forgive()', '00000 select forgive_division()' ];

scenario 'caught_error_under_all', simple('SELECT forgive()', 'SELECT forgive_division()'),
  [
	'00000 select forgive()', '23505 insert into item values ($1, $2)',
	'00000 select forgive_division()', '22012 select count(*) / $1 from item'
  ],
  settings => $track_all;

scenario 'error_after_a_caught_one', simple('SELECT forgive(), 1 / (SELECT 0)'),
  ['22012 select forgive(), $1 / (select $2)'];

scenario 'duplicate_key_in_a_function', simple('SELECT add_item(1)'), ['23505 select add_item($1)'],
  check => sub {
	like($_[0]{error_message}, qr/^duplicate key value violates unique constraint "item_pkey"/,
		'message');
	like($_[0]{stack_trace}, qr/SQL statement "insert into item values \(new_id, .*\)"/i,
		'statement');
	like($_[0]{stack_trace}, qr/function add_item\(integer\) line 1 at SQL statement/, 'function');
  };

scenario 'duplicate_key_in_a_function_under_all', simple('SELECT add_item(1)'),
  [ '23505 select add_item($1)', '23505 insert into item values (new_id, $1)' ],
  settings => $track_all;

scenario 'sql_function_under_all', simple('SELECT counted()'),
  [
	'00000 select counted()', '00000 select count(*) from item',
	'00000 select count(*) + $1 from item'
  ],
  settings => $track_all;

# What is inside has no text.
scenario 'standard_sql_function_under_all', simple('SELECT counted_atomic()'),
  ['00000 select counted_atomic()'], settings => $track_all;

scenario 'do_block', simple('DO $$ BEGIN PERFORM pg_sleep(0.1); END $$'),
  ['00000 do $$ begin perform pg_sleep($1); end $$'], check => takes_at_least(qr/^do/, 100);

scenario 'do_block_under_all', simple('DO $$ BEGIN PERFORM count(*) FROM item; END $$'),
  [ '00000 do $$ begin perform count(*) from item; end $$', '00000 select count(*) from item' ],
  settings => $track_all;

scenario 'do_block_raises', simple(q(DO $$ BEGIN RAISE EXCEPTION 'gone'; END $$)),
  ['P0001 do $$ begin raise exception $1; end $$'],
  check => sub { like($_[0]{stack_trace}, qr/inline_code_block line 1 at RAISE/, 'context') };

scenario 'trigger_under_top', simple('INSERT INTO watched VALUES (1)'),
  ['00000 insert into watched values ($1)'], check => takes_at_least(qr/watched/, 200);

scenario 'trigger_under_all', simple('INSERT INTO watched VALUES (1)'),
  [ '00000 insert into watched values ($1)', '00000 select pg_sleep($1)' ], settings => $track_all;

scenario 'call_with_commit_inside', simple('CALL pay(3)'), ['00000 call pay($1)'],
  check => takes_at_least(qr/call/, 600);

scenario 'call_with_commit_inside_under_all', simple('CALL pay(2)'),
  [
	'00000 call pay($1)', ('00000 insert into watched values (i)') x 2,
	('00000 select pg_sleep($1)') x 2
  ],
  settings => $track_all;

scenario 'call_by_the_extended_protocol', sub { $_[0]->extended('CALL pay($1)', 1) },
  ['00000 call pay($1)'];

scenario 'call_fails_after_a_commit', simple('CALL fail_after_commit()'),
  ['22012 call fail_after_commit()'];

scenario 'definer_function',
  simple('SELECT of_bob()'),
  [ '00000 select of_bob()', '00000 (select count(*) from item where id < $1)' ],
  settings => $track_all,
  check => sub {
	is(row(qr/of_bob/, @_)->{database_user}, getpwuid($<), 'the caller ran the call');
	is(row(qr/count/, @_)->{database_user}, 'bob', 'the definer what is inside');
  };

scenario 'statement_after_a_definer_function_that_failed',
  simple('SELECT of_bob(), 1/(SELECT 0)', 'SELECT 7'),
  [ '22012 select of_bob(), $1/(select $2)', '00000 select $1' ],
  check => sub { is(row(qr/^select \$1$/, @_)->{database_user}, getpwuid($<), 'user') };

scenario 'function_that_chooses_partitions_is_nested',
  simple('SELECT * FROM parted WHERE day = today()'),
  ['00000 select * from parted where day = today()'];

scenario 'function_that_checks_a_parameter_is_nested',
  sub { $_[0]->extended('SELECT $1::int', 1); $_[0]->extended('SELECT $1::item_id', 1) },
  [ '00000 select $1::int', '00000 select $1::item_id' ];

scenario 'function_that_refuses_a_parameter',
  sub { $_[0]->send([ parse => '', 'SELECT $1', $node->safe_psql('postgres',
  	q(SELECT 'item_id'::regtype::oid)) ],
		[ bind => '', '', -5 ], [ execute => '' ], ['sync'])->answer },
  ['23514 select $1'];

scenario 'set_role',
  simple('SET ROLE bob', 'SELECT 1', 'RESET ROLE', 'SELECT 1::text'),
  [ '00000 set role bob', '00000 select $1', '00000 reset role', '00000 select $1::text' ],
  check => sub {
	is(row(qr/^select \$1$/, @_)->{database_user}, 'bob', 'as the role');
	is(row(qr/::text/, @_)->{database_user}, getpwuid($<), 'as before');
  };

# --- Utility statements ---------------------------------------------------------------------------

scenario 'explain', simple('EXPLAIN SELECT * FROM item', 'EXPLAIN ANALYZE SELECT pg_sleep(0.1)'),
  [ '00000 explain select * from item', '00000 explain analyze select pg_sleep($1)' ],
  check => takes_at_least(qr/analyze/, 100);

scenario 'explain_fails', simple('EXPLAIN ANALYZE SELECT 1/id FROM (SELECT 0 AS id OFFSET 0) z'),
  ['22012 explain analyze select $1/id from (select $2 as id offset $3) z'];

scenario 'create_table_as',
  simple('CREATE TEMP TABLE t AS SELECT i FROM generate_series(1, 5) i',
  	'SELECT * INTO TEMP u FROM t'),
  [
	'00000 create temp table t as select i from generate_series($1, $2) i',
	'00000 select * into temp u from t'
  ],
  check => sub { is_deeply([ map { $_->{rows} } @_ ], [ 5, 5 ], 'rows') };

scenario 'create_table_as_fails',
	simple('CREATE TEMP TABLE t AS SELECT 1 / (i - 3) FROM generate_series(1, 5) i'),
  ['22012 create temp table t as select $1 / (i - $2) from generate_series($3, $4) i'];

scenario 'materialized_view',
  simple(
	'CREATE MATERIALIZED VIEW mv AS SELECT * FROM item WHERE id < 4',
	'REFRESH MATERIALIZED VIEW mv', 'DROP MATERIALIZED VIEW mv'),
  [
	'00000 create materialized view mv as select * from item where id < $1',
	'00000 refresh materialized view mv', '00000 drop materialized view mv'
  ];

scenario 'copy_in_and_out',
  sub {
	my ($client) = @_;
	$client->query('CREATE TEMP TABLE c (id int)');
	$client->send(query => 'COPY c FROM STDIN')->answer('G');
	$client->send([ copy_data => "1\n2\n3\n" ], ['copy_done'])->answer;
	$client->query('COPY c TO STDOUT');
	$client->query('COPY (SELECT id FROM c WHERE id > 1) TO STDOUT');
	$client->send(query => 'COPY c FROM STDIN')->answer('G');
	$client->send([ copy_data => "4\nhidden\n" ], ['copy_done'])->answer;
	$client->send(query => 'COPY c FROM STDIN')->answer('G');
	$client->send(copy_fail => 'changed my mind')->answer;
  },
  [
	'00000 create temp table c (id int)', '00000 copy c from stdin', '00000 copy c to stdout',
	'00000 copy (select id from c where id > $1) to stdout',
	'22P02 copy c from stdin', '57014 copy c from stdin'
  ],
  check => sub {
	my (undef, $in, $out, $query, $error) = @_;
	is_deeply([ map { $_->{rows} } $in, $out, $query ], [ 3, 3, 2 ], 'rows');
	unlike("$error->{error_message} $error->{stack_trace}", qr/hidden/, 'data is masked');
	like($error->{stack_trace}, qr/^COPY c, line 2, column id/, 'line and column are not');
  };

scenario 'maintenance',
  simple('VACUUM item', 'ANALYZE item', 'BEGIN', 'VACUUM item', 'ROLLBACK',
  	'CREATE INDEX CONCURRENTLY i ON item (name)',
	'DROP INDEX CONCURRENTLY i'),
  [
	'00000 vacuum item', '00000 analyze item', '00000 begin', '25001 vacuum item', '00000 rollback',
	'00000 create index concurrently i on item (name)', '00000 drop index concurrently i'
  ];

scenario 'definitions',
  simple('CREATE TABLE d (id int PRIMARY KEY)', 'CREATE TABLE d (id int)',
  	'DROP TABLE no_such_table',
	'ALTER TABLE d ADD COLUMN x int', 'TRUNCATE d', 'DROP TABLE d', 'SHOW work_mem',
		'SET work_mem = 4096',
	'SET work_mem = nonsense'),
  [
	'00000 create table d (id int primary key)', '42P07 create table d (id int)',
	'42P01 drop table no_such_table', '00000 alter table d add column x int', '00000 truncate d',
	'00000 drop table d', '00000 show work_mem', '00000 set work_mem = $1',
		'22023 set work_mem = nonsense'
  ];

scenario 'parallel_plan_counts_once',
  simple(
	'SET debug_parallel_query = on' x ($version >= 16),
		'SET force_parallel_mode = on' x ($version < 16),
	'SET parallel_setup_cost = 0', 'SET min_parallel_table_scan_size = 0',
	'SELECT count(*) FROM big WHERE k = 5', 'SELECT count(*) / 0 FROM big WHERE k = 6',
	'CREATE TEMP TABLE p AS SELECT k, count(*) FROM big GROUP BY k'),
  [
	'00000 set ' . ($version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode') . ' = on',
	'00000 set parallel_setup_cost = $1', '00000 set min_parallel_table_scan_size = $1',
	'00000 select count(*) from big where k = $1',
		'22012 select count(*) / $1 from big where k = $2',
	'00000 create temp table p as select k, count(*) from big group by k'
  ];

# --- Cursors --------------------------------------------------------------------------------------

my $series = 'SELECT * FROM generate_series(1, 10)';
my $declared = '00000 declare c cursor for select * from generate_series($1, $2)';

my %cursors = (
	closed => [ 'FETCH 2 FROM c', 'CLOSE c', 'COMMIT' ],
	left_open_at_commit => [ 'FETCH 2 FROM c', 'COMMIT' ],
	left_open_at_rollback => [ 'FETCH 2 FROM c', 'ROLLBACK' ],
	read_to_the_end => [ 'FETCH ALL FROM c', 'CLOSE c', 'COMMIT' ],
	read_to_the_end_and_left_open => [ 'FETCH ALL FROM c', 'COMMIT' ],
	read_to_the_end_and_rolled_back => [ 'FETCH ALL FROM c', 'ROLLBACK' ],
	asked_again_after_the_end => [ 'FETCH ALL FROM c', 'FETCH ALL FROM c', 'FETCH c', 'CLOSE c',
		'COMMIT' ],
	read_in_pieces_beyond_the_end => [ ('FETCH 4 FROM c') x 5, 'CLOSE c', 'COMMIT' ],
	read_in_pieces_then_all => [ 'FETCH 4 FROM c', 'FETCH ALL FROM c', 'CLOSE c', 'COMMIT' ],
	moved => [ 'MOVE 4 FROM c', 'MOVE ALL FROM c', 'CLOSE c', 'COMMIT' ],
);
for my $how (sort keys %cursors)
{
	my @sql = @{ $cursors{$how} };
	my @utility = map { '00000 ' . lc } grep { /CLOSE|COMMIT|ROLLBACK/ } @sql;
	scenario "cursor_$how", simple('BEGIN', "DECLARE c CURSOR FOR $series", @sql),
	  [ '00000 begin', $declared, @utility ];
}

scenario 'cursor_left_open_keeps_its_tags',
  simple('BEGIN', "DECLARE c CURSOR FOR $series /*route='/list'*/", 'FETCH 2 FROM c', 'ROLLBACK'),
  [ '00000 begin', $declared, '00000 rollback' ],
  check => sub { is(row(qr/declare/, @_)->{endpoint}, '/list', 'endpoint') };

scenario 'cursor_of_a_rolled_back_savepoint',
  simple('BEGIN', 'SAVEPOINT a', "DECLARE c CURSOR FOR $series", 'FETCH 3 FROM c', 'ROLLBACK TO a',
  	'COMMIT'),
  [ '00000 begin', '00000 savepoint a', $declared, '00000 rollback to a', '00000 commit' ];

scenario 'cursor_of_a_released_savepoint',
  simple('BEGIN', 'SAVEPOINT a', "DECLARE c CURSOR FOR $series", 'FETCH 3 FROM c', 'RELEASE a',
	'FETCH 3 FROM c', 'ROLLBACK'),
  [ '00000 begin', '00000 savepoint a', $declared, '00000 release a', '00000 rollback' ],
  check => sub { is(row(qr/declare/, @_)->{rows}, 6, 'rows') };

scenario 'cursor_of_a_transaction_that_failed',
  simple('BEGIN', "DECLARE c CURSOR FOR $series", 'FETCH 3 FROM c', 'SELECT 1/0', 'FETCH 3 FROM c',
  	'ROLLBACK'),
  [ '00000 begin', $declared, '22012 select $1/$2', '25P02 fetch $1 from c', '00000 rollback' ];

scenario 'cursor_that_fails_on_the_way',
  simple('BEGIN', 'DECLARE c CURSOR FOR SELECT 1 / (3 - i) FROM generate_series(1, 9) i',
  	'FETCH 1 FROM c',
	'FETCH 5 FROM c', 'ROLLBACK'),
  [
	'00000 begin', '22012 declare c cursor for select $1 / ($2 - i) from generate_series($3, $4) i',
	'00000 rollback'
  ];

scenario 'cursor_with_hold',
  simple('BEGIN', "DECLARE c CURSOR WITH HOLD FOR $series", 'FETCH 2 FROM c', 'COMMIT',
  	'FETCH 2 FROM c',
	'FETCH ALL FROM c', 'CLOSE c'),
  [
	'00000 begin', '00000 declare c cursor with hold for select * from generate_series($1, $2)',
	'00000 commit', '00000 close c'
  ];

scenario 'cursor_with_hold_outside_a_transaction',
  simple("DECLARE c CURSOR WITH HOLD FOR $series", 'FETCH 2 FROM c', 'CLOSE c'),
  [ '00000 declare c cursor with hold for select * from generate_series($1, $2)', '00000 close c' ];

scenario 'cursors_side_by_side',
  simple('BEGIN', "DECLARE c CURSOR FOR $series", 'DECLARE d CURSOR FOR SELECT id FROM item',
  	'FETCH 2 FROM c',
	'FETCH 3 FROM d', 'FETCH 2 FROM c', 'FETCH 3 FROM d', 'CLOSE c', 'FETCH 3 FROM d', 'COMMIT'),
  [
	'00000 begin', $declared, '00000 declare d cursor for select id from item', '00000 close c',
	'00000 commit'
  ],
  check => sub {
	is(row(qr/declare c/, @_)->{rows}, 4, 'rows of the one');
	is(row(qr/declare d/, @_)->{rows}, 9, 'rows of the other');
  };

scenario 'cursor_in_a_string_of_statements',
  simple("BEGIN; DECLARE c CURSOR FOR $series; FETCH 3 FROM c; CLOSE c; COMMIT"),
  [ '00000 begin', $declared, '00000 close c', '00000 commit' ];

scenario 'cursor_that_is_never_read',
  simple('BEGIN', "DECLARE c CURSOR FOR $series", 'CLOSE c', 'COMMIT'),
  [ '00000 begin', $declared, '00000 close c', '00000 commit' ];

scenario 'cursor_that_cannot_be_used',
  simple('FETCH 1 FROM missing', "DECLARE c CURSOR FOR $series", 'BEGIN',
  	'DECLARE c CURSOR FOR SELECT 1/0',
	'ROLLBACK', 'BEGIN', 'DECLARE c CURSOR FOR SELECT no_such_column', 'ROLLBACK'),
  [
	'34000 fetch $1 from missing',
		'25P01 declare c cursor for select * from generate_series($1, $2)',
	('00000 begin') x 2, '22012 declare c cursor for select $1/$2',
	'42703 declare c cursor for select no_such_column', ('00000 rollback') x 2
  ];

scenario 'cursor_with_pauses_of_the_client',
  thinking(\$cursor_busy_us,
	sub {
		$_[0]->queries('BEGIN', 'DECLARE c CURSOR FOR SELECT pg_sleep(0.1), i FROM generate_series(1, 3) i',
			'FETCH 1 FROM c');
	},
	sub { $_[0]->queries('FETCH ALL FROM c', 'COMMIT') }),
  [
	'00000 begin', '00000 declare c cursor for select pg_sleep($1), i from generate_series($2, $3) i',
	'00000 commit'
  ],
  check => sub {
	my $row = row(qr/declare/, @_);
	cmp_ok($row->{duration_us}, '>=', 300_000, 'all its pieces');
	cmp_ok($row->{duration_us}, '<=', $cursor_busy_us, 'without the pause');
  };

scenario 'cursor_opened_by_a_function',
  simple('BEGIN', q(SELECT opened('r')), 'FETCH ALL FROM r', 'COMMIT'),
  [ '00000 begin', '00000 select opened($1)',
  	'00000 select id, pg_sleep($1) from item where id < $2', '00000 commit' ];

# --- Failures -------------------------------------------------------------------------------------

# The server's timer begins a moment before ours.
scenario 'statement_timeout', simple('SET statement_timeout = 1000', q(SELECT pg_sleep(30), 'x')),
  [ '00000 set statement_timeout = $1', '57014 select pg_sleep($1), $2' ],
  check => sub {
	takes_at_least(qr/pg_sleep/, 500)->(@_);
	is(row(qr/pg_sleep/, @_)->{error_message}, 'canceling statement due to statement timeout',
		'message');
  };

scenario 'statement_timeout_in_a_function',
  simple('SET statement_timeout = 1000', 'SELECT snooze(30)'),
  [ '00000 set statement_timeout = $1', '57014 select snooze($1)' ],
  check => takes_at_least(qr/snooze/, 500);

scenario 'statement_timeout_in_utility_and_extended',
  sub {
	my ($client) = @_;
	$client->query('SET statement_timeout = 200');
	$client->query('CREATE TABLE never AS SELECT pg_sleep(30)::text');
	$client->extended('SELECT pg_sleep($1)', 30);
  },
  [
	'00000 set statement_timeout = $1', '57014 create table never as select pg_sleep($1)::text',
	'57014 select pg_sleep($1)'
  ];

scenario 'permission_denied', simple('SELECT * FROM secret_item WHERE id = 1', 'DROP TABLE item'),
  [ '42501 select * from secret_item where id = $1', '42501 drop table item' ],
  connect => { user => 'alice', options => '' },
  check => sub { is($_[0]{database_user}, 'alice', 'user') };

scenario 'syntax_and_analysis_errors',
  simple(q(SELEC 'hidden'), q(SELECT * FROM no_such_table WHERE x = 'hidden'),
  	q(SELECT 'hidden'::int),
	q(SELECT 'unterminated)),
  [
	'42601 selec $1', '42P01 select * from no_such_table where x = $1', '22P02 select $1::int',
	'42601 select $1'
  ],
  check => sub {
	unlike(join(' ', map { "$_->{error_message} " . ($_->{stack_trace} // '') } @_),
		qr/hidden|unterminated\b(?! quoted)/, 'masked');
  };

scenario 'errors_that_the_server_does_not_log',
  simple('SELECT 1/0', 'INSERT INTO item VALUES (1)', 'SELECT complain(NULL)',
  	'DROP TABLE no_such_table',
	'BEGIN', 'SAVEPOINT a', 'SELECT 1/0', 'ROLLBACK TO a', 'COMMIT'),
  [
	('22012 select $1/$2') x 2, '23505 insert into item values ($1)', 'P0001 select complain(null)',
	'42P01 drop table no_such_table', '00000 begin', '00000 savepoint a', '00000 rollback to a',
	'00000 commit'
  ],
  settings => '-c log_min_messages=fatal';

scenario 'settings_change_in_a_statement_that_fails',
  simple(q(SELECT set_config('log_min_messages', 'fatal', false), 1/(id - id) FROM item WHERE id = 1),
	'RESET log_min_messages', q(SELECT set_config('train_perf.enabled', 'off', false),
		2/(id - id) FROM item WHERE id = 1), 'SELECT 3',
	'SET train_perf.enabled = on', 'SELECT 4', 'SELECT 5/0'),
  [
	'XX000 select set_config($1, $2, false), $3/(id - id) from item where id = $4',
	'00000 reset log_min_messages',
	'22012 select set_config($1, $2, false), $3/(id - id) from item where id = $4',
	('00000 select $1') x 2, '00000 set train_perf.enabled = on', '22012 select $1/$2'
  ];

scenario 'error_kept_from_the_log_in_a_savepoint',
  simple('BEGIN', 'SAVEPOINT a', q(SELECT set_config('log_min_messages', 'fatal', false),
	1/(id - id) FROM item WHERE id = 1), 'ROLLBACK TO a', 'SELECT 3::text', 'COMMIT', 'SELECT 4::text'),
  [
	'00000 begin', '00000 savepoint a',
	'XX000 select set_config($1, $2, false), $3/(id - id) from item where id = $4',
	'00000 rollback to a', ('00000 select $1::text') x 2, '00000 commit'
  ];

scenario 'error_raised_again_when_it_is_not_logged',
  simple(q(DO $$ BEGIN
	  SET LOCAL log_min_messages = fatal; PERFORM count(*) / 0 FROM item;
	EXCEPTION WHEN division_by_zero THEN RAISE; END $$), 'SELECT 3::text'),
  [
	'22012 do $$ begin set local log_min_messages = fatal; perform count(*) / $1 from item; '
	  . 'exception when division_by_zero then raise; end $$',
	'00000 select $1::text'
  ];

scenario 'error_after_one_that_the_server_did_not_log',
  simple('BEGIN', 'SAVEPOINT a', 'SET log_min_messages = fatal', 'SELECT 1/0', 'ROLLBACK TO a',
  	'SELECT no_such_column',
	'ROLLBACK'),
  [
	'00000 begin', '00000 savepoint a', '00000 set log_min_messages = fatal', '22012 select $1/$2',
	'00000 rollback to a', '42703 select no_such_column', '00000 rollback'
  ];

{
	my $holder = holding('LOCK TABLE secret_item IN ACCESS EXCLUSIVE MODE',
		'SELECT * FROM item WHERE id = 9 FOR UPDATE');
	scenario 'lock_timeout',
	  simple('SET lock_timeout = 200', 'SELECT * FROM item WHERE id = 9 FOR UPDATE',
		'SELECT count(*) FROM secret_item', 'DROP TABLE secret_item',
			'SELECT 5; SELECT id FROM secret_item',
		'BEGIN; LOCK TABLE secret_item', 'ROLLBACK'),
	  [
		'00000 set lock_timeout = $1', '55P03 select * from item where id = $1 for update',
		'55P03 select count(*) from secret_item', '55P03 drop table secret_item', '00000 select $1',
		'55P03 select id from secret_item', '00000 begin', '55P03 lock table secret_item',
			'00000 rollback'
	  ],
	  check => sub {
		for my $row (grep { $_->{sqlstate} } @_)
		{
			cmp_ok($row->{duration_us}, '>=', 190_000, "waited: $row->{query_text}");
		}
	  };
	scenario 'cancelled_in_parse_analysis',
	  sub {
		my ($client) = @_;
		$client->send(query => 'SELECT count(*) FROM secret_item');
		wait_until_waiting($client, 'relation');
		$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $client->pid . ')');
		$client->answer;
	  },
	  ['57014 select count(*) from secret_item'];
	scenario 'terminated_in_parse_analysis',
	  sub {
		my ($client) = @_;
		$client->send(query => 'SELECT count(*) FROM secret_item');
		wait_until_waiting($client, 'relation');
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $client->pid . ')');
		$client->answer;
	  },
	  ['57P01 select count(*) from secret_item'];
	$holder->quit;
}

my @long = ('SELECT pg_sleep(60)', 'SELECT snooze(60)',
	'CREATE TABLE never AS SELECT pg_sleep(60)::text',
	'DO $$ BEGIN PERFORM pg_sleep(60); END $$');
my %normalized = (
	$long[0] => 'select pg_sleep($1)',
	$long[1] => 'select snooze($1)',
	$long[2] => 'create table never as select pg_sleep($1)::text',
	$long[3] => 'do $$ begin perform pg_sleep($1); end $$');
for my $sql (@long)
{
	for ([ 'pg_cancel_backend', '57014' ], [ 'pg_terminate_backend', '57P01' ])
	{
		my ($function, $sqlstate) = @$_;
		scenario "$function during $sql",
		  sub {
			my ($client) = @_;
			$client->send(query => $sql);
			wait_until_waiting($client, 'PgSleep');
			$node->safe_psql('postgres', "SELECT $function(" . $client->pid . ')');
			$client->answer;
		  },
		  ["$sqlstate $normalized{$sql}"];
	}
}

scenario 'terminated_under_all',
  sub {
	my ($client) = @_;
	$client->send(query => 'SELECT snooze(60)');
	wait_until_waiting($client, 'PgSleep');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $client->pid . ')');
	$client->answer;
  },
  [ '57P01 select snooze($1)', '57P01 select pg_sleep(seconds)' ],
  settings => $track_all;

scenario 'terminated_between_statements',
  sub {
	my ($client) = @_;
	$client->queries('BEGIN', "DECLARE c CURSOR FOR $series", 'FETCH 2 FROM c');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $client->pid . ')');
	$client->answer;
  },
  [ '00000 begin', $declared ];

scenario 'idle_session_times_out',
  sub {
	my ($client) = @_;
	$client->queries('SET idle_in_transaction_session_timeout = 100', 'BEGIN');
	$client->answer;
  },
  [ '00000 set idle_in_transaction_session_timeout = $1', '00000 begin' ];

scenario 'client_is_gone',
  sub {
	my ($client) = @_;
	$client->send(query => 'SELECT pg_sleep(60)');
	wait_until_waiting($client, 'PgSleep');
	$client->vanish;
	wait_until('backend has noticed', sub {
		$node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE pid = '
			. $client->pid) eq '0';
	});
  },
  ['08006 select pg_sleep($1)'];

scenario 'client_is_gone_in_the_middle_of_the_answer',
  sub {
	my ($client) = @_;
	$client->send(query => q(SELECT repeat('x', 1000) FROM generate_series(1, 1000000)));
	wait_until_waiting($client, 'ClientWrite');
	$client->vanish;
	wait_until('backend has noticed', sub {
		$node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE pid = '
			. $client->pid) eq '0';
	});
  },
  ['08006 select repeat($1, $2) from generate_series($3, $4)'];

# --- Who asked ------------------------------------------------------------------------------------

my $user_id = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
my $trace = '0af7651916cd43dd8448eb211c80319c';

scenario 'tags_of_sqlcommenter',
  simple("SELECT 1 /*controller='orders',action='show',framework='rails%3A7',traceparent='00-$trace-b7ad6b7169203331-01'*/",
	"SELECT 1/0 /*route='%2Forders%2F%3Aid',method='get'*/"),
  [ '00000 select $1', '22012 select $1/$2' ],
  check => sub {
	my ($shown, $failed) = @_;
	is($shown->{endpoint}, 'orders#show', 'endpoint');
	is($shown->{trace_id}, $trace, 'trace');
	is($shown->{tags}{framework}, 'rails:7', 'other tags');
	is($failed->{endpoint}, 'GET /orders/:id', 'endpoint of the failed one');
  };

scenario 'tags_of_what_runs_a_prepared_statement_or_cursor',
  simple('PREPARE q AS SELECT 1', "EXECUTE q /*route='/execute'*/", 'BEGIN',
	"DECLARE c CURSOR FOR $series", "FETCH ALL FROM c /*route='/fetch'*/", 'COMMIT'),
  [ ('00000 prepare q as select $1') x 2, '00000 begin', $declared, '00000 commit' ],
  check => sub {
	is_deeply([ grep { defined } map { $_->{endpoint} } @_ ], [ '/execute', '/fetch' ],
		'endpoints');
  };

scenario 'tags_of_what_fails_at_its_end',
  sub {
	my ($client) = @_;
	$client->query("INSERT INTO later VALUES (1) /*route='/late'*/");
	$client->extended("INSERT INTO later VALUES (1) /*route='/late'*/");
	$client->queries('BEGIN', 'INSERT INTO later VALUES (1)', "COMMIT /*route='/late'*/");
  },
  [
	('00000 insert into later values ($1)') x 3, ('23505 insert into later values ($1)') x 2,
		'00000 begin',
	'00000 commit', '23505 commit'
  ],
  check => sub {
	# When Sync commits, the text of the statement is gone already.
	is_deeply([ map { $_->{endpoint} } grep { $_->{sqlstate} } @_ ], [ '/late', undef, '/late' ],
		'endpoints');
  };

scenario 'nested_statements_have_the_endpoint_of_the_one_around_them',
  simple("SELECT snooze(0) /*route='/nested'*/", "SELECT add_item(1) /*route='/nested'*/"),
  [
	'00000 select snooze($1)', '00000 select pg_sleep(seconds)', '23505 select add_item($1)',
	'23505 insert into item values (new_id, $1)'
  ],
  settings => $track_all,
  check => sub { is_deeply([ map { $_->{endpoint} } @_ ], [ ('/nested') x 4 ], 'endpoints') };

scenario 'request_of_postgrest',
  simple('BEGIN',
	qq(SELECT set_config('request.jwt.claims', '{"role":"web","sub":"$user_id"}', true),
	          set_config('request.method', 'POST', true), set_config('request.path', '/rpc/order',
	          	true)),
	'SELECT 1', 'SELECT 1/0', 'ROLLBACK', 'SELECT 2::text'),
  [
	'00000 begin', '00000 select set_config($1, $2, true), set_config($3, $4, true), set_config($5, $6, true)',
	'00000 select $1', '22012 select $1/$2', '00000 rollback', '00000 select $1::text'
  ],
  check => sub {
	for my $text (qr/^select \$1$/, qr{^select \$1 ?/ ?\$2$})
	{
		is(row($text, @_)->{endpoint}, 'POST /rpc/order', "endpoint of $text");
		is(row($text, @_)->{user_id}, $user_id, "user of $text");
	}
	is(row(qr/::text/, @_)->{endpoint}, undef, 'not after the transaction');
  };

scenario 'request_of_what_fails_at_its_end',
  sub {
	my ($client) = @_;
	my $set = qq(SELECT set_config('request.jwt.claim.sub', '$user_id', true),
		set_config('request.path', '/late', true));
	$client->queries('BEGIN', $set, 'INSERT INTO later VALUES (1)', 'COMMIT');
	$client->queries('BEGIN', $set, "DECLARE c CURSOR FOR $series", 'FETCH 1 FROM c', 'ROLLBACK');
	$client->queries('BEGIN', $set, "SELEC 1", 'ROLLBACK');
	$client->queries('BEGIN', $set);
	$client->send(query => 'SELECT pg_sleep(60)');
	wait_until_waiting($client, 'PgSleep');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $client->pid . ')');
	$client->answer;
  },
  [
	('00000 begin') x 4, ('00000 select set_config($1, $2, true), set_config($3, $4, true)') x 4,
	'00000 insert into later values ($1)', '00000 commit', '23505 commit', $declared,
		('00000 rollback') x 2,
	'42601 selec $1', '57P01 select pg_sleep($1)'
  ],
  check => sub {
	for my $row (grep { $_->{sqlstate} || $_->{query_text} =~ /declare/ } @_)
	{
		is_deeply([ @$row{qw(endpoint user_id)} ], [ '/late', $user_id ],
			"request of $row->{query_text}");
	}
  };

scenario 'subject_that_is_no_uuid',
  simple(q(SET request.jwt.claims = '{"sub":"anonymous"}'), 'SELECT 1',
  	q(SET request.jwt.claims = 'no json'), 'SELECT 1::text'),
  [ ('00000 set request.jwt.claims = $1') x 2, '00000 select $1', '00000 select $1::text' ],
  check => sub { is(scalar(grep { defined $_->{user_id} } @_), 0, 'no user') };

for my $address ('127.0.0.1', '::1')
{
	next unless TrainPerfTest::Client->new($node, host => $address);
	scenario "client_at_$address", simple('SELECT 1'), ['00000 select $1'],
	  connect => { host => $address },
	  check => sub { is($_[0]{client_addr}, $address, 'address') };
}

# --- What has come of it all ----------------------------------------------------------------------

for my $seconds (sort keys %slow) { $slow{$seconds}->answer; $slow{$seconds}->quit; }

check_scenarios();

subtest 'slow_statements_are_logged_by_default' => sub {
	# On a machine that stands still the short one, too, may have been slow.
	my @rows = grep { $_->{application_name} ne 'slow 0.2' || $_->{duration_us} <= 500_000 }
	  log_rows($node, 'postgres', q(application_name LIKE 'slow %'));
	is_deeply([ sort map { $_->{application_name} } @rows ], [ 'slow 0.7', 'slow 1.2', 'slow 2.2' ],
		'each once');
	for my $row (@rows)
	{
		my ($seconds) = $row->{application_name} =~ /slow (.*)/;
		cmp_ok($row->{duration_ms}, '>=', $seconds * 1000, "$seconds s: at least that");
		is($row->{is_slow}, JSON::PP::true, "$seconds s: is slow");
		is($row->{endpoint}, "/slow/$seconds", "$seconds s: endpoint");
		is($row->{database_user}, 'alice', "$seconds s: user");
		is($row->{query_text}, 'select pg_sleep($1) as s' . $seconds * 10, "$seconds s: text");
		is($row->{sqlstate}, undef, "$seconds s: no error");
	}
};

subtest 'slow_statements_raise_alerts_by_their_severity' => sub {
	for my $seconds (qw(0.7 1.2 2.2))
	{
		my ($row) = log_rows($node, 'postgres', "application_name = 'slow $seconds'");
		my $ms = $row->{duration_us} / 1000;    # 0.3 s more on a machine that stands still
		my $severity = $ms > 2000 ? 'error' : $ms > 1000 ? 'warning' : 'info';
		is( $node->safe_psql('postgres', "SELECT severity, occurrences FROM performance_alerts
				WHERE alert_type = 'slow_query' AND details->>'endpoint' = '/slow/$seconds'"),
			"$severity|1", "$seconds s");
	}
};

subtest 'numbers_of_the_queue_add_up' => sub {
	is( $node->safe_psql('postgres',
			'SELECT events_enqueued = events_written + events_queued + events_dropped, events_dropped FROM capture_status()'),
		't|0', 'nothing is lost');
	is($node->safe_psql('postgres', 'SELECT last_error FROM capture_status()'), '',
		'the collector had no error');
};

$node->stop;
done_testing();
