# The collector comes with the extension and goes with it, however it was created or dropped.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use Workers;

my $node = start_server('life_create_drop', q(
train_perf.max_collectors = 20
max_worker_processes = 30
max_prepared_transactions = 2
));

subtest 'collector_starts_after_the_commit_of_create_extension' => sub {
	create_database($node, 'app');
	my $session = session($node, 'app');
	$session->query_safe('BEGIN; CREATE EXTENSION train_perf;');
	fail_statement($node, 'app', 'before_commit');
	# Something else that the launcher does meanwhile shows that it has had the time.
	with_extension($node, 'other');
	is_collected($node, 'other');
	# The one that looked for an extension in the new database may be leaving.
	is_not_collected($node, 'app', 'none while the transaction is open');
	$session->query_safe('COMMIT;');
	is_collected($node, 'app');
	$session->quit;
	is_logged($node, 'app', 'after_commit');
	is_true($node, 'app', q(SELECT count(*) = 0 FROM query_performance_logs WHERE query_text ~ 'before_commit'),
		'what failed before is not logged');
	is_true($node, 'app', 'SELECT collector_pid IN (SELECT pid FROM pg_stat_activity
		WHERE datname = current_database()) FROM capture_status()', 'capture_status() shows it');
};

subtest 'no_collector_after_rollback' => sub {
	create_database($node, 'undecided');
	$node->safe_psql('undecided', 'BEGIN; CREATE EXTENSION train_perf; ROLLBACK;');
	$node->safe_psql('undecided', 'BEGIN; SAVEPOINT s; CREATE EXTENSION train_perf; ROLLBACK TO s; COMMIT;');
	with_extension($node, 'decided');
	is_collected($node, 'decided');
	is_not_collected($node, 'undecided');
	$node->safe_psql('undecided', 'CREATE EXTENSION train_perf');
	is_collected($node, 'undecided', 'it comes when the extension is created after all');
	is_logged($node, 'undecided', 'at_last');
};

subtest 'created_by_a_do_block_a_function_or_a_procedure' => sub {
	create_database($node, qw(by_do by_function by_procedure by_savepoint));
	$node->safe_psql('by_do', q(DO $$ BEGIN EXECUTE 'CREATE EXTENSION train_perf'; END $$));
	$node->safe_psql('by_function', q(
		CREATE FUNCTION install() RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN CREATE EXTENSION train_perf; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
		SELECT install();));
	$node->safe_psql('by_procedure', q(
		CREATE PROCEDURE install() LANGUAGE plpgsql AS $$ BEGIN CREATE EXTENSION train_perf; COMMIT; END $$;
		CALL install();));
	$node->safe_psql('by_savepoint', 'BEGIN; SAVEPOINT s; CREATE EXTENSION train_perf; RELEASE s; COMMIT;');
	is_logged($node, $_, 'installed') for qw(by_do by_function by_procedure by_savepoint);
};

subtest 'created_by_a_prepared_transaction' => sub {
	create_database($node, 'by_two_phases');
	$node->safe_psql('by_two_phases', q(BEGIN; CREATE EXTENSION train_perf; PREPARE TRANSACTION 'install';));
	is_not_collected($node, 'by_two_phases', 'none while it is prepared');
	$node->safe_psql('by_two_phases', q(COMMIT PREPARED 'install'));
	is_collected($node, 'by_two_phases');
};

subtest 'cloned_with_its_database' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE app');
	is_collected($node, 'clone', 'the clone has a collector');
	is_collected($node, 'app', 'the original has its own again');
	is_logged($node, 'clone', 'in_the_clone');
	is_logged($node, 'app', 'in_the_original');
	is_true($node, 'app', q(SELECT count(*) = 0 FROM query_performance_logs WHERE query_text ~ 'in_the_clone'),
		'each logs its own');
};

