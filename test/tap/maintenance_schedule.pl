# The schedule of maintenance at work: by the workers, by pg_cron, by a call; and retention.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use TrainPerfTest;
use Workers ();

my $libraries = `pg_config --pkglibdir`;
chomp $libraries;
my $has_cron = -e "$libraries/pg_cron.so";

my $node = start_node('schedule', <<'END'
autovacuum = off
train_perf.timezone = 'UTC'
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''
train_perf.maintenance_retry_delay = 100ms
train_perf.snapshot_interval = 1d
wal_level = replica
max_wal_senders = 4
END
	. ($has_cron
		? "shared_preload_libraries = 'train_perf, pg_cron'\ncron.database_name = 'postgres'\n"
		  . "cron.use_background_workers = on\nmax_worker_processes = 20\n"
		: ''));

sub value { return $node->safe_psql('postgres', $_[0]) }

sub value_as
{
	my ($role, $sql) = @_;
	my $value = $node->safe_psql('postgres', "SET ROLE $role; $sql");
	return $value;
}

# Has the collector look at the schedule: it does when a job has ended.
sub look
{
	value('SELECT vacuum_analyze_table($$trigger_of_looks$$)');
	return;
}

# Waits until the condition holds, with a look each time.
sub after_looks
{
	my ($what, $condition) = @_;
	return wait_until($what, sub { look(); return value("SELECT $condition") eq 't' });
}

# By this setting it was due so long ago. A new one counts from when it was seen first, so that this is set back.
sub make_due
{
	my ($kind, $ago) = @_;
	my $format = { daily => 'HH24:MI', weekly => 'Dy HH24:MI', monthly => 'FMDD HH24:MI' }->{$kind};
	my $setting = value("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' - interval '$ago', '$format')");
	value("ALTER SYSTEM SET train_perf.maintenance_$kind = '$setting'");
	$node->reload;
	after_looks("the workers see $kind $setting", "EXISTS (SELECT FROM maintenance_runs WHERE name = '$kind' AND setting = '$setting')");
	value("UPDATE maintenance_runs SET settled_until = settled_until - interval '$ago' - interval '1 hour' WHERE name = '$kind'");
	return;
}

sub all_ended
{
	return wait_until('all jobs have ended', sub {
		value('SELECT count(*) FROM maintenance_jobs WHERE finished_at IS NULL') eq '0';
	});
}

