//! The page around the sections: escaping, figures, tables, tiles; one self-contained file without script.

use super::{escape::esc, plot::Plot};
use std::fmt::Write;

/// A text of a data row, cut where it is very long, white space kept.
pub fn text(text: &str) -> String {
    const SHOWN: usize = 700;
    let total = text.chars().count();
    if text.trim().is_empty() {
        return "<span class=\"none\">(empty)</span>".into();
    }
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if total > SHOWN {
        format!("<span class=\"none\"> … {} more characters</span>", total - SHOWN)
    } else {
        String::new()
    };
    format!("<bdi class=\"t\">{}</bdi>{more}", esc(&shown))
}

/// A page in the making.
pub struct Page {
    title: String,
    body: String,
    figures: usize,
}

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Self { title: title.into(), body: String::new(), figures: 0 }
    }
    /// Adds HTML as it is: what it holds of users' text is escaped already.
    pub fn raw(&mut self, html: &str) {
        self.body.push_str(html);
        self.body.push('\n');
    }
    /// A paragraph of plain text.
    pub fn paragraph(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>", esc(text)));
    }
    /// A paragraph saying that a part of the run is not there yet.
    pub fn absent(&mut self, text: &str) {
        self.raw(&format!("<p class=\"none\">{}</p>", esc(text)));
    }
    /// A heading of level 2 or 3.
    pub fn heading(&mut self, level: u8, text: &str) {
        self.raw(&format!("<h{level}>{}</h{level}>", esc(text)));
    }
    /// Charts side by side where there is room, each with a sentence on how to read it.
    pub fn figures(&mut self, figures: &[(Plot, &str)]) {
        self.raw("<div class=\"figures\">");
        for (plot, caption) in figures {
            self.figures += 1;
            let svg = plot.svg(&format!("f{}", self.figures));
            let (head, caption) = (esc(plot.title()), esc(caption));
            self.raw(&format!("<figure><h4>{head}</h4>{svg}<figcaption>{caption}</figcaption></figure>"));
        }
        self.raw("</div>");
    }
    /// Figures a person should see first: (name, value, remark).
    pub fn tiles(&mut self, tiles: &[(String, String, String)]) {
        self.raw("<div class=\"tiles\">");
        for (name, value, remark) in tiles {
            let (name, value, remark) = (esc(name), esc(value), esc(remark));
            self.raw(&format!("<div><span>{name}</span><b>{value}</b><span>{remark}</span></div>"));
        }
        self.raw("</div>");
    }
    /// A table of cells given as HTML; on a phone each row becomes a card when `cards` is set, else the table scrolls.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>], cards: bool) {
        let mut out =
            format!("<div class=\"scroll\"><table{}><thead><tr>", if cards { " class=\"cards\"" } else { "" });
        head.iter().for_each(|h| {
            let _ = write!(out, "<th scope=\"col\">{}</th>", esc(h));
        });
        out.push_str("</tr></thead><tbody>\n");
        for row in rows {
            out.push_str("<tr>");
            for (cell, name) in row.iter().zip(head) {
                let _ = write!(out, "<td data-name=\"{}\">{cell}</td>", esc(name));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>");
        self.raw(&out);
    }
    /// Something to open, closed at first unless `open`.
    pub fn details(&mut self, summary: &str, open: bool, fill: impl FnOnce(&mut Self)) {
        self.raw(&format!("<details{}><summary>{}</summary>", if open { " open" } else { "" }, esc(summary)));
        fill(self);
        self.raw("</details>");
    }
    /// The whole file.
    pub fn finish(self) -> String {
        // The policy makes browsers enforce what the page promises: nothing is fetched, nothing runs.
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
            esc(&self.title),
            include_str!("style.css"),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_forbidden_characters_are_made_harmless() {
        assert_eq!(
            esc("<b a=\"1\" c='2'>&\u{0}\u{1b}\n"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}\u{fffd}\n"
        );
        assert!(text(&"é<".repeat(1000)).ends_with("</bdi><span class=\"none\"> … 1300 more characters</span>"));
        assert_eq!(text(" \n"), "<span class=\"none\">(empty)</span>");
    }
}
