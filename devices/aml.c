/* SPDX-License-Identifier: MIT */
/* aml.c: AML constructs -> bytes. */
#include "devices/aml.h"

#include <string.h>

enum opcode {
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_LOCAL0 = 0x60,
    OP_ARG0 = 0x68,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_OR = 0x7d,
    OP_DWORD_FIELD = 0x8a,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    EXT_REGION = 0x80,
    EXT_FIELD = 0x81,
    EXT_DEVICE = 0x82,
    EXT_PROCESSOR = 0x83,
};

#define METHOD_SERIALIZED 0x08
#define SPACE_PCI_CONFIG  2
#define FIELD_BYTE_ACCESS 1 /* no lock, preserve */
#define BUFFER_SIZE_BYTES 3 /* a word constant, patched when the template ends */

void aml_bytes(struct aml *a, const void *bytes, size_t n)
{
    if (a->full || n > a->size - a->len) {
        a->full = true;
        return;
    }
    memcpy(a->buf + a->len, bytes, n);
    a->len += n;
}

void aml_byte(struct aml *a, uint8_t byte)
{
    aml_bytes(a, &byte, 1);
}

void aml_le(struct aml *a, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        aml_byte(a, (uint8_t)(value >> (8 * i)));
}

/* --- blocks --- */

static size_t begin(struct aml *a, uint8_t opcode)
{
    aml_byte(a, opcode);
    return a->len;
}

static size_t begin_ext(struct aml *a, uint8_t opcode)
{
    aml_byte(a, OP_EXT);
    return begin(a, opcode);
}

/* PkgLength counts itself: one byte holds 6 bits; else 4 bits and 8 in each further byte. */
static unsigned package_length(uint8_t out[4], size_t body)
{
    if (body + 1 < 0x40) {
        out[0] = (uint8_t)(body + 1);
        return 1;
    }
    unsigned more = body + 2 < 0x1000 ? 1 : body + 3 < 0x100000 ? 2 : 3;
    size_t length = body + 1 + more;
    out[0] = (uint8_t)(more << 6 | (length & 15));
    for (unsigned i = 0; i < more; i++)
        out[1 + i] = (uint8_t)(length >> (4 + 8 * i));
    return 1 + more;
}

void aml_end(struct aml *a, size_t mark)
{
    uint8_t length[4];
    size_t body = a->len - mark;
    unsigned n = package_length(length, body);
    if (a->full || n > a->size - a->len) {
        a->full = true;
        return;
    }
    memmove(a->buf + mark + n, a->buf + mark, body);
    memcpy(a->buf + mark, length, n);
    a->len += n;
}

/* --- names and data --- */

static void segment(struct aml *a, const char **path)
{
    for (unsigned i = 0; i < 4; i++) {
        bool here = **path && **path != '.';
        aml_byte(a, here ? (uint8_t) * *path : '_');
        *path += here;
    }
    if (**path == '.')
        ++*path;
}

void aml_path(struct aml *a, const char *path)
{
    uint8_t segments = 1;
    if (*path == '\\') {
        aml_byte(a, '\\');
        path++;
    }
    for (const char *p = path; *p; p++)
        segments += *p == '.';
    if (segments == 2)
        aml_byte(a, OP_DUAL_NAME);
    if (segments > 2) {
        aml_byte(a, OP_MULTI_NAME);
        aml_byte(a, segments);
    }
    while (segments--)
        segment(a, &path);
}

void aml_integer(struct aml *a, uint32_t value)
{
    if (value <= 1) {
        aml_byte(a, (uint8_t)value); /* ZeroOp, OneOp */
        return;
    }
    unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
    aml_byte(a, size == 1 ? OP_BYTE : size == 2 ? OP_WORD : OP_DWORD);
    aml_le(a, value, size);
}

static unsigned hex_digit(char c)
{
    return c >= 'A' ? (unsigned)(c - 'A' + 10) : (unsigned)(c - '0');
}

/* Three letters of 5 bits and four digits of 4, stored with the most significant byte first. */
void aml_eisa_id(struct aml *a, const char *id)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] & 0x1f);
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    aml_byte(a, OP_DWORD);
    aml_le(a, __builtin_bswap32(value), 4);
}

void aml_name(struct aml *a, const char *path)
{
    aml_byte(a, OP_NAME);
    aml_path(a, path);
}

size_t aml_scope_begin(struct aml *a, const char *path)
{
    size_t mark = begin(a, OP_SCOPE);
    aml_path(a, path);
    return mark;
}

size_t aml_device_begin(struct aml *a, const char *name)
{
    size_t mark = begin_ext(a, EXT_DEVICE);
    aml_path(a, name);
    return mark;
}

size_t aml_method_begin(struct aml *a, const char *name, unsigned arguments, bool serialized)
{
    size_t mark = begin(a, OP_METHOD);
    aml_path(a, name);
    aml_byte(a, (uint8_t)(arguments | (serialized ? METHOD_SERIALIZED : 0)));
    return mark;
}

