//! Time for each GiB over the size of the file: one line for each program. Both axes are logarithmic.

use std::fmt::Write as _;

use crate::options::show_size;
use crate::plot::{COPY, PEER, TEXT, TOOL, begin, escape};
use crate::rounds::Measured;

const HEIGHT: f64 = 420.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 384.0;
/// Height of a line of text.
const TEXT_HEIGHT: f64 = 19.0;
/// The values with a rule.
const TICKS: [f64; 10] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// A program's seconds for each GiB, by the size of the file.
struct Line {
    name: String,
    points: Vec<(u64, f64)>,
}

impl Line {
    fn colour(&self) -> &'static str {
        match self.name.split_once(": ") {
            Some(("waxseal", _)) => TOOL,
            Some(_) => PEER,
            None => COPY,
        }
    }

    /// Of two lines with the same colour, one is dashed.
    fn dashes(&self) -> &'static str {
        if self.name.ends_with("decrypt") || self.name == "cp" { " stroke-dasharray=\"7 5\"" } else { "" }
    }
}

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        self.start + (value / self.from).ln() / (self.to / self.from).ln() * (self.end - self.start)
    }
}

/// `main` is the series with all programs. Those that were measured over sizes are taken from it.
pub(crate) fn draw(over_sizes: &[&Measured], main: Option<&Measured>) -> String {
    let lines = lines(over_sizes, main);
    let mut sizes: Vec<u64> = over_sizes.iter().copied().chain(main).map(|one| one.len).collect();
    sizes.sort_unstable();
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let across = Axis { from: float(sizes[0]), to: float(sizes[sizes.len() - 1]), start: LEFT, end: RIGHT };
    let up = Axis { from: least * 0.85, to: most * 1.15, start: BOTTOM, end: TOP };
    let mut svg = begin(
        HEIGHT,
        "Seconds for each GiB, by the size of the file",
        "from file to file, unsynced; medians; both axes are logarithmic",
    );
    grid(&mut svg, &sizes, &across, &up);
    for line in &lines {
        let places = line.points.iter().map(|(len, value)| (across.place(float(*len)), up.place(*value)));
        let points: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let width = if line.colour() == TOOL { 3 } else { 2 };
        let (colour, dashes, points) = (line.colour(), line.dashes(), points.join(" "));
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>"
        )
        .unwrap();
    }
    labels(&mut svg, &lines, &across, &up);
    svg + "</svg>\n"
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn float(len: u64) -> f64 {
    len as f64
}

fn lines(over_sizes: &[&Measured], main: Option<&Measured>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (one, is_main) in over_sizes.iter().map(|one| (*one, false)).chain(main.map(|one| (one, true))) {
        for run in one.runs.iter().filter(|run| !run.figures.is_empty()) {
            let point = (one.len, run.seconds() / (float(one.len) / float(1 << 30)));
            match lines.iter_mut().find(|line| line.name == run.name) {
                Some(line) => line.points.push(point),
                None if is_main => {}
                None => lines.push(Line { name: run.name.clone(), points: vec![point] }),
            }
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by_key(|(len, _)| *len));
    lines
}

fn grid(svg: &mut String, sizes: &[u64], across: &Axis, up: &Axis) {
    let rule = format!("stroke=\"{TEXT}\" stroke-opacity=\"0.35\"");
    for len in sizes {
        let x = across.place(float(*len));
        writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" {rule}/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 22.0,
            show_size(*len)
        )
        .unwrap();
    }
    for value in TICKS.into_iter().filter(|value| (up.from..up.to).contains(value)) {
        let y = up.place(value);
        writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" {rule}/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value} s</text>",
            LEFT - 10.0,
            y + 5.0
        )
        .unwrap();
    }
}

/// The name of each line at its end. Names that would overlap are moved apart.
fn labels(svg: &mut String, lines: &[Line], across: &Axis, up: &Axis) {
    let mut ends: Vec<_> = lines.iter().filter_map(|line| Some((line, *line.points.last()?))).collect();
    ends.sort_by(|(_, one), (_, other)| other.1.total_cmp(&one.1));
    let mut free = TOP - TEXT_HEIGHT;
    // The last names must stay inside the picture.
    let mut last = BOTTOM - TEXT_HEIGHT * ends.iter().skip(1).fold(0.0, |count, _| count + 1.0);
    for (line, (len, value)) in ends {
        let (x, y) = (across.place(float(len)), up.place(value));
        let at = y.max(free).min(last.max(free));
        (free, last) = (at + TEXT_HEIGHT, last + TEXT_HEIGHT);
        let (colour, name) = (line.colour(), escape(&line.name));
        let weight = if colour == TOOL { " font-weight=\"bold\"" } else { "" };
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
             <line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{at:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.6\"/>\
             <text x=\"{}\" y=\"{:.1}\"{weight}>{name}, {value:.2} s</text>",
            RIGHT + 22.0,
            RIGHT + 28.0,
            at + 5.0
        )
        .unwrap();
    }
}
