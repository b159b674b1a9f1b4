//! Barriers as state machines: CTA (named) barriers, the cluster barrier, and mbarriers (PTX ISA 9.7.13).
//!
//! Each operation either changes the state or names the rule that it breaks. Who waits is the scheduler's business:
//! waiting compares generations and phases.

use crate::report::{Fault, Rule};

/// Threads of a warp, the unit in which CTA barriers count.
const WARP_THREADS: u32 = 32;

/// How a warp comes to a CTA barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// `bar.sync`
    Sync,
    /// `bar.arrive`
    Arrive,
    /// `bar.red`, with the number of lanes whose predicate is true, and of all lanes.
    Reduce {
        /// Lanes whose predicate is true.
        ayes: u32,
        /// Lanes that vote.
        lanes: u32,
    },
}

/// One of the sixteen barriers of a CTA.
#[derive(Debug, Clone, Default)]
pub struct CtaBarrier {
    /// Completed generations.
    pub generation: u64,
    /// Threads that complete the current generation; 0 while nobody has come.
    pub expected: u32,
    /// Threads that have come.
    pub arrived: u32,
    /// Warps that have come, with the PTX line.
    pub warps: Vec<(usize, u32)>,
    /// Whether the current generation is of `bar.red`.
    reduces: bool,
    ayes: u32,
    voters: u32,
    /// Ayes and voters of the last generations, by generation modulo their number: a slow warp may still ask for one.
    results: [(u32, u32); 4],
}

impl CtaBarrier {
    /// A warp arrives, in a CTA with these warps. True if that completes the generation.
    ///
    /// # Errors
    ///
    /// If the thread count is wrong, differs from that of the warps before, `.red` is mixed with other forms, or the
    /// warp has already arrived in this generation.
    pub fn arrive(
        &mut self,
        id: u32,
        warp: usize,
        threads: u32,
        cta: CtaWarps,
        how: Arrival,
        line: u32,
    ) -> Result<bool, Box<Fault>> {
        let fault = |message| Err(Box::new(Fault::new(Rule::Barrier, message)));
        if threads == 0 || !threads.is_multiple_of(WARP_THREADS) {
            return fault(format!(
                "barrier {id}: thread count {threads} is no positive multiple of {WARP_THREADS}"
            ));
        }
        let reduces = matches!(how, Arrival::Reduce { .. });
        if let Some(&(_, other)) = self.warps.first() {
            if self.expected != threads {
                return Err(Box::new(
                    Fault::new(
                        Rule::Barrier,
                        format!(
                            "barrier {id}: warp {warp} expects {threads} threads, warps before it expect {}",
                            self.expected
                        ),
                    )
                    .with_other(other),
                ));
            }
            if self.reduces != reduces {
                return Err(Box::new(
                    Fault::new(Rule::Barrier, format!("barrier {id}: .red is mixed with .sync or .arrive"))
                        .with_other(other),
                ));
            }
            if let Some(&(_, other)) = self.warps.iter().find(|(come, _)| *come == warp) {
                return Err(Box::new(
                    Fault::new(
                        Rule::Barrier,
                        format!(
                            "barrier {id}: warp {warp} arrives twice before the barrier completes ({} of {threads} threads are there)",
                            self.arrived
                        ),
                    )
                    .with_other(other),
                ));
            }
        } else {
            self.expected = threads;
            self.reduces = reduces;
        }
        self.warps.push((warp, line));
        self.arrived += WARP_THREADS;
        if let Arrival::Reduce { ayes, lanes } = how {
            self.ayes += ayes;
            self.voters += lanes;
        }
        if self.arrived < self.expected && !self.only_exited_are_missing(cta) {
            return Ok(false);
        }
        self.complete();
        Ok(true)
    }

    fn complete(&mut self) {
        let place = (self.generation % self.results.len() as u64) as usize;
        self.results[place] = (self.ayes, self.voters);
        self.generation += 1;
        (self.expected, self.arrived, self.ayes, self.voters) = (0, 0, 0, 0);
        self.warps.clear();
    }

