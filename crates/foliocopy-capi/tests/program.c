/*
 * A program in C that uses everything foliocopy.h has. The argument says which part of it; it exits with 0
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

static unsigned char *pages(unsigned char first)
{
	unsigned char *start = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(start != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		memset(start + i * PAGE, first + (int)i, PAGE);
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

	static const enum foliocopy_locality localities[] = {
		FOLIOCOPY_LOCALITY_TEMPORAL,
		FOLIOCOPY_LOCALITY_NON_TEMPORAL,
		FOLIOCOPY_LOCALITY_AUTO,
	};
	for (size_t i = 0; i < 3; i++) {
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_pages_locality(dst, src, PAGES - 1, localities[i]) == 0);
		CHECK(memcmp(dst, src, (PAGES - 1) * PAGE) == 0);
		CHECK(dst[(PAGES - 1) * PAGE] == 0);
	}
	CHECK(strcmp(foliocopy_version(), EXPECTED_VERSION) == 0);
	CHECK(!foliocopy_sigbus_is_installed());
}

/* More than one thread's share, so that several copy. */
static void parallel(void)
{
	const size_t bytes = 48UL << 20, nr_pages = bytes / PAGE;
	unsigned char *src = aligned_alloc(PAGE, bytes), *dst = aligned_alloc(PAGE, bytes);
	CHECK(src && dst);
	for (size_t i = 0; i < bytes; i++)
		src[i] = (unsigned char)(i * 7 + i / PAGE);
	for (size_t nr_threads = 1; nr_threads <= 3; nr_threads++) {
		memset(dst, 0, bytes);
		CHECK(foliocopy_copy_pages_parallel(dst, src, nr_pages, nr_threads) == 0);
		CHECK(memcmp(dst, src, bytes) == 0);
	}
	CHECK(foliocopy_copy_pages_parallel(dst, src, nr_pages, 0) == -EINVAL);
	CHECK(foliocopy_copy_pages_parallel(dst, NULL, nr_pages, 2) == -EINVAL);
	CHECK(foliocopy_copy_pages_parallel(dst, src + 1, nr_pages - 1, 2) == -EINVAL);
	CHECK(foliocopy_copy_pages_parallel(dst, dst + PAGE, nr_pages - 1, 2) == -EINVAL);
	CHECK(foliocopy_copy_pages_parallel(NULL, NULL, 0, 2) == 0);
	free(src);
	free(dst);
}

static void refusals(void)
{
	unsigned char *src = pages(1), *dst = pages(101), *before = pages(101);
	CHECK(foliocopy_copy_pages(dst + 64, src, 1) == -EINVAL);
	CHECK(foliocopy_copy_pages(dst, src + 1, 1) == -EINVAL);
	CHECK(foliocopy_copy_pages(dst, dst + PAGE, 2) == -EINVAL);
	CHECK(foliocopy_copy_pages(NULL, src, 1) == -EINVAL);
	CHECK(foliocopy_copy_pages(dst, NULL, 1) == -EINVAL);
	CHECK(foliocopy_copy_pages(NULL, NULL, 0) == 0);
	CHECK(foliocopy_copy_pages(dst, src, SIZE_MAX) == -EOVERFLOW);
	CHECK(foliocopy_copy_pages(dst, src, SIZE_MAX / PAGE + 1) == -EOVERFLOW);
	CHECK(foliocopy_copy_pages_locality(dst, src, 1, (enum foliocopy_locality)7) == -EINVAL);
	CHECK(foliocopy_copy_mc_pages(dst, src + 1, 1, NULL) == -EINVAL);
	CHECK(foliocopy_copy_mc_pages(dst, NULL, 1, NULL) == -EINVAL);
	CHECK(foliocopy_copy_mc_pages_skipping(dst, dst, 1, NULL, NULL, NULL, NULL) == -EINVAL);
	CHECK(memcmp(dst, before, PAGES * PAGE) == 0);
}