size_t aml_package_begin(struct aml *a, unsigned elements)
{
    size_t mark = begin(a, OP_PACKAGE);
    aml_byte(a, (uint8_t)elements);
    return mark;
}

void aml_processor(struct aml *a, const char *name, uint8_t id)
{
    size_t mark = begin_ext(a, EXT_PROCESSOR);
    aml_path(a, name);
    aml_byte(a, id);
    aml_le(a, 0, 4); /* no P_BLK */
    aml_byte(a, 0);
    aml_end(a, mark);
}

void aml_pci_config_bytes(struct aml *a, const char *region, uint8_t offset,
                          const char *const *fields, unsigned count)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, EXT_REGION);
    aml_path(a, region);
    aml_byte(a, SPACE_PCI_CONFIG);
    aml_integer(a, offset);
    aml_integer(a, count);
    size_t mark = begin_ext(a, EXT_FIELD);
    aml_path(a, region);
    aml_byte(a, FIELD_BYTE_ACCESS);
    for (unsigned i = 0; i < count; i++) {
        aml_path(a, fields[i]);
        aml_byte(a, 8); /* bits, as a package length */
    }
    aml_end(a, mark);
}

/* --- statements --- */

void aml_local0(struct aml *a)
{
    aml_byte(a, OP_LOCAL0);
}

void aml_arg0(struct aml *a)
{
    aml_byte(a, OP_ARG0);
}

size_t aml_if_begin(struct aml *a)
{
    return begin(a, OP_IF);
}

void aml_return(struct aml *a)
{
    aml_byte(a, OP_RETURN);
}

void aml_store(struct aml *a)
{
    aml_byte(a, OP_STORE);
}

void aml_and(struct aml *a)
{
    aml_byte(a, OP_AND);
}

void aml_or(struct aml *a)
{
    aml_byte(a, OP_OR);
}

void aml_no_target(struct aml *a)
{
    aml_byte(a, 0);
}

void aml_dword_field(struct aml *a)
{
    aml_byte(a, OP_DWORD_FIELD);
}

/* --- resources --- */

size_t aml_resources_begin(struct aml *a)
{
    size_t mark = begin(a, OP_BUFFER);
    aml_byte(a, OP_WORD);
    aml_le(a, 0, 2);
    return mark;
}

void aml_resources_end(struct aml *a, size_t mark)
{
    aml_le(a, 0x0079, 2); /* end tag; a checksum of 0 is not checked */
    if (a->full)
        return;
    size_t body = a->len - mark - BUFFER_SIZE_BYTES;
    a->buf[mark + 1] = (uint8_t)body;
    a->buf[mark + 2] = (uint8_t)(body >> 8);
    aml_end(a, mark);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t length)
{
    aml_byte(a, 0x47);
    aml_byte(a, 1); /* decodes 16 bits */
    aml_le(a, base, 2);
    aml_le(a, base, 2);
    aml_byte(a, 1);
    aml_byte(a, length);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
    aml_byte(a, 0x22); /* edge, active high, exclusive */
    aml_le(a, 1u << irq, 2);
}

void aml_res_interrupts(struct aml *a, const uint32_t *irqs, uint8_t count)
{
    aml_byte(a, 0x89);
    aml_le(a, 2u + 4u * count, 2);
    aml_byte(a, 0x09); /* consumer, level, active high, shared */
    aml_byte(a, count);
    for (unsigned i = 0; i < count; i++)
        aml_le(a, irqs[i], 4);
}

void aml_res_memory_fixed(struct aml *a, uint32_t base, uint32_t size)
{
    aml_byte(a, 0x86);
    aml_le(a, 9, 2);
    aml_byte(a, 0);
    aml_le(a, base, 4);
    aml_le(a, size, 4);
}

/* An address-space descriptor: producer, positive decode, both ends fixed. */
static void window(struct aml *a, uint8_t tag, uint8_t type, uint8_t flags, uint64_t first,
                   uint64_t last, unsigned size)
{
    aml_byte(a, tag);
    aml_le(a, 3 + 5 * size, 2);
    aml_byte(a, type);
    aml_byte(a, 0x0c);
    aml_byte(a, flags);
    aml_le(a, 0, size); /* granularity */
    aml_le(a, first, size);
    aml_le(a, last, size);
    aml_le(a, 0, size); /* translation */
    aml_le(a, last - first + 1, size);
}

void aml_res_bus_numbers(struct aml *a, uint16_t first, uint16_t last)
{
    window(a, 0x88, 2, 0, first, last, 2);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
    window(a, 0x88, 1, 0x03, first, last, 2); /* entire range, ISA and not */
}

void aml_res_memory_window(struct aml *a, uint32_t first, uint32_t last, bool cacheable)
{
    window(a, 0x87, 0, cacheable ? 0x03 : 0x01, first, last, 4); /* read-write */
}
