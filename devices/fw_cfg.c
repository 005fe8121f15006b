/* SPDX-License-Identifier: MIT */
/* fw_cfg.c: named items -> firmware, byte by byte or by DMA.
 *
 * An item is selected by a 16-bit key (bit 15: architecture's own, bits 13-0: index) and read from
 * its start; past its end it reads as zeros. The file directory is an item that is rebuilt as files
 * are added. By DMA a guest hands over the address of a descriptor {control, length, address}, all
 * big-endian; transfers go through a bounded buffer, and addresses that are not RAM end them with
 * the error bit. Nothing can be written. */
#include "devices/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_BASE 0x510
#define PORT_DMA  0x514
#define DMA_MAGIC 0x51454d5520434647ull /* "QEMU CFG" */
#define KEY_INDEX 0x3fff
#define KEY_LOCAL 0x8000
#define MAX_ITEMS 0x60
#define MAX_FILES (MAX_ITEMS - FW_CFG_FILE_FIRST)
#define NAME_SIZE 56
#define ID_PORTS  1u
#define ID_DMA    2u
#define CHUNK     4096u

enum dma_control { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

struct item {
    const uint8_t *data;
    uint8_t *owned; /* data, if it is ours to free */
    size_t size;
};

struct file {
    uint32_t size; /* big-endian, as the next */
    uint16_t key;
    uint16_t reserved;
    char name[NAME_SIZE];
};

struct directory {
    uint32_t count; /* big-endian */
    struct file files[MAX_FILES];
};
_Static_assert(sizeof(struct file) == 64, "the directory's layout is the guest's to see");

struct dma_descriptor {
    uint32_t control, length;
    uint64_t address;
};

struct fw_cfg {
    struct bus *bus;
    struct dma dma;
    struct item items[2][MAX_ITEMS];
    struct directory directory;
    unsigned files;
    uint16_t key;
    size_t offset; /* of the next byte in the selected item */
    uint32_t dma_high;
};

/* --- items --- */

static struct item *item_of(struct fw_cfg *f, uint16_t key)
{
    unsigned index = key & KEY_INDEX;
    return index < MAX_ITEMS ? &f->items[key >> 15][index] : NULL;
}

static int put_item(struct fw_cfg *f, uint16_t key, const uint8_t *data, uint8_t *owned,
                    size_t size)
{
    struct item *item = key & ~(KEY_INDEX | KEY_LOCAL) ? NULL : item_of(f, key);
    if (!item) {
        free(owned);
        return -EINVAL;
    }
    free(item->owned);
    *item = (struct item){data, owned, size};
    return 0;
}

int fw_cfg_borrow(struct fw_cfg *f, uint16_t key, const void *data, size_t size)
{
    return put_item(f, key, data, NULL, size);
}

int fw_cfg_add(struct fw_cfg *f, uint16_t key, const void *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return -ENOMEM;
    if (size)
        memcpy(copy, data, size);
    return put_item(f, key, copy, copy, size);
}

int fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t value)
{
    value = htole16(value);
    return fw_cfg_add(f, key, &value, sizeof(value));
}

int fw_cfg_add_u32(struct fw_cfg *f, uint16_t key, uint32_t value)
{
    value = htole32(value);
    return fw_cfg_add(f, key, &value, sizeof(value));
}

int fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t value)
{
    value = htole64(value);
    return fw_cfg_add(f, key, &value, sizeof(value));
}

int fw_cfg_add_string(struct fw_cfg *f, uint16_t key, const char *s)
{
    return fw_cfg_add(f, key, s, strlen(s) + 1);
}

/* The directory item borrows the structure, whose present length is that of its files. */
static void publish_directory(struct fw_cfg *f)
{
    f->directory.count = htobe32(f->files);
    fw_cfg_borrow(f, FW_CFG_FILE_DIR, &f->directory,
                  offsetof(struct directory, files) + f->files * sizeof(struct file));
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t size)
{
    unsigned i = 0;
    if (strlen(name) >= NAME_SIZE || size > UINT32_MAX)
        return -EINVAL;
    while (i < f->files && strcmp(f->directory.files[i].name, name))
        i++;
    if (i == MAX_FILES)
        return -ENOSPC;
    uint16_t key = (uint16_t)(FW_CFG_FILE_FIRST + i);
    int error = fw_cfg_add(f, key, data, size);
    if (error)
        return error;
    struct file *file = &f->directory.files[i];
    *file = (struct file){.size = htobe32((uint32_t)size), .key = htobe16(key)};
    memcpy(file->name, name, strlen(name) + 1);
    if (i == f->files)
        f->files++;
    publish_directory(f);
    return 0;
}

/* --- reading --- */

static void select_item(struct fw_cfg *f, uint16_t key)
{
    f->key = key;
    f->offset = 0;
}

