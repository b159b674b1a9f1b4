//! `rorqual verify`: every kernel family against the CPU reference, on random cases.

use std::io::{self, Write, stdout};
use std::time::{Duration, Instant};

use rorqual::catalog::{Target, Targets};
use rorqual::driver;
use rorqual::verify::on_device::{OnDevice, target_for};
use rorqual::verify::random::Random;
use rorqual::verify::rules::Rules;
use rorqual::verify::simulated::{Simulated, targets};
use rorqual::verify::{FAMILIES, Family, MachineError, Passed};
use rorqual::verify::{Failure as CaseFailure, Machine};
use serde_json::{Value, json};

use crate::arguments::{Device, VerifyArguments};
use crate::failure::Failure;
use crate::progress::Bars;

/// What came of a family.
pub struct Outcome {
    family: &'static str,
    /// Cases that passed.
    passed: u64,
    /// The one with the worst error.
    worst: Option<Passed>,
    /// What its rules refused of the cases' specialisations, changed at random, if all cases passed.
    rules: Option<Rules>,
    time: Duration,
    /// Why no case was run, if none could be.
    skipped: Option<String>,
    /// The first case that did not pass: its seed, and why.
    failure: Option<(u64, CaseFailure)>,
}

/// Checks the families and prints a table.
pub fn run(arguments: &VerifyArguments) -> Result<(), Failure> {
    let VerifyArguments { family, cases, seed, device, json } = arguments;
    let families: Vec<&Family> =
        FAMILIES.iter().filter(|known| family.as_ref().is_none_or(|family| family == known.name)).collect();
    if let (Some(name), []) = (family, &families[..]) {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(Failure::input(format_args!(
            "`{name}` is not a family, expected one of {}",
            known.join(", ")
        )));
    }
    if *cases == 0 {
        return Err(Failure::input("--cases is 0, expected at least 1"));
    }
    let machines = Machines::open(*device)?;
    let mut bars = Bars::new(*json);
    let check = |family: &&Family| check(family, *seed, *cases, &machines, &mut bars);
    let outcomes: Vec<Outcome> = families.iter().map(check).collect();
    bars.clear();
    let mut out = stdout().lock();
    if *json {
        writeln!(out, "{}", json!({"device": device.to_string(), "families": to_json(&outcomes)}))?;
    } else {
        print_table(&device.to_string(), &outcomes, &mut out)?;
    }
    verdict(&outcomes)
}

/// Checks every family on a device.
pub fn check_all(device: &driver::Device, cases: u64, bars: &mut Bars) -> Vec<Outcome> {
    let machines = Machines::Device(device.clone());
    let outcomes = FAMILIES.iter().map(|family| check(family, 0, cases, &machines, bars)).collect();
    bars.clear();
    outcomes
}

/// Specialisations of each family, obeying its rules, whose kernels are generated beside those of the cases.
const KERNELS: usize = 5;

/// Where machines come from.
enum Machines {
    /// A new simulated GPU for each case, drawn with it.
    Simulated,
    /// A GPU.
    Device(driver::Device),
}

impl Machines {
    fn open(device: Device) -> Result<Self, Failure> {
        match device {
            Device::Simulated(1) => Ok(Self::Simulated),
            Device::Simulated(count) => Err(Failure::input(format_args!(
                "device sim:{count} is not available: every family runs on one device, expected sim or sim:1"
            ))),
            Device::Cuda(ordinal) => Ok(Self::Device(driver::Device::open(ordinal as usize)?)),
            Device::Reference => Err(Failure::input(
                "device reference is what kernels are compared with, expected sim, cuda or cuda:I",
            )),
        }
    }

    /// What kernels of a family are generated for.
    ///
    /// # Errors
    /// If the family has none for the device, in words.
    fn targets(&self, served: Targets) -> Result<Vec<Target>, String> {
        match self {
            Self::Simulated => Ok(targets(served)),
            Self::Device(device) => {
                let target = target_for(device).filter(|target| served.serve(*target));
                let missing = || format!("no kernels for {}, expected {served}", device.target());
                target.map(|target| vec![target]).ok_or_else(missing)
            }
        }
    }

    fn run(&self, family: &Family, seed: u64) -> Result<Passed, CaseFailure> {
        let mut random = Random::new(seed);
        let mut machine: Box<dyn Machine> = match self {
            Self::Simulated => Box::new(Simulated::draw(&mut random, family.targets)?),
            Self::Device(device) => Box::new(OnDevice::new(device)?),
        };
        (family.run)(&mut random, &mut *machine)
    }
}

/// Runs the cases of a family up to the first that does not pass; if all do, exercises its rules. A family without kernels
/// for the device is skipped.
fn check(family: &Family, first: u64, cases: u64, machines: &Machines, bars: &mut Bars) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome {
        family: family.name,
        passed: 0,
        worst: None,
        rules: None,
        time: Duration::ZERO,
        skipped: None,
        failure: None,
    };
    let targets = match machines.targets(family.targets) {
        Ok(targets) => targets,
        Err(reason) => return Outcome { skipped: Some(reason), ..outcome },
    };
    let mut specs = Vec::new();
    for case in 0..cases {
        bars.show(family.name, case as usize, cases as usize);
        let seed = first.wrapping_add(case);
        match machines.run(family, seed) {
            Ok(passed) => {
                outcome.passed += 1;
                specs.extend(passed.specs.iter().cloned());
                if outcome.worst.as_ref().is_none_or(|worst| passed.worst > worst.worst) {
                    outcome.worst = Some(passed);
                }
            }
            Err(failure) => {
                outcome.failure = Some((seed, failure));
                break;
            }
        }
    }
    if outcome.failure.is_none() {
        match Rules::exercise(&specs, &targets, KERNELS, &mut Random::new(first)) {
            Ok(rules) => outcome.rules = Some(rules),
            Err(error) => outcome.failure = Some((first, error.into())),
        }
    }
    outcome.time = start.elapsed();
    outcome
}

