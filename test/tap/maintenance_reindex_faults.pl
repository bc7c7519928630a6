# Rebuilds of indexes that cannot end at once: behind an old transaction, with a worker that is killed while it
# builds, on a disk without room. Whatever they leave is shown, and dropped as soon as that can be done.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $library = build_library('full_disk');
my $disk = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('maintenance_reindex_faults');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'train_perf'
autovacuum = off
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''
restart_after_crash = on
max_prepared_transactions = 2
train_perf.maintenance_drain_timeout = 1s
train_perf.maintenance_retry_delay = 500ms
train_perf.maintenance_max_attempts = 1000
END
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{FULL_DISK} = $disk;
	$node->start;
}
with_extension($node, 'app');
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk'");
$node->safe_psql('app', 'GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text) TO shop;
	GRANT CREATE ON SCHEMA public TO shop; GRANT CREATE ON TABLESPACE small TO shop');

sub as_shop
{
	my ($sql) = @_;
	return $node->safe_psql('app', $sql, extra_params => [ '-U', 'shop' ]);
}

# A table with one bloated index.
sub bloated
{
	my ($table, $tablespace) = @_;
	as_shop("CREATE TABLE $table (a integer, b text); CREATE INDEX ${table}_a ON $table (a) TABLESPACE $tablespace;
		INSERT INTO $table SELECT g, repeat('x', 3000) FROM generate_series(1, 20000) g; DELETE FROM $table WHERE a % 10 > 0");
	dead_for_all($node, 'app');
	$node->safe_psql('app', "VACUUM $table");
	return;
}

sub queue
{
	my ($table) = @_;
	my ($job) = as_shop("SELECT reindex_if_bloated('$table', 50)") =~ /^public\.${table}_a: .*: queued as job (\d+)$/m;
	ok($job, "$table: queued");
	return $job;
}

# The condition that a job is in that state.
sub job
{
	my ($job, $state) = @_;
	return "SELECT $state FROM maintenance_jobs WHERE job_id = $job";
}

my $invalid = q(SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND c.relname LIKE '%\_cc%');

sub ends_well
{
	my ($job, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually($node, 'app', job($job, q(status = 'succeeded' AND attempts > 1 AND bytes_after < bytes_before)), "$name: rebuilt in the end");
	eventually($node, 'app', "SELECT 0 = ($invalid)", "$name: no invalid index is left");
	eventually($node, 'app', 'SELECT count(*) = 0 FROM maintenance_jobs WHERE finished_at IS NULL', "$name: no job either");
	return;
}

# An old transaction: attempts give up, and what they leave is shown while it cannot be dropped.

bloated('orders', 'pg_default');
my $old = session($node, 'app');
$old->query_safe('BEGIN; SELECT count(*) FROM orders');
my $pid = $old->query_safe('SELECT pg_backend_pid()');
my $job = queue('orders');
eventually($node, 'app', "SELECT waiting_for ~ 'pid $pid' FROM maintenance_status WHERE job_id = $job", 'it shows for whom it waits');
eventually($node, 'app', job($job, q(attempts > 1 AND sqlstate = '55P03' AND waiting_for ~ 'pid')), 'an attempt gives up, and is repeated');
is($node->safe_psql('app', 'SELECT count(*) FROM orders WHERE a = 10'), '1', 'the table can be used');
eventually($node, 'app', q(SELECT count(*) > 0 FROM maintenance_status WHERE kind = 'drop_index' AND status IN ('queued', 'running')
	AND target ~ '^public\.orders_a_cc(new|old)[0-9]*$'), 'what it left waits for its drop');
eventually($node, 'app', q(SELECT count(*) > 0 FROM performance_alerts WHERE alert_type = 'invalid_index' AND resolved_at IS NULL
	AND details ->> 'indexname' ~ '^orders_a_cc'), 'there is an alert');
eventually($node, 'app', q(SELECT count(*) > 0 FROM index_findings WHERE finding = 'invalid' AND indexname ~ '^orders_a_cc'), 'and a finding');
$old->query_safe('COMMIT');
$old->quit;
ends_well($job, 'an old transaction');
eventually($node, 'app', q(SELECT count(*) = 0 FROM performance_alerts WHERE alert_type = 'invalid_index' AND resolved_at IS NULL), 'the alert ends');

# A role that is dropped before what its rebuild left.

bloated('receipts', 'pg_default');
$node->safe_psql('app', 'CREATE ROLE helper SUPERUSER LOGIN');
$old = session($node, 'app');
$old->query_safe('BEGIN; SELECT count(*) FROM receipts');
$node->safe_psql('app', q(SELECT reindex_if_bloated('receipts', 50)), extra_params => [ '-U', 'helper' ]);
eventually($node, 'app', q(SELECT count(*) > 0 FROM maintenance_jobs WHERE kind = 'drop_index' AND requested_by = 'helper' AND attempts > 0),
	'a drop is queued as who asked');
$node->safe_psql('app', 'DROP ROLE helper');
eventually($node, 'app', q(SELECT count(*) = 0 FROM maintenance_jobs WHERE requested_by = 'helper' AND finished_at IS NULL), 'nothing more is done as that role');
$old->query_safe('COMMIT');
$old->quit;
eventually($node, 'app', "SELECT 0 = ($invalid)", 'its owner drops it');
eventually($node, 'app', q(SELECT string_agg(DISTINCT requested_by, ' ') = 'shop' FROM maintenance_jobs
	WHERE kind = 'drop_index' AND status = 'succeeded' AND target ~ 'receipts'), 'he and nobody else');

# A prepared transaction is an old transaction, too.

bloated('envelopes', 'pg_default');
$node->safe_psql('app', q(BEGIN; INSERT INTO envelopes VALUES (1, 'x'); PREPARE TRANSACTION 'held'));
my $xid = $node->safe_psql('app', 'SELECT transaction FROM pg_prepared_xacts');
$job = queue('envelopes');
eventually($node, 'app', "SELECT waiting_for = 'the end of prepared transaction $xid' FROM maintenance_status WHERE job_id = $job AND status = 'running'",
	'it shows for which one it waits');
eventually($node, 'app', job($job, "sqlstate = '55P03' AND error_message = 'older transactions did not end within 1 s: the end of prepared transaction $xid'"),
	'an attempt gives up');
$node->safe_psql('app', q(ROLLBACK PREPARED 'held'));
ends_well($job, 'a prepared transaction');

# The same, and an index that somebody else is building on that table: it stays.

bloated('parcels', 'pg_default');
$node->safe_psql('app', q(BEGIN; INSERT INTO parcels VALUES (1, 'x'); PREPARE TRANSACTION 'held'));
my $builder = session($node, 'app');
$builder->query_until(qr/begun/, "\\echo begun\nCREATE INDEX CONCURRENTLY parcels_b_ccnew ON parcels (a);\n");
eventually($node, 'app', q(SELECT count(*) = 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE c.relname = 'parcels_b_ccnew' AND NOT i.indisvalid), 'somebody builds an index');
$job = queue('parcels');
eventually($node, 'app', job($job, 'attempts > 2 AND sqlstate IS NOT NULL'), 'the rebuild waits');
is($node->safe_psql('app', q(SELECT count(*) FROM pg_class WHERE relname = 'parcels_b_ccnew')), '1', 'and lets the build be');
is($node->safe_psql('app', q(SELECT count(*) FROM maintenance_jobs WHERE kind = 'drop_index' AND target ~ 'parcels_b')), '0', 'without thinking of a drop');
$node->safe_psql('app', q(ROLLBACK PREPARED 'held'));
eventually($node, 'app', q(SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = 'parcels_b_ccnew'), 'it is built');
$builder->quit;
ends_well($job, 'a build of somebody else');
is($node->safe_psql('app', q(SELECT indisvalid FROM pg_index WHERE indexrelid = 'parcels_b_ccnew'::regclass)), 't', 'a valid index of such a name stays');

# A worker that is killed while it builds: the server restarts, and the next worker clears up.

bloated('invoices', 'pg_default');
$node->append_conf('postgresql.conf', 'train_perf.maintenance_drain_timeout = 1h');
$node->reload;
$old = session($node, 'app');
$old->query_safe('BEGIN; INSERT INTO invoices VALUES (1, $$x$$)');
$job = queue('invoices');
eventually($node, 'app', "SELECT 1 = ($invalid)", 'an index is being built');
eventually($node, 'app', "SELECT waiting_for IS NOT NULL FROM maintenance_status WHERE job_id = $job", 'and waits');
my $worker = $node->safe_psql('app', "SELECT pid FROM maintenance_workers() WHERE job_id = $job");
die 'no worker' unless $worker;
kill 'KILL', $worker;
my $log = $node->logfile;
eventually_logged('database system is ready to accept connections', 2);
$old->quit if eval { $old->query('SELECT 1'); 0 };
$node->poll_query_until('postgres', 'SELECT true') or die 'the server is not back';
ends_well($job, 'a worker that was killed');
is_true($node, 'app', job($job, 'attempts = 2'), 'in the second attempt');

sub eventually_logged
{
	my ($line, $times) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $found = () = slurp_file($node->logfile) =~ /\Q$line\E/g;
		return pass("$times times in the log: $line") if $found >= $times;
		select undef, undef, undef, 0.1;
	}
	return fail("$times times in the log: $line");
}

# No room: nothing is begun.

bloated('letters', 'small');
append_to_file("$disk/full", '');
$job = queue('letters');
eventually($node, 'app', job($job, q(attempts > 1 AND status = 'queued' AND sqlstate = '53100'
	AND error_message ~ '^a rebuild of public.letters_a takes .* of disk space, and its tablespace has 0 bytes$')),
	'without room it does not begin, and says why');
is($node->safe_psql('app', $invalid), '0', 'nothing was built');
unlink "$disk/full" or die "cannot make room: $!";
ends_well($job, 'no room');

log_is_clean_but_for_one_kill();
done_testing();

sub log_is_clean_but_for_one_kill
{
	my @lines = slurp_file($node->logfile) =~ /^(.*(?:PANIC|TRAP|was terminated by signal).*)$/mg;
	return is(scalar(grep { !/signal 9/ } @lines), 0, 'nothing else crashed');
}
