//! Schedules as text: what a failing run prints, and what `ptxsim --schedule` reads.

use super::{Ahead, Leader, Order, Schedule, Starved, When};
use std::fmt;
use std::str::FromStr;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{item}` in the schedule `{text}`: {expected}")]
pub struct ScheduleError {
    /// The whole text.
    pub text: String,
    /// The part that is wrong.
    pub item: String,
    /// What is expected.
    pub expected: &'static str,
}

const ITEMS: &str = "expected random, round-robin, pct:CHANGES, copies=early|late|shredded (joined by +), \
                     wgmma=early|late, starve=warp:N|warpgroup:N, ahead=cta:N|cluster:N|device:N, spurious=PERCENT, \
                     apart, elect=lowest|highest|random, stale or until=DECISIONS";

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut schedule = Self::default();
        for item in text.split(',').map(str::trim) {
            schedule.apply(item).map_err(|expected| ScheduleError {
                text: text.to_owned(),
                item: item.to_owned(),
                expected,
            })?;
        }
        Ok(schedule)
    }
}

impl Schedule {
    fn apply(&mut self, item: &str) -> Result<(), &'static str> {
        match item.split_once(['=', ':']) {
            None => match item {
                "random" => self.order = Order::Random,
                "round-robin" => self.order = Order::RoundRobin,
                "apart" => self.reconverge = false,
                "stale" => self.stale = true,
                _ => return Err(ITEMS),
            },
            Some(("pct", changes)) => {
                let changes = number(changes).filter(|changes| *changes <= MOST_CHANGES);
                let changes = changes.ok_or("expected 0 to 64 priority changes")?;
                self.order = Order::Priorities { changes };
            }
            Some(("copies", kinds)) => {
                for kind in kinds.split('+') {
                    match kind {
                        "shredded" => self.shredded = true,
                        _ => self.copies = when(kind)?,
                    }
                }
            }
            Some(("wgmma", kind)) => self.products = when(kind)?,
            Some(("starve", who)) => {
                self.starved = Some(match who.split_once(':') {
                    Some(("warp", index)) => Starved::Warp(number(index).ok_or(NUMBER)?),
                    Some(("warpgroup", index)) => Starved::Warpgroup(number(index).ok_or(NUMBER)?),
                    _ => return Err("expected warp:N or warpgroup:N"),
                });
            }
            Some(("ahead", who)) => {
                self.ahead = Some(match who.split_once(':') {
                    Some(("cta", rank)) => Ahead::Cta(number(rank).ok_or(NUMBER)?),
                    Some(("cluster", index)) => Ahead::Cluster(index.parse().map_err(|_| NUMBER)?),
                    Some(("device", device)) => Ahead::Device(number(device).ok_or(NUMBER)?),
                    _ => return Err("expected cta:N, cluster:N or device:N"),
                });
            }
            Some(("spurious", percent)) => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                self.spurious = Some(percent.ok_or("expected 0 to 100 percent")?);
            }
            Some(("elect", leader)) => {
                self.leader = match leader {
                    "lowest" => Leader::Lowest,
                    "highest" => Leader::Highest,
                    "random" => Leader::Random,
                    _ => return Err("expected lowest, highest or random"),
                };
            }
            Some(("until", decisions)) => self.until = Some(decisions.parse().map_err(|_| NUMBER)?),
            Some(_) => return Err(ITEMS),
        }
        Ok(())
    }
}

/// More would leave no priority to speak of.
const MOST_CHANGES: u32 = 64;

const NUMBER: &str = "expected a number";

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn when(text: &str) -> Result<When, &'static str> {
    match text {
        "early" => Ok(When::Early),
        "late" => Ok(When::Late),
        _ => Err("expected early or late"),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.order {
            Order::Random => f.write_str("random")?,
            Order::RoundRobin => f.write_str("round-robin")?,
            Order::Priorities { changes } => write!(f, "pct:{changes}")?,
        }
        match (self.copies.name(), self.shredded) {
            (Some(when), true) => write!(f, ",copies={when}+shredded")?,
            (Some(when), false) => write!(f, ",copies={when}")?,
            (None, true) => write!(f, ",copies=shredded")?,
            (None, false) => {}
        }
        if let Some(when) = self.products.name() {
            write!(f, ",wgmma={when}")?;
        }
        match self.starved {
            Some(Starved::Warp(index)) => write!(f, ",starve=warp:{index}")?,
            Some(Starved::Warpgroup(index)) => write!(f, ",starve=warpgroup:{index}")?,
            None => {}
        }
        match self.ahead {
            Some(Ahead::Cta(rank)) => write!(f, ",ahead=cta:{rank}")?,
            Some(Ahead::Cluster(index)) => write!(f, ",ahead=cluster:{index}")?,
            Some(Ahead::Device(device)) => write!(f, ",ahead=device:{device}")?,
            None => {}
        }
        if let Some(percent) = self.spurious {
            write!(f, ",spurious={percent}")?;
        }
        if !self.reconverge {
            f.write_str(",apart")?;
        }
        match self.leader {
            Leader::Lowest => {}
            Leader::Highest => f.write_str(",elect=highest")?,
            Leader::Random => f.write_str(",elect=random")?,
        }
        if self.stale {
            f.write_str(",stale")?;
        }
        if let Some(decisions) = self.until {
            write!(f, ",until={decisions}")?;
        }
        Ok(())
    }
}

impl When {
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Between => None,
            Self::Early => Some("early"),
            Self::Late => Some("late"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_is_read_back_as_it_is_printed() {
        let mut schedules = Schedule::stress();
        schedules.push(Schedule {
            ahead: Some(Ahead::Cluster(7)),
            until: Some(123),
            ..Schedule::ROUND_ROBIN
        });
        for schedule in schedules {
            assert_eq!(schedule.to_string().parse(), Ok(schedule), "{schedule}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        for (text, item) in [
            ("", ""),
            ("fair", "fair"),
            ("random,copies=later", "copies=later"),
            ("pct:65", "pct:65"),
            ("pct:x", "pct:x"),
            ("spurious=101", "spurious=101"),
            ("apart,starve=lane:3", "starve=lane:3"),
            ("until=-1", "until=-1"),
            ("elect=all", "elect=all"),
            ("ahead=cta:", "ahead=cta:"),
        ] {
            let error = text.parse::<Schedule>().expect_err(text);
            assert_eq!(error.item, item, "{error}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
