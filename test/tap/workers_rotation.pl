# More databases than collectors may run: they take turns, and each database's events are written.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use Workers;

my $node = start_server('workers_rotation', "train_perf.max_collectors = 1\nlog_min_messages = warning\n");
my @databases = map { "app$_" } 1 .. 5;
with_extension($node, @databases);

# Waits for a condition in each database, and watches how many collectors run meanwhile.
sub all_logged_by
{
	my ($most, $mark) = @_;
	my %missing = map { $_ => 1 } @databases;
	my $seen = 0;
	my $watch = $node->background_psql('postgres');
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (%missing && time < $deadline)
	{
		for my $database (sort keys %missing)
		{
			my $running = $watch->query_safe(collectors_of());
			$seen = $running if $running > $seen;
			delete $missing{$database} if $node->safe_psql($database, logged($mark)) eq 't';
		}
		Time::HiRes::sleep(0.05);
	}
	$watch->quit;
	is(join(' ', sort keys %missing), '', "$mark: written in every database");
	cmp_ok($seen, '<=', $most, "$mark: never more than $most collector(s)");
	counts_add_up($node, $_, "$mark: counts of $_ add up") for @databases;
	return;
}

subtest 'one_collector_for_five_databases' => sub {
	for my $round (1 .. 3)
	{
		fail_statement($node, $_, "round$round") for @databases;
		all_logged_by(1, "round$round");
	}
	eventually($node, $_, 'SELECT count(*) > 0 FROM query_stats_history', "$_ has history") for @databases;
};

subtest 'a_busy_database_does_not_starve_the_others' => sub {
	$node->safe_psql('postgres', 'ALTER DATABASE app1 SET train_perf.log_min_duration = 0');
	my ($out, $err) = ('', '');
	my $script = $node->basedir . '/busy.sql';
	append_to_file($script, "SELECT 1;\n");
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-f', $script, '-c', 2, '-T', 600, $node->connstr('app1') ],
		'>', \$out, '2>', \$err);
	eventually($node, 'app1', 'SELECT events_enqueued > 1000 FROM capture_status()', 'one is busy');
	for my $database (@databases[ 1 .. 4 ])
	{
		is_logged($node, $database, 'beside', "$database is served meanwhile");
	}
	counts_add_up($node, 'app1', 'the counts of the busy one add up under load');
	$load->signal('INT');
	eval { $load->finish };
	$node->safe_psql('postgres', 'ALTER DATABASE app1 RESET train_perf.log_min_duration');
	eventually($node, 'app1', 'SELECT events_queued = 0 AND events_written > 0 FROM capture_status()',
		'its own events are written or dropped in the end');
};

subtest 'the_number_is_changed_by_reload' => sub {
	$node->append_conf('postgresql.conf', 'train_perf.max_collectors = 2');
	$node->reload;
	eventually($node, 'postgres', 'SELECT 2 = (' . collectors_of() . ')', 'two collectors after a reload');
	fail_statement($node, $_, 'two') for @databases;
	all_logged_by(2, 'two');

	$node->safe_psql($_, 'DROP EXTENSION train_perf') for @databases[ 2 .. 4 ];
	is_logged($node, $_, 'as_many_as_databases') for @databases[ 0, 1 ];
	eventually($node, 'postgres', 'SELECT 2 = (' . collectors_of() . ')', 'one for each of the two left');
	$node->append_conf('postgresql.conf', 'train_perf.max_collectors = 1');
	$node->reload;
	eventually($node, 'postgres', 'SELECT 1 = (' . collectors_of() . ')', 'one collector after another reload');
	is_logged($node, $_, 'one_again') for @databases[ 0, 1 ];
};

log_is_clean($node);
$node->stop;
done_testing();
