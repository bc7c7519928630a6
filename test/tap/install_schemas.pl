# In any schema: monitoring, and one with every character that needs quoting.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('schemas');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'train_perf'
train_perf.max_collectors = 8
train_perf.history_interval = 1s
));
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE app LOGIN; CREATE ROLE other LOGIN');

sub run_as
{
	my ($role, $database, $sql) = @_;
	my ($code, $out, $err) = $node->psql($database, $sql, extra_params => [ '-U', $role ]);
	return $code == 0 ? $out : $err;
}

sub quoted { my ($name) = @_; $name =~ s/"/""/g; return qq("$name"); }

# What the collector writes: the marker's statement, its alert, its history.
sub collector_writes_to
{
	my ($database, $schema, $marker) = @_;
	# Names of columns do not make another statement, those of tables do.
	$node->psql($database, "CREATE TABLE public.$marker AS SELECT 1 AS x");
	$node->psql($database, "SELECT pg_sleep(0.6), x FROM public.$marker; SELECT 1 / (x - x) FROM public.$marker");
	my $text = qq(select pg_sleep(\$1), x from public.$marker);
	ok($node->poll_query_until($database,
			"SELECT count(*) = 1 FROM $schema.query_performance_logs WHERE query_text = '$text' AND is_slow"),
		"$marker: slow statements are logged");
	ok($node->poll_query_until($database,
			"SELECT count(*) = 1 FROM $schema.query_performance_logs WHERE query_text LIKE '%from public.$marker' AND sqlstate = '22012'"),
		"$marker: failed ones too");
	ok($node->poll_query_until($database,
			"SELECT count(*) = 1 FROM $schema.performance_alerts WHERE message LIKE '%$text' AND alert_type = 'slow_query'"),
		"$marker: the alert is raised");
	ok($node->poll_query_until($database,
			"SELECT sum(calls) = 1 FROM $schema.query_stats_history JOIN $schema.query_texts USING (query_hash) WHERE query = '$text'"),
		"$marker: the history is written, once");
	is($node->safe_psql($database, "SELECT total_queries > 0 FROM $schema.get_query_stats()"), 't',
		"$marker: get_query_stats");
	is($node->safe_psql($database, "SELECT execution_count FROM $schema.get_slow_queries() WHERE query_text = '$text'"),
		'1', "$marker: get_slow_queries");
}

# All functions, from a session that finds nothing of ours by its search_path.
sub everything_works_in
{
	my ($database, $schema, $search_path) = @_;
	my $session = "SET search_path = $search_path;";
	my $ask = sub {
		my ($sql) = @_;
		my ($code, $out, $err) = $node->psql($database, "$session $sql");
		return $code == 0 ? $out : $err;
	};
	is($ask->("SELECT $schema.log_query_performance('select by_hand', 1700) IS NOT NULL"), 't', 'log_query_performance');
	is($ask->("SELECT severity FROM $schema.performance_alerts WHERE message LIKE '%select by_hand' AND resolved_at IS NULL"),
		'warning', 'its alert');
	is($ask->("SELECT $schema.resolve_performance_alert(id) FROM $schema.performance_alerts
			   WHERE message LIKE '%select by_hand' AND resolved_at IS NULL"), 't', 'resolve_performance_alert');
	is($ask->("SELECT $schema.resolve_performance_alert($schema.create_performance_alert('a', 'info', 'm'))"), 't',
		'create_performance_alert');
	is($ask->("SELECT count(*) > 0 FROM $schema.get_slow_queries()"), 't', 'get_slow_queries');
	is($ask->("SELECT count(*) FROM $schema.get_query_stats()"), '1', 'get_query_stats');
	is($ask->("SELECT count(*) > 0 FROM $schema.query_stats"), 't', 'query_stats');
	is($ask->("SELECT preloaded FROM $schema.capture_status()"), 't', 'capture_status');
	is($ask->("SELECT $schema.query_hash('select 2') = md5($schema.normalize_query('SELECT 1'))"), 't', 'normalize_query');
	is($ask->("SELECT $schema.latency_quantile_ms($schema.merge_latency($schema.latency_histogram(5)), 0.5)::float8 BETWEEN 4.9 AND 5.1"),
		't', 'histograms');
	is($ask->("SELECT $schema.maintain_log_partitions() >= 0"), 't', 'maintain_log_partitions');
	is($ask->("SELECT $schema.maintain_history_partitions() >= 0"), 't', 'maintain_history_partitions');
	is($ask->("SELECT $schema.roll_up_history(), $schema.compact_history(), $schema.take_hourly_snapshot()"), '0|0|0',
		'rolling up and snapshots');
	is($ask->("CREATE TABLE public.people (id uuid PRIMARY KEY); SELECT $schema.link_user_profiles('public.people')"), '',
		'link_user_profiles');
	is($ask->("SELECT $schema.log_query_performance('select by_user', 1, gen_random_uuid()) IS NOT NULL"), 't',
		'a user who is unknown');
	is($ask->("SELECT $schema.log_query_performance('select by_nobody', 1) IS NOT NULL"), 't', 'and none');
	is($ask->("SELECT count(*) > 0 AND count(user_id) = 0 FROM $schema.query_performance_logs WHERE query_text = 'select by_user'"),
		't', 'are logged without');
	is($ask->("SELECT $schema.unlink_user_profiles(); DROP TABLE public.people"), 't', 'unlink_user_profiles');
	is($ask->("SELECT $schema.grant_access('app', 'operate')"), '', 'grant_access');
	is(run_as('app', $database, "SELECT $schema.log_query_performance('select by_app', 900) IS NOT NULL"), 't',
		'the role that it names logs, and needs no other right');
	is(run_as('app', $database, "SELECT count(*) FROM $schema.get_query_stats()"), '1', 'and asks');
	is($ask->("SELECT $schema.revoke_access('app')"), '', 'revoke_access');
	like(run_as('app', $database, "SELECT $schema.log_query_performance('select by_app', 900)"),
		qr/permission denied/, 'which ends it');
}

my %member_of = (
	relations => q(SELECT count(*) FILTER (WHERE n.nspname <> %s), count(*) > 5 FROM pg_depend d
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.deptype = 'e'),
	functions => q(SELECT count(*) FILTER (WHERE n.nspname <> %s), count(*) > 5 FROM pg_depend d
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
		JOIN pg_namespace n ON n.oid = p.pronamespace WHERE d.deptype = 'e'));

my $number = 0;
for my $name ('monitoring', q(we"ird $x'\\), 'SELECT')
{
	my $database = 'db' . ++$number;
	my $schema = quoted($name);
	subtest "in_schema_$name" => sub {
		$node->safe_psql('postgres', "CREATE DATABASE $database");
		my ($code, $out, $err) = $node->psql($database, "CREATE SCHEMA $schema; CREATE EXTENSION train_perf SCHEMA $schema");
		is($code, 0, 'CREATE EXTENSION') or diag $err;
		is($err, '', 'without a word');
		(my $literal = $name) =~ s/'/''/g;
		for my $kind (sort keys %member_of)
		{
			is($node->safe_psql($database, sprintf($member_of{$kind}, "'$literal'")), '0|t', "all $kind are there");
		}
		is($node->safe_psql($database, q(SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)),
			'0', 'nothing is in public');
		collector_writes_to($database, $schema, "first_$number");
		# All of them: who makes partitions by hand gives way to the collector by an error.
		ok($node->poll_query_until($database, "SELECT count(*) >= 10 FROM pg_class c
				JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = '$literal'
				WHERE c.relname ~ '_p[0-9]{8}\$' AND c.relispartition AND c.relrowsecurity"),
			'partitions are made there');
		everything_works_in($database, $schema, $number % 2 ? q('') : 'pg_catalog, public');
		is(run_as('monitor', $database, "SELECT count(*) > 0 FROM $schema.query_performance_logs"), 't',
			'pg_monitor reads the log');
		like(run_as('other', $database, "SELECT count(*) FROM $schema.query_performance_logs"),
			qr/permission denied/, 'others do not');
	};
}

subtest 'the_schema_is_renamed' => sub {
	$node->safe_psql('db1', 'ALTER SCHEMA monitoring RENAME TO "obser""vation"');
	collector_writes_to('db1', '"obser""vation"', 'renamed');
	everything_works_in('db1', '"obser""vation"', 'pg_catalog');
	$node->safe_psql('db1', 'CREATE SCHEMA monitoring');
	collector_writes_to('db1', '"obser""vation"', 'beside_the_old_name');
};

subtest 'dropped_and_created_again' => sub {
	my ($code, $out, $err) = $node->psql('db1', 'DROP EXTENSION train_perf');
	is($code, 0, 'DROP EXTENSION without CASCADE') or diag $err;
	is($node->safe_psql('db1', q(
		SELECT count(*) FROM pg_class WHERE relnamespace = 'obser"vation'::regnamespace
		UNION ALL SELECT count(*) FROM pg_proc WHERE pronamespace = 'obser"vation'::regnamespace
		UNION ALL SELECT count(*) FROM pg_type WHERE typnamespace = 'obser"vation'::regnamespace)),
		"0\n0\n0", 'leaves nothing');
	ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity
			WHERE datname = 'db1' AND backend_type LIKE 'train_perf%')), 'the collector goes');
	$node->safe_psql('db1', 'CREATE EXTENSION train_perf');
	collector_writes_to('db1', 'public', 'again_in_public');
	$node->safe_psql('db1', 'DROP EXTENSION train_perf; CREATE EXTENSION train_perf SCHEMA monitoring');
	collector_writes_to('db1', 'monitoring', 'at_once_elsewhere');
	$node->safe_psql('db1', 'BEGIN; DROP EXTENSION train_perf; CREATE EXTENSION train_perf SCHEMA public; ROLLBACK');
	collector_writes_to('db1', 'monitoring', 'not_moved_after_all');
	$node->safe_psql('db1', 'DROP SCHEMA monitoring CASCADE');
	ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity
			WHERE datname = 'db1' AND backend_type LIKE 'train_perf%')), 'the schema can be dropped with it');
	is($node->safe_psql('db1', 'SELECT count(*) FROM pg_extension WHERE extname = $$train_perf$$'), '0', 'it is gone');
};