subtest 'template_databases_have_no_collector' => sub {
	$node->safe_psql('template1', 'CREATE EXTENSION train_perf');
	create_database($node, 'from_template1');
	is_collected($node, 'from_template1', 'a database made from template1 has one');
	is_not_collected($node, 'template1');
	$node->safe_psql('template1', 'DROP EXTENSION train_perf');

	with_extension($node, 'pattern');
	is_collected($node, 'pattern');
	$node->safe_psql('postgres', 'ALTER DATABASE pattern IS_TEMPLATE true');
	is_not_collected($node, 'pattern', 'a database that becomes a template loses its own');
	$node->safe_psql('postgres', "CREATE DATABASE from_pattern$_ TEMPLATE pattern") for 1, 2;
	is_collected($node, 'from_pattern2');
	$node->safe_psql('postgres', 'ALTER DATABASE pattern IS_TEMPLATE false');
	is_collected($node, 'pattern', 'and gets it back');
	$node->safe_psql('postgres', 'ALTER DATABASE pattern ALLOW_CONNECTIONS false');
	is_not_collected($node, 'pattern', 'one that allows no connections loses it too');
};

subtest 'dropped_in_every_way' => sub {
	my %ways = (
		by_do => 'DROP EXTENSION train_perf',
		by_function => 'BEGIN; DROP EXTENSION train_perf; COMMIT',
		by_procedure => q(DO $$ BEGIN DROP EXTENSION train_perf CASCADE; END $$),
		by_savepoint => 'DROP SCHEMA public CASCADE');
	for my $database (sort keys %ways)
	{
		is_collected($node, $database);
		$node->safe_psql($database, $ways{$database});
		is_not_collected($node, $database, "$database: gone after $ways{$database}");
	}
	$node->safe_psql('by_do', 'CREATE EXTENSION train_perf');
	is_logged($node, 'by_do', 'again', 'created again, events are logged again');
	$node->safe_psql('by_savepoint', 'CREATE SCHEMA monitoring; CREATE EXTENSION train_perf SCHEMA monitoring');
	fail_statement($node, 'by_savepoint', 'elsewhere');
	eventually($node, 'by_savepoint', logged('elsewhere', 'monitoring'), 'also in another schema');
	$node->safe_psql('by_savepoint', 'DROP SCHEMA monitoring CASCADE');
	is_not_collected($node, 'by_savepoint');
};

subtest 'drop_is_rolled_back' => sub {
	$node->safe_psql('app', 'BEGIN; DROP EXTENSION train_perf; ROLLBACK;');
	is_logged($node, 'app', 'still_here');
};

subtest 'dropped_and_created_again_in_one_transaction' => sub {
	$node->safe_psql('app', 'BEGIN; DROP EXTENSION train_perf; CREATE EXTENSION train_perf; COMMIT;');
	is_logged($node, 'app', 'second_life');
	$node->safe_psql('app', 'CREATE SCHEMA away; BEGIN; DROP EXTENSION train_perf;
		CREATE EXTENSION train_perf SCHEMA away; COMMIT;');
	fail_statement($node, 'app', 'third_life');
	eventually($node, 'app', logged('third_life', 'away'), 'also when it moves to another schema');
};

subtest 'owner_goes' => sub {
	create_database($node, qw(given_away taken));
	$node->safe_psql('postgres', 'CREATE ROLE deputy SUPERUSER LOGIN; CREATE ROLE leaver SUPERUSER LOGIN');
	$node->safe_psql('given_away', 'SET ROLE deputy; CREATE EXTENSION train_perf');
	$node->safe_psql('taken', 'SET ROLE leaver; CREATE EXTENSION train_perf');
	is_logged($node, 'given_away', 'as_deputy');
	is_logged($node, 'taken', 'as_leaver');

	$node->safe_psql('taken', 'DROP OWNED BY leaver CASCADE; DROP ROLE leaver');
	is_not_collected($node, 'taken', 'gone after DROP OWNED');

	$node->safe_psql('given_away',
		'REASSIGN OWNED BY deputy TO CURRENT_USER; DROP OWNED BY deputy; DROP ROLE deputy');
	is_logged($node, 'given_away', 'as_new_owner', 'logged after REASSIGN OWNED and DROP ROLE');
};

subtest 'many_times' => sub {
	create_database($node, 'restless');
	$node->safe_psql('restless', 'CREATE EXTENSION train_perf; DROP EXTENSION train_perf;') for 1 .. 10;
	is_not_collected($node, 'restless');
	$node->safe_psql('restless', 'CREATE EXTENSION train_perf');
	is_logged($node, 'restless', 'at_rest');
};

log_is_clean($node);
$node->stop;
done_testing();
