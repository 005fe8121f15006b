/* SPDX-License-Identifier: MIT */
/* guest_symbols.c: System.map or ELF32 -> a sorted table of functions a file.
 *
 * The files are read whole at the start and are the user's own, but nothing in them is trusted to
 * be well-formed: each offset is checked, names end where the file's string table does. */
#include "runtime/guest_symbols.h"

#include "ringdown/x86.h"
#include "runtime/mmu.h"
#include "runtime/machine.h"
#include "runtime/phys.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX    (512u << 20)
#define SIZE_MAX_   0x10000u /* of a function whose end is not known */
#define PAGE_OFFSET 0xfffu
#define HANDLERS    32u /* exceptions: each has a function of its own */
#define FIT_ENOUGH  8u  /* handlers that must be functions */

struct symbol {
    uint32_t address, size; /* size 0: up to the next one */
    const char *name;
};

struct symbol_file {
    const char *name;
    int fd;              /* -1: closed */
    char *text;          /* of the file, with a 0 behind it; names point into it */
    size_t length, size; /* what has been read, what it had when it was opened */
    struct symbol *symbols;
    size_t count, capacity;
    uint32_t offset;
    bool fitted;
};

struct guest_symbols {
    struct symbol_file *files;
    size_t count;
};

/* --- reading --- */

static int open_file(const char *path, struct symbol_file *f)
{
    struct stat st;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return -EINVAL;
    f->size = (size_t)st.st_size;
    return 0;
}

static void close_file(struct symbol_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static int read_file(struct symbol_file *f)
{
    int error = 0;
    f->text = malloc(f->size + 1);
    if (!f->text)
        return -ENOMEM;
    while (!error && f->length < f->size) {
        ssize_t n = pread(f->fd, f->text + f->length, f->size - f->length, (off_t)f->length);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            error = -errno;
        f->length += n > 0 ? (size_t)n : 0;
    }
    f->text[f->length] = 0;
    close_file(f);
    return error;
}

static bool add(struct symbol_file *f, uint32_t address, uint32_t size, const char *name)
{
    if (f->count == f->capacity) {
        size_t capacity = f->capacity ? 2 * f->capacity : 1024;
        struct symbol *symbols = realloc(f->symbols, capacity * sizeof *symbols);
        if (!symbols)
            return false;
        f->symbols = symbols;
        f->capacity = capacity;
    }
    f->symbols[f->count++] = (struct symbol){address, size, name};
    return true;
}

/* Lines "c1000000 T name", as nm prints them. */
static bool parse_map(struct symbol_file *f)
{
    for (char *line = f->text, *next; line; line = next) {
        char *end = strchr(line, '\n'), *type;
        next = end ? end + 1 : NULL;
        if (end)
            *end = 0;
        unsigned long long address = strtoull(line, &type, 16);
        if (type == line || type[0] != ' ' || !type[1] || type[2] != ' ' ||
            !strchr("tTwW", type[1]) || address > UINT32_MAX)
            continue;
        char *name = type + 3;
        name[strcspn(name, " \t\r")] = 0;
        if (*name && !add(f, (uint32_t)address, 0, name))
            return false;
    }
    return true;
}

static bool within(const struct symbol_file *f, uint64_t offset, uint64_t size)
{
    return offset <= f->length && size <= f->length - offset;
}

static bool parse_table(struct symbol_file *f, const Elf32_Shdr *table, const Elf32_Shdr *names)
{
    if (!within(f, table->sh_offset, table->sh_size) ||
        !within(f, names->sh_offset, names->sh_size) || !names->sh_size ||
        f->text[names->sh_offset + names->sh_size - 1])
        return true;
    for (uint32_t at = 0; at + sizeof(Elf32_Sym) <= table->sh_size; at += sizeof(Elf32_Sym)) {
        Elf32_Sym s;
        memcpy(&s, f->text + table->sh_offset + at, sizeof s);
        unsigned type = ELF32_ST_TYPE(s.st_info);
        /* Labels of assembly code have no type. */
        if ((type != STT_FUNC && type != STT_NOTYPE) || s.st_shndx == SHN_UNDEF ||
            s.st_shndx >= SHN_LORESERVE || s.st_name >= names->sh_size)
            continue;
        const char *name = f->text + names->sh_offset + s.st_name;
        if (*name && !add(f, s.st_value, s.st_size, name))
            return false;
    }
    return true;
}

static bool parse_elf(struct symbol_file *f)
{
    Elf32_Ehdr header;
    memcpy(&header, f->text, sizeof header);
    if (header.e_shentsize != sizeof(Elf32_Shdr) ||
        !within(f, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf32_Shdr)))
        return true;
    const uint32_t wanted[] = {SHT_SYMTAB, SHT_DYNSYM};
    for (unsigned w = 0; w < 2 && !f->count; w++)
        for (unsigned i = 0; i < header.e_shnum; i++) {
            Elf32_Shdr table, names;
            memcpy(&table, f->text + header.e_shoff + i * sizeof table, sizeof table);
            if (table.sh_type != wanted[w] || table.sh_link >= header.e_shnum)
                continue;
            memcpy(&names, f->text + header.e_shoff + table.sh_link * sizeof names, sizeof names);
            if (!parse_table(f, &table, &names))
                return false;
        }
    return true;
}

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->size < y->size) - (x->size > y->size);
}

