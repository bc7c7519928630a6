# Objects of other people that have our names are named, and never touched.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('clashes');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'train_perf'");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN');

# All that is in a schema, with owners, privileges, columns and rows.
sub everything_in
{
	my ($database, $schema) = @_;
	$schema =~ s/'/''/g;
	return $node->safe_psql($database, qq(
		SELECT c.oid, c.relname, c.relkind, c.relfilenode, c.relowner, c.relacl, c.relrowsecurity, c.reltuples,
		       (SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute a
		         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
		       obj_description(c.oid, 'pg_class'),
		       CASE WHEN c.relkind = 'r' THEN query_to_xml(format('TABLE %s', c.oid::regclass), true, true, '')::text END
		  FROM pg_class c WHERE c.relnamespace = '$schema'::regnamespace ORDER BY 1;
		SELECT oid, proname, proacl, prosrc FROM pg_proc WHERE pronamespace = '$schema'::regnamespace ORDER BY 1;
		SELECT oid, typname, typacl FROM pg_type WHERE typnamespace = '$schema'::regnamespace ORDER BY 1;
		SELECT p.* FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = '$schema'::regnamespace ORDER BY 1;
		SELECT nspname, nspacl FROM pg_namespace WHERE oid = '$schema'::regnamespace;));
}

# Tries to install beside foreign objects: the SQLSTATE and the message.
sub refused
{
	my ($database, $schema, $objects) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE SCHEMA IF NOT EXISTS $schema; SET search_path = $schema; $objects");
	my $before = everything_in($database, $schema);
	my ($code, $out, $err) = $node->psql($database,
		"\\set VERBOSITY verbose\nCREATE EXTENSION train_perf SCHEMA $schema");
	isnt($code, 0, 'CREATE EXTENSION fails');
	is(everything_in($database, $schema), $before, 'nothing is altered');
	is($node->safe_psql($database, 'SELECT count(*) FROM pg_extension WHERE extname = $$train_perf$$'), '0',
		'nothing is installed');
	my ($state) = $err =~ /ERROR:  (\w{5}): /;
	return ($state, $err);
}

# … and that it can be done in another schema.
sub works_elsewhere
{
	my ($database, $schema) = @_;
	my $before = everything_in($database, $schema);
	my ($code, $out, $err) = $node->psql($database,
		"CREATE SCHEMA elsewhere; CREATE EXTENSION train_perf WITH SCHEMA elsewhere");
	is($code, 0, 'it can be installed elsewhere') or diag $err;
	($code, $out, $err) = $node->psql($database, "SELECT elsewhere.log_query_performance('select 1', 700) IS NOT NULL");
	is($out, 't', 'and works there') or diag $err;
	is(everything_in($database, $schema), $before, 'still nothing is altered');
}

subtest 'every_clash_is_named_at_once' => sub {
	my ($state, $message) = refused('all_at_once', 'public', q(
		CREATE TABLE query_performance_logs (id integer, note text);
		INSERT INTO query_performance_logs VALUES (1, 'mine');
		ALTER TABLE query_performance_logs OWNER TO owner;
		GRANT SELECT ON query_performance_logs TO PUBLIC;
		CREATE VIEW query_stats AS SELECT 1 AS x;
		CREATE MATERIALIZED VIEW query_texts AS SELECT 1 AS x;
		CREATE SEQUENCE access_levels;
		CREATE TABLE performance_alerts (id uuid PRIMARY KEY);
		CREATE TABLE query_stats_history (x integer) PARTITION BY RANGE (x);
		CREATE TABLE bystander (x integer)));
	is($state, '42P07', 'duplicate_table');
	for my $clash ('table public.query_performance_logs', 'view public.query_stats',
		'materialized view public.query_texts', 'sequence public.access_levels',
		'table public.performance_alerts', 'table public.query_stats_history')
	{
		like($message, qr/\b\Q$clash\E\b/, "names $clash");
	}
	unlike($message, qr/bystander/, 'and nothing else');
	like($message, qr/HINT: .*WITH SCHEMA/, 'the hint says what to do');
	works_elsewhere('all_at_once', 'public');
};

for my $name (qw(query_performance_logs query_performance_logs_default performance_alerts query_stats
	query_stats_history query_stats_history_default query_texts query_stats_snapshot query_stats_baseline access_levels))
{
	subtest "one_foreign_table_$name" => sub {
		my ($state, $message) = refused("one_$name", 'public', "CREATE TABLE $name (x integer)");
		is($state, '42P07', 'duplicate_table');
		like($message, qr/table public\.$name\b/, 'it is named');
	};
}

subtest 'in_a_schema_with_an_odd_name' => sub {
	my ($state, $message) = refused('odd', '"we""ird $x\'\\"', 'CREATE TABLE performance_alerts (x integer)');
	is($state, '42P07', 'duplicate_table');
	like($message, qr/table "we""ird \$x'\\"\.performance_alerts/, 'it is named as it is written');
	works_elsewhere('odd', '"we""ird $x\'\\"');
};

subtest 'tables_of_migration_tools_are_no_obstacle' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE rails');
	$node->safe_psql('rails', q(CREATE TABLE schema_migrations (version varchar PRIMARY KEY);
		INSERT INTO schema_migrations VALUES ('20240101')));
	my ($code, $out, $err) = $node->psql('rails', 'CREATE EXTENSION train_perf');
	ok($code == 0 || $err =~ /already there: table public\.schema_migrations/,
		'either no table of ours has that name, or it is named') or diag $err;
	is($node->safe_psql('rails', 'TABLE schema_migrations'), '20240101', 'and it is what it was');
};

