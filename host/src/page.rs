//! Pages for people: one self-contained HTML file with inline SVG, nothing fetched, everything readable without a
//! script.

mod escape;
mod html;
mod plot;

pub use escape::esc;
pub use html::{Page, text};
pub use plot::{Interval, Plot, Spot, histogram, intervals, number, strip};
