# pg_dump and pg_dumpall take the log, alerts and history along; every way to load the dump ends without an
# error, and the collector that starts meanwhile is not in its way.

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
eventually($node, 'app', q(SELECT count(*) = 1 FROM performance_alerts WHERE alert_type = 'slow_query'
	AND message ~ 'select pg_sleep'),
	'the slow statement raised an alert');
eventually($node, 'app', q(SELECT count(*) > 0 FROM query_stats_history JOIN query_texts USING (query_hash)
	WHERE query ~* 'pg_sleep'), 'and is in the history');

# Rows that have no partition yet, or never will; an index of somebody's own; and a gap in the partitions: the
# names of their indexes are numbered where they are too long, and will be numbered differently.
# It gives way to whoever is in the way, such as the collector.
eventually($node, 'app', 'SELECT maintain_log_partitions() = 0', 'all partitions are made');
$node->safe_psql('app', q(INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
	VALUES ('late', 1, now() - interval '5 days'), ('some day', 1, 'infinity')));
my @partitions = split /\n/, $node->safe_psql('app', q(SELECT inhrelid::regclass FROM pg_inherits
	WHERE inhparent = 'query_performance_logs'::regclass AND inhrelid::regclass::text ~ '_p\d+$' ORDER BY 1));
$node->safe_psql('app', "DROP TABLE $partitions[1]; CREATE INDEX of_mine ON $partitions[2] (endpoint)");

# What must come out of a restore; the collector may add to it.
my %rows = (
	log => 'SELECT to_jsonb(l) FROM query_performance_logs l',
	alerts => 'SELECT id, alert_type, fingerprint, resolved_at IS NULL FROM performance_alerts',
	history => 'SELECT to_jsonb(h) FROM query_stats_history h',
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

# Each partition has its part of each index of its table.
my $indexed = q(SELECT count(*) > 0 AND bool_and(EXISTS (SELECT FROM pg_inherits a
		JOIN pg_index i ON i.indexrelid = a.inhrelid
		WHERE a.inhparent = x.indexrelid AND i.indrelid = p.inhrelid AND i.indisvalid))
	FROM pg_inherits p JOIN pg_index x ON x.indrelid = p.inhparent
	WHERE p.inhparent IN ('query_performance_logs'::regclass, 'query_stats_history'::regclass));

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
	is_true($server, $database, $indexed, "$database: the indexes of all partitions");
	is_true($server, $database, q(SELECT bool_and(relrowsecurity) FROM pg_class
		WHERE relname ~ '_p\d{8}$' AND relkind = 'r'), "$database: row security of partitions");
	# A dump may bring what an earlier one logged.
	is_logged($server, $database, 'new_here_' . ++$loads);
	return;
}

# Runs a program that loads a dump and stops at the first error: whether it succeeds, and what it says.
sub outcome
{
	my ($server, @command) = @_;
	local %ENV = $server->_get_env();
	my $errors = '';
	my $succeeded = IPC::Run::run(\@command, '>', '/dev/null', '2>', \$errors);
	return ($succeeded, $errors);
}

sub loads
{
	my ($server, $name, @command) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($succeeded, $errors) = outcome($server, @command);
	ok($succeeded, "$name succeeds");
	return is($errors, '', "$name: no error");
}

sub load
{
	my ($server, $database, $file, @options) = @_;
	return loads($server, "psql @options", 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', @options, '-d',
		$server->connstr($database), '-f', $file);
}

sub pg_restore
{
	my ($database, $file, @options) = @_;
	return ('pg_restore', '--exit-on-error', @options, '-d', $node->connstr($database), $file);
}

sub restore
{
	my ($database, $file, @options) = @_;
	return loads($node, "pg_restore @options", pg_restore(@_));
}

