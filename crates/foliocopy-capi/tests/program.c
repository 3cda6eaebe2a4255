/*
 * A program in C that uses everything in foliocopy.h. Its argument names the part to run. It exits with 0
 * if all is as the header says.
 */
#define _GNU_SOURCE
#include <foliocopy.h>

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 16UL

#define CHECK(condition)                                                              \
	do {                                                                          \
		if (!(condition)) {                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                      \
		}                                                                     \
	} while (0)

/* Checks the code, and the text of the reason. */
#define REFUSED(call, code, text)                                                     \
	do {                                                                          \
		CHECK((call) == -(code));                                             \
		if (!strstr(foliocopy_last_error(), (text))) {                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,  \
				foliocopy_last_error());                              \
			exit(1);                                                      \
		}                                                                     \
	} while (0)

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const enum foliocopy_locality localities[] = {
	FOLIOCOPY_LOCALITY_TEMPORAL,
	FOLIOCOPY_LOCALITY_NON_TEMPORAL,
	FOLIOCOPY_LOCALITY_AUTO,
};

/* An invalid value, as from an int that a program has read. */
static const enum foliocopy_locality no_locality = (enum foliocopy_locality)7;

static unsigned char *pages(unsigned char first)
{
	unsigned char *start = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(start != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		memset(start + i * PAGE, (int)(first + i), PAGE);
	return start;
}

/* Replaces a page by one behind the end of its file. */
static void spoil(unsigned char *start, size_t index)
{
	int file = memfd_create("empty", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK(mmap(start + index * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) !=
	      MAP_FAILED);
	close(file);
}

static void copies(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	CHECK(foliocopy_copy_pages(dst, src, PAGES) == 0);
	CHECK(memcmp(dst, src, PAGES * PAGE) == 0);

	for (size_t i = 0; i < LENGTH(localities); i++) {
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_pages_locality(dst, src, PAGES - 1, localities[i]) == 0);
		CHECK(memcmp(dst, src, (PAGES - 1) * PAGE) == 0);
		CHECK(dst[(PAGES - 1) * PAGE] == 0);
	}
	CHECK(strcmp(foliocopy_version(), EXPECTED_VERSION) == 0);
	CHECK(!foliocopy_sigbus_is_installed());
	CHECK(strcmp(foliocopy_last_error(), "") == 0);
}

/* More than the share of one thread, so that several threads copy. */
static void parallel(void)
{
	const size_t bytes = 48UL << 20, nr_pages = bytes / PAGE;
	unsigned char *src = aligned_alloc(PAGE, bytes), *dst = aligned_alloc(PAGE, bytes);
	CHECK(src && dst);
	for (size_t i = 0; i < bytes; i++)
		src[i] = (unsigned char)(i * 7 + i / PAGE);
	struct foliocopy_memory_error error;
	for (size_t nr_threads = 1; nr_threads <= 3; nr_threads++) {
		memset(dst, 0, bytes);
		CHECK(foliocopy_copy_pages_parallel(dst, src, nr_pages, nr_threads) == 0);
		CHECK(memcmp(dst, src, bytes) == 0);
		memset(dst, 0, bytes);
		CHECK(foliocopy_copy_mc_pages_parallel(dst, src, nr_pages, nr_threads, &error) == 0);
		CHECK(memcmp(dst, src, bytes) == 0);
		const enum foliocopy_locality locality = localities[nr_threads - 1];
		memset(dst, 0, bytes);
		CHECK(foliocopy_copy_pages_parallel_locality(dst, src, nr_pages, locality, nr_threads) == 0);
		CHECK(memcmp(dst, src, bytes) == 0);
		memset(dst, 0, bytes);
		CHECK(foliocopy_copy_mc_pages_parallel_locality(dst, src, nr_pages, locality, nr_threads, NULL) == 0);
		CHECK(memcmp(dst, src, bytes) == 0);
	}
	REFUSED(foliocopy_copy_pages_parallel(dst, src, nr_pages, 0), EINVAL, "nr_threads is 0");
	REFUSED(foliocopy_copy_pages_parallel(dst, NULL, nr_pages, 2), EINVAL, "null");
	REFUSED(foliocopy_copy_pages_parallel(dst, src + 1, nr_pages - 1, 2), EDOM, "not a multiple of 4096");
	REFUSED(foliocopy_copy_pages_parallel(dst, dst + PAGE, nr_pages - 1, 2), EBUSY, "overlap");
	REFUSED(foliocopy_copy_pages_parallel_locality(dst, src, 1, no_locality, 2), EINVAL, "7 is no locality");
	REFUSED(foliocopy_copy_mc_pages_parallel(dst, src, nr_pages, 0, NULL), EINVAL, "nr_threads is 0");
	REFUSED(foliocopy_copy_mc_pages_parallel_locality(dst, src, 1, no_locality, 2, NULL), EINVAL, "7 is no");
	CHECK(foliocopy_copy_pages_parallel(NULL, NULL, 0, 2) == 0);
	CHECK(foliocopy_copy_mc_pages_parallel(NULL, NULL, 0, 2, NULL) == 0);

	/* Wherever the threads stop, the error is about the first bad page. */
	const size_t bad = nr_pages / 2 + 1, worse = nr_pages - 1;
	memset(dst, 0, bytes);
	spoil(src, bad);
	spoil(src, worse);
	REFUSED(foliocopy_copy_mc_pages_parallel(dst, src, nr_pages, 3, &error), EFAULT, "of the source");
	CHECK(error.page_index == bad && error.bytes_copied == bad * PAGE);
	CHECK(error.bytes_left == bytes - bad * PAGE && error.side == FOLIOCOPY_SIDE_SOURCE);
	CHECK(memcmp(dst, src, bad * PAGE) == 0);
}

static void refusals(void)
{
	unsigned char *src = pages(1), *dst = pages(101), *before = pages(101);
	REFUSED(foliocopy_copy_pages(dst + 64, src, 1), EDOM, "40 is not a multiple of 4096");
	REFUSED(foliocopy_copy_pages(dst, src + 1, 1), EDOM, "01 is not a multiple of 4096");
	REFUSED(foliocopy_copy_pages(dst, dst + PAGE, 2), EBUSY, "source and destination overlap");
	REFUSED(foliocopy_copy_pages(NULL, src, 1), EINVAL, "null");
	REFUSED(foliocopy_copy_pages(dst, NULL, 1), EINVAL, "null");
	REFUSED(foliocopy_copy_pages(dst, src, SIZE_MAX), EOVERFLOW, "does not fit the address space");
	REFUSED(foliocopy_copy_pages(dst, src, SIZE_MAX / PAGE + 1), EOVERFLOW, "does not fit the address space");
	REFUSED(foliocopy_copy_pages_locality(dst, src, 1, no_locality), EINVAL, "7 is no locality");
	REFUSED(foliocopy_copy_mc_pages(dst, src + 1, 1, NULL), EDOM, "multiple of 4096");
	REFUSED(foliocopy_copy_mc_pages(dst, NULL, 1, NULL), EINVAL, "null");
	REFUSED(foliocopy_copy_mc_pages_locality(dst, src, 1, no_locality, NULL), EINVAL, "7 is no locality");
	REFUSED(foliocopy_copy_mc_pages_skipping(dst, dst, 1, NULL, NULL, NULL, NULL), EBUSY, "overlap");
	REFUSED(foliocopy_copy_mc_pages_skipping_locality(dst, src, 1, no_locality, NULL, NULL, NULL, NULL), EINVAL,
		"7 is no locality");
	CHECK(memcmp(dst, before, PAGES * PAGE) == 0);

	/* Success does not change the text. */
	CHECK(foliocopy_copy_pages(NULL, NULL, 0) == 0);
	CHECK(foliocopy_copy_pages(dst, src, 1) == 0);
	CHECK(strncmp(foliocopy_last_error(), "7 is no locality", 16) == 0);
}

/* Any address and any length, up to the first bad byte. */
static void bytes(void)
{
	unsigned char *src = pages(1), *dst = pages(101), *before = pages(101);
	struct foliocopy_memory_error error;
	for (size_t length = 0; length < 300; length++) {
		CHECK(foliocopy_copy_mc(dst + 3, src + PAGE - 100, length, NULL) == 0);
		CHECK(memcmp(dst + 3, src + PAGE - 100, length) == 0 && dst[2] == 101 && dst[3 + length] == 101);
		memset(dst, 101, PAGE);
	}
	spoil(src, 2);
	for (size_t length = 0; length < 300; length++) {
		CHECK(foliocopy_copy_mc(dst + 3, src + 2 * PAGE - length, length + 9, &error) == -EFAULT);
		CHECK(error.bytes_copied == length && error.bytes_left == 9 && error.page_index == (length != 0));
		CHECK(error.side == FOLIOCOPY_SIDE_SOURCE && error.cause == FOLIOCOPY_CAUSE_BEYOND_END);
		CHECK(memcmp(dst + 3, src + 2 * PAGE - length, length) == 0 && dst[3 + length] == 101);
		memset(dst, 101, PAGE);
	}
	spoil(dst, 4);
	REFUSED(foliocopy_copy_mc(dst + 4 * PAGE - 5, src, 8, &error), EFAULT, "page 1 of the destination");
	CHECK(error.bytes_copied == 5 && error.side == FOLIOCOPY_SIDE_DESTINATION);
	memset(dst + 4 * PAGE - 5, 104, 5);

	REFUSED(foliocopy_copy_mc(dst, NULL, 1, NULL), EINVAL, "null");
	REFUSED(foliocopy_copy_mc(dst, dst + 1, 2, NULL), EBUSY, "overlap");
	REFUSED(foliocopy_copy_mc(dst, src, SIZE_MAX, NULL), EOVERFLOW, "does not fit the address space");
#ifdef __x86_64__
	/* Aarch64 ignores the top byte of an address. */
	REFUSED(foliocopy_copy_mc(dst, (void *)(1UL << 63), 1, NULL), EINVAL, "the address space of a process");
#endif
	CHECK(foliocopy_copy_mc(NULL, NULL, 0, NULL) == 0);
	CHECK(memcmp(dst, before, 4 * PAGE) == 0);
}

static void check_fault(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	struct foliocopy_memory_error error;
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, &error) == 0);
	CHECK(memcmp(dst, src, PAGES * PAGE) == 0);

	memset(dst, 0, PAGES * PAGE);
	spoil(src, 5);
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, NULL), EFAULT, "page 5 of the source");
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, &error) == -EFAULT);
	CHECK(error.bytes_copied == 5 * PAGE && error.bytes_left == 11 * PAGE && error.page_index == 5);
	CHECK(error.cause == FOLIOCOPY_CAUSE_BEYOND_END && error.side == FOLIOCOPY_SIDE_SOURCE);
	CHECK(((uintptr_t)error.address & ~(PAGE - 1)) == (uintptr_t)(src + 5 * PAGE));
	CHECK(memcmp(dst, src, 5 * PAGE) == 0 && dst[5 * PAGE] == 0);

	spoil(dst, 3);
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, &error) == -EFAULT);
	CHECK(error.page_index == 3 && error.side == FOLIOCOPY_SIDE_DESTINATION);
}

