//! PTX as compilers write it reads, prints and reads again as the same; broken PTX is refused, never fatal.

use proptest::prelude::*;
use rorqual_ptx::module::{Module, Statement};
use rorqual_ptx::{parse, print};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Name and text of every file of the corpus, smallest first.
static CORPUS: LazyLock<Vec<(PathBuf, String)>> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sim/tests/kernels/ptx");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ptx"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            (path, text)
        })
        .collect();
    assert!(!files.is_empty(), "{} has no PTX", folder.display());
    files.sort_by_key(|(path, text)| (text.len(), path.clone()));
    files
});

/// What must survive a round trip besides the text: the forms and modifiers of every statement.
fn skeleton(module: &Module) -> impl Iterator<Item = String> + '_ {
    let bodies = module.functions.iter().filter_map(|function| function.body.as_deref());
    bodies.flatten().map(|statement| match statement {
        Statement::Instruction(instruction) => {
            format!("{} {:?} {}", instruction.form.text, instruction.modifiers, instruction.operands.len())
        }
        other => format!("{:?}", std::mem::discriminant(other)),
    })
}

#[test]
fn printed_text_is_a_fixed_point() {
    for (path, text) in CORPUS.iter() {
        let path = path.display();
        let module = parse(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let printed = print(&module);
        let again = parse(&printed).unwrap_or_else(|error| panic!("{path}, printed: {error}"));
        assert!(skeleton(&module).eq(skeleton(&again)), "{path}: statements changed");
        let twice = print(&again);
        let difference = printed.lines().zip(twice.lines()).find(|(a, b)| a != b);
        assert_eq!(difference, None, "{path}");
        assert_eq!(printed.len(), twice.len(), "{path}");
    }
}

#[test]
fn blanks_and_comments_do_not_matter() {
    for (path, text) in CORPUS.iter().take(5) {
        let spaced = text.replace('\n', "\r\n").replace(';', " /* ; */ ;").replace(", ", " ,// ,\n\t");
        let print = |text: &str| parse(text).map(|module| print(&module));
        assert_eq!(print(&spaced), print(text), "{}", path.display());
    }
}

/// A text of the corpus that is short enough to be broken many times.
fn small_text() -> impl Strategy<Value = &'static str> {
    (0..20_usize).prop_map(|place| CORPUS[place % CORPUS.len()].1.as_str())
}

/// Words that mean something to the parser.
fn word() -> impl Strategy<Value = &'static str> {
    let words = "{ } ( ) [ ] < > , ; : | ! @ + - . _ % $ 0 -1 0x 0f 1e9 99999999999999999999 \" // /* */ \u{e9} \
                 .reg .param .func .entry .global .b32 .f32 .v4 .align .loc .pragma .section .callprototype ret bra \
                 add.s32 ld.global.v4.f32 call %r<9> %r1 %rd1 $L0 WARP_SZ generic";
    prop::sample::select(words.split_whitespace().collect::<Vec<_>>())
}

/// `text` with `length` bytes at about `place` replaced.
fn splice(text: &str, place: usize, length: usize, replacement: &str) -> String {
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(place % (text.len() + 1));
    let end = boundary((start + length).min(text.len())).max(start);
    format!("{}{replacement}{}", &text[..start], &text[end..])
}

/// Reads a text that may be wrong; if it is right after all, it must print and read back.
fn survive(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Err(error) => {
            prop_assert!(error.position.line >= 1 && error.position.column >= 1);
            prop_assert!(error.position.line as usize <= text.lines().count() + 1, "{error}");
            prop_assert!(!error.to_string().is_empty());
        }
        Ok(module) => {
            let printed = print(&module);
            let again = parse(&printed);
            prop_assert!(again.is_ok(), "{}\n{printed}", again.unwrap_err());
            prop_assert_eq!(print(&again.unwrap()), printed);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_refused(text in "[ -~\n\t]{0,400}") {
        survive(&text)?;
    }

    #[test]
    fn random_characters_are_refused(text in any::<String>()) {
        survive(&format!(".version 8.0\n.target sm_90\n{text}"))?;
    }

    #[test]
    fn random_words_are_refused(words in prop::collection::vec(word(), 0..60)) {
        survive(&format!(".version 8.0 .target sm_90 .entry k() {{ {}", words.join(" ")))?;
    }

    #[test]
    fn truncated_text_is_refused(text in small_text(), length in any::<prop::sample::Index>()) {
        let mut length = length.index(text.len());
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        survive(&text[..length])?;
    }

    #[test]
    fn changed_text_is_refused_or_read(
        text in small_text(),
        changes in prop::collection::vec((any::<usize>(), 0..12_usize, word()), 1..4),
    ) {
        let change = |text: String, (place, length, word): (usize, usize, &str)| splice(&text, place, length, word);
        survive(&changes.into_iter().fold(text.to_owned(), change))?;
    }
}
