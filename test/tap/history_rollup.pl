# The history is rolled up: after a day to hours, after a week to days, exactly, compactly, and unnoticed by
# whoever reads it meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use Midnight;
use Test::More;
use Time::HiRes ();
use Workers;

my $node = start_server('history_rollup', q(
max_worker_processes = 20
train_perf.max_collectors = 10
autovacuum_naptime = 1s
timezone = 'Asia/Kathmandu'
));
create_database($node, 'app');
# Days, of which it is all about, are those of UTC.
not_over_midnight($node, 120);
my $keeper = session($node, 'app');
# As every dump begins: while such a session is there, the collector only looks on.
$keeper->query_safe('SET check_function_bodies = off; SET row_security = off; CREATE EXTENSION train_perf');

# 5 statements in each minute of days 2 and 3, in each hour of days 4 to 12, once a day before; a few of
# pg_stat_statements per hour. (Day 0 is today, in UTC.)
$node->safe_psql('app', q(
	CREATE FUNCTION fill(days int4range, every interval, statements integer, source text) RETURNS void LANGUAGE sql
	AS $$
		INSERT INTO query_stats_history (bucket_start, bucket_end, username, queryid, query_hash, toplevel, calls,
		  errors, slow_calls, rows, total_time_ms, total_plan_time_ms, shared_blks_hit, shared_blks_read,
		  temp_blks_written, wal_bytes, latency_histogram, source)
		SELECT t + interval '7 seconds', t + every + interval '7 seconds', 'user' || s % 2, s, md5(s::text), s % 3 > 0,
		       s, 1, s % 4, 2 * s, s * 1.5, 0.25, 3, 4, 5, 6,
		       CASE WHEN source = 'train_perf' THEN latency_histogram(s * 1.5 + d) END, source
		  FROM generate_series(lower(days), upper(days) - 1) d,
		       date_trunc('day', now(), 'UTC') day,
		       generate_series(day - d * interval '24 hours', day - (d - 1) * interval '24 hours' - every, every) t,
		       generate_series(1, statements) s
	$$;
	SELECT fill('[2,3]', '1 minute', 5, 'train_perf'), fill('[4,12]', '1 hour', 5, 'train_perf'),
	       fill('[13,33]', '24 hours', 5, 'train_perf'), fill('[2,12]', '30 minutes', 5, 'pg_stat_statements');
	CREATE VIEW rows_of_days AS
	SELECT source, extract(day FROM date_trunc('day', now(), 'UTC') - date_trunc('day', bucket_start, 'UTC'))::integer AS day,
	       count(*) AS rows, count(DISTINCT bucket_start) AS buckets
	  FROM query_stats_history GROUP BY 1, 2;
));

# Readers that come one after the other would hold it up, and autovacuum may.
for (1 .. 300)
{
	last if $node->psql('app', q(SELECT maintain_partitions_of('query_stats_history', '35 days'))) == 0;
	Time::HiRes::sleep(0.2);
}

# Everything that must not change, whatever is merged; of the days that were filled.
my $sums = q(SELECT source, username, queryid, query_hash, toplevel, sum(calls), sum(errors), sum(slow_calls), sum(rows),
	round(sum(total_time_ms)::numeric, 3), sum(total_plan_time_ms), sum(shared_blks_hit), sum(shared_blks_read),
	sum(temp_blks_written), sum(wal_bytes), merge_latency(latency_histogram), min(bucket_start), max(bucket_end)
	FROM query_stats_history WHERE bucket_end <= date_trunc('day', now(), 'UTC')
	GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 3);
my $before = $node->safe_psql('app', $sums);
my $stats = q(SELECT total_queries, slow_queries, avg_duration_ms, p50_duration_ms, p99_duration_ms
	FROM get_query_stats(date_trunc('day', now(), 'UTC') - interval '40 days',
	                     date_trunc('day', now(), 'UTC') - interval '1 hour'));