/* "FILE@0xOFFSET": splits the name, in place. */
static void split_offset(char *path, struct symbol_file *f)
{
    char *at = strrchr(path, '@'), *end;
    if (!at || strncmp(at, "@0x", 3) != 0)
        return;
    unsigned long long offset = strtoull(at + 1, &end, 16);
    if (*end || end == at + 3 || offset > UINT32_MAX)
        return;
    *at = 0;
    f->offset = (uint32_t)offset;
    f->fitted = true;
}

static const char *open_named(const char *file, struct symbol_file *f)
{
    char *path = strdup(file);
    f->name = file;
    f->fd = -1;
    if (!path)
        return strerror(ENOMEM);
    split_offset(path, f);
    int error = open_file(path, f);
    free(path);
    return error ? strerror(-error) : NULL;
}

static const char *load(struct symbol_file *f)
{
    int error = read_file(f);
    if (error)
        return strerror(-error);
    bool elf = f->length >= sizeof(Elf32_Ehdr) && !memcmp(f->text, ELFMAG, SELFMAG);
    if (elf && f->text[EI_CLASS] != ELFCLASS32)
        return "an ELF file of another class than 32-bit";
    if (!(elf ? parse_elf(f) : parse_map(f)))
        return strerror(ENOMEM);
    if (!f->count)
        return "neither an ELF file with symbols nor a System.map";
    qsort(f->symbols, f->count, sizeof *f->symbols, by_address);
    return NULL;
}

struct guest_symbols *guest_symbols_open(const char *const *files, size_t count, char *err,
                                         size_t err_size)
{
    struct guest_symbols *s = calloc(1, sizeof *s);
    if (s)
        s->files = calloc(count ? count : 1, sizeof *s->files);
    if (!s || !s->files) {
        snprintf(err, err_size, "--symbols: out of memory");
        free(s);
        return NULL;
    }
    for (s->count = 0; s->count < count;) {
        const char *why = open_named(files[s->count], &s->files[s->count]);
        s->count++;
        if (!why)
            continue;
        snprintf(err, err_size, "--symbols: %s: %s", files[s->count - 1], why);
        guest_symbols_destroy(s);
        return NULL;
    }
    return s;
}

bool guest_symbols_load(struct guest_symbols *s, char *err, size_t err_size)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *why = load(&s->files[i]);
        if (!why)
            continue;
        snprintf(err, err_size, "--symbols: %s: %s", s->files[i].name, why);
        return false;
    }
    return true;
}

