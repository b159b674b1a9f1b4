//! What must not show: the batch around a sequence, the length of its chunks, speculation. And what bad input must not
//! do.

use rorqual::Error;
use rorqual::driver::Device;
use rorqual::model::generate;
use rorqual::model::generate::GenerateOptions;
use rorqual::network::{DeviceNetwork, DraftSegment, LoadOptions, Network};
use rorqual::reference::InputError;
use rorqual::reference::mla::Form;

use crate::checkpoint::{self, BUNDLED, SOFTMAX, Sequence, draft, forward, tokens, truncate};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Final states of a prompt in chunks and of tokens behind it.
fn alone(network: &DeviceNetwork, prompt: &[u32], chunk: usize, rest: &[u32]) -> Vec<f32> {
    let mut sequence = [Sequence::new(network)];
    let mut states = vec![];
    let chunks = prompt.chunks(chunk).map(|tokens| (tokens, Form::Naive));
    let rest = Some((rest, Form::Absorbed)).filter(|(rest, _)| !rest.is_empty());
    for part in chunks.chain(rest) {
        states.extend(forward(network, &mut sequence, &[part], &mut ()).expect("tokens that fit"));
    }
    states
}

/// Twelve requests of 1 to 40 tokens, of which every third goes on in the absorbed form.
#[test]
fn a_ragged_batch_gives_every_request_what_it_gets_alone() {
    let model = checkpoint::model(BUNDLED);
    let network = checkpoint::load(&model, "sm_80", 1024);
    let (vocab, width) = (model.config().vocab_size, model.config().hidden_size);
    let before = network.free_pages();
    let prompts: Vec<Vec<u32>> = (0..12).map(|at| tokens(vocab, 1 + at * 39 / 11, at as u64)).collect();
    let rests: Vec<Vec<u32>> = (0..12).map(|at| tokens(vocab, 1 + at % 3, 100 + at as u64)).collect();
    let mut sequences: Vec<Sequence<DeviceNetwork>> = (0..12).map(|_| Sequence::new(&network)).collect();
    let first: Vec<(&[u32], Form)> = prompts.iter().map(|prompt| (&prompt[..], Form::Naive)).collect();
    // Then some go on with their prompt, some generate, in one batch.
    let form = |at: usize| if at.is_multiple_of(3) { Form::Absorbed } else { Form::Naive };
    let second: Vec<(&[u32], Form)> =
        rests.iter().enumerate().map(|(at, rest)| (&rest[..], form(at))).collect();
    let passes = [&first, &second]
        .map(|batch| forward(&network, &mut sequences, batch, &mut ()).expect("tokens that fit"));
    let logits = passes.each_ref().map(|states| network.logits(states).expect("states"));

    let mut starts = [0, 0];
    for at in 0..12 {
        let mut sequence = [Sequence::new(&network)];
        for (pass, batch) in [&first, &second].into_iter().enumerate() {
            let (tokens, form) = batch[at];
            let states =
                forward(&network, &mut sequence, &[(tokens, form)], &mut ()).expect("tokens that fit");
            let of_logits = network.logits(&states).expect("states");
            let (start, end) = (starts[pass], starts[pass] + tokens.len());
            starts[pass] = end;
            let what = format!("request {at}, pass {pass}");
            assert!(bits(&states) == bits(&passes[pass][start * width..end * width]), "states of {what}");
            assert!(bits(&of_logits) == bits(&logits[pass][start * vocab..end * vocab]), "logits of {what}");
        }
    }
    drop(sequences);
    assert_eq!(network.free_pages(), before);
}

#[test]
fn chunks_of_the_prompt_do_not_show() {
    for name in [BUNDLED, SOFTMAX] {
        let model = checkpoint::model(name);
        let prompt = tokens(model.config().vocab_size, 70, 5);
        let rest = tokens(model.config().vocab_size, 2, 6);
        for target in checkpoint::targets() {
            let network = checkpoint::load(&model, target, 256);
            let whole = alone(&network, &prompt[..66], 66, &rest);
            for chunk in [7, 64] {
                assert!(
                    bits(&alone(&network, &prompt[..66], chunk, &rest)) == bits(&whole),
                    "{name}, {target}, chunks of {chunk}"
                );
            }
            let short = alone(&network, &prompt[..12], 12, &rest);
            let chunked = alone(&network, &prompt[..12], 1, &rest);
            assert!(bits(&chunked) == bits(&short), "{name}, {target}, chunks of 1");
        }
    }
}

