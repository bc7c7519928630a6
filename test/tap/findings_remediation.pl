# What index_findings prints is run as printed, by the owner of the tables: then nothing is left to find, and no
# index that anything needs is lost.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use Test::More;
use Workers;

my $node = start_server('findings_remediation', "autovacuum = off\n");
with_extension($node, 'app');
$node->safe_psql('app', <<'END');
CREATE ROLE "Own'er $x" LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
GRANT CREATE ON DATABASE app TO "Own'er $x";
END

# As the owner, outside a transaction block.
sub as_owner
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('app', $sql, extra_params => [ '-U', q(Own'er $x) ]);
	return ($code, $err);
}

sub findings
{
	my ($columns, $where) = @_;
	return $node->safe_psql('app', "SELECT $columns FROM index_findings WHERE " . ($where // 'true') . ' ORDER BY finding_key',
		extra_params => [ '-U', 'monitor' ]);
}

my $long = 'L' x 60 . 'end';
my ($code, $error) = as_owner(<<"END");
CREATE SCHEMA "we'ird \$x";
CREATE SCHEMA plain;
SET search_path = "we'ird \$x";
CREATE TABLE "T.able ""q""" ("A b" integer, "C;--" text, "select" integer);
CREATE INDEX "kept" ON "T.able ""q""" ("A b", "C;--");
CREATE INDEX "dup' \$x" ON "T.able ""q""" ("A b");
CREATE INDEX "$long" ON "T.able ""q""" ("A b", "C;--");
CREATE INDEX "ünï \\ ""x""" ON "T.able ""q""" USING hash ("select");
CREATE INDEX "U.P" ON "T.able ""q""" USING hash ("select");

SET search_path = plain;
CREATE TABLE parent (id integer PRIMARY KEY, code text NOT NULL);
ALTER TABLE parent ADD CONSTRAINT "Again!" UNIQUE (id);
CREATE UNIQUE INDEX referenced ON parent (code);
CREATE TABLE child (a integer REFERENCES parent, "B" text REFERENCES parent (code), c integer);
CREATE UNIQUE INDEX twin ON parent (code);
CREATE TABLE range (a integer, "B b" text, c integer REFERENCES parent) PARTITION BY RANGE (a);
CREATE TABLE range_1 PARTITION OF range FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);
CREATE TABLE range_1_1 PARTITION OF range_1 FOR VALUES FROM (0) TO (5);
CREATE TABLE range_2 (x integer, "B b" text, c integer, a integer);
ALTER TABLE range_2 DROP x;
ALTER TABLE range ADD FOREIGN KEY ("B b") REFERENCES parent (code);
ALTER TABLE range ATTACH PARTITION range_2 FOR VALUES FROM (10) TO (20);
CREATE INDEX "R 1" ON range (a);
CREATE INDEX "R 2" ON range (a, c);
CREATE INDEX own ON range_2 (a);
CREATE INDEX own_c ON range_2 (c);
ALTER TABLE range ADD CONSTRAINT range_key UNIQUE (a, "B b");
ALTER TABLE range ADD CONSTRAINT "range' again" UNIQUE (a, "B b");
CREATE TABLE wide (id integer PRIMARY KEY, words text, numbers int4range, code integer,
	CONSTRAINT apart EXCLUDE USING gist (numbers WITH &&));
CREATE TABLE lonely (id integer PRIMARY KEY);
CREATE UNIQUE INDEX "Wide" ON wide (code) WHERE code > 0;
INSERT INTO parent SELECT g, g FROM generate_series(1, 100) g;
INSERT INTO child SELECT g, g, 1 FROM generate_series(1, 100) g;
INSERT INTO range SELECT g, g, g FROM generate_series(1, 3) g;
INSERT INTO wide VALUES (1, repeat('x', 10000), '[1,2)', 1);
END
is($code, 0, 'the owner makes the tables') or diag($error);

# Builds that fail: duplicates, and writers that do not end in time.
isnt((as_owner('CREATE UNIQUE INDEX CONCURRENTLY "Not unique" ON plain.child (c)'))[0], 0, 'a unique build fails');
my $writer = session($node, 'app');
$writer->query_safe(q{BEGIN; INSERT INTO plain.wide VALUES (2, 'y', '[2,3)', 2); INSERT INTO plain.child VALUES (1, '1', 1);
	INSERT INTO plain.range VALUES (1, '50', 50)});
# Cancelled when the index is there and the build waits for the writer.
sub is_cancelled
{
	my ($build) = @_;
	my $builder = session($node, 'app', extra_params => [ '-U', q(Own'er $x) ]);
	my $pid = $builder->query_safe('SELECT pg_backend_pid()');
	$builder->query_until(qr/begun/, "\\echo begun\n$build;\n\\echo ended\n");
	eventually($node, 'app', "SELECT count(*) = 1 FROM pg_locks WHERE pid = $pid AND locktype = 'virtualxid' AND NOT granted",
		"$build waits");
	$node->safe_psql('app', "SELECT pg_cancel_backend($pid)");
	$builder->query_until(qr/ended/, '');
	like($builder->{stderr}, qr/canceling statement due to user request/, "$build is cancelled");
	$builder->quit;
	return;
}
for my $build ('CREATE INDEX CONCURRENTLY "Own one" ON plain.child (c, a)', 'REINDEX TABLE CONCURRENTLY plain.wide',
	'REINDEX TABLE CONCURRENTLY plain.wide', 'CREATE INDEX CONCURRENTLY of_a_partition ON plain.range_1_1 ((c + 1), a)')
{
	is_cancelled($build);
}
$writer->query_safe('ROLLBACK');
$writer->quit;
$node->safe_psql('app', q(UPDATE pg_index SET indisvalid = false WHERE indexrelid IN
	('plain.apart'::regclass, 'plain.lonely_pkey'::regclass)));

my ($toast) = $node->safe_psql('app',
	q(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'plain.wide'::regclass)) =~ /\.(.*)/;
is(findings('remediation'), <<"END" =~ s/\n\z//r, 'everything is found');
DROP INDEX CONCURRENTLY "we'ird \$x"."$long";
DROP INDEX CONCURRENTLY "we'ird \$x"."U.P";
DROP INDEX CONCURRENTLY "we'ird \$x"."dup' \$x";
ALTER TABLE plain.parent DROP CONSTRAINT "Again!";
DROP INDEX plain."R 1";
ALTER TABLE plain.range DROP CONSTRAINT "range' again";
DROP INDEX CONCURRENTLY plain.own;
DROP INDEX CONCURRENTLY plain.twin;
DROP INDEX CONCURRENTLY pg_toast.${toast}_index_ccnew;
DROP INDEX CONCURRENTLY pg_toast.${toast}_index_ccnew1;
DROP INDEX CONCURRENTLY plain."Not unique";
REINDEX INDEX CONCURRENTLY plain."Own one";
DROP INDEX CONCURRENTLY plain."Wide_ccnew";
DROP INDEX CONCURRENTLY plain."Wide_ccnew1";
REINDEX INDEX plain.apart;
REINDEX INDEX CONCURRENTLY plain.lonely_pkey;
DROP INDEX CONCURRENTLY plain.of_a_partition;
DROP INDEX CONCURRENTLY plain.wide_pkey_ccnew;
DROP INDEX CONCURRENTLY plain.wide_pkey_ccnew1;
CREATE INDEX CONCURRENTLY ON plain.child ("B");
CREATE INDEX CONCURRENTLY ON plain.child (a);
CREATE INDEX ON plain.range ("B b");
CREATE INDEX ON plain.range (c);
END

# Owners do not get at their TOAST tables' indexes without it, which the finding says.
like(findings('detail', "schemaname = 'pg_toast'"), qr/TOAST table of plain.wide; dropping it needs USAGE on the schema pg_toast/,
	'what belongs to a TOAST table needs more');
$node->safe_psql('app', q(GRANT USAGE ON SCHEMA pg_toast TO "Own'er $x"));

for my $remediation (split /\n/, findings('remediation'))
{
	($code, $error) = as_owner($remediation);
	is("$code $error", '0 ', $remediation);
}
is(findings('finding_key'), '', 'nothing is left');
is($node->safe_psql('app', q(SELECT count(*) FROM pg_index WHERE NOT indisvalid)), '0', 'every index is valid');
is($node->safe_psql('app', q(SELECT string_agg(format('%I', indexname), ' ' ORDER BY schemaname, indexname) FROM pg_indexes
		WHERE schemaname IN ('we''ird $x', 'plain'))), join(' ', <<'END' =~ /\S.*/g), 'and all that is needed is there');
"Own one" "R 2" "Wide" apart "child_B_idx" child_a_idx lonely_pkey own_c parent_pkey
"range_1_1_B b_idx" "range_1_1_a_B b_key" range_1_1_a_c_idx range_1_1_c_idx
"range_1_B b_idx" "range_1_a_B b_key" range_1_a_c_idx range_1_c_idx
"range_2_B b_idx" "range_2_a_B b_key" range_2_a_c_idx "range_B b_idx" range_c_idx range_key referenced wide_pkey
kept "ünï \ ""x"""
END
$node->stop;
done_testing();