void guest_symbols_destroy(struct guest_symbols *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        close_file(&s->files[i]);
        free(s->files[i].text);
        free(s->files[i].symbols);
    }
    free(s->files);
    free(s);
}

/* --- finding --- */

/* The last symbol at or below an address of the file's own; NULL if none. */
static const struct symbol *at_or_below(const struct symbol_file *f, uint32_t address)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (f->symbols[mid].address <= address)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low)
        return NULL;
    /* Of several names of one place the first, which is the one with the largest size. */
    low--;
    while (low && f->symbols[low - 1].address == f->symbols[low].address)
        low--;
    return &f->symbols[low];
}

const char *guest_symbols_find(const struct guest_symbols *s, uint32_t eip, uint32_t *offset)
{
    for (size_t i = 0; s && i < s->count; i++) {
        const struct symbol_file *f = &s->files[i];
        const struct symbol *found = at_or_below(f, eip - f->offset);
        if (!found)
            continue;
        *offset = eip - f->offset - found->address;
        /* The next symbol ends it, or would have been found. */
        if (*offset < (found->size ? found->size : SIZE_MAX_))
            return found->name;
    }
    return NULL;
}

/* --- a kernel that has moved --- */

static bool peek(struct vcpu *v, uint32_t la, void *out, size_t size)
{
    uint8_t *to = out;
    for (size_t i = 0; i < size; i++) {
        struct walk w = mmu_walk(v, la + (uint32_t)i, ACC_READ, AS_OPEN, false);
        const uint8_t *page =
            w.ok && w.gpa >> 32 == 0 ? phys_hva(v->machine->phys, (uint32_t)(w.gpa >> 12)) : NULL;
        if (!page)
            return false;
        to[i] = page[w.gpa & PAGE_OFFSET];
    }
    return true;
}

/* The distinct targets of the gates for exceptions. */
static unsigned read_handlers(struct vcpu *v, uint32_t handlers[HANDLERS])
{
    unsigned count = 0;
    if (!vcpu_protected(v))
        return 0;
    for (uint32_t vector = 0; vector < HANDLERS && vector * 8 + 7 <= v->idtr.limit; vector++) {
        uint16_t gate[4];
        if (!peek(v, v->idtr.base + vector * 8, gate, sizeof gate) || !(gate[2] & 0x8000))
            continue;
        uint32_t handler = (uint32_t)gate[3] << 16 | gate[0];
        bool known = false;
        for (unsigned i = 0; i < count; i++)
            known |= handlers[i] == handler;
        if (!known)
            handlers[count++] = handler;
    }
    return count;
}

static unsigned matches(const struct symbol_file *f, const uint32_t *handlers, unsigned count,
                        uint32_t offset)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct symbol *s = at_or_below(f, handlers[i] - offset);
        n += s && s->address == handlers[i] - offset;
    }
    return n;
}

static void fit(struct symbol_file *f, const uint32_t *handlers, unsigned count)
{
    unsigned best = matches(f, handlers, count, 0);
    uint32_t offset = 0;
    if (best < count)
        for (size_t i = 0; i < f->count; i++) {
            uint32_t candidate = handlers[0] - f->symbols[i].address;
            if (candidate & PAGE_OFFSET)
                continue;
            unsigned n = matches(f, handlers, count, candidate);
            if (n > best) {
                best = n;
                offset = candidate;
            }
        }
    if (best < FIT_ENOUGH)
        return;
    f->offset = offset;
    f->fitted = true;
}

void guest_symbols_fit(struct guest_symbols *s, struct vcpu *v)
{
    uint32_t handlers[HANDLERS];
    unsigned count = 0;
    for (size_t i = 0; s && i < s->count; i++) {
        if (s->files[i].fitted)
            continue;
        if (!count)
            count = read_handlers(v, handlers);
        if (count >= FIT_ENOUGH)
            fit(&s->files[i], handlers, count);
    }
}
