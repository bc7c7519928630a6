# Beside other users of the same hooks, whoever was loaded first: nobody loses a statement.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use TrainPerfTest;

my $libraries = `pg_config --pkglibdir`;
chomp $libraries;
my @neighbours = grep { -e "$libraries/$_.so" } qw(pg_stat_statements auto_explain pgaudit pg_cron);
my %here = map { $_ => 1 } @neighbours;

my %orders = (
	first => [ 'train_perf', @neighbours ],
	last => [ @neighbours, 'train_perf' ]);

my @workload = (
	'SELECT name FROM item WHERE id = 1',
	'SELECT name FROM item WHERE id = 2',
	q(INSERT INTO item VALUES (10, 'ten')),
	q(UPDATE item SET name = 'x' WHERE id = 10),
	'DELETE FROM item WHERE id = 10',
	'CREATE TABLE made (id int)',
	'ALTER TABLE made ADD COLUMN x int',
	'DROP TABLE made',
	'SELECT twice(4)',
	'CALL work(3)',
	'DO $$ BEGIN PERFORM count(*) FROM item; END $$',
	'EXPLAIN SELECT * FROM item',
	'CREATE TABLE copied AS SELECT * FROM item',
	'DROP TABLE copied',
	'VACUUM item',
	'PREPARE q AS SELECT id, name FROM item WHERE id = 4',
	'EXECUTE q',
	'EXECUTE q',
	'DEALLOCATE q',
	'BEGIN',
	'DECLARE c CURSOR FOR SELECT id FROM item',
	'FETCH 1 FROM c',
	'CLOSE c',
	'SAVEPOINT a',
	'SELECT 1/0',
	'ROLLBACK TO a',
	'COMMIT',
	'SELECT * FROM no_such_table',
	'SET work_mem = 4096');
# Not DEALLOCATE: pg_stat_statements leaves it out before 17.
my @utility = qw(CREATE ALTER DROP CALL DO EXPLAIN VACUUM BEGIN COMMIT ROLLBACK SAVEPOINT SET CLOSE);

