//! Functions: header, directives, body (PTX ISA 5.5, 7.1, 11.2 to 11.5).

use super::Parser;
use super::scope::{Labels, Meaning};
use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{self, Lexer, Result};
use crate::module::{Directive, Function, Item, Linkage, Location, Prototype, Statement, Variable};
use crate::operand::{Label, Operand, Symbol};

/// Braces nested deeper than this are refused.
const DEEPEST: usize = 512;

/// What a function is made of while it is parsed.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Parameters, then locals.
    pub variables: Vec<Variable>,
    /// The code.
    pub statements: Vec<Statement>,
    /// The statements that have labels in them.
    pub with_labels: Vec<usize>,
}

impl<'a> Parser<'a> {
    /// A declaration or definition, after `.entry` or `.func`.
    pub(super) fn function(&mut self, is_kernel: bool, linkage: Linkage) -> Result<()> {
        self.body = Body::default();
        self.scopes.enter();
        let (mut function, index) = self.header(is_kernel, linkage)?;
        if self.lexer.take(b'{') {
            self.statements()?;
            function.body = Some(std::mem::take(&mut self.body.statements));
            self.module.items.push(Item::Definition(index));
        } else {
            self.lexer.expect(b';', "`{` or `;`")?;
            self.module.items.push(Item::Declaration(index));
        }
        let (registers, labels) = self.scopes.finish_function().map_err(|(position, name)| {
            let kind = ParseErrorKind::Undeclared { suggestion: self.suggestion(name) };
            Box::new(ParseError { position, token: name.to_owned(), kind })
        })?;
        if let (Some(body), Labels { renumbered: Some(labels), .. }) = (&mut function.body, &labels) {
            for &place in &self.body.with_labels {
                renumber_labels(&mut body[place], labels);
            }
        }
        function.variables = std::mem::take(&mut self.body.variables);
        function.registers = registers;
        function.labels = labels.infos;
        self.module.functions[index as usize] = function;
        Ok(())
    }

    /// Everything before the body. Returns the function without its contents, and its index.
    fn header(&mut self, is_kernel: bool, linkage: Linkage) -> Result<(Function, u32)> {
        let mut directives = Vec::new();
        self.directives(&mut directives)?;
        let returns = if is_kernel { Vec::new() } else { self.parameters(true)? };
        let return_count = returns.len() as u32;
        self.body.variables = returns;
        let at = self.lexer;
        if at.peek() == b'%' {
            return Err(at.expected("a name without `%`, which is for registers"));
        }
        let text = self.lexer.name()?;
        let parameters = self.parameters(true)?;
        let parameter_count = parameters.len() as u32;
        self.body.variables.extend(parameters);
        self.directives(&mut directives)?;
        let mut function = Function {
            name: text.to_owned(),
            position: at.position(),
            is_kernel,
            linkage,
            directives,
            return_count,
            parameter_count,
            variables: Vec::new(),
            registers: Vec::new(),
            labels: Vec::new(),
            body: None,
        };
        let name = self.scopes.intern(text);
        let index = self.module.functions.len() as u32;
        let meaning = Meaning::Symbol(Symbol::Function(index));
        match self.scopes.declare_in_module(name, meaning, at.position()) {
            Ok(()) => {
                self.module.functions.push(function.clone());
                Ok((function, index))
            }
            Err((Meaning::Symbol(Symbol::Function(index)), first)) => {
                let earlier = &self.module.functions[index as usize];
                if earlier.body.is_some() {
                    return Err(at.error(ParseErrorKind::Duplicate { first }));
                }
                if !same_signature(earlier, &function, &self.body.variables) {
                    return Err(at.error(ParseErrorKind::Mismatch { first }));
                }
                for directive in &earlier.directives {
                    if !function.directives.contains(directive) {
                        function.directives.push(directive.clone());
                    }
                }
                Ok((function, index))
            }
            Err((_, first)) => Err(at.error(ParseErrorKind::Duplicate { first })),
        }
    }

