//! Makes the manual pages of section 3 from the C library's header: foliocopy(3), and one page for each function.

use std::fmt::Write;

/// A declaration of the header with the comment above it.
struct Declaration<'a> {
    comment: String,
    code: &'a str,
}

impl Declaration<'_> {
    /// The name, if it is a function of the library.
    fn function(&self) -> Option<&str> {
        let (before, _) = self.code.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        (name.starts_with("foliocopy_") && !self.code.contains('{')).then_some(name)
    }

    /// The description, and the caller's duties.
    fn parts(&self) -> (&str, Option<&str>) {
        match self.comment.split_once("\n\n# Safety\n\n") {
            Some((what, duties)) => (what, Some(duties)),
            None => (&self.comment, None),
        }
    }

    /// The first sentence, on one line, without its full stop.
    fn summary(&self) -> String {
        let first = self.parts().0.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let end = first.find(". ").unwrap_or(first.trim_end_matches('.').len());
        first[..end].to_owned()
    }
}

/// The declarations below the header's first comment.
fn declarations(header: &str) -> Vec<Declaration<'_>> {
    let mut found = Vec::new();
    // Comments inside of types are indented.
    for piece in header.split("\n/**\n").skip(1) {
        let Some((comment, rest)) = piece.split_once("\n */\n") else { continue };
        let end = if rest.starts_with("enum") || rest.starts_with("struct") { "\n};" } else { ";" };
        let Some(end) = rest.find(end).map(|at| at + end.len()) else { continue };
        found.push(Declaration { comment: uncommented(comment), code: &rest[..end] });
    }
    found
}

