//! What `strftime_now` says.

use crate::text::jinja::Fault;

/// The date 26 July 2024, 00:00, in C's format: prompts that named today would make a run differ from day to day.
///
/// It is the date that Llama's templates take where they have no clock.
pub fn date(format: &str) -> Result<String, Fault> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out.push_str(match chars.next() {
            Some('Y') => "2024",
            Some('y') => "24",
            Some('m') => "07",
            Some('d' | 'e') => "26",
            Some('B') => "July",
            Some('b' | 'h') => "Jul",
            Some('A') => "Friday",
            Some('a') => "Fri",
            Some('j') => "208",
            Some('H' | 'M' | 'S') => "00",
            Some('I') => "12",
            Some('p') => "AM",
            Some('F') => "2024-07-26",
            Some('%') => "%",
            other => {
                return Err(Fault::new(format!("strftime_now: %{} is not supported", other.unwrap_or(' '))));
            }
        });
    }
    Ok(out)
}
