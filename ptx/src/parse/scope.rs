//! Names and scopes (PTX ISA 4.4, 5.1). Braces nest and may declare a name again; the module's tree is flat, so every
//! declaration gets an index of its own here.
//!
//! A name is interned once and carries what it means now. Leaving a scope undoes, from a log, what the scope
//! declared. Registers of a range (`%r<100>`) come into being when they are first used. A label may be used before
//! it is declared: the use opens a label in the scope of the use, which falls to the enclosing scope if the scope
//! ends without declaring it.

use crate::module::{LabelInfo, Position, RegisterInfo};
use crate::operand::{Label, Register, Symbol};
use crate::types::Type;
use rustc_hash::{FxBuildHasher, FxHashMap};

/// An index of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u32);

const NO_STEM: Name = Name(u32::MAX);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing in scope.
    Nothing,
    /// A scalar register.
    Register(Register),
    /// A vector register: the first of its components, and how many there are.
    Vector(Register, u8),
    /// A variable or function.
    Symbol(Symbol),
}

/// A type that registers are declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegisterType {
    /// Element type.
    pub ty: Type,
    /// 1 for a scalar.
    pub vector: u8,
}

/// A meaning, where it was declared and in which scope (0 if there is none).
#[derive(Debug, Clone, Copy)]
struct Binding {
    meaning: Meaning,
    depth: u32,
    position: Position,
}

const UNBOUND: Binding =
    Binding { meaning: Meaning::Nothing, depth: 0, position: Position { line: 0, column: 0 } };

/// `%r<count>`, bound to the name `%r`.
#[derive(Debug, Clone, Copy)]
struct Range {
    ty: RegisterType,
    count: u32,
    depth: u32,
    position: Position,
    /// The range of the same name in an enclosing scope, which may reach further.
    outer: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct LabelBinding {
    label: u32,
    depth: u32,
    declared: bool,
}

#[derive(Debug)]
struct Entry<'a> {
    text: &'a str,
    /// The text without its trailing number, and the number: how a range would call it.
    stem: Name,
    number: u32,
    binding: Binding,
    /// An index of the innermost range.
    range: Option<u32>,
    label: Option<LabelBinding>,
}

#[derive(Debug, Clone, Copy)]
enum Before {
    Binding(Binding),
    Range(Option<u32>),
    Label(Option<LabelBinding>),
}

/// What a name meant before the scope at `depth` declared it.
#[derive(Debug, Clone, Copy)]
struct Undo {
    name: Name,
    depth: u32,
    before: Before,
}

/// A label while its function is parsed.
#[derive(Debug)]
struct OpenLabel<'a> {
    text: &'a str,
    first_use: Position,
    /// Itself, or the label of an enclosing scope that it turned out to be: an earlier one.
    target: u32,
}

/// The labels of a function, and what the labels that the parser gave out have become.
pub(super) struct Labels {
    /// By final index.
    pub infos: Vec<LabelInfo>,
    /// The final index of every label given out; `None` if nothing changed.
    pub renumbered: Option<Vec<Label>>,
}

/// All names of a module, and the scopes that are open.
#[derive(Debug, Default)]
pub(super) struct Scopes<'a> {
    index: FxHashMap<&'a str, Name>,
    entries: Vec<Entry<'a>>,
    log: Vec<Undo>,
    /// Where in the log each open scope inside the module begins.
    starts: Vec<usize>,
    ranges: Vec<Range>,
    registers: Vec<RegisterInfo>,
    labels: Vec<OpenLabel<'a>>,
}

impl<'a> Scopes<'a> {
    /// Room for the names that a text of so many bytes may have.
    pub fn for_bytes(bytes: usize) -> Self {
        const BYTES_PER_NAME: usize = 128;
        let names = bytes / BYTES_PER_NAME;
        let index = FxHashMap::with_capacity_and_hasher(names, FxBuildHasher);
        Self { index, entries: Vec::with_capacity(names), ..Self::default() }
    }

    /// The index of a name.
    #[inline]
    pub fn intern(&mut self, text: &'a str) -> Name {
        match self.index.get(text) {
            Some(&name) => name,
            None => self.insert(text),
        }
    }

    fn insert(&mut self, text: &'a str) -> Name {
        let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (stem, digits) = text.split_at(text.len() - digits);
        let plain = digits == "0" || !digits.starts_with('0');
        let number = if stem.is_empty() || !plain { None } else { digits.parse().ok() };
        let (stem, number) = number.map_or((NO_STEM, 0), |number| (self.intern(stem), number));
        let name = Name(self.entries.len() as u32);
        self.entries.push(Entry { text, stem, number, binding: UNBOUND, range: None, label: None });
        self.index.insert(text, name);
        name
    }

