# pg_upgrade from each version to the next keeps everything, and the collector goes on in what it finds; dumps
# of older servers load. Run by test/upgrade/run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $conf = q(
shared_preload_libraries = 'train_perf'
train_perf.history_interval = 1
train_perf.max_collectors = 4
);
# Schema of the extension by database.
my %schema = (app => 'public', odd => 'Our "monitoring"');

sub new_server
{
	my ($version) = @_;
	my $node = PostgreSQL::Test::Cluster->new("pg$version", install_path => "/usr/lib/postgresql/$version");
	# The checksums of old and new server must agree; 18 has them by default.
	$node->init(extra => $version >= 18 ? ['--no-data-checksums'] : []);
	$node->append_conf('postgresql.conf', $conf);
	return $node;
}

# Rows: all must be there afterwards, others may have come. In one line each.
my %rows = (
	log => 'SELECT tableoid::regclass, to_jsonb(l) FROM query_performance_logs l',
	history => 'SELECT tableoid::regclass, to_jsonb(h) FROM query_stats_history h',
	texts => 'SELECT query_hash, query FROM query_texts',
	alerts => q(SELECT to_jsonb(a) - '{occurrences,last_seen_at,details,message,severity}'::text[]
		FROM performance_alerts a));

# What must be the same.
my $of_extension = q(FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND extname = 'train_perf'
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e');
# Whatever the owner has, which grew in 17.
my $rights = q(ARRAY(SELECT grantee::regrole || ' ' || privilege_type FROM aclexplode(%s) WHERE grantee <> %s
	ORDER BY 1));
my $tables = q(c.relnamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'train_perf'));
my %objects = (
	version => q(SELECT extversion, extrelocatable, extowner::regrole, extnamespace::regnamespace,
		extconfig::regclass[], extcondition FROM pg_extension WHERE extname = 'train_perf'),
	members => "SELECT pg_describe_object(classid, objid, objsubid) AS object $of_extension
		AND classid <> 'pg_type'::regclass ORDER BY 1",
	relations => 'SELECT relname, relkind, relowner::regrole, relrowsecurity, pg_get_expr(relpartbound, oid), '
	  . sprintf($rights, 'relacl', 'relowner') . " FROM pg_class c WHERE $tables ORDER BY 1",
	functions => 'SELECT p.oid::regprocedure::text, ' . sprintf($rights, 'proacl', 'proowner') . qq( FROM pg_proc p
		JOIN pg_class c ON c.relname = 'query_texts' AND $tables AND p.pronamespace = c.relnamespace ORDER BY 1),
	indexes => qq(SELECT i.indexrelid::regclass::text, indrelid::regclass, inhparent::regclass, indisprimary, indisvalid
		FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid AND $tables
		LEFT JOIN pg_inherits ON inhrelid = indexrelid ORDER BY 1),
	policies => q(SELECT polname, polrelid::regclass::text, polroles, pg_get_expr(polqual, polrelid)
		FROM pg_policy ORDER BY 2),
	constraints => qq(SELECT conname, conrelid::regclass::text, pg_get_constraintdef(o.oid) FROM pg_constraint o
		JOIN pg_class c ON c.oid = conrelid AND $tables AND contype <> 'n' ORDER BY 2, 1),
	settings => q(SELECT setdatabase <> 0, setrole::regrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2));

sub everything
{
	my ($node, $database) = @_;
	my %is = map { $_ => $node->safe_psql($database, $rows{$_}) } keys %rows;
	$is{$_} = $node->safe_psql($database, $objects{$_}) for keys %objects;
	return \%is;
}

sub is_kept
{
	my ($node, $database, $before) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $kind (sort keys %rows)
	{
		my %there = map { $_ => 1 } split /\n/, $node->safe_psql($database, $rows{$kind});
		isnt($before->{$kind}, '', "$database: there were rows: $kind");
		is(join("\n", grep { !$there{$_} } split /\n/, $before->{$kind}), '', "$database: all rows: $kind");
	}
	is($node->safe_psql($database, $objects{$_}), $before->{$_}, "$database: the same $_") for sort keys %objects;
	return;
}

sub fails
{
	my ($node, $database, $mark) = @_;
	isnt($node->psql($database, "SELECT 1 / count(*) AS $mark FROM pg_class WHERE false"), 0, "$mark fails");
	return;
}

