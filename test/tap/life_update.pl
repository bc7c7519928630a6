# ALTER EXTENSION UPDATE gives what CREATE EXTENSION of the new version gives, and keeps the data and the rights.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('life_update', q(
max_worker_processes = 20
train_perf.max_collectors = 10
train_perf.history_interval = 1
train_perf.log_min_duration = -1
));
create_database($node, 'fresh', 'updated');
$node->safe_psql('postgres', 'CREATE ROLE anon; CREATE ROLE analyst; CREATE ROLE service; CREATE ROLE stranger');
my $schema = q("we'ird $x");

# Default privileges give everything to anyone, as some platforms have it.
sub create
{
	my ($database, $version) = @_;
	$node->safe_psql($database, qq(CREATE SCHEMA $schema; SET search_path = $schema;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, anon;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC, anon;
		CREATE EXTENSION train_perf SCHEMA $schema $version;
		SELECT grant_access('analyst', 'read'), grant_access('service', 'operate');));
	$node->safe_psql('postgres', qq(ALTER DATABASE $database SET search_path = $schema));
	return;
}
create('fresh', '');
create('updated', q(VERSION '0.1'));

subtest 'the_old_version_works_with_the_new_library' => sub {
	fail_statement($node, 'updated', 'before');
	eventually($node, 'updated', logged('before', $schema), 'events are logged');
	eventually($node, 'updated', q(SELECT count(*) > 2 FROM pg_inherits WHERE inhparent = 'query_stats_history'::regclass),
		'partitions are made');
	eventually($node, 'updated', q(SELECT count(*) > 0 FROM query_stats_history WHERE tableoid <> 'query_stats_history_default'::regclass),
		'history is written');
	is_never($node, qr/ERROR:  function .* does not exist/, 'the collector misses nothing');
};

$node->safe_psql('updated', q(
	INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
	  SELECT 'of the application', 700, now() - interval '1 day' * d FROM generate_series(0, 3) d;
	SELECT create_performance_alert('other', 'info', 'an alert', '{"fingerprint": "one"}');
	INSERT INTO query_stats_history SELECT now() - interval '1 day' * d, now() - interval '1 day' * d, 'me', d, md5('x'), true,
	  d, 0, 0, 0, d, 0, 0, 0, 0, 0, latency_histogram(d) FROM generate_series(0, 3) d;));

my $moment = $node->safe_psql('updated', 'SELECT now()');
# What the collector writes from here on is later.
eventually($node, 'updated', "SELECT max(bucket_end) > '$moment' FROM query_stats_history", 'another bucket is written');
my %rows = (
	log => "SELECT l.* FROM query_performance_logs l WHERE execution_timestamp <= '$moment' ORDER BY id",
	alerts => "SELECT a.* FROM performance_alerts a WHERE created_at <= '$moment' ORDER BY id",
	history => "SELECT h.* FROM query_stats_history h WHERE bucket_end <= '$moment' AND bucket_end > timestamptz '$moment' - interval '1 hour'
		ORDER BY bucket_start, queryid, username",
	sums => "SELECT queryid, sum(calls), merge_latency(latency_histogram) FROM query_stats_history WHERE username = 'me' GROUP BY 1 ORDER BY 1",
	texts => "SELECT query_hash, query FROM query_texts WHERE last_seen <= '$moment' ORDER BY 1");
sub data { my ($kind) = @_; return $node->safe_psql('updated', $rows{$kind}) }
my %before = map { $_ => data($_) } keys %rows;

subtest 'update' => sub {
	my ($code, $out, $err) = $node->psql('updated', 'ALTER EXTENSION train_perf UPDATE');
	is($code, 0, 'ALTER EXTENSION UPDATE') or diag $err;
	is($err, '', 'without a word');
	is($node->safe_psql('updated', 'SHOW search_path'), $schema, 'search_path is as it was');
	is(data($_), $before{$_}, "kept: $_") for sort keys %rows;
	isnt($before{$_}, '', "there were some: $_") for sort keys %rows;
	fail_statement($node, 'updated', 'after');
	eventually($node, 'updated', logged('after', $schema), 'the collector goes on');
	eventually($node, 'updated', "SELECT count(*) > 0 FROM query_stats_history WHERE bucket_start > clock_timestamp() - interval '5 seconds'",
		'also with the history');
	is($node->safe_psql('updated', 'DO $$BEGIN WHILE roll_up_history() > 0 LOOP COMMIT; END LOOP; END$$;' . $rows{sums}), $before{sums},
		'and rolls up what was there');
};

