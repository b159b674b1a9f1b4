//! What the statements of a function do to memory that other threads may see, as far as the text tells.
//!
//! Addresses are followed back to the kernel's parameters. A load of a parameter's memory that the kernel never writes,
//! a store to one that it never loads, and reductions of one kind alone need no order: parameters are taken not to
//! overlap, which races in the runs of mutants would show.

use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::{Function, Statement};
use rorqual_ptx::operand::{Base, Operand, Register, Symbol};
use rorqual_ptx::table::Access as OperandAccess;
use rorqual_ptx::types::Space;
use rorqual_ptx::visit::for_each_register;
use std::collections::BTreeSet;

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// A pointer parameter of the kernel, by its index.
    Parameter(u32),
    /// A variable of the module, by its index.
    Variable(u32),
    /// It was loaded from memory, or cannot be told.
    Unknown,
}

type Origins = BTreeSet<Origin>;

/// What an instruction does to global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GlobalUse {
    reads: bool,
    writes: bool,
    /// Whether it combines without an answer: others of its kind may come before or behind it.
    reduces: bool,
}

/// What a function does to memory.
#[derive(Debug)]
pub struct Memory {
    /// Origins of the addresses in each register.
    origins: Vec<Origins>,
    read: Origins,
    written: Origins,
    reduced: Origins,
    /// Whether all reductions in global memory are the same.
    same_reductions: bool,
    /// Whether anything goes through the async proxy.
    asynchronous: bool,
    /// Registers with matrices of products of a warpgroup.
    product_registers: BTreeSet<Register>,
}

/// Instructions of a body.
pub fn instructions(body: &[Statement]) -> impl Iterator<Item = &Instruction> {
    body.iter().filter_map(|statement| match statement {
        Statement::Instruction(instruction) => Some(instruction),
        _ => None,
    })
}

fn is_bulk(instruction: &Instruction) -> bool {
    let name = instruction.form.name;
    (name.starts_with("cp.async.bulk") || name.starts_with("cp.reduce.async.bulk"))
        && !name.contains("prefetch")
        && !name.ends_with("_group")
}

fn is_product(instruction: &Instruction) -> bool {
    instruction.form.name.starts_with("wgmma.mma_async")
}

impl Memory {
    /// Looks at a function.
    #[must_use]
    pub fn new(function: &Function) -> Self {
        let body = function.body.as_deref().unwrap_or(&[]);
        let mut memory = Self {
            origins: vec![Origins::new(); function.registers.len()],
            read: Origins::new(),
            written: Origins::new(),
            reduced: Origins::new(),
            same_reductions: true,
            asynchronous: instructions(body)
                .any(|instruction| is_bulk(instruction) || is_product(instruction)),
            product_registers: BTreeSet::new(),
        };
        let mut changed = true;
        while changed {
            changed = false;
            for instruction in instructions(body) {
                changed |= memory.follow(instruction);
            }
        }
        let mut reduction = None;
        for instruction in instructions(body) {
            if is_product(instruction) {
                let matrices = instruction.operands.iter().filter_map(|operand| match operand {
                    Operand::Vector(elements) => Some(elements),
                    _ => None,
                });
                memory.product_registers.extend(matrices.flatten().filter_map(|element| match element {
                    Operand::Register(register) => Some(*register),
                    _ => None,
                }));
            }
            for (address, GlobalUse { reads, writes, reduces }) in global_uses(instruction) {
                let origins = memory.of_address(address);
                if reads {
                    memory.read.extend(&origins);
                }
                if writes {
                    memory.written.extend(&origins);
                }
                if reduces {
                    memory.reduced.extend(&origins);
                    let spelling = reduction.get_or_insert_with(|| instruction.spelling());
                    memory.same_reductions &= *spelling == instruction.spelling();
                }
            }
        }
        memory
    }

    /// Whether anything of the function goes through the async proxy.
    #[must_use]
    pub const fn is_asynchronous(&self) -> bool {
        self.asynchronous
    }

    /// Whether an instruction accesses memory that other threads may access as well, one of them writing.
    #[must_use]
    pub fn is_shared_access(&self, instruction: &Instruction) -> bool {
        let name = instruction.form.name;
        if is_bulk(instruction) || is_product(instruction) {
            return true;
        }
        match name {
            "ld" if instruction.has(Modifier::Nc) => false,
            "ld" | "st" | "atom" | "red" => match instruction.space() {
                Space::Shared | Space::SharedCluster | Space::Generic => true,
                Space::Global => {
                    global_uses(instruction).iter().any(|(address, how)| self.conflicts(address, *how))
                }
                _ => false,
            },
            "ldmatrix" | "stmatrix" | "cp.async" | "call" | "mbarrier.inval" | "st.async" | "red.async"
            | "st.bulk" => true,
            _ => {
                name.starts_with("tcgen05.")
                    || name.starts_with("tensormap.")
                    || name.starts_with("multimem.")
            }
        }
    }

