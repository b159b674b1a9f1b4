//! Mistakes with plans that the compiler finds: each file of `cases` fails with the message beside it.
//!
//! After a change of the compiler, `TRYBUILD=overwrite cargo test --test compile_fail` writes the messages anew.

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/cases/*.rs");
}
