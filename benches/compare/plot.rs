//! Pictures as SVG: bars for programs on one file, lines over sizes.
//!
//! Without a background, and in colours that are readable on white and on black.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::csv::{self, Summary};
use crate::lines;
use crate::options::show_size;
use crate::rounds::{Figures, Measured};

pub(crate) const TEXT: &str = "#767d86";
pub(crate) const TOOL: &str = "#d06f00";
pub(crate) const COPY: &str = "#959ba3";
pub(crate) const PEER: &str = "#4a86d8";

/// Documents show pictures in about this width.
pub(crate) const WIDTH: f64 = 800.0;
const LEFT: f64 = 8.0;
/// The second column: what a program does.
const WHAT: f64 = 216.0;
const BARS: f64 = 298.0;
const BARS_END: f64 = 560.0;
/// The right ends of the columns with figures.
const MEDIAN: f64 = 636.0;
const LEAST: f64 = 712.0;
const RATIO: f64 = 792.0;
const ROW: f64 = 22.0;
/// Between programs.
const GAP: f64 = 8.0;
const HEAD: f64 = 82.0;

/// One bar.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Empty for a program that does only one thing.
    pub(crate) what: String,
    /// The median.
    pub(crate) seconds: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) ratio: Option<f64>,
}

impl Row {
    fn new(run: &Figures, measured: &Measured) -> Self {
        let (name, what) = run.name.split_once(": ").unwrap_or((&run.name, ""));
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            seconds: Some(run.seconds()),
            least: Some(run.least()),
            ratio: run.ratios(measured).map(|(median, _)| median),
        }
    }

    /// The length of the bar.
    fn longest(&self) -> f64 {
        self.seconds.or(self.least).unwrap_or_default()
    }

    /// The colours separate this tool, other tools, and what does no cryptography.
    pub(crate) fn colour(&self) -> &'static str {
        match (self.name.as_str(), self.what.as_str()) {
            ("waxseal", _) | (_, "sealed") => TOOL,
            (_, "encrypt" | "decrypt") => PEER,
            _ => COPY,
        }
    }
}

/// The names of the pictures, and their content, for the figures in `folder`.
pub(crate) fn all(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let measured = csv::read(&text("compare.csv"))?;
    for (name, title) in [("file", "from file to file"), ("pipe", "from pipe to pipe")] {
        if let Some(one) = measured.iter().find(|one| one.name == name) {
            files.push((format!("{name}.svg"), bars(&measured_bars(one, title))));
        }
    }
    let sizes: Vec<&Measured> = measured.iter().filter(|one| one.name.starts_with("size-")).collect();
    if !sizes.is_empty() {
        let main = measured.iter().find(|one| one.name == "file");
        files.push(("sizes.svg".to_owned(), lines::draw(&sizes, main)));
    }
    for name in ["s3", "engines"] {
        let text = text(&format!("{name}.csv"));
        if !text.is_empty() {
            let summary = csv::summary(&text).map_err(|error| format!("{name}.csv: {error}"))?;
            files.push((format!("{name}.svg"), bars(&summary)));
        }
    }
    Ok(files)
}

fn measured_bars(measured: &Measured, title: &str) -> Summary {
    // `cat to cat` is too long for the column.
    let base = measured.runs.first().and_then(|run| run.against.split(' ').next()).unwrap_or_default();
    Summary {
        title: format!("{}, {title}, unsynced", show_size(measured.len)),
        subtitle: format!(
            "all programs in turn, {} rounds; bars: least time, and paler up to the median",
            measured.rounds
        ),
        base: base.to_owned(),
        rows: by_program(measured),
    }
}

/// The fastest program first, by its first row. The rows of a program stay together.
fn by_program(measured: &Measured) -> Vec<Row> {
    let with_figures = measured.runs.iter().filter(|run| !run.figures.is_empty());
    let rows: Vec<Row> = with_figures.map(|run| Row::new(run, measured)).collect();
    let mut programs: Vec<&[Row]> = rows.chunk_by(|one, next| one.name == next.name).collect();
    programs.sort_by(|one, other| one[0].longest().total_cmp(&other[0].longest()));
    programs.concat()
}

/// The beginning of a picture.
pub(crate) fn begin(height: f64, title: &str, subtitle: &str) -> String {
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"14\" fill=\"{TEXT}\" role=\"img\">\n\
         <title>{0}</title>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"16\" font-weight=\"bold\">{0}</text>\n\
         <text x=\"{LEFT}\" y=\"43\" font-size=\"13\">{1}</text>\n",
        escape(title),
        escape(subtitle)
    )
    .unwrap();
    svg
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn bars(summary: &Summary) -> String {
    let programs: Vec<&[Row]> = summary.rows.chunk_by(|one, next| one.name == next.name).collect();
    let longest = summary.rows.iter().map(Row::longest).fold(0.0, f64::max);
    let height = programs.iter().fold(HEAD, |height, rows| rows.iter().fold(height + GAP, |height, _| height + ROW));
    let mut svg = begin(height, &summary.title, &summary.subtitle);
    let base = format!("× {}", summary.base);
    let least = if summary.rows.iter().any(|row| row.least.is_some()) { "least" } else { "" };
    for (x, text) in [(MEDIAN, "median"), (LEAST, least), (RATIO, base.as_str())] {
        write_end(&mut svg, x, HEAD - 12.0, "", &escape(text));
    }
    let mut top = HEAD;
    for rows in programs {
        for (number, row) in rows.iter().enumerate() {
            bar(&mut svg, row, number == 0, top, longest);
            top += ROW;
        }
        top += GAP;
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, row: &Row, first: bool, top: f64, longest: f64) {
    let (base, colour) = (top + 15.0, row.colour());
    let length = |seconds: f64| (seconds / longest * (BARS_END - BARS)).max(1.0);
    let weight = if colour == TOOL { " font-weight=\"bold\"" } else { "" };
    if first {
        writeln!(svg, "<text x=\"{LEFT}\" y=\"{base}\"{weight}>{}</text>", escape(&row.name)).unwrap();
    }
    writeln!(svg, "<text x=\"{WHAT}\" y=\"{base}\"{weight}>{}</text>", escape(&row.what)).unwrap();
    let mut rect = |seconds: f64, opacity: &str| {
        writeln!(
            svg,
            "<rect x=\"{BARS}\" y=\"{}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"{opacity}/>",
            top + 2.0,
            length(seconds),
        )
        .unwrap();
    };
    rect(row.longest(), if row.least.is_some() { " fill-opacity=\"0.45\"" } else { "" });
    if let Some(least) = row.least {
        rect(least, "");
    }
    let seconds = |value: f64| if value < 0.1 { format!("{value:.3} s") } else { format!("{value:.2} s") };
    let figures = [row.seconds.map(seconds), row.least.map(seconds), row.ratio.map(|ratio| format!("{ratio:.2}"))];
    for (x, figure) in [MEDIAN, LEAST, RATIO].into_iter().zip(figures) {
        if let Some(text) = figure {
            write_end(svg, x, base, weight, &text);
        }
    }
}

/// Text that ends at `x`.
fn write_end(svg: &mut String, x: f64, y: f64, weight: &str, text: &str) {
    writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\"{weight}>{text}</text>").unwrap();
}
