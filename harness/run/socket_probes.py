"""Prove that memory in sockets counts, and that other ways around the memory limit are shut.

Perl, which every Debian has, can make any system call from a line of text.
"""

from __future__ import annotations

import platform

from harness.results.records import ExecutionRecord, Outcome

MIB = 1024**2

_LOOPBACK = 'pack("S n C4 x8", 2, 0, 127, 0, 0, 1)'

FILL_TCP = f"""
socket(my $listener, 2, 1, 0) or die "refused: $!";
bind($listener, {_LOOPBACK}) or die "bind: $!";
listen($listener, 100);
my $sent = 0;
for (1 .. 60) {{
  socket(my $client, 2, 1, 0);
  fcntl($client, 4, 2048);
  connect($client, getsockname($listener));
  accept(my $server, $listener) or last;
  push @kept, $client, $server;
  while (my $count = syswrite($client, "x" x 65536)) {{ $sent += $count }}
}}
print "sent $sent\\n";
"""
"""Leaves as much as it can unread in connections to itself, without ever waiting."""

FILL_UDP = f"""
my $sent = 0;
for (1 .. 1000) {{
  socket(my $receiver, 2, 2, 0) or die "refused: $!";
  setsockopt($receiver, 1, 8, pack("i", 1 << 22));
  bind($receiver, {_LOOPBACK}) or die "bind: $!";
  socket(my $sender, 2, 2, 0);
  push @kept, $receiver;
  for (1 .. 10) {{ $sent += send($sender, "x" x 40000, 64, getsockname($receiver)) || 0 }}
}}
my $kept = 0;
for my $receiver (@kept) {{
  while (defined recv($receiver, my $data, 65536, 64)) {{ $kept += length $data }}
}}
print "kept $kept of $sent\\n";
"""
"""Stores up to 400 MB in the receive buffers of a thousand sockets, and reads back what is still there."""

FILL_NETLINK = """
for (1 .. 400) {
  socket(my $route, 16, 3, 0) or die "refused: $!";
  push @kept, $route;
  my $text = "y" x 30000;
  for (1 .. 20) { send($route, pack("L S S L L", 16 + 30000, 9999, 1, 1, 0) . $text, 64) or last }
}
print "stored\\n";
sleep 20;
"""
"""Has the kernel keep wrong requests, texts included, in sockets that report them."""

FAMILIES = """
my %tried = (
  "vsock" => [40, 1, 0], "packet" => [17, 3, 768], "raw" => [2, 3, 1], "ping" => [2, 2, 1],
  "multipath" => [2, 1, 262], "netlink of users" => [16, 3, 2], "crypto" => [38, 5, 0], "TIPC" => [30, 1, 0],
);
for my $name (sort keys %tried) {
  my ($family, $kind, $protocol) = @{$tried{$name}};
  print "$name: ", (socket(my $made, $family, $kind, $protocol) ? "made" : "refused"), "\\n";
}
"""
"""Tries sockets that would reach the hypervisor, or whose memory counts nowhere."""

_MMAP, _MEMFD_CREATE = (9, 319) if platform.machine() == "x86_64" else (222, 279)
HUGE_PAGES = f"""
my $mapped = syscall({_MMAP}, 0, 1 << 21, 3, 0x40022, -1, 0);
print "map: ", ($mapped == -1 && $! == 1 ? "refused" : "allowed"), "\\n";
my $name = "huge";
my $made = syscall({_MEMFD_CREATE}, $name, 4);
print "file: ", ($made == -1 && $! == 1 ? "refused" : "allowed"), "\\n";
"""
"""Asks for huge pages, where 1 (not permitted) is another answer than that there are none."""


def perl(script: str) -> str:
    """Return the shell command that runs a script; modules are none."""
    return f"perl -e '{script}' 2>&1"


def refused(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    """Whether everything that was tried was refused."""
    lines = [line for line in log.splitlines() if ": " in line]
    through = [line for line in lines if not line.endswith(": refused")]
    names = ", ".join(line.partition(":")[0] for line in through or lines)
    return bool(lines) and not through, f"{'not ' if through else ''}refused: {names or log.strip()[:160]}"


def counted(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    """Whether the kernel's peak holds what a container left in its sockets."""
    if execution.outcome is Outcome.MEMORY_LIMIT:
        return True, execution.evidence.summary
    words = log.split()
    held = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    peak = execution.usage.peak_memory_bytes or 0
    shown = f"{held / MIB:.1f} MiB kept in sockets, peak {peak / MIB:.1f} MiB"
    return 0 < held <= peak, shown
