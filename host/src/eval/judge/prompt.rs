//! What the judge is asked, and the rating in what it says.

use crate::eval::mt_bench::Question;
use std::fmt::Write;

/// Name of this wording in the grades: another wording gives other grades.
pub const NAME: &str = "ldalign-single-v1";

/// The judge's part.
pub const SYSTEM: &str = "You grade replies of an assistant to a user. You are strict and fair. Neither a reply's length nor its tone nor \
     who may have written it counts.";

/// Asks for the grade of the last of `replies`, which answer the question's first turns.
pub fn user(question: &Question, replies: &[String]) -> String {
    let mut text = String::from(match replies.len() {
        1 => "Grade the assistant's reply below.",
        _ => {
            "Grade the assistant's last reply in the conversation below; the ones before it are there to be understood by."
        }
    });
    text += " Is it correct, does it do what was asked, is it complete, clear, and no longer than it helps? Explain your judgement in a few \
         sentences. Then rate the reply by a whole number from 1 (useless) to 10 (could hardly be better), written in exactly this form: \
         [[rating]], for example: [[5]].\n";
    for (i, reply) in replies.iter().enumerate() {
        let _ = write!(text, "\n<user>\n{}\n</user>\n", question.turns[i]);
        if i + 1 == replies.len()
            && let Some(reference) = question.reference.get(i)
        {
            let _ =
                write!(text, "\nA reply known to be right, to compare with:\n<reference>\n{reference}\n</reference>\n");
        }
        let _ = write!(text, "\n<assistant>\n{reply}\n</assistant>\n");
    }
    text
}

/// The rating in a judgement: the first `[[number]]` from 1 to 10 or, where there is none, the first `[number]`.
pub fn rating(judgment: &str) -> Option<f64> {
    let between = |open: &'static str, close: &'static str| {
        judgment.split(open).skip(1).find_map(move |rest| {
            let number = rest.split_once(close)?.0.trim();
            let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            number.parse::<f64>().ok().filter(|n| plain && (1.0..=10.0).contains(n))
        })
    };
    between("[[", "]]").or_else(|| between("[", "]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_are_read_as_fastchat_reads_them() {
        assert_eq!(rating("Good.\nRating: [[7]]"), Some(7.0));
        assert_eq!(rating("[[ 8.5 ]] rather than [[9]]"), Some(8.5));
        assert_eq!(rating("I say [6]."), Some(6.0));
        for none in ["", "7/10", "[[rating]]", "[[11]]", "[[0]]", "[[-3]]", "[[1e1]]", "[[7", "[[inf]]"] {
            assert_eq!(rating(none), None, "{none}");
        }
    }
}
