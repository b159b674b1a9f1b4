//! Makes a schedule under which a program fails as simple as it can be.

use super::{Leader, Order, Schedule, When};

/// The simplest schedule found under which a program still fails as it does under `schedule`: without the stress that it
/// does not take, with the fewest changes of priorities, and round robin after the last decision that matters.
///
/// `fails` runs the program and says whether it fails in the same way. It is called some dozens of times; `schedule`
/// itself must fail.
pub fn shrink(schedule: Schedule, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    if schedule == Schedule::ROUND_ROBIN || fails(&Schedule::ROUND_ROBIN) {
        return Schedule::ROUND_ROBIN;
    }
    let mut best = Schedule { until: None, ..schedule };
    if best != schedule && !fails(&best) {
        best = schedule;
    }
    // One kind less may make another one superfluous.
    while let Some(simpler) = simpler(&best).into_iter().find(|simpler| fails(simpler)) {
        best = simpler;
    }
    bisect(best, fails)
}

/// Schedules that are a step simpler, the simplest first.
fn simpler(schedule: &Schedule) -> Vec<Schedule> {
    let orders = match schedule.order {
        Order::RoundRobin => Vec::new(),
        Order::Random => vec![Order::RoundRobin],
        Order::Priorities { changes } => {
            let fewer = (0..changes).map(|changes| Order::Priorities { changes });
            [Order::RoundRobin, Order::Random].into_iter().chain(fewer).collect()
        }
    };
    let orders = orders.into_iter().map(|order| Schedule { order, ..*schedule });
    let without = [
        Schedule { copies: When::Between, ..*schedule },
        Schedule { shredded: false, ..*schedule },
        Schedule { products: When::Between, ..*schedule },
        Schedule { starved: None, ..*schedule },
        Schedule { ahead: None, ..*schedule },
        Schedule { spurious: None, ..*schedule },
        Schedule { reconverge: true, ..*schedule },
        Schedule { leader: Leader::Lowest, ..*schedule },
        Schedule { stale: false, ..*schedule },
    ];
    orders.chain(without.into_iter().filter(|other| other != schedule)).collect()
}

/// The fewest decisions that may deviate from round robin: fewer by one, and the program does not fail.
fn bisect(schedule: Schedule, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let with = |until| Schedule { until: Some(until), ..schedule };
    let most = schedule.until.unwrap_or(u64::MAX);
    // Nobody knows how many decisions a run takes; doubling finds out.
    let mut enough = 1_u64;
    while enough < most && !fails(&with(enough)) {
        enough = enough.saturating_mul(2);
    }
    if enough >= most {
        return schedule;
    }
    let mut too_few = enough / 2;
    while too_few + 1 < enough {
        let middle = too_few + (enough - too_few) / 2;
        if fails(&with(middle)) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    with(enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Ahead, Starved};

    #[test]
    fn stress_that_is_not_needed_goes() {
        let schedule = Schedule {
            order: Order::Priorities { changes: 3 },
            copies: When::Late,
            shredded: true,
            products: When::Early,
            starved: Some(Starved::Warp(1)),
            ahead: Some(Ahead::Cta(1)),
            spurious: Some(50),
            reconverge: false,
            leader: Leader::Random,
            stale: true,
            until: None,
        };
        let needs_late = |schedule: &Schedule| {
            schedule.copies == When::Late && schedule.until.is_none_or(|until| until >= 77)
        };
        let expected = Schedule { copies: When::Late, until: Some(77), ..Schedule::ROUND_ROBIN };
        assert_eq!(shrink(schedule, needs_late), expected);
        let needs_changes = |schedule: &Schedule| match schedule.order {
            Order::Priorities { changes } => changes >= 2 && schedule.until.is_none_or(|until| until >= 1),
            _ => false,
        };
        let expected =
            Schedule { order: Order::Priorities { changes: 2 }, until: Some(1), ..Schedule::RANDOM };
        assert_eq!(shrink(schedule, needs_changes), expected);
    }

    #[test]
    fn what_always_fails_fails_round_robin() {
        for schedule in Schedule::stress() {
            assert_eq!(shrink(schedule, |_| true), Schedule::ROUND_ROBIN);
        }
    }

    #[test]
    fn a_limit_that_is_needed_stays() {
        let schedule = Schedule { until: Some(10), ..Schedule::RANDOM };
        let fails = |schedule: &Schedule| schedule.order == Order::Random && schedule.until == Some(10);
        assert_eq!(shrink(schedule, fails), schedule);
    }
}
