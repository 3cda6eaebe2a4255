/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The engine's interface for C, which kernel.rs implements. The engine allocates nothing, makes no indirect call and
 * can't panic.
 */
#ifndef FOLIOCOPY_ENGINE_H
#define FOLIOCOPY_ENGINE_H

#include <linux/types.h>

enum foliocopy_vendor {
	FOLIOCOPY_VENDOR_OTHER,
	FOLIOCOPY_VENDOR_INTEL,
	FOLIOCOPY_VENDOR_AMD,
	FOLIOCOPY_VENDOR_HYGON,
	FOLIOCOPY_VENDOR_CENTAUR,
	FOLIOCOPY_VENDOR_ZHAOXIN,
};

enum foliocopy_feature {
	FOLIOCOPY_ERMS		= 1 << 0,
	FOLIOCOPY_FSRM		= 1 << 1,
	FOLIOCOPY_REP_GOOD	= 1 << 2,
	FOLIOCOPY_MOVDIR64B	= 1 << 3,
	FOLIOCOPY_TSC		= 1 << 4,
};

struct foliocopy_cpu {
	u32 vendor;
	u32 family;
	u32 model;
	u32 stepping;
	u32 features;
};

enum foliocopy_locality {
	FOLIOCOPY_TEMPORAL,
	FOLIOCOPY_NON_TEMPORAL,
	FOLIOCOPY_AUTO,
};

/* How copies of pages are made. */
struct foliocopy_method {
	u32 locality;
	/* The index of a primitive for each locality; FOLIOCOPY_BY_POLICY leaves the choice to the policy. */
	s32 temporal;
	s32 non_temporal;
	/* Bytes between two yields. */
	size_t chunk_bytes;
};

#define FOLIOCOPY_BY_POLICY	(-1)

enum foliocopy_result {
	FOLIOCOPY_COPIED,
	FOLIOCOPY_HWPOISON,
	FOLIOCOPY_UNSUPPORTED,
};

/* Not terminated: print it with %.*s. */
struct foliocopy_text {
	const char *start;
	size_t bytes;
};

/* To be called before any other function. */
void foliocopy_engine_init(const struct foliocopy_cpu *cpu);

/* Why a table is refused, and in which band, counted from 0. */
struct foliocopy_refusal {
	size_t band;
	struct foliocopy_text reason;
};

/* Replaces the policy's table for a locality. To be called right after foliocopy_engine_init(). */
bool foliocopy_engine_set_table(u32 locality, const char *text, size_t bytes, struct foliocopy_refusal *refusal);

/* A line of a policy's table: its greatest length, SIZE_MAX in the last line, and its step. */
struct foliocopy_band {
	size_t up_to;
	/* Empty for a copy by one primitive; "glance" (near, far) or "first" (first page, rest) for a step that probes. */
	struct foliocopy_text kind;
	u32 one;
	u32 other;
	/* How many bytes ahead the last primitive prefetches. */
	u32 distance;
	struct foliocopy_text source;
};

/* The line at that index of the table of a named primitive, or of the policy's own; false past the last. */
bool foliocopy_engine_band(s32 primitive, u32 locality, size_t index, struct foliocopy_band *band);

/* The list of primitives: by name (-1 for an unknown name), by index (empty past the last). */
int foliocopy_engine_primitive(const char *name, size_t bytes);
struct foliocopy_text foliocopy_engine_primitive_name(u32 primitive);
bool foliocopy_engine_primitive_available(u32 primitive);

/* The folio layer. Each function returns the primitive that it used. */
u32 foliocopy_engine_copy_highpages(const struct foliocopy_method *method,
				    u64 to_pfn, u64 from_pfn, u64 nr_pages);
enum foliocopy_result foliocopy_engine_copy_mc_highpages(const struct foliocopy_method *method, u64 to_pfn,
							 u64 from_pfn, u64 nr_pages, u32 *primitive);

/*
 * Copies a folio of a batch. Only the end of the batch orders its stores before later ones. next_pfn is where the next
 * source starts, or FOLIOCOPY_NO_NEXT if there is none or a shorter one.
 */
#define FOLIOCOPY_NO_NEXT	U64_MAX
enum foliocopy_result foliocopy_engine_copy_mc_in_batch(const struct foliocopy_method *method, u64 to_pfn,
							u64 from_pfn, u64 nr_pages, u64 next_pfn, u32 *primitive);
void foliocopy_engine_end_batch(void);

/*
 * The primitives alone. They copy a multiple of 64 bytes between ranges that are aligned to 64 bytes, in one piece, with
 * a fence if the stores need it. The safe one returns the bytes that were not copied, counted from the end. *trap is
 * then 14 (#PF) or 18 (#MC).
 */
void foliocopy_engine_copy(s32 primitive, void *dst, const void *src, size_t bytes);
size_t foliocopy_engine_copy_mc(s32 primitive, void *dst, const void *src,
				size_t bytes, u32 *trap);

/* The folio layer over memory of the self-test (selftest.rs). */
enum foliocopy_test_style {
	FOLIOCOPY_TEST_MAPPED,
	FOLIOCOPY_TEST_HIGHMEM,
	FOLIOCOPY_TEST_ARCH_COPY_HIGHPAGE,
	FOLIOCOPY_TEST_BATCH,
};

struct foliocopy_test {
	void *dst;
	void *src;
	u64 nr_pages;
	size_t chunk_bytes;
	/* Results. */
	u64 failures;
	u64 failed_pfn;
	u64 yields;
	u64 metadata;
	u64 mapped;
	u64 by_architecture;
};

/* Whether this CPU can time a glance at a source, and how many cycles one takes: 0 where a load faulted. */
bool foliocopy_engine_can_glance(void);
u32 foliocopy_engine_glance(const void *src, size_t bytes);

enum foliocopy_result foliocopy_engine_test(s32 primitive, u32 style,
					    bool machine_check_safe, struct foliocopy_test *test);

#endif
