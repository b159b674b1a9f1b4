//! The ring between a producer and its consumers: stages of shared memory, each with a `full` and an `empty` mbarrier.
//!
//! ```text
//! producer:  for each step { wait empty[stage]; fill it, arriving at full[stage]; advance }
//! consumer:  for each step { wait full[stage];  use it;  arrive at empty[stage]; advance }
//! ```
//!
//! A [`Cursor`] knows stage and parity; nobody computes them by hand.
//!
//! A stage may be filled in parts, each with a `full` barrier of its own: part 0 is for all consumers, another part for
//! those that go through the ring as [its consumers](Ring::consumer_of). Nobody waits for a part that is another's. A part
//! cannot be filled a second time before its consumers have seen it filled: they release the stage after that.

use crate::builder::Builder;
use crate::mbarrier::{Mbarrier, Mbarriers};
use crate::value::{Input, Predicate, Value, Variable};

/// The barriers of a ring.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'k> {
    builder: &'k Builder,
    /// Those of the stages of part 0, then those of the next part.
    full: Mbarriers<'k>,
    empty: Mbarriers<'k>,
    /// Those that a consumer waits for besides those of part 0.
    own: Option<Mbarriers<'k>>,
}

/// Where a side of the ring stands.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'k> {
    ring: Ring<'k>,
    stage: Variable<'k, u32>,
    /// The parity that this side waits for.
    parity: Variable<'k, u32>,
}

impl Builder {
    /// Reserves the barriers of a ring of `stages`.
    #[must_use]
    #[track_caller]
    pub fn ring(&self, stages: u32) -> Ring<'_> {
        self.ring_in_parts(stages, 1)
    }

    /// The same where a stage is filled in so many parts, at least one.
    #[must_use]
    #[track_caller]
    pub fn ring_in_parts(&self, stages: u32, parts: u32) -> Ring<'_> {
        self.require(parts > 0, || "a ring of stages without parts, expected at least one".to_owned());
        let (full, empty) = (self.mbarriers(parts * stages), self.mbarriers(stages));
        Ring { builder: self, full, empty, own: None }
    }
}

impl<'k> Ring<'k> {
    /// Initialises the barriers: one thread does it, publishes them by [`Builder::fence_mbarrier_init`], and the CTA meets.
    /// `producers` has the arrivals at a stage's `full` for each part; so many `consumers` arrive at its `empty`.
    #[track_caller]
    pub fn initialize(self, producers: &[u32], consumers: u32) {
        let parts = self.full.count() / self.stages().max(1);
        self.builder.require(producers.len() as u32 == parts, || {
            format!("arrivals for {} parts of a stage, expected them for {parts}", producers.len())
        });
        for (part, producers) in (0_u32..).zip(producers) {
            self.full_of(self.builder.constant(part)).initialize(*producers);
        }
        self.empty.initialize(consumers);
    }

    /// The producer's side, at the first stage: it is empty.
    #[must_use]
    #[track_caller]
    pub fn producer(self) -> Cursor<'k> {
        self.cursor(1)
    }

    /// The side of a consumer that needs part 0, which may be all there is, at the first stage.
    #[must_use]
    #[track_caller]
    pub fn consumer(self) -> Cursor<'k> {
        self.cursor(0)
    }

    /// The side of a consumer that needs part 0 and this part, at the first stage. A consumer whose part is 0 waits for the
    /// same barrier twice, which the code that it shares with consumers of other parts makes it do.
    #[must_use]
    #[track_caller]
    pub fn consumer_of(self, part: Value<'k, u32>) -> Cursor<'k> {
        Self { own: Some(self.full_of(part)), ..self }.consumer()
    }

    #[track_caller]
    fn full_of(self, part: Value<'k, u32>) -> Mbarriers<'k> {
        self.full.part(part, self.stages())
    }

    fn stages(self) -> u32 {
        self.empty.count()
    }

    /// The barrier that consumers of this stage release.
    #[must_use]
    #[track_caller]
    pub fn empty_of(self, stage: Value<'k, u32>) -> Mbarrier<'k> {
        self.empty.at(stage)
    }

    #[track_caller]
    fn cursor(self, parity: u32) -> Cursor<'k> {
        let variable = |value: u32| self.builder.constant(value).variable();
        Cursor { ring: self, stage: variable(0), parity: variable(parity) }
    }
}

/// A stage in a round.
#[derive(Debug, Clone, Copy)]
pub struct Place<'k> {
    ring: Ring<'k>,
    stage: Value<'k, u32>,
    parity: Value<'k, u32>,
}

