//! The figures as SVG: bars for each series, lines over sizes.
//!
//! Without a background, and in colours that are readable on white and on black.

use std::fmt::Write as _;

use crate::lines;
use crate::rounds::{Figures, Measured};
use crate::table::{show, sorted};

pub(crate) const TEXT: &str = "#7d7d7d";
pub(crate) const TOOL: &str = "#e07b00";
pub(crate) const COPY: &str = "#9a9a9a";
/// The other programs. Each has its own colour in line plots.
pub(crate) const PEERS: [&str; 6] = ["#4a86d8", "#2e9e6b", "#a45ec4", "#c9506b", "#3aa0b0", "#8a8f3c"];

const WIDTH: f64 = 920.0;
const LABELS: f64 = 310.0;
const FIGURES: f64 = 190.0;
const ROW: f64 = 24.0;
const HEAD: f64 = 52.0;

/// The names of the files, and their content.
pub(crate) fn all(measured: &[Measured]) -> Vec<(String, String)> {
    let whole = measured.iter().filter(|one| !one.series.name.starts_with("size-"));
    let mut files: Vec<_> = whole.map(|one| (format!("{}.svg", one.series.name), bars(one))).collect();
    let over_sizes: Vec<&Measured> =
        measured.iter().filter(|one| one.series.name.starts_with("size-") || one.series.name == "file").collect();
    if over_sizes.len() > 1 {
        files.push(("sizes.svg".to_owned(), lines::draw(&over_sizes)));
    }
    files
}

/// The beginning of a picture.
pub(crate) fn begin(width: f64, height: f64, title: &str, subtitle: &str) -> String {
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n\
         <title>{0}</title>\n<text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{0}</text>\n\
         <text x=\"8\" y=\"38\" font-size=\"12\">{1}</text>\n",
        escape(title),
        escape(subtitle)
    )
    .unwrap();
    svg
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The colours separate copies, this tool, and other programs.
pub(crate) fn colour(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("waxseal") => TOOL,
        _ if name.starts_with("c") && !name.contains(':') => COPY,
        _ => PEERS[0],
    }
}

fn bars(measured: &Measured) -> String {
    let runs = sorted(measured);
    let longest = runs.last().map_or(1.0, |run| run.seconds());
    let rounds = measured.series.rounds;
    let subtitle = format!("seconds, ratio to {}, peak memory; medians; rounds: {rounds}", bases(&runs));
    let height = (0..runs.len()).fold(HEAD + 8.0, |height, _| height + ROW);
    let mut svg = begin(WIDTH, height, &measured.series.title, &subtitle);
    let mut top = HEAD;
    for run in runs {
        let length = (run.seconds() / longest * (WIDTH - LABELS - FIGURES)).max(1.0);
        let ratio = run.ratios(measured).map_or_else(String::new, |(median, _)| format!(" ×{median:.2}"));
        let figures = format!("{} s {ratio}  {:.0} MiB", show(run.seconds()), run.peak_mib());
        let (base, name) = (top + 15.0, escape(&run.name));
        let weight = if colour(&run.name) == TOOL { " font-weight=\"bold\"" } else { "" };
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\"{weight}>{name}</text>\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"16\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{base}\"{weight} xml:space=\"preserve\">{figures}</text>",
            LABELS - 8.0,
            top + 2.0,
            colour(&run.name),
            LABELS + length + 8.0,
        )
        .unwrap();
        top += ROW;
    }
    svg + "</svg>\n"
}

/// The quantity of the bars, in words.
fn bases(runs: &[&Figures]) -> String {
    let mut names: Vec<&str> = runs.iter().map(|run| run.against.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(" or ")
}
