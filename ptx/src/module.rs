//! The tree of a module: what the parser makes and the printer writes. Scopes are already flattened: every
//! register, label and local variable of a function has one index, whatever braces it was declared in.

use crate::instruction::Instruction;
use crate::operand::{Immediate, Label, Register, Symbol};
use crate::target::Target;
use crate::types::{Space, Type};
use std::fmt;

/// Line and column, both from 1, in the text that was parsed; zeros for what was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in bytes.
    pub column: u32,
}

/// A version of the PTX ISA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Before the dot.
    pub major: u8,
    /// After the dot.
    pub minor: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One translation unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// `.version`
    pub version: Version,
    /// `.target`: the architecture.
    pub target: Target,
    /// Further words of `.target`, e.g. `debug`.
    pub target_options: Vec<String>,
    /// `.address_size`: 64 (32 is refused by the parser).
    pub address_size: u32,
    /// Module-scope variables in order of declaration.
    pub variables: Vec<Variable>,
    /// Functions; a declaration and its definition are one entry.
    pub functions: Vec<Function>,
    /// What is printed in between, in source order.
    pub items: Vec<Item>,
}

/// A module-scope statement, in source order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An index into [`Module::variables`].
    Variable(u32),
    /// A declaration without a body of this function.
    Declaration(u32),
    /// The definition of this function.
    Definition(u32),
    /// `.file index "name"`, with optional time stamp and size.
    File {
        /// The number that `.loc` uses.
        index: u32,
        /// The path as written, without quotes, escapes kept.
        name: String,
        /// Time stamp and size where given.
        stamp: Option<(u64, u64)>,
    },
    /// `.section name { .. }`: debug information, kept word by word, one entry a line.
    Section {
        /// The name with its dot.
        name: String,
        /// The lines between the braces, trimmed.
        lines: Vec<String>,
    },
    /// `.pragma "..";`
    Pragma(String),
    /// `.alias a, b;`
    Alias(u32, u32),
}

/// `.extern`, `.visible`, `.weak`, `.common`, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Linkage {
    /// Private to the module.
    #[default]
    Internal,
    /// Defined elsewhere.
    Extern,
    /// Visible to other modules.
    Visible,
    /// Visible, may be overridden.
    Weak,
    /// Merged with others of its name.
    Common,
}

/// A variable, formal parameter or call argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// The name as written.
    pub name: String,
    /// Where it was declared.
    pub position: Position,
    /// The state space.
    pub space: Space,
    /// Linkage; internal for locals.
    pub linkage: Linkage,
    /// Alignment in bytes: as written, else the natural one of the element.
    pub alignment: u32,
    /// Element type.
    pub ty: Type,
    /// Elements of a vector type (1, 2, 4 or 8).
    pub vector: u8,
    /// Array dimensions, outermost first; `None` for `[]`, which only the outermost may be.
    pub dimensions: Vec<Option<u64>>,
    /// The initialiser, flattened in memory order; shorter than the array means zeros follow.
    pub initializer: Option<Vec<Initializer>>,
    /// `.ptr`: the space and alignment a pointer parameter was promised.
    pub pointer: Option<Pointer>,
    /// `.attribute(..)`, as written between the parentheses.
    pub attribute: Option<String>,
    /// Set for a formal parameter in `.reg` space: the register that it is.
    pub register: Option<Register>,
}

/// `.ptr .space .align N` of a kernel parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// The space pointed to; generic if absent.
    pub space: Space,
    /// Promised alignment in bytes, where given.
    pub alignment: Option<u32>,
}

/// One element of an initialiser.
#[derive(Debug, Clone, PartialEq)]
pub enum Initializer {
    /// A number of the element type.
    Value(Immediate),
    /// The address of a symbol plus bytes; `generic(..)` where asked.
    Address {
        /// What it points to.
        symbol: Symbol,
        /// Added bytes.
        offset: i64,
        /// Whether `generic()` was written.
        generic: bool,
    },
    /// `mask(symbol)`: one byte of an address, as `0xFF(sym)` of `.u8` arrays.
    MaskedAddress {
        /// The mask as written.
        mask: u64,
        /// What it points to.
        symbol: Symbol,
        /// Added bytes.
        offset: i64,
        /// Whether `generic()` was written.
        generic: bool,
    },
}

/// A register of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterInfo {
    /// The name as written, e.g. `%r17`.
    pub name: String,
    /// Declared type.
    pub ty: Type,
    /// Elements of a vector register: 1, 2 or 4.
    pub vector: u8,
}

/// A label of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelInfo {
    /// The name as written.
    pub name: String,
}

/// A kernel or device function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The name as written.
    pub name: String,
    /// Where it was declared.
    pub position: Position,
    /// Whether it is an `.entry`.
    pub is_kernel: bool,
    /// Linkage.
    pub linkage: Linkage,
    /// Performance and launch directives, in source order.
    pub directives: Vec<Directive>,
    /// How many of `variables` are return parameters; they come first.
    pub return_count: u32,
    /// How many of `variables` after them are formal parameters.
    pub parameter_count: u32,
    /// Return parameters, formal parameters, then local variables.
    pub variables: Vec<Variable>,
    /// Registers by index.
    pub registers: Vec<RegisterInfo>,
    /// Labels by index.
    pub labels: Vec<LabelInfo>,
    /// The body; `None` for a declaration.
    pub body: Option<Vec<Statement>>,
}

/// A performance or launch directive of a function (PTX ISA 11.4).
#[derive(Debug, Clone, PartialEq)]
pub enum Directive {
    /// `.maxntid`: 1 to 3 extents.
    MaxThreads(Vec<u32>),
    /// `.reqntid`
    RequiredThreads(Vec<u32>),
    /// `.minnctapersm`
    MinCtasPerMultiprocessor(u32),
    /// `.maxnctapersm`
    MaxCtasPerMultiprocessor(u32),
    /// `.maxnreg`
    MaxRegisters(u32),
    /// `.noreturn`
    NoReturn,
    /// `.explicitcluster`
    ExplicitCluster,
    /// `.reqnctapercluster`
    RequiredCluster(Vec<u32>),
    /// `.maxclusterrank`
    MaxClusterRank(u32),
    /// `.blocksareclusters`
    BlocksAreClusters,
    /// `.pragma ".."` between header and body.
    Pragma(String),
    /// `.attribute(..)`, `.unified(..)` or `.abi_preserve N`, as written.
    Other(String),
}

/// One statement of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `name:`
    Label(Label),
    /// An instruction.
    Instruction(Instruction),
    /// `.loc`
    Location(Location),
    /// `.pragma "..";`
    Pragma(String),
    /// `name: .branchtargets a, b;`
    BranchTargets(Label, Vec<Label>),
    /// `name: .calltargets f, g;`
    CallTargets(Label, Vec<Symbol>),
    /// `name: .callprototype ..`
    CallPrototype(Label, Box<Prototype>),
}

/// The signature of an indirect call; variables have empty names.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototype {
    /// Return parameters.
    pub returns: Vec<Variable>,
    /// Formal parameters.
    pub parameters: Vec<Variable>,
    /// Whether `.noreturn` was written.
    pub no_return: bool,
    /// Other directives, in source order.
    pub directives: Vec<Directive>,
}

/// `.loc file line column`, with the call it was inlined at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Index of the `.file`.
    pub file: u32,
    /// Source line.
    pub line: u32,
    /// Source column.
    pub column: u32,
    /// `function_name sym+offset, inlined_at file line column`, as written.
    pub inlined: Option<String>,
}