    /// Ayes and voters of a completed generation.
    #[must_use]
    pub fn result(&self, generation: u64) -> (u32, u32) {
        self.results[(generation % self.results.len() as u64) as usize]
    }

    /// Whether the barrier is for all threads of the CTA and those that have not come have exited.
    fn only_exited_are_missing(&self, cta: CtaWarps) -> bool {
        let arrived = self.warps.iter().fold(0u32, |set, (warp, _)| set | 1 << warp);
        self.expected == cta.threads && cta.live & !arrived == 0
    }

    /// A warp has exited: a barrier for all threads of the CTA may be complete by that.
    pub fn release_exited(&mut self, cta: CtaWarps) {
        if self.arrived > 0 && cta.live != 0 && self.only_exited_are_missing(cta) {
            self.complete();
        }
    }
}

/// The warps of a CTA, as its barriers need to know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtaWarps {
    /// Threads of the CTA, rounded up to whole warps.
    pub threads: u32,
    /// Warps that have not exited, a bit each.
    pub live: u32,
}

/// The barrier of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterBarrier {
    /// Completed phases.
    pub phase: u64,
    /// Threads that have arrived in the current one.
    pub arrived: u32,
}

/// The largest count of an mbarrier.
pub const MBARRIER_MAX: u32 = (1 << 20) - 1;

/// An mbarrier object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbarrier {
    /// Completed phases.
    pub phase: u64,
    /// Arrivals that a phase needs.
    pub expected: u32,
    /// Arrivals that the current phase still needs.
    pub pending: u32,
    /// Bytes announced less bytes delivered in the current phase; negative while bytes run ahead.
    pub transactions: i64,
    /// PTX line of the init.
    pub line: u32,
    /// PTX line of the last arrival.
    pub last_arrival: u32,
    /// Asynchronous operations under way that will signal it.
    pub in_flight: u32,
    /// The first phase that completed while operations were under way: from there on it says nothing of them.
    pub overtaken: Option<u64>,
}

impl Mbarrier {
    /// `mbarrier.init`
    ///
    /// # Errors
    ///
    /// If the count is not in 1 to 2^20-1.
    pub fn new(count: u32, line: u32) -> Result<Self, Box<Fault>> {
        if count == 0 || count > MBARRIER_MAX {
            return fault(format!("mbarrier.init with count {count}, expected 1 to {MBARRIER_MAX}"));
        }
        Ok(Self {
            phase: 0,
            expected: count,
            pending: count,
            transactions: 0,
            line,
            last_arrival: 0,
            in_flight: 0,
            overtaken: None,
        })
    }

