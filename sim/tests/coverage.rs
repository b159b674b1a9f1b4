//! `docs/coverage.md`: every instruction of the table, whether the simulator executes it, and where it is tested.
//!
//! The page is made here and must be the committed one; `BLESS=1` writes it. Whether an instruction executes is asked
//! of the simulator: every form is written in ways that together have each of its modifiers, and what the verifier
//! passes is loaded.

#[path = "coverage/choices.rs"]
mod choices;
#[path = "coverage/page.rs"]
mod page;
#[path = "coverage/tested.rs"]
mod tested;
#[path = "coverage/text.rs"]
mod text;

use choices::Choice;
use rorqual_ptx::module::{Module, Statement};
use rorqual_ptx::table::{Form, rows};
use rorqual_ptx::verify::verify;
use rorqual_sim::Device;
use std::path::Path;

/// What the simulator makes of a form.
pub struct Answer {
    /// The form.
    pub form: &'static Form,
    /// An opcode with the modifiers that were tried, and what is lacking, if it is.
    pub tried: Vec<(String, Option<String>)>,
}

/// The form that the verifier settled on for the instruction of a line.
fn settled(module: &Module, line: u32) -> Option<&'static Form> {
    let statements = module.functions.iter().flat_map(|function| function.body.iter().flatten());
    statements.into_iter().find_map(|statement| match statement {
        Statement::Instruction(instruction) if instruction.position.line == line => Some(instruction.form),
        _ => None,
    })
}

/// Whether a way of writing a form is valid PTX, and of this form.
fn is_valid(form: &'static Form, choice: &Choice) -> bool {
    let target = text::target(form, &choice.modifiers);
    let Some(text) = target.and_then(|target| text::module(form, choice, target)) else { return false };
    let verified = rorqual_ptx::parse(&text.module).ok().and_then(|module| verify(module).ok());
    verified.is_some_and(|module| settled(&module, text.line).is_some_and(|found| std::ptr::eq(found, form)))
}

/// What the simulator lacks to execute it; `None` if nothing.
fn lacks(form: &'static Form, choice: &Choice) -> Option<String> {
    let target = text::target(form, &choice.modifiers).expect("a target");
    let text = text::module(form, choice, target).expect("valid PTX");
    let module = Device::new(target).and_then(|mut device| device.load(&text.module));
    let module = module.unwrap_or_else(|error| panic!("{error}\n{}", text.module));
    module.unsupported().first().map(|(_, what)| what.clone())
}

fn answer(form: &'static Form) -> Answer {
    let tried = choices::cover(form, |choice| is_valid(form, choice));
    let tried = tried.iter().map(|choice| {
        let opcode = text::spelling(form, &choice.modifiers);
        let what =
            lacks(form, choice).map(|what| what.trim_start_matches(&format!("`{opcode}`: ")).to_owned());
        (opcode, what)
    });
    Answer { form, tried: tried.collect() }
}

#[test]
fn the_page_is_what_the_table_and_the_simulator_say() {
    let answers: Vec<Answer> = rows().iter().flat_map(|row| &row.forms).map(answer).collect();
    let untried: Vec<&str> =
        answers.iter().filter(|answer| answer.tried.is_empty()).map(|answer| answer.form.text).collect();
    assert!(untried.is_empty(), "{} forms cannot be written:\n{}", untried.len(), untried.join("\n"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page::page(&answers, &tested::tested(&root.join("tests")));
    let path = root.join("../docs/coverage.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(committed.lines()).find(|(made, committed)| made != committed);
    if let Some((made, committed)) = differs {
        panic!("docs/coverage.md is old; BLESS=1 writes it anew\n  now {made}\n  was {committed}");
    }
    assert_eq!(
        page.lines().count(),
        committed.lines().count(),
        "docs/coverage.md is old; BLESS=1 writes it anew"
    );
}
