//! Choosing the next token from a row of logits: greedily, or at random within a nucleus.
//!
//! [`Sampling::choose`] is a pure function of the settings, the logits, the sequence and the
//! position. It is the exact contract that the device sampling kernel reproduces, so its
//! documentation states every rounding point.

use thiserror::Error;

use super::philox::uniform;

/// How to choose a token; the default is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What the logits are divided by: finite and at least 0, where 0 means greedy.
    pub temperature: f32,
    /// How many of the most likely tokens stay candidates, at least 1; `None` means all of them.
    pub top_k: Option<usize>,
    /// The probability that the most likely tokens must reach together before the rest are
    /// dropped, in (0, 1]; 1 drops none.
    pub top_p: f32,
    /// The key of the random numbers.
    pub seed: u64,
}

/// Why no token can be chosen.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum SamplingError {
    /// `temperature` is out of range.
    #[error("temperature is {found}, expected a finite number that is at least 0")]
    Temperature {
        /// The value of the field.
        found: f32,
    },
    /// `top_k` is out of range.
    #[error("top_k is {found}, expected at least 1, or none to keep every token")]
    TopK {
        /// The value of the field.
        found: usize,
    },
    /// `top_p` is out of range.
    #[error("top_p is {found}, expected a number above 0 and at most 1")]
    TopP {
        /// The value of the field.
        found: f32,
    },
    /// A logit is NaN.
    #[error("the logit of token {token} is NaN, expected a number")]
    NotANumber {
        /// The lowest token at fault.
        token: u32,
    },
    /// A logit is positive infinity; negative infinity is how a token is ruled out.
    #[error("the logit of token {token} is +inf, expected a finite number or -inf")]
    NotFinite {
        /// The lowest token at fault.
        token: u32,
    },
    /// There are no logits, or all of them are negative infinity.
    #[error("no token has a logit above -inf, expected at least one")]
    NoToken,
}

/// A token that can be chosen.
#[derive(Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Whether the most likely token is always the one chosen, whatever the other settings.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks that every setting is in its range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(SamplingError::Temperature { found: self.temperature });
        }
        if let Some(found @ 0) = self.top_k {
            return Err(SamplingError::TopK { found });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(SamplingError::TopP { found: self.top_p });
        }
        Ok(())
    }

    /// Chooses a token, the same one for the same arguments on any machine.
    ///
    /// `logits` has one f32 per token of the vocabulary, where negative infinity rules a token
    /// out. `sequence` and `position` say which random number to use: a multiple of 2^-24 in
    /// [0, 1) that is a Philox 4x32-10 hash of `seed`, `sequence` and `position`, with the low word
    /// first in each. The key is the seed, the counter is the position then the sequence, and the
    /// number is made of the top 24 bits of the first output word.
    ///
    /// A greedy choice is [`argmax`]. Any other takes these steps, in which every operation is in
    /// f32 and rounds to nearest even, and every sum is taken one rank at a time from rank 0 up:
    ///
    /// 1. Rank the tokens above negative infinity by descending logit, equal logits by ascending
    ///    token, and keep the first `top_k`. Zeros of either sign are equal.
    /// 2. Rank r has the weight w_r = exp((l_r - l_0) / temperature): the difference rounds, the
    ///    quotient rounds, and the exponential of that quotient rounds to the nearest f32.
    /// 3. Its probability is p_r = w_r / W, where W is the sum of the weights.
    /// 4. The running sum of the probabilities is c_r = c_(r-1) + p_r. The first rank with
    ///    c_r >= `top_p` is the last one kept, or the last of all if there is none or if `top_p`
    ///    is 1.
    /// 5. With C the running sum of the last rank kept, the answer is the first rank with
    ///    c_r > u C, where u is the uniform number and the product rounds.
    ///
    /// Step 5 always finds a rank, since u is at most 1 - 2^-24 and u C therefore rounds to less
    /// than C. The rank it finds has a probability above 0.
    ///
    /// # Errors
    ///
    /// When a setting is out of range, when a logit is NaN or positive infinity, and when no logit
    /// is above negative infinity, for greedy choices too.
    pub fn choose(&self, logits: &[f32], sequence: u64, position: u64) -> Result<u32, SamplingError> {
        self.validate()?;
        check_logits(logits)?;
        if self.is_greedy() {
            return argmax(logits).map(|token| token as u32).ok_or(SamplingError::NoToken);
        }
        let ranked = rank(logits, self.top_k);
        let cumulative = self.nucleus(&ranked);
        let kept = cumulative[cumulative.len() - 1];
        let threshold = uniform(self.seed, sequence, position) * kept;
        let chosen = cumulative.partition_point(|&sum| sum <= threshold);
        Ok(ranked[chosen].token)
    }

    /// The running sums of the probabilities, up to the last rank that `top_p` keeps.
    fn nucleus(&self, ranked: &[Candidate]) -> Vec<f32> {
        let highest = ranked[0].logit;
        let weight = |candidate: &Candidate| exp((candidate.logit - highest) / self.temperature);
        let weights: Vec<f32> = ranked.iter().map(weight).collect();
        let total: f32 = weights.iter().sum();

        let mut cumulative = Vec::with_capacity(weights.len());
        let mut sum = 0.0;
        for weight in weights {
            sum += weight / total;
            cumulative.push(sum);
            // Rounding can take the sum to 1 with tokens left, which a `top_p` of 1 must not drop.
            if sum >= self.top_p && self.top_p < 1.0 {
                break;
            }
        }
        cumulative
    }
}

