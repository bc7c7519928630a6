# Requests that nobody takes: callers are told in the end, other databases go on, and nothing is lost.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Maintenance;
use TrainPerfTest;
use Workers;

my $node = maintenance_server('maintenance_queue');
with_maintenance($node, 'app', 'other');
$node->safe_psql($_, 'CREATE TABLE t AS SELECT 1 AS n') for qw(app other);

# The collector of app cannot write what is asked.
my $locker = client($node, 'app');
sql($locker, 'BEGIN');
sql($locker, 'LOCK TABLE maintenance_jobs IN EXCLUSIVE MODE');

# Callers that are cancelled after the collector has seen what they ask; their requests stay.
my @callers = map { client($node, 'app') } 1 .. 64;
for my $round (1, 2)
{
	$_->send(query => q{SELECT vacuum_analyze_table('t')}) for @callers;
	eventually($node, 'app', q{SELECT count(*) = 64 FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Extension'
		AND query ~ '^SELECT vacuum' AND pid <> pg_backend_pid()}, "round $round: 64 ask");
	# A new collector tries at once: the pauses of the old one become longer, and callers wait for 30 s only.
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'train_perf collector' AND datname = 'app'});
	# An attempt that began earlier does not have them all.
	for (1, 2)
	{
		my $log = -s $node->logfile;
		ok($node->wait_for_log(qr/SQL function "take_maintenance_requests"/, $log), 'the collector has tried');
	}
	my @cancelled = @callers[ 0 .. 64 - $round ];    # in the end one waits on
	$node->safe_psql('app', 'SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[' . join(', ', map { $_->pid } @cancelled) . ']) pid');
	is_deeply([ map { $_->answer->{error}{C} } @cancelled ], [ ('57014') x @cancelled ], "round $round: they are cancelled");
}
my $refused = $callers[0]->send(query => q{SELECT vacuum_analyze_table('t')});
like($node->safe_psql('other', q{SELECT vacuum_analyze_table('t')}), qr/^job \d+: VACUUM/, 'other databases go on');
$node->safe_psql('app', 'CREATE TABLE loaded AS SELECT generate_series(1, 200000) AS n');
is($node->safe_psql('app', 'SELECT dropped_maintenance_requests()'), '1', 'a load is not analyzed, which is counted');
my $error = $refused->answer->{error};
is("$error->{C} $error->{M} [$error->{H}]", '53400 too many maintenance requests are waiting [Try again later.]', 'no more are taken');
$error = $callers[63]->answer->{error};
is("$error->{C} $error->{M}", '55000 the maintenance request was not taken within 30 seconds', 'nobody waits for ever');
like($error->{H}, qr/capture_status\(\)/, 'and is told where to look');
like($node->safe_psql('other', q{SELECT vacuum_analyze_table('t')}), qr/^job \d+: VACUUM/, 'other databases still go on');

sql($locker, 'COMMIT');
like(sql($callers[1], q{SELECT vacuum_analyze_table('t')}), qr/^job \d+: VACUUM/, 'then there is room again');
all_have_ended($node, 'app');
is_true($node, 'app', q{SELECT count(*) = 129 AND bool_and(status = 'succeeded') FROM maintenance_jobs},
	'and all that was taken is done');
$_->quit for $locker, @callers;
log_is_clean($node);
$node->stop;
done_testing();
