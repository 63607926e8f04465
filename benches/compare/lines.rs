//! Time over size: one line for each program. Both axes are logarithmic.

use std::fmt::Write as _;

use crate::options::show_size;
use crate::plot::{COPY, PEERS, TEXT, TOOL, begin, colour, escape};
use crate::rounds::Measured;
use crate::table::show;

const WIDTH: f64 = 950.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 435.0;
/// Height of a line of text.
const TEXT_HEIGHT: f64 = 16.0;

/// A program's times for each size.
struct Line {
    name: String,
    colour: &'static str,
    dashed: bool,
    points: Vec<(u64, f64)>,
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

pub(crate) fn draw(measured: &[&Measured]) -> String {
    let lines = lines(measured);
    let mut sizes: Vec<u64> = measured.iter().map(|one| one.series.len).collect();
    sizes.sort_unstable();
    let times = || lines.iter().flat_map(|line| &line.points).map(|(_, seconds)| *seconds);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let across = Axis { from: float(sizes[0]), to: float(sizes[sizes.len() - 1]), start: LEFT, end: RIGHT };
    let up = Axis { from: least * 0.8, to: most * 1.2, start: BOTTOM, end: TOP };
    let mut svg =
        begin(WIDTH, HEIGHT, "From small to large, file to file, unsynced", "seconds, medians; both axes logarithmic");
    grid(&mut svg, &sizes, &across, &up);
    for line in &lines {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(len, s)| format!("{:.1},{:.1}", across.place(float(*len)), up.place(*s)))
            .collect();
        let dash = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let width = if line.colour == TOOL { 3 } else { 2 };
        let (colour, points) = (line.colour, points.join(" "));
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}/>"
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

/// Decrypting is a dashed line in the colour of encrypting.
fn lines(measured: &[&Measured]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut peers: Vec<String> = Vec::new();
    for one in measured {
        for run in one.runs.iter().filter(|run| !run.figures.is_empty()) {
            let point = (one.series.len, run.seconds());
            if let Some(line) = lines.iter_mut().find(|line| line.name == run.name) {
                line.points.push(point);
                continue;
            }
            let peer = run.name.split(':').next().unwrap_or_default();
            let colour = match colour(&run.name) {
                fixed @ (TOOL | COPY) => fixed,
                _ => PEERS[number(&mut peers, peer) % PEERS.len()],
            };
            let dashed = run.name.ends_with("decrypt") || run.name == "cp";
            lines.push(Line { name: run.name.clone(), colour, dashed, points: vec![point] });
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by_key(|(len, _)| *len));
    lines
}

fn number(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

fn grid(svg: &mut String, sizes: &[u64], across: &Axis, up: &Axis) {
    let rule = format!("stroke=\"{TEXT}\" stroke-opacity=\"0.35\"");
    for len in sizes {
        let x = across.place(float(*len));
        writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" {rule}/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 20.0,
            show_size(*len)
        )
        .unwrap();
    }
    for power in -4..4 {
        let value = 10_f64.powi(power);
        if value < up.from || value > up.to {
            continue;
        }
        let y = up.place(value);
        writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" {rule}/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value} s</text>",
            LEFT - 8.0,
            y + 4.0
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
    let mut last = HEIGHT - TEXT_HEIGHT * ends.iter().fold(0.0, |count, _| count + 1.0);
    for (line, (len, seconds)) in ends {
        let (x, y) = (across.place(float(len)), up.place(seconds));
        let at = y.max(free).min(last.max(free));
        (free, last) = (at + TEXT_HEIGHT, last + TEXT_HEIGHT);
        let (colour, name) = (line.colour, escape(&line.name));
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\
             <line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{at:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.5\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{name}, {} s</text>",
            RIGHT + 24.0,
            RIGHT + 28.0,
            at + 4.0,
            show(seconds)
        )
        .unwrap();
    }
}
