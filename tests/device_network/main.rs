//! The network on a device against the reference path in kernel precision.
//!
//! | module | what it shows |
//! |---|---|
//! | [`forced`] | every launch, fed what the reference has there, is within its family's tolerance |
//! | [`oracle`] | what a launch must give, by the reference's functions |
//! | [`replies`] | left alone, the bundled checkpoint gives the reference's tokens and logits near the f32 oracle's |
//! | [`choices`] | random weights: rows that keep the reference's experts end where the reference does |
//! | [`batches`] | batches, chunks and speculation change nothing; pages come back; bad input changes nothing |
//!
//! All of it runs on the simulator, with its checks, most of it on sm_80. `RORQUAL_ALL=1` takes all 200 prompts of the
//! bundled checkpoint instead of 40, and on sm_90a what otherwise is a sample: there products are those of Hopper.

mod batches;
mod checkpoint;
mod choices;
mod forced;
mod oracle;
mod replies;
