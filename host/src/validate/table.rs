//! The figures in words and as plain text.

use super::{Figure, GAINS, HARMS, Line, Validation, Verdict};

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

/// What the accuracy of a distance says of choosing by it; nothing of chance.
pub fn verdict(line: &Line) -> String {
    match line.is_chance() {
        true => "-".into(),
        false => Verdict::of(&line.measures.accuracy).to_string(),
    }
}

/// What was measured on.
pub fn basis(v: &Validation) -> String {
    let mut text = format!("{} responses to {} prompts", v.responses, v.prompts);
    if let Some(checker) = &v.checker {
        text += &format!(
            "; the run's own samples, judged by whether they say what the golden response says ({checker}): a judgement is as right as that"
        );
    }
    if v.one_label > 0 {
        text += &format!("; rows left out because all their responses have one label: {}", v.one_label);
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

/// The whole as plain text.
pub fn text(v: &Validation) -> String {
    let head = ["encoder", "distance"].into_iter().chain(COLUMNS).chain(["verdict"]);
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).collect()];
    for line in &v.lines {
        let mut row = vec![line.encoder.clone().unwrap_or("-".into()), line.distance.clone()];
        row.extend(figures(line).iter().map(|f| show(f).join(" ")));
        row.push(verdict(line));
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    let mut out = format!("{}\n\n", basis(v));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out + "\n" + &legend(v).join("\n")
}
