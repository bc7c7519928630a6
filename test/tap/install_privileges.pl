# Who may do what, object by object, where default privileges give everything new to the API's roles, as
# Supabase's do. New objects of the extension are covered: what is not expected below fails.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('privileges');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'train_perf'
train_perf.max_collectors = 8
));
$node->start;
$node->safe_psql('postgres', q(
	CREATE ROLE supabase_admin SUPERUSER LOGIN;
	CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
	CREATE ROLE authenticator LOGIN NOINHERIT;
	GRANT anon, authenticated, service_role TO authenticator;
	CREATE ROLE dashboard LOGIN IN ROLE pg_monitor));

# All that is granted on objects of the extension and on partitions of its tables, but to their owner.
my $granted = q(
	WITH RECURSIVE member AS (
		SELECT d.classid, d.objid FROM pg_depend d
		  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		UNION
		SELECT 'pg_class'::regclass, i.inhrelid FROM member m
		  JOIN pg_inherits i ON m.classid = 'pg_class'::regclass AND i.inhparent = m.objid
	), object AS (
		SELECT 'relation ' || c.relname AS name, c.relowner AS owner, c.relacl AS acl FROM member m
		  JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
		UNION ALL
		SELECT 'column ' || c.relname || '.' || a.attname, c.relowner, a.attacl FROM member m
		  JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
		  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
		UNION ALL
		SELECT 'function ' || p.proname, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM member m
		  JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
		UNION ALL
		SELECT 'type ' || t.typname, t.typowner, t.typacl FROM member m
		  JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid AND t.typtype <> 'c'
	)
	SELECT DISTINCT format('%s: %s to %s%s', o.name, a.privilege_type,
	                       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
	                       CASE WHEN a.is_grantable THEN ' with grant option' END)
	  FROM object o, aclexplode(o.acl) a WHERE a.grantee <> o.owner);

# The documented exceptions. pg_monitor reads.
my @public_functions = qw(query_stats estimate_table_bloat estimate_index_bloat vacuum_analyze_table
	reindex_if_bloated reindex_bloated_indexes cancel_maintenance_job wait_for_maintenance maintenance_status);
my @public_views = qw(query_stats maintenance_status);
my @for_database_owner = qw(grant_access revoke_access);
my @writing = qw(query_stats_reset log_query_performance raise_slow_query_alert create_performance_alert
	resolve_performance_alert acknowledge_performance_alert grant_access revoke_access change_access grant_usage
	link_user_profiles unlink_user_profiles link_users unlink_users forget_unknown_user collect_events
	collect_statistics queued_events maintain_log_partitions maintain_history_partitions maintain_partitions_of
	capture_query_stats_snapshot capture_table_bloat_snapshot capture_index_usage_snapshot write_bloat_snapshot
	continue_bloat_snapshot note_bloat_run write_index_usage follow_indexes roll_up_index_usage merge_index_usage
	maintain_bloat_partitions maintain_index_usage_partitions check_table_bloat_alerts check_index_bloat_alerts
	check_bloat_alerts check_unused_index_alerts check_invalid_index_alerts check_due_snapshot_alerts resolve_alerts_except
	estimate_with_indexes
	can_skip_locked capture_for_weekly check_cron_plan check_for_weekly check_retention check_retention_type
	compare_with_cron conclude_retention cron_command cron_database cron_member cron_plan cron_schedules_here
	cron_timezone delete_batch_command drop_retention due_maintenance guard_retention_end guard_retention_rule
	has_dependents look_at_cron note_cron_job note_cron_timezone note_schedule_settings other_cron_role
	outdated_partitions own_cron_job perform_weekly_maintenance plan_retention prune_maintenance_jobs
	queue_monthly_maintenance queue_retention queue_weekly_maintenance refresh_retention_rules request_vacuum
	require_cron require_preload retention_column_type retention_cutoff retention_obstacle retention_target
	run_daily_maintenance run_due_schedule running_weekly_maintenance schedule_cron_job schedule_maintenance
	set_retention try_maintenance unschedule_cron_job unschedule_maintenance vacuum_covered_tables warn_maintenance
	warn_retention_ended weekly_maintenance weekly_obstacle);
