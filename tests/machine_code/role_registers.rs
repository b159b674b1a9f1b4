//! Registers of the roles of a kernel: a warpgroup gives registers back, or takes more, by `USETMAXREG` at the start of its
//! role. What that role executes must name no others.

use crate::control_flow::ControlFlow;
use crate::listing::Instruction;

/// What a role has, and what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleRegisters {
    /// Registers of a thread from then on.
    pub has: u32,
    /// Up to the highest that any instruction names.
    pub uses: u32,
}

/// Registers of the producer and of the consumers; `None` where no warpgroup changes its own.
///
/// # Errors
///
/// If there is one that gives back and none that takes, or the other way round, or more than one of either.
pub fn roles(
    instructions: &[Instruction],
    flow: &ControlFlow<'_>,
) -> Result<Option<[RoleRegisters; 2]>, String> {
    let changes = |instruction: &Instruction| instruction.name() == "USETMAXREG";
    let starts = |modifier: &str| -> Vec<usize> {
        let is_start = |at: &usize| changes(&instructions[*at]) && instructions[*at].has(modifier);
        (0..instructions.len()).filter(is_start).collect()
    };
    let role = |start: usize| -> Result<RoleRegisters, String> {
        let number = instructions[start].operands.last().and_then(|operand| operand.strip_prefix("0x"));
        let has =
            number.and_then(|number| u32::from_str_radix(number, 16).ok()).ok_or("no number of registers")?;
        let reached = flow.reached_from(start, changes);
        let uses = reached.iter().map(|instruction| instruction.registers()).max().unwrap_or(0);
        Ok(RoleRegisters { has, uses })
    };
    match (starts("DEALLOC").as_slice(), starts("TRY_ALLOC").as_slice()) {
        ([], []) => Ok(None),
        ([producer], [consumer]) => Ok(Some([role(*producer)?, role(*consumer)?])),
        (fewer, more) => Err(format!(
            "{} roles with fewer registers, {} with more, expected one each",
            fewer.len(),
            more.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::listing;

    #[test]
    fn each_role_has_its_registers() {
        let instructions = listing(&[
            "1 @P0 BRA `(consume)",
            "1 USETMAXREG.DEALLOC.CTAPOOL 0x18",
            "1 MOV R21, R4",
            "consume:",
            "1 @!P0 EXIT",
            "take:",
            "1 USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xf0",
            "1 @!P0 BRA `(take)",
            "1 FFMA R200, R24, R8, R200",
            "1 EXIT",
        ]);
        let found = roles(&instructions, &ControlFlow::new(&instructions).unwrap());
        let expected = [RoleRegisters { has: 24, uses: 22 }, RoleRegisters { has: 240, uses: 201 }];
        assert_eq!(found, Ok(Some(expected)));
    }

    #[test]
    fn kernels_without_such_roles_have_none_and_half_a_pair_is_refused() {
        let of = |lines: &[&str]| {
            let instructions = listing(lines);
            roles(&instructions, &ControlFlow::new(&instructions).unwrap())
        };
        assert_eq!(of(&["1 EXIT"]), Ok(None));
        assert!(of(&["1 USETMAXREG.DEALLOC.CTAPOOL 0x18", "1 EXIT"]).is_err());
    }
}
