# What the tests of maintenance share: servers with short pauses, a history of each job, and jobs that stop
# at a gate until they are let through.
package Maintenance;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use Test::More;
use TrainPerfTest;
use Workers;

our @EXPORT = qw(
  maintenance_server with_maintenance add_gate slow_table client sql job_of job ask
  reaches attempts close_gate open_gate all_have_ended configure
);

my $conf = <<'END';
autovacuum = off
log_min_messages = warning
train_perf.maintenance_retry_delay = 200ms
END

sub maintenance_server
{
	my ($name, $more, %init) = @_;
	return start_server($name, $conf . ($more // ''), %init);
}

# Databases with the extension, and what became of each job there, step by step, in the table steps.
sub with_maintenance
{
	my ($node, @databases) = @_;
	with_extension($node, @databases);
	for my $database (@databases)
	{
		$node->safe_psql($database, q{
			CREATE TABLE steps (step bigint GENERATED ALWAYS AS IDENTITY, job_id bigint, status text,
			                    attempts integer, sqlstate text, error_message text, waiting_for text);
			CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				INSERT INTO public.steps (job_id, status, attempts, sqlstate, error_message, waiting_for)
				VALUES (NEW.job_id, NEW.status, NEW.attempts, NEW.sqlstate, NEW.error_message, NEW.waiting_for);
				RETURN NULL;
			END $$;
			CREATE TRIGGER note_step AFTER INSERT OR UPDATE OF status ON maintenance_jobs
				FOR EACH ROW EXECUTE FUNCTION note_step()});
	}
	return;
}

# Changes settings of a database where no job is at work. A worker that looks for one there, because another has ended,
# may have read the old ones: waits until it is gone. Until it is shown as active it has the database locked.
sub configure
{
	my ($node, $database, @changes) = @_;
	$node->safe_psql('postgres', "ALTER DATABASE $database $_") for @changes;
	for my $look (qq{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass
			AND objid = (SELECT oid FROM pg_database WHERE datname = '$database')},
		qq{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance' AND datname = '$database'})
	{
		$node->poll_query_until('postgres', $look) or die "a worker does not end in $database";
	}
	return;
}

# ANALYZE of a table made by gated_table() waits as long as the gate is closed, without a limit of ours.
sub add_gate
{
	my ($node, $database) = @_;
	$node->safe_psql($database, qq{
		ALTER DATABASE $database SET train_perf.maintenance_lock_timeout = '10min';
		CREATE FUNCTION wait_at_gate() RETURNS void LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); END';
		CREATE FUNCTION through_gate(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
			'BEGIN PERFORM public.wait_at_gate(); RETURN n; END';
		CREATE PROCEDURE gated_table(name text) LANGUAGE plpgsql AS \$\$
		BEGIN
			EXECUTE format('CREATE TABLE %1\$s AS SELECT g AS n FROM generate_series(1, 10) g', name);
			EXECUTE format('CREATE INDEX ON %s (public.through_gate(n))', name);
		END \$\$});
	return;
}

# Returns the session that holds the gate: whatever ends it opens the gate.
sub close_gate
{
	my ($node, $database) = @_;
	my $keeper = client($node, $database);
	sql($keeper, 'SELECT pg_advisory_lock(1)');
	return $keeper;
}

sub open_gate
{
	my ($keeper) = @_;
	sql($keeper, 'SELECT pg_advisory_unlock(1)');
	return $keeper->quit;
}

# VACUUM of it takes minutes in a database with such a vacuum_cost_delay.
sub slow_table
{
	my ($node, $database, $name) = @_;
	$node->safe_psql($database, qq{
		CREATE TABLE $name (n integer, filler text) WITH (fillfactor = 10);
		ALTER TABLE $name ALTER filler SET STORAGE PLAIN;
		INSERT INTO $name SELECT g, repeat('x', 700) FROM generate_series(1, 2000) g;
		ALTER DATABASE $database SET vacuum_cost_delay = '100ms';
		ALTER DATABASE $database SET vacuum_cost_limit = 1});
	return;
}

sub client
{
	my ($node, $database, $user, %options) = @_;
	my $client = TrainPerfTest::Client->new($node, database => $database,
		(defined $user ? (user => $user) : ()), %options);
	die 'no connection: ' . ($client->{startup}{error}{M} // 'closed') unless defined $client->{startup}{status};
	return $client;
}

# The first column of the first row; dies of an error.
sub sql
{
	my ($client, $statement) = @_;
	my $answer = $client->query($statement);
	die "$statement: $answer->{error}{M}" if $answer->{error};
	return $answer->{rows}[0] ? $answer->{rows}[0][0] : undef;
}

# The number of the job in an answer.
sub job_of
{
	my ($answer) = @_;
	return $1 if ($answer // '') =~ /\bjob (\d+)\b/;
	die "no job in: $answer";
}

sub job
{
	my ($node, $database, $id) = @_;
	my $json = $node->safe_psql($database, "SELECT to_jsonb(j) FROM maintenance_jobs j WHERE job_id = $id");
	return JSON::PP->new->decode($json);
}

# Asks for VACUUM without waiting for it; returns the number of the job.
sub ask
{
	my ($node, $database, $table) = @_;
	return job_of($node->safe_psql($database,
		"SET train_perf.maintenance_wait = 0; SELECT vacuum_analyze_table('$table')"));
}

sub reaches
{
	my ($node, $database, $id, $status, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually($node, $database, "SELECT status = '$status' FROM maintenance_jobs WHERE job_id = $id",
		$name // "job $id of $database is $status")
	  || diag(explain(job($node, $database, $id)));
}

# What happened to a job, as "status sqlstate, …".
sub attempts
{
	my ($node, $database, $id) = @_;
	return $node->safe_psql($database,
		"SELECT string_agg(concat_ws(' ', status, sqlstate), ', ' ORDER BY step) FROM steps WHERE job_id = $id");
}

sub all_have_ended
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually($node, $database,
		q{SELECT NOT EXISTS (SELECT FROM maintenance_jobs WHERE status IN ('queued', 'running'))},
		$name // "all jobs of $database have ended");
}

1;