static void batches(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	struct foliocopy_folio_pair pairs[3] = {
		{ dst + 8 * PAGE, src, 4 },
		{ dst, src + 9 * PAGE, 1 },
		{ dst + 2 * PAGE, src + 12 * PAGE, 2 },
	};
	struct foliocopy_memory_error error;
	size_t failed = 99;
	CHECK(foliocopy_copy_folios(pairs, 3, &failed) == 0 && failed == 99);
	CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0 && memcmp(dst, src + 9 * PAGE, PAGE) == 0);
	CHECK(memcmp(dst + 2 * PAGE, src + 12 * PAGE, 2 * PAGE) == 0 && dst[PAGE] == 102);
	CHECK(foliocopy_copy_mc_folios(pairs, 3, NULL, NULL) == 0);
	CHECK(foliocopy_copy_folios(NULL, 0, NULL) == 0);
	REFUSED(foliocopy_copy_folios(NULL, 1, NULL), EINVAL, "pairs is null");
	const void *odd = (const unsigned char *)pairs + 1;
	REFUSED(foliocopy_copy_folios(odd, 1, NULL), EDOM, "not a multiple of 8");
	REFUSED(foliocopy_copy_folios(pairs, SIZE_MAX / 8, NULL), EOVERFLOW, "does not fit the address space");

	for (size_t i = 0; i < LENGTH(localities); i++) {
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_folios_locality(pairs, 3, localities[i], &failed) == 0);
		CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0);
		CHECK(memcmp(dst + 2 * PAGE, src + 12 * PAGE, 2 * PAGE) == 0);
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_mc_folios_locality(pairs, 3, localities[i], &failed, &error) == 0);
		CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0);
		CHECK(memcmp(dst + 2 * PAGE, src + 12 * PAGE, 2 * PAGE) == 0);
	}
	memset(dst, 0, PAGES * PAGE);
	failed = 99;
	REFUSED(foliocopy_copy_folios_locality(pairs, 3, no_locality, &failed), EINVAL, "7 is no locality");
	CHECK(foliocopy_copy_folios_locality(pairs, 3, (enum foliocopy_locality)-1, NULL) == -EINVAL);
	CHECK(failed == 3 && dst[8 * PAGE] == 0);
	CHECK(foliocopy_copy_folios_locality(NULL, 1, FOLIOCOPY_LOCALITY_AUTO, &failed) == -EINVAL && failed == 1);
	REFUSED(foliocopy_copy_mc_folios_locality(pairs, 3, no_locality, &failed, NULL), EINVAL, "7 is no locality");
	CHECK(failed == 3 && dst[8 * PAGE] == 0);

	memset(dst, 0, PAGES * PAGE);
	spoil(src, 13);
	REFUSED(foliocopy_copy_mc_folios(pairs, 3, &failed, &error), EFAULT, "pair 2: page 1 of the source");
	CHECK(failed == 2);
	CHECK(error.bytes_copied == PAGE && error.page_index == 1 && error.side == FOLIOCOPY_SIDE_SOURCE);
	CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0 && memcmp(dst + 2 * PAGE, src + 12 * PAGE, PAGE) == 0);

	memset(dst, 0, PAGES * PAGE);
	pairs[1].src = NULL;
	REFUSED(foliocopy_copy_folios(pairs, 3, &failed), EINVAL, "pair 1: source or destination is null");
	CHECK(failed == 1);
	pairs[1].src = src + 9 * PAGE + 1;
	REFUSED(foliocopy_copy_mc_folios(pairs, 3, &failed, NULL), EDOM, "pair 1: address");
	CHECK(failed == 1);
	pairs[1].src = dst;
	REFUSED(foliocopy_copy_folios(pairs, 3, &failed), EBUSY, "pair 1: source and destination overlap");
	CHECK(dst[8 * PAGE] == 0);

	/* Without a failed copy no error is reported. */
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	pairs[1].src = src + 9 * PAGE;
	REFUSED(foliocopy_copy_mc_folios(pairs, 3, &failed, NULL), EOPNOTSUPP, "a fault would not be survived");
	CHECK(failed == 3 && strncmp(foliocopy_last_error(), "pair", 4) != 0);
}

