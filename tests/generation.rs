//! Generation end to end: speculation, batches, sampling and limits change what they should and nothing else.

use std::path::{Path, PathBuf};

use rorqual::model::generate::{GenerateOptions, Generation, Progress, StopReason, generate};
use rorqual::model::sampling::Sampling;
use rorqual::model::{OpenOptions, Pretrained};
use rorqual::reference::Precision;

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn open(name: &str, precision: Precision) -> Pretrained {
    let options = OpenOptions { precision, ..OpenOptions::default() };
    Pretrained::open(&checkpoint(name), options, &mut |_| {}).unwrap()
}

fn run(opened: &Pretrained, prompts: &[Vec<u32>], options: &GenerateOptions) -> Vec<Generation> {
    generate(&opened.network, prompts, options, &mut (), &mut ()).unwrap().sequences
}

/// Prompts of different lengths with different beginnings.
fn ragged_prompts(vocab: u32) -> Vec<Vec<u32>> {
    let prompt = |length: u32| (0..length).map(|i| (i * i * 31 + length * 7) % vocab).collect();
    [1, 7, 64, 3, 90].map(prompt).to_vec()
}

const WITH_MTP: [&str; 2] = ["tests/fixtures/tiny-mtp", "assets/tiny-r1-fp8"];

#[test]
fn speculation_gives_the_tokens_of_plain_generation() {
    for name in WITH_MTP {
        for precision in [Precision::F32, Precision::Kernel] {
            let opened = open(name, precision);
            let prompts = ragged_prompts(opened.network.config().vocab_size as u32);
            for sampling in
                [Sampling::default(), Sampling { temperature: 0.8, top_k: Some(20), top_p: 0.95, seed: 7 }]
            {
                // Odd and even lengths, so that the last token comes once from a draft and once not.
                for max_new_tokens in [1, 2, 31, 32] {
                    let plain = GenerateOptions { max_new_tokens, sampling, ..GenerateOptions::default() };
                    let speculative = GenerateOptions { speculate: true, prefill_chunk: 13, ..plain.clone() };
                    let (plain, speculative) =
                        (run(&opened, &prompts, &plain), run(&opened, &prompts, &speculative));
                    for (plain, speculative) in plain.iter().zip(&speculative) {
                        assert_eq!(
                            plain.token_ids, speculative.token_ids,
                            "{name} {precision:?} {sampling:?}"
                        );
                        assert_eq!(plain.stop_reason, speculative.stop_reason);
                        assert!(speculative.accepted <= speculative.drafted);
                        if max_new_tokens > 30 {
                            assert!(speculative.drafted > 0, "{name}: nothing was drafted");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn drafts_of_a_trained_module_are_accepted_and_of_a_puzzled_one_rejected() {
    let opened = open("assets/tiny-r1-fp8", Precision::F32);
    let tokenizer = opened.tokenizer().unwrap();
    let options =
        GenerateOptions { speculate: true, stop_ids: opened.stop_ids.clone(), ..GenerateOptions::default() };
    let rate = |prompts: &[&str]| {
        let prompts: Vec<_> = prompts.iter().map(|text| tokenizer.encode(text, true).unwrap()).collect();
        let generations = run(&opened, &prompts, &options);
        let accepted: usize = generations.iter().map(|generation| generation.accepted).sum();
        accepted as f64 / generations.iter().map(|generation| generation.drafted).sum::<usize>() as f64
    };
    assert!(rate(&["31-6=", "557-4=", "997-8=", "236+21="]) > 0.95, "problems it knows");
    let puzzled = rate(&["5185+6874=", "9999-1234=", "1111+2222=", "8042-7391="]);
    assert!((0.3..0.95).contains(&puzzled), "four digits are outside its training: {puzzled}");
}

#[test]
fn a_batch_generates_what_each_prompt_generates_alone() {
    for name in ["tests/fixtures/tiny-v3", "tests/fixtures/tiny-v2lite", "assets/tiny-r1-fp8"] {
        let opened = open(name, Precision::Kernel);
        let prompts = ragged_prompts(opened.network.config().vocab_size as u32);
        let options = GenerateOptions { max_new_tokens: 20, ..GenerateOptions::default() };
        let together = run(&opened, &prompts, &options);
        for (prompt, among_others) in prompts.iter().zip(&together) {
            let [alone] = run(&opened, std::slice::from_ref(prompt), &options).try_into().unwrap();
            assert_eq!(&alone, among_others, "{name}");
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_seed_others() {
    let opened = open("tests/fixtures/tiny-v3", Precision::F32);
    let prompts = vec![vec![0, 35, 333]; 2];
    let draw = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        run(
            &opened,
            &prompts,
            &GenerateOptions { max_new_tokens: 16, sampling, ..GenerateOptions::default() },
        )
    };
    let (first, again, other) = (draw(1), draw(1), draw(2));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_ne!(first[0].token_ids, first[1].token_ids, "sequences of a batch draw numbers of their own");
}

#[test]
fn generation_ends_where_it_should() {
    let opened = open("tests/fixtures/tiny-v3", Precision::F32);
    let positions = opened.network.config().max_position_embeddings;
    let prompt = vec![0, 35, 333];
    let with = |options| run(&opened, std::slice::from_ref(&prompt), &options).remove(0);

    let nothing = with(GenerateOptions { max_new_tokens: 0, ..GenerateOptions::default() });
    assert_eq!((nothing.token_ids.len(), nothing.stop_reason), (0, StopReason::MaxNewTokens));

    let ten = with(GenerateOptions { max_new_tokens: 10, ..GenerateOptions::default() });
    assert_eq!((ten.token_ids.len(), ten.stop_reason), (10, StopReason::MaxNewTokens));

    let fifth = ten.token_ids[4];
    let first_at = ten.token_ids.iter().position(|&id| id == fifth).unwrap();
    let stopped =
        with(GenerateOptions { max_new_tokens: 10, stop_ids: vec![fifth], ..GenerateOptions::default() });
    assert_eq!(stopped.token_ids, ten.token_ids[..=first_at], "the stop token is the last");
    assert_eq!(stopped.stop_reason, StopReason::StopToken);

    let full = with(GenerateOptions { max_new_tokens: 10 * positions, ..GenerateOptions::default() });
    // The last token needs no position of its own.
    assert_eq!(full.token_ids.len(), positions - prompt.len() + 1);
    assert_eq!(full.stop_reason, StopReason::PositionsExhausted);

    let mtp = open("tests/fixtures/tiny-mtp", Precision::F32);
    let positions = mtp.network.config().max_position_embeddings;
    let options = GenerateOptions { max_new_tokens: 10 * positions, ..GenerateOptions::default() };
    let plain = run(&mtp, std::slice::from_ref(&prompt), &options);
    let speculative =
        run(&mtp, std::slice::from_ref(&prompt), &GenerateOptions { speculate: true, ..options });
    assert_eq!(plain[0].token_ids, speculative[0].token_ids, "up to the last position");
}

#[test]
fn progress_hears_every_token_in_order() {
    #[derive(Default)]
    struct Heard {
        tokens: Vec<Vec<u32>>,
        prefilled: Vec<(usize, usize)>,
    }
    impl Progress for Heard {
        fn prefilled(&mut self, done: usize, total: usize) {
            self.prefilled.push((done, total));
        }
        fn generated(&mut self, sequence: usize, token: u32) {
            self.tokens.resize(self.tokens.len().max(sequence + 1), Vec::new());
            self.tokens[sequence].push(token);
        }
    }
    let opened = open("tests/fixtures/tiny-mtp", Precision::F32);
    let prompts = ragged_prompts(512);
    let options = GenerateOptions {
        max_new_tokens: 9,
        speculate: true,
        prefill_chunk: 50,
        ..GenerateOptions::default()
    };
    let mut heard = Heard::default();
    let generations = generate(&opened.network, &prompts, &options, &mut heard, &mut ()).unwrap();
    let generated: Vec<_> =
        generations.sequences.iter().map(|generation| generation.token_ids.clone()).collect();
    assert_eq!(heard.tokens, generated);
    assert_eq!(heard.prefilled, [(50, 165), (100, 165), (150, 165), (165, 165)]);
}
