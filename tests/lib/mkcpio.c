/* SPDX-License-Identifier: MIT */
/*
 * list of entries -> initramfs (cpio, "newc" format), as any user.
 *
 *   mkcpio [LIST] >initramfs.cpio          LIST is a file, standard input without it
 *
 * One entry a line, fields split by blanks; everything belongs to root and is dated 0, so the same
 * input gives the same archive:
 *
 *   dir   NAME MODE
 *   file  NAME SOURCE MODE
 *   link  NAME TARGET
 *   nod   NAME MODE c|b MAJOR MINOR
 *   tree  NAME SOURCE                      SOURCE and all below it, under NAME
 *   omit  PATTERN                          later trees leave out names that match (a shell pattern)
 *
 * The kernel makes no missing parent, so every directory above an entry is written before it.
 * cpio(1) itself cannot archive a device node that the caller may not create; this can.
 */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, ALIGN = 4 };

static uint32_t next_inode = 1;
static char **made; /* directories already in the archive */
static size_t made_count;
static char **omitted;
static size_t omitted_count;

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "mkcpio: %s: %s\n", which, what);
    exit(1);
}

static void write_bytes(const void *bytes, size_t count)
{
    if (fwrite(bytes, 1, count, stdout) != count)
        fail(strerror(errno), "output");
}

static void pad(size_t count)
{
    static const char zeros[ALIGN];
    write_bytes(zeros, (ALIGN - count % ALIGN) % ALIGN);
}

/* Magic, then thirteen fields of eight hexadecimal digits, then the name with its NUL. */
static void write_header(const char *name, uint32_t mode, uint32_t size, uint32_t major,
                         uint32_t minor)
{
    while (*name == '/')
        name++;
    size_t name_bytes = strlen(name) + 1;
    char head[6 + 13 * 8 + 1];
    int n =
        snprintf(head, sizeof(head), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
                 next_inode++, mode, 0u, 0u, S_ISDIR(mode) ? 2u : 1u, 0u, size, 0u, 0u, major,
                 minor, (uint32_t)name_bytes, 0u);
    write_bytes(head, (size_t)n);
    write_bytes(name, name_bytes);
    pad((size_t)n + name_bytes);
}

static void append_name(char ***list, size_t *count, const char *name)
{
    *list = realloc(*list, (*count + 1) * sizeof(**list));
    if (!*list || !((*list)[(*count)++] = strdup(name)))
        fail("out of memory", name);
}

static bool remember_dir(const char *name)
{
    for (size_t i = 0; i < made_count; i++)
        if (strcmp(made[i], name) == 0)
            return false;
    append_name(&made, &made_count, name);
    return true;
}

static void add_dir(const char *name, uint32_t mode)
{
    while (*name == '/')
        name++;
    if (*name && remember_dir(name))
        write_header(name, S_IFDIR | (mode & 07777), 0, 0, 0);
}

static void add_parents(const char *name)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
        add_dir(part, 0755);
    }
}

static void add_link(const char *name, const char *target)
{
    write_header(name, S_IFLNK | 0777, (uint32_t)strlen(target), 0, 0);
    write_bytes(target, strlen(target));
    pad(strlen(target));
}

static void add_file(const char *name, const char *source, uint32_t mode)
{
    FILE *in = fopen(source, "rb");
    struct stat st;
    if (!in || fstat(fileno(in), &st) != 0)
        fail(strerror(errno), source);
    if (st.st_size > INT32_MAX)
        fail("too large", source);
    write_header(name, S_IFREG | (mode & 07777), (uint32_t)st.st_size, 0, 0);
    char buffer[65536];
    size_t total = 0, got;
    while ((got = fread(buffer, 1, sizeof(buffer), in)) > 0) {
        write_bytes(buffer, got);
        total += got;
    }
    if (ferror(in) || total != (size_t)st.st_size)
        fail("changed or failed while it was read", source);
    fclose(in);
    pad(total);
}