static void report(const struct foliocopy_skipped *skipped, void *context)
{
	size_t **next = context;
	CHECK(skipped->nr_pages == 1 && skipped->error.page_index == skipped->page_index);
	*(*next)++ = skipped->page_index;
}

static void faults(void)
{
	check_fault();
	CHECK(foliocopy_sigbus_is_installed() && foliocopy_sigbus_install() == 0);

	unsigned char *src = pages(1), *dst = pages(101);
	for (size_t i = 0; i < LENGTH(localities); i++) {
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_mc_pages_locality(dst, src, PAGES, localities[i], NULL) == 0);
		CHECK(memcmp(dst, src, PAGES * PAGE) == 0);
	}
	spoil(src, 0);
	spoil(src, 7);
	for (size_t i = 0; i <= LENGTH(localities); i++) {
		size_t reported[PAGES], *next = reported, skipped = 99;
		memset(dst, 1, PAGES * PAGE);
		if (i == LENGTH(localities))
			CHECK(foliocopy_copy_mc_pages_skipping(dst, src, PAGES, report, &next, &skipped, NULL) == 0);
		else
			CHECK(foliocopy_copy_mc_pages_skipping_locality(dst, src, PAGES, localities[i], report, &next,
									&skipped, NULL) == 0);
		CHECK(skipped == 2 && next == reported + 2 && reported[0] == 0 && reported[1] == 7);
		CHECK(dst[0] == 0 && dst[7 * PAGE] == 0 && memcmp(dst + PAGE, src + PAGE, 6 * PAGE) == 0);
	}

	/* Another handler in our place leaves the copies without one. */
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	CHECK(!foliocopy_sigbus_is_installed());
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, NULL), EOPNOTSUPP, "another handler of SIGBUS");
	REFUSED(foliocopy_sigbus_install(), EOPNOTSUPP, "another handler of SIGBUS");
}

