# What capture must never keep, and what it keeps only on request.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use TrainPerfTest;

my $node = start_node('capture_privacy', "log_min_messages = error\n");

$node->safe_psql('postgres', q{
	CREATE ROLE alice LOGIN;
	CREATE TABLE item (id int PRIMARY KEY, name text, mood varchar(3) CHECK (mood <> 'bad'));
	INSERT INTO item VALUES (1, 'one');
	CREATE TYPE colour AS ENUM ('red');
	CREATE FUNCTION echo(what text) RETURNS text LANGUAGE plpgsql AS
	  $$ BEGIN RAISE EXCEPTION 'cannot echo %', what; END $$;
	CREATE FUNCTION run(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; END $$;
	CREATE FUNCTION insert_constant() RETURNS void LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO item VALUES (1, 'sesame in a function'); END $$;
	CREATE TABLE account (id int, password text);
	CREATE FOREIGN DATA WRAPPER nothing;
	CREATE SERVER far FOREIGN DATA WRAPPER nothing;
});

sub client
{
	my ($name, $settings, %more) = @_;
	return TrainPerfTest::Client->new(
		$node,
		application_name => $name,
		options => "-c train_perf.log_min_duration=0 $settings",
		%more);
}

# Everything that capture keeps, as one text.
sub kept
{
	return $node->safe_psql('postgres', q(
		SELECT l::text FROM query_performance_logs l UNION ALL
		SELECT s::text FROM query_stats s UNION ALL
		SELECT t::text FROM query_texts t UNION ALL
		SELECT a::text FROM performance_alerts a));
}

# Where the word is kept: a little of each place, so that a failure can be read.
sub lines_with
{
	my ($word) = @_;
	my %seen = map { (/(.{0,60}$word.{0,20})/i ? ($1 => 1) : ()) } split /\n/, kept();
	return join "\n", sort keys %seen;
}

my $token = 'sesame';
my @with_literals = (
	"SELECT '$token'",
	"SELECT E'\\'$token', U&'$token', \$\$$token\$\$, \$a\$ \$\$ $token\$a\$, 'it''s $token', N'$token'",
	"SELECT 1 -- $token",
	"SELECT 1 /* $token /* nested $token */ */",
	"SELECT '$token'::int",
	"SELECT '$token'::date",
	"SELECT '$token'::colour",
	"SELECT '$token'::regclass",
	"SELECT '$token'::json",
	qq(SELECT '{"a": $token}'::jsonb),
	"SELECT CAST('$token' AS uuid), interval '$token'",
	"SELECT '$token' + 1 + 'x'",
	"SELECT '$token",
	"SELECT * FROM item WHERE name = '$token' AND",
	"SELEC '$token'",
	"SELECT 1 FROM item '$token'",
	"SELECT \$\$$token",
	"SELECT /* $token",
	"SELECT echo('$token')",
	"SELECT echo('open ' || '$token')",
	"DO \$\$ BEGIN RAISE EXCEPTION '$token'; END \$\$",
	"DO \$\$ BEGIN RAISE EXCEPTION USING MESSAGE = 'no $token', DETAIL = '$token'; END \$\$",
	"DO \$\$ BEGIN PERFORM '$token'::int; END \$\$",
	"SELECT run('SELECT ''$token''::int')",
	"SELECT run('INSERT INTO item VALUES (1, ''$token'')')",
	"SELECT run('SELEC ''$token''')",
	"SELECT insert_constant()",
	"INSERT INTO item VALUES (2, '$token', '$token')",
	"INSERT INTO item VALUES (1, '$token')",
	"INSERT INTO item VALUES ('$token', 'x')",
	"UPDATE item SET id = '$token'",
	"COPY item FROM PROGRAM 'echo $token'",
	"SET work_mem = '$token'",
	"SET my.secret = '$token'",
	"SELECT set_config('work_mem', '$token', false)",
	"COMMENT ON TABLE item IS '$token'",
	"NOTIFY hello, '$token'",
	"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''$token'''",
	"CREATE TABLE t (a text DEFAULT '$token')",
	"CREATE VIEW v AS SELECT '$token'::text",
	"EXPLAIN SELECT * FROM item WHERE name = '$token'",
	"PREPARE q AS SELECT '$token'::text",
	"EXECUTE q",
	"EXECUTE q('$token')",
	"PREPARE TRANSACTION '$token'",
	"SELECT to_number('$token', '99'), '$token'::inet",
	"SELECT '1 $token'::interval, to_date('$token', 'YYYY')",
	"SELECT 'x' ~ '($token'",
	"SELECT convert_from('\\xff$token', 'UTF8')",
	"SELECT jsonb_path_query('{}', '\$.$token ? (')",
	"SELECT xmlparse(document '<$token')",
	"SELECT ('$token'::text)::int FROM item",
	"SELECT name::int, '$token' FROM item",
	"SELECT 1/0 WHERE 'a' <> '$token'");

subtest 'literals_are_nowhere_by_default' => sub {
	for my $settings ('', '-c train_perf.track=all -c log_min_messages=fatal',
		'-c train_perf.track=all')
	{
		my $client = client('literals', $settings);
		$client->query($_) for @with_literals;
		$client->query("SELECT 1; SELECT '$token'::int; SELECT 2");
		$client->extended("SELECT '$token', \$1::int", $token);
		$client->extended("SELECT \$1::text::int", $token);
		$client->send(query => 'COPY item FROM STDIN')->answer('G');
		$client->send([ copy_data => "5\t$token\n$token\t1\n" ], ['copy_done'])->answer;
		$client->quit;
	}
	drain($node);
	is(lines_with($token), '', 'not in the log, the statistics, the texts or the alerts');
};

subtest 'numbers_are_literals' => sub {
	my $client = client('numbers', '');
	$client->query($_)
	  for 'SELECT 4815162342', 'SELECT -4815162342.5e3', 'SELECT 4815162342::int',
	  	'SELECT chr(-4815162)',
	  "SELECT '4815162342'::smallint", 'SELECT * FROM item LIMIT -4815162',
	  	'SELECT 4815162342 4815162342';
	$client->quit;
	drain($node);
	# Not as a part of another number, as of a query id.
	is(lines_with('(?:(?<![\d.])4815162(?![\d.])|4815162342)'), '', 'nowhere');
};

my $password = 'p4ssw0rd';
my @with_passwords = (
	"CREATE ROLE carol PASSWORD '$password'",
	"ALTER ROLE carol PASSWORD '$password'",
	"ALTER ROLE carol WITH ENCRYPTED PASSWORD E'$password\\'' LOGIN",
	"ALTER ROLE carol PASSWORD \$\$$password\$\$",
	"ALTER USER carol PASSWORD '$password' VALID UNTIL 'nonsense'",
	"ALTER ROLE nobody PASSWORD '$password'",
	"ALTER ROLE carol PASWORD '$password'",
	"ALTER ROLE carol PASSWORD $password",
	"ALTER ROLE carol PASSWORD \"$password\"",
	"ALTER ROLE carol PASSWORD '$password",
	"ALTER RLE carol PASSWORD '$password'",
	"SELECT 1; ALTER ROLE carol PASSWORD '$password'; SELECT no_such_column",
	"CREATE USER MAPPING FOR alice SERVER far OPTIONS (user 'alice', password '$password')",
	"ALTER USER MAPPING FOR alice SERVER far OPTIONS (SET password '$password')",
	"ALTER USER MAPPING FOR alice SERVER far OPTIONS (ADD password '$password')",
	"CREATE SUBSCRIPTION s CONNECTION 'host=far password=$password' PUBLICATION p WITH (connect = false)",
	"CREATE SUBSCRIPTION s CONNECTION 'postgresql://u:$password\@far:1/db' PUBLICATION p",
	"ALTER SUBSCRIPTION s CONNECTION 'host=far password=$password'",
	"DO \$\$ BEGIN EXECUTE 'ALTER ROLE carol PASSWORD ''$password'''; END \$\$",
	"DO \$\$ BEGIN EXECUTE 'ALTER ROLE carol PASWORD ''$password'''; END \$\$",
	"DO \$\$ BEGIN EXECUTE format('ALTER ROLE nobody PASSWORD %L', '$password'); END \$\$",
	"SELECT run('ALTER ROLE nobody PASSWORD ''$password''')",
	"SELECT run('ALTER ROLE carol PASSWORD $password')",
	"SELECT run(format('ALTER ROLE carol PASSWORD %s', '$password'))",
	"SELECT * FROM account WHERE password = '$password'",
	"UPDATE account SET password = '$password' WHERE password = '$password' || id",
	"INSERT INTO account (id, password) VALUES ('$password', '$password')",
	"SELECT set_config('app.password', '$password', false)",
	"SET app.password = '$password'",
	"SELECT dblink_connect('host=far password=$password')");

subtest 'passwords_are_nowhere_whatever_is_switched_on' => sub {
	my $everything = join ' ', map { "-c train_perf.$_=on" } qw(log_parameters log_literal_text log_plan);
	for my $settings ('', '-c log_min_messages=fatal', $everything,
		"$everything -c train_perf.track=all",
		"$everything -c train_perf.track=all -c train_perf.log_sample_rate=1")
	{
		my $client = client('passwords', $settings);
		$client->query($_) for @with_passwords;
		$client->extended('SELECT * FROM account WHERE password = $1', $password);
		$client->extended('SELECT id, $1::int FROM account WHERE password = $2', 'no', $password);
		$client->queries('PREPARE q(text) AS SELECT * FROM account WHERE password = $1',
			"EXECUTE q('$password')");
		$client->queries('ALTER SUBSCRIPTION s DISABLE',
			'ALTER SUBSCRIPTION s SET (slot_name = NONE)',
			'DROP SUBSCRIPTION s', 'DROP USER MAPPING FOR alice SERVER far', 'DROP ROLE carol');
		$client->quit;
		drain($node);
		is(lines_with($password), '', "nowhere with " . ($settings || 'default settings'));
		$node->safe_psql('postgres', 'TRUNCATE query_performance_logs; SELECT query_stats_reset()');
	}
};

subtest 'parameters_by_position' => sub {
	my $client = client('parameters', '-c train_perf.log_parameters=on');
	my $long = 'ä' x 1000;
	$client->extended('SELECT $1::int, $2::text, $3::text, $4::text', 5, undef, $long,
		qq(quote " slash \\ line \n end));
	$client->extended('SELECT $1::int / $2::int', 1, 0);
	$client->queries('PREPARE q(int, date) AS SELECT $1, $2', "EXECUTE q(7, '2024-02-29')");
	$client->extended('SELECT 1');
	$client->extended('SELECT $1::int[], $2::bytea, $3::bool, $4::numeric', '{1,2}', 'bytes', 't',
		'1.50');
	$client->quit;
	my @rows = wait_for_log($node, 'postgres', q(application_name = 'parameters'), 6);
	my ($types) = @rows;
	is($types->{parameters}{1}, '5', 'a number');
	ok(exists $types->{parameters}{2} && !defined $types->{parameters}{2}, 'a NULL');
	like($types->{parameters}{3}, qr/^(?:ä){50,200}$/, 'a long text is cut at a character');
	is($types->{parameters}{4}, qq(quote " slash \\ line \n end), 'special characters');
	is_deeply($rows[1]{parameters}, { 1 => '1', 2 => '0' }, 'of a failed statement');
	is_deeply($rows[3]{parameters}, { 1 => '7', 2 => '2024-02-29' }, 'of EXECUTE');
	is($rows[4]{parameters}, undef, 'none where there are none');
	is_deeply([ sort keys %{ $rows[5]{parameters} } ], [ 1 .. 4 ], 'of any type');
	is($rows[5]{parameters}{4}, '1.50', 'a numeric');
};

subtest 'no_parameters_by_default' => sub {
	my $client = client('no parameters', '');
	$client->extended('SELECT $1::int', 5);
	$client->quit;
	my ($row) = wait_for_log($node, 'postgres', q(application_name = 'no parameters'), 1);
	is($row->{parameters}, undef, 'parameters');
};

subtest 'literal_text_on_request' => sub {
	my $client = client('literal', '-c train_perf.log_literal_text=on');
	$client->query("  SELECT name FROM item  WHERE name = 'Apple' /*route='/a'*/;");
	$client->query("SELECT 'Pear'::int");
	$client->query("SELECT 1; SELECT 'Plum'; SELECT 'Fig'");
	$client->query("SELECT echo('Kiwi')");
	$client->quit;
	my @rows = wait_for_log($node, 'postgres', q(application_name = 'literal'), 6);
	like($rows[0]{query_text}, qr/^SELECT name FROM item  WHERE name = 'Apple'/, 'as it was sent');
	like($rows[1]{error_message}, qr/"Pear"/, 'also in the message');
	is_deeply([ map { $_->{query_text} } @rows[ 2 .. 4 ] ], [ 'SELECT 1', q(SELECT 'Plum'),
		q(SELECT 'Fig') ],
		'each its own');
	is($rows[5]{error_message}, 'cannot echo Kiwi', 'the whole message');
	is($rows[0]{query_hash}, $node->safe_psql('postgres',
		q(SELECT query_hash('select name from item where name = ''x'''))),
		'the hash is that of the normalised text');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM query_stats WHERE query LIKE '%Apple%')),
		'0',
		'the statistics are normalised all the same');
};

subtest 'plan_on_request' => sub {
	my $client = client('plan', '-c train_perf.log_plan=on');
	$client->query('SELECT count(*) FROM item WHERE id < 5');
	$client->extended('UPDATE item SET name = $1 WHERE id = $2', 'uno', 1);
	$client->queries('BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM item', 'FETCH 1 FROM c',
		'CLOSE c',
		'DECLARE d CURSOR FOR SELECT * FROM item', 'FETCH ALL FROM d', 'COMMIT', 'SELECT 1/0',
			'VACUUM item');
	$client->quit;
	drain($node);
	my %plans = map { ("$_->{query_text}" => $_->{plan}) } log_rows($node, 'postgres',
		q(application_name = 'plan'));
	for my $text (sort grep { /item/ && !/vacuum/ } keys %plans)
	{
		ok($plans{$text}{Plan}{'Node Type'}, "plan of $text");
	}
	is($plans{$_}, undef, "none of $_") for grep { !/ from | item set / } sort keys %plans;
};

subtest 'what_is_logged' => sub {
	my %cases = (
		'never' => [ '-c train_perf.log_min_duration=-1', ['22012'] ],
		'all' => [ '-c train_perf.log_min_duration=0', [ '', '22012' ] ],
		'sampled' => [ '-c train_perf.log_min_duration=-1 -c train_perf.log_sample_rate=1', [ '',
			'22012' ] ],
		'no errors' => [ '-c train_perf.log_min_duration=-1 -c train_perf.log_errors=off', [] ],
		'errors by duration' => [ '-c train_perf.log_min_duration=0 -c train_perf.log_errors=off',
			[ '', '22012' ] ],
		'nothing' => [ '-c train_perf.track=none -c train_perf.log_min_duration=0', [] ],
		'disabled' => [ '-c train_perf.enabled=off -c train_perf.log_min_duration=0', [] ],
		'no utility' => [ '-c train_perf.track_utility=off -c train_perf.log_min_duration=0', [ '',
			'22012' ] ],
	);
	for my $name (sort keys %cases)
	{
		my $client = client("logged $name", $cases{$name}[0]);
		$client->queries('SELECT pg_sleep(0.01)', 'SELECT 1/0');
		$client->queries('SET work_mem = 4096', 'SET work_mem = nonsense') if $name eq 'no utility';
		$client->quit;
	}
	drain($node);
	for my $name (sort keys %cases)
	{
		my @rows = log_rows($node, 'postgres', "application_name = 'logged $name'");
		is_deeply([ map { $_->{sqlstate} // '' } @rows ], $cases{$name}[1], $name)
		  or diag join "\n", map { $_->{query_text} } @rows;
	}
};

subtest 'settings_are_for_superusers' => sub {
	my @settings = split /\n/, $node->safe_psql('postgres',
		q(SELECT name FROM pg_settings WHERE name LIKE 'train\_perf.%' AND context NOT IN ('postmaster', 'sighup') AND name <> 'train_perf.maintenance_wait'));  # which costs nobody else
	cmp_ok(scalar @settings, '>=', 10, 'there are some');
	my $client = client('alice', '', user => 'alice', options => '');
	for my $setting (@settings)
	{
		my $value = $client->query("SHOW $setting")->{rows}[0][0];
		is($client->query("SET $setting = '$value'")->{error}{C}, '42501', "$setting: SET");
		is($client->query("ALTER ROLE alice SET $setting = '$value'")->{error}{C}, '42501',
			"$setting: ALTER ROLE");
	}
	is($client->query(q(SELECT set_config('train_perf.enabled', 'off', false)))->{error}{C},
		'42501', 'set_config');
	is($client->query('SET train_perf.no_such_setting = 1')->{error}{C}, '42602',
		'unknown ones are refused');
	my $refused = TrainPerfTest::Client->new($node, user => 'alice',
		options => '-c train_perf.enabled=off');
	is($refused->{startup}{error}{C}, '42501', 'at connection');
};

subtest 'others_see_no_text' => sub {
	my $client = client('alice', '', user => 'alice', options => '');
	my $seen = $client->query(q(SELECT count(*) FILTER (WHERE username = 'alice' AND query !~ 'insufficient'),
		count(*) FILTER (WHERE username <> 'alice' AND (query <> '<insufficient privilege>' OR query_hash IS NOT NULL))
		FROM query_stats))->{rows}[0];
	cmp_ok($seen->[0], '>', 0, 'own text');
	is($seen->[1], '0', 'no text of others');
	for my $object (qw(query_performance_logs query_stats_history query_texts performance_alerts))
	{
		is($client->query("SELECT * FROM $object")->{error}{C}, '42501',
			"$object is not for everybody");
	}
};

$node->stop;
done_testing();
