# Much of everything: statements of 100 MB, nesting to the server's own limit, every connection busy. Users
# see what they see without train_perf.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use TrainPerfTest;
use Workers ();

my $most = 300;
my $node = start_node('faults_limits', <<"END");
max_connections = $most
superuser_reserved_connections = 3
shared_buffers = 16MB
log_statement = none
log_min_error_statement = panic
log_min_messages = error
train_perf.track = 'all'
fsync = off
END

# Memory that this process has touched, in kB.
sub memory
{
	my ($pid) = @_;
	return (slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m)[0];
}

sub code { my ($answer) = @_; return $answer->{closed} ? 'closed' : $answer->{error}{C} // '' }

subtest 'statement_of_100_mb' => sub {
	my $long = 'x' x 100_000_000;
	my %forms = (
		comment => [ '', "SELECT 1 AS long_comment /* $long */" ],
		literal => [ '', "SELECT 1 AS long_literal, length('$long')" ],
		failing => [ '22012', "SELECT 1 / 0 AS long_failing, '$long'" ],
		syntax_error => [ '42601', "SELECT long_syntax FROM $long WHERE (" ],
		utility => [ '', "SET long.utility = '$long'" ],
		nested => [ '', "DO 'BEGIN PERFORM 1 AS long_nested /* $long */; END'" ]);
	# How much the server needs for it by itself.
	my %memory;
	for my $enabled ('off', 'on')
	{
		for my $form (sort keys %forms)
		{
			my ($expected, $sql) = @{ $forms{$form} };
			my $client = TrainPerfTest::Client->new($node);
			$client->query("SET train_perf.enabled = $enabled");
			$client->query('SET train_perf.log_min_duration = 0');
			is(code($client->query($sql)), $expected, "$form: as always");
			$memory{$form}{$enabled} = memory($client->pid);
			$client->quit;
		}
	}
	for my $form (sort keys %forms)
	{
		my ($without, $with) = @{ $memory{$form} }{qw(off on)};
		cmp_ok($with, '<', $without + 20_000, "$form: no copy of it is made ($without kB without, $with kB with)");
	}
	drain($node);
	my @rows = log_rows($node, 'postgres', q(query_text ~ 'long_'));
	for my $mark (qw(long_comment long_literal long_failing long_syntax long_nested))
	{
		ok((grep { $_->{query_text} =~ /$mark/ } @rows), "$mark is logged");
	}
	is((sort { $b <=> $a } map { length $_->{query_text} } @rows)[0] <= 8192, 1, 'texts are cut');
};

subtest 'nesting' => sub {
	my $client = TrainPerfTest::Client->new($node);
	$client->query($_) for (
		q(CREATE FUNCTION down(n int) RETURNS int LANGUAGE plpgsql AS
		  'BEGIN IF n = 0 THEN RETURN 0; END IF; RETURN 1 + down(n - 1); END'),
		q(CREATE FUNCTION down_and_fail(n int) RETURNS int LANGUAGE plpgsql AS
		  'BEGIN RETURN 1 / n + (SELECT down_and_fail(n - 1)); END'),
		q(CREATE FUNCTION down_by_text(n int) RETURNS int LANGUAGE plpgsql AS $$
		  DECLARE r int;
		  BEGIN IF n = 0 THEN RETURN 0; END IF; EXECUTE 'SELECT 1 + down_by_text($1)' INTO r USING n - 1; RETURN r; END $$));
	my %forms = (
		function => 'SELECT down(10000)',
		failing_function => 'SELECT down_and_fail(10000)',
		execute => 'SELECT down_by_text(10000)',
		shallow => 'SELECT down(100), down_by_text(100)',
		shallow_failing => 'SELECT down_and_fail(100)',
		sum => 'SELECT ' . '1 + ' x 100_000 . '1',
		parentheses => 'SELECT ' . '(' x 10_000 . '1' . ')' x 10_000,
		brackets => 'SELECT ' . 'ARRAY[' x 5_000 . '1' . ']' x 5_000,
		case => 'SELECT ' . 'CASE WHEN true THEN ' x 10_000 . '1' . ' END' x 10_000,
		subqueries => 'SELECT ' . '(SELECT ' x 3_000 . '1' . ')' x 3_000,
		comments => 'SELECT ' . '/* ' x 10_000 . '*/ ' x 10_000 . '1',
		list => 'SELECT 1 WHERE 1 IN (' . join(', ', 1 .. 10_000) . ')');
	my %codes;
	for my $enabled ('off', 'on')
	{
		$client->query("SET train_perf.enabled = $enabled");
		$client->query('SET train_perf.log_min_duration = 0');
		$codes{$_}{$enabled} = code($client->query($forms{$_})) for sort keys %forms;
	}
	is($codes{$_}{on}, $codes{$_}{off}, "$_: as without ($codes{$_}{off})") for sort keys %forms;
	is($codes{function}{on}, '54001', 'the limit is the one of the server');
	is(code($client->query('SELECT 1')), '', 'the session goes on');
	$client->quit;
};

subtest 'many_open_things_in_one_transaction' => sub {
	my $client = TrainPerfTest::Client->new($node);
	my $count = 1_000;
	my @sql = ('BEGIN',
		(map { ("SAVEPOINT s$_", "DECLARE c$_ CURSOR FOR SELECT generate_series(1, 3) AS of_many") } 1 .. $count),
		(map { "FETCH c$_" } 1 .. $count), 'ROLLBACK TO s' . $count / 2, (map { "FETCH c$_" } 1 .. $count / 2 - 1),
		'COMMIT');
	$client->send(map { [ query => $_ ] } @sql);
	my @codes = map { code($client->answer) } @sql;
	is(join(' ', grep { $_ ne '' } @codes), '', 'none fails');
	is($client->query(q(SELECT sum(calls), sum(rows) FROM query_stats WHERE query ~ 'of_many'))->{rows}[0][0],
		$count, 'each cursor is one call');
	$client->quit;
};

subtest 'every_connection_is_busy' => sub {
	my ($clients, $transactions) = ($most - 20, 20);
	$node->safe_psql('postgres', 'CREATE TABLE busy (n int); SELECT query_stats_reset()');
	$node->pgbench(
		"-n -c $clients -j 2 -t $transactions -M prepared", 0,
		[qr{processed: @{[$clients * $transactions]}/}], [qr/^$/], 'every transaction succeeds',
		{ '001_busy' => "SELECT :client_id AS busy;\n" });
	is($node->safe_psql('postgres', q(SELECT sum(calls), sum(rows) FROM query_stats WHERE query ~ 'as busy')),
		join('|', ($clients * $transactions) x 2), 'counts are exact');
	my @idle = map { TrainPerfTest::Client->new($node) } 1 .. $most + 1;
	my $refused = grep { $_->{startup}{error} } @idle;
	cmp_ok($refused, '>', 0, 'all places are taken');
	my ($one) = grep { !$_->{startup}{error} } @idle;
	$one->query('SELECT 1 / 0 AS when_full');
	wait_until('the event is written', sub {
		$one->query(q(SELECT 1 FROM query_performance_logs WHERE query_text ~ 'when_full'))->{rows}[0] });
	$_->vanish for @idle;
	wait_until('they are gone', sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 });
};

Workers::log_is_clean($node);
$node->stop;
done_testing();