/* Accesses to protected pages are errors once the process asks for that. */
static void sigsegv(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	struct foliocopy_memory_error error;
	CHECK(foliocopy_catch_sigsegv() == 0);
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, &error) == 0);
	CHECK(mprotect(src + 5 * PAGE, PAGE, PROT_NONE) == 0);
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, &error), EFAULT, "page 5 of the source");
	CHECK(error.cause == FOLIOCOPY_CAUSE_NOT_ALLOWED && error.bytes_copied == 5 * PAGE);
	REFUSED(foliocopy_copy_mc(dst, src + 5 * PAGE - 3, 8, &error), EFAULT, "page 1 of the source");
	CHECK(error.cause == FOLIOCOPY_CAUSE_NOT_ALLOWED && error.bytes_copied == 3);
	CHECK(mprotect(dst + 4 * PAGE, PAGE, PROT_READ) == 0);
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, &error), EFAULT, "page 4 of the destination");
	CHECK(error.cause == FOLIOCOPY_CAUSE_NOT_ALLOWED && error.side == FOLIOCOPY_SIDE_DESTINATION);
	CHECK(munmap(src + 2 * PAGE, PAGE) == 0);
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, &error), EFAULT, "page 2 of the source");
	CHECK(error.cause == FOLIOCOPY_CAUSE_NOT_MAPPED);
	CHECK(foliocopy_sigbus_is_installed());

	/* The handler of SIGBUS is still installed. */
	CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
	CHECK(!foliocopy_sigbus_is_installed());
	REFUSED(foliocopy_copy_mc_pages(dst, src, PAGES, &error), EOPNOTSUPP, "another handler of SIGSEGV");
	REFUSED(foliocopy_catch_sigsegv(), EOPNOTSUPP, "another handler of SIGSEGV");
}