my %allowed = (
	(map { ("function $_: EXECUTE to PUBLIC" => 1) } @public_functions),
	(map { ("relation $_: SELECT to PUBLIC" => 1) } @public_views),
	(map { ("function $_: EXECUTE to pg_database_owner" => 1) } @for_database_owner));
my %writes = map { ("function $_: EXECUTE to pg_monitor" => 1) } @writing;

sub unexpected
{
	my ($database) = @_;
	return join "\n", grep {
		!$allowed{$_} && !(/^relation \w+: SELECT to pg_monitor$/ || /^function \w+: EXECUTE to pg_monitor$/ && !$writes{$_})
	} split /\n/, $node->safe_psql($database, $granted);
}

# What a role could do with any object by any way: its own rights, PUBLIC's, membership.
sub could_do
{
	my ($database, $role) = @_;
	return $node->safe_psql($database, qq(
		SELECT c.relname || ' ' || p FROM pg_depend d
		  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		  JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'S'),
		       unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
		 WHERE d.deptype = 'e'
		   AND CASE WHEN c.relkind = 'S' THEN p = 'SELECT' AND has_sequence_privilege('$role', c.oid, 'USAGE, SELECT, UPDATE')
		            ELSE has_table_privilege('$role', c.oid, p) OR p NOT IN ('DELETE', 'TRUNCATE', 'TRIGGER')
		                 AND has_any_column_privilege('$role', c.oid, p) END
		UNION ALL
		SELECT f.proname || ' EXECUTE' FROM pg_depend d
		  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
		  JOIN pg_proc f ON f.oid = d.objid AND d.classid = 'pg_proc'::regclass
		 WHERE d.deptype = 'e' AND has_function_privilege('$role', f.oid, 'EXECUTE')
		 ORDER BY 1));
}

sub as_role
{
	my ($database, $role, $sql) = @_;
	my ($code, $out, $err) = $node->psql($database, "SET ROLE $role; $sql", extra_params => [ '-U', 'authenticator' ]);
	return $code == 0 ? $out : $err;
}

my $everything_new = join "\n", map {
	my $scope = $_;
	map { "ALTER DEFAULT PRIVILEGES $scope GRANT ALL ON $_ TO anon, authenticated, service_role, authenticator;" }
		qw(TABLES FUNCTIONS SEQUENCES)
} 'FOR ROLE postgres IN SCHEMA public', 'FOR ROLE supabase_admin IN SCHEMA public';

