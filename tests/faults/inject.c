/* SPDX-License-Identifier: MIT */
/* inject.c: preloaded, makes calls of the C library fail as a host under pressure would.
 *
 *   LD_PRELOAD=inject.so FAULTS="mmap=1/1000 write-short=1/3 alloc=#17" FAULTS_COUNT=FILE ringdown
 * ...
 *
 * FAULTS names calls and how often they fail: 1/N by chance (FAULTS_SEED), #N the Nth only, @N from
 * the Nth on. With FAULTS_LATE set, all goes well until the guest runs. FILE receives eight bytes,
 * the number of faults so far; it is mapped, so that the number survives any end. Calls that the C
 * library makes within itself are its own affair; for those of malloc() there is "alloc". "escape"
 * fails nothing: the Nth mmap() also opens a file, which the sandbox must not let pass. "maps=@N":
 * the host's limit of mappings is N, as Linux keeps it: mmap() fails beyond it, and what would make
 * two mappings of one by mprotect() at it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum fault {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MPROTECT,
    FAULT_MREMAP,
    FAULT_MADVISE,
    FAULT_MEMFD,
    FAULT_FTRUNCATE,
    FAULT_OPEN,
    FAULT_READ_FAIL,
    FAULT_READ_EINTR,
    FAULT_READ_SHORT,
    FAULT_WRITE_FAIL,
    FAULT_WRITE_EINTR,
    FAULT_WRITE_SHORT,
    FAULT_TIMER,
    FAULT_SETTIME,
    FAULT_THREAD,
    FAULT_EVENTFD,
    FAULT_SIGSTACK,
    FAULT_SIGACTION,
    FAULT_ALLOC,
    FAULT_ESCAPE,
    FAULT_MAPS,
    FAULT_COUNT
};

static struct rule {
    const char *name;
    int error;
    char how;   /* '/', '#', '@', or 0: never */
    uint64_t n; /* 1/n, or the number of the call */
    _Atomic uint64_t calls;
} rules[FAULT_COUNT] = {
    {.name = "mmap",        .error = ENOMEM},
    {.name = "munmap",      .error = ENOMEM},
    {.name = "mprotect",    .error = ENOMEM},
    {.name = "mremap",      .error = ENOMEM},
    {.name = "madvise",     .error = EAGAIN},
    {.name = "memfd",       .error = EMFILE},
    {.name = "ftruncate",   .error = ENOSPC},
    {.name = "open",        .error = EMFILE},
    {.name = "read-fail",   .error = EIO   },
    {.name = "read-eintr",  .error = EINTR },
    {.name = "read-short",  .error = 0     },
    {.name = "write-fail",  .error = ENOSPC},
    {.name = "write-eintr", .error = EINTR },
    {.name = "write-short", .error = 0     },
    {.name = "timer",       .error = EAGAIN},
    {.name = "settime",     .error = EAGAIN},
    {.name = "thread",      .error = EAGAIN},
    {.name = "eventfd",     .error = EMFILE},
    {.name = "sigstack",    .error = ENOMEM},
    {.name = "sigaction",   .error = EINVAL},
    {.name = "alloc",       .error = ENOMEM},
    {.name = "escape",      .error = 0     },
    {.name = "maps",        .error = ENOMEM},
};

static _Atomic uint64_t seed = 0x9e3779b97f4a7c15ull;
static _Atomic uint64_t nowhere, *injected = &nowhere;
static _Atomic int ready;
static int maps_file = -1; /* opened before there is a sandbox */

static void read_rule(const char *word, size_t length)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        size_t n = strlen(rules[i].name);
        if (length < n + 3 || strncmp(word, rules[i].name, n) != 0 || word[n] != '=')
            continue;
        const char *value = word + n + 1;
        rules[i].how = *value == '1' ? '/' : *value;
        rules[i].n = strtoull(value + (*value == '1' ? 2 : 1), NULL, 10);
        return;
    }
    static const char complaint[] = "inject: FAULTS is wrong\n";
    if (write(STDERR_FILENO, complaint, sizeof complaint - 1) < 0)
        abort();
    _exit(125);
}

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("FAULTS"), *count = getenv("FAULTS_COUNT"), *s = getenv("FAULTS_SEED");
    if (s)
        seed ^= strtoull(s, NULL, 10) * 0xd1342543de82ef95ull;
    int fd = count ? open(count, O_RDWR | O_CREAT, 0666) : -1;
    if (fd >= 0 && ftruncate(fd, 8) == 0) {
        void *p = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED)
            injected = p;
        close(fd);
    }
    while (at && *(at += strspn(at, " "))) {
        size_t length = strcspn(at, " ");
        read_rule(at, length);
        at += length;
    }
    if (rules[FAULT_MAPS].how)
        maps_file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    atomic_store(&ready, !getenv("FAULTS_LATE"));
}

/* Mappings of the process. */
static unsigned count_maps(void)
{
    char text[16384];
    unsigned count = 0;
    ssize_t n;
    for (off_t at = 0; (n = pread(maps_file, text, sizeof text, at)) > 0; at += n)
        for (ssize_t i = 0; i < n; i++)
            count += text[i] == '\n';
    return count;
}

/* Whether there are so many more than the limit that a mapping is refused; errno is set then. */
static int beyond_maps(unsigned more)
{
    struct rule *r = &rules[FAULT_MAPS];
    if (!atomic_load(&ready) || !r->how || count_maps() + more <= r->n)
        return 0;
    atomic_fetch_add(injected, 1);
    errno = r->error;
    return 1;
}

