# Objects that somebody else planted, before or after CREATE EXTENSION, are never called by our functions:
# they would run with the rights of the extension's owner. Each planted one says so by an error.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'train_perf'
train_perf.max_collectors = 8
));
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN; CREATE ROLE reader; CREATE ROLE database_owner LOGIN');

# Fits better than the function or operator of pg_catalog, which takes wider types or any.
my @functions = ('format(text, text)', 'format(text, name)', 'format(text, name, name)', 'format(text, name, text)',
	'format(text, text, name, name)', 'format(text, numeric, text)', 'format(text, text, text, text, regrole)',
	'round(double precision, integer)', 'round(numeric, integer)', 'round(double precision)', 'round(integer)',
	'array_position(text[], text)', 'jsonb_build_object(text, text, text, text, text, numeric, text, text)',
	'jsonb_build_object(text, numeric, text, text)', 'left(text, integer)', 'quote_literal(text)',
	'latency_histogram(integer)', 'make_interval(integer)', 'sum(integer)', 'current_schema(text)',
	'acldefault(text, oid)', 'now()', 'min(text)', 'count(uuid)', 'to_char(timestamptz, name)',
	'set_config(text, text, boolean)', 'date_trunc(text, timestamptz)', 'coalesce_(text)', 'string_agg(text, text)',
	'normalize_query(varchar)', 'query_hash(varchar)', 'slow_query_severity(integer)', 'severity_rank(varchar)',
	'has_schema_privilege(oid, oid, text)', 'sum(double precision, integer)', 'greatest_(text)',
	'generate_series(timestamptz, timestamptz, text)', 'abs(numeric, text)', 'max(name)', 'min(name)', 'merge_latency(text)');
my %result_of = (round => 'numeric', array_position => 'integer', jsonb_build_object => 'jsonb', latency_histogram => 'bytea',
	sum => 'bigint', count => 'bigint', now => 'timestamptz', date_trunc => 'timestamptz', acldefault => 'aclitem[]', severity_rank => 'integer', has_schema_privilege => 'boolean', make_interval => 'interval');
my @operators = (
	[ '>', 'numeric', 'integer' ], [ '>', 'bigint', 'integer' ], [ '>', 'integer', 'integer' ],
	[ '/', 'bigint', 'numeric' ], [ '/', 'double precision', 'bigint' ], [ '-', 'timestamptz', 'interval' ],
	[ '<', 'timestamptz', 'date' ], [ '>=', 'integer', 'integer' ], [ '=', 'name', 'text' ], [ '=', 'name', 'varchar' ],
	[ '=', '"char"', 'text' ], [ '||', 'text', 'varchar' ], [ '||', 'text', 'name' ], [ '->>', 'jsonb', 'varchar' ],
	[ '<>', 'oid', 'integer' ], [ '=', 'oid', 'regclass' ], [ '=', 'regclass', 'regclass' ], [ '=', 'oid', 'integer' ],
	[ '=', 'text', 'name' ], [ '=', 'text', 'varchar' ], [ '~', 'name', 'varchar' ]);

# The planted objects, in a schema.
sub hostile_objects
{
	my ($schema) = @_;
	my $sql = "CREATE SCHEMA IF NOT EXISTS $schema; SET search_path = $schema;\n";
	my $number = 0;
	for my $function (@functions)
	{
		my ($name, $types) = $function =~ /^(\w+)\((.*)\)$/;
		my $result = $result_of{$name} // 'text';
		$sql .= qq(CREATE FUNCTION "$name"($types) RETURNS $result LANGUAGE plpgsql
			AS \$\$BEGIN RAISE EXCEPTION 'planted function $name called as %', current_user; END\$\$;\n);
	}
	for my $operator (@operators)
	{
		my ($name, $left, $right) = @$operator;
		++$number;
		my $result = $name =~ m{^(/|-|\|\||->>)$} ? ($name eq '/' ? 'numeric' : $name eq '-' ? 'timestamptz' : 'text') : 'boolean';
		$sql .= qq(CREATE FUNCTION planted_$number($left, $right) RETURNS $result LANGUAGE plpgsql
			AS \$\$BEGIN RAISE EXCEPTION 'planted operator $name called as %', current_user; END\$\$;
			CREATE OPERATOR $name (LEFTARG = $left, RIGHTARG = $right, FUNCTION = planted_$number);\n);
	}
	return $sql;
}

