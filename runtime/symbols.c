/* SPDX-License-Identifier: MIT */
/* symbols.c: the program's own ELF symbol table, mapped and searched from end to end. */
#include "runtime/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    const Elf64_Sym *symbols;
    uint64_t count;
    const char *names;
    uint64_t names_size;
    uint64_t bias; /* where the program was loaded */
} table;

/* [offset, offset+size) lies in the file. */
static bool within(uint64_t offset, uint64_t size, uint64_t file_size)
{
    return offset <= file_size && size <= file_size - offset;
}

static void find_table(const uint8_t *file, uint64_t size)
{
    const Elf64_Ehdr *header = (const void *)file;
    if (size < sizeof *header || header->e_shentsize != sizeof(Elf64_Shdr) ||
        !within(header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr), size))
        return;
    const Elf64_Shdr *sections = (const void *)(file + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *s = &sections[i];
        if (s->sh_type != SHT_SYMTAB || s->sh_link >= header->e_shnum ||
            s->sh_entsize != sizeof(Elf64_Sym) || !within(s->sh_offset, s->sh_size, size))
            continue;
        const Elf64_Shdr *names = &sections[s->sh_link];
        if (!names->sh_size || !within(names->sh_offset, names->sh_size, size) ||
            file[names->sh_offset + names->sh_size - 1])
            return;
        table.symbols = (const void *)(file + s->sh_offset);
        table.count = s->sh_size / sizeof(Elf64_Sym);
        table.names = (const char *)file + names->sh_offset;
        table.names_size = names->sh_size;
        table.bias = getauxval(AT_ENTRY) - header->e_entry;
        return;
    }
}

void symbols_load(void)
{
    struct stat st;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *file = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (file != MAP_FAILED)
        find_table(file, (uint64_t)st.st_size);
}

const char *symbols_find(uint64_t address, uint64_t *offset)
{
    uint64_t wanted = address - table.bias;
    for (uint64_t i = 0; i < table.count; i++) {
        const Elf64_Sym *s = &table.symbols[i];
        if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && wanted - s->st_value < s->st_size &&
            s->st_name < table.names_size) {
            *offset = wanted - s->st_value;
            return table.names + s->st_name;
        }
    }
    return NULL;
}
