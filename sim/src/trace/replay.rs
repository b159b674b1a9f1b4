//! The second pass: the events of a recording laid out in time, by the model.
//!
//! Warps are taken in the order of the time at which they are ready; the shared units (schedulers, ports, the tensor
//! core's queue) serve first who comes first. The order in which the interpreter ran proves that every wait ends, so
//! there is always a warp to go on with; where a recording lumps together what two parts of a divergent warp did, the
//! one that has waited longest goes on.

use super::model::Model;
use super::record::{Copy, CopyKind, Event, Product, Recording, Run, Space};
use super::role;
use super::timeline::{Flight, FlightKind, Kind, Lane, Slice, Timeline};
use crate::counters::Class;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Instructions that a scheduler issues for one warp before it looks at the others.
const STRETCH: u32 = 8;

/// Something that waits can be for.
#[derive(Debug, Clone, Default)]
struct Pending {
    /// Contributions still to come.
    left: u32,
    /// The last one so far.
    time: u64,
    /// Warps that wait: since when, with the kind of the slice and the line.
    waiters: Vec<(usize, u64, Kind, u32)>,
}

/// The units of a multiprocessor: from when on they are free.
#[derive(Debug, Clone, Default)]
struct Units {
    schedulers: [u64; 4],
    /// Of each scheduler, the unit of each class.
    classes: [[u64; Class::ALL.len()]; 4],
    load_port: u64,
    store_port: u64,
    shared_port: u64,
    tensor: u64,
}

/// A warp on its way through its events.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    event: usize,
    /// Instructions of the current run that have been issued.
    issued: u32,
    /// When what it has loaded is there.
    loaded: u64,
    /// Line of the last load.
    loaded_line: u32,
}

struct Replay<'a> {
    model: Model,
    recording: &'a Recording,
    units: Vec<Units>,
    cursors: Vec<Cursor>,
    lanes: Vec<Lane>,
    ready: BinaryHeap<Reverse<(u64, usize)>>,
    signals: Vec<Pending>,
    products: Vec<Pending>,
    /// Where each product ran.
    product_times: Vec<[u64; 2]>,
    /// Issue, end of reading, and end of each copy.
    copy_times: Vec<[u64; 3]>,
    group_times: Vec<[u64; 2]>,
    /// Ends of each warp's `cp.async`.
    lane_copies: Vec<Vec<u64>>,
}

/// Lays out a recording in time.
#[must_use]
pub fn lay_out(recording: &Recording, model: Model) -> Timeline {
    let mut replay = Replay::new(recording, model);
    replay.run();
    replay.finish()
}

impl<'a> Replay<'a> {
    fn new(recording: &'a Recording, model: Model) -> Self {
        let roles = role::roles(&recording.warps);
        let lanes = recording.warps.iter().zip(roles).map(|(warp, role)| Lane {
            cta: warp.cta,
            warp: warp.index,
            role,
            slices: Vec::new(),
            phases: Vec::new(),
            apart: false,
        });
        let pending = |left| Pending { left, ..Pending::default() };
        Self {
            model,
            recording,
            units: vec![Units::default(); recording.ctas as usize],
            cursors: vec![Cursor::default(); recording.warps.len()],
            lanes: lanes.collect(),
            ready: (0..recording.warps.len()).map(|warp| Reverse((0, warp))).collect(),
            signals: recording.signals.iter().map(|(_, contributions)| pending(*contributions)).collect(),
            products: recording.products.iter().map(|product| pending(product.issuers)).collect(),
            product_times: vec![[0; 2]; recording.products.len()],
            copy_times: vec![[0; 3]; recording.copies.len()],
            group_times: vec![[u64::MAX, 0]; recording.groups.len()],
            lane_copies: vec![Vec::new(); recording.warps.len()],
        }
    }

