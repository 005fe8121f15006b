# SPDX-License-Identifier: MIT
# busybox applets on generated text.
b=/bin/busybox
$b seq 1 60000 >numbers
$b awk 'BEGIN { s = 12345; for (i = 0; i < 30000; i++) { s = (s * 1103515245 + 12345) % 2147483648; printf "%d %s%d\n", s, "word", s % 977 } }' >words
for sum in md5sum sha1sum sha256sum sha512sum sha3sum crc32; do $b $sum numbers words; done
echo "--- compression"
$b gzip -9 <words >words.gz && $b sha256sum words.gz && $b zcat words.gz | $b sha256sum
$b gzip -1 <numbers | $b sha256sum
$b bzip2 -9 <words >words.bz2 && $b sha256sum words.bz2 && $b bzcat words.bz2 | $b sha256sum
$b lzop <words | $b lzop -d | $b sha256sum
echo "--- text"
$b sort -n words | $b head -n 4
$b sort -k2 -u words | $b tail -n 4
$b sort -rn words | $b uniq -c | $b sha256sum
$b grep -c -E 'word(1|22|333)$' words
$b sed -n -E 's/^([0-9]+)5 word([0-9]*)7$/\2-\1/p' words | $b sha256sum
$b cut -d' ' -f2 words | $b tr a-z A-Z | $b rev | $b sha256sum
$b od -A d -t x4 -N 256 words | $b tail -n 3
$b xxd -l 48 words
$b base64 words | $b sha256sum
$b dd if=words bs=1000 skip=7 count=90 2>&1 >part | $b head -n 2 && $b sha256sum part
$b paste numbers words | $b fold -w 60 | $b tail -n 2
echo "--- awk"
$b awk '{ n[$2]++; s += $1 } END { m = 0; for (w in n) if (n[w] > m || n[w] == m && w < b) { m = n[w]; b = w } printf "%s %d %.17g\n", b, m, s / NR }' words
$b awk 'BEGIN { for (x = 0.1; x < 1e9; x *= 17) { s = y = x / 2; while (n++ % 60) s = (s + x / s) / 2; printf "%.17g %.17g %.9e\n", x, s, x / 3 - s } }'
$b awk 'BEGIN { for (i = 0; i < 24; i++) { for (j = 0; j < 60; j++) { x = y = n = 0; a = j / 24 - 1.9; b = i / 11 - 1.1; while (n < 40 && x * x + y * y < 4) { t = x * x - y * y + a; y = 2 * x * y + b; x = t; n++ } printf "%c", 32 + n } print "" } }'
echo "--- bc, dc, expr, factor"
echo 'scale=60; 4*a(1); e(1); l(2); s(1)^2+c(1)^2' | $b bc -l
echo '2^521-1; 3^200 % 1000000007' | $b bc
echo '20k 2v p 1000 6 ^ p' | $b dc
$b factor 1234567891 4294967291 600851475143
i=0; s=0; while [ $i -lt 3000 ]; do s=$(( (s * 31 + i) % 65521 )); i=$((i + 1)); done; echo $s
echo "--- archives"
$b mkdir tree && $b cp numbers words tree && $b ln -s words tree/link
(cd tree && $b find . | $b sort | $b cpio -o -H newc 2>&1 | $b wc -c)
$b tar -cf - tree | $b tar -tf - | $b sort
echo "--- processes"
$b seq 1 200 | $b xargs -n 5 $b echo | $b wc -l
i=0; while [ $i -lt 60 ]; do (exit $i); r="$r $?"; i=$((i + 1)); done; echo $r
$b sleep 0.1 & wait $!; echo "waited $?"
sh -c 'trap "echo trapped" USR1; kill -USR1 $$; echo after'
sh -c 'kill -SEGV $$'; echo "killed $?"
