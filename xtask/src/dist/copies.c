/* Copies two pages with the installed library, and prints that it did. */
#include <foliocopy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	unsigned char *src = aligned_alloc(4096, 2 * 4096);
	unsigned char *dst = aligned_alloc(4096, 2 * 4096);

	if (!src || !dst)
		return 1;
	for (int i = 0; i < 2 * 4096; i++)
		src[i] = (unsigned char)(i * 7);
	memset(dst, 0, 2 * 4096);
	if (foliocopy_copy_pages(dst, src, 2) != 0 || memcmp(dst, src, 2 * 4096) != 0)
		return 1;
	puts("copied");
	return 0;
}
