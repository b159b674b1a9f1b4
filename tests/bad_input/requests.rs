//! Good checkpoints asked for what they cannot do.

use std::fmt::Debug;

use rorqual::Result;
use rorqual::model::Pretrained;
use rorqual::model::generate::{GenerateOptions, StopReason, generate};
use rorqual::model::sampling::Sampling;
use rorqual::reference::Segment;
use rorqual::reference::mla::Form;
use rorqual::reference::model::DraftSegment;

use crate::copy::Base;
use crate::{assert_messages, open};

/// A name, a request and the message that answers it.
type Row<T> = (&'static str, fn(&Pretrained) -> Result<T>, &'static str);

/// Runs each request and compares all messages.
#[track_caller]
fn assert_requests_refused<T: Debug>(base: Base, rows: &[Row<T>]) {
    let pretrained = open(&base.directory()).expect("a good checkpoint");
    assert_messages(rows.iter().map(|(name, request, expected)| {
        let found = match request(&pretrained) {
            Ok(value) => format!("accepted: {value:?}"),
            Err(error) => error.to_string(),
        };
        (*name, *expected, found)
    }));
}

fn generated(pretrained: &Pretrained, prompts: &[&[u32]], options: GenerateOptions) -> Result<Vec<Vec<u32>>> {
    let prompts: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
    let generations = generate(&pretrained.network, &prompts, &options, &mut (), &mut ())?;
    Ok(generations.sequences.into_iter().map(|sequence| sequence.token_ids).collect())
}

fn sampled(pretrained: &Pretrained, sampling: Sampling) -> Result<Vec<Vec<u32>>> {
    generated(pretrained, &[&[0, 5]], GenerateOptions { sampling, ..GenerateOptions::default() })
}

#[test]
fn impossible_prompts_are_refused() {
    assert_requests_refused(
        Base::Mtp,
        &[
            (
                "empty",
                |it| generated(it, &[&[]], GenerateOptions::default()),
                "the prompt is empty, expected at least one token",
            ),
            (
                "empty, the second",
                |it| generated(it, &[&[0, 5], &[]], GenerateOptions::default()),
                "the prompt is empty, expected at least one token",
            ),
            (
                "a token too high",
                |it| generated(it, &[&[0, 512]], GenerateOptions::default()),
                "token id 512 at position 1 is outside the vocabulary of 512",
            ),
            (
                "the highest number",
                |it| generated(it, &[&[u32::MAX]], GenerateOptions::default()),
                "token id 4294967295 at position 0 is outside the vocabulary of 512",
            ),
            (
                "too long",
                |it| generated(it, &[&[7; 257]], GenerateOptions::default()),
                "257 tokens, expected at most 256 (`max_position_embeddings`)",
            ),
        ],
    );
}

#[test]
fn impossible_settings_are_refused() {
    let greedy = Sampling::default();
    assert_eq!((greedy.temperature, greedy.top_p), (0.0, 1.0), "the rows below change one setting each");
    assert_requests_refused(
        Base::Sharded,
        &[
            (
                "cold",
                |it| sampled(it, Sampling { temperature: -1.0, ..Sampling::default() }),
                "temperature is -1, expected a finite number that is at least 0",
            ),
            (
                "no temperature",
                |it| sampled(it, Sampling { temperature: f32::NAN, ..Sampling::default() }),
                "temperature is NaN, expected a finite number that is at least 0",
            ),
            (
                "hot",
                |it| sampled(it, Sampling { temperature: f32::INFINITY, ..Sampling::default() }),
                "temperature is inf, expected a finite number that is at least 0",
            ),
            (
                "none of the best",
                |it| sampled(it, Sampling { top_k: Some(0), ..Sampling::default() }),
                "top_k is 0, expected at least 1, or none to keep every token",
            ),
            (
                "no nucleus",
                |it| sampled(it, Sampling { top_p: 0.0, ..Sampling::default() }),
                "top_p is 0, expected a number above 0 and at most 1",
            ),
            (
                "more than all",
                |it| sampled(it, Sampling { top_p: 1.5, ..Sampling::default() }),
                "top_p is 1.5, expected a number above 0 and at most 1",
            ),
            (
                "speculation without a module",
                |it| {
                    generated(
                        it,
                        &[&[0, 5]],
                        GenerateOptions { speculate: true, ..GenerateOptions::default() },
                    )
                },
                "the checkpoint has no multi-token-prediction module, which speculation needs",
            ),
        ],
    );
}