    /// Performance, launch and other directives of a function, as many as there are.
    fn directives(&mut self, directives: &mut Vec<Directive>) -> Result<()> {
        while self.lexer.peek() == b'.' {
            let start = self.lexer;
            let word = self.lexer.directive().unwrap_or("");
            directives.push(match word {
                "maxntid" => Directive::MaxThreads(self.extents()?),
                "reqntid" => Directive::RequiredThreads(self.extents()?),
                "minnctapersm" => Directive::MinCtasPerMultiprocessor(self.small()?),
                "maxnctapersm" => Directive::MaxCtasPerMultiprocessor(self.small()?),
                "maxnreg" => Directive::MaxRegisters(self.small()?),
                "noreturn" => Directive::NoReturn,
                "explicitcluster" => Directive::ExplicitCluster,
                "reqnctapercluster" => Directive::RequiredCluster(self.extents()?),
                "maxclusterrank" => Directive::MaxClusterRank(self.small()?),
                "blocksareclusters" => Directive::BlocksAreClusters,
                "pragma" => {
                    directives.extend(self.pragma()?.into_iter().map(Directive::Pragma));
                    continue;
                }
                "attribute" => Directive::Other(format!(".attribute({})", self.attribute()?)),
                "abi_preserve" | "abi_preserve_control" => {
                    Directive::Other(format!(".{word} {}", self.small()?))
                }
                _ => return Err(start.error(ParseErrorKind::UnknownDirective)),
            });
        }
        Ok(())
    }

    /// One to three extents.
    fn extents(&mut self) -> Result<Vec<u32>> {
        let mut extents = vec![self.small()?];
        while extents.len() < 3 && self.lexer.take(b',') {
            extents.push(self.small()?);
        }
        Ok(extents)
    }

    /// A body after its opening brace, with the closing one. Inner braces open scopes and leave no trace.
    fn statements(&mut self) -> Result<()> {
        loop {
            let start = self.lexer;
            match self.lexer.peek() {
                b'@' => {
                    let guard = self.guard()?;
                    let start = self.lexer;
                    match self.lexer.label_or_opcode()? {
                        lexer::Statement::Opcode(opcode) => self.instruction(opcode, Some(guard), &start)?,
                        lexer::Statement::Label(_) => return Err(start.expected("an instruction")),
                    }
                }
                b'{' => {
                    if self.scopes.open() == DEEPEST {
                        return Err(start.error(ParseErrorKind::TooDeep));
                    }
                    self.lexer.take(b'{');
                    self.scopes.enter();
                }
                b'}' => {
                    self.lexer.take(b'}');
                    if self.scopes.open() == 1 {
                        return Ok(());
                    }
                    self.scopes.exit();
                }
                b'.' => self.body_directive()?,
                _ if self.lexer.at_end() => return Err(start.expected("`}`")),
                _ => match self.lexer.label_or_opcode()? {
                    lexer::Statement::Opcode(opcode) => self.instruction(opcode, None, &start)?,
                    lexer::Statement::Label(name) => self.label(name, &start)?,
                },
            }
        }
    }

    /// A statement that starts with a dot.
    fn body_directive(&mut self) -> Result<()> {
        let start = self.lexer;
        let word = self.lexer.directive().ok_or_else(|| start.expected("a statement"))?;
        match word {
            "loc" => {
                let location = self.location()?;
                self.body.statements.push(Statement::Location(location));
            }
            "pragma" => {
                let pragmas = self.pragma()?;
                self.body.statements.extend(pragmas.into_iter().map(Statement::Pragma));
            }
            "file" => self.file()?,
            _ if self.local_declaration(word)? => {}
            _ => return Err(start.error(ParseErrorKind::UnknownDirective)),
        }
        Ok(())
    }

