# examples/train-platform/adopt.sql: from the older PL/pgSQL monitoring to the extension, rows kept.

use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $examples = "$FindBin::RealBin/../../examples/train-platform";

my $node = PostgreSQL::Test::Cluster->new('adopt');
$node->init;
# Nothing but what is adopted comes to the tables, however slow the machine is and whatever the time.
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'train_perf'
train_perf.log_min_duration = -1
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''
));
$node->start;

# Runs files and commands in one psql of a database; returns its exit code, output and messages.
sub psql
{
	my ($database, @arguments) = @_;
	local %ENV = $node->_get_env();
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[ 'psql', '-XAqt', '-v', 'ON_ERROR_STOP=1', '-d', $database, @arguments ],
		'>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# A database as it was before the extension, with its rows.
sub legacy_database
{
	my ($database, $schema) = @_;
	$node->safe_psql('postgres', qq(CREATE DATABASE $database));
	my @prelude = $schema ? ('-c', "CREATE SCHEMA $schema", '-c', "SET search_path = $schema") : ();
	my ($code, undef, $err) = psql($database, @prelude,
		map { ('-f', "$examples/$_.sql") } qw(roles legacy legacy_data));
	is($code, 0, "$database: older version installed") or diag $err;
}

sub adopt { my ($database, @options) = @_; return psql($database, @options, '-f', "$examples/adopt.sql"); }

# Rows as text, in the columns of the older tables; where it had no time, whatever it has now is left out.
my %older_columns = (
	query_performance_logs => 'id, query_text, duration_ms, user_id, endpoint, parameters, error_message,
		stack_trace, is_slow',
	performance_alerts => 'id, alert_type, severity, message, details, resolved_at, resolved_by, resolution_notes');
my %time_column = (query_performance_logs => 'execution_timestamp', performance_alerts => 'created_at');

sub rows
{
	my ($database, $schema, $table, @more) = @_;
	my $columns = join ', ', $older_columns{$table}, @more;
	return $node->safe_psql($database, "SELECT $columns FROM $schema.$table ORDER BY id");
}

# The collector distributes adopted rows over partitions, and removes what is older than the log is kept.
sub wait_for_partitions
{
	my ($database, $schema) = @_;
	return $node->poll_query_until($database, "SELECT count(*) = 0 FROM $schema.query_performance_logs_default
		WHERE execution_timestamp < 'infinity'");
}

# Every object of the database that adopt.sql could touch, with owner, privileges and number of rows. Not the
# partitions, nor the rows of what the collector writes by itself: it does that when it likes.
sub catalog
{
	my ($database) = @_;
	return $node->safe_psql($database, q(
		SELECT c.oid::regclass, c.relkind, c.relowner, c.relacl,
		       CASE WHEN c.relkind = 'r' AND c.relname NOT IN ('bloat_snapshot_run', 'index_usage_capture', 'query_texts')
		            THEN query_to_xml(format('SELECT count(*) FROM %s', c.oid::regclass),
		                                                   true, true, '')::text END
		FROM pg_class c
		WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND NOT c.relispartition
		ORDER BY 1;
		SELECT oid::regprocedure, proowner, proacl FROM pg_proc
		WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema)' ORDER BY 1;
		SELECT nspname, nspacl FROM pg_namespace ORDER BY 1;
		SELECT extname FROM pg_extension ORDER BY 1;));
}

subtest 'rows_are_kept_and_functions_answer' => sub {
	legacy_database('app');
	my %before = map { $_ => rows('app', 'public', $_) } keys %older_columns;
	my $hashes = $node->safe_psql('app',
		'SELECT id, query_hash FROM query_performance_logs WHERE query_hash IS NOT NULL ORDER BY id');
	my %timed = map { $_ => $node->safe_psql('app',
			"SELECT id, $time_column{$_} FROM public.$_ WHERE $time_column{$_} > '-infinity' ORDER BY id") }
	  keys %time_column;
	$node->safe_psql('app', q(
		CREATE VIEW my_slow AS SELECT * FROM query_performance_logs WHERE is_slow;
		CREATE FUNCTION my_report() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM performance_alerts';
		CREATE TABLE my_notes (alert uuid REFERENCES performance_alerts);));

	my ($code, $out, $err) = adopt('app');
	is($code, 0, 'adopt.sql succeeds') or diag $err;
	like($out, qr/^performance_alerts\|254\|254$/m, 'counts of alerts are shown');
	like($out, qr/^query_performance_logs\|407\|407$/m, 'counts of logs are shown');
	wait_for_partitions('app', 'public');
	is(rows('app', 'public', $_), $before{$_}, "$_: the same rows") for sort keys %before;
	is(rows('app', 'train_perf_legacy', $_), $before{$_}, "$_: the older table still has them")
	  for sort keys %before;
	is( $node->safe_psql('app', 'SELECT id, query_hash FROM query_performance_logs l
			WHERE EXISTS (SELECT FROM train_perf_legacy.query_performance_logs o
			              WHERE o.id = l.id AND o.query_hash IS NOT NULL) ORDER BY id'),
		$hashes, 'hashes of the application are kept');
	is( $node->safe_psql('app', 'SELECT count(*) > 0, count(*) FILTER (WHERE l.query_hash <> query_hash(l.query_text))
			FROM query_performance_logs l JOIN train_perf_legacy.query_performance_logs o USING (id)
			WHERE o.query_hash IS NULL'),
		't|0', 'a row without a hash gets one');
	is( $node->safe_psql('app', "SELECT l.id, l.$time_column{$_} FROM $_ l
			JOIN train_perf_legacy.$_ o USING (id) WHERE o.$time_column{$_} > '-infinity' ORDER BY id"),
		$timed{$_}, "$_: times are kept")
	  for sort keys %time_column;
	is( $node->safe_psql('app', "SELECT count(*) FROM $_ l JOIN train_perf_legacy.$_ o USING (id)
			WHERE coalesce(o.$time_column{$_}, '-infinity') = '-infinity'
			  AND l.$time_column{$_} >= (SELECT min($time_column{$_}) FROM train_perf_legacy.$_
			                             WHERE isfinite($time_column{$_}))"),
		'0', "$_: a row without a time does not count as recent")
	  for sort keys %time_column;
	like($err, qr/3 row\(s\) of query_performance_logs had no time/, 'and that is told');

	like($err, qr/train_perf\.log_retention of database app is 73[0-9]d now/, 'the log keeps rows of two years ago');
	like($err, qr/still uses the older objects.*view public\.my_slow/, 'a view on an older table is named');
	like($err, qr/still uses the older objects.*table public\.my_notes/, 'a foreign key to one is named');
	like($err, qr/names older objects in its body.*public\.my_report\(\)/, 'a function that reads one is named');
	like($err, qr/not carried over: authenticated \(INSERT, SELECT\); service_role/, 'privileges are named');

	is( $node->safe_psql('app', q(SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
			WHERE extname = 'train_perf' AND classid = 'pg_proc'::regclass AND objid IN (
			  'get_slow_queries(integer, integer)'::regprocedure,
			  'get_query_stats(timestamptz, timestamptz)'::regprocedure,
			  'create_performance_alert(text, text, text, jsonb)'::regprocedure,
			  'resolve_performance_alert(uuid, text, uuid)'::regprocedure))),
		'4', 'the names belong to the extension now');
	cmp_ok($node->safe_psql('app', 'SELECT count(*) FROM get_slow_queries(24, 500)'), '>', 0,
		'get_slow_queries sees adopted rows');
	is( $node->safe_psql('app', q(SELECT resolve_performance_alert(md5('alert 3')::uuid, 'done');
			SELECT resolved_at IS NOT NULL, resolution_notes FROM performance_alerts
			WHERE id = md5('alert 3')::uuid)),
		"t\nt|done", 'an adopted alert can be resolved');
	is( $node->safe_psql('app', q(SELECT resolved_at FROM train_perf_legacy.performance_alerts
			WHERE id = md5('alert 3')::uuid)),
		'', 'which does not touch the older table');
	$node->safe_psql('app', q(DELETE FROM user_profiles WHERE id = md5('user 2')::uuid));
	is( $node->safe_psql('app', q(SELECT count(*) FROM query_performance_logs WHERE user_id = md5('user 2')::uuid)),
		'0', 'users stay linked: ON DELETE SET NULL');
};

subtest 'second_run_is_harmless' => sub {
	my $before = catalog('app');
	my ($code, $out, undef) = adopt('app');
	is($code, 0, 'it succeeds');
	like($out, qr/^Nothing to adopt/, 'and says that there is nothing to adopt');
	is(catalog('app'), $before, 'and changes nothing');
};

subtest 'database_without_the_older_version' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE empty');
	my $before = catalog('empty');
	my ($code, $out, undef) = adopt('empty');
	is($code, 0, 'it succeeds');
	like($out, qr/^Nothing to adopt/, 'and says so');
	is(catalog('empty'), $before, 'and changes nothing');
};

subtest 'what_has_no_successor_goes_on_working' => sub {
	my $left = $node->safe_psql('app', q(
		SELECT string_agg(oid::regprocedure::text, ' ' ORDER BY proname) FROM pg_proc
		WHERE pronamespace = 'public'::regnamespace AND proname IN ('check_table_bloat_alerts', 'get_bloat_status',
		  'get_index_trends') AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')));
	plan skip_all => 'this release has all successors' if $left !~ /check_table_bloat_alerts/;
	cmp_ok($node->safe_psql('app', 'SELECT check_table_bloat_alerts()'), '>=', 0,
		'an older function raises its alerts through the extension');
	is( $node->safe_psql('app', 'SELECT count(*) > 0 FROM get_bloat_status()'), 't',
		'an older table is read by its older function');
};

subtest 'foreign_schema_migrations_is_untouched' => sub {
	legacy_database('rails');
	$node->safe_psql('rails', q(DROP TABLE schema_migrations;
		CREATE TABLE schema_migrations (version character varying PRIMARY KEY);
		INSERT INTO schema_migrations VALUES ('20240101000000');));
	my $identity = q(SELECT oid, relnamespace::regnamespace, relacl FROM pg_class WHERE relname = 'schema_migrations'
		UNION ALL SELECT count(*)::oid, 'public', NULL FROM public.schema_migrations);
	my $before = $node->safe_psql('rails', $identity);
	my ($code, undef, $err) = adopt('rails');
	is($node->safe_psql('rails', $identity), $before, 'it stands where it stood');
	# A release that has such a table cannot be installed beside it, and must say so.
	like($err, $code == 0 ? qr/set aside/ : qr/public\.schema_migrations is not the older version's/,
		'and nothing else stops for it without saying why');
};

subtest 'foreign_table_in_the_way_stops_it' => sub {
	legacy_database('foreign_table');
	$node->safe_psql('foreign_table', 'ALTER TABLE performance_alerts RENAME message TO body');
	my $before = catalog('foreign_table');
	my ($code, undef, $err) = adopt('foreign_table');
	is($code, 3, 'it stops');
	like($err, qr/performance_alerts is not the older version's: column message text is missing/, 'and says why');
	is(catalog('foreign_table'), $before, 'everything is as it was');
};

subtest 'foreign_function_in_the_way_stops_it' => sub {
	legacy_database('foreign_function');
	$node->safe_psql('foreign_function',
		q(CREATE FUNCTION get_slow_queries(text) RETURNS integer LANGUAGE sql AS 'SELECT 1'));
	my $before = catalog('foreign_function');
	my ($code, undef, $err) = adopt('foreign_function');
	is($code, 3, 'it stops');
	like($err, qr/get_slow_queries\(text\)/, 'and says which');
	is(catalog('foreign_function'), $before, 'everything is as it was');
};

subtest 'rows_that_do_not_fit_stop_it' => sub {
	legacy_database('misfit');
	$node->safe_psql('misfit', q(
		ALTER TABLE performance_alerts ALTER message DROP NOT NULL;
		UPDATE performance_alerts SET message = NULL WHERE id = md5('alert 1')::uuid;));
	my $before = catalog('misfit');
	my ($code, undef, $err) = adopt('misfit');
	is($code, 3, 'it stops');
	like($err, qr/null value in column "message"/, 'and says why');
	is(catalog('misfit'), $before, 'everything is as it was');
};

subtest 'any_schema' => sub {
	my ($quoted, $plain) = (q("we""ird $x'\\"), q(we"ird $x'\\));
	legacy_database('weird', $quoted);
	my $before = rows('weird', $quoted, 'query_performance_logs');
	my ($code, undef, $err) = adopt('weird', '-v', "schema=$plain");
	is($code, 0, 'adopt.sql succeeds') or diag $err;
	wait_for_partitions('weird', $quoted);
	is(rows('weird', $quoted, 'query_performance_logs'), $before, 'the same rows');
	is( $node->safe_psql('weird', q(SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
			WHERE extname = 'train_perf')),
		$plain, 'the extension is where the older objects were');
};

$node->stop;
done_testing();
