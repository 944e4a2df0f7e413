#!/usr/bin/env bash
# The README cannot rot: its C code stands in programs that are built and run by the tests, its links
# lead somewhere, and every public header and every stage of the library has its place in it.
# Usage: readme_test.sh SOURCE_DIR
set -euo pipefail
cd "$1"
exec perl - tests/readme/*.c tests/readme/*/*/*.proto bench/services/*/*.c <<'PERL'
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

while ($readme =~ /^```(?:c|proto)\n(.*?)^```$/gms) {
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
my $stages = 0;
for my $header (glob '{core,proto,stages,transports}/include/weir/*.h') {
    next if index($readme, "]($header)") >= 0;
    print STDERR "README: no link to $header\n";
    $failed++;
}
my $manual = slurp('core/man/weir-stages.7');
for my $header (glob('stages/include/weir/*.h'), 'core/include/weir/hub.h', 'core/include/weir/inlet.h') {
    my $text = slurp($header);
    while ($text =~ /^WEIR_API weir_(?:stage_spec|node) \*\s*weir_(\w+)\(/gm) {
        my $stage = $1;
        $stages++;
        next if index($readme, "[$stage]($header)") >= 0 && $manual =~ /\bFn weir_$stage\b/;
        print STDERR "README or weir-stages(7): no row for $stage of $header\n";
        $failed++;
    }
}
print "readme: $blocks pieces of code, $links links, $stages stages\n";
if ($blocks == 0 || $stages < 50) {
    print STDERR "README: no code found, or no stages\n";
    $failed++;
}
exit($failed ? 1 : 0);
PERL