    fn run(&mut self) {
        loop {
            while let Some(Reverse((time, warp))) = self.ready.pop() {
                self.step(warp, time);
            }
            let waiters = self.signals.iter().chain(&self.products).flat_map(|pending| &pending.waiters);
            let Some((warp, since, kind, line)) =
                waiters.min_by_key(|(warp, since, ..)| (*since, *warp)).copied()
            else {
                return;
            };
            for pending in self.signals.iter_mut().chain(&mut self.products) {
                pending.waiters.retain(|(other, ..)| *other != warp);
            }
            self.resume(warp, since, since, kind, line);
        }
    }

    /// Does the next event of a warp, or a part of it.
    fn step(&mut self, warp: usize, time: u64) {
        let recording = self.recording;
        let Cursor { event, loaded, loaded_line, .. } = self.cursors[warp];
        let Some(event) = recording.warps[warp].events.get(event) else { return };
        if loaded > time && !goes_on_while_loading(event) {
            self.wait_until(warp, time, loaded, Kind::LoadWait, loaded_line);
            self.ready.push(Reverse((loaded, warp)));
            return;
        }
        if let Event::Run(run) = event {
            let end = self.issue(warp, time, run);
            self.ready.push(Reverse((end, warp)));
            return;
        }
        self.cursors[warp].event += 1;
        let mut resume_at = Some(time);
        match *event {
            Event::Run(_) => {}
            Event::Arrive(signal) => self.contribute(signal, time),
            Event::Await(signal, line) => {
                let kind = match recording.signals[signal as usize].0 {
                    super::record::Signal::Mbarrier { .. } => Kind::MbarrierWait,
                    _ => Kind::BarrierWait,
                };
                let latency = self.model.barrier_latency;
                resume_at = wait(&mut self.signals[signal as usize], warp, time, latency, kind, line);
                if let Some(end) = resume_at {
                    self.wait_until(warp, time, end, kind, line);
                }
            }
            Event::Copy(copy) => {
                self.copy(copy, time);
                if recording.copies[copy as usize].kind == CopyKind::Store {
                    self.lanes[warp].extend_epilogue(time);
                }
            }
            Event::AwaitCopies { ref copies, read, line } => {
                let ends =
                    copies.iter().map(|copy| self.copy_times[*copy as usize][if read { 1 } else { 2 }]);
                let end = ends.max().unwrap_or(0).max(time);
                self.wait_until(warp, time, end, Kind::CopyWait, line);
                self.lanes[warp].extend_epilogue(end);
                resume_at = Some(end);
            }
            Event::LaneCopy { bytes, .. } => {
                let port = &mut self.units[self.lanes[warp].cta as usize].load_port;
                *port = time.max(*port) + bytes.div_ceil(self.model.load_bytes);
                self.lane_copies[warp].push(*port + self.model.global_latency);
            }
            Event::AwaitLaneCopies { count, line } => {
                let ends = self.lane_copies[warp].iter().take(count as usize);
                let end = ends.max().copied().unwrap_or(0).max(time);
                self.wait_until(warp, time, end, Kind::CopyWait, line);
                resume_at = Some(end);
            }
            Event::ArriveAfterLaneCopies(signal) => {
                let end = self.lane_copies[warp].iter().max().copied().unwrap_or(0).max(time);
                self.contribute(signal, end);
            }
            Event::Product(product) => {
                self.lanes[warp].extend_main_loop(time, time);
                self.product(product, time);
            }
            Event::Commit(group) => {
                let begin = &mut self.group_times[group as usize][0];
                *begin = time.min(*begin);
            }
            Event::AwaitProduct { product, line, .. } => {
                let kind = Kind::ProductWait;
                resume_at = wait(&mut self.products[product as usize], warp, time, 0, kind, line);
                if let Some(end) = resume_at {
                    self.wait_until(warp, time, end, kind, line);
                    self.end_groups(warp, end);
                }
            }
        }
        if let Some(time) = resume_at {
            self.ready.push(Reverse((time, warp)));
        }
    }

