# For what must happen within one day: days begin at midnight in UTC.
package Midnight;

use strict;
use warnings;
use Exporter 'import';
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(not_over_midnight);

# Waits, if the next midnight by the server's clock is less than so many seconds away, until it has passed.
sub not_over_midnight
{
	my ($node, $seconds) = @_;
	my $left = $node->safe_psql('postgres', q(SELECT extract(epoch FROM date_trunc('day', clock_timestamp(), 'UTC')
		+ interval '24 hours' - clock_timestamp())));
	return if $left >= $seconds;
	note "waits $left s for midnight";
	Time::HiRes::sleep($left + 0.1);
	return;
}

1;