$node->safe_psql('postgres', q{
	CREATE TABLE trigger_of_looks (id int);
	CREATE ROLE app NOLOGIN;
	GRANT CREATE ON SCHEMA public TO app;
	SELECT grant_access('app', 'operate');
	SET ROLE app;
	CREATE TABLE conversations (id int, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO conversations (id) SELECT i FROM generate_series(1, 1000) i;
	DELETE FROM conversations WHERE id > 500;
	CREATE TABLE scenarios (id int);
	CREATE TABLE mine (id int);
	RESET ROLE;
	CREATE TABLE edge_cases (id int);
});
Workers::dead_for_all($node, 'postgres');

subtest 'the workers keep the schedule' => sub {
	after_looks('the first look', q{(SELECT count(*) = 4 FROM maintenance_runs)});
	is(value(q{SELECT count(*) FROM maintenance_jobs WHERE reason = 'weekly maintenance'}), '0', 'nothing at first');
	is(value('BEGIN; SELECT run_due_schedule(); SELECT pg_current_xact_id_if_assigned() IS NULL; COMMIT'), "0\nt",
		'a look that finds nothing writes nothing');
	make_due('weekly', '30 minutes');
	after_looks('weekly maintenance', q{EXISTS (SELECT FROM maintenance_runs WHERE name = 'weekly' AND last_run_at IS NOT NULL)});
	all_ended();
	is(value(q{SELECT string_agg(target || ' ' || requested_by || ' ' || status || ' ' || rows_removed, ', ') FROM maintenance_jobs
	           WHERE reason = 'weekly maintenance' AND target = 'public.conversations'}),
		'public.conversations app succeeded 500', 'a covered table is vacuumed as its owner');
	is(value(q{SELECT count(*) FROM maintenance_jobs WHERE target = 'public.mine'}), '0', 'others are not');
	is(value(q{SELECT count(*) FROM maintenance_jobs WHERE reason = 'weekly maintenance' AND status <> 'succeeded'}), '0', 'all succeeded');
	is(value(q{SELECT count(*) = count(DISTINCT relid) AND count(*) = (SELECT count(*) FROM maintenance_tables())
	           FROM maintenance_jobs WHERE reason = 'weekly maintenance'}), 't', 'each covered table once');

	make_due('monthly', '30 minutes');
	after_looks('monthly maintenance', q{EXISTS (SELECT FROM maintenance_runs WHERE name = 'monthly' AND last_run_at IS NOT NULL AND error IS NULL)});

	my $jobs = value(q{SELECT count(*) FROM maintenance_jobs WHERE reason = 'weekly maintenance'});
	$node->stop('immediate');
	$node->start;
	wait_until('the collector is back', sub { value('SELECT collector_pid IS NOT NULL FROM capture_status()') eq 't' });
	look() for 1 .. 3;
	is(value(q{SELECT count(*) FROM maintenance_jobs WHERE reason = 'weekly maintenance'}), $jobs, 'never twice, not even after a crash');
};

subtest 'a wrong setting' => sub {
	my $from = -s $node->logfile;
	value(q{ALTER SYSTEM SET train_perf.maintenance_weekly = 'Caturday 02:00'});
	value(q{ALTER SYSTEM SET train_perf.maintenance_window = 'at night'});
	$node->reload;
	after_looks('it is seen', q{(SELECT string_agg(s.name, ' ' ORDER BY s.name) FROM maintenance_schedule s JOIN maintenance_runs r USING (name)
	                              WHERE s.error = r.error) = 'weekly window'});
	look() for 1 .. 3;
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
	my $warnings = () = $log =~ /WARNING:.*('Caturday 02:00' is no time for it|'at night' is no window)/g;
	is($warnings, 2, 'is logged once');
	is(value('SELECT last_error FROM capture_status()'), '', 'and fails nothing');
	value(q{ALTER SYSTEM SET train_perf.maintenance_weekly = ''});
	value('ALTER SYSTEM RESET train_perf.maintenance_window');
	$node->reload;
	after_looks('it is put right', q{NOT EXISTS (SELECT FROM maintenance_runs WHERE error IS NOT NULL)});
};

subtest 'retention' => sub {
	$node->safe_psql('postgres', q{
		SET ROLE app;
		CREATE TABLE generation_logs (id int, created_at timestamptz);
		INSERT INTO generation_logs SELECT i, now() - i * interval '1 minute' FROM generate_series(1, 30000) i;
		CREATE TABLE measured (id int, at timestamp) PARTITION BY RANGE (at);
		CREATE TABLE measured_2001 PARTITION OF measured FOR VALUES FROM ('2001-01-01') TO ('2002-01-01');
		CREATE TABLE measured_2002 PARTITION OF measured FOR VALUES FROM ('2002-01-01') TO ('2003-01-01');
		CREATE TABLE measured_later PARTITION OF measured FOR VALUES FROM ('2003-01-01') TO ('2900-01-01');
		INSERT INTO measured SELECT i, '2001-05-05' FROM generate_series(1, 100) i;
		INSERT INTO measured SELECT i, '2005-05-05' FROM generate_series(1, 12000) i;
		INSERT INTO measured SELECT i, '2800-05-05' FROM generate_series(1, 50) i;
		SELECT set_retention('generation_logs', 'created_at', '1 day');
		SELECT set_retention('measured', 'at', '1 year');
		RESET ROLE;
		CREATE TABLE statements (rows bigint);
		GRANT INSERT ON statements TO app;
		CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql AS
		  $$ BEGIN INSERT INTO statements SELECT count(*) FROM gone; RETURN NULL; END $$;
		CREATE TRIGGER note AFTER DELETE ON generation_logs REFERENCING OLD TABLE AS gone
		  FOR EACH STATEMENT EXECUTE FUNCTION note_statement();
	});
	# Somebody else works on one of the old rows meanwhile.
	my $other = TrainPerfTest::Client->new($node);
	$other->query('BEGIN');
	$other->query('UPDATE generation_logs SET id = -1 WHERE id = 29999');
	make_due('daily', '30 minutes');
	after_looks('daily maintenance', q{EXISTS (SELECT FROM maintenance_runs WHERE name = 'daily' AND last_run_at IS NOT NULL)});
	all_ended();
	is(value(q{SELECT string_agg(status || ' ' || requested_by || ' ' || rows_removed || ' ' || attempts, ', ' ORDER BY target)
	           FROM maintenance_jobs WHERE kind = 'retention' AND target = 'public.generation_logs'}) =~ s/ (\d+) 1$//r,
		'succeeded app', 'old rows are deleted at the first attempt');
	is(value(q{SELECT count(*) FROM generation_logs WHERE created_at < now() - interval '1 day 10 minutes'}), '1',
		'all but the row that somebody has locked');
	is(value(q{SELECT count(*) BETWEEN 1400 AND 1450 FROM generation_logs}), 't', 'younger ones stay');
	is(value(q{SELECT max(rows) <= 5000 AND count(*) > 5 FROM statements}), 't', 'in small batches');
	is(value(q{SELECT sum(rows) = (SELECT rows_removed FROM maintenance_jobs WHERE target = 'public.generation_logs' AND kind = 'retention')
	           FROM statements}), 't', 'all of them are counted');
	like(value(q{SELECT summary FROM maintenance_jobs WHERE kind = 'retention' AND target = 'public.measured'}),
		qr/^public\.measured: deleted 12000 rows older than \d{4}-\d\d-\d\d [\d:.]+, dropped 2 partitions$/, 'whole partitions are dropped');
	is(value(q{SELECT string_agg(relid::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('measured')}),
		'measured measured_later', 'those that are old as a whole');
	is(value('SELECT count(*) FROM measured'), '50', 'rows that are younger stay');
	$other->query('ROLLBACK');
	$other->quit;

	$node->safe_psql('postgres', 'REVOKE ALL ON generation_logs FROM app; ALTER TABLE generation_logs OWNER TO CURRENT_USER;');
	make_due('daily', '35 minutes');
	after_looks('the next day', q{(SELECT count(*) = 4 FROM maintenance_jobs WHERE kind = 'retention')});
	all_ended();
	is(value(q{SELECT status || ' ' || sqlstate FROM maintenance_jobs WHERE kind = 'retention' AND target = 'public.generation_logs'
	           ORDER BY job_id DESC LIMIT 1}), 'failed 42501', 'who may not delete any more deletes nothing');
	is(value(q{SELECT count(*) FROM generation_logs WHERE created_at < now() - interval '1 day 10 minutes'}), '1', 'nothing');
	like(value(q{SELECT summary FROM maintenance_jobs WHERE kind = 'retention' AND target = 'public.measured' ORDER BY job_id DESC LIMIT 1}),
		qr/: deleted 0 rows older than/, 'nothing left to delete');
};

subtest 'weekly_maintenance' => sub {
	my $text = value_as('app', 'SELECT weekly_maintenance()');
	like($text, qr/^public\.conversations: job \d+: VACUUM \(ANALYZE\) public\.conversations: \d+ dead rows removed/m, 'own tables are vacuumed');
	like($text, qr/^public\.edge_cases: left out: permission denied/m, 'those of others are not');
	like($text, qr/^public\.performance_alerts: left out: permission denied/m, 'nor are ours');
	like($text, qr/^Total: \d+ tables, 2 done, 0 still running, 0 failed, \d+ left out$/m, 'all together');
	is(value(q{SELECT count(*) FROM maintenance_jobs WHERE reason = 'weekly maintenance' AND requested_by = 'app'
	           AND target = 'public.edge_cases'}), '0', 'nothing is queued in vain');
	is(value(q{SELECT count(*) > 0 FROM table_bloat_snapshots WHERE tablename = 'conversations'}), 't', 'snapshots are taken');
	$text = value('SELECT weekly_maintenance()');
	like($text, qr/^Total: (\d+) tables, \1 done, 0 still running, 0 failed, 0 left out$/m, 'the owner of the extension vacuums all');
	like($text, qr/^public\.performance_alerts: job \d+: VACUUM/m, 'ours too');
	like(value(q{SET statement_timeout = '60s'; SELECT weekly_maintenance()}), qr/^Total: .* 0 failed, 0 left out$/m, 'under a statement_timeout too');
	like($node->safe_psql('postgres', 'BEGIN; SELECT weekly_maintenance(); ROLLBACK;'), qr/^Total:/m, 'in a transaction');

	my $holder = TrainPerfTest::Client->new($node);
	$holder->query('BEGIN');
	$holder->query('LOCK TABLE scenarios IN SHARE MODE');
	value('ALTER SYSTEM SET train_perf.maintenance_lock_timeout = 120000');
	$node->reload;
	$text = value(q{SET train_perf.maintenance_wait = 0; SELECT weekly_maintenance()});
	like($text, qr/^public\.scenarios: job \d+ still running/m, 'what has not ended is said');
	my ($job) = $text =~ /^public\.scenarios: job (\d+) /m;
	my $jobs = value('SELECT count(*) FROM maintenance_jobs');
	like(value('SELECT weekly_maintenance()'), qr/^Weekly maintenance is already running: .*job $job\b.*Nothing was done/, 'a second call says so');
	is(value('SELECT count(*) FROM maintenance_jobs'), $jobs, 'and does nothing');
	$holder->query('ROLLBACK');
	all_ended();
	my $first = TrainPerfTest::Client->new($node);
	$first->query('BEGIN');
	$first->query('SELECT weekly_maintenance()');
	like(value('SELECT weekly_maintenance()'), qr/already running in another session/, 'one at a time');
	$first->query('ROLLBACK');
	$first->query('BEGIN');
	$first->query('LOCK TABLE scenarios IN SHARE UPDATE EXCLUSIVE MODE');
	like($first->query('SELECT weekly_maintenance()')->{rows}[0][0], qr/^public\.scenarios: left out: this transaction holds a lock/m,
		'what would wait for its caller is left out');
	$first->query('ROLLBACK');
	$first->quit;
	$holder->quit;
	value('ALTER SYSTEM RESET train_perf.maintenance_lock_timeout');
	$node->reload;
};

subtest 'pg_cron' => sub {
	plan skip_all => 'not installed' unless $has_cron;
	# Days away, so that neither is due while this runs.
	my ($weekday, $number) = split / /, value(q{SELECT to_char(d, 'Dy') || ' ' || extract(dow FROM d)
		FROM (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date + 3) AS t (d)});
	my $day = value(q{SELECT (extract(day FROM clock_timestamp() AT TIME ZONE 'UTC')::int + 13) % 28 + 1});
	value("ALTER SYSTEM SET train_perf.maintenance_weekly = '$weekday 02:00'");
	value("ALTER SYSTEM SET train_perf.maintenance_monthly = '$day 03:00'");
	$node->reload;
	wait_until('the settings are read', sub { value('SHOW train_perf.maintenance_monthly') eq "$day 03:00" });
	my $client = TrainPerfTest::Client->new($node);
	is(join(' ', $client->queries('SELECT schedule_maintenance()', 'SELECT unschedule_maintenance()')), '55000 55000', 'not without the extension');
	like($client->query('SELECT schedule_maintenance()')->{error}{H}, qr/CREATE EXTENSION pg_cron/, 'with a hint');
	$client->quit;
	value('CREATE EXTENSION pg_cron');
	my $keepers = q{SELECT string_agg(name || ' ' || keeper, ', ' ORDER BY name) FROM maintenance_schedule WHERE name <> 'window'};
	is(value($keepers), 'daily workers, monthly workers, weekly workers', 'by itself it keeps nothing');
	is(value('SELECT schedule_maintenance()'), '2', 'two jobs');
	is(value('SELECT schedule_maintenance()'), '2', 'again');
	is(value(q{SELECT string_agg(jobname || ': ' || schedule || ' ' || command || ' ' || active, E'\n' ORDER BY jobname) FROM cron.job}),
		"reindex-bloated: 0 3 $day * * SELECT public.monthly_maintenance() -- reindex_bloated_indexes() above train_perf.reindex_threshold true\n"
		  . "vacuum-analyze-weekly: 0 2 * * $number SELECT public.weekly_maintenance() true", 'once each');
	is(value($keepers), 'daily workers, monthly pg_cron, weekly pg_cron', 'it keeps them');
	$node->command_ok([ 'psql', '-X', '-d', 'postgres', '-v', 'ON_ERROR_STOP=1', '-c', value(q{SELECT command FROM cron.job WHERE jobname = 'reindex-bloated'}) ],
		'the command that rebuilds can be run');

	my $from = value('SELECT coalesce(max(job_id), 0) FROM maintenance_jobs');
	my $by_workers = "SELECT count(*) FROM maintenance_jobs WHERE job_id > $from AND in_window AND reason = 'weekly maintenance'";
	make_due('weekly', '25 minutes');
	my $settled = value(q{SELECT settled_until FROM maintenance_runs WHERE name = 'weekly'});
	after_looks('the time has passed', "(SELECT settled_until > '$settled' FROM maintenance_runs WHERE name = 'weekly')");
	is(value($by_workers), '0', 'the workers leave it alone');

	is(value('SELECT schedule_maintenance()'), '2', 'a new setting');
	is(value(qq{SELECT schedule <> '0 2 * * $number' FROM cron.job WHERE jobname = 'vacuum-analyze-weekly'}), 't', 'is a new schedule');
	value(q{UPDATE cron.job SET schedule = '* * * * *' WHERE jobname = 'vacuum-analyze-weekly'});
	wait_until('pg_cron has run it', sub {
		value(q{SELECT count(*) > 0 FROM cron.job_run_details WHERE command = 'SELECT public.weekly_maintenance()' AND status IN ('succeeded', 'failed')}) eq 't';
	});
	is(value(q{SELECT string_agg(DISTINCT status, ' ') FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')}), 'succeeded', 'successfully');
	is(value("SELECT count(*) > 0 FROM maintenance_jobs WHERE job_id > $from AND target = 'public.conversations' AND NOT in_window"), 't', 'so that tables were vacuumed');

	my $log_from = -s $node->logfile;
	value(q{SELECT cron.alter_job(jobid, active := false) FROM cron.job WHERE jobname = 'vacuum-analyze-weekly'});
	all_ended();
	after_looks('that it was switched off is seen', q{(SELECT keeper = 'workers' FROM maintenance_schedule WHERE name = 'weekly')});
	ok(wait_until('and said', sub {
		look();
		PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from) =~ /WARNING:.*pg_cron does not run weekly maintenance/;
	}), 'and said');
	make_due('weekly', '20 minutes');
	after_looks('the workers keep it again', "($by_workers) > 0");
	is(value('SELECT schedule_maintenance()'), '2', 'it is switched on again');
	is(value(q{SELECT count(*) FROM cron.job WHERE active}), '2', 'really');
	is(value($keepers), 'daily workers, monthly pg_cron, weekly pg_cron', 'for pg_cron to keep');
	all_ended();
	value(q{DELETE FROM cron_registrations});
	after_looks('a job that is there counts, as after a restore', q{(SELECT keeper = 'pg_cron' FROM maintenance_schedule WHERE name = 'weekly')});

	my $app = TrainPerfTest::Client->new($node);
	$app->query('SET ROLE app');
	my $refusal = $app->query('SELECT schedule_maintenance()')->{error};
	is("$refusal->{C} $refusal->{H}", '42501 GRANT USAGE ON SCHEMA cron TO app;', 'without the right to use pg_cron');
	$app->quit;
	value('GRANT USAGE ON SCHEMA cron TO app');
	is(value_as('app', 'SELECT schedule_maintenance()'), '2', 'what another role has scheduled');
	is(value('SELECT count(*) FROM cron.job'), '2', 'is not scheduled twice');
	is(value_as('app', 'SELECT unschedule_maintenance()'), '0', 'nor taken away');
	is(value('SELECT count(*) FROM cron.job'), '2', 'by others');
	is(value('SELECT unschedule_maintenance()'), '2', 'but by itself');
	is(value('SELECT count(*) FROM cron.job'), '0', 'entirely');
	is(value('SELECT unschedule_maintenance()'), '0', 'once');
	is(value($keepers), 'daily workers, monthly workers, weekly workers', 'the workers keep all');

	value(q{SELECT cron.schedule('reindex-bloated', '0 4 * * *', 'SELECT 4711')});
	is(value('SELECT schedule_maintenance()'), '1', 'a job of the same name with another command');
	is(value('SELECT unschedule_maintenance()'), '1', 'is none of ours');
	is(value(q{SELECT string_agg(schedule || ' ' || command, ', ') FROM cron.job}), '0 4 * * * SELECT 4711', 'and stays');

	value('ALTER ROLE app LOGIN');
	is(value_as('app', 'SELECT schedule_maintenance()'), '2', 'a role that operates schedules for itself');
	is(value(q{SELECT string_agg(username || ' ' || jobname, ', ' ORDER BY jobname) FROM cron.job WHERE command <> 'SELECT 4711'}),
		'app reindex-bloated, app vacuum-analyze-weekly', 'in its name');
	look();
	is(value($keepers), 'daily workers, monthly pg_cron, weekly pg_cron', 'which counts');
	value(q{SELECT revoke_access('app')});
	after_looks('that it may not any more is seen', q{(SELECT keeper = 'workers' FROM maintenance_schedule WHERE name = 'weekly')});
	value(q{SELECT grant_access('app', 'operate')});
	after_looks('and when it may again', q{(SELECT keeper = 'pg_cron' FROM maintenance_schedule WHERE name = 'weekly')});
	value('DROP EXTENSION pg_cron');
	after_looks('without pg_cron the workers keep all', q{(SELECT count(*) = 3 FROM maintenance_schedule WHERE keeper = 'workers' AND name <> 'window')});
	value(q{ALTER SYSTEM SET train_perf.maintenance_monthly = '31 03:00'});
	$node->reload;
	wait_until('the setting is read', sub { value('SHOW train_perf.maintenance_monthly') eq '31 03:00' });
	value('CREATE EXTENSION pg_cron');
	my $late = TrainPerfTest::Client->new($node);
	is(join(' ', $late->queries('SELECT schedule_maintenance()')), '22023', 'the last day of a month is beyond pg_cron');
	$late->query(q{SET train_perf.maintenance_monthly = ''});
	is($late->query('SELECT schedule_maintenance()')->{rows}[0][0], '1', 'what is never due is not scheduled');
	$late->quit;
};

subtest 'in a schema with a strange name' => sub {
	value(q{CREATE DATABASE strange});
	my $schema = q{we"ird $x'\\};
	(my $quoted = $schema) =~ s/"/""/g;
	$node->safe_psql('strange', qq{CREATE SCHEMA "$quoted"; CREATE EXTENSION train_perf SCHEMA "$quoted"; CREATE TABLE t (at date);});
	wait_until('its collector is there', sub {
		$node->safe_psql('strange', qq{SELECT collector_pid IS NOT NULL FROM "$quoted".capture_status()}) eq 't' });
	like($node->safe_psql('strange', qq{SELECT "$quoted".weekly_maintenance()}), qr/^Total: (\d+) tables, \1 done/m, 'weekly_maintenance');
	is($node->safe_psql('strange', qq{SELECT "$quoted".set_retention('t', 'at', '1 day'); SELECT "$quoted".queue_retention();
		SELECT "$quoted".drop_retention('t')}), "\n1\nt", 'retention');
	is($node->safe_psql('strange', qq{SELECT command FROM "$quoted".cron_plan() WHERE name = 'weekly'}),
		qq{SELECT "$quoted".weekly_maintenance()}, 'what pg_cron would run');
	is($node->safe_psql('strange', qq{SELECT "$quoted".run_due_schedule()}), '0', 'the schedule');
};

subtest 'restored elsewhere' => sub {
	$node->safe_psql('postgres', q{SELECT set_retention('conversations', 'at', '90 days'); DROP EXTENSION IF EXISTS pg_cron});
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'restored', '-f', $dump ], 'restore');
	is($node->safe_psql('restored', q{SELECT string_agg(format('%s %s %s %s', r.tablename, r.columnname, r.keep, r.requested_by = session_user), ', ' ORDER BY r.tablename)
			FROM retention_rules r JOIN pg_class c ON c.oid = r.relid AND c.relname = r.tablename
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = r.attnum AND a.attname = r.columnname JOIN pg_roles o ON o.oid = r.role}),
		'conversations at 90 days t, generation_logs created_at 1 day f, measured at 1 year f', 'rules find their tables again');
};

subtest 'on a standby' => sub {
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('schedule_standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	my $client = TrainPerfTest::Client->new($standby);
	my @calls = ('weekly_maintenance()', 'schedule_maintenance()', 'unschedule_maintenance()',
		q{set_retention('conversations', 'at', '1 day')}, q{drop_retention('conversations')}, q{reindex_if_bloated('conversations')},
		'reindex_bloated_indexes()');
	is(join(' ', $client->queries(map { "SELECT $_" } @calls)), join(' ', ('25006') x @calls), 'nothing is written');
	is($client->query('SELECT count(*) FROM maintenance_schedule')->{rows}[0][0], '4', 'the schedule can be read');
	$client->quit;
	$standby->stop;
};

subtest 'without preload' => sub {
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	my $client = TrainPerfTest::Client->new($node);
	my $error = $client->query('SELECT weekly_maintenance()')->{error};
	is($error->{C}, '55000', 'weekly_maintenance');
	like($error->{H}, qr/shared_preload_libraries = 'train_perf'/, 'says what to do');
	is(join(' ', $client->queries(q{SELECT set_retention('conversations', 'at', '1 day')}, 'SELECT * FROM maintenance_schedule')), ' ',
		'rules and the schedule can be set and read');
	$client->quit;
};

$node->stop;
done_testing();