    /// Whether an instruction that is no product touches a register of one.
    #[must_use]
    pub fn touches_product(&self, instruction: &Instruction) -> bool {
        let mut touches = false;
        for_each_register(instruction, |register, _| touches |= self.product_registers.contains(&register));
        touches && !is_product(instruction)
    }

    fn conflicts(&self, address: &Operand, how: GlobalUse) -> bool {
        let origins = self.of_address(address);
        let meets = |others: &Origins| {
            origins.contains(&Origin::Unknown)
                || others.contains(&Origin::Unknown)
                || origins.intersection(others).next().is_some()
        };
        let (read, written, reduced) = (meets(&self.read), meets(&self.written), meets(&self.reduced));
        match how {
            GlobalUse { reduces: true, .. } => read || written || !self.same_reductions,
            GlobalUse { reads: true, writes: false, .. } => written || reduced,
            GlobalUse { reads: false, writes: true, .. } => read || reduced,
            _ => true,
        }
    }

    fn of_address(&self, operand: &Operand) -> Origins {
        let Operand::Address(address) = operand else { return Origins::from([Origin::Unknown]) };
        let origins = match address.base {
            Base::Register(register) => self.origins[register.0 as usize].clone(),
            Base::Symbol(Symbol::Module(index)) => Origins::from([Origin::Variable(index)]),
            Base::Symbol(_) | Base::Immediate(_) => Origins::new(),
        };
        if origins.is_empty() { Origins::from([Origin::Unknown]) } else { origins }
    }

    /// Takes origins from what an instruction reads to what it writes; whether any is new.
    fn follow(&mut self, instruction: &Instruction) -> bool {
        let mut from = Origins::new();
        match instruction.form.name {
            "ld" if instruction.space() == Space::Param => {
                for operand in &instruction.operands {
                    if let Operand::Address(address) = operand
                        && let Base::Symbol(Symbol::Local(index)) = address.base
                    {
                        from.insert(Origin::Parameter(index));
                    }
                }
            }
            "ld" | "atom" | "call" => {
                from.insert(Origin::Unknown);
            }
            // Of a multiply-add only what is added can be an address.
            "mad" | "mad24" => self.gather(instruction.operands.last(), &mut from),
            "mov" | "cvta" | "add" | "sub" | "selp" | "min" | "max" | "shfl" => {
                for operand in instruction.operands.iter().skip(1) {
                    self.gather(Some(operand), &mut from);
                }
            }
            _ => {}
        }
        if from.is_empty() {
            return false;
        }
        let mut changed = false;
        for_each_register(instruction, |register, access| {
            // Addresses have 64 bits, or are halves that a move joins again; the rest are numbers.
            if access != OperandAccess::Read {
                let origins = &mut self.origins[register.0 as usize];
                let before = origins.len();
                origins.extend(&from);
                changed |= origins.len() > before;
            }
        });
        changed
    }

    fn gather(&self, operand: Option<&Operand>, into: &mut Origins) {
        match operand {
            Some(Operand::Register(register)) => into.extend(&self.origins[register.0 as usize]),
            Some(Operand::Symbol(Symbol::Module(index), _)) => {
                into.insert(Origin::Variable(*index));
            }
            Some(Operand::Vector(operands)) => {
                operands.iter().for_each(|operand| self.gather(Some(operand), into))
            }
            _ => {}
        }
    }
}

/// The addresses in global memory that an instruction uses.
fn global_uses(instruction: &Instruction) -> Vec<(&Operand, GlobalUse)> {
    let address = |name: &str| instruction.operand(name);
    let first_address = || instruction.operands.iter().find(|operand| matches!(operand, Operand::Address(_)));
    let reaches_global = matches!(instruction.space(), Space::Global | Space::Generic);
    let both = GlobalUse { reads: true, writes: true, reduces: false };
    let (operand, how) = match instruction.form.name {
        "ld" if reaches_global => (first_address(), GlobalUse { writes: false, ..both }),
        "st" if reaches_global => (first_address(), GlobalUse { reads: false, ..both }),
        "atom" if reaches_global => (first_address(), both),
        "red" if reaches_global => {
            (first_address(), GlobalUse { reads: false, writes: false, reduces: true })
        }
        "cp.async" => (address("src"), GlobalUse { writes: false, ..both }),
        _ if is_bulk(instruction) && instruction.space() == Space::Global => {
            (address("dst").or_else(|| address("map")), both)
        }
        _ => (None, both),
    };
    operand.map(|operand| (operand, how)).into_iter().collect()
}
