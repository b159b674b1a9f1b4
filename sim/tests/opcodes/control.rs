//! Branches, calls, the end of a thread, traps, and registers given and taken.

use crate::harness::{Case, noise};
use rorqual_sim::Rule;

fn word(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// A loop as long as the thread's number says, or for `bra.uni` the same for all.
pub fn branch(opcode: &str) -> Vec<Case> {
    let uniform = opcode.ends_with(".uni");
    let count = if uniform { "7" } else { "%thread" };
    let body = format!(
        "mov.u32 %r0, 0;
    mov.u32 %r1, {count};
    AGAIN:
    setp.eq.u32 %p0, %r1, 0;
    @%p0 {opcode} DONE;
    add.u32 %r0, %r0, %r1;
    sub.u32 %r1, %r1, 1;
    {opcode} AGAIN;
    DONE:
    st.global.b32 [%dst], %r0;"
    );
    let sum = move |thread: usize| if uniform { 28 } else { (thread * (thread + 1) / 2) as u32 };
    vec![Case::new(body).slots(|_| vec![], |thread| word(sum(thread)))]
}

/// The odd threads return before they store.
pub fn returning(opcode: &str) -> Vec<Case> {
    let body = format!(
        "and.b32 %r0, %thread, 1;
    setp.ne.b32 %p0, %r0, 0;
    @%p0 {opcode};
    st.global.b32 [%dst], %thread;"
    );
    let expected = |thread: usize| if thread.is_multiple_of(2) { word(thread as u32) } else { vec![] };
    vec![Case::new(body).slots(|_| vec![], expected)]
}

/// A trap that is jumped over, and one that is not.
pub fn trap(opcode: &str) -> Vec<Case> {
    let body = |bound: u32| {
        format!("setp.ge.u32 %p0, %thread, {bound};\n    @%p0 {opcode};\n    st.global.b32 [%dst], %thread;")
    };
    let passes = Case::new(body(32)).slots(|_| vec![], |thread| word(thread as u32));
    let ends = Case { ends_by: Some(Rule::Trap), ..Case::new(body(31)) };
    vec![passes, ends]
}

/// `printf` as nvcc calls it, and a function of the module.
pub fn call(opcode: &str) -> Vec<Case> {
    let mut print = Case::new(format!(
        "setp.ne.b32 %p0, %thread, 3;
    @%p0 bra DONE;
    mov.b64 %d0, arguments;
    cvta.local.u64 %d1, %d0;
    st.local.b32 [%d0], %thread;
    st.local.b64 [%d0+8], 0x7ffffffffff;
    mov.b64 %d2, format;
    cvta.global.u64 %d3, %d2;
    {{
    .param .b64 given0;
    .param .b64 given1;
    .param .b32 taken;
    st.param.b64 [given0], %d3;
    st.param.b64 [given1], %d1;
    {opcode} (taken), vprintf, (given0, given1);
    ld.param.b32 %r0, [taken];
    }}
    DONE:"
    ));
    print.module = ".extern .func (.param .b32 result) vprintf(.param .b64 format, .param .b64 arguments);
.global .align 1 .b8 format[] = {116, 104, 114, 101, 97, 100, 32, 37, 100, 58, 32, 37, 108, 108, 117, 10, 0};"
        .to_owned();
    print.variables = ".local .align 8 .b8 arguments[16];".to_owned();
    print.printed = "thread 3: 8796093022207\n";
    let mut own = Case::new(format!(
        "ld.global.b32 %r0, [%src];
    {{
    .param .b32 given;
    .param .b32 taken;
    st.param.b32 [given], %r0;
    {opcode} (taken), third, (given);
    ld.param.b32 %r1, [taken];
    }}
    st.global.b32 [%dst], %r1;"
    ));
    own.module = ".func (.param .b32 result) third(.param .b32 argument)
{
    .reg .b32 %value;
    ld.param.b32 %value, [argument];
    div.u32 %value, %value, 3;
    st.param.b32 [result], %value;
    ret;
}"
    .to_owned();
    let given = |thread: usize| noise(thread as u64) as u32;
    vec![print, own.slots(|thread| word(given(thread)), |thread| word(given(thread) / 3))]
}

/// One warpgroup gives registers up, another one takes them, both go on.
pub fn registers(opcode: &str) -> Vec<Case> {
    let (give, take) = match opcode {
        "setmaxnreg.dec.sync.aligned.u32" => (opcode, "setmaxnreg.inc.sync.aligned.u32"),
        _ => ("setmaxnreg.dec.sync.aligned.u32", opcode),
    };
    let mut case = Case::new(format!(
        "setp.ge.u32 %p0, %thread, 128;
    @%p0 bra TAKES;
    {give} 40;
    bra.uni DONE;
    TAKES:
    {take} 208;
    DONE:
    st.global.b32 [%dst], %thread;"
    ));
    case.directives = ".maxntid 256\n    .maxnreg 128";
    case.threads = 256;
    vec![case.slots(|_| vec![], |thread| word(thread as u32))]
}

/// An instruction without a result, before a store.
pub fn silent(instruction: &str) -> Vec<Case> {
    let body = format!("mov.u32 %r0, 100;\n    {instruction};\n    st.global.b32 [%dst], %thread;");
    vec![Case::new(body).slots(|_| vec![], |thread| word(thread as u32))]
}
