# SPDX-License-Identifier: MIT
"""Bochs starts no kernel by itself: it gets a boot CD (isolinux) and a configuration, and its serial port
writes to a named pipe. Debian's packages: bochs, bochsbios, vgabios, xorriso, isolinux, syslinux-common."""
import glob
import os
import shutil
import subprocess
import tempfile

from measure import Run

LOADER = "/usr/lib/ISOLINUX/isolinux.bin"
LIBRARY = "/usr/lib/syslinux/modules/bios/ldlinux.c32"
SHARE = "/usr/share/bochs"
NEEDED = [LOADER, LIBRARY, f"{SHARE}/BIOS-bochs-latest", f"{SHARE}/VGABIOS-lgpl-latest"]

ISOLINUX = """serial 0 115200
default linux
prompt 0
timeout 1
label linux
 kernel /vmlinuz
 append initrd=/initrd {append}
"""
CONFIGURATION = """display_library: {display}
megs: {megs}
romimage: file={share}/BIOS-bochs-latest
vgaromimage: file={share}/VGABIOS-lgpl-latest
cpu: model=p4_willamette, ips=100000000, reset_on_triple_fault=0
clock: sync=none
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata1-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={fifo}
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""


def available(program):
    return bool(shutil.which(program) and shutil.which("xorrisofs") and all(map(os.path.exists, NEEDED)))


def make_cd(work, kernel, initrd, append):
    tree = os.path.join(work, "cd")
    os.makedirs(os.path.join(tree, "isolinux"))
    for source, name in ((LOADER, "isolinux/isolinux.bin"), (LIBRARY, "isolinux/ldlinux.c32"), (kernel, "vmlinuz"), (initrd, "initrd")):
        shutil.copy(source, os.path.join(tree, name))
    with open(os.path.join(tree, "isolinux/isolinux.cfg"), "w") as f:
        f.write(ISOLINUX.format(append=append))
    iso = os.path.join(work, "boot.iso")
    subprocess.run(["xorrisofs", "-quiet", "-o", iso, "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat",
                    "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree], check=True, stderr=subprocess.DEVNULL)
    return iso


def run(a, kernel, initrd, append, megs, guest_bytes, **how):
    with tempfile.TemporaryDirectory() as work:
        fifo, log = os.path.join(work, "com1"), os.path.join(work, "log")
        configuration, script = os.path.join(work, "bochsrc"), os.path.join(work, "go")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)  # read-write: neither end blocks, and no end of file comes
        # Debian's package brings no display that shows nothing: its remote one then waits for nobody.
        display = 'rfb, options="timeout=0"' if glob.glob("/usr/lib/*/bochs/plugins/libbx_rfb_gui.so") else "nogui"
        with open(configuration, "w") as f:
            f.write(CONFIGURATION.format(display=display, megs=megs, share=SHARE, fifo=fifo, log=log,
                                         iso=make_cd(work, kernel, initrd, append)))
        command = [a.bochs, "-q", "-f", configuration]
        # A build with the debugger, as Debian's is, waits for the command to go on.
        words = subprocess.run([a.bochs, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).stdout
        if b"-rc" in words:
            with open(script, "w") as f:
                f.write("c\n")
            command += ["-rc", script]
        try:
            return Run(command, console=reader, guest_bytes=guest_bytes, patience=4 * a.patience, limit=7200, **how)
        finally:
            os.close(reader)
