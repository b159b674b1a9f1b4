//! Timelines as pictures: one SVG file, or an HTML page round it, with nothing from elsewhere.

use super::model::Model;
use super::roofline::Roofline;
use super::timeline::{EPILOGUE, Flight, FlightKind, Kind, Lane, Timeline};
use crate::counters::Class;
use crate::trace::CopyKind;
use std::fmt::{Display, Write};

const WIDTH: u32 = 1500;
/// Where lanes begin.
const LEFT: u32 = 400;
const PLOT: u32 = WIDTH - LEFT - 30;
const ROW: u32 = 14;
/// Columns of the plot to each of which one kind is drawn: two a pixel.
const COLUMNS: usize = 2 * PLOT as usize;
/// Most rows of copies in flight at the same time.
const MOST_COPY_ROWS: usize = 10;
/// Colours of warpgroups on the tensor cores.
const WARPGROUPS: [&str; 4] = ["#7fb069", "#2f6fde", "#d1495b", "#8a4fd3"];

const fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Compute => "#8fa3b5",
        Kind::Matrix => "#2f6fde",
        Kind::Shared => "#2a9d8f",
        Kind::Global => "#e07a1f",
        Kind::Copy => "#8a4fd3",
        Kind::Barrier => "#4a5560",
        Kind::BarrierWait => "#efd0d3",
        Kind::MbarrierWait => "#f6e7b4",
        Kind::CopyWait => "#e5d9f5",
        Kind::ProductWait => "#cddffb",
        Kind::LoadWait => "#fadfc8",
    }
}

/// The picture as an HTML page.
#[must_use]
pub fn html(timeline: &Timeline, model: &Model) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title></head>\n<body>\n{}</body></html>\n",
        escape(&timeline.kernel),
        svg(timeline, model)
    )
}

/// The picture.
#[must_use]
pub fn svg(timeline: &Timeline, model: &Model) -> String {
    let mut picture = Picture { body: String::new(), y: 24, cycles: timeline.cycles.max(1) };
    picture.head(timeline);
    for cta in 0..timeline.ctas {
        picture.cta(timeline, cta);
    }
    picture.axis();
    picture.estimate(timeline, model);
    let height = picture.y + 10;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
        picture.body
    )
}

/// Text as XML has it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A picture in the making; `y` is where it goes on.
struct Picture {
    body: String,
    y: u32,
    cycles: u64,
}

impl Picture {
    /// A line of the file.
    fn put(&mut self, element: impl Display) {
        let _ = writeln!(self.body, "{element}");
    }

    fn text(&mut self, x: u32, y: u32, style: &str, text: &str) {
        self.put(format_args!("<text x=\"{x}\" y=\"{y}\" {style}>{}</text>", escape(text)));
    }

    /// Where a cycle lies, in tenths of a pixel from the left of the plot.
    const fn tenths(&self, cycle: u64) -> u64 {
        cycle * (PLOT as u64 * 10) / self.cycles
    }

