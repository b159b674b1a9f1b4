//! A sample of the mutants of the families' kernels: each is caught, or equivalent by a rule. `rorqual mutate` judges
//! all of them.

use rorqual::verify::FAMILIES;
use rorqual::verify::mutation::{MutatedKernel, Plan, Score, judge_all, kernels, sample};

/// Mutants that are judged; `RORQUAL_MUTANTS` gives another number.
const SAMPLE: usize = 60;

#[test]
fn a_sample_of_the_mutants_is_caught() {
    let number = |variable: &str, default: u64| super::number(variable, default);
    let seed = number("RORQUAL_SEED", 0);
    let plan = Plan { kernels: 1, cases: 4, seed };
    let mut found: Vec<MutatedKernel> = Vec::new();
    for family in FAMILIES {
        found.extend(kernels(family, &plan).unwrap_or_else(|error| panic!("{}: {error}", family.name)));
    }
    sample(&mut found, number("RORQUAL_MUTANTS", SAMPLE as u64) as usize, seed);
    let mut score = Score::default();
    found.iter().for_each(|kernel| score.add(judge_all(kernel, &|| {})));
    println!("{} mutants: {:?}, equivalent {:?}", score.mutants(), score.caught, score.equivalent);
    assert!(score.contradictions.is_empty(), "caught though equivalent: {:?}", score.contradictions);
    assert!(score.mutants() >= SAMPLE, "only {} mutants", score.mutants());
    let alive: Vec<String> = score.alive.iter().map(|(mutant, _)| mutant.to_string()).collect();
    assert!(alive.is_empty(), "alive:\n{}", alive.join("\n"));
}
