# A standby refuses maintenance and queues nothing; promotion takes up what the primary left.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use Test::More;
use Maintenance;
use TrainPerfTest;
use Workers;

my $primary = maintenance_server('maintenance_primary', '', allows_streaming => 1);
with_maintenance($primary, 'app');
$primary->safe_psql('app', 'CREATE ROLE shop_owner LOGIN; CREATE TABLE t AS SELECT 1 AS n; ALTER TABLE t OWNER TO shop_owner;
	GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text), await_maintenance(bigint[]) TO shop_owner;
	CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS n');
slow_table($primary, 'app', 'big');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('maintenance_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# One that runs, one that waits for it, and one that has ended.
my $ended = $primary->safe_psql('app', 'ALTER DATABASE app RESET vacuum_cost_delay') || ask($primary, 'app', 't');
reaches($primary, 'app', $ended, 'succeeded');
configure($primary, 'app', q{SET vacuum_cost_delay = '100ms'});
my $running = ask($primary, 'app', 'big');
eventually($primary, 'app', 'SELECT count(*) = 1 FROM pg_stat_progress_vacuum', 'VACUUM is at work');
my $queued = ask($primary, 'app', 't');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my $seen = q{SELECT string_agg(concat_ws(' ', job_id, status, attempts), ', ' ORDER BY job_id) FROM maintenance_status};
is($standby->safe_psql('app', $seen), "$ended succeeded 1, $running running 1, $queued queued 0", 'a standby shows the jobs');
for my $user (undef, 'shop_owner')
{
	my $client = client($standby, 'app', $user);
	for my $call (q{SELECT vacuum_analyze_table('t')}, q{SELECT request_maintenance('vacuum_analyze', 't'::regclass, NULL, NULL, NULL)},
		"SELECT cancel_maintenance_job($queued)", "SELECT cancel_maintenance_job($ended)", "CALL wait_for_maintenance($ended)",
		"CALL wait_for_maintenance($running)", q{DO $$ BEGIN PERFORM vacuum_analyze_table('t'); END $$})
	{
		my $error = $client->query($call)->{error};
		is("$error->{C} $error->{M}", '25006 cannot execute maintenance during recovery', ($user // 'a superuser') . ": $call");
	}
	$client->quit;
}
is(client($standby, 'app')->query(q{SELECT vacuum_analyze_table('unlogged')})->{error}{C}, '25006', 'an unlogged table');
is_true($standby, 'app', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type ~ 'train_perf (maintenance|collector)'}, 'nobody works there');
is($standby->safe_psql('app', $seen), "$ended succeeded 1, $running running 1, $queued queued 0", 'nothing was queued');
is($standby->safe_psql('app', q{SELECT DISTINCT error FROM maintenance_schedule WHERE name <> 'window'}),
	'this is a standby: the primary keeps the schedule', 'the schedule says so');
is_never($standby, qr/(ERROR|FATAL|PANIC|WARNING):(?!.*(cannot execute maintenance during recovery|starting up|not yet accepting))/,
	'and nothing fails by itself');

$primary->stop('immediate');
$standby->promote;
eventually($standby, 'app', "SELECT status = 'running' AND attempts = 2 AND is_maintenance_running(job_id)
	FROM maintenance_jobs WHERE job_id = $running", 'promoted: the job whose worker is gone starts again');
is(attempts($standby, 'app', $running), 'queued, running, queued 57P01, running', 'it was queued again');
$standby->safe_psql('app', 'ALTER DATABASE app RESET vacuum_cost_delay; SELECT pg_terminate_backend(pid) FROM maintenance_workers()');
reaches($standby, 'app', $_, 'succeeded') for $running, $queued;
like($standby->safe_psql('app', q{SELECT vacuum_analyze_table('t')}), qr/^job \d+: VACUUM/, 'new jobs are done');
log_is_clean($standby);
$standby->stop;
done_testing();
