// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU as this kernel sees it. It asks boot_cpu_has() and not CPUID: features count as missing if the command line
 * (clearcpuid=), the firmware (fast strings turned off) or a quirk of the kernel removed them.
 */
#include <linux/cpufeature.h>
#include <linux/mutex.h>
#include "internal.h"

static u32 vendor(void)
{
	switch (boot_cpu_data.x86_vendor) {
	case X86_VENDOR_INTEL:
		return FOLIOCOPY_VENDOR_INTEL;
	case X86_VENDOR_AMD:
		return FOLIOCOPY_VENDOR_AMD;
	case X86_VENDOR_HYGON:
		return FOLIOCOPY_VENDOR_HYGON;
	case X86_VENDOR_CENTAUR:
		return FOLIOCOPY_VENDOR_CENTAUR;
	case X86_VENDOR_ZHAOXIN:
		return FOLIOCOPY_VENDOR_ZHAOXIN;
	default:
		return FOLIOCOPY_VENDOR_OTHER;
	}
}

/*
 * Runs once, called by the first of these: a parameter on the command line, the module's init, or a write to a parameter
 * before that init.
 */
void foliocopy_cpu_init(void)
{
	static DEFINE_MUTEX(lock);
	static bool done;
	struct foliocopy_cpu cpu = {
		.vendor = vendor(),
		.family = boot_cpu_data.x86,
		.model = boot_cpu_data.x86_model,
		.stepping = boot_cpu_data.x86_stepping,
	};

	mutex_lock(&lock);
	if (done)
		goto unlock;
	if (boot_cpu_has(X86_FEATURE_ERMS))
		cpu.features |= FOLIOCOPY_ERMS;
	if (boot_cpu_has(X86_FEATURE_FSRM))
		cpu.features |= FOLIOCOPY_FSRM;
	if (boot_cpu_has(X86_FEATURE_REP_GOOD))
		cpu.features |= FOLIOCOPY_REP_GOOD;
	if (boot_cpu_has(X86_FEATURE_MOVDIR64B))
		cpu.features |= FOLIOCOPY_MOVDIR64B;
	/* A glance at the source reads the counter. */
	if (boot_cpu_has(X86_FEATURE_TSC))
		cpu.features |= FOLIOCOPY_TSC;
	foliocopy_engine_init(&cpu);
	done = true;
unlock:
	mutex_unlock(&lock);
}
