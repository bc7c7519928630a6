# Exact under stress: more statements than entries, resets, readers, short sessions and sessions that
# are terminated, all at once. Every statement takes one value of a sequence, which says how many ran.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use TrainPerfTest;

my $node = start_node('capture_stress', <<'END');
train_perf.max_statements = 100
train_perf.history_interval = '1s'
max_connections = 50
fsync = off
END

sub script
{
	my ($name, $text) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.sql";
	PostgreSQL::Test::Utils::append_to_file($file, $text);
	return $file;
}

my $diverse = script('diverse', "\\set r random(1, 600)\nSELECT nextval('counted') AS c:r;\n");
my $few = script('few', join '', map { "SELECT nextval('counted') AS few$_;\n" } 1 .. 3);

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION train_perf; CREATE SEQUENCE counted');

my %output;

sub start_pgbench
{
	my ($name, @options) = @_;
	local %ENV = $node->_get_env(PGAPPNAME => $name);
	$output{$name} //= '';
	return IPC::Run::start([ 'pgbench', '-n', @options, 'app' ], '>', \$output{$name}, '2>&1');
}

# Of the database app: the history, which survives resets, and what is not in it yet, without these looks.
my $looks = 0;
sub look
{
	my ($calls, $errors, $rows) = split /\|/, $node->safe_psql('app', <<'END');
SELECT coalesce(sum(calls), 0), coalesce(sum(errors), 0), coalesce(sum(rows), 0)
  FROM (SELECT calls, errors, rows FROM query_stats_history
         UNION ALL SELECT calls, errors, rows FROM pending_statistics()) AS parts
END
	my @totals = ($calls - $looks, $errors, $rows - $looks);
	++$looks;
	return @totals;
}

# While nothing runs. Whoever looks while the collector ends its transaction finds a bucket twice, or never, and
# then no other look finds the same.
sub totals
{
	my (@last, @now);
	wait_until('two looks find the same', sub {
		@last = @now;
		@now = look();
		return "@last" eq "@now";
	});
	return @now;
}

my @before = totals();
my %running = (
	diverse => start_pgbench('diverse', '-c', 3, '-T', 12, '-f', $diverse),
	prepared => start_pgbench('prepared', '-c', 2, '-T', 12, '-M', 'prepared', '-f', $few),
	short => start_pgbench('short', '-C', '-c', 2, '-T', 12, '-f', $diverse));
my ($kills, $resets, $reads) = (0, 0, 0);
my $victims = start_pgbench('victim', '-c', 2, '-T', 60, '-f', $diverse);
my $end = time + 10;
while (time < $end || $kills <= 5 || $resets <= 1)
{
	$victims->pump_nb;
	unless ($victims->pumpable)
	{
		$victims->finish;
		$victims = start_pgbench('victim', '-c', 2, '-T', 60, '-f', $diverse);
	}
	$kills += $node->safe_psql('postgres', q(SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
		FROM pg_stat_activity WHERE application_name = 'victim'));
	$reads += $node->safe_psql('postgres', q(SELECT count(*) > 0 FROM query_stats)) eq 't';
	$resets += $node->safe_psql('postgres', 'SELECT query_stats_reset() IS NOT NULL') eq 't'
	  if $reads % 7 == 3;
	Time::HiRes::usleep(100_000);
}
$_->finish for values %running;
$node->safe_psql('postgres',
	q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'));
$victims->finish;
wait_until('all sessions are gone', sub {
	$node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND
		backend_type = 'client backend')) eq '0';
});

like($output{$_}, qr{number of failed transactions: 0|latency average}, "$_: not disturbed")
  for qw(diverse prepared short);
my ($calls, $errors, $rows) = totals();
my $executed = $node->safe_psql('app', 'SELECT last_value FROM counted');
$calls -= $before[0];
$errors -= $before[1];
$rows -= $before[2];
note "$executed executed, $calls calls, $errors errors, $kills terminated, $resets resets, $reads reads";
cmp_ok($kills, '>', 5, 'sessions were terminated');
cmp_ok($resets, '>', 1, 'and the statistics reset');
cmp_ok($executed, '>', 1000, 'enough ran');
is($rows, $calls - $errors, 'each statement that succeeded has returned its row');
cmp_ok($calls, '>=', $executed, 'nothing that ran is missing');
cmp_ok($calls - $errors, '<=', $executed, 'and nothing is counted that did not run');
cmp_ok($errors, '<=', $kills + 2, 'failed are only those that were terminated');
is($node->safe_psql('postgres', 'SELECT max_statements >= tracked FROM capture_status()'),
	't', 'no more statements than there is room for');

done_testing();
