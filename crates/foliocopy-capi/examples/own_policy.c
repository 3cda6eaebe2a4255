/*
 * Decides before the first copy how this process copies: without the features that the argument names.
 *
 * A program with a thread that may not read the time-stamp counter names tsc. A test names row, and gets the rule for
 * CPUs that nobody has measured. A table of this CPU is no code: `foliocopy tune` writes it, and the library reads it.
 *
 *	cc -o own_policy own_policy.c $(pkg-config --cflags --libs foliocopy) && ./own_policy tsc,row
 */
#include <errno.h>
#include <foliocopy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	void *src = aligned_alloc(4096, 4096), *dst = aligned_alloc(4096, 4096);

	if (src == NULL || dst == NULL)
		return EXIT_FAILURE;
	if (argc > 1 && foliocopy_mask(argv[1]) != 0) {
		fprintf(stderr, "%s: %s\n", argv[1], foliocopy_last_error());
		return EXIT_FAILURE;
	}
	printf("this process copies by: %s\n", foliocopy_host_policy());
	/* What the environment or a profile asks for and cannot be followed, a line each. */
	fputs(foliocopy_host_report(), stderr);

	memset(src, 7, 4096);
	if (foliocopy_copy_pages(dst, src, 1) != 0 || memcmp(dst, src, 4096) != 0)
		return EXIT_FAILURE;
	/* The policy is made now, and stays. */
	if (foliocopy_mask("erms") != -EBUSY)
		return EXIT_FAILURE;
	printf("after the first copy: %s\n", foliocopy_last_error());
	return EXIT_SUCCESS;
}
