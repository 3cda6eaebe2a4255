# SPDX-License-Identifier: GPL-2.0
# Turns rustc's assembly into the form of the kernel's own .S files. The macros of <linux/linkage.h> replace returns, padding
# and landing pads. So the kernel's configuration decides what each of them is: return thunks, call depth tracking, IBT, or
# straight-line speculation.

BEGIN {
	print "/* SPDX-License-Identifier: GPL-2.0 OR MIT */"
	print "/* Generated from the sources of foliocopy by " COMPILER ". Not to be edited. */"
	print "#include <linux/linkage.h>"
}

# The preprocessor would read these lines as directives.
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
