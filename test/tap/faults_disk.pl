# The disk of the log is full: users go on, capture_status() says so, and when there is room again everything
# that was queued is written; what did not fit into the queue is counted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $library = build_library('full_disk');
my $disk = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('faults_disk');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'train_perf'
train_perf.event_buffer_size = 256kB
train_perf.history_interval = 1
));
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{FULL_DISK} = $disk;
	$node->start;
}
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk'");
create_database($node, 'app');
$node->safe_psql('postgres', 'ALTER DATABASE app SET default_tablespace = small');
$node->safe_psql('app', 'CREATE EXTENSION train_perf');
$node->safe_psql('app', 'CREATE TABLE orders (n integer) TABLESPACE pg_default');
is_logged($node, 'app', 'before');
eventually($node, 'app', q(SELECT count(*) > 1 AND bool_and(t.spcname = 'small') FROM pg_class AS c
	JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE c.oid IN
	(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'query_performance_logs'::regclass)), 'the log lies there');

# Each client's statements: one succeeds, one fails, with a text that needs much room.
sub load
{
	my ($name, $count) = @_;
	my $sql = join '', map { sprintf "INSERT INTO orders VALUES (%d);\nSELECT 1 / 0 AS c%d, %s;\n", $_, $_,
		  join ', ', map { "1 AS column_$_" } 1 .. 100 } 1 .. $count;
	my ($code, $out, $err) = $node->psql('app', $sql, on_error_stop => 0);
	is(scalar(() = $err =~ /ERROR:/g), $count, "$name: what fails by itself fails");
	is(scalar(() = $err =~ /ERROR:  division by zero/g), $count, "$name: and only for its own reason");
	return;
}

append_to_file("$disk/full", '');
my $orders = 0;
for my $round (1 .. 20)
{
	load("round $round", 20);
	$orders += 20;
	# Otherwise the queue could overflow before the collector has looked once.
	eventually($node, 'app', q(SELECT events_queued = 0 OR coalesce(last_error ~ 'No space left', false)
		FROM capture_status()), "round $round: the collector has tried to write");
	last if $node->safe_psql('app', q(SELECT coalesce(last_error ~ 'No space left', false) FROM capture_status())) eq 't';
}
eventually($node, 'app', q(SELECT last_error ~ 'No space left' AND events_queued > 0 FROM capture_status()),
	'capture_status() says what is wrong');
is_true($node, 'app', 'SELECT events_dropped = 0 FROM capture_status()', 'nothing is dropped while there is room');
counts_add_up($node, 'app');
load('queue overflows', 300);
$orders += 300;
is_true($node, 'app', 'SELECT events_dropped > 0 FROM capture_status()', 'what the queue cannot hold is counted');
is_true($node, 'app', "SELECT count(*) = $orders FROM orders", 'users have lost nothing');
is_true($node, 'app', "SELECT sum(calls) = $orders FROM query_stats WHERE query ~ '^insert into orders'",
	'nor the statistics');
counts_add_up($node, 'app');

unlink "$disk/full";
eventually($node, 'app', 'SELECT events_queued = 0 AND events_written = (SELECT count(*)
	FROM query_performance_logs) FROM capture_status()', 'with room again everything is written');
counts_add_up($node, 'app');
is_logged($node, 'app', 'afterwards');
$node->safe_psql('app', 'SELECT 1 AS late_statistics');
eventually($node, 'app', q(SELECT count(*) = 1 FROM query_stats_history JOIN query_texts USING (query_hash)
	WHERE query ~ 'late_statistics'),
	'and the history goes on');

log_is_clean($node);
$node->stop;
done_testing();
