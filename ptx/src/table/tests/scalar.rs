//! The scalar sections: arithmetic, bits, conversion, memory, atomics and control. What must be taken or refused
//! here, and since when it exists, was asked of ptxas 13.5.

use super::{exists, forms};
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::module::Position;
use crate::operand::{Address, Base, Immediate, Operand, Register};

const REGISTER: Operand = Operand::Register(Register(0));

fn literal(value: i64) -> Operand {
    Operand::Immediate(Immediate::int(value))
}

fn pair() -> Operand {
    Operand::Pair(Box::new([REGISTER, REGISTER]))
}

fn address() -> Operand {
    Operand::Address(Box::new(Address { base: Base::Register(Register(0)), offset: 0, coordinates: vec![] }))
}

/// The text of the rule that an instruction breaks; `None` if it breaks none.
fn broken(opcode: &str, operands: &[Operand]) -> Option<&'static str> {
    let found = forms(opcode);
    let fitting = found.into_iter().find(|(form, modifiers)| form.fits(modifiers, operands));
    let (form, modifiers) = fitting.unwrap_or_else(|| panic!("{opcode}: no form fits"));
    let instruction = Instruction {
        form,
        modifiers: modifiers.into(),
        operands: operands.to_vec(),
        guard: None,
        position: Position::default(),
    };
    form.rules.iter().find(|rule| !(rule.holds)(&instruction)).map(|rule| rule.text)
}

#[test]
fn opcodes_that_the_assembler_refuses_are_no_forms() {
    let refused = "add.f32.f32 add.sat.s64 add.rz.f16 add.sat.bf16 add.b32 addc.s16 sub.u16x2 mul.s32 mul.wide.u64 \
                   mul.rn.sat.f32x2 mad.f32 mad.wide.cc.s32 madc.s32 fma.f32 fma.rz.f16 fma.rn.relu.f32 \
                   fma.rn.oob.ftz.f16 div.f32 div.rn.sat.f32 rem.f32 abs.u32 neg.ftz.bf16 min.xorsign.f32 \
                   min.ftz.bf16 min.abs.s32 sqrt.rn.ftz.f64 rcp.f32 ex2.approx.ftz.f16 ex2.approx.bf16 \
                   tanh.approx.ftz.f32 testp.normal.f16 setp.lt.b32 setp.ltu.s32 setp.lo.s32 setp.hi.f32 \
                   setp.eq.ftz.bf16 set.eq.b32.f32 set.lt.ftz.f16.f64 selp.f16 selp.pred slct.ftz.b32.s32 and.u32 \
                   shl.u32 shr.f32 bfe.b32 brev.u32 shf.l.b32 lop3.xor.b32 popc.u32 prmt.b64 cvt.u8.bf16 \
                   cvt.f32.f64 cvt.rn.s32.f32 cvt.rni.f32.s32 cvt.f16.f32 cvt.rn.sat.bf16.f32 cvt.rm.relu.f16.f32 \
                   cvt.rn.e4m3x2.f32 cvt.rz.satfinite.e4m3x2.f32 cvt.pack.u8.s32.b32 cvt.pack.sat.u8.s32 \
                   cvta.b64 cvta.param::func.u64 isspacep.b32 mapa.shared::cta.u32 getctarank.b32 mov.b8 mov.f16 \
                   ld.f16 ld.global.lu.nc.b32 ld.weak.global.nc.b32 ld.relaxed.b32 ld.gpu.b32 ld.release.gpu.b32 \
                   ld.mmio.relaxed.gpu.b32 ld.volatile.param.b32 ld.volatile.ca.b32 ld.v2.b128 ld.L2::evict_last.b32 \
                   st.const.b32 st.acquire.gpu.b32 st.ca.b32 st.unified.b32 st.async.b32 \
                   st.async.release.cta.global.b32 ldu.shared.b32 prefetch.shared.L1 prefetchu.L2 discard.L1 \
                   applypriority.L2::evict_last createpolicy.fractional.L2::evict_last.L2::evict_last.b64 \
                   atom.add.s64 atom.and.u32 atom.inc.s32 atom.exch.u32 atom.min.f32 atom.add.f16 atom.local.add.u32 \
                   atom.cas.f32 atom.volatile.add.u32 atom.shared.add.v2.f32 atom.min.noftz.f16 \
                   atom.cas.L2::cache_hint.b32 red.exch.b32 red.acquire.gpu.add.u32 red.async.add.u32 \
                   multimem.ld_reduce.relaxed.add.u32 multimem.red.min.f16x2 multimem.red.add.e4m3x4 \
                   brx.uni setmaxnreg.inc.u32 nanosleep.b32 pmevent.u32 griddepcontrol";
    for opcode in refused.split_whitespace() {
        let found = forms(opcode);
        assert!(found.is_empty(), "{opcode} is taken by {}", found[0].0.text);
    }
}

