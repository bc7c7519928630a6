# Servers with live workers stop when asked, in every mode, and start again where they were.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use Workers;

my $node = start_server('life_shutdown');
with_extension($node, 'app', 'other');
is_logged($node, $_, 'first') for qw(app other);

for my $mode (qw(fast smart immediate))
{
	$node->stop($mode);    # fails after the limit of pg_ctl
	pass("stopped: $mode");
	$node->start;
	is_logged($node, $_, "after_$mode") for qw(app other);
}

# Nobody reads the queue while the log is locked: what is in it waits for the next start.
subtest 'queued_events_survive_a_restart' => sub {
	my $session = session($node, 'app');
	$session->query('BEGIN; LOCK TABLE query_performance_logs IN ACCESS EXCLUSIVE MODE');
	fail_statement($node, 'app', 'over_night');
	eventually($node, 'app', q(SELECT events_queued >= 1 AND last_error ~ 'lock timeout' FROM capture_status()),
		'the log is locked');
	$node->stop('fast');
	eval { $session->quit };
	$node->start;
	eventually($node, 'app', logged('over_night'), 'the event is written by the next server');
	counts_add_up($node, 'app');
};

subtest 'smart_shutdown_waits_for_users_and_collects_meanwhile' => sub {
	my $session = session($node, 'app');
	$session->query('SELECT 1');
	my $stop = IPC::Run::start([ 'pg_ctl', '-D', $node->data_dir, '-m', 'smart', '-t', 180, '-w', 'stop' ],
		'>', '/dev/null');
	ok($node->wait_for_log(qr/received smart shutdown request/), 'asked to stop');
	$session->query('SELECT 1 / count(*) AS last_user FROM pg_class WHERE false');
	$session->quit;
	ok($stop->finish, 'stopped when the user left');
	$node->_update_pid(0);
	$node->start;
	eventually($node, 'app', logged('last_user'), 'and the last statement is not lost');
};

log_is_clean($node);
$node->stop;
done_testing();
