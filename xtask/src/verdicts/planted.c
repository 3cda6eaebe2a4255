/* libfoliocopy.so with a planted slowdown: TURNS turns of an empty loop follow each copy of FOLIO_PAGES pages. */
#include <dlfcn.h>
#include <stddef.h>

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
	int result = copy_pages(dst, src, nr_pages);

	if (nr_pages == FOLIO_PAGES)
		for (int turn = 0; turn < TURNS; turn++)
			__asm__ volatile("");
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
