# A standby captures what it runs and writes nothing; promotion starts the writing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use Test::More;
use Workers;

my $primary = start_server('life_primary', 'log_min_messages = warning', allows_streaming => 1);
with_extension($primary, 'app');
is_logged($primary, 'app', 'on_the_primary');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('life_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

$standby->safe_psql('app', 'SELECT 4711 AS on_the_standby') for 1 .. 3;
eventually($standby, 'app', q(SELECT sum(calls) = 3 FROM query_stats WHERE query ~* 'as on_the_standby'),
	'the standby has statistics of its own');
is_true($primary, 'app', q(SELECT count(*) = 0 FROM query_stats WHERE query ~* 'as on_the_standby'),
	'the primary knows nothing of them');
fail_statement($standby, 'app', 'failed_on_the_standby');
is_true($standby, 'app', 'SELECT events_written = 0 FROM capture_status()', 'nothing is written');
counts_add_up($standby, 'app');
is_true($standby, 'postgres', 'SELECT 0 = (' . collectors_of() . ')', 'no collector runs');
is_true($standby, 'app', 'SELECT total_queries >= 0 FROM get_query_stats()', 'get_query_stats works');
is_true($standby, 'app', 'SELECT count(*) >= 0 FROM get_slow_queries()', 'get_slow_queries works');

# What the primary does with its databases is replayed without anybody in the way.
$primary->safe_psql('postgres', 'CREATE DATABASE passing TEMPLATE app');
is_collected($primary, 'passing');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('passing', 'SELECT 1'), '1', 'a new database arrives');
eventually($standby, 'postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'passing'),
	'nobody is in it on the standby');
is($primary->psql('postgres', 'DROP DATABASE passing'), 0, 'and is dropped');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is_true($standby, 'postgres', q(SELECT count(*) = 0 FROM pg_database WHERE datname = 'passing'), 'on both');

is_never($standby, qr/(ERROR|FATAL|PANIC|WARNING):(?!.*(division by zero|starting up|not yet accepting))/,
	'no errors in the log of the standby');

$standby->restart;
is($standby->safe_psql('app', 'SELECT 1'), '1', 'the standby restarts');

$primary->stop;
$standby->promote;
is_collected($standby, 'app', 'promotion brings the collector');
eventually($standby, 'app', 'SELECT collector_pid IS NOT NULL FROM capture_status()', 'which is at work');
is_logged($standby, 'app', 'after_promotion');
is_true($standby, 'app', q(SELECT count(*) = 1 FROM query_performance_logs
	WHERE query_text ~* 'as on_the_primary'),
	'what the primary wrote is there');
is_true($standby, 'app', q(SELECT count(*) = 0 FROM query_stats_history h JOIN query_texts USING (query_hash)
	WHERE query ~* 'as on_the_standby'), 'what ran before the promotion is not in the history');

$standby->stop;
done_testing();
