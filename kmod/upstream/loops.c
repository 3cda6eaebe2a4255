// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the assembly of the series in a process: linked with copy_page_64.o and copy_mc_64.o as the kernel's build
 * made them. Contents, canaries on both sides, and for the machine-check-safe functions a source that can't be
 * read: the exception table which the kernel would consult is consulted by the handler of SIGSEGV, and the bytes
 * left must be exact.
 *
 * The alternatives of copy_page() are not patched here, so that it takes the way of a CPU without REP_GOOD.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096UL
#define PAGES 9UL

/* What the kernel's RET jumps to, and what copy_mc_fragile calls after a fault of a store, of which there are none. */
asm(".globl __x86_return_thunk\n__x86_return_thunk: ret\n");

unsigned long copy_mc_fragile_handle_tail(char *to, char *from, unsigned int len)
{
	(void)to, (void)from, (void)len;
	abort();
}

void copy_page(void *to, void *from);
void __copy_pages_unrolled(void *to, void *from);
unsigned long copy_mc_fragile(void *to, const void *from, unsigned int len);
unsigned long copy_mc_enhanced_fast_string(void *to, const void *from, unsigned long len);
unsigned long copy_mc_fast_string_qwords(void *to, const void *from, unsigned long len);

/* As copy_pages() calls it: the length is in %rcx, and only what is listed may be clobbered. */
static void copy_pages_unrolled(void *to, void *from, unsigned long len)
{
	asm volatile("call __copy_pages_unrolled"
		     : "+c" (len), "+D" (to), "+S" (from)
		     :
		     : "rax", "rdx", "r8", "r9", "r10", "r11", "cc", "memory");
}

static unsigned long fragile(void *to, const void *from, unsigned long len)
{
	return copy_mc_fragile(to, from, len);
}

static const struct {
	const char *name;
	unsigned long (*copy)(void *to, const void *from, unsigned long len);
} safe[] = {
	{ "copy_mc_fragile", fragile },
	{ "copy_mc_enhanced_fast_string", copy_mc_enhanced_fast_string },
	{ "copy_mc_fast_string_qwords", copy_mc_fast_string_qwords },
};

/* arch/x86/include/asm/extable.h */
struct exception_table_entry {
	int32_t insn, fixup, data;
};

extern const struct exception_table_entry __start___ex_table[], __stop___ex_table[];

#define EX_TYPE_DEFAULT_MCE_SAFE 14

static volatile int faults;

static void handle(int signal, siginfo_t *info, void *context)
{
	greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)signal, (void)info;
	for (const struct exception_table_entry *e = __start___ex_table; e < __stop___ex_table; e++) {
		if ((uintptr_t)&e->insn + e->insn != (uintptr_t)*rip)
			continue;
		if ((e->data & 0xff) != EX_TYPE_DEFAULT_MCE_SAFE)
			break;
		*rip = (uintptr_t)&e->fixup + e->fixup;
		faults++;
		return;
	}
	/* Not in the table: fault again, and die of it. */
	sigaction(SIGSEGV, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

static unsigned char *map(unsigned long pages)
{
	unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static void check(int good, const char *name, unsigned long pages, unsigned long at)
{
	if (good)
		return;
	fprintf(stderr, "%s: wrong, %lu pages, byte %lu\n", name, pages, at);
	exit(1);
}

/* The canary pages stand, and the first bytes of what lies between them are the source's. */
static void verify(const char *name, const unsigned char *to, const unsigned char *from, unsigned long pages,
		   unsigned long bytes)
{
	for (unsigned long i = 0; i < PAGE; i++)
		check(to[i] == 0xcc && to[(pages + 1) * PAGE + i] == 0xcc, name, pages, i);
	check(!memcmp(to + PAGE, from, bytes), name, pages, bytes);
}

int main(void)
{
	unsigned char *from = map(PAGES), *to = map(PAGES + 2);

	sigaction(SIGSEGV, &(struct sigaction){ .sa_sigaction = handle, .sa_flags = SA_SIGINFO }, NULL);
	for (unsigned long i = 0; i < PAGES * PAGE; i++)
		from[i] = (i * 2654435761u) >> 13;

	memset(to, 0xcc, (PAGES + 2) * PAGE);
	copy_page(to + PAGE, from);
	verify("copy_page", to, from, 1, PAGE);

	for (unsigned long pages = 1; pages <= PAGES; pages++) {
		memset(to, 0xcc, (PAGES + 2) * PAGE);
		copy_pages_unrolled(to + PAGE, from, pages * PAGE);
		verify("__copy_pages_unrolled", to, from, pages, pages * PAGE);
		for (unsigned long f = 0; f < sizeof(safe) / sizeof(*safe); f++) {
			memset(to, 0xcc, (PAGES + 2) * PAGE);
			check(safe[f].copy(to + PAGE, from, pages * PAGE) == 0, safe[f].name, pages, 0);
			verify(safe[f].name, to, from, pages, pages * PAGE);
		}
	}

	/* Every page of the range in turn can't be read. */
	for (unsigned long bad = 0; bad < PAGES; bad++) {
		mprotect(from + bad * PAGE, PAGE, PROT_NONE);
		for (unsigned long f = 0; f < sizeof(safe) / sizeof(*safe); f++) {
			unsigned long left;

			memset(to, 0xcc, (PAGES + 2) * PAGE);
			faults = 0;
			left = safe[f].copy(to + PAGE, from, PAGES * PAGE);
			check(faults == 1 && left == (PAGES - bad) * PAGE, safe[f].name, PAGES, bad * PAGE);
			verify(safe[f].name, to, from, PAGES, bad * PAGE);
		}
		mprotect(from + bad * PAGE, PAGE, PROT_READ | PROT_WRITE);
	}
	puts("the assembly of the series copies, and stops where it can't read");
	return 0;
}