/// The index of the highest logit, the lowest such index when several are equal.
///
/// A NaN never wins; the answer is `None` when there is nothing else.
pub fn argmax(logits: &[f32]) -> Option<usize> {
    let numbers = logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
    let best = numbers.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(index, _)| index)
}

/// Checks that the logits say which tokens are more likely than which.
fn check_logits(logits: &[f32]) -> Result<(), SamplingError> {
    for (token, &logit) in (0..).zip(logits) {
        if logit.is_nan() {
            return Err(SamplingError::NotANumber { token });
        }
        if logit == f32::INFINITY {
            return Err(SamplingError::NotFinite { token });
        }
    }
    if logits.iter().all(|&logit| logit == f32::NEG_INFINITY) {
        return Err(SamplingError::NoToken);
    }
    Ok(())
}

/// The candidates from most to least likely, at most `top_k` of them.
fn rank(logits: &[f32], top_k: Option<usize>) -> Vec<Candidate> {
    let by_rank =
        |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then_with(|| a.token.cmp(&b.token));
    let mut ranked: Vec<Candidate> = (0..)
        .zip(logits)
        .filter(|&(_, &logit)| logit > f32::NEG_INFINITY)
        // Adding zero makes a negative zero positive, so that the two tie.
        .map(|(token, &logit)| Candidate { token, logit: logit + 0.0 })
        .collect();
    // A selection first keeps the sort from ordering a whole vocabulary for the sake of a few.
    if let Some(top_k) = top_k
        && top_k < ranked.len()
    {
        ranked.select_nth_unstable_by(top_k, by_rank);
        ranked.truncate(top_k);
    }
    ranked.sort_unstable_by(by_rank);
    ranked
}