    fn head(&mut self, timeline: &Timeline) {
        let [x, y, z] = timeline.cta;
        let ctas = if timeline.ctas == 1 {
            format!("CTA ({x}, {y}, {z})")
        } else {
            format!("{} CTAs from ({x}, {y}, {z})", timeline.ctas)
        };
        self.text(
            10,
            self.y,
            "font-size=\"16\" font-weight=\"bold\"",
            &format!("{}, {ctas}", timeline.kernel),
        );
        self.y += 18;
        let note = format!(
            "{} cycles by a timing model of an H100; nothing here was measured{}",
            timeline.cycles,
            if timeline.truncated { "; the recording was too long, its end is missing" } else { "" }
        );
        self.text(10, self.y, "fill=\"#555555\"", &note);
        self.y += 14;
        let mut x = 10;
        for kind in Kind::ALL {
            let (y, name) = (self.y, kind.name());
            self.put(format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
                colour(kind)
            ));
            self.text(x + 16, y + 10, "", name);
            x += 34 + 7 * name.len() as u32;
        }
        self.y += 28;
    }

    fn cta(&mut self, timeline: &Timeline, cta: u32) {
        if timeline.ctas > 1 {
            self.text(10, self.y + 10, "font-size=\"13\" font-weight=\"bold\"", &format!("CTA rank {cta}"));
            self.y += 18;
        }
        let mut role = None;
        for lane in timeline.by_role(cta) {
            if role != Some(&lane.role) {
                self.y += 4;
                let title = lane.role.to_string();
                self.text(10, self.y + 11, "font-weight=\"bold\"", &title);
                role = Some(&lane.role);
            }
            let name = format!("warp {}", lane.warp);
            self.text(LEFT - 8, self.y + 11, "text-anchor=\"end\"", &name);
            self.lane(lane);
            if lane.warp % 4 == 3 || lane.phases.is_empty() {
                self.phases(lane);
            }
        }
        self.y += 8;
        self.copies(timeline, cta);
        self.groups(timeline, cta);
        self.products(timeline, cta);
        self.y += 6;
    }

    /// A warp: in each column the kind that most of it is.
    fn lane(&mut self, lane: &Lane) {
        let mut shares = vec![[0_u64; Kind::ALL.len()]; COLUMNS];
        let columns = COLUMNS as u64;
        for slice in &lane.slices {
            // Both in units of a cycle over the number of columns, so that column boundaries are whole.
            let (begin, end) = (slice.begin * columns, slice.end * columns);
            for column in begin / self.cycles..end.div_ceil(self.cycles).min(columns) {
                let overlap = end.min((column + 1) * self.cycles) - begin.max(column * self.cycles);
                shares[column as usize][slice.kind as usize] += overlap;
            }
        }
        let kinds: Vec<Option<Kind>> = shares
            .iter()
            .map(|shares| {
                let most = Kind::ALL.into_iter().rev().max_by_key(|kind| shares[*kind as usize])?;
                (shares[most as usize] > 0).then_some(most)
            })
            .collect();
        let middle = self.y + ROW / 2;
        for kind in Kind::ALL {
            let mut path = String::new();
            let mut at = 0;
            for stretch in kinds.chunk_by(|a, b| a == b) {
                if stretch[0] == Some(kind) {
                    let half = |columns: usize| if columns.is_multiple_of(2) { "" } else { ".5" };
                    let (x, width) = (LEFT as usize + at / 2, stretch.len());
                    let _ = write!(path, "M{x}{} {middle}h{}{}", half(at), width / 2, half(width));
                }
                at += stretch.len();
            }
            self.stroke(&path, colour(kind), ROW - 3);
        }
        self.y += ROW;
    }

    fn stroke(&mut self, path: &str, colour: &str, width: u32) {
        if !path.is_empty() {
            self.put(format_args!("<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"));
        }
    }

    /// Main loops and epilogues of a warpgroup, by its last warp.
    fn phases(&mut self, lane: &Lane) {
        if lane.phases.is_empty() {
            return;
        }
        let label = format!("warpgroup {} phases", lane.warp / 4);
        self.text(LEFT - 8, self.y + 10, "text-anchor=\"end\" fill=\"#555555\"", &label);
        for phase in &lane.phases {
            let (from, to) = (self.tenths(phase.begin), self.tenths(phase.end));
            let fill = if phase.name == EPILOGUE { "#f2b880" } else { "#9dbff5" };
            let y = self.y + 1;
            let (x, width) = (pixels(from + u64::from(LEFT) * 10), pixels((to - from).max(5)));
            self.put(format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"11\" fill=\"{fill}\" stroke=\"#ffffff\" stroke-width=\"0.5\"/>"
            ));
            if to - from > 600 {
                let x = (from / 10) as u32 + LEFT + 3;
                self.text(x, self.y + 10, "font-size=\"9\"", phase.name);
            }
        }
        self.y += ROW + 2;
    }

    /// A row of flights, as lines of some height.
    fn flights<'f>(&mut self, flights: impl Iterator<Item = &'f Flight>, colour: &str, height: u32) {
        let mut path = String::new();
        let middle = self.y + height / 2;
        for flight in flights {
            let (from, to) = (self.tenths(flight.begin), self.tenths(flight.end));
            // A gap of a third of a pixel tells neighbours apart.
            let width = (to - from).saturating_sub(3).max(3);
            let _ = write!(path, "M{} {middle}h{}", pixels(from + u64::from(LEFT) * 10), pixels(width));
        }
        self.stroke(&path, colour, height - 1);
    }

    fn copies(&mut self, timeline: &Timeline, cta: u32) {
        for kind in [CopyKind::Load, CopyKind::Exchange, CopyKind::Store] {
            let copies = timeline.copies.iter().filter(|copy| {
                copy.cta == cta && matches!(copy.what, FlightKind::Copy { kind: other, .. } if other == kind)
            });
            let rows = stack(copies);
            if rows.is_empty() {
                continue;
            }
            let (bytes, count) = rows.iter().flatten().fold((0, 0), |(bytes, count), copy| match copy.what {
                FlightKind::Copy { bytes: more, .. } => (bytes + more, count + 1),
                _ => (bytes, count),
            });
            let label = format!("bulk {}s in flight: {count}, {bytes} bytes", kind.name());
            self.text(10, self.y + 10, "font-weight=\"bold\"", &label);
            let fill = if kind == CopyKind::Load { "#8a4fd3" } else { "#c2571a" };
            for row in &rows {
                self.flights(row.iter().copied(), fill, 8);
                self.y += 8;
            }
            self.y += if rows.len() == 1 { 8 } else { 4 };
        }
    }

    fn groups(&mut self, timeline: &Timeline, cta: u32) {
        for (warpgroup, fill) in (0..8).zip(WARPGROUPS.iter().cycle()) {
            let groups = timeline.groups.iter().filter(|group| {
                group.cta == cta
                    && matches!(group.what, FlightKind::Group { warpgroup: other, .. } if other == warpgroup)
            });
            let rows = stack(groups);
            if rows.is_empty() {
                continue;
            }
            let count = rows.iter().map(Vec::len).sum::<usize>();
            let label = format!("wgmma groups of warpgroup {warpgroup}, commit to wait: {count}");
            self.text(10, self.y + 10, "font-weight=\"bold\"", &label);
            for row in &rows {
                self.flights(row.iter().copied(), fill, 8);
                self.y += 8;
            }
            self.y += if rows.len() == 1 { 8 } else { 4 };
        }
    }

    fn products(&mut self, timeline: &Timeline, cta: u32) {
        let of = |warpgroup: u32| {
            timeline.products.iter().filter(move |product| {
                product.cta == cta
                    && matches!(product.what, FlightKind::Product { warpgroup: other, .. } if other == warpgroup)
            })
        };
        if (0..8).all(|warpgroup| of(warpgroup).next().is_none()) {
            return;
        }
        self.text(10, self.y + 10, "font-weight=\"bold\"", "tensor cores, by warpgroup");
        for (warpgroup, fill) in (0..8).zip(WARPGROUPS.iter().cycle()) {
            self.flights(of(warpgroup), fill, ROW);
        }
        self.y += ROW + 4;
    }

    fn axis(&mut self) {
        let step = nice_step(self.cycles);
        let y = self.y;
        self.put(format_args!("<path d=\"M{LEFT} {y}h{PLOT}\" stroke=\"#333333\" stroke-width=\"1\"/>"));
        for tick in 0..=self.cycles / step {
            let x = LEFT + (self.tenths(tick * step) / 10) as u32;
            self.put(format_args!("<path d=\"M{x} {y}v5\" stroke=\"#333333\" stroke-width=\"1\"/>"));
            self.text(x, y + 16, "text-anchor=\"middle\"", &(tick * step).to_string());
        }
        self.text(LEFT - 8, y + 14, "text-anchor=\"end\"", "cycles");
        self.y += 34;
    }

    /// The roofline as bars, and counters.
    fn estimate(&mut self, timeline: &Timeline, model: &Model) {
        let roofline = Roofline::of(timeline, model);
        let title = format!(
            "Roofline estimate for an H100 SXM, of {}: bound by {}",
            if timeline.ctas == 1 { "this CTA" } else { "the mean CTA" },
            roofline.bound().name()
        );
        self.text(10, self.y, "font-size=\"13\" font-weight=\"bold\"", &title);
        self.y += 8;
        let bars = [
            ("tensor cores at their peak", roofline.tensor_cycles, "#2f6fde"),
            ("port to the L2 cache, 64 bytes a cycle", roofline.port_cycles, "#2a9d8f"),
            ("1/132 of the memory, 3.35 TB/s", roofline.memory_cycles, "#e07a1f"),
            ("this timeline", roofline.cycles as f64, "#8fa3b5"),
        ];
        let longest = bars.iter().fold(1.0, |most: f64, bar| most.max(bar.1));
        for (name, cycles, fill) in bars {
            self.text(LEFT - 8, self.y + 11, "text-anchor=\"end\"", name);
            let (y, width) = (self.y + 1, pixels((cycles / longest * 7000.0) as u64));
            self.put(format_args!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"11\" fill=\"{fill}\"/>"
            ));
            let x = LEFT + 6 + (cycles / longest * 700.0) as u32;
            self.text(x, self.y + 11, "", &format!("{cycles:.0} cycles"));
            self.y += ROW + 2;
        }
        self.y += 10;
        let totals = &timeline.totals;
        let lines = [
            format!(
                "{} useful multiply-adds of {} in a CTA, {} bytes of global memory read and written (what is read \
                 twice counts twice): {:.1} multiply-adds a byte; tensor cores busy for {:.0} % of the timeline",
                roofline.useful_macs,
                roofline.macs,
                roofline.bytes,
                roofline.intensity(),
                100.0 * roofline.tensor_share()
            ),
            format!(
                "{} warp instructions, {} of them polling: {}",
                totals.issued.iter().sum::<u64>(),
                totals.polled.iter().sum::<u64>(),
                by_class(&totals.issued)
            ),
        ];
        for line in &lines {
            self.text(10, self.y + 4, "", line);
            self.y += 16;
        }
    }
}

