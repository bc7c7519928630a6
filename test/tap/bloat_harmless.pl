# Estimates and snapshots of bloat harm nobody: locks, changes at the same time, damage, cancellation, standbys.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Midnight;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('bloat_harmless', q(
autovacuum = off
log_min_messages = warning
train_perf.snapshot_interval = '7d'
), allows_streaming => 1, extra => ['--data-checksums']);
with_extension($node, 'app');
sub psql { my ($sql) = @_; my ($code, $out, $err) = $node->psql('app', $sql); return ($code, $out, $err) }
# By itself the collector takes a first one.
eventually($node, 'app', 'SELECT count(*) = 1 FROM bloat_snapshot_run WHERE finished_at IS NOT NULL', 'the collector takes a snapshot');

$node->safe_psql('app', q(
	CREATE TABLE t AS SELECT g AS a, repeat('x', 200) AS b FROM generate_series(1, 50000) g;
	CREATE INDEX i ON t (a);
	CREATE TABLE other AS SELECT 1 AS a;
	CREATE UNLOGGED TABLE passing AS SELECT g AS a FROM generate_series(1, 1000) g;
	CREATE INDEX passing_a ON passing (a);
	SELECT pg_stat_force_next_flush()));

subtest 'a_locked_relation_is_skipped' => sub {
	not_over_midnight($node, 30);  # a new day has a row of each table
	my $session = session($node, 'app');
	$session->query('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
	my ($code, $out, $err) = psql(q(SELECT * FROM estimate_table_bloat('t')));
	is("$code|$out", '0|', 'no row');
	like($err, qr/NOTICE:  skipped relation \d+ \(t\): locked/, 'and the reason');
	($code, $out, $err) = psql(q(SELECT * FROM estimate_index_bloat('i')));
	is("$code|$out", '0|', 'nor for its index');
	($code, $out, $err) = psql('SELECT capture_table_bloat_snapshot()');
	is("$code|$out", '0|2', 'a snapshot has the others');
	like($err, qr/1 locked or damaged relations were skipped/, 'and says so');
	is($node->safe_psql('app', 'SELECT tables, written, skipped FROM bloat_snapshot_run'), '3|2|1', 'and counts it');
	is_true($node, 'app', q(SELECT count(*) > 0 FROM calculate_index_bloat()), 'calculate_index_bloat leaves it out');
	is_true($node, 'app', q(SELECT count(*) >= 0 FROM index_findings), 'so do findings');
	is_true($node, 'app', 'SELECT capture_index_usage_snapshot() >= 0', 'and the usage of indexes');
	$session->query('ROLLBACK');
	is($node->safe_psql('app', 'SELECT capture_table_bloat_snapshot()'), '1', 'the next one has it');
	$session->query('BEGIN; DROP INDEX i');
	is($node->safe_psql('app', q(SELECT count(*) FROM estimate_index_bloat('i'))), '0', 'a locked index');
	$session->query('ROLLBACK');
	$session->quit;
};

subtest 'a_locked_part_is_left_out' => sub {
	$node->safe_psql('app', q(CREATE TABLE parted (a int) PARTITION BY RANGE (a); CREATE INDEX parted_a ON parted (a);
		CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000); CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
		INSERT INTO parted SELECT generate_series(0, 1999)));
	my $session = session($node, 'app');
	$session->query('BEGIN; LOCK TABLE ONLY parted_1 IN ACCESS EXCLUSIVE MODE');
	for my $call (q(estimate_table_bloat('parted')), q(estimate_index_bloat('parted_a')))
	{
		my ($code, $out, $err) = psql("SELECT live_tuples FROM $call");
		is("$code|$out", '0|1000', "$call: the others");
		like($err, qr/skipped 1 parts/, 'and how many were left out');
	}
	$session->query('ROLLBACK');
	$session->quit;
	$node->safe_psql('app', 'DROP TABLE parted');
};

subtest 'two_at_once' => sub {
	my $session = session($node, 'app');
	$session->query('BEGIN; SELECT capture_table_bloat_snapshot()');
	my ($code, $out, $err) = psql('SELECT capture_table_bloat_snapshot()');
	is("$code|$out", '0|0', 'the second writes nothing');
	like($err, qr/another session is taking the snapshot/, 'and says why');
	$session->query('COMMIT');
	$session->quit;
};

