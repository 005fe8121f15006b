/* SPDX-License-Identifier: MIT */
/* block.h: what the code cache holds: translated blocks, the pages they came from, and their exits.
 *
 * A block is a straight run of guest instructions with one entry; it may leave through several
 * direct exits (taken conditional branches, its end). Ownership and life: blocks, exit records and
 * instruction maps live in arenas of the cache and die together at a full flush; an invalidated
 * block stays in its arena, unreachable, until then. When that may be: docs/design.md, "Who may
 * hold what". */
#ifndef RINGDOWN_TRANSLATOR_BLOCK_H
#define RINGDOWN_TRANSLATOR_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Guest code is looked up per privilege space: user code is that of the current address space. */
enum space { SPACE_SUPERVISOR, SPACE_USER, SPACE_COUNT };

struct block;
struct insn;

/* A guest page that holds translated code: one linear page backed by one frame in one space. At
 * most one page of a linear address is active in its space: the one that the guest's tables map
 * there now. Only blocks on active pages can be entered: deactivation unlinks every way in from
 * elsewhere. */
struct code_page {
    uint32_t la; /* linear address */
    uint32_t gfn;
    uint8_t space;
    bool active;
    bool global;             /* mapped by a global page: survives CR3 loads */
    uint8_t departures;      /* how often it has become inactive lately, see cache.c */
    uint64_t since;          /* time stamp of its becoming active */
    uint32_t foreign_writes; /* writes to the page that met no block */
    uint8_t idle_writes;     /* writes since its last block was dropped */
    struct block *blocks;    /* that start here, by block.page_next */
    struct block *spilled;   /* whose second page this is, by block.page2_next */
    struct code_page *hash_next, *gfn_next;
    uint32_t active_index; /* in the list of active pages of its space */
    uint32_t flag;         /* number of its word in the cache's table of inactive pages */
    uint64_t era;          /* cache_era() when it was made */
    /* A bit for each byte at which a translated instruction starts, in some mode and perhaps in a
     * block that has gone since: a hint that spares searches. */
    uint64_t starts[64];
    uint64_t soft[64]; /* likewise: instructions that are to be translated as soft */
};

enum exit_kind {
    EXIT_BRANCH,  /* direct branch not yet linked: find the target, link, go on */
    EXIT_CALLOUT, /* interpreter executes the instruction at `eip`; resumes at `resume` if nothing
                   * has changed, 0: look up by EIP */
};

/* An exit id that is no record: before the instruction at vcpu->hot.exit_eip, which has not been
 * executed. */
#define EXIT_ID_STOP 0xfffffffdu

/* Why and from where translated code came back; the id is its index. */
struct exit_record {
    uint8_t kind;
    bool linked;
    bool soft;         /* callout: of an instruction translated as soft */
    bool gated;        /* linked by way of a gate */
    bool is_call;      /* the branch is a host call */
    uint32_t eip;      /* branch: target; callout: the instruction's own address */
    uint32_t host;     /* branch: offset of the rel32; callout: offset to resume at */
    uint32_t stub;     /* branch: offset of the stub that the unlinked branch goes to */
    struct insn *insn; /* callout: the decoded instruction, NULL if it has to be fetched */
    struct block *from;
    struct block *to;                /* while linked */
    struct exit_record *next, *prev; /* in to->incoming */
};

/* From host offset (relative to the block) to the guest instruction there. */
struct insn_mark {
    uint16_t host;
    uint16_t guest : 12; /* bytes from the block's start */
    uint16_t flags : 4;
    int16_t esp; /* what the host's register lacks to the guest's ESP; not 0: no entry here */
};
enum {
    MARK_INSIDE = 1,  /* not the start of an instruction: no interrupt here */
    MARK_HELD = 2,    /* start of an instruction, but no interrupt may be taken here */
    MARK_RESTART = 4, /* inside, but all guest state is in its registers: REP under way */
};

/* A way into user code from elsewhere: looks whether the page is active in the address space that
 * runs now, then jumps to a place in its block. So a switch of address spaces writes a word a page
 * and patches no code. */
struct gate {
    uint32_t entry;      /* offset in code memory that it leads to */
    uint32_t host, size; /* its own */
    struct gate *next;
};

struct block {
    uint32_t eip;
    uint16_t mode; /* id, see mode.h */
    uint16_t guest_bytes, insn_count;
    bool valid;
    uint32_t host, host_body_end, host_end; /* offsets in code memory: body, then stubs */
    uint32_t marks, mark_count;             /* first mark in the arena of marks */
    uint32_t exits, exit_count;
    struct code_page *page, *page2; /* page2: of a first instruction that crosses, else NULL */
    /* Bytes elsewhere on `page` that its translation depends on: their offset in the page. */
    uint16_t peek, peek_bytes;
    uint64_t era; /* cache_era() when it was made */
    struct block *hash_next, *page_next, *page2_next;
    struct exit_record *incoming;
    struct gate *gates;
};

#endif