/// On Hopper 272 rows have other kernels than 64 and 16: wide tiles, and projections that end with their activation, those
/// of the experts too.
#[test]
fn kernels_for_few_rows_and_for_many_give_the_same_bits() {
    let model = checkpoint::model(BUNDLED);
    let prompt = tokens(model.config().vocab_size, 272, 5);
    let network = checkpoint::load(&model, "sm_90a", 512);
    let [whole, chunked] = [272, 64].map(|chunk| bits(&alone(&network, &prompt, chunk, &[])));
    assert!(whole == chunked);
}

#[test]
fn requests_batched_and_speculated_give_the_tokens_of_each_alone() {
    let model = checkpoint::model(BUNDLED);
    for target in checkpoint::targets() {
        run_batched_and_speculated(&checkpoint::load(&model, target, 2048));
    }
}

fn run_batched_and_speculated(network: &DeviceNetwork) {
    let before = network.free_pages();
    let prompts: Vec<Vec<u32>> = (0..12).map(|at| tokens(64, 1 + at * 2, 40 + at as u64)).collect();
    let run = |prompts: &[Vec<u32>], speculate, prefill_chunk| {
        let options =
            GenerateOptions { max_new_tokens: 4, speculate, prefill_chunk, ..GenerateOptions::default() };
        let done = generate(network, prompts, &options, &mut (), &mut ());
        let done = done.unwrap_or_else(|error| panic!("{error}"));
        done.sequences.into_iter().map(|sequence| sequence.token_ids).collect::<Vec<_>>()
    };
    let chunk = GenerateOptions::default().prefill_chunk;
    let together = run(&prompts, false, chunk);
    assert_eq!(run(&prompts, true, chunk), together, "with speculation");
    assert_eq!(run(&prompts, false, 7), together, "in chunks of 7");
    for at in [0, 3, 11] {
        assert_eq!(run(&prompts[at..=at], at == 3, chunk), together[at..=at], "request {at} alone");
    }
    assert_eq!(network.free_pages(), before);
}

#[test]
fn bad_input_changes_nothing() {
    let model = checkpoint::model("tiny-v3");
    let vocab = model.config().vocab_size;
    let longest = model.config().max_position_embeddings;
    // Four pages of 16.
    let network = checkpoint::load(&model, "sm_80", 64);
    assert_eq!(network.free_pages().0, 4);
    let prompt = tokens(vocab, 20, 1);
    let next = tokens(vocab, 3, 2);
    let expected = alone(&network, &prompt, 20, &next);

    let mut sequences = [Sequence::new(&network), Sequence::new(&network)];
    let mut go = |batch: [(&[u32], Form); 2]| {
        let states = forward(&network, &mut sequences, &batch, &mut ());
        (states, network.free_pages().0)
    };
    let (states, free) = go([(&prompt, Form::Naive), (&[], Form::Naive)]);
    assert_eq!(states.expect("tokens that fit").len(), 20 * model.config().hidden_size);
    assert_eq!(free, 2);
    // The first sequence would have grown in each of these.
    let wrong = [5, vocab as u32];
    let (error, free) = go([(&prompt, Form::Naive), (&wrong, Form::Naive)]);
    let error = error.expect_err("a token behind the vocabulary");
    let expected_error = InputError::TokenOutOfRange { token: vocab as u32, position: 1, vocab_size: vocab };
    assert!(matches!(&error, Error::Input(input) if *input == expected_error), "{error}");
    assert_eq!(free, 2);
    let long = vec![1; longest + 1];
    let (error, free) = go([(&prompt, Form::Naive), (&long, Form::Naive)]);
    let error = error.expect_err("more tokens than positions");
    assert!(matches!(&error, Error::Input(InputError::TooLong { .. })), "{error}");
    assert_eq!(free, 2);
    let much = vec![1; 33];
    let (error, free) = go([(&prompt, Form::Naive), (&much, Form::Naive)]);
    let error = error.expect_err("more tokens than the cache has room for");
    assert!(matches!(error, Error::CacheFull { page_size: 16, total: 4, .. }), "{error}");
    assert_eq!(free, 2, "a batch that does not fit takes no page");
    let (states, _) = go([(&[], Form::Absorbed), (&[], Form::Absorbed)]);
    assert!(states.expect("nothing to do").is_empty());
    // And the caches are as they were.
    let (states, free) = go([(&next, Form::Absorbed), (&[], Form::Naive)]);
    let width = model.config().hidden_size;
    assert!(bits(&states.expect("tokens that fit")) == bits(&expected[20 * width..]), "after errors");
    assert_eq!(free, 2);

    // What is cut off can be said again.
    truncate(&mut sequences[0], 16);
    assert_eq!(network.free_pages().0, 3);
    let batch: [(&[u32], Form); 1] = [(&prompt[16..], Form::Naive)];
    let states = forward(&network, &mut sequences, &batch, &mut ()).expect("tokens that fit");
    assert!(bits(&states) == bits(&expected[16 * width..20 * width]), "after it was cut");
    drop(sequences);
    assert_eq!(network.free_pages().0, 4);
    // A whole run that does not fit gives back what it took.
    let done =
        generate(&network, &[prompt, long[..60].to_vec()], &GenerateOptions::default(), &mut (), &mut ());
    assert!(matches!(done, Err(Error::CacheFull { .. })), "{done:?}");
    assert_eq!(network.free_pages().0, 4);
}

