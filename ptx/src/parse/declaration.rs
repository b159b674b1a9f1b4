//! Declarations (PTX ISA 5.3, 5.4): registers, variables with initialisers, formal parameters.

use super::scope::{Meaning, Name, RegisterType};
use super::{Parser, linkage};
use crate::error::ParseErrorKind;
use crate::lexer::{Lexer, Result, starts_name};
use crate::module::{Initializer, Item, Linkage, Pointer, Variable};
use crate::operand::{Immediate, Register, Symbol};
use crate::types::{Space, Type};

/// The most bytes that one variable may have.
const LARGEST: u64 = 1 << 32;
/// The most bits that a vector register may have.
const MOST_VECTOR_BITS: u32 = 128;
/// The most elements that an initialiser may have beyond the bytes of the text, where rows are filled up.
const MOST_FILLED_UP: u64 = 1 << 20;
/// Dimensions and braces nested deeper than this are refused.
const DEEPEST: usize = 16;

/// What stands between the state space and the name.
struct Specifiers {
    alignment: Option<u32>,
    ty: RegisterType,
    pointer: Option<Pointer>,
    attribute: Option<String>,
}

impl<'a> Parser<'a> {
    /// Variables at module scope, after the word of their state space.
    pub(super) fn module_variables(&mut self, word: &str, linkage: Linkage, start: Lexer<'a>) -> Result<()> {
        let space = match variable_space(word) {
            Some(space @ (Space::Const | Space::Global | Space::Local | Space::Shared)) => space,
            _ => return Err(start.error(ParseErrorKind::UnknownDirective)),
        };
        let specifiers = self.specifiers(space)?;
        loop {
            let at = self.lexer;
            let text = self.lexer.name()?;
            let name = self.scopes.intern(text);
            let index = self.module_variable(name, space, &specifiers, &at)?;
            let variable = self.variable(text, space, linkage, &specifiers, &at)?;
            match self.module.variables.get_mut(index as usize) {
                Some(earlier) => *earlier = variable,
                None => self.module.variables.push(variable),
            }
            self.module.items.push(Item::Variable(index));
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(b';', "`,` or `;`")
    }

    /// The index of a variable; `.extern` declarations may come before the definition.
    fn module_variable(
        &mut self,
        name: Name,
        space: Space,
        specifiers: &Specifiers,
        at: &Lexer<'a>,
    ) -> Result<u32> {
        if let Meaning::Symbol(Symbol::Module(index)) = self.scopes.resolve(name) {
            let Variable { linkage, space: earlier_space, ty, vector, .. } =
                self.module.variables[index as usize];
            if linkage == Linkage::Extern
                && earlier_space == space
                && specifiers.ty == (RegisterType { ty, vector })
            {
                return Ok(index);
            }
        }
        if at.peek() == b'%' {
            return Err(at.expected("a name without `%`, which is for registers"));
        }
        let index = self.module.variables.len() as u32;
        self.declare(name, Meaning::Symbol(Symbol::Module(index)), at)?;
        Ok(index)
    }

    /// A declaration in a function, after its first word; `Ok(false)` if the word starts none.
    pub(super) fn local_declaration(&mut self, word: &str) -> Result<bool> {
        let (word, linkage) = match linkage(word) {
            Some(linkage) => {
                let start = self.lexer;
                (self.lexer.directive().ok_or_else(|| start.expected("a state space"))?, linkage)
            }
            None => (word, Linkage::Internal),
        };
        let Some(space) = variable_space(word) else { return Ok(false) };
        let specifiers = self.specifiers(space)?;
        loop {
            let at = self.lexer;
            let text = self.lexer.name()?;
            let name = self.scopes.intern(text);
            if space == Space::Reg {
                self.registers(name, text, specifiers.ty, &at)?;
            } else {
                let index = self.body.variables.len() as u32;
                self.declare(name, Meaning::Symbol(Symbol::Local(index)), &at)?;
                let variable = self.variable(text, space, linkage, &specifiers, &at)?;
                self.body.variables.push(variable);
            }
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(b';', "`,` or `;`")?;
        Ok(true)
    }

    /// `%r` or `%r<10>`
    fn registers(&mut self, name: Name, text: &str, ty: RegisterType, at: &Lexer<'a>) -> Result<()> {
        let RegisterType { ty: element, vector } = ty;
        if vector > 1 && (element == Type::Pred || element.bits() * u32::from(vector) > MOST_VECTOR_BITS) {
            return Err(at.error(ParseErrorKind::TooLarge));
        }
        if !self.lexer.take(b'<') {
            let meaning = self.scopes.new_register(text, ty);
            return self.declare(name, meaning, at);
        }
        let count = self.small()?;
        self.lexer.expect(b'>', "`>`")?;
        let declared = self.scopes.declare_range(name, ty, count, at.position());
        declared.map_err(|first| at.error(ParseErrorKind::Duplicate { first }))
    }

    /// Alignment, vector, type and so on, in any order, up to the name.
    fn specifiers(&mut self, space: Space) -> Result<Specifiers> {
        let mut ty = None;
        let mut found = Specifiers {
            alignment: None,
            ty: RegisterType { ty: Type::B8, vector: 1 },
            pointer: None,
            attribute: None,
        };
        loop {
            let start = self.lexer;
            let Some(word) = self.lexer.directive() else { break };
            match word {
                "align" => found.alignment = Some(self.alignment()?),
                "v2" => found.ty.vector = 2,
                "v4" => found.ty.vector = 4,
                "attribute" => found.attribute = Some(self.attribute()?),
                "ptr" => found.pointer = Some(self.pointer()?),
                "texref" | "samplerref" | "surfref" => {
                    return Err(start.error(ParseErrorKind::UnsupportedType));
                }
                name => {
                    let known =
                        Type::from_name(name).filter(|known| ty.is_none() && may_declare(space, *known));
                    ty = Some(known.ok_or_else(|| start.error(ParseErrorKind::UnknownType))?);
                }
            }
        }
        found.ty.ty = ty.ok_or_else(|| self.lexer.expected("a type"))?;
        Ok(found)
    }

    fn alignment(&mut self) -> Result<u32> {
        let start = self.lexer;
        let alignment = u32::try_from(self.integer()?).ok().filter(|bytes| bytes.is_power_of_two());
        alignment.ok_or_else(|| start.expected("a power of two"))
    }

    /// What stands between the parentheses of `.attribute(..)`.
    pub(super) fn attribute(&mut self) -> Result<String> {
        let start = self.lexer;
        self.lexer.expect(b'(', "`(`")?;
        let inner =
            self.lexer.balanced(b'(', b')').map_err(|_| start.error(ParseErrorKind::Unbalanced('(')))?;
        Ok(inner.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn pointer(&mut self) -> Result<Pointer> {
        let mut pointer = Pointer { space: Space::Generic, alignment: None };
        loop {
            let start = self.lexer;
            match self.lexer.directive() {
                Some("align") => {
                    pointer.alignment = Some(self.alignment()?);
                    return Ok(pointer);
                }
                Some(word) if pointer.space == Space::Generic => match variable_space(word) {
                    Some(space @ (Space::Const | Space::Global | Space::Local | Space::Shared)) => {
                        pointer.space = space;
                    }
                    _ => return Err(start.error(ParseErrorKind::UnknownDirective)),
                },
                Some(_) => return Err(start.error(ParseErrorKind::UnknownDirective)),
                None => return Ok(pointer),
            }
        }
    }

    /// A variable whose name is taken: dimensions and initialiser follow.
    fn variable(
        &mut self,
        name: &str,
        space: Space,
        linkage: Linkage,
        specifiers: &Specifiers,
        at: &Lexer<'a>,
    ) -> Result<Variable> {
        let RegisterType { ty, vector } = specifiers.ty;
        let natural = ty.bytes() * u32::from(vector);
        let mut variable = Variable {
            name: name.to_owned(),
            position: at.position(),
            space,
            linkage,
            alignment: specifiers.alignment.unwrap_or(natural),
            ty,
            vector,
            dimensions: self.dimensions(natural.into(), at)?,
            initializer: None,
            pointer: specifiers.pointer,
            attribute: specifiers.attribute.clone(),
            register: None,
        };
        if self.lexer.take(b'=') {
            self.initializer(&mut variable)?;
        }
        Ok(variable)
    }

    fn dimensions(&mut self, element: u64, at: &Lexer<'a>) -> Result<Vec<Option<u64>>> {
        let mut dimensions = Vec::new();
        let mut bytes = element;
        while self.lexer.take(b'[') {
            if dimensions.len() == DEEPEST {
                return Err(self.lexer.error(ParseErrorKind::TooDeep));
            }
            if dimensions.is_empty() && self.lexer.take(b']') {
                dimensions.push(None);
                continue;
            }
            let start = self.lexer;
            let extent = self.integer()?;
            let extent = u64::try_from(extent).map_err(|_| start.error(ParseErrorKind::OutOfRange))?;
            let product = bytes.checked_mul(extent).filter(|bytes| *bytes <= LARGEST);
            bytes = product.ok_or_else(|| at.error(ParseErrorKind::TooLarge))?;
            dimensions.push(Some(extent));
            self.lexer.expect(b']', "`]`")?;
        }
        Ok(dimensions)
    }

    /// What follows `=`, flattened: every inner list but the last is filled up with zeros.
    fn initializer(&mut self, variable: &mut Variable) -> Result<()> {
        let mut extents: Vec<Option<u64>> = variable.dimensions.clone();
        if variable.vector > 1 {
            extents.push(Some(variable.vector.into()));
        }
        let mut values = Vec::new();
        if extents.is_empty() {
            let braced = self.lexer.take(b'{');
            values.push(self.initializer_value()?);
            if braced {
                self.lexer.expect(b'}', "`}`")?;
            }
        } else {
            let rows = self.initializer_list(&extents, &mut values)?;
            if let Some(extent @ None) = variable.dimensions.first_mut() {
                *extent = Some(rows);
            }
        }
        variable.initializer = Some(values);
        Ok(())
    }

    /// A list in braces for dimensions of these extents; how many rows it has.
    fn initializer_list(&mut self, extents: &[Option<u64>], values: &mut Vec<Initializer>) -> Result<u64> {
        let Some((&extent, inner)) = extents.split_first() else {
            values.push(self.initializer_value()?);
            return Ok(1);
        };
        let start = values.len() as u64;
        let row = inner.iter().flatten().fold(1, |row: u64, extent| row.saturating_mul(*extent));
        let most = MOST_FILLED_UP + self.lexer.text().len() as u64;
        self.lexer.expect(b'{', "`{`")?;
        let mut rows = 0;
        while self.lexer.peek() != b'}' {
            if extent == Some(rows) {
                return Err(self.lexer.error(ParseErrorKind::TooManyInitializers));
            }
            let full = start.saturating_add(row.saturating_mul(rows));
            if full > most {
                return Err(self.lexer.error(ParseErrorKind::TooLarge));
            }
            values.resize(full as usize, Initializer::Value(Immediate::int(0)));
            self.initializer_list(inner, values)?;
            rows += 1;
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(b'}', "`,` or `}`")?;
        Ok(rows)
    }

    /// A number, or an address: `symbol+8`, `generic(symbol)`, `0xFF00(symbol)`.
    fn initializer_value(&mut self) -> Result<Initializer> {
        let start = self.lexer;
        if starts_name(self.lexer.peek()) && self.lexer.word() != "WARP_SZ" {
            self.lexer = start;
            let (symbol, offset, generic) = self.address_constant()?;
            return Ok(Initializer::Address { symbol, offset, generic });
        }
        self.lexer = start;
        let value = if self.lexer.peek().is_ascii_digit() {
            let value = self.lexer.number()?;
            if self.lexer.take(b'(') {
                let Immediate::Integer { value: mask, .. } = value else {
                    return Err(start.expected("an integer mask"));
                };
                let (symbol, offset, generic) = self.address_constant()?;
                self.lexer.expect(b')', "`)`")?;
                return Ok(Initializer::MaskedAddress { mask: mask as u64, symbol, offset, generic });
            }
            self.constant_after(value)?
        } else {
            self.constant()?
        };
        Ok(Initializer::Value(value))
    }

    /// `symbol`, `symbol+8`, `generic(symbol)+8`: what, bytes, and whether it is a generic address.
    fn address_constant(&mut self) -> Result<(Symbol, i64, bool)> {
        let mut start = self.lexer;
        let mut name = self.lexer.name()?;
        let generic = name == "generic" && self.lexer.take(b'(');
        if generic {
            start = self.lexer;
            name = self.lexer.name()?;
            self.lexer.expect(b')', "`)`")?;
        }
        let name = self.scopes.intern(name);
        let symbol = match self.scopes.resolve(name) {
            Meaning::Symbol(symbol) => symbol,
            Meaning::Nothing => return Err(self.undeclared(start)),
            _ => return Err(start.expected("a variable or function")),
        };
        let offset = if matches!(self.lexer.peek(), b'+' | b'-') { self.integer()? } else { 0 };
        Ok((symbol, offset, generic))
    }

    /// Formal parameters between parentheses; none if there is no opening one. They are declared in the innermost
    /// scope unless `names` is false, as in a prototype.
    pub(super) fn parameters(&mut self, names: bool) -> Result<Vec<Variable>> {
        let mut parameters = Vec::new();
        if !self.lexer.take(b'(') || self.lexer.take(b')') {
            return Ok(parameters);
        }
        loop {
            let start = self.lexer;
            let space = match self.lexer.directive() {
                Some("param") => Space::Param,
                Some("reg") => Space::Reg,
                _ => return Err(start.expected("`.param` or `.reg`")),
            };
            let specifiers = self.specifiers(space)?;
            let at = self.lexer;
            let text = self.lexer.name()?;
            let anonymous = !names || text == "_";
            let mut parameter =
                self.variable(if names { text } else { "" }, space, Linkage::Internal, &specifiers, &at)?;
            let index = self.body.variables.len() + parameters.len();
            let mut meaning = Meaning::Symbol(Symbol::Local(index as u32));
            if space == Space::Reg && names {
                meaning = self.scopes.new_register(text, specifiers.ty);
                parameter.register = Some(scalar(meaning).ok_or_else(|| at.expected("a scalar register"))?);
            }
            if !anonymous {
                let name = self.scopes.intern(text);
                self.declare(name, meaning, &at)?;
            }
            parameters.push(parameter);
            if !self.lexer.take(b',') {
                break;
            }
        }
        self.lexer.expect(b')', "`,` or `)`")?;
        Ok(parameters)
    }
}

fn scalar(meaning: Meaning) -> Option<Register> {
    match meaning {
        Meaning::Register(register) => Some(register),
        _ => None,
    }
}

/// Whether something in the space may be of the type: most alternate formats are of instructions only.
fn may_declare(space: Space, ty: Type) -> bool {
    match ty {
        Type::Pred => space == Space::Reg,
        Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128 => true,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => true,
        Type::S8 | Type::S16 | Type::S32 | Type::S64 => true,
        Type::F16 | Type::F16x2 | Type::F32 | Type::F64 => true,
        _ => false,
    }
}

/// The state space that variables of a declaration word live in.
fn variable_space(word: &str) -> Option<Space> {
    match word {
        "reg" => Some(Space::Reg),
        "const" => Some(Space::Const),
        "global" => Some(Space::Global),
        "local" => Some(Space::Local),
        "param" => Some(Space::Param),
        "shared" | "shared::cta" => Some(Space::Shared),
        _ => None,
    }
}
