//! Damage anywhere in a checkpoint's files: an error with a message, or a network that runs, never a panic.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rorqual::Result;
use rorqual::model::generate::{GenerateOptions, generate};
use rorqual::model::sampling::Sampling;
use rorqual::model::{OpenOptions, Pretrained};
use rorqual::reference::Precision;

use crate::copy::{Base, Copy};

/// One damage to one file; places are fractions of what is there.
#[derive(Clone, Debug)]
enum Damage {
    /// Exclusive or.
    Flip(Index, u8),
    /// Another character of JSON, so that the file still parses now and then.
    Write(Index, u8),
    Truncate(Index),
    Extend(Vec<u8>),
    /// Copies a run over another place.
    Splice {
        from: Index,
        to: Index,
        length: usize,
    },
    Remove(Index, usize),
}

impl Damage {
    /// Damages `bytes`; `reach` confines places to the first so many, where the headers are.
    fn apply(&self, bytes: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(bytes.len());
        if reach == 0 {
            return;
        }
        match self {
            Self::Flip(at, mask) => bytes[at.index(reach)] ^= mask,
            Self::Write(at, byte) => bytes[at.index(reach)] = *byte,
            Self::Truncate(at) => bytes.truncate(at.index(reach)),
            Self::Extend(more) => bytes.extend_from_slice(more),
            Self::Splice { from, to, length } => {
                let from = from.index(reach);
                let run = bytes[from..bytes.len().min(from + length)].to_vec();
                let to = to.index(reach);
                let end = bytes.len().min(to + run.len());
                bytes[to..end].copy_from_slice(&run[..end - to]);
            }
            Self::Remove(at, length) => {
                let at = at.index(reach);
                bytes.drain(at..bytes.len().min(at + length));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        4 => (any::<Index>(), select(b"0123456789-.eE\"{}[],: ".as_slice()))
            .prop_map(|(at, byte)| Damage::Write(at, byte)),
        1 => any::<Index>().prop_map(Damage::Truncate),
        1 => vec(any::<u8>(), 1..40).prop_map(Damage::Extend),
        2 => (any::<Index>(), any::<Index>(), 1..600_usize)
            .prop_map(|(from, to, length)| Damage::Splice { from, to, length }),
        1 => (any::<Index>(), 1..600_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
    ]
}

/// Opens a damaged copy and, where that works, does with it what can be done.
fn use_checkpoint(copy: &Copy, precision: Precision) -> Result<()> {
    let options = OpenOptions { precision, ..OpenOptions::default() };
    let pretrained = Pretrained::open(copy.directory(), options, &mut |_| {})?;
    let tokenizer = pretrained.tokenizer()?;
    let vocabulary = pretrained.network.config().vocab_size as u32;
    let mut prompt = tokenizer.encode("3+4=", true)?;
    prompt.push(vocabulary - 1);
    let options = GenerateOptions {
        max_new_tokens: 3,
        speculate: pretrained.network.has_mtp(),
        stop_ids: pretrained.stop_ids.clone(),
        sampling: Sampling { temperature: 0.7, ..Sampling::default() },
        ..GenerateOptions::default()
    };
    let generations = generate(&pretrained.network, &[prompt], &options, &mut (), &mut ())?;
    let generated = &generations.sequences[0].token_ids;
    assert!(!generated.is_empty() && generated.iter().all(|&token| token < vocabulary));
    tokenizer.decode(generated, false)?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_is_an_error_or_harmless(
        base in select(&[Base::Mtp, Base::Sharded, Base::TrainedFp8][..]),
        precision in select(&[Precision::F32, Precision::Kernel][..]),
        file in any::<Index>(),
        reach in select(&[200, 3000, 20_000, usize::MAX][..]),
        damages in vec(damage(), 1..6),
    ) {
        let copy = base.copy();
        let (path, ..) = copy.listing().swap_remove(file.index(copy.listing().len()));
        let mut bytes = fs::read(&path).expect("a readable file");
        for damage in &damages {
            damage.apply(&mut bytes, reach);
        }
        fs::write(&path, bytes).expect("a written file");
        let before = copy.listing();
        if let Err(error) = use_checkpoint(&copy, precision) {
            let message = error.to_string();
            prop_assert!(!message.is_empty() && !message.contains(char::is_control), "{message:?}");
        }
        prop_assert_eq!(copy.listing(), before);
    }
}

/// Weights that are no numbers go through the whole network and end in an error that says so.
#[test]
fn weights_that_are_not_numbers_are_an_error_at_the_end() {
    for precision in [Precision::F32, Precision::Kernel] {
        let copy = Base::TrainedFp8.copy();
        copy.edit_weights(|file| {
            for tensor in file.tensors.iter_mut().filter(|tensor| tensor.dtype != "F32") {
                // All bits set is NaN in bf16 as in e4m3.
                tensor.bytes.fill(0xff);
            }
        });
        let error = use_checkpoint(&copy, precision).expect_err("no token can be chosen");
        assert_eq!(error.to_string(), "the logit of token 0 is NaN, expected a number");
    }
}