/// A page number means nothing in another pool.
#[test]
fn a_cache_of_another_network_is_refused() {
    let model = checkpoint::model("tiny-mtp");
    let (network, other) = (checkpoint::load(&model, "sm_80", 64), checkpoint::load(&model, "sm_80", 64));
    let swapped = Sequence { cache: network.new_draft_cache(), draft_cache: network.new_cache() };
    let width = model.config().hidden_size;
    for (mut sequences, what) in [([Sequence::new(&other)], "of another"), ([swapped], "of the other part")] {
        let batch: [(&[u32], Form); 1] = [(&[1, 2], Form::Naive)];
        let trunk = forward(&network, &mut sequences, &batch, &mut ());
        assert!(matches!(trunk, Err(Error::ForeignCache { expected: "new_cache" })), "{what}: {trunk:?}");
        let drafts = draft(&network, &mut sequences, &batch, &vec![0.0; 2 * width]);
        assert!(
            matches!(drafts, Err(Error::ForeignCache { expected: "new_draft_cache" })),
            "{what}: {drafts:?}"
        );
    }
    assert_eq!(network.free_pages(), (4, 4));
}

/// On a network that predicts a second token.
fn refuses_states_of_other_sizes<N: Network>(network: &N) {
    let width = network.config().hidden_size;
    let mut sequence = [Sequence::new(network)];
    let batch: [(&[u32], Form); 1] = [(&[1, 2], Form::Naive)];
    let states = forward(network, &mut sequence, &batch, &mut ()).expect("tokens that fit");
    for given in [0, width, 2 * width - 1, 2 * width + 1, 3 * width] {
        let mut segments = [DraftSegment {
            tokens: batch[0].0,
            hidden: &vec![0.0; given],
            form: Form::Naive,
            cache: &mut sequence[0].draft_cache,
        }];
        let error = network.draft(&mut segments, &mut ()).expect_err("not a state for each token");
        let expected = InputError::HiddenStates { tokens: 2, expected: 2 * width, given };
        assert!(matches!(&error, Error::Input(input) if *input == expected), "{error}");
    }
    let expected = InputError::PartialState { hidden_size: width, given: 2 * width - 1 };
    let partial = &states[1..];
    for logits in [network.logits(partial), network.draft_logits(partial)] {
        let error = logits.expect_err("a state lacks an element");
        assert!(matches!(&error, Error::Input(input) if *input == expected), "{error}");
    }
    draft(network, &mut sequence, &batch, &states).expect("a cache as it was");
}

#[test]
fn states_of_other_sizes_are_refused() {
    let model = checkpoint::model("tiny-mtp");
    refuses_states_of_other_sizes(&model);
    refuses_states_of_other_sizes(&checkpoint::load(&model, "sm_80", 64));
}

/// Slots are numbered in 32 bits, and a page of nothing holds nothing.
#[test]
fn a_cache_that_cannot_be_is_refused() {
    let model = checkpoint::model("tiny-mtp");
    let device = Device::simulated("sm_80".parse().expect("a target")).expect("a device");
    let error = |cache_tokens, page_size| {
        let options = LoadOptions { cache_tokens, page_size };
        DeviceNetwork::load(&model, &device, options, &mut |_, _| {}).expect_err("no such cache").to_string()
    };
    let page_size = "expected 1 to 4294967295";
    assert_eq!(error(64, 0), format!("`page_size` is 0, {page_size}"));
    assert_eq!(error(64, 1 << 32), format!("`page_size` is 4294967296, {page_size}"));
    let cache_tokens = "expected 0 to 4294967280";
    assert_eq!(error((1 << 32) - 15, 16), format!("`cache_tokens` is 4294967281, {cache_tokens}"));
    assert_eq!(error(usize::MAX, 16), format!("`cache_tokens` is {}, {cache_tokens}", usize::MAX));
}
