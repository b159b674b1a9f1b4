//! The first pass: what each warp of a cluster did, in its own order, and what depends on whom.
//!
//! Every wait names a *signal*, whose contributions are counted while recording. A replay needs no other state of
//! barriers: a signal is given when all its contributions have been made.

use crate::counters::{Class, Counters};
use rustc_hash::FxHashMap;

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A generation of a CTA barrier.
    Barrier {
        /// Rank of the CTA.
        cta: u32,
        /// Barrier number.
        id: u32,
        /// Generation.
        generation: u64,
    },
    /// A phase of the cluster barrier.
    Cluster {
        /// Phase.
        phase: u64,
    },
    /// A phase of an mbarrier.
    Mbarrier {
        /// The object: a number for each `mbarrier.init`.
        object: u32,
        /// Phase.
        phase: u64,
    },
}

/// Instructions of one class and line range, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub class: Class,
    pub count: u32,
    /// Bytes of global or shared memory.
    pub bytes: u64,
    pub space: Space,
    pub macs: u64,
    pub lines: [u32; 2],
}

/// Where the bytes of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    None,
    GlobalRead,
    GlobalWritten,
    SharedRead,
    SharedWritten,
}

/// What a warp did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Run(Run),
    /// Contributes to a signal.
    Arrive(u32),
    /// Waits for a signal, at a line.
    Await(u32, u32),
    /// Starts a copy.
    Copy(u32),
    /// Waits for copies out of shared memory: all of it, or until they have read it.
    AwaitCopies {
        copies: Box<[u32]>,
        read: bool,
        line: u32,
    },
    /// A `cp.async`.
    LaneCopy {
        bytes: u64,
        line: u32,
    },
    /// Waits for so many of the warp's first `cp.async`.
    AwaitLaneCopies {
        count: u32,
        line: u32,
    },
    /// Contributes to a signal when the warp's `cp.async` so far are done.
    ArriveAfterLaneCopies(u32),
    /// Issues a product with its warpgroup.
    Product(u32),
    /// Commits a group of products.
    Commit(u32),
    /// Waits for a product and those before it.
    AwaitProduct {
        product: u32,
        group: u32,
        line: u32,
    },
}

/// Which way a bulk or tensor copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// Global to shared.
    Load,
    /// Shared to global.
    Store,
    /// To the shared memory of another CTA of the cluster.
    Exchange,
}

impl CopyKind {
    /// The name in a trace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Store => "store",
            Self::Exchange => "exchange",
        }
    }
}

/// A bulk or tensor copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Which way it goes.
    pub kind: CopyKind,
    /// Bytes: those delivered, or written.
    pub bytes: u64,
    /// Rank of the CTA whose port it takes: the target of a load or exchange, the source of a store.
    pub cta: u32,
    /// The warp that issued it, by number in the cluster.
    pub warp: u32,
    /// PTX line.
    pub line: u32,
    /// The signal that it contributes to.
    pub(super) signal: Option<u32>,
}

/// A product of a warpgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Rank of the CTA.
    pub cta: u32,
    /// Warpgroup in the CTA.
    pub warpgroup: u32,
    /// Multiply-adds.
    pub macs: u64,
    /// Cycles at the tensor core's peak.
    pub tensor_cycles: u64,
    /// Bytes of its operands in shared memory.
    pub operand_bytes: u64,
    /// PTX line.
    pub line: u32,
    /// Warps that have issued it.
    pub(super) issuers: u32,
}

/// A committed group of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Rank of the CTA.
    pub cta: u32,
    /// Warpgroup in the CTA.
    pub warpgroup: u32,
    /// Products.
    pub products: u32,
    /// PTX line of the commit.
    pub line: u32,
}

/// What was counted in the cluster, to hold the timeline against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Warp instructions by class, as [`Counters::issued`] counts them.
    pub issued: [u64; Class::ALL.len()],
    /// Those of them that polled.
    pub polled: [u64; Class::ALL.len()],
    /// Bytes read from global memory.
    pub global_read_bytes: u64,
    /// Bytes written to global memory.
    pub global_written_bytes: u64,
    /// Multiply-adds of matrix instructions.
    pub matrix_macs: u64,
    /// Those of padding, if accesses are counted.
    pub padded_macs: u64,
}

