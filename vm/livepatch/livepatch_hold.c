// SPDX-License-Identifier: GPL-2.0
/* The livepatch as it is, with a copy that waits for a machine check. */
#define FOLIOCOPY_HOLD
#include "livepatch.c"
