//! A kernel as `nvdisasm -hex -c` prints it: instructions with their words, of which some bits are for the scheduler.

use std::collections::HashMap;

/// Where the clocks are that a warp waits behind an instruction, at least: bits 105 to 108 of the word.
const STALL_BIT: u32 = 105;

/// An instruction, 128 bits wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// `@P0`, `@!UP1`; `None` where it is always executed.
    pub predicate: Option<String>,
    /// The name with its modifiers, as `LDS.128`.
    pub opcode: String,
    /// What follows the name, as printed.
    pub operands: Vec<String>,
    /// The index of the instruction that its operand names, if it names one.
    pub target: Option<usize>,
    word: u128,
}

impl Instruction {
    /// The name without its modifiers.
    pub fn name(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// Whether a modifier is there.
    pub fn has(&self, modifier: &str) -> bool {
        self.opcode.split('.').skip(1).any(|found| found == modifier)
    }

    /// Clocks until the warp may issue the next instruction.
    pub fn clocks(&self) -> u32 {
        ((self.word >> STALL_BIT) as u32 & 15).max(1)
    }

    /// Columns, if it is a product of a warpgroup: `HGMMA.64x256x16.F32.BF16`.
    pub fn product_columns(&self) -> Option<u32> {
        let shape = self.opcode.split_once("GMMA.64x")?.1;
        shape.split('x').next()?.parse().ok()
    }

    /// Whether it ends a group of products, for which `WARPGROUP.DEPBAR` can wait.
    pub fn ends_group(&self) -> bool {
        self.product_columns().is_some() && self.operands.iter().any(|operand| operand == "gsb0")
    }

    /// Groups of products that may still be under way behind it, if it waits for products.
    pub fn awaits_groups(&self) -> Option<usize> {
        if self.name() != "WARPGROUP" || !self.has("DEPBAR") {
            return None;
        }
        let left = self.operands.last()?.strip_prefix("0x")?;
        usize::from_str_radix(left, 16).ok()
    }

    /// Whether it is a fence, which holds the warp until memory has seen what it did.
    pub fn is_fence(&self) -> bool {
        self.name() == "MEMBAR"
    }

    /// Bytes that a warp moves between registers and shared memory; none by loads that ptxas puts before fences and that
    /// no lane executes.
    pub fn shared_bytes(&self) -> u32 {
        let lanes = if self.predicate.as_deref() == Some("@!PT") { 0 } else { 32 };
        match self.name() {
            "LDS" | "STS" if self.has("128") => lanes * 16,
            "LDS" | "STS" if self.has("64") => lanes * 8,
            "LDS" | "STS" | "ATOMS" => lanes * 4,
            "LDSM" | "STSM" => lanes * 4 * self.matrices(),
            _ => 0,
        }
    }

    /// Matrices of 8 x 8 of an `LDSM` or `STSM`.
    fn matrices(&self) -> u32 {
        self.opcode.rsplit('.').next().and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// How many registers it takes up to the highest that it names, 0 if it names none.
    pub fn registers(&self) -> u32 {
        let last = |(index, operand): (usize, &String)| {
            let (base, is_wide) = register(operand)?;
            Some(base + if is_wide { 2 } else { self.operand_registers(index, operand) })
        };
        self.operands.iter().enumerate().filter_map(last).max().unwrap_or(0)
    }

    /// Registers of an operand that is a register, or an address.
    fn operand_registers(&self, index: usize, operand: &str) -> u32 {
        if operand.contains('[') {
            return 1;
        }
        if let Some(columns) = self.product_columns() {
            // Sums of 64 rows in f32, of which each of 128 threads has its part.
            return columns / 2;
        }
        match self.name() {
            "LDSM" | "STSM" => self.matrices(),
            "CS2R" if !self.has("32") => 2,
            "IMAD" if self.has("WIDE") => {
                if matches!(index, 0 | 3) {
                    2
                } else {
                    1
                }
            }
            _ if self.has("128") => 4,
            _ if self.has("64") => 2,
            _ => 1,
        }
    }
}

/// The number of the register that an operand names, and whether it says `.64` of it.
fn register(operand: &str) -> Option<(u32, bool)> {
    let bytes = operand.as_bytes();
    let starts = |at: usize| bytes[at] == b'R' && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
    (0..bytes.len()).filter(|at| starts(*at)).find_map(|at| {
        let rest = &operand[at + 1..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some((rest[..digits].parse().ok()?, rest[digits..].starts_with(".64")))
    })
}

/// The instructions of a kernel and of the functions that come with it.
///
/// # Errors
///
/// If something is not as nvdisasm prints it, with the line.
pub fn parse(text: &str) -> Result<Vec<Instruction>, String> {
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut labels = HashMap::new();
    let mut is_half = false;
    for line in text.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        let trimmed = line.trim();
        if let Some(label) = line.strip_suffix(':').filter(|label| !label.contains(char::is_whitespace)) {
            labels.insert(label.to_owned(), instructions.len());
        } else if trimmed.starts_with("/* 0x") {
            let last = instructions.last_mut().filter(|_| is_half).ok_or_else(|| wrong("half a word"))?;
            last.word |= word(trimmed).ok_or_else(|| wrong("no word"))? << 64;
            is_half = false;
        } else if let Some(rest) = trimmed.strip_prefix("/*") {
            let (_, rest) = rest.split_once("*/").ok_or_else(|| wrong("no address"))?;
            let (text, low) = rest.split_at(rest.find("/* 0x").ok_or_else(|| wrong("no word"))?);
            let low = word(low).ok_or_else(|| wrong("no word"))?;
            if is_half {
                return Err(wrong("expected the second half of a word"));
            }
            instructions.push(instruction(text, low));
            is_half = true;
        }
    }
    if instructions.is_empty() || is_half {
        return Err("no instructions, or half of one at the end".to_owned());
    }
    for instruction in &mut instructions {
        let label = instruction.operands.iter().find_map(|operand| operand.strip_prefix("`("));
        if let Some(label) = label.map(|label| label.trim_end_matches(')')) {
            let target = labels.get(label).ok_or_else(|| format!("no label {label}"))?;
            instruction.target = Some(*target);
        }
    }
    Ok(instructions)
}

/// `/* 0x000fea0003800000 */`.
fn word(comment: &str) -> Option<u128> {
    let digits = comment.trim().strip_prefix("/* 0x")?.strip_suffix(" */")?;
    u64::from_str_radix(digits, 16).ok().map(u128::from)
}

/// `@!P0 LDS.128 R4, [R2+0x35080] ;`, and the low half of its word.
fn instruction(text: &str, word: u128) -> Instruction {
    let text = text.trim().trim_end_matches(';').trim_end();
    let (predicate, text) = match text.split_once(' ') {
        Some((first, rest)) if first.starts_with('@') => (Some(first.to_owned()), rest.trim_start()),
        _ => (None, text),
    };
    let (opcode, operands) = text.split_once(' ').unwrap_or((text, ""));
    let operands = operands.split(", ").map(str::trim).filter(|operand| !operand.is_empty());
    let operands = operands.map(str::to_owned).collect();
    Instruction { predicate, opcode: opcode.to_owned(), operands, target: None, word }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A listing of lines `label:` and `clocks instruction`.
    pub fn listing(lines: &[&str]) -> Vec<Instruction> {
        let line = |line: &&str| match line.split_once(' ') {
            None => format!("{line}\n"),
            Some((clocks, text)) => {
                let high = clocks.parse::<u64>().unwrap() << (STALL_BIT - 64);
                let low = "/* 0x0000000000000947 */";
                format!("        /*0070*/   {text} ;  {low}\n      /* {high:#018x} */\n")
            }
        };
        parse(&lines.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn an_instruction_is_read() {
        let text = "\t.section\t.text.k\n.text.k:\n.L_x_1:\n\
            \x20       /*0000*/              @!P0 BRA `(.L_x_1) ;          /* 0x0000002400b08947 */\n\
            \x20                                                           /* 0x000fea0003800000 */\n";
        let [branch] = parse(text).unwrap().try_into().unwrap();
        assert_eq!(
            (branch.predicate.as_deref(), branch.name(), branch.target),
            (Some("@!P0"), "BRA", Some(0))
        );
        // 0x000fea.. has 5 in bits 41 to 44 of the high half.
        assert_eq!(branch.clocks(), 5);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        let first = "/*0000*/ EXIT ; /* 0x000000000000794d */\n";
        let second = "/* 0x000fea0003800000 */\n";
        assert!(parse(&[first, second].concat()).is_ok());
        for wrong in ["", first, second, &[first, first, second].concat(), "/*0000*/ EXIT ;\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let lost = "/*0000*/ BRA `(.L_x_9) ; /* 0x000000000000794d */\n";
        assert_eq!(parse(&[lost, second].concat()), Err("no label .L_x_9".to_owned()));
    }

    #[test]
    fn products_and_their_groups_are_told() {
        let [last, first, wait, all] = listing(&[
            "12 HGMMA.64x256x16.F32.BF16 R24, gdesc[UR8], R24, gsb0",
            "1 QGMMA.64x8x32.F32.E4M3.E4M3 R24, gdesc[UR4], RZ, !UPT",
            "1 WARPGROUP.DEPBAR.LE gsb0, 0x1",
            "1 WARPGROUP.ARRIVE",
        ])
        .try_into()
        .unwrap();
        assert_eq!((last.product_columns(), last.ends_group(), last.clocks()), (Some(256), true, 12));
        assert_eq!((first.product_columns(), first.ends_group()), (Some(8), false));
        assert_eq!((wait.awaits_groups(), wait.product_columns()), (Some(1), None));
        assert_eq!(all.awaits_groups(), None);
    }

    #[test]
    fn registers_are_as_many_as_the_highest_needs() {
        let cases = [
            ("FFMA R7, R12, R3, R7", 13),
            ("QGMMA.64x192x32.F32.E4M3.E4M3 R24, gdesc[UR8], R24", 120),
            ("LDS.128 R4, [R2+0x35080]", 8),
            ("STS.64 [R30+UR4], R6", 31),
            ("STSM.16.M88.4 [R3], R40", 44),
            ("IMAD.WIDE.U32 R2, R9, 0x4, R8", 10),
            ("CS2R R14, SRZ", 16),
            ("LDGSTS.E [R21+0x34800], desc[UR28][R28.64], !P4", 30),
            ("UIADD3 UR40, UR39, URZ, URZ", 0),
            ("FADD R5, -R31, |R9|", 32),
            ("EXIT", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(listing(&[&format!("1 {text}")])[0].registers(), expected, "{text}");
        }
    }
}
