# No free background worker slot: that is told, and collecting resumes when there is one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use Workers;

# One is the server's own launcher for subscriptions, one our launcher, one is left.
my $node = start_server('workers_slots', "max_worker_processes = 3\nlog_min_messages = warning\n");
with_extension($node, 'first');
is_collected($node, 'first');
with_extension($node, 'second');

eventually($node, 'second', q(SELECT last_error ~ 'max_worker_processes' FROM capture_status()),
	'capture_status() says what is missing');
# Until it takes its turn: what fails just before that does not wait.
my ($failed, $waits) = (0, 'f');
while ($waits ne 't' && $failed < 100)
{
	fail_statement($node, 'second', 'waiting' . ++$failed);
	$waits = $node->safe_psql('second', 'SELECT events_queued >= 1 AND lag > interval \'0\' FROM capture_status()');
}
is($waits, 't', 'events wait, and the lag is shown');
is_logged($node, 'first', 'served');
counts_add_up($node, 'second');

$node->safe_psql('first', 'DROP EXTENSION train_perf');
is_collected($node, 'second', 'the place that is free is taken');
eventually($node, 'second', logged("waiting$_"), 'and what waited is written') for 1 .. $failed;
counts_add_up($node, 'second');

log_is_clean($node);
$node->stop;
done_testing();
