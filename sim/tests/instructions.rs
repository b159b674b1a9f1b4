//! Every arithmetic, logic, comparison and conversion instruction, through PTX text: a kernel of one instruction runs on
//! edge cases and random operands, and each result is compared with one computed here by other means: the host's
//! arithmetic, `half`, and `rustc_apfloat`.
#![expect(clippy::result_large_err, reason = "a report that a test did not expect is printed, not passed on")]
#![expect(clippy::type_complexity, reason = "tables of cases read best with their types spelled out")]

#[path = "instructions/address.rs"]
mod address;
#[path = "instructions/approximate.rs"]
mod approximate;
#[path = "instructions/bits.rs"]
mod bits;
#[path = "instructions/compare.rs"]
mod compare;
#[path = "instructions/convert.rs"]
mod convert;
#[path = "instructions/float.rs"]
mod float;
#[path = "instructions/half_precision.rs"]
mod half_precision;
#[path = "instructions/harness.rs"]
mod harness;
#[path = "instructions/integer.rs"]
mod integer;
#[path = "instructions/oracle.rs"]
mod oracle;
