# What can go wrong with the log's tables: users go on, nothing is lost, and all resumes when it is repaired.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use Workers;

my $node = start_server('workers_trouble', "train_perf.max_collectors = 10\nmax_worker_processes = 20\n");

# More attempts than any event is worth by itself; pauses of 1, 2, 4 and 8 s lie between them.
my $attempts = 5;

my $partitions_are_made = q(SELECT count(*) > 1 FROM pg_inherits
	WHERE inhparent = 'query_performance_logs'::regclass);

my @outages = (
	{   database => 'log_locked',
		break => [ 'BEGIN', 'LOCK TABLE query_performance_logs IN ACCESS EXCLUSIVE MODE' ],
		error => 'lock timeout',
		repair => ['COMMIT'] },
	{   database => 'triggered',
		break => [
			'CREATE TABLE archive (id uuid)',
			q(CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql
			  AS $$ BEGIN INSERT INTO public.archive VALUES (NEW.id); RETURN NEW; END $$),
			'CREATE TRIGGER archive AFTER INSERT ON query_performance_logs
			 FOR EACH ROW EXECUTE FUNCTION archive()',
			'DROP TABLE archive' ],
		error => 'archive',
		repair => ['CREATE TABLE archive (id uuid)'] },
	{   database => 'unpartitioned',
		break => [
			q(DO $$ DECLARE part regclass; BEGIN
			    FOR part IN SELECT inhrelid FROM pg_inherits
			      WHERE inhparent = 'query_performance_logs'::regclass AND inhrelid::regclass::text ~ '_p[0-9]+$'
			    LOOP EXECUTE format('DROP TABLE %s', part); END LOOP; END $$),
			'ALTER TABLE query_performance_logs DETACH PARTITION query_performance_logs_default' ],
		error => 'no partition',
		repair => ['ALTER TABLE query_performance_logs ATTACH PARTITION query_performance_logs_default DEFAULT'] });

# When the collector of a database failed so, in seconds of the day; waits for so many times.
sub failures
{
	my ($outage) = @_;
	my $pid = $node->safe_psql($outage->{database}, 'SELECT collector_pid FROM capture_status()');
	my @times;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		@times = slurp_file($node->logfile) =~ /^\d+-\d+-\d+ (\S+) UTC \[$pid\] ERROR:  [^\n]*$outage->{error}/mg;
		last if @times >= $attempts;
		Time::HiRes::sleep(0.1);
	}
	cmp_ok(scalar @times, '>=', $attempts, "$outage->{database}: tried again and again");
	return map { my ($h, $m, $s) = split /:/; 3600 * $h + 60 * $m + $s } @times;
}