#[test]
fn modifiers_come_in_any_order_types_do_not() {
    let order = |opcode| forms(opcode).first().map(|(_, modifiers)| modifiers.clone());
    assert_eq!(order("ld.v4.nc.global.L1::no_allocate.f32"), order("ld.global.nc.L1::no_allocate.v4.f32"));
    assert_eq!(order("atom.release.add.gpu.global.s32"), order("atom.release.gpu.global.add.s32"));
    assert!(order("cvt.f32.s32.rn").is_some());
    assert_eq!(order("cvt.s32.f32.rn"), None);
    assert_ne!(order("cvt.u8.s32"), order("cvt.s32.u8"));
    assert_eq!(order("add.s32.s32"), None);
}

#[test]
fn a_form_exists_since_its_version_and_on_its_targets() {
    for (opcode, version, target) in [
        ("add.s32", (7, 0), "sm_80"),
        ("add.f32x2", (8, 6), "sm_100"),
        ("add.u16x2", (8, 0), "sm_90"),
        ("add.u8x4", (9, 2), "sm_120f"),
        ("fma.rn.bf16x2", (7, 0), "sm_80"),
        ("min.xorsign.abs.f32", (7, 2), "sm_86"),
        ("cvt.rn.satfinite.e4m3x2.f32", (8, 1), "sm_89"),
        ("cvt.rs.f16x2.f32", (8, 7), "sm_100a"),
        ("cvt.rn.bf16x2.s2f6x2", (9, 1), "sm_100a"),
        ("ld.relaxed.cluster.b32", (7, 8), "sm_90"),
        ("ld.shared::cta.b32", (7, 8), "sm_80"),
        ("ld.L2::cache_hint.b32", (7, 4), "sm_80"),
        ("ld.b128", (8, 3), "sm_80"),
        ("ld.relaxed.sys.b128", (8, 4), "sm_80"),
        ("ld.v4.b64", (8, 8), "sm_100"),
        ("ld.L2::evict_last.v8.f32", (8, 8), "sm_100"),
        ("st.bulk", (8, 6), "sm_100"),
        ("cvta.param.u64", (7, 7), "sm_80"),
        ("atom.add.v4.f32", (8, 1), "sm_90"),
        ("atom.add.noftz.bf16x2", (7, 8), "sm_90"),
        ("multimem.ld_reduce.add.v4.e4m3", (8, 6), "sm_100a"),
        ("setmaxnreg.inc.sync.aligned.u32", (8, 0), "sm_90a"),
        ("griddepcontrol.wait", (7, 8), "sm_90"),
    ] {
        assert!(exists(opcode, version, target), "{opcode} exists in {version:?} on {target}");
        let (major, minor) = version;
        let before = if minor > 0 { (major, minor - 1) } else { (major - 1, 9) };
        assert!(version == (7, 0) || !exists(opcode, before, target), "{opcode} is older than {version:?}");
    }
    for (opcode, target) in [
        ("add.f32x2", "sm_90a"),
        ("add.u8x4", "sm_100a"),
        ("min.xorsign.abs.f32", "sm_80"),
        ("cvt.rn.satfinite.e4m3x2.f32", "sm_86"),
        ("cvt.rs.f16x2.f32", "sm_100f"),
        ("cvt.rn.satfinite.e2m1x2.f32", "sm_100"),
        ("ld.v4.b64", "sm_90a"),
        ("setmaxnreg.inc.sync.aligned.u32", "sm_90"),
    ] {
        assert!(!exists(opcode, (9, 5), target), "{opcode} on {target}");
    }
    for target in ["sm_100f", "sm_103a", "sm_110a", "sm_120a", "sm_121f"] {
        assert!(exists("cvt.rn.satfinite.e2m1x2.f32", (9, 5), target), "{target}");
    }
}

