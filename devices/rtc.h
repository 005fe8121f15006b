/* SPDX-License-Identifier: MIT */
/* rtc.h: MC146818 real-time clock and the 128 bytes of CMOS memory behind ports 0x70 and 0x71. */
#ifndef RINGDOWN_DEVICES_RTC_H
#define RINGDOWN_DEVICES_RTC_H

#include "devices/device.h"

struct rtc;
/* Starts at the host's wall-clock time, UTC, and follows `clock` from then on. */
struct rtc *rtc_create(struct bus *bus, struct clock *clock, struct irq_line irq8,
                       struct irq_line alarm);
void rtc_destroy(struct rtc *r);
void rtc_reset(struct rtc *r);
void rtc_set_time(struct rtc *r, int64_t unix_seconds);
/* The memory-size bytes (0x15-0x18, 0x30-0x31, 0x34-0x35, 0x5b-0x5d) from RAM below and above 4
 * GiB. */
void rtc_set_memory(struct rtc *r, uint64_t below_4g, uint64_t above_4g);
/* CMOS bytes as firmware and machine setup see them; time registers (0-0xd) are not reached. */
uint8_t rtc_get_cmos(const struct rtc *r, unsigned index);
void rtc_set_cmos(struct rtc *r, unsigned index, uint8_t value);

#endif