# Relations and types with names of pg_catalog, for search paths that name pg_catalog late.
my $hostile_relations = join "\n", map { "CREATE TABLE planted.$_ (x integer);" }
	qw(pg_class pg_namespace pg_proc pg_depend pg_extension pg_attribute pg_settings pg_constraint pg_inherits);

# All of ours, as the owner; returns what went wrong.
sub use_everything
{
	my ($database, $prelude, $p) = @_;
	my @errors;
	for my $sql (
		"$p.log_query_performance('select 1 from a', 700)", "$p.log_query_performance('select 1 from a', 2700, NULL, 'x')",
		"$p.log_query_performance('select 1 from a', 1700)",
		"$p.resolve_performance_alert($p.create_performance_alert('a', 'info', 'm', '{\"fingerprint\": \"f\"}'))",
		"count(*) FROM $p.get_slow_queries()", "count(*) FROM $p.get_query_stats('2020-01-01', '2030-01-01')",
		"count(*) FROM $p.query_stats", "count(*) FROM $p.capture_status()", "$p.maintain_log_partitions()", "$p.maintain_history_partitions()",
		"$p.roll_up_history_at(CURRENT_TIMESTAMP, '35 days')", "$p.compact_history()", "$p.take_hourly_snapshot()", "$p.library_version()",
		"$p.latency_quantile_ms($p.merge_latency($p.latency_histogram(5::float8)), 0.5)",
		"$p.grant_access('reader', 'operate')", "$p.revoke_access('reader')",
		"$p.link_user_profiles('public.people')",
		"$p.log_query_performance('select 1 from b', 1, '11111111-1111-1111-1111-111111111111')",
		"$p.unlink_user_profiles()", "count(*) FROM $p.access_levels")
	{
		my ($code, $out, $err) = $node->psql($database, "$prelude SELECT $sql");
		push @errors, "$sql: $err" if $code != 0;
	}
	return join "\n", @errors;
}

# Who makes partitions by hand gives way by an error to the collector that makes them.
sub partitions_are_made
{
	my ($database) = @_;
	return ok($node->poll_query_until($database, q(SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 10::pg_catalog.int8
			FROM pg_catalog.pg_class c WHERE c.relispartition AND c.relname::text OPERATOR(pg_catalog.~) '_p[0-9]{8}$'::text)),
		'partitions are made');
}

# What views and functions of ours refer to that is neither the server's nor ours.
my $foreign_references = q(
	WITH member AS (
		SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	), part AS (
		TABLE member
		UNION ALL
		SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r JOIN member m ON m.objid = r.ev_class
		UNION ALL
		SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN member m ON m.objid = a.adrelid
		UNION ALL
		SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN member m ON m.objid = c.conrelid
	)
	SELECT DISTINCT pg_catalog.pg_describe_object(p.classid, p.objid, 0) || ' uses '
	             || pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0)
	  FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
	 WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.deptype = 'n'
	   AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)
	 ORDER BY 1);

subtest 'planted_in_the_schema_before_create_extension' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE before');
	$node->safe_psql('before', hostile_objects('public'));
	$node->safe_psql('before', 'CREATE TABLE public.people (id uuid PRIMARY KEY)');
	my ($code, $out, $err) = $node->psql('before', 'CREATE EXTENSION train_perf');
	# Refusing is fine, as long as nothing of the planted was run.
	unlike($err, qr/planted (function|operator) \S+ called/, 'CREATE EXTENSION calls none');
	if ($code == 0)
	{
		is($node->safe_psql('before', "SET search_path = pg_catalog; $foreign_references"), '', 'no function or view is bound to one');
		partitions_are_made('before');
		is(use_everything('before', 'SET search_path = pg_catalog;', 'public'), '', 'no function calls one');
		$node->psql('before', 'SELECT pg_catalog.pg_sleep(0.6) FROM public.people RIGHT JOIN (VALUES (1)) v ON true');
		ok($node->poll_query_until('before', q(SELECT count(*) OPERATOR(pg_catalog.>=) 1
				FROM public.query_performance_logs WHERE query_text LIKE 'select pg_catalog.pg_sleep%')),
			'the collector writes');
	}
	else
	{
		like($err, qr/ERROR: .*train_perf/, 'a refusal is our own');
	}
};

