#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs 32-bit user programs that nobody here wrote and prints what they say. The same script runs in
# the guest and, in a chroot, directly on the host: the two outputs must be equal. So nothing here may
# depend on the time, the process number, /dev, /proc or chance.
#
# Where there is no terminal and no /dev, sh is busybox's and everything happens below /tmp.
export PATH=/usr/bin:/bin LC_ALL=C HOME=/tmp PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 OPENSSL_CONF=/test/openssl.cnf
here=/test
work=/tmp/work
rm -rf $work
mkdir -p $work
cd $work || exit 1
for part in ${PARTS:-busybox bc python sqlite openssl gcc}; do
    echo "=== $part"
    sh $here/$part.sh
    echo "=== $part ended with $?"
done
