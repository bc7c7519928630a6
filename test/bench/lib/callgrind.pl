# Reads what callgrind wrote, as differences of two runs for each of N statements.
#
#   perl callgrind.pl total SHORT LONG N            # instructions <tab> system calls, see instructions.sh
#   perl callgrind.pl profile SHORT LONG N OBJECT   # where they go in that shared object
use strict;
use warnings;

my ($mode, $short, $long, $statements, $object) = @ARGV;
my $left_out = qr/^(secure_read|pgstat_report_stat|enable_timeout_after|disable_timeout)$/;
my $clock = qr/^(clock_gettime|(__)?gettimeofday|time_syscall)/;

# Costs by function, by source line, and by pair of caller and callee where a call leaves the object.
sub new_profile {
  return { instructions => 0, calls => 0, self => {}, line => {}, leaving => {}, entered => {} };
}

sub read_profile {
  my ($path, $sign, $into) = @_;
  my (%name, $calls, $line);
  my %at = (ob => '', fl => '', fn => '');
  my %target = (ob => '', fn => '');
  open my $in, '<', $path or die "$path: $!\n";
  while (<$in>) {
    if (/^(c?)(ob|fl|fi|fe|fn)=(?:\((\d+)\))? ?(.*)/) {
      my ($callee, $key, $id, $value) = ($1, $2, $3, $4);
      my $kind = $key =~ /^f[lie]$/ ? 'fl' : $key;
      $name{$kind}{$id} = $value if $value ne '';
      $value = $name{$kind}{$id};
      if ($callee) { $target{$kind} = $value } else { $at{$kind} = $value }
      $target{ob} = $at{ob} if !$callee && $key =~ /^(ob|fn)$/;
    } elsif (/^cf[il]=(?:\((\d+)\)) (.+)/) {
      $name{fl}{$1} = $2;
    } elsif (/^calls=(\d+)/) {
      $calls = $1;
    } elsif (/^([-+*]?)(\d*) ?(.*)/ && ($1 ne '' || $2 ne '')) {
      $line = $1 eq '+' ? $line + $2 : $1 eq '-' ? $line - $2 : $1 eq '*' ? $line : $2;
      my ($instructions, $system) = map { $_ // 0 } (split ' ', $3)[0, 1];
      add($into, \%at, \%target, $line, $sign, $calls, $instructions // 0, $system // 0);
      $target{ob} = $at{ob} if defined $calls;
      $calls = undef;
    }
  }
  close $in;
}

sub add {
  my ($into, $at, $target, $line, $sign, $calls, $instructions, $system) = @_;
  my $inside = defined $object && $at->{ob} =~ /\Q$object\E$/;
  if (defined $calls) {
    if ($target->{fn} =~ $left_out) {
      $into->{instructions} -= $sign * $instructions;
      $into->{calls} -= $sign * $system;
    }
    my $to_inside = defined $object && $target->{ob} =~ /\Q$object\E$/;
    $into->{entered}{ $target->{fn} } += $sign * $calls if $to_inside;
    if ($inside && !$to_inside) {
      my $key = "$target->{fn}  from " . short_name($at->{fn});
      $into->{leaving}{$key}[0] += $sign * $instructions;
      $into->{leaving}{$key}[1] += $sign * $calls;
    }
    return;
  }
  $into->{instructions} += $sign * $instructions;
  $into->{calls} += $sign * $system unless $at->{fn} =~ $clock;
  return unless $inside;
  $into->{self}{ $at->{fn} } += $sign * $instructions;
  $into->{line}{"$at->{fl}:$line"} += $sign * $instructions;
}

# Template arguments and what every name begins with would fill the screen.
sub short_name {
  my ($name) = @_;
  $name =~ s/train_perf::|\(anonymous namespace\):://g;
  return length $name > 100 ? substr($name, 0, 100) . '…' : $name;
}

sub print_top {
  my ($title, $cost, $format, $count) = @_;
  my @keys = sort { $cost->($b) <=> $cost->($a) } @$count;
  splice @keys, 40 if @keys > 40;
  print "\n  $title\n";
  for my $key (@keys) {
    last if $cost->($key) < 0.5 * $statements;
    print '  ', $format->($key), "\n";
  }
}

my $profile = new_profile();
read_profile($short, -1, $profile);
read_profile($long, 1, $profile);

if ($mode eq 'total') {
  printf "%.1f\t%.3f\n", $profile->{instructions} / $statements, $profile->{calls} / $statements;
  exit;
}

my $sum = 0;
$sum += $_ for values %{ $profile->{self} };
printf "  %.1f instructions of a statement are in %s itself\n", $sum / $statements, $object;
print_top(
  'instructions  calls  function',
  sub { $profile->{self}{ $_[0] } },
  sub {
    sprintf '%12.1f %6.2f  %s', $profile->{self}{ $_[0] } / $statements,
      ($profile->{entered}{ $_[0] } // 0) / $statements, short_name($_[0]);
  },
  [ keys %{ $profile->{self} } ]);
# The server's own work, which the hooks pass on, is not ours.
print_top(
  'instructions  calls  called outside of it (inclusive)',
  sub { $profile->{leaving}{ $_[0] }[0] },
  sub {
    sprintf '%12.1f %6.2f  %s', map({ $_ / $statements } @{ $profile->{leaving}{ $_[0] } }), $_[0];
  },
  [ grep { !/^standard_/ } keys %{ $profile->{leaving} } ]);
print_top(
  'instructions  source line',
  sub { $profile->{line}{ $_[0] } },
  sub { sprintf '%12.1f  %s', $profile->{line}{ $_[0] } / $statements, $_[0] =~ s{.*/(?=[^/]+/[^/]+$)}{}r },
  [ keys %{ $profile->{line} } ]);
print "\n";