/// e^x rounded to the nearest f32.
///
/// This goes through f64 because f32 exponentials differ between platforms; an f64 one can only
/// change the answer where e^x is within its own error of halfway between two f32 values.
fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: f32 = f32::NEG_INFINITY;

    fn sampling(temperature: f32, top_k: Option<usize>, top_p: f32) -> Sampling {
        Sampling { temperature, top_k, top_p, seed: 42 }
    }

    /// Which tokens a choice may return, and with what probability, by definition and in f64.
    ///
    /// A token is in the nucleus while the tokens ranked before it hold less than `top_p`.
    fn exact_probabilities(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
        let before = |a: usize, b: usize| logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
        let ranked_before = |token: usize| (0..logits.len()).filter(move |&a| before(a, token));
        let highest = logits.iter().copied().fold(NONE, f32::max);
        let weight =
            |token: usize| (f64::from(logits[token] - highest) / f64::from(sampling.temperature)).exp();
        let top_k = sampling.top_k.unwrap_or(logits.len());
        let in_top_k = |token: &usize| ranked_before(*token).count() < top_k;
        let total: f64 = (0..logits.len()).filter(in_top_k).map(weight).sum();
        let in_nucleus = |token: &usize| {
            in_top_k(token)
                && ranked_before(*token).map(weight).sum::<f64>()
                    < f64::from(sampling.top_p) * total + BOUNDARY_SLACK * total
        };
        let kept: f64 = (0..logits.len()).filter(in_nucleus).map(weight).sum();
        (0..logits.len()).map(|token| if in_nucleus(&token) { weight(token) / kept } else { 0.0 }).collect()
    }

    /// How far the f32 sums may be from the exact ones at the edge of the nucleus.
    const BOUNDARY_SLACK: f64 = 1e-5;

    #[test]
    fn the_default_is_greedy_and_valid() {
        let default = Sampling::default();
        assert!(default.is_greedy());
        assert_eq!(default.validate(), Ok(()));
        assert_eq!(default, Sampling { temperature: 0.0, top_k: None, top_p: 1.0, seed: 0 });
        assert!(!sampling(0.5, None, 1.0).is_greedy());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for found in [-0.5, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sampling(found, None, 1.0).validate();
            assert_eq!(error, Err(SamplingError::Temperature { found }));
        }
        for found in [0.0, -0.1, 1.0f32.next_up(), f32::INFINITY] {
            let error = sampling(1.0, None, found).validate();
            assert_eq!(error, Err(SamplingError::TopP { found }));
        }
        let error = sampling(1.0, Some(0), 1.0).validate();
        assert_eq!(error, Err(SamplingError::TopK { found: 0 }));
        // A NaN equals nothing, so these two are compared as text.
        let error = sampling(f32::NAN, None, 1.0).validate().unwrap_err();
        assert_eq!(error.to_string(), "temperature is NaN, expected a finite number that is at least 0");
        let error = sampling(1.0, None, f32::NAN).choose(&[0.0], 0, 0).unwrap_err();
        assert_eq!(error.to_string(), "top_p is NaN, expected a number above 0 and at most 1");
    }

    #[test]
    fn argmax_takes_the_lowest_of_ties_and_skips_nan() {
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NAN, f32::NAN]), None);
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN, 1.0, f32::NAN, 2.0, f32::NAN]), Some(3));
        assert_eq!(argmax(&[-0.0, 0.0]), Some(0));
        assert_eq!(argmax(&[f32::NAN, NONE]), Some(1));
    }

    #[test]
    fn unusable_logits_are_errors() {
        for sampling in [Sampling::default(), sampling(1.0, None, 1.0)] {
            let choose = |logits: &[f32]| sampling.choose(logits, 0, 0);
            assert_eq!(choose(&[]), Err(SamplingError::NoToken));
            assert_eq!(choose(&[NONE; 3]), Err(SamplingError::NoToken));
            assert_eq!(choose(&[0.0, f32::NAN]), Err(SamplingError::NotANumber { token: 1 }));
            let infinite = [NONE, 0.0, f32::INFINITY];
            assert_eq!(choose(&infinite), Err(SamplingError::NotFinite { token: 2 }));
            assert_eq!(choose(&[NONE, -5.0, NONE]), Ok(1));
        }
    }

    #[test]
    fn ties_keep_the_lowest_tokens() {
        let logits = [1.0, 2.0, 2.0, -0.0, 2.0, 0.0];
        for position in 0..200 {
            let chosen = sampling(1.0, Some(2), 1.0).choose(&logits, 0, position);
            assert!(matches!(chosen, Ok(1 | 2)), "{chosen:?}");
        }
        // Zeros of either sign tie, so the lowest token is the one kept.
        for zeros in [[-0.0, 0.0], [0.0, -0.0]] {
            for position in 0..20 {
                assert_eq!(sampling(1.0, Some(1), 1.0).choose(&zeros, 0, position), Ok(0));
            }
        }
    }

    #[test]
    fn the_draw_picks_the_first_rank_above_it() {
        // Four equal tokens split the unit interval into quarters, all exact in f32.
        let sampling = sampling(1.0, None, 1.0);
        for position in 0..1000 {
            let quarter = (uniform(sampling.seed, 9, position) * 4.0) as u32;
            assert_eq!(sampling.choose(&[0.5; 4], 9, position), Ok(quarter));
        }
    }

    #[test]
    fn a_top_p_of_one_keeps_tokens_beyond_the_rounded_sum() {
        // Thirds sum to exactly 1 at rank 2 in f32, with the small tail still to come.
        let logits = [0.0, 0.0, 0.0, -20.0];
        let ranked = rank(&logits, None);
        let everything = sampling(1.0, None, 1.0).nucleus(&ranked);
        assert_eq!((everything.len(), everything[2]), (4, 1.0));
        assert_eq!(sampling(1.0, None, 0.999).nucleus(&ranked).len(), 3);
    }

    #[test]
    fn extreme_temperatures_and_logits_stay_ordered() {
        let tiny = sampling(f32::from_bits(1), None, 1.0);
        assert_eq!(tiny.choose(&[f32::MIN, 1.0, f32::MAX, 1.0], 0, 0), Ok(2));
        let huge = sampling(f32::MAX, None, 1.0);
        let chosen: Vec<u32> =
            (0..100).filter_map(|position| huge.choose(&[-9.0, 9.0], 0, position).ok()).collect();
        assert!(chosen.contains(&0) && chosen.contains(&1));
    }

    #[test]
    fn frequencies_match_the_exact_probabilities() {
        const DRAWS: u32 = 20_000;
        let logits = [0.3, -1.2, NONE, 2.0, 1.1, 0.3, -4.0];
        let settings = [
            sampling(1.0, None, 1.0),
            sampling(0.6, Some(4), 1.0),
            sampling(1.7, None, 0.8),
            sampling(1.0, Some(5), 0.9),
        ];
        for sampling in settings {
            let mut counts = [0u32; 7];
            for position in 0..u64::from(DRAWS) {
                let token = sampling.choose(&logits, 5, position).expect("the logits are usable");
                counts[token as usize] += 1;
            }
            let exact = exact_probabilities(&sampling, &logits);
            for (token, (&count, probability)) in counts.iter().zip(exact).enumerate() {
                let expected = probability * f64::from(DRAWS);
                let deviation = (expected * (1.0 - probability)).sqrt();
                let difference = (f64::from(count) - expected).abs();
                assert!(difference <= 4.0 * deviation, "{sampling:?} token {token}: {count} for {expected}");
            }
        }
    }

    /// Logits on a coarse grid, so that ties are common, with some tokens ruled out.
    fn any_logits() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![
            8 => (-20i8..20).prop_map(|step| f32::from(step) / 4.0),
            4 => -8.0f32..8.0,
            1 => Just(NONE),
        ];
        prop::collection::vec(logit, 1..60)
            .prop_filter("a token to choose", |logits| logits.iter().any(|&logit| logit > NONE))
    }

    fn any_sampling() -> impl Strategy<Value = Sampling> {
        let top_k = prop::option::of(1usize..70);
        let top_p = prop_oneof![Just(1.0), 0.01f32..1.0];
        (0.05f32..4.0, top_k, top_p, any::<u64>()).prop_map(|(temperature, top_k, top_p, seed)| Sampling {
            temperature,
            top_k,
            top_p,
            seed,
        })
    }

    proptest! {
        #[test]
        fn a_choice_is_repeatable_and_in_the_nucleus(
            logits in any_logits(),
            sampling in any_sampling(),
            sequence in any::<u64>(),
            position in any::<u64>(),
        ) {
            let chosen = sampling.choose(&logits, sequence, position);
            prop_assert_eq!(chosen, sampling.choose(&logits, sequence, position));
            let token = chosen.expect("the logits are usable") as usize;
            prop_assert!(exact_probabilities(&sampling, &logits)[token] > 0.0);
        }

        #[test]
        fn the_narrowest_settings_are_greedy(
            logits in any_logits(),
            sampling in any_sampling(),
            position in any::<u64>(),
        ) {
            let greedy = Sampling::default().choose(&logits, 0, position);
            let one = Sampling { top_k: Some(1), ..sampling };
            prop_assert_eq!(one.choose(&logits, 0, position), greedy);
            let tiny = Sampling { top_p: f32::MIN_POSITIVE, ..sampling };
            prop_assert_eq!(tiny.choose(&logits, 0, position), greedy);
        }

        #[test]
        fn ranking_orders_by_logit_then_token(
            logits in any_logits(),
            top_k in prop::option::of(1usize..70),
        ) {
            let mut expected: Vec<usize> =
                (0..logits.len()).filter(|&token| logits[token] > NONE).collect();
            // A stable sort leaves equal logits in token order.
            expected.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).expect("numbers"));
            expected.truncate(top_k.unwrap_or(usize::MAX));
            let ranked: Vec<usize> =
                rank(&logits, top_k).iter().map(|candidate| candidate.token as usize).collect();
            prop_assert_eq!(ranked, expected);
        }
    }
}