    /// Issues a stretch of a run; gives the time at which the warp can go on.
    fn issue(&mut self, warp: usize, time: u64, run: &Run) -> u64 {
        let model = self.model;
        let (cta, index) = (self.lanes[warp].cta as usize, self.lanes[warp].warp as usize);
        let units = &mut self.units[cta];
        let cursor = &mut self.cursors[warp];
        let count = (run.count - cursor.issued).min(STRETCH);
        let (scheduler, class) = (&mut units.schedulers[index % 4], run.class as usize);
        let unit = &mut units.classes[index % 4][class];
        let begin = time.max(*scheduler).max(*unit);
        let products = share(run.macs, run, cursor.issued, count).div_ceil(model.warp_macs);
        let busy = (u64::from(count) * Model::issue_cycles(run.class)).max(products);
        *scheduler = begin + u64::from(count);
        *unit = begin + busy;
        let mut end = begin + busy;
        let bytes = share(run.bytes, run, cursor.issued, count);
        let port = |port: &mut u64, width: u64| {
            *port = begin.max(*port) + bytes.div_ceil(width);
            *port
        };
        match run.space {
            Space::None => {}
            Space::GlobalRead => {
                let done = port(&mut units.load_port, model.load_bytes) + model.global_latency;
                (cursor.loaded, cursor.loaded_line) = (cursor.loaded.max(done), run.lines[1]);
            }
            Space::SharedRead => {
                let done = port(&mut units.shared_port, model.shared_bytes) + model.shared_latency;
                (cursor.loaded, cursor.loaded_line) = (cursor.loaded.max(done), run.lines[1]);
            }
            // A store holds its warp up while the port has more than it can queue.
            Space::GlobalWritten => {
                end = end.max(port(&mut units.store_port, model.store_bytes));
            }
            Space::SharedWritten => {
                end = end.max(port(&mut units.shared_port, model.shared_bytes));
            }
        }
        cursor.issued += count;
        if cursor.issued == run.count {
            cursor.issued = 0;
            cursor.event += 1;
        }
        let kind = match (run.class, run.space) {
            (Class::Matrix, Space::SharedRead | Space::SharedWritten) => Kind::Shared,
            (class, _) => Kind::of(class),
        };
        self.lanes[warp].add(Slice {
            begin: time,
            end,
            kind,
            instructions: u64::from(count),
            bytes,
            lines: run.lines,
        });
        if run.space == Space::GlobalWritten {
            self.lanes[warp].extend_epilogue(end);
        }
        end
    }

    /// A contribution to a signal is made at a time.
    fn contribute(&mut self, signal: u32, time: u64) {
        let pending = &mut self.signals[signal as usize];
        pending.time = pending.time.max(time);
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0 {
            let end = pending.time + self.model.barrier_latency;
            for (warp, since, kind, line) in std::mem::take(&mut pending.waiters) {
                self.resume(warp, since, since.max(end), kind, line);
            }
        }
    }

    fn copy(&mut self, number: u32, time: u64) {
        let Copy { kind, bytes, cta, signal, .. } = self.recording.copies[number as usize];
        let (model, units) = (self.model, &mut self.units[cta as usize]);
        let (port, width, latency) = match kind {
            CopyKind::Load => (&mut units.load_port, model.load_bytes, model.copy_latency),
            CopyKind::Store => (&mut units.store_port, model.store_bytes, model.store_latency),
            CopyKind::Exchange => (&mut units.store_port, model.store_bytes, model.exchange_latency),
        };
        *port = time.max(*port) + bytes.div_ceil(width);
        let (read, end) = (*port, *port + latency);
        self.copy_times[number as usize] = [time, read, end];
        if let Some(signal) = signal {
            self.contribute(signal, end);
        }
    }

