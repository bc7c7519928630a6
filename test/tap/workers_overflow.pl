# A queue that is too small drops events and counts them; users do not notice.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('workers_overflow', q(
train_perf.event_buffer_size = 256kB
train_perf.log_min_duration = 0
));
with_extension($node, 'app');
is_collected($node, 'app');
$node->safe_psql('app', 'CREATE TABLE numbers (n integer)');
# So that the collector cannot keep up, however fast the machine is.
$node->safe_psql('app', q(
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
CREATE TRIGGER linger BEFORE INSERT ON query_performance_logs FOR EACH ROW EXECUTE FUNCTION linger()));

my ($clients, $transactions) = (4, 2000);
# Long, so that few fit.
my $columns = join q(, ), map { qq(1 AS column$_) } 1 .. 50;
$node->pgbench(
	"-n -c $clients -t $transactions -M simple", 0,
	[qr{processed: @{[$clients * $transactions]}/}], [qr/^$/],
	'every transaction of the application succeeds',
	{ '001_overflow' => "INSERT INTO numbers VALUES (1);\nSELECT $columns;\n" },
	'app');

counts_add_up($node, 'app');
is_true($node, 'app', 'SELECT events_dropped > 0 FROM capture_status()', 'events were dropped');
$node->safe_psql('app', 'DROP TRIGGER linger ON query_performance_logs');
$node->safe_psql('postgres', 'ALTER SYSTEM SET train_perf.log_min_duration = -1');
$node->reload;
eventually($node, 'app', 'SELECT events_queued = 0 AND events_written = (SELECT count(*)
	FROM query_performance_logs) FROM capture_status()', 'the rest is written, and written means a row');
counts_add_up($node, 'app', 'still: enqueued = written + queued + dropped');
is_true($node, 'app', 'SELECT events_enqueued >= ' . 2 * $clients * $transactions . ' FROM capture_status()',
	'every statement was an event');
is_true($node, 'app', 'SELECT sum(calls) = ' . 2 * $clients * $transactions . q( FROM query_stats
	WHERE datname = 'app' AND (query ~* '^insert into numbers' OR query ~* 'as column50')),
	'statistics lose nothing');
is_logged($node, 'app', 'room_again');

log_is_clean($node);
$node->stop;
done_testing();
