# SPDX-License-Identifier: MIT
# The compiler, the assembler and the linker: their output, byte for byte, and what the result prints.
cp /test/compiled.c .
for flags in "-O0" "-O2" "-O3 -msse2 -mfpmath=sse" "-Os -march=i686 -static" "-O2 -g -fPIC"; do
    echo "--- gcc $flags"
    gcc $flags -S -o compiled.s compiled.c && sha256sum compiled.s
    gcc $flags -o compiled compiled.c -lm && sha256sum compiled && ./compiled
done
objdump -d compiled | sha256sum
nm compiled | busybox wc -l
strip compiled && sha256sum compiled && ./compiled | sha256sum
/usr/bin/ar rcD lib.a compiled.c && sha256sum lib.a
