/* SPDX-License-Identifier: MIT */
/* switch_offsets.h: places in struct vcpu that switch.S relies on; bt.c asserts each. */
#ifndef RINGDOWN_RUNTIME_SWITCH_OFFSETS_H
#define RINGDOWN_RUNTIME_SWITCH_OFFSETS_H

#define VCPU_GPR         0
#define VCPU_EIP         32
#define VCPU_EXIT_ID     52
#define VCPU_EXIT_EIP    56
#define VCPU_HOST_FLAGS  64
#define VCPU_MONITOR_RSP 72
#define VCPU_RETURN_SP   80
#define VCPU_JUMP_CACHE  88
#define VCPU_VIEW        104
#define VCPU_REQUEST     672
#define VCPU_XMM         320

#endif