#[test]
fn impossible_passes_are_refused() {
    fn forward(pretrained: &Pretrained, known: usize, tokens: &[u32]) -> Result<usize> {
        let mut cache = pretrained.network.new_cache();
        let mut pass = |tokens: &[u32]| {
            let before = cache.tokens();
            let segment = Segment { tokens, form: Form::Naive, cache: &mut cache };
            let result = pretrained.network.forward(&mut [segment], &mut ());
            if result.is_err() {
                assert_eq!(cache.tokens(), before, "a refused pass leaves no trace");
            }
            result
        };
        if known > 0 {
            pass(&vec![3; known])?;
        }
        Ok(pass(tokens)?.len())
    }
    fn draft(pretrained: &Pretrained, tokens: &[u32]) -> Result<usize> {
        let hidden = vec![0.5; tokens.len() * pretrained.network.config().hidden_size];
        let cache = &mut pretrained.network.new_draft_cache();
        let segment = DraftSegment { tokens, hidden: &hidden, form: Form::Naive, cache };
        Ok(pretrained.network.draft(&mut [segment], &mut ())?.len())
    }
    assert_requests_refused(
        Base::Mtp,
        &[
            (
                "a token too high",
                |it| forward(it, 0, &[1, 2, 600]),
                "token id 600 at position 2 is outside the vocabulary of 512",
            ),
            (
                "a token too high, later",
                |it| forward(it, 20, &[1, 512]),
                "token id 512 at position 21 is outside the vocabulary of 512",
            ),
            (
                "beyond the positions",
                |it| forward(it, 250, &[1; 7]),
                "257 tokens, expected at most 256 (`max_position_embeddings`)",
            ),
            (
                "a draft of a token too high",
                |it| draft(it, &[512]),
                "token id 512 at position 1 is outside the vocabulary of 512",
            ),
            (
                "a draft beyond the positions",
                |it| draft(it, &[1; 256]),
                "257 tokens, expected at most 256 (`max_position_embeddings`)",
            ),
        ],
    );
    assert_requests_refused(
        Base::Sharded,
        &[(
            "a draft without a module",
            |it| draft(it, &[1]),
            "the checkpoint has no multi-token-prediction module, which speculation needs",
        )],
    );
}

#[test]
fn texts_that_would_lose_characters_are_refused() {
    let rows: &[Row<Vec<u32>>] = &[
        (
            "a sign without a token",
            |it| it.tokenizer()?.encode("3×4=", true),
            r#"DIR/tokenizer.json: no token for "×", which is in the text"#,
        ),
        (
            "a space",
            |it| it.tokenizer()?.encode("3 +4=", true),
            r#"DIR/tokenizer.json: no token for " ", which is in the text"#,
        ),
        (
            "behind a special token",
            |it| it.tokenizer()?.encode("3+4=<think>?", false),
            r#"DIR/tokenizer.json: no token for "?", which is in the text"#,
        ),
        (
            "a control character",
            |it| it.tokenizer()?.encode("3+4=\u{7}", true),
            r#"DIR/tokenizer.json: no token for "\u{7}", which is in the text"#,
        ),
    ];
    let pretrained = open(&Base::TrainedFp8.directory()).expect("a good checkpoint");
    assert_messages(rows.iter().map(|(name, request, expected)| {
        let error = request(&pretrained).expect_err(name).to_string();
        (*name, *expected, error.replace(Base::TrainedFp8.directory().to_str().expect("UTF-8"), "DIR"))
    }));
}

/// A byte-level vocabulary has a token for every byte: nothing is refused, nothing is lost.
#[test]
fn byte_level_tokenizers_take_any_text() {
    let tokenizer = open(&Base::Mtp.directory()).and_then(|it| it.tokenizer()).expect("a good checkpoint");
    for text in ["", "3×4=", " \t\r\n\u{0}\u{7f}", "鯨 Wal 🐋 whale\u{301}", "<think>x</think>  "] {
        let ids = tokenizer.encode(text, false).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(tokenizer.decode(&ids, false).expect("known ids"), text);
    }
}

#[test]
fn a_prompt_with_special_tokens_keeps_them() {
    let tokenizer =
        open(&Base::TrainedFp8.directory()).and_then(|it| it.tokenizer()).expect("a good checkpoint");
    assert_eq!(tokenizer.encode("3+4=<think>", true).expect("known characters"), [0, 9, 16, 10, 18, 3]);
    assert_eq!(tokenizer.encode("", true).expect("nothing to lose"), [0]);
}

#[test]
fn no_tokens_asked_for_is_no_tokens() {
    for speculate in [false, true] {
        let pretrained = open(&Base::Mtp.directory()).expect("a good checkpoint");
        let options = GenerateOptions { max_new_tokens: 0, speculate, ..GenerateOptions::default() };
        let prompts = [vec![0, 5, 9], vec![1]];
        let generations = generate(&pretrained.network, &prompts, &options, &mut (), &mut ())
            .expect("nothing is not too much");
        assert_eq!(generations.decode_passes, 0);
        for sequence in &generations.sequences {
            assert!(sequence.token_ids.is_empty());
            assert_eq!(sequence.stop_reason, StopReason::MaxNewTokens);
        }
        let generations = generate(&pretrained.network, &[], &options, &mut (), &mut ());
        assert!(generations.expect("no prompts").sequences.is_empty());
    }
}

/// A prompt that fills the last position still has logits, so one token follows it.
#[test]
fn the_last_position_can_be_used() {
    let pretrained = open(&Base::Mtp.directory()).expect("a good checkpoint");
    for speculate in [false, true] {
        let options = GenerateOptions { max_new_tokens: 5, speculate, ..GenerateOptions::default() };
        for (prompt, expected) in [(256, 1), (255, 2), (1, 5)] {
            let generations =
                generate(&pretrained.network, &[vec![7; prompt]], &options, &mut (), &mut ()).expect("room");
            assert_eq!(generations.sequences[0].token_ids.len(), expected, "a prompt of {prompt}");
        }
    }
}