static void add_tree(const char *name, const char *source);

static bool is_omitted(const char *name)
{
    while (*name == '/')
        name++;
    for (size_t i = 0; i < omitted_count; i++)
        if (fnmatch(omitted[i], name, 0) == 0)
            return true;
    return false;
}

static void add_any(const char *name, const char *source)
{
    struct stat st;
    char target[PATH_MAX];
    if (is_omitted(name))
        return;
    if (lstat(source, &st) != 0)
        fail(strerror(errno), source);
    if (S_ISDIR(st.st_mode)) {
        add_dir(name, st.st_mode);
        add_tree(name, source);
    } else if (S_ISREG(st.st_mode)) {
        add_file(name, source, st.st_mode);
    } else if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(source, target, sizeof(target) - 1);
        if (n < 0)
            fail(strerror(errno), source);
        target[n] = '\0';
        add_link(name, target);
    }
}

static void add_tree(const char *name, const char *source)
{
    struct dirent **entries;
    int count = scandir(source, &entries, NULL, alphasort);
    if (count < 0)
        fail(strerror(errno), source);
    for (int i = 0; i < count; i++) {
        const char *leaf = entries[i]->d_name;
        char inner_name[PATH_MAX], inner_source[PATH_MAX];
        if (strcmp(leaf, ".") != 0 && strcmp(leaf, "..") != 0) {
            snprintf(inner_name, sizeof(inner_name), "%s/%s", name, leaf);
            snprintf(inner_source, sizeof(inner_source), "%s/%s", source, leaf);
            add_any(inner_name, inner_source);
        }
        free(entries[i]);
    }
    free(entries);
}

static void add_node(const char *name, uint32_t mode, char kind, uint32_t major, uint32_t minor)
{
    write_header(name, (kind == 'b' ? S_IFBLK : S_IFCHR) | (mode & 07777), 0, major, minor);
}

static bool add_line(char *line)
{
    char *word[7] = {0};
    int words = 0;
    for (char *w = strtok(line, " \t\n"); w && words < 7; w = strtok(NULL, " \t\n"))
        word[words++] = w;
    if (words == 0 || word[0][0] == '#')
        return true;
    if (words == 2 && strcmp(word[0], "omit") == 0) {
        append_name(&omitted, &omitted_count, word[1]);
        return true;
    }
    if (words < 3)
        return false;
    add_parents(word[1]);
    if (strcmp(word[0], "dir") == 0 && words == 3)
        add_dir(word[1], (uint32_t)strtoul(word[2], NULL, 8));
    else if (strcmp(word[0], "file") == 0 && words == 4)
        add_file(word[1], word[2], (uint32_t)strtoul(word[3], NULL, 8));
    else if (strcmp(word[0], "link") == 0 && words == 3)
        add_link(word[1], word[2]);
    else if (strcmp(word[0], "tree") == 0 && words == 3)
        add_any(word[1], word[2]);
    else if (strcmp(word[0], "nod") == 0 && words == 6)
        add_node(word[1], (uint32_t)strtoul(word[2], NULL, 8), word[3][0],
                 (uint32_t)strtoul(word[4], NULL, 10), (uint32_t)strtoul(word[5], NULL, 10));
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    char line[LINE_MAX_BYTES];
    if (argc > 2)
        fail("usage: mkcpio [LIST]", "arguments");
    if (argc == 2 && !freopen(argv[1], "r", stdin))
        fail(strerror(errno), argv[1]);
    for (int number = 1; fgets(line, sizeof(line), stdin); number++)
        if (!add_line(line)) {
            fprintf(stderr, "mkcpio: line %d is no entry\n", number);
            return 1;
        }
    write_header("TRAILER!!!", 0, 0, 0, 0);
    if (fflush(stdout) != 0)
        fail(strerror(errno), "output");
    return 0;
}
