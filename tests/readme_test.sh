#!/usr/bin/env bash
# The README cannot rot: its C code stands in programs that are built and run by the tests, and its
# links lead somewhere. Usage: readme_test.sh SOURCE_DIR
set -euo pipefail
cd "$1"
exec perl - tests/readme/*.c bench/services/*/*.c <<'PERL'
use strict;
use warnings;

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    local $/;
    return scalar <$file>;
}

my @programs = grep { -e } @ARGV;
my %text = map { $_ => slurp($_) } @programs;
my $readme = slurp('README.md');
my ($blocks, $links, $failed) = (0, 0, 0);

while ($readme =~ /^```c\n(.*?)^```$/gms) {
    my $code = $1;
    $blocks++;
    next if grep { index($text{$_}, $code) >= 0 } @programs;
    my ($first) = $code =~ /^(.*)$/m;
    print STDERR "README: no program of tests/readme holds the code that begins: $first\n";
    $failed++;
}
while ($readme =~ /\]\(([^)#\s]+)/g) {
    next if $1 =~ /^https?:/;
    $links++;
    next if -e $1;
    print STDERR "README: a link leads nowhere: $1\n";
    $failed++;
}
print "readme: $blocks pieces of code, $links links\n";
if ($blocks == 0) {
    print STDERR "README: no code found\n";
    $failed++;
}
exit($failed ? 1 : 0);
PERL