subtest 'plain_dump' => sub {
	my ($file, $before) = dumped();
	create_database($node, 'plain');
	load($node, 'plain', $file);
	has_all($node, 'plain', $before);
	eventually($node, 'plain', q(SELECT count(*) = 0 FROM query_performance_logs_default
		WHERE execution_timestamp < now() + interval '1 day'), 'rows find their partitions');
	is($node->safe_psql('plain', "SELECT indrelid::regclass FROM pg_index WHERE indexrelid = 'of_mine'::regclass"),
		$partitions[2], 'also the index that is not of the extension');
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

# Several sessions, one after the other and at the same time; what an earlier restore did is in this dump.
subtest 'parallel_restore' => sub {
	my $directory = $node->basedir . '/directory';
	my %before = map { $_ => [ split /\n/, $node->safe_psql('plain', $rows{$_}) ] } keys %rows;
	$node->command_ok([ 'pg_dump', '-Fd', '-j', 2, '-f', $directory, $node->connstr('plain') ], 'pg_dump -Fd');
	create_database($node, 'parallel');
	restore('parallel', $directory, '-j', 2);
	has_all($node, 'parallel', \%before);
};

subtest 'restore_in_sections' => sub {
	my ($file, $before) = dumped('-Fc');
	# Where more than two seconds lie between two of them the collector is there, and may write what the next one
	# brings. A busy machine may stand still for so long, but not each time.
	my ($database, $errors);
	for my $try (1 .. 4)
	{
		$database = "sections$try";
		create_database($node, $database);
		for my $section (qw(pre-data data post-data))
		{
			(my $succeeded, $errors) = outcome($node, pg_restore($database, $file, "--section=$section"));
			$errors .= "pg_restore --section=$section fails" unless $succeeded;
			last if $errors ne '';
		}
		last if $errors !~ /duplicate key value violates unique constraint "query_texts/;
		note $errors;
	}
	is($errors, '', 'each section is restored without an error');
	has_all($node, $database, $before);
};

subtest 'restore_over_a_database_in_use' => sub {
	my ($file, $before) = dumped('-Fc');
	restore('plain', $file, '--clean', '--if-exists', '--single-transaction');
	has_all($node, 'plain', $before);
};

# Elsewhere, and on other tables, what is there already is an error.
subtest 'other_statements_are_left_alone' => sub {
	my $again = "ALTER TABLE $partitions[0] ADD CONSTRAINT $partitions[0]_pkey PRIMARY KEY (id, execution_timestamp)";
	my $loading = 'SET check_function_bodies = off; SET row_security = off';
	isnt($node->psql('plain', $again), 0, 'a second primary key in an ordinary session');
	is($node->psql('plain', "$loading; $again"), 0, 'in one that loads a dump');
	isnt($node->psql('plain', "$loading; SET ROLE pg_monitor; $again"), 0, 'but not without the right to it');
	$node->safe_psql('plain', "$loading; CREATE INDEX another ON $partitions[0] USING hash (query_hash)");
	is_true($node, 'plain', "SELECT to_regclass('another') IS NOT NULL", 'another index is made there');
	$node->safe_psql('plain', q(CREATE TABLE of_app (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE of_app_1 PARTITION OF of_app FOR VALUES FROM (0) TO (1)));
	isnt($node->psql('plain', "$loading; ALTER TABLE of_app_1 ADD CONSTRAINT of_app_1_pkey PRIMARY KEY (id)"), 0,
		'a partition of somebody else');
};

# A server that has the library but does not preload it.
subtest 'restore_without_preload' => sub {
	my ($file, $before) = dumped();
	my $other = PostgreSQL::Test::Cluster->new('life_dump_plain');
	$other->init;
	$other->start;
	$other->command_checks_all([ 'psql', '-Xq', '-1', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('postgres'), '-f',
		$file ], 0, [qr/^/], [qr/^(?!.*ERROR)/s], 'psql -1');
	my %there = map { $_ => 1 } split /\n/, $other->safe_psql('postgres', $rows{log});
	is(join("\n", grep { !$there{$_} } @{ $before->{log} }), '', 'all rows');
	is_true($other, 'postgres', $indexed, 'the indexes of all partitions');
	$other->stop;
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