    /// A warp has issued a product; the last of its warpgroup starts it.
    fn product(&mut self, number: u32, time: u64) {
        let pending = &mut self.products[number as usize];
        pending.time = pending.time.max(time);
        pending.left -= 1;
        if pending.left > 0 {
            return;
        }
        let Product { cta, tensor_cycles, operand_bytes, .. } = self.recording.products[number as usize];
        let queue = &mut self.units[cta as usize].tensor;
        let begin = (pending.time + self.model.product_start).max(*queue);
        let end = begin + self.model.product_cycles(tensor_cycles, operand_bytes);
        *queue = end;
        self.product_times[number as usize] = [begin, end];
        pending.time = end + self.model.product_drain;
        let done = pending.time;
        for (warp, since, kind, line) in std::mem::take(&mut pending.waiters) {
            let end = since.max(done);
            self.resume(warp, since, end, kind, line);
            self.end_groups(warp, end);
        }
    }

    /// The groups that the wait of a warp, whose cursor is past it, was for end.
    fn end_groups(&mut self, warp: usize, time: u64) {
        let events = &self.recording.warps[warp].events[..self.cursors[warp].event];
        let last = match events.last() {
            Some(Event::AwaitProduct { group, .. }) => *group,
            _ => return,
        };
        let of = |group: &super::record::Group| (group.cta, group.warpgroup);
        let warpgroup = of(&self.recording.groups[last as usize]);
        for (number, group) in self.recording.groups[..=last as usize].iter().enumerate().rev() {
            if of(group) != warpgroup {
                continue;
            }
            let [begin, end] = &mut self.group_times[number];
            if *end != 0 {
                break;
            }
            *end = time.max(*begin);
        }
    }

    fn wait_until(&mut self, warp: usize, begin: u64, end: u64, kind: Kind, line: u32) {
        if kind == Kind::ProductWait {
            self.lanes[warp].extend_main_loop(begin, end);
        }
        if end > begin {
            self.lanes[warp].add(Slice { begin, end, kind, instructions: 0, bytes: 0, lines: [line; 2] });
        }
    }

    fn resume(&mut self, warp: usize, since: u64, time: u64, kind: Kind, line: u32) {
        self.wait_until(warp, since, time, kind, line);
        self.ready.push(Reverse((time, warp)));
    }

    fn finish(self) -> Timeline {
        let Self { recording, mut lanes, .. } = self;
        let ends = lanes.iter().filter_map(|lane| lane.slices.last()).map(|slice| slice.end);
        let cycles = ends
            .chain(self.copy_times.iter().map(|[.., end]| *end))
            .chain(self.product_times.iter().map(|[_, end]| *end))
            .max()
            .unwrap_or(0);
        let copies = recording.copies.iter().zip(&self.copy_times).map(|(copy, [begin, _, end])| Flight {
            cta: copy.cta,
            begin: *begin,
            end: *end,
            line: copy.line,
            what: FlightKind::Copy { kind: copy.kind, bytes: copy.bytes, warp: copy.warp },
        });
        let groups = recording.groups.iter().zip(&self.group_times).map(|(group, [begin, end])| Flight {
            cta: group.cta,
            begin: *begin.min(&cycles),
            end: if *end == 0 { cycles } else { *end },
            line: group.line,
            what: FlightKind::Group { warpgroup: group.warpgroup, products: group.products },
        });
        let products =
            recording.products.iter().zip(&self.product_times).map(|(product, [begin, end])| Flight {
                cta: product.cta,
                begin: *begin,
                end: *end,
                line: product.line,
                what: FlightKind::Product { warpgroup: product.warpgroup, macs: product.macs },
            });
        let grouped: u64 = recording.products.iter().map(|product| product.tensor_cycles).sum();
        let macs: u64 = recording.products.iter().map(|product| product.macs).sum();
        let alone = recording.totals.matrix_macs.saturating_sub(macs).div_ceil(4 * self.model.warp_macs);
        lanes.iter_mut().for_each(Lane::round_phases);
        Timeline {
            kernel: recording.kernel.clone(),
            cta: recording.cta,
            ctas: recording.ctas,
            cycles,
            lanes,
            copies: copies.collect(),
            groups: groups.collect(),
            products: products.collect(),
            totals: recording.totals,
            tensor_cycles: grouped + alone,
            truncated: recording.truncated,
        }
    }
}