# Rows of several days, with and without partitions; alerts; rights and settings.
sub fill
{
	my ($node, $database) = @_;
	my $path = '"' . ($schema{$database} =~ s/"/""/gr) . '"';
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql('postgres', "ALTER DATABASE $database SET search_path = $path, public;
		ALTER DATABASE $database SET train_perf.log_retention = '20d'");
	$node->safe_psql($database, "CREATE SCHEMA IF NOT EXISTS $path; CREATE EXTENSION train_perf");
	eventually($node, $database, q(SELECT count(*) > 2 FROM pg_inherits
		WHERE inhparent = 'query_stats_history'::regclass), "$database: the collector works");
	$node->safe_psql($database, q(
		SELECT grant_access('operator', 'operate');
		INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
		  SELECT 'of ' || d, 700, now() + interval '1 day' * d FROM generate_series(-9, 3) d;
		INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
		  VALUES ('some day', 1, 'infinity');
		INSERT INTO query_stats_history SELECT now() - interval '1 day' * d, now() - interval '1 day' * (d - 1), 'x', d,
		  'hash', true, d, 0, 0, d, d, 0, 0, 0, 0, 0, latency_histogram(d), 'train_perf' FROM generate_series(1, 5) d;
		SELECT resolve_performance_alert(create_performance_alert('other', 'error', 'resolved'));));
	# As the collector would do within ten minutes.
	$node->safe_psql($database, "SELECT maintain_${_}_partitions() FROM generate_series(1, 15)") for qw(log history);
	is_true($node, $database, q(SELECT count(*) > 10 FROM pg_inherits
		WHERE inhparent = 'query_performance_logs'::regclass), "$database: partitions of the log");
	is_true($node, $database, q(SELECT count(*) > 5 FROM pg_inherits
		WHERE inhparent = 'query_stats_history'::regclass), "$database: and of the history");
	$node->safe_psql($database, 'SELECT pg_sleep(0.6)');
	fails($node, $database, 'an_old_failure');
	eventually($node, $database, q(SELECT count(*) = 1 FROM performance_alerts WHERE alert_type = 'slow_query'),
		"$database: an open alert");
	eventually($node, $database, q(SELECT count(*) > 0 FROM query_performance_logs
		WHERE query_text ~* 'AS an_old_failure'), "$database: a failure in the log");
	eventually($node, $database, q(SELECT count(*) > 0 FROM query_stats_history JOIN query_texts USING (query_hash)
		WHERE query ~* 'an_old_failure'), "$database: and in the history");
	return;
}

# Capture, log, history, alerts and partitions go on.
sub goes_on
{
	my ($node, $database, $mark) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	fails($node, $database, $mark);
	eventually($node, $database, "SELECT count(*) = 1 FROM query_performance_logs
		WHERE query_text ~* 'AS $mark' AND tableoid::regclass::text ~ '_p[0-9]{8}\"?\$'",
		"$database: logged, in a partition");
	eventually($node, $database, "SELECT count(*) > 0 FROM query_stats_history JOIN query_texts USING (query_hash)
		WHERE query ~* 'AS $mark'", "$database: in the history");
	$node->safe_psql($database, 'SELECT pg_sleep(0.7)');
	eventually($node, $database, q(SELECT max(occurrences) > 1 AND count(*) = 1 FROM performance_alerts
		WHERE alert_type = 'slow_query' AND message ~ 'pg_sleep'), "$database: the open alert is the same one");
	$node->safe_psql($database, "INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
		VALUES ('$mark', 1, now() - interval '15 days')");
	cmp_ok($node->safe_psql($database, q(SELECT maintain_partitions_of('query_performance_logs', '20 days'))), '>=', 0,
		"$database: partitions are maintained");
	is($node->safe_psql($database, q(SELECT sum(total_queries) >= 15 FROM get_query_stats(now() - interval '10 days', now()))),
		't', "$database: statistics over both times");
	is($node->safe_psql($database, q(SELECT has_table_privilege('operator', 'query_performance_logs', 'INSERT'))), 't',
		"$database: rights");
	return;
}

sub upgrade
{
	my ($old, $new, @how) = @_;
	my %before = map { $_ => everything($old, $_) } keys %schema;
	# What the collector writes in its last moments is not in that.
	$old->stop;
	local %ENV = $new->_get_env();
	chdir $new->basedir;
	command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b',
		$old->config_data('--bindir'), '-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port,
		'-P', $new->port, @how ], "pg_upgrade @how");
	$new->start;
	is_kept($new, $_, $before{$_}) for sort keys %schema;
	return;
}

# A dump that the new version's program makes of the old server.
sub dump_loads
{
	my ($old, $new) = @_;
	my $file = $old->basedir . '/app.dump';
	my $log = $old->safe_psql('app', $rows{log});
	local %ENV = $new->_get_env();
	command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $old->connstr('app') ], 'pg_dump of the old server');
	$new->start;
	$new->safe_psql('postgres', 'CREATE ROLE operator; CREATE DATABASE app');
	command_ok([ 'pg_restore', '--exit-on-error', '-d', $new->connstr('app'), $file ], 'loads into the new one');
	my %there = map { $_ => 1 } split /\n/, $new->safe_psql('app', $rows{log});
	is(join("\n", grep { !$there{$_} } split /\n/, $log), '', 'with all rows of the log');
	$new->safe_psql('postgres', 'DROP DATABASE app; DROP ROLE operator');
	$new->stop;
	return;
}

my $old = new_server(15);
$old->start;
$old->safe_psql('postgres', 'CREATE ROLE operator');
fill($old, $_) for sort keys %schema;
my $hash = $old->safe_psql('app', q(SELECT query_hash('SELECT a, 1 FROM t')));
for my $way ([ 17, '--copy' ], [ 18, '--link' ])
{
	my ($version, @how) = @$way;
	my $new = new_server($version);
	dump_loads($old, $new);
	upgrade($old, $new, @how);
	goes_on($new, $_, "new_on_$version") for sort keys %schema;
	is($new->safe_psql('app', q(SELECT query_hash('SELECT a, 1 FROM t'))), $hash, 'the same hash');
	log_is_clean($new);
	is_never($new, qr/(WARNING|ERROR):(?!.*division by zero)/, 'the server log has no other error');
	$old = $new;
}
$old->stop;

done_testing();
