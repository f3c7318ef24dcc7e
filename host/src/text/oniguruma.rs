//! Patterns of tokenizer.json as Oniguruma reads them, by whose rules they were written: `^` and `$` stand at the ends
//! of lines, `(?m)` lets a dot be a line's end, `\w` is no joiner, and POSIX classes go beyond ASCII. The last are
//! refused.
//!
//! Source: <https://github.com/kkos/oniguruma/blob/master/doc/RE>, syntax ONIG_SYNTAX_RUBY.

use crate::{Code, Error, Result};
use serde_json::Value;

/// A line's end, and the end of the text.
const LINE_END: &str = r"(?=\n|\z)";
/// A line's start: not behind a line's end that ends the text.
const LINE_START: &str = r"(?:\A|(?<=\n)(?!\z))";

/// What `\w` is; the regex crate has joiners too, which hold emoji together.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}";

/// Rewrites every pattern in a part of tokenizer.json; says whether there was anything to do.
///
/// # Errors
/// Where a pattern means something else to the two, and cannot be rewritten.
pub fn rewrite(part: &mut Value) -> Result<bool> {
    match part {
        Value::Array(items) => items.iter_mut().try_fold(false, |any, item| Ok(any | rewrite(item)?)),
        Value::Object(map) => map.iter_mut().try_fold(false, |any, (key, value)| match value {
            Value::String(pattern) if key == "Regex" => {
                let rewritten = translate(pattern)?;
                let differs = rewritten != *pattern;
                *pattern = rewritten;
                Ok(any | differs)
            }
            other => Ok(any | rewrite(other)?),
        }),
        _ => Ok(false),
    }
}

/// A pattern of Oniguruma's in the words of the regex crate.
fn translate(pattern: &str) -> Result<String> {
    let (mut out, mut rest, mut classes) = (String::with_capacity(pattern.len()), pattern, 0);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '\\' => {
                let escaped = rest[1..].chars().next();
                taken += escaped.map_or(0, char::len_utf8);
                match (escaped, classes > 0) {
                    (Some('w'), false) => out.extend(["[", WORD, "]"]),
                    (Some('w'), true) => out.push_str(WORD),
                    (Some('W'), _) => out.extend(["[^", WORD, "]"]),
                    _ => out.push_str(&rest[..taken]),
                }
            }
            '[' if classes > 0 && rest.starts_with("[:") => {
                let class = rest.split_inclusive(']').next().unwrap_or(rest);
                let what = format!("the pattern {pattern:?} has the POSIX class {class}");
                return Err(Error::new(Code::TextTokenizer, what).hint(
                    "write it as Unicode's property, such as \\p{L} for [:alpha:]: tokenizers' own engine reads it so",
                ));
            }
            '[' | ']' => {
                classes = if c == '[' { classes + 1 } else { classes.max(1) - 1 };
                out.push(c);
                // A bracket that a class begins with is its member.
                let member = if rest[1..].starts_with('^') { 2 } else { 1 };
                if c == '[' && rest[member..].starts_with(']') {
                    out.push_str(&rest[1..=member]);
                    taken = member + 1;
                }
            }
            '$' if classes == 0 => out.push_str(LINE_END),
            '^' if classes == 0 => out.push_str(LINE_START),
            '(' if rest.starts_with("(?") && classes == 0 => {
                let flags = &rest[2..];
                let end = flags.find(|c: char| !"imx-".contains(c)).unwrap_or(flags.len());
                let closes = flags[end..].starts_with([':', ')']);
                let flags = if closes { flags[..end].replace('m', "s") } else { flags[..end].to_owned() };
                out.push_str("(?");
                out.push_str(&flags);
                taken = 2 + end;
            }
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_two_read_alike_is_left() {
        let patterns = [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+",
            r"[$^]\$\^",
            r"[]^$]",
            r"[^]$]+",
            r"[\p{L}&&[^a$]]",
        ];
        for pattern in patterns {
            assert_eq!(translate(pattern).unwrap(), pattern);
        }
    }

    #[test]
    fn ends_of_lines_and_flags_are_rewritten() {
        assert_eq!(translate(r"\s+$").unwrap(), r"\s+(?=\n|\z)");
        assert_eq!(translate(r"^a|[^$]b$").unwrap(), r"(?:\A|(?<=\n)(?!\z))a|[^$]b(?=\n|\z)");
        assert_eq!(translate(r"(?m:.)(?mi)(?i-m:x)(?:a)(?=b)").unwrap(), r"(?s:.)(?si)(?i-s:x)(?:a)(?=b)");
        assert_eq!(translate(r"\w|[\w-]|\\w").unwrap(), format!(r"[{WORD}]|[{WORD}-]|\\w"));
        assert_eq!(translate(r"\W[^\W]").unwrap(), format!("[^{WORD}][^[^{WORD}]]"));
        let e = translate(r"a|[[:alpha:]_]+").unwrap_err();
        assert_eq!(e.message(), r#"the pattern "a|[[:alpha:]_]+" has the POSIX class [:alpha:]"#);
        let mut part = serde_json::json!({"a": [{"pattern": {"Regex": "x$"}}, {"pattern": {"String": "y$"}}]});
        assert!(rewrite(&mut part).unwrap());
        let expected = serde_json::json!({"a": [{"pattern": {"Regex": r"x(?=\n|\z)"}}, {"pattern": {"String": "y$"}}]});
        assert_eq!(part, expected);
        assert!(!rewrite(&mut part["a"][1]).unwrap());
    }
}