/// The part of a run's bytes or multiply-adds that some of its instructions have; the last ones get what is left.
fn share(of: u64, run: &Run, before: u32, count: u32) -> u64 {
    let until = |instructions: u32| of * u64::from(instructions) / u64::from(run.count);
    until(before + count) - until(before)
}

/// The end of a warp's wait if it is known; else the warp is noted.
fn wait(pending: &mut Pending, warp: usize, time: u64, latency: u64, kind: Kind, line: u32) -> Option<u64> {
    if pending.left > 0 {
        pending.waiters.push((warp, time, kind, line));
        return None;
    }
    Some(time.max(pending.time + latency))
}

/// Whether an event needs nothing that is being loaded: other loads, what addresses and loops are made of, waits, and
/// the issue of what works on shared memory by itself. An arrival hands over what was read, and so waits.
const fn goes_on_while_loading(event: &Event) -> bool {
    match event {
        Event::Run(run) => {
            matches!(run.space, Space::GlobalRead | Space::SharedRead)
                || matches!(run.class, Class::Integer | Class::Move | Class::Parameter | Class::Control)
                || matches!(run.class, Class::Barrier | Class::AsyncCopy)
                || matches!(run.class, Class::Matrix) && matches!(run.space, Space::None) && run.macs == 0
        }
        Event::Arrive(_) | Event::ArriveAfterLaneCopies(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::trace::Recorder;
    use crate::trace::record::Reading;

    const MODEL: Model = Model::H100;

    fn recorder(warps: usize) -> Recorder {
        Recorder::new("kernel", [0; 3], 1, (0..warps).map(|warp| (0, warp)))
    }

    /// A warp issues instructions of a class that move nothing.
    fn issue(recorder: &mut Recorder, warp: usize, class: Class, count: usize) {
        let counters = Counters::default();
        (0..count).for_each(|_| recorder.issue(warp, class, 1, &Reading::of(&counters), &counters));
    }

    fn end(timeline: &Timeline, warp: usize) -> u64 {
        timeline.lanes[warp].slices.last().expect("a slice").end
    }

    #[test]
    fn warps_of_a_scheduler_share_its_issue_slots() {
        let mut recorder = recorder(5);
        (0..5).for_each(|warp| issue(&mut recorder, warp, Class::Float, 100));
        let timeline = lay_out(&recorder.finish(), MODEL);
        // Warps 0 and 4 have scheduler 0, the others one for themselves.
        assert_eq!([1, 2, 3].map(|warp| end(&timeline, warp)), [100; 3]);
        assert_eq!([0, 4].map(|warp| end(&timeline, warp)).into_iter().max(), Some(200));
        assert!([0, 4].map(|warp| end(&timeline, warp)).into_iter().min() > Some(180), "they take turns");
    }

    #[test]
    fn narrow_units_take_longer() {
        let mut recorder = recorder(1);
        issue(&mut recorder, 0, Class::Special, 10);
        assert_eq!(lay_out(&recorder.finish(), MODEL).cycles, 80);
    }

    #[test]
    fn a_barrier_ends_for_all_when_the_last_has_come() {
        let mut recorder = recorder(2);
        // The interpreter lets warp 1 go first; it is the one that comes late.
        for (warp, work) in [(1, 300), (0, 50)] {
            issue(&mut recorder, warp, Class::Float, work);
            recorder.at(warp, 7).barrier(1, 0, true);
            issue(&mut recorder, warp, Class::Float, 1);
        }
        let timeline = lay_out(&recorder.finish(), MODEL);
        let done = 300 + MODEL.barrier_latency + 1;
        assert_eq!([0, 1].map(|warp| end(&timeline, warp)), [done; 2]);
        let wait = timeline.lanes[0].slices[1];
        assert_eq!((wait.kind, wait.begin, wait.lines), (Kind::BarrierWait, 50, [7; 2]));
    }

    #[test]
    fn polling_takes_no_time_of_its_own() {
        let mut recorder = recorder(2);
        recorder.at(1, 1).init_mbarrier(64);
        for _ in 0..1000 {
            recorder.at(1, 2).test_mbarrier(5, 64, None);
            issue(&mut recorder, 1, Class::Barrier, 1);
            issue(&mut recorder, 1, Class::Control, 1);
        }
        issue(&mut recorder, 0, Class::Float, 40);
        recorder.at(0, 3).arrive_at_mbarrier(64, 0);
        recorder.at(1, 2).test_mbarrier(5, 64, Some(1));
        issue(&mut recorder, 1, Class::Barrier, 1);
        let recording = recorder.finish();
        assert_eq!(recording.totals.polled.iter().sum::<u64>(), 2000);
        assert_eq!(recording.totals.issued.iter().sum::<u64>(), 2041);
        let timeline = lay_out(&recording, MODEL);
        assert_eq!(end(&timeline, 1), 40 + MODEL.barrier_latency + 1);
    }

    #[test]
    fn copies_share_the_port_and_overlap_their_latency() {
        let mut recorder = recorder(1);
        recorder.at(0, 1).init_mbarrier(64);
        let bytes = 64 * MODEL.load_bytes;
        (0..2).for_each(|_| recorder.at(0, 2).load(CopyKind::Load, bytes, 0, (64, 0)));
        recorder.at(0, 3).test_mbarrier(5, 64, Some(1));
        let timeline = lay_out(&recorder.finish(), MODEL);
        let ends: Vec<u64> = timeline.copies.iter().map(|copy| copy.end).collect();
        assert_eq!(ends, [64 + MODEL.copy_latency, 128 + MODEL.copy_latency]);
        assert_eq!(timeline.cycles, ends[1] + MODEL.barrier_latency);
    }

    #[test]
    fn products_queue_behind_each_other() {
        let mut recorder = recorder(8);
        for warp in 0..8 {
            issue(&mut recorder, warp, Class::Float, warp);
            let mut trace = recorder.at(warp, 4);
            trace.product(64 * 128 * 32, 64, 0);
            trace.commit_products();
            trace.wait_for_products(0);
        }
        let timeline = lay_out(&recorder.finish(), MODEL);
        let times: Vec<[u64; 2]> =
            timeline.products.iter().map(|product| [product.begin, product.end]).collect();
        // A product starts when the last of its four warps has issued it.
        let first = 3 + MODEL.product_start;
        assert_eq!(times, [[first, first + 64], [first + 64, first + 128]]);
        assert_eq!(timeline.tensor_cycles, 128);
        let group = &timeline.groups[1];
        assert_eq!((group.begin, group.end), (4, first + 128 + MODEL.product_drain));
        assert_eq!(timeline.lanes[0].phases.len(), 1);
    }

    #[test]
    fn operands_of_a_narrow_product_limit_it() {
        assert_eq!(MODEL.product_cycles(4, 2048 + 256), 18);
        assert_eq!(MODEL.product_cycles(64, 2048 + 4096), 64);
    }

    #[test]
    fn a_wait_that_a_part_of_the_warp_would_end_does_not_hang() {
        let mut recorder = recorder(1);
        recorder.at(0, 1).arrive_at_cluster(0);
        recorder.at(0, 2).wait_for_cluster(0);
        issue(&mut recorder, 0, Class::Float, 3);
        recorder.at(0, 3).arrive_at_cluster(0);
        let timeline = lay_out(&recorder.finish(), MODEL);
        assert_eq!(end(&timeline, 0), 3);
    }
}