subtest 'while_others_change_the_table' => sub {
	my $changes = PostgreSQL::Test::Utils::tempdir() . '/changes.sql';
	append_to_file($changes, join "\n",
		q(TRUNCATE moving;),
		q(INSERT INTO moving SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g;),
		q(DELETE FROM moving WHERE a % 3 = 0;),
		q(VACUUM moving;),
		q(ALTER TABLE moving ADD c int DEFAULT 5;),
		q(REINDEX INDEX moving_a;),
		q(CLUSTER moving USING moving_a;),
		q(ALTER TABLE moving DROP c;),
		q(REINDEX INDEX CONCURRENTLY moving_a;),
		q(DROP TABLE IF EXISTS fleeting; CREATE TABLE fleeting AS SELECT g FROM generate_series(1, 2000) g;), '');
	$node->safe_psql('app', 'CREATE TABLE moving (a int, b text); CREATE INDEX moving_a ON moving (a); CREATE TABLE fleeting ()');
	my $changing = IPC::Run::start([ 'pgbench', '-n', '-f', $changes, '-T', '15', '-h', $node->host, '-p', $node->port, 'app' ],
		'>', \my $changed, '2>', \my $changed_err);
	my $wrong = 0;
	my $estimates = 0;
	while ($changing->pumpable)
	{
		my ($code, $out, $err) = psql(q(
			SELECT count(*) FILTER (WHERE e.actual_size_bytes NOT BETWEEN 0 AND 2000000 OR e.estimated_size_bytes NOT BETWEEN 0 AND 2000000
			  OR e.live_tuples NOT BETWEEN 0 AND 3000 OR e.dead_tuples NOT BETWEEN 0 AND 6000), count(*)
			FROM (SELECT oid FROM pg_class WHERE relname IN ('moving', 'fleeting')) c, estimate_table_bloat(c.oid) e));
		my ($bad, $all) = split /\|/, $out;
		$wrong++, diag("$out $err") if $code != 0 || $bad != 0 || $err =~ /WARNING|ERROR/;
		$estimates += $all;
		($code, $out, $err) = psql(q(SELECT * FROM pg_class c, estimate_index_bloat(c.oid) e WHERE c.relname = 'moving_a'));
		$wrong++, diag($err) if $code != 0 || $err =~ /WARNING|ERROR/;
		($code, $out, $err) = psql('SELECT capture_table_bloat_snapshot(), capture_index_usage_snapshot()');
		$wrong++, diag($err) if $code != 0 || $err =~ /WARNING|ERROR/;
		$changing->pump_nb;
	}
	$changing->finish;
	is($changed_err =~ /ERROR|FATAL/ ? $changed_err : '', '', 'those who change it notice nothing');
	is($wrong, 0, 'no errors and no wrong rows');
	cmp_ok($estimates, '>', 0, "in $estimates estimates");
};

subtest 'cancelled_in_the_middle' => sub {
	my ($code, $out, $err) = psql(q(SET train_perf.sample_cost_delay = '100ms'; SET vacuum_cost_limit = 1;
		SET statement_timeout = '1s'; SELECT * FROM estimate_table_bloat('t')));
	like($err, qr/canceling statement due to statement timeout/, 'statement_timeout');
	# What comes after it is another transaction, and is committed: it takes much less than the timeout.
	my $slow = q(SET train_perf.sample_cost_delay = '100ms'; SET vacuum_cost_limit = 1;);
	my $session = session($node, 'app');
	$session->query("CREATE TABLE kept (a text); $slow SET statement_timeout = '3s'; SELECT * FROM estimate_table_bloat('t')");
	$session->query(q(INSERT INTO kept VALUES ('autocommit')));
	$session->query(q(DO $$ BEGIN
		BEGIN
			PERFORM * FROM estimate_table_bloat('t');
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
		INSERT INTO kept VALUES ('handled');
	END $$));
	$session->quit;
	is($node->safe_psql('app', 'SELECT string_agg(a, \' \' ORDER BY a) FROM kept'), 'autocommit handled', 'nothing of what follows is lost');
	$session = session($node, 'app');
	$session->query_until(qr/begun/, "SET train_perf.sample_cost_delay = '100ms'; SET vacuum_cost_limit = 1;\n\\echo begun\nSELECT * FROM estimate_table_bloat('t');\n");
	eventually($node, 'app', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT . FROM estimate' AND wait_event = 'VacuumDelay'),
		'it pauses as vacuum does');
	is_true($node, 'app', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT . FROM estimate' AND state = 'active'
		AND pid <> pg_backend_pid()), 'cancelled');
	eventually($node, 'app', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE query ~ '^SELECT . FROM estimate' AND state = 'active'
		AND pid <> pg_backend_pid()), 'it ends');
	$session->quit;
};

subtest 'a_cancelled_collector_goes_on' => sub {
	$node->append_conf('postgresql.conf', "train_perf.snapshot_interval = '1s'\ntrain_perf.sample_cost_delay = '100ms'\nvacuum_cost_limit = 1");
	$node->reload;
	$node->safe_psql('app', 'DELETE FROM t WHERE a = 1');
	my $of_collector = q(FROM pg_stat_activity WHERE backend_type = 'train_perf collector' AND datname = 'app');
	eventually($node, 'app', "SELECT count(*) = 1 $of_collector AND query = 'continue_bloat_snapshot' AND wait_event = 'VacuumDelay'", 'it reads');
	my $began = $node->safe_psql('app', 'SELECT clock_timestamp()');
	is_true($node, 'app', "SELECT pg_cancel_backend(pid) $of_collector", 'and is cancelled');
	$node->append_conf('postgresql.conf', "train_perf.sample_cost_delay = 0\nvacuum_cost_limit = 10000");
	$node->reload;
	eventually($node, 'app', "SELECT finished_at > '$began' FROM bloat_snapshot_run", 'the snapshot is taken all the same');
	eventually($node, 'app', "SELECT count(*) = 1 $of_collector AND coalesce(xact_start > '$began', true) AND backend_xmin IS NULL", 'no transaction is left');
	is_logged($node, 'app', 'after_cancellation');
	$node->append_conf('postgresql.conf', "train_perf.snapshot_interval = '7d'\ntrain_perf.sample_cost_delay = '2ms'\nvacuum_cost_limit = 200");
	$node->reload;
};