/// Values of counters at a time.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    global_read: u64,
    global_written: u64,
    shared_read: u64,
    shared_written: u64,
    macs: u64,
    padded: u64,
}

impl Reading {
    /// The counters now.
    #[must_use]
    pub const fn of(counters: &Counters) -> Self {
        Self {
            global_read: counters.global_read_bytes,
            global_written: counters.global_written_bytes,
            shared_read: counters.shared_read_bytes,
            shared_written: counters.shared_written_bytes,
            macs: counters.matrix_macs,
            padded: counters.padded_macs,
        }
    }
}

/// What is known of a warp.
#[derive(Debug, Default)]
pub(super) struct WarpRecord {
    pub cta: u32,
    /// Number in the CTA.
    pub index: u32,
    pub events: Vec<Event>,
    /// The PTX lines that it executed, a bit each.
    pub lines: Vec<u64>,
    pub loads_in_bulk: bool,
    pub copies_by_lane: bool,
    pub multiplies_as_group: bool,
    pub multiplies_alone: bool,
    pub stores: bool,
    /// The test that failed last, and the events before it was made.
    polling: Option<(u32, usize)>,
    /// Whether the next run starts anew.
    apart: bool,
    /// Stores of bulk groups that no wait has covered: lane, group, copy, and whether a wait for reading has.
    stores_open: Vec<(u8, u32, u32, bool)>,
    lane_copies: u32,
    /// `cp.async` so far at each commit.
    lane_groups: Vec<u32>,
    products_issued: u32,
    /// Products and groups of the record at each commit.
    product_groups: Vec<(u32, u32)>,
    products_awaited: u32,
}

/// Everything that a replay needs.
#[derive(Debug, Default)]
pub struct Recording {
    /// The kernel.
    pub kernel: String,
    /// Index of the first CTA of the cluster in the grid.
    pub cta: [u32; 3],
    /// CTAs of the cluster.
    pub ctas: u32,
    /// What was counted.
    pub totals: Totals,
    /// Whether there was more to record than a recording holds.
    pub truncated: bool,
    pub(super) warps: Vec<WarpRecord>,
    /// Contributions of each signal, by number.
    pub(super) signals: Vec<(Signal, u32)>,
    pub(super) copies: Vec<Copy>,
    pub(super) products: Vec<Product>,
    pub(super) groups: Vec<Group>,
}

impl Recording {
    /// Bulk and tensor copies in the order of issue.
    #[must_use]
    pub fn copies(&self) -> &[Copy] {
        &self.copies
    }

    /// Products of warpgroups in the order of issue.
    #[must_use]
    pub fn products(&self) -> &[Product] {
        &self.products
    }
}

/// Most events of a recording: some 200 MB of the host.
const MOST_EVENTS: usize = 4 << 20;

/// Records a cluster.
#[derive(Debug, Default)]
pub struct Recorder {
    recording: Recording,
    events: usize,
    signals: FxHashMap<Signal, u32>,
    /// The mbarrier objects by shared address.
    objects: FxHashMap<u32, u32>,
    next_object: u32,
    /// Products by CTA, warpgroup and number.
    products: FxHashMap<(u32, u32, u32), u32>,
    /// Groups by CTA, warpgroup and number.
    groups: FxHashMap<(u32, u32, u32), u32>,
}

impl Recorder {
    /// A recorder of a cluster; `warps` has the CTA rank and the number in the CTA of each warp.
    #[must_use]
    pub fn new(kernel: &str, cta: [u32; 3], ctas: u32, warps: impl Iterator<Item = (usize, usize)>) -> Self {
        let warps = warps.map(|(cta, index)| WarpRecord {
            cta: cta as u32,
            index: index as u32,
            ..WarpRecord::default()
        });
        let recording = Recording {
            kernel: kernel.to_owned(),
            cta,
            ctas,
            warps: warps.collect(),
            ..Recording::default()
        };
        Self { recording, ..Self::default() }
    }

