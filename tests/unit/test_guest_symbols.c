/* SPDX-License-Identifier: MIT */
/* Names of guest addresses: System.map, ELF files whole and damaged, offsets. The fit to a guest's
 * interrupt table is shown by runs (tests/systems/profile.sh). */
#include "runtime/guest_symbols.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static void write_file(const void *bytes, size_t size)
{
    strcpy(path, "/tmp/ringdown-symbols-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

static struct guest_symbols *load(const char *suffix, char *err, size_t err_size)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    const char *const files[] = {name};
    struct guest_symbols *s = guest_symbols_open(files, 1, err, err_size);
    unlink(path);
    if (s && !guest_symbols_load(s, err, err_size)) {
        guest_symbols_destroy(s);
        return NULL;
    }
    return s;
}

static void expect(const struct guest_symbols *s, uint32_t eip, const char *name, uint32_t offset)
{
    uint32_t got = 0;
    const char *found = guest_symbols_find(s, eip, &got);
    if (!name) {
        cr_assert_null(found, "%#x is %s", eip, found);
        return;
    }
    cr_assert_not_null(found, "%#x has no name", eip);
    cr_assert_str_eq(found, name);
    cr_assert_eq(got, offset);
}

static const char map[] = "c1000000 T _stext\n"
                          "c1000100 t early\n"
                          "c1000040 W second\n"
                          "not a line\n"
                          "c1000080 D data\n"
                          "00000000c1000200 T long_form\n"
                          "ffffffffc1000000 T too_long\n"
                          "c1000300 t in_module\t[module]";

Test(guest_symbols, map)
{
    char err[200];
    write_file(map, strlen(map));
    struct guest_symbols *s = load("", err, sizeof err);
    cr_assert_not_null(s, "%s", err);
    expect(s, 0xc0ffffff, NULL, 0);
    expect(s, 0xc1000000, "_stext", 0);
    expect(s, 0xc100003f, "_stext", 0x3f);
    expect(s, 0xc1000080, "second", 0x40);
    expect(s, 0xc1000150, "early", 0x50);
    expect(s, 0xc1000210, "long_form", 0x10);
    expect(s, 0xc1000300, "in_module", 0);
    expect(s, 0xc1100000, NULL, 0);
    guest_symbols_destroy(s);
}

Test(guest_symbols, offset)
{
    char err[200];
    write_file(map, strlen(map));
    struct guest_symbols *s = load("@0xfff00000", err, sizeof err);
    cr_assert_not_null(s, "%s", err);
    expect(s, 0xc0f00001, "_stext", 1);
    expect(s, 0xc1000000, NULL, 0);
    guest_symbols_destroy(s);
    write_file(map, strlen(map));
    cr_assert_null(load("@0x", err, sizeof err), "a name that ends in @0x is a name");
}

Test(guest_symbols, nothing_in_it)
{
    char err[200];
    write_file("hello\n", 6);
    cr_assert_null(load("", err, sizeof err));
    cr_assert(strstr(err, "System.map"));
    write_file("", 0);
    cr_assert_null(load("", err, sizeof err));
    const char *const files[] = {"/nonexistent"};
    cr_assert_null(guest_symbols_open(files, 1, err, sizeof err));
    cr_assert(strstr(err, "/nonexistent"));
    expect(NULL, 0x1000, NULL, 0);
}

/* Header, one section of symbols, one of names. */
struct image {
    Elf32_Ehdr header;
    Elf32_Shdr section[3];
    Elf32_Sym symbol[4];
    char names[24];
};

static struct image make_image(void)
{
    struct image i = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32},
                   .e_shoff = offsetof(struct image,                         section),
                   .e_shentsize = sizeof(Elf32_Shdr),
                   .e_shnum = 3},
        .section = {[1] = {.sh_type = SHT_SYMTAB,
                           .sh_link = 2,
                           .sh_offset = offsetof(struct image, symbol),
                           .sh_size = sizeof i.symbol},
                   [2] = {.sh_type = SHT_STRTAB,
                           .sh_offset = offsetof(struct image, names),
                           .sh_size = sizeof i.names}},
        .symbol =
            {{.st_name = 1,
              .st_value = 0x1000,
              .st_size = 0x10,
              .st_info = STT_FUNC,
              .st_shndx = 1},
                   {.st_name = 6, .st_value = 0x1010, .st_size = 0, .st_info = STT_NOTYPE, .st_shndx = 1},
                   {.st_name = 12,
              .st_value = 0x1018,
              .st_size = 4,
              .st_info = STT_OBJECT,
              .st_shndx = 1},
                   {.st_name = 12,
              .st_value = 0x1020,
              .st_size = 4,
              .st_info = STT_FUNC,
              .st_shndx = SHN_UNDEF}},
        .names = "\0main\0label\0object",
    };
    return i;
}

Test(guest_symbols, elf)
{
    char err[200];
    struct image i = make_image();
    write_file(&i, sizeof i);
    struct guest_symbols *s = load("", err, sizeof err);
    cr_assert_not_null(s, "%s", err);
    expect(s, 0x1008, "main", 8);
    expect(s, 0x1018, "label", 8);
    expect(s, 0xfff, NULL, 0);
    guest_symbols_destroy(s);
}

Test(guest_symbols, elf_function_ends)
{
    char err[200];
    struct image i = make_image();
    i.symbol[1].st_value = 0x2000;
    write_file(&i, sizeof i);
    struct guest_symbols *s = load("", err, sizeof err);
    cr_assert_not_null(s, "%s", err);
    expect(s, 0x100f, "main", 15);
    expect(s, 0x1010, NULL, 0);
    guest_symbols_destroy(s);
}

/* Every byte of the headers wrong in some ways, every length: loaded or refused, never more. */
Test(guest_symbols, elf_damaged)
{
    char err[200];
    const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    unsigned refused = 0;
    for (size_t at = 0; at < sizeof(struct image); at++)
        for (unsigned v = 0; v < sizeof values; v++) {
            struct image i = make_image();
            ((uint8_t *)&i)[at] = values[v];
            write_file(&i, v ? sizeof i : at);
            struct guest_symbols *s = load("", err, sizeof err);
            uint32_t offset;
            for (uint32_t eip = 0xff0; eip < 0x1030; eip++)
                guest_symbols_find(s, eip, &offset);
            refused += !s;
            guest_symbols_destroy(s);
        }
    cr_assert(refused > sizeof(struct image) / 2);
}

Test(guest_symbols, wrong_class)
{
    char err[200];
    struct image i = make_image();
    i.header.e_ident[EI_CLASS] = ELFCLASS64;
    write_file(&i, sizeof i);
    cr_assert_null(load("", err, sizeof err));
    cr_assert(strstr(err, "32-bit"));
}
