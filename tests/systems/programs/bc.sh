# SPDX-License-Identifier: MIT
# Debian's bc, dynamically linked.
echo 'scale=300; 4*a(1)' | /usr/bin/bc -l
echo 'define f(n) { if (n < 2) return n; return f(n-1) + f(n-2); }; f(18); 2^2203-1' | /usr/bin/bc
echo 'ibase=16; obase=7; FFFFFFFFFFFF; obase=A; DEADBEEF*CAFEBABE' | /usr/bin/bc