subtest 'the_schema_of_the_extension_is_chosen_once' => sub {
	my ($code, $out, $err) = $node->psql('db2', 'ALTER EXTENSION train_perf SET SCHEMA public');
	isnt($code, 0, 'SET SCHEMA is refused');
	($code, $out, $err) = $node->psql('db2', 'CREATE EXTENSION train_perf SCHEMA public');
	like($err, qr/already exists/, 'there is one per database');
	$node->safe_psql('postgres', 'CREATE DATABASE db_no_schema');
	($code, $out, $err) = $node->psql('db_no_schema', 'DROP SCHEMA public; CREATE EXTENSION train_perf');
	isnt($code, 0, 'without any schema there is an error');
	like($err, qr/no schema has been selected/, 'which says so');
};

subtest 'the_owner_of_the_database_is_not_its_creator' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN CREATEROLE; CREATE DATABASE owned OWNER owner');
	like(run_as('owner', 'owned', 'CREATE EXTENSION train_perf'), qr/permission denied to create extension/,
		'he is no superuser and cannot create it');
	$node->safe_psql('owned', 'CREATE EXTENSION train_perf');
	like(run_as('owner', 'owned', 'SELECT * FROM query_performance_logs'), qr/permission denied/,
		'a superuser does: nothing is his at first');
	is(run_as('owner', 'owned', q(SELECT grant_access('owner', 'operate'), grant_access('app', 'read'))), '|',
		'but he gives access, to himself and others');
	is(run_as('owner', 'owned', q(SELECT log_query_performance('select owned', 800) IS NOT NULL)), 't', 'and logs');
	is(run_as('app', 'owned', q(SELECT count(*) FROM query_performance_logs WHERE query_text = 'select owned')), '1',
		'and they read');
	is(run_as('owner', 'owned', q(SELECT revoke_access('app'))), '', 'and he takes it back');
	like(run_as('app', 'owned', 'SELECT * FROM query_performance_logs'), qr/permission denied/, 'which counts');
	like(run_as('owner', 'owned', 'DROP EXTENSION train_perf'), qr/must be owner/, 'the extension is not his');
	collector_writes_to('owned', 'public', 'owned');
};

$node->stop;
done_testing();
