//! How well a checkpoint predicts a text: `cargo run --release --features tokenizer --example perplexity DIR TEXT`.
//!
//! Shows the network without `generate`: one segment of prompt tokens in, final states out, logits for all of them.

use std::error::Error;
use std::path::Path;

use rorqual::model::{OpenOptions, Pretrained};
use rorqual::reference::Segment;
use rorqual::reference::mla::Form;
use rorqual::reference::ops::log_probability;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "assets/tiny-r1-fp8".to_owned());
    let text =
        arguments.next().unwrap_or_else(|| "538+347=<think>8+7=15,3+4+1=08,5+3+0=08</think>885".to_owned());

    let checkpoint = Pretrained::open(Path::new(&directory), OpenOptions::default(), &mut |_| {})?;
    let network = &checkpoint.network;
    let tokens = checkpoint.tokenizer()?.encode(&text, true)?;
    network.check_prompt(&tokens)?;

    let mut cache = network.new_cache();
    let segment = Segment { tokens: &tokens, form: Form::Naive, cache: &mut cache };
    let states = network.forward(&mut [segment], &mut ())?;
    let logits = network.logits(&states);

    let rows = logits.chunks(network.config().vocab_size);
    let loss: f64 = rows.zip(&tokens[1..]).map(|(row, &next)| -log_probability(row, next)).sum();
    let predicted = tokens.len() - 1;
    if predicted == 0 {
        return Err("a text of one token predicts nothing".into());
    }
    println!("{predicted} tokens, perplexity {:.3}", (loss / predicted as f64).exp());
    Ok(())
}
