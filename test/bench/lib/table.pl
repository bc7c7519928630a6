# Rows with fields separated by tabs, the first row a heading: a Markdown table that reads well as plain text.
use strict;
use warnings;
use open qw(:std :encoding(UTF-8));

my @rows = map { chomp; [ split /\t/, $_, -1 ] } <STDIN>;
exit unless @rows;
my @width;
for my $row (@rows) {
  for my $i (0 .. $#$row) { $width[$i] = length $row->[$i] if length $row->[$i] > ($width[$i] // 3) }
  $width[$_] //= 3 for 0 .. $#$row;
}

# Numbers stand to the right, what they belong to stands to the left.
sub print_row {
  my ($row) = @_;
  print '|', map({ sprintf $_ ? ' %*s |' : ' %-*s |', $width[$_], $row->[$_] // '' } 0 .. $#width), "\n";
}

print_row(shift @rows);
print '|', map({ $_ ? '-' x ($width[$_] + 1) . ':|' : '-' x ($width[$_] + 2) . '|' } 0 .. $#width), "\n";
print_row($_) for @rows;
print "\n";