# Blocks 3 and 5 of the table are overwritten, 7 zeroed; 0 of the index stays.
subtest 'damage' => sub {
	$node->safe_psql('app', 'DELETE FROM t WHERE a % 2 = 0; CHECKPOINT');
	my %file = map { $_ => $node->data_dir . '/' . $node->safe_psql('app', "SELECT pg_relation_filepath('$_')") } ('t', 'i');
	my $healthy = $node->safe_psql('app', q(SELECT estimated_size_bytes FROM estimate_table_bloat('t', 1000000)));
	$node->stop;
	for my $hole ([ 't', 3, "\xab" x 8192 ], [ 't', 5, "\xab" x 8192 ], [ 't', 7, "\0" x 8192 ], [ 'i', 3, "\xcd" x 8192 ])
	{
		my ($name, $block, $bytes) = @$hole;
		open my $fh, '+<:raw', $file{$name} or die "$file{$name}: $!";
		seek $fh, $block * 8192, 0;
		print $fh $bytes;
		close $fh;
	}
	$node->start;
	my ($code, $out, $err) = psql(q(SELECT method, estimated_size_bytes FROM estimate_table_bloat('t', 1000000)));
	my ($method, $estimated) = split /\|/, $out;
	is($method, 'sampled', 'not all could be read');
	cmp_ok(abs($estimated - $healthy), '<=', 0.01 * $healthy, "the estimate is as good without them: $estimated, $healthy");
	is(() = $err =~ /skipped \d+ damaged/g, 1, 'one warning');
	like($err, qr/WARNING:  skipped 2 damaged page\(s\) of "t".*Block 3: invalid page/s, 'which tells of all of them');
	($code, $out, $err) = psql(q(SELECT method FROM estimate_index_bloat('i', 1000000)));
	is("$code|$out", '0|sampled', 'an index');
	like($err, qr/skipped 1 damaged page\(s\) of "i"/, 'with a warning too');
	# Perhaps the collector has taken a snapshot meanwhile, before it was told to pause: this is a change since then.
	$node->safe_psql('app', 'ALTER TABLE t SET (toast_tuple_target = 2000)');
	($code, $out, $err) = psql('SELECT capture_table_bloat_snapshot()');
	is($code, 0, 'a snapshot goes on');
	like($err, qr/of "i"/s, 'with a warning');  # of the table not all pages are in the sample
	psql('SELECT count(*) FROM other');
	$node->safe_psql('app', 'DROP TABLE t');
	my $gone = $node->safe_psql('app', q(SELECT pg_relation_filepath('other')));
	$node->stop;
	unlink $node->data_dir . "/$gone" or die "$gone: $!";
	$node->start;
	($code, $out, $err) = psql('SELECT capture_table_bloat_snapshot()');
	is($code, 0, 'a missing file stops nothing');
	is($node->safe_psql('app', q(DROP TABLE other; SELECT capture_table_bloat_snapshot() >= 0)), 't', 'nor afterwards');
};

subtest 'on_a_standby' => sub {
	$node->safe_psql('app', q(CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 10000) g; CREATE INDEX i ON t (a); DELETE FROM t WHERE a % 2 = 0));
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('bloat_standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	for my $call (q(estimate_table_bloat('t')), q(estimate_index_bloat('i')))
	{
		my $columns = 'actual_size_bytes, estimated_size_bytes, method, live_tuples';
		is($standby->safe_psql('app', "SELECT $columns FROM $call"), $node->safe_psql('app', "SELECT $columns FROM $call"), $call);
	}
	is_true($standby, 'app', 'SELECT count(*) > 0 FROM calculate_index_bloat()', 'calculate_index_bloat');
	is_true($standby, 'app', 'SELECT count(*) > 0 FROM get_bloat_status()', 'get_bloat_status');
	is_true($standby, 'app', 'SELECT count(*) >= 0 FROM index_findings', 'index_findings');
	for my $unlogged (q(estimate_table_bloat('passing')), q(estimate_index_bloat('passing_a')))
	{
		my ($code, $out, $err) = $standby->psql('app', "SELECT * FROM $unlogged");
		is("$code|$out", '0|', "$unlogged: no row");
		like($err, qr/NOTICE:  skipped relation .*: unlogged/, 'but the reason');
	}
	for my $capture ('capture_table_bloat_snapshot()', 'capture_index_usage_snapshot()')
	{
		my ($code, $out, $err) = $standby->psql('app', "\\set VERBOSITY verbose\nSELECT $capture");
		like($err, qr/ERROR:  25006: \Q$capture\E cannot run on a standby.*HINT/s, $capture);
	}
	$standby->stop;
};

$node->stop;
done_testing();