#[test]
fn literals_are_in_range() {
    let three = |last| [REGISTER, REGISTER, REGISTER, literal(last)];
    assert_eq!(broken("bfe.u32", &three(255)), None);
    assert_eq!(broken("bfe.u32", &three(256)), Some("the length is from 0 to 255"));
    assert_eq!(broken("bfe.u32", &three(-1)), Some("the length is from 0 to 255"));
    assert_eq!(broken("bfe.u32", &three(0)), None);
    assert!(broken("bfi.b32", &[REGISTER, REGISTER, REGISTER, literal(300), literal(1)]).is_some());
    let count = |count| broken("setmaxnreg.dec.sync.aligned.u32", &[literal(count)]);
    assert_eq!((count(24), count(256)), (None, None));
    assert_eq!(count(30), Some("the number of registers is a multiple of 8"));
    let size = |size| broken("st.bulk.weak.shared::cta", &[address(), literal(size), literal(0)]);
    assert_eq!((size(16), size(17)), (None, Some("the size is a multiple of 8")));
    let aligned = |bytes| broken("alloca.u64", &[REGISTER, REGISTER, literal(bytes)]);
    assert_eq!((aligned(16), aligned(7)), (None, Some("the alignment is a power of two")));
}

#[test]
fn a_cache_policy_is_made_of_a_fraction_or_a_range() {
    let opcode = "createpolicy.fractional.L2::evict_last.b64";
    let fraction =
        |value: f64| broken(opcode, &[REGISTER, Operand::Immediate(Immediate::F64(value.to_bits()))]);
    assert_eq!((fraction(1.0), fraction(0.25), broken(opcode, &[REGISTER])), (None, None, None));
    for wrong in [0.0, 1.5, -0.5, f64::NAN] {
        assert!(fraction(wrong).is_some(), "{wrong}");
    }
    let range = |primary, total| {
        let operands = [REGISTER, address(), literal(primary), literal(total)];
        broken("createpolicy.range.global.L2::evict_last.L2::evict_unchanged.b64", &operands)
    };
    assert_eq!((range(256, 256), range(1, 2)), (None, None));
    assert_eq!(range(2, 1), Some("the primary size is at most the total size"));
}

#[test]
fn caching_hints_fit_each_other_and_the_space() {
    let load = |opcode| broken(opcode, &[REGISTER, address()]);
    assert_eq!(load("ld.global.L1::evict_last.L2::128B.b32"), None);
    assert!(load("ld.global.ca.L1::evict_last.b32").is_some());
    assert!(load("ld.shared.L2::128B.b32").is_some());
    assert!(load("ld.const.L1::no_allocate.b32").is_some());
    assert_eq!(load("ld.param.ca.b32"), None);
    let hinted = |opcode| broken(opcode, &[REGISTER, address(), REGISTER]);
    assert_eq!(hinted("ld.L2::cache_hint.b32"), None);
    assert!(hinted("ld.local.L2::cache_hint.b32").is_some());
    let atomic = |opcode| broken(opcode, &[REGISTER, address(), REGISTER, REGISTER]);
    assert_eq!(atomic("atom.global.add.L2::cache_hint.u32"), None);
    assert!(atomic("atom.shared.add.L2::cache_hint.u32").is_some());
}

