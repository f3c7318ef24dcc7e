//! The figures in words and as plain text.

use super::{Commonest, Figure, GAINS, HARMS, Line, Validation, Verdict};

/// Names of the columns after encoder and distance.
pub const COLUMNS: [&str; 5] = ["pairwise accuracy", "golden apart", "AUC", "rank corr. label", "rank corr. length"];

/// The figures under [`COLUMNS`].
pub fn figures(line: &Line) -> [Figure; 5] {
    let m = line.measures;
    [m.accuracy, m.accuracy_apart, m.auc, m.label_correlation, m.length_correlation]
}

/// A figure, `-` where it is not defined, and its interval.
pub fn show(figure: &Figure) -> [String; 2] {
    let value = figure.value.map_or("-".into(), |value| format!("{value:.3}"));
    [value, figure.interval.map_or(String::new(), |[low, high]| format!("[{low:.3}, {high:.3}]"))]
}

/// What the accuracy of a distance says of choosing by it; nothing of chance, and where nobody has judged.
pub fn verdict(line: &Line) -> String {
    match line.is_chance() || line.measures.accuracy.value.is_none() {
        true => "-".into(),
        false => Verdict::of(&line.measures.accuracy).to_string(),
    }
}

/// The figures as rows of cells under their names, a figure's interval as a cell's second part.
pub fn judged(v: &Validation) -> Vec<Vec<[String; 2]>> {
    let head = ["encoder", "distance"].into_iter().chain(COLUMNS).chain(["verdict"]);
    let mut rows: Vec<Vec<[String; 2]>> = vec![head.map(alone).collect()];
    for line in &v.lines {
        let mut row = [line.encoder.as_deref().unwrap_or("-"), &line.distance].map(alone).to_vec();
        row.extend(figures(line).iter().map(show));
        row.push(alone(&verdict(line)));
        rows.push(row);
    }
    rows
}

/// How the distances split a prompt's responses, in the same form; the last columns say how far each agrees with each.
pub fn splits(v: &Validation) -> Vec<Vec<[String; 2]>> {
    let lines = || v.lines.iter().filter_map(|line| Some((line, line.split.as_ref()?)));
    let head = ["", "encoder", "distance", "spread", "like length", "commonest nearest", "commonest farthest"];
    let others = (1..=lines().count()).map(|number| alone(&format!("like {number}")));
    let mut rows: Vec<Vec<[String; 2]>> = vec![head.map(alone).into_iter().chain(others).collect()];
    let commonest = |of: &Commonest| [format!("{:.1} %", 100.0 * of.share), of.text.clone()];
    for (number, (line, split)) in lines().enumerate() {
        let named = [&format!("{}", number + 1), line.encoder.as_deref().unwrap_or("-"), &line.distance];
        let mut row = named.map(alone).to_vec();
        row.extend([
            show(&split.spread),
            show(&split.like_length),
            commonest(&split.nearest),
            commonest(&split.farthest),
        ]);
        let others = v.agreement[number].iter();
        row.extend(others.map(|other| alone(&other.map_or("-".into(), |share| format!("{share:.2}")))));
        rows.push(row);
    }
    rows
}

fn alone(text: &str) -> [String; 2] {
    [text.to_owned(), String::new()]
}

/// What was measured on.
pub fn basis(v: &Validation) -> String {
    let mut text = format!("{} responses to {} prompts", v.responses, v.prompts);
    if let Some(checker) = &v.checker {
        text += &format!(
            "; the run's own samples, judged by whether they say what the golden response says ({checker}): a judgement is as right as that"
        );
    }
    if !v.judged {
        text += "; the run's own samples, which nobody has judged: nothing here says whether nearer is better";
    }
    if v.one_label > 0 {
        let alike = if v.judged { "have one label" } else { "are the same" };
        text += &format!("; rows left out because all their responses {alike}: {}", v.one_label);
    }
    let cut = v.fitted;
    if cut.cut_prompts + cut.cut_completions + cut.dropped > 0 {
        text += &format!("; cut to length {cut}");
    }
    text
}

/// How to read the columns, a sentence each.
pub fn legend(v: &Validation) -> [String; 7] {
    [
        "Pairwise accuracy: share of a prompt's pairs in which the better response is nearer to the golden one, mean over prompts; 0.5 by \
         chance."
            .into(),
        format!(
            "Golden apart: the same on the {} prompts none of whose responses equals the golden one. Where it is far higher, golden \
             responses are what the model says by habit, and every distance calls that near: the rule would teach it.",
            v.prompts_apart
        ),
        "AUC: the same share over the pairs of all prompts.".into(),
        "Rank correlations: Spearman's, of distance with the label (the lower, the better) and with the difference in length.".into(),
        format!("In brackets: {:.0} % bootstrap intervals, {} resamples of the prompts.", 100.0 * v.level, v.draws),
        format!(
            "Verdict for a rule that chooses among a prompt's samples by the distance, of the pairwise accuracy: do not choose by it (below \
             {HARMS}, interval below {GAINS}), may be used (above {GAINS}, interval above {HARMS}), else unclear. The two limits come from \
             toys. Golden responses must be as noisy as those trained on."
        ),
        format!("Of random, what {} random distances come to: their mean, and where {:.0} % lie.", v.draws, 100.0 * v.level),
    ]
}

/// How to read [`splits`].
pub fn legend_of_splits(v: &Validation) -> [String; 4] {
    [
        "How each distance splits a prompt's responses, which needs no judgements and replaces none. Spread: the farthest less the nearest, \
         over the mean distance; near 0 it does not tell them apart."
            .into(),
        "Like length: share of a prompt's pairs of responses in which the farther differs more in length from the golden one; near 1 the \
         distance orders by length, at 0.5 it has nothing to do with it."
            .into(),
        format!(
            "Commonest nearest and farthest: the text that is at this end of the most prompts, and its share of the {}. Where it is large, \
             it is boilerplate that a rule would teach, or unteach.",
            v.prompts
        ),
        "Like 1, like 2, ...: share of a prompt's pairs of responses that this distance orders as the numbered one does; 0.5 by chance. \
         Distances of encoders that have nothing in common, and agree, may measure something; which thing, they do not say."
            .into(),
    ]
}

/// The whole as plain text.
pub fn text(v: &Validation) -> String {
    let mut out = format!("{}\n\n", basis(v));
    if v.judged {
        out += &format!("{}\n{}\n\n", aligned(&judged(v)), legend(v).join("\n"));
    }
    out + &aligned(&splits(v)) + "\n" + &legend_of_splits(v).join("\n")
}

fn aligned(rows: &[Vec<[String; 2]>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| cell.join(" ").trim_end().to_owned()).collect()).collect();
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}