my $stats_before = $node->safe_psql('app', $stats);
my $largest_file = q(max(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'query_stats_history'::regclass
	AND inhrelid <> 'query_stats_history_default'::regclass);
cmp_ok($node->safe_psql('app', "SELECT $largest_file"), '>', 1024 * 1024, 'a day of minutes takes room');

subtest 'one_step_is_one_transaction' => sub {
	my $session = session($node, 'app');
	like($session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT roll_up_history()'), qr/[1-9]/, 'something is merged');
	is($session->query_safe($sums), $before, 'sums do not change in it');
	is($node->safe_psql('app', $sums), $before, 'and nothing outside');
	$session->query_safe('ROLLBACK');
	is($node->safe_psql('app', $sums), $before, 'nor after a rollback');
	$session->quit;
};

subtest 'the_collector_does_it' => sub {
	my $old = session($node, 'app');
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	$keeper->quit;
	my ($different, $crashed, $rounds) = (0, 0, 0);
	while ($node->safe_psql('app', q(SELECT count(*) FROM next_rollup(now(), '35 days'))) ne '0')
	{
		$different++ if $node->safe_psql('app', $sums) ne $before;
		last if ++$rounds > 600;
	}
	is($different, 0, "every reader meanwhile finds the same sums");
	is($old->query_safe($sums), $before, 'also one that began before');
	$old->query_safe('COMMIT');
	$old->quit;
	is($node->safe_psql('app', $sums), $before, 'and in the end');
	is($node->safe_psql('app', $stats), $stats_before, 'get_query_stats answers the same');
	is($node->safe_psql('app', q(SELECT source, day, rows, buckets FROM rows_of_days WHERE day >= 2 AND day <= 13 ORDER BY 1, 2)),
		join("\n", (map { "pg_stat_statements|$_|" . ($_ < 8 ? '120|24' : '5|1') } 2 .. 12),
			(map { "train_perf|$_|" . ($_ < 8 ? '120|24' : '5|1') } 2 .. 13)),
		'hours after a day, days after a week, each source for itself');
	is_true($node, 'app', q(SELECT bool_and(bucket_end - bucket_start = interval '1 hour') FROM query_stats_history
		WHERE source = 'train_perf' AND bucket_start BETWEEN now() - interval '4 days' AND now() - interval '3 days'),
		'an hour covers its minutes');
};

subtest 'files_become_small' => sub {
	# 7,200 rows of a day became 120.
	eventually($node, 'app', "SELECT compact_history() = 0 AND 1024 * 1024 > $largest_file", 'after autovacuum has looked');
	is($node->safe_psql('app', $sums), $before, 'with the same sums');
	is_true($node, 'app', q(SELECT bool_and(NOT indisclustered) FROM pg_index), 'no mark is left');
};

subtest 'late_rows_are_merged_too' => sub {
	$node->safe_psql('app', q(SELECT fill('[3,3]', '10 minutes', 5, 'train_perf')));
	my $with_late = $node->safe_psql('app', $sums);
	isnt($with_late, $before, 'rows came late');
	# A step finds nothing, too, where the collector was first.
	$node->safe_psql('app', q(DO $$BEGIN WHILE EXISTS (SELECT FROM next_rollup(now(), '35 days')) LOOP
		PERFORM roll_up_history(); COMMIT; END LOOP; END$$));
	is($node->safe_psql('app', $sums), $with_late, 'the sums stay');
	is($node->safe_psql('app', q(SELECT rows, buckets FROM rows_of_days WHERE day = 3 AND source = 'train_perf')), '120|24',
		'in one row per hour again');
};

subtest 'a_crash_loses_and_doubles_nothing' => sub {
	$node->safe_psql('app', q(SELECT fill('[6,6]', '5 minutes', 5, 'train_perf')));
	my $before_crash = $node->safe_psql('app', $sums);
	$node->safe_psql('app', 'SELECT roll_up_history()');
	my $session = session($node, 'app');
	$session->query_safe('BEGIN; SELECT roll_up_history()');
	$node->stop('immediate');
	eval { $session->quit };
	$node->start;
	is($node->safe_psql('app', $sums), $before_crash, 'the sums are the same');
	eventually($node, 'app', q(SELECT count(*) = 0 FROM next_rollup(now(), '35 days')), 'the collector goes on');
	is($node->safe_psql('app', $sums), $before_crash, 'and they stay');
};

subtest 'retention_bounds_it' => sub {
	$node->safe_psql('postgres', q(ALTER DATABASE app SET train_perf.retention = '10d'));
	eventually($node, 'app', q(SELECT max(day) <= 10 FROM rows_of_days), 'older days go');
	is_true($node, 'app', q(SELECT count(*) <= 13 FROM pg_inherits WHERE inhparent = 'query_stats_history'::regclass),
		'with their files');
};

log_is_clean($node);
$node->stop;
done_testing();