    /// What was recorded.
    #[must_use]
    pub fn finish(self) -> Recording {
        self.recording
    }

    /// A warp at a line, to record what it does.
    pub const fn at(&mut self, warp: usize, line: u32) -> Traced<'_> {
        Traced { recorder: self, warp, line }
    }

    /// Bytes and multiply-adds since a reading are the cluster's.
    pub const fn account(&mut self, before: &Reading, counters: &Counters) {
        let now = Reading::of(counters);
        let totals = &mut self.recording.totals;
        totals.global_read_bytes += now.global_read - before.global_read;
        totals.global_written_bytes += now.global_written - before.global_written;
        totals.matrix_macs += now.macs - before.macs;
        totals.padded_macs += now.padded - before.padded;
    }

    /// A warp has issued an instruction.
    pub fn issue(&mut self, warp: usize, class: Class, line: u32, before: &Reading, counters: &Counters) {
        self.recording.totals.issued[class as usize] += 1;
        let now = Reading::of(counters);
        let (space, bytes) = match class {
            Class::Global | Class::Shared | Class::Atomic | Class::Matrix => [
                (Space::GlobalRead, now.global_read - before.global_read),
                (Space::GlobalWritten, now.global_written - before.global_written),
                (Space::SharedRead, now.shared_read - before.shared_read),
                (Space::SharedWritten, now.shared_written - before.shared_written),
            ]
            .into_iter()
            .find(|(_, bytes)| *bytes > 0)
            .unwrap_or((Space::None, 0)),
            _ => (Space::None, 0),
        };
        let macs = now.macs - before.macs;
        let record = &mut self.recording.warps[warp];
        record.stores |= space == Space::GlobalWritten;
        record.multiplies_alone |= macs > 0;
        let word = line as usize / 64;
        if record.lines.len() <= word {
            record.lines.resize(word + 1, 0);
        }
        record.lines[word] |= 1 << (line % 64);
        let apart = std::mem::take(&mut record.apart);
        if !apart
            && let Some(Event::Run(run)) = record.events.last_mut()
            && run.class == class
            && run.space == space
        {
            run.count += 1;
            run.bytes += bytes;
            run.macs += macs;
            run.lines = [run.lines[0].min(line), run.lines[1].max(line)];
            return;
        }
        self.push(warp, Event::Run(Run { class, count: 1, bytes, space, macs, lines: [line; 2] }));
    }

    /// Adds an event unless the recording is full.
    fn push(&mut self, warp: usize, event: Event) -> bool {
        if self.events >= MOST_EVENTS {
            self.recording.truncated = true;
            return false;
        }
        self.events += 1;
        self.recording.warps[warp].events.push(event);
        true
    }

    fn signal(&mut self, signal: Signal) -> u32 {
        let next = self.recording.signals.len() as u32;
        let number = *self.signals.entry(signal).or_insert(next);
        if number == next {
            self.recording.signals.push((signal, 0));
        }
        number
    }

    fn mbarrier(&mut self, address: u32, phase: u64) -> u32 {
        let next = self.next_object;
        let object = *self.objects.entry(address).or_insert(next);
        self.next_object += u32::from(object == next);
        self.signal(Signal::Mbarrier { object, phase })
    }

    /// Adds a contribution; those of several lanes at a time are one.
    fn contribute(&mut self, warp: usize, signal: u32, event: Event) {
        if self.recording.warps[warp].events.last() != Some(&event) && self.push(warp, event) {
            self.recording.signals[signal as usize].1 += 1;
        }
    }
}

/// A warp at a line, to record what it does there.
#[derive(Debug)]
pub struct Traced<'a> {
    recorder: &'a mut Recorder,
    warp: usize,
    line: u32,
}

