# 64 databases, two collectors, and not one worker slot more: they take turns, also while databases go, and each
# database's events are written.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use TrainPerfTest;
use Workers ();

# The server's own launcher for subscriptions, ours, and two collectors.
my $node = start_node('faults_databases', <<'END');
max_worker_processes = 4
train_perf.max_collectors = 2
shared_buffers = 16MB
fsync = off
max_wal_size = 4GB
END
my @databases = map { "db$_" } 1 .. 64;
$node->safe_psql('postgres', 'CREATE DATABASE template_perf');
$node->safe_psql('template_perf', 'CREATE EXTENSION train_perf');
$node->safe_psql('postgres', join '', map { "CREATE DATABASE $_ TEMPLATE template_perf;\n" } @databases);
for my $database (@databases)
{
	my $client = TrainPerfTest::Client->new($node, database => $database);
	$client->query("SELECT 1 / 0 AS of_$database");
	$client->quit;
}
my @dropped = @databases[ 10, 30, 50 ];
is(($node->psql('postgres', "DROP DATABASE $_"))[0], 0, "$_ is dropped") for @dropped;
my %waiting = map { $_ => 1 } @databases;
delete @waiting{@dropped};
wait_until('every event is written', sub {
	for my $database (sort keys %waiting)
	{
		my $client = TrainPerfTest::Client->new($node, database => $database);
		my $answer = $client->query("SELECT events_enqueued = events_written + events_queued + events_dropped,
			(SELECT count(*) FROM query_performance_logs WHERE query_text ~ 'of_$database') FROM capture_status()");
		$client->quit;
		is($answer->{rows}[0][0], 't', "$database: counts add up") if $answer->{rows}[0][0] ne 't';
		delete $waiting{$database} if $answer->{rows}[0][1] == 1;
	}
	return !%waiting;
});
is(join(' ', sort keys %waiting), '', 'in all of them');

Workers::log_is_clean($node);
$node->stop;
done_testing();
