//! A sample of the mutants of the families' kernels: each is caught, or equivalent by a rule. `rorqual mutate` judges
//! all of them.

use rorqual::verify::FAMILIES;
use rorqual::verify::mutation::{MutatedKernel, Plan, Score, judge_all, kernels, sample};

/// Mutants that are alive: where their names begin, what was done, and why nothing notices.
const ALIVE: &[(&str, &str, &str)] = &[
    (
        "hopper_gemm",
        "mbarrier.arrive.expect_tx.shared.b64 relaxed",
        "the thread that expects bytes has written nothing that is read behind the barrier",
    ),
    (
        "hopper_gemm",
        "fence.proxy.async.shared::cta moved down",
        "behind the barrier each thread that copies fences what all have written before it",
    ),
    (
        "hopper_gemm_bf16_n257_k62",
        "cp.async.bulk.wait_group.read one group deeper",
        "the last piece of a row is a column by itself, which no bulk copy takes",
    ),
    (
        "hopper_gemm_fp8_swiglu_i128_k62",
        "mbarrier.init.shared.b64 count -1",
        "with one block of K, tiles that are announced two ahead order the four stages, too",
    ),
    (
        "hopper_gemm_fp8_swiglu_i128_k62",
        "mbarrier.try_wait.parity.shared.b64 relaxed",
        "a look at the next block of K, which the tile does not have",
    ),
    (
        "hopper_gemm_fp8_1d1d_m193_n254",
        "mbarrier.init.shared.b64 count -1",
        "few cases come to the stage again while the warp that was not waited for is late",
    ),
];

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
    let unknown = |name: &String| {
        !ALIVE.iter().any(|(begin, change, _)| name.starts_with(begin) && name.ends_with(change))
    };
    let alive: Vec<String> =
        score.alive.iter().map(|(mutant, _)| mutant.to_string()).filter(unknown).collect();
    assert!(alive.is_empty(), "alive:\n{}", alive.join("\n"));
}
