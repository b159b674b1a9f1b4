//! The sums of the demo, and what the network makes of them.

use rorqual::model::generate::Generation;
use rorqual::model::{Pretrained, Tokenizer};
use serde::Serialize;

use crate::failure::Failure;

/// Sums that the bundled checkpoint was not trained on.
const PROBLEMS: [&str; 16] = [
    "2+7=", "4-3=", "46+7=", "100-5=", "60-53=", "236+21=", "557-4=", "997-8=", "538+347=", "803-9=",
    "929+698=", "882-355=", "793+891=", "742-337=", "35+965=", "873-798=",
];

/// One problem and what came of it.
#[derive(Serialize)]
pub struct Answer {
    /// The problem.
    pub prompt: &'static str,
    /// The reasoning before the answer.
    pub trace: String,
    /// The answer, as text.
    pub answer: String,
    /// The right one.
    pub expected: i64,
    /// Whether it is the right one.
    pub correct: bool,
}

/// The first `count` problems, or all, as tokens.
pub fn prompts(checkpoint: &Pretrained, count: Option<u16>) -> Result<Vec<Vec<u32>>, Failure> {
    let tokenizer = checkpoint.tokenizer()?;
    let encode = |problem: &&str| Ok(tokenizer.encode(problem, true)?);
    PROBLEMS.iter().take(count.map_or(usize::MAX, usize::from)).map(encode).collect()
}

/// Reads trace and answer out of `<think>trace</think>answer`, and does the sum.
pub fn answers(generations: &[Generation], tokenizer: &Tokenizer) -> Result<Vec<Answer>, Failure> {
    let answer = |(&prompt, generation): (&&'static str, &Generation)| {
        let text = tokenizer.decode(&generation.token_ids, true)?;
        let (trace, answer) = text.split_once("</think>").unwrap_or(("", &text));
        let trace = trace.trim_start_matches("<think>").to_owned();
        let answer = answer.trim_end().to_owned();
        let expected = solve(prompt);
        let correct = answer == expected.to_string();
        Ok(Answer { prompt, trace, answer, expected, correct })
    };
    PROBLEMS.iter().zip(generations).map(answer).collect()
}

/// The value of `a+b=` or `a-b=`.
fn solve(problem: &str) -> i64 {
    let number = |digits: &str| digits.parse::<i64>().expect("a problem is made of numbers");
    let sum = problem.trim_end_matches('=');
    match sum.split_once('+') {
        Some((a, b)) => number(a) + number(b),
        None => sum.split_once('-').map_or(0, |(a, b)| number(a) - number(b)),
    }
}