subtest 'planted_one_at_a_time' => sub {
	# Together, one error could hide another: what is bound tells all of them.
	$node->safe_psql('postgres', 'CREATE DATABASE silent');
	(my $silent = hostile_objects('public')) =~ s/RAISE EXCEPTION '(planted[^']*)', current_user;/RETURN NULL;/g;
	$node->safe_psql('silent', $silent);
	my ($code, $out, $err) = $node->psql('silent', 'CREATE EXTENSION train_perf');
	if ($code == 0)
	{
		is($node->safe_psql('silent', "SET search_path = pg_catalog; $foreign_references"), '', 'none is bound');
	}
	else
	{
		like($err, qr/ERROR: .*train_perf/, 'a refusal is our own');
	}
};

subtest 'planted_before_pg_catalog_in_the_search_path' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE after');
	$node->safe_psql('after', 'CREATE EXTENSION train_perf; CREATE TABLE people (id uuid PRIMARY KEY)');
	$node->safe_psql('after', hostile_objects('planted'));
	$node->safe_psql('after', $hostile_relations);
	partitions_are_made('after');
	is(use_everything('after', 'SET search_path = planted, pg_catalog;', 'public'), '', 'no function calls one');
	is(use_everything('after', 'SET search_path = planted, pg_catalog, public;', 'public'), '', 'nor with public last');
	$node->safe_psql('postgres', 'ALTER DATABASE after SET search_path = planted, pg_catalog, public');
	$node->psql('after', 'SELECT pg_catalog.pg_sleep(0.6)');
	ok($node->poll_query_until('after', q(SELECT count(*) = 1 FROM public.query_performance_logs WHERE query_text = 'select pg_catalog.pg_sleep($1)')),
		'the collector is not misled by settings of the database');
};

subtest 'planted_in_temporary_schemas' => sub {
	my $temporary = q(CREATE TEMP TABLE query_performance_logs (x integer); CREATE TEMP TABLE performance_alerts (x integer);
		CREATE TEMP TABLE query_stats (x integer); CREATE TEMP TABLE pg_class (x integer); CREATE TEMP TABLE access_levels (x integer);
		CREATE TEMP TABLE people (x integer); CREATE TEMP TABLE pg_namespace (x integer););
	is(use_everything('after', "SET search_path = pg_temp, public; $temporary", 'public'), '', 'no function uses one');
};

subtest 'security_definer_functions_run_nothing_of_their_caller' => sub {
	$node->safe_psql('after', q(SET search_path = pg_catalog; GRANT USAGE ON SCHEMA planted TO database_owner;
		ALTER DATABASE after OWNER TO database_owner));
	my ($code, $out, $err) = $node->psql('after', q(SET search_path = planted, pg_catalog;
		SELECT public.grant_access('database_owner', 'operate');
		SELECT public.log_query_performance('select 2', 900) IS NOT NULL),
		extra_params => [ '-U', 'database_owner' ]);
	is($code, 0, 'grant_access') or diag $err;
	# A role with a name that wants to be SQL.
	$node->safe_psql('after', q(SET search_path = pg_catalog; CREATE ROLE "x; ALTER ROLE mallory SUPERUSER --"));
	($code, $out, $err) = $node->psql('after', q(SELECT public.grant_access('"x; ALTER ROLE mallory SUPERUSER --"', 'read')),
		extra_params => [ '-U', 'database_owner' ]);
	is($code, 0, 'a role may have any name') or diag $err;
	is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory')), 'f', 'which is only a name');
};

$node->stop;
done_testing();
