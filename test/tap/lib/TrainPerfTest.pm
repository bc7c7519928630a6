# What the TAP tests share: a server that preloads train_perf, its log, and clients that speak the
# protocol message by message, which psql cannot do.

package TrainPerfTest;

use strict;
use warnings;
use Exporter 'import';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(start_node drain log_rows wait_for_log wait_until major_version);

# A running server with train_perf preloaded and created in the database postgres; `lines` go to
# postgresql.conf last. It listens on IPv4 and IPv6 too.
sub start_node
{
	my ($name, $lines) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'train_perf'
listen_addresses = '127.0.0.1, ::1'
timezone = 'UTC'
lc_messages = 'C'
END
	$node->append_conf('postgresql.conf', $lines // '');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION train_perf');
	wait_until('the collector is there', sub {
		$node->safe_psql('postgres',
			'SELECT collector_pid IS NOT NULL FROM capture_status()') eq 't';
	});
	return $node;
}

# Calls the condition until it is true; 180 s are more than any slow machine needs.
sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = time + 180;
	until ($condition->())
	{
		if (time > $deadline)
		{
			fail("in time: $what");
			return 0;
		}
		Time::HiRes::usleep(50_000);
	}
	return 1;
}

# Waits until every event of the database is in query_performance_logs.
sub drain
{
	my ($node, $database) = @_;
	$database //= 'postgres';
	return wait_until("events of $database are written", sub {
		$node->safe_psql($database, 'SELECT events_queued FROM capture_status()') eq '0';
	});
}

# Rows of query_performance_logs, oldest first, as hashes.
sub log_rows
{
	my ($node, $database, $where) = @_;
	my $json = $node->safe_psql($database, qq(
		SELECT coalesce(json_agg(l ORDER BY execution_timestamp), '[]')
		FROM query_performance_logs l WHERE $where));
	return @{ JSON::PP->new->decode($json) };
}

# Waits for `count` rows and returns all that are there.
sub wait_for_log
{
	my ($node, $database, $where, $count) = @_;
	wait_until("$count logged where $where", sub {
		$node->safe_psql($database,
			"SELECT count(*) >= $count FROM query_performance_logs WHERE $where")
		  eq 't';
	});
	drain($node, $database);
	return log_rows($node, $database, $where);
}

sub major_version
{
	my ($node) = @_;
	return int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
}

# One connection. Trust authentication only.
#
#   my $client = TrainPerfTest::Client->new($node, user => 'alice', application_name => 'shop');
#   my $answer = $client->query('SELECT 1');           # {rows => [['1']], tags => ['SELECT 1']}
#   $client->send(query => 'SELECT 1'); ... $client->answer;
#   $client->send([parse => '', 'SELECT $1::int'], [bind => '', '', 5], [execute => '', 0], ['sync']);
#
# An answer ends with ReadyForQuery, with the first message named in `until`, or with the end of the
# connection (closed => 1). {error} is a hash of the fields of the last ErrorResponse.
package TrainPerfTest::Client;

use strict;
use warnings;
use IO::Socket::IP;
use IO::Socket::UNIX;

sub new
{
	my ($class, $node, %options) = @_;
	my $host = delete $options{host};
	my $socket =
	  defined $host
	  ? IO::Socket::IP->new(PeerAddr => $host, PeerPort => $node->port, Proto => 'tcp')
	  : IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port);
	return undef unless $socket;
	my $self = bless { socket => $socket, notices => [] }, $class;
	my %startup = (user => $ENV{USER} // getpwuid($<), database => 'postgres', %options);
	my $body = pack('N', 196608) . join('', map { "$_\0$startup{$_}\0" } sort keys %startup) . "\0";
	$socket->syswrite(pack('N', length($body) + 4) . $body);
	$self->{startup} = $self->answer;
	return $self;
}

sub pid { return $_[0]->{pid} }

