# What the tests of the workers share: servers, events that can be recognised, and waiting for things.
package Workers;

use strict;
use warnings;
use Exporter 'import';
use File::Basename 'dirname';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  build_library start_server create_database with_extension eventually is_true fail_statement logged is_logged
  collectors_of is_collected is_not_collected counts_add_up session is_never log_is_clean dead_for_all
);

# A library that lets the server fail, from its source beside this file.
sub build_library
{
	my ($name) = @_;
	my $source = dirname(__FILE__) . "/$name.cpp";
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";
	my ($headers) = run_command([ 'pg_config', '--includedir-server' ]);
	system_or_bail('c++', '-std=c++20', '-O1', '-fPIC', '-shared', '-isystem', $headers, '-o', $library, $source);
	return $library;
}

# A running server with the library preloaded, on which nothing begins because of the time of day.
sub start_server
{
	my ($name, $conf, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%init);
	$node->append_conf('postgresql.conf', <<"END" . ($conf // ''));
shared_preload_libraries = 'train_perf'
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''
END
	$node->start;
	return $node;
}

sub create_database
{
	my ($node, @databases) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $_") for @databases;
	return;
}

# Databases with the extension.
sub with_extension
{
	my ($node, @databases) = @_;
	for my $database (@databases)
	{
		create_database($node, $database);
		$node->safe_psql($database, 'CREATE EXTENSION train_perf');
	}
	return;
}

# Polls for as long as the other tests of PostgreSQL do.
sub eventually
{
	my ($node, $database, $condition, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($database, $condition), $name);
}

sub is_true
{
	my ($node, $database, $condition, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql($database, $condition), 't', $name);
}

# An event that its mark tells from others. It fails in the executor, so it takes no time and does not
# depend on what the server logs.
sub fail_statement
{
	my ($node, $database, $mark) = @_;
	my $code = $node->psql($database, "SELECT 1 / count(*) AS $mark FROM pg_class WHERE false");
	die "the statement $mark did not fail" if $code == 0;
	return;
}

# The condition that exactly one event with that mark is in the log.
sub logged
{
	my ($mark, $schema) = @_;
	$schema //= 'public';
	return "SELECT count(*) = 1 FROM $schema.query_performance_logs WHERE query_text ~* 'AS $mark FROM'";
}

# A statement that fails now is logged, which needs capture, queue and collector.
sub is_logged
{
	my ($node, $database, $mark, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	fail_statement($node, $database, $mark);
	return eventually($node, $database, logged($mark), $name // "$database: $mark is logged");
}

sub collectors_of
{
	my ($database) = @_;
	return "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'train_perf collector'"
	  . (defined $database ? " AND datname = '$database'" : '');
}

sub is_collected
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually($node, 'postgres', "SELECT 1 = (" . collectors_of($database) . ")",
		$name // "$database has a collector");
}

sub is_not_collected
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually($node, 'postgres', "SELECT 0 = (" . collectors_of($database) . ")",
		$name // "$database has no collector");
}

sub counts_add_up
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_true($node, $database,
		'SELECT events_enqueued = events_written + events_queued + events_dropped FROM capture_status()',
		$name // 'enqueued = written + queued + dropped');
}

# A psql session that goes on after errors.
sub session
{
	my ($node, $database, %options) = @_;
	return $node->background_psql($database, on_error_stop => 0, %options);
}

# Waits until no snapshot is older than what was deleted up to now, so that VACUUM removes it.
sub dead_for_all
{
	my ($node, $database) = @_;
	my $xid = $node->safe_psql($database, 'SELECT pg_current_xact_id()');
	$node->poll_query_until($database, qq{SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $xid
		AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_xmin::text::bigint <= $xid)})
	  or die "a snapshot is older than transaction $xid";
	return;
}

# The server log has no line like that, from a position on.
sub is_never
{
	my ($node, $pattern, $name, $from) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $log = substr slurp_file($node->logfile), $from // 0;
	my @lines = grep { /$pattern/ } split /\n/, $log;
	return is(join("\n", @lines), '', $name);
}

# Nothing crashed.
sub log_is_clean
{
	my ($node, $from) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_never($node, qr/PANIC|TRAP|was terminated by signal/,
		'the server log is clean', $from);
}

1;