impl Traced<'_> {
    fn record(&mut self) -> &mut WarpRecord {
        &mut self.recorder.recording.warps[self.warp]
    }

    /// `mbarrier.init`: another object at the address.
    pub fn init_mbarrier(&mut self, address: u32) {
        let object = self.recorder.next_object;
        self.recorder.next_object += 1;
        self.recorder.objects.insert(address, object);
    }

    /// Arrives in a phase of an mbarrier.
    pub fn arrive_at_mbarrier(&mut self, address: u32, phase: u64) {
        let signal = self.recorder.mbarrier(address, phase);
        self.recorder.contribute(self.warp, signal, Event::Arrive(signal));
    }

    /// Tests an mbarrier by the micro-operation `pc`: in vain, or with this many phases completed.
    pub fn test_mbarrier(&mut self, pc: u32, address: u32, completed: Option<u64>) {
        let record = self.record();
        let polled = record.polling.take().filter(|(test, from)| {
            *test == pc && record.events[*from..].iter().all(|event| matches!(event, Event::Run(_)))
        });
        if let Some((_, from)) = polled {
            let runs = self.recorder.recording.warps[self.warp].events.split_off(from);
            self.recorder.events -= runs.len();
            for event in runs {
                if let Event::Run(run) = event {
                    self.recorder.recording.totals.polled[run.class as usize] += u64::from(run.count);
                }
            }
        }
        match completed {
            None => {
                let record = self.record();
                record.polling = Some((pc, record.events.len()));
                record.apart = true;
            }
            Some(0) => {}
            Some(phases) => {
                let signal = self.recorder.mbarrier(address, phases - 1);
                let line = self.line;
                self.recorder.push(self.warp, Event::Await(signal, line));
            }
        }
    }

    /// Arrives in a generation of a CTA barrier, and waits for it.
    pub fn barrier(&mut self, id: u32, generation: u64, waits: bool) {
        let cta = self.record().cta;
        let signal = self.recorder.signal(Signal::Barrier { cta, id, generation });
        self.recorder.contribute(self.warp, signal, Event::Arrive(signal));
        if waits {
            self.recorder.push(self.warp, Event::Await(signal, self.line));
        }
    }

    /// Arrives in a phase of the cluster barrier.
    pub fn arrive_at_cluster(&mut self, phase: u64) {
        let signal = self.recorder.signal(Signal::Cluster { phase });
        self.recorder.contribute(self.warp, signal, Event::Arrive(signal));
    }

    /// Waits for a phase of the cluster barrier.
    pub fn wait_for_cluster(&mut self, phase: u64) {
        let signal = self.recorder.signal(Signal::Cluster { phase });
        self.recorder.push(self.warp, Event::Await(signal, self.line));
    }

    /// Starts a copy into the shared memory of a CTA, which completes bytes of a phase of an mbarrier.
    pub fn load(&mut self, kind: CopyKind, bytes: u64, cta: usize, (mbarrier, phase): (u32, u64)) {
        self.record().loads_in_bulk |= kind == CopyKind::Load;
        let signal = self.recorder.mbarrier(mbarrier, phase);
        let copy = self.recorder.recording.copies.len() as u32;
        let (warp, line) = (self.warp as u32, self.line);
        if self.recorder.push(self.warp, Event::Copy(copy)) {
            let copy = Copy { kind, bytes, cta: cta as u32, warp, line, signal: Some(signal) };
            self.recorder.recording.copies.push(copy);
            self.recorder.recording.signals[signal as usize].1 += 1;
        }
    }

    /// Starts a copy from shared to global memory, by a lane in one of its bulk groups.
    pub fn store(&mut self, bytes: u64, lane: usize, group: u32) {
        let (warp, line, copy) = (self.warp as u32, self.line, self.recorder.recording.copies.len() as u32);
        let record = self.record();
        record.stores = true;
        let cta = record.cta;
        if self.recorder.push(self.warp, Event::Copy(copy)) {
            let kind = CopyKind::Store;
            self.recorder.recording.copies.push(Copy { kind, bytes, cta, warp, line, signal: None });
            self.record().stores_open.push((lane as u8, group, copy, false));
        }
    }

    /// Waits for the stores of lanes in groups below those given, or until they have read their sources.
    pub fn wait_for_stores(&mut self, lanes: u32, below: &[u32; 32], read: bool) {
        let line = self.line;
        let record = self.record();
        let mut copies = Vec::new();
        record.stores_open.retain_mut(|(lane, group, copy, was_read)| {
            let covered = lanes >> *lane & 1 == 1 && *group < below[usize::from(*lane)];
            if covered && !(read && *was_read) {
                copies.push(*copy);
                *was_read = true;
            }
            !covered || read
        });
        if !copies.is_empty() {
            self.recorder.push(self.warp, Event::AwaitCopies { copies: copies.into(), read, line });
        }
    }

    /// `cp.async` of so many bytes in all.
    pub fn copy_by_lanes(&mut self, bytes: u64) {
        let line = self.line;
        self.record().copies_by_lane = true;
        if self.recorder.push(self.warp, Event::LaneCopy { bytes, line }) {
            self.record().lane_copies += 1;
        }
    }

    /// `cp.async.commit_group`, as if of all lanes.
    pub fn commit_lane_copies(&mut self) {
        let record = self.record();
        record.lane_groups.push(record.lane_copies);
    }

    /// Waits for all but the last `left` groups of `cp.async`.
    pub fn wait_for_lane_copies(&mut self, left: u32) {
        let line = self.line;
        let groups = &self.record().lane_groups;
        let last = groups.len().checked_sub(1 + left as usize);
        if let Some(count) = last.map(|last| groups[last]).filter(|count| *count > 0) {
            self.recorder.push(self.warp, Event::AwaitLaneCopies { count, line });
        }
    }

    /// Arrives in a phase of an mbarrier when the `cp.async` so far are done.
    pub fn arrive_after_lane_copies(&mut self, address: u32, phase: u64) {
        let signal = self.recorder.mbarrier(address, phase);
        self.recorder.contribute(self.warp, signal, Event::ArriveAfterLaneCopies(signal));
    }

    /// Issues a product of the warpgroup.
    pub fn product(&mut self, macs: u64, tensor_cycles: u64, operand_bytes: u64) {
        let line = self.line;
        let record = self.record();
        record.multiplies_as_group = true;
        let (cta, warpgroup, number) = (record.cta, record.index / 4, record.products_issued);
        let next = self.recorder.recording.products.len() as u32;
        let product = *self.recorder.products.get(&(cta, warpgroup, number)).unwrap_or(&next);
        if !self.recorder.push(self.warp, Event::Product(product)) {
            return;
        }
        self.record().products_issued += 1;
        if product == next {
            self.recorder.products.insert((cta, warpgroup, number), product);
            let issuers = 0;
            let new = Product { cta, warpgroup, macs, tensor_cycles, operand_bytes, line, issuers };
            self.recorder.recording.products.push(new);
        }
        self.recorder.recording.products[product as usize].issuers += 1;
    }

    /// Commits the products so far as a group.
    pub fn commit_products(&mut self) {
        let line = self.line;
        let record = self.record();
        let (cta, warpgroup, issued) = (record.cta, record.index / 4, record.products_issued);
        let before = record.product_groups.last().map_or(0, |(products, _)| *products);
        let number = record.product_groups.len() as u32;
        let next = self.recorder.recording.groups.len() as u32;
        let group = *self.recorder.groups.entry((cta, warpgroup, number)).or_insert(next);
        if group == next {
            let products = issued - before;
            self.recorder.recording.groups.push(Group { cta, warpgroup, products, line });
        }
        self.record().product_groups.push((issued, group));
        self.recorder.push(self.warp, Event::Commit(group));
    }

    /// Waits for all but the last `left` groups of products.
    pub fn wait_for_products(&mut self, left: u32) {
        let line = self.line;
        let record = self.record();
        let (cta, warpgroup) = (record.cta, record.index / 4);
        let last = record.product_groups.len().checked_sub(1 + left as usize);
        let Some((below, group)) = last.map(|last| record.product_groups[last]) else { return };
        if below <= record.products_awaited {
            return;
        }
        record.products_awaited = below;
        let product = self.recorder.products[&(cta, warpgroup, below - 1)];
        self.recorder.push(self.warp, Event::AwaitProduct { product, group, line });
    }
}
