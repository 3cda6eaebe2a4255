# SPDX-License-Identifier: GPL-2.0
# Turns the assembly that rustc prints into what the kernel's own .S files look like: the macros of
# <linux/linkage.h> stand for returns, padding and landing pads, so that the kernel's configuration decides what each
# of them is (return thunks, call depth tracking, IBT, straight-line speculation).

BEGIN {
	print "/* SPDX-License-Identifier: GPL-2.0 OR MIT */"
	print "/* Generated from the sources of foliocopy by " COMPILER ". Not to be edited. */"
	print "#include <linux/linkage.h>"
}

# The preprocessor would take these for its own.
/^[ \t]*#/ { next }

# objtool writes the kernel's unwind tables itself.
/^[ \t]*\.cfi_/ { next }

/^[ \t]*\.type[ \t].*,@function$/ {
	name = $2
	sub(/,@function$/, "", name)
	functions[name ":"] = 1
}
$0 in functions { print "\t__FUNC_ALIGN"; print; print "\tENDBR"; next }

/^[ \t]*retq?$/ { print "\tRET"; next }

{ print }