# Everything that the extension consists of, as text.
my $members = q(WITH member AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
	 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
	relation AS (SELECT c.* FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid));
my %catalog = (
	members => q(SELECT pg_describe_object(classid, objid, 0) FROM member),
	functions => q(SELECT p.oid::regprocedure, CASE WHEN p.prokind = 'a' THEN row(g.aggtransfn, g.aggfinalfn, g.aggtransspace, p.proparallel)::text
		ELSE pg_get_functiondef(p.oid) END, obj_description(p.oid, 'pg_proc'), p.proowner::regrole
		FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid),
	rights => q(SELECT r.relname, r.relkind, a.grantor::regrole, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
		a.privilege_type, a.is_grantable FROM relation r, aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) a
		UNION ALL SELECT p.oid::regprocedure::text, 'f', a.grantor::regrole, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
		a.privilege_type, a.is_grantable FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid,
		aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a),
	relations => q(SELECT relname, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition, relnatts, reloptions,
		relowner::regrole, obj_description(oid, 'pg_class'), CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END FROM relation),
	columns => q(SELECT r.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation,
		a.attstorage, a.attgenerated, a.attisdropped, pg_get_expr(d.adbin, d.adrelid), col_description(r.oid, a.attnum) FROM relation r
		JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum),
	constraints => q(SELECT r.relname, c.conname, pg_get_constraintdef(c.oid) FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid),
	indexes => q(SELECT r.relname, pg_get_indexdef(i.indexrelid), i.indisclustered, i.indisvalid FROM relation r JOIN pg_index i ON i.indrelid = r.oid),
	policies => q(SELECT r.relname, p.polname, p.polcmd, p.polpermissive, p.polroles, pg_get_expr(p.polqual, r.oid),
		pg_get_expr(p.polwithcheck, r.oid) FROM relation r JOIN pg_policy p ON p.polrelid = r.oid),
	triggers => q(SELECT r.relname, pg_get_triggerdef(t.oid) FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal),
	dumped => q(SELECT extversion, c::regclass, w FROM pg_extension, unnest(extconfig, extcondition) AS t (c, w) WHERE extname = 'train_perf'));

subtest 'the_same_catalog' => sub {
	for my $kind (sort keys %catalog)
	{
		my ($fresh, $updated) = map { $node->safe_psql($_, "SET search_path = $schema; $members SELECT x FROM ($catalog{$kind}) AS x ORDER BY x::text") }
			('fresh', 'updated');
		is($updated, $fresh, $kind);
		isnt($fresh, '', "$kind: there are some") if $kind ne 'triggers';
	}
	is($node->safe_psql('updated', q(SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
		WHERE c.relname ~ '^query_stats_(snapshot|baseline)' AND a.grantee = 'anon'::regrole)), '0', 'default privileges gave nothing');
	is_true($node, 'updated', q(SELECT bool_and(format_type(atttypid, atttypmod) = 'text') FROM pg_inherits
		JOIN pg_attribute ON attrelid = inhrelid AND attname = 'username' WHERE inhparent = 'query_stats_history'::regclass),
		'partitions changed with their table');
};

subtest 'planted_before_the_update' => sub {
	create_database($node, 'hostile');
	$node->safe_psql('hostile', q(CREATE EXTENSION train_perf VERSION '0.1';
		CREATE FUNCTION public.date_trunc(text, timestamptz, varchar) RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$;
		CREATE FUNCTION public.format(text, text, name) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$;
		CREATE FUNCTION public.sum(integer) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$;
		CREATE FUNCTION public.query_hash(varchar) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$;));
	is($node->psql('hostile', 'ALTER EXTENSION train_perf UPDATE'), 0, 'nothing of it is called');
	is($node->psql('hostile', 'SELECT roll_up_history(), compact_history(), take_hourly_snapshot(); SELECT * FROM get_query_stats()'), 0,
		'nor bound');
};

log_is_clean($node);
is_never($node, qr/ERROR:  function .* does not exist/, 'nothing was missing');
$node->stop;
done_testing();