static uint64_t draw(void)
{
    uint64_t x = atomic_load(&seed), y;
    do {
        y = x ^ x << 13;
        y ^= y >> 7;
        y ^= y << 17;
    } while (!atomic_compare_exchange_weak(&seed, &x, y));
    return y >> 11;
}

/* Whether this call fails; errno is set then. */
static int hit(enum fault f)
{
    struct rule *r = &rules[f];
    if (!atomic_load(&ready) || !r->how)
        return 0;
    uint64_t call = atomic_fetch_add(&r->calls, 1) + 1;
    if (r->how == '/' ? draw() % r->n : r->how == '#' ? call != r->n : call < r->n)
        return 0;
    atomic_fetch_add(injected, 1);
    if (r->error)
        errno = r->error;
    return 1;
}

/* The C library's own function, found at the first call. */
#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real)                                                                                     \
    real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* --- memory --- */

void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset)
{
    REAL(mmap);
    if (hit(FAULT_ESCAPE))
        syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
    if (hit(FAULT_MMAP) || beyond_maps(0))
        return MAP_FAILED;
    return real(address, size, prot, flags, fd, offset);
}

int munmap(void *address, size_t size)
{
    REAL(munmap);
    return hit(FAULT_MUNMAP) ? -1 : real(address, size);
}

int mprotect(void *address, size_t size, int prot)
{
    REAL(mprotect);
    return hit(FAULT_MPROTECT) || beyond_maps(1) ? -1 : real(address, size, prot);
}

void *mremap(void *address, size_t old_size, size_t size, int flags, ...)
{
    REAL(mremap);
    va_list args;
    va_start(args, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(args, void *) : NULL;
    va_end(args);
    return hit(FAULT_MREMAP) ? MAP_FAILED : real(address, old_size, size, flags, to);
}

int madvise(void *address, size_t size, int advice)
{
    REAL(madvise);
    return hit(FAULT_MADVISE) ? -1 : real(address, size, advice);
}

int memfd_create(const char *name, unsigned flags)
{
    REAL(memfd_create);
    return hit(FAULT_MEMFD) ? -1 : real(name, flags);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
    return hit(FAULT_ALLOC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return hit(FAULT_ALLOC) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return hit(FAULT_ALLOC) ? NULL : __libc_realloc(p, size);
}

/* --- files --- */

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    return hit(FAULT_FTRUNCATE) ? -1 : real(fd, size);
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return hit(FAULT_OPEN) ? -1 : real(path, flags, mode);
}

FILE *fopen(const char *path, const char *how)
{
    static char limit[32];
    REAL(fopen);
    if (!rules[FAULT_MAPS].how || strcmp(path, "/proc/sys/vm/max_map_count") != 0)
        return real(path, how);
    snprintf(limit, sizeof limit, "%llu\n", (unsigned long long)rules[FAULT_MAPS].n);
    return fmemopen(limit, strlen(limit), "r");
}

static size_t shorter(enum fault f, size_t size)
{
    return size > 1 && hit(f) ? 1 + draw() % (size - 1) : size;
}

ssize_t read(int fd, void *buf, size_t size)
{
    REAL(read);
    if (hit(FAULT_READ_FAIL) || hit(FAULT_READ_EINTR))
        return -1;
    return real(fd, buf, shorter(FAULT_READ_SHORT, size));
}

ssize_t pread(int fd, void *buf, size_t size, off_t at)
{
    REAL(pread);
    if (hit(FAULT_READ_FAIL) || hit(FAULT_READ_EINTR))
        return -1;
    return real(fd, buf, shorter(FAULT_READ_SHORT, size), at);
}

/* Diagnostics are what the test reads: only other output fails. */
ssize_t write(int fd, const void *buf, size_t size)
{
    REAL(write);
    if (fd == STDERR_FILENO || size == 8)
        return real(fd, buf, size);
    if (hit(FAULT_WRITE_FAIL) || hit(FAULT_WRITE_EINTR))
        return -1;
    return real(fd, buf, shorter(FAULT_WRITE_SHORT, size));
}

/* --- the rest of a run's set-up --- */

int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
    REAL(timer_create);
    return hit(FAULT_TIMER) ? -1 : real(clock, event, timer);
}

int timer_settime(timer_t timer, int flags, const struct itimerspec *when, struct itimerspec *old)
{
    REAL(timer_settime);
    atomic_store(&ready, 1); /* the machine's loop has begun */
    return hit(FAULT_SETTIME) ? -1 : real(timer, flags, when, old);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                   void *opaque)
{
    REAL(pthread_create);
    return hit(FAULT_THREAD) ? EAGAIN : real(thread, attr, run, opaque);
}

int eventfd(unsigned value, int flags)
{
    REAL(eventfd);
    return hit(FAULT_EVENTFD) ? -1 : real(value, flags);
}

int sigaltstack(const stack_t *stack, stack_t *old)
{
    REAL(sigaltstack);
    return hit(FAULT_SIGSTACK) ? -1 : real(stack, old);
}

int sigaction(int signo, const struct sigaction *action, struct sigaction *old)
{
    REAL(sigaction);
    return hit(FAULT_SIGACTION) ? -1 : real(signo, action, old);
}