for my $order (sort keys %orders)
{
	my $node = start_node("neighbours_$order", "shared_preload_libraries = '" . join(', ',
		@{ $orders{$order} }) . "'\n"
		  . ($here{auto_explain}
		  	? "auto_explain.log_min_duration = 0\nauto_explain.log_nested_statements = on\n" : '')
		  . ($here{pgaudit} ? "pgaudit.log = 'all'\n" : '')
		  . ($here{pg_cron} ? "cron.database_name = 'postgres'\n" : ''));
	$node->safe_psql('postgres', q{
		CREATE TABLE item (id int PRIMARY KEY, name text);
		INSERT INTO item VALUES (1, 'one'), (2, 'two'), (4, 'four');
		CREATE FUNCTION twice(n int) RETURNS bigint LANGUAGE plpgsql AS
		  $$ BEGIN RETURN (SELECT n * count(*) FROM item); END $$;
		CREATE PROCEDURE work(n int) LANGUAGE plpgsql AS
		  $$ BEGIN FOR i IN 1..n LOOP UPDATE item SET name = name WHERE id = 4; COMMIT; END LOOP; END $$;
	});
	$node->safe_psql('postgres',
		"CREATE EXTENSION $_") for grep { $_ ne 'auto_explain' } @neighbours;
	# pg_stat_statements counts what the collector does for them.
	wait_until('all partitions are made', sub {
		$node->safe_psql('postgres',
			q(SELECT count(*) >= 10 FROM pg_class WHERE relispartition AND relname ~ '_p[0-9]{8}$')) eq 't';
	});
	$node->safe_psql('postgres', 'SELECT query_stats_reset()');
	$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()') if $here{pg_stat_statements};

	my $from = -s $node->logfile;
	my $client = TrainPerfTest::Client->new($node, application_name => 'neighbour',
		options => '-c train_perf.log_min_duration=0');
	$client->query($_) for @workload;
	$client->extended('SELECT name FROM item WHERE id = $1', $_) for 1 .. 5;
	$client->quit;

	subtest "train_perf_$order: ours" => sub {
		my @rows = wait_for_log($node, 'postgres', q(application_name = 'neighbour'), 30);
		my %got;
		++$got{ ($_->{sqlstate} // '00000') . ' ' . (split / /, $_->{query_text})[0] } for @rows;
		is_deeply(
			\%got,
			{
				'00000 select' => 8, '00000 insert' => 1, '00000 update' => 1, '00000 delete' => 1,
				'00000 create' => 2, '00000 alter' => 1, '00000 drop' => 2, '00000 call' => 1,
					'00000 do' => 1,
				'00000 explain' => 1, '00000 vacuum' => 1, '00000 prepare' => 3,
					'00000 deallocate' => 1,
				'00000 begin' => 1, '00000 declare' => 1, '00000 close' => 1,
					'00000 savepoint' => 1,
				'22012 select' => 1, '00000 rollback' => 1, '00000 commit' => 1,
					'42P01 select' => 1,
				'00000 set' => 1,
			},
			'every statement once') or diag join "\n", map { $_->{query_text} } @rows;
	};

	subtest "train_perf_$order: pg_stat_statements" => sub {
		plan skip_all => 'not installed' unless $here{pg_stat_statements};
		for my $word (@utility)
		{
			my $sent = grep { /^$word / || $_ eq $word } @workload;
			is($node->safe_psql('postgres',
				"SELECT sum(calls) FROM pg_stat_statements WHERE query ~ '^$word( |\$)'"),
				$sent, $word);
		}
		is($node->safe_psql('postgres',
			q(SELECT sum(calls) FROM pg_stat_statements WHERE query ~ '^SELECT name FROM item')),
			7, 'SELECT');
		is( $node->safe_psql('postgres', q(
				SELECT count(*) FROM pg_stat_statements s JOIN query_stats q USING (queryid)
				 WHERE s.query ~ '^(SELECT name FROM|INSERT INTO item|DELETE FROM item)' AND s.calls = q.calls AND s.rows = q.rows)),
			4, 'the same query ids, calls and rows');
	};

	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
	subtest "train_perf_$order: auto_explain" => sub {
		plan skip_all => 'not installed' unless $here{auto_explain};
		my $plans = () = $log =~ /plan:\n\tQuery Text: SELECT name FROM item/g;
		is($plans, 7, 'statements of the client');
		my $nested = () = $log =~ /plan:\n\tQuery Text: UPDATE item SET name = name/g;
		is($nested, 3, 'statements inside a procedure');
	};

	subtest "train_perf_$order: pgaudit" => sub {
		plan skip_all => 'not installed' unless $here{pgaudit};
		for my $part ('READ,SELECT,,,SELECT name FROM item', 'DDL,CREATE TABLE,TABLE,public.made',
			'MISC,VACUUM',
			'FUNCTION,DO', 'MISC,SET', 'WRITE,INSERT')
		{
			like($log, qr/AUDIT: SESSION,.*\Q$part\E/, $part);
		}
	};

	subtest "train_perf_$order: pg_cron" => sub {
		plan skip_all => 'not installed' unless $here{pg_cron};
		ok( wait_until('its launcher runs', sub {
			$node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity
				WHERE backend_type ~ 'pg_cron' OR application_name ~ 'pg_cron')) eq '1';
		}), 'its launcher runs');
		my $seconds = eval { $node->safe_psql('postgres', q(SELECT cron.schedule('job', '1 second',
			'SELECT 4711 AS cron_ran'))) };
		plan skip_all => 'this version has no intervals of seconds' unless $seconds;
		wait_until('the job ran', sub {
			$node->safe_psql('postgres',
				q(SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded')) eq 't';
		});
		$node->safe_psql('postgres', q(SELECT cron.unschedule('job')));
		cmp_ok($node->safe_psql('postgres',
			q(SELECT sum(calls) FROM query_stats WHERE query LIKE 'select $1 as cron_ran')),
			'>=', 1, 'its job is captured');
	};

	$node->stop;
	unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile),
		qr/PANIC|terminated by signal|server process .* exited with/,
		"train_perf $order: nothing crashed");
}

done_testing();