/// Prints what came of the families, a line for each.
pub fn print_table(device: &str, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "on {device}, against the CPU reference; errors in units of the tolerance of their element; \
         rules seen to refuse a Spec\n"
    )?;
    writeln!(
        out,
        "{:22} {:>6} {:>8} {:>8} {:>6}  kernel of the worst case",
        "family", "cases", "error", "time", "rules"
    )?;
    for Outcome { family, passed, worst, rules, time, skipped, failure } in outcomes {
        if let Some(reason) = skipped {
            writeln!(out, "{family:22} skipped: {reason}")?;
            continue;
        }
        let (error, kernel) = match worst {
            Some(worst) => (format!("{:.2}", worst.worst), worst.kernel.as_str()),
            None => ("-".to_owned(), "-"),
        };
        let failed = if failure.is_some() { ", then a failure" } else { "" };
        let seconds = time.as_secs_f64();
        let rules = rules.as_ref().map_or("-".to_owned(), Rules::to_string);
        writeln!(out, "{family:22} {passed:>6} {error:>8} {seconds:>6.2} s {rules:>6}  {kernel}{failed}")?;
    }
    Ok(())
}

/// What came of the families, for programs.
pub fn to_json(outcomes: &[Outcome]) -> Vec<Value> {
    let family = |outcome: &Outcome| {
        let Outcome { family, passed, worst, rules, time, skipped, failure } = outcome;
        let refused = |rules: &Rules| -> Vec<Value> {
            let named = rules.refused.iter();
            named
                .map(|((family, rule), refused)| json!({"family": family, "rule": rule, "refused": refused}))
                .collect()
        };
        json!({
            "family": family,
            "passed": passed,
            "worst_error": worst.as_ref().map(|worst| worst.worst),
            "worst_kernel": worst.as_ref().map(|worst| &worst.kernel),
            "worst_case": worst.as_ref().map(|worst| &worst.case),
            "rules": rules.as_ref().map(refused),
            "unit": "tolerance of the element",
            "seconds": time.as_secs_f64(),
            "skipped": skipped,
            "failure": failure.as_ref().map(|(seed, failure)| json!({
                "seed": seed,
                "message": failure.to_string(),
                "inconclusive": is_inconclusive(failure),
            })),
        })
    };
    outcomes.iter().map(family).collect()
}

const fn is_inconclusive(failure: &CaseFailure) -> bool {
    matches!(failure, CaseFailure::Machine(MachineError::Inconclusive(_)))
}

/// A wrong kernel weighs more than one that could not be judged.
pub fn verdict(outcomes: &[Outcome]) -> Result<(), Failure> {
    let failures = |inconclusive: bool| -> Vec<String> {
        let failed = outcomes.iter().filter_map(|outcome| Some((outcome.family, outcome.failure.as_ref()?)));
        let kind = failed.filter(|(_, (_, failure))| is_inconclusive(failure) == inconclusive);
        kind.map(|(family, (seed, failure))| format!("{family}, seed {seed}: {failure}")).collect()
    };
    let (wrong, inconclusive) = (failures(false), failures(true));
    if !wrong.is_empty() {
        return Err(Failure::Check(wrong.join("\n")));
    }
    if !inconclusive.is_empty() {
        return Err(Failure::Inconclusive(inconclusive.join("\n")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failure: Option<MachineError>) -> Outcome {
        let failure = failure.map(|failure| (7, CaseFailure::Machine(failure)));
        let (worst, rules, skipped) = (None, None, None);
        Outcome { family: "rms_norm", passed: 2, worst, rules, time: Duration::ZERO, skipped, failure }
    }

    #[test]
    fn a_family_without_kernels_for_the_device_is_skipped_with_the_reason() {
        let run = |_: &mut Random, _: &mut dyn Machine| Err(MachineError::Wrong("it ran".to_owned()).into());
        let family = Family { name: "on_hopper", targets: Targets::Hopper, run };
        let checked = |device: &str| {
            let device = driver::Device::simulated(device.parse().unwrap()).unwrap();
            check(&family, 0, 1, &Machines::Device(device), &mut Bars::new(true))
        };
        let outcome = checked("sm_80");
        assert!(verdict(std::slice::from_ref(&outcome)).is_ok());
        assert_eq!(
            to_json(std::slice::from_ref(&outcome))[0]["skipped"],
            "no kernels for sm_80, expected sm_90a"
        );
        let mut table = Vec::new();
        print_table("a device", &[outcome], &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(
            table.ends_with("\non_hopper              skipped: no kernels for sm_80, expected sm_90a\n"),
            "{table}"
        );
        let failure = verdict(&[checked("sm_90a")]).unwrap_err();
        assert!(matches!(&failure, Failure::Check(text) if text.ends_with("it ran")));
    }

    #[test]
    fn the_verdict_tells_wrong_from_unknown() {
        let wrong = || outcome(Some(MachineError::Wrong("out of bounds".to_owned())));
        let unknown = || outcome(Some(MachineError::Inconclusive("no tensor memory".to_owned())));
        assert!(verdict(&[outcome(None)]).is_ok());
        let failure = verdict(&[unknown(), wrong(), outcome(None)]);
        assert!(matches!(&failure, Err(Failure::Check(text)) if text == "rms_norm, seed 7: out of bounds"));
        let failure = verdict(&[outcome(None), unknown()]);
        assert!(matches!(&failure, Err(Failure::Inconclusive(text)) if text.ends_with("no tensor memory")));
    }
}