    fn entry(&mut self, name: Name) -> &mut Entry<'a> {
        &mut self.entries[name.0 as usize]
    }

    /// The module is at depth 1.
    fn depth(&self) -> u32 {
        self.starts.len() as u32 + 1
    }

    /// What a name means here.
    #[inline]
    pub fn resolve(&mut self, name: Name) -> Meaning {
        let entry = &self.entries[name.0 as usize];
        if entry.stem != NO_STEM
            && let Some(range) = self.range_of(entry)
            && range.depth > entry.binding.depth
        {
            return self.register_of_range(name, range);
        }
        entry.binding.meaning
    }

    /// The innermost range that a name is in.
    #[inline]
    fn range_of(&self, entry: &Entry<'a>) -> Option<Range> {
        let mut place = self.entries[entry.stem.0 as usize].range;
        while let Some(index) = place {
            let range = self.ranges[index as usize];
            if entry.number < range.count {
                return Some(range);
            }
            place = range.outer;
        }
        None
    }

    /// Declares a register of a range that is used for the first time, in the scope of the range.
    fn register_of_range(&mut self, name: Name, range: Range) -> Meaning {
        let meaning = self.new_register(self.entries[name.0 as usize].text, range.ty);
        self.bind(name, Binding { meaning, depth: range.depth, position: range.position });
        meaning
    }

    /// Makes a register, or one for every component of a vector.
    pub fn new_register(&mut self, text: &str, RegisterType { ty, vector }: RegisterType) -> Meaning {
        let first = Register(self.registers.len() as u32);
        if vector == 1 {
            self.registers.push(RegisterInfo { name: text.to_owned(), ty, vector: 1 });
            return Meaning::Register(first);
        }
        for component in ["x", "y", "z", "w"].iter().cycle().take(vector.into()) {
            self.registers.push(RegisterInfo { name: format!("{text}.{component}"), ty, vector: 1 });
        }
        Meaning::Vector(first, vector)
    }

    fn bind(&mut self, name: Name, binding: Binding) {
        let before = std::mem::replace(&mut self.entry(name).binding, binding);
        self.log.push(Undo { name, depth: binding.depth, before: Before::Binding(before) });
    }

    /// The declaration of a name in the innermost scope.
    fn declared_here(&self, name: Name) -> Option<Position> {
        let depth = self.depth();
        let entry = &self.entries[name.0 as usize];
        if entry.binding.depth == depth {
            return Some(entry.binding.position);
        }
        if let Some(LabelBinding { label, depth: at, declared: true }) = entry.label
            && at == depth
        {
            return Some(self.labels[label as usize].first_use);
        }
        let range = (entry.stem != NO_STEM).then(|| self.range_of(entry))??;
        (range.depth == depth).then_some(range.position)
    }

    /// Gives a name a meaning in the innermost scope. The error is the place of an earlier declaration there.
    pub fn declare(&mut self, name: Name, meaning: Meaning, position: Position) -> Result<(), Position> {
        match self.declared_here(name) {
            Some(first) => Err(first),
            None => {
                self.bind(name, Binding { meaning, depth: self.depth(), position });
                Ok(())
            }
        }
    }

    /// Gives a name a meaning in the module's scope from inside a function. The error is what it means already.
    pub fn declare_in_module(
        &mut self,
        name: Name,
        meaning: Meaning,
        position: Position,
    ) -> Result<(), (Meaning, Position)> {
        let earlier = self.entry(name).binding;
        if earlier.depth > 0 {
            return Err((earlier.meaning, earlier.position));
        }
        self.bind(name, Binding { meaning, depth: 1, position });
        Ok(())
    }

    /// Declares `name` followed by each number below `count`.
    pub fn declare_range(
        &mut self,
        name: Name,
        ty: RegisterType,
        count: u32,
        position: Position,
    ) -> Result<(), Position> {
        let depth = self.depth();
        let outer = self.entry(name).range;
        if let Some(range) = outer.map(|index| self.ranges[index as usize])
            && range.depth == depth
        {
            return Err(range.position);
        }
        let start = self.starts.last().copied().unwrap_or(0);
        let in_range = |undo: &&Undo| {
            let entry = &self.entries[undo.name.0 as usize];
            entry.stem == name && entry.number < count && entry.binding.depth == depth
        };
        if let Some(undo) = self.log[start..].iter().find(in_range) {
            return Err(self.entries[undo.name.0 as usize].binding.position);
        }
        let index = self.ranges.len() as u32;
        self.ranges.push(Range { ty, count, depth, position, outer });
        self.entry(name).range = Some(index);
        self.log.push(Undo { name, depth, before: Before::Range(outer) });
        Ok(())
    }

    /// The label that a use of a name means.
    #[inline]
    pub fn use_label(&mut self, name: Name, position: Position) -> Label {
        let depth = self.depth();
        match self.entry(name).label {
            Some(binding) if binding.depth == depth => Label(binding.label),
            _ => self.open_label(name, position, false),
        }
    }

    /// Declares a label in the innermost scope. The error is the place of an earlier declaration there.
    pub fn declare_label(&mut self, name: Name, position: Position) -> Result<Label, Position> {
        if let Some(first) = self.declared_here(name) {
            return Err(first);
        }
        let depth = self.depth();
        match &mut self.entry(name).label {
            Some(binding) if binding.depth == depth => {
                binding.declared = true;
                let label = binding.label;
                self.labels[label as usize].first_use = position;
                Ok(Label(label))
            }
            _ => Ok(self.open_label(name, position, true)),
        }
    }

    fn open_label(&mut self, name: Name, first_use: Position, declared: bool) -> Label {
        let label = self.labels.len() as u32;
        let depth = self.depth();
        let entry = self.entry(name);
        let before = entry.label.replace(LabelBinding { label, depth, declared });
        let text = entry.text;
        self.labels.push(OpenLabel { text, first_use, target: label });
        self.log.push(Undo { name, depth, before: Before::Label(before) });
        Label(label)
    }

    /// Opens a scope.
    pub fn enter(&mut self) {
        self.starts.push(self.log.len());
    }

    /// How many scopes are open inside the module.
    pub fn open(&self) -> usize {
        self.starts.len()
    }

    /// Closes the innermost scope.
    pub fn exit(&mut self) {
        let depth = self.depth();
        let start = self.starts.pop().unwrap_or(0);
        for place in (start..self.log.len()).rev() {
            let Undo { name, depth: at, before } = self.log[place];
            if at < depth {
                continue;
            }
            let entry = &mut self.entries[name.0 as usize];
            match before {
                Before::Binding(binding) => entry.binding = binding,
                Before::Range(range) => entry.range = range,
                Before::Label(outer) => match (entry.label, outer) {
                    (Some(LabelBinding { label, declared: false, .. }), Some(outer))
                        if outer.depth == depth - 1 =>
                    {
                        self.labels[label as usize].target = outer.label;
                        entry.label = Some(outer);
                    }
                    (Some(inner @ LabelBinding { declared: false, .. }), _) => {
                        entry.label = Some(LabelBinding { depth: depth - 1, ..inner });
                        self.log[place].depth = depth - 1;
                    }
                    _ => entry.label = outer,
                },
            }
        }
        // What belongs to an enclosing scope is now in the log of the next one.
        let mut kept = start;
        for place in start..self.log.len() {
            if self.log[place].depth < depth {
                self.log[kept] = self.log[place];
                kept += 1;
            }
        }
        self.log.truncate(kept);
    }

    /// Closes the outermost scope of a function and hands out its registers and labels. The error is the first label
    /// that is used and not declared.
    pub fn finish_function(&mut self) -> Result<(Vec<RegisterInfo>, Labels), (Position, &'a str)> {
        let depth = self.depth();
        let start = self.starts.last().copied().unwrap_or(0);
        let open = self.log[start..].iter().filter_map(|undo| self.entries[undo.name.0 as usize].label);
        let undeclared = open
            .filter(|binding| binding.depth == depth && !binding.declared)
            .map(|binding| &self.labels[binding.label as usize])
            .min_by_key(|label| label.first_use);
        if let Some(label) = undeclared {
            return Err((label.first_use, label.text));
        }
        self.exit();
        self.ranges.clear();
        Ok((std::mem::take(&mut self.registers), close_labels(std::mem::take(&mut self.labels))))
    }

    /// Names that mean something here.
    pub fn visible(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.entries
            .iter()
            .filter(|entry| entry.binding.depth > 0 || entry.label.is_some_and(|label| label.declared))
            .map(|entry| entry.text)
    }
}

fn close_labels(open: Vec<OpenLabel<'_>>) -> Labels {
    let mut infos = Vec::with_capacity(open.len());
    let mut numbers: Vec<Label> = Vec::with_capacity(open.len());
    for (index, label) in open.iter().enumerate() {
        if label.target as usize == index {
            numbers.push(Label(infos.len() as u32));
            infos.push(LabelInfo { name: label.text.to_owned() });
        } else {
            numbers.push(numbers[label.target as usize]);
        }
    }
    let renumbered = (infos.len() < open.len()).then_some(numbers);
    Labels { infos, renumbered }
}
