# What administrators do to the database, the extension and its owner: the log goes on, or capture_status() says
# why it does not, until it is undone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use TrainPerfTest;
use Workers;

my $node = start_server('faults_catalog', "max_connections = 20\ntrain_perf.max_collectors = 1\n");
create_database($node, 'app');
$node->safe_psql('app', q(CREATE ROLE perf_owner SUPERUSER LOGIN; SET ROLE perf_owner; CREATE SCHEMA perf;
	CREATE EXTENSION train_perf SCHEMA perf; RESET ROLE; ALTER ROLE perf_owner NOSUPERUSER));

# From here on one session asks everything: some changes keep others out.
my $admin = TrainPerfTest::Client->new($node, database => 'app', options => '-c synchronous_commit=local');
my $schema = 'perf';
my $number = 0;

sub value { return $admin->query($_[0])->{rows}[0][0] // '' }

sub is_logged_now
{
	my ($name) = @_;
	my $mark = 'event_' . ++$number;
	is($admin->query("SELECT 1 / 0 AS $mark")->{error}{C}, '22012', "$name: users see what is theirs");
	wait_until("$name: $mark is logged", sub {
		value("SELECT count(*) FROM $schema.query_performance_logs WHERE query_text ~ '$mark'") eq '1' });
	is(value("SELECT count(*) FROM $schema.query_performance_logs WHERE query_text ~ '$mark'"), '1', "$name: logged");
	is(value("SELECT events_enqueued = events_written + events_queued + events_dropped
		FROM $schema.capture_status()"), 't', "$name: counts add up");
	return;
}

# Breaks it, sees the reason, repairs it.
sub is_told
{
	my ($name, $error, $break, $repair) = @_;
	is(join(' ', $admin->queries(@$break)), join(' ', map { '' } @$break), "$name: done");
	my $mark = 'event_' . ++$number;
	$admin->query("SELECT 1 / 0 AS $mark");
	wait_until("$name: told", sub { value("SELECT last_error ~ '$error' FROM $schema.capture_status()") eq 't' });
	is(value('SELECT 42'), '42', "$name: users go on");
	is(value("SELECT events_dropped FROM $schema.capture_status()"), '0', "$name: nothing is dropped");
	is(join(' ', $admin->queries(@$repair)), join(' ', map { '' } @$repair), "$name: undone");
	wait_until("$name: $mark is logged", sub {
		value("SELECT count(*) FROM $schema.query_performance_logs WHERE query_text ~ '$mark'") eq '1' });
	is_logged_now("$name, afterwards");
	return;
}

is_logged_now('at first');

# None of this matters.
$admin->query('ALTER ROLE perf_owner NOLOGIN CONNECTION LIMIT 0');
is_logged_now('owner without login');
$admin->query('ALTER DATABASE app CONNECTION LIMIT 0');
is_logged_now('no more connections');
$admin->query('ALTER DATABASE app SET default_transaction_read_only = on');
is_logged_now('read-only by default');
$admin->query('ALTER DATABASE app RESET default_transaction_read_only');
$admin->query(q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'));
$admin->query('SELECT pg_reload_conf()');
is_logged_now('synchronous standby missing');
$admin->query('ALTER SYSTEM RESET synchronous_standby_names');
$admin->query('SELECT pg_reload_conf()');
$admin->query('ALTER SCHEMA perf RENAME TO "odd ""name"""');
$schema = '"odd ""name"""';
is_logged_now('schema renamed');
my $log = "$schema.query_performance_logs";
is_told('privilege revoked', 'permission denied', ["REVOKE USAGE ON SCHEMA $schema FROM perf_owner",
		"ALTER SCHEMA $schema OWNER TO CURRENT_USER", "REVOKE ALL ON SCHEMA $schema FROM perf_owner"],
	["GRANT ALL ON SCHEMA $schema TO perf_owner"]);
is_told('a column that must not be null', 'must_have', ["ALTER TABLE $log ADD COLUMN must_have int",
		"ALTER TABLE $log ADD CHECK (must_have IS NOT NULL) NOT VALID"], ["ALTER TABLE $log DROP COLUMN must_have"]);

# Every connection that there is.
my @others = map { TrainPerfTest::Client->new($node) } 1 .. 25;
is_logged_now('no connection left');
$_->vanish for @others;

$admin->quit;
log_is_clean($node);
$node->stop;
done_testing();
