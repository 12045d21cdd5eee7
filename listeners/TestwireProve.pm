package TestwireProve;

# prove with testwire: `prove -PTestwireProve …` also says what the tests do, as they do it, as events of docs/events.md in the
# file that TESTWIRE_EVENTS names. Nothing that goes wrong here reaches the tests, and prove prints what it always prints.

use strict;
use warnings;
use Encode ();
use Fcntl qw(:flock O_WRONLY O_APPEND O_CREAT);
use JSON::PP ();
use TAP::Harness ();
use Time::HiRes ();

my $json = JSON::PP->new->utf8->canonical;
my ( $events, $first, $planned );

sub load {
    my ( $class, $plugin ) = @_;
    my $file = $ENV{TESTWIRE_EVENTS};

    # A prove that a test starts is none of this run.
    return 1 if !defined $file || ( $ENV{TESTWIRE_EVENTS_OWNER} // '' ) eq $file;
    sysopen $events, $file, O_WRONLY | O_APPEND | O_CREAT, oct 600 or return 1;
    flock $events, LOCK_SH | LOCK_NB;
    $ENV{TESTWIRE_EVENTS_OWNER} = $file;
    $first = 1;
    my $prove = $plugin->{app_prove};
    my $base  = $prove->harness || 'TAP::Harness';
    eval "require $base; 1" or return 1;    ## no critic

    # It may have inherited them.
    my ( $make_parser, $runtests ) = map { $base->can($_) } qw(make_parser runtests);
    return 1 if !$make_parser || !$runtests;
    no strict 'refs';
    @{'TestwireProve::Harness::ISA'} = ($base);
    *{'TestwireProve::Harness::make_parser'} = sub {
        my ( $self, $job ) = @_;
        my ( $parser, $session ) = $make_parser->( $self, $job );
        eval { _listen( $parser, $job->description ) };
        return ( $parser, $session );
    };
    *{'TestwireProve::Harness::runtests'} = sub {
        my ( $self, @tests ) = @_;
        my $aggregate = $runtests->( $self, @tests );
        _say( 'run_finished', status => $aggregate->all_passed ? 'passed' : 'failed' );
        return $aggregate;
    };
    $INC{'TestwireProve/Harness.pm'} = __FILE__;
    $prove->harness('TestwireProve::Harness');
    _say( 'run_started', title => "prove, Test::Harness $TAP::Harness::VERSION" );
    return 1;
}

# One write a line, so that lines of several processes stay whole.
sub _say {
    my ( $kind, %fields ) = @_;
    delete $fields{$_} for grep { !defined $fields{$_} || $fields{$_} eq '' } keys %fields;

    # Texts are bytes as the tests wrote them.
    $_ = Encode::decode( 'UTF-8', $_ ) for grep { /[^\x00-\x7f]/ } values %fields;
    my $event = { event => $kind, time => Time::HiRes::time(), %fields };
    @{$event}{qw(testwire runner)} = ( 1, 'prove' ) if $first;
    $first = 0;
    eval { syswrite $events, $json->encode($event) . "\n" };
    return;
}

sub _listen {
    my ( $parser, $file ) = @_;
    my ( $begun, $since, %seen ) = ( Time::HiRes::time() ) x 2;
    my $log = sub { _say( 'log', text => $_[0]->raw, suite => $file ) };
    _say( 'suite_started', suite => $file );
    my %callbacks = (
        test => sub {
            my ($test) = @_;
            my $name = $test->description;
            $name =~ s/^- //;
            $name = '#' . $test->number if $name eq '';
            my $times = ++$seen{$name};
            $name .= " ($times)" if $times > 1;
            my $now = Time::HiRes::time();
            my $status =
                $test->has_skip ? 'skipped'
              : $test->has_todo ? ( $test->is_actual_ok ? 'xpassed' : 'xfailed' )
              :                   ( $test->is_ok ? 'passed' : 'failed' );
            _say(
                'test_finished',
                test        => "$file > $name",
                suite       => $file,
                status      => $status,
                message     => $test->explanation,
                duration_ms => 1000 * ( $now - $since ),
            );
            $since = $now;
        },
        plan => sub {
            my $count = $_[0]->tests_planned or return;
            $planned += $count;
            _say( 'planned', total => $planned );
        },
        comment => $log,
        unknown => $log,
        bailout => sub { _say( 'note', level => 'error', text => "$file: " . $_[0]->as_string ) },
        EOF     => sub {
            my ($ended) = @_;
            my @wrong = $ended->parse_errors;
            unshift @wrong, 'exit code ' . $ended->exit if $ended->exit;
            my $is_skipped = defined $ended->skip_all;
            _say(
                'suite_finished',
                suite       => $file,
                status      => $is_skipped ? 'skipped' : $ended->has_problems ? 'failed' : 'passed',
                message     => $is_skipped ? $ended->skip_all : join( '; ', @wrong ),
                duration_ms => 1000 * ( Time::HiRes::time() - $begun ),
            );
        },
    );
    $parser->callback( $_ => $callbacks{$_} ) for keys %callbacks;
    return;
}

1;