    /// `file line column{, function_name name{+bytes}, inlined_at file line column}`
    fn location(&mut self) -> Result<Location> {
        let (file, line, column) = (self.small()?, self.small()?, self.small()?);
        let mut inlined = None;
        if self.lexer.take(b',') {
            self.plain_word("function_name", "`function_name`")?;
            let mut text = format!("function_name {}", self.lexer.name()?);
            if self.lexer.take(b'+') {
                text += &format!("+{}", self.small()?);
            }
            self.lexer.expect(b',', "`,` and `inlined_at`")?;
            self.plain_word("inlined_at", "`inlined_at`")?;
            text += &format!(", inlined_at {} {} {}", self.small()?, self.small()?, self.small()?);
            inlined = Some(text);
        }
        Ok(Location { file, line, column, inlined })
    }

    fn plain_word(&mut self, word: &str, what: &'static str) -> Result<()> {
        let start = self.lexer;
        if self.lexer.name()? == word { Ok(()) } else { Err(start.expected(what)) }
    }

    /// A label whose colon is taken, with the table or prototype that it may name.
    fn label(&mut self, name: &'a str, at: &Lexer<'a>) -> Result<()> {
        let name = self.scopes.intern(name);
        let declared = self.scopes.declare_label(name, at.position());
        let label = declared.map_err(|first| at.error(ParseErrorKind::Duplicate { first }))?;
        let start = self.lexer;
        let statement = match self.lexer.directive() {
            Some("branchtargets") => {
                let mut targets = Vec::new();
                loop {
                    let position = self.lexer.position();
                    let name = self.lexer.name()?;
                    let name = self.scopes.intern(name);
                    targets.push(self.scopes.use_label(name, position));
                    if !self.lexer.take(b',') {
                        break;
                    }
                }
                self.lexer.expect(b';', "`,` or `;`")?;
                Statement::BranchTargets(label, targets)
            }
            Some("calltargets") => {
                let mut targets = Vec::new();
                loop {
                    targets.push(Symbol::Function(self.function_name()?));
                    if !self.lexer.take(b',') {
                        break;
                    }
                }
                self.lexer.expect(b';', "`,` or `;`")?;
                Statement::CallTargets(label, targets)
            }
            Some("callprototype") => {
                let returns = self.parameters(false)?;
                self.plain_word("_", "`_`")?;
                let parameters = self.parameters(false)?;
                let mut directives = Vec::new();
                self.directives(&mut directives)?;
                let no_return = directives.contains(&Directive::NoReturn);
                directives.retain(|directive| *directive != Directive::NoReturn);
                self.lexer.expect(b';', "`;`")?;
                let prototype = Prototype { returns, parameters, no_return, directives };
                Statement::CallPrototype(label, Box::new(prototype))
            }
            _ => {
                self.lexer = start;
                Statement::Label(label)
            }
        };
        self.push_with_labels(statement);
        Ok(())
    }

    /// Adds a statement whose labels may get other numbers at the end of the function.
    pub(super) fn push_with_labels(&mut self, statement: Statement) {
        self.body.with_labels.push(self.body.statements.len());
        self.body.statements.push(statement);
    }
}

/// Whether a definition, whose variables come apart from it, agrees with an earlier declaration.
fn same_signature(declared: &Function, defined: &Function, variables: &[Variable]) -> bool {
    let counts = |function: &Function| (function.return_count, function.parameter_count);
    declared.is_kernel == defined.is_kernel
        && declared.linkage == defined.linkage
        && counts(declared) == counts(defined)
        && declared.variables.iter().zip(variables).all(|(a, b)| {
            (a.space, a.ty, a.vector, &a.dimensions) == (b.space, b.ty, b.vector, &b.dimensions)
        })
}

fn renumber_labels(statement: &mut Statement, labels: &[Label]) {
    let renumber = |label: &mut Label| *label = labels[label.0 as usize];
    match statement {
        Statement::Label(label) | Statement::CallTargets(label, _) | Statement::CallPrototype(label, _) => {
            renumber(label);
        }
        Statement::BranchTargets(label, targets) => {
            renumber(label);
            targets.iter_mut().for_each(renumber);
        }
        Statement::Instruction(instruction) => {
            for operand in &mut instruction.operands {
                if let Operand::Label(label) = operand {
                    renumber(label);
                }
            }
        }
        Statement::Location(_) | Statement::Pragma(_) => {}
    }
}