    /// The opaque state token: the phase and what is pending.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.phase << 24 | u64::from(self.pending)
    }

    /// The pending count of a token.
    #[must_use]
    pub const fn pending_of(token: u64) -> u32 {
        (token & 0x00ff_ffff) as u32
    }

    /// Whether the phase of a token has completed.
    ///
    /// # Errors
    ///
    /// If the token is not of the current or the preceding phase.
    pub fn test_token(&self, token: u64) -> Result<bool, Box<Fault>> {
        let phase = token >> 24;
        match self.phase.checked_sub(phase) {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => fault(format!(
                "a state token of phase {phase} is tested while the mbarrier is in phase {}",
                self.phase
            )),
        }
    }

    /// Whether the phase of the parity has completed: the current phase, or the one before it.
    #[must_use]
    pub fn test_parity(&self, parity: u32) -> bool {
        (self.phase ^ u64::from(parity)) & 1 != 0
    }

    /// `expect-tx`: more bytes are announced.
    ///
    /// # Errors
    ///
    /// If the count leaves its range.
    pub fn expect_transactions(&mut self, bytes: u32) -> Result<(), Box<Fault>> {
        self.transactions += i64::from(bytes);
        self.check_transactions()
    }

    /// `complete-tx`: bytes have arrived. True if that completes the phase.
    ///
    /// # Errors
    ///
    /// If the count leaves its range.
    pub fn complete_transactions(&mut self, bytes: u32) -> Result<bool, Box<Fault>> {
        self.transactions -= i64::from(bytes);
        self.check_transactions()?;
        Ok(self.complete_if_done())
    }

    fn check_transactions(&self) -> Result<(), Box<Fault>> {
        if self.transactions.unsigned_abs() > u64::from(MBARRIER_MAX) {
            return fault(format!(
                "the transaction count of the mbarrier is {} bytes, outside of +-{MBARRIER_MAX}",
                self.transactions
            ));
        }
        Ok(())
    }

    /// `arrive-on`. True if that completes the phase.
    ///
    /// # Errors
    ///
    /// If more arrive than the phase needs.
    pub fn arrive(&mut self, count: u32, line: u32) -> Result<bool, Box<Fault>> {
        if count == 0 || count > MBARRIER_MAX {
            return fault(format!("mbarrier.arrive with count {count}, expected 1 to {MBARRIER_MAX}"));
        }
        if count > self.pending {
            return Err(Box::new(
                Fault::new(
                    Rule::Mbarrier,
                    format!("{count} arrivals where fewer are left: {}", self.deficit()),
                )
                .with_other(if self.last_arrival > 0 {
                    self.last_arrival
                } else {
                    self.line
                }),
            ));
        }
        self.pending -= count;
        self.last_arrival = line;
        Ok(self.complete_if_done())
    }

    /// `arrive_drop`: arrives, and later phases need one arrival less for each. True if that completes the phase.
    ///
    /// # Errors
    ///
    /// If more arrive than the phase needs, or nothing would be left to expect.
    pub fn arrive_drop(&mut self, count: u32, line: u32) -> Result<bool, Box<Fault>> {
        if count >= self.expected {
            return fault(format!(
                "mbarrier.arrive_drop of {count} leaves no arrival of {} to expect",
                self.expected
            ));
        }
        self.expected -= count;
        self.arrive(count, line)
    }

    /// `cp.async.mbarrier.arrive` without `.noinc`: one more arrival is pending in this phase.
    ///
    /// # Errors
    ///
    /// If the count leaves its range.
    pub fn add_pending(&mut self) -> Result<(), Box<Fault>> {
        if self.pending == MBARRIER_MAX {
            return fault(format!("the pending count of the mbarrier would pass {MBARRIER_MAX}"));
        }
        self.pending += 1;
        Ok(())
    }

    fn complete_if_done(&mut self) -> bool {
        let done = self.pending == 0 && self.transactions == 0;
        if done {
            if self.in_flight > 0 {
                self.overtaken.get_or_insert(self.phase);
            }
            self.phase += 1;
            self.pending = self.expected;
        }
        done
    }

    /// What the current phase still waits for, in words.
    #[must_use]
    pub fn deficit(&self) -> String {
        let bytes = match self.transactions {
            0 => "no more bytes".to_owned(),
            1.. => format!("{} more bytes", self.transactions),
            _ => format!("{} bytes less, which came and no expect-tx announced", -self.transactions),
        };
        format!("phase {} needs {} more of {} arrivals and {bytes}", self.phase, self.pending, self.expected)
    }
}