impl<'k> Place<'k> {
    /// The same stage in the next round.
    #[must_use]
    #[track_caller]
    pub fn next_round(self) -> Self {
        Self { parity: self.parity ^ 1, ..self }
    }

    /// The stage, 0 to the number of stages.
    #[must_use]
    pub fn stage(self) -> Value<'k, u32> {
        self.stage
    }

    /// The barrier that the producer fills: that of part 0, which may be all there is.
    #[must_use]
    #[track_caller]
    pub fn full(self) -> Mbarrier<'k> {
        self.ring.full.at(self.stage)
    }

    /// The barrier of a part.
    #[must_use]
    #[track_caller]
    pub fn full_of(self, part: Value<'k, u32>) -> Mbarrier<'k> {
        self.ring.full_of(part).at(self.stage)
    }

    /// The barrier that consumers release.
    #[must_use]
    #[track_caller]
    pub fn empty(self) -> Mbarrier<'k> {
        self.ring.empty.at(self.stage)
    }

    /// Producer: waits until the stage may be filled.
    #[track_caller]
    pub fn wait_empty(self) {
        self.empty().wait(self.parity);
    }

    /// Consumer: waits until the stage is filled, as far as this consumer needs it.
    #[track_caller]
    pub fn wait_full(self) {
        self.full().wait(self.parity);
        if let Some(own) = self.ring.own {
            own.at(self.stage).wait(self.parity);
        }
    }

    /// Consumer: looks whether it is; `ready` gets the answer. What was seen in time need not be waited for by
    /// [`wait_full_unless`](Self::wait_full_unless).
    #[track_caller]
    pub fn look_full(self, ready: Predicate<'k>) {
        self.full().test(self.parity, ready);
        if let Some(own) = self.ring.own {
            own.at(self.stage).test_when(ready, self.parity, ready);
        }
    }

    /// Consumer: waits as [`wait_full`](Self::wait_full) does, unless the stage was seen to be filled.
    #[track_caller]
    pub fn wait_full_unless(self, ready: Predicate<'k>) {
        self.ring.builder.when(!ready, || self.wait_full());
    }
}

impl<'k> Cursor<'k> {
    /// Where it stands.
    #[must_use]
    pub fn place(self) -> Place<'k> {
        Place { ring: self.ring, stage: self.stage.peek(), parity: self.parity.peek() }
    }

    /// Goes to the next stage; behind the last, to the first one with the other parity.
    #[track_caller]
    pub fn advance(self) {
        let builder = self.ring.builder;
        self.stage.add(1);
        let wraps = self.stage.peek().equals(self.ring.stages());
        self.parity.set_when(wraps, self.parity.peek() ^ 1);
        self.stage.set_when(wraps, builder.constant(0));
    }

    /// Goes `steps` stages further; `body` gets the place of each, and the one behind it.
    #[track_caller]
    pub fn for_each_step(self, steps: impl Into<Input<'k, u32>>, body: impl FnOnce(Place<'k>, Place<'k>)) {
        self.ring.builder.for_each(0, steps, 1, |_| {
            let here = self.take();
            body(here, self.place());
        });
    }

    /// The place where it stands, from which it goes to the next.
    #[must_use]
    #[track_caller]
    pub fn take(self) -> Place<'k> {
        let here = Place { ring: self.ring, stage: self.stage.get(), parity: self.parity.get() };
        self.advance();
        here
    }

    /// Goes through whole rounds; `body` gets the places of all stages of one. The stages are literals, which makes all
    /// addresses within the ring ones. The cursor must stand at the first stage, and does again at the end.
    #[track_caller]
    pub fn for_each_round(self, rounds: u32, body: impl FnOnce(&[Place<'k>])) {
        let (ring, builder) = (self.ring, self.ring.builder);
        builder.for_each(0, rounds, 1, |_| {
            let parity = self.parity.get();
            let place = |stage| Place { ring, stage: builder.constant(stage), parity };
            body(&(0..ring.stages()).map(place).collect::<Vec<_>>());
            self.parity.set(parity ^ 1);
        });
    }
}