/* Up to n bytes of the selected item from the present place on. */
static size_t item_bytes(struct fw_cfg *f, const uint8_t **data, size_t n)
{
    const struct item *item = item_of(f, f->key);
    if (!item || f->offset >= item->size)
        return 0;
    *data = item->data + f->offset;
    return n < item->size - f->offset ? n : item->size - f->offset;
}

static uint8_t read_byte(struct fw_cfg *f)
{
    const uint8_t *data;
    if (!item_bytes(f, &data, 1))
        return 0;
    f->offset++;
    return *data;
}

/* --- DMA --- */

/* What an item has is sent from where it lies; what it lacks comes from a page of zeros. */
static bool dma_out(struct fw_cfg *f, uint64_t gpa, uint32_t length)
{
    static const uint8_t zeros[CHUNK];
    const uint8_t *data;
    size_t have = item_bytes(f, &data, length);
    if (have && !f->dma.write(f->dma.opaque, gpa, data, have))
        return false;
    f->offset += have;
    for (uint64_t done = have; done < length;) {
        size_t n = length - done < CHUNK ? (size_t)(length - done) : CHUNK;
        if (!f->dma.write(f->dma.opaque, gpa + done, zeros, n))
            return false;
        done += n;
    }
    return true;
}

static void dma_skip(struct fw_cfg *f, uint32_t length)
{
    const struct item *item = item_of(f, f->key);
    size_t left = item && item->size > f->offset ? item->size - f->offset : 0;
    f->offset += length < left ? length : left;
}

static void dma_run(struct fw_cfg *f, uint64_t gpa)
{
    struct dma_descriptor d;
    uint32_t result = 0;
    if (!f->dma.read || !f->dma.read(f->dma.opaque, gpa, &d, sizeof(d)))
        return;
    uint32_t control = be32toh(d.control), length = be32toh(d.length);
    if (control & DMA_SELECT)
        select_item(f, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        result = dma_out(f, be64toh(d.address), length) ? 0 : DMA_ERROR;
    else if (control & DMA_WRITE)
        result = DMA_ERROR;
    else if (control & DMA_SKIP)
        dma_skip(f, length);
    result = htobe32(result);
    f->dma.write(f->dma.opaque, gpa + offsetof(struct dma_descriptor, control), &result,
                 sizeof(result));
}

/* --- ports: selector at 0x510 (16 bits), data at 0x511 (8 bits), DMA address at 0x514 --- */

static uint32_t port_read(void *dev, uint32_t off, unsigned size)
{
    struct fw_cfg *f = dev;
    if (off == 1 && size == 1)
        return read_byte(f);
    return 0;
}

static void port_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    if (off == 0 && size == 2)
        select_item(dev, (uint16_t)value);
}

static uint32_t dma_read(void *dev, uint32_t off, unsigned size)
{
    uint64_t bytes = htobe64(DMA_MAGIC);
    (void)dev;
    (void)size;
    return (uint32_t)(bytes >> (8 * off));
}

static void dma_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct fw_cfg *f = dev;
    if (size != 4)
        return;
    if (off == 0) {
        f->dma_high = be32toh(value);
    } else if (off == 4) {
        uint64_t gpa = (uint64_t)f->dma_high << 32 | be32toh(value);
        f->dma_high = 0;
        dma_run(f, gpa);
    }
}

static const struct io_ops port_ops = {port_read, port_write, 2};
static const struct io_ops dma_ops = {dma_read, dma_write, 4};

/* --- life --- */

void fw_cfg_reset(struct fw_cfg *f)
{
    select_item(f, 0);
    f->dma_high = 0;
}

struct fw_cfg *fw_cfg_create(struct bus *bus, struct dma dma)
{
    struct fw_cfg *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->bus = bus;
    f->dma = dma;
    bool has_dma = dma.read && dma.write;
    if (fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4) ||
        fw_cfg_add_u32(f, FW_CFG_ID, ID_PORTS | (has_dma ? ID_DMA : 0)) ||
        bus_map_port(bus, PORT_BASE, 2, &port_ops, f) ||
        (has_dma && bus_map_port(bus, PORT_DMA, 8, &dma_ops, f))) {
        fw_cfg_destroy(f);
        return NULL;
    }
    publish_directory(f);
    return f;
}

void fw_cfg_destroy(struct fw_cfg *f)
{
    if (!f)
        return;
    bus_unmap_port(f->bus, PORT_BASE, 2);
    bus_unmap_port(f->bus, PORT_DMA, 8);
    for (unsigned i = 0; i < 2 * MAX_ITEMS; i++)
        free(f->items[i / MAX_ITEMS][i % MAX_ITEMS].owned);
    free(f);
}
