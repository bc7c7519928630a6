# The collector takes snapshots of bloat and index usage on schedule, raises their alerts and resolves them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('workers_snapshots', q(
autovacuum = off
fsync = off
log_min_messages = warning
max_worker_processes = 20
train_perf.snapshot_interval = 1
));
with_extension($node, 'app');
create_database($node, 'excluding');
$node->safe_psql('excluding', q(ALTER DATABASE excluding SET train_perf.snapshot_exclude = 'audit.*, public.tmp_*';
	CREATE SCHEMA audit; CREATE TABLE audit.log (a int); CREATE TABLE tmp_1 (a int); CREATE TABLE kept (a int PRIMARY KEY)));
$node->safe_psql('excluding', 'CREATE EXTENSION train_perf');

$node->safe_psql('app', q(
	CREATE TABLE bloated (a int, b text);
	CREATE INDEX bloated_a ON bloated (a);
	INSERT INTO bloated SELECT g, repeat('x', 200) FROM generate_series(1, 700000) g;
	DELETE FROM bloated WHERE a % 10 <> 0;
	CREATE TABLE clean AS SELECT g AS a FROM generate_series(1, 1000) g;
	CREATE INDEX clean_a ON clean (a);
	CREATE SCHEMA gone; CREATE TABLE gone.t AS TABLE bloated));

sub alerts
{
	my ($state) = @_;
	return qq(SELECT coalesce(string_agg(fingerprint || ' ' || severity, ', ' ORDER BY fingerprint), '') FROM performance_alerts
		WHERE alert_type IN ('high_bloat', 'invalid_index', 'unused_index') AND resolved_at IS $state);
}
sub open_alerts { my ($expected) = @_; return '(' . alerts('NULL') . ") = '$expected'" }

eventually($node, 'app', q(SELECT count(DISTINCT tablename) = 2 FROM table_bloat_snapshots WHERE tablename IN ('bloated', 'clean') AND method IN ('sampled', 'exact')),
	'a row per table');
eventually($node, 'app', q(SELECT count(DISTINCT indexname) = 2 FROM index_bloat_snapshots WHERE indexname IN ('bloated_a', 'clean_a')), 'and per index');
eventually($node, 'app', q(SELECT count(DISTINCT indexname) = 2 FROM index_usage_snapshots WHERE indexname IN ('bloated_a', 'clean_a')), 'and for the usage of indexes');
is_true($node, 'app', 'SELECT index_usage_observed_since IS NOT NULL FROM capture_status()', 'which is observed from now on');
eventually($node, 'app', 'SELECT ' . open_alerts('high_bloat:index:public.bloated_a critical, high_bloat:table:public.bloated critical'),
	'alerts for what is bloated');
# Two runs, as what another session did may be reported a moment later; but not over midnight.
my $rows = q(SELECT count(*) || ' ' || current_date FROM table_bloat_snapshots WHERE tablename = 'clean');
for my $run ('the next snapshot', 'and another one')
{
	my $began = $node->safe_psql('app', 'SELECT clock_timestamp()');
	eventually($node, 'app', "SELECT started_at > '$began' AND finished_at IS NOT NULL FROM bloat_snapshot_run", $run);
	last if $run eq 'and another one';
	$rows = [ $rows, $node->safe_psql('app', $rows) ];
}
my ($query, $before) = @$rows;
my $after = $node->safe_psql('app', $query);
is($after, (split / /, $after)[1] eq (split / /, $before)[1] ? $before : $after, 'writes nothing of what did not change');
eventually($node, 'app', q(SELECT bool_and(occurrences > 1) FROM performance_alerts WHERE resolved_at IS NULL AND alert_type = 'high_bloat'),
	'alerts are updated in place');

# A concurrent build that fails leaves an invalid index.
$node->psql('app', 'CREATE UNIQUE INDEX CONCURRENTLY twice ON bloated ((a / 100))');
eventually($node, 'app', 'SELECT '
	  . open_alerts('high_bloat:index:public.bloated_a critical, high_bloat:table:public.bloated critical, invalid_index:public.twice error'),
	'an alert for an invalid index');

$node->safe_psql('app', $_) for 'DROP INDEX twice', 'VACUUM FULL bloated', 'DROP SCHEMA gone CASCADE';
eventually($node, 'app', 'SELECT ' . open_alerts(''), 'all resolve');
is_true($node, 'app', q(SELECT bool_and(resolution_notes IS NOT NULL) FROM performance_alerts WHERE alert_type <> 'slow_query'), 'with a note');
is_true($node, 'app', q(SELECT count(*) = 0 FROM get_bloat_status() WHERE schemaname = 'gone'), 'what is gone is not in the status');

eventually($node, 'excluding', q(SELECT count(*) > 0 FROM table_bloat_snapshots WHERE tablename = 'kept'), 'settings of a database count');
is_true($node, 'excluding', q(SELECT count(*) = 0 FROM table_bloat_snapshots WHERE tablename <> 'kept'), 'also what they exclude');
is_true($node, 'excluding', q(SELECT count(DISTINCT indexname) = 1 AND min(tablename) = 'kept' FROM index_usage_snapshots), 'for indexes too');

is_never($node, qr/(ERROR|PANIC|WARNING):(?!.*could not create unique index)/, 'no errors on the way');
$node->stop;
done_testing();