for my $outage (@outages)
{
	my $database = $outage->{database};
	with_extension($node, $database);
	is_logged($node, $database, 'before');
	eventually($node, $database, $partitions_are_made, "$database: partitions are there");
}
for my $outage (@outages)
{
	my $database = $outage->{database};
	$outage->{session} = session($node, $database);
	$outage->{session}->query($_) for @{ $outage->{break} };
	fail_statement($node, $database, 'meanwhile');
	is($node->safe_psql($database, 'SELECT 42'), '42', "$database: users go on");
}
for my $outage (@outages)
{
	my $database = $outage->{database};
	my @times = failures($outage);
	# Over midnight too; a busy machine makes them longer.
	my @pauses = map { my $pause = $times[ $_ + 1 ] - $times[$_]; $pause < 0 ? $pause + 86400 : $pause } 0 .. $attempts - 2;
	is(scalar(grep { $pauses[$_] < 2**$_ - 0.05 } 0 .. $#pauses), 0, "$database: the pauses grow")
	  or diag("pauses: @pauses");
	is_true($node, $database, "SELECT last_error ~ '$outage->{error}' AND last_error_at <= clock_timestamp()
		FROM capture_status()", "$database: capture_status() shows why");
	is_true($node, $database, 'SELECT events_queued >= 1 AND lag > interval \'0\' FROM capture_status()',
		"$database: the event is still queued");
	counts_add_up($node, $database, "$database: counts add up");
}
for my $outage (@outages)
{
	my $database = $outage->{database};
	$outage->{session}->query($_) for @{ $outage->{repair} };
	$outage->{session}->quit;
}
for my $outage (@outages)
{
	my $database = $outage->{database};
	eventually($node, $database, logged('meanwhile'), "$database: it is written after the repair");
	is_logged($node, $database, 'afterwards');
	is_true($node, $database, 'SELECT events_dropped = 0 FROM capture_status()',
		"$database: nothing was dropped");
	counts_add_up($node, $database, "$database: counts add up in the end");
}

# One row that the table does not take must not hold up the others for ever.
subtest 'event_that_is_refused' => sub {
	with_extension($node, 'choosy');
	$node->safe_psql('postgres', 'ALTER DATABASE choosy SET train_perf.log_min_duration = -1');    # no other event
	is_logged($node, 'choosy', 'before');
	$node->safe_psql('choosy',
		q(ALTER TABLE query_performance_logs ADD CONSTRAINT choosy CHECK (query_text !~ 'refused')));
	fail_statement($node, 'choosy', $_) for qw(good1 refused good2);
	eventually($node, 'choosy', logged($_), "$_ is logged") for qw(good1 good2);
	eventually($node, 'choosy', q(SELECT events_queued = 1 AND last_error ~ 'choosy' FROM capture_status()),
		'the refused one waits');
	fail_statement($node, 'choosy', 'good3');
	eventually($node, 'choosy', logged('good3'), 'good3 is logged');
	eventually($node, 'choosy', 'SELECT events_dropped = 1 FROM capture_status()',
		'while others are written the refused one is given up and counted');
	counts_add_up($node, 'choosy');
};

subtest 'alerts_locked_by_a_user' => sub {
	with_extension($node, 'alerts_locked');
	is_logged($node, 'alerts_locked', 'before');
	my $session = session($node, 'alerts_locked');
	$session->query('BEGIN; LOCK TABLE performance_alerts IN SHARE ROW EXCLUSIVE MODE');
	$node->safe_psql('alerts_locked', 'SELECT pg_sleep(0.6)');
	eventually($node, 'alerts_locked', q(SELECT last_error ~ 'lock timeout' FROM capture_status()), 'it waits');
	$session->query('COMMIT');
	$session->quit;
	eventually($node, 'alerts_locked', q(SELECT count(*) = 1 AND min(occurrences) = 1 FROM performance_alerts
		WHERE message ~ 'pg_sleep'),
		'the alert is raised once, however often it was tried');
	eventually($node, 'alerts_locked', q(SELECT count(*) = 1 FROM query_performance_logs
		WHERE query_text ~ 'pg_sleep'), 'and the statement logged once');
};

subtest 'log_renamed' => sub {
	with_extension($node, 'renamed');
	is_logged($node, 'renamed', 'before');
	$node->safe_psql('renamed', 'ALTER TABLE query_performance_logs RENAME TO old_logs');
	fail_statement($node, 'renamed', 'meanwhile');
	eventually($node, 'renamed', 'SELECT events_queued = 0 FROM capture_status()', 'it goes on');
	$node->safe_psql('renamed', 'ALTER TABLE old_logs RENAME TO query_performance_logs');
	eventually($node, 'renamed', logged('meanwhile'), 'to where the table is');
	is_logged($node, 'renamed', 'afterwards');
};

subtest 'todays_partition_dropped' => sub {
	with_extension($node, 'dropped');
	is_logged($node, 'dropped', 'before');
	eventually($node, 'dropped', $partitions_are_made, 'partitions are there');
	$node->safe_psql('dropped', q(DO $$ DECLARE part regclass; BEGIN
		FOR part IN SELECT inhrelid FROM pg_inherits
		  WHERE inhparent = 'query_performance_logs'::regclass AND inhrelid::regclass::text ~ '_p[0-9]+$'
		LOOP EXECUTE format('DROP TABLE %s', part); END LOOP; END $$));
	is_logged($node, 'dropped', 'afterwards');
	is_true($node, 'dropped', 'SELECT events_dropped = 0 FROM capture_status()', 'nothing was dropped');
};

log_is_clean($node);
$node->stop;
done_testing();