static volatile sig_atomic_t others;

static void own_handler(int signal, siginfo_t *info, void *context)
{
	if (!foliocopy_sigbus_try_handle(signal, info, context))
		others++;
}

static void own(void)
{
	struct sigaction action = { .sa_sigaction = own_handler, .sa_flags = SA_SIGINFO };
	CHECK(sigaction(SIGBUS, &action, NULL) == 0);
	foliocopy_sigbus_handled_by_caller();
	check_fault();
	CHECK(others == 0 && !foliocopy_sigbus_is_installed());
	raise(SIGBUS);
	CHECK(others == 1);
	check_fault();
}

/* A library leaves its handler behind when it is closed, and so must stay loaded. */
static void closed(const char *library)
{
	CHECK(signal(SIGBUS, SIG_IGN) != SIG_ERR);
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	CHECK(handle != NULL);
	int (*install)(void);
	*(void **)&install = dlsym(handle, "foliocopy_sigbus_install");
	CHECK(install != NULL && install() == 0);
	CHECK(dlclose(handle) == 0);
	raise(SIGBUS);
}

/* Prints the policy of the process, for a caller that has set the environment. */
static void host(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	printf("policy: %s\n", foliocopy_host_policy());
	printf("left aside: %s\n", foliocopy_host_report());
	CHECK(foliocopy_host_report() == foliocopy_host_report());
	const int result = foliocopy_copy_pages(dst, src, 1);
	CHECK(dst[0] == (result == 0 ? 1 : 101));
	printf("copied: %d %s\n", result, foliocopy_last_error());
}