subtest 'indexes_types_and_functions_are_no_less_foreign' => sub {
	my ($state, $message) = refused('by_index', 'public',
		'CREATE TABLE t (x integer); CREATE INDEX query_performance_logs_time ON t (x)');
	is($state, '42P07', 'an index');
	($state, $message) = refused('by_function', 'public', q(
		CREATE FUNCTION log_query_performance(text, integer, uuid, text, jsonb, text, text) RETURNS uuid
		LANGUAGE sql AS 'SELECT NULL::uuid'));
	is($state, '42723', 'a function');
	($state, $message) = refused('by_type', 'public', q(CREATE TYPE query_stats AS (x integer)));
	is($state, '42P07', 'a composite type');
	like($message, qr/\btype public\.query_stats/, 'is called what it is');
	($state, $message) = refused('by_enum', 'public', q(CREATE TYPE query_stats AS ENUM ('a')));
	like($state, qr/^42(P07|710)$/, 'an enumeration');
	like($message, qr/query_stats/, 'is named');
};

subtest 'functions_of_our_names_with_other_arguments_may_stay' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE overloads');
	$node->safe_psql('overloads', q(
		CREATE FUNCTION query_hash(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';
		CREATE FUNCTION latency_histogram(integer) RETURNS bytea LANGUAGE sql AS 'SELECT (1/0)::text::bytea';
		CREATE FUNCTION create_performance_alert(text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';
		CREATE FUNCTION slow_query_severity(integer) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text'));
	my ($code, $out, $err) = $node->psql('overloads', q(
		CREATE EXTENSION train_perf;
		INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
			VALUES ('select 1', 700, now() - interval '1 day');
		SELECT log_query_performance('select 1', 700) IS NOT NULL;
		SELECT total_queries FROM get_query_stats(now() - interval '25 hours', now() - interval '23 hours')));
	is($code, 0, 'it is installed') or diag $err;
	is($out, "t\n1", 'and calls its own');
};

subtest 'a_foreign_table_with_the_name_of_a_partition' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE partitions');
	$node->safe_psql('partitions', q(
		SELECT format('CREATE TABLE %s_p%s (x integer)', t, to_char((now() + n * interval '1 day') AT TIME ZONE 'UTC', 'YYYYMMDD'))
		  FROM unnest('{query_performance_logs,query_stats_history}'::text[]) t, generate_series(-1, 2) n \gexec));
	my $before = everything_in('partitions', 'public');
	$node->safe_psql('partitions', 'CREATE EXTENSION train_perf');
	is($node->safe_psql('partitions', 'SELECT maintain_log_partitions() + maintain_history_partitions()'), '0',
		'no partition is made');
	$node->psql('partitions', q(SELECT log_query_performance('select beside', 700); SELECT 1/0 AS beside));
	ok($node->poll_query_until('partitions', q(SELECT count(*) = 2 FROM query_performance_logs WHERE query_text LIKE '%beside')),
		'the log is written all the same');
	$node->safe_psql('partitions', 'DROP EXTENSION train_perf');
	is(everything_in('partitions', 'public'), $before, 'and the foreign tables are what they were');
};

$node->stop;
done_testing();
