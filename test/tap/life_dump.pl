# pg_dump and pg_dumpall take the log, alerts and history along, and the collector that starts while a dump is
# loaded is not in its way.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = start_server('life_dump', q(
max_worker_processes = 20
train_perf.max_collectors = 10
train_perf.history_interval = 1
));
with_extension($node, 'app');

# Rows of now, of days ago, and in the default partition; a slow statement with an open alert.
eventually($node, 'app', q(SELECT count(*) > 2 FROM pg_inherits
	WHERE inhparent = 'query_stats_history'::regclass), 'partitions are made');
is_logged($node, 'app', 'a_failure');
$node->safe_psql('app', q(
	CREATE TABLE accounts AS SELECT g AS id FROM generate_series(1, 100) g;
	INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
	  SELECT 'of the application', 700, now() + interval '1 day' * d FROM generate_series(-3, 3) d;
	SELECT create_performance_alert('unused_index', 'info', 'an alert', '{"fingerprint": "one"}');
	SELECT resolve_performance_alert(
	  create_performance_alert('other', 'error', 'resolved', '{"fingerprint": "two"}'));
	SELECT pg_sleep(0.6);));
eventually($node, 'app', q(SELECT count(*) = 1 FROM performance_alerts WHERE alert_type = 'slow_query'),
	'the slow statement raised an alert');
eventually($node, 'app', q(SELECT count(*) > 0 FROM query_stats_history JOIN query_texts USING (query_hash)
	WHERE query ~* 'pg_sleep'), 'and is in the history');

# What must come out of a restore; the collector may add to it.
my %rows = (
	log => 'SELECT id, query_text, duration_ms, execution_timestamp, query_hash FROM query_performance_logs',
	alerts => 'SELECT id, alert_type, fingerprint, resolved_at IS NULL FROM performance_alerts',
	history => 'SELECT bucket_start, username, queryid, query_hash, calls FROM query_stats_history',
	texts => 'SELECT query_hash, query FROM query_texts',
	accounts => 'SELECT id FROM accounts');

# The dump is of one moment; what the collector wrote after it is not in it.
sub dumped
{
	my (@options) = @_;
	my %before = map { $_ => [ split /\n/, $node->safe_psql('app', $rows{$_}) ] } keys %rows;
	my $file = $node->basedir . '/dump';
	$node->command_ok([ 'pg_dump', '-f', $file, @options, $node->connstr('app') ], "pg_dump @options");
	return ($file, \%before);
}

my $loads = 0;
sub has_all
{
	my ($server, $database, $before) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $kind (sort keys %rows)
	{
		my %there = map { $_ => 1 } split /\n/, $server->safe_psql($database, $rows{$kind});
		is(join("\n", grep { !$there{$_} } @{ $before->{$kind} }), '', "$database: all rows: $kind");
	}
	# A dump may bring what an earlier one logged.
	is_logged($server, $database, 'new_here_' . ++$loads);
	return;
}

# Runs a program that loads a dump; nothing that the collector does may be in its way.
sub loads
{
	my ($server, $name, @command) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local %ENV = $server->_get_env();
	my $errors = '';
	IPC::Run::run(\@command, '>', '/dev/null', '2>', \$errors);
	my @collisions = grep { /would be violated|duplicate key|deadlock|lock timeout/ } split /\n/, $errors;
	return is(join("\n", @collisions), '', "$name: no collision with the collector");
}

sub load
{
	my ($server, $database, $file) = @_;
	return loads($server, $database, 'psql', '-Xq', '-d', $server->connstr($database), '-f', $file);
}

subtest 'plain_dump' => sub {
	my ($file, $before) = dumped();
	create_database($node, 'plain');
	load($node, 'plain', $file);
	has_all($node, 'plain', $before);
	eventually($node, 'plain', q(SELECT count(*) = 0 FROM query_performance_logs_default
		WHERE execution_timestamp < now() + interval '1 day'), 'rows find their partitions');
};

# A large dump takes its time, in which the collector starts and sees slow statements.
subtest 'slow_restore' => sub {
	my ($file, $before) = dumped();
	my $dump = slurp_file($file);
	is($dump =~ s/^(CREATE EXTENSION IF NOT EXISTS train_perf.*?;\n)/$1SELECT pg_sleep(3);\n/m, 1,
		'a pause after CREATE EXTENSION');
	is($dump =~ s/^(COPY public\.accounts)/SELECT pg_sleep(3);\n$1/m, 1, 'a pause before the rows');
	append_to_file("$file.slow", $dump);
	create_database($node, 'slow');
	load($node, 'slow', "$file.slow");
	has_all($node, 'slow', $before);
};

subtest 'parallel_restore' => sub {
	my $directory = $node->basedir . '/directory';
	my %before = map { $_ => [ split /\n/, $node->safe_psql('app', $rows{$_}) ] } keys %rows;
	$node->command_ok([ 'pg_dump', '-Fd', '-j', 2, '-f', $directory, $node->connstr('app') ], 'pg_dump -Fd');
	create_database($node, 'parallel');
	loads($node, 'pg_restore -j', 'pg_restore', '-j', 2, '-d', $node->connstr('parallel'), $directory);
	has_all($node, 'parallel', \%before);
};

subtest 'restore_over_a_database_in_use' => sub {
	my ($file, $before) = dumped('-Fc');
	loads($node, 'pg_restore --clean', 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('plain'),
		$file);
	has_all($node, 'plain', $before);
};

subtest 'pg_dumpall' => sub {
	my %before = map { $_ => [ split /\n/, $node->safe_psql('app', $rows{$_}) ] } keys %rows;
	my $file = $node->basedir . '/all';
	$node->command_ok([ 'pg_dumpall', '-f', $file, '-d', $node->connstr('postgres') ], 'pg_dumpall');
	$node->stop;
	my $new = start_server('life_dumped', "max_worker_processes = 20\ntrain_perf.max_collectors = 10\n");
	# Its bootstrap role is there already.
	my $dump = slurp_file($file) =~ s/^CREATE ROLE [^;]*;\n//mr;
	append_to_file("$file.new", $dump);
	load($new, 'postgres', "$file.new");
	has_all($new, 'app', \%before);
	has_all($new, 'plain', { map { $_ => [] } keys %rows });
	$new->stop;
};

done_testing();
