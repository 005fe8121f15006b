/* SPDX-License-Identifier: MIT */
/* rtc.c: guest time -> MC146818 calendar, its three interrupts and CMOS memory.
 *
 * The calendar is a function of guest time: `seconds` is the UNIX time that the last change gave it
 * at `origin`, the guest time at which the divider chain began a second. While register B's SET bit
 * or register A's divider reset stops it, the ten time registers in cmos[] hold still instead. The
 * flags of register C are brought up to date when somebody looks; timers are armed only for
 * interrupts that are enabled. The request stays up until C is read, so missed periods are one
 * interrupt. Reference: Motorola MC146818A datasheet. */
#include "devices/rtc.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S  1000000000ull
#define CMOS_SIZE 128
#define UIP_NS    2228000u /* 244 us of warning and 1984 us of update before the new second shows */
#define OSC_HZ    32768u
#define DAY       86400
#define HALF_NS   500000000u /* the first update after a divider reset */

enum {
    R_SEC,
    R_SEC_ALARM,
    R_MIN,
    R_MIN_ALARM,
    R_HOUR,
    R_HOUR_ALARM,
    R_WDAY,
    R_MDAY,
    R_MONTH,
    R_YEAR,
    R_A,
    R_B,
    R_C,
    R_D,
    R_CENTURY = 0x32
};

#define A_UIP       0x80
#define A_DV_RESET  0x60 /* both bits: the divider chain is held in reset */
#define A_DEFAULT   0x26 /* 32.768 kHz, 1024 Hz periodic rate */
#define B_SET       0x80
#define B_BINARY    0x04
#define B_24H       0x02
#define FLAG_IRQ    0x80
#define FLAG_PERIOD 0x40 /* the same bits enable in B and flag in C */
#define FLAG_ALARM  0x20
#define FLAG_UPDATE 0x10
#define FLAGS       0x70
#define D_VALID     0x80
#define HOUR_PM     0x80

struct rtc {
    struct bus *bus;
    struct clock *clock;
    struct irq_line irq, alarm;
    struct timer *timer;
    uint8_t index;
    uint8_t cmos[CMOS_SIZE];
    int64_t seconds;
    uint64_t origin;  /* may wrap below zero: only differences count */
    uint64_t checked; /* seconds since origin whose update and alarm C has seen */
    uint64_t periods; /* likewise, periodic ticks */
};

/* --- calendar --- */

struct date {
    int64_t year;
    unsigned month, day; /* from 1 */
};

/* Gregorian date of a day number (0: 1970-01-01), by eras of 400 years that begin in March. */
static struct date date_of_day(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned in_era = (unsigned)(days - era * 146097);
    unsigned year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * year + year / 4 - year / 100);
    unsigned shifted = (5 * in_year + 2) / 153; /* months since March */
    unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
    return (struct date){(int64_t)year + era * 400 + (month <= 2), month,
                         in_year - (153 * shifted + 2) / 5 + 1};
}

static int64_t day_of_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned in_era_year = (unsigned)(year - era * 400);
    unsigned in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned in_era = in_era_year * 365 + in_era_year / 4 - in_era_year / 100 + in_year;
    return era * 146097 + (int64_t)in_era - 719468;
}

static uint8_t encode(const struct rtc *r, unsigned n)
{
    return (uint8_t)(r->cmos[R_B] & B_BINARY ? n : n / 10 << 4 | n % 10);
}

