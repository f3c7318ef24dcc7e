//! When a response counts as right: the config's `checker`, and the check of a response by it.

use crate::{Code, Error, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a response counts as right.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Checker {
    /// Equal after trimming white space.
    #[default]
    Exact,
    /// The last number in the text is equal (GSM8K).
    LastNumber,
    /// `{regex: 'answer is (\w+)'}`: what the expression's first match holds in its first group (all of it where there
    /// is no group) is equal; a golden response without a match is the answer itself.
    Regex(String),
}

/// As a config names it.
impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::LastNumber => f.write_str("last-number"),
            Self::Regex(text) => write!(f, "regex {text}"),
        }
    }
}

/// A checker, ready to be asked.
pub enum Check {
    /// Of [`Checker::Exact`].
    Exact,
    /// Of [`Checker::LastNumber`].
    LastNumber,
    /// Of [`Checker::Regex`].
    Regex(Regex),
}

impl Check {
    /// Fails where a regular expression is none; a config with such a one was refused when it was read.
    pub fn new(checker: &Checker) -> Result<Self> {
        Ok(match checker {
            Checker::Exact => Self::Exact,
            Checker::LastNumber => Self::LastNumber,
            Checker::Regex(text) => Self::Regex(expression(text)?),
        })
    }

    /// Whether a response says what the golden one says.
    pub fn is_right(&self, response: &str, golden: &str) -> bool {
        match self {
            Self::Exact => response.trim() == golden.trim(),
            Self::LastNumber => last_number(golden).is_some_and(|want| last_number(response) == Some(want)),
            Self::Regex(regex) => captured(regex, response) == Some(captured(regex, golden).unwrap_or(golden.trim())),
        }
    }
}

/// The expression that a config means.
pub fn expression(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|e| {
        let said = e.to_string();
        let reason = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::new(Code::ConfigRegex, format!("`{text}` is not a regular expression: {reason}"))
            .hint("the syntax is that of https://docs.rs/regex: groups in parentheses, no look-around")
    })
}

/// What the first match holds in its first group, or all of it where the expression has none.
fn captured<'t>(regex: &Regex, text: &'t str) -> Option<&'t str> {
    let found = regex.captures(text)?;
    let whole = found.get(0)?;
    Some(found.iter().nth(1).map_or(whole.as_str(), |group| group.map_or("", |g| g.as_str())).trim())
}

/// The last number of a text, thousands separators removed: `so 1,200.` gives 1200. In `2-1` and `GPT-4` the hyphen is
/// not a sign.
fn last_number(text: &str) -> Option<f64> {
    let head = &text[..=text.rfind(|c: char| c.is_ascii_digit())?];
    let number = head.rsplit(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).next()?;
    let before = &head[..head.len() - number.len()];
    let is_sign =
        before.strip_suffix('-').is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || c == ')'));
    let plain = number.replace(',', "");
    // `1.2.3` is not a number; its last part is.
    let value: f64 = plain.parse().or_else(|_| plain.rsplit('.').next().unwrap_or_default().parse()).ok()?;
    Some(if is_sign { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_found_at_the_end() {
        assert_eq!(last_number("48+24 = 72 clips\n#### 1,072."), Some(1072.0));
        assert_eq!(last_number("minus -3.5!"), Some(-3.5));
        assert_eq!(last_number("2-1"), Some(1.0));
        assert_eq!(last_number("GPT-4"), Some(4.0));
        assert_eq!(last_number("5 + -7"), Some(-7.0));
        assert_eq!(last_number("step 1.2.3"), Some(3.0));
        assert_eq!(last_number("none - here."), None);
    }

    #[test]
    fn checkers_differ() {
        let right = |checker: &Checker, response, golden| Check::new(checker).unwrap().is_right(response, golden);
        assert!(right(&Checker::Exact, " ab\n", "ab") && !right(&Checker::Exact, "abc", "ab"));
        let number = Checker::LastNumber;
        assert!(right(&number, "I get 7.0", "#### 7") && !right(&number, "7 or 8", "#### 7"));
        assert!(!right(&number, "no", "no"));
    }

    #[test]
    fn an_expression_compares_what_it_captures() {
        let right =
            |text: &str, response, golden| Check::new(&Checker::Regex(text.into())).unwrap().is_right(response, golden);
        let answer = r"answer is\s*\(?([A-D])\)?";
        assert!(right(answer, "So the answer is (B).", "The answer is B"));
        assert!(!right(answer, "So the answer is (C).", "The answer is B"));
        // A golden response that is the answer alone.
        assert!(right(answer, "the answer is B, not A", "B\n") && !right(answer, "B", "B"));
        // No group: the whole match. Only the first one counts.
        assert!(right(r"\d+", "72 and 3", "it is 72.") && !right(r"\d+", "3 and 72", "it is 72."));
        // A group that takes no part in the match has captured nothing.
        assert!(right(r"x(y)?", "x", "x") && !right(r"x(y)?", "x", "xy"));
        let refused = Check::new(&Checker::Regex("(a".into())).map(|_| ()).unwrap_err();
        assert_eq!(refused.message(), "`(a` is not a regular expression: unclosed group");
    }
}
