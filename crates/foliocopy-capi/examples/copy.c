/*
 * Copies a range of pages through the cache and past it, and survives a file that is cut short.
 *
 *	cc -o copy copy.c $(pkg-config --cflags --libs foliocopy) && ./copy
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <foliocopy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, NR_PAGES = 512 };

static int failed(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, foliocopy_last_error());
	return EXIT_FAILURE;
}

/* A file of two pages of the system, of which the second is cut off again while it is mapped. */
static const void *cut_file(size_t *bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	FILE *file = tmpfile();
	void *mapped;

	if (file == NULL || ftruncate(fileno(file), (off_t)(2 * page)) != 0)
		return NULL;
	mapped = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, fileno(file), 0);
	if (mapped == MAP_FAILED || ftruncate(fileno(file), (off_t)page) != 0)
		return NULL;
	*bytes = page;
	return mapped;
}

int main(void)
{
	struct foliocopy_memory_error error;
	unsigned char *src = aligned_alloc(PAGE, NR_PAGES * PAGE);
	unsigned char *dst = aligned_alloc(PAGE, NR_PAGES * PAGE);
	const void *cut;
	size_t good = 0;
	int result;

	if (src == NULL || dst == NULL)
		return EXIT_FAILURE;
	memset(src, 7, NR_PAGES * PAGE);

	/* The library picks the instruction by CPU, by length and by where the source is. */
	if (foliocopy_copy_pages(dst, src, NR_PAGES) != 0)
		return failed("foliocopy_copy_pages");
	/* Nobody reads this soon: leave the cache to others. */
	if (foliocopy_copy_pages_locality(dst, src, NR_PAGES, FOLIOCOPY_LOCALITY_NON_TEMPORAL) != 0)
		return failed("foliocopy_copy_pages_locality");
	printf("%d pages were copied twice, by: %s\n", NR_PAGES, foliocopy_host_policy());

	/* This memory may be gone: the answer is an error, and no signal. */
	cut = cut_file(&good);
	if (cut == NULL)
		return EXIT_FAILURE;
	result = foliocopy_copy_mc(dst, cut, 2 * good, &error);
	if (result != -EFAULT && result != -EHWPOISON)
		return failed("foliocopy_copy_mc");
	printf("the file was cut: %zu of %zu bytes were copied\n", error.bytes_copied, 2 * good);
	return error.bytes_copied == good ? EXIT_SUCCESS : EXIT_FAILURE;
}
