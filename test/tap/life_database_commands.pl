# Commands on a whole database succeed at once beside a live collector, which comes back when it can.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Test::More;
use Workers;

my $times = 10;

my $node = start_server('life_database_commands',
	"train_perf.max_collectors = 4\nautovacuum = off\nlog_min_messages = warning\n");

subtest 'drop_database' => sub {
	for my $i (1 .. $times)
	{
		with_extension($node, 'doomed');
		fail_statement($node, 'doomed', 'last_words');
		# Now and then the collector is only just starting.
		is_collected($node, 'doomed', "$i: collected") if $i % 2;
		is($node->psql('postgres', 'DROP DATABASE doomed'), 0, "$i: dropped");
	}
	with_extension($node, 'doomed');
	is_collected($node, 'doomed');
	is($node->psql('postgres', 'DROP DATABASE doomed WITH (FORCE)'), 0, 'dropped by force');
};

subtest 'rename' => sub {
	with_extension($node, 'name0');
	for my $i (1 .. $times)
	{
		my ($old, $new) = ('name' . ($i - 1), "name$i");
		is_collected($node, $old, "$i: collected") if $i % 2;
		is($node->psql('postgres', "ALTER DATABASE $old RENAME TO $new"), 0, "$i: renamed");
	}
	is_collected($node, "name$times", 'the collector comes back');
	is_logged($node, "name$times", 'renamed');
	$node->safe_psql('postgres', "BEGIN; ALTER DATABASE name$times RENAME TO never; ROLLBACK;");
	is_logged($node, "name$times", 'not_renamed', 'also when the renaming was rolled back');
};

subtest 'events_queue_up_while_it_is_kept_away' => sub {
	with_extension($node, 'waiting');
	is_collected($node, 'waiting');
	my $admin = session($node, 'postgres');
	$admin->query_safe('BEGIN; ALTER DATABASE waiting RENAME TO patient;');
	is_not_collected($node, 'waiting');
	$admin->query_safe('COMMIT;');
	$admin->quit;
	is_logged($node, 'patient', 'patience');
	counts_add_up($node, 'patient');
};

subtest 'set_tablespace' => sub {
	with_extension($node, 'movable');
	$node->safe_psql('postgres', q(SET allow_in_place_tablespaces = on; CREATE TABLESPACE attic LOCATION ''));
	for my $i (1 .. $times)
	{
		is_collected($node, 'movable', "$i: collected") if $i % 2;
		my $tablespace = $i % 2 ? 'attic' : 'pg_default';
		is($node->psql('postgres', "ALTER DATABASE movable SET TABLESPACE $tablespace"), 0, "$i: moved");
	}
	is_logged($node, 'movable', 'moved');
};

subtest 'create_database_from_it' => sub {
	with_extension($node, 'pattern');
	for my $i (1 .. $times)
	{
		is_collected($node, 'pattern', "$i: collected") if $i % 2;
		is($node->psql('postgres', 'CREATE DATABASE copy TEMPLATE pattern'), 0, "$i: copied");
		is($node->psql('postgres', 'DROP DATABASE copy'), 0, "$i: copy dropped");
	}
	is($node->psql('postgres', 'CREATE DATABASE copy TEMPLATE pattern STRATEGY file_copy'), 0,
		'copied as files');
	is_logged($node, 'pattern', 'copied');
	is_logged($node, 'copy', 'copied_too');
	$node->safe_psql('postgres', 'DROP DATABASE copy');
};

subtest 'database_in_use_cannot_be_dropped_and_goes_on' => sub {
	with_extension($node, 'busy');
	is_collected($node, 'busy');
	my $user = session($node, 'busy');
	$user->query_safe('SELECT 1');
	my (undef, undef, $error) = $node->psql('postgres', 'DROP DATABASE busy');
	like($error, qr/is being accessed by other users.*There is 1 other session/s, 'only the user is in the way');
	is_logged($node, 'busy', 'still_in_use');
	$user->quit;
	is($node->psql('postgres', 'DROP DATABASE busy'), 0, 'dropped when the user has gone');
};

subtest 'who_may_not_does_not_keep_it_away' => sub {
	with_extension($node, 'guarded');
	is_collected($node, 'guarded');
	$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
	my $nobody = session($node, 'postgres', extra_params => [ '-U', 'nobody' ]);
	$nobody->query('BEGIN');
	$nobody->query('SAVEPOINT s');
	$nobody->query('ALTER DATABASE guarded RENAME TO stolen');
	$nobody->query('ROLLBACK TO s');
	is_logged($node, 'guarded', 'guarded', 'events are written while the transaction is open');
	$nobody->quit;
};

is_never($node, qr/FATAL:.*database .* does not exist/,
	'no collector is started for a database that is gone');
log_is_clean($node);
$node->stop;
done_testing();