static void masked(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	REFUSED(foliocopy_mask(NULL), EINVAL, "features is null");
	REFUSED(foliocopy_mask("erms,sse9"), EINVAL, "unknown CPU feature; known are erms, ");
	CHECK(foliocopy_mask("erms, row, tsc") == 0);
	REFUSED(foliocopy_mask("tsc"), EBUSY, "has a policy already");
	CHECK(strstr(foliocopy_host_policy(), "; without "));
	CHECK(strstr(foliocopy_host_policy(), "row"));
	CHECK(foliocopy_copy_pages(dst, src, PAGES) == 0 && memcmp(dst, src, PAGES * PAGE) == 0);
}

static void too_late(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	CHECK(foliocopy_copy_pages(dst, src, 1) == 0);
	REFUSED(foliocopy_mask("tsc"), EBUSY, "has a policy already");
}

#define MIB (1UL << 20)

static unsigned char *from, *to;

static int copy_page(void)
{
	return foliocopy_copy_pages(to, from, 1);
}

static int copy_256k(void)
{
	return foliocopy_copy_pages(to, from, 64);
}

static int copy_all(void)
{
	return foliocopy_copy_pages(to, from, MIB / PAGE);
}

static int copy_temporal(void)
{
	return foliocopy_copy_pages_locality(to, from, MIB / PAGE, FOLIOCOPY_LOCALITY_TEMPORAL);
}

static int copy_mc(void)
{
	return foliocopy_copy_mc_pages(to, from, MIB / PAGE, NULL);
}

static int copy_skipping(void)
{
	return foliocopy_copy_mc_pages_skipping(to, from, MIB / PAGE, NULL, NULL, NULL, NULL);
}

static int copy_parallel(void)
{
	return foliocopy_copy_pages_parallel(to, from, MIB / PAGE, 2);
}

static int copy_batch(void)
{
	struct foliocopy_folio_pair pairs[64];
	for (size_t i = 0; i < LENGTH(pairs); i++)
		pairs[i] = (struct foliocopy_folio_pair){ to + 4 * i * PAGE, from + 4 * i * PAGE, 4 };
	return foliocopy_copy_folios(pairs, LENGTH(pairs), NULL);
}

/*
 * Copies in processes whose thread may not read the time-stamp counter, and prints how many of them were killed.
 * None is killed if the counter is forbidden before the first copy.
 */
static void counter(const char *mask)
{
	static int (*const calls[])(void) = { copy_page, copy_256k, copy_all, copy_temporal, copy_mc, copy_skipping,
					      copy_parallel, copy_batch };
	int killed = 0;
	if (mask)
		CHECK(foliocopy_mask(mask) == 0);
	from = aligned_alloc(PAGE, MIB);
	to = aligned_alloc(PAGE, MIB);
	CHECK(from && to);
	memset(from, 7, MIB);
	for (size_t i = 0; i < 2 * LENGTH(calls); i++) {
		const int forbidden_first = i % 2 == 0;
		int status;
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			if (forbidden_first)
				CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
			CHECK(copy_all() == 0);
			CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
			memset(to, 0, MIB);
			CHECK(calls[i / 2]() == 0);
			CHECK(memcmp(to, from, PAGE) == 0);
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !forbidden_first)
			killed++;
		else
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	printf("%d\n", killed);
}

int main(int count, char **arguments)
{
	const char *part = count > 1 ? arguments[1] : "";
	if (strcmp(part, "copies") == 0)
		copies();
	else if (strcmp(part, "parallel") == 0)
		parallel();
	else if (strcmp(part, "refusals") == 0)
		refusals();
	else if (strcmp(part, "bytes") == 0)
		bytes();
	else if (strcmp(part, "faults") == 0)
		faults();
	else if (strcmp(part, "batches") == 0)
		batches();
	else if (strcmp(part, "sigsegv") == 0)
		sigsegv();
	else if (strcmp(part, "own") == 0)
		own();
	else if (strcmp(part, "host") == 0)
		host();
	else if (strcmp(part, "masked") == 0)
		masked();
	else if (strcmp(part, "too-late") == 0)
		too_late();
	else if (strcmp(part, "counter") == 0)
		counter(count == 3 ? arguments[2] : NULL);
	else if (strcmp(part, "closed") == 0 && count == 3)
		closed(arguments[2]);
	else
		return 2;
	return 0;
}
