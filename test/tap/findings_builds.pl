# An index that is being built, rebuilt or dropped is invalid without being accused of it; one whose build failed
# is. And whatever is locked, the view does not wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use Test::More;
use Workers;

my $node = start_server('findings_builds', "autovacuum = off\n");
with_extension($node, 'app');
$node->safe_psql('app', <<'END');
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE reader LOGIN;
SELECT grant_access('reader', 'read');
CREATE TABLE busy (a integer, b integer);
CREATE INDEX failed ON busy (a);
CREATE INDEX old ON busy (b, a);
CREATE TABLE idle (a integer);
CREATE INDEX one ON idle (a);
CREATE INDEX two ON idle (a);
INSERT INTO busy SELECT g, g FROM generate_series(1, 20000) g;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'failed'::regclass;
END

# The invalid indexes that a role finds.
sub accused
{
	my ($role) = @_;
	return $node->safe_psql('app', q(SELECT coalesce(string_agg(indexname, ' ' ORDER BY indexname), '') FROM index_findings
		WHERE finding = 'invalid'), extra_params => [ '-U', $role ]);
}

sub invalid
{
	my ($index) = @_;
	return "SELECT count(*) = 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = '$index' AND NOT i.indisvalid";
}

my $open_alerts = q(SELECT coalesce(string_agg(fingerprint, ' ' ORDER BY fingerprint), '') FROM performance_alerts
	WHERE alert_type = 'invalid_index' AND resolved_at IS NULL);

is(accused('monitor'), 'failed', 'an invalid index is accused');
is(accused('reader'), 'failed', 'by every reader');

# What must wait for a writer, and gets cancelled.
sub while_working
{
	my ($sql, $index, $check) = @_;
	my $writer = session($node, 'app');
	$writer->query_safe('BEGIN; INSERT INTO busy VALUES (1, 1); SELECT pg_current_xact_id()');
	my $worker = session($node, 'app');
	my $pid = $worker->query_safe('SELECT pg_backend_pid()');
	$worker->query_until(qr/begun/, "\\echo begun\n$sql;\n");
	eventually($node, 'app', invalid($index), "$sql: begun");
	eventually($node, 'app', "SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND NOT granted", 'and waiting');
	$check->();
	$node->safe_psql('app', "SELECT pg_cancel_backend($pid)");
	eventually($node, 'app', "SELECT count(*) = 0 FROM pg_locks WHERE pid = $pid", 'it is cancelled');
	$writer->query_safe('ROLLBACK');
	$_->quit for $writer, $worker;
	return;
}

while_working('CREATE INDEX CONCURRENTLY fresh ON busy (b)', 'fresh', sub {
	is(accused('monitor'), 'failed', 'a build in progress is not accused');
	is(accused('reader'), '', 'who may not see progress sees no index of that table accused');
});
is(accused('monitor'), 'failed fresh', 'a failed build is');
is(accused('reader'), 'failed fresh', 'for every reader');
$node->safe_psql('app', 'DROP INDEX fresh');

while_working('SET track_activities = off; CREATE INDEX CONCURRENTLY silent ON busy (b)', 'silent', sub {
	unlike(accused('monitor'), qr/silent/, 'a build that does not report its progress is not accused');
});
like(accused('monitor'), qr/silent/, 'when it failed it is');
$node->safe_psql('app', 'DROP INDEX silent');

while_working('REINDEX TABLE CONCURRENTLY busy', 'old_ccnew', sub {
	is(accused('monitor'), 'failed', 'nothing is accused that is being rebuilt: not what REINDEX TABLE skips');
});
like(accused('monitor'), qr/\bold_ccnew\b/, 'what a failed rebuild left is accused');
is($node->safe_psql('app', q(SELECT remediation FROM index_findings WHERE indexname = 'old_ccnew')),
	'DROP INDEX CONCURRENTLY public.old_ccnew;', 'and to be dropped');

cmp_ok($node->safe_psql('app', 'SELECT check_invalid_index_alerts()'), '>=', 2, 'it raises alerts');
like($node->safe_psql('app', $open_alerts), qr/invalid_index:public.failed/, 'one of each index');
while_working('DROP INDEX CONCURRENTLY failed', 'failed', sub {
	unlike(accused('monitor'), qr/\bfailed\b/, 'an index that is being dropped is not accused');
	$node->safe_psql('app', 'SELECT check_invalid_index_alerts()');
	like($node->safe_psql('app', $open_alerts), qr/invalid_index:public.failed/, 'but its alert stays');
});
like(accused('monitor'), qr/\bfailed\b/, 'when that failed it is accused again');
$node->safe_psql('app', 'DROP INDEX failed');
$node->safe_psql('app', 'SELECT check_invalid_index_alerts()');
unlike($node->safe_psql('app', $open_alerts), qr/invalid_index:public.failed/, 'when it is gone the alert is resolved');

# VACUUM locks the table like a build.
my $vacuum = session($node, 'app');
my $pid = $vacuum->query_safe("SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1; SELECT pg_backend_pid()");
$vacuum->query_until(qr/begun/, "\\echo begun\nVACUUM (FREEZE, DISABLE_PAGE_SKIPPING) busy;\n");
eventually($node, 'app', "SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE pid = $pid", 'a slow VACUUM runs');
like(accused('monitor'), qr/old_ccnew/, 'VACUUM hides nothing');
$node->safe_psql('app', "SELECT pg_cancel_backend($pid)");
$vacuum->quit;

# A session that holds everything exclusively: nothing is known of definitions, all else is found.
my $before = $node->safe_psql('app', 'SELECT finding_key FROM index_findings ORDER BY 1');
my $locker = session($node, 'app');
$locker->query_safe('BEGIN; LOCK TABLE busy, idle IN ACCESS EXCLUSIVE MODE; ALTER INDEX two SET (fillfactor = 50)');
is($node->safe_psql('app', q(SET statement_timeout = '60s'; SELECT finding_key FROM index_findings ORDER BY 1)), $before,
	'locked tables are no reason to wait');
is($node->safe_psql('app', q(SELECT detail LIKE '%Definition: its table is locked%', bytes_to_win > 0 FROM index_findings
	WHERE indexname = 'two')), 't|t', 'what a lock hides is said');
$locker->query_safe('ROLLBACK');
$locker->quit;
is($node->safe_psql('app', 'SELECT finding_key FROM index_findings ORDER BY 1'), $before, 'nor later');

$node->stop;
done_testing();
