# Rebuilds of bloated indexes by workers: under load, of every kind of index, of TOAST tables and partitions, as an
# owner who is no superuser; one job for each index however often it is asked for, and none where nothing was won.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('maintenance_reindex', <<'END');
autovacuum = off
train_perf.maintenance_workers = 2
train_perf.maintenance_retry_delay = 1s
train_perf.maintenance_max_attempts = 100
END
with_extension($node, 'app');
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');
$node->safe_psql('app', 'GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text) TO shop;
	GRANT CREATE ON SCHEMA public TO shop; CREATE EXTENSION btree_gist; CREATE EXTENSION bloom');

sub as_shop
{
	my ($sql) = @_;
	return $node->safe_psql('app', $sql, extra_params => [ '-U', 'shop' ]);
}

# Waits for the jobs that a text names.
sub await_jobs
{
	my ($text, $name) = @_;
	my $jobs = join ',', $text =~ /job ([0-9]+)/g;
	isnt($jobs, '', "$name: queued");
	eventually($node, 'app', "SELECT bool_and(finished_at IS NOT NULL) FROM maintenance_jobs WHERE job_id IN ($jobs)", "$name: ended");
	is($node->safe_psql('app', "SELECT concat_ws(' ', target, status, sqlstate, error_message) FROM maintenance_jobs
		WHERE job_id IN ($jobs) AND status <> 'succeeded'"), '', "$name: succeeded");
	return split /,/, $jobs;
}

# When all can be removed that was deleted.
sub vacuum
{
	my (@tables) = @_;
	dead_for_all($node, 'app');
	$node->safe_psql('app', "VACUUM $_") for @tables;
	return;
}

sub nothing_is_left
{
	my ($name) = @_;
	return is($node->safe_psql('app', 'SELECT indexrelid::regclass FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)'),
		'', "$name: no invalid index is left");
}

# Under load: what waits longer than the workers may, fails, and ends its session. No two sessions update one row.

as_shop(<<'END');
CREATE TABLE account (id integer PRIMARY KEY, code text, balance integer) WITH (fillfactor = 50);
CREATE INDEX account_code ON account (code);
INSERT INTO account SELECT g, md5(g::text), 0 FROM generate_series(1, 200000) g;
DELETE FROM account WHERE id % 5 > 1;
END
vacuum('account');
my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, <<'END');
\set id (random(0, 9999) * 4 + :client_id + 1) * 5
UPDATE account SET balance = balance + 1 WHERE id = :id;
SELECT balance FROM account WHERE code = md5((:id)::text);
END
{
	my ($out, $err) = ('', '');
	my $bench = do
	{
		local $ENV{PGOPTIONS} = '-c lock_timeout=5s';
		local $ENV{PGAPPNAME} = 'load';
		IPC::Run::start([ 'pgbench', '-n', '-U', 'shop', '-h', $node->host, '-p', $node->port, '-c', 4, '-T', 3600, '-f', $script, 'app' ],
			'>', \$out, '2>', \$err);
	};
	eventually($node, 'app', q(SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'load'), 'there is load');
	my $told = as_shop(q(SELECT reindex_if_bloated('account', 20)));
	like($told, qr/^public\.account_code: ratio [\d.]+ %, .* to win of .*: queued as job \d+$/m, 'a bloated index is queued');
	like($told, qr/^public\.account_pkey: ratio [\d.]+ %, .* to win of .*: queued as job \d+$/m, 'that of a constraint too');
	my @jobs = await_jobs($told, 'under load');
	is_true($node, 'app', q(SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'load'), 'while there was load');
	$bench->signal('TERM');
	eval { $bench->finish };
	is($err, '', 'no statement failed or had to wait');
	my $jobs = join ',', @jobs;
	is($node->safe_psql('app', "SELECT j FROM maintenance_jobs j WHERE job_id IN ($jobs) AND (bytes_after < bytes_before AND bloat_before > 20
		AND bloat_after < 3 AND duration_ms >= 0 AND attempts = 1 AND summary ~ '^rebuilt public.account_(code|pkey): .* -> .*, ratio .* -> .*, [0-9]+ m?s'
		AND requested_by = 'shop' AND command = 'REINDEX INDEX CONCURRENTLY ' || target AND reason ~ '^bloat .*, above 20 %; .* to win\$')
		IS NOT true"), '', 'each tells what it did');
	is_true($node, 'app', q(SELECT bool_and(bloat_ratio < 3) FROM unnest('{account_code, account_pkey}'::regclass[]) i, estimate_index_bloat(i)),
		'the size is what the estimate says');
	is($node->safe_psql('app', q(SELECT count(*) FROM performance_alerts WHERE alert_type = 'high_bloat' AND severity = 'info'
		AND resolved_at IS NOT NULL AND details ->> 'threshold' = '20' AND (details ->> 'previous_bloat')::numeric > 20)), '2', 'and so does an alert');
	nothing_is_left('under load');
}

# Every kind of index, and an expression that runs only as the owner of its table.

as_shop(<<'END');
CREATE FUNCTION only_shop(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'shop' OR session_user <> 'shop' THEN RAISE 'run as % of %', current_user, session_user; END IF;
  RETURN $1;
END $$;
CREATE TABLE kinds (a integer, b text, c integer[], d point, e text);
CREATE UNIQUE INDEX kinds_unique ON kinds (a) INCLUDE (b);
CREATE INDEX kinds_hash ON kinds USING hash (b);
CREATE INDEX kinds_gin ON kinds USING gin (c);
CREATE INDEX kinds_gist ON kinds USING gist (d, a);
CREATE INDEX kinds_spgist ON kinds USING spgist (d);
CREATE INDEX kinds_brin ON kinds USING brin (a);
CREATE INDEX kinds_expression ON kinds (only_shop(a));
CREATE INDEX kinds_partial ON kinds (b) WHERE a < 10000;
CREATE INDEX "a Name that is as long as the names of the server can get, an" ON kinds (b, a);
ALTER TABLE kinds ALTER e SET STORAGE EXTERNAL;
INSERT INTO kinds SELECT g, md5(g::text), ARRAY[g, g % 100], point(g, g % 1000), CASE WHEN g % 10 = 0 THEN repeat('x', 3000) END
  FROM generate_series(1, 20000) g;
DELETE FROM kinds WHERE a % 10 > 0 OR a < 10000;
END
vacuum('kinds');
my $definitions = q(SELECT string_agg(pg_get_indexdef(indexrelid), E'\n' ORDER BY pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = 'kinds'::regclass);
my $before = $node->safe_psql('app', $definitions);
my @kinds = await_jobs(as_shop(q(SELECT string_agg('job ' || request_maintenance('reindex', indexrelid, NULL, NULL, 'all kinds'), ' ')
	FROM pg_index WHERE indrelid = 'kinds'::regclass)), 'all kinds');
is(scalar @kinds, 9, 'a job for each index');
is($node->safe_psql('app', $definitions), $before, 'all are what they were');
is($node->safe_psql('app', q(SELECT count(*) FROM maintenance_jobs WHERE kind = 'reindex' AND bytes_after > bytes_before)), 0, 'none is larger');
nothing_is_left('all kinds');

# A TOAST table, in whose schema an owner can name nothing.
{
	my $told = as_shop(q(SELECT reindex_if_bloated('kinds', 50)));
	like($told, qr/^pg_toast\.pg_toast_\d+_index: ratio .*: queued as job \d+$/m, 'the index of a TOAST table');
	my ($job) = await_jobs($told, 'TOAST');
	is($node->safe_psql('app', "SELECT requested_by FROM maintenance_jobs WHERE job_id = $job"), 'shop', 'for who asked');
	is($node->safe_psql('app', 'SELECT reindex_if_bloated($$kinds$$, 50) ~ $$job$$'), 'f', 'then there is nothing to do');
}

# What a concurrent rebuild cannot do is said; partitions are rebuilt one by one.

as_shop(<<'END');
CREATE TABLE booking (room integer, during int4range, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO booking SELECT g, int4range(g, g + 1) FROM generate_series(1, 20000) g;
DELETE FROM booking WHERE room % 10 > 0;
CREATE TABLE event (at integer PRIMARY KEY) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (20000);
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (20000) TO (40000);
INSERT INTO event SELECT generate_series(0, 39999);
DELETE FROM event WHERE at < 18000;
END
vacuum('booking', 'event');
like(as_shop(q(SELECT reindex_if_bloated('booking'))), qr/^public\.booking_room_during_excl: ratio [\d.]+ %, .*exclusion constraint.* REINDEX INDEX public\.booking_room_during_excl$/m,
	'exclusion constraint');
{
	my $told = as_shop(q(SELECT reindex_if_bloated('event')));
	like($told, qr/^public\.event_1_pkey: .*: queued as job \d+$/m, 'a bloated partition');
	like($told, qr/^public\.event_2_pkey: ratio [\d.]+ %, not above 20 %: nothing to do$/m, 'and one that is not');
	await_jobs($told, 'partitioned');
	is_true($node, 'app', q(SELECT count(*) = 2 FROM pg_inherits WHERE inhparent = 'event_pkey'::regclass), 'it stays a part');
}

# Who has MAINTAIN, and nothing else; a key without overlaps, which is an exclusion constraint too.

SKIP:
{
	skip 'MAINTAIN came with PostgreSQL 17', 5 if $node->pg_version < 17;
	as_shop('CREATE TABLE kept (a integer); CREATE INDEX kept_a ON kept (only_shop(a));
		INSERT INTO kept SELECT generate_series(1, 20000); DELETE FROM kept WHERE a % 5 > 0');
	vacuum('kept');
	$node->safe_psql('app', 'CREATE ROLE keeper LOGIN; CREATE ROLE nobody LOGIN; GRANT MAINTAIN ON kept TO keeper');
	my ($code, $out, $err) = $node->psql('app', q(SELECT reindex_if_bloated('kept')), extra_params => [ '-U', 'nobody' ]);
	like($err, qr/permission denied/, 'without MAINTAIN');
	my ($job) = $node->safe_psql('app', q(SELECT reindex_if_bloated('kept')), extra_params => [ '-U', 'keeper' ]) =~ /job (\d+)/;
	eventually($node, 'app', "SELECT requested_by = 'keeper' AND sqlstate = 'P0001' AND error_message = 'run as shop of keeper' FROM maintenance_jobs
		WHERE job_id = $job", 'an expression runs as the owner of the table, for who has MAINTAIN');
	as_shop('CREATE OR REPLACE FUNCTION only_shop(integer) RETURNS integer IMMUTABLE LANGUAGE sql RETURN $1');
	await_jobs("job $job", 'MAINTAIN');
}
SKIP:
{
	skip 'WITHOUT OVERLAPS came with PostgreSQL 18', 1 if $node->pg_version < 18;
	as_shop('CREATE TABLE stay (room integer, during int4range, PRIMARY KEY (room, during WITHOUT OVERLAPS));
		INSERT INTO stay SELECT g, int4range(g, g + 1) FROM generate_series(1, 20000) g; DELETE FROM stay WHERE room % 10 > 0');
	vacuum('stay');
	like(as_shop(q(SELECT reindex_if_bloated('stay'))), qr/^public\.stay_pkey: .*exclusion constraint/m, 'a key without overlaps');
}

# Asked for from two sides at once, and for all tables: one job for each index.

as_shop('CREATE TABLE twice (a integer PRIMARY KEY, b integer); CREATE INDEX twice_b ON twice (b);
	INSERT INTO twice SELECT g, -g FROM generate_series(1, 100000) g; DELETE FROM twice WHERE a > 20000');
vacuum('twice');
{
	# Until it ends, no rebuild does.
	my $writer = session($node, 'app');
	$writer->query_safe('BEGIN; SELECT count(*) FROM twice');
	my @sessions = map { session($node, 'app', extra_params => [ '-U', 'shop' ]) } 1 .. 4;
	$_->query_safe('SET client_min_messages = warning') for @sessions;
	my @told = map { $_->query_safe(q(SELECT reindex_if_bloated('twice'))) } @sessions[0, 1];
	push @told, map { $_->query_safe(q(SELECT string_agg(indexname || ' job ' || job_id || ' ' || bloat_ratio, E'\n') FROM reindex_bloated_indexes())) } @sessions[2, 3];
	my %jobs = map { $_ => 1 } map { /job (\d+)/g } @told;
	is(scalar keys %jobs, 2, 'one job for each index');
	like($told[1], qr/already queued as job/, 'which is said');
	# But for the one that a worker is at work on by now.
	like($told[2], qr/^twice_(pkey|b) job \d+ /m, 'from all sides');
	$_->quit for @sessions;
	$writer->query_safe('COMMIT');
	$writer->quit;
	await_jobs(join('', @told), 'twice');
	is($node->safe_psql('app', q(SELECT string_agg(target, ' ' ORDER BY target) FROM maintenance_jobs WHERE target ~ 'twice' AND kind = 'reindex')),
		'public.twice_b public.twice_pkey', 'nothing was rebuilt twice');
	nothing_is_left('twice');
}
{
	my ($code, $out, $err) = $node->psql('app', 'SELECT * FROM reindex_bloated_indexes()', extra_params => [ '-U', 'shop' ]);
	is($out, '', 'now no index is above the threshold');
	like($err, qr/NOTICE:  left alone: (\d+ [^,\n]+, )*\d+ smaller than 1 MB, \d+ that cannot be rebuilt concurrently\n/, 'a notice counts what is left alone');
	($code, $out, $err) = $node->psql('app', 'SET ROLE pg_monitor; SELECT * FROM reindex_bloated_indexes()');
	like($err, qr/left alone: \d+ of other owners\n/, 'and what is not the caller\'s');
}

# An index whose dead rows are only counted: its second rebuild wins nothing, so there is no third until it grows.

as_shop('CREATE TABLE counted (a integer, b integer); CREATE INDEX counted_bloom ON counted USING bloom (a, b);
	INSERT INTO counted SELECT g, g FROM generate_series(1, 40000) g; DELETE FROM counted WHERE a % 2 = 0');
eventually($node, 'app', q(SELECT n_dead_tup >= 20000 FROM pg_stat_user_tables WHERE relname = 'counted'), 'dead rows are counted');
my $reindex_counted = q(SELECT reindex_if_bloated('counted', 50));
my ($first) = await_jobs(as_shop($reindex_counted), 'an index that is bloated');
my ($second) = await_jobs(as_shop($reindex_counted), 'and seems to be again');
is_true($node, 'app', "SELECT (SELECT bytes_after < bytes_before FROM maintenance_jobs WHERE job_id = $first)
	AND (SELECT bytes_after = bytes_before FROM maintenance_jobs WHERE job_id = $second)", 'but wins nothing');
like(as_shop($reindex_counted), qr/^public\.counted_bloom: ratio [\d.]+ %, .*: not queued, its last rebuild won nothing, and it has not grown since$/, 'is left alone');
is($node->safe_psql('app', q(SELECT count(*) FROM maintenance_jobs WHERE target ~ 'counted' AND finished_at IS NULL)), '0', 'with no job');
as_shop('INSERT INTO counted SELECT g, g FROM generate_series(1, 40000) g; DELETE FROM counted WHERE a < 40000');
eventually($node, 'app', q(SELECT n_dead_tup >= 70000 FROM pg_stat_user_tables WHERE relname = 'counted'), 'more dead rows are counted');
await_jobs(as_shop($reindex_counted), 'until it grows');

# The schedule: by snapshots, as the owner; not again before the index has grown past where it settled.

as_shop('CREATE TABLE monthly (a integer); CREATE INDEX monthly_a ON monthly (a);
	INSERT INTO monthly SELECT generate_series(1, 100000); DELETE FROM monthly WHERE a % 5 > 0');
vacuum('monthly');
$node->safe_psql('app', 'SELECT capture_table_bloat_snapshot()');
my $scheduled = q(SELECT string_agg('job ' || job_id, ' ') FROM maintenance_jobs WHERE target = 'public.monthly_a' AND reason ~ '^schedule: ');
$node->safe_psql('app', 'SELECT queue_scheduled_reindex()');
# Which a session does not do; asking for another job wakes the workers.
$node->safe_psql('app', q(SELECT request_maintenance('vacuum_analyze', 'monthly'::regclass, NULL, NULL, 'now')));
my ($monthly) = await_jobs($node->safe_psql('app', $scheduled), 'scheduled');
is_true($node, 'app', "SELECT requested_by = 'shop' AND in_window AND bytes_after < bytes_before AND threshold = 50 FROM maintenance_jobs WHERE job_id = $monthly", 'as its owner');
as_shop('DELETE FROM monthly WHERE a % 9 > 0');
vacuum('monthly');
$node->safe_psql('app', 'UPDATE index_rebuilds SET settled_ratio = 1e6; SELECT capture_table_bloat_snapshot()');
is($node->safe_psql('app', 'SELECT queue_scheduled_reindex()'), '0', 'not again before it has grown that far');

# A table that is dropped meanwhile.
{
	my $writer = session($node, 'app');
	as_shop('CREATE TABLE brief (a integer PRIMARY KEY)');
	my ($job) = as_shop(q(BEGIN; SELECT request_maintenance('reindex', 'brief_pkey'::regclass, NULL, NULL, 'x'); DROP TABLE brief; COMMIT)) =~ /(\d+)/;
	eventually($node, 'app', "SELECT finished_at IS NOT NULL FROM maintenance_jobs WHERE job_id = $job", 'the job of a dropped table ends');
	is_true($node, 'app', "SELECT status IN ('skipped', 'succeeded') FROM maintenance_jobs WHERE job_id = $job", 'without a failure');
	$writer->quit;
}
log_is_clean($node);
done_testing();