#[test]
fn wide_vectors_are_global() {
    let load = |opcode, count| broken(opcode, &[Operand::Vector(vec![REGISTER; count]), address()]);
    assert_eq!(
        (load("ld.global.v4.b64", 4), load("ld.v8.f32", 8), load("ld.shared.v4.b32", 4)),
        (None, None, None)
    );
    assert!(load("ld.shared.v4.b64", 4).is_some());
    assert!(load("ldu.global.v4.f64", 4).is_some());
    assert!(forms("ld.shared.v8.b32").is_empty());
    assert_eq!(load("multimem.ld_reduce.add.v8.f16", 8), None);
    assert!(load("multimem.ld_reduce.add.v8.f16x2", 8).is_some());
    assert!(broken("multimem.ld_reduce.add.bf16", &[REGISTER, address()]).is_some());
}

#[test]
fn a_conversion_between_integers_saturates_only_where_it_may_overflow() {
    let convert = |opcode| broken(opcode, &[REGISTER, REGISTER]);
    for opcode in ["cvt.sat.u8.s32", "cvt.sat.s32.u32", "cvt.sat.u64.s8", "cvt.u8.u16", "cvt.s64.s32"] {
        assert_eq!(convert(opcode), None, "{opcode}");
    }
    for opcode in ["cvt.sat.s64.s32", "cvt.sat.s32.u16", "cvt.sat.u32.u32"] {
        assert!(convert(opcode).is_some(), "{opcode}");
    }
}

#[test]
fn generic_addresses_have_64_bits() {
    assert_eq!(broken("cvta.to.global.u64", &[REGISTER, REGISTER]), None);
    assert_eq!(broken("cvta.shared.u32", &[REGISTER, REGISTER]), Some("generic addresses have 64 bits"));
}

#[test]
fn destinations_and_predicates_have_the_right_shape() {
    let fits = |opcode, operands: &[Operand]| {
        forms(opcode).iter().any(|(form, modifiers)| form.fits(modifiers, operands))
    };
    assert!(fits("setp.lt.s32", &[pair(), REGISTER, literal(1)]));
    assert!(fits("setp.lt.and.s32", &[REGISTER, REGISTER, REGISTER, Operand::Not(Register(0))]));
    assert!(!fits("setp.lt.s32", &[REGISTER, REGISTER, REGISTER, REGISTER]));
    assert!(!fits("setp.lt.and.s32", &[REGISTER, REGISTER, REGISTER]));
    assert!(!fits("setp.lt.f16", &[pair(), REGISTER, REGISTER]));
    assert!(!fits("add.s32", &[pair(), REGISTER, REGISTER]));
    assert!(!fits("add.s32", &[REGISTER, REGISTER, Operand::Not(Register(0))]));
    assert!(!fits("add.s32", &[Operand::Sink, REGISTER]));
    assert!(fits("mov.b64", &[REGISTER, Operand::Vector(vec![REGISTER; 2])]));
    assert!(fits("mov.b64", &[Operand::Vector(vec![REGISTER; 2]), REGISTER]));
    assert!(!fits("mov.u64", &[Operand::Vector(vec![REGISTER; 2]), REGISTER]));
    assert!(fits("atom.add.u32", &[Operand::Sink, address(), REGISTER]));
    assert!(!fits("ld.L2::cache_hint.b32", &[REGISTER, address()]));
    let lop3 = [REGISTER, REGISTER, REGISTER, REGISTER, literal(0x3f), REGISTER];
    assert!(broken("lop3.or.b32", &lop3).is_some());
    assert_eq!(broken("lop3.or.b32", &[&[pair()], &lop3[1..]].concat()), None);
}

#[test]
fn an_opcode_knows_its_vector_and_policy() {
    let (form, modifiers) = forms("ld.global.L2::cache_hint.v4.f32").swap_remove(0);
    assert!(form.layout(&modifiers, 3).is_some());
    assert!(form.layout(&modifiers, 2).is_none());
    assert!(modifiers.contains(&Modifier::V4));
}