static void check_fault(void)
{
	unsigned char *src = pages(1), *dst = pages(101);
	struct foliocopy_memory_error error;
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, &error) == 0);
	CHECK(memcmp(dst, src, PAGES * PAGE) == 0);

	memset(dst, 0, PAGES * PAGE);
	spoil(src, 5);
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, NULL) == -EFAULT);
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
	CHECK(foliocopy_copy_folios(NULL, 0, NULL) == 0 && foliocopy_copy_folios(NULL, 1, NULL) == -EINVAL);

	for (int locality = FOLIOCOPY_LOCALITY_TEMPORAL; locality <= FOLIOCOPY_LOCALITY_AUTO; locality++) {
		memset(dst, 0, PAGES * PAGE);
		CHECK(foliocopy_copy_folios_locality(pairs, 3, (enum foliocopy_locality)locality, &failed) == 0);
		CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0);
		CHECK(memcmp(dst + 2 * PAGE, src + 12 * PAGE, 2 * PAGE) == 0);
	}
	memset(dst, 0, PAGES * PAGE);
	failed = 99;
	CHECK(foliocopy_copy_folios_locality(pairs, 3, (enum foliocopy_locality)3, &failed) == -EINVAL);
	CHECK(foliocopy_copy_folios_locality(pairs, 3, (enum foliocopy_locality)-1, NULL) == -EINVAL);
	CHECK(failed == 3 && dst[8 * PAGE] == 0);
	CHECK(foliocopy_copy_folios_locality(NULL, 1, FOLIOCOPY_LOCALITY_AUTO, &failed) == -EINVAL && failed == 1);

	memset(dst, 0, PAGES * PAGE);
	spoil(src, 13);
	CHECK(foliocopy_copy_mc_folios(pairs, 3, &failed, &error) == -EFAULT && failed == 2);
	CHECK(error.bytes_copied == PAGE && error.page_index == 1 && error.side == FOLIOCOPY_SIDE_SOURCE);
	CHECK(memcmp(dst + 8 * PAGE, src, 4 * PAGE) == 0 && memcmp(dst + 2 * PAGE, src + 12 * PAGE, PAGE) == 0);

	memset(dst, 0, PAGES * PAGE);
	pairs[1].src = NULL;
	CHECK(foliocopy_copy_folios(pairs, 3, &failed) == -EINVAL && failed == 1);
	pairs[1].src = src + 9 * PAGE + 1;
	CHECK(foliocopy_copy_mc_folios(pairs, 3, &failed, NULL) == -EINVAL && failed == 1);
	CHECK(dst[8 * PAGE] == 0);

	/* Where it is nobody's fault, nobody is named. */
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	pairs[1].src = src + 9 * PAGE;
	CHECK(foliocopy_copy_mc_folios(pairs, 3, &failed, NULL) == -EOPNOTSUPP && failed == 3);
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
	size_t reported[PAGES], *next = reported, skipped = 99;
	spoil(src, 0);
	spoil(src, 7);
	CHECK(foliocopy_copy_mc_pages_skipping(dst, src, PAGES, report, &next, &skipped, NULL) == 0);
	CHECK(skipped == 2 && next == reported + 2 && reported[0] == 0 && reported[1] == 7);
	CHECK(dst[0] == 0 && dst[7 * PAGE] == 0 && memcmp(dst + PAGE, src + PAGE, 6 * PAGE) == 0);

	/* Whoever takes our place leaves the copies without a handler. */
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	CHECK(!foliocopy_sigbus_is_installed());
	CHECK(foliocopy_copy_mc_pages(dst, src, PAGES, NULL) == -EOPNOTSUPP);
	CHECK(foliocopy_sigbus_install() == -EOPNOTSUPP);
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

/* A library that is closed leaves its handler behind, and so must not go. */
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

int main(int count, char **arguments)
{
	const char *part = count > 1 ? arguments[1] : "";
	if (strcmp(part, "copies") == 0)
		copies();
	else if (strcmp(part, "parallel") == 0)
		parallel();
	else if (strcmp(part, "refusals") == 0)
		refusals();
	else if (strcmp(part, "faults") == 0)
		faults();
	else if (strcmp(part, "batches") == 0)
		batches();
	else if (strcmp(part, "own") == 0)
		own();
	else if (strcmp(part, "closed") == 0 && count == 3)
		closed(arguments[2]);
	else
		return 2;
	return 0;
}