fn fault<T>(message: String) -> Result<T, Box<Fault>> {
    Err(Box::new(Fault::new(Rule::Mbarrier, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbarrier_counts_arrivals_and_bytes() {
        let mut barrier = Mbarrier::new(2, 1).unwrap();
        assert!(barrier.test_parity(1), "the phase before the first has completed");
        assert!(!barrier.test_parity(0));
        assert!(!barrier.complete_transactions(64).unwrap(), "bytes may run ahead");
        barrier.expect_transactions(64).unwrap();
        assert!(!barrier.arrive(1, 2).unwrap());
        assert!(barrier.arrive(1, 3).unwrap());
        assert!(barrier.test_parity(0));
        assert!(!barrier.test_parity(1));
        assert_eq!((barrier.pending, barrier.phase), (2, 1));
    }

    #[test]
    fn an_mbarrier_names_what_is_wrong() {
        assert!(Mbarrier::new(0, 1).is_err());
        assert!(Mbarrier::new(MBARRIER_MAX + 1, 1).is_err());
        let mut barrier = Mbarrier::new(1, 7).unwrap();
        let token = barrier.token();
        barrier.expect_transactions(16).unwrap();
        assert!(!barrier.arrive(1, 8).unwrap());
        let fault = barrier.arrive(1, 9).unwrap_err();
        assert_eq!((fault.rule, fault.other_line), (Rule::Mbarrier, Some(8)));
        assert!(barrier.complete_transactions(16).unwrap());
        assert!(barrier.test_token(token).unwrap());
        assert!(barrier.arrive(1, 9).unwrap());
        assert!(barrier.test_token(token).is_err(), "two phases behind");
        assert!(barrier.arrive_drop(1, 9).is_err());
        assert!(barrier.expect_transactions(MBARRIER_MAX).is_ok());
        assert!(barrier.expect_transactions(1).is_err());
    }

    #[test]
    fn an_mbarrier_notes_what_its_phase_has_overtaken() {
        let mut barrier = Mbarrier::new(1, 1).unwrap();
        barrier.in_flight = 1;
        barrier.expect_transactions(16).unwrap();
        barrier.arrive(1, 2).unwrap();
        barrier.in_flight = 0;
        assert!(barrier.complete_transactions(16).unwrap());
        assert_eq!(barrier.overtaken, None);
        barrier.in_flight = 2;
        assert!(barrier.arrive(1, 3).unwrap() && barrier.arrive(1, 4).unwrap());
        assert_eq!((barrier.phase, barrier.overtaken), (3, Some(1)));
    }

    #[test]
    fn a_cta_barrier_completes_a_generation() {
        let cta = CtaWarps { threads: 96, live: 7 };
        let mut barrier = CtaBarrier::default();
        assert!(!barrier.arrive(0, 0, 64, cta, Arrival::Sync, 1).unwrap());
        assert!(barrier.arrive(0, 0, 64, cta, Arrival::Sync, 2).is_err(), "twice");
        assert!(barrier.arrive(0, 1, 96, cta, Arrival::Sync, 2).is_err(), "another count");
        assert!(barrier.arrive(0, 1, 64, cta, Arrival::Reduce { ayes: 1, lanes: 32 }, 2).is_err(), "mixed");
        assert!(barrier.arrive(0, 1, 64, cta, Arrival::Arrive, 2).unwrap());
        assert_eq!(barrier.generation, 1);
        assert!(barrier.arrive(0, 1, 33, cta, Arrival::Sync, 2).is_err());
    }

    #[test]
    fn exited_warps_release_a_barrier_for_all_threads_only() {
        let all = CtaWarps { threads: 96, live: 7 };
        let (mut whole, mut part) = (CtaBarrier::default(), CtaBarrier::default());
        // Warp 0 arrives and exits: what it counted for stays counted, and it is not missing afterwards.
        assert!(!whole.arrive(0, 0, 96, all, Arrival::Arrive, 1).unwrap());
        assert!(!part.arrive(1, 0, 64, all, Arrival::Arrive, 1).unwrap());
        let left = CtaWarps { live: 6, ..all };
        whole.release_exited(left);
        part.release_exited(left);
        assert_eq!((whole.generation, part.generation), (0, 0), "two warps are still to come");
        assert!(!whole.arrive(0, 1, 96, left, Arrival::Sync, 2).unwrap());
        whole.release_exited(CtaWarps { live: 2, ..all });
        part.release_exited(CtaWarps { live: 2, ..all });
        assert_eq!((whole.generation, part.generation), (1, 0), "warp 2 was only missing at the first");
    }
}
