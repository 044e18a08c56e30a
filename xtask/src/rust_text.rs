//! Rust source with comments and the contents of literals blanked, line for line, so that rules
//! about code do not trip over prose.
//!
//! Knows comments, strings, raw strings and characters; does not parse anything else.

/// The code alone: every character of a comment or literal becomes a space, newlines stay.
pub(crate) fn code_of(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let end = end_of_prose(&characters, at);
        if end == at {
            code.push(character);
            at += 1;
        } else {
            code.extend(characters[at..end].iter().copied().map(blank));
            at = end;
        }
    }
    code
}

fn blank(character: char) -> char {
    if character == '\n' { '\n' } else { ' ' }
}

/// Where the comment or literal that begins here ends; `at` itself when none does.
fn end_of_prose(text: &[char], at: usize) -> usize {
    match text[at] {
        '/' if text.get(at + 1) == Some(&'/') => end_of_line(text, at),
        '/' if text.get(at + 1) == Some(&'*') => end_of_block_comment(text, at),
        '"' => end_of_string(text, at),
        'r' if !continues_a_word(text, at) => end_of_raw_string(text, at),
        '\'' => end_of_character(text, at),
        _ => at,
    }
}

/// Whether the `r` at `at` is inside a word; the prefixes of `br""` and `cr""` are none.
fn continues_a_word(text: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|position| text[position]);
    match before(1) {
        Some('b' | 'c') => before(2).is_some_and(is_word),
        Some(character) => is_word(character),
        None => false,
    }
}

/// Whether a character can be part of an identifier.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn end_of_line(text: &[char], at: usize) -> usize {
    (at..text.len()).find(|&position| text[position] == '\n').unwrap_or(text.len())
}

fn end_of_block_comment(text: &[char], at: usize) -> usize {
    let mut depth = 0_u32;
    let mut position = at;
    while position < text.len() {
        match (text[position], text.get(position + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                position += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                position += 2;
                if depth == 0 {
                    return position;
                }
            }
            _ => position += 1,
        }
    }
    text.len()
}

fn end_of_string(text: &[char], at: usize) -> usize {
    let mut position = at + 1;
    while position < text.len() {
        match text[position] {
            '\\' => position += 2,
            '"' => return position + 1,
            _ => position += 1,
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#` and so on; a raw identifier (`r#type`) is none.
fn end_of_raw_string(text: &[char], at: usize) -> usize {
    let hashes = text[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return at;
    }
    (open + 1..text.len())
        .find(|&position| {
            text[position] == '"' && text[position + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
        })
        .map_or(text.len(), |position| position + 1 + hashes)
}

/// `'x'` and `'\n'`; a lifetime is none.
fn end_of_character(text: &[char], at: usize) -> usize {
    if text.get(at + 1) == Some(&'\\') {
        // The character after the backslash may itself be a quote.
        return (at + 3..text.len())
            .find(|&position| text[position] == '\'')
            .map_or(text.len(), |position| position + 1);
    }
    if text.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_blanked_and_code_is_kept() {
        for (what, source, expected) in [
            ("a line comment", "a // b\nc", "a     \nc"),
            ("a nested block comment", "a /* b /* c */ d */ e", "a                   e"),
            ("a string", r#"f("x") + y"#, "f(   ) + y"),
            ("an escaped quote", r#""a\"b" c"#, "       c"),
            ("a raw string", r##"r#"a"b"# c"##, "         c"),
            ("a byte string", r#"b"x" c"#, "b    c"),
            ("a raw byte string", r#"br"x\" c"#, "b      c"),
            ("a raw identifier", "r#type + 1", "r#type + 1"),
            ("a word that ends in r", r#"for"x""#, "for   "),
            ("a character", "'a' b", "    b"),
            ("a quote character", r"'\'' b", "     b"),
            ("a lifetime", "&'a str", "&'a str"),
            ("a string over two lines", "\"a\nb\" c", "  \n   c"),
            ("a comment inside a string", r#""// x" y"#, "       y"),
            ("an unclosed string", "\"abc", "    "),
        ] {
            assert_eq!(code_of(source), expected, "{what}");
        }
    }
}
