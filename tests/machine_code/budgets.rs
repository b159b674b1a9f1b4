//! What machine code must keep to, whichever ptxas makes it. Spills, local memory and serialised products are errors of the
//! [`Assembler`](rorqual_kernels::assemble::Assembler) already.

use crate::kernels::Listed;
use crate::measurement::Measured;
use rorqual::catalog::AnySpec;

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65536;

/// A limit for one tile of one family.
struct Budget {
    family: &'static str,
    rows: u32,
    columns: u32,
    /// Instructions and exposed clocks of a group, at most.
    group: Option<(u32, u32)>,
    /// Thousandths of the time in which tensor cores can be busy, at least.
    busy: u32,
}

const BUDGETS: [Budget; 3] = [
    Budget { family: "hopper_gemm_fp8", rows: 128, columns: 128, group: Some((105, 93)), busy: 770 },
    Budget { family: "hopper_gemm_fp8", rows: 128, columns: 192, group: None, busy: 885 },
    Budget { family: "hopper_gemm_bf16", rows: 128, columns: 256, group: None, busy: 980 },
];

impl Budget {
    fn applies_to(&self, spec: &AnySpec, rows: u32, columns: u32) -> bool {
        (self.family, self.rows, self.columns) == (spec.family(), rows, columns)
    }
}

/// Where kernels break a limit, in words; and where a limit has no kernel.
pub fn broken(kernels: &[Listed], measured: &[Measured]) -> Vec<String> {
    let pairs = || kernels.iter().zip(measured);
    let mut wrong: Vec<String> = pairs().flat_map(|(kernel, measured)| of_kernel(kernel, measured)).collect();
    for budget in &BUDGETS {
        let has_it =
            |kernel: &Listed| budget.applies_to(&kernel.spec, kernel.shape.rows, kernel.shape.columns);
        if !kernels.iter().any(has_it) {
            wrong.push(format!("no {} of {} x {} is listed", budget.family, budget.rows, budget.columns));
        }
    }
    wrong
}

fn of_kernel(Listed { spec, artifact, shape }: &Listed, measured: &Measured) -> Vec<String> {
    let mut wrong: Vec<String> = measured.report.warnings.clone();
    let mut at_most = |what: &str, found: u32, limit: u32| {
        if found > limit {
            wrong.push(format!("{what} are {found}, expected at most {limit}"));
        }
    };
    let threads = 128 * (1 + shape.consumers);
    at_most("registers of a CTA", threads * measured.report.registers, REGISTERS);
    if let Some(roles @ [producer, consumer]) = measured.roles {
        for (role, limit) in roles.into_iter().zip([24, 240]) {
            at_most("registers of a role", role.has, limit);
            at_most("registers that a role uses", role.uses, role.has);
        }
        at_most("registers of the roles", 128 * (producer.has + shape.consumers * consumer.has), REGISTERS);
    }
    // Swapped loops are of other tiles.
    let usual = measured.loops.iter().filter(|figures| figures.columns == shape.product_columns);
    let usual: Vec<_> = usual.collect();
    for figures in &measured.loops {
        at_most("fences of memory in a loop over K", figures.fences, 0);
    }
    for budget in BUDGETS.iter().filter(|budget| budget.applies_to(spec, shape.rows, shape.columns)) {
        for figures in &usual {
            if let Some((instructions, clocks)) = budget.group {
                at_most("instructions", figures.instructions, instructions * figures.groups);
                at_most("exposed clocks", figures.exposed_clocks, clocks * figures.groups);
            }
            let idle = 1000 - figures.busy_at_most(shape.consumers, shape.stage_bytes(figures.groups));
            at_most("idle thousandths of the tensor cores", idle, 1000 - budget.busy);
        }
    }
    if usual.len() != 1 {
        wrong.push(format!("{} loops over K with products of a whole tile, expected 1", usual.len()));
    }
    if shape.consumers > 1 && measured.roles.is_none() {
        wrong.push("roles do not change their registers".to_owned());
    }
    wrong.into_iter().map(|what| format!("{}: {what}", artifact.contract.kernel)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::kernels;
    use crate::loop_figures::LoopFigures;
    use crate::role_registers::RoleRegisters;
    use rorqual_kernels::assemble::Report;

    /// The first kernel of the list, of 128 x 128, with figures that keep every limit.
    fn within() -> (Listed, Measured) {
        let kernel = kernels().swap_remove(0);
        let figures = LoopFigures {
            columns: 128,
            groups: 1,
            products: 4,
            instructions: 105,
            exposed_clocks: 93,
            shared_bytes: 384,
            ..LoopFigures::default()
        };
        let roles = [RoleRegisters { has: 24, uses: 24 }, RoleRegisters { has: 240, uses: 240 }];
        let report = Report { registers: 168, ..Report::default() };
        (kernel, Measured { report, roles: Some(roles), instructions: 0, loops: vec![figures] })
    }

    #[test]
    fn figures_within_the_limits_break_none() {
        let (kernel, measured) = within();
        assert_eq!(of_kernel(&kernel, &measured), Vec::<String>::new());
    }

    #[test]
    fn every_limit_is_seen_to_be_broken() {
        let broken = |change: fn(&mut Measured)| {
            let (kernel, mut measured) = within();
            change(&mut measured);
            let wrong = of_kernel(&kernel, &measured);
            let name = format!("{}: ", kernel.artifact.contract.kernel);
            wrong.iter().map(|what| what.strip_prefix(&name).expect("the kernel's name").to_owned()).collect()
        };
        type Case<'c> = (fn(&mut Measured), &'c [&'c str]);
        let cases: [Case<'_>; 10] = [
            (|measured| measured.report.warnings.push("(C7517) injected".to_owned()), &["(C7517) injected"]),
            (
                |measured| measured.report.registers = 176,
                &["registers of a CTA are 67584, expected at most 65536"],
            ),
            (
                |measured| measured.roles.as_mut().unwrap()[0].uses = 25,
                &["registers that a role uses are 25, expected at most 24"],
            ),
            (
                |measured| measured.roles.as_mut().unwrap()[1].has = 248,
                &[
                    "registers of a role are 248, expected at most 240",
                    "registers of the roles are 66560, expected at most 65536",
                ],
            ),
            (|measured| measured.roles = None, &["roles do not change their registers"]),
            (
                |measured| measured.loops[0].instructions = 106,
                &["instructions are 106, expected at most 105"],
            ),
            (
                |measured| measured.loops[0].exposed_clocks = 94,
                &["exposed clocks are 94, expected at most 93"],
            ),
            (
                |measured| measured.loops[0].fences = 1,
                &["fences of memory in a loop over K are 1, expected at most 0"],
            ),
            (
                |measured| measured.loops[0].shared_bytes = 512,
                &["idle thousandths of the tensor cores are 238, expected at most 230"],
            ),
            (
                |measured| measured.loops[0].columns = 32,
                &["0 loops over K with products of a whole tile, expected 1"],
            ),
        ];
        for (change, expected) in cases {
            let found: Vec<String> = broken(change);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_limit_has_a_kernel() {
        let kernels = kernels();
        let none: Vec<Measured> = vec![];
        assert_eq!(broken(&kernels, &none), Vec::<String>::new());
        assert_eq!(broken(&[], &none).len(), BUDGETS.len());
    }
}