my %default_privileges = (
	supabase => $everything_new,
	everywhere => ($everything_new =~ s/ IN SCHEMA public//gr)
	  . 'ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin GRANT USAGE ON TYPES TO anon;',
	grant_option => ($everything_new =~ s/;/ WITH GRANT OPTION;/gr)
	  . 'ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO PUBLIC;'
	  . 'ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO pg_monitor;'
	  . 'ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON FUNCTIONS TO pg_monitor;',
	nothing => 'ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;');

# What masks, or checks its caller, itself.
my $everybodys = join "\n", sort((map { "$_ EXECUTE" } @public_functions), map { "$_ SELECT" } @public_views);

for my $case (sort keys %default_privileges)
{
	for my $installer ($case eq 'supabase' ? qw(postgres supabase_admin) : 'supabase_admin')
	{
		my $database = "${case}_$installer";
		subtest "default_privileges_${case}_installed_by_$installer" => sub {
			$node->safe_psql('postgres', "CREATE DATABASE $database");
			$node->safe_psql($database, $default_privileges{$case});
			my ($code, $out, $err) = $node->psql($database, 'CREATE EXTENSION train_perf', extra_params => [ '-U', $installer ]);
			is($code, 0, 'CREATE EXTENSION') or diag $err;
			is(unexpected($database), '', 'nothing is granted but what is documented');
			for my $role (qw(anon authenticated service_role authenticator))
			{
				is(could_do($database, $role), $everybodys, "$role has what is everybody's");
			}
			like(could_do($database, 'dashboard'), qr/^performance_alerts SELECT$/m, 'pg_monitor reads alerts');
			unlike(could_do($database, 'dashboard'), qr/INSERT|UPDATE|DELETE|TRUNCATE/, 'and writes nothing');
			is($node->safe_psql($database, "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
					WHERE relname ~ '^(query_|performance_|access_)'"), $installer, 'all belongs to whom created it');

			ok($node->poll_query_until($database, q(SELECT count(*) >= 10 FROM pg_class
					WHERE relname ~ '_p[0-9]{8}$' AND relispartition)), 'the collector makes partitions');
			# It gives way to whoever is in the way, such as the collector.
			ok($node->poll_query_until($database, q(SELECT maintain_partitions_of('query_performance_logs', '7 days',
					now() + '3 days') >= 0)), 'more of them can be made');
			is(unexpected($database), '', 'their privileges are no wider');
			is($node->safe_psql($database, qq{SELECT count(*) FROM pg_class c WHERE relispartition AND relkind = 'r' AND (
					NOT relrowsecurity OR pg_get_userbyid(relowner) <> '$installer'
					OR EXISTS (SELECT FROM aclexplode(relacl) a WHERE a.grantee <> relowner)
					OR NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))}), '0',
				'each has row level security, its owner, and no grants');
		};
	}
}

subtest 'the_api_gets_nothing' => sub {
	for my $role (qw(anon authenticated service_role))
	{
		for my $sql ('SELECT * FROM query_performance_logs', 'SELECT * FROM query_performance_logs_default',
			'SELECT * FROM performance_alerts', 'SELECT * FROM query_stats_history', 'SELECT * FROM query_texts',
			'SELECT * FROM get_slow_queries()', 'SELECT * FROM get_query_stats()', 'SELECT * FROM capture_status()',
			q(SELECT log_query_performance('select 1', 1)), q(SELECT create_performance_alert('a', 'info', 'm')),
			q(SELECT grant_access('anon', 'read')), q(SELECT revoke_access('service_role')),
			'SELECT query_stats_reset()', 'SELECT unlink_user_profiles()', 'SELECT collect_events()')
		{
			like(as_role('supabase_postgres', $role, $sql), qr/permission denied/, "$role: $sql");
		}
		is(as_role('supabase_postgres', $role,
				q(SELECT count(*) FROM query_stats WHERE query <> '<insufficient privilege>' AND username <> current_user)),
			'0', "$role sees no text of other users");
	}
};

subtest 'one_call_gives_the_server_key_its_rights' => sub {
	my $database = 'supabase_postgres';
	$node->safe_psql($database, q(SELECT grant_access('service_role', 'operate')));
	my $ask = sub { return as_role($database, 'service_role', $_[0]) };
	is($ask->(q(SELECT log_query_performance(query_text => 'select * from t where id = 1', duration_ms => 1200,
		user_id => gen_random_uuid(), endpoint => 'POST /rest/v1/rpc/x') IS NOT NULL)), 't', 'it logs');
	is($ask->(q(INSERT INTO query_performance_logs (query_text, query_hash, duration_ms, user_id, endpoint, parameters,
		error_message, stack_trace) VALUES ('select * from t where id = 2', md5('x'), 700, NULL, '/x', '{}', NULL, NULL)
		RETURNING is_slow)), 't', 'it inserts');
	is($ask->(q(SELECT max_duration_ms FROM get_slow_queries(hours_back => 1, min_duration_ms => 1000)
		WHERE query_text LIKE '%from t where%')), '1200', 'it asks what is slow');
	is($ask->('SELECT count(*) FROM get_query_stats()'), '1', 'and how slow');
	is($ask->(q(SELECT severity FROM performance_alerts WHERE alert_type = 'slow_query'
		AND message LIKE '%from t where%')), 'warning', 'it reads alerts');
	is($ask->(q(SELECT resolve_performance_alert(create_performance_alert(p_alert_type => 'high_bloat',
		p_severity => 'warning', p_message => 'm', p_details => '{"table": "t"}'), 'done'))), 't', 'and writes them');
	is($ask->('SELECT preloaded FROM capture_status()'), 't', 'it sees what capture does');
	is($ask->('SELECT count(*) >= 0 FROM query_stats_history'), 't', 'and the history');
	for my $role (qw(anon authenticated))
	{
		is(could_do($database, $role), $everybodys, "$role still has what is everybody's");
	}
	my $of_partitions = $node->safe_psql($database, q(SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
		WHERE c.relispartition AND a.grantee <> c.relowner));
	is($of_partitions, '0', 'partitions have no grants of their own');
	$node->safe_psql($database, q(SELECT revoke_access('service_role')));
	is(could_do($database, 'service_role'), $everybodys, 'it is taken back');
};

$node->stop;
done_testing();
