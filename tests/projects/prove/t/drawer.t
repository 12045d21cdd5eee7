use strict;
use warnings;
use Test::More;

ok 1, 'opens';
ok 1, 'opens';
done_testing;