my %encode = (
	query => sub { return ('Q', "$_[0]\0") },
	parse => sub { my ($name, $sql, @types) = @_; return ('P', "$name\0$sql\0" . pack('n N*',
		scalar @types, @types)) },
	bind => sub {
		my ($portal, $name, @values) = @_;
		my $values = join '', map { defined $_ ? pack('N/a*', $_) : pack('N', 0xffffffff) } @values;
		return ('B', "$portal\0$name\0" . pack('n n', 0, scalar @values) . $values . pack('n', 0));
	},
	describe => sub { my ($kind, $name) = @_; return ('D', "$kind$name\0") },
	execute => sub { my ($portal, $rows) = @_; return ('E', "$portal\0" . pack('N', $rows // 0)) },
	close => sub { my ($kind, $name) = @_; return ('C', "$kind$name\0") },
	sync => sub { return ('S', '') },
	flush => sub { return ('H', '') },
	copy_data => sub { return ('d', $_[0]) },
	copy_done => sub { return ('c', '') },
	copy_fail => sub { return ('f', "$_[0]\0") },
);

# One message as a list, or several as references to lists.
sub send
{
	my ($self, @messages) = @_;
	@messages = ([@messages]) unless ref $messages[0];
	my $bytes = '';
	for (@messages)
	{
		my ($kind, @arguments) = @$_;
		my ($type, $body) = $encode{$kind}->(@arguments);
		utf8::encode($body) if utf8::is_utf8($body);
		$bytes .= $type . pack('N', length($body) + 4) . $body;
	}
	local $SIG{PIPE} = 'IGNORE';
	$self->{socket}->syswrite($bytes);
	return $self;
}

sub read_bytes
{
	my ($self, $length) = @_;
	my $bytes = '';
	while (length($bytes) < $length)
	{
		my $got = $self->{socket}->sysread($bytes, $length - length($bytes), length($bytes));
		return undef unless $got;
	}
	return $bytes;
}

sub fields { my %fields = map { substr($_, 0, 1) => substr($_,
	1) } split /\0/, $_[0]; return \%fields }

my %receive = (
	D => sub {
		my ($self, $answer, $body) = @_;
		my $count = unpack('n', substr($body, 0, 2, ''));
		my @row;
		for (1 .. $count)
		{
			my $length = unpack('l>', substr($body, 0, 4, ''));
			push @row, $length < 0 ? undef : substr($body, 0, $length, '');
		}
		push @{ $answer->{rows} }, \@row;
	},
	C => sub { my ($self, $answer, $body) = @_; push @{ $answer->{tags} }, substr($body, 0, -1) },
	E => sub { my ($self, $answer, $body) = @_; $answer->{error} = fields($body) },
	N => sub { my ($self, $answer, $body) = @_; push @{ $self->{notices} }, fields($body) },
	K => sub { my ($self, $answer, $body) = @_; $self->{pid} = unpack('N', $body) },
	Z => sub { my ($self, $answer, $body) = @_; $answer->{status} = $body },
);

sub answer
{
	my ($self, $until) = @_;
	my $answer = { rows => [], tags => [] };
	while (1)
	{
		my $head = $self->read_bytes(5);
		return { %$answer, closed => 1 } unless defined $head;
		my ($type, $length) = unpack('a N', $head);
		my $body = $length > 4 ? $self->read_bytes($length - 4) : '';
		return { %$answer, closed => 1 } unless defined $body;
		$receive{$type}->($self, $answer, $body) if $receive{$type};
		return $answer if $type eq 'Z' || index($until // '', $type) >= 0;
	}
}

sub query { my ($self, $sql) = @_; return $self->send(query => $sql)->answer }

# Statements one after the other, each in a message of its own; the SQLSTATE of each, or '' without
# error.
sub queries { my ($self, @sql) = @_; return map { $self->query($_)->{error}{C} // '' } @sql }

# By the extended protocol, with an unnamed statement and portal.
sub extended
{
	my ($self, $sql, @values) = @_;
	return $self->send([ parse => '', $sql ], [ bind => '', '', @values ], [ execute => '', 0 ],
		['sync'])
	  ->answer;
}

# Goes away without a goodbye.
sub vanish { my ($self) = @_; return close $self->{socket} }

sub quit
{
	my ($self) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$self->{socket}->syswrite('X' . pack('N', 4));
	$self->read_bytes(1);    # the server closes when it is done with us
	return close $self->{socket};
}

1;