/// Tenths of a pixel as pixels.
fn pixels(tenths: u64) -> String {
    if tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

fn by_class(issued: &[u64; Class::ALL.len()]) -> String {
    let counted = Class::ALL.iter().zip(issued).filter(|(_, count)| **count > 0);
    counted.map(|(class, count)| format!("{} {count}", class.name())).collect::<Vec<_>>().join(", ")
}

/// Flights in rows without overlap, each in the first row that is free; the last row takes what finds none.
fn stack<'f>(flights: impl Iterator<Item = &'f Flight>) -> Vec<Vec<&'f Flight>> {
    let mut rows: Vec<Vec<&Flight>> = Vec::new();
    for flight in flights {
        let free = rows.iter().position(|row| row.last().is_none_or(|last| last.end <= flight.begin));
        match free {
            Some(row) => rows[row].push(flight),
            None if rows.len() < MOST_COPY_ROWS => rows.push(vec![flight]),
            None => rows[MOST_COPY_ROWS - 1].push(flight),
        }
    }
    rows
}

/// A round number of cycles that makes some ten ticks.
fn nice_step(cycles: u64) -> u64 {
    let mut step = 1;
    for factor in [2, 5, 10].into_iter().cycle() {
        if cycles / step <= 12 {
            break;
        }
        let power = 10_u64.pow(step.ilog10());
        step = power * factor;
    }
    step
}
