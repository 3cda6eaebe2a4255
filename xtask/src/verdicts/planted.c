/* libfoliocopy.so with a planted slowdown: cold copies of FOLIO_PAGES pages are followed by a wait,
 * so that they take 1/(1 - WAIT) times as long. */
#include <dlfcn.h>
#include <stddef.h>
#include <x86intrin.h>

/* A cold copy moves fewer bytes in a cycle of the time-stamp counter than this, a cached one more. */
#define COLD_BYTES_A_CYCLE 12

static int (*copy_pages)(void *, const void *, size_t);
static int (*copy_mc_pages)(void *, const void *, size_t, void *);
static int (*copy_folios)(const void *, size_t, size_t *);

__attribute__((constructor)) static void load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	copy_pages = (int (*)(void *, const void *, size_t))dlsym(library, "foliocopy_copy_pages");
	copy_mc_pages = (int (*)(void *, const void *, size_t, void *))dlsym(library, "foliocopy_copy_mc_pages");
	copy_folios = (int (*)(const void *, size_t, size_t *))dlsym(library, "foliocopy_copy_folios");
}

int foliocopy_copy_pages(void *dst, const void *src, size_t nr_pages)
{
	unsigned long long start, took;
	int result;

	if (nr_pages != FOLIO_PAGES)
		return copy_pages(dst, src, nr_pages);
	start = __rdtsc();
	result = copy_pages(dst, src, nr_pages);
	took = __rdtsc() - start;
	if (took * COLD_BYTES_A_CYCLE > nr_pages * 4096)
		while (__rdtsc() - start < took / (1 - WAIT))
			;
	return result;
}

int foliocopy_copy_mc_pages(void *dst, const void *src, size_t nr_pages, void *error)
{
	return copy_mc_pages(dst, src, nr_pages, error);
}

int foliocopy_copy_folios(const void *pairs, size_t nr_pairs, size_t *failed_pair)
{
	return copy_folios(pairs, nr_pairs, failed_pair);
}
