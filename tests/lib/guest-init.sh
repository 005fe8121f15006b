#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# /init of the test and demo guests. What it does is chosen on the kernel's command line:
#   ringdown.mode=shell   a shell on the console; powers off when it ends (the default)
#   ringdown.mode=demo    a short tour: processor, processes, hashing, a pipe; powers off
#   ringdown.mode=boot    powers off at once
#   ringdown.mode=suspend suspends to RAM twice, woken by the RTC; powers off
#   ringdown.mode=idle    says IDLE and waits for ever
#   ringdown.mode=run     executes /test/run.sh, says what it printed between two marks, powers off;
#                         ringdown.parts=a,b are the parts of it to run
# The line INIT with the guest's uptime is what boots are timed by.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev 2>/dev/null
$b mount -t tmpfs -o size=75% tmp /tmp
read -r up rest </proc/uptime
echo "INIT $up"
mode=shell
for w in $($b cat /proc/cmdline); do
    case $w in
    ringdown.mode=*) mode=${w#*=} ;;
    ringdown.parts=*) PARTS=$($b echo "${w#*=}" | $b tr , ' ') ;;
    esac
done
[ "$mode" = boot ] && $b poweroff -f
$b --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TERM=${TERM:-linux} LC_ALL=C

# The first call starts a stopwatch, the next says what it shows, in hundredths of a second.
started=
clock() {
    read -r now rest </proc/uptime
    hundredths=${now#*.}
    now=$((${now%.*} * 100 + ${hundredths#0})) # a leading zero would make it octal
    if [ -z "$started" ]; then
        started=$now
    else
        echo "took $((now - started))0 ms of the guest's time"
        started=
    fi
}

tour() {
    echo "--- uname"
    uname -a
    echo "--- /proc/cpuinfo"
    grep -E 'model name|cpu MHz|flags|bugs' /proc/cpuinfo
    echo "--- 300 processes"
    i=0
    clock
    while [ $i -lt 300 ]; do
        /bin/busybox true
        i=$((i + 1))
    done
    clock
    echo "--- sha256sum of 16 MiB"
    clock
    dd if=/dev/zero bs=1M count=16 2>/dev/null | sha256sum
    clock
    echo "--- a pipe: numbers, sorted as text, summed"
    seq 1 20000 | sort -r | awk '{ s += $1 } END { print NR " lines, sum " s }'
    echo "--- memory"
    free
}

case $mode in
shell)
    echo
    echo "A shell in the guest. 'exit' powers off; Ctrl-a x leaves at once."
    setsid cttyhack sh
    ;;
demo) tour ;;
suspend)
    i=0
    dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
    sha256sum /tmp/data >/tmp/sum
    while [ $i -lt 2 ]; do
        i=$((i + 1))
        echo +6 >/sys/class/rtc/rtc0/wakealarm && echo mem >/sys/power/state
        sha256sum -c /tmp/sum && echo "AWAKE $i"
    done
    ;;
idle)
    echo IDLE
    while :; do sleep 1000; done
    ;;
run)
    echo 1 >/proc/sys/kernel/printk
    export PARTS
    echo "OUTPUT BEGINS"
    sh /test/run.sh 2>&1
    echo "OUTPUT ENDS $?"
    ;;
*) echo "no such ringdown.mode: $mode" ;;
esac
poweroff -f
