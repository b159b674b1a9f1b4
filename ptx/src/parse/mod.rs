//! Reads PTX text (PTX ISA chapters 4 to 11) into a [`Module`]. One pass, scope by scope; names are resolved and
//! braces flattened on the way. The first error ends it.

mod declaration;
mod expression;
mod function;
mod instruction;
mod scope;

#[cfg(test)]
mod tests;

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{Lexer, Result};
use crate::module::{Item, Linkage, Module, Version};
use crate::operand::Symbol;
use crate::target::{Features, Target};
use instruction::Opcodes;
use scope::{Meaning, Name, Scopes};

/// Reads a module.
///
/// # Errors
///
/// The first thing that is wrong: see [`ParseErrorKind`].
pub fn parse(text: &str) -> std::result::Result<Module, ParseError> {
    let mut parser = Parser::new(text);
    match parser.module() {
        Ok(()) => Ok(parser.module),
        Err(error) => Err(*error),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    scopes: Scopes<'a>,
    opcodes: Opcodes<'a>,
    module: Module,
    body: function::Body,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let module = Module {
            version: Version { major: 0, minor: 0 },
            target: Target { sm: 0, features: Features::Baseline },
            target_options: Vec::new(),
            address_size: 64,
            variables: Vec::new(),
            functions: Vec::new(),
            items: Vec::new(),
        };
        Self {
            lexer: Lexer::new(text),
            scopes: Scopes::for_bytes(text.len()),
            opcodes: Opcodes::default(),
            module,
            body: function::Body::default(),
        }
    }

    fn module(&mut self) -> Result<()> {
        self.word("version", "`.version`")?;
        self.module.version = self.version()?;
        self.word("target", "`.target`")?;
        (self.module.target, self.module.target_options) = self.target()?;
        while !self.lexer.at_end() {
            self.item()?;
        }
        Ok(())
    }

    /// The directive that must stand here.
    fn word(&mut self, word: &str, what: &'static str) -> Result<()> {
        let start = self.lexer;
        if self.lexer.directive() == Some(word) { Ok(()) } else { Err(start.expected(what)) }
    }

    fn version(&mut self) -> Result<Version> {
        let start = self.lexer;
        let wrong = || start.error(ParseErrorKind::BadVersion);
        let text = self.lexer.word();
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        let number = |digits: &str| digits.parse().map_err(|_| wrong());
        Ok(Version { major: number(major)?, minor: number(minor)? })
    }

    fn target(&mut self) -> Result<(Target, Vec<String>)> {
        let start = self.lexer;
        let target = Target::from_name(self.lexer.name()?);
        let target = target.ok_or_else(|| start.error(ParseErrorKind::BadTarget))?;
        let mut options = Vec::new();
        while self.lexer.take(b',') {
            options.push(self.lexer.name()?.to_owned());
        }
        Ok((target, options))
    }

    /// One statement of module scope.
    fn item(&mut self) -> Result<()> {
        let start = self.lexer;
        let Some(word) = self.lexer.directive() else {
            return Err(start.expected("a directive"));
        };
        match word {
            "version" => {
                let start = self.lexer;
                if self.version()? != self.module.version {
                    return Err(start.error(ParseErrorKind::BadVersion));
                }
            }
            "target" => {
                let start = self.lexer;
                if self.target()? != (self.module.target, self.module.target_options.clone()) {
                    return Err(start.expected("the same target as before"));
                }
            }
            "address_size" => {
                let start = self.lexer;
                let size = self.natural()?;
                if size != 64 {
                    return Err(start.error(ParseErrorKind::AddressSize(size)));
                }
            }
            "file" => self.file()?,
            "section" => self.section()?,
            "pragma" => {
                for pragma in self.pragma()? {
                    self.module.items.push(Item::Pragma(pragma));
                }
            }
            "alias" => {
                let alias = self.function_name()?;
                self.lexer.expect(b',', "`,`")?;
                let aliased = self.function_name()?;
                self.lexer.expect(b';', "`;`")?;
                self.module.items.push(Item::Alias(alias, aliased));
            }
            "entry" => self.function(true, Linkage::Internal)?,
            "func" => self.function(false, Linkage::Internal)?,
            _ => match linkage(word) {
                Some(linkage) => {
                    let start = self.lexer;
                    match self.lexer.directive() {
                        Some("entry") => self.function(true, linkage)?,
                        Some("func") => self.function(false, linkage)?,
                        Some(word) => self.module_variables(word, linkage, start)?,
                        None => return Err(start.expected("`.entry`, `.func` or a state space")),
                    }
                }
                None => self.module_variables(word, Linkage::Internal, start)?,
            },
        }
        Ok(())
    }

    fn function_name(&mut self) -> Result<u32> {
        let start = self.lexer;
        let name = self.lexer.name()?;
        let name = self.scopes.intern(name);
        match self.scopes.resolve(name) {
            Meaning::Symbol(Symbol::Function(index)) => Ok(index),
            Meaning::Nothing => Err(self.undeclared(start)),
            _ => Err(start.expected("a function")),
        }
    }

    /// `.file index "name"{, stamp, size}`
    fn file(&mut self) -> Result<()> {
        let index = self.small()?;
        let name = self.lexer.string()?.to_owned();
        let mut stamp = None;
        if self.lexer.take(b',') {
            let time = self.natural()?;
            self.lexer.expect(b',', "`,` and the file's size")?;
            stamp = Some((time, self.natural()?));
        }
        self.module.items.push(Item::File { index, name, stamp });
        Ok(())
    }

    /// `.section .name { .. }`, whose lines are kept.
    fn section(&mut self) -> Result<()> {
        let start = self.lexer;
        let name = self.lexer.directive().ok_or_else(|| start.expected("a section name"))?;
        self.lexer.expect(b'{', "`{`")?;
        let text =
            self.lexer.balanced(b'{', b'}').map_err(|_| start.error(ParseErrorKind::Unbalanced('{')))?;
        let lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or(""))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| !line.is_empty())
            .collect();
        self.module.items.push(Item::Section { name: format!(".{name}"), lines });
        Ok(())
    }

    /// The strings of a `.pragma`.
    fn pragma(&mut self) -> Result<Vec<String>> {
        let mut strings = Vec::new();
        loop {
            strings.push(self.lexer.string()?.to_owned());
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(b';', "`,` or `;`")?;
        Ok(strings)
    }

    /// Gives a name a meaning in the innermost scope.
    fn declare(&mut self, name: Name, meaning: Meaning, at: &Lexer<'a>) -> Result<()> {
        let declared = self.scopes.declare(name, meaning, at.position());
        declared.map_err(|first| at.error(ParseErrorKind::Duplicate { first }))
    }

    /// The error that the name at a place is not declared.
    #[cold]
    fn undeclared(&self, at: Lexer<'a>) -> Box<ParseError> {
        let mut after = at;
        let name = after.operand_name().unwrap_or("");
        let mut error = at.error(ParseErrorKind::Undeclared { suggestion: self.suggestion(name) });
        name.clone_into(&mut error.token);
        error
    }

    fn suggestion(&self, name: &str) -> Option<String> {
        crate::error::closest(name, self.scopes.visible())
    }
}

/// The linkage that a directive names.
fn linkage(word: &str) -> Option<Linkage> {
    match word {
        "extern" => Some(Linkage::Extern),
        "visible" => Some(Linkage::Visible),
        "weak" => Some(Linkage::Weak),
        "common" => Some(Linkage::Common),
        _ => None,
    }
}
