# Compares variants that took turns: perl compare.pl COLUMN FORMAT HEADING BASE VARIANT… <RECORDS
#
# A record is ROW <tab> ROUND <tab> VARIANT <tab> value… A table (see table.pl) comes out with, for each row,
# the median of BASE and the ratio of each other VARIANT to it: the median of the ratios of each round, and
# half the distance of their quartiles. So what slows down the whole machine for a while matters little.
use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));
use Encode qw(decode);

my ($column, $format, $heading, $base, @variants) = map { decode('UTF-8', $_) } @ARGV;
my (@rows, %value, %rounds);
while (<STDIN>) {
  chomp;
  my ($row, $round, $variant, @values) = split /\t/;
  push @rows, $row unless $rounds{$row};
  $rounds{$row}{$round} = 1;
  $value{$row}{$variant}{$round} = $values[ $column - 1 ];
}

sub quantile {
  my ($q, @sorted) = @_;
  my $at = $q * $#sorted;
  my $below = int $at;
  my $above = $below < $#sorted ? $below + 1 : $below;
  return $sorted[$below] + ($at - $below) * ($sorted[$above] - $sorted[$below]);
}

sub ratio {
  my ($row, $variant, $to) = @_;
  my @ratios;
  for my $round (keys %{ $rounds{$row} }) {
    my ($mine, $theirs) = map { $value{$row}{$_}{$round} } $variant, $to;
    push @ratios, $mine / $theirs if defined $mine && $theirs;
  }
  return '-' unless @ratios;
  @ratios = sort { $a <=> $b } @ratios;
  return sprintf '%.2f ±%.2f', quantile(0.5, @ratios), (quantile(0.75, @ratios) - quantile(0.25, @ratios)) / 2;
}

my @peer = grep { $_ eq 'pg_stat_statements' } @variants;
my $against = @peer && grep { $_ eq 'train_perf' } @variants;
print join("\t", $heading, $base, map({ "$_ / $base" } @variants),
  $against ? 'train_perf / pg_stat_statements' : ()), "\n";
for my $row (@rows) {
  my @base = sort { $a <=> $b } values %{ $value{$row}{$base} };
  print join("\t", $row, @base ? sprintf($format, quantile(0.5, @base)) : '-',
    map({ ratio($row, $_, $base) } @variants), $against ? ratio($row, 'train_perf', 'pg_stat_statements') : ()), "\n";
}