/// The lines of a comment without its markers.
fn uncommented(comment: &str) -> String {
    let line =
        |line: &str| line.strip_prefix(" *").unwrap_or(line).strip_prefix(' ').unwrap_or_default().to_owned();
    comment.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Escapes text for roff.
fn escaped(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('`', "");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn paragraphs(page: &mut String, text: &str) {
    for paragraph in text.split("\n\n") {
        // Nothing comes between a heading and its first paragraph.
        let after_heading = page.trim_end().rsplit('\n').next().is_some_and(|line| line.starts_with(".S"));
        let _ = writeln!(page, "{}{}", if after_heading { "" } else { ".PP\n" }, escaped(paragraph));
    }
}

/// Writes the errors, which the header has in two columns, as a list.
fn errors(page: &mut String, text: &str) {
    for line in text.lines() {
        let (line, _) = line.split_once('}').unwrap_or((line, ""));
        match line.trim_start().split_once(' ').filter(|(name, _)| name.starts_with("-E")) {
            Some((name, what)) => {
                let _ = writeln!(page, ".TP\n.B {}\n{}", escaped(name), escaped(what.trim()));
            }
            None => {
                let _ = writeln!(page, "{}", escaped(line.trim()));
            }
        }
    }
}

fn title(page: &mut String, name: &str, version: &str) {
    let _ = writeln!(page, ".TH {} 3 \" \" \"foliocopy {version}\" \"foliocopy\"", escaped(name));
}

/// Writes the types without their comments.
fn code(page: &mut String, code: &str) {
    let kept = code.lines().filter(|line| !line.trim_start().starts_with(['/', '*']));
    let _ = writeln!(page, ".nf\n{}\n.fi", escaped(&kept.collect::<Vec<_>>().join("\n")));
}

/// The pages: each file's name and its text. `example` is a program in C.
pub(super) fn pages(header: &str, example: &str, version: &str) -> Vec<(String, String)> {
    let declarations = declarations(header);
    let mut pages = vec![("foliocopy.3".to_owned(), overview(header, &declarations, example, version))];
    for function in &declarations {
        let Some(name) = function.function() else { continue };
        let mut page = String::new();
        let (what, duties) = function.parts();
        title(&mut page, name, version);
        let _ = writeln!(page, ".SH NAME\n{} \\- {}", escaped(name), escaped(&function.summary()));
        let _ = writeln!(page, ".SH SYNOPSIS\n.nf\n#include <foliocopy.h>\n.fi\n.PP");
        code(&mut page, function.code);
        page += ".PP\nCompile and link with $(pkg\\-config \\-\\-cflags \\-\\-libs foliocopy).\n.SH DESCRIPTION\n";
        paragraphs(&mut page, what);
        if let Some(duties) = duties {
            page += ".SS \"What the caller sees to\"\n";
            paragraphs(&mut page, duties);
        }
        if function.code.starts_with("int ") {
            page += ".SH \"RETURN VALUE\"\n0, or a negative errno that foliocopy(3) explains. foliocopy_last_error(3) has the text.\n";
        }
        page += ".SH \"SEE ALSO\"\nfoliocopy(3)\n";
        pages.push((format!("{name}.3"), page));
    }
    pages
}

fn overview(header: &str, declarations: &[Declaration<'_>], example: &str, version: &str) -> String {
    let mut page = String::new();
    title(&mut page, "foliocopy", version);
    page += ".SH NAME\nfoliocopy \\- copy memory pages as fast as the CPU allows, and survive bad memory\n";
    page += ".SH SYNOPSIS\n.nf\n#include <foliocopy.h>\n.fi\n";
    page +=
        ".PP\nCompile and link with $(pkg\\-config \\-\\-cflags \\-\\-libs foliocopy).\n.SH DESCRIPTION\n";
    let first = header.split("\n */").next().unwrap_or_default();
    let first = uncommented(first.trim_start_matches("/*\n"));
    let first =
        first.replace(" SPDX-License-Identifier: MIT OR Apache-2.0. Made of the sources by cbindgen.", "");
    for paragraph in first.split("\n\n") {
        match paragraph.trim_start().starts_with('-') {
            true => errors(&mut page, paragraph),
            false => paragraphs(&mut page, paragraph),
        }
    }
    page += ".SH FUNCTIONS\n";
    for function in declarations {
        if let Some(name) = function.function() {
            let _ = writeln!(page, ".TP\n.BR {} (3)\n{}.", escaped(name), escaped(&function.summary()));
        }
    }
    page += ".SH TYPES\n";
    for of_type in declarations.iter().filter(|of| of.function().is_none()) {
        paragraphs(&mut page, &of_type.comment);
        page += ".PP\n";
        code(&mut page, of_type.code);
    }
    page += ".SH ENVIRONMENT\nAs foliocopy(1) says.\n.SH EXAMPLES\n.nf\n";
    let _ = writeln!(page, "{}\n.fi\n.SH \"SEE ALSO\"\nfoliocopy(1)", escaped(example.trim_end()));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_header_has_a_page() {
        let header = include_str!("../../../crates/foliocopy-capi/include/foliocopy.h");
        let example = include_str!("../../../crates/foliocopy-capi/examples/copy.c");
        let pages = pages(header, example, "1.2.3");
        let declared = header.matches("\nint foliocopy_").count()
            + header.matches("\nconst char *foliocopy_").count()
            + header.matches("\nvoid foliocopy_").count()
            + header.matches("\nbool foliocopy_").count();
        assert_eq!(pages.len(), declared + 1);
        let find = |name: &str| &pages.iter().find(|(file, _)| file == name).unwrap().1;
        let overview = find("foliocopy.3");
        for expected in
            [".TH foliocopy 3 ", "struct foliocopy_memory_error {", "\\-EHWPOISON", "int main(void)"]
        {
            assert!(overview.contains(expected), "{expected}: {overview}");
        }
        let page = find("foliocopy_copy_pages.3");
        for expected in [
            "foliocopy_copy_pages \\- Copies nr_pages pages of 4096 bytes from src to dst",
            "int foliocopy_copy_pages(void *dst, const void *src, size_t nr_pages);",
            "src is readable and dst writable",
            "RETURN VALUE",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        for (name, page) in &pages {
            assert!(!page.contains(" * ") || name == "foliocopy.3", "{name}: {page}");
            assert!(page.contains(".SH NAME\n") && page.contains(".SH SYNOPSIS\n"), "{name}");
        }
    }
}