static unsigned decode(const struct rtc *r, uint8_t n)
{
    return r->cmos[R_B] & B_BINARY ? n : (n >> 4) * 10u + (n & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
    if (r->cmos[R_B] & B_24H)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t value)
{
    if (r->cmos[R_B] & B_24H)
        return decode(r, value);
    unsigned hour = decode(r, value & 0x7f) % 12;
    return value & HOUR_PM ? hour + 12 : hour;
}

static bool running(const struct rtc *r)
{
    return !(r->cmos[R_B] & B_SET) && (r->cmos[R_A] & A_DV_RESET) != A_DV_RESET;
}

static uint64_t since_origin(const struct rtc *r)
{
    return clock_now(r->clock) - r->origin;
}

static void registers_from_time(struct rtc *r)
{
    int64_t now = r->seconds + (int64_t)(since_origin(r) / NS_PER_S);
    int64_t day = now / DAY - (now % DAY < 0);
    unsigned second = (unsigned)(now - day * DAY);
    struct date d = date_of_day(day);
    unsigned year = (unsigned)(d.year % 10000);
    r->cmos[R_SEC] = encode(r, second % 60);
    r->cmos[R_MIN] = encode(r, second / 60 % 60);
    r->cmos[R_HOUR] = encode_hour(r, second / 3600);
    r->cmos[R_WDAY] = (uint8_t)(((day + 4) % 7 + 7) % 7 + 1);
    r->cmos[R_MDAY] = encode(r, d.day);
    r->cmos[R_MONTH] = encode(r, d.month);
    r->cmos[R_YEAR] = encode(r, year % 100);
    r->cmos[R_CENTURY] = encode(r, year / 100);
}

/* The day of the week is not independent here. Values out of range count on from the month's end.
 */
static void time_from_registers(struct rtc *r)
{
    unsigned month = decode(r, r->cmos[R_MONTH]);
    month = month < 1 ? 1 : month > 12 ? 12 : month;
    unsigned day = decode(r, r->cmos[R_MDAY]);
    int64_t year = decode(r, r->cmos[R_CENTURY]) * 100 + decode(r, r->cmos[R_YEAR]);
    int64_t second = decode_hour(r, r->cmos[R_HOUR]) * 3600 + decode(r, r->cmos[R_MIN]) * 60 +
                     decode(r, r->cmos[R_SEC]);
    uint64_t past = since_origin(r) / NS_PER_S;
    r->seconds = day_of_date(year, month, day) * DAY + second - (int64_t)past;
}

/* --- flags and interrupts --- */

static uint64_t oscillator(const struct rtc *r)
{
    return (uint64_t)((unsigned __int128)since_origin(r) * OSC_HZ / NS_PER_S);
}

/* Oscillator ticks between periodic flags, 0 for none. */
static unsigned period(const struct rtc *r)
{
    unsigned rate = r->cmos[R_A] & 15;
    if (!rate || (r->cmos[R_A] & A_DV_RESET) == A_DV_RESET)
        return 0;
    return rate <= 2 ? 1u << (rate + 6) : 1u << (rate - 1);
}

static bool alarm_field(const struct rtc *r, uint8_t alarm, unsigned value, bool hour)
{
    if (alarm >= 0xc0)
        return true;
    return (hour ? decode_hour(r, alarm) : decode(r, alarm)) == value;
}

static bool alarm_at(const struct rtc *r, int64_t now)
{
    unsigned second = (unsigned)((now % DAY + DAY) % DAY);
    return alarm_field(r, r->cmos[R_SEC_ALARM], second % 60, false) &&
           alarm_field(r, r->cmos[R_MIN_ALARM], second / 60 % 60, false) &&
           alarm_field(r, r->cmos[R_HOUR_ALARM], second / 3600, true);
}

static void update_irq(struct rtc *r)
{
    bool request = r->cmos[R_C] & r->cmos[R_B] & FLAGS;
    r->cmos[R_C] = (r->cmos[R_C] & FLAGS) | (request ? FLAG_IRQ : 0);
    irq_set(&r->irq, request);
    irq_set(&r->alarm, !!(r->cmos[R_C] & r->cmos[R_B] & FLAG_ALARM));
}

/* Sets the flags for what has happened since the last look. */
static void sync_flags(struct rtc *r)
{
    uint64_t second = since_origin(r) / NS_PER_S;
    if (running(r) && second > r->checked) {
        r->cmos[R_C] |= FLAG_UPDATE;
        uint64_t first = second - r->checked > DAY ? second - DAY : r->checked;
        for (uint64_t s = first + 1; s <= second && !(r->cmos[R_C] & FLAG_ALARM); s++)
            if (alarm_at(r, r->seconds + (int64_t)s))
                r->cmos[R_C] |= FLAG_ALARM;
    }
    r->checked = second;
    unsigned every = period(r);
    uint64_t periods = every ? oscillator(r) / every : 0;
    if (periods > r->periods)
        r->cmos[R_C] |= FLAG_PERIOD;
    r->periods = periods;
}

static void arm(struct rtc *r)
{
    uint64_t deadline = UINT64_MAX;
    uint8_t wanted = r->cmos[R_B] & (uint8_t)~r->cmos[R_C] & FLAGS; /* a flag that is up waits */
    if ((wanted & (FLAG_UPDATE | FLAG_ALARM)) && running(r))
        deadline = r->origin + (r->checked + 1) * NS_PER_S;
    unsigned every = period(r);
    if ((wanted & FLAG_PERIOD) && every) {
        unsigned __int128 tick = (unsigned __int128)(r->periods + 1) * every;
        uint64_t at = r->origin + (uint64_t)((tick * NS_PER_S + OSC_HZ - 1) / OSC_HZ);
        deadline = at < deadline ? at : deadline;
    }
    if (deadline == UINT64_MAX)
        timer_disarm(r->timer);
    else
        timer_arm(r->timer, deadline);
}

static void refresh(struct rtc *r)
{
    sync_flags(r);
    update_irq(r);
    arm(r);
}

static void expired(void *opaque)
{
    refresh(opaque);
}

/* --- registers --- */

static bool is_time(unsigned index)
{
    return index == R_CENTURY || (index <= R_YEAR && index != R_SEC_ALARM && index != R_MIN_ALARM &&
                                  index != R_HOUR_ALARM);
}

/* Starts or stops the calendar as A and B change. */
static void write_control(struct rtc *r, unsigned index, uint8_t value)
{
    bool was_running = running(r);
    bool was_reset = (r->cmos[R_A] & A_DV_RESET) == A_DV_RESET;
    sync_flags(r);
    if (was_running)
        registers_from_time(r);
    if (index == R_A)
        r->cmos[R_A] = value & (uint8_t)~A_UIP;
    else
        r->cmos[R_B] = value & B_SET ? value & (uint8_t)~FLAG_UPDATE : value;
    if (was_reset && (r->cmos[R_A] & A_DV_RESET) != A_DV_RESET)
        r->origin = clock_now(r->clock) - HALF_NS;
    /* A switch of format changes how time is shown, not the time; the registers of a stopped clock
     * are the guest's to rewrite. */
    if (!was_running && running(r))
        time_from_registers(r);
    r->checked = since_origin(r) / NS_PER_S;
    r->periods = period(r) ? oscillator(r) / period(r) : 0;
    refresh(r);
}

static uint8_t read_a(const struct rtc *r)
{
    bool uip = running(r) && since_origin(r) % NS_PER_S >= NS_PER_S - UIP_NS;
    return r->cmos[R_A] | (uip ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *r)
{
    sync_flags(r);
    update_irq(r);
    uint8_t value = r->cmos[R_C];
    r->cmos[R_C] = 0;
    refresh(r);
    return value;
}

static uint32_t rtc_read(void *dev, uint32_t off, unsigned size)
{
    struct rtc *r = dev;
    (void)size;
    if (off == 0)
        return 0xff; /* the index is write-only */
    if (is_time(r->index) && running(r))
        registers_from_time(r);
    switch (r->index) {
    case R_A:
        return read_a(r);
    case R_C:
        return read_c(r);
    default:
        return r->cmos[r->index];
    }
}

static void rtc_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct rtc *r = dev;
    (void)size;
    if (off == 0) {
        r->index = value & 0x7f; /* bit 7 masks NMI */
        return;
    }
    switch (r->index) {
    case R_A:
    case R_B:
        write_control(r, r->index, (uint8_t)value);
        return;
    case R_C:
    case R_D:
        return;
    }
    if (is_time(r->index) && running(r)) {
        sync_flags(r);
        registers_from_time(r);
        r->cmos[r->index] = (uint8_t)value;
        time_from_registers(r);
    } else {
        sync_flags(r); /* alarms: what was before the change counts by the old value */
        r->cmos[r->index] = (uint8_t)value;
    }
    refresh(r);
}

static const struct io_ops rtc_ops = {rtc_read, rtc_write, 1};

/* --- for firmware and machine setup --- */

uint8_t rtc_get_cmos(const struct rtc *r, unsigned index)
{
    return index < CMOS_SIZE ? r->cmos[index] : 0xff;
}

void rtc_set_cmos(struct rtc *r, unsigned index, uint8_t value)
{
    if (index > R_D && index < CMOS_SIZE && index != R_CENTURY)
        r->cmos[index] = value;
}

static void set_word(struct rtc *r, unsigned index, uint64_t value)
{
    uint16_t word = value > 0xffff ? 0xffff : (uint16_t)value;
    r->cmos[index] = word & 0xff;
    r->cmos[index + 1] = word >> 8;
}

void rtc_set_memory(struct rtc *r, uint64_t below_4g, uint64_t above_4g)
{
    const uint64_t mib = 1u << 20;
    uint64_t extended = below_4g > mib ? (below_4g - mib) >> 10 : 0;
    set_word(r, 0x15, below_4g < 640u << 10 ? below_4g >> 10 : 640);
    set_word(r, 0x17, extended);
    set_word(r, 0x30, extended);
    set_word(r, 0x34, below_4g > 16 * mib ? (below_4g - 16 * mib) >> 16 : 0);
    set_word(r, 0x5b, above_4g >> 16);
    r->cmos[0x5d] = (uint8_t)(above_4g >> 32);
}

static void set_time(struct rtc *r, int64_t seconds, uint64_t nanoseconds)
{
    r->origin = clock_now(r->clock) - nanoseconds;
    r->seconds = seconds;
    r->checked = 0;
    r->periods = period(r) ? oscillator(r) / period(r) : 0;
    r->cmos[R_C] = 0;
    registers_from_time(r);
    refresh(r);
}

void rtc_set_time(struct rtc *r, int64_t unix_seconds)
{
    set_time(r, unix_seconds, 0);
}

/* --- life --- */

void rtc_reset(struct rtc *r)
{
    r->cmos[R_B] &= (uint8_t) ~(FLAGS | 0x08);
    r->cmos[R_C] = 0;
    r->index = 0;
    refresh(r);
}

struct rtc *rtc_create(struct bus *bus, struct clock *clock, struct irq_line irq8,
                       struct irq_line alarm)
{
    struct rtc *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->bus = bus;
    r->clock = clock;
    r->irq = irq8;
    r->alarm = alarm;
    r->timer = timer_create_on(clock, expired, r);
    if (!r->timer || bus_map_port(bus, 0x70, 2, &rtc_ops, r)) {
        timer_destroy(r->timer);
        free(r);
        return NULL;
    }
    r->cmos[R_A] = A_DEFAULT;
    r->cmos[R_B] = B_24H;
    r->cmos[R_D] = D_VALID;
    r->cmos[0x14] = 0x02; /* equipment: a coprocessor */
    struct timespec host;
    clock_gettime(CLOCK_REALTIME, &host);
    set_time(r, host.tv_sec, (uint64_t)host.tv_nsec);
    return r;
}

void rtc_destroy(struct rtc *r)
{
    if (!r)
        return;
    bus_unmap_port(r->bus, 0x70, 2);
    timer_destroy(r->timer);
    free(r);
}
